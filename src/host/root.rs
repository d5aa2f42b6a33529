//! Reading below a root directory: `/`, or an image that is being built.
//!
//! Every path is resolved by the kernel as if the root were `/` (openat2(2), `RESOLVE_IN_ROOT`): a link in an image
//! that says `/etc/shadow` or `../../../etc/shadow` leads to the image's own file, whoever swaps directories and links
//! meanwhile.
//!
//! **Invariant:** nothing is opened but through `open_at`, so no path leads out of the directory that it is
//! resolved in, and no magic link of procfs is followed.
//!
//! **Invariant:** reading never waits for somebody else: FIFOs, sockets and devices are told apart from files, not read.

use std::fmt;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, stat};
use nix::sys::time::TimeSpec;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::host::dir::{Dir, Listed};
use crate::ledger::Attributes;

/// How often an open is tried again when the kernel could not prove that a `..` stayed below the root, because
/// something was renamed or mounted meanwhile (openat2(2), `EAGAIN`). Any rename on the machine causes it, an attacker
/// can cause it as long as he likes.
const ATTEMPTS: u32 = 128;

/// `O_NONBLOCK`: opening a FIFO does not wait for its writer. `O_NOCTTY`: a terminal at the path does not become ours.
/// Not `O_NOATIME`: it is refused to everybody but a file's owner.
const READING: OFlag = OFlag::O_RDONLY.union(OFlag::O_NONBLOCK).union(OFlag::O_NOCTTY);

/// Directories are opened for reading, not as `O_PATH`: only such a descriptor can be flushed and listed.
pub(super) const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY);

/// Opens `path` as if `base` were `/`: the one place where this program opens anything by a path.
pub(super) fn open_at(base: BorrowedFd<'_>, path: &Path, flags: OFlag, mode: Mode) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .mode(mode)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    for _ in 1..ATTEMPTS {
        match openat2(base, path, how) {
            Err(Errno::EAGAIN) => std::thread::yield_now(),
            Err(Errno::EINTR) => {}
            settled => return settled,
        }
    }
    openat2(base, path, how)
}

/// Opens a directory that the user named on the command line: resolved as every program does, links included.
pub(super) fn open_named(path: &Path, flags: OFlag) -> Result<OwnedFd, Error> {
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC);
    openat2(AT_FDCWD, path, how).map_err(|errno| {
        let source = match errno {
            Errno::ENOSYS => io::Error::new(
                io::ErrorKind::Unsupported,
                "the system call openat2 is missing; Linux 5.6 or later is needed",
            ),
            Errno::EPERM => io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the system call openat2 is forbidden, probably by the seccomp filter of an older container runtime; \
                 update the runtime, or allow openat2 in its seccomp profile",
            ),
            errno => errno.into(),
        };
        failed("open the directory", path)(source)
    })
}

/// Makes the error of a failed system call.
pub(super) fn failed<E: Into<io::Error>>(act: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(E) -> Error {
    move |source| Error::File { act, path: path.into(), source: source.into() }
}

/// What kind of thing stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// Anything else, in words: `a FIFO`, `a socket`, `a character device`, `a block device`.
    Special(&'static str),
}

impl Kind {
    pub(super) fn of(stat: &FileStat) -> Self {
        match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFREG => Self::File,
            SFlag::S_IFDIR => Self::Directory,
            SFlag::S_IFLNK => Self::Link,
            SFlag::S_IFIFO => Self::Special("a FIFO"),
            SFlag::S_IFSOCK => Self::Special("a socket"),
            SFlag::S_IFCHR => Self::Special("a character device"),
            SFlag::S_IFBLK => Self::Special("a block device"),
            _ => Self::Special("of an unknown kind"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::File => "a regular file",
            Self::Directory => "a directory",
            Self::Link => "a symbolic link",
            Self::Special(words) => words,
        })
    }
}

