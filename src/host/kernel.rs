//! The kernel's policy: what is loaded, loading and removing it, and who runs under it.
//!
//! [`Kernel`] is the one door to it. Its callers know nothing of securityfs; its implementations know nothing of
//! documents, plans and files.
//!
//! **Invariant:** profiles are loaded as a whole [`LoadSet`] or not at all, and removed one by one, by name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::policy::{KernelHash, LoadSet, ShownHash};
use crate::profile::{Mode, ProfileName};

mod access;
#[cfg(test)]
pub(crate) mod fake;
mod files;
mod moment;
mod processes;
mod securityfs;

pub use access::Access;
pub use moment::{Moment, NamespaceMoment, Sighting};
pub use securityfs::Securityfs;

/// The kernel's policy, as seen from the current policy namespace.
pub trait Kernel: Send + Sync {
    /// What policy may be compiled for: the kernel's features in the form that `aa-features-abi -x` writes and
    /// `apparmor_parser --kernel-features` reads.
    ///
    /// # Errors
    /// They cannot be read.
    fn features(&self) -> Result<Vec<u8>, Error>;

    /// The kernel's release, such as `6.12.48+deb13-amd64` (uname(2)); none if it does not tell.
    fn release(&self) -> Option<String>;

    /// Looks at everything that is loaded, once. Hashes are told of the profiles in `ours` only: docker, libvirt and
    /// snapd may have loaded hundreds more. Those that were `seen` are not read again if nothing was loaded since.
    ///
    /// A foreign profile whose name is not UTF-8 cannot be ours and is left out.
    ///
    /// # Errors
    /// There is no policy to be managed here, or it cannot be read.
    fn observe(&self, ours: &BTreeSet<ProfileName>, seen: Option<&Sighting>) -> Result<KernelState, Error>;

    /// Fetches the compiled bytes of those of `names` that are loaded, each cut out of the set that it came in, so
    /// that they can be loaded again. After a replace or a remove they are gone.
    ///
    /// # Errors
    /// The bytes are there and cannot be read.
    fn saved(&self, names: &BTreeSet<ProfileName>) -> Result<Vec<SavedProfile>, Error>;

    /// Loads the set in one write, in place of what has the same names. Hats and children that the set lacks stay.
    ///
    /// # Errors
    /// Nothing of the set was loaded, unless the write was [short](Cause::Short).
    fn replace(&mut self, set: &LoadSet) -> Result<(), KernelFailure>;

    /// Removes a profile with its hats and children. Processes that run under any of these are unconfined from then
    /// on, even if the profile is loaded again.
    ///
    /// # Errors
    /// Nothing was removed.
    fn remove(&mut self, name: &ProfileName) -> Result<(), KernelFailure>;

    /// Lists the running processes, confined or not, by number. Threads of the kernel itself are none.
    ///
    /// # Errors
    /// Processes cannot be listed. One that ends meanwhile is left out.
    fn processes(&self) -> Result<Vec<Process>, Error>;

    /// Lists the running processes that the removal of `names` would unconfine.
    ///
    /// # Errors
    /// As for [`Kernel::processes`].
    fn confined(&self, names: &BTreeSet<ProfileName>) -> Result<Vec<Process>, Error> {
        let mut processes = self.processes()?;
        processes.retain(|process| process.is_confined_by(names));
        Ok(processes)
    }
}

/// By what the kernel shows which policy it runs, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// A hash for each profile.
    Hash,
    /// The bytes that were loaded, which are hashed here.
    RawData,
    /// Nothing but names and modes (`apparmor.hash_policy=0` and `apparmor.export_binary=0`).
    Name,
}

impl fmt::Display for Evidence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Hash => "hash",
            Self::RawData => "raw_data",
            Self::Name => "name",
        })
    }
}

/// What is loaded, and how it is enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelState {
    /// The state that was looked at; profiles that somebody loaded meanwhile may be seen already.
    pub moment: Moment,
    /// The mode that holds for all profiles (`apparmor.mode=` on the kernel's command line). In any other than enforce
    /// it overrides what `loaded` says.
    pub global_mode: Mode,
    /// By what the kernel shows which policy it runs.
    pub evidence: Evidence,
    /// Every profile, hat and child, those that the kernel made in complain mode (`x//null-…`) included.
    pub loaded: BTreeMap<ProfileName, Loaded>,
}

