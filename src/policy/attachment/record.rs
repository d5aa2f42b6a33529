//! Attachments as they are remembered from one run to the next, so that nothing is compiled or read back from the
//! kernel to tell which running processes a profile is for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{Attachment, Automaton, CompiledProfile, DEAD, LeftMatch, Malformed, START, State, Walk, narrow};
use crate::policy::profiles;
use crate::policy::reader::{Element, Reader};

/// How many paths are written out instead of the automaton, and how long they may be together, in bytes.
const MOST_PATHS: usize = 16;
const MOST_BYTES: usize = 4096;

/// The type byte by which a struct ends (kernel `security/apparmor/policy_unpack.c`, `AA_STRUCTEND`).
const STRUCT_END: u8 = 8;
/// How many bytes a profile's flags take: a struct of three 32-bit numbers, each after its type.
const FLAGS: usize = 1 + 3 * 5 + 1;

/// An attachment in a form that is small for what most profiles have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttachmentRecord {
    /// The path that is the profile's name, and no automaton.
    Name(String),
    /// An automaton that accepts these paths and no others, of which all kernels count all bytes.
    Paths(Vec<String>),
    /// The same, but for kernels that count in the way of [`LeftMatch::Original`]: for each path, what these count.
    Counted {
        /// The paths.
        paths: Vec<String>,
        /// The counts.
        original: Vec<u32>,
    },
    /// Any other automaton.
    Automaton {
        /// What every path that it accepts begins with. Most profiles are told apart by that, without a look at their
        /// automata.
        prefix: String,
        /// The beginning of the compiled profile, in base64: its name and its automaton, without any rules.
        profile: String,
    },
}

impl AttachmentRecord {
    /// What to remember of a profile that was read from `blob`; `None` if it is for no executable.
    ///
    /// # Errors
    /// As for [`Attachment::read`].
    pub fn of(profile: &CompiledProfile, blob: &[u8]) -> Result<Option<Self>, Malformed> {
        let record = match Attachment::read(profile, blob)? {
            None => None,
            Some(Attachment::Name(name)) => Some(Self::Name(name)),
            Some(Attachment::Automaton(automaton)) => Some(match automaton.paths() {
                Some(paths) if automaton.is_told_by(&paths) => {
                    let original = automaton.counts(&paths, LeftMatch::Original);
                    let is_all = paths.iter().zip(&original).all(|(path, count)| narrow(path.len()) == *count);
                    if is_all { Self::Paths(paths) } else { Self::Counted { paths, original } }
                }
                _ => {
                    Self::Automaton { prefix: automaton.prefix(), profile: STANDARD.encode(beginning(profile, blob)?) }
                }
            }),
            // Only what was remembered is of this kind.
            Some(Attachment::Paths(_)) => None,
        };
        Ok(record)
    }

