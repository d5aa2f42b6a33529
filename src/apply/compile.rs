//! Compiles what a plan changes, against a staged copy of all that it includes, and checks what comes out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use super::{Refusal, attachment, elapsed_ms, refused};
use crate::error::Error;
use crate::host::Host;
use crate::host::kernel::{Evidence, Kernel};
use crate::host::packages::Packages;
use crate::host::parser::{self, Blob, CompileError, Job, KernelFeatures, View as Parsed};
use crate::host::spool::Spool;
use crate::host::stage::Stage;
use crate::ledger::Recorded;
use crate::observe::{PARSER_CONF, POLICY_DIR};
use crate::plan::{Defined, Listed, Plan, Source, Step, mode_as_compiled};
use crate::policy::{self, AttachmentRecord, CompiledProfile, HashAlgorithm, LeftMatch};
use crate::profile::{FileName, PolicyPath, ProfileName};
use crate::report::{Action, Change, Draft, EntryError, LoadedProfile, Outcome};
use crate::syntax::IncludeTarget;
use crate::tree::{InputState, Overlay, Text, View, candidates};

/// Told of each profile that was compiled: how many are done, of how many, and which it was.
pub type Progress<'a> = dyn Fn(usize, usize, &str) + Sync + 'a;

/// Where the stage has the kernel features that are compiled for. No include can name it: what is looked for outside
/// of the policy directory stands below the stage as it does below the root, and no root has this directory.
const KERNEL_FEATURES: &str = "/.aa-converge/kernel-features";

/// Where the spool is made.
pub(super) enum SpoolIn<'a> {
    /// In the directory for temporary files, since the root must stay untouched.
    Temporary,
    /// Below the root, with the lock held.
    Root(&'a crate::host::lock::Lock),
}

impl SpoolIn<'_> {
    fn make(self, host: &Host) -> Result<Spool, Error> {
        match self {
            Self::Temporary => Spool::outside(&host.temporary),
            Self::Root(lock) => Spool::create(lock),
        }
    }
}

/// A plan with everything compiled.
pub(super) struct Compiled {
    pub(super) plan: Plan,
    /// What the host's files define once the plan is carried out.
    pub(super) defined: Defined,
    /// One for each step with something to compile.
    pub(super) results: Vec<CompiledStep>,
    /// The names that steps without a result, and results that lost a profile, take from the kernel.
    pub(super) gone: BTreeMap<FileName, BTreeSet<ProfileName>>,
    /// Where the blobs are, if there are any.
    pub(super) spool: Option<Spool>,
}

/// What compiling one step gave.
pub(super) struct CompiledStep {
    /// Which step of the plan.
    pub(super) step: usize,
    /// The compiled policy.
    pub(super) blob: Blob,
    /// What is in it.
    pub(super) profiles: Vec<CompiledProfile>,
    /// The same as the ledger remembers it.
    pub(super) recorded: Vec<Recorded>,
    /// Whether it is another than what is recorded or runs, and so to be loaded.
    pub(super) differs: bool,
}

/// Compiles all steps of `plan`. While they compile, finds what the host's files define then, and runs `beside` if
/// nothing is wrong with that.
pub(super) fn compile<T>(
    plan: Plan,
    host: &Host,
    spool: SpoolIn<'_>,
    progress: &Progress<'_>,
    beside: impl FnOnce() -> Result<T, Error>,
) -> Result<(Compiled, T), Box<Refusal>> {
    let started = Instant::now();
    let mut done = compile_and_compare(plan, host, spool, progress, beside);
    let draft = match &mut done {
        Ok((compiled, _)) => &mut compiled.plan.draft,
        Err(refusal) => &mut refusal.draft,
    };
    draft.elapsed.compile = elapsed_ms(started);
    done
}

