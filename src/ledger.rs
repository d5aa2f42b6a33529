//! The ledger: what this program wrote on a host, for whom, what stood there before, and what it compiled from what.
//!
//! **Invariant:** a ledger that was read passed every check of its types, so no path in it leads out of the policy
//! directory; one of a newer format is refused and never rewritten.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::policy::{AttachmentRecord, KernelHash};
use crate::profile::{Digest, FileName, Mode, Owner, PolicyPath, ProfileName};
use crate::tree::Input;

/// The format that this program writes.
pub const FORMAT: u32 = 1;

/// What a place or a record takes in a written ledger, with its share of inputs: enough to grow a buffer but once.
const USUAL_BYTES_OF_AN_ENTRY: usize = 384;

/// Everything that is remembered between runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// How many ledgers were written before this one: no two of a host are the same, so that a journal can name the
    /// one that completes its run.
    pub runs: u64,
    /// What is held, by place.
    pub held: BTreeMap<PolicyPath, Held>,
    /// What was compiled, by the profile's file: ours, and others' that depend on an include of ours.
    pub compiled: BTreeMap<FileName, Compiled>,
    /// Profiles that no file defines any more and that the kernel may run still: those that runs which left the kernel
    /// alone gave up, and those that an undone run had created and that processes ran under by then.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub left_loaded: BTreeSet<ProfileName>,
    /// Directories of links that this program made, and that links of it stand in.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub made: BTreeSet<PolicyPath>,
    /// The inputs that the lists point into.
    inputs: Vec<Input>,
    /// The lists of inputs that [`Compiled::inputs`] points into, each ascending: profiles with the same includes share one.
    input_lists: Vec<Vec<u32>>,
    /// The toolchains that [`Compiled::toolchain`] points into.
    toolchains: Vec<Toolchain>,
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

/// What stands at a place, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    pub mode: u32,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
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

/// What compiling one file gave, and everything that the result depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compiled {
    /// The text.
    pub text: Digest,
    /// Whether a link forced complain mode.
    pub forced_complain: bool,
    toolchain: u32,
    inputs: u32,
    /// What the compiled policy holds.
    pub profiles: Vec<Recorded>,
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

/// Why a ledger or journal cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Written by a newer version of this program.
    #[error("it has format {0}, which this version of aa-converge does not know")]
    Newer(u64),
    /// Not what this program writes.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

#[derive(Deserialize)]
struct Head {
    format: u64,
}

#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    ledger: &'a Ledger,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    format: u32,
    ledger: Ledger,
}

impl Ledger {
    /// Reads a ledger's bytes.
    ///
    /// # Errors
    /// A newer format, or anything that this program does not write.
    pub fn parse(bytes: &[u8]) -> Result<Self, Unusable> {
        let damaged = |why: String| Unusable::Damaged(why);
        let text = std::str::from_utf8(bytes).map_err(|error| damaged(error.to_string()))?;
        let ledger = match serde_json::from_str::<Read>(text) {
            Ok(read) if read.format == FORMAT => read.ledger,
            Ok(read) => return Err(wrong_format(u64::from(read.format))),
            Err(error) => {
                check_format(bytes, FORMAT)?;
                return Err(damaged(error.to_string()));
            }
        };
        if ledger.input_lists.iter().flatten().any(|id| *id as usize >= ledger.inputs.len()) {
            return Err(damaged("a list of inputs points outside of their table".to_owned()));
        }
        for (file, record) in &ledger.compiled {
            let known = (record.inputs as usize) < ledger.input_lists.len()
                && (record.toolchain as usize) < ledger.toolchains.len();
            if !known {
                return Err(damaged(format!("the record of `{file}` points outside of its tables")));
            }
        }
        Ok(ledger)
    }

    /// The ledger's bytes, without inputs and toolchains that no record uses any more.
    #[must_use]
    pub fn into_bytes(mut self) -> Vec<u8> {
        let mut lists = Used::of(&self.input_lists);
        let mut toolchains = Used::of(&self.toolchains);
        for record in self.compiled.values_mut() {
            record.toolchain = toolchains.renumber(record.toolchain);
            record.inputs = lists.renumber(record.inputs);
        }
        let mut lists = lists.values;
        let mut inputs = Used::of(&self.inputs);
        for list in &mut lists {
            list.iter_mut().for_each(|id| *id = inputs.renumber(*id));
            list.sort_unstable();
        }
        (self.inputs, self.toolchains) = (inputs.values, toolchains.values);
        self.input_lists = lists;
        // Maps with checked strings for keys, numbers and enums: nothing in a ledger can fail to become JSON.
        let mut bytes = Vec::with_capacity((self.held.len() + self.compiled.len()) * USUAL_BYTES_OF_AN_ENTRY);
        let _cannot_fail = serde_json::to_writer(&mut bytes, &Written { format: FORMAT, ledger: &self });
        bytes.push(b'\n');
        bytes
    }

