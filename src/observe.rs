//! Reads everything that a plan is made from, once; changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::document::{Content, Desired, ProfileWant, Prune};
use crate::error::Error;
use crate::host::Host;
use crate::host::dir::{Dir, Listed};
use crate::host::kernel::Loaded;
use crate::host::parser::{ParserConf, newest_abi, processors};
use crate::host::root::{Entry, Kind, Root};
use crate::ledger::{Attributes, Ledger, Original, Stands, Toolchain};
use crate::plan::{Observed, Places, Standing, Target, is_standing};
use crate::profile::{DISABLE, Digest, FORCE_COMPLAIN, PolicyPath, ProfileName, is_skipped_by_parser};
use crate::tree::{Node, Text, Tree};

mod kernel;
mod programs;
mod references;
mod state;
mod survey;

pub use state::{ADOPTED_DIR, JOURNAL, JOURNAL_DIR, LEDGER, MAX_LEDGER, RECENT, STATE_DIR, read_journal, read_ledger};
pub use survey::survey;

/// The policy directory, below the root.
pub const POLICY_DIR: &str = "/etc/apparmor.d";
/// The parser's configuration, below the root.
pub const PARSER_CONF: &str = "/etc/apparmor/parser.conf";
/// The name of what the last run saw in the kernel, in the directory of the lock.
pub const SIGHTING: &str = "seen";

/// The largest policy file that is read, in bytes. The largest that any distribution ships has 0.1 MiB.
const MAX_POLICY_FILE: u64 = 16 << 20;
/// The largest parser.conf or list of features that is read, in bytes.
const MAX_CONF: u64 = 4 << 20;

/// The host as it will be when an interrupted run is undone, for a run that must not undo it (`--check`).
#[derive(Debug, Default)]
pub struct Assumed {
    /// The places and what will stand there.
    pub places: BTreeMap<PolicyPath, Target>,
    /// The profiles in the kernel; none for those that will not be loaded.
    pub profiles: BTreeMap<ProfileName, Option<Loaded>>,
    /// Profiles of the interrupted run that stay loaded and that no file defines.
    pub left_loaded: BTreeSet<ProfileName>,
}

/// Reads the host.
///
/// # Errors
/// Something that is needed cannot be read, or cannot be trusted.
pub fn observe(host: &Host, desired: &Desired, assumed: &Assumed) -> Result<Observed, Error> {
    let Some(policy) = host.root.dir(Path::new(POLICY_DIR))? else {
        return Err(Error::NoPolicyDirectory { path: host.root.shown(Path::new(POLICY_DIR)) });
    };
    let conf = read_conf(host)?;
    let features = read_features(host, &conf)?;
    let mut reader = Reader {
        root: &host.root,
        search: conf.conf.includes.iter().cloned().chain([PathBuf::from(POLICY_DIR)]).collect(),
        tree: Tree::default(),
        places: Places::default(),
        above: BTreeSet::new(),
        blocked: BTreeMap::new(),
    };
    // Reading the ledger takes about as long as one processor's half of reading the profiles.
    let read =
        reader.top_level(&policy, || read_ledger(host).and_then(|ledger| Ok((ledger, host.parser.identity()?))))?;
    let (mut ledger, parser) = read?;
    ledger.left_loaded.extend(assumed.left_loaded.iter().cloned());
    let toolchain = Toolchain { parser, version: String::new(), conf: conf.digest, features: features.digest() };
    reader.links(DISABLE)?;
    reader.links(FORCE_COMPLAIN)?;
    for file in &desired.files {
        reader.place(&file.path)?;
    }
    for path in ledger.held().keys() {
        reader.place(path)?;
    }
    // All links that switch profiles stand in the same two directories.
    if let Some(profile) = desired.profiles.first() {
        reader.above(&PolicyPath::disable_link(&profile.file))?;
        reader.above(&PolicyPath::force_complain_link(&profile.file))?;
    }
    reader.assume(assumed);
    let sources = reader.sources(desired)?;
    let originals = reader.originals(desired, &ledger)?;
    let programs = reader.programs(desired)?;
    let links = reader.paths(desired)?;
    reader.references(desired, &ledger, &conf.digest, &sources, &originals)?;
    let (kernel, sighting) = match host.kernel.as_deref() {
        Some(kernel) => {
            let (mut state, sighting) = kernel::observe_kernel(host, kernel, &ledger)?;
            assumed.amend(&mut state);
            (Some(state), sighting)
        }
        None => (None, None),
    };
    Ok(Observed {
        tree: reader.tree,
        policy_dir: PathBuf::from(POLICY_DIR),
        search: reader.search,
        places: reader.places,
        blocked: reader.blocked,
        originals,
        sources,
        programs,
        links,
        ledger,
        toolchain,
        parser_conf: conf.conf,
        features,
        conf_files: conf.files,
        attributes: Attributes::ours(0o644),
        kernel,
        sighting,
    })
}

