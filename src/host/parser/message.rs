//! What apparmor_parser says when a file does not compile, as a message, a file and a line.
//!
//! Its formats (libapparmor's translations are off, so that the words are fixed):
//!
//! - `AppArmor parser error for FILE[ in profile CURRENT] at line N: TEXT`, where CURRENT is the file, perhaps an
//!   include, that holds line N;
//! - `AppArmor parser error,[ in CURRENT] line N: TEXT`;
//! - `Warning converted to Error from FILE (CURRENT line N): TEXT`;
//! - lines without file and line, often several that belong together (undeclared variables, conflicting `x`
//!   modifiers, repeated definitions, bad regular expressions).
//!
//! **Invariant:** any bytes give a message that is not empty, is one line, has no control characters and is bounded.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Why a profile's file does not compile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CompileError {
    /// The parser's own words, in one line, with real paths.
    pub message: String,
    /// The file at fault, as a path in the root: perhaps an include.
    pub file: Option<PathBuf>,
    /// The line in that file, counted from 1. The parser tells a missing comma on the line after it.
    pub line: Option<u32>,
}

impl CompileError {
    /// An error of `file` as a whole.
    pub(super) fn of(file: &Path, message: impl Into<String>) -> Self {
        Self { message: message.into(), file: Some(file.to_owned()), line: None }
    }
}

/// Which run of the parser said something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    /// The program; it puts its path before some of its lines.
    pub(super) program: &'a Path,
    /// What stands before every staged path.
    pub(super) stage: &'a Path,
    /// The file that was compiled, as a path in the root.
    pub(super) file: &'a Path,
}

const LONGEST_MESSAGE: usize = 1000;
/// As many lines as the parser's longest explanation has.
const MOST_LINES: usize = 4;
/// How the parser starts a line that is not about an error.
const NOISE: [&[u8]; 5] = [b"Warning ", b"Warning:", b"Cache ", b"Cache:", b"Skipping profile in "];

/// The first error that `output` tells, if it tells any.
pub(super) fn first_error(output: &[u8], source: Source<'_>) -> Option<CompileError> {
    let output = without_prefix(output, source.stage.as_os_str().as_bytes());
    let lines = || output.split(|&byte| byte == b'\n').filter_map(|line| meaningful(line, source.program));
    if let Some(error) = lines().find_map(|line| located(line, source.file)) {
        return Some(error);
    }
    let said: Vec<String> = lines().take(MOST_LINES).map(|line| printable(line.trim_ascii())).collect();
    let message = printable(said.join("; ").as_bytes());
    (!message.is_empty()).then(|| CompileError::of(source.file, message))
}

/// Whether the parser calls something an error. It has been seen to exit with 0 all the same.
pub(super) fn tells_error(output: &[u8]) -> bool {
    position(output, b"parser error").is_some()
}

/// Whether the parser gave up because it got no more memory.
pub(super) fn tells_lack_of_memory(output: &[u8]) -> bool {
    [b"std::bad_alloc".as_slice(), b"Cannot allocate memory", b"Memory allocation error", b"Out of memory"]
        .iter()
        .any(|words| position(output, words).is_some())
}

fn meaningful<'a>(line: &'a [u8], program: &Path) -> Option<&'a [u8]> {
    let line =
        line.strip_prefix(program.as_os_str().as_bytes()).and_then(|line| line.strip_prefix(b": ")).unwrap_or(line);
    let is_converted = line.starts_with(b"Warning converted to Error");
    let is_noise = !is_converted && NOISE.iter().any(|start| line.starts_with(start))
        || line.starts_with(b"unknown option (") && line.ends_with(b") in config file.");
    (!is_noise && !line.trim_ascii().is_empty()).then_some(line)
}

/// Reads a line of one of the formats that tell a place.
fn located(line: &[u8], compiled: &Path) -> Option<CompileError> {
    let (place, message) = if let Some(rest) = line.strip_prefix(b"AppArmor parser error for ") {
        // The name of the file is known, and cut off before anything in it could be taken for the words around it.
        let compiled = compiled.as_os_str().as_bytes();
        let after = rest.strip_prefix(compiled).unwrap_or(rest);
        let current = after.strip_prefix(b" in profile ");
        let (place, message) = split_at_line(current.unwrap_or(after), b" at line ")?;
        let is_compiled_file = current.is_none() && place.0.is_empty();
        ((if is_compiled_file { compiled } else { place.0 }, place.1), message)
    } else if let Some(rest) = line.strip_prefix(b"AppArmor parser error,") {
        let (place, message) = split_at_line(rest, b" line ")?;
        ((place.0.strip_prefix(b" in ").unwrap_or(place.0), place.1), message)
    } else {
        let rest = line.strip_prefix(b"Warning converted to Error from ")?;
        let current = &rest[position(rest, b" (")? + 2..];
        let (place, message) = split_at_line(current, b" line ")?;
        (place, message)
    };
    let (file, line) = place;
    let file = if file.is_empty() { compiled } else { Path::new(OsStr::from_bytes(file)) };
    let message = printable(message.trim_ascii());
    (!message.is_empty()).then(|| CompileError { message, file: Some(file.to_owned()), line })
}

type Place<'a> = (&'a [u8], Option<u32>);

/// Splits `FILE at line N: TEXT` and `FILE line N): TEXT` at the words `at_line` before the number.
fn split_at_line<'a>(text: &'a [u8], at_line: &[u8]) -> Option<(Place<'a>, &'a [u8])> {
    let mut from = 0;
    loop {
        let at = from + position(text.get(from..)?, at_line)?;
        let rest = &text[at + at_line.len()..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let after = rest[digits..].strip_prefix(b")").unwrap_or(&rest[digits..]);
        if let (1.., Some(message)) = (digits, after.strip_prefix(b":")) {
            let number = std::str::from_utf8(&rest[..digits]).ok().and_then(|digits| digits.parse().ok());
            return Some(((&text[..at], number), message));
        }
        from = at + at_line.len();
    }
}

fn position(text: &[u8], words: &[u8]) -> Option<usize> {
    text.windows(words.len()).position(|window| window == words)
}

/// Turns staged paths into paths in the root: they differ by `prefix` alone.
fn without_prefix(text: &[u8], prefix: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = position(rest, prefix) {
        result.extend_from_slice(&rest[..at]);
        rest = &rest[at + prefix.len()..];
    }
    result.extend_from_slice(rest);
    result
}

/// Policy text, which messages quote, can hold bytes that would confuse a terminal or a log.
fn printable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut shown: String = text
        .chars()
        .take(LONGEST_MESSAGE)
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    if text.chars().nth(LONGEST_MESSAGE).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests;
