//! Running processes, through procfs: what they execute, what confines them, and which unit they belong to.
//!
//! A process may end at any moment: what is gone while it is read is left out, and is no error.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, readlink};
use nix::sys::stat::{Mode, SFlag, fstat, stat};

use super::Process;
use super::files::{names_in, read_bytes, read_text};
use super::securityfs::mode_from_kernel;
use crate::error::Error;
use crate::profile::ProfileName;

/// The most that is read of a process's arguments, or of a script's first line, in bytes: an interpreter's name has at
/// most 256 (execve(2)).
const MAX_ARGUMENTS: u64 = 1 << 20;
const MAX_FIRST_LINE: usize = 256;

/// Lists all processes, by number.
pub(super) fn list(proc: &Path) -> Result<Vec<Process>, Error> {
    let mut processes: Vec<Process> =
        pids(proc)?.into_iter().filter_map(|pid| process(&proc.join(pid.to_string()), pid)).collect();
    processes.sort_unstable_by_key(|process| process.pid);
    Ok(processes)
}

/// Lists the processes of which any thread runs under one of `names`: a thread changes into a hat by itself.
pub(super) fn confined(proc: &Path, names: &BTreeSet<ProfileName>) -> Result<Vec<Process>, Error> {
    let mut processes = Vec::new();
    for pid in pids(proc)? {
        let directory = proc.join(pid.to_string());
        let tasks = directory.join("task");
        let Some(mut process) = process(&directory, pid) else { continue };
        for task in names_in(&tasks)? {
            for name in confinement(&tasks.join(task)).unwrap_or_default() {
                if !process.profiles.contains(&name) {
                    process.profiles.push(name);
                }
            }
        }
        if process.is_confined_by(names) {
            processes.push(process);
        }
    }
    processes.sort_unstable_by_key(|process| process.pid);
    Ok(processes)
}

fn pids(proc: &Path) -> Result<Vec<u32>, Error> {
    Ok(names_in(proc)?.iter().filter_map(|name| name.parse().ok()).collect())
}

/// Reads one process. A thread of the kernel executes nothing (proc(5), `/proc/pid/exe`), and nothing confines it.
fn process(directory: &Path, pid: u32) -> Option<Process> {
    let (directory, executable) = executing(directory)?;
    let directory = &*directory;
    let profiles = confinement(directory)?;
    let script = if profiles.is_empty() { script(directory, &executable) } else { None };
    let unit = unit_of(directory);
    let executable = Some(executable).filter(|path| !path.as_os_str().is_empty());
    Some(Process { pid, executable, script, unit, profiles })
}

/// What a process executes, and the directory that shows it: its own, or that of another of its threads where the first
/// one, which the kernel shows as the process, has ended and executes nothing any more. `None` if none executes
/// anything.
fn executing(directory: &Path) -> Option<(Cow<'_, Path>, PathBuf)> {
    let of = |directory: &Path| match readlink(&directory.join("exe")) {
        Ok(path) => Some(without_deleted(path.into())),
        Err(Errno::ENOENT | Errno::ESRCH) => None,
        // Its executable is not shown to us, and its confinement is what matters.
        Err(_) => Some(PathBuf::new()),
    };
    if let Some(executable) = of(directory) {
        return Some((directory.into(), executable));
    }
    let tasks = directory.join("task");
    // Threads of the kernel are alone. Their number is the links of the directory beyond its own two (fs/proc/base.c,
    // `proc_task_getattr`), and there are hundreds of them.
    if stat(&tasks).ok()?.st_nlink == 3 {
        return None;
    }
    names_in(&tasks)
        .ok()?
        .into_iter()
        .map(|task| tasks.join(task))
        .find_map(|task| Some((of(&task)?, task)))
        .map(|(executable, task)| (Cow::Owned(task), executable))
}

/// The profiles that a process or thread runs under; `None` if it is gone.
fn confinement(directory: &Path) -> Option<Vec<ProfileName>> {
    // With other security modules beside AppArmor, `attr/current` may be another's (Documentation/security/lsm.rst).
    let own = read_text(&directory.join("attr/apparmor/current"));
    let label = match own {
        Err(error) if error.kind() == io::ErrorKind::NotFound => read_text(&directory.join("attr/current")),
        read => read,
    };
    match label {
        Ok(label) => Some(profiles_of(&label)),
        // Where no security module answers, nothing confines (security/security.c, `security_getprocattr`).
        Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => Some(Vec::new()),
        Err(_) => None,
    }
}

