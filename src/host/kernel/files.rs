//! Reading the files that the kernel makes up: securityfs, procfs, sysfs.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::error::Error;

/// The largest list of loaded profiles, or file of features, that is read, in bytes.
pub(super) const MAX_TEXT: u64 = 64 << 20;
/// How much fits of nearly every file of a kernel, in bytes, so that it is read at once.
const USUAL_TEXT: usize = 4096;
const FLAGS: OFlag = OFlag::O_RDONLY.union(OFlag::O_NONBLOCK).union(OFlag::O_CLOEXEC).union(OFlag::O_NOCTTY);

/// The names in a directory, in byte order; none if it is not there. Those that are not UTF-8 are left out.
pub(super) fn names_in(directory: &Path) -> Result<Vec<String>, Error> {
    let names = entries_of(directory)?.into_iter().map(|entry| entry.file_name());
    let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
    names.sort_unstable();
    Ok(names)
}

pub(super) fn entries_of(directory: &Path) -> Result<Vec<fs_err::DirEntry>, Error> {
    let cannot_list = |source| Error::File { act: "list", path: directory.to_owned(), source };
    match fs_err::read_dir(directory) {
        Ok(entries) => entries.map(|entry| entry.map_err(cannot_list)).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(cannot_list(source)),
    }
}

pub(super) fn read_if_there(path: &Path) -> Result<Option<String>, Error> {
    there(read_text(path)).map_err(cannot_read(path))
}

/// What was read; `None` if it is not there.
pub(super) fn there<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a text that the kernel makes up at once: what is shown by `single_open` (fs/seq_file.c), a parameter
/// (fs/sysfs/file.c) or a sysctl. A read that leaves room was the last, and to ask once more would double the calls.
pub(super) fn read_text(path: &Path) -> io::Result<String> {
    whole_text(open(path)?)
}

/// The same of a file below an open directory.
pub(super) fn read_text_at(directory: impl AsFd, path: &Path) -> io::Result<String> {
    whole_text(openat(directory, path, FLAGS, Mode::empty())?.into())
}

fn whole_text(mut file: File) -> io::Result<String> {
    let (mut bytes, mut length) = (vec![0; USUAL_TEXT], 0);
    loop {
        match file.read(&mut bytes[length..]) {
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if length < bytes.len() {
            return Ok(String::from_utf8_lossy(&bytes[..length]).into_owned());
        }
        if length as u64 > MAX_TEXT {
            return Err(too_large(MAX_TEXT));
        }
        bytes.resize(2 * length, 0);
    }
}

pub(super) fn read_bytes(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(USUAL_TEXT);
    let read = open(path)?.take(limit + 1).read_to_end(&mut bytes)? as u64;
    if read > limit {
        return Err(too_large(limit));
    }
    Ok(bytes)
}

fn too_large(limit: u64) -> io::Error {
    io::Error::other(format!("it has more than {limit} bytes"))
}

pub(super) fn open(path: &Path) -> io::Result<File> {
    Ok(nix::fcntl::open(path, FLAGS, Mode::empty())?.into())
}

pub(super) fn cannot_read(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::File { act: "read", path, source }
}
