//! Everything that a commit needs, made where nobody reads it: blobs in the spool, new files under temporary names,
//! the journal and the next ledger in memory.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::compile::{self, Compiled, Progress, SpoolIn};
use super::directories::{Directories, temporary};
use super::state::adopt;
use super::{Refusal, elapsed_ms, refused};
use crate::document::OnConfined;
use crate::error::Error;
use crate::host::replace::Temporary;
use crate::host::root::Root;
use crate::host::{Host, LockedHost};
use crate::journal::{Journal, LoadedPolicy, PlaceChange, ProfileChange, SavedPolicy};
use crate::ledger::{Ledger, Recorded, Recorder};
use crate::observe::POLICY_DIR;
use crate::plan::{Effect, Plan, Standing, Target};
use crate::policy::{LoadSet, Unloadable};
use crate::profile::{Digest, FileName, PolicyPath, ProfileName};
use crate::report::Action;

/// A plan that is compiled, checked and ready to be carried out. It owns the lock: what is committed without being
/// locked and compiled does not type-check.
#[must_use]
pub struct Prepared {
    pub(super) host: LockedHost,
    pub(super) compiled: Compiled,
    pub(super) journal: Journal,
    /// The next ledger's bytes; none when it stays as it is.
    pub(super) ledger: Option<Vec<u8>>,
    /// The new files and links, by effect; none for removals, and for places whose directory does not exist yet.
    pub(super) temporaries: Vec<Option<Temporary>>,
    /// What is written to the kernel.
    pub(super) sets: Vec<LoadSet>,
    /// What is removed from the kernel afterwards, children before their parents.
    pub(super) removals: Vec<Removal>,
}

/// A profile that leaves the kernel.
pub(super) struct Removal {
    pub(super) name: ProfileName,
    pub(super) on_confined: OnConfined,
}

pub(super) fn prepare(plan: Plan, host: LockedHost, progress: &Progress<'_>) -> Result<Prepared, Box<Refusal>> {
    let started = Instant::now();
    let effects = plan.effects.clone();
    let adoptions = plan.adoptions.clone();
    let root = &host.host.root;
    let beside = || -> Result<Vec<Option<Temporary>>, Error> {
        adopt(root, &adoptions)?;
        write_temporaries(root, &effects)
    };
    let (mut compiled, temporaries) = compile::compile(plan, &host.host, SpoolIn::Root(&host.lock), progress, beside)?;
    compiled.plan.draft.elapsed.compile = elapsed_ms(started);
    match assemble(&mut compiled, &host.host) {
        Ok(Assembled { journal, ledger, sets, removals }) => {
            Ok(Prepared { host, compiled, journal, ledger, temporaries, sets, removals })
        }
        Err(error) => Err(refused(error, compiled.plan.draft)),
    }
}

struct Assembled {
    journal: Journal,
    ledger: Option<Vec<u8>>,
    sets: Vec<LoadSet>,
    removals: Vec<Removal>,
}

