//! Single rules: whether a text is exactly one, and what it says.

use std::collections::BTreeMap;

use super::token::{Lexer, Token};
use super::value::unquote;

/// Checks that a text, put on a line of a profile's own, is exactly one rule that ends with its comma, or one include
/// of a file by its name in angle brackets.
///
/// This is narrower than the language: a comma, blank or `#` that belongs to a path must stand in quotes or braces, so
/// that no version of the parser can read a second rule or a comment there, and [`Rule::read`] reads what it reads.
/// Blocks are no rules.
///
/// # Errors
/// What it should be.
pub fn check_rule(text: &str) -> Result<(), &'static str> {
    const ONE: &str =
        "one rule with its comma, or one include: no blocks, no profiles, no variables' values, no comments";
    if text.contains(['\n', '\r', '\0']) {
        return Err(ONE);
    }
    let mut tokens = Vec::new();
    let mut lexer = Lexer::new(text.as_bytes());
    while let Some((_, token)) = lexer.next_token() {
        tokens.push(token);
    }
    if let [Token::Include { argument, .. }] = &tokens[..] {
        let argument = &text[argument.clone()];
        let name = argument.strip_prefix('<').and_then(|name| name.strip_suffix('>'));
        return match name.filter(|_| text.starts_with("include ")) {
            Some(name) if name.starts_with(['/', '"']) || has_dot_component(name) => Err(
                "an include of a file below the policy directory, such as <abstractions/nameservice>: no absolute path, no `..`",
            ),
            Some(_) => Ok(()),
            None => Err(ONE),
        };
    }
    let one_rule = |token: &Token| {
        matches!(token, Token::Label(_) | Token::Variable(_) | Token::Group { .. } | Token::Other | Token::End)
    };
    let ends = tokens.iter().filter(|token| **token == Token::End).count();
    let Some(rule) = text.strip_suffix(',').filter(|_| ends <= 1 && tokens.iter().all(one_rule)) else {
        return Err(ONE);
    };
    has_whole_quotes_and_escapes(rule)?;
    if !has_no_second_part(rule) {
        return Err(ONE);
    }
    match Rule::read(text).subject {
        Subject::File { pattern, .. } if has_dot_component(&pattern) => {
            Err("a path without the components `.` and `..`: the kernel resolves them before it asks AppArmor")
        }
        Subject::Unknown if text.starts_with("rlimit ") => {
            Err("a limit with the word `set` before it, as in `set rlimit nofile <= 1024,`")
        }
        Subject::Unknown => Err(
            "a rule of apparmor.d(5) that begins, after its qualifiers, with its keyword, a path or permissions; a blank in a path needs quotes around all of the path",
        ),
        _ => Ok(()),
    }
}

fn has_dot_component(path: &str) -> bool {
    path.split('/').any(|component| component == "." || component == "..")
}

/// What a backslash may stand before: the characters that mean something in a pattern.
pub(crate) const ESCAPABLE: &str = "*?[]{}\\,";

/// Checks quotes and backslashes. A quoted text is a whole word or a whole value: the lexer takes a quote within a word
/// for an error, and what follows a closing one for another word (parser_lex.l, QUOTED_ID and ID). Backslashes that
/// stand for a character by its number, or for a blank, would hide what a path is.
fn has_whole_quotes_and_escapes(rule: &str) -> Result<(), &'static str> {
    const QUOTES: &str = "a rule whose quotes stand around a whole path or value, as in `\"/srv/x y\" r,`: AppArmor does not read them within one";
    let mut quoted = false;
    let mut before = ' ';
    let mut letters = rule.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if letters.next().is_none_or(|escaped| !ESCAPABLE.contains(escaped)) => {
                return Err("a rule in which a backslash stands before one of the characters *?[]{}\\, only");
            }
            '"' if quoted => {
                quoted = false;
                if letters.peek().is_some_and(|next| !next.is_whitespace() && !"),".contains(*next)) {
                    return Err(QUOTES);
                }
            }
            '"' if before.is_whitespace() || "=(,".contains(before) => quoted = true,
            '"' => return Err(QUOTES),
            _ => {}
        }
        before = letter;
    }
    if quoted { Err(QUOTES) } else { Ok(()) }
}

