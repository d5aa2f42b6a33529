//! The journal: how to undo a run, on disk before its first effect.
//!
//! It is one file: a line with the format and the digest of the rest, a line that says what to undo, and the bytes
//! that it refers to. It is written under another name, flushed and renamed, so it is there whole or not at all; the
//! digest is checked all the same.
//!
//! **Invariant:** a journal that was read names places in the policy directory only, each with what stood there before
//! and what the run put there. Undoing touches a place only if it holds what the run put there.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ledger::{Attributes, Stands, Unusable, check_format};
use crate::plan::Target;
use crate::policy::KernelHash;
use crate::profile::{Digest, FileName, Mode, PolicyPath, ProfileName};
use crate::tree::Text;

/// The format that this program writes.
pub const FORMAT: u32 = 1;

/// How to undo one run.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    /// The ledger that the run writes when everything else is done. A host that has it has seen the whole run.
    pub ledger_after: Option<Digest>,
    /// Directories that the run makes, outermost first.
    pub directories: Vec<PolicyPath>,
    /// Places that the run changes, in order.
    pub places: Vec<PlaceChange>,
    /// Profiles that the run loads or removes.
    pub profiles: Vec<ProfileChange>,
    /// Files whose entries in the parser's cache are out of date, whichever way the run ends.
    pub cached: Vec<FileName>,
}

/// One place, before and after.
#[derive(Debug, Clone)]
pub struct PlaceChange {
    /// The place.
    pub path: PolicyPath,
    /// What stood there, bytes included.
    pub before: Target,
    /// What the run puts there.
    pub after: Stands,
}

/// One profile in the kernel, before and after.
#[derive(Debug, Clone)]
pub struct ProfileChange {
    /// Its full name.
    pub name: ProfileName,
    /// What was loaded: compiled policy that can be loaded again; none if the kernel did not have it.
    pub before: Option<SavedPolicy>,
    /// What the run loads; none if it removes the profile.
    pub after: Option<LoadedPolicy>,
}

/// Compiled policy that was loaded before a run.
#[derive(Debug, Clone)]
pub struct SavedPolicy {
    /// The hash and mode that the kernel showed for it.
    pub loaded: LoadedPolicy,
    /// The compiled profile, loadable on its own; none for a hat or child that comes with its parent.
    pub blob: Option<Arc<Vec<u8>>>,
}

