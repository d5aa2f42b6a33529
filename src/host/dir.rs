//! An opened directory: everything that changes on disk is changed through one.
//!
//! A check and the change that follows it concern the same directory, whatever its path has come to mean meanwhile.
//!
//! **Invariant:** a name given to a method is one component, and what stands there is never followed if it is a link.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, readlink};
use nix::sys::stat::{FileStat, Mode, UtimensatFlags, fchmod, fstat, fstatat, mkdirat, stat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{AccessFlags, UnlinkatFlags, faccessat, fsync, geteuid, unlinkat};
use rustix::fs::{FileType, RawDir};

use crate::error::Error;
use crate::host::replace::is_temporary;
use crate::host::root::{
    DIRECTORY, Entry, FileRead, Identity, Kind, LastLink, Modified, failed, look, open_at, open_named,
};
use crate::ledger::Attributes;

/// How much of a directory is listed by one system call, in bytes.
const LISTING: usize = 32 << 10;

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The name, which need not be UTF-8.
    pub name: OsString,
    /// What has this name; a link is not followed.
    pub kind: Kind,
}

/// What became of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Removal {
    /// It was there, and is gone.
    Removed,
    /// There was nothing.
    Absent,
    /// The directory holds something, and stays.
    NotEmpty,
}

/// An opened directory; clones share one descriptor.
#[derive(Debug, Clone)]
pub struct Dir(Arc<Opened>);

#[derive(Debug)]
struct Opened {
    fd: OwnedFd,
    shown: PathBuf,
}

impl Dir {
    pub(super) fn new(fd: OwnedFd, shown: PathBuf) -> Self {
        Self(Arc::new(Opened { fd, shown }))
    }

