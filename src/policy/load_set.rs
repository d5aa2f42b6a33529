//! What one write to the kernel loads, all or nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::{CompiledProfile, Malformed, profiles};
use crate::profile::ProfileName;

/// Profiles of one namespace, concatenated for one write to the kernel's `.replace`.
///
/// **Invariant:** it holds at least one profile and no name twice, every header names the namespace, and a parent
/// stands before its hats and children: the kernel refuses a child whose parent is neither loaded nor earlier in the
/// set (ENOENT), and after a child before its parent Linux 6.1 goes on to refuse every load of other bytes into that
/// namespace (EEXIST), until its revision moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadSet {
    namespace: Option<String>,
    bytes: Vec<u8>,
    profiles: Vec<CompiledProfile>,
}

/// Why blobs cannot be loaded together. A blob is told by its place in the list that was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unloadable {
    /// A blob cannot be read.
    #[error("{source}")]
    Malformed {
        /// Which blob.
        blob: usize,
        /// What is wrong with it.
        source: Malformed,
    },
    /// Two profiles have one name. The kernel would crash, or keep one of them.
    #[error("the profile `{name}` is defined twice")]
    Repeated {
        /// The name that both have.
        name: ProfileName,
        /// The blob that defines it first.
        first: usize,
        /// The blob that defines it again, which may be the same.
        again: usize,
    },
    /// The kernel would run it under another name.
    #[error("the kernel strips the white space from the ends of the name `{name}`, so that nothing finds it again")]
    Stripped {
        /// The blob that defines it.
        blob: usize,
        /// Its name.
        name: ProfileName,
    },
    /// The kernel makes a policy namespace only directly below the current one: it takes the whole of the name for that
    /// of a directory, and refuses it with EACCES (security/apparmor/policy_ns.c, `aa_prepare_ns`).
    #[error("`{name}` is for a policy namespace inside of another one, which the kernel cannot load from here")]
    Nested {
        /// The blob that defines it.
        blob: usize,
        /// Its name.
        name: ProfileName,
    },
}

/// Whether the kernel takes white space off a name (security/apparmor/include/lib.h, `basename`, by lib/string.c,
/// `strim`). It takes the byte 0xA0 for white space, too (lib/ctype.c), with which `à` ends in UTF-8.
fn is_stripped(name: &str) -> bool {
    let is_space = |byte: &u8| matches!(byte, b'\t'..=b'\r' | b' ' | 0xa0);
    name.as_bytes().first().is_some_and(is_space) || name.as_bytes().last().is_some_and(is_space)
}

impl LoadSet {
    /// Puts the profiles of `blobs` into one set for each namespace, the current namespace first.
    ///
    /// # Errors
    /// Every blob that cannot be read, every name that occurs twice, and every name that no kernel loads.
    pub fn build<B: AsRef<[u8]>>(blobs: &[B]) -> Result<Vec<Self>, Vec<Unloadable>> {
        let mut problems = Vec::new();
        let mut defined_in = BTreeMap::new();
        let mut found = Vec::new();
        for (index, blob) in blobs.iter().enumerate() {
            let blob = blob.as_ref();
            match profiles(blob) {
                Ok(profiles) => found.extend(profiles.into_iter().map(|profile| (index, blob, profile))),
                Err(source) => problems.push(Unloadable::Malformed { blob: index, source }),
            }
        }
        for (index, _, profile) in &found {
            if let Some(first) = defined_in.insert(profile.name.clone(), *index) {
                problems.push(Unloadable::Repeated { name: profile.name.clone(), first, again: *index });
            }
            if is_stripped(&profile.name.name) {
                problems.push(Unloadable::Stripped { blob: *index, name: profile.name.clone() });
            }
            if profile.name.namespace.as_deref().is_some_and(|namespace| namespace.contains('/')) {
                problems.push(Unloadable::Nested { blob: *index, name: profile.name.clone() });
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }

        found.sort_by_key(|(_, _, profile)| profile.name.depth());
        let mut sets = BTreeMap::new();
        for (index, blob, profile) in found {
            let namespace = profile.name.namespace.clone();
            let set = sets.entry(namespace.clone()).or_insert_with(|| Self {
                namespace,
                bytes: Vec::new(),
                profiles: Vec::new(),
            });
            if !set.push(blob, profile) {
                let why = "the profile's bytes cannot be cut out".to_owned();
                problems.push(Unloadable::Malformed { blob: index, source: Malformed { at: 0, why } });
            }
        }
        if problems.is_empty() { Ok(sets.into_values().collect()) } else { Err(problems) }
    }

    fn push(&mut self, blob: &[u8], profile: CompiledProfile) -> bool {
        let Some(cut) = profile.cut(blob) else { return false };
        let start = self.bytes.len();
        self.bytes.extend(cut);
        self.profiles.push(CompiledProfile { range: start..self.bytes.len(), ..profile });
        true
    }

    /// The same profiles in two sets of about half the bytes each, hats and children with their parents; `None` where
    /// there is only one such family.
    #[must_use]
    pub fn halves(&self) -> Option<[Self; 2]> {
        let family = |profile: &CompiledProfile| profile.name.name.split("//").next().unwrap_or_default().to_owned();
        let mut sizes: BTreeMap<String, usize> = BTreeMap::new();
        for profile in &self.profiles {
            *sizes.entry(family(profile)).or_default() += profile.range.len();
        }
        let mut taken = 0;
        let mut first = BTreeSet::new();
        for (family, size) in &sizes {
            if !first.is_empty() && (taken + size) * 2 > self.bytes.len() {
                break;
            }
            taken += size;
            first.insert(family.clone());
        }
        if first.len() == sizes.len() {
            return None;
        }
        let half = |wanted: bool| {
            let mut half = Self { namespace: self.namespace.clone(), bytes: Vec::new(), profiles: Vec::new() };
            for profile in self.profiles.iter().filter(|profile| first.contains(&family(profile)) == wanted) {
                let start = half.bytes.len();
                half.bytes.extend_from_slice(&self.bytes[profile.range.clone()]);
                half.profiles.push(CompiledProfile { range: start..half.bytes.len(), ..profile.clone() });
            }
            half
        };
        Some([half(true), half(false)])
    }

    /// The namespace that the set goes to; `None` is the current one.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// What to write, in one write.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The profiles of the set; their ranges are in [`LoadSet::bytes`].
    #[must_use]
    pub fn profiles(&self) -> &[CompiledProfile] {
        &self.profiles
    }

    /// The parents that must be loaded already for the kernel to take the set: those of hats and children, less those
    /// in the set.
    #[must_use]
    pub fn missing_parents(&self) -> BTreeSet<ProfileName> {
        let parent = |profile: &CompiledProfile| {
            let (parent, _) = profile.name.name.rsplit_once("//")?;
            Some(ProfileName { namespace: self.namespace.clone(), name: parent.to_owned() })
        };
        let mut missing: BTreeSet<_> = self.profiles.iter().filter_map(parent).collect();
        for profile in &self.profiles {
            missing.remove(&profile.name);
        }
        missing
    }
}
