//! Running one apparmor_parser to its end, within limits.
//!
//! **Invariant:** when [`run`] returns, the process is reaped and nothing is left of its process group.
//!
//! **Invariant:** the limits are the child's alone. They are set from outside by `prlimit(2)` right after the start: our
//! own limits, lowered for a child to inherit, would also bind our other threads, and what they have in hand.

use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal, getrlimit, kill_process_group, pidfd_open, prlimit};

/// Ends running parsers early, from another thread. Clones share one state; what was cancelled stays so.
///
/// It is a pair of sockets, of which one becomes readable for good, so that a wait for a child can wait for it too.
#[derive(Debug, Clone)]
pub struct Cancel(Arc<(UnixStream, UnixStream)>);

impl Cancel {
    /// A state that nobody has cancelled.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn new() -> io::Result<Self> {
        let (trigger, triggered) = UnixStream::pair()?;
        trigger.set_nonblocking(true)?;
        Ok(Self(Arc::new((trigger, triggered))))
    }

    /// Kills what runs, and lets nothing more start. Anything later has no further effect.
    pub fn trigger(&self) {
        // The write fails only when the socket is full, and then it was triggered long ago.
        let _ = (&self.0.0).write(&[0]);
    }

    /// A descriptor to write one byte to for the effect of [`Self::trigger`], such as from a signal handler.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn trigger_socket(&self) -> io::Result<UnixStream> {
        self.0.0.try_clone()
    }

    /// Whether it was triggered.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        let mut sockets = [PollFd::new(&self.0.1, PollFlags::IN)];
        matches!(poll(&mut sockets, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(1..))
    }
}

impl Cancel {
    /// Waits until `input` can be read without waiting, or has ended. False if it was triggered before.
    ///
    /// # Errors
    /// The descriptor cannot be waited for.
    pub fn lets_read(&self, input: impl AsFd) -> io::Result<bool> {
        loop {
            let mut descriptors = [PollFd::new(&input, PollFlags::IN), PollFd::new(&self.0.1, PollFlags::IN)];
            match poll(&mut descriptors, None) {
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
                Ok(_) => return Ok(descriptors[1].revents().is_empty()),
            }
        }
    }
}

/// What a parser may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of address space.
    pub(super) memory: u64,
    /// Bytes of any file that it writes.
    pub(super) output: u64,
    /// Time from start to end.
    pub(super) time: Duration,
}

/// How a process ended.
#[derive(Debug)]
pub(super) enum End {
    /// By itself.
    Exited(ExitStatus),
    /// It was killed because its time was up.
    TimedOut,
    /// It was killed because of [`Cancel`].
    Interrupted,
}

/// Runs `command` in a process group of its own, so that a terminal's Ctrl-C reaches us alone.
pub(super) fn run(command: &mut Command, limits: Limits, cancel: &Cancel) -> io::Result<End> {
    let deadline = Instant::now().checked_add(limits.time);
    let mut child = command.process_group(0).spawn()?;
    let pid = Pid::from_child(&child);
    let waited = limit(pid, limits).and_then(|()| wait(pid, deadline, cancel));
    end(&mut child, pid, waited)
}

fn limit(pid: Pid, limits: Limits) -> io::Result<()> {
    // A parser that outlives us, because we were killed, still ends: the kernel counts its processor time.
    let seconds = limits.time.as_secs().saturating_add(1);
    let values = [
        (Resource::As, limits.memory),
        (Resource::Fsize, limits.output),
        (Resource::Cpu, seconds),
        (Resource::Core, 0),
    ];
    for (resource, value) in values {
        let inherited = getrlimit(resource);
        let value = inherited.current.map_or(value, |current| current.min(value));
        match prlimit(Some(pid), resource, Rlimit { current: Some(value), maximum: Some(value) }) {
            // A limit cannot be raised: the program has set itself a lower one meanwhile.
            Err(Errno::PERM) => {}
            result => drop(result?),
        }
    }
    Ok(())
}

enum Wake {
    Exit,
    Deadline,
    Cancel,
}

/// Waits without reaping: while the dead leader keeps its number, the group can be killed without hitting another.
fn wait(pid: Pid, deadline: Option<Instant>, cancel: &Cancel) -> io::Result<Wake> {
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let process = process.as_fd();
        let mut descriptors = [PollFd::new(&process, PollFlags::IN), PollFd::new(&cancel.0.1, PollFlags::IN)];
        match poll(&mut descriptors, left.as_ref()) {
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
            Ok(0) => return Ok(Wake::Deadline),
            Ok(_) if !descriptors[0].revents().is_empty() => return Ok(Wake::Exit),
            Ok(_) => return Ok(Wake::Cancel),
        }
    }
}

fn end(child: &mut Child, pid: Pid, waited: io::Result<Wake>) -> io::Result<End> {
    // It fails when nothing of the group is left to kill.
    let _ = kill_process_group(pid, Signal::KILL);
    let status = child.wait()?;
    Ok(match waited? {
        Wake::Exit => End::Exited(status),
        Wake::Deadline => End::TimedOut,
        Wake::Cancel => End::Interrupted,
    })
}