    /// The form in which paths are compared with it; `None` if it is not what this program writes.
    #[must_use]
    pub fn matcher(&self) -> Option<Matcher<'_>> {
        match (self.paths(), self) {
            (Some(paths), _) => Some(Matcher::Paths(paths)),
            (None, Self::Automaton { profile, .. }) => decoded(profile).map(Matcher::Automaton),
            (None, _) => None,
        }
    }

    /// All paths of executables that it is for, where these are written out.
    #[must_use]
    pub fn paths(&self) -> Option<&[String]> {
        match self {
            Self::Name(name) => Some(std::slice::from_ref(name)),
            Self::Paths(paths) | Self::Counted { paths, .. } => Some(paths),
            Self::Automaton { .. } => None,
        }
    }

    /// Whether it can be for the executable at `path`. False is certain; true may turn out false.
    #[must_use]
    pub fn may_be_for(&self, path: &[u8]) -> bool {
        match self {
            Self::Automaton { prefix, .. } => path.starts_with(prefix.as_bytes()),
            Self::Name(_) | Self::Paths(_) | Self::Counted { .. } => {
                self.paths().is_some_and(|paths| paths.iter().any(|known| known.as_bytes() == path))
            }
        }
    }

    /// Whether it can be for an executable that the other attachment is for, too. False is certain; true may turn out
    /// false.
    #[must_use]
    pub fn may_meet(&self, other: &Reach<'_>) -> bool {
        match (self, other.attachment) {
            (Self::Automaton { prefix, .. }, Attachment::Automaton(_)) => {
                prefix.starts_with(&other.prefix) || other.prefix.starts_with(prefix.as_str())
            }
            (Self::Automaton { .. }, Attachment::Name(name)) => self.may_be_for(name.as_bytes()),
            (Self::Automaton { .. }, Attachment::Paths(paths)) => {
                paths.iter().any(|(path, _)| self.may_be_for(path.as_bytes()))
            }
            (Self::Name(_) | Self::Paths(_) | Self::Counted { .. }, _) => {
                self.paths().is_some_and(|paths| paths.iter().any(|path| other.has(path)))
            }
        }
    }

    /// An attachment that every kernel treats as the one that was remembered; `None` if it is not what this program
    /// writes.
    #[must_use]
    pub fn attachment(&self) -> Option<Attachment> {
        match self {
            Self::Name(name) => Some(Attachment::Name(name.clone())),
            Self::Paths(paths) => {
                Some(Attachment::Paths(paths.iter().map(|path| (path.clone(), narrow(path.len()))).collect()))
            }
            Self::Counted { paths, original } => {
                Some(Attachment::Paths(paths.iter().cloned().zip(original.iter().copied()).collect()))
            }
            Self::Automaton { profile, .. } => decoded(profile).map(Attachment::Automaton),
        }
    }
}

/// An attachment that records are held against, with what all its paths begin with: by that, most of them are told apart
/// from it.
#[derive(Debug)]
pub struct Reach<'a> {
    attachment: &'a Attachment,
    prefix: String,
}

impl<'a> Reach<'a> {
    /// The reach of an attachment.
    #[must_use]
    pub fn of(attachment: &'a Attachment) -> Self {
        let prefix = match attachment {
            Attachment::Automaton(automaton) => automaton.prefix(),
            Attachment::Name(_) | Attachment::Paths(_) => String::new(),
        };
        Self { attachment, prefix }
    }

    fn has(&self, path: &str) -> bool {
        path.starts_with(&self.prefix) && self.attachment.is_for(path.as_bytes())
    }
}

/// An attachment that paths are compared with.
#[derive(Debug)]
pub enum Matcher<'r> {
    /// See [`AttachmentRecord::Paths`].
    Paths(&'r [String]),
    /// See [`AttachmentRecord::Automaton`].
    Automaton(Automaton),
}

impl Matcher<'_> {
    /// Whether the profile is for the executable at `path`.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Paths(paths) => paths.iter().any(|known| known.as_bytes() == path),
            Self::Automaton(automaton) => automaton.matches(path),
        }
    }

    /// Whether the kernel also looks at the executable's extended attributes.
    #[must_use]
    pub fn has_xattrs(&self) -> bool {
        matches!(self, Self::Automaton(automaton) if automaton.xattrs > 0)
    }
}

fn decoded(encoded: &str) -> Option<Automaton> {
    let blob = STANDARD.decode(encoded).ok()?;
    let profile = profiles(&blob).ok()?.into_iter().next()?;
    match Attachment::read(&profile, &blob).ok()?? {
        Attachment::Automaton(automaton) => Some(automaton),
        Attachment::Name(_) | Attachment::Paths(_) => None,
    }
}

