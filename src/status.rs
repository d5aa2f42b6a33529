//! What is installed, whose it is, what runs of it, and what differs: the answer of `status`, made without looking at
//! the host again.
//!
//! **Invariant:** the words for what differs are those of the report's `reasons`, and are found by the same functions
//! that decide what `apply` does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use crate::host::kernel::Process;
use crate::host::packages::Packages;
use crate::plan::{Observed, Standing, objections};
use crate::policy::HashAlgorithm;
use crate::profile::{Digest, FileName, Mode, Owner, PolicyPath, ProfileName};
use crate::report::{NeedsRestart, Reason, Recovered, Tool};

mod files;
#[cfg(test)]
mod tests;
mod text;

pub(crate) use files::profile_files;
pub use text::render as render_text;

/// The version of the status's form.
pub const STATUS_VERSION: u32 = 1;

/// Everything that a status or an export is made from; read once.
#[derive(Debug)]
pub struct Survey {
    /// What a plan would be made from.
    pub observed: Observed,
    /// What stands below the policy directory that profiles include, or could; directories left out.
    pub includes: BTreeMap<PolicyPath, Standing>,
    /// Names beside them that no document can express, relative to the policy directory.
    pub unnameable: Vec<PathBuf>,
    /// What packages ship; none where there is no package list that this program can read.
    pub packages: Option<Packages>,
}

/// What is known besides a [`Survey`].
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The parser's version.
    pub parser: Option<String>,
    /// The running kernel's release, when the kernel is managed.
    pub release: Option<String>,
    /// Every running process, when the kernel is managed.
    pub processes: Vec<Process>,
    /// Those that should be confined and are not, where somebody can tell.
    pub unconfined: Option<Vec<NeedsRestart>>,
    /// What the next run would undo first.
    pub pending: Option<Recovered>,
}

/// What is installed, whose it is, what runs of it, and what differs. Keys are always present and unknown is null;
/// readers must ignore fields and values that they do not know.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Status {
    /// The version of the status's form: 1.
    pub status: u32,
    /// The programs that it was made with.
    pub tool: Tool,
    /// One line for people.
    pub msg: String,
    /// How many of each.
    pub summary: Summary,
    /// The files of profiles, sorted by name in byte order: all that are installed, and those that an owner holds and
    /// that are not there.
    pub profiles: Vec<ProfileFile>,
    /// The include files that an owner holds, sorted by path in byte order.
    pub files: Vec<IncludeFile>,
    /// Profiles in the kernel that no installed file defines, sorted by name: those of docker, libvirt or snapd, or
    /// what was left when a file changed.
    pub foreign: Vec<ForeignProfile>,
    /// Running processes.
    pub processes: Processes,
    /// The running kernel.
    pub kernel: KernelStatus,
    /// What the next run would undo first, because a run was interrupted or is under way right now; null when every
    /// run has ended.
    pub pending: Option<Recovered>,
    /// What people should know.
    pub warnings: Vec<String>,
}

/// How many of each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Summary {
    /// Installed files of profiles.
    pub files: usize,
    /// Files of profiles and include files that an owner holds.
    pub owned: usize,
    /// Installed files of profiles that are switched off.
    pub disabled: usize,
    /// Files of profiles and include files with a `drift`, less those that `unloaded` counts.
    pub drifted: usize,
    /// Files of profiles that nobody holds and that differ in nothing but that a profile of theirs is not loaded: many
    /// packages ship policy that a host does not use.
    pub unloaded: usize,
    /// Profiles, hats and children that should be loaded.
    pub wanted: usize,
    /// Those of them that are loaded; null when the kernel was not looked at.
    pub loaded: Option<usize>,
    /// The loaded profiles that an installed file defines, by the mode that the kernel has for each.
    pub modes: Modes,
    /// Loaded profiles that no installed file defines.
    pub foreign: usize,
    /// Running processes that a profile confines.
    pub confined: usize,
    /// Running processes that should be confined and are not; null where this is not known.
    pub unconfined: Option<usize>,
}

/// Numbers of loaded profiles, by mode.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Modes {
    /// Denying and logging.
    pub enforce: usize,
    /// Logging only.
    pub complain: usize,
    /// Denying, logging and killing.
    pub kill: usize,
    /// Allowing everything; the kernel shows `default_allow` so, too.
    pub unconfined: usize,
    /// Asking a daemon.
    pub prompt: usize,
}

