//! What the kernel runs, read from its own files, and what other people do to it.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};

use std::path::{Path, PathBuf};
use std::process::Stdio;

use fs_err::os::unix::fs::OpenOptionsExt as _;

use crate::guest::{PARSER, command, tool};

const APPARMOR: &str = "/sys/kernel/security/apparmor";
const PARAMETERS: &str = "/sys/module/apparmor/parameters";

/// A profile in the kernel, as the kernel tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loaded {
    pub(crate) mode: String,
    /// Of the compiled profile; `None` where the kernel has no hashes.
    pub(crate) hash: Option<String>,
}

/// Everything that is loaded, by full name: `:namespace://parent//child`.
pub(crate) type Policy = BTreeMap<String, Loaded>;

/// Everything that is loaded, less what the kernel makes itself in complain mode.
pub(crate) fn policy() -> Policy {
    let mut policy = Policy::new();
    // `policy` is a magic link, which the `/` follows.
    walk(Path::new("/sys/kernel/security/apparmor/policy/"), "", &mut policy);
    let list = fs_err::read_to_string(format!("{APPARMOR}/profiles")).unwrap();
    let listed = list.lines().filter(|line| !line.contains("//null-"));
    let listed: BTreeMap<_, _> = listed
        .map(|line| line.strip_suffix(')').unwrap().rsplit_once(" (").unwrap())
        .map(|(name, mode)| (spelled_out(name), mode.to_owned()))
        .collect();
    let walked = policy.iter().map(|(name, loaded)| (name.clone(), loaded.mode.clone()));
    assert_eq!(listed, walked.collect(), "the kernel's list and its directories tell the same");
    policy
}

/// The list has `:namespace:name` where everything else has `:namespace://name`.
fn spelled_out(name: &str) -> String {
    match name.strip_prefix(':').and_then(|inside| inside.split_once(':')) {
        Some((namespace, name)) => format!(":{namespace}://{}", name.trim_start_matches("//")),
        None => name.to_owned(),
    }
}

/// The directory of a profile of the root namespace that has no other of a similar name beside it.
pub(crate) fn directory(name: &str) -> PathBuf {
    let profiles = fs_err::read_dir("/sys/kernel/security/apparmor/policy/profiles").unwrap();
    let mut paths = profiles.map(|entry| entry.unwrap().path());
    let found = paths.find(|path| path.file_stem() == Some(name.as_ref()));
    found.unwrap_or_else(|| panic!("`{name}` is not loaded"))
}

fn walk(namespace: &Path, path: &str, policy: &mut Policy) {
    let prefix = if path.is_empty() { String::new() } else { format!(":{path}://") };
    let mut pending = vec![(namespace.join("profiles"), prefix)];
    while let Some((directory, prefix)) = pending.pop() {
        for entry in fs_err::read_dir(directory).unwrap() {
            let directory = entry.unwrap().path();
            let read =
                |file: &str| fs_err::read_to_string(directory.join(file)).ok().map(|it| it.trim_end().to_owned());
            let name = format!("{prefix}{}", read("name").unwrap());
            if name.contains("//null-") {
                continue;
            }
            let loaded = Loaded { mode: read("mode").unwrap(), hash: read("sha256").or_else(|| read("sha1")) };
            policy.insert(name.clone(), loaded);
            if directory.join("profiles").exists() {
                pending.push((directory.join("profiles"), format!("{name}//")));
            }
        }
    }
    for entry in fs_err::read_dir(namespace.join("namespaces")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let below = if path.is_empty() { name } else { format!("{path}//{name}") };
        walk(&entry.path(), &below, policy);
    }
}

/// How many changes each namespace's policy has seen so far.
pub(crate) fn revisions() -> BTreeMap<String, u64> {
    let mut revisions = BTreeMap::new();
    if Path::new(APPARMOR).exists() {
        collect_revisions(Path::new("/sys/kernel/security/apparmor/policy/"), "", &mut revisions);
    }
    revisions
}

