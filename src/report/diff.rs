//! Texts before and after, as Ansible shows them (`--diff`).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::tree::Text;

/// Whether texts before and after are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Diffs {
    /// They are.
    Wanted,
    /// They are not.
    Omitted,
}

/// A side of more bytes than this is told by size and hash only.
const MAX_SIDE: usize = 100 << 10;
/// When all sides together have more bytes than this, the rest is told by size and hash only.
const MAX_ALL: usize = 1 << 20;

/// One text before and after, in the form that Ansible shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Diff {
    /// The path before; null where there was no file.
    pub before_header: Option<String>,
    /// The path after; null where there is no file.
    pub after_header: Option<String>,
    /// The text before, replacement characters standing for bytes that are not UTF-8; null when `prepared` is given.
    pub before: Option<String>,
    /// The text after, replacement characters standing for bytes that are not UTF-8; null when `prepared` is given.
    pub after: Option<String>,
    /// The exact bytes before, base64; only where they are not UTF-8.
    pub before_base64: Option<String>,
    /// The exact bytes after, base64; only where they are not UTF-8.
    pub after_base64: Option<String>,
    /// Sizes in bytes and SHA-256 in place of texts that are too large (100 KiB a side, 1 MiB in all).
    pub prepared: Option<String>,
}

/// One side of a difference.
pub type Side<'a> = Option<&'a Arc<Text>>;

impl Diff {
    /// The differences of these paths, sorted by path, with large texts left out.
    pub fn of_all<'a>(changes: impl Iterator<Item = (&'a str, Side<'a>, Side<'a>)>) -> Vec<Diff> {
        let mut changes: Vec<_> = changes.collect();
        changes.sort_by_key(|(path, ..)| *path);
        let mut room = MAX_ALL;
        let texts = changes.into_iter().map(|(path, before, after)| {
            let (before_size, after_size) = (size(before), size(after));
            let fits = before_size.max(after_size) <= MAX_SIDE && before_size + after_size <= room;
            if !fits {
                return Self::prepared(path, before, after);
            }
            room -= before_size + after_size;
            Self::of(path, before, after)
        });
        texts.collect()
    }

    fn of(path: &str, before: Side<'_>, after: Side<'_>) -> Self {
        let lossy =
            |side: Side<'_>| side.map_or_else(String::new, |text| String::from_utf8_lossy(&text.bytes).into_owned());
        let exact = |side: Side<'_>| {
            side.filter(|text| std::str::from_utf8(&text.bytes).is_err()).map(|text| STANDARD.encode(&text.bytes))
        };
        Self {
            before_header: before.map(|_| path.to_owned()),
            after_header: after.map(|_| path.to_owned()),
            before: Some(lossy(before)),
            after: Some(lossy(after)),
            before_base64: exact(before),
            after_base64: exact(after),
            prepared: None,
        }
    }

    fn prepared(path: &str, before: Side<'_>, after: Side<'_>) -> Self {
        let side = |side: Side<'_>| match side {
            Some(text) => format!("{} bytes, SHA-256 {}", text.bytes.len(), text.digest()),
            None => "absent".to_owned(),
        };
        Self {
            before_header: before.map(|_| path.to_owned()),
            after_header: after.map(|_| path.to_owned()),
            prepared: Some(format!("--- {path}: {}\n+++ {path}: {}\n", side(before), side(after))),
            ..Self::default()
        }
    }
}

fn size(side: Side<'_>) -> usize {
    side.map_or(0, |text| text.bytes.len())
}
