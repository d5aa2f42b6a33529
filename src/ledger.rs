//! The ledger: what this program wrote on a host, for whom, what stood there before, and what it compiled from what.
//!
//! **Invariant:** a ledger that was read passed every check of its types, so no path in it leads out of the policy
//! directory; one of a newer format is refused and never rewritten.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::policy::{AttachmentRecord, KernelHash};
use crate::profile::{Digest, FileName, Mode, Owner, PolicyPath, ProfileName};
use crate::tree::Input;

mod file;
mod stands;
mod tables;
#[cfg(test)]
mod tests;

use file::Recent;
pub(crate) use file::check_format;
pub use file::{FORMAT, LedgerFile, LedgerId, Unusable};
use tables::{Growing, Tables};

/// Everything that is remembered between runs.
///
/// Its places and records change by a [`Recorder`] alone, which notes what it changes: most runs change little, and what
/// they write is no more than that ([`Self::into_file`]).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    held: BTreeMap<PolicyPath, Held>,
    compiled: BTreeMap<FileName, Compiled>,
    read: BTreeMap<FileName, Read>,
    /// Profiles that no file defines any more and that the kernel may run still: those that runs which left the kernel
    /// alone gave up, and those that an undone run had created and that processes ran under by then.
    pub left_loaded: BTreeSet<ProfileName>,
    /// Directories of links that this program made, and that links of it stand in.
    pub made: BTreeSet<PolicyPath>,
    tables: Tables,
    recent: Recent,
}

/// A place that an owner holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// Who holds it.
    pub owner: Owner,
    /// What this program left there.
    pub stands: Stands,
    /// What to do with it when the owner gives it up.
    pub original: Original,
}

/// What stands at a place, without its bytes. Displayed and serialized in one line: `absent`, `file 0644 0:0 SHA-256`
/// with the permission bits and the numbers of the owner and the group, `link TARGET`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stands {
    /// Nothing.
    Absent,
    /// A regular file.
    File {
        /// Its content.
        sha256: Digest,
        /// Its permission bits and owner.
        attributes: Attributes,
    },
    /// A symbolic link.
    Link {
        /// Where it points.
        target: String,
    },
}

/// A file's permission bits and owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attributes {
    /// Permission bits, 0 to 0o7777.
    #[serde(deserialize_with = "permission_bits")]
    pub mode: u32,
    /// The owner's number.
    #[serde(deserialize_with = "id")]
    pub uid: u32,
    /// The group's number.
    #[serde(deserialize_with = "id")]
    pub gid: u32,
}

impl Attributes {
    /// The number that no owner and no group has: it has chown(2) leave them as they are.
    const NO_ID: u32 = u32::MAX;
}

fn permission_bits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let mode = u32::deserialize(deserializer)?;
    if mode <= 0o7777 { Ok(mode) } else { Err(D::Error::custom("a mode has no bits beyond 0o7777")) }
}

fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let id = u32::deserialize(deserializer)?;
    if id == Attributes::NO_ID { Err(D::Error::custom("nobody has this number")) } else { Ok(id) }
}

/// What a place goes back to when its owner gives it up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Original {
    /// There was nothing: what was written is removed.
    Nothing,
    /// It was never written to: it stays.
    Untouched,
    /// This stood there; a file's bytes are kept in the directory of adopted files.
    Kept(Stands),
}

/// A text, and everything else that what follows from it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Basis {
    /// The text.
    pub text: Digest,
    toolchain: u32,
    inputs: u32,
}

/// What compiling one file gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compiled {
    /// What was compiled.
    pub basis: Basis,
    /// Whether a link forced complain mode.
    pub forced_complain: bool,
    /// What the compiled policy holds.
    pub profiles: Vec<Recorded>,
    defines: Defines,
}

/// What reading one file gave, of those that this program does not compile: others may not define the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// What was read.
    pub basis: Basis,
    defines: Vec<Definition>,
}

/// What is known of a file.
#[derive(Debug, Clone, Copy)]
pub enum Record<'l> {
    /// It was compiled.
    Compiled(&'l Compiled),
    /// It was read.
    Read(&'l Read),
}

/// What a text defines, as it is compared with what others define.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Defines {
    /// The profiles that were compiled, attached by the paths of their executables.
    AsCompiled,
    /// Others: it spells names otherwise than the parser, or attaches by globs.
    These(Vec<Definition>),
}

