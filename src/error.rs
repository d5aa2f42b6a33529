//! What was attempted, on what, why not, and what to do about it.
//!
//! **Invariant:** an [`Error`] is a refusal: nothing on the host was changed. What goes wrong after the first effect
//! is not an error but part of the report.

use std::io;
use std::path::PathBuf;

use crate::problem::Problem;

/// Why a run was refused before its first effect.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The document has problems.
    #[error("{}", summary(.0))]
    Document(Vec<Problem>),
    /// A system call on a path failed.
    #[error("cannot {act} {path}: {source}")]
    File {
        /// The act, a verb phrase such as `read` or `create a temporary file in`.
        act: &'static str,
        /// The path as the user knows it.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something of ours on the host has the wrong owner, type or mode, or what stands in it cannot be trusted.
    #[error("{path}: {why}")]
    Untrusted {
        /// The path as the user knows it.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// What to do.
        remedy: String,
    },
    /// There is no policy directory.
    #[error("there is no policy directory {path}")]
    NoPolicyDirectory {
        /// The path as the user knows it.
        path: PathBuf,
    },
    /// Somebody wrote to a place between observation and commit.
    #[error("{path} was changed by somebody while this run was preparing")]
    ChangedMeanwhile {
        /// The path as the user knows it.
        path: PathBuf,
    },
    /// Another run holds the lock.
    #[error("another run holds the lock{}", .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    LockHeld {
        /// The other process, if it left its number.
        pid: Option<u32>,
    },
    /// The parser cannot be started, or is not there.
    #[error("{message}")]
    Parser {
        /// What was attempted and what went wrong.
        message: String,
        /// What to do.
        remedy: String,
    },
    /// Policy does not compile; the report's entries say which and why.
    #[error("{failed} of {attempted} profiles did not compile")]
    Compile {
        /// How many failed.
        failed: usize,
        /// How many were tried.
        attempted: usize,
    },
    /// The kernel's policy cannot be managed here.
    #[error("{message}")]
    Kernel {
        /// A stable word for programs.
        code: &'static str,
        /// What is the case.
        message: String,
        /// What to do.
        remedy: String,
    },
    /// A boot would load compiled policy that this run puts out of date, and it cannot be removed.
    #[error("a boot would load out-of-date policy from {}, which cannot be removed: {source}", listed(.entries))]
    BootCache {
        /// The entries, as the user knows their paths.
        entries: Vec<PathBuf>,
        /// Why the first cannot be removed.
        source: io::Error,
    },
    /// SIGINT, SIGTERM or SIGHUP came before the first effect.
    #[error("interrupted before anything was changed")]
    Interrupted,
    /// The call itself is wrong.
    #[error("{message}")]
    Usage {
        /// What is wrong with it.
        message: String,
    },
}

impl Error {
    /// The code of a refused document.
    pub const DOCUMENT: &str = "document";
    /// The code of a wrong call.
    pub const USAGE: &str = "usage";
    /// The code of a defect of ours.
    pub const DEFECT: &str = "defect";

    /// A stable word for programs. Its parts are joined by `_`; only the code of an objection, by which a document accepts
    /// it ([`Objection::code`](crate::acceptance::Objection::code)), has `-`, so that the two are told apart.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Document(_) => Self::DOCUMENT,
            Self::File { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => "permission",
                io::ErrorKind::ReadOnlyFilesystem => "read_only",
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "no_space",
                io::ErrorKind::NotFound => "not_found",
                _ => "io",
            },
            Self::Untrusted { .. } => "untrusted",
            Self::NoPolicyDirectory { .. } => "no_policy_directory",
            Self::ChangedMeanwhile { .. } => "changed_meanwhile",
            Self::LockHeld { .. } => "lock_held",
            Self::Parser { .. } => "parser",
            Self::Compile { .. } => "compile",
            Self::Kernel { code, .. } => code,
            Self::BootCache { .. } => "boot_cache",
            Self::Interrupted => "interrupted",
            Self::Usage { .. } => Self::USAGE,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        let remedy = match self {
            Self::Document(_) => "correct the document at the places that `problems` points to",
            Self::File { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    "run it as root; where it is root, something confines it (AppArmor's denials are in the kernel's log)"
                }
                io::ErrorKind::ReadOnlyFilesystem => "mount the file system read-write, or choose another --root",
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "make room on the file system and run it again"
                }
                io::ErrorKind::IsADirectory => "name a file",
                io::ErrorKind::NotFound => "see whether the path is right, and put there what is missing",
                _ => "see what is wrong with the path or its file system (the kernel's log may say), then run it again",
            },
            Self::NoPolicyDirectory { .. } => "install the package apparmor there, or give another --root",
            Self::ChangedMeanwhile { .. } => "run it again",
            Self::LockHeld { .. } => "wait until the other run has ended, or give --lock-timeout more seconds",
            Self::Compile { .. } => {
                "correct what each `error` in the report names: the profile, or what kept the parser from compiling it"
            }
            Self::Untrusted { remedy, .. } | Self::Parser { remedy, .. } | Self::Kernel { remedy, .. } => remedy,
            Self::BootCache { .. } => {
                "remove these entries where their file system is made or mounted read-write, or take the place of the \
                 cache out of `cache-loc` in parser.conf"
            }
            Self::Interrupted => "run it again",
            Self::Usage { .. } => "see `aa-converge --help`",
        };
        remedy.to_owned()
    }
}

fn summary(problems: &[Problem]) -> String {
    match problems {
        [] => "the document is refused".to_owned(),
        [one] => format!("the document is refused: {}: {}", pointer(one), one.message),
        [first, rest @ ..] => {
            format!("the document is refused: {}: {} (and {} more)", pointer(first), first.message, rest.len())
        }
    }
}

fn listed(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}

fn pointer(problem: &Problem) -> &str {
    if problem.pointer.is_empty() { "document" } else { &problem.pointer }
}
