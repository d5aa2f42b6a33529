//! Access that makes a profile meaningless.
//!
//! A path is judged by what its pattern matches, not by how it is written: whether it reaches, in a directory that
//! belongs to others too, names that nobody wrote out ([`Glob::has_unnamed`]), and whether it reaches what must not be
//! reached even by name. What is asked for in many parts is judged together besides ([`together`]).

use std::collections::BTreeSet;
use std::sync::LazyLock;

use crate::acceptance::Objection;
use crate::glob::{Glob, Letters};
use crate::service::Capability;
use crate::syntax::Variables;

mod mediated;
mod places;

pub(super) use mediated::{is_unconfined, is_unconfined_or_open, of_mediated};

/// How many characters of a name in a directory that others use must be written out, so that it is one's own.
const LETTERS: Letters = Letters { first: 3, others: 3 };

/// The same for `/`, where names are few and short.
const LETTERS_IN_ROOT: Letters = Letters { first: 1, others: 3 };

/// A directory, and what is objected to in taking it as a whole.
struct Directory {
    path: &'static str,
    glob: Glob,
    contents: Glob,
    objection: Objection,
}

impl Directory {
    fn new(path: &'static str, objection: Objection) -> Self {
        Self { path, glob: pattern(path), contents: pattern(&format!("{path}**")), objection }
    }

    /// In what way a pattern takes it, if it does.
    fn taken_by(&self, glob: &Glob) -> Option<String> {
        let letters = if self.path == "/" { LETTERS_IN_ROOT } else { LETTERS };
        if !glob.has_unnamed(&self.glob, letters) {
            None
        } else if glob.covers(&self.contents) {
            Some(format!("takes {} as a whole", shown(self.path)))
        } else {
            Some(format!("takes what it does not name in {}", shown(self.path)))
        }
    }
}

fn shown(directory: &str) -> &str {
    if directory == "/" { directory } else { directory.trim_end_matches('/') }
}

/// A pattern of this program's own, which has no variables and so cannot fail.
fn pattern(text: &str) -> Glob {
    Glob::new(text, &Variables::default()).unwrap_or_else(|_| Glob::union([]))
}

static WRITTEN: LazyLock<Vec<Directory>> =
    LazyLock::new(|| places::WRITTEN.map(|(path, objection)| Directory::new(path, objection)).into());

static EXECUTED: LazyLock<Vec<Directory>> = LazyLock::new(|| {
    let paths = places::PROGRAMS.iter().chain(&places::OTHERS_FILES);
    paths.map(|path| Directory::new(path, Objection::ExecuteDirectory)).collect()
});