/// A profile, hat or child that a text defines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Its full name, as the text spells it.
    pub name: ProfileName,
    /// The globs by which it attaches, variables and alternations expanded; none for hats and children.
    pub globs: Vec<String>,
}

/// One profile, hat or child of compiled policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// Its full name.
    pub name: ProfileName,
    /// Its mode.
    pub mode: Mode,
    /// The hash that the kernel shows for it.
    pub hash: KernelHash,
    /// Which executables it is for; none if it is for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachment: Option<AttachmentRecord>,
}

impl Recorded {
    /// The paths of its executables, which are the globs of a text that has no alternations left; none for hats and
    /// children.
    fn paths(&self) -> &[String] {
        let attachment = self.attachment.as_ref().filter(|_| self.name.depth() == 0);
        attachment.and_then(AttachmentRecord::paths).unwrap_or(&[])
    }

    fn is_defined_by(&self, definition: &Definition) -> bool {
        let paths = self.paths();
        self.name == definition.name
            && paths.len() == definition.globs.len()
            && paths.iter().all(|path| definition.globs.contains(path))
    }
}

/// What turned text into compiled policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Toolchain {
    /// SHA-256 of the parser's program file.
    pub parser: Digest,
    /// The version that the parser calls itself.
    pub version: String,
    /// SHA-256 over parser.conf and the policy features that it names.
    pub conf: Digest,
    /// SHA-256 of the kernel features that are compiled for.
    pub features: Digest,
}

impl Ledger {
    /// What is held, by place.
    #[must_use]
    pub fn held(&self) -> &BTreeMap<PolicyPath, Held> {
        &self.held
    }

    /// What was compiled, by the profile's file: ours, and others' that depend on an include of ours.
    #[must_use]
    pub fn compiled(&self) -> &BTreeMap<FileName, Compiled> {
        &self.compiled
    }

    /// What is known of others' files, by file.
    #[must_use]
    pub fn read(&self) -> &BTreeMap<FileName, Read> {
        &self.read
    }

    /// Everything that is known of a file: of different moments, if it is more than one.
    pub fn records(&self, file: &FileName) -> impl Iterator<Item = Record<'_>> {
        let compiled = self.compiled.get(file).map(Record::Compiled);
        compiled.into_iter().chain(self.read.get(file).map(Record::Read))
    }

    /// What all records rest on.
    pub fn bases(&self) -> impl Iterator<Item = &Basis> {
        let compiled = self.compiled.values().map(|record| &record.basis);
        compiled.chain(self.read.values().map(|record| &record.basis))
    }

    /// What a record depends on besides its text.
    pub fn inputs(&self, basis: &Basis) -> impl Iterator<Item = &Input> {
        self.input_list(basis.inputs).iter().map(|id| &self.tables.inputs[*id as usize])
    }

    /// The numbers of the inputs in a list, ascending, for the list's number that [`Basis::input_list`] gives.
    #[must_use]
    pub fn input_list(&self, list: u32) -> &[u32] {
        &self.tables.input_lists[list as usize]
    }

    /// The version of a parser that something was compiled with.
    #[must_use]
    pub fn version_of(&self, parser: &Digest) -> Option<String> {
        let known = self.tables.toolchains.iter().find(|toolchain| toolchain.parser == *parser);
        known.map(|toolchain| toolchain.version.clone())
    }

    /// What turned text into compiled policy then.
    #[must_use]
    pub fn toolchain(&self, basis: &Basis) -> &Toolchain {
        &self.tables.toolchains[basis.toolchain as usize]
    }

    /// Every input of every record, in the order of the numbers that [`Self::input_list`] uses.
    #[must_use]
    pub fn all_inputs(&self) -> &[Input] {
        &self.tables.inputs
    }

    /// How many lists of inputs there are.
    #[must_use]
    pub fn input_list_count(&self) -> usize {
        self.tables.input_lists.len()
    }
}

impl Basis {
    /// The number of the list of inputs. What has one list depends on the same.
    #[must_use]
    pub fn input_list(&self) -> u32 {
        self.inputs
    }
}

