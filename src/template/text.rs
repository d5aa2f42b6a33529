//! The text of a profile: blocks of rules, each under a comment that says where they come from.
//!
//! **Invariant:** equal rules give equal bytes: each block is sorted, includes first, and no line stands twice.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;

/// A pattern or path as it stands in a rule: in quotes where the lexer could take a part of it for something else
/// (parser_lex.l, ID and QUOTED_ID). Quotes change nothing in what it means.
pub(super) fn quoted(value: &str) -> Cow<'_, str> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._+-*?{}@,:=~%".contains(letter);
    // After a variable that begins a rule, `=` and `+` begin an assignment.
    let after_variable = value.strip_prefix("@{").and_then(|rest| rest.split_once('}')).map_or("/", |(_, rest)| rest);
    let begins_like_a_path = after_variable.is_empty() || after_variable.starts_with('/');
    if value.chars().all(plain) && begins_like_a_path && !value.contains(",,") && !value.ends_with(',') {
        return Cow::Borrowed(value);
    }
    Cow::Owned(format!("\"{value}\""))
}

/// A rule that allows or denies files.
pub(super) fn file_rule(qualifiers: &str, pattern: &str, permissions: &str) -> String {
    let blank = if qualifiers.is_empty() { "" } else { " " };
    format!("{qualifiers}{blank}{} {permissions},", quoted(pattern))
}

/// Blocks of rules.
#[derive(Debug, Default)]
pub(super) struct Body {
    blocks: Vec<(String, Vec<String>)>,
    known: HashSet<String>,
}

impl Body {
    /// Adds a block, without the lines that stand in an earlier one.
    pub(super) fn add(&mut self, comment: impl Into<String>, lines: impl IntoIterator<Item = impl Into<String>>) {
        let mut lines: Vec<String> = lines.into_iter().map(Into::into).collect();
        lines.retain(|line| self.known.insert(line.clone()));
        lines.sort_by_cached_key(|line| (!line.starts_with("include "), line.clone()));
        if !lines.is_empty() {
            self.blocks.push((comment.into(), lines));
        }
    }

    /// Writes the blocks, each line after `indent` blanks, with an empty line between two.
    pub(super) fn write(&self, indent: usize, out: &mut String) {
        for (at, (comment, lines)) in self.blocks.iter().enumerate() {
            if at > 0 {
                out.push('\n');
            }
            for line in std::iter::once(format!("# {comment}")).chain(lines.iter().cloned()) {
                // Writing to a string cannot fail.
                let _ = writeln!(out, "{:indent$}{line}", "");
            }
        }
    }
}
