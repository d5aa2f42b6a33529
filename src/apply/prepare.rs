//! Everything that a commit needs, made where nobody reads it: blobs in the spool, new files under temporary names,
//! the journal and the next ledger in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::cache::Renewal;
use super::compile::{self, Compiled, Progress, SpoolIn};
use super::directories::{Directories, temporary};
use super::state::adopt;
use super::{Refusal, refused};
use crate::confinement::{Attached, Telling};
use crate::document::OnConfined;
use crate::error::Error;
use crate::host::kernel::{KernelState, SavedProfile};
use crate::host::replace::{Temporary, random_digits};
use crate::host::root::Root;
use crate::host::{Host, LockedHost};
use crate::journal::{Journal, LoadedPolicy, PlaceChange, ProfileChange, SavedPolicy};
use crate::ledger::{self, Compilation, Ledger, LedgerFile, LedgerId, Original, Recorded, Recorder, Stands};
use crate::observe::POLICY_DIR;
use crate::plan::{Effect, Plan, Reading, Standing, Target, mode_as_compiled};
use crate::policy::{LoadSet, Unloadable};
use crate::profile::{Digest, FileName, PolicyPath, ProfileName};
use crate::report::NeedsRestart;

/// A plan that is compiled, checked and ready to be carried out. It owns the lock: what is committed without being
/// locked and compiled does not type-check.
#[must_use]
pub struct Prepared {
    pub(super) host: LockedHost,
    pub(super) compiled: Compiled,
    pub(super) journal: Journal,
    /// The next ledger; none when it stays as it is.
    pub(super) ledger: Option<LedgerFile>,
    pub(super) idle: Idle,
    /// The new files and links, by effect; none for removals, and for places whose directory does not exist yet.
    pub(super) temporaries: Vec<Option<Temporary>>,
    pub(super) work: KernelWork,
    /// The processes that the commit took confinement from, as the document allowed.
    pub(super) released: Vec<NeedsRestart>,
    /// What is known of the kernel's profiles.
    pub(super) look: LastLook,
    /// What becomes of compiled policy that a boot would load.
    pub(super) renewal: Renewal,
}

/// What is known of the kernel's profiles after a run.
pub(super) enum LastLook {
    /// The run did nothing to them.
    AsObserved,
    /// The run changed them, and this is all that changed.
    Changed(KernelState),
    /// Somebody else changed them meanwhile.
    OutOfDate,
}

/// What earlier runs made and nothing needs any more.
#[derive(Default)]
pub(super) struct Idle {
    /// The directories of links that no link of this program stands in any more.
    pub(super) directories: Vec<PolicyPath>,
    /// Whether there are originals, adopted once, that no place goes back to any more.
    pub(super) originals: bool,
}

/// A profile that leaves the kernel.
pub(super) struct Removal {
    pub(super) name: ProfileName,
    pub(super) on_confined: OnConfined,
}

pub(super) fn prepare(plan: Plan, host: LockedHost, progress: &Progress<'_>) -> Result<Prepared, Box<Refusal>> {
    let effects = plan.effects.clone();
    let adoptions = plan.adoptions.clone();
    let root = &host.host.root;
    let beside = || -> Result<Vec<Option<Temporary>>, Error> {
        adopt(root, &adoptions)?;
        write_temporaries(root, &effects)
    };
    let (mut compiled, temporaries) = compile::compile(plan, &host.host, SpoolIn::Root(&host.lock), progress, beside)?;
    match assemble(&mut compiled, &host) {
        Ok(Assembled { journal, ledger, idle, work, renewal }) => Ok(Prepared {
            look: LastLook::AsObserved,
            host,
            compiled,
            journal,
            ledger,
            idle,
            temporaries,
            work,
            released: Vec::new(),
            renewal,
        }),
        Err(error) => Err(refused(error, compiled.plan.draft)),
    }
}

