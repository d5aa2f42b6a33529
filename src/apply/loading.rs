//! Loading compiled policy, and proof that the kernel runs it.

use std::collections::BTreeMap;

use nix::errno::Errno;

use super::prepare::Removal;
use crate::error::Error;
use crate::host::kernel::{Cause, Kernel, KernelFailure, KernelState};
use crate::plan::mode_as_compiled;
use crate::policy::LoadSet;
use crate::profile::ProfileName;
use crate::report::Draft;

/// Loads a set in one write; where the kernel has not the memory for that, in halves. `loaded` is told of each write.
///
/// # Errors
/// What `loaded` was told of is loaded, and nothing else.
pub(super) fn load(
    kernel: &mut dyn Kernel,
    set: &LoadSet,
    loaded: &mut dyn FnMut(&LoadSet),
) -> Result<(), KernelFailure> {
    match kernel.replace(set) {
        Ok(()) => {
            loaded(set);
            Ok(())
        }
        Err(failure) => match set.halves().filter(|_| failure.cause == Cause::Refused(Errno::ENOMEM)) {
            Some(halves) => halves.iter().try_for_each(|half| load(kernel, half, loaded)),
            None => Err(failure),
        },
    }
}

/// What became of a profile that was to leave the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removed {
    /// It was removed here.
    Here,
    /// Somebody else had removed it already.
    BySomebody,
}

/// Removes a profile. One that is not there any more is what was wanted.
///
/// # Errors
/// Nothing was removed.
pub(super) fn remove(kernel: &mut dyn Kernel, name: &ProfileName) -> Result<Removed, KernelFailure> {
    match kernel.remove(name) {
        Ok(()) => Ok(Removed::Here),
        Err(failure) if failure.cause == Cause::Refused(Errno::ENOENT) => Ok(Removed::BySomebody),
        Err(failure) => Err(failure),
    }
}

/// Checks that the kernel runs every profile as it was compiled, and none that was removed.
pub(super) fn prove(
    sets: &[LoadSet],
    removals: &[Removal],
    state: &KernelState,
    draft: &mut Draft,
) -> Result<(), Error> {
    let mut proved = BTreeMap::new();
    for profile in sets.iter().flat_map(|set| set.profiles().iter()) {
        let loaded = state.loaded.get(&profile.name);
        let hash = loaded.and_then(|loaded| loaded.hash);
        let is_right = loaded
            .is_some_and(|loaded| loaded.mode == mode_as_compiled(profile.mode) && state.shows(loaded, &profile.hash));
        if !is_right {
            return Err(not_proved(&format!("the kernel does not run `{}` as it was compiled", profile.name)));
        }
        let is_effective = state.effective_mode(profile.mode) == profile.mode;
        proved.insert(profile.name.to_string(), (is_effective, hash));
    }
    for entry in draft.profiles.values_mut() {
        for listed in &mut entry.loaded {
            if let Some((is_effective, hash)) = proved.get(&listed.name) {
                listed.verified = *is_effective;
                listed.hash.after = hash.map(|hash| hash.to_string());
            }
        }
    }
    match removals.iter().find(|removal| state.loaded.contains_key(&removal.name)) {
        Some(removal) => Err(not_proved(&format!("the kernel still runs `{}`", removal.name))),
        None => Ok(()),
    }
}

pub(super) fn refused_by_kernel(failure: KernelFailure) -> Error {
    Error::Kernel { code: "kernel", message: failure.to_string(), remedy: failure.remedy().to_owned() }
}

fn not_proved(message: &str) -> Error {
    Error::Kernel {
        code: "verify",
        message: message.to_owned(),
        remedy: "see whether something else loads policy at the same time, and run it again".to_owned(),
    }
}
