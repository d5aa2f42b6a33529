//! The two files of a ledger: the whole of it, and what has changed since that was written.
//!
//! A whole ledger grows with the policy, and a run usually changes little of it. So a run writes the changes since the
//! whole ledger alone, all of them, until these are too many. Either file is put in place atomically, which makes the
//! run's ledger the one that holds. A file of changes names the whole ledger that it is about. The next whole one leaves it
//! there and names the same, so that it means nothing any more; beside any other, the two are of different moments.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Basis, Compiled, Growing, Held, Ledger, Read, Tables};
use crate::profile::{FileName, PolicyPath, ProfileName};

/// The format that this program writes.
pub const FORMAT: u32 = 1;

/// What a place or a record takes in a written ledger, with its share of inputs: enough to grow a buffer but once.
const USUAL_BYTES_OF_AN_ENTRY: usize = 384;

/// The changes are too many when there is more than one for so many places and records of the ledger.
const ENTRIES_FOR_A_CHANGE: usize = 4;

/// What a written ledger is known by: changes name the whole that they are about. No two have the same, so that the bytes
/// of each are its own, and a journal can name by their digest those that complete its run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LedgerId(String);

impl LedgerId {
    /// An id of digits that nobody used before: random ones.
    #[must_use]
    pub fn new(digits: String) -> Self {
        Self(digits)
    }
}

/// A file that makes a ledger the one that holds, once it is in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerFile {
    /// The whole ledger.
    Whole(Vec<u8>),
    /// What has changed since the whole ledger that is in place.
    Changes(Vec<u8>),
}

impl LedgerFile {
    /// What is in the file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Whole(bytes) | Self::Changes(bytes) => bytes,
        }
    }
}

/// The places and records in which a ledger differs from the whole one that was written last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Recent {
    /// The whole one; none if there is none.
    since: Option<LedgerId>,
    /// The whole one that the file of changes on disk is about, which may be an older one; none if there is no file.
    on_disk: Option<LedgerId>,
    /// The file, of either kind, that made this ledger hold.
    latest: Option<LedgerId>,
    held: BTreeSet<PolicyPath>,
    compiled: BTreeSet<FileName>,
    read: BTreeSet<FileName>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    format: u32,
    id: LedgerId,
    held: BTreeMap<PolicyPath, Held>,
    compiled: BTreeMap<FileName, Compiled>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    read: BTreeMap<FileName, Read>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    left_loaded: BTreeSet<ProfileName>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    made: BTreeSet<PolicyPath>,
    /// The older ledger that the file of changes was about when this one was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outdated: Option<LedgerId>,
    tables: Tables,
}

/// What is null was there, and is no more. Sets are whole.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Changes {
    format: u32,
    id: LedgerId,
    since: LedgerId,
    held: BTreeMap<PolicyPath, Option<Held>>,
    compiled: BTreeMap<FileName, Option<Compiled>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    read: BTreeMap<FileName, Option<Read>>,
    left_loaded: BTreeSet<ProfileName>,
    made: BTreeSet<PolicyPath>,
    tables: Tables,
}

impl Ledger {
    /// What the ledger is known by on disk; none if it is of a host without one.
    #[must_use]
    pub fn id(&self) -> Option<&LedgerId> {
        self.recent.latest.as_ref()
    }

    /// Reads a whole ledger.
    ///
    /// # Errors
    /// A newer format, or anything that this program does not write.
    pub fn parse(bytes: &[u8]) -> Result<Self, Unusable> {
        let whole = parse(bytes, |whole: &Whole| whole.format)?;
        let compiled = whole.compiled.iter().map(|(file, record)| (file, &record.basis));
        let read = whole.read.iter().map(|(file, record)| (file, &record.basis));
        whole.tables.check(compiled.chain(read)).map_err(Unusable::Damaged)?;
        let (since, on_disk) = (Some(whole.id), whole.outdated);
        let recent = Recent { latest: since.clone(), since, on_disk, ..Recent::default() };
        let Whole { held, compiled, read, left_loaded, made, tables, .. } = whole;
        Ok(Self { held, compiled, read, left_loaded, made, tables, recent })
    }

    /// The ledger with the changes in `bytes`, unless these are about the one before it, or there is none.
    ///
    /// # Errors
    /// A newer format, or anything that this program does not write; or the changes are about another ledger.
    pub fn caught_up(mut self, bytes: &[u8]) -> Result<Self, Unusable> {
        let mut changes = parse(bytes, |changes: &Changes| changes.format)?;
        let compiled = changes.compiled.iter().filter_map(|(file, record)| Some((file, &record.as_ref()?.basis)));
        let read = changes.read.iter().filter_map(|(file, record)| Some((file, &record.as_ref()?.basis)));
        changes.tables.check(compiled.chain(read)).map_err(Unusable::Damaged)?;
        let about = Some(changes.since);
        if self.recent.since != about {
            if self.recent.since.is_some() && self.recent.on_disk != about {
                return Err(Unusable::Torn);
            }
            self.recent.on_disk = about;
            return Ok(self);
        }
        (self.recent.on_disk, self.recent.latest) = (about, Some(changes.id));
        let mut tables = Growing::from(std::mem::take(&mut self.tables));
        tables.adopt(
            &changes.tables,
            bases(changes.compiled.values_mut().flatten(), changes.read.values_mut().flatten()),
        );
        self.tables = tables.into();
        changes.held.into_iter().for_each(|(path, held)| self.set_held(path, held));
        changes.compiled.into_iter().for_each(|(file, record)| self.set_compiled(file, record));
        changes.read.into_iter().for_each(|(file, record)| self.set_read(file, record));
        (self.left_loaded, self.made) = (changes.left_loaded, changes.made);
        Ok(self)
    }

