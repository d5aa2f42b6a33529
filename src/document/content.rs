//! Where an entry's bytes come from: `content`, `content_base64` or `source`.
//!
//! **Invariant:** bytes that the document brings are within [`MAX_TEXT`] and hold neither a NUL byte nor a byte order
//! mark at their start: apparmor_parser's lexer refuses both (NUL bytes pass only inside comments).

use std::path::PathBuf;

use base64::engine::general_purpose::STANDARD;
use base64::{DecodeError, Engine as _};

use super::fields::{Fields, Node, Refused, Site};
use super::{Content, MAX_TEXT};
use crate::problem::ProblemCode;
use crate::profile::Digest;

/// The fields that bring bytes; an entry has at most one of them.
pub(super) const CONTENT: [&str; 3] = ["content", "content_base64", "source"];

/// Takes the fields that bring bytes; `None` means that the entry has none of them. It has at most one of `texts`.
pub(super) fn read(entry: &mut Fields<'_, '_>, texts: &[&str]) -> Option<Result<Content, Refused>> {
    let plain = entry.optional("content", plain).transpose();
    let encoded = entry.optional("content_base64", encoded).transpose();
    let source = entry.optional("source", |node| node.checked("a file's path on the host", source_path)).transpose();
    let sha256 = entry.optional("sha256", |node| {
        node.checked("a SHA-256 digest", |text| Digest::from_hex(text).ok_or("64 hexadecimal digits"))
    });
    entry.at_most_one(texts);
    if source.is_none() {
        entry.exclude(&["sha256"], "an entry without `source`", "`sha256` beside `source`");
    }
    let inline = plain.or(encoded).map(|bytes| bytes.map(Content::inline));
    inline.or(source.map(|path| Ok(Content::Source { path: path?, sha256: sha256? })))
}

fn plain(node: Node<'_, '_>) -> Result<Vec<u8>, Refused> {
    let (text, site) = node.text()?;
    policy_text(text.into_owned().into_bytes(), site)
}

fn encoded(node: Node<'_, '_>) -> Result<Vec<u8>, Refused> {
    let (text, mut site) = node.text()?;
    match STANDARD.decode(text.as_bytes()) {
        Ok(bytes) => policy_text(bytes, site),
        Err(error) => {
            let message = where_it_stops(&error, &text);
            Err(site.refuse(ProblemCode::BadValue, message, "standard base64 with padding, without line breaks"))
        }
    }
}

/// Says where `text` stops being base64.
fn where_it_stops(error: &DecodeError, text: &str) -> String {
    let (at, what) = match error {
        DecodeError::InvalidByte(at, byte) => (*at, format!("`{}` does not belong there", byte.escape_ascii())),
        DecodeError::InvalidLastSymbol(at, _) => {
            (*at, "the last character stands for bits that no byte has".to_owned())
        }
        DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => {
            (text.find('=').unwrap_or(text.len()), "the padding is not right".to_owned())
        }
    };
    format!("byte {at} (counted from 0) is not base64: {what}")
}

/// Refuses texts that are too large, and what the parser's lexer refuses.
fn policy_text(bytes: Vec<u8>, mut site: Site<'_>) -> Result<Vec<u8>, Refused> {
    if bytes.len() > MAX_TEXT {
        let message = format!("the text has {} bytes; the limit is 4 MiB", bytes.len());
        return Err(site.refuse(ProblemCode::TooLarge, message, &format!("at most {MAX_TEXT} bytes")));
    }
    if bytes.contains(&0) {
        let at = bytes.iter().take_while(|byte| **byte != 0).count();
        let message = format!("byte {at} (counted from 0) is NUL, which has no place in policy text");
        return Err(site.refuse(ProblemCode::BadValue, message, "text without NUL bytes"));
    }
    if bytes.starts_with("\u{feff}".as_bytes()) {
        let message = "the text starts with a byte order mark, which apparmor_parser refuses";
        return Err(site.refuse(ProblemCode::BadValue, message, "text without the mark"));
    }
    Ok(bytes)
}

/// Checks a path on the host. The kernel resolves it below the root, which `..` must not appear to leave.
fn source_path(path: &str) -> Result<PathBuf, &'static str> {
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
