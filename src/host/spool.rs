//! The spool: a private directory for what one run compiles, gone when the run ends.
//!
//! **Invariant:** a spool is of mode 0700 and owned by the effective user; nobody else can plant or read anything there.

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::{Mode, mkdirat};

use crate::error::Error;
use crate::host::dir::Dir;
use crate::host::lock::Lock;
use crate::host::replace::{random_digits, under_new_name};
use crate::host::root::failed;

const PREFIX: &str = "spool-";

/// A private directory, removed with all that stands in it when dropped.
#[derive(Debug)]
#[must_use]
pub struct Spool {
    parent: Dir,
    name: String,
    dir: Dir,
}

impl Spool {
    /// Makes a spool in `/run/aa-converge` below the root.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(lock: &Lock) -> Result<Self, Error> {
        Self::below(lock.dir(), PREFIX)
    }

    /// Removes what killed runs left of theirs in `/run/aa-converge`.
    ///
    /// # Errors
    /// One cannot be removed.
    pub fn sweep(lock: &Lock) -> Result<(), Error> {
        let parent = lock.dir();
        for old in parent.list()? {
            if old.name.to_str().is_some_and(|name| name.starts_with(PREFIX)) {
                let _gone = parent.remove_tree(old.name)?;
            }
        }
        Ok(())
    }

    /// Makes a spool in a directory for temporary files, such as `/tmp`: for a run that must leave the root untouched.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn outside(directory: &Path) -> Result<Self, Error> {
        Self::below(&Dir::open(directory)?, "aa-converge-")
    }

    fn below(parent: &Dir, prefix: &str) -> Result<Self, Error> {
        let name = || format!("{prefix}{}", random_digits());
        let (name, ()) = under_new_name(name, |name| mkdirat(parent.fd(), name, Mode::S_IRWXU))
            .map_err(failed("create a directory in", parent.shown()))?;
        match parent.existing_private_dir(&name)? {
            Some(dir) => Ok(Self { parent: parent.clone(), name, dir }),
            None => Err(failed("open the directory", parent.shown_at(name))(Errno::ENOENT)),
        }
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// The path by which another process reaches it, as [`Dir::real_path`].
    ///
    /// # Errors
    /// It cannot be found out.
    pub fn path(&self) -> Result<PathBuf, Error> {
        self.dir.real_path()
    }
}

impl Spool {
    /// Removes it, as dropping does, and says how that went.
    ///
    /// # Errors
    /// Something of it stays.
    pub fn remove(self) -> Result<(), Error> {
        self.clear()
    }

    fn clear(&self) -> Result<(), Error> {
        self.parent.remove_tree(&self.name).map(drop)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // A failure has no one to go to; the next run removes what stays.
        let _ = self.clear();
    }
}

#[cfg(test)]
mod tests;
