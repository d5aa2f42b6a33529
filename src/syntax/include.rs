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

/// Where the parser looks for an [`IncludeRef`]'s path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncludeForm {
    /// `<path>` or `<"path">`: in the directories of `-I`, in order, then in the base directory.
    Searched,
    /// `"path"` or a bare path: absolute, or relative to the parser's working directory.
    Literal,
}

/// A reference to another file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncludeRef {
    /// What it brings in.
    pub kind: IncludeKind,
    /// Where its path is looked for.
    pub form: IncludeForm,
    /// The path, without delimiters and escapes.
    pub path: String,
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
        let form = if searched.is_some() { IncludeForm::Searched } else { IncludeForm::Literal };
        // Only inside of `<>` white space may surround the path; a quoted path keeps its own.
        let path = unquote(searched.unwrap_or(raw).trim_ascii());
        Self { kind, form, path, if_exists, argument, within }
    }
}