/// Reads a label: one profile or a stack, `a (enforce)//&b (complain)` or `a//&b (enforce)` (security/apparmor/label.c,
/// `aa_label_snxprint`). What is unconfined here is no profile; in another policy namespace it is that namespace's.
fn profiles_of(label: &str) -> Vec<ProfileName> {
    let parts = label.trim_end_matches(['\n', '\0']).split("//&");
    let names = parts.filter_map(|part| {
        let name = match part.strip_suffix(')').and_then(|part| part.rsplit_once(" (")) {
            Some((name, mode)) if mode == "mixed" || mode_from_kernel(mode).is_some() => name,
            _ => part,
        };
        ProfileName::parse(name).filter(|name| name.namespace.is_some() || name.name != "unconfined")
    });
    names.collect()
}

fn without_deleted(path: PathBuf) -> PathBuf {
    match path.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        Some(path) => OsStr::from_bytes(path).into(),
        None => path,
    }
}

/// The script that a process interprets. The kernel puts a script's path behind the interpreter and its one argument
/// (execve(2)); whoever starts `python3 script` by hand looks the same.
fn script(directory: &Path, executable: &Path) -> Option<PathBuf> {
    let arguments = read_bytes(&directory.join("cmdline"), MAX_ARGUMENTS).ok()?;
    let arguments = arguments.split(|byte| *byte == 0).skip(1).take(2).filter(|it| !it.is_empty() && it[0] != b'-');
    let mut paths = arguments.map(|argument| match argument[0] {
        b'/' => Some(PathBuf::from(OsString::from_vec(argument.to_vec()))),
        _ => Some(fs_err::read_link(directory.join("cwd")).ok()?.join(OsStr::from_bytes(argument))),
    });
    paths.find_map(|path| {
        let path = path?;
        let line = first_line(&path)?;
        interprets(executable, &line).then_some(path)
    })
}

/// Whether `executable` is what a script's first line asks for, directly or through env(1).
fn interprets(executable: &Path, line: &[u8]) -> bool {
    let Some(line) = line.strip_prefix(b"#!") else { return false };
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let Some(interpreter) = words.next().map(|word| Path::new(OsStr::from_bytes(word))) else { return false };
    if interpreter.file_name() != Some(OsStr::new("env")) {
        return executable == interpreter || fs_err::canonicalize(interpreter).is_ok_and(|path| path == executable);
    }
    // `python3` is a link to `python3.11` somewhere on the PATH, which is the process's, not ours.
    let program = words.find(|word| word[0] != b'-' && !word.contains(&b'='));
    let name = executable.file_name().map_or(&b""[..], OsStr::as_bytes);
    program.is_some_and(|program| name.starts_with(program))
}

/// The first line of a regular file. Nothing else is opened: what a process names may be any device.
fn first_line(path: &Path) -> Option<Vec<u8>> {
    let found = nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
    let kind = SFlag::from_bits_truncate(fstat(&found).ok()?.st_mode) & SFlag::S_IFMT;
    if kind != SFlag::S_IFREG {
        return None;
    }
    let by_descriptor = format!("/proc/self/fd/{}", found.as_raw_fd());
    let mut line = vec![0; MAX_FIRST_LINE];
    let length = io::Read::read(&mut fs_err::File::open(by_descriptor).ok()?, &mut line).ok()?;
    line.truncate(length);
    let end = line.iter().position(|byte| *byte == b'\n').unwrap_or(length);
    line.truncate(end);
    Some(line)
}

fn unit_of(directory: &Path) -> Option<String> {
    read_text(&directory.join("cgroup")).ok().and_then(|cgroups| unit(&cgroups))
}