    /// Opens a directory that the user named outside of any root; links on the way are followed as usual.
    ///
    /// # Errors
    /// It is not a directory, or cannot be opened.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self::new(open_named(path, DIRECTORY)?, path.to_owned()))
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }

    /// The directory's path as the user knows it, for messages.
    #[must_use]
    pub fn shown(&self) -> &Path {
        &self.0.shown
    }

    pub(super) fn shown_at(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.0.shown.join(name.as_ref())
    }

    /// A path by which another process reaches this directory: absolute, and free of links that lead out of the root.
    ///
    /// # Errors
    /// The path for messages leads elsewhere, and procfs, which knows better, is not there.
    pub fn real_path(&self) -> Result<PathBuf, Error> {
        let shown = self.shown();
        let here = self.identity()?;
        if shown.is_absolute() && stat(shown).is_ok_and(|found| Identity::of(&found) == here) {
            return Ok(shown.to_owned());
        }
        let by_descriptor = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.0.fd));
        let path = PathBuf::from(readlink(by_descriptor.as_str()).map_err(failed("find the real path of", shown))?);
        let found = stat(&path).map_err(failed("find the real path of", shown))?;
        if Identity::of(&found) == here { Ok(path) } else { Err(failed("find the real path of", shown)(Errno::ESTALE)) }
    }

    /// Which directory this is.
    ///
    /// # Errors
    /// It cannot be examined.
    pub fn identity(&self) -> Result<Identity, Error> {
        Ok(Identity::of(&fstat(self.fd()).map_err(failed("examine", self.shown()))?))
    }

    /// When a name in it was last made, removed or replaced.
    ///
    /// # Errors
    /// It cannot be examined.
    pub fn modified(&self) -> Result<Modified, Error> {
        Ok(Modified::of(&fstat(self.fd()).map_err(failed("examine", self.shown()))?))
    }

    /// What has this name.
    ///
    /// # Errors
    /// It cannot be examined, or it is a file of more than `limit` bytes.
    pub fn entry(&self, name: impl AsRef<OsStr>, limit: u64) -> Result<Entry, Error> {
        let name = self.component(name.as_ref())?;
        look(self.fd(), name, LastLink::Kept, limit, &|| self.shown_at(name))
    }

    /// Reads the regular file of this name; `None` if there is nothing.
    ///
    /// # Errors
    /// It cannot be read, is not a regular file, or has more than `limit` bytes.
    pub fn read(&self, name: impl AsRef<OsStr>, limit: u64) -> Result<Option<FileRead>, Error> {
        self.entry(&name, limit)?.into_file(self.shown_at(name))
    }

    /// The names in the directory, `.` and `..` left out, in byte order.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, Error> {
        self.opened_again()?.into_list()
    }

    /// The same of a directory that was opened for nothing else.
    pub(super) fn into_list(self) -> Result<Vec<Listed>, Error> {
        let mut listed = self.into_list_where(|_, _| true)?;
        listed.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    /// The directory by a descriptor of its own, so that two listings do not share one position.
    fn opened_again(&self) -> Result<Self, Error> {
        let opened = open_at(self.fd(), Path::new("."), DIRECTORY, Mode::empty());
        Ok(Self::new(opened.map_err(failed("list", self.shown()))?, self.shown().to_owned()))
    }

    /// The names that `wanted` says, in no order.
    fn into_list_where(self, wanted: impl Fn(&OsStr, Kind) -> bool) -> Result<Vec<Listed>, Error> {
        self.names_where(wanted).map_err(failed("list", self.shown()))
    }

    fn names_where(&self, wanted: impl Fn(&OsStr, Kind) -> bool) -> nix::Result<Vec<Listed>> {
        let mut buffer = Vec::with_capacity(LISTING);
        let mut reading = RawDir::new(self.fd(), buffer.spare_capacity_mut());
        let mut listed = Vec::new();
        while let Some(entry) = reading.next() {
            let entry = entry.map_err(|errno| Errno::from_raw(errno.raw_os_error()))?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::RegularFile => Kind::File,
                FileType::Directory => Kind::Directory,
                FileType::Symlink => Kind::Link,
                // Not every file system tells the type in a listing (readdir(3), `DT_UNKNOWN`).
                _ => match self.stat(Path::new(name)) {
                    Ok(stat) => Kind::of(&stat),
                    Err(Errno::ENOENT) => continue,
                    Err(errno) => return Err(errno),
                },
            };
            if wanted(name, kind) {
                listed.push(Listed { name: name.to_owned(), kind });
            }
        }
        Ok(listed)
    }

    /// Opens the directory of this name; `None` if there is nothing.
    ///
    /// # Errors
    /// It is a link or otherwise not a directory, or cannot be opened.
    pub fn dir(&self, name: impl AsRef<OsStr>) -> Result<Option<Dir>, Error> {
        let name = self.component(name.as_ref())?;
        let shown = self.shown_at(name);
        match open_at(self.fd(), name, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty()) {
            Ok(fd) => Ok(Some(Self::new(fd, shown))),
            Err(Errno::ENOENT) => Ok(None),
            Err(Errno::ENOTDIR | Errno::ELOOP) => {
                let kind = Kind::of(&self.stat(name).map_err(failed("examine", &shown))?);
                Err(Error::Untrusted {
                    why: format!("it is {kind}, not a directory"),
                    remedy: format!("find out who put {} there, and move it away", shown.display()),
                    path: shown,
                })
            }
            Err(errno) => Err(failed("open the directory", shown)(errno)),
        }
    }

    /// Makes a directory of exactly this mode, whatever the umask, and opens it. This directory is not flushed.
    ///
    /// # Errors
    /// The name is taken, or the directory cannot be made.
    pub fn make_dir(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<Dir, Error> {
        let name = self.component(name.as_ref())?;
        let shown = self.shown_at(name);
        let mode = Mode::from_bits_truncate(mode);
        mkdirat(self.fd(), name, mode).map_err(failed("create the directory", &shown))?;
        let Some(dir) = self.dir(name)? else {
            return Err(failed("create the directory", shown)(Errno::ENOENT));
        };
        fchmod(dir.fd(), mode).map_err(failed("set the mode of", shown))?;
        Ok(dir)
    }

    /// Opens a directory of our own, which is made with mode 0700 if it is absent.
    ///
    /// # Errors
    /// It cannot be made or opened; or it is not a directory, not owned by the effective user, or open to others.
    pub fn private_dir(&self, name: impl AsRef<OsStr>) -> Result<Dir, Error> {
        let name = self.component(name.as_ref())?;
        let made = mkdirat(self.fd(), name, Mode::S_IRWXU);
        if let Err(errno) = made
            && errno != Errno::EEXIST
        {
            return Err(failed("create the directory", self.shown_at(name))(errno));
        }
        let Some(dir) = self.existing_private_dir(name)? else {
            return Err(failed("open the directory", self.shown_at(name))(Errno::ENOENT));
        };
        if made.is_ok() {
            // Neither a umask nor the parent's set-group-id bit has a say in it.
            fchmod(dir.fd(), Mode::S_IRWXU).map_err(failed("set the mode of", dir.shown()))?;
        }
        Ok(dir)
    }

    /// Opens a directory of our own; `None` if it is absent.
    ///
    /// # Errors
    /// It cannot be opened; or it is not a directory, not owned by the effective user, or open to others.
    pub fn existing_private_dir(&self, name: impl AsRef<OsStr>) -> Result<Option<Dir>, Error> {
        let Some(dir) = self.dir(name)? else { return Ok(None) };
        let stat = fstat(dir.fd()).map_err(failed("examine", dir.shown()))?;
        let found = Attributes::of(&stat);
        let wanted = geteuid().as_raw();
        let why = if found.uid != wanted {
            format!("it belongs to user {}, not to user {wanted}", found.uid)
        } else if found.mode & 0o077 != 0 {
            format!("its mode is {:04o}, so others than its owner can reach what stands in it", found.mode)
        } else {
            return Ok(Some(dir));
        };
        let path = dir.shown().to_owned();
        let remedy = format!(
            "if you trust what stands in it: chown {wanted} {0} && chmod 0700 {0}; otherwise move it away",
            path.display()
        );
        Err(Error::Untrusted { path, why, remedy })
    }

    /// Creates a file of mode 0600 for writing, for what needs no durability. Its errors name its path.
    ///
    /// # Errors
    /// The name is taken, or the file cannot be created.
    pub fn create(&self, name: impl AsRef<OsStr>) -> Result<fs_err::File, Error> {
        let name = self.component(name.as_ref())?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        let fd = open_at(self.fd(), name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(failed("create", self.shown_at(name)))?;
        Ok(fs_err::File::from_parts(fd.into(), self.shown_at(name)))
    }

    /// Has what stands under this name seem to have been modified at that time.
    ///
    /// # Errors
    /// There is nothing, or it belongs to somebody else.
    pub fn set_modified(&self, name: impl AsRef<OsStr>, modified: Modified) -> Result<(), Error> {
        let name = self.component(name.as_ref())?;
        utimensat(self.fd(), name, &TimeSpec::UTIME_OMIT, &modified.0, UtimensatFlags::NoFollowSymlink)
            .map_err(failed("set the time of", self.shown_at(name)))
    }

    /// Asks whether names can be made and removed here, without doing so.
    ///
    /// # Errors
    /// They cannot: the file system is read-only, the directory is immutable or belongs to somebody else.
    pub fn check_writable(&self) -> Result<(), Error> {
        faccessat(self.fd(), ".", AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::AT_EACCESS)
            .map_err(failed("write to the directory", self.shown()))
    }

    /// Removes a name that does not stand for a directory.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove_file(&self, name: impl AsRef<OsStr>) -> Result<Removal, Error> {
        self.remove(name.as_ref(), UnlinkatFlags::NoRemoveDir)
    }

    /// Removes a directory if it is empty.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove_dir(&self, name: impl AsRef<OsStr>) -> Result<Removal, Error> {
        self.remove(name.as_ref(), UnlinkatFlags::RemoveDir)
    }

    fn remove(&self, name: &OsStr, what: UnlinkatFlags) -> Result<Removal, Error> {
        match unlinkat(self.fd(), self.component(name)?, what) {
            Ok(()) => Ok(Removal::Removed),
            Err(Errno::ENOENT) => Ok(Removal::Absent),
            // rmdir(2): some file systems say EEXIST.
            Err(Errno::ENOTEMPTY | Errno::EEXIST) => Ok(Removal::NotEmpty),
            Err(errno) => Err(failed("remove", self.shown_at(name))(errno)),
        }
    }

    /// Removes a directory with all that stands in it.
    ///
    /// # Errors
    /// Something in it cannot be removed; what came before it is gone.
    pub fn remove_tree(&self, name: impl AsRef<OsStr>) -> Result<Removal, Error> {
        let name = name.as_ref();
        let Some(dir) = self.dir(name)? else { return Ok(Removal::Absent) };
        for Listed { name, kind } in dir.list()? {
            let _gone = match kind {
                Kind::Directory => dir.remove_tree(name)?,
                Kind::File | Kind::Link | Kind::Special(_) => dir.remove_file(name)?,
            };
        }
        self.remove_dir(name)
    }

    /// Removes what a killed run left of [temporary files](crate::host::replace), here and in the directories below,
    /// and says how many there were. Only a run that holds the lock may ask for it.
    ///
    /// # Errors
    /// A directory cannot be read, or a file cannot be removed.
    pub fn sweep_temporaries(&self) -> Result<usize, Error> {
        let mut swept = 0;
        let found = self.opened_again()?.into_list_where(|name, kind| kind == Kind::Directory || is_temporary(name));
        for Listed { name, kind } in found? {
            swept += match kind {
                Kind::Directory => self.dir(name)?.map_or(Ok(0), |dir| dir.sweep_temporaries())?,
                Kind::File | Kind::Link => usize::from(self.remove_file(name)? == Removal::Removed),
                Kind::Special(_) => 0,
            };
        }
        Ok(swept)
    }

    /// Makes the names in this directory durable: after a power failure it holds what it holds now.
    ///
    /// # Errors
    /// The system cannot promise it.
    pub fn sync(&self) -> Result<(), Error> {
        match fsync(self.fd()) {
            // fsync(2): this file system has nothing to flush for a directory.
            Ok(()) | Err(Errno::EINVAL) => Ok(()),
            Err(errno) => Err(failed("flush the directory", self.shown())(errno)),
        }
    }

    pub(super) fn stat(&self, name: &Path) -> nix::Result<FileStat> {
        fstatat(self.fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    /// Checks that a name is one component: the calls that rename and remove would resolve any path.
    pub(super) fn component<'n>(&self, name: &'n OsStr) -> Result<&'n Path, Error> {
        if name.is_empty() || name == "." || name == ".." || name.as_bytes().contains(&b'/') {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "it is not the name of one entry of a directory");
            return Err(failed("use the name", name)(source));
        }
        Ok(Path::new(name))
    }
}

#[cfg(test)]
mod tests;
