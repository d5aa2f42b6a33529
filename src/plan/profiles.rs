//! Weighs every profile that a plan concerns: what becomes of its file, and whether it must be compiled again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::conflict::{self, Scopes};
use super::defined::Doubtful;
use super::freshness::{self, Compared, Freshness, Staleness};
use super::goal::{Goal, GoalKind};
use super::{EntryOf, Expected, Listed, Observed, Source, Standing, Step, Target, installed};
use crate::document::OnConfined;
use crate::profile::{FileName, PolicyPath, ProfileName};
use crate::report::{Action, Change, Draft, FileEntry, Outcome, ProfileEntry, Reason};
use crate::tree::{Closure, Closures, InputId, Overlay, Text, View};

/// What the goals come to.
pub(super) struct Weighed {
    pub(super) steps: Vec<Step>,
    pub(super) doubtful: Vec<Doubtful>,
    pub(super) unchanged: Vec<FileName>,
    pub(super) switched: HashMap<FileName, bool>,
    pub(super) idle_dependents: Vec<FileName>,
    pub(super) compared: Compared,
}

/// Gives every goal, and every installed profile that depends on what the goals change, its entry in the report and
/// its step.
pub(super) fn weigh(goals: &[Goal], observed: &Observed, overlay: &Overlay, draft: &mut Draft) -> Weighed {
    let nothing = Overlay::new();
    let before = View::new(&observed.tree, &nothing);
    let after = View::new(&observed.tree, overlay);
    let mut scales = Scales {
        observed,
        freshness: Freshness::new(observed),
        freshness_before: Freshness::new(observed),
        before: Closures::new(before, &observed.search),
        scopes_before: Scopes::default(),
        after: Closures::new(after, &observed.search),
        scopes_after: Scopes::default(),
        doubtful: Vec::new(),
        changed: overlay.keys().flat_map(|path| path.ancestors().take(2)).map(PathBuf::from).collect(),
    };

    let mut steps = Vec::new();
    let mut unchanged = Vec::with_capacity(goals.len());
    let mut switched = HashMap::new();
    for goal in goals {
        match &goal.entry {
            EntryOf::File(path) => {
                if let Some(entry) = scales.include(path, goal) {
                    draft.files.insert(path.clone(), entry);
                }
            }
            EntryOf::Profile(file) => {
                let (enabled, forced_complain) = goal.switches(observed, file);
                if enabled == observed.is_disabled(file) {
                    switched.insert(file.clone(), enabled);
                }
                if scales.is_unchanged(file, goal, enabled, forced_complain) {
                    unchanged.push(file.clone());
                    continue;
                }
                let (entry, step) = scales.listed(file, goal, enabled, forced_complain);
                if entry.action != Action::Keep || goal.kind != GoalKind::Pruned {
                    draft.profiles.insert(file.clone(), entry);
                }
                steps.extend(step);
            }
        }
    }
    let mut idle_dependents = Vec::new();
    if !overlay.is_empty() {
        let listed: HashSet<&str> = unchanged.iter().chain(draft.profiles.keys()).map(FileName::as_str).collect();
        let mut dependents = Vec::new();
        for (file, text) in installed(after, observed, |name| !listed.contains(name)) {
            let Some(dependence) = scales.dependence(&file, &text) else { continue };
            let is_enabled = switched.get(&file).copied().unwrap_or_else(|| !observed.is_disabled(&file));
            let depending = is_enabled.then(|| scales.dependent(&file, &text, &dependence)).flatten();
            match depending {
                Some((entry, step)) => {
                    dependents.push((file, entry));
                    steps.push(step);
                }
                None => idle_dependents.push(file),
            }
        }
        draft.profiles.extend(dependents);
    }
    let compared = scales.freshness.into_compared();
    Weighed { steps, doubtful: scales.doubtful, unchanged, switched, idle_dependents, compared }
}

struct Scales<'a> {
    observed: &'a Observed,
    freshness: Freshness<'a>,
    freshness_before: Freshness<'a>,
    before: Closures<'a>,
    scopes_before: Scopes,
    after: Closures<'a>,
    scopes_after: Scopes,
    doubtful: Vec<Doubtful>,
    /// The paths that the plan changes, and the directories that they stand in.
    changed: HashSet<PathBuf>,
}

