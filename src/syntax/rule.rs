//! Single rules: whether a text is exactly one, and what a rule about files, capabilities or networks says.

use super::token::{Lexer, Token};
use super::value::unquote;

/// Says whether a text, put on a line of a profile's own, is exactly one rule that ends with its comma, or one include
/// of a file by its name in angle brackets.
///
/// This is narrower than the language: a comma or `#` that belongs to a path must stand in quotes or braces, so that
/// no version of the parser can read a second rule or a comment there. Blocks are no rules.
#[must_use]
pub fn is_one_rule(text: &str) -> bool {
    if text.contains(['\n', '\r', '\0']) {
        return false;
    }
    let mut tokens = Vec::new();
    let mut lexer = Lexer::new(text.as_bytes());
    while let Some((_, token)) = lexer.next_token() {
        tokens.push(token);
    }
    if let [Token::Include { argument, .. }] = &tokens[..] {
        return text.starts_with("include ") && text[argument.clone()].starts_with('<') && text.ends_with('>');
    }
    let one_rule = |token: &Token| {
        matches!(token, Token::Label(_) | Token::Variable(_) | Token::Group { .. } | Token::Other | Token::End)
    };
    let ends = tokens.iter().filter(|token| **token == Token::End).count();
    tokens.iter().all(one_rule)
        && ends <= 1
        && text.ends_with(',')
        && has_no_second_part(&text[..text.len() - 1])
        && words(text).into_iter().find(|word| !is_qualifier(word)).is_some_and(begins_rule)
}

/// Whether nothing in a rule without its comma ends it, opens a block or begins a comment.
fn has_no_second_part(rule: &str) -> bool {
    let mut open = Vec::new();
    let mut quoted = false;
    let mut before = ' ';
    let mut letters = rule.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if letters.next().is_none_or(|escaped| escaped == '"') => return false,
            '\\' => {}
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

/// The words of a rule: what stands between blanks, a quoted text being one word, without the comma at the end.
fn words(rule: &str) -> Vec<&str> {
    let rule = rule.strip_suffix(',').unwrap_or(rule);
    let mut quoted = false;
    rule.split(|letter: char| {
        quoted ^= letter == '"';
        !quoted && letter.is_ascii_whitespace()
    })
    .filter(|word| !word.is_empty())
    .collect()
}

fn is_qualifier(word: &str) -> bool {
    matches!(word, "audit" | "allow" | "deny" | "owner") || word.starts_with("priority=")
}

/// Whether a rule can begin with the word, qualifiers aside (apparmor.d(5), COMMA RULES).
fn begins_rule(word: &str) -> bool {
    const KEYWORDS: [&str; 19] = [
        "all",
        "capability",
        "change_profile",
        "dbus",
        "file",
        "io_uring",
        "link",
        "mount",
        "mqueue",
        "network",
        "pivot_root",
        "ptrace",
        "remount",
        "set",
        "signal",
        "umount",
        "unix",
        "unmount",
        "userns",
    ];
    KEYWORDS.contains(&word) || is_path(word) || is_permissions(word)
}

fn is_path(word: &str) -> bool {
    let path = word.strip_prefix('"').unwrap_or(word);
    path.starts_with('/') || path.starts_with("@{")
}

fn is_permissions(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|letter| "mrwalkixpPcCuU".contains(letter))
}

/// What a rule says, as far as it concerns what a profile lets through as a whole.
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
    /// Files: the pattern without quotes, and letters for the permissions, such as `rw`, `ix` or `Px`.
    File {
        /// The pattern; all paths are `/**`.
        pattern: String,
        /// The permissions.
        permissions: String,
        /// The profile that an execution leads to, where the rule names one.
        target: Option<String>,
    },
    /// Capabilities by name; none means all of them.
    Capabilities(Vec<String>),
    /// Network access; whether an address family is named.
    Network {
        /// Whether it is.
        has_family: bool,
    },
    /// Something else.
    Other,
}

impl Rule {
    /// Reads one rule, as [`is_one_rule`] lets it through.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let all = words(text);
        let denies = all.iter().take_while(|word| is_qualifier(word)).any(|word| *word == "deny");
        let words: Vec<&str> = all.iter().copied().skip_while(|word| is_qualifier(word)).collect();
        Self { denies, subject: subject(&words) }
    }
}

fn subject(words: &[&str]) -> Subject {
    /// Everything that a bare `file,` grants (apparmor.d(5), file rules).
    const EVERYTHING: &str = "rwaklmix";
    let everything = |target: Option<String>| Subject::File {
        pattern: "/**".to_owned(),
        permissions: EVERYTHING.to_owned(),
        target,
    };
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    match words {
        ["file" | "all"] => everything(None),
        ["file", rest @ ..] => subject(rest),
        ["capability", names @ ..] => Subject::Capabilities(owned(names)),
        ["network", rest @ ..] => {
            // Types and protocols are no families.
            const TYPES: [&str; 9] = ["stream", "dgram", "seqpacket", "rdm", "raw", "packet", "tcp", "udp", "icmp"];
            let plain = rest.iter().filter(|word| !word.contains(['(', ')', '=', ',']));
            Subject::Network { has_family: plain.clone().any(|word| !TYPES.contains(word) || *word == "packet") }
        }
        [path, permissions, rest @ ..] if is_path(path) && is_permissions(permissions) => file(path, permissions, rest),
        [permissions, path, rest @ ..] if is_permissions(permissions) && is_path(path) => file(path, permissions, rest),
        _ => Subject::Other,
    }
}

fn file(path: &str, permissions: &str, rest: &[&str]) -> Subject {
    let target = match rest {
        ["->", target] => Some(unquote(target.as_bytes())),
        _ => None,
    };
    Subject::File { pattern: unquote(path.as_bytes()), permissions: permissions.to_owned(), target }
}
