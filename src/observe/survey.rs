//! Reads what `status` and `export` tell of: what a plan is made from, whose each file is, and the files that nothing
//! includes yet.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Assumed, MAX_POLICY_FILE, POLICY_DIR, observe, standing_of};
use crate::document::Desired;
use crate::error::Error;
use crate::host::Host;
use crate::host::packages::Packages;
use crate::host::root::Kind;
use crate::plan::{Observed, Standing};
use crate::profile::{INCLUDE_DIRECTORIES, PolicyPath, is_skipped_by_parser};
use crate::status::Survey;

/// Reads the host, changing nothing.
///
/// # Errors
/// As for [`observe`], or a package list cannot be read.
pub fn survey(host: &Host, assumed: &Assumed) -> Result<Survey, Error> {
    let observed = observe(host, &Desired::nothing(), assumed)?;
    let packages = Packages::read(&host.root, Path::new(POLICY_DIR))?;
    let Found { paths, unnameable } = include_files(host, &observed, packages.as_ref())?;
    let mut includes = BTreeMap::new();
    for path in paths {
        let standing = match observed.places.get(&path) {
            Some(standing) => standing.clone(),
            None => {
                let at = Path::new(POLICY_DIR).join(path.as_str());
                standing_of(host.root.entry(&at, MAX_POLICY_FILE)?, || host.root.kind(&at))?
            }
        };
        includes.insert(path, standing);
    }
    includes.retain(|_, standing| !matches!(standing, Standing::Directory));
    Ok(Survey { observed, includes, unnameable, packages })
}

#[derive(Default)]
struct Found {
    paths: BTreeSet<PolicyPath>,
    unnameable: Vec<PathBuf>,
}

/// Everything below the policy directory that profiles include, or could: what they lead to, what packages ship, what
/// the ledger holds, and what stands in the directories that are for it. Others' directories, such as that of libvirt,
/// hold policy that they make and load themselves.
fn include_files(host: &Host, observed: &Observed, packages: Option<&Packages>) -> Result<Found, Error> {
    let mut found = Found::default();
    let shipped = packages.into_iter().flat_map(Packages::iter).map(|(path, _)| path);
    let known = observed.tree.files().chain(shipped);
    let known = known.filter_map(|path| path.strip_prefix(POLICY_DIR).ok()?.to_str());
    found.paths.extend(known.filter_map(|path| PolicyPath::any(path).ok()));
    found.paths.extend(observed.places.iter().map(|(path, _)| path.clone()));
    found.paths.retain(|path| path.as_profile_file().is_none() && !path.is_link());
    let mut pending: Vec<PathBuf> = INCLUDE_DIRECTORIES.iter().map(PathBuf::from).collect();
    while let Some(directory) = pending.pop() {
        let at = Path::new(POLICY_DIR).join(&directory);
        if host.root.kind(&at)? != Some(Kind::Directory) {
            continue;
        }
        for listed in host.root.list(&at)?.unwrap_or_default() {
            let below = directory.join(&listed.name);
            if is_skipped_by_parser(&listed.name.to_string_lossy()) {
                continue;
            }
            match below.to_str().map(PolicyPath::any) {
                Some(Ok(_)) if listed.kind == Kind::Directory => pending.push(below),
                Some(Ok(path)) => drop(found.paths.insert(path)),
                Some(Err(_)) | None => found.unnameable.push(below),
            }
        }
    }
    Ok(found)
}
