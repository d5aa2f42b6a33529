//! Reads what this program keeps for itself between runs: the ledger and the journal.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::host::Host;
use crate::host::dir::Dir;
use crate::journal::Journal;
use crate::ledger::{Attributes, Ledger, Unusable};

/// Where this program keeps what it remembers, below the root.
pub const STATE_DIR: &str = "/var/lib/aa-converge";
/// The name of the whole ledger in [`STATE_DIR`].
pub const LEDGER: &str = "state.json";
/// The name of what has changed since the whole ledger was written, in [`STATE_DIR`].
pub const RECENT: &str = "state.recent.json";
/// The directory of journals in [`STATE_DIR`].
pub const JOURNAL_DIR: &str = "journal";
/// The journal's name in [`JOURNAL_DIR`].
pub const JOURNAL: &str = "undo";
/// The directory of adopted files in [`STATE_DIR`]; each is named by the SHA-256 of its bytes.
pub const ADOPTED_DIR: &str = "adopted";

/// The largest ledger that is read, in bytes: about 100,000 profiles.
pub const MAX_LEDGER: u64 = 512 << 20;
/// The largest journal that is read, in bytes: the compiled policy of a whole system takes about 100 MiB.
const MAX_JOURNAL: u64 = 4 << 30;

/// Reads the ledger; a host without one has an empty one.
///
/// # Errors
/// It cannot be read, is damaged, or a newer version wrote it.
pub fn read_ledger(host: &Host) -> Result<Ledger, Error> {
    let Some(state) = host.root.existing_private_dir(Path::new(STATE_DIR))? else { return Ok(Ledger::default()) };
    // The changes come first, for readers that do not wait for a run: should a whole ledger be written meanwhile, they are
    // about an older one, and what is read is the new one. The other way around, an old one would lack its changes.
    let changes = read_ours(&state, RECENT, MAX_LEDGER)?;
    let shown = |name| state.shown().join(name);
    let ledger = match read_ours(&state, LEDGER, MAX_LEDGER)? {
        Some(whole) => Ledger::parse(&whole).map_err(|why| {
            unusable(shown(LEDGER), &why, "then the files that it lists are taken over as somebody else's")
        })?,
        None => Ledger::default(),
    };
    let Some(changes) = changes else { return Ok(ledger) };
    ledger.caught_up(&changes).map_err(|why| {
        unusable(shown(RECENT), &why, "then what the last runs changed counts as changed by somebody else")
    })
}

/// Reads the journal that an interrupted run left.
///
/// # Errors
/// It cannot be read, is damaged, or a newer version wrote it.
pub fn read_journal(host: &Host) -> Result<Option<Journal>, Error> {
    let Some(state) = host.root.existing_private_dir(Path::new(STATE_DIR))? else { return Ok(None) };
    let Some(directory) = state.existing_private_dir(JOURNAL_DIR)? else { return Ok(None) };
    let Some(bytes) = read_ours(&directory, JOURNAL, MAX_JOURNAL)? else { return Ok(None) };
    let journal = Journal::parse(&bytes).map_err(|why| {
        unusable(directory.shown().join(JOURNAL), &why, "then the interrupted run's files stay as they are")
    })?;
    Ok(Some(journal))
}

/// Reads a file of ours, and refuses what this program would not have left: a file of somebody else's, or one that others may write.
pub(super) fn read_ours(directory: &Dir, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
    let Some(read) = directory.read(name, limit)? else { return Ok(None) };
    let ours = Attributes::ours(0o600);
    if read.attributes.uid == ours.uid && read.attributes.mode & 0o022 == 0 {
        return Ok(Some(read.bytes));
    }
    let path = directory.shown().join(name);
    Err(Error::Untrusted {
        why: format!("it belongs to user {} and has mode {:04o}", read.attributes.uid, read.attributes.mode),
        remedy: format!(
            "if you trust it: chown {} {1} && chmod 0600 {1}; otherwise move it away",
            ours.uid,
            path.display()
        ),
        path,
    })
}

fn unusable(path: PathBuf, why: &Unusable, then: &str) -> Error {
    let away = format!("move {} away: {then}", path.display());
    let remedy = match why {
        Unusable::Newer(_) => "install the aa-converge that wrote it, or a newer one".to_owned(),
        Unusable::Damaged(_) => format!("the policy was not touched; {away}"),
        Unusable::Torn => format!("the policy was not touched; bring back the {LEDGER} that it is about, or {away}"),
    };
    Error::Untrusted { path, why: why.to_string(), remedy }
}
