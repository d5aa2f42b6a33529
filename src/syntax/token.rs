//! Tokens of policy text, as the parser's lexer cuts them (`parser_lex.l` of AppArmor 3.0 to 5.0).
//!
//! The lexer changes its state with the keyword: an identifier, a comment and a brace begin and end differently after
//! `profile`, after `->`, in a list, in an assignment or in a `mount` rule. Here each of those is one token, taken
//! whole, so that only the parser's initial state is left between tokens.
//!
//! **Invariant:** every call moves forward, and no byte is read more than a few times.

use std::ops::Range;

use super::header::HeaderKind;
use super::include::IncludeKind;
use super::value::escapable_in_list;
use super::variable::Assignment;

/// A piece of policy text; ranges are byte offsets into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// `profile NAME`, `hat NAME` or `^NAME`; the name may be quoted.
    Header { kind: HeaderKind, name: Range<usize> },
    /// A path, a name with a namespace, or a text that a variable begins; may be quoted.
    Label(Range<usize>),
    /// A variable alone, `@{NAME}`.
    Variable(Range<usize>),
    /// `NAME=(LIST)`, or `(LIST)` with an empty name; the list is without its parentheses.
    Group { name: Range<usize>, list: Range<usize> },
    /// An include or abi reference; the argument is with its delimiters.
    Include { kind: IncludeKind, if_exists: bool, argument: Range<usize> },
    /// `@{NAME} = VALUES`; the name is with its sigil and braces.
    Assignment { name: Range<usize>, assignment: Assignment, values: Range<usize> },
    /// `{`
    Open,
    /// `}`
    Close,
    /// The end of a rule: its `,`, or the assignment to a boolean variable, which needs none.
    End,
    /// Anything else: words, permissions, rules without interest, bytes that the parser refuses.
    Other,
}

/// What a byte can be part of: a set of the bits below.
static CLASSES: [u8; 256] = {
    let mut classes = [IDENTIFIER; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b' ' | b'\t' => BLANK | SPACE,
            b'\r' | b'\n' => SPACE,
            b'"' | b'!' | b',' | b'\\' => 0,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => WORD | IDENTIFIER,
            _ => IDENTIFIER,
        };
        byte += 1;
    }
    classes
};
/// Space and tab.
const BLANK: u8 = 1;
/// Blanks and the ends of lines.
const SPACE: u8 = 2;
/// Letters, digits and `_`.
const WORD: u8 = 4;
/// An identifier, wherever the byte stands in it.
const IDENTIFIER: u8 = 8;

fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

