//! The vocabulary of policy: file names, profile names, modes, digests.
//!
//! A profile's *name* (`mydaemon`, `/usr/bin/man//man_groff`) and the *file* that defines it (`usr.bin.man`) are
//! different things, and so different types: confusing them is the classic bug of this field.
//!
//! **Invariant:** a value of these types has passed the checks of its constructor; there is no other way to make one.

use std::borrow::Borrow;
use std::sync::Arc;
use std::{fmt, io};

use schemars::JsonSchema;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// Whether a character has no shape of its own and can change how the text around it is broken into lines or shown:
/// control characters, separators of lines and paragraphs, directions (Unicode's Bidi_Control) and invisible joiners.
/// None belongs into a text that people read before they trust it.
#[must_use]
pub fn is_unseen(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A SHA-256 digest; displayed and serialized as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The SHA-256 of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The SHA-256 of everything that `bytes` has to read.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of_all(mut bytes: impl io::Read) -> io::Result<Self> {
        let mut hasher = Sha256::new();
        let mut piece = [0; 1 << 15];
        loop {
            match bytes.read(&mut piece) {
                Ok(0) => return Ok(Self(hasher.finalize().into())),
                Ok(length) => hasher.update(&piece[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The SHA-256 of several parts. Each part is preceded by its length, so that no two lists of parts collide.
    #[must_use]
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// The digest's 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 64 hexadecimal digits, of either case.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        read_hex(text).map(Self)
    }
}

/// Writes two hexadecimal digits for each byte, as many as fit.
pub(crate) fn write_hex<'d>(bytes: &[u8], digits: &'d mut [u8]) -> &'d str {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut written = 0;
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
        written += 2;
    }
    std::str::from_utf8(&digits[..written]).unwrap_or_default()
}

/// Reads `N` bytes of two hexadecimal digits each, of either case.
pub(crate) fn read_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    /// The value of each byte as a digit; those that are none have high bits.
    const VALUES: [u8; 256] = {
        let mut values = [0xff; 256];
        let mut value = 0;
        while value < 16 {
            let digit = b"0123456789abcdef"[value as usize];
            values[digit as usize] = value;
            values[digit.to_ascii_uppercase() as usize] = value;
            value += 1;
        }
        values
    };
    let digits = text.as_bytes();
    let mut bytes = [0; N];
    let mut seen = 0;
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = (VALUES[usize::from(pair[0])], VALUES[usize::from(pair[1])]);
        seen |= high | low;
        *byte = high << 4 | low & 0xf;
    }
    (digits.len() == 2 * N && seen < 16).then_some(bytes)
}

/// Reads `N` bytes as [`read_hex`] from a string.
pub(crate) fn deserialize_hex<'de, D: Deserializer<'de>, const N: usize>(deserializer: D) -> Result<[u8; N], D::Error> {
    let what = "a digest in hexadecimal digits";
    deserialize_str(deserializer, what, |text| {
        read_hex(text).ok_or_else(|| format!("this digest has {} hexadecimal digits", 2 * N))
    })
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(write_hex(&self.0, &mut [0; 64]))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(write_hex(&self.0, &mut [0; 64]))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_hex(deserializer).map(Self)
    }
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

/// Endings of names that apparmor_parser skips when it reads a directory, besides `~`
/// (libapparmor `private.c`, `_aa_is_blacklisted`).
const SKIPPED_ENDINGS: [&str; 11] = [
    ".dpkg-new",
    ".dpkg-old",
    ".dpkg-dist",
    ".dpkg-bak",
    ".dpkg-remove",
    ".pacsave",
    ".pacnew",
    ".rpmnew",
    ".rpmsave",
    ".orig",
    ".rej",
];

/// Says whether apparmor_parser skips a directory's entry of this name: dot files, `README`, and what package
/// managers and `patch` leave behind. `.bak` and `.swp` files are read.
#[must_use]
pub fn is_skipped_by_parser(name: &str) -> bool {
    let ending = name.rfind('.').map(|dot| &name[dot..]);
    name.starts_with('.')
        || name == "README"
        || name.ends_with('~')
        || ending.is_some_and(|ending| SKIPPED_ENDINGS.contains(&ending))
}

