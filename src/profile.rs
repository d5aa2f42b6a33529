//! The vocabulary of policy: file names, profile names, modes, digests.
//!
//! A profile's *name* (`mydaemon`, `/usr/bin/man//man_groff`) and the *file* that defines it (`usr.bin.man`) are
//! different things, and so different types: confusing them is the classic bug of this field.
//!
//! **Invariant:** a value of these types has passed the checks of its constructor; there is no other way to make one.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Has a type be written as its text, and read through its constructor.
macro_rules! serialize_as_checked_text {
    ($type:ty, $expected:literal, $constructor:path) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserialize_str(deserializer, $expected, |text| $constructor(text))
            }
        }
    };
}

mod digest;
mod path;

pub use digest::Digest;
pub(crate) use digest::{deserialize_hex, read_hex, write_hex};
pub use path::{DIRECTORIES, DISABLE, FORCE_COMPLAIN, FileName, INCLUDE_DIRECTORIES, PolicyPath, is_skipped_by_parser};

/// Whether a character has no shape of its own and can change how the text around it is broken into lines or shown:
/// control characters, separators of lines and paragraphs, directions (Unicode's Bidi_Control) and invisible joiners.
/// None belongs into a text that people read before they trust it.
#[must_use]
pub fn is_unseen(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Why a string is not a [`FileName`], [`PolicyPath`] or [`Owner`]; displayed as the rule that it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadName(String);

impl BadName {
    fn because(rule: impl Into<String>) -> Self {
        Self(rule.into())
    }
}

/// A name as the kernel knows a profile: `mydaemon`, `/usr/bin/man//man_groff`, with its policy namespace if it has
/// one. Displayed as AppArmor writes it, `:namespace://name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProfileName {
    /// The policy namespace below the current one; `None` is the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The full name, parents included and separated by `//`.
    pub name: String,
}

impl ProfileName {
    /// A name in the current namespace.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { namespace: None, name: name.into() }
    }

    /// Reads a name as the kernel writes it: `name`, `:namespace:name` or `:namespace://name` (`security/apparmor/lib.c`,
    /// `aa_splitn_fqname`). `None` if the name or the namespace is empty.
    #[must_use]
    pub fn parse(full: &str) -> Option<Self> {
        let (namespace, name) = Self::split(full)?;
        Some(Self { namespace: namespace.map(str::to_owned), name: name.to_owned() })
    }

    /// Splits a name as [`ProfileName::parse`] reads it.
    #[must_use]
    pub fn split(full: &str) -> Option<(Option<&str>, &str)> {
        let (namespace, name) = match full.strip_prefix(':') {
            None => (None, full),
            Some(rest) => {
                let (namespace, name) = rest.split_once(':')?;
                (Some(namespace), name.strip_prefix("//").unwrap_or(name))
            }
        };
        (!name.is_empty() && namespace != Some("")).then_some((namespace, name))
    }

    /// Says whether this is `ancestor` itself, or one of its hats and children at any depth.
    #[must_use]
    pub fn is_within(&self, ancestor: &Self) -> bool {
        self.namespace == ancestor.namespace
            && self.name.strip_prefix(&ancestor.name).is_some_and(|rest| rest.is_empty() || rest.starts_with("//"))
    }

    /// How many parents the name has: `a` has none, `a//b` one.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.name.matches("//").count()
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(out, ":{namespace}://{}", self.name),
            None => out.write_str(&self.name),
        }
    }
}

/// What AppArmor does with an access that a profile does not allow (apparmor.d(5), "profile flags").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Deny it and log it.
    Enforce,
    /// Allow it and log it; explicit `deny` rules still deny, silently.
    Complain,
    /// Deny it, log it, and kill the process.
    Kill,
    /// Allow everything; the profile only marks its processes.
    Unconfined,
    /// Ask a daemon in user space (AppArmor 4 and later).
    Prompt,
    /// Allow what no rule denies (AppArmor 4 and later).
    DefaultAllow,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Mode; 6] =
        [Self::Enforce, Self::Complain, Self::Kill, Self::Unconfined, Self::Prompt, Self::DefaultAllow];

    /// The word that stands for the mode in a profile's flags. A profile without any is in enforce mode; the word
    /// `enforce` itself is accepted by the parser too.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Complain => "complain",
            Self::Kill => "kill",
            Self::Unconfined => "unconfined",
            Self::Prompt => "prompt",
            Self::DefaultAllow => "default_allow",
        }
    }

    /// The mode that a flag's word stands for.
    #[must_use]
    pub fn from_flag(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.flag() == word)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.flag())
    }
}

/// Which headers a mode applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModeScope {
    /// Headers in enforce or complain mode; those written as `unconfined`, `default_allow`, `prompt` or `kill` keep theirs.
    #[default]
    EnforceAndComplain,
    /// Every header.
    All,
}

/// Who claims a path: the name that a document gives for itself. Clones share one text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(Arc<str>);

impl Owner {
    /// Checks an owner's name: 1 to 128 ASCII letters, digits, `.`, `_`, `-`, `/`, `:` or `@`.
    ///
    /// # Errors
    /// The rule that the name breaks.
    pub fn new(name: impl Into<Arc<str>>) -> Result<Self, BadName> {
        let name = name.into();
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
        if name.is_empty() || name.len() > 128 || !name.chars().all(allowed) {
            return Err(BadName::because("an owner's name has 1 to 128 of the characters A-Z a-z 0-9 . _ - / : @"));
        }
        Ok(Self(name))
    }

    /// A name for who claims nothing. Nothing keeps a document from using it, too.
    pub(crate) fn nobody() -> Self {
        Self("nobody".into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Reads a string where it stands, without a copy of it, through `read`.
pub(crate) fn deserialize_str<'de, D, T, E, F>(deserializer: D, expected: &'static str, read: F) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    E: fmt::Display,
    F: FnOnce(&str) -> Result<T, E>,
{
    struct Reads<F>(&'static str, F);
    impl<T, E: fmt::Display, F: FnOnce(&str) -> Result<T, E>> Visitor<'_> for Reads<F> {
        type Value = T;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str(self.0)
        }

        fn visit_str<R: de::Error>(self, text: &str) -> Result<T, R> {
            (self.1)(text).map_err(R::custom)
        }
    }
    deserializer.deserialize_str(Reads(expected, read))
}

serialize_as_checked_text!(Owner, "an owner's name", Owner::new);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_names_read_back_as_the_kernel_writes_them() {
        let in_namespace = ProfileName { namespace: Some("n".to_owned()), name: "a//b c".to_owned() };
        for text in [":n:a//b c", ":n://a//b c", &in_namespace.to_string()] {
            assert_eq!(ProfileName::parse(text).as_ref(), Some(&in_namespace), "{text}");
        }
        assert_eq!(ProfileName::parse("/usr/bin/x"), Some(ProfileName::new("/usr/bin/x")));
        for text in ["", ":n", ":n:", ":n://", "::a"] {
            assert_eq!(ProfileName::parse(text), None, "{text}");
        }
    }
}
