//! The running kernel, through its files: `/sys/kernel/security/apparmor` (security/apparmor/apparmorfs.c), the
//! module's parameters and procfs. Measured on Linux 6.1 and 6.12.
//!
//! **Invariant:** what is loaded is taken from the kernel's list, never from the names of directories: those are mangled,
//! and tell only which directories may be a listed profile's.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use nix::unistd::write;

use super::files::{
    MAX_TEXT, cannot_read, entries_of, names_in, open, read_bytes, read_if_there, read_text, read_text_at, there,
};
use super::{
    Access, Act, Cause, Evidence, Kernel, KernelFailure, KernelState, Loaded, Moment, NamespaceMoment, Process,
    SavedProfile, Sighting, access, processes,
};
use crate::error::Error;
use crate::host::root::Identity;
use crate::policy::{self, HashAlgorithm, LoadSet, ShownHash};
use crate::profile::{Mode, ProfileName};

/// The largest set of compiled policy that is read back, in bytes: a whole system's has about 100 MiB.
const MAX_RAW_DATA: u64 = 1 << 30;
/// How deep directories of features and namespaces may nest; today's kernels have three levels.
const MAX_DEPTH: usize = 16;

/// Where the kernel shows itself.
#[derive(Debug, Clone)]
pub(super) struct Places {
    /// AppArmor's directory in securityfs.
    pub(super) apparmor: PathBuf,
    /// The module's parameters.
    pub(super) parameters: PathBuf,
    /// procfs.
    pub(super) proc: PathBuf,
}

impl Places {
    fn running() -> Self {
        Self {
            apparmor: "/sys/kernel/security/apparmor".into(),
            parameters: "/sys/module/apparmor/parameters".into(),
            proc: "/proc".into(),
        }
    }

    pub(super) fn exists(&self, path: &Path) -> bool {
        fs_err::symlink_metadata(path).is_ok()
    }
}

/// What is known of profiles whose directories are looked for.
#[derive(Clone, Copy)]
enum Known {
    /// The kernel has just listed them.
    Loaded,
    /// Perhaps they are not there, and others are whose directories look the same.
    Wanted,
}

/// The running kernel.
#[derive(Debug)]
pub struct Securityfs {
    places: Places,
    evidence: Evidence,
}

impl Securityfs {
    /// Opens the running kernel's policy.
    ///
    /// # Errors
    /// There is none, it cannot be reached, or it must not be managed from here; each says what to do.
    pub fn open(access: Access) -> Result<Self, Error> {
        Self::at(Places::running(), access)
    }

    fn at(places: Places, access: Access) -> Result<Self, Error> {
        access::check(&places, access)?;
        let evidence = access::evidence(&places)?;
        Ok(Self { places, evidence })
    }

    /// The directory of a policy namespace: `policy` is a magic link, which the `/` after it has followed.
    fn namespace(&self, namespace: Option<&str>) -> PathBuf {
        let mut path = self.places.apparmor.join("policy/");
        for name in namespace.into_iter().flat_map(|namespace| namespace.split("//")) {
            path.push("namespaces");
            path.push(name);
        }
        path
    }

    fn global_mode(&self) -> Result<Mode, Error> {
        let word = access::parameter(&self.places, "mode")?;
        let mode = word.as_deref().and_then(mode_from_kernel);
        mode.ok_or_else(|| Error::Kernel {
            code: "kernel_read",
            message: format!(
                "{} says `{}`, which this version of aa-converge does not know",
                self.places.parameters.join("mode").display(),
                word.unwrap_or_default()
            ),
            remedy: "install a newer aa-converge".to_owned(),
        })
    }

    fn namespaces_below(
        &self,
        directory: &Path,
        above: &str,
        depth: usize,
        found: &mut BTreeMap<String, NamespaceMoment>,
    ) -> Result<(), Error> {
        for name in names_in(&directory.join("namespaces"))?.into_iter().filter(|_| depth < MAX_DEPTH) {
            let path = directory.join("namespaces").join(&name);
            let full = if above.is_empty() { name.clone() } else { format!("{above}//{name}") };
            // A namespace that is removed meanwhile is missing in the moment, which is another then.
            if let Some(moment) = namespace_moment(&path, name)? {
                self.namespaces_below(&path, &full, depth + 1, found)?;
                found.insert(full, moment);
            }
        }
        Ok(())
    }