impl KernelState {
    /// The mode that holds for a profile of `mode` (security/apparmor/include/policy.h, `COMPLAIN_MODE` and
    /// `KILL_MODE`): a global one overrides enforce, and complain also kill; what is unconfined stays so.
    #[must_use]
    pub fn effective_mode(&self, mode: Mode) -> Mode {
        match (self.global_mode, mode) {
            (Mode::Complain, Mode::Enforce | Mode::Kill | Mode::Prompt) => Mode::Complain,
            (Mode::Kill, Mode::Enforce) => Mode::Kill,
            _ => mode,
        }
    }

    /// Whether the kernel shows that a profile is the one that `hash` was computed from. Where it has evidence, a
    /// profile that it shows none of (one that somebody replaces just now, say) is not proved to be anything.
    #[must_use]
    pub fn shows(&self, loaded: &Loaded, hash: &KernelHash) -> bool {
        loaded.hash.map_or(self.evidence == Evidence::Name, |shown| shown.is_of(hash))
    }
}

/// A profile in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The mode as the kernel tells it, which has no word for [`Mode::DefaultAllow`]: that is [`Mode::Unconfined`].
    pub mode: Mode,
    /// The hash, for the profiles that were asked for; `None` if the kernel has no [`Evidence`] of it.
    pub hash: Option<ShownHash>,
}

/// A profile's compiled bytes as they were loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedProfile {
    /// The profile.
    pub name: ProfileName,
    /// Its blob, which loads under the same name where its parent, if it has one, is loaded, with its hash; `None` if the
    /// kernel does not keep the bytes (`CONFIG_SECURITY_APPARMOR_EXPORT_BINARY`, `apparmor.export_binary`).
    pub blob: Option<(KernelHash, Vec<u8>)>,
}

/// A running process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// What it executes, less the ` (deleted)` that the kernel adds; `None` if it is not shown.
    pub executable: Option<PathBuf>,
    /// The script that `executable` interprets, as far as its arguments tell.
    pub script: Option<PathBuf>,
    /// The systemd unit that it belongs to.
    pub unit: Option<String>,
    /// The profile that it runs under, or all of a stack; none if it is unconfined.
    pub profiles: Vec<ProfileName>,
}

impl Process {
    /// Says whether the process runs under one of `names`, or under a hat or child of one: these go with it.
    #[must_use]
    pub fn is_confined_by(&self, names: &BTreeSet<ProfileName>) -> bool {
        self.profiles.iter().any(|own| names.iter().any(|name| own.is_within(name)))
    }
}

/// An effect that the kernel refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelFailure {
    /// What was attempted.
    pub act: Act,
    /// How it failed.
    pub cause: Cause,
}

/// What was attempted in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// To load a set.
    Replace {
        /// The number of profiles in it, hats and children included.
        profiles: usize,
        /// The namespace that it was for.
        namespace: Option<String>,
    },
    /// To remove a profile.
    Remove(ProfileName),
}

impl Act {
    /// The act of loading `set`.
    #[must_use]
    pub fn replace(set: &LoadSet) -> Self {
        Self::Replace { profiles: set.profiles().len(), namespace: set.namespace().map(str::to_owned) }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replace { profiles, namespace } => {
                write!(out, "load {profiles} profile{}", if *profiles == 1 { "" } else { "s" })?;
                namespace.iter().try_for_each(|namespace| write!(out, " into the namespace `{namespace}`"))
            }
            Self::Remove(name) => write!(out, "remove the profile `{name}`"),
        }
    }
}

/// How an effect in the kernel failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The kernel refused it and changed nothing.
    Refused(Errno),
    /// The kernel took a part of the bytes, which it never should: what is loaded now must be looked at.
    Short {
        /// The bytes that it took.
        written: usize,
        /// The bytes that it was given.
        length: usize,
    },
}