fn collect_revisions(namespace: &Path, path: &str, revisions: &mut BTreeMap<String, u64>) {
    // A read waits for the next change if there was none since the last read, which is taken to have seen a 0
    // (security/apparmor/apparmorfs.c, `ns_revision_read`).
    let mut buffer = [0; 32];
    let nonblocking = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let mut options = fs_err::OpenOptions::new();
    options.read(true).custom_flags(nonblocking);
    let revision = match options.open(namespace.join("revision")).unwrap().read(&mut buffer) {
        Ok(length) => std::str::from_utf8(&buffer[..length]).unwrap().trim().parse().unwrap(),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
            0
        }
    };
    revisions.insert(path.to_owned(), revision);
    for entry in fs_err::read_dir(namespace.join("namespaces")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        collect_revisions(&entry.path(), &format!("{path}//{name}"), revisions);
    }
}

/// The revision of the root namespace's policy.
pub(crate) fn revision() -> u64 {
    revisions()[""]
}

/// Loads policy as an administrator would, with further options of apparmor_parser.
#[track_caller]
pub(crate) fn load_with(options: &[&str], text: &str) {
    let mut parser = command(PARSER);
    parser.args(["--replace", "--skip-cache"]).args(options).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = parser.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    // It also ends with success when it could not load a hat or child.
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Loads policy as an administrator would.
#[track_caller]
pub(crate) fn load(text: &str) {
    load_with(&[], text);
}

/// Loads compiled policy, all of a file in one write.
#[track_caller]
pub(crate) fn load_compiled(path: &Path) {
    fs_err::write(format!("{APPARMOR}/.replace"), fs_err::read(path).unwrap()).unwrap();
}

/// Removes a profile as an administrator would.
#[track_caller]
pub(crate) fn remove(name: &str) {
    fs_err::write(format!("{APPARMOR}/.remove"), name).unwrap();
}

/// What the kernel runs of these texts, each loaded as apparmor_parser compiles it. None of their profiles may be
/// loaded; none is afterwards.
#[track_caller]
pub(crate) fn reference<'t>(texts: impl IntoIterator<Item = &'t str>) -> Policy {
    let before = policy();
    let (source, blob) = ("/tmp/reference", "/tmp/reference.bin");
    for text in texts {
        fs_err::write(source, text).unwrap();
        tool(PARSER, ["--skip-kernel-load", "--skip-cache", "--ofile", blob, source]);
        // One write for all of them: `--replace` would lose the children of profiles in namespaces.
        load_compiled(Path::new(blob));
    }
    let mut made = policy();
    made.retain(|name, _| !before.contains_key(name));
    assert!(!made.is_empty(), "the texts define profiles that were not loaded before");
    unload(made.keys());
    assert_eq!(policy(), before, "nothing is left of the reference");
    made
}

/// Removes everything from the kernel.
pub(crate) fn unload_everything() {
    unload(policy().keys());
    assert_eq!(policy(), Policy::new());
}

/// Removes profiles, their children with them; a namespace as soon as one in it is named.
fn unload<'n>(names: impl IntoIterator<Item = &'n String>) {
    let mut gone: Vec<String> = Vec::new();
    for name in names {
        let top = match name.strip_prefix(':') {
            Some(inside) => format!(":{}:", inside.split(['/', ':']).next().unwrap()),
            None => name.split("//").next().unwrap().to_owned(),
        };
        if !gone.contains(&top) {
            remove(&top);
            gone.push(top);
        }
    }
}

/// Sets a parameter of the module, as on the kernel's command line.
pub(crate) fn set_parameter(name: &str, value: &str) {
    let path = format!("{PARAMETERS}/{name}");
    fs_err::write(&path, value).unwrap();
    assert_eq!(fs_err::read_to_string(&path).unwrap().trim_end(), value);
}
