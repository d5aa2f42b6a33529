//! Where an entry's bytes come from: `content`, `content_base64` or `source`.
//!
//! **Invariant:** bytes that the document brings are ones that the parser can read to their end.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::fields::{Fields, Node, Refused};
use super::{Content, MAX_TEXT};
use crate::problem::ProblemCode;
use crate::profile::Digest;

/// The fields that bring bytes; an entry has at most one of them.
pub(super) const CONTENT: [&str; 3] = ["content", "content_base64", "source"];

/// Takes the fields that bring bytes; `None` means that the entry has none of them.
pub(super) fn read(entry: &mut Fields<'_, '_>) -> Option<Result<Content, Refused>> {
    let plain = entry.optional("content", plain).transpose();
    let encoded = entry.optional("content_base64", encoded).transpose();
    let source = entry.optional("source", |node| node.checked("a file's path on the host", source_path)).transpose();
    let sha256 = entry.optional("sha256", |node| {
        node.checked("a SHA-256 digest", |text| Digest::from_hex(&text).ok_or("64 hexadecimal digits"))
    });
    entry.at_most_one(&CONTENT);
    if source.is_none() {
        entry.exclude(&["sha256"], "an entry without `source`", "`sha256` beside `source`");
    }
    let inline = plain.or(encoded).map(|bytes| bytes.map(Content::inline));
    inline.or(source.map(|path| Ok(Content::Source { path: path?, sha256: sha256? })))
}

fn plain(node: Node<'_, '_>) -> Result<Vec<u8>, Refused> {
    let (text, node) = node.text()?;
    check_size(text.len(), node).and_then(|node| policy_text(text.into_owned().into_bytes(), node))
}

fn encoded(node: Node<'_, '_>) -> Result<Vec<u8>, Refused> {
    let (text, mut node) = node.text()?;
    match STANDARD.decode(text.as_bytes()) {
        Ok(bytes) => check_size(bytes.len(), node).and_then(|node| policy_text(bytes, node)),
        Err(error) => {
            let message = format!("byte {} (counted from 0) is wrong: {error}", offset(&error, &text));
            Err(node.refuse(ProblemCode::BadValue, message, "standard base64 with padding, without line breaks"))
        }
    }
}

/// The byte where the text stops being base64.
fn offset(error: &base64::DecodeError, text: &str) -> usize {
    match error {
        base64::DecodeError::InvalidByte(offset, _) | base64::DecodeError::InvalidLastSymbol(offset, _) => *offset,
        base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => {
            text.find('=').unwrap_or(text.len())
        }
    }
}

fn check_size<'n, 'a>(bytes: usize, mut node: Node<'n, 'a>) -> Result<Node<'n, 'a>, Refused> {
    if bytes > MAX_TEXT {
        let allowed = format!("at most {MAX_TEXT} bytes");
        return Err(node.refuse(ProblemCode::TooLarge, format!("the text has {bytes} bytes"), &allowed));
    }
    Ok(node)
}

/// Refuses what the parser stumbles over: it ends reading at a NUL byte, and takes a byte order mark for a rule.
fn policy_text(bytes: Vec<u8>, mut node: Node<'_, '_>) -> Result<Vec<u8>, Refused> {
    if bytes.contains(&0) {
        let at = bytes.iter().take_while(|byte| **byte != 0).count();
        let message = format!("byte {at} (counted from 0) is NUL, where apparmor_parser would stop reading");
        return Err(node.refuse(ProblemCode::BadValue, message, "text without NUL bytes"));
    }
    if bytes.starts_with("\u{feff}".as_bytes()) {
        let message = "the text starts with a byte order mark, which apparmor_parser does not read";
        return Err(node.refuse(ProblemCode::BadValue, message, "text without the mark"));
    }
    Ok(bytes)
}

/// Checks a path on the host. The kernel resolves it below the root, which `..` must not appear to leave.
fn source_path(path: String) -> Result<PathBuf, &'static str> {
    if !path.starts_with('/') {
        return Err("an absolute path");
    }
    if path.len() > 4095 {
        return Err("at most 4095 bytes");
    }
    if path.contains('\0') {
        return Err("a path without NUL bytes");
    }
    if path.ends_with('/') {
        return Err("the path of a regular file, not ending in `/`");
    }
    if path.split('/').any(|component| component == "..") {
        return Err("a path without `..`");
    }
    Ok(PathBuf::from(path))
}
