//! Profiles that would leave an executable unconfined, because the kernel cannot choose between them.
//!
//! The planner compares attachments as texts; here the compiled automata are compared, which decides about globs. Held
//! against each other are the profiles that this run compiled, and against these the globs of other installed profiles
//! that the ledger remembers. Which kernel will run them is not known, so only what is a conflict under all is refused.

use std::collections::{BTreeMap, BTreeSet};

use super::compile::CompiledStep;
use crate::plan::{Listed, Plan};
use crate::policy::{self, Attachment, AttachmentRecord, LeftMatch};
use crate::profile::{FileName, ProfileName};
use crate::report::EntryError;

/// A profile that executables may get.
struct Attached<'p> {
    /// The step that the document asks for.
    step: Option<usize>,
    file: &'p FileName,
    name: &'p ProfileName,
    attachment: Attachment,
}

/// The steps of the document after which two profiles would match one executable equally well.
pub(super) fn conflicts(plan: &Plan, results: &[CompiledStep]) -> BTreeMap<usize, EntryError> {
    let mut found = BTreeMap::new();
    let mut namespaces: BTreeMap<Option<&str>, Vec<Attached<'_>>> = BTreeMap::new();
    for result in results.iter().filter(|result| plan.steps[result.step].enabled) {
        match compiled(plan, result) {
            Ok(attached) => attached.into_iter().for_each(|one| {
                namespaces.entry(one.name.namespace.as_deref()).or_default().push(one);
            }),
            Err(why) => drop(found.insert(result.step, failed(format!("what was compiled cannot be read: {why}")))),
        }
    }
    for one in remembered(plan, results) {
        namespaces.entry(one.name.namespace.as_deref()).or_default().push(one);
    }
    for attached in namespaces.values() {
        let side = |is_listed: bool| -> Vec<(&Attached<'_>, &Attachment)> {
            let side = attached.iter().filter(|one| one.step.is_some() == is_listed);
            side.map(|one| (one, &one.attachment)).collect()
        };
        let told = policy::conflicts(&side(true), &side(false), &LeftMatch::ALL);
        for policy::Conflict { profiles: (one, other), path } in told.found {
            let Some(step) = one.step else { continue };
            let message = format!(
                "`{}` in `{}` and `{}` in `{}` match {} equally well: the kernel would run it unconfined",
                one.name,
                one.file,
                other.name,
                other.file,
                path.escape_ascii()
            );
            found.entry(step).or_insert_with(|| failed(message));
        }
    }
    found
}

fn compiled<'p>(plan: &'p Plan, result: &'p CompiledStep) -> Result<Vec<Attached<'p>>, String> {
    let step = &plan.steps[result.step];
    let listed = (step.listed == Listed::Document).then_some(result.step);
    let bytes = result.blob.read().map_err(|error| error.to_string())?;
    let mut attached = Vec::new();
    for profile in &result.profiles {
        if let Some(attachment) = Attachment::read(profile, &bytes).map_err(|error| error.to_string())? {
            attached.push(Attached { step: listed, file: &step.file, name: &profile.name, attachment });
        }
    }
    Ok(attached)
}

/// The globs of the installed profiles that this run did not compile, as far as the ledger has them.
fn remembered<'p>(plan: &'p Plan, results: &[CompiledStep]) -> Vec<Attached<'p>> {
    let compiled: BTreeSet<&FileName> = results.iter().map(|result| &plan.steps[result.step].file).collect();
    let mut attached = Vec::new();
    for (file, recorded) in plan.observed.ledger.compiled.iter().filter(|(file, _)| !compiled.contains(file)) {
        for profile in recorded.profiles.iter().filter(|profile| plan.defined.get(&profile.name) == Some(file)) {
            if let Some(automaton) = profile.attachment.as_ref().and_then(AttachmentRecord::automaton) {
                let attachment = Attachment::Automaton(automaton);
                attached.push(Attached { step: None, file, name: &profile.name, attachment });
            }
        }
    }
    attached
}

fn failed(message: String) -> EntryError {
    EntryError { message, file: None, line: None }
}
