//! The values that stand in rules, each checked against the way in which AppArmor reads it.

use std::fmt;

use serde::Serialize;

use super::{Class, MAX_VALUE};
use crate::profile::is_unseen;
use crate::syntax::{self, ESCAPABLE};

/// Why a text is not the value that it should be; displayed as the rule that it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadValue(String);

impl BadValue {
    /// The rule that is broken.
    #[must_use]
    pub fn because(rule: impl Into<String>) -> Self {
        Self(rule.into())
    }
}

fn because<T>(rule: impl Into<String>) -> Result<T, BadValue> {
    Err(BadValue(rule.into()))
}

/// Defines newtypes of checked texts.
macro_rules! texts {
    ($($(#[doc = $doc:literal])+ $name:ident)+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
            #[serde(transparent)]
            pub struct $name(String);

            impl $name {
                /// The text as it was given.
                #[must_use]
                pub fn as_str(&self) -> &str {
                    &self.0
                }
            }

            impl fmt::Display for $name {
                fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                    out.write_str(&self.0)
                }
            }
        )+
    };
}

texts! {
    /// Paths as a rule names them: one path, or a pattern with wildcards, classes, alternations and variables.
    PathPattern
    /// The path of one program.
    Program
    /// A name of files below /tmp and /var/tmp that nobody else uses by chance.
    TemporaryName
    /// The name of a profile.
    Label
    /// The name of a class of the document's own.
    ClassName
    /// The name of a file in `abi/`, which lists the features that a profile is written for.
    AbiName
    /// A rule as AppArmor writes it.
    RuleText
}

fn check_text(text: &str) -> Result<(), BadValue> {
    if text.is_empty() {
        return because("it is not empty");
    }
    if text.len() > MAX_VALUE {
        return because(format!("it has at most {MAX_VALUE} bytes"));
    }
    if text.chars().any(is_unseen) {
        return because(
            "it has no control characters, line breaks above all, and none that change how the rest is shown",
        );
    }
    Ok(())
}

fn check_components(path: &str) -> Result<(), BadValue> {
    if path.contains("//") || path.split('/').any(|component| component == "." || component == "..") {
        return because("it has no empty components, `.` and `..`: the kernel resolves them before it asks AppArmor");
    }
    Ok(())
}

impl PathPattern {
    /// Checks a pattern: absolute, or beginning with a variable; no quotes; braces, brackets and variables as
    /// apparmor_parser accepts them.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn new(pattern: impl Into<String>) -> Result<Self, BadValue> {
        let pattern = pattern.into();
        check_text(&pattern)?;
        if !pattern.starts_with('/') && variable_at(&pattern).is_none() {
            return because("an absolute path, or one that begins with a variable such as @{HOME}");
        }
        check_components(&pattern)?;
        check_pattern(&pattern)?;
        Ok(Self(pattern))
    }

    /// The pattern that matches this program alone.
    #[must_use]
    pub fn of_program(program: &Program) -> Self {
        Self(program.0.clone())
    }

    /// The pattern of what is named, and of everything below it. What ends with a wildcard is as it was written; what
    /// ends with a variable is a directory, for the values of AppArmor's own end with a slash.
    #[must_use]
    pub fn with_contents(&self) -> Self {
        let last = self.0.rsplit('/').next().unwrap_or_default();
        let ends_with_variable = last.rfind("@{").is_some_and(|at| last[at..].find('}') == Some(last.len() - at - 1));
        let is_wildcard = |end: &str| last.ends_with(end) && !last.ends_with(&format!("\\{end}"));
        if last.is_empty() {
            Self(format!("{}{{,**}}", self.0))
        } else if ends_with_variable {
            Self(format!("{}/{{,**}}", self.0))
        } else if ["*", "?", "]"].into_iter().any(is_wildcard) {
            self.clone()
        } else {
            Self(format!("{}{{,/**}}", self.0))
        }
    }

    /// What of it is written out, up to its last whole component: the path itself where it has nothing that means
    /// something in a pattern; none where it begins with a variable, or with a wildcard below the root.
    #[must_use]
    pub fn written_out(&self) -> Option<&str> {
        let end = self.0.find(|letter| "*?[]{}\\@".contains(letter)).unwrap_or(self.0.len());
        let whole = if end == self.0.len() { end } else { self.0[..end].rfind('/')? };
        Some(self.0[..whole].trim_end_matches('/')).filter(|path| !path.is_empty())
    }

    /// The same pattern with [`Self::written_out`] replaced by what that leads to.
    ///
    /// # Errors
    /// The path that it leads to cannot stand in a pattern.
    pub fn led_to(&self, target: &str) -> Result<Self, BadValue> {
        let rest = self.written_out().map_or("", |path| &self.0[path.len()..]);
        let mut pattern = String::with_capacity(target.len() + rest.len());
        for letter in target.trim_end_matches('/').chars() {
            if ESCAPABLE.contains(letter) && letter != ',' {
                pattern.push('\\');
            }
            pattern.push(letter);
        }
        Self::new(pattern + rest)
    }

    /// Whether it names one path: without wildcards, classes, alternations, escapes and variables.
    #[must_use]
    pub fn as_program(&self) -> Option<Program> {
        Program::new(self.0.as_str()).ok()
    }

    /// The names of the variables in it.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices("@{").filter_map(|(at, _)| variable_at(&self.0[at..]))
    }
}

