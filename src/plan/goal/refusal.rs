//! Places that an entry may not have: another owner's, and those where no file of ours can stand.

use super::Maker;
use crate::plan::Standing;
use crate::problem::{Problem, ProblemCode};
use crate::profile::PolicyPath;

impl Maker<'_> {
    pub(super) fn check_owner(&mut self, path: &PolicyPath, pointer: &str) -> Option<()> {
        let held = self.observed.ledger.held().get(path);
        let other =
            held.map(|held| &held.owner).filter(|owner| **owner != self.owner && !self.supersedes.contains(owner));
        let Some(other) = other else { return Some(()) };
        self.problems.push(
            Problem::new(pointer, ProblemCode::OwnedByOther, format!("`{path}` is held by the owner `{other}`"))
                .allowed(format!("another file, or \"supersedes\": [\"{other}\"] to take all its entries over")),
        );
        None
    }

    pub(super) fn check_above(&mut self, path: &PolicyPath, pointer: &str) -> Option<()> {
        let above = path.parents().find_map(|parent| Some((self.observed.blocked.get(&parent)?, parent)));
        if let Some((what, parent)) = above {
            self.problems.push(
                Problem::new(pointer, ProblemCode::NotAFile, format!("above `{path}`, `{parent}` is {what}"))
                    .allowed("a directory, or a link to one below the root"),
            );
            return None;
        }
        Some(())
    }

    pub(super) fn check_place(&mut self, path: &PolicyPath, pointer: &str) -> Option<()> {
        let what = match self.observed.standing(path) {
            Standing::Absent | Standing::File(..) => return Some(()),
            Standing::Link { target, .. } => format!("a symbolic link to `{target}`"),
            Standing::Directory => "a directory".to_owned(),
            Standing::Other(what) => (*what).to_owned(),
        };
        self.problems.push(
            Problem::new(pointer, ProblemCode::NotAFile, format!("at `{path}` stands {what}, not a regular file"))
                .allowed("move it away, or choose another name; links are never written through"),
        );
        None
    }
}
