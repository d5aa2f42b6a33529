//! Reads what the kernel runs, and what an earlier run saw of it.

use std::collections::BTreeSet;
use std::path::Path;

use super::state::{MAX_LEDGER, read_ours};
use super::{Assumed, SIGHTING};
use crate::error::Error;
use crate::host::kernel::{Kernel, KernelState};
use crate::host::{Host, lock};
use crate::ledger::Ledger;
use crate::profile::ProfileName;
use crate::sighting::Sighting;

impl Assumed {
    pub(super) fn amend(&self, state: &mut KernelState) {
        for (name, loaded) in &self.profiles {
            match loaded {
                Some(loaded) => drop(state.loaded.insert(name.clone(), loaded.clone())),
                None => drop(state.loaded.remove(name)),
            }
        }
    }
}

/// What the kernel runs, and what an earlier run saw of it.
pub(super) fn observe_kernel(
    host: &Host,
    kernel: &dyn Kernel,
    ledger: &Ledger,
) -> Result<(KernelState, Option<Sighting>), Error> {
    let recorded = ledger.compiled().values().flat_map(|record| &record.profiles);
    let ours: BTreeSet<ProfileName> = recorded.map(|profile| profile.name.clone()).collect();
    let seen = read_sighting(host)?;
    Ok((kernel.observe(&ours, seen.as_ref())?, seen))
}

/// Reads what the last run saw in the kernel; `None` if there is nothing that can be used.
///
/// # Errors
/// It cannot be read, or is not ours.
fn read_sighting(host: &Host) -> Result<Option<Sighting>, Error> {
    let Some(directory) = host.root.existing_private_dir(Path::new(lock::PLACE))? else { return Ok(None) };
    Ok(read_ours(&directory, SIGHTING, MAX_LEDGER)?.and_then(|bytes| Sighting::parse(&bytes)))
}