/// The name of the variable that a text begins with.
fn variable_at(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix("@{")?.split_once('}')?;
    let mut letters = name.chars();
    let well_formed = letters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    well_formed.then_some(name)
}

/// Checks what means something in a pattern (parser_regex.c, convert_aaregex_to_pcre; parser_lex.l).
fn check_pattern(pattern: &str) -> Result<(), BadValue> {
    /// As many alternations as apparmor_parser nests, less those that rendering adds (parser_regex.c, MAX_ALT_DEPTH).
    const DEEPEST: usize = 40;
    // How many commas each open alternation has.
    let mut open: Vec<usize> = Vec::new();
    let mut rest = pattern;
    while let Some(letter) = rest.chars().next() {
        let after = &rest[letter.len_utf8()..];
        let mut length = letter.len_utf8();
        match letter {
            '"' => return because("it has no quotes"),
            '\\' => match after.chars().next() {
                Some(escaped) if ESCAPABLE.contains(escaped) => length += 1,
                _ => {
                    return because(format!(
                        "as AppArmor reads it, a backslash stands before one of the characters {ESCAPABLE}"
                    ));
                }
            },
            '@' if after.starts_with('{') => match variable_at(rest) {
                Some(name) => length = name.len() + "@{}".len(),
                None => {
                    return because("as AppArmor reads it, a variable is written @{NAME}, of letters, digits and _");
                }
            },
            '[' => match after.find(']') {
                Some(end) => {
                    check_class(&after[..end])?;
                    length += end + 1;
                }
                None => return because("as AppArmor reads it, every [ has its ]"),
            },
            ']' => return because("as AppArmor reads it, every ] has its ["),
            '{' if open.len() == DEEPEST => {
                return because(format!("as AppArmor reads it, braces nest at most {DEEPEST} deep"));
            }
            '{' => open.push(0),
            ',' => {
                if let Some(commas) = open.last_mut() {
                    *commas += 1;
                }
            }
            '}' => match open.pop() {
                Some(0) => return because("as AppArmor reads it, braces hold at least two alternatives, as in {a,b}"),
                Some(_) => {}
                None => return because("as AppArmor reads it, every } has its {"),
            },
            _ => {}
        }
        rest = &rest[length..];
    }
    if open.is_empty() { Ok(()) } else { because("as AppArmor reads it, every { has its }") }
}

/// Checks what stands between brackets. What apparmor_parser's versions may read differently is left out.
fn check_class(class: &str) -> Result<(), BadValue> {
    let members = class.strip_prefix('^').unwrap_or(class).as_bytes();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b" _.,:+=@%~-".contains(byte);
    // The parser takes a hyphen at the end for a range that lacks its end; at the beginning it is one of the class.
    let ranges_are_ordered =
        members.windows(3).all(|three| three[1] != b'-' || three[0] <= three[2]) && members.last() != Some(&b'-');
    // Versions of the parser differ on whether a class of one character is a wildcard, which decides between programs
    // that are executed in different ways.
    if members.is_empty()
        || class.len() == 1
        || !members.iter().all(plain)
        || !ranges_are_ordered
        || class.contains("@{")
    {
        return because(
            "as AppArmor reads it, brackets hold a class such as [a-z0-9_] or [^.], of two or more letters, digits and plain punctuation",
        );
    }
    Ok(())
}

impl Program {
    /// Checks the path of one program: absolute, without wildcards, variables, quotes and backslashes.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn new(path: impl Into<String>) -> Result<Self, BadValue> {
        let path = path.into();
        check_text(&path)?;
        if !path.starts_with('/') || path.ends_with('/') {
            return because("the absolute path of a program");
        }
        check_components(&path)?;
        if path.contains(['"', '\\', '*', '?', '[', ']', '{', '}', '^']) {
            return because("the path of one program, without quotes, backslashes, wildcards, brackets and variables");
        }
        Ok(Self(path))
    }

    /// The last component of the path.
    #[must_use]
    pub fn base_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The name that a profile's file for this program has by custom: the path with `.` for `/`.
    #[must_use]
    pub fn file_name(&self) -> String {
        self.0.trim_start_matches('/').replace('/', ".")
    }
}

