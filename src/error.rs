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
    /// SIGINT or SIGTERM came before the first effect.
    #[error("interrupted before anything was changed")]
    Interrupted,
    /// The call itself is wrong.
    #[error("{message}")]
    Usage {
        /// What is wrong with it.
        message: String,
    },
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

fn pointer(problem: &Problem) -> &str {
    if problem.pointer.is_empty() { "document" } else { &problem.pointer }
}