    /// What to write so that this ledger is the one that holds, without what no record uses any more.
    #[must_use]
    pub fn into_file(mut self, id: LedgerId) -> LedgerFile {
        let recent = std::mem::take(&mut self.recent);
        let changed = recent.held.len() + recent.compiled.len() + recent.read.len();
        let entries = self.held.len() + self.compiled.len() + self.read.len();
        match recent.since {
            Some(since) if changed * ENTRIES_FOR_A_CHANGE <= entries => {
                let held = taken(&mut self.held, recent.held);
                let mut compiled = taken(&mut self.compiled, recent.compiled);
                let mut read = taken(&mut self.read, recent.read);
                let tables = self.tables.narrowed(bases(compiled.values_mut().flatten(), read.values_mut().flatten()));
                let (left_loaded, made) = (std::mem::take(&mut self.left_loaded), std::mem::take(&mut self.made));
                // To give back all that stays as it is, piece by piece, would keep the run waiting.
                std::mem::forget(self);
                let changes = Changes { format: FORMAT, id, since, held, compiled, read, left_loaded, made, tables };
                LedgerFile::Changes(written(&changes, changed))
            }
            _ => {
                let tables = self.tables.narrowed(bases(self.compiled.values_mut(), self.read.values_mut()));
                let Self { held, compiled, read, left_loaded, made, .. } = self;
                let outdated = recent.on_disk;
                let whole = Whole { format: FORMAT, id, held, compiled, read, left_loaded, made, outdated, tables };
                LedgerFile::Whole(written(&whole, entries))
            }
        }
    }

    /// Changes what is held at a place.
    pub(super) fn set_held(&mut self, path: PolicyPath, held: Option<Held>) {
        match held {
            Some(held) => drop(self.held.insert(path.clone(), held)),
            None => drop(self.held.remove(&path)),
        }
        self.recent.held.insert(path);
    }

    /// Changes the record of a file.
    pub(super) fn set_compiled(&mut self, file: FileName, record: Option<Compiled>) {
        match record {
            Some(record) => drop(self.compiled.insert(file.clone(), record)),
            None => drop(self.compiled.remove(&file)),
        }
        self.recent.compiled.insert(file);
    }

    /// Changes what is known of another's file.
    pub(super) fn set_read(&mut self, file: FileName, record: Option<Read>) {
        match record {
            Some(record) => drop(self.read.insert(file.clone(), record)),
            None => drop(self.read.remove(&file)),
        }
        self.recent.read.insert(file);
    }
}

/// What all these records rest on.
fn bases<'r>(
    compiled: impl Iterator<Item = &'r mut Compiled>,
    read: impl Iterator<Item = &'r mut Read>,
) -> impl Iterator<Item = &'r mut Basis> {
    compiled.map(|record| &mut record.basis).chain(read.map(|record| &mut record.basis))
}

/// What stands at these keys, or that nothing does.
fn taken<K: Ord, V>(map: &mut BTreeMap<K, V>, keys: BTreeSet<K>) -> BTreeMap<K, Option<V>> {
    keys.into_iter().map(|key| map.remove_entry(&key).map_or((key, None), |(key, value)| (key, Some(value)))).collect()
}

fn written(file: &impl Serialize, entries: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries * USUAL_BYTES_OF_AN_ENTRY);
    // Maps with checked strings for keys, numbers and enums: nothing in a ledger can fail to become JSON.
    let _cannot_fail = serde_json::to_writer(&mut bytes, file);
    bytes.push(b'\n');
    bytes
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
    /// Changes that are not about the whole ledger beside them.
    #[error("it is about another ledger than the one beside it: one was copied or put back without the other")]
    Torn,
}

#[derive(Deserialize)]
struct Head {
    format: u64,
}

fn parse<'b, T: Deserialize<'b>>(bytes: &'b [u8], format: impl Fn(&T) -> u32) -> Result<T, Unusable> {
    let text = std::str::from_utf8(bytes).map_err(|error| Unusable::Damaged(error.to_string()))?;
    match serde_json::from_str(text) {
        Ok(file) if format(&file) == FORMAT => Ok(file),
        Ok(file) => Err(wrong_format(u64::from(format(&file)))),
        Err(error) => {
            check_format(bytes, FORMAT)?;
            Err(Unusable::Damaged(error.to_string()))
        }
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
