//! The compiled format: which profiles a blob of apparmor_parser's output holds, in which mode, with which hash in
//! the kernel, and which bytes are theirs.
//!
//! A blob is a run of profiles, parents before their hats and children. Each begins with a header of its own, a
//! `version` word and sometimes a `namespace`, followed by the profile as one struct of a tagged little-endian stream
//! (kernel `security/apparmor/policy_unpack.c`, parser `parser_interface.c`). What the struct says beyond its name,
//! its mode and its extent is of no concern here, so that fields of parsers to come pass through unharmed; only
//! [`Attachment::read`] goes deeper, for the executables that a profile is for.
//!
//! Two things are not as the text of a profile suggests. The parser writes the namespace into the header of the
//! outermost profile only, although its hats and children belong there too; and the kernel takes one such field for
//! *everything* in the same write. [`LoadSet`] therefore holds one namespace and names it in every header.
//!
//! **Invariant:** no input makes this module panic, and no length is believed before the bytes are there.
//!
//! **Invariant:** a [`LoadSet`] holds no name twice: a repeated name crashes Linux 6.1 and 6.12.

mod attachment;
mod hash;
mod load_set;
mod reader;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::ops::Range;

pub use attachment::{
    Attachment, AttachmentRecord, Automaton, Conflict, Conflicts, LeftMatch, Match, Matcher, Reach, Specificity,
    Verdict, chosen, conflicts,
};
pub use hash::{HashAlgorithm, KernelHash, ShownHash};
pub use load_set::{LoadSet, Unloadable};
pub use reader::Malformed;

use crate::profile::{Mode, ProfileName};
use reader::{Container, Element, Reader};

/// The bits of the version word that number the kernel's interface.
const KERNEL_ABI: u32 = 0x3ff;
/// The bit of the version word by which `apparmor_parser --Complain` and a `force-complain/` link override the mode.
const FORCE_COMPLAIN: u32 = 1 << 11;

/// One profile, hat or child as a blob holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompiledProfile {
    /// Its full name. Hats and children are in the namespace of the profile that they follow.
    ///
    /// The name is the blob's: apparmor_parser 3.0 names a grandchild by its direct parent alone (`b//c` where 4.0
    /// says `a//b//c`), and no kernel loads that unless a profile `b` exists.
    pub name: ProfileName,
    /// The mode that the kernel will show, force-complain included, which overrides even `unconfined` and `kill`.
    ///
    /// Never [`Mode::DefaultAllow`]: the parser writes it as [`Mode::Unconfined`], the kernel shows it as that, and
    /// only the rules differ.
    pub mode: Mode,
    /// The hash that the kernel will show.
    pub hash: KernelHash,
    /// The profile's bytes in the blob, from its version word to the end of its struct.
    pub range: Range<usize>,
}

impl CompiledProfile {
    /// Cuts the profile out of the blob that it was read from, as a blob of its own that loads under the same name:
    /// the bytes in `range` with the namespace in the header, where the parser leaves it out for hats and children.
    ///
    /// `None` if `blob` is another than the one that the profile was read from.
    #[must_use]
    pub fn cut(&self, blob: &[u8]) -> Option<Vec<u8>> {
        let bytes = blob.get(self.range.clone())?;
        let mut reader = Reader::new(bytes);
        let header = Header::read(&mut reader).ok()?;
        let mut cut = bytes.get(..header.version_end)?.to_vec();
        if let Some(namespace) = &self.name.namespace {
            reader::write_name(&mut cut, b"namespace\0");
            reader::write_string(&mut cut, namespace)?;
        }
        cut.extend_from_slice(bytes.get(reader.position()..)?);
        Some(cut)
    }
}

/// Reads every profile, hat and child in `blob`, in order. An empty blob holds none.
///
/// # Errors
/// The first place where the bytes are not compiled policy of a version that this program knows (kernel interface 5
/// to 9), a name that is not UTF-8, or a profile without a version word of its own, which cannot be cut out.
pub fn profiles(blob: &[u8]) -> Result<Vec<CompiledProfile>, Malformed> {
    let mut reader = Reader::new(blob);
    let mut kin = Kin::default();
    let mut found = Vec::new();
    while !reader.is_at_end() {
        found.push(profile(&mut reader, &mut kin)?);
    }
    Ok(found)
}

