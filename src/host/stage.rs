//! The staged view: a copy of exactly the policy that was read and fingerprinted, for apparmor_parser to compile.
//!
//! The parser follows symbolic links and looks up names by itself, so that what it reads from an installed directory
//! can differ from what was fingerprinted a moment before, and with another root it would follow an image's absolute
//! links to the host's files. It is therefore only ever shown a stage: a private directory in which `/etc/apparmor.d/x`
//! of the root stands at `<spool>/stage/etc/apparmor.d/x`.
//!
//! **Invariant:** nothing in a stage is a symbolic link, and every file holds the bytes that were added.
//!
//! **Invariant:** a staged file has the lines of its original, so that the parser's line numbers are true.

use std::collections::HashSet;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::Error;

/// The name of the staged view in its private directory.
const STAGE: &str = "stage";

/// A staged view below a private directory; its owner removes it together with that directory.
#[derive(Debug)]
pub struct Stage {
    spool: PathBuf,
    top: PathBuf,
    base: PathBuf,
    staged: HashSet<PathBuf>,
    outputs: AtomicUsize,
}

impl Stage {
    /// Makes an empty stage in `spool`, an existing directory of mode 0700 that holds no other stage. `base` is the
    /// policy directory as a path in the root, such as `/etc/apparmor.d`. It is made at once: apparmor_parser answers
    /// a missing `--base` with a mere message and reads the host's policy directory instead.
    ///
    /// # Errors
    /// A directory cannot be made, or `base` is not absolute and plain.
    pub fn new(spool: &Path, base: &Path) -> Result<Self, Error> {
        let mut stage = Self {
            spool: spool.to_owned(),
            top: spool.join(STAGE),
            base: base.to_owned(),
            staged: HashSet::new(),
            outputs: AtomicUsize::new(0),
        };
        for directory in [&stage.top, &spool.join("compiled")] {
            make_directory(directory).map_err(cannot("make the directory", directory))?;
        }
        stage.add_directory(base)?;
        Ok(stage)
    }

    /// The policy directory, as a path in the root.
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// The staged place of a path in the root.
    #[must_use]
    pub fn path(&self, path_in_root: &Path) -> PathBuf {
        self.top.join(path_in_root.strip_prefix("/").unwrap_or(path_in_root))
    }

    /// What [`Self::path`] puts before a path in the root.
    pub(crate) fn prefix(&self) -> &Path {
        &self.top
    }

    /// A path in the spool, outside the staged view, for a file of this name.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.spool.join(name)
    }

    /// A path in the spool that no other output has.
    pub(crate) fn new_output(&self) -> PathBuf {
        let number = self.outputs.fetch_add(1, Ordering::Relaxed);
        self.spool.join("compiled").join(number.to_string())
    }

    /// Stages a directory without content, for an include of a directory in which there is nothing to read.
    ///
    /// # Errors
    /// The directory cannot be made, or the path is not absolute and plain.
    pub fn add_directory(&mut self, path_in_root: &Path) -> Result<(), Error> {
        let mut directory = PathBuf::from("/");
        for component in plain_components(path_in_root)? {
            directory.push(component);
            if !self.staged.contains(&directory) {
                let staged = self.path(&directory);
                make_directory(&staged).map_err(cannot("stage the directory", &staged))?;
                self.staged.insert(directory.clone());
            }
        }
        Ok(())
    }

    /// Stages a file. Each of `replacements`, ordered and apart, is the span of an include's or abi rule's argument
    /// (delimiters included) and the path in the root that it stands for; in the stage it becomes that file's staged
    /// path in double quotes, the one form that apparmor_parser takes for a path outside its search directories.
    /// A path that is staged already stays as it is: what includes share is added once.
    ///
    /// # Errors
    /// The file cannot be written, a path is not absolute and plain, or a replacement cannot be expressed.
    pub fn add(
        &mut self,
        path_in_root: &Path,
        bytes: &[u8],
        replacements: &[(Range<usize>, PathBuf)],
    ) -> Result<(), Error> {
        if self.staged.contains(path_in_root) {
            return Ok(());
        }
        let text = self.replaced(path_in_root, bytes, replacements)?;
        if let Some(directory) = path_in_root.parent() {
            self.add_directory(directory)?;
        }
        plain_components(path_in_root)?;
        let staged = self.path(path_in_root);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&staged)
            .and_then(|mut file| file.write_all(&text))
            .map_err(cannot("stage the file", &staged))?;
        self.staged.insert(path_in_root.to_owned());
        Ok(())
    }

    fn replaced(&self, file: &Path, bytes: &[u8], replacements: &[(Range<usize>, PathBuf)]) -> Result<Vec<u8>, Error> {
        let inexpressible = |why: String| Error::Untrusted {
            path: file.to_owned(),
            why,
            remedy: "write the include with a path below the policy directory, as in `include <local/x>`".to_owned(),
        };
        let mut text = Vec::with_capacity(bytes.len());
        let mut done = 0;
        for (span, target) in replacements {
            let (Some(before), Some(argument)) = (bytes.get(done..span.start), bytes.get(span.clone())) else {
                return Err(inexpressible("the spans of its includes do not fit its text".to_owned()));
            };
            plain_components(target)?;
            let staged = self.path(target);
            let unquotable = |byte: &u8| matches!(byte, b'"' | b'\\') || byte.is_ascii_control();
            if argument.contains(&b'\n') || staged.as_os_str().as_bytes().iter().any(unquotable) {
                let target = target.display();
                return Err(inexpressible(format!("it includes {target}, which a quoted path cannot express")));
            }
            text.extend_from_slice(before);
            text.push(b'"');
            text.extend_from_slice(staged.as_os_str().as_bytes());
            text.push(b'"');
            done = span.end;
        }
        text.extend_from_slice(bytes.get(done..).unwrap_or_default());
        Ok(text)
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// The components below `/` of an absolute path without `.` and `..`, so that none leads out of the stage.
fn plain_components(path: &Path) -> Result<Vec<&std::ffi::OsStr>, Error> {
    let mut components = path.components();
    let names = components.by_ref().skip(1).map(|component| match component {
        Component::Normal(name) => Some(name),
        _ => None,
    });
    let names: Option<Vec<_>> = names.collect();
    names.filter(|_| path.is_absolute()).ok_or_else(|| Error::Untrusted {
        path: path.to_owned(),
        why: "only an absolute path without `..` can be staged".to_owned(),
        remedy: "name the file by its plain path".to_owned(),
    })
}

pub(crate) fn cannot(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { act, path, source }
}

#[cfg(test)]
mod tests;