impl KernelFailure {
    /// What is the case.
    fn meaning(&self) -> &'static str {
        let Cause::Refused(errno) = self.cause else { return "the write was cut short" };
        match (errno, &self.act) {
            (Errno::EPROTO, _) => "the kernel cannot read the compiled policy",
            (Errno::EPROTONOSUPPORT, _) => "the compiled policy is of a version that the kernel does not support",
            (Errno::ENOENT, Act::Remove(_)) => "it is not loaded",
            (Errno::ENOENT, Act::Replace { .. }) => "the parent of a hat or child is not loaded",
            (Errno::EEXIST, _) => "an earlier load that was refused stands in the way",
            (Errno::EACCES | Errno::EPERM, _) => "it is not permitted",
            (Errno::ENOMEM, _) => "the kernel has not enough memory",
            (Errno::EINTR, _) => "a signal came before the kernel began",
            (other, _) => other.desc(),
        }
    }

    /// What to do.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        let Cause::Refused(errno) = self.cause else {
            return "run again: it is loaded anew where the kernel's hashes differ";
        };
        match (errno, &self.act) {
            (Errno::EPROTO, _) => {
                "see the kernel log for the profile (`apparmor=\"STATUS\"`, `info=`), and compile with a parser and \
                 kernel features (parser.conf, --kernel-features) that fit this kernel"
            }
            (Errno::EPROTONOSUPPORT, _) => {
                "compile for this kernel: see `policy-features` in parser.conf and --kernel-features"
            }
            (Errno::ENOENT, Act::Remove(_)) => "somebody else removed it; run again",
            (Errno::ENOENT, Act::Replace { .. }) => {
                "load the parent as well; apparmor_parser 3.0 compiles profiles nested in three levels so that no \
                 kernel loads them, there write `profile a//b//c` outside of its parents"
            }
            (Errno::EEXIST, _) => {
                "this is known of Linux 6.1: load any loaded profile again by `apparmor_parser -r`, then run again"
            }
            (Errno::EACCES | Errno::EPERM, _) => {
                "run as root with CAP_MAC_ADMIN and unconfined; in a container, give it a policy namespace of its \
                 own; if policy is locked (/sys/module/apparmor/parameters/lock_policy), only a reboot unlocks it"
            }
            (Errno::ENOMEM, _) => "free memory, then run again",
            (Errno::EINTR, _) => "run again",
            _ => "see the kernel log (`apparmor=\"STATUS\"`)",
        }
    }
}

impl fmt::Display for KernelFailure {
    /// Says what was attempted, why it failed, and what to do.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "cannot {}: {}", self.act, self.meaning())?;
        match self.cause {
            Cause::Refused(errno) => write!(out, " ({errno:?})")?,
            Cause::Short { written, length } => write!(out, " ({written} of {length} bytes)")?,
        }
        write!(out, "; {}", self.remedy())
    }
}

impl std::error::Error for KernelFailure {}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(namespace: Option<&str>, name: &str) -> ProfileName {
        ProfileName { namespace: namespace.map(str::to_owned), name: name.to_owned() }
    }

    #[test]
    fn hats_children_and_stacks_count_as_confined() {
        let under = |profiles: &[ProfileName]| {
            let profiles = profiles.to_vec();
            Process { pid: 1, executable: None, script: None, unit: None, profiles }
        };
        let a = [name(None, "a")].into();
        for own in ["a", "a//hat", "a//b//c", "a//null-/bin/sh"] {
            assert!(under(&[name(None, "x"), name(None, own)]).is_confined_by(&a), "{own}");
        }
        for own in [name(None, "ab"), name(Some("n"), "a"), name(None, "x//a")] {
            assert!(!under(&[own]).is_confined_by(&a));
        }
        assert!(!under(&[]).is_confined_by(&a));
    }

    #[test]
    fn failures_say_what_to_do() {
        let load = Act::Replace { profiles: 2, namespace: Some("n".to_owned()) };
        let failure = KernelFailure { act: load.clone(), cause: Cause::Refused(Errno::EPROTONOSUPPORT) };
        assert_eq!(
            failure.to_string(),
            "cannot load 2 profiles into the namespace `n`: the compiled policy is of a version that the kernel does \
             not support (EPROTONOSUPPORT); compile for this kernel: see `policy-features` in parser.conf and \
             --kernel-features"
        );
        let absent = KernelFailure { act: Act::Remove(name(None, "a b")), cause: Cause::Refused(Errno::ENOENT) };
        assert_eq!(
            absent.to_string(),
            "cannot remove the profile `a b`: it is not loaded (ENOENT); somebody else removed it; run again"
        );
        let short = KernelFailure { act: load.clone(), cause: Cause::Short { written: 4096, length: 5000 } };
        assert!(short.to_string().contains("(4096 of 5000 bytes); "), "{short}");
        let unknown = KernelFailure { act: load, cause: Cause::Refused(Errno::EIO) };
        assert!(unknown.to_string().contains(": I/O error (EIO); see the kernel log"), "{unknown}");
    }
}
