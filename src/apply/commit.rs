//! The transaction: journal, files, kernel, proof, cache, ledger; or everything undone.

use std::path::Path;
use std::thread;
use std::time::Instant;

use super::directories::{Directories, put, remove_empty};
use super::loading::{Removed, load, prove, refused_by_kernel, remove};
use super::prepare::{LastLook, Prepared, refuse_confined};
use super::state::{NextLedger, drop_journal, forget_adopted, outdate_journal, settle_journal, write_journal};
use super::undo::told_in_use;
use super::{applied, elapsed_ms, unconfined, undo};
use crate::document::OnConfined;
use crate::error::Error;
use crate::host::Host;
use crate::host::dir::Dir;
use crate::host::kernel::Process;
use crate::host::replace::Temporary;
use crate::host::spool::Spool;
use crate::ledger::Attributes;
use crate::observe::{JOURNAL_DIR, POLICY_DIR, SIGHTING, STATE_DIR, standing_of};
use crate::plan::{Effect, EntryOf, Standing};
use crate::policy::LoadSet;
use crate::profile::{PolicyPath, ProfileName};
use crate::report::{EntryError, Listing, NeedsRestart, Outcome, Report, Rollback, RollbackState, RunError};
use crate::sighting::Sighting;

/// The largest file that is compared with what was observed, in bytes.
const MAX_COMPARED: u64 = 16 << 20;

/// How far a commit has come; what fails before the first effect leaves nothing to undo.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    BeforeFirstEffect,
    Changing,
}

impl Prepared {
    /// Carries the plan out. Whatever happens is in the report.
    #[must_use]
    pub fn commit(mut self, listing: Listing) -> Report {
        let report = self.carry_out(listing);
        // The process ends with the report. To give back what the plan holds, piece by piece, would keep it waiting.
        std::mem::forget((self.compiled.plan, self.compiled.defined));
        report
    }

    fn carry_out(&mut self, listing: Listing) -> Report {
        let started = Instant::now();
        let mut stage = Stage::BeforeFirstEffect;
        let result = self.transact(&mut stage);
        let recovered = self.host.recovered.take();
        let mut draft = std::mem::take(&mut self.compiled.plan.draft);
        draft.elapsed.commit = elapsed_ms(started);
        let failure = match result {
            Ok(cleaned) => {
                match self.unconfined() {
                    Ok(processes) => draft.needs_restart = processes,
                    Err(error) => {
                        draft.warnings.push(format!("done, but which processes to restart is unknown: {error}"))
                    }
                }
                let tidied = [cleaned, self.remember_kernel()];
                if tidied.iter().all(Result::is_ok) {
                    self.host.lock.leaves_nothing();
                }
                let untidy = tidied.into_iter().filter_map(Result::err);
                draft.warnings.extend(untidy.map(|error| format!("done, but {error}")));
                applied(&mut draft, recovered);
                return draft.finish(listing);
            }
            Err(failure) => failure,
        };
        draft.recovered = recovered;
        if stage == Stage::BeforeFirstEffect {
            return draft.refuse(failure.error, listing);
        }
        let undone = undo::undo(&self.journal, &mut self.host.host);
        draft.settle(Outcome::RolledBack);
        // The profiles are back. Their processes do not come back under them.
        draft.needs_restart = std::mem::take(&mut self.released);
        draft.rollback = Rollback { state: RollbackState::Complete, left: Vec::new() };
        // What somebody else wrote is not this run's to put back.
        draft.warnings.extend(undone.foreign);
        let left: Vec<String> = undone.failed.into_iter().chain(told_in_use(&undone.in_use)).collect();
        if !left.is_empty() {
            draft.rollback = Rollback { state: RollbackState::Incomplete, left };
        } else if let Err(error) = drop_journal(&self.host.host) {
            draft.warnings.push(format!("the journal is still there, the next run will look at it: {error}"));
        }
        let message = failure.error.to_string();
        let error = Some(EntryError { message, file: None, line: None });
        match failure.entry {
            Some(EntryOf::Profile(file)) => {
                if let Some(entry) = draft.profiles.get_mut(&file) {
                    (entry.outcome, entry.error) = (Outcome::Failed, error);
                }
            }
            Some(EntryOf::File(path)) => {
                if let Some(entry) = draft.files.get_mut(&path) {
                    (entry.outcome, entry.error) = (Outcome::Failed, error);
                }
            }
            None => {}
        }
        draft.fail(RunError::from(&failure.error), listing)
    }

