//! Atomic replacement: a file is written whole under a temporary name beside its place, flushed, then renamed.
//!
//! The temporary name starts with `.`: apparmor_parser reads every other name that it finds in a policy directory, and
//! would compile half a file.
//!
//! **Invariant:** under a file's own name stands the old file or the new one, whole, with its final mode and owner. Under
//! a temporary name what is written is ours alone, but for the moment before it is renamed.
//!
//! **Invariant:** a [`Temporary`] that is not renamed is removed when it is dropped; what a killed run leaves has a name
//! that [`Dir::sweep_temporaries`] knows.

use std::collections::hash_map::RandomState;
use std::ffi::OsStr;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, renameat};
use nix::sys::stat::{Mode, fchmod, fstat, futimens};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fsync, symlinkat, unlinkat};

use crate::error::Error;
use crate::host::dir::Dir;
use crate::host::root::{Identity, Modified, failed, open_at};
use crate::ledger::Attributes;

const PREFIX: &str = ".aa-converge-";
const SUFFIX: &str = ".tmp";

/// The mode of a file as long as its name is a temporary one.
const PRIVATE: u32 = 0o600;

/// How many names are tried: each is taken with a chance of 1 in 2⁶⁴, unless somebody is at work.
const ATTEMPTS: u32 = 8;

/// Sixteen hexadecimal digits that nobody can foresee: the standard library seeds its hash maps from the system.
pub(crate) fn random_digits() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

/// Says whether a name is one that a temporary file of ours has.
pub(super) fn is_temporary(name: &OsStr) -> bool {
    name.to_str()
        .and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX))
        .is_some_and(|digits| digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Calls `make` with new names until one is free.
pub(super) fn under_new_name<T>(
    name: impl Fn() -> String,
    mut make: impl FnMut(&Path) -> nix::Result<T>,
) -> nix::Result<(String, T)> {
    for _ in 0..ATTEMPTS {
        let name = name();
        match make(Path::new(&name)) {
            Err(Errno::EEXIST) => {}
            made => return made.map(|made| (name, made)),
        }
    }
    Err(Errno::EEXIST)
}

fn temporary_name() -> String {
    format!("{PREFIX}{}{SUFFIX}", random_digits())
}

/// A file or link under a temporary name, complete and flushed but for the file's mode and owner; removed when dropped.
#[derive(Debug)]
#[must_use]
pub struct Temporary {
    dir: Dir,
    /// `None` once it is renamed.
    name: Option<String>,
    /// `None` for links, and for files that have their attributes already.
    finish: Option<Finish>,
}

/// The mode and owner that a file gets as the last thing before it is renamed.
#[derive(Debug)]
struct Finish {
    /// The file that they are for, which is opened by its name again: one descriptor for each file that waits would be
    /// too many.
    file: Identity,
    attributes: Attributes,
}

impl Temporary {
    /// Gives it its place in the same directory, atomically replacing a file or link that stands there. The directory is
    /// not flushed: the caller does that once for all ([`Dir::sync`]).
    ///
    /// # Errors
    /// A directory stands there, its mode or owner cannot be set, it is not the file any more that was written, or it
    /// cannot be renamed; it is removed then.
    pub fn rename_to(mut self, name: impl AsRef<OsStr>) -> Result<(), Error> {
        let place = self.dir.component(name.as_ref())?;
        if let Some(temporary) = &self.name {
            if let Some(finish) = &self.finish {
                finish.apply(&self.dir, temporary)?;
            }
            renameat(self.dir.fd(), temporary.as_str(), self.dir.fd(), place)
                .map_err(failed("replace", self.dir.shown_at(place)))?;
        }
        self.name = None;
        Ok(())
    }
}

impl Finish {
    /// This needs no flush of its own: file systems with a journal keep the order of a change of mode and of the rename
    /// that follows.
    fn apply(&self, dir: &Dir, name: &str) -> Result<(), Error> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let file = open_at(dir.fd(), Path::new(name), flags, Mode::empty())
            .map_err(failed("open a temporary file in", dir.shown()))?;
        let found = fstat(&file).map_err(failed("examine a temporary file in", dir.shown()))?;
        // Where others may write to the directory, any file can have been given the name meanwhile.
        if Identity::of(&found) != self.file {
            return Err(Error::ChangedMeanwhile { path: dir.shown_at(name) });
        }
        set(&file, self.attributes, dir)
    }
}

