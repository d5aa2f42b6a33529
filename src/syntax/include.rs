//! References from a policy text to other files.

use std::ops::Range;

use super::value::unquote;

/// What an [`IncludeRef`] brings in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncludeKind {
    /// Policy text: `include` or `#include`. A directory is included file by file.
    Include,
    /// The features that the policy was written for: `abi`.
    Abi,
}

/// A path, without delimiters and escapes, and where the parser looks for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum IncludeTarget {
    /// `<path>` or `<"path">`: in the directories of `-I`, in order, then in the base directory.
    Searched(String),
    /// `"path"` or a bare path: absolute, or relative to the parser's working directory.
    Literal(String),
}

impl IncludeTarget {
    /// The path.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Searched(path) | Self::Literal(path) => path,
        }
    }
}

/// A reference to another file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncludeRef {
    /// What it brings in.
    pub kind: IncludeKind,
    /// What it refers to.
    pub target: IncludeTarget,
    /// Whether the path may be missing.
    pub if_exists: bool,
    /// The bytes of the argument, with its delimiters; [`line_at`](super::line_at) tells the line.
    pub argument: Range<usize>,
    /// The index in [`Scan::headers`](super::Scan::headers) of the header whose rules it stands in. Headers of the
    /// included file are that one's children.
    pub within: Option<usize>,
}

impl IncludeRef {
    pub(super) fn new(
        text: &[u8],
        kind: IncludeKind,
        if_exists: bool,
        argument: Range<usize>,
        within: Option<usize>,
    ) -> Self {
        let raw = &text[argument.clone()];
        let searched = raw.strip_prefix(b"<").and_then(|raw| raw.strip_suffix(b">"));
        // Only inside of `<>` white space may surround the path; a quoted path keeps its own.
        let target = match searched {
            Some(path) => IncludeTarget::Searched(unquote(path.trim_ascii())),
            None => IncludeTarget::Literal(unquote(raw.trim_ascii())),
        };
        Self { kind, target, if_exists, argument, within }
    }
}
