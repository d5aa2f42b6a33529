//! The journal: how to undo a run, on disk before its first effect.
//!
//! It is one file: a line of JSON, then the bytes that the line refers to. It is written under another name, flushed
//! and renamed, so it is there whole or not at all; its digest is checked all the same.
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
    ledger_after: Option<Digest>,
    directories: Vec<PolicyPath>,
    places: Vec<PlaceRecord>,
    profiles: Vec<ProfileRecord>,
    cached: Vec<FileName>,
    /// SHA-256 of all that follows the line.
    payload: Digest,
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
        let head = Head {
            format: FORMAT,
            ledger_after: self.ledger_after,
            directories: self.directories.clone(),
            places,
            profiles,
            cached: self.cached.clone(),
            payload: Digest::of(&payload.0),
        };
        // Checked strings, numbers and enums: nothing in a head can fail to become JSON.
        let mut bytes = serde_json::to_vec(&head).unwrap_or_default();
        bytes.push(b'\n');
        bytes.extend_from_slice(&payload.0);
        bytes
    }

    /// Reads a journal's bytes.
    ///
    /// # Errors
    /// A newer format, or anything that this program does not write.
    pub fn parse(bytes: &[u8]) -> Result<Self, Unusable> {
        let damaged = |why: &str| Unusable::Damaged(why.to_owned());
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| damaged("its first line does not end"))?;
        let (line, payload) = (&bytes[..end], &bytes[end + 1..]);
        check_format(line, FORMAT)?;
        let head: Head = serde_json::from_slice(line).map_err(|error| Unusable::Damaged(error.to_string()))?;
        if head.payload != Digest::of(payload) {
            return Err(damaged("its bytes do not have the digest that it gives"));
        }
        let mut journal = Journal {
            ledger_after: head.ledger_after,
            directories: head.directories,
            cached: head.cached,
            ..Journal::default()
        };
        for record in head.places {
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
        for record in head.profiles {
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