impl Attributes {
    /// These permission bits, owned by the effective user and group of this process.
    #[must_use]
    pub fn ours(mode: u32) -> Self {
        Self { mode, uid: nix::unistd::geteuid().as_raw(), gid: nix::unistd::getegid().as_raw() }
    }

    pub(super) fn of(stat: &FileStat) -> Self {
        Self { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid }
    }
}

/// Which file, whatever its name: it keeps its identity when it is renamed, and loses it when it is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    #[cfg(test)]
    pub(crate) fn new(device: u64, inode: u64) -> Self {
        Self { device, inode }
    }

    pub(super) fn of(stat: &FileStat) -> Self {
        #[allow(clippy::useless_conversion, reason = "these are narrower on 32-bit machines")]
        Self { device: stat.st_dev.into(), inode: stat.st_ino.into() }
    }
}

/// When a file's content was last modified, as its file system says (inode(7), `mtime`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Modified(pub(super) TimeSpec);

impl Modified {
    pub(super) fn of(stat: &FileStat) -> Self {
        Self(TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec))
    }
}

/// A regular file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRead {
    /// All its bytes.
    pub bytes: Vec<u8>,
    /// Its permissions and owner.
    pub attributes: Attributes,
    /// Which file it was.
    pub identity: Identity,
    /// When it was last modified; looked at before its bytes were read.
    pub modified: Modified,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Nothing; where links are followed, also a link that leads nowhere or in a circle.
    Absent,
    /// A regular file.
    File(FileRead),
    /// A directory.
    Directory,
    /// A symbolic link, where links are not followed.
    Link {
        /// What the link says, unresolved.
        target: PathBuf,
    },
    /// Something that holds neither text nor entries; in words, as [`Kind::Special`].
    Special(&'static str),
}

impl Entry {
    /// The file, or nothing; what is there and is not a file cannot be read.
    pub(super) fn into_file(self, shown: PathBuf) -> Result<Option<FileRead>, Error> {
        let kind = match self {
            Self::Absent => return Ok(None),
            Self::File(file) => return Ok(Some(file)),
            Self::Directory => Kind::Directory,
            Self::Link { .. } => Kind::Link,
            Self::Special(words) => Kind::Special(words),
        };
        Err(Error::Untrusted {
            path: shown,
            why: format!("it cannot be read: it is {kind}, not a regular file"),
            remedy: "move it away, or put a regular file there".to_owned(),
        })
    }
}

/// Whether a link at the end of a path is followed; those on the way always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastLink {
    Followed,
    Kept,
}

impl LastLink {
    fn flag(self) -> OFlag {
        match self {
            Self::Followed => OFlag::empty(),
            Self::Kept => OFlag::O_NOFOLLOW,
        }
    }
}

/// The errors by which openat2(2) says that nothing can stand at a path.
fn is_absence(errno: Errno) -> bool {
    matches!(errno, Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG)
}

/// Finds out what stands at `path` below `base`, and reads it if it is a file of at most `limit` bytes.
///
/// A regular file costs four system calls: openat2, fstat, read, close.
pub(super) fn look(
    base: BorrowedFd<'_>,
    path: &Path,
    last: LastLink,
    limit: u64,
    shown: &dyn Fn() -> PathBuf,
) -> Result<Entry, Error> {
    let opened = match open_at(base, path, READING | last.flag(), Mode::empty()) {
        Ok(opened) => opened,
        Err(errno) if is_absence(errno) => return Ok(Entry::Absent),
        Err(errno) => return without_opening(base, path, last, errno).map_err(failed("read", shown())),
    };
    let stat = fstat(&opened).map_err(failed("read", shown()))?;
    match Kind::of(&stat) {
        Kind::File => {
            let bytes = read_whole(opened.into(), &stat, limit).map_err(failed("read", shown()))?;
            Ok(Entry::File(FileRead {
                bytes,
                attributes: Attributes::of(&stat),
                identity: Identity::of(&stat),
                modified: Modified::of(&stat),
            }))
        }
        Kind::Directory => Ok(Entry::Directory),
        Kind::Special(words) => Ok(Entry::Special(words)),
        Kind::Link => Err(failed("read", shown())(Errno::ELOOP)),
    }
}

