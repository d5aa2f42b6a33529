//! The directories of the places that a run changes, each opened once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::host::dir::Dir;
use crate::host::replace::Temporary;
use crate::host::root::Root;
use crate::observe::POLICY_DIR;
use crate::plan::Target;
use crate::profile::PolicyPath;

/// Directories below the policy directory, opened when they are first asked for.
pub(super) struct Directories<'r> {
    root: &'r Root,
    opened: BTreeMap<PathBuf, Dir>,
}

impl<'r> Directories<'r> {
    pub(super) fn new(root: &'r Root) -> Self {
        Self { root, opened: BTreeMap::new() }
    }

    /// The directory of a place, and the place's name in it; none if there is no such directory yet.
    pub(super) fn of<'p>(&mut self, path: &'p PolicyPath) -> Result<Option<(Dir, &'p str)>, Error> {
        let (parent, name) = match path.as_str().rsplit_once('/') {
            Some((parent, name)) => (Path::new(POLICY_DIR).join(parent), name),
            None => (PathBuf::from(POLICY_DIR), path.as_str()),
        };
        if let Some(known) = self.opened.get(&parent) {
            return Ok(Some((known.clone(), name)));
        }
        let Some(directory) = self.root.dir(&parent)? else { return Ok(None) };
        self.opened.insert(parent, directory.clone());
        Ok(Some((directory, name)))
    }

    /// Makes all names in the opened directories durable.
    pub(super) fn sync(&self) -> Result<(), Error> {
        self.opened.values().try_for_each(Dir::sync)
    }
}

/// What a place is to hold, under a temporary name; none if it is to hold nothing.
pub(super) fn temporary(directory: &Dir, target: &Target) -> Result<Option<Temporary>, Error> {
    match target {
        Target::Absent => Ok(None),
        Target::File(text, attributes) => directory.write_temporary(&text.bytes, *attributes).map(Some),
        Target::Link(target) => directory.link_temporary(Path::new(target)).map(Some),
    }
}

/// Puts a place into a state, durably but for its directory.
pub(super) fn put(directory: &Dir, name: &str, target: &Target) -> Result<(), Error> {
    match temporary(directory, target)? {
        Some(made) => made.rename_to(name),
        None => directory.remove_file(name).map(drop),
    }
}

/// Removes those of the directories that are empty. Where something stands in one it is somebody else's by now.
pub(super) fn remove_empty(root: &Root, directories: &[PolicyPath]) -> Result<(), Error> {
    let mut parents = Directories::new(root);
    for path in directories {
        if let Some((parent, name)) = parents.of(path)? {
            let _kept_if_not_empty = parent.remove_dir(name)?;
        }
    }
    Ok(())
}
