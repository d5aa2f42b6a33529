//! Undoing a run: one that failed just now, or one that was interrupted.
//!
//! **Invariant:** a place or a profile is put back only where it is what the run made of it; what an administrator or
//! a package wrote since stays and is named.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::cache::drop_cached;
use super::directories::{Directories, put};
use super::loading::{load, remove};
use super::state::{NextLedger, drop_journal, settle_journal};
use crate::error::Error;
use crate::host::dir::Removal;
use crate::host::kernel::{Evidence, Kernel, KernelState, Loaded};
use crate::host::replace::random_digits;
use crate::host::spool::Spool;
use crate::host::{Host, LockedHost};
use crate::journal::{Journal, LoadedPolicy, PlaceChange, ProfileChange, SavedPolicy};
use crate::ledger::{LedgerId, Stands};
use crate::observe::{
    Assumed, JOURNAL, JOURNAL_DIR, LEDGER, MAX_LEDGER, POLICY_DIR, RECENT, STATE_DIR, read_journal, read_ledger,
    read_parser_conf, standing_of,
};
use crate::plan::{Standing, mode_as_compiled};
use crate::policy::{LoadSet, ShownHash};
use crate::profile::{Digest, ProfileName};
use crate::report::Recovered;

/// The largest file that is compared with what a run wrote, in bytes.
const MAX_COMPARED: u64 = 16 << 20;

/// What undoing came to.
#[derive(Debug, Default)]
pub(super) struct Undone {
    /// Put back.
    pub(super) restored: Vec<String>,
    /// Left, because somebody else wrote there since.
    pub(super) foreign: Vec<String>,
    /// Not put back, because that failed.
    pub(super) failed: Vec<String>,
    /// Profiles of the run that stay loaded, because processes run under them by now.
    pub(super) in_use: InUse,
}

/// Profiles that an undone run had created, and the numbers of the processes for which they stay loaded.
pub(super) type InUse = BTreeMap<ProfileName, BTreeSet<u32>>;

/// What is to be known of profiles that stay loaded.
pub(super) fn told_in_use(in_use: &InUse) -> impl Iterator<Item = String> + '_ {
    in_use.iter().map(|(name, pids)| {
        let pids = pids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        format!("profile `{name}` stays loaded: removing it would unconfine running processes ({pids}) for good")
    })
}

/// What recovery came to.
#[derive(Debug)]
pub enum Recovery {
    /// There was nothing to recover, or it is recovered.
    Clean(Option<Recovered>),
    /// Something could not be put back; the journal stays for the next run.
    Incomplete(Vec<String>),
}

/// What recovery would do.
#[derive(Debug, Default)]
pub struct Pending {
    /// What the report says of it.
    pub recovered: Option<Recovered>,
    /// The places as they would be.
    pub assumed: Assumed,
}

enum Whose {
    /// As before the run: there is nothing to undo.
    Before,
    /// As the run left it.
    Ours,
    /// As somebody else left it.
    Foreign,
}

/// Undoes a run, last effect first.
pub(super) fn undo(journal: &Journal, host: &mut Host) -> Undone {
    let mut undone = Undone::default();
    // A boot must not find compiled policy of the run once its files are gone.
    let dropped = read_parser_conf(host).and_then(|conf| drop_cached(host, &conf, &journal.cached));
    undone.failed.extend(dropped.err().map(|error| format!("compiled policy that a boot would load: {error}")));
    undo_kernel(journal, host, &mut undone);
    let mut directories = Directories::new(&host.root);
    for place in journal.places.iter().rev() {
        let name = format!("`{}`", place.path);
        match put_back(host, &mut directories, place) {
            Ok(Whose::Before) => {}
            Ok(Whose::Ours) => undone.restored.push(name),
            Ok(Whose::Foreign) => {
                undone.foreign.push(format!("{name} was changed by somebody since, and undoing leaves it so"))
            }
            Err(error) => undone.failed.push(format!("{name}: {error}")),
        }
    }
    if let Err(error) = directories.sync() {
        undone.failed.push(error.to_string());
    }
    for path in journal.directories.iter().rev() {
        let removed = directories.of(path).and_then(|place| match place {
            Some((parent, name)) => parent.remove_dir(name),
            None => Ok(Removal::Absent),
        });
        match removed {
            Ok(_) => {}
            // What stands there is not the directory that the run made.
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotADirectory => {}
            Err(error) => undone.failed.push(format!("`{path}`: {error}")),
        }
    }
    undone
}