/// The unit of the system's service manager in `/proc/PID/cgroup`: the first component of the path that is no slice
/// (systemd, `cg_path_decode_unit`). It is looked for in the unified hierarchy, else in systemd's own.
fn unit(cgroups: &str) -> Option<String> {
    let path = |prefix: &str| cgroups.lines().find_map(|line| line.split_once(prefix).map(|(_, path)| path));
    let path = path("::/").filter(|path| !path.is_empty()).or_else(|| path(":name=systemd:/"))?;
    let unit = path.split('/').find(|part| !part.ends_with(".slice"))?;
    let kinds = [".service", ".scope", ".socket", ".mount", ".swap"];
    kinds.iter().any(|kind| unit.len() > kind.len() && unit.ends_with(kind)).then(|| unit.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_as_the_kernel_writes_them() {
        let names = |label: &str| profiles_of(label).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(names("unconfined\n").is_empty());
        assert_eq!(names("t-cat (complain)\n"), ["t-cat"]);
        assert_eq!(names("/usr/bin/a b (x)//hat (enforce)\0"), ["/usr/bin/a b (x)//hat"]);
        assert_eq!(names("a//&b (enforce)\n"), ["a", "b"]);
        assert_eq!(names("a (enforce)//&:ns:b (kill)"), ["a", ":ns://b"]);
        assert_eq!(names("lxd//&:lxd_ns:unconfined (mixed)"), ["lxd", ":lxd_ns://unconfined"]);
        assert_eq!(names("prompted (user)"), ["prompted"]);
    }

    #[test]
    fn a_unit_is_the_first_that_is_no_slice() {
        let of = |text: &str| unit(text);
        assert_eq!(of("0::/system.slice/nginx.service\n").as_deref(), Some("nginx.service"));
        assert_eq!(of("0::/system.slice/a.slice/x@1.service/payload\n").as_deref(), Some("x@1.service"));
        assert_eq!(
            of("0::/user.slice/user-0.slice/user@0.service/app.slice/y.service").as_deref(),
            Some("user@0.service")
        );
        assert_eq!(of("12:pids:/\n1:name=systemd:/system.slice/c.service\n0::/\n").as_deref(), Some("c.service"));
        assert_eq!(of("0::/user.slice/user-0.slice/session-3.scope").as_deref(), Some("session-3.scope"));
        for none in ["", "0::/", "0::/init", "0::/machine/.service"] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn a_script_is_told_by_its_first_line() {
        for (executable, line, is) in [
            ("/usr/bin/python3.11", "#!/usr/bin/env python3", true),
            ("/usr/bin/python3.11", "#! /usr/bin/env -S python3 -u", true),
            ("/usr/bin/vim", "#!/usr/bin/env python3", false),
            ("/opt/tool", "#!/opt/tool --flag", true),
            ("/opt/tool", "#!/opt/other", false),
            ("/opt/tool", "\x7fELF", false),
            ("/opt/tool", "#!", false),
        ] {
            assert_eq!(interprets(Path::new(executable), line.as_bytes()), is, "{executable} {line}");
        }
    }

    #[test]
    fn this_process_is_listed() {
        let own = list(Path::new("/proc")).unwrap();
        let own = own.iter().find(|process| process.pid == std::process::id()).unwrap();
        assert_eq!(own.executable, std::env::current_exe().ok());
    }

    /// A directory of processes as the kernel shows them: two whose first threads have ended, and one of the kernel's.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test's own directory")]
    fn a_process_whose_first_thread_has_ended_is_what_the_others_are() {
        let proc = tempfile::tempdir().unwrap();
        let task = |path: &str, label: &str| {
            let directory = proc.path().join(path);
            std::fs::create_dir_all(directory.join("attr/apparmor")).unwrap();
            std::fs::write(directory.join("attr/apparmor/current"), label).unwrap();
        };
        for (path, label) in [("7", "a (enforce)"), ("7/task/7", "a (enforce)"), ("7/task/8", "a//hat (enforce)")] {
            task(path, label);
        }
        for path in ["9", "9/task/9", "9/task/10"] {
            task(path, "unconfined");
        }
        for thread in ["7/task/8", "9/task/10"] {
            std::os::unix::fs::symlink("/opt/threads", proc.path().join(thread).join("exe")).unwrap();
        }
        std::fs::write(proc.path().join("9/task/10/cgroup"), "0::/system.slice/threads.service\n").unwrap();
        task("2", "unconfined");
        task("2/task/2", "unconfined");
        let listed = list(proc.path()).unwrap();
        let executable = Some(PathBuf::from("/opt/threads"));
        assert_eq!(listed.iter().map(|process| process.pid).collect::<Vec<_>>(), [7, 9]);
        assert!(listed.iter().all(|process| process.executable == executable), "{listed:?}");
        assert_eq!(listed[1].unit.as_deref(), Some("threads.service"));
        let confined = confined(proc.path(), &[ProfileName::new("a//hat")].into()).unwrap();
        assert_eq!(confined.iter().map(|process| process.pid).collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        assert_eq!(first_line(Path::new("/dev/zero")), None);
        assert!(first_line(Path::new("/proc/self/exe")).unwrap().starts_with(b"\x7fELF"));
    }
}
