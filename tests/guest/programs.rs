//! Programs that profiles confine, and what the kernel logs of them.

use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::guest::command;

/// How long a service may take to do something, and the kernel's audit thread to log what happened.
const PATIENCE: Duration = Duration::from_secs(20);

/// A program under a path of its own, which needs no library: `busybox`, which does what it is called.
#[derive(Debug)]
pub(crate) struct Program(String);

/// A running program, which waits for input until it is dropped.
#[derive(Debug)]
pub(crate) struct Running(Child);

impl Program {
    /// Installs `/opt/NAME`, and a file that it may read by [`crate::guest::profile`], and one that it may not.
    pub(crate) fn install(name: &str) -> Self {
        fs_err::create_dir_all("/opt/data").unwrap();
        for file in [name, "secret"] {
            fs_err::write(format!("/opt/data/{file}"), "data\n").unwrap();
        }
        let path = format!("/opt/{name}");
        if !std::path::Path::new(&path).exists() {
            fs_err::hard_link("/usr/bin/busybox", &path).unwrap();
        }
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        &self.0
    }

    fn called(&self, applet: &str) -> Command {
        let mut program = command(&self.0);
        program.arg0(applet).stdin(Stdio::null());
        program
    }

    /// Whether the program, started now, can read `/opt/data/FILE`.
    pub(crate) fn reads(&self, file: &str) -> bool {
        let output = self.called("cat").arg(format!("/opt/data/{file}")).output().unwrap();
        let is_read = output.stdout == b"data\n";
        assert_eq!(output.status.success(), is_read, "{output:?}");
        is_read
    }

    /// Starts it as the kernel finds a profile for it.
    pub(crate) fn start(&self) -> Running {
        Running::of(&mut self.called("cat"))
    }

    /// Starts it under a profile, a hat or a child, or a stack (`a//&b`).
    pub(crate) fn start_under(&self, label: &str) -> Running {
        // aa-exec would call it by its path, by which a busybox does not know what to be.
        let body = r#"echo "exec $0" >/proc/self/attr/apparmor/exec && exec -a cat "$1""#;
        let mut shell = command("/bin/sh");
        shell.args(["-c", body, label, &self.0]);
        Running::of(&mut shell)
    }
}

impl Running {
    /// Starts a program that gives back what it reads.
    pub(crate) fn of(program: &mut Command) -> Self {
        let mut child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // A process whose program was just called runs under its new profile a moment later than this one goes on
        // (fs/exec.c, `begin_new_exec`): only what it does tells that it is there.
        child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        Self(child)
    }

    pub(crate) fn pid(&self) -> u64 {
        u64::from(self.0.id())
    }

    /// What the process runs under, such as `name (enforce)`.
    pub(crate) fn label(&self) -> String {
        let label = fs_err::read_to_string(format!("/proc/{}/attr/apparmor/current", self.pid())).unwrap();
        label.trim_end_matches(['\n', '\0']).to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It ends with its input, whatever signals its profile lets through.
        drop(self.0.stdin.take());
        let _ended = self.0.wait();
    }
}

/// Waits until it is so.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "it never came about that {what}");
        std::thread::yield_now();
    }
}

/// What the kernel logs from now on.
#[derive(Debug)]
pub(crate) struct AuditLog(fs_err::File);

impl AuditLog {
    pub(crate) fn from_now() -> Self {
        let mut options = fs_err::OpenOptions::new();
        options.read(true).custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits());
        let mut file = options.open("/dev/kmsg").unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        Self(file)
    }

    /// Waits for a line with all of these words, and returns those before it.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, words: &[&str]) -> Vec<String> {
        let begin = Instant::now();
        let mut seen = Vec::new();
        loop {
            let mut record = vec![0; 1 << 13];
            match self.0.read(&mut record) {
                Ok(length) => {
                    record.truncate(length);
                    let line = String::from_utf8_lossy(&record).into_owned();
                    if words.iter().all(|word| line.contains(word)) {
                        return seen;
                    }
                    seen.push(line);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let left = PATIENCE.saturating_sub(begin.elapsed());
                    assert!(!left.is_zero(), "the kernel did not log {words:?}, but {seen:#?}");
                    let timeout = Timespec::try_from(left).unwrap();
                    poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timeout)).unwrap();
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}
