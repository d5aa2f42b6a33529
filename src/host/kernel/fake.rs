//! A kernel for tests, which behaves as Linux 6.1 and 6.12 were measured to do.
//!
//! A [`FakeKernel`] is a handle: its clones are the same kernel, so that a test keeps one to look and to interfere
//! while the code under test owns another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use super::*;
use crate::host::root::Identity;
use crate::policy::{self, HashAlgorithm, KernelHash};

#[derive(Clone)]
pub(crate) struct FakeKernel(Arc<Mutex<State>>);

struct State {
    global_mode: Mode,
    evidence: Evidence,
    hash_algorithm: HashAlgorithm,
    keeps_bytes: bool,
    hashes_read: usize,
    /// A namespace stays when its last profile is removed.
    revisions: BTreeMap<Option<String>, u64>,
    loaded: BTreeMap<ProfileName, Held>,
    processes: Vec<Process>,
    unconfined_by_removal: Vec<(u32, ProfileName)>,
    effects: usize,
    failure: Option<(usize, Errno)>,
    crash: Option<usize>,
    unloading: Option<(usize, ProfileName)>,
    replacing: Option<(ProfileName, Vec<u8>)>,
    starting: Option<(usize, Process)>,
    refused: BTreeSet<ProfileName>,
    without_hash: BTreeSet<ProfileName>,
}

struct Held {
    mode: Mode,
    hash: KernelHash,
    blob: Vec<u8>,
}

impl FakeKernel {
    /// A kernel that enforces, shows SHA-256, keeps the bytes, and has nothing loaded.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            global_mode: Mode::Enforce,
            evidence: Evidence::Hash,
            hash_algorithm: HashAlgorithm::Sha256,
            keeps_bytes: true,
            hashes_read: 0,
            revisions: [(None, 0)].into(),
            loaded: BTreeMap::new(),
            processes: Vec::new(),
            unconfined_by_removal: Vec::new(),
            effects: 0,
            failure: None,
            crash: None,
            unloading: None,
            replacing: None,
            starting: None,
            refused: BTreeSet::new(),
            without_hash: BTreeSet::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A crash that a test asked for leaves the kernel as it is.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What `apparmor.mode=` on the kernel's command line does.
    pub(crate) fn set_global_mode(&self, mode: Mode) {
        self.state().global_mode = mode;
    }

    /// An older kernel's algorithm.
    pub(crate) fn set_hash_algorithm(&self, algorithm: HashAlgorithm) {
        self.state().hash_algorithm = algorithm;
    }

    /// What `apparmor.hash_policy=0` and `apparmor.export_binary=0` do.
    pub(crate) fn set_evidence(&self, evidence: Evidence) {
        self.state().evidence = evidence;
    }

    /// What `apparmor.export_binary=0` does.
    pub(crate) fn forget_bytes(&self) {
        self.state().keeps_bytes = false;
    }

    /// How many profiles' hashes were read so far.
    pub(crate) fn hashes_read(&self) -> usize {
        self.state().hashes_read
    }

    /// Somebody else loads a blob. Not counted as an effect.
    pub(crate) fn load(&self, blob: &[u8]) {
        let sets = LoadSet::build(&[blob]).unwrap();
        sets.iter().for_each(|set| self.state().replace(set).unwrap());
    }

    /// Somebody else removes a profile. Not counted as an effect.
    pub(crate) fn unload(&self, name: &ProfileName) {
        self.state().remove(name).unwrap();
    }

    /// A process starts; it is confined if the profile is loaded.
    pub(crate) fn start(&self, pid: u32, executable: &str, profile: &ProfileName) {
        let mut state = self.state();
        let profiles = state.loaded.contains_key(profile).then(|| profile.clone()).into_iter().collect();
        state.processes.push(Process { pid, executable: Some(executable.into()), script: None, unit: None, profiles });
        state.processes.sort_by_key(|process| process.pid);
    }

    /// A process starts under the profile right after the `nth` effect from now on.
    pub(crate) fn start_after(&self, nth: usize, pid: u32, executable: &str, profile: &ProfileName) {
        let mut state = self.state();
        let profiles = vec![profile.clone()];
        let process = Process { pid, executable: Some(executable.into()), script: None, unit: None, profiles };
        state.starting = Some((state.effects + nth, process));
    }

    /// A process ends.
    pub(crate) fn end(&self, pid: u32) {
        self.state().processes.retain(|process| process.pid != pid);
    }

    /// The `nth` effect from now on fails with `errno`; the next is the first.
    pub(crate) fn fail_at(&self, nth: usize, errno: Errno) {
        let mut state = self.state();
        state.failure = Some((state.effects + nth, errno));
    }

    /// Somebody else removes a profile right before the `nth` effect from now on.
    pub(crate) fn unload_before(&self, nth: usize, name: &ProfileName) {
        let mut state = self.state();
        state.unloading = Some((state.effects + nth, name.clone()));
    }

