//! Compiled policy that a boot loads in place of the text: the parser's cache, and systemd's early policy.
//!
//! How it is read (libapparmor's `policy_cache.c` and `features.c`, the parser's `parser_main.c` and `policy_cache.c`,
//! systemd's `apparmor-setup.c`; measured with 3.0.8 and 4.1.0):
//!
//! - A place holds a directory `<id>.<number>` for each kernel that compiled policy is for, whose features stand in
//!   `.features` there; the id is a hash of them. Without that file, a directory is emptied or ignored.
//! - The parser looks a profile up by its file's name alone, in the first place of `cache-loc` and then in the others,
//!   which it never writes. It takes what it finds unless the profile's file, or a file or directory that it includes,
//!   has a later time stamp, and does not look at all for a profile that is switched off or forced to complain.
//! - systemd loads everything in [`EARLY_POLICY`], whatever its name, before anything else runs.
//!
//! So an entry outlives a change whenever time stamps mislead: a clock that was reset, a file that was copied with its
//! time stamp, a link that switched a profile off and on.
//!
//! **Invariants:** once a run is done, no entry holds other policy than the run left for any profile that it changed or
//! saw for the first time. An entry that it writes has the bytes and the time stamp that the parser's own would have.
//! When a run is undone, no entry of its policy survives.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::compile::{Compiled, CompiledStep};
use crate::error::Error;
use crate::host::Host;
use crate::host::dir::{Dir, Removal};
use crate::host::parser::ParserConf;
use crate::host::parser::conf::DEFAULT_CACHE_LOCS;
use crate::host::root::{Entry, Kind};
use crate::observe::POLICY_DIR;
use crate::policy::{self, CompiledProfile};
use crate::profile::{FileName, ProfileName, is_skipped_by_parser};
use crate::report::Action;

use warm::{Act, Wanted};

mod warm;

/// Where systemd looks for policy to load before it starts anything (systemd's `apparmor-setup.c`).
const EARLY_POLICY: &str = "/etc/apparmor/earlypolicy";
/// The features that a directory's entries were compiled for (libapparmor's `policy_cache.c`).
const FEATURES: &str = ".features";
/// The longest list of features that is read, in bytes; libapparmor reads 8 KiB.
const MAX_FEATURES: u64 = 64 << 10;
/// The largest entry that is read, in bytes: what a parser may write.
const MAX_ENTRY: u64 = 64 << 20;

/// A directory of compiled policy.
struct Cache {
    dir: Dir,
    lookup: Lookup,
    writer: Writer,
}

/// Which of a directory's entries a boot loads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lookup {
    /// Those with the name of an installed profile's file.
    ByName,
    /// All.
    Everything,
}

/// Who puts entries into a directory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// The parser, at every boot.
    Parser,
    /// Whoever made it.
    Others,
}

/// What a run does about compiled policy that a boot would load.
#[derive(Default)]
pub(super) struct Renewal {
    /// Files whose entries go, or are written anew.
    pub(super) files: Vec<FileName>,
    /// Entries that are what the run compiled, and that changed inputs have put out of date for the parser.
    right: Vec<(Dir, FileName)>,
    /// Early policy under other names.
    strays: Vec<Stray>,
}

/// An entry of early policy that holds a profile as it is no longer.
struct Stray {
    dir: Dir,
    name: OsString,
    profiles: Vec<String>,
}