struct Assembled {
    journal: Journal,
    ledger: Option<LedgerFile>,
    idle: Idle,
    work: KernelWork,
    renewal: Renewal,
}

/// What is done in the kernel; nothing, where it is not managed.
#[derive(Default)]
pub(super) struct KernelWork {
    /// What is written to it.
    pub(super) sets: Vec<LoadSet>,
    /// What is removed from it afterwards, children before their parents.
    pub(super) removals: Vec<Removal>,
    /// The profiles for executables that run when all is done.
    pub(super) attached: Vec<Attached>,
}

fn assemble(compiled: &mut Compiled, locked: &LockedHost) -> Result<Assembled, Error> {
    let host = &locked.host;
    if host.cancel.is_triggered() {
        return Err(Error::Interrupted);
    }
    let work = kernel_work(compiled, host)?;
    let blobs = save_policy(compiled, host, SpoolIn::Root(&locked.lock), &work)?;
    // The next ledger is made of this one, which says what was seen before.
    let renewal = Renewal::of(compiled, host)?;
    let directories = missing_directories(&compiled.plan, &host.root)?;
    let (ledger, idle) = next_ledger(compiled, &directories).unzip();
    let ledger = ledger.map(|ledger| ledger.into_file(LedgerId::new(random_digits())));
    let plan = &compiled.plan;
    let journal = Journal {
        ledger_after: ledger.as_ref().map(|file| Digest::of(file.bytes())),
        directories,
        places: plan.effects.iter().map(|effect| place_change(effect, host)).collect::<Result<_, _>>()?,
        profiles: profile_changes(compiled, &work, blobs),
        cached: renewal.files.clone(),
    };
    Ok(Assembled { journal, ledger, idle: idle.unwrap_or_default(), work, renewal })
}

/// What is to be done in the kernel.
///
/// # Errors
/// The compiled profiles cannot be loaded together, or a removal would unconfine running processes.
pub(super) fn kernel_work(compiled: &Compiled, host: &Host) -> Result<KernelWork, Error> {
    if compiled.plan.observed.kernel.is_none() {
        return Ok(KernelWork::default());
    }
    let (sets, removals) = (load_sets(compiled)?, removals(compiled));
    refuse_orphans(compiled, &sets)?;
    refuse_bereft(compiled, &removals)?;
    refuse_confined(host, &removals)?;
    let attached = attached(compiled, &sets, &removals);
    Ok(KernelWork { sets, removals, attached })
}

/// The recorded profiles for executables that are loaded once the plan is carried out.
fn attached(compiled: &Compiled, sets: &[LoadSet], removals: &[Removal]) -> Vec<Attached> {
    let plan = &compiled.plan;
    let mut records: BTreeMap<&FileName, &[Recorded]> =
        plan.observed.ledger.compiled().iter().map(|(file, record)| (file, &record.profiles[..])).collect();
    for result in &compiled.results {
        records.insert(&plan.steps[result.step].file, &result.recorded);
    }
    let put: BTreeSet<&ProfileName> = sets.iter().flat_map(|set| set.profiles()).map(|profile| &profile.name).collect();
    let taken: BTreeSet<&ProfileName> = removals.iter().map(|removal| &removal.name).collect();
    let is_loaded = |name: &ProfileName| {
        let before = plan.observed.kernel.as_ref().is_some_and(|kernel| kernel.loaded.contains_key(name));
        put.contains(name) || before && !taken.contains(name)
    };
    let mut attached = Vec::new();
    for (file, profiles) in records {
        let telling = if plan.draft.profiles.contains_key(file) { Telling::Told } else { Telling::Silent };
        for profile in profiles.iter().filter(|profile| is_loaded(&profile.name)) {
            let attachment = profile.attachment.clone();
            attached.extend(attachment.map(|attachment| Attached { name: profile.name.clone(), attachment, telling }));
        }
    }
    attached
}

