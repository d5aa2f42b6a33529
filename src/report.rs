//! The report: what a run did, would do, or why it did nothing, in one JSON value.
//!
//! It is a superset of what Ansible reads (`changed`, `failed`, `msg`, `warnings`, `diff`) and never has a key `rc`,
//! which Ansible would take for a failure.
//!
//! **Invariant:** [`Report`] values come from [`Draft`] alone, which computes `changed`, `summary`, `msg` and the exit
//! code from the entries' outcomes; nothing sets them by hand.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::problem::Problem;
use crate::profile::{Digest, FileName, Mode, PolicyPath};

mod diff;
mod draft;
mod salt;
mod text;

pub use diff::{Diff, Diffs, Side};
pub use draft::{Draft, Listing};
pub use salt::SaltReport;
pub use text::{Colour, render as render_text};
pub(crate) use text::{Paint, visible};

/// The version of the report's form.
pub const REPORT_VERSION: u32 = 1;

/// What a run did, would do (`check`), or why it was refused. Keys are always present and unknown is null; readers
/// must ignore fields and values that they do not know.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// The version of the report's form: 1.
    pub report: u32,
    /// The programs that made it.
    pub tool: Tool,
    /// Whether anything on the host was changed (with `check`: would be changed). False after a complete rollback.
    pub changed: bool,
    /// Whether the document's state was not reached.
    pub failed: bool,
    /// Whether this was a run with `--check`, which has no effect of any kind.
    pub check: bool,
    /// One line for people.
    pub msg: String,
    /// Why the run failed; null when it did not.
    pub error: Option<RunError>,
    /// What is wrong with the document, all of it.
    pub problems: Vec<Problem>,
    /// How many profiles and files came to which end.
    pub summary: Summary,
    /// The profiles' files, sorted by name in byte order; unchanged ones only with `--all`.
    pub profiles: Vec<ProfileEntry>,
    /// The include files, sorted by path in byte order; unchanged ones only with `--all`.
    pub files: Vec<FileEntry>,
    /// Running processes that should be confined as this document says and are not, until they are restarted.
    pub needs_restart: Vec<NeedsRestart>,
    /// Whether a failure was undone.
    pub rollback: Rollback,
    /// What the recovery of an interrupted earlier run did; null when there was nothing to recover.
    pub recovered: Option<Recovered>,
    /// What concerns the running kernel.
    pub kernel: KernelReport,
    /// What people should know although it stops nothing.
    pub warnings: Vec<String>,
    /// With `--diff`: the texts before and after.
    pub diff: Vec<Diff>,
    /// How long the parts took, in milliseconds.
    pub elapsed_ms: Elapsed,
}

/// The programs that made a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tool {
    /// aa-converge's own version.
    pub version: String,
    /// apparmor_parser's version; null when it is not known, because nothing was ever compiled.
    pub parser: Option<String>,
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunError {
    /// A stable word for programs, so that they can tell what to try again from what to repair. One with `-` in it is an
    /// objection, and the word by which the document's `accept` overrides it.
    pub code: String,
    /// What was attempted, on what, and why not.
    pub message: String,
    /// What to do about it. This version always says something; readers must expect null.
    pub remedy: Option<String>,
}

/// How many profiles and files came to which end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Written where nothing was.
    pub created: usize,
    /// Written over something else, or its links changed.
    pub updated: usize,
    /// Same file, new compiled policy.
    pub reloaded: usize,
    /// Removed.
    pub removed: usize,
    /// Put back as it was before it was taken over.
    pub restored: usize,
    /// As the document says already.
    pub unchanged: usize,
    /// Those on which the run failed.
    pub failed: usize,
    /// Done and undone.
    pub rolled_back: usize,
    /// Not begun when the run failed.
    pub not_attempted: usize,
}

/// What is done to a profile or file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Write it where nothing is.
    Create,
    /// Write it over something else, or change its links.
    Update,
    /// Leave the file; its compiled policy is another now.
    Reload,
    /// Remove it.
    Remove,
    /// Put back what stood there before it was taken over.
    Restore,
    /// Nothing.
    Keep,
}