/// Whether nothing in a rule without its comma ends it, opens a block or begins a comment.
fn has_no_second_part(rule: &str) -> bool {
    let mut open = Vec::new();
    let mut quoted = false;
    let mut before = ' ';
    let mut letters = rule.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => {
                letters.next();
            }
            '"' => quoted = !quoted,
            _ if quoted => {}
            '#' => return false,
            '{' | '(' | '[' => {
                if letter == '{' && before == ' ' {
                    return false;
                }
                open.push(letter);
            }
            '}' | ')' | ']' => {
                let opening = open.pop();
                if !matches!((opening, letter), (Some('{'), '}') | (Some('('), ')') | (Some('['), ']')) {
                    return false;
                }
            }
            // In braces a blank would end the path, and what follows were read as something else.
            ' ' | '\t' if open.contains(&'{') => return false,
            ',' if open.is_empty() => return false,
            _ => {}
        }
        before = letter;
    }
    !quoted && open.is_empty()
}

/// The words of a rule without its comma: what stands between blanks, a quoted text or a list in parentheses being one
/// word, and a condition one with its value (`set = (hup)` is `set=(hup)`).
fn words(rule: &str) -> Vec<String> {
    let rule = rule.strip_suffix(',').unwrap_or(rule);
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    let mut depth = 0_usize;
    for letter in rule.chars() {
        let in_path = is_path(&word);
        match letter {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' if !in_path => {
                if depth == 0 && !word.is_empty() && !word.ends_with('=') {
                    words.push(std::mem::take(&mut word));
                }
                depth += 1;
            }
            ')' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    word.push(letter);
                    words.push(std::mem::take(&mut word));
                    continue;
                }
            }
            _ if depth == 0 && letter.is_ascii_whitespace() => {
                if !word.is_empty() && !word.ends_with('=') || in_path {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            '=' if word.is_empty() && words.last().is_some_and(|last| is_name(last)) => {
                word = words.pop().unwrap_or_default();
            }
            _ => {}
        }
        word.push(letter);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

fn is_name(word: &str) -> bool {
    word.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

fn is_qualifier(word: &str) -> bool {
    matches!(word, "audit" | "allow" | "deny" | "owner") || word.starts_with("priority=")
}

/// The keywords of rules that are not about files or capabilities (apparmor.d(5), COMMA RULES).
const MEDIATED: [&str; 14] = [
    "change_profile",
    "dbus",
    "io_uring",
    "mount",
    "mqueue",
    "network",
    "pivot_root",
    "ptrace",
    "remount",
    "signal",
    "umount",
    "unix",
    "unmount",
    "userns",
];

fn is_path(word: &str) -> bool {
    let path = word.strip_prefix('"').unwrap_or(word);
    path.starts_with('/') || path.starts_with("@{")
}

fn is_permissions(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|letter| "mrwalkixpPcCuU".contains(letter))
}

/// What a rule says, as far as it concerns what a profile lets through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whether it takes away instead of granting.
    pub denies: bool,
    /// What it is about.
    pub subject: Subject,
}

/// What a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Everything that there is: `all,` (AppArmor 4).
    Everything,
    /// Files: the pattern without quotes, and letters for the permissions, such as `rw`, `ix` or `Px`.
    File {
        /// The pattern; all paths are `/**`.
        pattern: String,
        /// The permissions.
        permissions: String,
        /// The profile that an execution leads to, where the rule names one; of a hard link, the file.
        target: Option<String>,
    },
    /// Capabilities by name; none means all of them.
    Capabilities(Vec<String>),
    /// What else AppArmor mediates: networks, signals, mounts and so on.
    Mediated(Mediated),
    /// What grants nothing: includes and limits.
    Nothing,
    /// Not a rule that is known.
    Unknown,
}

/// A rule about something else than files and capabilities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mediated {
    /// The keyword that the rule begins with.
    pub keyword: &'static str,
    /// The words in a list of their own, such as `send` in `signal (send),`.
    pub listed: Vec<String>,
    /// The words without a name, such as `inet` in `network inet,`.
    pub words: Vec<String>,
    /// The conditions by their names; a list's value is without its parentheses.
    pub conditions: BTreeMap<String, String>,
    /// What stands after `->`.
    pub target: Option<String>,
}

impl Mediated {
    /// What may be done: words in a list or without one. None is all of it.
    pub fn access(&self) -> impl Iterator<Item = &str> {
        self.listed.iter().chain(&self.words).map(String::as_str)
    }

    /// Whether one of `accesses` may be done.
    #[must_use]
    pub fn allows(&self, accesses: &[&str]) -> bool {
        self.access().next().is_none() || self.access().any(|access| accesses.contains(&access))
    }