    /// What `record` depends on.
    pub fn inputs(&self, record: &Compiled) -> impl Iterator<Item = &Input> {
        self.input_list(record.inputs).iter().map(|id| &self.inputs[*id as usize])
    }

    /// The numbers of the inputs in a list, ascending, for the list's number that [`Compiled::input_list`] gives.
    #[must_use]
    pub fn input_list(&self, list: u32) -> &[u32] {
        &self.input_lists[list as usize]
    }

    /// The version of a parser that something was compiled with.
    #[must_use]
    pub fn version_of(&self, parser: &Digest) -> Option<String> {
        self.toolchains.iter().find(|toolchain| toolchain.parser == *parser).map(|toolchain| toolchain.version.clone())
    }

    /// What `record` was compiled with.
    #[must_use]
    pub fn toolchain(&self, record: &Compiled) -> &Toolchain {
        &self.toolchains[record.toolchain as usize]
    }

    /// How many inputs [`Self::input_list`] numbers.
    #[must_use]
    pub fn input_count(&self) -> usize {
        self.inputs.len()
    }

    /// Every input of every record, with the number that [`Self::input_list`] uses for it.
    #[must_use]
    pub fn input_numbers(&self) -> HashMap<&Input, u32> {
        self.inputs.iter().zip(0..).collect()
    }
}

impl Compiled {
    /// The number of the list of the record's inputs. Records of one list depend on the same.
    #[must_use]
    pub fn input_list(&self) -> u32 {
        self.inputs
    }
}

/// Adds records to a ledger, with inputs, lists of them and toolchains that many records share stored once.
#[derive(Debug)]
pub struct Recorder {
    ledger: Ledger,
    inputs: Interner<Input>,
    input_lists: Interner<Vec<u32>>,
    toolchains: Interner<Toolchain>,
}

impl Recorder {
    /// Continues `ledger`.
    #[must_use]
    pub fn new(mut ledger: Ledger) -> Self {
        let inputs = Interner::from(std::mem::take(&mut ledger.inputs));
        let input_lists = Interner::from(std::mem::take(&mut ledger.input_lists));
        let toolchains = Interner::from(std::mem::take(&mut ledger.toolchains));
        Self { ledger, inputs, input_lists, toolchains }
    }

    /// Records what compiling `file` gave.
    pub fn record(
        &mut self,
        file: &FileName,
        text: Digest,
        forced_complain: bool,
        toolchain: &Toolchain,
        inputs: &[Input],
        profiles: Vec<Recorded>,
    ) {
        let mut numbers: Vec<u32> = inputs.iter().map(|input| self.inputs.intern(input)).collect();
        numbers.sort_unstable();
        let inputs = self.input_lists.intern(&numbers);
        let toolchain = self.toolchains.intern(toolchain);
        let record = Compiled { text, forced_complain, toolchain, inputs, profiles };
        self.ledger.compiled.insert(file.clone(), record);
    }

    /// Forgets what compiling `file` gave.
    pub fn forget(&mut self, file: &FileName) {
        self.ledger.compiled.remove(file);
    }

    /// The ledger with everything recorded.
    #[must_use]
    pub fn finish(mut self) -> Ledger {
        self.ledger.inputs = self.inputs.values;
        self.ledger.input_lists = self.input_lists.values;
        self.ledger.toolchains = self.toolchains.values;
        self.ledger
    }
}

#[derive(Debug)]
struct Interner<T> {
    values: Vec<T>,
    numbers: HashMap<T, u32>,
}

impl<T: Clone + Eq + std::hash::Hash> From<Vec<T>> for Interner<T> {
    fn from(values: Vec<T>) -> Self {
        let numbers = values.iter().cloned().zip(0..).collect();
        Self { values, numbers }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Interner<T> {
    fn intern(&mut self, value: &T) -> u32 {
        if let Some(number) = self.numbers.get(value) {
            return *number;
        }
        let number = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        self.values.push(value.clone());
        self.numbers.insert(value.clone(), number);
        number
    }
}

/// The values of a table that are used, numbered anew in the order of their first use.
struct Used<'t, T> {
    table: &'t [T],
    numbers: Vec<Option<u32>>,
    values: Vec<T>,
}

impl<'t, T: Clone> Used<'t, T> {
    fn of(table: &'t [T]) -> Self {
        Self { table, numbers: vec![None; table.len()], values: Vec::new() }
    }