fn profile<'a>(reader: &mut Reader<'a>, kin: &mut Kin<'a>) -> Result<CompiledProfile, Malformed> {
    let start = reader.position();
    let header = Header::read(reader)?;
    let body = reader.position();
    let content = Content::read(reader)?;
    let (namespace, name) = ProfileName::split(content.name)
        .ok_or_else(|| reader.refuse_at(body)(format!("`{}` is not the name of a profile", content.name)))?;
    let namespace = match (header.namespace, namespace) {
        (Some(one), Some(other)) if one != other => {
            return Err(reader.refuse_at(body)(format!("the name is in namespace `{other}`, the header says `{one}`")));
        }
        (one, other) => one.or(other),
    };
    let force_complain = header.version & FORCE_COMPLAIN != 0;
    Ok(CompiledProfile {
        name: ProfileName { namespace: kin.namespace_of(namespace, name).map(str::to_owned), name: name.to_owned() },
        mode: if force_complain { Mode::Complain } else { content.mode },
        hash: KernelHash::of(header.version, reader.since(body)),
        range: start..reader.position(),
    })
}

/// What precedes each profile.
struct Header<'a> {
    version: u32,
    /// Where the version word ends and the namespace may begin.
    version_end: usize,
    namespace: Option<&'a str>,
}

impl<'a> Header<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let at = reader.position();
        if reader.element().ok() != Some(Element::Name(b"version\0")) {
            return Err(reader.refuse_at(at)(
                "a profile begins with its version here; this is not compiled policy, or it is compressed".to_owned(),
            ));
        }
        let Element::U32(version) = reader.element()? else {
            return Err(reader.refuse_at(at)("the version is not a 32-bit number".to_owned()));
        };
        let abi = version & KERNEL_ABI;
        if !(5..=9).contains(&abi) {
            return Err(reader.refuse_at(at)(format!(
                "the policy is of kernel interface version {abi}; versions 5 to 9 are known"
            )));
        }
        let version_end = reader.position();
        let namespace = reader.field_if_next(b"namespace\0")?;
        if namespace == Some("") {
            return Err(reader.refuse_at(version_end)("the namespace is empty".to_owned()));
        }
        Ok(Self { version, version_end, namespace })
    }
}

/// What a profile's struct says that matters here.
struct Content<'a> {
    name: &'a str,
    mode: Mode,
}

impl<'a> Content<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let at = reader.position();
        if reader.element()? != Element::Name(b"profile\0") || reader.element()? != Element::Open(Container::Struct) {
            return Err(reader.refuse_at(at)("a profile is expected here".to_owned()));
        }
        let name = reader.text()?;
        let mut flags = Vec::new();
        reader.rest_of_struct(|entry| {
            if let (b"flags\0", 2, Element::U32(word)) = (entry.field, entry.depth, entry.element) {
                flags.push(word);
            }
            Ok(())
        })?;
        Ok(Self { name, mode: packed_mode(&flags).map_err(|why| Malformed { at, why })? })
    }
}

/// The mode in a profile's `flags`, three words: hat and debug bits, mode, audit.
fn packed_mode(flags: &[u32]) -> Result<Mode, String> {
    match flags.get(1) {
        Some(0) => Ok(Mode::Enforce),
        Some(1) => Ok(Mode::Complain),
        Some(2) => Ok(Mode::Kill),
        Some(3) => Ok(Mode::Unconfined),
        Some(4) => Ok(Mode::Prompt),
        Some(unknown) => Err(format!("the profile is in mode {unknown}; modes 0 to 4 are known")),
        None => Err("the profile has no flags, so no mode".to_owned()),
    }
}

/// The namespaced profile that was read last, and its hats and children so far: these follow it without a namespace
/// in their own headers.
#[derive(Default)]
struct Kin<'a> {
    namespace: Option<&'a str>,
    /// Full names, and their last components: apparmor_parser 3.0 names a grandchild by the latter.
    names: HashSet<&'a str>,
}

impl<'a> Kin<'a> {
    /// The namespace of the profile `name` whose own header or name says `stated`.
    fn namespace_of(&mut self, stated: Option<&'a str>, name: &'a str) -> Option<&'a str> {
        let parent = name.rsplit_once("//").map(|(parent, _)| parent);
        let is_kin = stated.is_none_or(|namespace| self.namespace == Some(namespace))
            && parent.is_some_and(|parent| self.names.contains(parent));
        if !is_kin {
            self.namespace = stated;
            self.names.clear();
        }
        if self.namespace.is_some() {
            self.names.insert(name);
            self.names.extend(name.rsplit_once("//").map(|(_, own)| own));
        }
        self.namespace
    }
}
