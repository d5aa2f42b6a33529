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

/// What a byte can do in a token.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Space and tab.
    Blank,
    /// Carriage return and newline.
    Newline,
    /// Ends an identifier: `"` and `!`.
    Stop,
    Comma,
    Backslash,
    /// Letters, digits and `_`: identifiers and words.
    Word,
    /// Every other byte of an identifier.
    Plain,
}

static CLASSES: [Class; 256] = {
    let mut classes = [Class::Plain; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b' ' | b'\t' => Class::Blank,
            b'\r' | b'\n' => Class::Newline,
            b'"' | b'!' => Class::Stop,
            b',' => Class::Comma,
            b'\\' => Class::Backslash,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => Class::Word,
            _ => Class::Plain,
        };
        byte += 1;
    }
    classes
};

fn class(byte: u8) -> Class {
    CLASSES[usize::from(byte)]
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
        let followed_by_blank = self.peek().is_some_and(|byte| class(byte) == Class::Blank);
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
        if self.peek().is_some_and(|byte| class(byte) == Class::Newline) {
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
            None => Token::Other,
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
        self.skip_while(|class| class == Class::Word);
    }

    fn skip_blanks(&mut self) {
        self.at = blanks_end(self.text, self.at);
    }

    fn skip_spaces(&mut self) {
        self.skip_while(|class| matches!(class, Class::Blank | Class::Newline));
    }

    fn skip_while(&mut self, belongs: impl Fn(Class) -> bool) {
        self.at = end_where(self.text, self.at, |byte| !belongs(class(byte)));
    }

    /// Passes over the rest of the line and its end.
    fn skip_line(&mut self) {
        self.at = self.text.len().min(end_where(self.text, self.at, |byte| byte == b'\n') + 1);
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn rest(&self) -> &'t [u8] {
        &self.text[self.at..]
    }
}

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

fn escapable_in_list(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'"' | b'!' | b',' | b'(' | b')')
}

/// The end of the identifier at `at`, which may be empty. A comma belongs to it where more of it follows, so that
/// `/b{c,d} r,` has one; a backslash takes a space, tab, `"`, `!` or comma in.
fn identifier_end(text: &[u8], mut at: usize) -> usize {
    while let Some(&byte) = text.get(at) {
        at += match class(byte) {
            Class::Word | Class::Plain => 1,
            Class::Backslash if matches!(text.get(at + 1), Some(b' ' | b'\t' | b'"' | b'!' | b',')) => 2,
            Class::Backslash => 1,
            Class::Comma => match text.get(at + 1).map(|next| class(*next)) {
                Some(Class::Word | Class::Plain | Class::Backslash) => 2,
                _ => return at,
            },
            Class::Blank | Class::Newline | Class::Stop => return at,
        };
    }
    at
}

/// The end of the quoted text at `at`: the first `"` without a backslash before it or, where there is none before a
/// NUL or the end, the last with one. (The lexer takes the longest match, and a backslash also stands for itself.)
fn quoted_end(text: &[u8], at: usize) -> Option<usize> {
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
    let end = end_where(text, name, |byte| class(byte) != Class::Word);
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
    end_where(text, at, |byte| class(byte) != Class::Blank)
}

/// The first offset from `at` on whose byte ends what is looked at, or the text's end.
fn end_where(text: &[u8], at: usize, ends: impl Fn(u8) -> bool) -> usize {
    text[at..].iter().position(|byte| ends(*byte)).map_or(text.len(), |length| at + length)
}

/// The text that a quoted text or an identifier stands for: without quotes, escapes resolved except for those of
/// characters that mean something in a glob (parser_misc.c, processid). Bytes that are not UTF-8 become U+FFFD.
pub(super) fn unquote(raw: &[u8]) -> String {
    let quoted = raw.strip_prefix(b"\"").and_then(|raw| raw.strip_suffix(b"\""));
    let mut rest = quoted.unwrap_or(raw);
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
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
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