impl Renewal {
    /// Finds out which entries a run puts out of date: those of every profile that it changes, and those that differ
    /// from what it compiled, or that nothing recorded.
    ///
    /// # Errors
    /// One of them cannot be removed, or a cache cannot be read.
    pub(super) fn of(compiled: &Compiled, host: &Host) -> Result<Self, Error> {
        let mut judged = Judged::of(compiled);
        if judged.changed.is_empty() && judged.doubtful.is_empty() {
            return Ok(Self::default());
        }
        let mut renewal = Self::default();
        let (mut kept, mut why) = (Vec::new(), None);
        for cache in caches(host, &compiled.plan.observed.parser_conf)? {
            let already_right = renewal.right.len();
            let outdated = judged.judge(&cache, &mut renewal)?;
            if let Err(error) = cache.dir.check_writable() {
                renewal.right.truncate(already_right);
                kept.extend(outdated.iter().map(|name| cache.dir.shown().join(name)));
                why = why.or(Some(error));
            }
        }
        if let Some(error) = why.filter(|_| !kept.is_empty()) {
            let source = match error {
                Error::File { source, .. } => source,
                other => io::Error::other(other.to_string()),
            };
            return Err(Error::BootCache { entries: kept, source });
        }
        renewal.right.retain(|(_, file)| !judged.changed.contains(file));
        renewal.files.extend(judged.changed.into_iter().cloned());
        Ok(renewal)
    }

    /// Removes the entries, and writes them anew where this run compiled exactly what the parser would put there. Says
    /// what is worth a warning.
    ///
    /// # Errors
    /// One cannot be removed.
    pub(super) fn carry_out(&self, host: &Host, compiled: &Compiled) -> Result<Vec<String>, Error> {
        if self.files.is_empty() && self.right.is_empty() {
            return Ok(Vec::new());
        }
        let mut warnings = Vec::new();
        for stray in &self.strays {
            if stray.dir.remove_file(&stray.name)? == Removal::Removed {
                stray.dir.sync()?;
                warnings.push(format!(
                    "{} held `{}` as it is no longer, for systemd to load early, and is removed",
                    stray.dir.shown().join(&stray.name).display(),
                    stray.profiles.join("`, `")
                ));
            }
        }
        let right = self.right.iter().map(|(dir, file)| Wanted { dir: dir.clone(), file, act: Act::Date });
        let mut wanted: Vec<Wanted<'_>> = right.collect();
        let mut touched = Vec::new();
        for cache in caches(host, &compiled.plan.observed.parser_conf)? {
            let dropped = cache.drop_entries(&self.files)?;
            let is_writable = cache.dir.check_writable().is_ok();
            let belonging = self.files.iter().filter(|file| match (cache.writer, cache.lookup) {
                (Writer::Parser, _) => is_writable,
                (Writer::Others, Lookup::Everything) => dropped.contains(*file),
                (Writer::Others, Lookup::ByName) => false,
            });
            wanted.extend(belonging.map(|file| Wanted { dir: cache.dir.clone(), file, act: Act::Write }));
            touched.extend((!dropped.is_empty()).then_some(cache.dir));
        }
        warnings.extend(warm::warm(host, compiled, wanted));
        // What replaced an entry must not give way to it again when the power fails; a new one may be lost.
        for dir in touched {
            dir.sync()?;
        }
        Ok(warnings)
    }
}

/// Removes every entry of these files, and what a killed run left of new ones: whatever policy they hold, a boot without
/// them compiles what is installed.
///
/// # Errors
/// One cannot be removed.
pub(super) fn drop_cached(host: &Host, conf: &ParserConf, files: &[FileName]) -> Result<(), Error> {
    if files.is_empty() {
        return Ok(());
    }
    for cache in caches(host, conf)? {
        let _swept = cache.dir.sweep_temporaries()?;
        if !cache.drop_entries(files)?.is_empty() {
            cache.dir.sync()?;
        }
    }
    Ok(())
}

/// What a run knows of its profiles.
struct Judged<'c> {
    /// Files of which every entry is out of date.
    changed: BTreeSet<&'c FileName>,
    /// Files of which an entry is, unless it is what the run compiled.
    doubtful: BTreeSet<&'c FileName>,
    /// What the run compiled of profiles that are switched on.
    results: BTreeMap<&'c FileName, &'c CompiledStep>,
    /// The profiles as they are now, none where they are gone, with the files that they are or were in.
    profiles: BTreeMap<&'c ProfileName, (&'c FileName, Option<&'c CompiledProfile>)>,
}