/// How far an action came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Would be done: the run had `--check`.
    Planned,
    /// Done and verified.
    Applied,
    /// Nothing was to be done.
    Unchanged,
    /// Done, and undone because of a later failure.
    RolledBack,
    /// Not begun when the run failed.
    NotAttempted,
    /// The run failed on it.
    Failed,
}

/// Why an action is taken: one of `content`, `mode`, `attributes`, `include:<path>`, `parser`, `features`,
/// `kernel-missing`, `kernel-drift`, `kernel-mode`, `adopted`, `pruned`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Reason(pub String);

impl Reason {
    /// The text differs.
    pub const CONTENT: &str = "content";
    /// Only the modes differ, in flags or by links.
    pub const MODE: &str = "mode";
    /// The file's permission bits or owner differ.
    pub const ATTRIBUTES: &str = "attributes";
    /// The parser, or its configuration, is another.
    pub const PARSER: &str = "parser";
    /// The kernel features that policy is compiled for are others.
    pub const FEATURES: &str = "features";
    /// The kernel does not have the profile.
    pub const KERNEL_MISSING: &str = "kernel-missing";
    /// The kernel has another profile of this name.
    pub const KERNEL_DRIFT: &str = "kernel-drift";
    /// The kernel has the profile in another mode.
    pub const KERNEL_MODE: &str = "kernel-mode";
    /// Somebody else's file was taken over.
    pub const ADOPTED: &str = "adopted";
    /// The owner no longer lists it.
    pub const PRUNED: &str = "pruned";

    /// An included file, directory or absence changed.
    #[must_use]
    pub fn include(path: &str) -> Self {
        Self(format!("include:{path}"))
    }
}

impl From<&str> for Reason {
    fn from(word: &str) -> Self {
        Self(word.to_owned())
    }
}

/// A value before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change<T> {
    /// Before the run; null when there was none.
    pub before: Option<T>,
    /// After the run; null when there is none.
    pub after: Option<T>,
}

/// What became of one profile's file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ProfileEntry {
    /// The file's name in the policy directory.
    #[schemars(with = "String")]
    pub file: FileName,
    /// What is done.
    pub action: Action,
    /// How far it came.
    pub outcome: Outcome,
    /// Why.
    pub reasons: Vec<Reason>,
    /// What went wrong with it; null when nothing did.
    pub error: Option<EntryError>,
    /// SHA-256 of the file's bytes, 64 hexadecimal digits.
    #[schemars(with = "Change<String>")]
    pub sha256: Change<Digest>,
    /// The profiles, hats and children that the file defines, as the kernel knows them.
    pub loaded: Vec<LoadedProfile>,
}

/// One profile, hat or child in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LoadedProfile {
    /// The full name, with parents and namespace.
    pub name: String,
    /// Its mode.
    pub mode: Change<Mode>,
    /// The kernel's hash of the compiled profile, hexadecimal (SHA-1 or SHA-256, as the kernel shows; SHA-256 where
    /// the kernel is not managed).
    pub hash: Change<String>,
    /// Whether the kernel was read after the run and has just this.
    pub verified: bool,
}

/// What became of one include file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct FileEntry {
    /// The path relative to the policy directory.
    #[schemars(with = "String")]
    pub path: PolicyPath,
    /// What is done.
    pub action: Action,
    /// How far it came.
    pub outcome: Outcome,
    /// Why.
    pub reasons: Vec<Reason>,
    /// What went wrong with it; null when nothing did.
    pub error: Option<EntryError>,
    /// SHA-256 of the file's bytes, 64 hexadecimal digits.
    #[schemars(with = "Change<String>")]
    pub sha256: Change<Digest>,
}

/// What went wrong with one entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EntryError {
    /// The parser's own first error line, or what the system said.
    pub message: String,
    /// The file that the parser was reading: the profile's or an include's; null where it did not say.
    pub file: Option<String>,
    /// The line in that file, from 1; null where it did not say.
    pub line: Option<u32>,
}

/// As compilers say it: the file, the line and the message, as far as they are known.
impl fmt::Display for EntryError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(out, "{file}:")?;
            if let Some(line) = self.line {
                write!(out, "{line}:")?;
            }
            out.write_str(" ")?;
        }
        out.write_str(&self.message)
    }
}