/// Tells what cannot be opened for reading: a link that is not to be followed, a socket, a device without a driver.
/// For a file or a directory, `refused` stands.
fn without_opening(base: BorrowedFd<'_>, path: &Path, last: LastLink, refused: Errno) -> nix::Result<Entry> {
    let found = match open_at(base, path, OFlag::O_PATH | last.flag(), Mode::empty()) {
        Ok(found) => found,
        Err(errno) if is_absence(errno) || errno == Errno::ELOOP => return Ok(Entry::Absent),
        Err(errno) => return Err(errno),
    };
    match Kind::of(&fstat(&found)?) {
        // An empty path means the link that the descriptor itself stands for (readlinkat(2)).
        Kind::Link => Ok(Entry::Link { target: readlinkat(&found, "")?.into() }),
        Kind::Special(words) => Ok(Entry::Special(words)),
        Kind::File | Kind::Directory => Err(refused),
    }
}

/// Reads to the end, whatever the size said: it is 0 for the files of procfs, and others may be writing.
fn read_whole(mut file: std::fs::File, stat: &FileStat, limit: u64) -> io::Result<Vec<u8>> {
    let too_large = |size: String| {
        let message = format!("it has {size} bytes, and at most {limit} are read");
        io::Error::new(io::ErrorKind::FileTooLarge, message)
    };
    let size = u64::try_from(stat.st_size).map_err(io::Error::other)?;
    if size > limit {
        return Err(too_large(size.to_string()));
    }
    // With one byte more than the size, a file that stands still is read at once.
    let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)? + 1];
    let mut filled = 0;
    loop {
        match file.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if filled as u64 > limit {
            return Err(too_large(format!("more than {limit}")));
        }
        // A read that had room for more and stopped where the size said has found the end.
        if filled as u64 == size {
            break;
        }
        if filled == bytes.len() {
            bytes.resize(filled + filled.max(4096), 0);
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// The directory below which everything lies. Paths given to its methods are absolute inside it.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
}

impl Root {
    /// Opens the root; links on the way to it are followed as usual.
    ///
    /// # Errors
    /// There is no such directory, or the system call that everything rests on, openat2(2), is missing or forbidden.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self { fd: open_named(path, OFlag::O_PATH | OFlag::O_DIRECTORY)?, path: path.to_owned() })
    }

    /// Says whether the root is `/` itself, under whatever name.
    ///
    /// # Errors
    /// The root or `/` cannot be examined.
    pub fn is_host(&self) -> Result<bool, Error> {
        let root = fstat(&self.fd).map_err(failed("examine", &self.path))?;
        let host = stat("/").map_err(failed("examine", "/"))?;
        Ok(Identity::of(&root) == Identity::of(&host))
    }

    /// A path inside the root as the user knows it, for messages.
    #[must_use]
    pub fn shown(&self, path: &Path) -> PathBuf {
        self.path.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// What stands at `path`; a link there is not followed, links on the way are, inside the root.
    ///
    /// # Errors
    /// It cannot be examined, or it is a file of more than `limit` bytes.
    pub fn entry(&self, path: &Path, limit: u64) -> Result<Entry, Error> {
        look(self.fd.as_fd(), path, LastLink::Kept, limit, &|| self.shown(path))
    }

    /// What stands at `path`, links followed inside the root.
    ///
    /// # Errors
    /// It cannot be examined, or it is a file of more than `limit` bytes.
    pub fn follow(&self, path: &Path, limit: u64) -> Result<Entry, Error> {
        look(self.fd.as_fd(), path, LastLink::Followed, limit, &|| self.shown(path))
    }

    /// Reads the regular file at `path`, links followed inside the root; `None` if nothing is there.
    ///
    /// # Errors
    /// It cannot be read, is not a regular file, or has more than `limit` bytes.
    pub fn read(&self, path: &Path, limit: u64) -> Result<Option<FileRead>, Error> {
        self.follow(path, limit)?.into_file(self.shown(path))
    }

    /// The kind of what `path` leads to, links followed inside the root; `None` if it leads nowhere.
    ///
    /// # Errors
    /// It cannot be examined.
    pub fn kind(&self, path: &Path) -> Result<Option<Kind>, Error> {
        match open_at(self.fd.as_fd(), path, OFlag::O_PATH, Mode::empty()) {
            Ok(found) => Ok(Some(Kind::of(&fstat(&found).map_err(failed("examine", self.shown(path)))?))),
            Err(errno) if is_absence(errno) || errno == Errno::ELOOP => Ok(None),
            Err(errno) => Err(failed("examine", self.shown(path))(errno)),
        }
    }

    /// The path that `path` leads to, all links followed inside the root; `None` if it leads nowhere or in a circle.
    ///
    /// # Errors
    /// It cannot be examined.
    pub fn resolve(&self, path: &Path) -> Result<Option<PathBuf>, Error> {
        Ok(self.walk_links(path)?.filter(|(_, missing)| missing.is_empty()).map(|(resolved, _)| resolved))
    }

    /// The path that `path` will lead to once what is missing of it is made, all links followed inside the root; `None`
    /// if it leads in a circle.
    ///
    /// # Errors
    /// It cannot be examined.
    pub fn resolve_to_be(&self, path: &Path) -> Result<Option<PathBuf>, Error> {
        Ok(self.walk_links(path)?.map(|(mut resolved, missing)| {
            for component in missing {
                if component == Path::new("..") {
                    resolved.pop();
                } else {
                    resolved.push(component);
                }
            }
            resolved
        }))
    }

    /// The path that the beginning of `path` leads to, as far as it is there, and the components that are missing.
    fn walk_links(&self, path: &Path) -> Result<Option<(PathBuf, Vec<PathBuf>)>, Error> {
        /// As many links as the kernel follows in one path (path_resolution(7), `MAXSYMLINKS`).
        const MOST_LINKS: usize = 40;
        let mut links = 0;
        let mut resolved = PathBuf::from("/");
        let mut rest: Vec<PathBuf> =
            path.components().rev().map(|component| PathBuf::from(component.as_os_str())).collect();
        while let Some(component) = rest.pop() {
            if component == Path::new("..") {
                resolved.pop();
                continue;
            }
            let next = resolved.join(&component);
            let found = match open_at(self.fd.as_fd(), &next, OFlag::O_PATH | OFlag::O_NOFOLLOW, Mode::empty()) {
                Ok(found) => found,
                Err(errno) if is_absence(errno) => {
                    rest.push(component);
                    rest.reverse();
                    return Ok(Some((resolved, rest)));
                }
                Err(errno) => return Err(failed("examine", self.shown(&next))(errno)),
            };
            let stat = fstat(&found).map_err(failed("examine", self.shown(&next)))?;
            if Kind::of(&stat) != Kind::Link {
                resolved = next;
                continue;
            }
            links += 1;
            if links > MOST_LINKS {
                return Ok(None);
            }
            // An empty path means the link that the descriptor itself stands for (readlinkat(2)).
            let target = PathBuf::from(readlinkat(&found, "").map_err(failed("examine", self.shown(&next)))?);
            rest.extend(target.components().rev().map(|component| PathBuf::from(component.as_os_str())));
        }
        Ok(Some((resolved, Vec::new())))
    }

    /// The first bytes of the regular file at `path`, at most `length`; none of what is no regular file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn head(&self, path: &Path, length: usize) -> Result<Vec<u8>, Error> {
        let opened =
            open_at(self.fd.as_fd(), path, READING, Mode::empty()).map_err(failed("read", self.shown(path)))?;
        let stat = fstat(&opened).map_err(failed("read", self.shown(path)))?;
        let mut bytes = Vec::new();
        if Kind::of(&stat) == Kind::File {
            let mut file = std::fs::File::from(opened).take(length as u64);
            file.read_to_end(&mut bytes).map_err(failed("read", self.shown(path)))?;
        }
        Ok(bytes)
    }

    /// Which file or link stands at `path`; `None` if nothing does.
    pub(super) fn identity(&self, path: &Path) -> Result<Option<Identity>, Error> {
        match open_at(self.fd.as_fd(), path, OFlag::O_PATH | OFlag::O_NOFOLLOW, Mode::empty()) {
            Ok(found) => Ok(Some(Identity::of(&fstat(&found).map_err(failed("examine", self.shown(path)))?))),
            Err(errno) if is_absence(errno) => Ok(None),
            Err(errno) => Err(failed("examine", self.shown(path))(errno)),
        }
    }

    /// The names in a directory, in byte order; `None` if nothing is there.
    ///
    /// # Errors
    /// It is not a directory, or cannot be read.
    pub fn list(&self, path: &Path) -> Result<Option<Vec<Listed>>, Error> {
        self.dir(path)?.map(Dir::into_list).transpose()
    }

    /// Opens a directory, links followed inside the root; `None` if nothing is there.
    ///
    /// # Errors
    /// It is not a directory, or cannot be opened.
    pub fn dir(&self, path: &Path) -> Result<Option<Dir>, Error> {
        match open_at(self.fd.as_fd(), path, DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Some(Dir::new(fd, self.shown(path)))),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(failed("open the directory", self.shown(path))(errno)),
        }
    }

    /// Opens a directory of our own, as [`Dir::private_dir`]; it and those above it are made, durably, if they are absent.
    ///
    /// # Errors
    /// It cannot be made or opened, or it is not ours alone.
    pub fn private_dir(&self, path: &Path) -> Result<Dir, Error> {
        if let Some(dir) = self.existing_private_dir(path)? {
            return Ok(dir);
        }
        let (parent, name) = self.split(path)?;
        let parent = self.dir_made(parent)?;
        let made = parent.private_dir(name)?;
        parent.sync()?;
        Ok(made)
    }

    /// Opens a directory of our own, as [`Dir::existing_private_dir`]; `None` if it is absent.
    ///
    /// # Errors
    /// It cannot be opened, or it is not ours alone.
    pub fn existing_private_dir(&self, path: &Path) -> Result<Option<Dir>, Error> {
        let (parent, name) = self.split(path)?;
        match self.dir(parent)? {
            Some(parent) => parent.existing_private_dir(name),
            None => Ok(None),
        }
    }

    /// Opens a directory, which is made with mode 0755, and those above it, if it is absent.
    fn dir_made(&self, path: &Path) -> Result<Dir, Error> {
        if let Some(dir) = self.dir(path)? {
            return Ok(dir);
        }
        let (parent, name) = self.split(path)?;
        let parent = self.dir_made(parent)?;
        let made = parent.make_dir(name, 0o755).and_then(|made| parent.sync().map(|()| made));
        match (made, self.dir(path)?) {
            // Another run, which waits for the same lock, may have been faster.
            (Ok(made), _) | (Err(_), Some(made)) => Ok(made),
            (Err(error), None) => Err(match parent.entry(name, 0)? {
                Entry::Link { .. } => {
                    let resolved = self.resolve_to_be(path)?;
                    let leads = resolved.map_or_else(
                        || "in a circle".to_owned(),
                        |resolved| format!("to {}, where no directory is", self.shown(&resolved).display()),
                    );
                    Error::Untrusted {
                        path: parent.shown_at(name),
                        why: format!("it is a link that leads {leads}"),
                        remedy: "make that directory, or one in the place of the link".to_owned(),
                    }
                }
                _ => error,
            }),
        }
    }

    fn split<'p>(&self, path: &'p Path) -> Result<(&'p Path, &'p std::ffi::OsStr), Error> {
        match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => Ok((parent, name)),
            _ => Err(failed("open the directory", self.shown(path))(Errno::EINVAL)),
        }
    }
}

#[cfg(test)]
mod tests;