fn check_component(component: &str) -> Result<(), BadName> {
    if component.is_empty() {
        return Err(BadName::because("a path's component is not empty"));
    }
    if component.len() > 255 {
        return Err(BadName::because("a path's component has at most 255 bytes"));
    }
    if component.contains('/') {
        return Err(BadName::because("it is one component, without `/`"));
    }
    let is_plain = component.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if !is_plain && component.chars().any(char::is_control) {
        return Err(BadName::because("it has no control characters"));
    }
    if is_skipped_by_parser(component) {
        return Err(BadName::because(
            "apparmor_parser skips names that start with `.` or end with `~`, `.dpkg-*`, `.rpm*`, `.pac*`, `.orig` or `.rej`, and `README`",
        ));
    }
    Ok(())
}

/// The directories that AppArmor keeps in the policy directory (apparmor.d(5), apparmor_parser(8)).
pub const DIRECTORIES: [&str; 8] =
    ["abi", "abstractions", "cache", "cache.d", DISABLE, FORCE_COMPLAIN, "local", "tunables"];

/// Those of them that hold what profiles include.
pub const INCLUDE_DIRECTORIES: [&str; 4] = ["abi", "abstractions", "local", "tunables"];

/// The name of a profile's file: one component at the top of the policy directory that apparmor_parser would read.
/// Clones share one text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(Arc<str>);