/// A running process that should be confined and is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NeedsRestart {
    /// The process.
    pub pid: u32,
    /// Its executable.
    pub executable: String,
    /// Its systemd unit; null when it is none's.
    pub unit: Option<String>,
    /// The profile that it should run under.
    pub profile: String,
    /// False where this cannot be known for sure.
    pub certain: bool,
}

/// What to do, in one line.
impl fmt::Display for NeedsRestart {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.unit.as_deref().unwrap_or(&self.executable);
        write!(out, "restart {what} (process {}): it does not run under `{}` yet", self.pid, self.profile)
    }
}

/// Whether a failure was undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rollback {
    /// How it went.
    pub state: RollbackState,
    /// What could not be undone, each with the reason; empty unless `incomplete`.
    pub left: Vec<String>,
}

/// How a rollback went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RollbackState {
    /// Nothing failed after the first effect.
    NotNeeded,
    /// Everything is as it was.
    Complete,
    /// Something could not be undone; `left` names it.
    Incomplete,
}

/// What the recovery of an interrupted earlier run did, or with `--check` would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recovered {
    /// Paths and profiles that were put back.
    pub restored: Vec<String>,
    /// What was left as it is: what somebody else changed since, and profiles that processes run under by now.
    pub left: Vec<String>,
}

/// What concerns the running kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelReport {
    /// Whether policy was loaded into the running kernel.
    pub managed: bool,
    /// AppArmor's global mode; null when the kernel is not managed.
    pub global_mode: Option<String>,
    /// The policy's revision after the run; null when the kernel is not managed.
    pub revision: Option<u64>,
    /// How many times policy was written to the kernel.
    pub writes: u32,
    /// Whether all changed profiles were loaded in one write.
    pub atomic: bool,
    /// By what the kernel shows which policy it runs: `hash`, or `raw_data` (the bytes that were loaded, hashed by
    /// aa-converge), or `name` (names and modes alone); null when the kernel is not managed.
    pub verified_by: Option<String>,
}

/// How long the parts of a run took, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Elapsed {
    /// Reading and comparing.
    pub observe: u64,
    /// Compiling.
    pub compile: u64,
    /// Writing, loading and verifying.
    pub commit: u64,
}

impl From<&Error> for RunError {
    fn from(error: &Error) -> Self {
        Self { code: error.code().to_owned(), message: error.to_string(), remedy: Some(error.remedy()) }
    }
}

/// How a run ends for the program that called it (the exit status).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Converged, or nothing to do.
    Converged = 0,
    /// A defect of ours.
    Defect = 1,
    /// Changed, or would change; only with `--detailed-exitcodes`.
    Changed = 2,
    /// The document is refused.
    DocumentRefused = 3,
    /// Refused before any change.
    Refused = 4,
    /// Failed, and everything is as it was.
    RolledBack = 5,
    /// Failed, and not everything is as it was.
    RollbackIncomplete = 6,
    /// The call is wrong.
    Usage = 64,
    /// Done what was asked for, and the answer could not be written (sysexits(3), `EX_IOERR`).
    Unanswered = 74,
}

impl Report {
    /// The exit status that goes with the report.
    #[must_use]
    pub fn exit(&self, detailed: bool) -> Exit {
        let Some(error) = &self.error else {
            return if detailed && self.changed { Exit::Changed } else { Exit::Converged };
        };
        match (self.rollback.state, error.code.as_str()) {
            (RollbackState::Complete, _) => Exit::RolledBack,
            (RollbackState::Incomplete, _) => Exit::RollbackIncomplete,
            (RollbackState::NotNeeded, Error::DEFECT) => Exit::Defect,
            (RollbackState::NotNeeded, Error::USAGE) => Exit::Usage,
            (RollbackState::NotNeeded, Error::DOCUMENT) => Exit::DocumentRefused,
            (RollbackState::NotNeeded, _) => Exit::Refused,
        }
    }
}

/// The JSON Schema of [`Report`].
#[must_use]
pub fn schema() -> serde_json::Value {
    crate::schema::of::<Report>("report", REPORT_VERSION, "The report of aa-converge apply, version 1")
}
