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
use crate::plan::{Listed, Plan, Source};
use crate::policy::{self, Attachment, AttachmentRecord, Contender, LeftMatch};
use crate::profile::{FileName, ProfileName};
use crate::report::EntryError;

/// A profile that executables may get.
#[derive(Clone, Copy)]
struct Attached<'p> {
    /// The step that the document asks for.
    step: Option<usize>,
    /// The file that defines it; none if somebody loaded it from elsewhere.
    file: Option<&'p FileName>,
    name: &'p ProfileName,
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

/// The globs among the attachments of installed profiles, as far as the ledger remembers them.
pub(super) type Remembered = BTreeMap<ProfileName, Contender>;

/// Prepares the remembered globs for [`compare`], which needs no results for it: while `sources` are compiled, there is
/// time. Those of the sources themselves are left out, and all if there will be nothing to compare them with.
pub(super) fn remembered(plan: &Plan, sources: &[(usize, &Source)]) -> Remembered {
    let steps = || sources.iter().map(|(step, _)| &plan.steps[*step]);
    if !steps().any(|step| step.enabled && step.listed == Listed::Document) {
        return Remembered::new();
    }
    let compiled = steps().map(|step| &step.file).collect();
    let globs = records(plan, &compiled, |record| record.paths().is_none());
    let globs = globs.filter_map(|(_, name, record)| Some((name.clone(), record.attachment()?.into())));
    globs.collect()
}

/// The attachments that the ledger has of installed profiles, of those that are wanted, without those in the files that
/// this run compiles.
fn records<'p>(
    plan: &'p Plan,
    compiled: &BTreeSet<&FileName>,
    is_wanted: impl Fn(&AttachmentRecord) -> bool,
) -> impl Iterator<Item = (&'p FileName, &'p ProfileName, &'p AttachmentRecord)> {
    let files = plan.observed.ledger.compiled().iter().filter(|(file, _)| !compiled.contains(file));
    let profiles = files.flat_map(|(file, recorded)| recorded.profiles.iter().map(move |profile| (file, profile)));
    let records = profiles.filter_map(|(file, profile)| Some((file, &profile.name, profile.attachment.as_ref()?)));
    let wanted = records.filter(move |(_, _, record)| is_wanted(record));
    wanted.filter(|(file, name, _)| plan.defined.get(name) == Some(file))
}

/// Compares the attachments that the document brings with each other and with all others.
pub(super) fn compare(
    plan: &Plan,
    results: &[CompiledStep],
    remembered: Remembered,
    foreign: &[(ProfileName, Attachment)],
    kernels: &[LeftMatch],
) -> Compared {
    let Compared { conflicts: mut found, mut undecided } = Compared::default();
    let mut brought: Vec<(Attached<'_>, Attachment)> = Vec::new();
    for result in results.iter().filter(|result| plan.steps[result.step].enabled) {
        match compiled(plan, result) {
            Ok(attached) => brought.extend(attached),
            Err(why) => drop(found.insert(result.step, failed(format!("what was compiled cannot be read: {why}")))),
        }
    }
    // A name alone, which is no automaton, is equal to nothing.
    let listed = brought.iter().filter(|(one, _)| one.step.is_some()).map(|(_, attachment)| attachment);
    let listed: Vec<&Attachment> = listed.filter(|one| matches!(one, Attachment::Automaton(_))).collect();
    if listed.is_empty() {
        return Compared { conflicts: found, undecided };
    }
    let installed = installed(plan, results, &listed, remembered);
    let brought = brought.into_iter().map(|(one, attachment)| (one, Contender::from(attachment)));
    let loaded = foreign.iter().map(|(name, attachment)| {
        let one = Attached { step: None, file: None, name };
        (one, attachment.clone().into())
    });
    let mut namespaces: BTreeMap<Option<&str>, Vec<(Attached<'_>, Contender)>> = BTreeMap::new();
    for (one, contender) in brought.chain(installed).chain(loaded) {
        namespaces.entry(one.name.namespace.as_deref()).or_default().push((one, contender));
    }
    for attached in namespaces.values() {
        let side = |is_listed: bool| -> Vec<(Attached<'_>, &Contender)> {
            let side = attached.iter().filter(|(one, _)| one.step.is_some() == is_listed);
            side.map(|(one, contender)| (*one, contender)).collect()
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

fn compiled<'p>(plan: &'p Plan, result: &'p CompiledStep) -> Result<Vec<(Attached<'p>, Attachment)>, String> {
    let step = &plan.steps[result.step];
    let listed = (step.listed == Listed::Document).then_some(result.step);
    let bytes = result.blob.read().map_err(|error| error.to_string())?;
    let mut attached = Vec::new();
    for profile in &result.profiles {
        if let Some(attachment) = Attachment::read(profile, &bytes).map_err(|error| error.to_string())? {
            attached.push((Attached { step: listed, file: Some(&step.file), name: &profile.name }, attachment));
        }
    }
    Ok(attached)
}

/// The attachments of the installed profiles that this run did not compile, as far as the ledger has them and they can be
/// for an executable that one of `listed` is for.
fn installed<'p>(
    plan: &'p Plan,
    results: &[CompiledStep],
    listed: &[&Attachment],
    mut remembered: Remembered,
) -> Vec<(Attached<'p>, Contender)> {
    let is_shared = |path: &String| listed.iter().any(|one| one.is_for(path.as_bytes()));
    let compiled = results.iter().map(|result| &plan.steps[result.step].file).collect();
    let is_wanted = |record: &AttachmentRecord| record.paths().is_none_or(|paths| paths.iter().any(is_shared));
    let attached = records(plan, &compiled, is_wanted).filter_map(|(file, name, record)| {
        // Few paths need no preparation, and of a source that failed to compile nothing was prepared.
        let contender = remembered.remove(name).or_else(|| Some(record.attachment()?.into()))?;
        Some((Attached { step: None, file: Some(file), name }, contender))
    });
    attached.collect()
}

/// How executables are found for the profiles that the kernel runs and no file here defines. Those that this run takes
/// away are none of them.
///
/// # Errors
/// They cannot be read back.
pub(super) fn foreign(
    plan: &Plan,
    results: &[CompiledStep],
    kernel: &dyn Kernel,
) -> Result<Vec<(ProfileName, Attachment)>, Error> {
    let Some(state) = &plan.observed.kernel else { return Ok(Vec::new()) };
    let compiled = results.iter().flat_map(|result| result.profiles.iter().map(|profile| &profile.name));
    let before = plan.steps.iter().flat_map(|step| &step.defined_before);
    let ours: BTreeSet<&ProfileName> =
        plan.defined.keys().chain(compiled).chain(before).chain(&plan.leftover).collect();
    let others = state.loaded.keys().filter(|name| name.depth() == 0 && !ours.contains(name));
    let mut found = Vec::new();
    for saved in kernel.saved(&others.cloned().collect())? {
        let Some(blob) = saved.blob else { continue };
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