fn put_back(host: &Host, directories: &mut Directories<'_>, place: &PlaceChange) -> Result<Whose, Error> {
    let whose = whose(host, place)?;
    if let (Whose::Ours, Some((directory, name))) = (&whose, directories.of(&place.path)?) {
        put(&directory, name, &place.before)?;
    }
    Ok(whose)
}

fn whose(host: &Host, place: &PlaceChange) -> Result<Whose, Error> {
    let at = Path::new(POLICY_DIR).join(place.path.as_str());
    let standing = standing_of(host.root.entry(&at, MAX_COMPARED)?, || host.root.kind(&at))?;
    let same = |other: &Stands| match (&standing, other) {
        // A file is known by its bytes: what changed its permission bits since did not write policy.
        (Standing::File(text, _), Stands::File { sha256, .. }) => text.digest() == *sha256,
        (standing, other) => standing.stands().is_some_and(|stands| stands == *other),
    };
    let before = place.before.stands();
    Ok(if standing.stands().is_some_and(|stands| stands == before) {
        Whose::Before
    } else if same(&place.after) {
        Whose::Ours
    } else if same(&before) {
        Whose::Before
    } else {
        Whose::Foreign
    })
}

fn undo_kernel(journal: &Journal, host: &mut Host, undone: &mut Undone) {
    let Some(kernel) = host.kernel.as_deref_mut().filter(|_| !journal.profiles.is_empty()) else { return };
    if let Err(error) = put_profiles_back(journal, kernel, undone) {
        undone.failed.push(format!("the profiles in the kernel: {error}"));
    }
}

fn put_profiles_back(journal: &Journal, kernel: &mut dyn Kernel, undone: &mut Undone) -> Result<(), Error> {
    let names = journal.profiles.iter().map(|change| change.name.clone()).collect();
    let state = kernel.observe(&names, None)?;
    let mut blobs = Vec::new();
    let mut removed = Vec::new();
    let mut restored = Vec::new();
    undone.in_use = in_use(journal, &state, kernel)?;
    for change in journal.profiles.iter().filter(|change| !undone.in_use.contains_key(&change.name)) {
        let named = format!("profile `{}`", change.name);
        match (whose_profile(change, &state), &change.before) {
            (Whose::Before, _) => {}
            (Whose::Foreign, _) => {
                undone.foreign.push(format!("{named} was loaded by somebody since, and undoing leaves it so"))
            }
            (Whose::Ours, None) => {
                removed.push(&change.name);
                restored.push(change);
            }
            (Whose::Ours, Some(SavedPolicy { blob: Some(blob), .. })) => {
                blobs.push(blob.as_slice());
                restored.push(change);
            }
            (Whose::Ours, Some(_)) => undone.failed.push(format!("{named}: its compiled policy was not kept")),
        }
    }
    if restored.is_empty() {
        return Ok(());
    }
    match LoadSet::build(&blobs) {
        Ok(sets) => {
            for set in &sets {
                if let Err(failure) = load(kernel, set, &mut |_| {}) {
                    undone.failed.push(failure.to_string());
                }
            }
        }
        Err(problems) => undone.failed.extend(problems.iter().map(ToString::to_string)),
    }
    removed.sort_by_key(|name| std::cmp::Reverse(name.depth()));
    for name in removed {
        if let Err(failure) = remove(kernel, name) {
            undone.failed.push(failure.to_string());
        }
    }
    // What the kernel says of the writes is one thing, what it runs is another.
    let state = kernel.observe(&names, None)?;
    for change in restored {
        let named = format!("profile `{}`", change.name);
        match whose_profile(change, &state) {
            Whose::Before => undone.restored.push(named),
            Whose::Ours | Whose::Foreign => undone.failed.push(format!("{named} is not what it was")),
        }
    }
    Ok(())
}

