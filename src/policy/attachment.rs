//! Which executables a profile is for, and which of several profiles the kernel gives to one.
//!
//! When a program is started by a process that no profile confines (or by a `px` rule that names none), the kernel
//! looks for the profile in the list of the namespace (`security/apparmor/domain.c`, `find_attach`). Hats and children
//! are not in that list. A profile is in it in one of two ways (`policy_unpack.c`, `unpack_profile`; parser
//! `parser_regex.c`, `process_profile_name_xmatch`):
//!
//! - **By its name alone**: the parser writes no automaton if the profile has no attachment beside its name and the name
//!   is not a glob, as in `/usr/bin/x { … }`. It is for the executable whose path equals the name, and nothing beats it:
//!   the kernel looks no further. Most such names are no paths; these profiles are for no executable.
//! - **By an automaton** over the path, `xmatch`. Of all that match, the one with the greatest *count* wins: the number of
//!   bytes that lead from state to state before the automaton first comes back to a state where it has been, roughly
//!   the length of the match up to the first wildcard. If two have the greatest, the kernel takes **neither**, and the
//!   program runs unconfined.
//!
//! Conditions on extended attributes come last: with equal counts, more attributes that match win. They are not in the
//! path, so what they decide is not decided here: [`Verdict::Unsure`].
//!
//! Linux before 6.0, without commit 2504db207146 ("fix overlapping attachment computation"), compares with the length
//! that the parser computed instead of the count of the best so far; it is not described here.

mod choice;
mod conflict;
mod dfa;
#[cfg(test)]
mod glob;
mod meeting;
mod record;
mod sketch;
#[cfg(test)]
mod tests;

pub use choice::{Verdict, chosen};
pub use conflict::{Conflict, Conflicts, conflicts};
pub use record::{AttachmentRecord, Matcher, Reach};

use super::reader::{Container, Element, Reader};
use super::{CompiledProfile, Header, Malformed};
use dfa::{DEAD, Dfa, START, State};

/// Bit 0 of a state's permissions: the profile is for this path (`MAY_EXEC`).
const EXECUTES: u32 = 1;
/// How many 32-bit words describe one entry in a table of permissions, and which of them is what it allows
/// (`policy_unpack.c`, `unpack_perm`; parser `parser_interface.c`, `sd_serialize_perm`).
const PERMISSION_WORDS: usize = 14;
const ALLOWED: usize = 1;

/// How a profile is found for an executable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attachment {
    /// By its name, which is the executable's path.
    Name(String),
    /// By an automaton over the executable's path.
    Automaton(Automaton),
    /// By one that accepts few paths, which are remembered in its place, each with what kernels count on it that do so in
    /// the way of [`LeftMatch::Original`]; others count all its bytes.
    Paths(Vec<(String, u32)>),
}

/// An automaton over executables' paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Automaton {
    dfa: Dfa,
    /// For each state, whether a path that ends there is one of the profile's.
    accepts: Vec<bool>,
    /// The length that the parser computed: of the shortest path that matches.
    shortest: u32,
    /// How many extended attributes the profile has conditions on.
    xattrs: usize,
}

/// How the kernel counts: `security/apparmor/match.c`, `leftmatch_fb` and `is_loop`, of which there are two.
///
/// Both look for a state in the history only if its number is not greater than that of the state before it, and know
/// the last 32 states alone, so that the count is not quite what it is meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftMatch {
    /// Linux 4.17 to 6.16, and Debian 12's 6.1 to this day: a state that is not found in the history is taken for
    /// a loop all the same, by which the count wraps around to a huge number.
    Original,
    /// Linux 6.17, and the stable kernels since August 2025, 6.12.42 among them (commit a88db916b8c7, "fix loop
    /// detection used in conflicting attachment resolution").
    Corrected,
}

impl LeftMatch {
    /// Every way.
    pub const ALL: [Self; 2] = [Self::Original, Self::Corrected];

    /// The ways in which the kernel of a release (uname(2)) may count. Distributions take corrections over without
    /// changing the number, so that an old number leaves both ways open.
    #[must_use]
    pub fn of_release(release: &str) -> &'static [Self] {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
        let version = [(); 3].map(|()| numbers.next().unwrap_or(0));
        let is_corrected = version >= [6, 17, 0] || version[..2] == [6, 12] && version[2] >= 42;
        if is_corrected { &[Self::Corrected] } else { &Self::ALL }
    }
}