impl<'c> Judged<'c> {
    fn of(compiled: &'c Compiled) -> Self {
        let plan = &compiled.plan;
        let enabled = compiled.results.iter().filter(|result| plan.steps[result.step].enabled);
        let results = enabled.map(|result| (&plan.steps[result.step].file, result));
        let mut judged = Self {
            changed: plan.idle_dependents.iter().collect(),
            doubtful: BTreeSet::new(),
            results: results.collect(),
            profiles: BTreeMap::new(),
        };
        for (file, names) in &compiled.gone {
            judged.profiles.extend(names.iter().map(|name| (name, (file, None))));
        }
        for (file, result) in &judged.results {
            let profiles = result.profiles.iter().map(|profile| (&profile.name, (*file, Some(profile))));
            judged.profiles.extend(profiles);
        }
        for entry in plan.draft.profiles.values() {
            if entry.action != Action::Keep {
                judged.changed.insert(&entry.file);
            } else if judged.results.contains_key(&entry.file)
                || !plan.observed.ledger.compiled().contains_key(&entry.file)
            {
                judged.doubtful.insert(&entry.file);
            }
        }
        // What depends on a changed include and does not compile has no entry in the report.
        let silent = plan.steps.iter().map(|step| &step.file).filter(|file| !plan.draft.profiles.contains_key(*file));
        judged.changed.extend(silent);
        judged
    }

    /// The names of a directory's entries that are to go. A doubtful file with such an entry is changed from here on.
    fn judge(&mut self, cache: &Cache, renewal: &mut Renewal) -> Result<Vec<OsString>, Error> {
        let mut outdated = Vec::new();
        for listed in cache.dir.list()? {
            // The parser cannot read a directory as an entry either.
            if listed.kind == Kind::Directory {
                continue;
            }
            let file = listed.name.to_str().and_then(|name| FileName::new(name).ok());
            let file = file.as_ref();
            if let Some(file) = file.and_then(|file| self.doubtful.get(file).copied()) {
                if self.is_as_compiled(file, cache, &listed.name)? {
                    renewal.right.push((cache.dir.clone(), file.clone()));
                    continue;
                }
                self.changed.insert(file);
            }
            if file.is_some_and(|file| self.changed.contains(file)) {
                outdated.push(listed.name);
            } else if cache.lookup == Lookup::Everything
                && listed.kind == Kind::File
                && !is_skipped_by_parser(&listed.name.to_string_lossy())
            {
                let (file, profiles) = self.changed_profiles(cache, &listed.name)?;
                if let Some(file) = file {
                    self.changed.insert(file);
                    outdated.push(listed.name.clone());
                    renewal.strays.push(Stray { dir: cache.dir.clone(), name: listed.name, profiles });
                }
            }
        }
        Ok(outdated)
    }

    fn is_as_compiled(&self, file: &FileName, cache: &Cache, name: &OsStr) -> Result<bool, Error> {
        let Some(result) = self.results.get(file) else { return Ok(false) };
        Ok(matches!(cache.dir.entry(name, MAX_ENTRY)?, Entry::File(read) if read.bytes == result.blob.read()?))
    }

    /// The profiles of an entry that the run knows to be otherwise, and the file of one of them.
    fn changed_profiles(&self, cache: &Cache, name: &OsStr) -> Result<(Option<&'c FileName>, Vec<String>), Error> {
        let Entry::File(read) = cache.dir.entry(name, MAX_ENTRY)? else { return Ok((None, Vec::new())) };
        // What this program cannot read, the kernel does not load either.
        let Ok(profiles) = policy::profiles(&read.bytes) else { return Ok((None, Vec::new())) };
        let mut changed = (None, Vec::new());
        for profile in profiles {
            let Some((file, now)) = self.profiles.get(&profile.name) else { continue };
            if now.is_none_or(|now| (now.mode, &now.hash) != (profile.mode, &profile.hash)) {
                changed.0 = Some(*file);
                changed.1.push(profile.name.to_string());
            }
        }
        Ok(changed)
    }
}

