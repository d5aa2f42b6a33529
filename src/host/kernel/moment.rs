//! What tells one state of the kernel's policy from every other, and what was seen in it.

use std::collections::BTreeMap;

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

/// What was seen of loaded profiles at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// When it was.
    pub moment: Moment,
    /// The hashes of the profiles that were looked at.
    pub hashes: BTreeMap<ProfileName, ShownHash>,
}

impl Sighting {
    /// The hash that a profile has `now`, if it was seen and nothing was loaded since.
    #[must_use]
    pub fn recall(&self, name: &ProfileName, now: &Moment) -> Option<ShownHash> {
        if *now == self.moment { self.hashes.get(name).copied() } else { None }
    }
}