/// Cuts a text into tokens.
pub(super) struct Lexer<'t> {
    text: &'t [u8],
    at: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// The end of the last token.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The next token and its start. White space and comments are passed over.
    pub(super) fn next_token(&mut self) -> Option<(usize, Token)> {
        loop {
            self.skip_spaces();
            let start = self.at;
            let first = self.peek()?;
            if first == b'#' && !self.rest().starts_with(b"#include") {
                self.skip_line();
                continue;
            }
            return Some((start, self.token(first)));
        }
    }

    /// The token that `first`, the byte at the present position, begins.
    fn token(&mut self, first: u8) -> Token {
        let start = self.at;
        match first {
            b'a'..=b'z' | b'A'..=b'Z' => self.word(),
            b'/' | b':' | b'&' => {
                self.at = identifier_end(self.text, start);
                Token::Label(start..self.at)
            }
            b'@' => self.set_variable(),
            b'"' => {
                self.at = quoted_end(self.text, start).unwrap_or(start + 1);
                match self.text.get(start + 1) {
                    Some(b'/' | b'@' | b':' | b'&') => Token::Label(start..self.at),
                    _ => Token::Other,
                }
            }
            b'^' => {
                self.at += 1;
                self.header(HeaderKind::Hat)
            }
            b'{' => self.byte(Token::Open),
            b'}' => self.byte(Token::Close),
            b',' => self.byte(Token::End),
            b'(' => Token::Group { name: start..start, list: self.list() },
            b'#' => self.include("#include".len(), IncludeKind::Include),
            b'-' if self.rest().starts_with(b"->") => {
                self.at += 2;
                self.skip_spaces();
                self.skip_value();
                Token::Other
            }
            b'<' if self.rest().starts_with(b"<=") => {
                self.at += 2;
                Token::Other
            }
            b'$' => {
                self.at = variable_end(self.text, start).unwrap_or(start + 1);
                if self.assignment().is_none() {
                    return Token::Other;
                }
                self.skip_values();
                Token::End
            }
            b'=' => {
                self.at += 1;
                self.skip_values();
                Token::Other
            }
            _ => self.byte(Token::Other),
        }
    }

    fn byte(&mut self, token: Token) -> Token {
        self.at += 1;
        token
    }

    fn word(&mut self) -> Token {
        let start = self.at;
        self.skip_word();
        let name = start..self.at;
        if let Some(list) = self.condition() {
            return list.map_or(Token::Other, |list| Token::Group { name, list });
        }
        let followed_by_blank = self.peek().is_some_and(|byte| is(byte, BLANK));
        match &self.text[name] {
            b"profile" => {
                self.skip_blanks();
                self.header(HeaderKind::Profile)
            }
            b"hat" => {
                self.skip_blanks();
                self.header(HeaderKind::Hat)
            }
            b"include" if followed_by_blank => self.include(0, IncludeKind::Include),
            b"abi" => self.include(0, IncludeKind::Abi),
            b"if" => self.expression(),
            b"change_profile" | b"dbus" | b"mount" | b"mqueue" | b"network" | b"ptrace" | b"remount" | b"signal"
            | b"umount" | b"unix" | b"unmount" => self.rule(),
            // Nearly every rule ends with its permissions: `r,` is one token, for speed.
            _ if self.peek() == Some(b',') => self.byte(Token::End),
            _ => Token::Other,
        }
    }

    /// The name after `profile`, `hat` or `^`, where every identifier is one: `profile {` has the name `{`.
    fn header(&mut self, kind: HeaderKind) -> Token {
        let start = self.at;
        self.skip_value();
        if self.at == start { Token::Other } else { Token::Header { kind, name: start..self.at } }
    }

    /// `@{NAME}`: the beginning of a path, the left side of an assignment, or alone.
    fn set_variable(&mut self) -> Token {
        let start = self.at;
        let Some(end) = variable_end(self.text, start) else { return self.byte(Token::Other) };
        self.at = end;
        if let Some(assignment) = self.assignment() {
            let values = self.at;
            self.skip_values();
            return Token::Assignment { name: start..end, assignment, values: values..self.at };
        }
        if self.peek() != Some(b'+') {
            self.at = identifier_end(self.text, end);
        }
        if self.at == end { Token::Variable(start..end) } else { Token::Label(start..self.at) }
    }

    /// Passes over the operator of an assignment, if one follows.
    fn assignment(&mut self) -> Option<Assignment> {
        let at = blanks_end(self.text, self.at);
        let rest = &self.text[at..];
        let (assignment, length) = match (rest.first()?, rest.get(1)) {
            (b'=', _) => (Assignment::Set, 1),
            (b'+', Some(b'=')) => (Assignment::Add, 2),
            (b'?', Some(b'=')) => (Assignment::SetIfUndeclared, 2),
            // Directly after the variable `:=` continues an identifier.
            (b':', Some(b'=')) if at > self.at => (Assignment::Override, 2),
            _ => return None,
        };
        self.at = at + length;
        Some(assignment)
    }

    /// Passes over the values of an assignment and the end of its line.
    fn skip_values(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' => self.skip_blanks(),
                // Since 4.0 a comment; 3.0 takes `#` and the words after it as values.
                b'#' => return self.skip_line(),
                b'\n' => {
                    self.at += 1;
                    return;
                }
                b'\\' if self.text.get(self.at + 1) == Some(&b'\n') => self.at += 2,
                _ => self.skip_value_or_byte(),
            }
        }
    }

    /// Passes over `= VALUE` or `= (LIST)`, if one follows, and returns the list.
    fn condition(&mut self) -> Option<Option<Range<usize>>> {
        let equals = blanks_end(self.text, self.at);
        if self.text.get(equals) != Some(&b'=') {
            return None;
        }
        self.at = blanks_end(self.text, equals + 1);
        if matches!(self.peek(), Some(b'\r' | b'\n')) {
            self.skip_spaces();
            return Some((self.peek() == Some(b'(')).then(|| self.list()));
        }
        if self.peek() == Some(b'(') {
            return Some(Some(self.list()));
        }
        self.skip_value();
        Some(None)
    }

    /// Passes over a list, from its `(` to its `)` or the end of the text, and returns what is between.
    fn list(&mut self) -> Range<usize> {
        self.at += 1;
        let start = self.at;
        let mut depth = 1_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'(' => depth += 1,
                b')' => depth -= 1,
                b'"' => {
                    self.at = quoted_end(self.text, self.at).unwrap_or(self.at + 1);
                    continue;
                }
                b'\\' if self.text.get(self.at + 1).is_some_and(|byte| escapable_in_list(*byte)) => self.at += 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return start..self.at - 1;
            }
        }
        start..self.at
    }

    /// `include` or `abi`: `skipped` bytes on, an optional `if exists` and the argument.
    fn include(&mut self, skipped: usize, kind: IncludeKind) -> Token {
        self.at += skipped;
        let exists = if kind == IncludeKind::Include { if_exists_end(self.text, self.at) } else { None };
        self.at = exists.unwrap_or(self.at);
        self.skip_spaces();
        match argument_end(self.text, self.at) {
            Some(end) => {
                let argument = self.at..end;
                self.at = end;
                Token::Include { kind, if_exists: exists.is_some(), argument }
            }
            None => {
                // The parser stops here. Looking at the same bytes again for each `include <` would not be linear.
                self.skip_line();
                Token::Other
            }
        }
    }

    /// Passes over a rule whose keyword has a lexer state of its own, to the comma that ends it. There `#` begins no
    /// comment, and every identifier may begin with a brace: `mount {,/b} -> /c,`.
    fn rule(&mut self) -> Token {
        loop {
            self.skip_spaces();
            match self.peek() {
                None => return Token::Other,
                Some(b',') => return self.byte(Token::End),
                Some(b'(') => {
                    self.list();
                }
                Some(b'a'..=b'z' | b'A'..=b'Z') => {
                    let start = self.at;
                    self.skip_word();
                    if self.condition().is_none() {
                        self.at = identifier_end(self.text, start);
                    }
                }
                Some(_) => self.skip_value_or_byte(),
            }
        }
    }

    /// Passes over the condition of an `if`, up to the brace that opens its block.
    fn expression(&mut self) -> Token {
        loop {
            self.skip_spaces();
            match self.peek() {
                None | Some(b'{') => return Token::Other,
                Some(b'#') => self.skip_line(),
                Some(b'@' | b'$') => self.at = variable_end(self.text, self.at).unwrap_or(self.at + 1),
                Some(b'/' | b':' | b'"') => self.skip_value_or_byte(),
                Some(_) => self.at += 1,
            }
        }
    }

    fn skip_value_or_byte(&mut self) {
        let start = self.at;
        self.skip_value();
        if self.at == start {
            self.at += 1;
        }
    }

    /// Passes over a quoted text or an identifier, if one follows.
    fn skip_value(&mut self) {
        self.at = match self.peek() {
            Some(b'"') => quoted_end(self.text, self.at).unwrap_or(self.at),
            _ => identifier_end(self.text, self.at),
        };
    }

    fn skip_word(&mut self) {
        self.at = class_end(self.text, self.at, WORD);
    }

    fn skip_blanks(&mut self) {
        self.at = blanks_end(self.text, self.at);
    }

    fn skip_spaces(&mut self) {
        self.at = class_end(self.text, self.at, SPACE);
    }

    /// Passes over the rest of the line and its end.
    fn skip_line(&mut self) {
        self.at = self.text.len().min(line_end(self.text, self.at) + 1);
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn rest(&self) -> &'t [u8] {
        &self.text[self.at..]
    }
}

