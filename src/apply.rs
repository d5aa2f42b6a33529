//! Carries plans out: compiles everything first, then changes files and kernel as one transaction, or undoes it.
//!
//! **Invariants:** until [`Prepared::commit`] nothing that anybody reads is changed: an error means an untouched host.
//! From then on nothing is an error and everything is in the report. This module is the only writer.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::confinement::{self, Attached};
use crate::error::Error;
use crate::host::kernel::{KernelState, Process};
use crate::host::{Host, LockedHost};
use crate::plan::Plan;
use crate::profile::ProfileName;
use crate::report::{Draft, NeedsRestart, Outcome, Recovered};

mod attachment;
mod cache;
mod commit;
mod compile;
mod directories;
mod loading;
mod prepare;
mod state;
mod undo;

#[cfg(test)]
mod tests;

pub use compile::Progress;
pub use prepare::Prepared;
pub use undo::{Pending, Recovery};

/// A run that was refused after planning, with what is known of its entries.
#[derive(Debug)]
pub struct Refusal {
    /// Why.
    pub error: Error,
    /// The report so far.
    pub draft: Draft,
}

/// Compiles a plan and checks the result, without any effect below the root.
///
/// # Errors
/// Something does not compile, or could not be carried out.
pub fn check(plan: Plan, host: &Host, progress: &Progress<'_>) -> Result<Draft, Box<Refusal>> {
    let mut compiled = compile::compile(plan, host, compile::SpoolIn::Temporary, progress, || Ok(()))?.0;
    compiled.plan.draft.check = true;
    let foreseen = prepare::kernel_work(&compiled, host).and_then(|work| {
        let _saved = prepare::save_policy(&mut compiled, host, compile::SpoolIn::Temporary, &work)?;
        let _renewal = cache::Renewal::of(&compiled, host)?;
        let kernel = host.kernel.as_deref().zip(compiled.plan.observed.kernel.as_ref());
        kernel.map_or(Ok(Vec::new()), |(kernel, state)| Ok(unconfined(state, &work.attached, &kernel.processes()?)))
    });
    match foreseen {
        Ok(needs_restart) => Ok(Draft { needs_restart, ..compiled.plan.draft }),
        Err(error) => Err(refused(error, compiled.plan.draft)),
    }
}

/// Compiles a plan, checks the result, and writes everything that the commit needs to places that nobody reads.
///
/// # Errors
/// Something does not compile, or could not be carried out; the host is untouched.
pub fn prepare(plan: Plan, host: LockedHost, progress: &Progress<'_>) -> Result<Prepared, Box<Refusal>> {
    prepare::prepare(plan, host, progress)
}

/// Undoes an interrupted run, if there was one.
///
/// # Errors
/// The journal cannot be read or trusted.
pub fn recover(host: &mut LockedHost) -> Result<Recovery, Error> {
    undo::recover(host)
}

/// What recovery would do, for a run that must not do it.
///
/// # Errors
/// The journal cannot be read or trusted.
pub fn pending(host: &Host) -> Result<Pending, Error> {
    undo::pending(host)
}

/// Those of `processes`, less this one, that should run under one of the profiles and do not.
pub(crate) fn unconfined(state: &KernelState, attached: &[Attached], processes: &[Process]) -> Vec<NeedsRestart> {
    let ours: BTreeSet<&ProfileName> = attached.iter().map(|profile| &profile.name).collect();
    let is_foreign = |name: &ProfileName| state.loaded.contains_key(name) && !ours.contains(name);
    let mut needs_restart = confinement::needs_restart(attached, processes, is_foreign);
    needs_restart.retain(|process| process.pid != std::process::id());
    needs_restart
}

fn elapsed_ms(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn refused(error: Error, draft: Draft) -> Box<Refusal> {
    Box::new(Refusal { error, draft })
}

/// Marks every entry as done.
fn applied(draft: &mut Draft, recovered: Option<Recovered>) {
    draft.settle(Outcome::Applied);
    draft.recovered = recovered;
}
