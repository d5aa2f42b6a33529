//! What tells one state of the kernel's policy from another, and what is still known of profiles in a later one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::host::root::Identity;
use crate::policy::ShownHash;
use crate::profile::ProfileName;

/// One state of the kernel's policy. Two that are equal stand for the same policy in every namespace, seen or not: each
/// change moves a revision, and a counter that began anew belongs to another boot or another directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    /// The boot, as `/proc/sys/kernel/random/boot_id` names it. It is the machine's: a restarted system container has
    /// the same one and a fresh counter.
    pub boot: String,
    /// The current policy namespace.
    pub current: NamespaceMoment,
    /// Every policy namespace below it, by its path of names separated by `//`; each counts for itself.
    pub below: BTreeMap<String, NamespaceMoment>,
}

impl Moment {
    /// The moment after one more change of our own to `namespace`. A namespace that the change itself made is not
    /// known yet, and its moment is found by looking.
    pub(crate) fn advance(&mut self, namespace: Option<&str>) {
        let changed = match namespace {
            None => Some(&mut self.current),
            Some(namespace) => self.below.get_mut(namespace),
        };
        if let Some(changed) = changed {
            changed.revision += 1;
        }
    }

    /// Whether a namespace is the very one that it was `earlier`, whatever was loaded since.
    fn continues(&self, earlier: &Self, namespace: Option<&str>) -> bool {
        let (Some(now), Some(then)) = (self.of(namespace), earlier.of(namespace)) else { return false };
        let is_same = (&now.name, now.directory) == (&then.name, then.directory);
        self.boot == earlier.boot && is_same && now.revision >= then.revision
    }

    fn of(&self, namespace: Option<&str>) -> Option<&NamespaceMoment> {
        namespace.map_or(Some(&self.current), |namespace| self.below.get(namespace))
    }
}

/// One state of one policy namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamespaceMoment {
    /// The namespace's own name.
    pub name: String,
    /// Its directory, which another namespace of the same name would not have.
    pub directory: Identity,
    /// The number of changes to its policy so far.
    pub revision: u64,
}

/// Where the kernel shows a profile, and the set of compiled policy that it was loaded with. A profile of which both are
/// as they were is the same: within a namespace's life, no other profile gets this directory, whose number counts up,
/// and no other set this name, which is the revision that it was loaded at (security/apparmor/apparmorfs.c,
/// `__aafs_profile_mkdir` and `__aa_fs_create_rawdata`). Only bytes that equal a set which is still kept are taken for
/// it (policy.c, `aa_replace_profiles`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The profile's directory, below that of its namespace.
    pub directory: Arc<Path>,
    /// The set's name.
    pub set: u64,
}

/// What was seen of loaded profiles at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// When it was.
    pub moment: Moment,
    /// The profiles that were looked at.
    pub profiles: BTreeMap<ProfileName, Sight>,
}

/// What was seen of a loaded profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// Its hash.
    pub hash: ShownHash,
    /// Where it came from, if the kernel tells.
    pub origin: Option<Origin>,
}

impl Sighting {
    /// What is known of a profile `now`: what was seen, if nothing was loaded since, or if it still `stands` where it
    /// stood and came from where it came from.
    pub fn recall(&self, name: &ProfileName, now: &Moment, stands: impl FnOnce(&Origin) -> bool) -> Option<&Sight> {
        let sight = self.profiles.get(name)?;
        let is_same = *now == self.moment
            || now.continues(&self.moment, name.namespace.as_deref()) && sight.origin.as_ref().is_some_and(stands);
        is_same.then_some(sight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(namespace: Option<&str>, name: &str) -> ProfileName {
        ProfileName { namespace: namespace.map(str::to_owned), name: name.to_owned() }
    }

    #[test]
    fn a_profile_is_recalled_where_it_came_from_in_the_namespace_that_it_was_in() {
        let moment = |boot: &str, inode, revision| {
            let current = NamespaceMoment { name: "root".to_owned(), directory: Identity::new(1, inode), revision };
            Moment { boot: boot.to_owned(), below: [("n".to_owned(), current.clone())].into(), current }
        };
        let origin = Origin { directory: Path::new("profiles/a.0").into(), set: 3 };
        let sight = |origin| Sight { hash: ShownHash::Sha1([1; 20]), origin };
        let profiles = [
            (name(None, "a"), sight(Some(origin.clone()))),
            (name(Some("n"), "a"), sight(Some(origin.clone()))),
            (name(None, "unkept"), sight(None)),
        ];
        let seen = Sighting { moment: moment("x", 2, 4), profiles: profiles.into() };
        let recalled = |name: &ProfileName, now: &Moment, stands: bool| {
            let sight = seen.recall(name, now, |known| {
                assert_eq!(*known, origin);
                stands
            });
            sight.is_some()
        };
        for own in [name(None, "a"), name(Some("n"), "a")] {
            assert!(recalled(&own, &seen.moment, false), "nothing was loaded: there is nothing to ask");
            assert!(recalled(&own, &moment("x", 2, 5), true));
            assert!(!recalled(&own, &moment("x", 2, 5), false), "it was replaced");
            for other in [moment("y", 2, 5), moment("x", 3, 5), moment("x", 2, 3)] {
                assert!(!recalled(&own, &other, true), "numbers of another boot or directory tell nothing");
            }
        }
        assert!(recalled(&name(None, "unkept"), &seen.moment, true));
        assert!(!recalled(&name(None, "unkept"), &moment("x", 2, 5), true));
        assert!(!recalled(&name(Some("m"), "a"), &seen.moment, true), "it was never seen");
        let gone = Moment { below: BTreeMap::new(), ..moment("x", 2, 5) };
        assert!(!recalled(&name(Some("n"), "a"), &gone, true));
    }
}
