//! What this program keeps for itself: the ledger, the journal of a run under way, and the adopted files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::error::Error;
use crate::host::Host;
use crate::host::dir::Dir;
use crate::host::replace::Temporary;
use crate::host::root::Root;
use crate::ledger::{Attributes, Held, LedgerFile, Original, Stands};
use crate::observe::{ADOPTED_DIR, JOURNAL, JOURNAL_DIR, LEDGER, RECENT, STATE_DIR};
use crate::profile::PolicyPath;
use crate::tree::Text;

/// A ledger that is durable, and is the one that holds once it is renamed to its place.
pub(super) struct NextLedger {
    file: Temporary,
    place: &'static str,
}

impl NextLedger {
    /// Writes it under a temporary name.
    pub(super) fn write(state: &Dir, file: &LedgerFile) -> Result<Self, Error> {
        let place = match file {
            LedgerFile::Whole(_) => LEDGER,
            LedgerFile::Changes(_) => RECENT,
        };
        Ok(Self { file: state.write_temporary(file.bytes(), Attributes::ours(0o600))?, place })
    }

    /// Makes it the one that holds.
    pub(super) fn put_in_place(self) -> Result<(), Error> {
        self.file.rename_to(self.place)
    }
}

/// Writes the journal into its directory, durably, before anything that it undoes is done.
pub(super) fn write_journal(directory: &Dir, bytes: &[u8]) -> Result<(), Error> {
    directory.write_temporary(bytes, Attributes::ours(0o600))?.rename_to(JOURNAL)?;
    directory.sync()
}

/// Removes the journal, durably: the run that it would undo is complete, or undone.
pub(super) fn drop_journal(host: &Host) -> Result<(), Error> {
    let Some(state) = host.root.existing_private_dir(Path::new(STATE_DIR))? else { return Ok(()) };
    outdate_journal(&state)?;
    settle_journal(&state)
}

/// Removes the journal of a run whose ledger is durable. The removal need not be: should the journal come back when the
/// power fails, it still names the ledger that holds, and is known for that of a complete run.
pub(super) fn outdate_journal(state: &Dir) -> Result<(), Error> {
    let Some(directory) = state.existing_private_dir(JOURNAL_DIR)? else { return Ok(()) };
    directory.remove_file(JOURNAL).map(drop)
}

/// Makes durable what the journal's directory holds: a journal that [`outdate_journal`] removed must not come back beside
/// a later ledger, which it does not name. So this comes before every ledger that no journal names.
pub(super) fn settle_journal(state: &Dir) -> Result<(), Error> {
    state.existing_private_dir(JOURNAL_DIR)?.map_or(Ok(()), |directory| directory.sync())
}

/// Keeps the bytes of others' files that are written over. Each is named by its digest, so that one that is there
/// already is never written over, and one that turns out not to be needed does no harm.
pub(super) fn adopt(root: &Root, adoptions: &[Arc<Text>]) -> Result<(), Error> {
    if adoptions.is_empty() {
        return Ok(());
    }
    let directory = root.private_dir(Path::new(STATE_DIR))?.private_dir(ADOPTED_DIR)?;
    for text in adoptions {
        let name = text.digest().to_string();
        let known = directory.read(&name, text.bytes.len() as u64 + 1).ok().flatten();
        if known.is_some_and(|known| known.bytes == text.bytes) {
            continue;
        }
        directory.write_temporary(&text.bytes, Attributes::ours(0o600))?.rename_to(&name)?;
    }
    directory.sync()
}

/// Removes adopted files that nothing will ever put back.
pub(super) fn forget_adopted(state: &Dir, held: &BTreeMap<PolicyPath, Held>) -> Result<(), Error> {
    let Some(directory) = state.existing_private_dir(ADOPTED_DIR)? else { return Ok(()) };
    let needed: BTreeSet<String> = held
        .values()
        .filter_map(|held| match &held.original {
            Original::Kept(Stands::File { sha256, .. }) => Some(sha256.to_string()),
            _ => None,
        })
        .collect();
    for listed in directory.list()? {
        if listed.name.to_str().is_some_and(|name| !needed.contains(name)) {
            let _removed = directory.remove_file(&listed.name)?;
        }
    }
    Ok(())
}
