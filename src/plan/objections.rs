//! What this program objects to about the kernel, unless the document accepts it.

use super::Observed;
use crate::acceptance::{Acceptance, Objection};
use crate::error::Error;
use crate::host::kernel::{Evidence, KernelState};
use crate::profile::Mode;

/// Refuses a kernel that is not what a document can rely on; what the document accepts becomes a warning.
///
/// # Errors
/// The first objection that is not accepted.
pub fn object(accepted: &[Acceptance], observed: &Observed) -> Result<Vec<String>, Error> {
    let Some(kernel) = &observed.kernel else { return Ok(Vec::new()) };
    let mut warnings = Vec::new();
    for (objection, message, remedy) in objections(kernel) {
        match accepted.iter().find(|acceptance| acceptance.objection == objection) {
            Some(acceptance) => {
                warnings.push(format!("{message}; the document accepts it: {}", acceptance.reason.as_str()));
            }
            None => {
                let code = objection.code();
                return Err(Error::Kernel {
                    code,
                    message,
                    remedy: format!(
                        "{remedy}; or accept it: \"accept\": [{{\"code\": \"{code}\", \"reason\": \"…\"}}]"
                    ),
                });
            }
        }
    }
    Ok(warnings)
}

/// What is objectionable about a kernel, each with what to do.
pub(crate) fn objections(kernel: &KernelState) -> Vec<(Objection, String, &'static str)> {
    let mut objections = Vec::new();
    if kernel.global_mode != Mode::Enforce {
        objections.push((
            Objection::KernelGlobalMode,
            format!("the kernel's global mode is {}, which overrides the mode of every profile", kernel.global_mode),
            "take `apparmor.mode=` off the kernel's command line and reboot, or write `enforce` to \
             /sys/module/apparmor/parameters/mode",
        ));
    }
    if kernel.evidence == Evidence::Name {
        objections.push((
            Objection::KernelWithoutEvidence,
            "the kernel shows neither hashes of profiles nor their bytes: which policy it runs is told by names and \
             modes alone"
                .to_owned(),
            "boot with `apparmor.hash_policy=1` on the kernel's command line",
        ));
    }
    objections
}