/// A file of profiles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ProfileFile {
    /// Its name in the policy directory.
    #[schemars(with = "String")]
    pub file: FileName,
    /// Whether it is there, and in force.
    pub state: FileState,
    /// Whether a link in `force-complain/`, or parser.conf, puts all that it defines into complain mode.
    pub forced_complain: bool,
    /// The owner that holds it: the name in the document that was applied; null when it is nobody's.
    #[schemars(with = "Option<String>")]
    pub owner: Option<Owner>,
    /// The package that ships it; null when none does, or when this is not known.
    pub package: Option<PackageOf>,
    /// SHA-256 of its bytes, 64 hexadecimal digits; null when it is not there.
    #[schemars(with = "Option<String>")]
    pub sha256: Option<Digest>,
    /// What differs from what was applied, in the words of the report's `reasons`: `content` and `attributes` when the
    /// file is not what its owner wrote, `mode` when its links are not, `include:<path>`, `parser` and `features` when
    /// compiling it now gives another result, and what differs in the kernel.
    pub drift: Vec<Reason>,
    /// The profiles, hats and children that it defines.
    pub profiles: Vec<ProfileStatus>,
}

impl ProfileFile {
    /// Whether nobody holds the file, and nothing differs but that a profile of it is not loaded.
    #[must_use]
    pub fn is_merely_unloaded(&self) -> bool {
        self.owner.is_none()
            && !self.drift.is_empty()
            && self.drift.iter().all(|reason| reason.0 == Reason::KERNEL_MISSING)
    }
}

/// Whether a file of profiles is there, and in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    /// It is there, and its profiles should be loaded.
    Enabled,
    /// It is there, and a link in `disable/` switches it off.
    Disabled,
    /// It is not there, although an owner wrote it, or it is no regular file any more.
    Missing,
}

/// The package that ships a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PackageOf {
    /// The package's name.
    pub name: String,
    /// Whether the file is another than the package's.
    pub edited: bool,
}

/// A profile, hat or child: what should run, and what does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ProfileStatus {
    /// The full name, with parents and namespace.
    pub name: String,
    /// What should be loaded: as it was compiled by the last run, else as the text says; null when nothing should.
    pub wanted: Option<Loadable>,
    /// What is loaded; null when nothing is, or when the kernel was not looked at.
    pub running: Option<Loadable>,
    /// What differs in the kernel: `kernel-missing`, `kernel-drift` (it has another profile of this name, or has it
    /// although it is switched off), `kernel-mode`.
    pub drift: Vec<Reason>,
}

/// A profile as it is loaded, or should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Loadable {
    /// Its mode. The kernel shows `default_allow` as `unconfined`.
    pub mode: Mode,
    /// The kernel's hash of the compiled profile, hexadecimal (SHA-1 or SHA-256, as the kernel shows; SHA-256 where it
    /// was not looked at); null when this program never compiled it, or when the kernel shows none.
    pub hash: Option<String>,
}

/// An include file that an owner holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct IncludeFile {
    /// Its path relative to the policy directory.
    #[schemars(with = "String")]
    pub path: PolicyPath,
    /// The owner that holds it.
    #[schemars(with = "String")]
    pub owner: Owner,
    /// SHA-256 of its bytes, 64 hexadecimal digits; null when it is not there.
    #[schemars(with = "Option<String>")]
    pub sha256: Option<Digest>,
    /// `content` and `attributes` when it is not what its owner wrote.
    pub drift: Vec<Reason>,
}

/// A profile in the kernel that no installed file defines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ForeignProfile {
    /// The full name, with parents and namespace.
    pub name: String,
    /// Its mode.
    pub mode: Mode,
}

/// Running processes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Processes {
    /// Those that run under a profile, whatever its mode, by number.
    pub confined: Vec<ConfinedProcess>,
    /// Those that should run under a profile and do not, until they are restarted; null where this is not known.
    pub unconfined: Option<Vec<NeedsRestart>>,
}

