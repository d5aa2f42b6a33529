//! What an entry has stand at a place, and what the place goes back to when it is given up.

use std::sync::Arc;

use super::{Goal, Maker, PlaceGoal};
use crate::ledger::{Held, Original, Stands};
use crate::plan::{Standing, Target};
use crate::profile::{FileName, Mode, ModeScope, PolicyPath};
use crate::report::Reason;
use crate::syntax;
use crate::tree::Text;

impl Maker<'_> {
    pub(super) fn put_file(&mut self, goal: &mut Goal, text: Arc<Text>, flags: Option<(Mode, ModeScope)>) {
        let attributes = self.observed.attributes;
        let adopt = self.original(goal, &goal.main.clone(), &Target::File(Arc::clone(&text), attributes));
        let standing = self.observed.standing(&goal.main);
        match standing {
            Standing::File(before, before_attributes) if before.digest() == text.digest() => {
                if *before_attributes != attributes {
                    goal.reasons.push(Reason::ATTRIBUTES.into());
                }
            }
            Standing::File(before, _) => {
                if !goal.adoptions.is_empty() {
                    goal.reasons.push(Reason::ADOPTED.into());
                }
                let only_flags = flags.is_some_and(|(mode, _)| same_but_for_flags(before, &text, mode));
                goal.reasons.push(if only_flags { Reason::MODE.into() } else { Reason::CONTENT.into() });
            }
            _ => goal.reasons.push(Reason::CONTENT.into()),
        }
        let target = Target::File(text, attributes);
        let held = Held { owner: self.owner.clone(), stands: target.stands(), original: adopt };
        goal.held.push((goal.main.clone(), held));
        goal.places.push(PlaceGoal { path: goal.main.clone(), target });
    }

    pub(super) fn take_away(&mut self, goal: &mut Goal) {
        let path = goal.main.clone();
        if !matches!(self.observed.standing(&path), Standing::Absent) {
            goal.reasons.push(Reason::CONTENT.into());
        }
        self.put(goal, path, Target::Absent);
    }

    /// Sees to it that the link is there, or is not. A link of somebody else's that the parser honours will do.
    pub(super) fn put_link(&mut self, goal: &mut Goal, path: &PolicyPath, file: &FileName, wanted: bool) {
        let standing = self.observed.standing(path);
        let target = match (wanted, standing.is_effective()) {
            (true, true) => {
                let held = match (self.observed.ledger.held().get(path), standing.stands()) {
                    (Some(held), _) => Some(Held { owner: self.owner.clone(), ..held.clone() }),
                    (None, Some(stands)) => {
                        Some(Held { owner: self.owner.clone(), stands, original: Original::Untouched })
                    }
                    (None, None) => None,
                };
                goal.held.extend(held.map(|held| (path.clone(), held)));
                return;
            }
            (true, false) => {
                if self.check_above(path, &format!("{}/mode", goal.pointer)).is_none() {
                    return;
                }
                Target::Link(format!("../{file}"))
            }
            (false, _) => Target::Absent,
        };
        let in_place = standing.stands().is_some_and(|stands| stands == target.stands());
        if !in_place {
            goal.reasons.push(Reason::MODE.into());
        }
        self.put(goal, path.clone(), target);
    }

    pub(super) fn put(&mut self, goal: &mut Goal, path: PolicyPath, target: Target) {
        let is_known = self.observed.ledger.held().contains_key(&path);
        let is_there = !matches!(self.observed.standing(&path), Standing::Absent);
        if is_known || is_there || !matches!(target, Target::Absent) {
            let original = self.original(goal, &path, &target);
            let held = Held { owner: self.owner.clone(), stands: target.stands(), original };
            goal.held.push((path.clone(), held));
        }
        goal.places.push(PlaceGoal { path, target });
    }

    /// What the place goes back to when it is given up. What somebody else put there, since this program last wrote
    /// to it, is kept in place of an older original: an upgrade of a package, above all. Over a file that is this
    /// program's from the start, it is an edit of that file, and no original.
    fn original(&self, goal: &mut Goal, path: &PolicyPath, target: &Target) -> Original {
        let standing = self.observed.standing(path);
        let held = self.observed.ledger.held().get(path);
        let is_ours = held.is_some_and(|held| match &held.original {
            Original::Untouched => false,
            Original::Nothing => held.stands != Stands::Absent,
            Original::Kept(_) => [held.stands.clone(), target.stands()].iter().any(|ours| is_standing(ours, standing)),
        });
        let kept = held.map(|held| held.original.clone()).filter(|original| *original != Original::Untouched);
        match (standing.stands(), kept) {
            (Some(Stands::Absent) | None, kept) => kept.unwrap_or(Original::Nothing),
            (Some(_), Some(kept)) if is_ours => kept,
            (Some(before), _) => {
                goal.adoptions.extend(standing.text().cloned());
                Original::Kept(before)
            }
        }
    }
}

pub(super) fn is_content(stands: &Stands, text: &Text) -> bool {
    matches!(stands, Stands::File { sha256, .. } if *sha256 == text.digest())
}

/// Whether this is what stands there. A file is known by its bytes.
pub(crate) fn is_standing(stands: &Stands, standing: &Standing) -> bool {
    match standing {
        Standing::File(text, _) => is_content(stands, text),
        other => other.stands().is_some_and(|other| other == *stands),
    }
}

fn same_but_for_flags(before: &Text, after: &Text, mode: Mode) -> bool {
    let rewritten = syntax::set_mode(&before.bytes, before.scan(), mode, ModeScope::All);
    let other = syntax::set_mode(&after.bytes, after.scan(), mode, ModeScope::All);
    *rewritten.text == *other.text
}