/// The profile's bytes up to its attachment, as a profile of their own.
fn beginning(profile: &CompiledProfile, blob: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut reader = Reader::starting_at(blob, profile.range.start);
    super::Header::read(&mut reader)?;
    let (_, _, _) = (reader.element()?, reader.element()?, reader.text()?);
    let mut end = None;
    reader.rest_of_struct(|entry| {
        if entry.field == b"flags\0" && entry.depth == 1 && matches!(entry.element, Element::Open(_)) {
            end = Some(entry.at);
        }
        Ok(())
    })?;
    let flags = end.unwrap_or(profile.range.end);
    // The flags are kept, because every profile must have them.
    let whole = flags.checked_add(FLAGS).and_then(|end| blob.get(profile.range.start..end));
    let whole = whole.ok_or_else(|| reader.refuse_at(flags)("the profile has no flags".to_owned()))?;
    let mut bytes = whole.to_vec();
    bytes.push(STRUCT_END);
    Ok(bytes)
}

impl Attachment {
    /// Whether it is for the executable at `path`, however well it matches.
    #[must_use]
    pub fn is_for(&self, path: &[u8]) -> bool {
        match self {
            Self::Name(name) => name.as_bytes() == path,
            Self::Paths(paths) => paths.iter().any(|(known, _)| known.as_bytes() == path),
            Self::Automaton(automaton) => automaton.matches(path),
        }
    }
}

impl Automaton {
    /// What a kernel counts on each of these paths.
    fn counts(&self, paths: &[String], counting: LeftMatch) -> Vec<u32> {
        let count = |path: &String| {
            let mut walk = Walk::new();
            path.bytes().for_each(|byte| walk.step(self, byte, counting));
            walk.count()
        };
        paths.iter().map(count).collect()
    }

    /// Whether all that a kernel asks of the automaton can be told from the paths that it accepts and from
    /// [`Self::counts`] in the way of [`LeftMatch::Original`]: of others, which know the loops of an automaton without
    /// any, there is nothing to tell.
    fn is_told_by(&self, paths: &[String]) -> bool {
        let counts = |counting| self.counts(paths, counting);
        let lengths = || paths.iter().map(|path| narrow(path.len()));
        self.xattrs == 0
            && counts(LeftMatch::Corrected).into_iter().eq(lengths())
            && counts(LeftMatch::Original).into_iter().chain(lengths()).all(|count| count >= self.shortest)
    }

    /// Whether a path is accepted, however well.
    fn matches(&self, path: &[u8]) -> bool {
        let mut state = START;
        for byte in path {
            state = self.dfa.step(state, *byte);
            if state == DEAD {
                return false;
            }
        }
        self.accepts(state)
    }

    /// What all paths that it accepts begin with, as far as that is text.
    fn prefix(&self) -> String {
        let (mut prefix, mut state) = (Vec::new(), START);
        // Where nothing leads to a match, the way is as long as the automaton has states at most.
        while !self.accepts(state) && prefix.len() < self.accepts.len() {
            let mut next = (1..=u8::MAX).map(|byte| (byte, self.dfa.step(state, byte))).filter(|(_, to)| *to != DEAD);
            let (Some((byte, to)), None) = (next.next(), next.next()) else { break };
            prefix.push(byte);
            state = to;
        }
        let text = std::str::from_utf8(&prefix).map_or_else(|error| error.valid_up_to(), str::len);
        prefix.truncate(text);
        String::from_utf8(prefix).unwrap_or_default()
    }

    /// All paths that it accepts, if they are few and text.
    fn paths(&self) -> Option<Vec<String>> {
        let mut paths = Vec::new();
        let mut room = MOST_BYTES;
        walk(self, START, &mut Vec::new(), &mut room, &mut paths)?;
        paths.into_iter().map(|path| String::from_utf8(path).ok()).collect()
    }
}

