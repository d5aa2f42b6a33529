//! One run at a time: an flock(2) on `/run/aa-converge/lock`.
//!
//! The kernel drops the lock when the process ends, however it ends; the file stays. While a run holds it, it has the
//! run's number; after a run that left nothing behind, the boot that this was in: the next run of the same boot need not
//! look for what killed runs leave. Where `/run` outlives a boot, the power may have failed in another.
//!
//! **Invariant:** who has a [`Lock`] is alone below its root with everything that this program writes.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::signal::kill;
use nix::sys::stat::{Mode, fstat};
use nix::unistd::Pid;

use crate::error::Error;
use crate::host::dir::Dir;
use crate::host::root::{Identity, Kind, Root, failed, open_at};

/// The directory of what does not outlive a boot, below the root.
pub const PLACE: &str = "/run/aa-converge";
const NAME: &str = "lock";
/// The file that names the boot (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// What stands in the file before the boot in which a run ended that left nothing behind.
const LEFT_NOTHING_IN: &str = "nothing was left in boot ";
/// The most that is read of the file, in bytes: more than any run writes to it.
const MAX_SIGNED: u64 = 128;

/// How long a waiting run rests between two attempts. Whether it was interrupted has to be asked for again and again
/// anyhow, so the lock is asked for at the same beat; a thread that blocks in flock(2) could not be called back.
const BEAT: Duration = Duration::from_millis(50);

/// Numbers of processes stay below this on every Linux (proc(5), `pid_max`).
const PID_LIMIT: i32 = 1 << 22;

/// The lock, held until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Lock {
    file: Flock<File>,
    dir: Dir,
    /// What the file says after a run in this boot that left nothing behind; none where boots have no names.
    left_nothing: Option<String>,
    follows_nothing_left: bool,
    leaves_nothing: bool,
}

impl Lock {
    /// Takes the lock, waiting up to `timeout` for another run to end; with a timeout of zero it tries once.
    ///
    /// # Errors
    /// [`Error::LockHeld`] when another run holds it for longer than that, [`Error::Interrupted`] when `interrupted` says
    /// so while waiting, or `/run/aa-converge` cannot be used.
    pub fn acquire(root: &Root, timeout: Duration, interrupted: &dyn Fn() -> bool) -> Result<Self, Error> {
        let started = Instant::now();
        loop {
            let pid = match Self::attempt(root)? {
                Attempt::Locked(lock) => return Ok(lock),
                Attempt::Held { pid } => pid,
            };
            if interrupted() {
                return Err(Error::Interrupted);
            }
            let left = timeout.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Err(Error::LockHeld { pid });
            }
            std::thread::park_timeout(left.min(BEAT));
        }
    }

    fn attempt(root: &Root) -> Result<Attempt, Error> {
        let dir = root.private_dir(Path::new(PLACE))?;
        let file = open(&dir)?;
        Self::lock(root, dir, file)
    }

    fn lock(root: &Root, dir: Dir, file: File) -> Result<Attempt, Error> {
        let shown = dir.shown_at(NAME);
        let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((_, Errno::EWOULDBLOCK)) => {
                // That it is held is the news; who holds it is told if it can be read.
                let signed = dir.read(NAME, MAX_SIGNED).ok().flatten();
                return Ok(Attempt::Held { pid: signed.and_then(|file| holder_pid(&file.bytes)) });
            }
            Err((_, errno)) => return Err(failed("lock", shown)(errno)),
        };
        // Whoever removed the file or its directory since it was opened made room for a second lock beside this one.
        let locked = Identity::of(&fstat(&*file).map_err(failed("examine", &shown))?);
        if root.identity(&Path::new(PLACE).join(NAME))? != Some(locked) {
            return Ok(Attempt::Held { pid: None });
        }
        let left_nothing = fs_err::read_to_string(BOOT_ID).ok().map(|boot| format!("{LEFT_NOTHING_IN}{boot}"));
        let mut lock = Self { file, dir, left_nothing, follows_nothing_left: false, leaves_nothing: false };
        let signed = lock.signed().map_err(failed("read", &shown))?;
        lock.follows_nothing_left = lock.left_nothing.as_ref().is_some_and(|left| *left.as_bytes() == *signed);
        // Our number, for the message of a run that finds the lock held.
        lock.sign(&format!("{}\n", std::process::id())).map_err(failed("write", shown))?;
        Ok(Attempt::Locked(lock))
    }

    fn signed(&mut self) -> io::Result<Vec<u8>> {
        let mut signed = Vec::new();
        (&*self.file).take(MAX_SIGNED).read_to_end(&mut signed)?;
        Ok(signed)
    }

    fn sign(&mut self, text: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())
    }

    /// Whether the run before this one, in the same boot, left nothing behind; not so where that is unknown.
    #[must_use]
    pub fn follows_nothing_left(&self) -> bool {
        self.follows_nothing_left
    }

    /// Says that this run has left nothing behind: no file under a temporary name, and no journal.
    pub fn leaves_nothing(&mut self) {
        self.leaves_nothing = true;
    }

    /// `/run/aa-converge` below the root, which is ours.
    #[must_use]
    pub fn dir(&self) -> &Dir {
        &self.dir
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let end = self.left_nothing.take().filter(|_| self.leaves_nothing).unwrap_or_default();
        // A number that stays is found out as one of a process that is gone.
        let _ = self.sign(&end);
    }
}

enum Attempt {
    Locked(Lock),
    Held { pid: Option<u32> },
}

/// Opens the lock's file, which is made if it is absent, and refuses anything else in its place.
fn open(dir: &Dir) -> Result<File, Error> {
    let path = dir.shown_at(NAME);
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let opened = open_at(dir.fd(), Path::new(NAME), flags, Mode::S_IRUSR | Mode::S_IWUSR);
    // Links, directories and sockets cannot be opened like this, FIFOs and devices can.
    let stat = if let Ok(file) = &opened { fstat(file) } else { dir.stat(Path::new(NAME)) };
    match stat.map(|stat| Kind::of(&stat)) {
        Ok(Kind::File) | Err(_) => Ok(opened.map_err(failed("open", path))?.into()),
        Ok(kind) => Err(Error::Untrusted {
            why: format!("it is {kind}, not a regular file"),
            remedy: format!("find out who put {} there, and remove it", path.display()),
            path,
        }),
    }
}

/// The number that the holder left, if it is that of a process which is there: the file may hold one of an earlier run
/// that was killed, or of another process namespace.
fn holder_pid(bytes: &[u8]) -> Option<u32> {
    let number: i32 = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?.parse().ok()?;
    if !(1..PID_LIMIT).contains(&number) {
        return None;
    }
    match kill(Pid::from_raw(number), None) {
        Ok(()) | Err(Errno::EPERM) => u32::try_from(number).ok(),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests;
