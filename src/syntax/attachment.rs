//! Attachments: the globs of the executables that a profile is for.

use std::collections::BTreeSet;

use super::variable::{Unexpandable, Variables, append, combine};

/// How deep alternations may nest (parser_regex.c, `MAX_ALT_DEPTH`).
const DEEPEST_ALTERNATION: usize = 50;

/// The plain globs that `pattern` stands for: variables and alternations `{a,b}` expanded, repeated slashes made one
/// and needless escapes removed, so that attachments which match alike in these respects compare equal.
///
/// Two leading slashes stay, as in the parser (parser_regex.c, filter_slashes); such a glob matches no path. A brace
/// without its counterpart, which the parser refuses, stands for itself.
///
/// # Errors
/// A variable that is not declared or refers to itself; more or longer globs than are kept.
pub fn expand(pattern: &str, variables: &Variables) -> Result<BTreeSet<String>, Unexpandable> {
    let pattern = variables.alternate_sorted(pattern)?;
    Ok(globs(&pattern, 0)?.into_iter().map(normalise).collect())
}

fn globs(pattern: &str, depth: usize) -> Result<Vec<String>, Unexpandable> {
    if depth > DEEPEST_ALTERNATION {
        return Err(Unexpandable::TooLarge);
    }
    let mut globs = vec![String::new()];
    let mut rest = pattern;
    while let Some(opening) = Marks::new(rest).find(|mark| rest[*mark..].starts_with('{')) {
        let Some(alternatives) = split_alternatives(&rest[opening..]) else { break };
        let length: usize = alternatives.iter().map(|alternative| alternative.len() + 1).sum();
        let mut ends = Vec::new();
        for alternative in alternatives {
            ends.append(&mut self::globs(alternative, depth + 1)?);
        }
        append(&mut globs, &rest[..opening])?;
        globs = combine(&globs, &ends)?;
        rest = &rest[opening + 1 + length..];
    }
    append(&mut globs, rest)?;
    Ok(globs)
}

/// The alternatives of the alternation that `text` begins with; `None` if nothing closes it.
fn split_alternatives(text: &str) -> Option<Vec<&str>> {
    let mut alternatives = Vec::new();
    let mut start = 1;
    let mut depth = 0_usize;
    for mark in Marks::new(text) {
        match text.as_bytes()[mark] {
            b'{' => depth += 1,
            b',' if depth == 1 => {
                alternatives.push(&text[start..mark]);
                start = mark + 1;
            }
            b'}' if depth == 1 => {
                alternatives.push(&text[start..mark]);
                return Some(alternatives);
            }
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The offsets of the braces and commas of a pattern that are neither escaped nor in a character class.
struct Marks<'p> {
    pattern: &'p [u8],
    at: usize,
    in_class: bool,
}

impl<'p> Marks<'p> {
    fn new(pattern: &'p str) -> Self {
        Self { pattern: pattern.as_bytes(), at: 0, in_class: false }
    }
}

impl Iterator for Marks<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        loop {
            let at = self.at;
            self.at += 1;
            match *self.pattern.get(at)? {
                b'\\' => self.at += 1,
                b'[' => self.in_class = true,
                b']' => self.in_class = false,
                b'{' | b'}' | b',' if !self.in_class => return Some(at),
                _ => {}
            }
        }
    }
}

fn normalise(glob: String) -> String {
    if !glob.contains('\\') && !glob.contains("//") {
        return glob;
    }
    let mut normal = String::with_capacity(glob.len());
    let leading = if glob.starts_with("//") && !glob.starts_with("///") { "/" } else { "" };
    let mut letters = glob[leading.len()..].chars();
    let mut in_class = false;
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => {
                let escaped = letters.next();
                // Digits begin the escape of a NUL, the only one that the lexer leaves.
                if in_class || escaped.is_none_or(|escaped| "*?[]{}\\".contains(escaped) || escaped.is_alphanumeric()) {
                    normal.push('\\');
                }
                normal.extend(escaped);
                continue;
            }
            '[' => in_class = true,
            ']' => in_class = false,
            '/' if normal.ends_with('/') => continue,
            _ => {}
        }
        normal.push(letter);
    }
    normal.insert_str(0, leading);
    normal
}