    /// Somebody else loads a blob, of this profile, right before its bytes are fetched.
    pub(crate) fn replace_before_saved(&self, name: &ProfileName, blob: &[u8]) {
        self.state().replacing = Some((name.clone(), blob.to_vec()));
    }

    /// The program ends right after the `nth` effect from now on was carried out.
    pub(crate) fn crash_after(&self, nth: usize) {
        let mut state = self.state();
        state.crash = Some(state.effects + nth);
    }

    /// Every set that holds a profile of this name is refused with EPROTO.
    pub(crate) fn refuse(&self, name: &ProfileName) {
        self.state().refused.insert(name.clone());
    }

    /// No hash is shown of a profile of this name.
    pub(crate) fn hide_hash(&self, name: &ProfileName) {
        self.state().without_hash.insert(name.clone());
    }

    /// How many replaces and removes were attempted.
    pub(crate) fn effects(&self) -> usize {
        self.state().effects
    }

    /// The names and modes of everything that is loaded.
    pub(crate) fn modes(&self) -> BTreeMap<String, Mode> {
        self.state().loaded.iter().map(|(name, held)| (name.to_string(), held.mode)).collect()
    }

    /// The compiled bytes that a profile runs from.
    pub(crate) fn blob(&self, name: &ProfileName) -> Option<Vec<u8>> {
        self.state().loaded.get(name).map(|held| held.blob.clone())
    }

    /// The processes that removals took confinement from, and what they ran under.
    pub(crate) fn unconfined_by_removal(&self) -> Vec<(u32, ProfileName)> {
        self.state().unconfined_by_removal.clone()
    }
}

/// The features of a kernel that mediates files and capabilities.
const FEATURES: &[u8] =
    b"caps {mask {chown dac_override kill}}\nfile {mask {create read write exec append mmap_exec link lock\n}\n}\n";

impl State {
    fn moment(&self) -> Moment {
        let moments = self.revisions.iter().enumerate().map(|(at, (namespace, revision))| {
            let name = namespace.clone().unwrap_or_else(|| "root".to_owned());
            (namespace, NamespaceMoment { name, directory: Identity::new(1, at as u64), revision: *revision })
        });
        let mut below = BTreeMap::new();
        let mut current = None;
        for (namespace, moment) in moments {
            match namespace {
                Some(namespace) => drop(below.insert(namespace.clone(), moment)),
                None => current = Some(moment),
            }
        }
        Moment { boot: "first".to_owned(), current: current.unwrap(), below }
    }

    /// Counts an effect and fails if it is the one that a test chose.
    fn begin_effect(&mut self) -> Result<(), Errno> {
        self.effects += 1;
        if let Some((_, name)) = self.unloading.take_if(|(nth, _)| *nth == self.effects) {
            self.remove(&name)?;
        }
        match self.failure {
            Some((nth, errno)) if nth == self.effects => Err(errno),
            _ => Ok(()),
        }
    }

    fn end_effect(&mut self) {
        if let Some((_, process)) = self.starting.take_if(|(nth, _)| *nth == self.effects) {
            self.processes.push(process);
        }
        assert!(self.crash != Some(self.effects), "the crash that the test asked for");
    }

    fn replace(&mut self, set: &LoadSet) -> Result<(), Errno> {
        let profiles = policy::profiles(set.bytes()).map_err(|_| Errno::EPROTO)?;
        if profiles.is_empty() {
            return Err(Errno::EINVAL);
        }
        let namespace = set.namespace().map(str::to_owned);
        let mut names = BTreeSet::new();
        for profile in &profiles {
            assert_eq!(profile.name.namespace, namespace, "the kernel would load it into the set's namespace");
            assert!(names.insert(&profile.name), "the kernel crashes: `{}` is in the set twice", profile.name);
            if self.refused.contains(&profile.name) {
                return Err(Errno::EPROTO);
            }
            if let Some((parent, _)) = profile.name.name.rsplit_once("//") {
                let parent = ProfileName { namespace: namespace.clone(), name: parent.to_owned() };
                if !names.contains(&parent) && !self.loaded.contains_key(&parent) {
                    return Err(Errno::ENOENT);
                }
            }
        }
        *self.revisions.entry(namespace).or_default() += 1;
        for profile in profiles {
            let blob = profile.cut(set.bytes()).unwrap();
            self.loaded.insert(profile.name, Held { mode: profile.mode, hash: profile.hash, blob });
        }
        Ok(())
    }