/// The profiles that the run created and that processes run under by now, hats and children of such a one included:
/// those who run under it may want to change into them.
fn in_use(journal: &Journal, state: &KernelState, kernel: &dyn Kernel) -> Result<InUse, Error> {
    let created = journal
        .profiles
        .iter()
        .filter(|change| change.before.is_none() && matches!(whose_profile(change, state), Whose::Ours));
    let created: BTreeSet<ProfileName> = created.map(|change| change.name.clone()).collect();
    if created.is_empty() {
        return Ok(InUse::new());
    }
    let mut in_use = InUse::new();
    for process in kernel.confined(&created)? {
        let roots = created.iter().filter(|name| !created.iter().any(|above| above != *name && name.is_within(above)));
        for root in roots.filter(|root| process.is_confined_by(&[(*root).clone()].into())) {
            for name in created.iter().filter(|name| name.is_within(root)) {
                in_use.entry(name.clone()).or_default().insert(process.pid);
            }
        }
    }
    Ok(in_use)
}

fn whose_profile(change: &ProfileChange, kernel: &KernelState) -> Whose {
    let loaded = kernel.loaded.get(&change.name);
    let is = |policy: &LoadedPolicy| {
        loaded.is_some_and(|loaded| {
            let hash = match (&loaded.hash, &policy.hash, &policy.computed) {
                (Some(now), Some(then), _) => now.to_string() == *then,
                (None, Some(_), _) => kernel.evidence == Evidence::Name,
                (_, None, Some(computed)) => kernel.shows(loaded, computed),
                // What was loaded before had nothing to know it by but its mode.
                (_, None, None) => true,
            };
            hash && loaded.mode == mode_as_compiled(policy.mode)
        })
    };
    let as_before = change.before.as_ref().map_or(loaded.is_none(), |saved| is(&saved.loaded));
    let as_after = change.after.as_ref().map_or(loaded.is_none(), is);
    if as_before {
        Whose::Before
    } else if as_after {
        Whose::Ours
    } else {
        Whose::Foreign
    }
}

/// Undoes an interrupted run, and removes what it left under temporary names.
pub(super) fn recover(host: &mut LockedHost) -> Result<Recovery, Error> {
    let Some(journal) = read_journal(&host.host)? else {
        if !host.lock.follows_nothing_left() {
            sweep(host)?;
        }
        return Ok(Recovery::Clean(None));
    };
    sweep(host)?;
    if is_complete(&journal, &host.host)? {
        // The dead run may not have come to flush its ledger's name.
        host.host.root.private_dir(Path::new(STATE_DIR))?.sync()?;
        drop_journal(&host.host)?;
        return Ok(Recovery::Clean(None));
    }
    refuse_half_recovery(&journal, &host.host)?;
    let undone = undo(&journal, &mut host.host);
    if !undone.failed.is_empty() {
        return Ok(Recovery::Incomplete(undone.failed));
    }
    leave_loaded(&host.host, &undone.in_use)?;
    drop_journal(&host.host)?;
    let left = undone.foreign.into_iter().chain(told_in_use(&undone.in_use)).collect();
    Ok(Recovery::Clean(Some(Recovered { restored: undone.restored, left })))
}

/// Has the ledger remember profiles that stay loaded, so that the next run takes them away as the document says of
/// profiles that confine processes.
fn leave_loaded(host: &Host, in_use: &InUse) -> Result<(), Error> {
    if in_use.is_empty() {
        return Ok(());
    }
    let mut ledger = read_ledger(host)?;
    ledger.left_loaded.extend(in_use.keys().cloned());
    let state = host.root.private_dir(Path::new(STATE_DIR))?;
    // This journal's run may have died before it flushed the name, over that of a complete run.
    settle_journal(&state)?;
    let file = ledger.into_file(LedgerId::new(random_digits()));
    NextLedger::write(&state, &file)?.put_in_place()?;
    state.sync()
}