/// Reads the parser's configuration; without a file, the parser's defaults.
///
/// # Errors
/// It cannot be read.
pub fn read_parser_conf(host: &Host) -> Result<ParserConf, Error> {
    read_conf(host).map(|conf| conf.conf)
}

struct Conf {
    conf: ParserConf,
    /// The files that it names, as far as they are there.
    files: Vec<(PathBuf, Arc<Text>)>,
    digest: Digest,
}

fn read_conf(host: &Host) -> Result<Conf, Error> {
    let bytes = host.root.read(Path::new(PARSER_CONF), MAX_CONF)?.map_or_else(Vec::new, |read| read.bytes);
    let conf = ParserConf::parse(&bytes);
    let mut files = Vec::new();
    for path in conf.files() {
        if let Some(read) = host.root.read(path, MAX_CONF)? {
            files.push((path.to_path_buf(), Arc::new(Text::new(read.bytes))));
        }
    }
    let digest = Digest::of_parts(std::iter::once(&bytes[..]).chain(files.iter().map(|(_, text)| &text.bytes[..])));
    Ok(Conf { conf, files, digest })
}

/// The kernel features to compile for: those asked for on the command line, else those that parser.conf names, else
/// those of the kernel that is managed, else those of the newest abi that the root ships, else the policy features that
/// parser.conf pins. A parser that is given none falls back to a tiny set.
fn read_features(host: &Host, conf: &Conf) -> Result<Arc<Text>, Error> {
    if let Some(path) = &host.kernel_features {
        let (parent, name) = (path.parent().filter(|parent| !parent.as_os_str().is_empty()), path.file_name());
        let directory = Dir::open(parent.unwrap_or(Path::new(".")))?;
        let read = name.map(|name| directory.read(name, MAX_CONF)).transpose()?.flatten();
        let read = read.ok_or_else(|| Error::File {
            act: "read the kernel features from",
            path: path.clone(),
            source: std::io::ErrorKind::NotFound.into(),
        })?;
        // The parser takes any file for one without features, and compiles policy that mediates nothing.
        if !read.bytes.contains(&b'{') {
            return Err(Error::Parser {
                message: format!("{} does not list kernel features", path.display()),
                remedy: "give a file as `aa-features-abi -x -w FILE` writes it, or one of /etc/apparmor.d/abi"
                    .to_owned(),
            });
        }
        return Ok(Arc::new(Text::new(read.bytes)));
    }
    if let Some(path) = &conf.conf.kernel_features {
        if let Some(read) = host.root.read(path, MAX_CONF)? {
            return Ok(Arc::new(Text::new(read.bytes)));
        }
    }
    if let Some(kernel) = &host.kernel {
        return Ok(Arc::new(Text::new(kernel.features()?)));
    }
    let abi = Path::new(POLICY_DIR).join("abi");
    let names = host.root.list(&abi)?.unwrap_or_else(Vec::new);
    let names = names.iter().filter_map(|listed| listed.name.to_str());
    if let Some(newest) = newest_abi(names) {
        if let Some(read) = host.root.read(&abi.join(newest), MAX_CONF)? {
            return Ok(Arc::new(Text::new(read.bytes)));
        }
    }
    if let Some((_, text)) = conf.files.first() {
        return Ok(Arc::clone(text));
    }
    Err(Error::Parser {
        message: format!(
            "no kernel features to compile for: {} has no `abi` files",
            host.root.shown(Path::new(POLICY_DIR)).display()
        ),
        remedy: "name a file with --kernel-features, or install the apparmor package below the root".to_owned(),
    })
}

struct Reader<'a> {
    root: &'a Root,
    search: Vec<PathBuf>,
    tree: Tree,
    places: Places,
    /// The directories above places that were looked at.
    above: BTreeSet<PolicyPath>,
    blocked: BTreeMap<PolicyPath, String>,
}