/// The end of the identifier at `at`, which may be empty. A comma belongs to it where more of it follows, so that
/// `/b{c,d} r,` has one; a backslash takes a space, tab, `"`, `!` or comma in.
pub(super) fn identifier_end(text: &[u8], mut at: usize) -> usize {
    loop {
        at = class_end(text, at, IDENTIFIER);
        at += match (text.get(at), text.get(at + 1)) {
            (Some(b'\\'), Some(b' ' | b'\t' | b'"' | b'!' | b',')) => 2,
            (Some(b'\\'), _) => 1,
            (Some(b','), Some(next)) if *next == b'\\' || is(*next, IDENTIFIER) => 2,
            _ => return at,
        };
    }
}

/// The end of the quoted text at `at`: the first `"` without a backslash before it or, where there is none before a
/// NUL or the end, the last with one. (The lexer takes the longest match, and a backslash also stands for itself.)
pub(super) fn quoted_end(text: &[u8], at: usize) -> Option<usize> {
    let mut last = None;
    let mut next = at + 1;
    loop {
        next = end_where(text, next, |byte| matches!(byte, b'"' | 0));
        if text.get(next) != Some(&b'"') {
            return last;
        }
        last = Some(next + 1);
        if next == at + 1 || text[next - 1] != b'\\' {
            return last;
        }
        next += 1;
    }
}