/// How the kernel shows a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadedPolicy {
    /// The hash, hexadecimal, where the kernel shows hashes.
    pub hash: Option<String>,
    /// The hashes computed from compiled policy, where it was at hand.
    pub computed: Option<KernelHash>,
    /// The mode.
    pub mode: Mode,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: u32,
    /// SHA-256 of all that follows the line.
    rest: Digest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    ledger_after: Option<Digest>,
    directories: Vec<PolicyPath>,
    places: Vec<PlaceRecord>,
    profiles: Vec<ProfileRecord>,
    cached: Vec<FileName>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlaceRecord {
    path: PolicyPath,
    before: Before,
    after: Stands,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Before {
    Absent,
    File { attributes: Attributes, bytes: Extent },
    Link { target: String },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileRecord {
    name: ProfileName,
    before: Option<SavedRecord>,
    after: Option<LoadedPolicy>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedRecord {
    loaded: LoadedPolicy,
    blob: Option<Extent>,
}

/// Bytes after the line: where they start, counted from its end, and how many they are.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Extent(u64, u64);

#[derive(Default)]
struct Payload(Vec<u8>);

impl Payload {
    fn push(&mut self, bytes: &[u8]) -> Extent {
        let start = self.0.len();
        self.0.extend_from_slice(bytes);
        Extent(start as u64, bytes.len() as u64)
    }

    fn slice(payload: &[u8], extent: Extent) -> Result<&[u8], Unusable> {
        let bounds = usize::try_from(extent.0).ok().zip(usize::try_from(extent.1).ok());
        let range = bounds.and_then(|(start, length)| Some(start..start.checked_add(length)?));
        range
            .and_then(|range| payload.get(range))
            .ok_or_else(|| Unusable::Damaged("it refers to bytes beyond its end".to_owned()))
    }
}

fn line<T: Serialize>(value: &T) -> Vec<u8> {
    // Checked strings, numbers and enums: nothing in these can fail to become JSON.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

impl Journal {
    /// Whether the run has nothing to undo.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty() && self.profiles.is_empty()
    }

    /// The journal's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut payload = Payload::default();
        let places = self.places.iter().map(|place| PlaceRecord {
            path: place.path.clone(),
            before: match &place.before {
                Target::Absent => Before::Absent,
                Target::File(text, attributes) => {
                    Before::File { attributes: *attributes, bytes: payload.push(&text.bytes) }
                }
                Target::Link(target) => Before::Link { target: target.clone() },
            },
            after: place.after.clone(),
        });
        let places = places.collect();
        let profiles = self.profiles.iter().map(|profile| ProfileRecord {
            name: profile.name.clone(),
            before: profile.before.as_ref().map(|saved| SavedRecord {
                loaded: saved.loaded.clone(),
                blob: saved.blob.as_ref().map(|blob| payload.push(blob)),
            }),
            after: profile.after.clone(),
        });
        let profiles = profiles.collect();
        let body = Body {
            ledger_after: self.ledger_after,
            directories: self.directories.clone(),
            places,
            profiles,
            cached: self.cached.clone(),
        };
        let rest = [line(&body), payload.0].concat();
        [line(&Head { format: FORMAT, rest: Digest::of(&rest) }), rest].concat()
    }

    /// Reads a journal's bytes.
    ///
    /// # Errors
    /// A newer format, or anything that this program does not write.
    pub fn parse(bytes: &[u8]) -> Result<Self, Unusable> {
        let damaged = |why: &str| Unusable::Damaged(why.to_owned());
        let split = |bytes: &'_ [u8]| bytes.iter().position(|byte| *byte == b'\n');
        let end = split(bytes).ok_or_else(|| damaged("its first line does not end"))?;
        let (first, rest) = (&bytes[..end], &bytes[end + 1..]);
        check_format(first, FORMAT)?;
        let head: Head = serde_json::from_slice(first).map_err(|error| Unusable::Damaged(error.to_string()))?;
        if head.rest != Digest::of(rest) {
            return Err(damaged("its bytes do not have the digest that it gives"));
        }
        let end = split(rest).ok_or_else(|| damaged("its second line does not end"))?;
        let (second, payload) = (&rest[..end], &rest[end + 1..]);
        let body: Body = serde_json::from_slice(second).map_err(|error| Unusable::Damaged(error.to_string()))?;
        let mut journal = Journal {
            ledger_after: body.ledger_after,
            directories: body.directories,
            cached: body.cached,
            ..Journal::default()
        };
        for record in body.places {
            let before = match record.before {
                Before::Absent => Target::Absent,
                Before::File { attributes, bytes } => {
                    let bytes = Payload::slice(payload, bytes)?.to_vec();
                    Target::File(Arc::new(Text::new(bytes)), attributes)
                }
                Before::Link { target } => Target::Link(target),
            };
            journal.places.push(PlaceChange { path: record.path, before, after: record.after });
        }
        for record in body.profiles {
            let before = match record.before {
                None => None,
                Some(saved) => {
                    let blob = saved.blob.map(|extent| Payload::slice(payload, extent)).transpose()?;
                    Some(SavedPolicy { loaded: saved.loaded, blob: blob.map(|bytes| Arc::new(bytes.to_vec())) })
                }
            };
            journal.profiles.push(ProfileChange { name: record.name, before, after: record.after });
        }
        Ok(journal)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Journal {
        let attributes = Attributes { mode: 0o644, uid: 0, gid: 0 };
        let place = |path: &str, before| PlaceChange {
            path: PolicyPath::any(path).unwrap(),
            before,
            after: Stands::File { sha256: Digest::of(b"after"), attributes },
        };
        let loaded = LoadedPolicy { hash: Some("00".repeat(32)), computed: None, mode: Mode::Enforce };
        Journal {
            ledger_after: Some(Digest::of(b"ledger")),
            directories: vec![PolicyPath::any("local/x.d").unwrap()],
            places: vec![
                place("a", Target::File(Arc::new(Text::new(b"old\n\xff".to_vec())), attributes)),
                place("b", Target::Absent),
                place("disable/c", Target::Link("../c".to_owned())),
            ],
            profiles: vec![ProfileChange {
                name: ProfileName::new("a"),
                before: Some(SavedPolicy { loaded, blob: Some(Arc::new(b"blob".to_vec())) }),
                after: None,
            }],
            cached: vec![FileName::new("a").unwrap()],
        }
    }

    #[test]
    fn a_journal_reads_back_as_written() {
        let bytes = sample().to_bytes();
        assert_eq!(Journal::parse(&bytes).unwrap().to_bytes(), bytes);
    }

    #[test]
    fn a_newer_journal_is_told_apart() {
        assert_eq!(Journal::parse(b"{\"format\":2}\n").err(), Some(Unusable::Newer(2)));
    }

    proptest! {
        #[test]
        fn every_change_of_a_byte_is_noticed(at in 0..sample().to_bytes().len(), flip in 1..=255u8) {
            let mut bytes = sample().to_bytes();
            bytes[at] ^= flip;
            // A digit of the digest in the other case is the same digit.
            prop_assert!(Journal::parse(&bytes).map_or(true, |read| read.to_bytes() == sample().to_bytes()));
        }

        #[test]
        fn no_bytes_panic(at in 0..900usize, byte: u8, cut in 0..1200usize) {
            let mut bytes = sample().to_bytes();
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            bytes.truncate(cut);
            drop(Journal::parse(&bytes));
        }
    }
}