fn compile_and_compare<T>(
    mut plan: Plan,
    host: &Host,
    spool: SpoolIn<'_>,
    progress: &Progress<'_>,
    beside: impl FnOnce() -> Result<T, Error>,
) -> Result<(Compiled, T), Box<Refusal>> {
    let sources = plan.steps.iter().enumerate().filter_map(|(step, it)| Some((step, it.compile.as_ref()?)));
    let sources: Vec<(usize, &Source)> = sources.collect();
    let known = plan.observed.ledger.version_of(&plan.observed.toolchain.parser);
    let beside = || -> Result<(Defined, T), Error> {
        let done = plan.defined().map_err(Error::Document).and_then(|defined| Ok((defined, beside()?)));
        // The run ends with this, and need not wait for what compiles.
        done.inspect_err(|_| host.cancel.trigger())
    };
    if sources.is_empty() {
        let (mut defined, besides) = match beside() {
            Ok(done) => done,
            Err(error) => return Err(refused_early(error, plan)),
        };
        plan.observed.toolchain.version = known.clone().unwrap_or_default();
        plan.draft.parser_version = known;
        plan.settle(&mut defined);
        let gone = gone(&plan, &defined, &[]);
        return Ok((Compiled { plan, defined, results: Vec::new(), gone, spool: None }, besides));
    }
    let spool = match spool.make(host) {
        Ok(spool) => spool,
        Err(error) => return Err(refused_early(error, plan)),
    };
    let compile = || compile_sources(&plan, host, &spool, "new", &sources, &plan.overlay, progress);
    let run = || -> Result<_, Error> {
        thread::scope(|scope| {
            // To wait for the parser takes less memory than what is done meanwhile, and a new thread gets new memory.
            let blobs = scope.spawn(compile);
            let besides = beside();
            let blobs = match blobs.join() {
                Ok(blobs) => blobs,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            // What went wrong beside is why the compiling was broken off.
            let (defined, besides) = besides?;
            Ok((blobs?, defined, besides))
        })
    };
    let (blobs, mut defined, besides) = match run() {
        Ok(done) => done,
        Err(error) => return Err(refused_early(error, plan)),
    };
    let steps: Vec<usize> = sources.into_iter().map(|(step, _)| step).collect();
    let attempted = steps.len();
    let version = match known.map_or_else(|| host.parser_version(&spool), Ok) {
        Ok(version) => version,
        Err(error) => {
            let failures = steps.into_iter().zip(blobs).filter_map(|(step, blob)| Some((step, blob.err()?)));
            let failures: BTreeMap<usize, EntryError> = failures.collect();
            // What does not even tell its version compiles nothing, and how it failed at that tells more.
            let error = if failures.is_empty() { error } else { fail(&mut plan, failures, attempted) };
            return Err(refused_early(error, plan));
        }
    };
    plan.draft.parser_version = Some(version.clone());
    plan.observed.toolchain.version = version;
    plan.settle(&mut defined);
    let mut results = Vec::new();
    let mut failures: BTreeMap<usize, EntryError> = BTreeMap::new();
    for (step, blob) in steps.into_iter().zip(blobs) {
        match blob.and_then(|blob| read_back(&plan.steps[step], blob)) {
            Ok((blob, profiles, recorded)) => {
                results.push(CompiledStep { step, blob, profiles, recorded, differs: true });
            }
            Err(error) => drop(failures.insert(step, error)),
        }
    }
    let earlier = match earlier(&plan, host, &spool, &failures, &results) {
        Ok(earlier) => earlier,
        Err(error) => return Err(refused(error, plan.draft)),
    };
    for (step, _) in earlier.iter().filter(|(_, profiles)| profiles.is_none()) {
        let Some(failure) = failures.remove(step) else { continue };
        let file = &plan.steps[*step].file;
        plan.draft.warnings.push(format!(
            "`{file}` depends on a changed include and does not compile, as it did not before: {}",
            failure.message
        ));
        plan.draft.profiles.remove(file);
    }
    let repeated = repeats(&plan, &defined, &results);
    if repeated.is_empty() {
        let kernel = host.kernel.as_deref();
        // Which kernel will run the policy of an image is not known.
        let release = kernel.and_then(Kernel::release).unwrap_or_default();
        match kernel.map_or(Ok(Vec::new()), |it| attachment::foreign(&plan, &defined, &results, it)) {
            Ok(foreign) => {
                let kernels = LeftMatch::of_release(&release);
                let compared = attachment::compare(&plan, &defined, &results, &foreign, kernels);
                plan.draft.warnings.extend(compared.undecided);
                failures.extend(compared.conflicts);
            }
            Err(error) => return Err(refused(error, plan.draft)),
        }
    }
    failures.extend(repeated);
    if !failures.is_empty() {
        return Err(refused(fail(&mut plan, failures, attempted), plan.draft));
    }
    if let Err(error) = look_closer(&mut plan, host, &results) {
        return Err(refused(error, plan.draft));
    }
    for result in &mut results {
        settle(&mut plan, result, earlier.get(&result.step).and_then(Option::as_deref));
    }
    if let Err(error) = warn_of_edited_packages(&mut plan, host) {
        return Err(refused(error, plan.draft));
    }
    let gone = gone(&plan, &defined, &results);
    Ok((Compiled { plan, defined, results, gone, spool: Some(spool) }, besides))
}

/// Has the entries of steps say why they failed.
fn fail(plan: &mut Plan, failures: BTreeMap<usize, EntryError>, attempted: usize) -> Error {
    let failed = failures.len();
    for (step, error) in failures {
        if let Some(entry) = plan.draft.profiles.get_mut(&plan.steps[step].file) {
            entry.outcome = Outcome::Failed;
            entry.error = Some(error);
        }
    }
    Error::Compile { failed, attempted }
}

/// A refusal before the plan is settled. One of the document itself tells nothing but its problems.
fn refused_early(error: Error, plan: Plan) -> Box<Refusal> {
    let draft = if matches!(error, Error::Document(_)) { Draft::default() } else { plan.into_draft() };
    refused(error, draft)
}

/// Stages what the sources need and compiles them, in the order given.
fn compile_sources(
    plan: &Plan,
    host: &Host,
    spool: &Spool,
    name: &str,
    sources: &[(usize, &Source)],
    overlay: &Overlay,
    progress: &Progress<'_>,
) -> Result<Vec<Result<Blob, EntryError>>, Error> {
    let observed = &plan.observed;
    if let Some(missing) = observed.missing_conf_file() {
        return Err(Error::Parser {
            message: format!(
                "{} names {}, which is not there: no profile compiles without it",
                host.root.shown(Path::new(PARSER_CONF)).display(),
                host.root.shown(missing).display()
            ),
            remedy: "install what brings it (on Debian the package apparmor), or take the option out of parser.conf"
                .to_owned(),
        });
    }
    let view = View::new(&observed.tree, overlay);
    let directory = spool.dir().private_dir(name)?;
    let mut stage = Stage::new(&directory.real_path()?, &observed.policy_dir)?;
    let mut staged = BTreeSet::new();
    let mut jobs = Vec::new();
    stage.add(Path::new(KERNEL_FEATURES), &observed.features.bytes, &[])?;
    for (path, text) in &observed.conf_files {
        stage.add(path, &text.bytes, &[])?;
        staged.insert(path.clone());
    }
    for (step, source) in sources {
        let file = &plan.steps[*step].file;
        let at = observed.policy_dir.join(file.as_str());
        if staged.insert(at.clone()) {
            stage.add(&at, &source.text.bytes, &replacements(&source.text, &observed.search, view))?;
        }
        if source.forced_complain {
            stage.add(&observed.policy_dir.join(PolicyPath::force_complain_link(file).as_str()), b"", &[])?;
        }
        for (path, text) in &source.files {
            if staged.insert(path.clone()) {
                stage.add(path, &text.bytes, &replacements(text, &observed.search, view))?;
            }
        }
        for input in source.inputs.iter().filter(|input| matches!(input.state, InputState::Directory(_))) {
            if staged.insert(input.path.clone()) {
                stage.add_directory(&input.path)?;
            }
        }
        // What a profile costs to compile grows with everything that it includes.
        let weight = source.text.bytes.len() + source.files.iter().map(|(_, text)| text.bytes.len()).sum::<usize>();
        jobs.push(Job { file: at, weight: weight as u64 });
    }
    let features = KernelFeatures::Staged(PathBuf::from(KERNEL_FEATURES));
    let view = Parsed { stage: &stage, conf: &observed.parser_conf, kernel_features: &features };
    let told = |at: parser::Progress<'_>| progress(at.done, at.total, &at.file.to_string_lossy());
    let at_once = host.jobs.unwrap_or_else(parser::default_jobs);
    let results = host.parser.compile_all(view, &jobs, at_once, &host.cancel, &told)?;
    let real = |error: CompileError| EntryError {
        message: error.message,
        file: error.file.map(|path| host.root.shown(&path).display().to_string()),
        line: error.line,
    };
    Ok(results.into_iter().map(|result| result.map_err(real)).collect())
}

/// The include arguments in `text` that would lead the parser out of the stage, with the path that each is to be led
/// to instead: those that are not looked for in the search directories, and those with `..`.
fn replacements(text: &Text, search: &[PathBuf], view: View<'_>) -> Vec<(std::ops::Range<usize>, PathBuf)> {
    let escapes = text.scan().includes.iter().filter(|include| {
        matches!(include.target, IncludeTarget::Literal(_))
            || Path::new(include.target.path())
                .components()
                .any(|part| matches!(part, std::path::Component::ParentDir | std::path::Component::RootDir))
    });
    let led = escapes.filter_map(|include| {
        let mut paths = candidates(&include.target, search).peekable();
        let first = paths.peek().cloned();
        let found = paths.find(|path| !matches!(view.node(path), crate::tree::Node::Absent));
        Some((include.argument.clone(), found.or(first)?))
    });
    led.collect()
}

/// Reads what the parser wrote, and checks that every profile in it has the mode that was asked for.
fn read_back(step: &Step, blob: Blob) -> Result<(Blob, Vec<CompiledProfile>, Vec<Recorded>), EntryError> {
    let failed = |message: String| EntryError { message, file: None, line: None };
    let bytes = blob.read().map_err(|error| failed(error.to_string()))?;
    let unreadable = |error| failed(format!("what apparmor_parser wrote cannot be read: {error}"));
    let profiles = policy::profiles(&bytes).map_err(unreadable)?;
    if profiles.is_empty() {
        return Err(failed("the file defines no profile".to_owned()));
    }
    for profile in &profiles {
        let header = step.expected.headers.iter().find(|header| header.names.contains(&profile.name));
        if let Some(header) = header {
            if mode_as_compiled(header.mode) != mode_as_compiled(profile.mode) {
                return Err(failed(format!(
                    "`{}` was compiled in {} mode, not in {} mode",
                    profile.name, profile.mode, header.mode
                )));
            }
        }
    }
    let record = |profile: &CompiledProfile| {
        let attachment = AttachmentRecord::of(profile, &bytes)?;
        Ok(Recorded { name: profile.name.clone(), mode: profile.mode, hash: profile.hash, attachment })
    };
    let recorded = profiles.iter().map(record).collect::<Result<_, _>>().map_err(unreadable)?;
    Ok((blob, profiles, recorded))
}

/// What files that stay as they are compile to without the plan's changes; none for those that do not compile.
/// It is asked of profiles that the document does not list and that fail now, which is excused where they failed
/// before, and of those whose earlier result nothing recorded.
fn earlier(
    plan: &Plan,
    host: &Host,
    spool: &Spool,
    failures: &BTreeMap<usize, EntryError>,
    results: &[CompiledStep],
) -> Result<BTreeMap<usize, Option<Vec<CompiledProfile>>>, Error> {
    let failed = failures.keys().copied().filter(|step| plan.steps[*step].listed == Listed::Dependent);
    let unrecorded = results.iter().map(|result| result.step).filter(|step| {
        let step = &plan.steps[*step];
        let is_reload = plan.draft.profiles.get(&step.file).is_some_and(|entry| entry.action == Action::Reload);
        let is_recorded = plan.observed.kernel.is_some() || plan.observed.ledger.compiled().contains_key(&step.file);
        is_reload && step.touched && !is_recorded
    });
    let steps: Vec<usize> = failed.chain(unrecorded).collect();
    if steps.is_empty() {
        return Ok(BTreeMap::new());
    }
    let nothing = Overlay::new();
    let sources: Vec<Source> = steps.iter().filter_map(|step| plan.source_before(&plan.steps[*step])).collect();
    let sources: Vec<(usize, &Source)> = steps.iter().copied().zip(&sources).collect();
    let before = compile_sources(plan, host, spool, "old", &sources, &nothing, &|_, _, _| {})?;
    let profiles = |blob: Result<Blob, EntryError>| policy::profiles(&blob.ok()?.read().ok()?).ok();
    Ok(steps.into_iter().zip(before).map(|(step, blob)| (step, profiles(blob))).collect())
}

/// Names that two files of the host, or one file twice, would define: the kernel crashes on a set that repeats one.
fn repeats(plan: &Plan, defined: &Defined, results: &[CompiledStep]) -> BTreeMap<usize, EntryError> {
    let mut found = BTreeMap::new();
    let compiled: BTreeSet<&FileName> = results.iter().map(|result| &plan.steps[result.step].file).collect();
    let elsewhere = |name: &ProfileName| defined.file(name).filter(|file| !compiled.contains(file));
    let mut names: BTreeMap<&ProfileName, &FileName> = BTreeMap::new();
    for result in results.iter().filter(|result| plan.steps[result.step].enabled) {
        let file = &plan.steps[result.step].file;
        for profile in &result.profiles {
            if let Some(other) = names.insert(&profile.name, file).or_else(|| elsewhere(&profile.name)) {
                let message = format!("the profile `{}` is defined in `{other}` and in `{file}`", profile.name);
                found.insert(result.step, EntryError { message, file: None, line: None });
            }
        }
    }
    found
}

/// Asks the kernel for the hashes of profiles that nothing recorded: only compiling told their names. They may well run
/// already, loaded at boot or by hand.
fn look_closer(plan: &mut Plan, host: &Host, results: &[CompiledStep]) -> Result<(), Error> {
    let (Some(kernel), Some(state)) = (host.kernel.as_deref(), &mut plan.observed.kernel) else { return Ok(()) };
    let compiled = results.iter().flat_map(|result| &result.profiles).map(|profile| &profile.name);
    let is_unseen = |name: &&ProfileName| state.loaded.get(*name).is_some_and(|loaded| loaded.hash.is_none());
    let unseen: BTreeSet<ProfileName> = compiled.filter(is_unseen).cloned().collect();
    if unseen.is_empty() || state.evidence == Evidence::Name {
        return Ok(());
    }
    let mut seen = kernel.observe(&unseen, None)?;
    for name in unseen {
        match seen.loaded.remove(&name) {
            Some(loaded) => drop(state.loaded.insert(name, loaded)),
            None => drop(state.loaded.remove(&name)),
        }
    }
    Ok(())
}

/// Decides whether compiled policy is another than what is recorded and runs; if not, and the file stays as it is,
/// nothing is to be done.
fn settle(plan: &mut Plan, result: &mut CompiledStep, earlier: Option<&[CompiledProfile]>) {
    let step = &plan.steps[result.step];
    let record = plan.observed.ledger.compiled().get(&step.file);
    let kernel = plan.observed.kernel.as_ref();
    result.differs = step.enabled
        && match (kernel, record) {
            (Some(kernel), _) => result.profiles.iter().any(|profile| {
                kernel.loaded.get(&profile.name).is_none_or(|loaded| {
                    loaded.mode != mode_as_compiled(profile.mode) || !kernel.shows(loaded, &profile.hash)
                })
            }),
            (None, Some(record)) => {
                let recorded = record.profiles.iter().map(|profile| (&profile.name, profile.mode, &profile.hash));
                !recorded.eq(result.profiles.iter().map(|profile| (&profile.name, profile.mode, &profile.hash)))
            }
            (None, None) => {
                let then = earlier.map(|profiles| profiles.iter().map(|it| (&it.name, it.mode, &it.hash)));
                let now = result.profiles.iter().map(|it| (&it.name, it.mode, &it.hash));
                step.touched && then.is_none_or(|then| !then.eq(now))
            }
        };
    if let Some(wanted) = step.expected.wanted {
        let included: Vec<String> = result
            .profiles
            .iter()
            .filter(|profile| !step.expected.headers.iter().any(|header| header.names.contains(&profile.name)))
            .filter(|profile| mode_as_compiled(profile.mode) != mode_as_compiled(wanted))
            .map(|profile| format!("`{}` ({})", profile.name, profile.mode))
            .collect();
        if !included.is_empty() {
            plan.draft.warnings.push(format!(
                "`{}`: {} come from included files and keep their mode",
                step.file,
                included.join(", ")
            ));
        }
    }
    let Some(entry) = plan.draft.profiles.get_mut(&step.file) else { return };
    if entry.action == Action::Reload && !result.differs {
        entry.action = Action::Keep;
        entry.outcome = Outcome::Unchanged;
        entry.reasons.clear();
    }
    if !step.enabled {
        return;
    }
    let before = std::mem::take(&mut entry.loaded);
    let was = |name: &str| before.iter().find(|loaded| loaded.name == name);
    entry.loaded = result
        .profiles
        .iter()
        .map(|profile| {
            let name = profile.name.to_string();
            let running = kernel.and_then(|kernel| kernel.loaded.get(&profile.name));
            let shown = running.and_then(|loaded| loaded.hash.as_ref()).map(ToString::to_string);
            let (mode, hash) = was(&name).map_or_else(
                || (running.map(|loaded| loaded.mode), shown.clone()),
                |loaded| (loaded.mode.before, loaded.hash.before.clone()),
            );
            let compiled = profile.hash.shown(HashAlgorithm::Sha256).to_string();
            let is_effective = kernel.is_some_and(|kernel| kernel.effective_mode(profile.mode) == profile.mode);
            LoadedProfile {
                mode: Change { before: mode, after: Some(profile.mode) },
                hash: Change { before: hash, after: shown.filter(|_| !result.differs).or(Some(compiled)) },
                verified: !result.differs && running.is_some() && is_effective,
                name,
            }
        })
        .collect();
}

/// An edited configuration file of a package makes its upgrades ask questions.
fn warn_of_edited_packages(plan: &mut Plan, host: &Host) -> Result<(), Error> {
    if plan.edited.is_empty() {
        return Ok(());
    }
    let Some(packages) = Packages::read(&host.root, Path::new(POLICY_DIR))? else { return Ok(()) };
    for path in &plan.edited {
        if let Some(shipped) = packages.shipped(&Path::new(POLICY_DIR).join(path.as_str())) {
            plan.draft.warnings.push(format!(
                "the flags in `{path}` are edited, because no link gives this mode; the package {} owns the file",
                shipped.package
            ));
        }
    }
    Ok(())
}

/// The names that each step's earlier text defined and that nothing defines any more.
fn gone(plan: &Plan, defined: &Defined, results: &[CompiledStep]) -> BTreeMap<FileName, BTreeSet<ProfileName>> {
    let compiled: BTreeSet<&FileName> = results.iter().map(|result| &plan.steps[result.step].file).collect();
    let loaded = results.iter().filter(|result| plan.steps[result.step].enabled);
    let loaded: BTreeSet<&ProfileName> =
        loaded.flat_map(|result| result.profiles.iter().map(|profile| &profile.name)).collect();
    let is_defined =
        |name: &ProfileName| loaded.contains(name) || defined.file(name).is_some_and(|file| !compiled.contains(file));
    let mut gone = BTreeMap::new();
    for step in &plan.steps {
        let names: BTreeSet<ProfileName> =
            step.defined_before.iter().filter(|name| !is_defined(name)).cloned().collect();
        if !names.is_empty() {
            gone.insert(step.file.clone(), names);
        }
    }
    gone
}

impl Plan {
    /// What compiling a step's file as it stands now takes; none if there is no file.
    fn source_before(&self, step: &Step) -> Option<Source> {
        let nothing = Overlay::new();
        let view = View::new(&self.observed.tree, &nothing);
        let text = view.text(&self.observed.policy_dir.join(step.file.as_str()))?;
        let mut closures = crate::tree::Closures::new(view, &self.observed.search);
        let closure = closures.of(&text);
        Some(Source::of(text, self.observed.is_forced_to_complain(&step.file), &closure.inputs, &closures))
    }
}

/// Compiles the installed texts of these files, as they stand before the plan is carried out, profile by profile.
/// One that does not compile gives nothing.
pub(super) fn installed(
    compiled: &Compiled,
    host: &Host,
    spool: SpoolIn<'_>,
    files: &BTreeSet<&FileName>,
) -> Result<Vec<(CompiledProfile, Vec<u8>)>, Error> {
    let plan = &compiled.plan;
    let steps = plan.steps.iter().enumerate().filter(|(_, step)| files.contains(&step.file));
    let sources: Vec<(usize, Source)> = steps.filter_map(|(at, step)| Some((at, plan.source_before(step)?))).collect();
    if sources.is_empty() {
        return Ok(Vec::new());
    }
    let made = if compiled.spool.is_none() { Some(spool.make(host)?) } else { None };
    let Some(spool) = compiled.spool.as_ref().or(made.as_ref()) else { return Ok(Vec::new()) };
    let borrowed: Vec<(usize, &Source)> = sources.iter().map(|(at, source)| (*at, source)).collect();
    let blobs = compile_sources(plan, host, spool, "installed", &borrowed, &Overlay::new(), &|_, _, _| {})?;
    let mut found = Vec::new();
    for blob in blobs.into_iter().flatten() {
        let bytes = blob.read()?;
        for profile in policy::profiles(&bytes).unwrap_or_default() {
            found.extend(profile.cut(&bytes).map(|cut| (profile, cut)));
        }
    }
    Ok(found)
}