    fn renumber(&mut self, old: u32) -> u32 {
        let at = old as usize;
        *self.numbers[at].get_or_insert_with(|| {
            self.values.push(self.table[at].clone());
            // There are no more than in the table, whose numbers fit.
            self.values.len() as u32 - 1
        })
    }
}

/// Tells what a newer version wrote from what is damaged.
pub(crate) fn check_format(bytes: &[u8], known: u32) -> Result<(), Unusable> {
    let head: Head = serde_json::from_slice(bytes).map_err(|error| Unusable::Damaged(error.to_string()))?;
    if head.format == u64::from(known) { Ok(()) } else { Err(wrong_format(head.format)) }
}

fn wrong_format(format: u64) -> Unusable {
    if format > u64::from(FORMAT) {
        Unusable::Newer(format)
    } else {
        Unusable::Damaged(format!("its format is {format}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tree::InputState;

    fn sample() -> Ledger {
        let mut ledger = Ledger::default();
        let held = Held {
            owner: Owner::new("test").unwrap(),
            stands: Stands::Link { target: "../a".to_owned() },
            original: Original::Kept(Stands::File {
                sha256: Digest::of(b"before"),
                attributes: Attributes { mode: 0o644, uid: 0, gid: 0 },
            }),
        };
        ledger.held.insert(PolicyPath::any("disable/a").unwrap(), held);
        let mut recorder = Recorder::new(ledger);
        let toolchain = Toolchain {
            parser: Digest::of(b"parser"),
            version: "3.0.8".to_owned(),
            conf: Digest::of(b"conf"),
            features: Digest::of(b"features"),
        };
        let input = |path: &str, state| Input { path: path.into(), state };
        let inputs = [input("/x", InputState::Absent), input("/y", InputState::File(Digest::of(b"y")))];
        for (file, inputs) in [("a", &inputs[..]), ("b", &inputs[1..])] {
            let file = FileName::new(file).unwrap();
            recorder.record(&file, Digest::of(b"text"), false, &toolchain, inputs, Vec::new());
        }
        recorder.finish()
    }

    #[test]
    fn a_ledger_reads_back_as_written() {
        let ledger = sample();
        let bytes = ledger.clone().into_bytes();
        let read = Ledger::parse(&bytes).unwrap();
        assert_eq!(read, ledger);
        assert_eq!(read.into_bytes(), bytes);
    }

    #[test]
    fn what_no_record_uses_is_left_out() {
        let mut recorder = Recorder::new(sample());
        recorder.forget(&FileName::new("a").unwrap());
        let read = Ledger::parse(&recorder.finish().into_bytes()).unwrap();
        assert_eq!((read.inputs.len(), read.input_lists.len(), read.toolchains.len()), (1, 1, 1));
    }

    #[test]
    fn newer_and_damaged_ledgers_are_told_apart() {
        assert_eq!(Ledger::parse(br#"{"format":2,"news":[]}"#), Err(Unusable::Newer(2)));
        assert!(matches!(Ledger::parse(br#"{"format":0,"ledger":{}}"#), Err(Unusable::Damaged(_))));
        assert!(matches!(Ledger::parse(b""), Err(Unusable::Damaged(_))));
        let sound = String::from_utf8(sample().into_bytes()).unwrap();
        for (sound_part, forged_part) in [
            ("disable/a", "../shadow"),
            ("[[0,1],", "[[0,7],"),
            ("\"inputs\":0", "\"inputs\":7"),
            ("\"toolchain\":0", "\"toolchain\":7"),
        ] {
            assert!(sound.contains(sound_part), "{sound_part}: {sound}");
            let forged = sound.replace(sound_part, forged_part);
            assert!(matches!(Ledger::parse(forged.as_bytes()), Err(Unusable::Damaged(_))), "{forged_part}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(at in 0..600usize, byte: u8, cut in 0..900usize) {
            let mut bytes = sample().into_bytes();
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            bytes.truncate(cut);
            if let Ok(ledger) = Ledger::parse(&bytes) {
                prop_assert!(Ledger::parse(&ledger.into_bytes()).is_ok());
            }
        }
    }
}