/// Guarded places of one objection: all of them, and one by one.
struct Guarded {
    objection: Objection,
    all: Glob,
    each: Vec<(&'static str, Glob)>,
}

static GUARDED: LazyLock<Vec<Guarded>> = LazyLock::new(|| {
    let guarded = places::GUARDED.into_iter().map(|(objection, places)| {
        let each: Vec<_> = places.iter().map(|place| (*place, pattern(place))).collect();
        Guarded { objection, all: Glob::union(each.iter().map(|(_, glob)| glob)), each }
    });
    guarded.collect()
});

static LIBRARIES: LazyLock<Glob> = LazyLock::new(|| Glob::union(&places::LIBRARIES.map(pattern)));

static WELL_KNOWN: LazyLock<Vec<(Directory, Vec<Glob>)>> = LazyLock::new(|| {
    let known = places::WELL_KNOWN.into_iter().map(|(path, objection, names)| {
        (Directory::new(path, objection), names.iter().map(|name| pattern(&format!("{path}{name}"))).collect())
    });
    known.collect()
});

static READ: LazyLock<Glob> = LazyLock::new(|| Glob::union(&places::READ.map(pattern)));

/// What is objected to in `permissions` (letters of `mrwklx`) on what `glob` matches, and in what way each time.
///
/// What lies within a directory that is taken as a whole is not told besides. Among libraries a service may write what
/// `own` covers alone.
pub(super) fn of_files(glob: &Glob, permissions: &str, own: &Glob) -> Vec<(Objection, String)> {
    let has = |letter: char| permissions.contains(letter);
    let mut found: Vec<(Objection, String)> = Vec::new();
    let mut taken: Vec<&str> = Vec::new();
    // A link is a new name, as a file that is created is.
    let writes = has('w') || has('l');
    if writes {
        for directory in WRITTEN.iter() {
            if taken.iter().any(|outer| directory.path.starts_with(outer)) {
                continue;
            }
            if let Some(how) = directory.taken_by(glob) {
                taken.push(directory.path);
                if found.iter().all(|(known, _)| *known != directory.objection) {
                    found.push((directory.objection, how));
                }
            }
        }
    }
    if has('r') && !taken.contains(&"/") {
        let root = &WRITTEN[0];
        if let Some(how) = root.taken_by(glob) {
            found.push((Objection::ReadRoot, how));
            taken.push(root.path);
        }
    }
    for guarded in GUARDED.iter() {
        let concerned = writes || guarded.objection == Objection::RawDevice && has('r');
        let told = found.iter().any(|(known, _)| *known == guarded.objection);
        if !concerned || told || !glob.meets(&guarded.all) {
            continue;
        }
        let mut reached = guarded.each.iter().filter(|(place, _)| !taken.iter().any(|outer| place.starts_with(outer)));
        if let Some((place, _)) = reached.find(|(_, one)| glob.meets(one)) {
            found.push((guarded.objection, format!("reaches {place}")));
        }
    }
    let libraries_are_told = found.iter().any(|(objection, _)| *objection == Objection::WriteLib)
        || taken.iter().any(|outer| ["/", "/usr/"].contains(outer));
    if writes && !libraries_are_told && glob.meets(&LIBRARIES) && !own.covers(glob) {
        found.push((Objection::WriteLib, "reaches libraries in a directory that is not the service's own".to_owned()));
    }
    let concerned = match (has('x'), has('m')) {
        (true, _) => EXECUTED.len(),
        (false, true) => places::PROGRAMS.len(),
        (false, false) => 0,
    };
    if let Some((objection, how)) =
        EXECUTED[..concerned].iter().find_map(|directory| Some((directory.objection, directory.taken_by(glob)?)))
    {
        found.push((objection, how));
    }
    found
}

/// What is objected to in all that a service may write, or read, together: each objection with the way.
///
/// Whether one pattern takes a directory is [`of_files`]' question, and patterns that each name what they take can
/// only take all of a directory by naming what is in it.
pub(super) fn together(written: &[&Glob], read: &[&Glob]) -> Vec<(Objection, String)> {
    let mut found = Vec::new();
    for (directory, names) in WELL_KNOWN.iter() {
        let reached = names.iter().filter(|name| written.iter().any(|glob| glob.meets(name))).count();
        if reached * 2 >= names.len() {
            found.push((directory.objection, format!("takes most of what is in {}", shown(directory.path))));
        }
    }
    if Glob::union(read.iter().copied()).covers(&READ) {
        found.push((Objection::ReadRoot, "takes all of /etc, /home, /root and /var".to_owned()));
    }
    found
}

/// The directories of a service's own among libraries, by its names.
pub(super) fn own_libraries<'n>(names: impl IntoIterator<Item = &'n str>) -> Glob {
    let globs: Vec<Glob> = names
        .into_iter()
        .map(|name| pattern(&format!("/{{,usr/,usr/local/}}lib{{,32,64,x32}}/{{,*-linux-gnu*/}}{name}{{,/**}}")))
        .collect();
    Glob::union(&globs)
}

/// Whether a path is a directory that every host has.
pub(super) fn is_known_directory(path: &str) -> bool {
    let directory = format!("{}/", path.trim_end_matches('/'));
    places::WRITTEN.iter().any(|(path, _)| *path == directory)
        || places::OTHERS_FILES.contains(&directory.as_str())
        || places::PROGRAMS.contains(&directory.as_str())
}

