//! One run, from what was asked for to the answer.

use std::time::{Duration, Instant};

use crate::apply::{self, Pending, Progress, Recovery};
use crate::confinement;
use crate::document::{self, Desired};
use crate::error::Error;
use crate::export::{self, Export};
use crate::host::kernel::Kernel;
use crate::host::spool::Spool;
use crate::host::{Host, LockedHost};
use crate::observe::{self, Assumed};
use crate::plan::{self, Plan};
use crate::profile::Owner;
use crate::report::{Diffs, Draft, Listing, Report, Rollback, RollbackState, RunError};
use crate::status::{self, Status, Surroundings, Survey};

/// How often at most those look who wait for no run, because one began or ended while they did.
const MOST_LOOKS: usize = 3;

/// How a run goes about it.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Whether texts before and after are in the report.
    pub diffs: Diffs,
    /// Which entries the report lists.
    pub listing: Listing,
    /// How long to wait for another run to end.
    pub lock_timeout: Duration,
}

/// Makes the host what the document says.
#[must_use]
pub fn apply(json: Vec<u8>, host: Host, options: Options, progress: &Progress<'_>) -> Report {
    let desired = match document::parse(&json) {
        Ok(desired) => desired,
        Err(problems) => return Draft::default().refuse(Error::Document(problems), options.listing),
    };
    // What stands on the host takes about as much memory next.
    drop(json);
    let mut host = match host.lock(options.lock_timeout) {
        Ok(host) => host,
        Err(error) => return Draft::default().refuse(error, options.listing),
    };
    match apply::recover(&mut host) {
        Ok(Recovery::Clean(recovered)) => host.recovered = recovered,
        Ok(Recovery::Incomplete(left)) => return not_recovered(left, options.listing),
        Err(error) => return Draft::default().refuse(error, options.listing),
    }
    converge(desired, host, options, progress)
}

fn converge(desired: Desired, host: LockedHost, options: Options, progress: &Progress<'_>) -> Report {
    let recovered = host.recovered.clone();
    let refuse = |mut draft: Draft, error: Error| {
        draft.recovered.clone_from(&recovered);
        draft.refuse(error, options.listing)
    };
    let plan = match observe_and_plan(desired, &host.host, &Assumed::default(), options) {
        Ok(plan) => plan,
        Err(error) => return refuse(Draft::default(), error),
    };
    match apply::prepare(plan, host, progress) {
        Ok(prepared) => prepared.commit(options.listing),
        Err(refusal) => refuse(refusal.draft, refusal.error),
    }
}

/// Says what [`apply()`] would do, without any effect below the root.
#[must_use]
pub fn check(json: &[u8], host: &Host, options: Options, progress: &Progress<'_>) -> Report {
    let draft = || Draft { check: true, ..Draft::default() };
    let desired = match document::parse(json) {
        Ok(desired) => desired,
        Err(problems) => return draft().refuse(Error::Document(problems), options.listing),
    };
    let pending = match apply::pending(host) {
        Ok(pending) => pending,
        Err(error) => return draft().refuse(error, options.listing),
    };
    let with_recovery = |draft: Draft| Draft { check: true, recovered: pending.recovered.clone(), ..draft };
    let plan = match observe_and_plan(desired, host, &pending.assumed, options) {
        Ok(plan) => plan,
        Err(error) => return with_recovery(Draft::default()).refuse(error, options.listing),
    };
    match apply::check(plan, host, progress) {
        Ok(draft) => with_recovery(draft).finish(options.listing),
        Err(refusal) => with_recovery(refusal.draft).refuse(refusal.error, options.listing),
    }
}

fn observe_and_plan(desired: Desired, host: &Host, assumed: &Assumed, options: Options) -> Result<Plan, Error> {
    let started = Instant::now();
    let observed = observe::observe(host, &desired, assumed)?;
    let accepted = plan::object(&desired.accept, &observed)?;
    let mut plan = plan::plan(desired, observed, options.diffs, options.listing).map_err(Error::Document)?;
    plan.draft.warnings.extend(accepted);
    plan.draft.elapsed.observe = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(plan)
}

/// What is installed, what runs of it, and what differs. Changes nothing, and takes no lock.
///
/// # Errors
/// The host, or its kernel, cannot be read.
pub fn status(host: &Host) -> Result<Status, Error> {
    let (pending, survey) = survey(host, Shown::AsItStands)?;
    let parser = match survey.observed.ledger.version_of(&survey.observed.toolchain.parser) {
        Some(version) => version,
        None => host.parser_version(&Spool::outside(&host.temporary)?)?,
    };
    let kernel = host.kernel.as_deref();
    let processes = kernel.map_or_else(|| Ok(Vec::new()), |kernel| kernel.processes())?;
    let unconfined = survey.observed.kernel.as_ref().map(|state| {
        let attached = confinement::recorded(&survey.observed.ledger, state);
        apply::unconfined(state, &attached, &processes)
    });
    let surroundings = Surroundings {
        parser: Some(parser),
        release: kernel.and_then(Kernel::release),
        processes,
        unconfined,
        pending: pending.recovered,
    };
    Ok(status::status(&survey, surroundings))
}

/// Today's policy directory as a document of `owner`, or of the one owner who holds anything. Changes nothing, and
/// takes no lock. Where a run was interrupted, it is the directory that the next one goes back to.
///
/// # Errors
/// The host cannot be read, or it must be said for which owner.
pub fn export(host: &Host, owner: Option<Owner>) -> Result<Export, Error> {
    let (pending, survey) = survey(host, Shown::AsRecovered)?;
    let owner = export::owner(owner, &survey.observed.ledger)?;
    let mut export = export::export(&survey, owner);
    if pending.recovered.is_some() {
        let remark =
            "a run was interrupted, or is under way: this is the policy from before it, which the next run restores";
        export.remarks.insert(0, remark.to_owned());
    }
    Ok(export)
}

/// What is told of a host on which a run was interrupted.
#[derive(Debug, Clone, Copy)]
enum Shown {
    /// What there is.
    AsItStands,
    /// What there will be once the run is undone.
    AsRecovered,
}

/// What recovery would do, and what is installed, as of one moment: nobody here waits for a run, and so looks again where
/// one began or ended meanwhile.
fn survey(host: &Host, shown: Shown) -> Result<(Pending, Survey), Error> {
    let nothing = Assumed::default();
    let mut looks = 0;
    loop {
        let pending = apply::pending(host)?;
        let assumed = match shown {
            Shown::AsItStands => &nothing,
            Shown::AsRecovered => &pending.assumed,
        };
        let survey = observe::survey(host, assumed)?;
        looks += 1;
        let is_unchanged = || -> Result<bool, Error> {
            let same_ledger = observe::read_ledger(host)?.id() == survey.observed.ledger.id();
            Ok(same_ledger && apply::pending(host)?.recovered == pending.recovered)
        };
        if looks == MOST_LOOKS || is_unchanged()? {
            return Ok((pending, survey));
        }
    }
}

fn not_recovered(left: Vec<String>, listing: Listing) -> Report {
    let error = RunError {
        code: "recovery".to_owned(),
        message: "an interrupted run could not be undone".to_owned(),
        remedy: Some("mend what `rollback.left` names, then run it again; nothing else was done".to_owned()),
    };
    let rollback = Rollback { state: RollbackState::Incomplete, left };
    Draft { rollback, ..Draft::default() }.fail(error, listing)
}