/// A process that runs under a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ConfinedProcess {
    /// Its number.
    pub pid: u32,
    /// What it executes; null when that cannot be told.
    pub executable: Option<String>,
    /// Its systemd unit; null when it is none's.
    pub unit: Option<String>,
    /// The profile that it runs under, or all of a stack.
    pub profiles: Vec<ConfiningProfile>,
}

/// A profile that a process runs under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ConfiningProfile {
    /// The full name, with parents and namespace.
    pub name: String,
    /// Its mode; null when it left the kernel meanwhile.
    pub mode: Option<Mode>,
}

/// The running kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct KernelStatus {
    /// Whether the kernel was looked at.
    pub managed: bool,
    /// Its release, as `uname -r` tells it.
    pub release: Option<String>,
    /// AppArmor's global mode, which overrides the modes of profiles unless it is `enforce`.
    pub global_mode: Option<Mode>,
    /// The number of changes to the policy of the current namespace.
    pub revision: Option<u64>,
    /// By what the kernel shows which policy it runs: `hash`, or `raw_data` (the bytes that were loaded, hashed by
    /// aa-converge), or `name` (names and modes alone).
    pub verified_by: Option<String>,
    /// What the hashes of loaded profiles are; null where none of ours is known.
    pub hash_algorithm: Option<KernelHashAlgorithm>,
    /// SHA-256 of the list of kernel features that policy is compiled for, 64 hexadecimal digits.
    #[schemars(with = "String")]
    pub features: Digest,
}

/// What a hash of a loaded profile is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KernelHashAlgorithm {
    /// SHA-1, 40 hexadecimal digits.
    Sha1,
    /// SHA-256, 64 hexadecimal digits.
    Sha256,
}

/// Makes the status of what was read.
#[must_use]
pub fn status(survey: &Survey, surroundings: Surroundings) -> Status {
    let observed = &survey.observed;
    let profiles = files::profile_files(survey);
    let files = files::include_files(observed);
    let foreign = foreign(observed, &profiles);
    let confined = surroundings.processes.into_iter().filter(|process| !process.profiles.is_empty());
    let confined = confined.map(|process| confined_process(process, observed)).collect();
    let processes = Processes { confined, unconfined: surroundings.unconfined };
    let summary = summary(observed, &profiles, &files, &foreign, &processes);
    let kernel = observed.kernel.as_ref();
    let mut warnings = observed.warnings();
    let objections = kernel.into_iter().flat_map(objections);
    warnings.extend(objections.map(|(_, message, remedy)| format!("{message}: {remedy}")));
    if surroundings.pending.is_some() {
        warnings.push("a run was interrupted, or is under way: the next one undoes it first".to_owned());
    }
    Status {
        status: STATUS_VERSION,
        tool: Tool { version: env!("CARGO_PKG_VERSION").to_owned(), parser: surroundings.parser },
        msg: summary.sentence(),
        summary,
        profiles,
        files,
        foreign,
        processes,
        kernel: KernelStatus {
            managed: kernel.is_some(),
            release: surroundings.release,
            global_mode: kernel.map(|kernel| kernel.global_mode),
            revision: kernel.map(|kernel| kernel.moment.current.revision),
            verified_by: kernel.map(|kernel| kernel.evidence.to_string()),
            hash_algorithm: kernel.and_then(files::hash_algorithm).map(KernelHashAlgorithm::from),
            features: observed.toolchain.features,
        },
        pending: surroundings.pending,
        warnings,
    }
}

impl From<HashAlgorithm> for KernelHashAlgorithm {
    fn from(algorithm: HashAlgorithm) -> Self {
        match algorithm {
            HashAlgorithm::Sha1 => Self::Sha1,
            HashAlgorithm::Sha256 => Self::Sha256,
        }
    }
}

/// What is loaded and defined by no installed file, but for what the kernel itself makes in complain mode.
fn foreign(observed: &Observed, profiles: &[ProfileFile]) -> Vec<ForeignProfile> {
    let ours: BTreeSet<&str> = profiles.iter().flat_map(|file| &file.profiles).map(|it| it.name.as_str()).collect();
    let loaded = observed.kernel.iter().flat_map(|kernel| &kernel.loaded);
    let foreign = loaded.filter(|(name, _)| !name.name.contains("//null-"));
    let foreign = foreign.map(|(name, loaded)| ForeignProfile { name: name.to_string(), mode: loaded.mode });
    foreign.filter(|profile| !ours.contains(profile.name.as_str())).collect()
}