    /// The hash of the profile whose directory this is; `None` if the kernel has no evidence of it, or it is gone.
    fn hash(
        &self,
        name: &ProfileName,
        directory: &Path,
        namespaces: &mut OpenNamespaces,
        raw: &mut RawData,
    ) -> Result<Option<ShownHash>, Error> {
        match self.evidence {
            Evidence::Hash => {
                let namespace = self.namespace(name.namespace.as_deref());
                for file in ["sha256", "sha1"] {
                    if let Some(digits) = namespaces.read(namespace.clone(), directory, file)? {
                        return Ok(ShownHash::from_hex(digits.trim_end()));
                    }
                }
                Ok(None)
            }
            Evidence::RawData => {
                let hash = raw.profile(name, directory)?.map(|(hash, _)| hash.shown(HashAlgorithm::Sha256));
                Ok(hash)
            }
            Evidence::Name => Ok(None),
        }
    }

    /// The directories of those of `names` that are loaded. Where all of them just were, one that alone could be a
    /// profile's is the profile's.
    fn directories(
        &self,
        names: &BTreeSet<ProfileName>,
        known: Known,
    ) -> Result<BTreeMap<ProfileName, PathBuf>, Error> {
        let components = names.iter().flat_map(|name| name.name.split("//"));
        let wanted: HashSet<Vec<u8>> = components.map(|component| mangled(component.as_bytes())).collect();
        let mut listings: HashMap<PathBuf, HashMap<Vec<u8>, Vec<PathBuf>>> = HashMap::new();
        let mut found = BTreeMap::new();
        for name in names {
            let mut directory = Some(self.namespace(name.namespace.as_deref()));
            for component in name.name.split("//") {
                let Some(parent) = directory else { break };
                let listing = match listings.entry(parent.join("profiles")) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => {
                        let mut listing: HashMap<Vec<u8>, Vec<PathBuf>> = HashMap::new();
                        for entry in entries_of(new.key())?.iter().map(fs_err::DirEntry::file_name) {
                            // The kernel appends a number, so that two names which are mangled alike stand apart.
                            let stem = entry.as_bytes().iter().rposition(|byte| *byte == b'.').unwrap_or(entry.len());
                            let stem = mangled(&entry.as_bytes()[..stem]);
                            if wanted.contains(&stem) {
                                listing.entry(stem).or_default().push(new.key().join(&entry));
                            }
                        }
                        new.insert(listing)
                    }
                };
                let candidates = listing.get(&mangled(component.as_bytes())).map_or(&[][..], Vec::as_slice);
                directory = match (candidates, known) {
                    ([only], Known::Loaded) => Some(only.clone()),
                    _ => named(candidates, component)?,
                };
            }
            if let Some(directory) = directory {
                found.insert(name.clone(), directory);
            }
        }
        Ok(found)
    }

    fn moment(&self) -> Result<Moment, Error> {
        let path = self.places.proc.join("sys/kernel/random/boot_id");
        let boot = read_text(&path).map_err(cannot_read(&path))?.trim_end().to_owned();
        let path = self.places.apparmor.join(".ns_name");
        let name = read_if_there(&path)?.unwrap_or_default().trim_end().to_owned();
        let directory = self.namespace(None);
        let current = namespace_moment(&directory, name)?
            .ok_or_else(|| cannot_read(&directory)(io::ErrorKind::NotFound.into()))?;
        let mut below = BTreeMap::new();
        self.namespaces_below(&directory, "", 0, &mut below)?;
        Ok(Moment { boot, current, below })
    }

    fn write(&self, file: &str, bytes: &[u8]) -> Result<(), Cause> {
        let opened = nix::fcntl::open(
            &self.places.apparmor.join(file),
            OFlag::O_WRONLY | OFlag::O_CLOEXEC,
            nix::sys::stat::Mode::empty(),
        );
        let file = opened.map_err(Cause::Refused)?;
        // Only one whole write counts: the kernel reads a set from offset 0 to the end of the write
        // (`aa_simple_write_to_buffer`), so what was interrupted before it began is begun again, and nothing else.
        let written = loop {
            match write(&file, bytes) {
                Err(Errno::EINTR) => {}
                done => break done.map_err(Cause::Refused)?,
            }
        };
        if written == bytes.len() { Ok(()) } else { Err(Cause::Short { written, length: bytes.len() }) }
    }
}

impl Kernel for Securityfs {
    fn features(&self) -> Result<Vec<u8>, Error> {
        let mut text = Vec::new();
        write_features(&self.places.apparmor.join("features"), 0, &mut text)?;
        Ok(text)
    }

    fn release(&self) -> Option<String> {
        let name = nix::sys::utsname::uname().ok()?;
        Some(name.release().to_string_lossy().into_owned())
    }

