//! The document: one JSON value in, what the host should have out, or every problem at once.
//!
//! [`parse`] reads the bytes into a tree of its own (`tree`), because a JSON map silently keeps one of two equal
//! keys, and then walks that tree once (`walk`), because serde stops at the first error. The wire types ([`wire`])
//! state the same rules as JSON Schema, for other programs; a test demands that the two agree.
//!
//! **Invariant:** a [`Desired`] keeps every rule that a document can break by itself: its names are checked, no two
//! entries claim one place, texts are within their limits, a mode-only entry has a mode. What depends on the host
//! (installed files, other owners, whether a text compiles) is decided later.
//!
//! **Invariant:** the same bytes give the same answer: problems stand in the order of their places in the document.

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::acceptance::Acceptance;
use crate::problem::Problem;
use crate::profile::{Digest, FileName, Mode, ModeScope, Owner, PolicyPath};
use crate::service::Service;
use crate::tree::Text;

mod content;
mod fields;
mod service;
mod tree;
mod walk;
pub mod wire;

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod tests;

pub use wire::schema;

/// The version of the document's format that this program reads.
pub const VERSION: u32 = 1;
/// How many bytes a document may have: 64 MiB.
pub const MAX_DOCUMENT: usize = 64 << 20;
/// How many bytes the text of one file may have, after decoding: 4 MiB.
pub const MAX_TEXT: usize = 4 << 20;
/// How many entries `files` and `profiles` may have each.
pub const MAX_ENTRIES: usize = 100_000;
/// How many entries an `accept` may have.
pub const MAX_ACCEPTANCES: usize = 100;
/// How many values a service's or class's term may have.
pub const MAX_VALUES_OF_TERM: usize = 1000;

/// Reads a document.
///
/// # Errors
/// Every problem of the document, in the order of their places. Input that is not JSON, or exceeds a limit of the
/// whole document (bytes, nesting, number of values), has one problem.
pub fn parse(json: &[u8]) -> Result<Desired, Vec<Problem>> {
    let document = tree::read(json).map_err(|problem| vec![problem])?;
    walk::walk(document)
}

/// The policy that one owner wants on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// Who claims the entries.
    pub owner: Owner,
    /// Owners whose entries this document takes over.
    pub supersedes: Vec<Owner>,
    /// What becomes of this owner's files that the document does not list.
    pub prune: Prune,
    /// What to do when profiles of such files confine running processes.
    pub on_confined: OnConfined,
    /// Objections about the host as a whole that the document accepts; none twice.
    pub accept: Vec<Acceptance>,
    /// Includes, in the document's order; no two at one place, none below another or below a profile's file.
    pub files: Vec<DesiredFile>,
    /// Profiles' files, in the document's order; no two of one name.
    pub profiles: Vec<DesiredProfile>,
}

impl Desired {
    /// What nobody in particular wants: nothing at all.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            owner: Owner::nobody(),
            supersedes: Vec::new(),
            prune: Prune::Keep,
            on_confined: OnConfined::default(),
            accept: Vec::new(),
            files: Vec::new(),
            profiles: Vec::new(),
        }
    }
}

/// What becomes of files that this owner wrote and no longer lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prune {
    /// They stay.
    Keep,
    /// They go; an adopted original comes back.
    Unlisted,
}

/// A file that profiles include.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredFile {
    /// The entry's place in the document, a JSON pointer.
    pub pointer: String,
    /// Its place below the policy directory.
    pub path: PolicyPath,
    /// Its bytes; `None` when it should not be there.
    pub content: Option<Content>,
}

/// Where a file's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The document brings them: at most [`MAX_TEXT`], no NUL byte, no byte order mark.
    Inline(Arc<Text>),
    /// A regular file on the host holds them.
    Source {
        /// Absolute, below the root; no `..`, no NUL byte, not ending in `/`.
        path: PathBuf,
        /// What the file must hold.
        sha256: Option<Digest>,
    },
    /// A profile is rendered from what a service needs.
    Service(Arc<Service>),
}

impl Content {
    /// Bytes that the document brings.
    #[must_use]
    pub fn inline(bytes: Vec<u8>) -> Self {
        Self::Inline(Arc::new(Text::new(bytes)))
    }
}

/// A file that holds profiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredProfile {
    /// The entry's place in the document, a JSON pointer.
    pub pointer: String,
    /// The file's name in the policy directory.
    pub file: FileName,
    /// What should be there.
    pub want: ProfileWant,
    /// What to do when profiles that leave the kernel confine running processes.
    pub on_confined: OnConfined,
}

/// What a profile's entry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProfileWant {
    /// This text, in this mode.
    Text {
        /// The text.
        content: Content,
        /// The entry's mode, else the document's default, else the text's own.
        mode: WantedMode,
        /// Which of its headers the mode applies to.
        scope: ModeScope,
    },
    /// The installed text, in this mode.
    ModeOnly {
        /// The mode.
        mode: WantedMode,
        /// Which of its headers the mode applies to.
        scope: ModeScope,
        /// What to do when no such file is installed.
        if_missing: IfMissing,
    },
    /// Neither the file nor its links nor its profiles in the kernel.
    Absent,
}

/// The mode that a profile's entry asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WantedMode {
    /// The flags of its headers.
    Flags(Mode),
    /// Switched off: a link in `disable/`, and nothing in the kernel.
    Disabled,
    /// As the text says.
    AsWritten,
}

/// What to do when profiles that leave the kernel confine running processes: those would go on unconfined, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnConfined {
    /// Change nothing on the host, and name the processes.
    #[default]
    Refuse,
    /// Unload the profiles all the same.
    Unload,
}

/// What to do when an entry without text names a file that is not installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IfMissing {
    /// Change nothing on the host, and say so.
    #[default]
    Refuse,
    /// Leave the entry out, with a warning.
    Skip,
}