fn confined_process(process: Process, observed: &Observed) -> ConfinedProcess {
    let mode = |name: &ProfileName| observed.kernel.as_ref()?.loaded.get(name).map(|loaded| loaded.mode);
    let profiles = process.profiles.iter();
    ConfinedProcess {
        pid: process.pid,
        executable: process.executable.as_ref().map(|path| path.to_string_lossy().into_owned()),
        unit: process.unit,
        profiles: profiles.map(|name| ConfiningProfile { name: name.to_string(), mode: mode(name) }).collect(),
    }
}

fn summary(
    observed: &Observed,
    profiles: &[ProfileFile],
    files: &[IncludeFile],
    foreign: &[ForeignProfile],
    processes: &Processes,
) -> Summary {
    let defined = || profiles.iter().flat_map(|file| &file.profiles);
    let mut modes = Modes::default();
    for running in defined().filter_map(|profile| profile.running.as_ref()) {
        *modes.of(running.mode) += 1;
    }
    let wanted = defined().filter(|profile| profile.wanted.is_some());
    let drifted = profiles.iter().filter(|file| !file.is_merely_unloaded()).map(|file| &file.drift);
    let drifted = drifted.chain(files.iter().map(|file| &file.drift));
    Summary {
        files: profiles.iter().filter(|file| file.state != FileState::Missing).count(),
        owned: profiles.iter().filter(|file| file.owner.is_some()).count() + files.len(),
        disabled: profiles.iter().filter(|file| file.state == FileState::Disabled).count(),
        drifted: drifted.filter(|drift| !drift.is_empty()).count(),
        unloaded: profiles.iter().filter(|file| file.is_merely_unloaded()).count(),
        loaded: observed.kernel.as_ref().map(|_| wanted.clone().filter(|profile| profile.running.is_some()).count()),
        wanted: wanted.count(),
        modes,
        foreign: foreign.len(),
        confined: processes.confined.len(),
        unconfined: processes.unconfined.as_ref().map(Vec::len),
    }
}

impl Modes {
    fn of(&mut self, mode: Mode) -> &mut usize {
        match mode {
            Mode::Enforce => &mut self.enforce,
            Mode::Complain => &mut self.complain,
            Mode::Kill => &mut self.kill,
            Mode::Unconfined | Mode::DefaultAllow => &mut self.unconfined,
            Mode::Prompt => &mut self.prompt,
        }
    }

    /// The numbers that are not 0, with their words.
    fn told(&self) -> Vec<String> {
        let all = [
            (self.enforce, Mode::Enforce),
            (self.complain, Mode::Complain),
            (self.kill, Mode::Kill),
            (self.unconfined, Mode::Unconfined),
            (self.prompt, Mode::Prompt),
        ];
        all.into_iter().filter(|(count, _)| *count > 0).map(|(count, mode)| format!("{count} {mode}")).collect()
    }
}

impl Summary {
    fn sentence(&self) -> String {
        let mut parts = vec![count(self.files, "profile file")];
        if self.owned > 0 {
            parts.push(format!("{} managed", self.owned));
        }
        if self.disabled > 0 {
            parts.push(format!("{} disabled", self.disabled));
        }
        parts.push(match self.loaded {
            Some(loaded) => format!("{loaded} of {} loaded", count(self.wanted, "profile")),
            None => "the kernel was not looked at".to_owned(),
        });
        parts.push(if self.drifted == 0 { "no drift".to_owned() } else { format!("{} drifted", self.drifted) });
        if self.unloaded > 0 {
            parts.push(format!("{} unmanaged and not loaded", self.unloaded));
        }
        if let Some(unconfined @ 1..) = self.unconfined {
            parts.push(format!("{} to restart", count(unconfined, "process")));
        }
        parts.join(", ")
    }
}

/// A number with its noun.
pub(crate) fn count(number: usize, noun: &str) -> String {
    let ending = match (number, noun.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{number} {noun}{ending}")
}

/// The JSON Schema of [`Status`].
#[must_use]
pub fn schema() -> serde_json::Value {
    crate::schema::of::<Status>("status", STATUS_VERSION, "The answer of aa-converge status, version 1")
}