impl<'l> Record<'l> {
    /// What the record rests on.
    #[must_use]
    pub fn basis(self) -> &'l Basis {
        match self {
            Self::Compiled(record) => &record.basis,
            Self::Read(record) => &record.basis,
        }
    }

    /// What the text defines: names, with the globs by which they attach.
    pub fn definitions(self) -> impl Iterator<Item = (&'l ProfileName, &'l [String])> {
        let (compiled, others) = match self {
            Self::Compiled(Compiled { defines: Defines::AsCompiled, profiles, .. }) => (&profiles[..], &[][..]),
            Self::Compiled(Compiled { defines: Defines::These(defines), .. }) | Self::Read(Read { defines, .. }) => {
                (&[][..], &defines[..])
            }
        };
        let compiled = compiled.iter().map(|profile| (&profile.name, profile.paths()));
        compiled.chain(others.iter().map(|definition| (&definition.name, &definition.globs[..])))
    }
}

/// What compiling one file gave, and from what.
#[derive(Debug)]
pub struct Compilation<'a> {
    /// The text.
    pub text: Digest,
    /// Whether a link forced complain mode.
    pub forced_complain: bool,
    /// What compiled it.
    pub toolchain: &'a Toolchain,
    /// Everything that the result depends on besides.
    pub inputs: &'a [Input],
    /// What the compiled policy holds.
    pub profiles: Vec<Recorded>,
    /// What the text defines.
    pub definitions: &'a [Definition],
}

/// What reading one file gave, and from what.
#[derive(Debug)]
pub struct Reading<'a> {
    /// The text.
    pub text: Digest,
    /// What would compile it.
    pub toolchain: &'a Toolchain,
    /// Everything that the result depends on besides.
    pub inputs: &'a [Input],
    /// What the text defines.
    pub definitions: &'a [Definition],
}

/// Makes the next ledger of one, with inputs, lists of them and toolchains that many records share stored once.
#[derive(Debug)]
pub struct Recorder {
    ledger: Ledger,
    tables: Growing,
}

impl Recorder {
    /// Continues `ledger`.
    #[must_use]
    pub fn new(mut ledger: Ledger) -> Self {
        let tables = std::mem::take(&mut ledger.tables).into();
        Self { ledger, tables }
    }

    /// Has the ledger say that this is held, and nothing else.
    pub fn hold(&mut self, held: &BTreeMap<PolicyPath, Held>) {
        let mut changed = Vec::new();
        let (mut before, mut after) = (self.ledger.held.iter().peekable(), held.iter().peekable());
        // Both ascend, so that one walk over both finds what differs.
        while let Some(next) = before.peek().into_iter().chain(after.peek()).map(|(path, _)| *path).min() {
            let then = before.next_if(|(path, _)| *path == next).map(|(_, held)| held);
            let now = after.next_if(|(path, _)| *path == next).map(|(_, held)| held);
            if then != now {
                changed.push((next.clone(), now.cloned()));
            }
        }
        changed.into_iter().for_each(|(path, held)| self.ledger.set_held(path, held));
    }

    /// Records what compiling `file` gave.
    pub fn record(&mut self, file: &FileName, compilation: Compilation<'_>) {
        let Compilation { text, forced_complain, toolchain, inputs, profiles, definitions } = compilation;
        let basis = self.basis(text, toolchain, inputs);
        let is_compiled = |definition: &Definition| profiles.iter().any(|profile| profile.is_defined_by(definition));
        let as_compiled = profiles.len() == definitions.len() && definitions.iter().all(is_compiled);
        let defines = if as_compiled { Defines::AsCompiled } else { Defines::These(definitions.to_vec()) };
        let record = Compiled { basis, forced_complain, profiles, defines };
        self.ledger.set_compiled(file.clone(), Some(record));
    }

    /// Forgets what compiling `file` gave.
    pub fn forget(&mut self, file: &FileName) {
        self.ledger.set_compiled(file.clone(), None);
    }

    /// Records what reading `file` gave.
    pub fn read(&mut self, file: &FileName, reading: &Reading<'_>) {
        let basis = self.basis(reading.text, reading.toolchain, reading.inputs);
        self.ledger.set_read(file.clone(), Some(Read { basis, defines: reading.definitions.to_vec() }));
    }

    /// Forgets what reading `file` gave.
    pub fn forget_read(&mut self, file: &FileName) {
        self.ledger.set_read(file.clone(), None);
    }

    fn basis(&mut self, text: Digest, toolchain: &Toolchain, inputs: &[Input]) -> Basis {
        Basis { text, toolchain: self.tables.toolchain(toolchain), inputs: self.tables.input_list(inputs) }
    }

    /// The ledger with everything recorded.
    #[must_use]
    pub fn finish(mut self) -> Ledger {
        self.ledger.tables = self.tables.into();
        self.ledger
    }
}