    fn remove(&mut self, name: &ProfileName) -> Result<(), Errno> {
        if !self.loaded.contains_key(name) {
            return Err(Errno::ENOENT);
        }
        *self.revisions.entry(name.namespace.clone()).or_default() += 1;
        self.loaded.retain(|loaded, _| !loaded.is_within(name));
        for process in &mut self.processes {
            let (gone, kept) = process.profiles.drain(..).partition(|own| own.is_within(name));
            process.profiles = kept;
            self.unconfined_by_removal.extend(gone.into_iter().map(|own: ProfileName| (process.pid, own)));
        }
        Ok(())
    }
}

impl Kernel for FakeKernel {
    fn features(&self) -> Result<Vec<u8>, Error> {
        Ok(FEATURES.to_vec())
    }

    fn release(&self) -> Option<String> {
        Some("6.12.48+deb13-amd64".to_owned())
    }

    fn observe(&self, ours: &BTreeSet<ProfileName>, seen: Option<&Sighting>) -> Result<KernelState, Error> {
        let mut state = self.state();
        let moment = state.moment();
        let mut read = 0;
        let mut shown = |name: &ProfileName, held: &Held| {
            let is_shown =
                ours.contains(name) && !state.without_hash.contains(name) && state.evidence != Evidence::Name;
            let hash = is_shown.then(|| {
                seen.and_then(|seen| seen.recall(name, &moment)).unwrap_or_else(|| {
                    read += 1;
                    held.hash.shown(state.hash_algorithm)
                })
            });
            (name.clone(), Loaded { mode: held.mode, hash })
        };
        let loaded = state.loaded.iter().map(|(name, held)| shown(name, held)).collect();
        let observed = KernelState { moment, global_mode: state.global_mode, evidence: state.evidence, loaded };
        state.hashes_read += read;
        Ok(observed)
    }

    fn saved(&self, names: &BTreeSet<ProfileName>) -> Result<Vec<SavedProfile>, Error> {
        let replacing = self.state().replacing.take_if(|(name, _)| names.contains(name));
        replacing.iter().for_each(|(_, blob)| self.load(blob));
        let state = self.state();
        let loaded = names.iter().filter_map(|name| Some((name, state.loaded.get(name)?)));
        let blob = |held: &Held| state.keeps_bytes.then(|| (held.hash, held.blob.clone()));
        Ok(loaded.map(|(name, held)| SavedProfile { name: name.clone(), blob: blob(held) }).collect())
    }

    fn replace(&mut self, set: &LoadSet) -> Result<(), KernelFailure> {
        let mut state = self.state();
        let done = state.begin_effect().and_then(|()| state.replace(set));
        state.end_effect();
        done.map_err(|errno| KernelFailure { act: Act::replace(set), cause: Cause::Refused(errno) })
    }

    fn remove(&mut self, name: &ProfileName) -> Result<(), KernelFailure> {
        let mut state = self.state();
        let done = state.begin_effect().and_then(|()| state.remove(name));
        state.end_effect();
        done.map_err(|errno| KernelFailure { act: Act::Remove(name.clone()), cause: Cause::Refused(errno) })
    }