impl Reader<'_> {
    /// Every file at the top of the policy directory that the parser would read. `beside` runs at the same time.
    fn top_level<B>(&mut self, policy: &Dir, beside: impl FnOnce() -> B) -> Result<B, Error> {
        let listed = policy.list()?;
        let names = self.names_read(Path::new(POLICY_DIR), &listed)?;
        let work = |name: &&str| -> Result<(Standing, Option<Arc<Text>>), Error> {
            let standing = standing_of(policy.entry(name, MAX_POLICY_FILE)?, || {
                self.root.kind(&Path::new(POLICY_DIR).join(name))
            })?;
            let text = match &standing {
                Standing::File(text, _) => Some(Arc::clone(text)),
                Standing::Link { resolves: true, .. } => self.followed(&Path::new(POLICY_DIR).join(name))?,
                _ => None,
            };
            if let Some(text) = &text {
                text.digest();
            }
            Ok((standing, text))
        };
        let (read, besides) = in_parallel(&names, work, beside);
        let mut files = Vec::new();
        for (name, read) in names.into_iter().zip(read) {
            let (standing, text) = read?;
            if let Some(text) = text {
                files.push(name.to_owned());
                self.tree.insert(Path::new(POLICY_DIR).join(name), Node::File(text));
            }
            if let Ok(path) = PolicyPath::any(name) {
                self.places.insert(path, standing);
            }
        }
        self.tree.insert(PathBuf::from(POLICY_DIR), Node::Directory(Arc::new(files.into_iter().collect())));
        Ok(besides)
    }

    /// The names in a directory that the parser reads. One that no path of this program can express is refused: to
    /// leave it out would be to compile other policy than the parser does.
    fn names_read<'l>(&self, directory: &Path, listed: &'l [Listed]) -> Result<Vec<&'l str>, Error> {
        let mut names = Vec::new();
        for listed in listed {
            match listed.name.to_str().filter(|name| !name.chars().any(char::is_control)) {
                Some(name) if is_skipped_by_parser(name) => {}
                Some(name) => names.push(name),
                None if is_skipped_by_parser(&listed.name.to_string_lossy()) || listed.kind == Kind::Directory => {}
                None => {
                    return Err(Error::Untrusted {
                        path: self.root.shown(&directory.join(&listed.name)),
                        why: "apparmor_parser reads it, and its name is not UTF-8 or has control characters".to_owned(),
                        remedy: "rename it, or move it away".to_owned(),
                    });
                }
            }
        }
        Ok(names)
    }

    fn followed(&self, path: &Path) -> Result<Option<Arc<Text>>, Error> {
        match self.root.follow(path, MAX_POLICY_FILE)? {
            Entry::File(read) => Ok(Some(Arc::new(Text::new(read.bytes)))),
            _ => Ok(None),
        }
    }

    fn links(&mut self, directory: &str) -> Result<(), Error> {
        let listed = self.root.list(&Path::new(POLICY_DIR).join(directory))?.unwrap_or_else(Vec::new);
        for name in listed.iter().filter_map(|listed| listed.name.to_str()) {
            if let Ok(path) = PolicyPath::any(format!("{directory}/{name}")) {
                self.place(&path)?;
            }
        }
        Ok(())
    }

    /// Looks at what stands above a place: directories, links to directories below the root, or nothing will do.
    fn above(&mut self, path: &PolicyPath) -> Result<(), Error> {
        for parent in path.parents() {
            if !self.above.insert(parent.clone()) {
                continue;
            }
            let at = Path::new(POLICY_DIR).join(parent.as_str());
            let what = match (self.root.entry(&at, MAX_POLICY_FILE)?, self.root.kind(&at)?) {
                (Entry::Absent, _) | (_, Some(Kind::Directory)) => continue,
                (Entry::Link { target }, _) => format!("a link to {}, which is no directory here", target.display()),
                (_, Some(kind)) => kind.to_string(),
                (_, None) => "not there any more".to_owned(),
            };
            self.blocked.insert(parent, what);
        }
        Ok(())
    }

    fn place(&mut self, path: &PolicyPath) -> Result<(), Error> {
        if self.places.get(path).is_some() {
            return Ok(());
        }
        self.above(path)?;
        let at = Path::new(POLICY_DIR).join(path.as_str());
        let entry = self.root.entry(&at, MAX_POLICY_FILE)?;
        let standing = standing_of(entry, || self.root.kind(&at))?;
        if let Standing::File(text, _) = &standing {
            self.tree.insert(at, Node::File(Arc::clone(text)));
        }
        self.places.insert(path.clone(), standing);
        Ok(())
    }

    fn assume(&mut self, assumed: &Assumed) {
        for (path, target) in &assumed.places {
            let at = Path::new(POLICY_DIR).join(path.as_str());
            let standing = match target {
                Target::Absent => Standing::Absent,
                Target::File(text, attributes) => Standing::File(Arc::clone(text), *attributes),
                Target::Link(target) => Standing::Link { target: target.clone(), resolves: true },
            };
            let text = match &standing {
                Standing::File(text, _) => Some(Arc::clone(text)),
                _ => None,
            };
            self.tree.assume(at, text);
            self.places.insert(path.clone(), standing);
        }
    }

    fn sources(&self, desired: &Desired) -> Result<BTreeMap<PathBuf, Result<Arc<Text>, String>>, Error> {
        let mut found = BTreeMap::new();
        for (_, content) in contents(desired) {
            let Content::Source { path, .. } = content else { continue };
            let read = match self.root.read(path, crate::document::MAX_TEXT as u64) {
                Ok(Some(read)) => Ok(Arc::new(Text::new(read.bytes))),
                Ok(None) => Err(format!("{} is not there", self.root.shown(path).display())),
                Err(error) => Err(error.to_string()),
            };
            found.insert(path.clone(), read);
        }
        Ok(found)
    }

    /// The adopted files that this run may put back or start from.
    fn originals(&self, desired: &Desired, ledger: &Ledger) -> Result<BTreeMap<PolicyPath, Arc<Text>>, Error> {
        let replaced: BTreeSet<PolicyPath> = desired
            .profiles
            .iter()
            .filter(|profile| !matches!(profile.want, ProfileWant::ModeOnly { .. }))
            .map(|profile| PolicyPath::from(&profile.file))
            .chain(desired.files.iter().map(|file| file.path.clone()))
            .collect();
        let mode_only: BTreeSet<PolicyPath> =
            desired.profiles.iter().map(|profile| PolicyPath::from(&profile.file)).collect();
        let mut found = BTreeMap::new();
        for (path, held) in ledger.held() {
            let ours = held.owner == desired.owner || desired.supersedes.contains(&held.owner);
            let needed = mode_only.contains(path) || desired.prune == Prune::Unlisted;
            let Original::Kept(Stands::File { sha256, .. }) = &held.original else { continue };
            // What somebody changed since is not given back.
            let stands = self.places.get(path).is_some_and(|standing| is_standing(&held.stands, standing));
            if !ours || !needed || replaced.contains(path) || !stands {
                continue;
            }
            let at = Path::new(STATE_DIR).join(ADOPTED_DIR).join(sha256.to_string());
            let text = self.root.read(&at, MAX_POLICY_FILE)?.map(|read| Text::new(read.bytes));
            let text = text.filter(|text| text.digest() == *sha256).ok_or_else(|| Error::Untrusted {
                path: self.root.shown(&at),
                why: format!("it should hold what `{path}` was before it was taken over, and does not"),
                remedy: format!("bring the file back, or list `{path}` in the document with a text or as absent"),
            })?;
            found.insert(path.clone(), Arc::new(text));
        }
        Ok(found)
    }
}