    /// What succeeds has changed everything; it may have failed to clean up afterwards.
    fn transact(&mut self, stage: &mut Stage) -> Result<Result<(), Error>, Failure> {
        let changes = !self.journal.is_empty() || !self.journal.cached.is_empty();
        if !changes && self.ledger.is_none() {
            return Ok(self.forget_originals());
        }
        let state = self.host.host.root.private_dir(Path::new(STATE_DIR))?;
        let journal_directory = if changes { Some(state.private_dir(JOURNAL_DIR)?) } else { None };
        // The ledger is written before anything is changed, so that a full disk is found in time, and both at once, since
        // a file system makes two files durable in about the time of one.
        let (journal, ledger) = thread::scope(|scope| {
            let ledger = scope.spawn(|| {
                let ledger = self.ledger.as_ref().map(|file| NextLedger::write(&state, file)).transpose()?;
                // The journal's directory may be new.
                state.sync().map(|()| ledger)
            });
            let journal = match journal_directory {
                Some(directory) => write_journal(&directory, &self.journal.to_bytes()),
                None => settle_journal(&state),
            };
            (journal, ledger.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let ledger = match journal.and(ledger) {
            Ok(ledger) => ledger,
            Err(error) => {
                // The journal may be there all the same. It says how to undo nothing, so it does no harm where it cannot
                // be removed.
                let _best_effort = if changes { drop_journal(&self.host.host) } else { Ok(()) };
                return Err(error.into());
            }
        };
        if changes {
            *stage = Stage::Changing;
            self.change_files()?;
            self.change_kernel()?;
        }
        let warnings = self.renewal.carry_out(&self.host.host, &self.compiled)?;
        self.compiled.plan.draft.warnings.extend(warnings);
        if let Some(ledger) = ledger {
            ledger.put_in_place()?;
        }
        // From here on the run is done: the next one recognizes a journal whose ledger is in place. Should the ledger
        // be lost with the power, because it could not be flushed, the journal that stays then undoes the run.
        let spool = self.compiled.spool.take();
        let cleaned = thread::scope(|scope| {
            // The cache was the last to read what was compiled.
            let removed = scope.spawn(move || spool.map_or(Ok(()), Spool::remove));
            let cleaned = match (&self.ledger, changes) {
                (Some(_), true) => state.sync().and_then(|()| outdate_journal(&state)),
                (Some(_), false) => state.sync(),
                (None, _) => drop_journal(&self.host.host),
            };
            cleaned.and(removed.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let cleaned = cleaned.and_then(|()| self.forget_originals());
        Ok(cleaned.and_then(|()| remove_empty(&self.host.host.root, &self.idle.directories)))
    }

    /// Removes the originals that no place goes back to: those that were given up, and what a run adopted that failed.
    fn forget_originals(&self) -> Result<(), Error> {
        if !self.idle.originals && self.host.lock.follows_nothing_left() {
            return Ok(());
        }
        let state = self.host.host.root.existing_private_dir(Path::new(STATE_DIR))?;
        state.map_or(Ok(()), |state| forget_adopted(&state, &self.compiled.plan.held))
    }

    fn change_files(&mut self) -> Result<(), Failure> {
        let host = &self.host.host;
        let mut directories = Directories::new(&host.root);
        for path in &self.journal.directories {
            if let Some((parent, name)) = directories.of(path)? {
                parent.make_dir(name, 0o755)?;
            }
        }
        for (effect, made) in self.compiled.plan.effects.iter().zip(&mut self.temporaries) {
            change_place(host, &mut directories, effect, made.take())
                .map_err(|error| Failure { error, entry: Some(effect.entry.clone()) })?;
        }
        directories.sync()?;
        Ok(())
    }

    fn change_kernel(&mut self) -> Result<(), Failure> {
        refuse_confined(&self.host.host, &self.work.removals)?;
        let Some(kernel) = self.host.host.kernel.as_deref_mut() else { return Ok(()) };
        let Some(observed) = &mut self.compiled.plan.observed.kernel else { return Ok(()) };
        if self.work.sets.is_empty() && self.work.removals.is_empty() {
            return Ok(());
        }
        let draft = &mut self.compiled.plan.draft;
        let mut moment = observed.moment.clone();
        for set in &self.work.sets {
            let mut loaded = |set: &LoadSet| {
                moment.advance(set.namespace());
                draft.kernel.writes += 1;
            };
            load(kernel, set, &mut loaded).map_err(refused_by_kernel)?;
        }
        draft.kernel.atomic = draft.kernel.writes <= 1;
        for removal in &self.work.removals {
            let confined = match removal.on_confined {
                OnConfined::Unload => kernel.confined(&[removal.name.clone()].into())?,
                OnConfined::Refuse => Vec::new(),
            };
            if remove(kernel, &removal.name).map_err(refused_by_kernel)? == Removed::BySomebody {
                continue;
            }
            self.released.extend(confined.into_iter().map(|process| released(process, &removal.name)));
            moment.advance(removal.name.namespace.as_deref());
            draft.kernel.writes += 1;
        }
        let loaded = self.work.sets.iter().flat_map(|set| set.profiles().iter().map(|profile| profile.name.clone()));
        let state = kernel.observe(&loaded.collect(), None)?;
        draft.kernel.revision = Some(state.moment.current.revision);
        draft.kernel.global_mode = Some(state.global_mode.to_string());
        prove(&self.work.sets, &self.work.removals, &state, draft)?;
        // Whoever loaded something meanwhile may have replaced what was looked at before.
        self.look = if state.moment == moment {
            let mut now = state;
            for (name, loaded) in now.loaded.iter_mut().filter(|(_, loaded)| loaded.hash.is_none()) {
                loaded.hash = observed.loaded.get(name).and_then(|before| before.hash);
            }
            LastLook::Changed(now)
        } else {
            LastLook::OutOfDate
        };
        Ok(())
    }

    fn unconfined(&self) -> Result<Vec<NeedsRestart>, Error> {
        let Some(kernel) = self.host.host.kernel.as_deref() else { return Ok(Vec::new()) };
        let Some(observed) = &self.compiled.plan.observed.kernel else { return Ok(Vec::new()) };
        Ok(unconfined(observed, &self.work.attached, &kernel.processes()?))
    }

    /// Keeps what was seen in the kernel, so that the next run need not look again.
    fn remember_kernel(&self) -> Result<(), Error> {
        let observed = &self.compiled.plan.observed;
        let state = match &self.look {
            LastLook::AsObserved => observed.kernel.as_ref(),
            LastLook::Changed(state) => Some(state),
            LastLook::OutOfDate => None,
        };
        let Some(state) = state else { return Ok(()) };
        if observed.sighting.as_ref().is_some_and(|sighting| sighting.is_of(state)) {
            return Ok(());
        }
        let directory = self.host.lock.dir();
        directory.write_temporary(&Sighting::of(state).to_bytes(), Attributes::ours(0o600))?.rename_to(SIGHTING)
    }
}

/// A process that a removal took from its profile.
fn released(process: Process, profile: &ProfileName) -> NeedsRestart {
    NeedsRestart {
        pid: process.pid,
        executable: process.executable.map_or_else(String::new, |path| path.to_string_lossy().into_owned()),
        unit: process.unit,
        profile: profile.to_string(),
        certain: true,
    }
}

/// Why a commit failed, and on which entry.
struct Failure {
    error: Error,
    entry: Option<EntryOf>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, entry: None }
    }
}

/// Makes one change, unless somebody changed the place since it was observed.
fn change_place(
    host: &Host,
    directories: &mut Directories<'_>,
    effect: &Effect,
    made: Option<Temporary>,
) -> Result<(), Error> {
    let Some((directory, name)) = directories.of(&effect.path)? else {
        // What is to be removed is gone with its directory.
        return if matches!(effect.before, Standing::Absent) { Ok(()) } else { Err(meanwhile(host, &effect.path)) };
    };
    if !is_as_observed(host, &directory, name, effect)? {
        return Err(meanwhile(host, &effect.path));
    }
    match made {
        Some(made) => made.rename_to(name),
        None => put(&directory, name, &effect.after),
    }
}

fn meanwhile(host: &Host, path: &PolicyPath) -> Error {
    Error::ChangedMeanwhile { path: host.root.shown(&Path::new(POLICY_DIR).join(path.as_str())) }
}

fn is_as_observed(host: &Host, directory: &Dir, name: &str, effect: &Effect) -> Result<bool, Error> {
    let at = Path::new(POLICY_DIR).join(effect.path.as_str());
    let standing = standing_of(directory.entry(name, MAX_COMPARED)?, || host.root.kind(&at))?;
    Ok(match (&standing, &effect.before) {
        (Standing::File(now, attributes), Standing::File(then, as_then)) => {
            now.bytes == then.bytes && attributes == as_then
        }
        (now, then) => now.stands().is_some_and(|now| then.stands().is_some_and(|then| now == then)),
    })
}