    fn processes(&self) -> Result<Vec<Process>, Error> {
        Ok(self.state().processes.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::sample;

    fn name(text: &str) -> ProfileName {
        ProfileName::new(text)
    }

    fn set(blobs: &[Vec<u8>]) -> LoadSet {
        let [set] = &LoadSet::build(blobs).unwrap()[..] else { panic!("one namespace") };
        set.clone()
    }

    fn sample(name: &str, mode: Mode) -> Vec<u8> {
        sample::blob(name, mode, "")
    }

    fn errno(done: Result<(), KernelFailure>) -> Option<Errno> {
        match done.err()?.cause {
            Cause::Refused(errno) => Some(errno),
            Cause::Short { .. } => None,
        }
    }

    #[test]
    fn a_set_is_loaded_whole_or_not_at_all() {
        let mut kernel = FakeKernel::new();
        kernel.refuse(&name("bad"));
        let mixed = set(&[sample("a", Mode::Enforce), sample("bad", Mode::Enforce)]);
        assert_eq!(errno(kernel.replace(&mixed)), Some(Errno::EPROTO));
        assert!(kernel.modes().is_empty());
        let orphan = set(&[sample("a", Mode::Enforce), sample("b//c", Mode::Enforce)]);
        assert_eq!(errno(kernel.replace(&orphan)), Some(Errno::ENOENT));
        assert_eq!(kernel.state().moment().current.revision, 0);
        kernel.replace(&set(&[sample("a", Mode::Kill), sample("b", Mode::Complain)])).unwrap();
        assert_eq!(kernel.modes(), [("a".to_owned(), Mode::Kill), ("b".to_owned(), Mode::Complain)].into());
        assert_eq!(kernel.state().moment().current.revision, 1);
        assert_eq!(kernel.effects(), 3);
    }

    #[test]
    fn children_stay_on_replace_and_go_on_remove() {
        let mut kernel = FakeKernel::new();
        kernel.load(&[sample("a", Mode::Enforce), sample("a//b", Mode::Enforce), sample("ab", Mode::Enforce)].concat());
        kernel.replace(&set(&[sample("a", Mode::Complain)])).unwrap();
        assert_eq!(kernel.modes()["a//b"], Mode::Enforce);
        kernel.remove(&name("a")).unwrap();
        assert_eq!(kernel.modes().into_keys().collect::<Vec<_>>(), ["ab"]);
        assert_eq!(errno(kernel.remove(&name("a"))), Some(Errno::ENOENT));
    }

    #[test]
    fn processes_follow_a_replace_and_lose_confinement_on_removal_for_good() {
        let mut kernel = FakeKernel::new();
        kernel.start(1, "/bin/early", &name("a"));
        kernel.load(&[sample("a", Mode::Enforce), sample("a//hat", Mode::Enforce)].concat());
        kernel.start(2, "/bin/a", &name("a//hat"));
        let confined = |kernel: &FakeKernel| {
            let processes = kernel.confined(&[name("a")].into()).unwrap();
            processes.into_iter().map(|process| process.pid).collect::<Vec<_>>()
        };
        kernel.replace(&set(&[sample("a", Mode::Complain)])).unwrap();
        assert_eq!(confined(&kernel), [2]);
        kernel.unload(&name("a"));
        kernel.load(&sample("a", Mode::Enforce));
        assert!(confined(&kernel).is_empty());
        assert_eq!(kernel.unconfined_by_removal(), [(2, name("a//hat"))]);
        kernel.end(1);
        assert_eq!(kernel.processes().unwrap().len(), 1);
    }

    #[test]
    fn the_chosen_effect_fails_and_changes_nothing() {
        let mut kernel = FakeKernel::new();
        let test = kernel.clone();
        let a = set(&[sample("a", Mode::Enforce)]);
        kernel.replace(&a).unwrap();
        test.fail_at(2, Errno::ENOMEM);
        kernel.replace(&a).unwrap();
        assert_eq!(errno(kernel.remove(&name("a"))), Some(Errno::ENOMEM));
        assert!(test.modes().contains_key("a"));
        kernel.remove(&name("a")).unwrap();
        assert_eq!(test.effects(), 4);
    }

    #[test]
    fn the_old_bytes_load_again() {
        let mut kernel = FakeKernel::new();
        let ours: BTreeSet<_> = [name("a"), name("absent")].into();
        kernel.load(&[sample("foreign", Mode::Enforce), sample::blob("a", Mode::Kill, "old")].concat());
        let before = kernel.observe(&ours, None).unwrap();
        let [saved] = &kernel.saved(&ours).unwrap()[..] else { panic!("only what is loaded is saved") };
        kernel.replace(&set(&[sample::blob("a", Mode::Enforce, "new")])).unwrap();
        assert_ne!(kernel.observe(&ours, None).unwrap().loaded, before.loaded);
        let (_, blob) = saved.blob.clone().unwrap();
        kernel.replace(&set(&[blob])).unwrap();
        assert_eq!(kernel.observe(&ours, None).unwrap().loaded, before.loaded);
        assert_eq!(kernel.blob(&name("a")), saved.blob.clone().map(|(_, blob)| blob));
        kernel.forget_bytes();
        assert_eq!(kernel.saved(&ours).unwrap()[0].blob, None);
    }

    #[test]
    fn hashes_are_shown_for_ours_as_the_kernel_is_built() {
        let kernel = FakeKernel::new();
        kernel.load(&[sample("a", Mode::Enforce), sample("foreign", Mode::Enforce)].concat());
        let a = policy::profiles(&sample("a", Mode::Enforce)).unwrap()[0].hash;
        for algorithm in [HashAlgorithm::Sha1, HashAlgorithm::Sha256] {
            kernel.set_hash_algorithm(algorithm);
            let state = kernel.observe(&[name("a")].into(), None).unwrap();
            assert_eq!(state.loaded[&name("a")].hash, Some(a.shown(algorithm)));
            assert_eq!(state.loaded[&name("foreign")].hash, None);
        }
        kernel.set_evidence(Evidence::Name);
        assert_eq!(kernel.observe(&[name("a")].into(), None).unwrap().loaded[&name("a")].hash, None);
        kernel.set_global_mode(Mode::Complain);
        assert_eq!(kernel.observe(&BTreeSet::new(), None).unwrap().global_mode, Mode::Complain);
    }

    #[test]
    fn namespaces_count_for_themselves() {
        let kernel = FakeKernel::new();
        kernel.load(&sample::blob_in(Some("n"), "a", Mode::Enforce, ""));
        kernel.unload(&ProfileName { namespace: Some("n".to_owned()), name: "a".to_owned() });
        let moment = kernel.state().moment();
        assert_eq!((moment.current.revision, moment.below["n"].revision), (0, 2));
    }
}