/// How an attachment matches a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// How well; the greatest wins.
    pub specificity: Specificity,
    /// Whether the profile has conditions on extended attributes beside, which are not looked at.
    pub has_xattrs: bool,
}

/// How well an attachment matches a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Specificity {
    /// By an automaton that counted so far.
    Counted(u32),
    /// By the name.
    Name,
}

impl Attachment {
    /// Reads how `profile` is found out of the blob that it was read from. `None` for those that the kernel does not
    /// look at: hats, children, and profiles that are named otherwise than executables and have no attachment.
    ///
    /// # Errors
    /// The first place where the attachment is none that the kernel would load, or `blob` is another than the one that
    /// the profile was read from.
    pub fn read(profile: &CompiledProfile, blob: &[u8]) -> Result<Option<Self>, Malformed> {
        let start = profile.range.start;
        let blob = blob.get(..profile.range.end).unwrap_or(blob);
        let mut reader = Reader::starting_at(blob, start);
        Header::read(&mut reader)?;
        if reader.element()? != Element::Name(b"profile\0") || reader.element()? != Element::Open(Container::Struct) {
            return Err(reader.refuse_at(start)("a profile is expected here".to_owned()));
        }
        reader.text()?;
        let packed = Packed::read(&mut reader)?;
        if profile.name.depth() > 0 {
            return Ok(None);
        }
        match packed.automaton()? {
            Some(automaton) => Ok(Some(Self::Automaton(automaton))),
            None if profile.name.name.starts_with('/') => Ok(Some(Self::Name(profile.name.name.clone()))),
            None => Ok(None),
        }
    }

    /// Says whether and how well the attachment matches the path of an executable, as a kernel sees that counts in
    /// the way of `counting`.
    #[must_use]
    pub fn matches(&self, path: &[u8], counting: LeftMatch) -> Option<Match> {
        match self {
            Self::Name(name) => {
                (name.as_bytes() == path).then_some(Match { specificity: Specificity::Name, has_xattrs: false })
            }
            Self::Paths(paths) => {
                let (path, original) = paths.iter().find(|(known, _)| known.as_bytes() == path)?;
                let count = match counting {
                    LeftMatch::Original => *original,
                    LeftMatch::Corrected => narrow(path.len()),
                };
                Some(Match { specificity: Specificity::Counted(count), has_xattrs: false })
            }
            Self::Automaton(automaton) => {
                let mut walk = Walk::new();
                for byte in path {
                    walk.step(automaton, *byte, counting);
                }
                automaton.accepts(walk.state()).then_some(Match {
                    specificity: Specificity::Counted(walk.count()),
                    has_xattrs: automaton.xattrs > 0,
                })
            }
        }
    }
}

impl Attachment {
    /// The length of the shortest path that matches, as the parser computed it.
    fn shortest(&self) -> u32 {
        match self {
            Self::Name(name) => narrow(name.len()),
            Self::Automaton(automaton) => automaton.shortest,
            // No greater than any count, or the automaton itself would be remembered.
            Self::Paths(_) => 0,
        }
    }
}

impl Automaton {
    fn accepts(&self, state: State) -> bool {
        usize::try_from(state).ok().and_then(|state| self.accepts.get(state)).is_some_and(|accepts| *accepts)
    }
}

/// A walk of the kernel's over a path (`match.c`, `leftmatch_fb`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Walk {
    /// No loop so far: how many bytes were walked, and the states on the way, each with the number of bytes that led to
    /// it. The last is where the walk is.
    Counting { bytes: usize, history: Vec<(usize, State)> },
    /// A loop was seen.
    Counted { count: u32, state: State },
}

/// How many states the kernel remembers (`match.h`, `WB_HISTORY_SIZE`).
const HISTORY: usize = 32;

impl Walk {
    fn new() -> Self {
        Self::Counting { bytes: 0, history: vec![(0, START)] }
    }

    fn state(&self) -> State {
        match self {
            Self::Counting { history, .. } => history.last().map_or(DEAD, |(_, state)| *state),
            Self::Counted { state, .. } => *state,
        }
    }

    fn count(&self) -> u32 {
        match self {
            Self::Counting { bytes, .. } => narrow(*bytes),
            Self::Counted { count, .. } => *count,
        }
    }