/// Collects what is accepted from `state` on, to which `path` led: each byte with the state before it. `None` when it
/// gets too much, which it does without end where a state is come back to.
fn walk(
    automaton: &Automaton,
    state: State,
    path: &mut Vec<(u8, State)>,
    room: &mut usize,
    found: &mut Vec<Vec<u8>>,
) -> Option<()> {
    if automaton.accepts(state) {
        if found.len() == MOST_PATHS {
            return None;
        }
        found.push(path.iter().map(|(byte, _)| *byte).collect());
    }
    for byte in 1..=u8::MAX {
        let next = automaton.dfa.step(state, byte);
        if next == DEAD {
            continue;
        }
        *room = room.checked_sub(1)?;
        path.push((byte, state));
        if path.iter().any(|(_, before)| *before == next) {
            return None;
        }
        walk(automaton, next, path, room, found)?;
        path.pop();
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::policy::tests::compile;

    fn records(text: &str) -> Vec<(String, Option<AttachmentRecord>)> {
        let blob = compile(text);
        let record =
            |profile: CompiledProfile| (profile.name.to_string(), AttachmentRecord::of(&profile, &blob).unwrap());
        profiles(&blob).unwrap().into_iter().map(record).collect()
    }

    fn record(text: &str) -> AttachmentRecord {
        records(text).into_iter().find_map(|(_, record)| record).unwrap()
    }

    #[test]
    fn few_paths_are_written_out_and_globs_are_kept_as_automata() {
        let paths = |text: &str| match record(text) {
            AttachmentRecord::Paths(paths) | AttachmentRecord::Counted { paths, .. } => Some(paths),
            AttachmentRecord::Name(_) | AttachmentRecord::Automaton { .. } => None,
        };
        assert_eq!(record("/usr/bin/x { }"), AttachmentRecord::Name("/usr/bin/x".to_owned()));
        assert_eq!(paths("profile x /usr/bin/x { }"), Some(vec!["/usr/bin/x".to_owned()]));
        assert_eq!(
            paths("profile p /{usr/,}bin/p{1,2} { }").map(|paths| paths.len()),
            Some(4),
            "alternations are few paths"
        );
        for glob in ["/opt/*/x", "/opt/?", "/opt/**", "/opt/[a-z]"] {
            let record = record(&format!("profile p {glob} {{ /x r, }}"));
            assert!(matches!(&record, AttachmentRecord::Automaton { prefix, .. } if prefix == "/opt/"), "{glob}");
            let matcher = record.matcher().unwrap();
            assert!(!matcher.matches(b"/opt") && !matcher.matches(b"/op"), "{glob}");
        }
        assert!(records("profile p { ^h { } }").iter().all(|(_, record)| record.is_none()));
    }

    #[test]
    fn a_record_matches_what_the_profile_matches() {
        let record = record("profile p /opt/**/x* { /x r, }");
        let json = serde_json::to_string(&record).unwrap();
        let record: AttachmentRecord = serde_json::from_str(&json).unwrap();
        let matcher = record.matcher().unwrap();
        for (path, is) in [("/opt/a/xy", true), ("/opt/a/b/x", true), ("/opt/x", false), ("/opt/a/y", false)] {
            assert_eq!(matcher.matches(path.as_bytes()), is, "{path}");
        }
        assert!(!matcher.has_xattrs());
    }

    fn automaton(profile: String) -> AttachmentRecord {
        AttachmentRecord::Automaton { prefix: String::new(), profile }
    }

    static GLOB: LazyLock<AttachmentRecord> = LazyLock::new(|| record("profile p /opt/* { }"));

    proptest! {
        #[test]
        fn no_record_panics(text in ".{0,200}", cut in 0..2000usize, at in 0..2000usize, digit in "[A-Za-z0-9+/]") {
            let _either = automaton(text).matcher().map(|matcher| matcher.matches(b"/x"));
            let AttachmentRecord::Automaton { profile: mut encoded, .. } = GLOB.clone() else { unreachable!() };
            if at < encoded.len() {
                encoded.replace_range(at..=at, &digit);
            }
            encoded.truncate(cut);
            let _either = automaton(encoded).matcher().map(|matcher| matcher.matches(b"/opt/x"));
        }
    }
}