/// Refuses hats and children whose parent is neither loaded nor in the set: the kernel would not take any of it.
fn refuse_orphans(compiled: &Compiled, sets: &[LoadSet]) -> Result<(), Error> {
    let loaded = compiled.plan.observed.kernel.as_ref().map(|kernel| &kernel.loaded);
    let missing: Vec<String> = sets
        .iter()
        .flat_map(LoadSet::missing_parents)
        .filter(|parent| loaded.is_none_or(|loaded| !loaded.contains_key(parent)))
        .map(|parent| format!("`{parent}`"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Kernel {
        code: "not_loadable",
        message: format!("nothing defines {}, which hats or children of it need", missing.join(", ")),
        remedy:
            "bring the parent's profile as well; apparmor_parser 3.0 names profiles nested in three levels so that \
                 no kernel loads them: there write `profile a//b//c` beside `profile a`, not inside of it"
                .to_owned(),
    })
}

/// Refuses to remove a profile while a hat or child of it stays installed, as another file may define one: the kernel
/// would take it along, and the next boot would not load it.
fn refuse_bereft(compiled: &Compiled, removals: &[Removal]) -> Result<(), Error> {
    let plan = &compiled.plan;
    let Some(kernel) = &plan.observed.kernel else { return Ok(()) };
    let given_up: BTreeSet<&ProfileName> = compiled.gone.values().flatten().collect();
    let files = compiled.results.iter().map(|result| (&plan.steps[result.step], &result.profiles));
    let files: BTreeMap<&FileName, _> = files.map(|(step, profiles)| (&step.file, (step.enabled, profiles))).collect();
    let loaded = files.iter().filter(|(_, (enabled, _))| *enabled);
    let loaded = loaded.flat_map(|(file, (_, profiles))| profiles.iter().map(move |it| (&it.name, *file)));
    let others =
        compiled.defined.iter().filter(|(name, file)| kernel.loaded.contains_key(name) && !files.contains_key(file));
    let staying: BTreeMap<&ProfileName, &FileName> = others.chain(loaded).collect();
    let bereft = staying.iter().filter(|(name, _)| !given_up.contains(*name)).find_map(|(name, file)| {
        let parent =
            removals.iter().map(|removal| &removal.name).find(|parent| *parent != *name && name.is_within(parent))?;
        Some((name, file, parent))
    });
    let Some((name, file, parent)) = bereft else { return Ok(()) };
    Err(Error::Kernel {
        code: "not_loadable",
        message: format!("`{file}` defines `{name}`, which cannot stay without `{parent}`, and that would be removed"),
        remedy: format!("remove or disable `{file}` as well, or keep a profile `{parent}`"),
    })
}

fn write_temporaries(root: &Root, effects: &[Effect]) -> Result<Vec<Option<Temporary>>, Error> {
    let mut directories = Directories::new(root);
    let write = |effect: &Effect| match directories.of(&effect.path)? {
        Some((directory, _)) => temporary(&directory, &effect.after),
        None => Ok(None),
    };
    effects.iter().map(write).collect()
}

fn missing_directories(plan: &Plan, root: &Root) -> Result<Vec<PolicyPath>, Error> {
    let written = plan.effects.iter().filter(|effect| !matches!(effect.after, Target::Absent));
    let parents: BTreeSet<PolicyPath> = written.flat_map(|effect| effect.path.parents().collect::<Vec<_>>()).collect();
    let mut missing = Vec::new();
    for parent in parents {
        if root.dir(&Path::new(POLICY_DIR).join(parent.as_str()))?.is_none() {
            missing.push(parent);
        }
    }
    Ok(missing)
}

fn place_change(effect: &Effect, host: &Host) -> Result<PlaceChange, Error> {
    let before = match &effect.before {
        Standing::Absent => Target::Absent,
        Standing::File(text, attributes) => Target::File(Arc::clone(text), *attributes),
        Standing::Link { target, .. } => Target::Link(target.clone()),
        Standing::Directory | Standing::Other(_) => {
            return Err(Error::Untrusted {
                path: host.root.shown(&Path::new(POLICY_DIR).join(effect.path.as_str())),
                why: "it is neither a file nor a link, and is not written over".to_owned(),
                remedy: "move it away".to_owned(),
            });
        }
    };
    Ok(PlaceChange { path: effect.path.clone(), before, after: effect.after.stands() })
}

/// The next ledger, made from the one that was observed, and what it remembers no longer; none where nothing is changed
/// and nothing new is known. `directories` are those that the run makes.
fn next_ledger(compiled: &mut Compiled, directories: &[PolicyPath]) -> Option<(Ledger, Idle)> {
    let plan = &mut compiled.plan;
    let before = &plan.observed.ledger;
    let is_managed = plan.observed.kernel.is_some();
    let unchanged = plan.effects.is_empty()
        && compiled.defined.forgotten().is_empty()
        && plan.held == *before.held()
        && (!is_managed || before.left_loaded.is_empty());
    if unchanged && compiled.results.is_empty() && compiled.gone.is_empty() {
        return None;
    }
    let mut next = std::mem::take(&mut plan.observed.ledger);
    next.made.extend(directories.iter().filter(|path| path.is_link_directory()).cloned());
    let links = plan.held.iter().filter(|(path, held)| path.is_link() && held.stands != Stands::Absent);
    let used: BTreeSet<PolicyPath> = links.flat_map(|(path, _)| path.parents().collect::<Vec<_>>()).collect();
    let idle = Idle {
        directories: next.made.difference(&used).cloned().collect(),
        originals: next.held().iter().any(|(path, before)| {
            matches!(before.original, Original::Kept(Stands::File { .. }))
                && plan.held.get(path).is_none_or(|held| held.original != before.original)
        }),
    };
    next.made.retain(|path| used.contains(path));
    if is_managed {
        next.left_loaded.clear();
    } else {
        next.left_loaded.extend(compiled.gone.values().flatten().cloned());
        next.left_loaded.retain(|name| compiled.defined.file(name).is_none());
    }
    let mut recorder = Recorder::new(next);
    recorder.hold(&plan.held);
    for file in compiled.defined.forgotten() {
        recorder.forget(file);
    }
    compiled.defined.unread().iter().for_each(|file| recorder.forget_read(file));
    for Reading { file, text, inputs, definitions } in compiled.defined.read() {
        let reading = ledger::Reading { text: *text, toolchain: &plan.observed.toolchain, inputs, definitions };
        recorder.read(file, &reading);
    }
    for result in &compiled.results {
        let step = &plan.steps[result.step];
        let Some(source) = &step.compile else { continue };
        let compilation = Compilation {
            text: source.text.digest(),
            forced_complain: source.forced_complain,
            toolchain: &plan.observed.toolchain,
            inputs: &source.inputs,
            profiles: result.recorded.clone(),
            definitions: compiled.defined.of_compiled(&step.file),
        };
        recorder.record(&step.file, compilation);
    }
    Some((recorder.finish(), idle))
}

fn load_sets(compiled: &Compiled) -> Result<Vec<LoadSet>, Error> {
    let changed: Vec<_> = compiled.results.iter().filter(|result| result.differs).collect();
    let blobs = changed.iter().map(|result| result.blob.read()).collect::<Result<Vec<_>, _>>()?;
    LoadSet::build(&blobs).map_err(|problems| {
        let file = |at: usize| changed.get(at).map_or("?", |result| compiled.plan.steps[result.step].file.as_str());
        let told: Vec<String> = problems
            .iter()
            .map(|problem| match problem {
                Unloadable::Malformed { blob, source } => format!("`{}`: {source}", file(*blob)),
                Unloadable::Stripped { blob, .. } | Unloadable::Nested { blob, .. } => {
                    format!("`{}`: {problem}", file(*blob))
                }
                Unloadable::Repeated { name, first, again } => {
                    format!("`{name}` is defined in `{}` and in `{}`", file(*first), file(*again))
                }
            })
            .collect();
        Error::Kernel {
            code: "not_loadable",
            message: format!("the compiled profiles cannot be loaded together: {}", told.join("; ")),
            remedy: "give each profile a name of its own, without white space at its ends, in the current policy \
                     namespace or in one directly below it"
                .to_owned(),
        }
    })
}

/// Names that go, children before their parents. Hats and children that nothing installed defines, because somebody
/// loaded them by hand, go with their profile and are named, so that undoing brings them back. Those that the kernel made
/// itself (`//null-`) it takes along by itself.
fn removals(compiled: &Compiled) -> Vec<Removal> {
    let plan = &compiled.plan;
    let Some(kernel) = &plan.observed.kernel else { return Vec::new() };
    let on_confined = |file: &FileName| {
        plan.steps.iter().find(|step| step.file == *file).map_or(OnConfined::Refuse, |step| step.on_confined)
    };
    let named = compiled.gone.iter().flat_map(|(file, names)| names.iter().map(move |name| (on_confined(file), name)));
    let named = named.chain(plan.leftover.iter().map(|name| (plan.on_confined, name)));
    let named = named.filter(|(_, name)| kernel.loaded.contains_key(name));
    // A name that goes for itself keeps what its own file says of processes that it confines.
    let mut going: BTreeMap<&ProfileName, OnConfined> = named.map(|(on_confined, name)| (name, on_confined)).collect();
    for (parent, on_confined) in going.clone() {
        for name in kernel.loaded.keys().filter(|name| name.is_within(parent)) {
            going.entry(name).or_insert(on_confined);
        }
    }
    let going = going.into_iter().filter(|(name, _)| !name.name.contains("//null-"));
    let mut removals: Vec<Removal> =
        going.map(|(name, on_confined)| Removal { name: name.clone(), on_confined }).collect();
    removals.sort_by(|a, b| (b.name.depth(), &a.name).cmp(&(a.name.depth(), &b.name)));
    removals
}

/// Refuses to take confinement from running processes, which is for good, unless the document says so.
pub(super) fn refuse_confined(host: &Host, removals: &[Removal]) -> Result<(), Error> {
    let guarded = removals.iter().filter(|removal| removal.on_confined == OnConfined::Refuse);
    let names: BTreeSet<ProfileName> = guarded.map(|removal| removal.name.clone()).collect();
    let Some(kernel) = host.kernel.as_deref().filter(|_| !names.is_empty()) else { return Ok(()) };
    let processes = kernel.confined(&names)?;
    if processes.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = processes
        .iter()
        .map(|process| {
            let executable = process.executable.as_deref().unwrap_or(Path::new("?")).display();
            let profiles: Vec<String> = process.profiles.iter().map(ToString::to_string).collect();
            format!("{executable} (process {}, under `{}`)", process.pid, profiles.join("` and `"))
        })
        .collect();
    Err(Error::Kernel {
        code: "confined",
        message: format!(
            "removing profiles would take confinement from running processes for good: {}",
            told.join(", ")
        ),
        remedy: "stop them first, or say \"on_confined\": \"unload\" on the entry or under `defaults`".to_owned(),
    })
}

/// The compiled policy that undoing loads again, by profile: cut out of what the kernel keeps, else compiled from the
/// installed text. What cannot be had either way is told as a warning, because a run that fails cannot put it back.
pub(super) fn save_policy(
    compiled: &mut Compiled,
    host: &Host,
    spool: SpoolIn<'_>,
    work: &KernelWork,
) -> Result<BTreeMap<ProfileName, Vec<u8>>, Error> {
    let (Some(kernel), Some(state)) = (host.kernel.as_deref(), &compiled.plan.observed.kernel) else {
        return Ok(BTreeMap::new());
    };
    let put = work.sets.iter().flat_map(|set| set.profiles().iter().map(|profile| &profile.name));
    let names = put.chain(work.removals.iter().map(|removal| &removal.name));
    let there: BTreeSet<ProfileName> = names.filter(|name| state.loaded.contains_key(*name)).cloned().collect();
    let mut blobs: BTreeMap<ProfileName, Vec<u8>> = BTreeMap::new();
    for SavedProfile { name, blob } in kernel.saved(&there)? {
        let Some((hash, blob)) = blob else { continue };
        // A journal that keeps other bytes than it says were loaded could never be undone.
        let shown = state.loaded.get(&name).and_then(|loaded| loaded.hash);
        if shown.is_some_and(|shown| !shown.is_of(&hash)) {
            return Err(Error::Kernel {
                code: "kernel_changed",
                message: format!("somebody replaced the profile `{name}` in the kernel while this run looked at it"),
                remedy: "run again".to_owned(),
            });
        }
        blobs.insert(name, blob);
    }
    let unsaved: BTreeSet<&ProfileName> = there.iter().filter(|name| !blobs.contains_key(*name)).collect();
    blobs.extend(recompiled(compiled, host, spool, state, &unsaved)?);
    let lost: Vec<String> =
        there.iter().filter(|name| !blobs.contains_key(*name)).map(|name| format!("`{name}`")).collect();
    if !lost.is_empty() {
        compiled.plan.draft.warnings.push(format!(
            "the kernel does not give back the policy that it runs as {}, and the installed text does not give it \
             either: should this run fail, it cannot be put back (`apparmor.export_binary=1` on the kernel's command line \
             has the kernel keep it)",
            lost.join(", ")
        ));
    }
    Ok(blobs)
}

fn profile_changes(
    compiled: &Compiled,
    work: &KernelWork,
    mut blobs: BTreeMap<ProfileName, Vec<u8>>,
) -> Vec<ProfileChange> {
    let Some(state) = &compiled.plan.observed.kernel else { return Vec::new() };
    let put = work.sets.iter().flat_map(|set| set.profiles().iter()).map(|profile| {
        let after = LoadedPolicy { hash: None, computed: Some(profile.hash), mode: profile.mode };
        (profile.name.clone(), Some(after))
    });
    let after = put.chain(work.removals.iter().map(|removal| (removal.name.clone(), None)));
    let changes = after.map(|(name, after)| {
        let before = state.loaded.get(&name).map(|was| SavedPolicy {
            loaded: LoadedPolicy { hash: was.hash.as_ref().map(ToString::to_string), computed: None, mode: was.mode },
            blob: blobs.remove(&name).map(Arc::new),
        });
        ProfileChange { name, before, after }
    });
    changes.collect()
}

/// Compiles profiles that the kernel does not give back from the installed texts, as far as these give what it runs.
fn recompiled(
    compiled: &Compiled,
    host: &Host,
    spool: SpoolIn<'_>,
    state: &KernelState,
    names: &BTreeSet<&ProfileName>,
) -> Result<Vec<(ProfileName, Vec<u8>)>, Error> {
    let defining =
        compiled.plan.steps.iter().filter(|step| step.defined_before.iter().any(|name| names.contains(name)));
    let files: BTreeSet<&FileName> = defining.map(|step| &step.file).collect();
    let found = compile::installed(compiled, host, spool, &files)?;
    let same = found.into_iter().filter(|(profile, _)| {
        let loaded = state.loaded.get(&profile.name).filter(|_| names.contains(&profile.name));
        loaded.is_some_and(|loaded| loaded.mode == mode_as_compiled(profile.mode) && state.shows(loaded, &profile.hash))
    });
    Ok(same.map(|(profile, blob)| (profile.name, blob)).collect())
}
