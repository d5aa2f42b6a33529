//! Which running processes should be confined and are not.
//!
//! A process gets its profile when it executes its program, and never afterwards: one that was started before the
//! profile was loaded, or whose profile was removed and loaded again, runs unconfined until it is restarted.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::host::kernel::{KernelState, Process};
use crate::ledger::Ledger;
use crate::policy::{AttachmentRecord, Matcher};
use crate::profile::ProfileName;
use crate::report::NeedsRestart;

/// A loaded profile that is for executables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Its name.
    pub name: ProfileName,
    /// Which executables it is for.
    pub attachment: AttachmentRecord,
    /// Whether its processes are told of.
    pub telling: Telling,
}

/// Whose processes are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// The profile is of interest.
    Told,
    /// It only takes processes from other profiles.
    Silent,
}

/// The profiles for executables that were compiled by this program and are loaded, all of interest.
#[must_use]
pub fn recorded(ledger: &Ledger, state: &KernelState) -> Vec<Attached> {
    let profiles = ledger.compiled().values().flat_map(|record| record.profiles.iter());
    let loaded = profiles.filter(|profile| state.loaded.contains_key(&profile.name));
    let attached = loaded.filter_map(|profile| {
        let attachment = profile.attachment.clone()?;
        Some(Attached { name: profile.name.clone(), attachment, telling: Telling::Told })
    });
    attached.collect()
}

/// Finds the unconfined processes that would run under one of `profiles` if they were started now, by number.
///
/// `is_foreign` says whether somebody else's loaded profile has this name: one that is named like the executable is
/// for it before all others (security/apparmor/domain.c, `find_attach`).
///
/// It is not certain where several profiles match, where a script is meant, whose interpreter may as well have been
/// called by hand, and where extended attributes have a say.
#[must_use]
pub fn needs_restart(
    profiles: &[Attached],
    processes: &[Process],
    is_foreign: impl Fn(&ProfileName) -> bool,
) -> Vec<NeedsRestart> {
    // The profiles of a namespace are for the processes in it alone, which are not seen from here.
    let here = profiles.iter().filter(|profile| profile.name.namespace.is_none());
    let unconfined = || processes.iter().filter(|process| process.profiles.is_empty());
    let paths: BTreeSet<&[u8]> = unconfined()
        .flat_map(|process| process.executable.iter().chain(&process.script))
        .map(|path| path.as_os_str().as_bytes())
        .collect();
    let is_of_interest =
        |record: &AttachmentRecord| record.paths().is_some() || paths.iter().any(|path| record.may_be_for(path));
    let candidates: Candidates<'_> = here
        .filter(|profile| is_of_interest(&profile.attachment))
        .filter_map(|profile| Some((profile, profile.attachment.matcher()?)))
        .collect();
    let found = unconfined().filter_map(|process| {
        let executable = process.executable.as_deref()?;
        let (profile, certain) = match candidates.of(executable) {
            Some(found) => found,
            None => (candidates.of(process.script.as_deref()?)?.0, false),
        };
        let named_like_it = executable.to_str().map(ProfileName::new);
        if profile.telling == Telling::Silent || named_like_it.is_some_and(|name| is_foreign(&name)) {
            return None;
        }
        Some(NeedsRestart {
            pid: process.pid,
            executable: executable.to_string_lossy().into_owned(),
            unit: process.unit.clone(),
            profile: profile.name.to_string(),
            certain,
        })
    });
    found.collect()
}

struct Candidates<'p> {
    /// Profiles that are for a few paths.
    by_path: BTreeMap<&'p [u8], Vec<&'p Attached>>,
    globs: Vec<(&'p Attached, Matcher<'p>)>,
}

impl<'p> FromIterator<(&'p Attached, Matcher<'p>)> for Candidates<'p> {
    fn from_iter<I: IntoIterator<Item = (&'p Attached, Matcher<'p>)>>(profiles: I) -> Self {
        let mut candidates = Self { by_path: BTreeMap::new(), globs: Vec::new() };
        for (profile, matcher) in profiles {
            match matcher {
                Matcher::Paths(paths) => {
                    for path in paths {
                        candidates.by_path.entry(path.as_bytes()).or_default().push(profile);
                    }
                }
                Matcher::Automaton(_) => candidates.globs.push((profile, matcher)),
            }
        }
        candidates
    }
}

impl<'p> Candidates<'p> {
    /// The profile that a path gets, the most special one, and whether that is certain.
    fn of(&self, path: &Path) -> Option<(&'p Attached, bool)> {
        let path = path.as_os_str().as_bytes();
        let exact = self.by_path.get(path).into_iter().flatten().copied();
        let globs = self.globs.iter().filter(|(_, matcher)| matcher.matches(path));
        let mut matching = exact.chain(globs.clone().map(|(profile, _)| *profile));
        let first = matching.next()?;
        let has_xattrs = globs.clone().any(|(_, matcher)| matcher.has_xattrs());
        Some((first, matching.next().is_none() && !has_xattrs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, executable: &str) -> Process {
        Process { pid, executable: Some(executable.into()), script: None, unit: None, profiles: Vec::new() }
    }

    fn attached(name: &str, paths: &[&str]) -> Attached {
        let attachment = AttachmentRecord::Paths(paths.iter().map(ToString::to_string).collect());
        Attached { name: ProfileName::new(name), attachment, telling: Telling::Told }
    }

    fn told(profiles: &[Attached], processes: &[Process]) -> Vec<(u32, String, bool)> {
        let found = needs_restart(profiles, processes, |_| false);
        found.into_iter().map(|it| (it.pid, it.profile, it.certain)).collect()
    }

    #[test]
    fn unconfined_processes_of_attached_executables_are_told() {
        let profiles = [attached("one", &["/opt/a", "/opt/b"]), attached("two", &["/opt/b"])];
        let confined = Process { profiles: vec![ProfileName::new("one")], ..process(3, "/opt/a") };
        let processes = [process(1, "/opt/a"), process(2, "/opt/other"), confined, process(4, "/opt/b")];
        assert_eq!(told(&profiles, &processes), [(1, "one".to_owned(), true), (4, "one".to_owned(), false)]);
    }

    #[test]
    fn a_script_is_told_and_never_certain() {
        let script = Process { script: Some("/opt/a".into()), ..process(1, "/usr/bin/python3.11") };
        assert_eq!(told(&[attached("one", &["/opt/a"])], &[script]), [(1, "one".to_owned(), false)]);
    }

    #[test]
    fn others_profiles_take_what_is_theirs() {
        let profiles = [attached("one", &["/opt/a"])];
        let theirs = ProfileName::new("/opt/a");
        assert!(needs_restart(&profiles, &[process(1, "/opt/a")], |name| *name == theirs).is_empty());
        let silent = [Attached { telling: Telling::Silent, ..profiles[0].clone() }];
        assert!(told(&silent, &[process(1, "/opt/a")]).is_empty());
        let elsewhere = ProfileName { namespace: Some("n".to_owned()), name: "one".to_owned() };
        let elsewhere = [Attached { name: elsewhere, ..profiles[0].clone() }];
        assert!(told(&elsewhere, &[process(1, "/opt/a")]).is_empty());
    }
}