/// What is objected to in a hard link to what `target` matches. Without `subset`, a link gives its target the
/// permissions of the link's own path (apparmor.d(5), link rules).
pub(super) fn of_link_target(target: &Glob, own: &Glob) -> Option<Objection> {
    let reached = of_files(target, "rw", own);
    (!reached.is_empty()).then_some(Objection::LinkAny)
}

/// What is objected to in a capability.
pub(super) fn of_capability(name: &str) -> Option<Objection> {
    let code = format!("capability-{}", name.replace('_', "-"));
    let known = Capability::WORDS.iter().any(|(word, _)| *word == name);
    Objection::ALL.iter().copied().find(|objection| known && objection.code() == code)
}

/// What is objected to in everything at once: `all,`.
pub(super) fn of_everything() -> BTreeSet<Objection> {
    BTreeSet::from([
        Objection::WriteRoot,
        Objection::ExecuteDirectory,
        Objection::CapabilityAny,
        Objection::NetworkAnyFamily,
        Objection::ChangeProfileAny,
        Objection::MountAny,
        Objection::PtraceAny,
        Objection::SignalAny,
        Objection::DbusAny,
        Objection::UnixAny,
        Objection::LinkAny,
    ])
}

/// What to ask for instead.
pub(super) fn narrower(objection: Objection) -> &'static str {
    match objection {
        Objection::WriteRoot | Objection::WriteVar => "directories of the service's own, such as /var/lib/NAME",
        Objection::WriteEtc => "the service's own directory, such as /etc/NAME",
        Objection::WriteUsr | Objection::WriteBin | Objection::WriteLib => {
            "what the service writes belongs below /var/lib/NAME or /var/cache/NAME; among libraries /usr/lib/NAME is its own"
        }
        Objection::WriteBoot => "nothing below /boot: what installs kernels is not a service's work",
        Objection::WriteHome => "one directory in homes, such as @{HOME}/.cache/NAME",
        Objection::WriteTmp => {
            "a name of the service's own, such as NAME-* under `temp`; TMPDIR in its environment, for a directory under `data`; \
             or PrivateTmp=yes in its unit, which gives it a /tmp of its own and is a reason to accept"
        }
        Objection::WriteRun => "`runtime` with the service's own path, such as /run/NAME",
        Objection::WriteDev => "the single devices",
        Objection::WriteProc | Objection::WriteSys => "the single files",
        Objection::WriteAccounts | Objection::WriteStartup | Objection::WritePolicy => {
            "paths of the service's own; what installs or configures the host is not a service's work"
        }
        Objection::WriteKernel => "sysctl.d(5), which sets it before the service starts",
        Objection::RawDevice => "the files on it",
        Objection::ControlSocket => "an own socket of that daemon with fewer rights, or a proxy that filters requests",
        Objection::ReadRoot => "the directories that it reads",
        Objection::ExecuteDirectory => "the single programs, each with its transition",
        Objection::WriteExecute => "data apart from programs and libraries, such as below /var/lib/NAME",
        Objection::ExecuteUnconfined => "`inherit`, `child`, or a profile that confines the program",
        Objection::NetworkAnyFamily => "a `family`, such as inet and inet6",
        Objection::LinkAny => "`link subset`, or targets in directories of the service's own",
        Objection::ChangeProfileAny => "the profile's name after ->",
        Objection::MountAny => "the place where it mounts, such as -> /run/NAME/**",
        Objection::PtraceAny => "`read`, or the traced profile's name as `peer`",
        Objection::SignalAny => "`signals` with a profile's name as `peer`",
        Objection::DbusAny => {
            "`send` with `peer=(name=…)`, an interface that the peer alone has, or `bind` with `name=…`, each written out; never `eavesdrop`"
        }
        Objection::UnixAny => "the other socket, as `peer=(addr=…)` or `peer=(label=…)`",
        Objection::KernelGlobalMode => "apparmor.mode=enforce on the kernel's command line",
        _ => "ownership, groups or modes that need no such capability; or leave it to whoever starts the service",
    }
}
