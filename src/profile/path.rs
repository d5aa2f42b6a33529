//! Places in the policy directory, and which of them the parser reads as profiles.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{BadName, deserialize_str};

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

serialize_as_checked_text!(FileName, "the name of a profile's file", FileName::new);
serialize_as_checked_text!(PolicyPath, "a path below the policy directory", PolicyPath::any);

#[cfg(test)]
mod tests {
    use super::*;

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
    fn parents_are_outermost_first() {
        let path = PolicyPath::any("a/b/c").unwrap();
        let parents: Vec<_> = path.parents().map(|p| p.to_string()).collect();
        assert_eq!(parents, ["a", "a/b"]);
    }
}