    fn observe(&self, ours: &BTreeSet<ProfileName>, seen: Option<&Sighting>) -> Result<KernelState, Error> {
        let moment = self.moment()?;
        let path = self.places.apparmor.join("profiles");
        let list = read_bytes(&path, MAX_TEXT).map_err(cannot_read(&path))?;
        let mut loaded: BTreeMap<ProfileName, Loaded> = loaded_profiles(&list);
        let mut unseen = BTreeSet::new();
        for name in ours {
            let Some(loaded) = loaded.get_mut(name) else { continue };
            loaded.hash = seen.and_then(|seen| seen.recall(name, &moment));
            if loaded.hash.is_none() {
                unseen.insert(name.clone());
            }
        }
        let (mut namespaces, mut raw) = (OpenNamespaces::default(), RawData::default());
        for (name, directory) in self.directories(&unseen, Known::Loaded)? {
            let hash = self.hash(&name, &directory, &mut namespaces, &mut raw)?;
            if let Some(loaded) = loaded.get_mut(&name) {
                loaded.hash = hash;
            }
        }
        Ok(KernelState { moment, global_mode: self.global_mode()?, evidence: self.evidence, loaded })
    }

    fn saved(&self, names: &BTreeSet<ProfileName>) -> Result<Vec<SavedProfile>, Error> {
        let (mut namespaces, mut raw) = (OpenNamespaces::default(), RawData::default());
        let mut saved = Vec::new();
        for (name, directory) in self.directories(names, Known::Wanted)? {
            let profile = raw.profile(&name, &directory)?;
            // Bytes that are not what the kernel runs, because somebody replaces it just now, are not kept.
            let shown = self.hash(&name, &directory, &mut namespaces, &mut RawData::default())?;
            let blob = profile.filter(|(hash, _)| shown.is_none_or(|shown| shown.is_of(hash)));
            saved.push(SavedProfile { name, blob });
        }
        Ok(saved)
    }

    fn replace(&mut self, set: &LoadSet) -> Result<(), KernelFailure> {
        self.write(".replace", set.bytes()).map_err(|cause| KernelFailure { act: Act::replace(set), cause })
    }

    fn remove(&mut self, name: &ProfileName) -> Result<(), KernelFailure> {
        self.write(".remove", name.to_string().as_bytes())
            .map_err(|cause| KernelFailure { act: Act::Remove(name.clone()), cause })
    }

    fn processes(&self) -> Result<Vec<Process>, Error> {
        processes::list(&self.places.proc)
    }

    fn confined(&self, names: &BTreeSet<ProfileName>) -> Result<Vec<Process>, Error> {
        processes::confined(&self.places.proc, names)
    }
}

/// The directories of policy namespaces, opened, so that the paths of many files in them are short.
#[derive(Default)]
struct OpenNamespaces(HashMap<PathBuf, std::fs::File>);

impl OpenNamespaces {
    /// Reads a file in a directory below that of the namespace; `None` if either is gone.
    fn read(&mut self, namespace: PathBuf, directory: &Path, file: &str) -> Result<Option<String>, Error> {
        let path = directory.join(file);
        let below = path.strip_prefix(&namespace).unwrap_or(&path);
        let read = match self.0.entry(namespace) {
            Entry::Occupied(known) => read_text_at(known.get(), below),
            Entry::Vacant(new) => open(new.key()).and_then(|opened| read_text_at(new.insert(opened), below)),
        };
        there(read).map_err(cannot_read(&path))
    }
}

/// Compiled policy as it was written to the kernel. All profiles of a set share one file.
#[derive(Default)]
struct RawData(HashMap<PathBuf, Option<Set>>);

struct Set {
    bytes: Vec<u8>,
    profiles: HashMap<ProfileName, policy::CompiledProfile>,
}

impl RawData {
    /// The hash and the bytes of one profile, cut out of the set that it came in; `None` if the kernel does not keep
    /// them, or they are not in a format that is known.
    fn profile(
        &mut self,
        name: &ProfileName,
        directory: &Path,
    ) -> Result<Option<(policy::KernelHash, Vec<u8>)>, Error> {
        let link = directory.join("raw_data");
        let target = match fs_err::read_link(&link) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(cannot_read(&link)(source)),
        };
        // Links are relative; how far they climb depends on how deep the profile is nested, the rest does not.
        let key =
            (name.namespace.clone(), target.components().filter(|it| it.as_os_str() != "..").collect::<PathBuf>());
        let key = PathBuf::from(key.0.unwrap_or_default()).join(key.1);
        let set = match self.0.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Set::read(&link, name)?),
        };
        Ok(set.as_ref().and_then(|set| {
            let profile = set.profiles.get(name)?;
            Some((profile.hash, profile.cut(&set.bytes)?))
        }))
    }
}

