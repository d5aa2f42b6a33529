//! Terms that make a profile meaningless.
//!
//! A path is judged by what its pattern matches, not by how it is written: it takes a directory as a whole if it takes
//! a good part of arbitrary names in it ([`Glob::share_of`]).

use crate::acceptance::Objection;
use crate::glob::Glob;
use crate::service::Capability;

/// The share of a directory's names from which on a pattern takes the directory as a whole.
const AS_A_WHOLE: f64 = 0.25;

/// Directories that nobody should write as a whole, outer ones before those within.
const WRITTEN: [(&str, Objection); 39] = [
    ("/", Objection::WriteRoot),
    ("/bin", Objection::WriteBin),
    ("/boot", Objection::WriteBoot),
    ("/dev", Objection::WriteDev),
    ("/etc", Objection::WriteEtc),
    ("/home", Objection::WriteHome),
    ("/lib", Objection::WriteLib),
    ("/lib32", Objection::WriteLib),
    ("/lib64", Objection::WriteLib),
    ("/libx32", Objection::WriteLib),
    ("/proc", Objection::WriteProc),
    ("/root", Objection::WriteHome),
    ("/run", Objection::WriteRun),
    ("/sbin", Objection::WriteBin),
    ("/sys", Objection::WriteSys),
    ("/tmp", Objection::WriteTmp),
    ("/usr", Objection::WriteUsr),
    ("/usr/bin", Objection::WriteBin),
    ("/usr/lib", Objection::WriteLib),
    ("/usr/lib32", Objection::WriteLib),
    ("/usr/lib64", Objection::WriteLib),
    ("/usr/libexec", Objection::WriteBin),
    ("/usr/libx32", Objection::WriteLib),
    ("/usr/local", Objection::WriteUsr),
    ("/usr/local/bin", Objection::WriteBin),
    ("/usr/local/lib", Objection::WriteLib),
    ("/usr/local/sbin", Objection::WriteBin),
    ("/usr/sbin", Objection::WriteBin),
    ("/usr/share", Objection::WriteUsr),
    ("/var", Objection::WriteVar),
    ("/var/cache", Objection::WriteVar),
    ("/var/lib", Objection::WriteVar),
    ("/var/lock", Objection::WriteRun),
    ("/var/log", Objection::WriteVar),
    ("/var/mail", Objection::WriteVar),
    ("/var/run", Objection::WriteRun),
    ("/var/spool", Objection::WriteVar),
    ("/var/tmp", Objection::WriteTmp),
    ("/var/www", Objection::WriteVar),
];

/// Directories of programs.
const PROGRAMS: [&str; 7] =
    ["/bin", "/sbin", "/usr/bin", "/usr/libexec", "/usr/local/bin", "/usr/local/sbin", "/usr/sbin"];

/// What is objected to in writing what `glob` matches: each objection with the directory that is taken as a whole.
/// A directory within another that is taken is not told.
pub(super) fn of_writing(glob: &Glob) -> Vec<(Objection, &'static str)> {
    let mut found: Vec<(Objection, &'static str)> = Vec::new();
    for (directory, objection) in WRITTEN {
        let within =
            |outer: &str| directory.strip_prefix(outer).is_some_and(|rest| outer == "/" || rest.starts_with('/'));
        let known = found.iter().any(|(known, outer)| *known == objection || within(outer));
        if !known && glob.share_of(directory) >= AS_A_WHOLE {
            found.push((objection, directory));
        }
    }
    found
}

/// Whether reading what `glob` matches is reading everything.
pub(super) fn reads_everything(glob: &Glob) -> bool {
    glob.share_of("/") >= AS_A_WHOLE
}

/// The directory of programs that `glob` takes as a whole.
pub(super) fn of_executing(glob: &Glob) -> Option<&'static str> {
    PROGRAMS.into_iter().find(|directory| glob.share_of(directory) >= AS_A_WHOLE)
}

/// What is objected to in a capability.
pub(super) fn of_capability(name: &str) -> Option<Objection> {
    let code = format!("capability-{}", name.replace('_', "-"));
    let known = Capability::WORDS.iter().any(|(word, _)| *word == name);
    Objection::ALL.iter().copied().find(|objection| known && objection.code() == code)
}

/// What to ask for instead.
pub(super) fn narrower(objection: Objection) -> &'static str {
    match objection {
        Objection::WriteRoot | Objection::WriteVar => "directories of the service's own, such as /var/lib/NAME",
        Objection::WriteEtc => "the service's own directory, such as /etc/NAME",
        Objection::WriteUsr | Objection::WriteBin | Objection::WriteLib => {
            "what the service writes belongs below /var/lib/NAME or /var/cache/NAME"
        }
        Objection::WriteBoot => "the single files below /boot",
        Objection::WriteHome => "one directory in homes, such as @{HOME}/.cache/NAME",
        Objection::WriteTmp => "`temp` with a name of the service's own, such as NAME-*",
        Objection::WriteRun => "`runtime` with the service's own path, such as /run/NAME",
        Objection::WriteDev => "the single devices",
        Objection::WriteProc | Objection::WriteSys => "the single files",
        Objection::ReadRoot => "the directories that it reads",
        Objection::ExecuteDirectory => "the single programs, each with its transition",
        Objection::ExecuteUnconfined => "`inherit`, `child`, or a profile that confines the program",
        Objection::NetworkAnyFamily => "a `family`, such as inet and inet6",
        Objection::KernelGlobalMode => "apparmor.mode=enforce on the kernel's command line",
        _ => "ownership, groups or modes that need no such capability; or leave it to whoever starts the service",
    }
}
