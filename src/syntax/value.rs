//! The single values of lists and assignments, and the texts that they stand for.

use std::ops::Range;

use super::token::{identifier_end, quoted_end};

/// The values of a list or an assignment: quoted texts and identifiers between blanks, newlines and commas.
pub(super) fn values(text: &[u8], range: Range<usize>, within: Values) -> impl Iterator<Item = Range<usize>> {
    let Range { start: mut at, end } = range;
    let text = &text[..end];
    std::iter::from_fn(move || {
        loop {
            let start = at;
            at = match *text.get(start)? {
                b'"' => quoted_end(text, start).unwrap_or(start),
                b'#' if within == Values::Assignment => return None,
                b'\\' if within == Values::Assignment && text.get(start + 1) == Some(&b'\n') => start,
                _ if within == Values::Assignment => identifier_end(text, start),
                _ => list_value_end(text, start),
            };
            if at > start {
                return Some(start..at);
            }
            at += 1;
        }
    })
}

/// Where [`values`] stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    /// In parentheses, where a comma always separates.
    List,
    /// On the right side of an assignment, where an identifier may hold commas.
    Assignment,
}

fn list_value_end(text: &[u8], mut at: usize) -> usize {
    while let Some(&byte) = text.get(at) {
        at += match byte {
            b'\\' if text.get(at + 1).is_some_and(|byte| escapable_in_list(*byte)) => 2,
            // A carriage return belongs to the value: the parser refuses `(complain\r\n)`.
            b' ' | b'\t' | b'\n' | b'"' | b'!' | b',' | b'(' | b')' => return at,
            _ => 1,
        };
    }
    at
}

pub(super) fn escapable_in_list(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'"' | b'!' | b',' | b'(' | b')')
}

/// The text that a quoted text or an identifier stands for: without quotes, escapes resolved except for those of
/// characters that mean something in a glob (parser_misc.c, processid). Bytes that are not UTF-8 become U+FFFD.
pub(super) fn unquote(raw: &[u8]) -> String {
    let quoted = raw.strip_prefix(b"\"").and_then(|raw| raw.strip_suffix(b"\""));
    let mut rest = quoted.unwrap_or(raw);
    match std::str::from_utf8(rest) {
        Ok(plain) if !rest.contains(&b'\\') => return plain.to_owned(),
        _ => {}
    }
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = if byte == b'\\' { escape(after) } else { None };
        let length = escaped.map_or(0, |(_, length)| length);
        match escaped {
            // A NUL cannot stand in a name: the parser leaves its escape as it is.
            Some((0, _)) => bytes.extend_from_slice(&rest[..=length]),
            Some((value, _)) if b"*?[]{}^,\\".contains(&value) => bytes.extend([b'\\', value]),
            Some((value, _)) => bytes.push(value),
            None => bytes.push(byte),
        }
        rest = &after[length..];
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The byte that an escape stands for and how many bytes it has after the backslash (lib.c, strn_escseq).
fn escape(after: &[u8]) -> Option<(u8, usize)> {
    let simple = |byte| Some((byte, 1));
    match *after.first()? {
        b'0'..=b'7' => number(after, 8, 3),
        b'd' => number(&after[1..], 10, 3).map(|(byte, length)| (byte, length + 1)),
        b'x' => number(&after[1..], 16, 2).map(|(byte, length)| (byte, length + 1)),
        b'\\' => simple(b'\\'),
        b'"' => simple(b'"'),
        b'a' => simple(7),
        b'e' => simple(27),
        b'f' => simple(12),
        b'n' => simple(b'\n'),
        b'r' => simple(b'\r'),
        b't' => simple(b'\t'),
        _ => None,
    }
}

/// The longest number of at most `digits` digits that fits a byte, and its length.
fn number(text: &[u8], base: u32, digits: usize) -> Option<(u8, usize)> {
    let mut value = None;
    for (length, byte) in text.iter().take(digits).enumerate() {
        let Some(digit) = char::from(*byte).to_digit(base) else { break };
        let Ok(next) = u8::try_from(value.map_or(0, |(value, _)| u32::from(value)) * base + digit) else { break };
        value = Some((next, length + 1));
    }
    value
}