impl Scales<'_> {
    fn include(&self, path: &PolicyPath, goal: &Goal) -> Option<FileEntry> {
        let action = action_of(goal);
        if action == Action::Keep && goal.kind == GoalKind::Pruned {
            return None;
        }
        Some(FileEntry {
            path: path.clone(),
            action,
            outcome: outcome_of(action),
            reasons: if goal.effects.is_empty() { Vec::new() } else { goal.reasons.clone() },
            error: None,
            sha256: goal.digests(self.observed),
        })
    }

    /// Whether there is nothing to do about a profile that the document lists, and nothing to tell but how it is.
    fn is_unchanged(&mut self, file: &FileName, goal: &Goal, enabled: bool, forced_complain: bool) -> bool {
        let is_kept = enabled && goal.effects.is_empty() && goal.kind != GoalKind::Pruned;
        let Some(text) = goal.final_text(self.observed).filter(|_| is_kept) else { return false };
        let stale = self.freshness.stale_reasons(file, &text, forced_complain, &mut self.after);
        matches!(stale, Staleness::Fresh) && self.freshness.kernel_reasons(file).is_empty()
    }

    fn listed(
        &mut self,
        file: &FileName,
        goal: &Goal,
        enabled: bool,
        forced_complain: bool,
    ) -> (ProfileEntry, Option<Step>) {
        let changed = !goal.effects.is_empty();
        let mut entry = ProfileEntry {
            file: file.clone(),
            action: action_of(goal),
            outcome: Outcome::Unchanged,
            reasons: if changed { goal.reasons.clone() } else { Vec::new() },
            error: None,
            sha256: goal.digests(self.observed),
            loaded: Vec::new(),
        };
        let text = goal.final_text(self.observed).filter(|_| enabled || goal.kind == GoalKind::Text);
        let step = match text {
            Some(text) => self.step_to_compile(&mut entry, goal, text, enabled, forced_complain),
            None => None,
        };
        // What is switched off and was compiled before, only to check it, must still leave the kernel.
        let step = match step {
            None if !enabled || goal.final_text(self.observed).is_none() => self.step_to_unload(&entry, goal),
            step => step,
        };
        entry.outcome = outcome_of(entry.action);
        entry.reasons.sort();
        entry.reasons.dedup();
        (entry, step)
    }

    fn step_to_compile(
        &mut self,
        entry: &mut ProfileEntry,
        goal: &Goal,
        text: Arc<Text>,
        enabled: bool,
        forced_complain: bool,
    ) -> Option<Step> {
        let changed = !goal.effects.is_empty();
        let file = entry.file.clone();
        let stale = self.freshness.stale_reasons(&file, &text, forced_complain, &mut self.after);
        let kernel = if enabled { self.freshness.kernel_reasons(&file) } else { Vec::new() };
        if let (true, Some(record)) = (enabled, self.observed.ledger.compiled().get(&file)) {
            entry.loaded = freshness::loaded_entries(record, self.observed.kernel.as_ref());
        }
        if matches!(stale, Staleness::Fresh) && kernel.is_empty() {
            return None;
        }
        let closure = self.after.of(&text);
        let inputs = &closure.inputs;
        let is_new = matches!(self.observed.standing(&goal.main), Standing::Absent);
        match stale {
            Staleness::Fresh | Staleness::NeverCompiled => entry.reasons.extend(kernel),
            // What a new text includes is no reason for writing it: the record is of another text. What this run
            // itself changes among its includes is one, unless the file is new.
            Staleness::Stale(_) if is_new => {}
            Staleness::Stale(_) if goal.changes_text(self.observed) => {
                entry.reasons.extend(self.freshness.include_reasons(&self.changed_among(inputs)));
                entry.reasons.extend(kernel);
            }
            Staleness::Stale(reasons) => {
                entry.reasons.extend(reasons.into_iter().filter(|reason| !changed || reason.0 != Reason::CONTENT));
                entry.reasons.extend(kernel);
            }
        }
        let touched = changed || self.includes_changed(inputs);
        if touched && !changed && entry.reasons.is_empty() {
            entry.reasons = self.freshness.include_reasons(&self.changed_among(inputs));
        }
        if entry.action == Action::Keep {
            entry.action = Action::Reload;
        }
        let expected = conflict::expected(&text, goal.mode, forced_complain, &mut self.after, &mut self.scopes_after);
        Some(Step {
            listed: Listed::Document,
            compile: Some(Source::of(text, forced_complain, inputs, &self.after)),
            expected,
            defined_before: self.defined_before(&file),
            on_confined: goal.on_confined,
            enabled,
            touched,
            file,
        })
    }

    /// The step of a profile that is gone or switched off. Where nothing changes there, only what the kernel still runs
    /// of it can ask for one, unless another file defines the same.
    fn step_to_unload(&mut self, entry: &ProfileEntry, goal: &Goal) -> Option<Step> {
        let changed = !goal.effects.is_empty();
        let step = Step {
            file: entry.file.clone(),
            listed: Listed::Document,
            compile: None,
            expected: Expected::default(),
            defined_before: self.defined_before(&entry.file),
            on_confined: goal.on_confined,
            enabled: false,
            touched: changed,
        };
        if changed {
            return Some(step);
        }
        let entry = ProfileEntry {
            action: Action::Reload,
            outcome: Outcome::Planned,
            reasons: vec![Reason::KERNEL_DRIFT.into()],
            ..entry.clone()
        };
        self.doubtful.push(Doubtful { entry, step });
        None
    }

    /// How a profile that the document does not list depends on something that the document changes, if it does.
    fn dependence(&mut self, file: &FileName, text: &Arc<Text>) -> Option<Dependence> {
        let is_recorded = self.freshness.current(file, text, &mut self.after).is_some();
        if is_recorded && self.freshness_before.current(file, text, &mut self.before).is_some() {
            return None;
        }
        let (closure, old_closure) = (self.after.of(text), self.before.of(text));
        let (inputs, old_inputs) = (&closure.inputs, &old_closure.inputs);
        let was_included = old_inputs.iter().any(|id| self.changed.contains(&self.before.input(*id).path));
        if !was_included && !self.includes_changed(inputs) {
            return None;
        }
        let changed = freshness::changed_paths(old_inputs, &self.before, inputs, &self.after);
        let reasons = self.freshness.include_reasons(&changed);
        (!changed.is_empty()).then_some(Dependence { closure, reasons })
    }

    /// An installed profile that the document does not list and that depends on something that the document changes;
    /// none where the kernel is managed and does not run it.
    fn dependent(
        &mut self,
        file: &FileName,
        text: &Arc<Text>,
        dependence: &Dependence,
    ) -> Option<(ProfileEntry, Step)> {
        let Dependence { closure, reasons } = dependence;
        let inputs = &closure.inputs;
        let defined_before = self.defined_before(file);
        if let Some(kernel) = &self.observed.kernel {
            if !defined_before.iter().any(|name| kernel.loaded.contains_key(name)) {
                return None;
            }
        }
        let record = self.observed.ledger.compiled().get(file);
        let entry = ProfileEntry {
            file: file.clone(),
            action: Action::Reload,
            outcome: Outcome::Planned,
            reasons: reasons.clone(),
            error: None,
            sha256: Change { before: Some(text.digest()), after: Some(text.digest()) },
            loaded: record.map_or_else(Vec::new, |it| freshness::loaded_entries(it, self.observed.kernel.as_ref())),
        };
        let forced_complain = self.observed.is_forced_to_complain(file);
        let step = Step {
            file: file.clone(),
            listed: Listed::Dependent,
            compile: Some(Source::of(Arc::clone(text), forced_complain, inputs, &self.after)),
            expected: Expected::default(),
            defined_before,
            on_confined: OnConfined::Refuse,
            enabled: true,
            touched: true,
        };
        Some((entry, step))
    }

    /// The paths among these inputs that the plan changes.
    fn changed_among(&self, inputs: &[InputId]) -> BTreeSet<&Path> {
        let paths = inputs.iter().map(|id| self.after.input(*id).path.as_path());
        paths.filter(|path| self.changed.contains(*path)).collect()
    }

    fn includes_changed(&self, inputs: &[InputId]) -> bool {
        !self.changed.is_empty() && inputs.iter().any(|id| self.changed.contains(&self.after.input(*id).path))
    }

    /// The names that the installed text of `file` gave to the kernel: as it was compiled, else as its headers say.
    fn defined_before(&mut self, file: &FileName) -> BTreeSet<ProfileName> {
        if let Some(record) = self.observed.ledger.compiled().get(file) {
            return record.profiles.iter().map(|profile| profile.name.clone()).collect();
        }
        let Some(text) = self.observed.standing(&PolicyPath::from(file)).text() else { return BTreeSet::new() };
        conflict::names_of(text, &mut self.before, &mut self.scopes_before)
    }
}

/// How an installed profile depends on what a plan changes.
struct Dependence {
    /// Everything that it depends on once the plan is carried out.
    closure: Rc<Closure>,
    /// The changes, as reasons.
    reasons: Vec<Reason>,
}

fn action_of(goal: &Goal) -> Action {
    if goal.effects.is_empty() {
        return Action::Keep;
    }
    let main = goal.effects.iter().find(|effect| effect.path == goal.main);
    match (goal.kind, main.map(|effect| (&effect.before, &effect.after))) {
        (GoalKind::Absent, _) | (GoalKind::Pruned, Some((_, Target::Absent))) => Action::Remove,
        (GoalKind::Pruned, _) => Action::Restore,
        (_, Some((Standing::Absent, _))) => Action::Create,
        _ => Action::Update,
    }
}

fn outcome_of(action: Action) -> Outcome {
    if action == Action::Keep { Outcome::Unchanged } else { Outcome::Planned }
}