    fn step(&mut self, automaton: &Automaton, byte: u8, counting: LeftMatch) {
        let before = self.state();
        match self {
            Self::Counting { bytes, history } => {
                let state = automaton.dfa.step_overlooking_differences(before, byte);
                if let Some(count) = count_at_loop(*bytes, history, state, counting) {
                    *self = Self::Counted { count, state };
                } else {
                    *bytes += 1;
                    history.push((*bytes, state));
                }
            }
            Self::Counted { state, .. } => *state = automaton.dfa.step(before, byte),
        }
    }
}

/// The count if the step to `next`, after so many bytes, is taken for a loop: how many bytes had led to the state that
/// is come back to (`match.c`, `is_loop`).
fn count_at_loop(bytes: usize, history: &[(usize, State)], next: State, counting: LeftMatch) -> Option<u32> {
    if history.last().is_some_and(|(_, last)| *last < next) {
        return None;
    }
    let forgotten = match counting {
        LeftMatch::Original => bytes - bytes % HISTORY,
        LeftMatch::Corrected => bytes + 1 - bytes.min(HISTORY),
    };
    let remembered = history.iter().rev().take_while(|(at, _)| *at >= forgotten);
    let found = remembered.filter(|(_, state)| *state == next).map(|(at, _)| *at).next();
    match (found, counting) {
        (Some(at), _) => Some(narrow(at)),
        (None, LeftMatch::Original) => Some(narrow(forgotten).wrapping_sub(1)),
        (None, LeftMatch::Corrected) => None,
    }
}

/// Paths are shorter than 4 GiB.
fn narrow(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// What the blob says of a profile's attachment.
#[derive(Default)]
struct Packed<'a> {
    /// The words of the table of permissions, if there is one.
    permissions: Option<Vec<u32>>,
    /// Where the automaton begins, and its bytes.
    tables: Option<(usize, &'a [u8])>,
    shortest: Option<u32>,
    xattrs: usize,
}

impl<'a> Packed<'a> {
    /// Reads the rest of a profile's struct. The attachment's fields precede `flags`, and the parser leaves the length
    /// without a name; the automata of the rules come later (`policy_unpack.c`, `unpack_profile`).
    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut packed = Self::default();
        let mut in_attachment = true;
        reader.rest_of_struct(|entry| {
            in_attachment &= entry.field != b"flags\0";
            match (entry.field, entry.depth, entry.element) {
                (b"xattrs\0", 3, Element::String(_)) => packed.xattrs += 1,
                _ if !in_attachment => {}
                (b"perms\0", 1, Element::Open(_)) => packed.permissions = Some(Vec::new()),
                (b"perms\0", 3, Element::U32(word)) => packed.permissions.get_or_insert_default().push(word),
                (b"aadfa\0", 1, Element::Blob(bytes)) => packed.tables = Some((entry.at, bytes)),
                (b"", 1, Element::U32(length)) => packed.shortest = Some(length),
                _ => {}
            }
            Ok(())
        })?;
        Ok(packed)
    }

    fn automaton(self) -> Result<Option<Automaton>, Malformed> {
        let Some((at, bytes)) = self.tables.filter(|(_, bytes)| !bytes.is_empty()) else { return Ok(None) };
        let refuse = |why: String| Malformed { at, why: format!("the attachment: {why}") };
        // The parser pads so that the tables, a multiple of 8 bytes, begin at one (`policy_unpack.c`, `unpack_dfa`).
        let dfa = bytes.get(bytes.len() % 8..).map_or_else(|| Dfa::read(bytes), Dfa::read).map_err(refuse)?;
        let shortest = self.shortest.ok_or_else(|| refuse("it has no length".to_owned()))?;
        let allowed = |accept: &u32| match &self.permissions {
            None => Some(*accept),
            Some(words) => {
                let entry = usize::try_from(*accept).ok()?.checked_mul(PERMISSION_WORDS)?;
                words.get(entry..entry.checked_add(PERMISSION_WORDS)?)?.get(ALLOWED).copied()
            }
        };
        let accepts = dfa.accept.iter().map(|accept| Some(allowed(accept)? & EXECUTES != 0));
        let accepts: Option<Vec<bool>> = accepts.collect();
        let mut accepts = accepts.ok_or_else(|| refuse("it names permissions that it does not have".to_owned()))?;
        if let Some(dead) = accepts.first_mut() {
            *dead = false;
        }
        Ok(Some(Automaton { dfa, accepts, shortest, xattrs: self.xattrs }))
    }
}