impl FileName {
    /// Checks `name`: one component, at most 255 bytes, no control characters, not a name that the parser skips, nor
    /// that of a directory which AppArmor itself keeps beside the profiles.
    ///
    /// # Errors
    /// The rule that the name breaks.
    pub fn new(name: impl Into<Arc<str>>) -> Result<Self, BadName> {
        let name = name.into();
        check_component(&name)?;
        if DIRECTORIES.contains(&&*name) {
            return Err(BadName::because(format!("`{name}` is a directory of AppArmor's own")));
        }
        Ok(Self(name))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Borrow<str> for FileName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for PolicyPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The directory of links that switch profiles off.
pub const DISABLE: &str = "disable";
/// The directory of links that put profiles into complain mode.
pub const FORCE_COMPLAIN: &str = "force-complain";

/// A place in the policy directory, relative to it: a profile's file (`usr.sbin.nginx`), an include
/// (`tunables/home.d/site`), or a link (`disable/usr.sbin.nginx`). Clones share one text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyPath(Arc<str>);

impl PolicyPath {
    /// Checks the path of an include file: at least one directory, every component as for [`FileName`], and not one
    /// of the parser's own places (`disable/`, `force-complain/`, `cache*/`).
    ///
    /// # Errors
    /// The rule that the path breaks.
    pub fn include(path: impl Into<Arc<str>>) -> Result<Self, BadName> {
        let path = Self::any(path)?;
        let Some((top, _)) = path.0.split_once('/') else {
            return Err(BadName::because(
                "it has at least one directory, as in `local/usr.sbin.nginx`; profiles go under `profiles`",
            ));
        };
        if top == DISABLE || top == FORCE_COMPLAIN {
            return Err(BadName::because(format!("`{top}/` holds links that the `mode` of a profile governs")));
        }
        if top.starts_with("cache") {
            return Err(BadName::because(format!("`{top}/` is a place of the parser's own cache")));
        }
        Ok(path)
    }

    /// Checks any relative path: components as for [`FileName`], at most 4096 bytes in all.
    ///
    /// # Errors
    /// The rule that the path breaks.
    pub fn any(path: impl Into<Arc<str>>) -> Result<Self, BadName> {
        let path = path.into();
        if path.len() > 4096 {
            return Err(BadName::because("a path has at most 4096 bytes"));
        }
        if path.starts_with('/') {
            return Err(BadName::because("it is relative to the policy directory, without a leading `/`"));
        }
        path.split('/').try_for_each(check_component)?;
        Ok(Self(path))
    }

    /// The link that switches `file` off.
    #[must_use]
    pub fn disable_link(file: &FileName) -> Self {
        Self([DISABLE, "/", file.as_str()].concat().into())
    }

    /// The link that puts `file` into complain mode.
    #[must_use]
    pub fn force_complain_link(file: &FileName) -> Self {
        Self([FORCE_COMPLAIN, "/", file.as_str()].concat().into())
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path as the name of a profile's file, if it is one: a single component.
    #[must_use]
    pub fn as_profile_file(&self) -> Option<FileName> {
        (!self.0.contains('/')).then(|| FileName(Arc::clone(&self.0)))
    }

    /// Whether this is a place in one of the directories of links that switch profiles; what stands there is no policy
    /// text.
    #[must_use]
    pub fn is_link(&self) -> bool {
        let directory = self.0.split_once('/').map(|(directory, _)| directory);
        matches!(directory, Some(DISABLE | FORCE_COMPLAIN))
    }

    /// Whether this is a directory of links that switch profiles. Nothing includes what stands in one.
    #[must_use]
    pub fn is_link_directory(&self) -> bool {
        matches!(&*self.0, DISABLE | FORCE_COMPLAIN)
    }

    /// Whether this is the place of the entry `name` in the directory `directory`.
    #[must_use]
    pub fn is_in(&self, directory: &str, name: &FileName) -> bool {
        let below = self.0.strip_prefix(directory).and_then(|rest| rest.strip_prefix('/'));
        below == Some(name.as_str())
    }

    /// The directories above the path, outermost first: `a/b/c` gives `a`, `a/b`.
    pub fn parents(&self) -> impl Iterator<Item = PolicyPath> + '_ {
        self.0.match_indices('/').map(|(at, _)| Self(self.0[..at].into()))
    }
}

impl From<&FileName> for PolicyPath {
    fn from(name: &FileName) -> Self {
        Self(Arc::clone(&name.0))
    }
}

impl fmt::Display for PolicyPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
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

macro_rules! serialize_as_checked_text {
    ($type:ty, $expected:literal, $constructor:path) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserialize_str(deserializer, $expected, |text| $constructor(text))
            }
        }
    };
}
serialize_as_checked_text!(FileName, "the name of a profile's file", FileName::new);
serialize_as_checked_text!(PolicyPath, "a path below the policy directory", PolicyPath::any);
serialize_as_checked_text!(Owner, "an owner's name", Owner::new);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_read_back_as_written() {
        let digest = Digest::of(b"policy");
        assert_eq!(Digest::from_hex(&digest.to_string()), Some(digest));
        assert_eq!(Digest::from_hex("abc"), None);
        assert_eq!(Digest::from_hex(&"g".repeat(64)), None);
    }

    #[test]
    fn parts_are_told_apart() {
        assert_ne!(Digest::of_parts([b"ab".as_slice(), b"c"]), Digest::of_parts([b"a".as_slice(), b"bc"]));
    }

    #[test]
    fn names_that_the_parser_skips_are_refused() {
        for name in [
            "",
            ".hidden",
            "..",
            "a/b",
            "README",
            "x~",
            "x.dpkg-old",
            "x.rpmnew",
            "x.orig",
            "x\n",
            "x\0",
            "abstractions",
            "disable",
        ] {
            assert!(FileName::new(name).is_err(), "{name:?}");
        }
        for name in ["usr.sbin.nginx", "x.bak", "x.swp", "with space", "größe", "README.md"] {
            assert!(FileName::new(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn include_paths_stay_out_of_the_parsers_places() {
        for path in [
            "top",
            "/local/x",
            "local/../x",
            "local//x",
            "disable/x",
            "force-complain/x",
            "cache/x",
            "cache.d/x",
            "local/.x",
        ] {
            assert!(PolicyPath::include(path).is_err(), "{path:?}");
        }
        for path in ["local/usr.sbin.nginx", "tunables/home.d/site", "abstractions/ssl_certs.d/x"] {
            assert!(PolicyPath::include(path).is_ok(), "{path:?}");
        }
    }

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

    #[test]
    fn parents_are_outermost_first() {
        let path = PolicyPath::any("a/b/c").unwrap();
        let parents: Vec<_> = path.parents().map(|p| p.to_string()).collect();
        assert_eq!(parents, ["a", "a/b"]);
    }
}