impl Cache {
    /// Removes the entries of these files, and says of which there were some. The directory is not flushed.
    fn drop_entries(&self, files: &[FileName]) -> Result<BTreeSet<FileName>, Error> {
        let files: BTreeMap<&str, &FileName> = files.iter().map(|file| (file.as_str(), file)).collect();
        let mut dropped = BTreeSet::new();
        // What is not there is not removed either: a read-only file system would refuse.
        for listed in self.dir.list()?.into_iter().filter(|listed| listed.kind != Kind::Directory) {
            let Some(file) = listed.name.to_str().and_then(|name| files.get(name)) else { continue };
            if self.dir.remove_file(&listed.name)? == Removal::Removed {
                dropped.insert((*file).clone());
            }
        }
        Ok(dropped)
    }
}

/// The features that a directory's entries were compiled for; none where it is no cache.
fn features(dir: &Dir) -> Result<Option<Vec<u8>>, Error> {
    Ok(match dir.entry(FEATURES, MAX_FEATURES)? {
        Entry::File(read) => Some(read.bytes),
        Entry::Absent | Entry::Directory | Entry::Link { .. } | Entry::Special(_) => None,
    })
}

/// Every directory that a boot may load compiled policy from: below each place of `cache-loc`, where the parser looks
/// without it, and below that of early policy.
fn caches(host: &Host, conf: &ParserConf) -> Result<Vec<Cache>, Error> {
    let mut places = conf.cache_locs();
    let written = places.first().cloned();
    for place in DEFAULT_CACHE_LOCS.into_iter().chain([EARLY_POLICY]).map(PathBuf::from) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let mut caches = Vec::new();
    for place in places {
        let lookup = if place == Path::new(EARLY_POLICY) { Lookup::Everything } else { Lookup::ByName };
        let writer = if written.as_ref() == Some(&place) { Writer::Parser } else { Writer::Others };
        let dirs = directories(host, &place)?;
        caches.extend(dirs.into_iter().map(|dir| Cache { dir, lookup, writer }));
    }
    Ok(caches)
}

fn directories(host: &Host, place: &Path) -> Result<Vec<Dir>, Error> {
    if host.root.kind(place)? != Some(Kind::Directory) {
        return Ok(Vec::new());
    }
    let Some(top) = host.root.dir(place)? else { return Ok(Vec::new()) };
    let policy = host.root.dir(Path::new(POLICY_DIR))?.map(|policy| policy.identity()).transpose()?;
    let mut found = Vec::new();
    for listed in top.list()?.into_iter().filter(|listed| is_cache_name(&listed.name)) {
        match listed.kind {
            Kind::Directory => found.extend(top.dir(&listed.name)?),
            // The parser follows links here. One that leads to something else than a cache is left alone.
            Kind::Link if host.root.kind(&place.join(&listed.name))? == Some(Kind::Directory) => {
                let linked = host.root.dir(&place.join(&listed.name))?;
                if let Some(linked) = linked {
                    if features(&linked)?.is_some() {
                        found.push(linked);
                    }
                }
            }
            Kind::Link | Kind::File | Kind::Special(_) => {}
        }
    }
    // Before AppArmor 2.13, entries stood in the place itself.
    if features(&top)?.is_some() {
        found.push(top);
    }
    // Whatever parser.conf and links say, what has a profile's name in the policy directory is the profile.
    let mut caches = Vec::new();
    for dir in found {
        if Some(dir.identity()?) != policy {
            caches.push(dir);
        }
    }
    Ok(caches)
}

/// Whether this is the name of a directory with a kernel's entries, `<id>.<number>`. What else stands at a place that
/// `cache-loc` names is none of a cache's business: it may be the policy directory.
fn is_cache_name(name: &OsStr) -> bool {
    let parts = name.to_str().and_then(|name| name.rsplit_once('.'));
    parts.is_some_and(|(id, number)| {
        !id.is_empty() && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}