impl Set {
    fn read(path: &Path, one: &ProfileName) -> Result<Option<Self>, Error> {
        let bytes = match read_bytes(path, MAX_RAW_DATA) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(cannot_read(path)(source)),
        };
        let Ok(profiles) = policy::profiles(&bytes) else { return Ok(None) };
        // What was written through a namespace's own `.replace` need not name it.
        let profiles = profiles.into_iter().map(|mut profile| {
            profile.name.namespace.clone_from(&one.namespace);
            (profile.name.clone(), profile)
        });
        Ok(Some(Self { profiles: profiles.collect(), bytes }))
    }
}

/// The one of these directories whose profile has this name.
fn named(directories: &[PathBuf], name: &str) -> Result<Option<PathBuf>, Error> {
    for directory in directories {
        if read_if_there(&directory.join("name"))?.is_some_and(|it| it.strip_suffix('\n') == Some(name)) {
            return Ok(Some(directory.clone()));
        }
    }
    Ok(None)
}

/// Reads `name (mode)` lines. One whose name is not UTF-8 cannot be ours and is left out.
fn loaded_profiles(list: &[u8]) -> BTreeMap<ProfileName, Loaded> {
    let lines = list.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let profiles = lines.filter_map(|line| {
        let (name, mode) = line.strip_suffix(')')?.rsplit_once(" (")?;
        Some((ProfileName::parse(name)?, Loaded { mode: mode_from_kernel(mode)?, hash: None }))
    });
    profiles.collect()
}

/// The kernel's words for modes (security/apparmor/policy.c, `aa_profile_mode_names`): it calls prompt `user`.
pub(super) fn mode_from_kernel(word: &str) -> Option<Mode> {
    match word {
        "enforce" => Some(Mode::Enforce),
        "complain" => Some(Mode::Complain),
        "kill" => Some(Mode::Kill),
        "unconfined" => Some(Mode::Unconfined),
        "user" | "prompt" => Some(Mode::Prompt),
        _ => None,
    }
}

/// What a name is compared by with the names of directories, which the kernel makes of it (apparmorfs.c,
/// `mangle_name`). Bytes beyond ASCII are left out, because it takes some for letters and some not.
fn mangled(name: &[u8]) -> Vec<u8> {
    let bytes = name.iter().skip_while(|byte| b"/.".contains(byte));
    let mangled = bytes.filter_map(|&byte| match byte {
        b'/' => Some(b'.'),
        b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r' => Some(b'_'),
        byte if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) => Some(byte),
        _ => None,
    });
    mangled.collect()
}

/// Writes a directory of features: `name {` … `}` for each entry, in order of names, like libapparmor's
/// `features_dir_cb` (features.c).
fn write_features(directory: &Path, depth: usize, text: &mut Vec<u8>) -> Result<(), Error> {
    let mut entries = entries_of(directory)?;
    entries.sort_unstable_by_key(|entry| entry.file_name());
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        if depth >= MAX_DEPTH || name.as_bytes().starts_with(b".") {
            continue;
        }
        text.extend([name.as_bytes(), b" {"].concat());
        if entry.file_type().map_err(cannot_read(&path))?.is_dir() {
            write_features(&path, depth + 1, text)?;
        } else {
            text.extend(read_text(&path).map_err(cannot_read(&path))?.bytes());
        }
        text.extend(b"}\n");
    }
    Ok(())
}

/// The state of one namespace; `None` if it is gone.
fn namespace_moment(directory: &Path, name: String) -> Result<Option<NamespaceMoment>, Error> {
    let opened = match open(directory) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(cannot_read(directory)(source)),
    };
    let stat = fstat(opened.as_fd()).map_err(|errno| cannot_read(directory)(errno.into()))?;
    let Some(revision) = revision(&directory.join("revision"))? else { return Ok(None) };
    Ok(Some(NamespaceMoment { name, directory: Identity::of(&stat), revision }))
}

/// Reads a revision: by one read, because the next would wait for a change; while it is 0 even the first would, and
/// says EAGAIN instead when asked not to wait (apparmorfs.c, `ns_revision_read`).
fn revision(path: &Path) -> Result<Option<u64>, Error> {
    let mut digits = [0; 32];
    let read = open(path).and_then(|mut file| file.read(&mut digits));
    let length = match read {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Some(0)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(cannot_read(path)(source)),
    };
    let number = std::str::from_utf8(&digits[..length]).ok().and_then(|text| text.trim_end().parse().ok());
    number.map(Some).ok_or_else(|| cannot_read(path)(io::Error::other("it is not a number")))
}