impl TemporaryName {
    /// How many letters begin a name before its first wildcard.
    pub const LITERAL: usize = 3;

    /// Checks a name below /tmp: one component that begins with at least three plain characters.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn new(name: impl Into<String>) -> Result<Self, BadValue> {
        let name = name.into();
        check_text(&name)?;
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
        if name.contains("@{") || name.contains("**") {
            return because("one name below /tmp, without variables and **, such as report-exporter-*");
        }
        if name.contains('/')
            || name.starts_with('.')
            || name.chars().take_while(|letter| plain(*letter)).count() < Self::LITERAL
        {
            return because(
                "one name below /tmp that begins with at least three letters, digits, _ or -, such as report-exporter-*",
            );
        }
        check_pattern(&name)?;
        Ok(Self(name))
    }

    /// The paths of this name.
    #[must_use]
    pub fn pattern(&self) -> PathPattern {
        PathPattern(format!("/{{,var/}}tmp/{}", self.0)).with_contents()
    }
}

impl Label {
    /// Checks the name of a profile: 1 to 255 ASCII letters, digits, `.`, `_`, `+`, `-` and `/`, beginning with a
    /// letter, a digit or `/`.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn new(name: impl Into<String>) -> Result<Self, BadValue> {
        let name = name.into();
        let first = |letter: char| letter.is_ascii_alphanumeric() || letter == '/';
        if !name.starts_with(first)
            || name.len() > 255
            || !name.chars().all(|letter| first(letter) || "._+-".contains(letter))
        {
            return because("1 to 255 of the characters A-Z a-z 0-9 . _ + - /, beginning with a letter, a digit or /");
        }
        Ok(Self(name))
    }

    /// Checks the name of a profile that is not another's: as [`Self::new`], without `/`, and not `unconfined`.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn own(name: impl Into<String>) -> Result<Self, BadValue> {
        let label = Self::new(name)?;
        if label.0.contains('/') || label.0 == "unconfined" {
            return because("a name of its own, without `/`; `unconfined` is none");
        }
        Ok(label)
    }
}

impl ClassName {
    /// Checks the name of a class: a small letter, then up to 62 small letters, digits and `-`; not a built-in class.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn new(name: impl Into<String>) -> Result<Self, BadValue> {
        let name = name.into();
        let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        if !name.starts_with(|first: char| first.is_ascii_lowercase()) || name.len() > 63 || !name.chars().all(plain) {
            return because("a small letter, then up to 62 small letters, digits and -");
        }
        if Class::WORDS.iter().any(|(word, _)| *word == name) {
            return because("a name that no built-in class has");
        }
        Ok(Self(name))
    }
}

impl AbiName {
    /// Checks the name of an abi: 1 to 64 ASCII letters, digits, `.`, `_` and `-`, beginning with a letter or a digit.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn new(name: impl Into<String>) -> Result<Self, BadValue> {
        let name = name.into();
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
        if !name.starts_with(|first: char| first.is_ascii_alphanumeric()) || name.len() > 64 || !name.chars().all(plain)
        {
            return because("the name of a file in abi/, such as 3.0 or 4.0");
        }
        Ok(Self(name))
    }

    /// Whether rules can tell what is done with a socket: since AppArmor 4.0 (apparmor.d(5), network rules).
    #[must_use]
    pub fn tells_socket_operations(&self) -> bool {
        let major = self.0.split('.').next().and_then(|major| major.parse::<u32>().ok());
        major.is_some_and(|major| major >= 4)
    }
}

impl Default for AbiName {
    /// `3.0`, which every AppArmor since 2020 has: the same policy means the same on every host, whatever else it knows.
    fn default() -> Self {
        Self("3.0".to_owned())
    }
}

impl RuleText {
    /// Checks a rule: one line with exactly one rule, its comma included, or one include.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn new(rule: impl Into<String>) -> Result<Self, BadValue> {
        let rule = rule.into();
        check_text(&rule)?;
        if rule.starts_with(' ') || rule.ends_with(' ') {
            return because("it neither begins nor ends with a space");
        }
        syntax::check_rule(&rule).map_err(BadValue::because)?;
        Ok(Self(rule))
    }

    /// The file that it includes, if it is an include.
    #[must_use]
    pub fn included(&self) -> Option<&str> {
        self.0.split_once('<').map(|(_, name)| name.trim_end_matches('>')).filter(|_| self.is_include())
    }

    /// Whether it is an include, which needs no comma.
    #[must_use]
    pub fn is_include(&self) -> bool {
        !self.0.ends_with(',')
    }
}