/// The end of the variable whose sigil stands at `at`: `@{NAME}`, `@NAME`, `${NAME}` or `$NAME`.
fn variable_end(text: &[u8], at: usize) -> Option<usize> {
    let braced = text.get(at + 1) == Some(&b'{');
    let name = at + 1 + usize::from(braced);
    if !text.get(name)?.is_ascii_alphabetic() {
        return None;
    }
    let end = class_end(text, name, WORD);
    match (braced, text.get(end)) {
        (false, _) => Some(end),
        (true, Some(b'}')) => Some(end + 1),
        (true, _) => None,
    }
}

/// The end of ` if exists` at `at`, if that stands there with white space after it.
fn if_exists_end(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at;
    for word in [b"if".as_slice(), b"exists"] {
        let start = blanks_end(text, at);
        if start == at || !text[start..].starts_with(word) {
            return None;
        }
        at = start + word.len();
    }
    (blanks_end(text, at) > at).then_some(at)
}

/// The end of an include's argument: `<path>`, `<"path">`, `"path"` or a bare path.
fn argument_end(text: &[u8], at: usize) -> Option<usize> {
    let end = match (text.get(at)?, text.get(at + 1)) {
        (b'"', _) => quoted_end(text, at)?,
        (b'<', next) => {
            let end = match next {
                Some(b'"') => quoted_end(text, at + 1)?,
                _ => end_where(text, at + 1, |byte| matches!(byte, b'"' | b'>' | b'\t' | b'\r' | b'\n')),
            };
            let closed = text.get(end) == Some(&b'>') && end > at + 1;
            return closed.then_some(end + 1);
        }
        _ => {
            let end = identifier_end(text, at);
            end_where(&text[..end], at, |byte| matches!(byte, b'<' | b'>'))
        }
    };
    (end > at).then_some(end)
}

fn blanks_end(text: &[u8], at: usize) -> usize {
    class_end(text, at, BLANK)
}

/// The end of the bytes of a class that stand at `at`.
fn class_end(text: &[u8], at: usize, class: u8) -> usize {
    end_where(text, at, |byte| !is(byte, class))
}

/// The end of the line that `at` stands in. Comments are a third of real policy, so this looks at many bytes at once.
fn line_end(text: &[u8], at: usize) -> usize {
    let holds_newline = |block: &&[u8]| block.iter().fold(false, |found, byte| found | (*byte == b'\n'));
    let blocks = text[at..].chunks_exact(32).take_while(|block| !holds_newline(block)).count();
    end_where(text, at + 32 * blocks, |byte| byte == b'\n')
}

/// The first offset from `at` on whose byte ends what is looked at, or the text's end.
fn end_where(text: &[u8], at: usize, ends: impl Fn(u8) -> bool) -> usize {
    text[at..].iter().position(|byte| ends(*byte)).map_or(text.len(), |length| at + length)
}
