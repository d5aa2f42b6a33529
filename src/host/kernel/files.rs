//! Reading the files that the kernel makes up: securityfs, procfs, sysfs.

use std::io::{self, Read};
use std::path::Path;

use nix::fcntl::OFlag;

use crate::error::Error;

/// The largest list of loaded profiles, or file of features, that is read, in bytes.
pub(super) const MAX_TEXT: u64 = 64 << 20;
/// How much fits of nearly every file of a kernel, in bytes, so that it is read at once.
const USUAL_TEXT: usize = 4096;

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
    match read_text(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(cannot_read(path)(source)),
    }
}

/// Reads a text that the kernel makes up at once: what is shown by `single_open` (fs/seq_file.c), a parameter
/// (fs/sysfs/file.c) or a sysctl. A read that leaves room was the last, and to ask once more would double the calls.
pub(super) fn read_text(path: &Path) -> io::Result<String> {
    let mut file = open(path)?;
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

pub(super) fn open(path: &Path) -> io::Result<std::fs::File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    Ok(nix::fcntl::open(path, flags, nix::sys::stat::Mode::empty())?.into())
}

pub(super) fn cannot_read(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::File { act: "read", path, source }
}