/// Refuses to undo a run's files and leave what it loaded.
fn refuse_half_recovery(journal: &Journal, host: &Host) -> Result<(), Error> {
    if host.kernel.is_some() || journal.profiles.is_empty() {
        return Ok(());
    }
    Err(Error::Kernel {
        code: "recovery",
        message: "an interrupted run changed policy in the kernel, which this run leaves alone".to_owned(),
        remedy: format!(
            "run it once without --kernel skip: that undoes the interrupted run, files and kernel; where that cannot be \
             (another kernel, an image), move {} away: then the interrupted run's files stay as they are",
            host.root.shown(&Path::new(STATE_DIR).join(JOURNAL_DIR).join(JOURNAL)).display()
        ),
    })
}

/// What [`recover`] would do.
pub(super) fn pending(host: &Host) -> Result<Pending, Error> {
    let Some(journal) = read_journal(host)? else { return Ok(Pending::default()) };
    if is_complete(&journal, host)? {
        return Ok(Pending::default());
    }
    refuse_half_recovery(&journal, host)?;
    let mut recovered = Recovered::default();
    let (profiles, in_use) = pending_profiles(&journal, host, &mut recovered)?;
    let mut places = BTreeMap::new();
    for place in journal.places.iter().rev() {
        match whose(host, place)? {
            Whose::Before => {}
            Whose::Ours => {
                recovered.restored.push(format!("`{}`", place.path));
                places.insert(place.path.clone(), place.before.clone());
            }
            Whose::Foreign => {
                recovered
                    .left
                    .push(format!("`{}` was changed by somebody since, and undoing leaves it so", place.path));
            }
        }
    }
    recovered.left.extend(told_in_use(&in_use));
    let left_loaded = in_use.into_keys().collect();
    Ok(Pending { recovered: Some(recovered), assumed: Assumed { places, profiles, left_loaded } })
}

fn pending_profiles(
    journal: &Journal,
    host: &Host,
    recovered: &mut Recovered,
) -> Result<(BTreeMap<ProfileName, Option<Loaded>>, InUse), Error> {
    let Some(kernel) = host.kernel.as_deref().filter(|_| !journal.profiles.is_empty()) else {
        return Ok((BTreeMap::new(), InUse::new()));
    };
    let names = journal.profiles.iter().map(|change| change.name.clone()).collect();
    let state = kernel.observe(&names, None)?;
    let in_use = in_use(journal, &state, kernel)?;
    let mut profiles = BTreeMap::new();
    for change in journal.profiles.iter().filter(|change| !in_use.contains_key(&change.name)) {
        let named = format!("profile `{}`", change.name);
        match whose_profile(change, &state) {
            Whose::Before => {}
            Whose::Ours => {
                recovered.restored.push(named);
                let before = change.before.as_ref().map(|saved| Loaded {
                    mode: saved.loaded.mode,
                    hash: saved.loaded.hash.as_deref().and_then(ShownHash::from_hex),
                });
                profiles.insert(change.name.clone(), before);
            }
            Whose::Foreign => {
                recovered.left.push(format!("{named} was loaded by somebody since, and undoing leaves it so"))
            }
        }
    }
    Ok((profiles, in_use))
}

/// Whether the journal's run had written its ledger, which it does last: it was killed afterwards, or the power brought
/// the journal back.
fn is_complete(journal: &Journal, host: &Host) -> Result<bool, Error> {
    let Some(after) = journal.ledger_after else { return Ok(false) };
    for name in [LEDGER, RECENT] {
        let file = host.root.read(&Path::new(STATE_DIR).join(name), MAX_LEDGER)?;
        if file.is_some_and(|file| Digest::of(&file.bytes) == after) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn sweep(locked: &LockedHost) -> Result<(), Error> {
    let root = &locked.host.root;
    let policy = root.dir(Path::new(POLICY_DIR))?;
    let state = root.existing_private_dir(Path::new(STATE_DIR))?;
    for directory in policy.iter().chain(&state).chain([locked.lock.dir()]) {
        directory.sweep_temporaries()?;
    }
    Spool::sweep(&locked.lock)
}