/// Everything that the document brings, with its place.
fn contents(desired: &Desired) -> impl Iterator<Item = (PolicyPath, &Content)> {
    let profiles = desired.profiles.iter().filter_map(|profile| match &profile.want {
        ProfileWant::Text { content, .. } => Some((PolicyPath::from(&profile.file), content)),
        ProfileWant::ModeOnly { .. } | ProfileWant::Absent => None,
    });
    profiles.chain(desired.files.iter().filter_map(|file| Some((file.path.clone(), file.content.as_ref()?))))
}

/// What an entry is to a plan; `followed` says what a link leads to.
pub(crate) fn standing_of(
    entry: Entry,
    followed: impl FnOnce() -> Result<Option<Kind>, Error>,
) -> Result<Standing, Error> {
    Ok(match entry {
        Entry::Absent => Standing::Absent,
        Entry::File(read) => Standing::File(Arc::new(Text::new(read.bytes)), read.attributes),
        Entry::Directory => Standing::Directory,
        Entry::Link { target } => {
            Standing::Link { target: target.to_string_lossy().into_owned(), resolves: followed()?.is_some() }
        }
        Entry::Special(what) => Standing::Other(what),
    })
}

/// Does the work for each item on all processors, and on one of them first what is to be done beside it. Returns the
/// results in order.
fn in_parallel<T: Sync, R: Send, B>(
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
    beside: impl FnOnce() -> B,
) -> (Vec<R>, B) {
    let workers = processors().get().min(items.len().div_ceil(64)).max(1);
    if workers == 1 {
        return (items.iter().map(work).collect(), beside());
    }
    let next = AtomicUsize::new(0);
    let chunk = |worker: &AtomicUsize| {
        let mut done = Vec::new();
        loop {
            let start = worker.fetch_add(32, Ordering::Relaxed);
            let Some(slice) = items.get(start..(start + 32).min(items.len())).filter(|slice| !slice.is_empty()) else {
                return done;
            };
            done.push((start, slice.iter().map(&work).collect::<Vec<R>>()));
        }
    };
    let (mut chunks, besides): (Vec<(usize, Vec<R>)>, B) = thread::scope(|scope| {
        let others: Vec<_> = (1..workers).map(|_| scope.spawn(|| chunk(&next))).collect();
        let besides = beside();
        let mut chunks = chunk(&next);
        for other in others {
            match other.join() {
                Ok(more) => chunks.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        (chunks, besides)
    });
    chunks.sort_by_key(|(start, _)| *start);
    (chunks.into_iter().flat_map(|(_, results)| results).collect(), besides)
}