/// Gives a file its owner and its mode, in this order, since chown(2) clears set-user-id bits.
fn set(file: impl AsFd, attributes: Attributes, dir: &Dir) -> Result<(), Error> {
    fchown(&file, Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)))
        .map_err(failed("set the owner of a temporary file in", dir.shown()))?;
    fchmod(&file, Mode::from_bits_truncate(attributes.mode))
        .map_err(failed("set the mode of a temporary file in", dir.shown()))
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // A failure has no one to go to; the next run that recovers sweeps what stays.
            let _ = unlinkat(self.dir.fd(), name.as_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

/// A temporary file that is open and still empty, so that what can fail about its place fails early.
#[derive(Debug)]
#[must_use]
pub struct Draft {
    file: File,
    temporary: Temporary,
}

impl Draft {
    /// Writes all of it and flushes it; it gets its attributes with the rename.
    ///
    /// # Errors
    /// The disk is full, the owner cannot be changed, …; it is removed then.
    pub fn write(mut self, bytes: &[u8], attributes: Attributes) -> Result<Temporary, Error> {
        self.fill(bytes, attributes)?;
        self.flush()
    }

    /// As [`Draft::write`]; it will seem to have been modified at that time.
    ///
    /// # Errors
    /// As for [`Draft::write`].
    pub fn write_dated(mut self, bytes: &[u8], attributes: Attributes, modified: Modified) -> Result<Temporary, Error> {
        self.fill(bytes, attributes)?;
        futimens(&self.file, &TimeSpec::UTIME_OMIT, &modified.0)
            .map_err(failed("set the time of a temporary file in", self.temporary.dir.shown()))?;
        self.flush()
    }

    fn fill(&mut self, bytes: &[u8], attributes: Attributes) -> Result<(), Error> {
        let dir = &self.temporary.dir;
        let created = fstat(&self.file).map_err(failed("examine a temporary file in", dir.shown()))?;
        let private = Attributes { mode: PRIVATE, ..Attributes::of(&created) };
        // An owner or a mode that cannot be set is to be known now, and not after the first effect.
        set(&self.file, attributes, dir)?;
        if attributes != private {
            set(&self.file, private, dir)?;
            self.temporary.finish = Some(Finish { file: Identity::of(&created), attributes });
        }
        self.file.write_all(bytes).map_err(failed("write a temporary file in", dir.shown()))
    }

    fn flush(self) -> Result<Temporary, Error> {
        fsync(&self.file).map_err(failed("flush a temporary file in", self.temporary.dir.shown()))?;
        Ok(self.temporary)
    }
}

impl Dir {
    /// Creates an empty temporary file, of mode 0600 until it is renamed.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn create_temporary(&self) -> Result<Draft, Error> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        let mode = Mode::from_bits_truncate(PRIVATE);
        let (name, fd) = under_new_name(temporary_name, |name| open_at(self.fd(), name, flags, mode))
            .map_err(failed("create a temporary file in", self.shown()))?;
        Ok(Draft { file: fd.into(), temporary: Temporary { dir: self.clone(), name: Some(name), finish: None } })
    }

    /// Writes a temporary file: whole, with these attributes, flushed.
    ///
    /// # Errors
    /// As for [`Dir::create_temporary`] and [`Draft::write`].
    pub fn write_temporary(&self, bytes: &[u8], attributes: Attributes) -> Result<Temporary, Error> {
        self.create_temporary()?.write(bytes, attributes)
    }

    /// Makes a symbolic link under a temporary name.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn link_temporary(&self, target: &Path) -> Result<Temporary, Error> {
        let (name, ()) = under_new_name(temporary_name, |name| symlinkat(target, self.fd(), name))
            .map_err(failed("create a temporary link in", self.shown()))?;
        Ok(Temporary { dir: self.clone(), name: Some(name), finish: None })
    }
}

#[cfg(test)]
mod tests;