fn assemble(compiled: &mut Compiled, host: &Host) -> Result<Assembled, Error> {
    if host.cancel.is_triggered() {
        return Err(Error::Interrupted);
    }
    let ledger = next_ledger(compiled).map(Ledger::into_bytes);
    let plan = &compiled.plan;
    let (sets, removals) = match &plan.observed.kernel {
        Some(_) => (load_sets(compiled)?, removals(compiled)),
        None => (Vec::new(), Vec::new()),
    };
    refuse_confined(host, &removals)?;
    let journal = Journal {
        ledger_after: ledger.as_deref().map(Digest::of),
        directories: missing_directories(plan, &host.root)?,
        places: plan.effects.iter().map(|effect| place_change(effect, host)).collect::<Result<_, _>>()?,
        profiles: profile_changes(compiled, host, &sets, &removals)?,
        cached: cached(compiled),
    };
    Ok(Assembled { journal, ledger, sets, removals })
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

/// The next ledger, made from the one that was observed; none where nothing is changed and nothing new is known.
fn next_ledger(compiled: &mut Compiled) -> Option<Ledger> {
    let plan = &mut compiled.plan;
    let before = &plan.observed.ledger;
    let unchanged = plan.effects.is_empty() && plan.forgotten.is_empty() && plan.held == before.held;
    if unchanged && compiled.results.is_empty() && compiled.gone.is_empty() {
        return None;
    }
    let mut next = std::mem::take(&mut plan.observed.ledger);
    next.runs = next.runs.wrapping_add(1);
    next.held.clone_from(&plan.held);
    let mut recorder = Recorder::new(next);
    for file in &plan.forgotten {
        recorder.forget(file);
    }
    for result in &compiled.results {
        let step = &plan.steps[result.step];
        let Some(source) = &step.compile else { continue };
        let profiles = result.profiles.iter().map(|profile| Recorded {
            name: profile.name.clone(),
            mode: profile.mode,
            hash: profile.hash,
        });
        recorder.record(
            &step.file,
            source.text.digest(),
            source.forced_complain,
            &plan.observed.toolchain,
            &source.inputs,
            profiles.collect(),
        );
    }
    Some(recorder.finish())
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
                Unloadable::Repeated { name, first, again } => {
                    format!("`{name}` is defined in `{}` and in `{}`", file(*first), file(*again))
                }
            })
            .collect();
        Error::Kernel {
            code: "not_loadable",
            message: format!("the compiled profiles cannot be loaded together: {}", told.join("; ")),
            remedy: "give each profile a name of its own".to_owned(),
        }
    })
}

/// Names that go, children before their parents; those that the kernel made itself (`//null-`) go with their profile.
fn removals(compiled: &Compiled) -> Vec<Removal> {
    let plan = &compiled.plan;
    let Some(kernel) = &plan.observed.kernel else { return Vec::new() };
    let on_confined = |file: &FileName| {
        plan.steps.iter().find(|step| step.file == *file).map_or(OnConfined::Refuse, |step| step.on_confined)
    };
    let mut removals: Vec<Removal> = compiled
        .gone
        .iter()
        .flat_map(|(file, names)| names.iter().map(move |name| (on_confined(file), name)))
        .filter(|(_, name)| kernel.loaded.contains_key(name) && !name.name.contains("//null-"))
        .map(|(on_confined, name)| Removal { name: name.clone(), on_confined })
        .collect();
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

fn profile_changes(
    compiled: &Compiled,
    host: &Host,
    sets: &[LoadSet],
    removals: &[Removal],
) -> Result<Vec<ProfileChange>, Error> {
    let (Some(kernel), Some(loaded)) = (host.kernel.as_deref(), &compiled.plan.observed.kernel) else {
        return Ok(Vec::new());
    };
    let put = sets.iter().flat_map(|set| set.profiles().iter()).map(|profile| {
        let after = LoadedPolicy { hash: None, computed: Some(profile.hash), mode: profile.mode };
        (profile.name.clone(), Some(after))
    });
    let after: Vec<(ProfileName, Option<LoadedPolicy>)> =
        put.chain(removals.iter().map(|removal| (removal.name.clone(), None))).collect();
    let there: BTreeSet<ProfileName> =
        after.iter().map(|(name, _)| name).filter(|name| loaded.loaded.contains_key(*name)).cloned().collect();
    let saved = kernel.saved(&there)?;
    let changes = after.into_iter().map(|(name, after)| {
        let before = loaded.loaded.get(&name).map(|was| SavedPolicy {
            loaded: LoadedPolicy { hash: was.hash.as_ref().map(ToString::to_string), computed: None, mode: was.mode },
            blob: saved.iter().find(|saved| saved.name == name).and_then(|saved| saved.blob.clone()).map(Arc::new),
        });
        ProfileChange { name, before, after }
    });
    Ok(changes.collect())
}

/// Files whose entries in the parser's cache hold what is policy no longer.
fn cached(compiled: &Compiled) -> Vec<FileName> {
    let entries = compiled.plan.draft.profiles.values();
    entries.filter(|entry| entry.action != Action::Keep).map(|entry| entry.file.clone()).collect()
}