    /// The conditions on the other end, as in `peer=(name=org.x, label=x)`.
    #[must_use]
    pub fn peer(&self) -> BTreeMap<String, String> {
        let list = self.conditions.get("peer").map_or("", String::as_str);
        let parts: Vec<&str> = list.split('=').map(str::trim).collect();
        let named = parts.windows(2).enumerate().filter_map(|(at, two)| {
            let name = elements(two[0]).next_back()?;
            // But for the last one, a value is followed by the next condition's name.
            let value = if at + 2 == parts.len() { two[1] } else { elements(two[1]).next()? };
            Some((name.to_owned(), unquote(value.trim_end_matches([',', ' ', '\t']).as_bytes())))
        });
        named.collect()
    }

    /// Whether a network rule names an address family. Types and protocols are no families.
    #[must_use]
    pub fn has_family(&self) -> bool {
        const TYPES: [&str; 8] = ["stream", "dgram", "seqpacket", "rdm", "raw", "tcp", "udp", "icmp"];
        self.words.iter().any(|word| !TYPES.contains(&word.as_str()))
    }
}

impl Rule {
    /// Reads one rule, as [`check_rule`] lets it through.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let all = words(text);
        let qualifiers = all.iter().take_while(|word| is_qualifier(word)).count();
        let denies = all[..qualifiers].iter().any(|word| word == "deny");
        let words: Vec<&str> = all[qualifiers..].iter().map(String::as_str).collect();
        Self { denies, subject: subject(&words) }
    }
}

fn subject(words: &[&str]) -> Subject {
    /// Everything that a bare `file,` grants (apparmor.d(5), file rules).
    const EVERYTHING: &str = "rwaklmix";
    match words {
        ["include" | "set", ..] => Subject::Nothing,
        ["all"] => Subject::Everything,
        ["file"] => Subject::File { pattern: "/**".to_owned(), permissions: EVERYTHING.to_owned(), target: None },
        ["file", rest @ ..] => files(rest),
        ["capability", names @ ..] => Subject::Capabilities(names.iter().map(|word| (*word).to_owned()).collect()),
        ["link", "subset", path, "->", target] | ["link", path, "->", target] => file(path, "l", &["->", target]),
        [keyword, rest @ ..] => match MEDIATED.iter().find(|known| *known == keyword) {
            Some(keyword) => Subject::Mediated(mediated(keyword, rest)),
            None => files(words),
        },
        [] => Subject::Unknown,
    }
}

fn files(words: &[&str]) -> Subject {
    match words {
        [path, permissions, rest @ ..] if is_path(path) && is_permissions(permissions) => file(path, permissions, rest),
        [permissions, path, rest @ ..] if is_permissions(permissions) && is_path(path) => file(path, permissions, rest),
        _ => Subject::Unknown,
    }
}

fn file(path: &str, permissions: &str, rest: &[&str]) -> Subject {
    let target = match rest {
        [] => None,
        ["->", target] => Some(unquote(target.as_bytes())),
        _ => return Subject::Unknown,
    };
    Subject::File { pattern: unquote(path.as_bytes()), permissions: permissions.to_owned(), target }
}

fn mediated(keyword: &'static str, words: &[&str]) -> Mediated {
    let mut read =
        Mediated { keyword, listed: Vec::new(), words: Vec::new(), conditions: BTreeMap::new(), target: None };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let list = word.strip_prefix('(').map(|list| list.strip_suffix(')').unwrap_or(list));
        if *word == "->" {
            read.target = words.next().map(|target| unquote(target.as_bytes()));
        } else if let Some(list) = list {
            read.listed.extend(elements(list).map(str::to_owned));
        } else if let Some((name, value)) = word.split_once('=').filter(|(name, _)| is_name(name)) {
            let value = match value.strip_prefix('(').and_then(|value| value.strip_suffix(')')) {
                Some(list) => list.to_owned(),
                None => unquote(value.as_bytes()),
            };
            read.conditions.insert(name.to_owned(), value);
        } else {
            read.words.push(unquote(word.as_bytes()));
        }
    }
    read
}

/// The elements of a list, which commas or blanks part.
pub(crate) fn elements(list: &str) -> impl DoubleEndedIterator<Item = &str> {
    list.split([',', ' ', '\t']).filter(|element| !element.is_empty())
}
