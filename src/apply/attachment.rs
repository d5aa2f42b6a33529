//! Profiles that would leave an executable unconfined, because the kernel cannot choose between them.
//!
//! The planner compares attachments as texts; here the compiled automata are compared, which decides about globs. Held
//! against each other are the profiles that this run compiled, and against these the globs of other installed profiles
//! that the ledger remembers, and what others loaded into the kernel without a file here. Kernels count differently, and
//! a release does not always tell how: what is a conflict under all ways that are possible is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::compile::CompiledStep;
use crate::error::Error;
use crate::host::kernel::Kernel;
use crate::plan::{Defined, Listed, Plan};
use crate::policy::{self, Attachment, AttachmentRecord, LeftMatch, Reach};
use crate::profile::{FileName, ProfileName};
use crate::report::EntryError;

/// A profile that executables may get.
struct Attached<'p> {
    /// The step that the document asks for.
    step: Option<usize>,
    /// The file that defines it; none if somebody loaded it from elsewhere.
    file: Option<&'p FileName>,
    name: &'p ProfileName,
    attachment: Attachment,
}

impl fmt::Display for Attached<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.file {
            Some(file) => write!(out, "`{}` in `{file}`", self.name),
            None => write!(out, "`{}`, which somebody else loaded into the kernel", self.name),
        }
    }
}

/// What comparing attachments came to.
#[derive(Default)]
pub(super) struct Compared {
    /// The steps of the document after which two profiles would match one executable equally well.
    pub(super) conflicts: BTreeMap<usize, EntryError>,
    /// Pairs of which that is not decided, in words.
    pub(super) undecided: Vec<String>,
}

/// Compares the attachments that the document brings with each other and with all others.
pub(super) fn compare(
    plan: &Plan,
    defined: &Defined,
    results: &[CompiledStep],
    foreign: &[(ProfileName, Attachment)],
    kernels: &[LeftMatch],
) -> Compared {
    let Compared { conflicts: mut found, mut undecided } = Compared::default();
    let mut namespaces: BTreeMap<Option<&str>, Vec<Attached<'_>>> = BTreeMap::new();
    for result in results.iter().filter(|result| plan.steps[result.step].enabled) {
        match compiled(plan, result) {
            Ok(attached) => attached.into_iter().for_each(|one| {
                namespaces.entry(one.name.namespace.as_deref()).or_default().push(one);
            }),
            Err(why) => drop(found.insert(result.step, failed(format!("what was compiled cannot be read: {why}")))),
        }
    }
    // A name alone, which is no automaton, is equal to nothing.
    let listed = namespaces.values().flatten().filter(|one| one.step.is_some()).map(|one| &one.attachment);
    let listed: Vec<&Attachment> = listed.filter(|one| matches!(one, Attachment::Automaton(_))).collect();
    if listed.is_empty() {
        return Compared { conflicts: found, undecided };
    }
    let remembered = remembered(plan, defined, results, &listed);
    let loaded = foreign.iter().map(|(name, attachment)| {
        let attachment = attachment.clone();
        Attached { step: None, file: None, name, attachment }
    });
    for one in remembered.into_iter().chain(loaded) {
        namespaces.entry(one.name.namespace.as_deref()).or_default().push(one);
    }
    for attached in namespaces.values() {
        let side = |is_listed: bool| -> Vec<(&Attached<'_>, &Attachment)> {
            let side = attached.iter().filter(|one| one.step.is_some() == is_listed);
            side.map(|one| (one, &one.attachment)).collect()
        };
        let told = policy::conflicts(&side(true), &side(false), kernels);
        for policy::Conflict { profiles: (one, other), path } in told.found {
            let Some(step) = one.step else { continue };
            let path = path.escape_ascii();
            let message = format!("{one} and {other} match {path} equally well: the kernel would run it unconfined");
            found.entry(step).or_insert_with(|| failed(message));
        }
        undecided.extend(told.undecided.into_iter().map(|(one, other)| {
            format!(
                "{one} and {other} match the same executables, and which of them gets one is not decided here (it depends \
                 on extended attributes, or takes too long to find out): where the kernel finds both equal, it runs \
                 the executable unconfined"
            )
        }));
    }
    Compared { conflicts: found, undecided }
}

fn compiled<'p>(plan: &'p Plan, result: &'p CompiledStep) -> Result<Vec<Attached<'p>>, String> {
    let step = &plan.steps[result.step];
    let listed = (step.listed == Listed::Document).then_some(result.step);
    let bytes = result.blob.read().map_err(|error| error.to_string())?;
    let mut attached = Vec::new();
    for profile in &result.profiles {
        if let Some(attachment) = Attachment::read(profile, &bytes).map_err(|error| error.to_string())? {
            attached.push(Attached { step: listed, file: Some(&step.file), name: &profile.name, attachment });
        }
    }
    Ok(attached)
}

/// The attachments of the installed profiles that this run did not compile, as far as the ledger has them and they can be
/// for an executable that one of `listed` is for.
fn remembered<'p>(
    plan: &'p Plan,
    defined: &Defined,
    results: &[CompiledStep],
    listed: &[&Attachment],
) -> Vec<Attached<'p>> {
    let compiled: BTreeSet<&FileName> = results.iter().map(|result| &plan.steps[result.step].file).collect();
    let listed: Vec<Reach<'_>> = listed.iter().map(|attachment| Reach::of(attachment)).collect();
    let mut attached = Vec::new();
    for (file, recorded) in plan.observed.ledger.compiled().iter().filter(|(file, _)| !compiled.contains(file)) {
        for profile in &recorded.profiles {
            let record = profile.attachment.as_ref();
            let record = record.filter(|record| listed.iter().any(|one| record.may_meet(one)));
            let record = record.filter(|_| defined.file(&profile.name) == Some(file));
            if let Some(attachment) = record.and_then(AttachmentRecord::attachment) {
                attached.push(Attached { step: None, file: Some(file), name: &profile.name, attachment });
            }
        }
    }
    attached
}

/// How executables are found for the profiles that the kernel runs and no file here defines. Those that this run takes
/// away are none of them.
///
/// # Errors
/// They cannot be read back.
pub(super) fn foreign(
    plan: &Plan,
    defined: &Defined,
    results: &[CompiledStep],
    kernel: &dyn Kernel,
) -> Result<Vec<(ProfileName, Attachment)>, Error> {
    let Some(state) = &plan.observed.kernel else { return Ok(Vec::new()) };
    let compiled = results.iter().flat_map(|result| result.profiles.iter().map(|profile| &profile.name));
    let before = plan.steps.iter().flat_map(|step| &step.defined_before);
    let ours: BTreeSet<&ProfileName> =
        defined.iter().map(|(name, _)| name).chain(compiled).chain(before).chain(&plan.leftover).collect();
    let others = state.loaded.keys().filter(|name| name.depth() == 0 && !ours.contains(name));
    let mut found = Vec::new();
    for saved in kernel.saved(&others.cloned().collect())? {
        let Some((_, blob)) = saved.blob else { continue };
        // What this version cannot read is somebody else's, and no reason to refuse anything.
        let profile = policy::profiles(&blob).ok().and_then(|profiles| profiles.into_iter().next());
        let attachment = profile.and_then(|profile| Attachment::read(&profile, &blob).ok().flatten());
        found.extend(attachment.map(|attachment| (saved.name, attachment)));
    }
    Ok(found)
}

fn failed(message: String) -> EntryError {
    EntryError { message, file: None, line: None }
}
