//! What each entry of the document, and each place that is given up, asks of the places in the policy directory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::facts::HostFacts;
use super::{Effect, EntryOf, Observed, Standing, Target};
use crate::document::{
    Content, Desired, DesiredFile, DesiredProfile, IfMissing, OnConfined, ProfileWant, Prune, WantedMode,
};
use crate::ledger::{Attributes, Held, Original, Stands};
use crate::problem::{Problem, ProblemCode};
use crate::profile::{DISABLE, Digest, FORCE_COMPLAIN, FileName, Mode, ModeScope, Owner, PolicyPath};
use crate::report::{Change, Reason};
use crate::syntax;
use crate::template;
use crate::tree::{Closures, Node, Overlay, Text, View};

mod place;
mod refusal;

use place::is_content;
pub(crate) use place::is_standing;

/// What brought a goal about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GoalKind {
    /// An entry with a text: a profile's or an include's.
    Text,
    /// An entry that manages the mode of an installed profile.
    ModeOnly,
    /// An entry with `state: absent`.
    Absent,
    /// The owner gives the places up.
    Pruned,
}

/// What one entry asks for.
#[derive(Debug)]
pub(super) struct Goal {
    pub(super) entry: EntryOf,
    /// The entry's place in the document; empty for what is pruned.
    pub(super) pointer: String,
    pub(super) kind: GoalKind,
    /// The file itself, as against its links.
    pub(super) main: PolicyPath,
    /// The places that are to be so and so; others are left alone.
    pub(super) places: Vec<PlaceGoal>,
    /// The changes that the places need.
    pub(super) effects: Vec<Effect>,
    pub(super) reasons: Vec<Reason>,
    /// Bytes of others' files that are taken over.
    pub(super) adoptions: Vec<Arc<Text>>,
    /// What the ledger says of the entry's places from now on.
    pub(super) held: Vec<(PolicyPath, Held)>,
    /// The mode that the entry asks for, where it asks for one.
    pub(super) mode: Option<Mode>,
    pub(super) on_confined: OnConfined,
}

/// What is to stand at one place.
#[derive(Debug)]
pub(super) struct PlaceGoal {
    pub(super) path: PolicyPath,
    pub(super) target: Target,
}

impl PlaceGoal {
    /// The change that the place needs, if any.
    fn effect(&self, observed: &Observed, entry: &EntryOf) -> Option<Effect> {
        let before = observed.standing(&self.path);
        let in_place = before.stands().is_some_and(|stands| stands == self.target.stands());
        (!in_place).then(|| Effect {
            path: self.path.clone(),
            before: before.clone(),
            after: self.target.clone(),
            entry: entry.clone(),
        })
    }
}

impl Goal {
    /// The text that the profile has once the goal is reached; none when there is no file then.
    pub(super) fn final_text(&self, observed: &Observed) -> Option<Arc<Text>> {
        match self.target_of(&self.main) {
            Some(target) => target.text().cloned(),
            None => observed.standing(&self.main).text().cloned(),
        }
    }

    /// Whether the profile is loaded, and whether a link forces complain mode, once the goal is reached.
    pub(super) fn switches(&self, observed: &Observed, file: &FileName) -> (bool, bool) {
        let target =
            |directory| self.places.iter().find(|place| place.path.is_in(directory, file)).map(|it| &it.target);
        let is_there = |target: &Target| !matches!(target, Target::Absent);
        let disabled = target(DISABLE).map_or_else(|| observed.is_disabled(file), is_there);
        let forced = target(FORCE_COMPLAIN).map_or_else(|| observed.is_forced_to_complain(file), is_there);
        (!disabled, observed.parser_conf.forces_complain || forced)
    }

    /// Whether the file gets another text.
    pub(super) fn changes_text(&self, observed: &Observed) -> bool {
        let before = observed.standing(&self.main).text().map(|text| text.digest());
        before != self.final_text(observed).map(|text| text.digest())
    }

    /// The digests of the file before and after.
    pub(super) fn digests(&self, observed: &Observed) -> Change<Digest> {
        let before = observed.standing(&self.main).text().map(|text| text.digest());
        Change { before, after: self.final_text(observed).map(|text| text.digest()) }
    }

    fn target_of(&self, path: &PolicyPath) -> Option<&Target> {
        self.places.iter().find(|place| place.path == *path).map(|place| &place.target)
    }
}

/// All goals of a document on a host.
pub(super) struct Goals {
    pub(super) goals: Vec<Goal>,
    /// What the ledger holds that no goal concerns.
    pub(super) untouched: BTreeMap<PolicyPath, Held>,
}

pub(super) fn goals(
    desired: Desired,
    observed: &Observed,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Goals {
    let nothing = Overlay::new();
    let mut maker = Maker {
        observed,
        closures: Closures::new(View::new(&observed.tree, &nothing), &observed.search),
        owner: desired.owner,
        supersedes: desired.supersedes,
        uncovered: observed.ledger.held().iter().collect(),
        facts: None,
        problems,
        warnings,
    };
    let mut goals = Vec::new();
    goals.extend(desired.files.into_iter().filter_map(|file| maker.include(file)));
    let is_service =
        |profile: &DesiredProfile| matches!(&profile.want, ProfileWant::Text { content: Content::Service(_), .. });
    if desired.profiles.iter().any(is_service) {
        maker.facts = Some(HostFacts::new(observed, &goals));
    }
    goals.extend(desired.profiles.into_iter().filter_map(|profile| maker.profile(profile)));

    let uncovered = maker.uncovered.iter().map(|(path, held)| ((*path).clone(), (*held).clone()));
    let mut untouched: BTreeMap<PolicyPath, Held> = uncovered.collect();
    let owner = maker.owner.clone();
    for held in untouched.values_mut().filter(|held| maker.supersedes.contains(&held.owner)) {
        held.owner = owner.clone();
    }
    if desired.prune == Prune::Unlisted {
        let (given_up, kept) = untouched.into_iter().partition(|(_, held)| held.owner == owner);
        goals.extend(maker.pruned(given_up, desired.on_confined));
        untouched = kept;
    }
    for goal in &mut goals {
        goal.effects = goal.places.iter().filter_map(|place| place.effect(observed, &goal.entry)).collect();
    }
    Goals { goals, untouched }
}

struct Maker<'a> {
    observed: &'a Observed,
    /// What installed texts include.
    closures: Closures<'a>,
    owner: Owner,
    supersedes: Vec<Owner>,
    /// What the ledger holds and the document does not speak of.
    uncovered: HashMap<&'a PolicyPath, &'a Held>,
    /// What services are rendered by; known once the includes are.
    facts: Option<HostFacts<'a>>,
    problems: &'a mut Vec<Problem>,
    warnings: &'a mut Vec<String>,
}

/// A profile that an entry without a text is about.
struct Installed {
    /// What stands there; none if this program had removed it.
    current: Option<Arc<Text>>,
    /// What it is apart from what this program made of it.
    base: Arc<Text>,
    attributes: Attributes,
    /// What the place goes back to so far.
    before: Original,
}

impl Maker<'_> {
    fn include(&mut self, file: DesiredFile) -> Option<Goal> {
        self.uncovered.remove(&file.path);
        let place = format!("{}/path", file.pointer);
        self.check_owner(&file.path, &place)?;
        self.check_above(&file.path, &place)?;
        self.check_place(&file.path, &place)?;
        let kind = if file.content.is_some() { GoalKind::Text } else { GoalKind::Absent };
        let entry = EntryOf::File(file.path.clone());
        let mut goal = Goal::empty(entry, file.pointer, kind, file.path, OnConfined::Refuse);
        match file.content {
            Some(content) => {
                let text = self.text(content, &goal.pointer, WantedMode::AsWritten)?;
                let text = self.shared(text, &goal.main);
                self.put_file(&mut goal, text, None);
            }
            None => self.take_away(&mut goal),
        }
        Some(goal)
    }

    fn profile(&mut self, profile: DesiredProfile) -> Option<Goal> {
        let file = profile.file;
        let main = PolicyPath::from(&file);
        let (disable, force) = (PolicyPath::disable_link(&file), PolicyPath::force_complain_link(&file));
        let place = format!("{}/file", profile.pointer);
        for path in [&main, &disable, &force] {
            self.uncovered.remove(path);
        }
        self.check_owner(&main, &place)?;
        for path in [&main, &disable, &force] {
            if *path == main || !matches!(self.observed.standing(path), Standing::Link { .. }) {
                self.check_place(path, &place)?;
            }
        }
        let (pointer, on_confined) = (profile.pointer, profile.on_confined);
        let entry = EntryOf::Profile(file.clone());
        match profile.want {
            ProfileWant::Text { content, mode, scope } => {
                let text = self.text(content, &pointer, mode)?;
                let goal = Goal::empty(entry, pointer, GoalKind::Text, main, on_confined);
                Some(self.with_text(goal, &file, text, mode, scope))
            }
            ProfileWant::ModeOnly { mode, scope, if_missing } => {
                let goal = Goal::empty(entry, pointer, GoalKind::ModeOnly, main, on_confined);
                self.mode_only(goal, &file, mode, scope, if_missing)
            }
            ProfileWant::Absent => {
                let mut goal = Goal::empty(entry, pointer, GoalKind::Absent, main, on_confined);
                self.take_away(&mut goal);
                self.put_link(&mut goal, &disable, &file, false);
                self.put_link(&mut goal, &force, &file, false);
                Some(goal)
            }
        }
    }

    /// A profile whose text the document brings: the mode stands in its flags.
    fn with_text(
        &mut self,
        mut goal: Goal,
        file: &FileName,
        text: Arc<Text>,
        mode: WantedMode,
        scope: ModeScope,
    ) -> Goal {
        let (disable, force) = (PolicyPath::disable_link(file), PolicyPath::force_complain_link(file));
        let mut text = self.shared(text, &goal.main);
        let mut flags = None;
        let mut forced = mode == WantedMode::Disabled && self.is_idle_link(&force);
        if let WantedMode::Flags(mode) = mode {
            goal.mode = Some(mode);
            flags = Some((mode, scope));
            let rewritten = syntax::set_mode(&text.bytes, text.scan(), mode, scope);
            self.warn_of_kept(file, &text, &rewritten.kept);
            let is_installed = self.observed.standing(&goal.main).text().is_some_and(|installed| *installed == text);
            forced = is_installed && self.complains_by_link(&force, mode, &rewritten.kept);
            if !forced && *rewritten.text != *text.bytes {
                text = self.shared(Arc::new(Text::new(rewritten.text.into_owned())), &goal.main);
            }
        }
        self.put_file(&mut goal, text, flags);
        self.put_link(&mut goal, &disable, file, mode == WantedMode::Disabled);
        self.put_link(&mut goal, &force, file, forced);
        goal
    }

    /// A profile that somebody else installed: links where their result is the same as flags would give, so that
    /// upgrades of its package see no edited file; else its flags.
    fn mode_only(
        &mut self,
        mut goal: Goal,
        file: &FileName,
        mode: WantedMode,
        scope: ModeScope,
        if_missing: IfMissing,
    ) -> Option<Goal> {
        let (disable, force) = (PolicyPath::disable_link(file), PolicyPath::force_complain_link(file));
        let Some(Installed { current, base, attributes, before }) = self.installed(&goal.main) else {
            let missing = format!("`{file}` is not installed, and the entry brings no text");
            match if_missing {
                IfMissing::Skip => {
                    self.warnings.push(format!("{missing}: skipped"));
                    // What is remembered of the places stays, or is given up as that of any entry that is not listed.
                    let held = self.observed.ledger.held();
                    let places = [&goal.main, &disable, &force];
                    self.uncovered.extend(places.into_iter().filter_map(|path| held.get_key_value(path)));
                }
                IfMissing::Refuse => self.problems.push(
                    Problem::new(format!("{}/file", goal.pointer), ProblemCode::NotInstalled, missing)
                        .allowed("an installed profile, a text, or \"if_missing\": \"skip\""),
                ),
            }
            return None;
        };
        let mut text = Arc::clone(&base);
        let mut forced = mode == WantedMode::Disabled && self.is_idle_link(&force);
        if let WantedMode::Flags(mode) = mode {
            goal.mode = Some(mode);
            let rewritten = syntax::set_mode(&base.bytes, base.scan(), mode, scope);
            self.warn_of_kept(file, &base, &rewritten.kept);
            forced = self.complains_by_link(&force, mode, &rewritten.kept);
            if *rewritten.text != *base.bytes {
                let kept = !rewritten.kept.is_empty() || self.includes_kept(&base, mode, scope);
                if mode == Mode::Complain && !kept {
                    forced = true;
                } else {
                    text = Arc::new(Text::new(rewritten.text.into_owned()));
                }
            }
        }
        let edited = text.digest() != base.digest();
        let original = match (before, &current) {
            (Original::Kept(_), _) if !edited => Original::Untouched,
            (Original::Untouched, Some(current)) if edited => {
                goal.adoptions.push(Arc::clone(current));
                Original::Kept(Stands::File { sha256: current.digest(), attributes })
            }
            (unchanged, _) => unchanged,
        };
        if current.is_none_or(|current| text.digest() != current.digest()) {
            goal.reasons.push(Reason::MODE.into());
        }
        let target = Target::File(text, attributes);
        let held = Held { owner: self.owner.clone(), stands: target.stands(), original };
        goal.held.push((goal.main.clone(), held));
        goal.places.push(PlaceGoal { path: goal.main.clone(), target });
        self.put_link(&mut goal, &disable, file, mode == WantedMode::Disabled);
        self.put_link(&mut goal, &force, file, forced);
        Some(goal)
    }

    /// What an entry that brings no text starts from; none where there is nothing.
    fn installed(&self, main: &PolicyPath) -> Option<Installed> {
        let held = self.observed.ledger.held().get(main);
        let kept = self.observed.originals.get(main);
        match (self.observed.standing(main), held) {
            (Standing::File(current, attributes), held) => {
                let wrote = held.filter(|held| is_content(&held.stands, current)).map(|held| &held.original);
                let (base, before) = match (wrote, kept) {
                    (Some(original @ Original::Kept(_)), Some(text)) => (text, original.clone()),
                    (Some(Original::Nothing), _) => (current, Original::Nothing),
                    _ => (current, Original::Untouched),
                };
                let (current, base) = (Some(Arc::clone(current)), Arc::clone(base));
                Some(Installed { current, base, attributes: *attributes, before })
            }
            // It was to be absent until now, and comes back.
            (Standing::Absent, Some(Held { stands: Stands::Absent, original, .. })) => {
                let Original::Kept(Stands::File { attributes, .. }) = original else { return None };
                let base = Arc::clone(kept?);
                Some(Installed { current: None, base, attributes: *attributes, before: original.clone() })
            }
            _ => None,
        }
    }

    /// Whether a file that `text` includes has a header that keeps its mode: a link would force it all the same.
    fn includes_kept(&mut self, text: &Text, mode: Mode, scope: ModeScope) -> bool {
        let closure = self.closures.of(text);
        closure.inputs.iter().any(|id| match self.closures.node(*id) {
            Node::File(included) if !included.scan().headers.is_empty() => {
                !syntax::set_mode(&included.bytes, included.scan(), mode, scope).kept.is_empty()
            }
            Node::File(_) | Node::Absent | Node::Directory(_) => false,
        })
    }

    /// Goals for the places that the owner holds and no longer lists.
    fn pruned(&mut self, given_up: BTreeMap<PolicyPath, Held>, on_confined: OnConfined) -> Vec<Goal> {
        let mut goals: BTreeMap<EntryOf, Goal> = BTreeMap::new();
        for (path, held) in given_up {
            let standing = self.observed.standing(&path);
            let target = match held.original {
                Original::Untouched => continue,
                _ if !is_standing(&held.stands, standing) => {
                    self.warnings.push(format!(
                        "`{path}` was changed by somebody since this owner wrote it: left as it is, no longer managed"
                    ));
                    continue;
                }
                Original::Nothing | Original::Kept(Stands::Absent) => Target::Absent,
                Original::Kept(Stands::Link { target }) => Target::Link(target),
                Original::Kept(Stands::File { attributes, .. }) => match self.observed.originals.get(&path) {
                    Some(text) => Target::File(Arc::clone(text), attributes),
                    None => continue,
                },
            };
            let (entry, main) = entry_of(&path);
            let goal = goals.entry(entry.clone()).or_insert_with(|| {
                let mut goal = Goal::empty(entry, String::new(), GoalKind::Pruned, main, on_confined);
                goal.reasons.push(Reason::PRUNED.into());
                goal
            });
            goal.places.push(PlaceGoal { path, target });
        }
        goals.into_values().collect()
    }

    /// The bytes of an entry whose profiles are to be in `mode`.
    fn text(&mut self, content: Content, pointer: &str, mode: WantedMode) -> Option<Arc<Text>> {
        match content {
            Content::Inline(text) => Some(text),
            Content::Service(service) => match template::render(&service, mode, self.facts.as_ref()?.facts()) {
                Ok(rendered) => {
                    self.warnings.extend(rendered.warnings);
                    Some(Arc::new(Text::new(rendered.text.into_bytes())))
                }
                Err(problems) => {
                    self.problems.extend(problems);
                    None
                }
            },
            Content::Source { path, sha256 } => {
                let place = format!("{pointer}/source");
                let text = match self.observed.sources.get(&path) {
                    Some(Ok(text)) => Arc::clone(text),
                    Some(Err(why)) => {
                        self.problems.push(Problem::new(place, ProblemCode::BadSource, why.clone()));
                        return None;
                    }
                    None => {
                        let why = format!("{} was not read", path.display());
                        self.problems.push(Problem::new(place, ProblemCode::BadSource, why));
                        return None;
                    }
                };
                if let Some(expected) = sha256.filter(|expected| *expected != text.digest()) {
                    let why = format!("{} has SHA-256 {}, not {expected}", path.display(), text.digest());
                    self.problems.push(Problem::new(format!("{pointer}/sha256"), ProblemCode::BadSource, why));
                    return None;
                }
                Some(text)
            }
        }
    }

    /// The installed text where its bytes are the same: it is scanned already.
    fn shared(&self, text: Arc<Text>, path: &PolicyPath) -> Arc<Text> {
        match self.observed.standing(path) {
            Standing::File(installed, _) if installed.bytes == text.bytes => Arc::clone(installed),
            _ => text,
        }
    }

    /// Whether a link that stands in `force-complain/` has the result that an entry in this mode asks for, so that it
    /// may stay.
    fn complains_by_link(&self, force: &PolicyPath, mode: Mode, kept: &[usize]) -> bool {
        mode == Mode::Complain && kept.is_empty() && self.observed.standing(force).is_effective()
    }

    /// Whether somebody else's link stands in `force-complain/`, which says nothing of a profile that is switched off.
    fn is_idle_link(&self, force: &PolicyPath) -> bool {
        let held = self.observed.ledger.held().get(force);
        held.is_none_or(|held| held.original == Original::Untouched) && self.observed.standing(force).is_effective()
    }

    fn warn_of_kept(&mut self, file: &FileName, text: &Text, kept: &[usize]) {
        if kept.is_empty() {
            return;
        }
        let names: Vec<String> = kept
            .iter()
            .map(|header| &text.scan().headers[*header])
            .map(|header| {
                let name = &header.name;
                format!("{name} ({})", header.mode.map_or("enforce", Mode::flag))
            })
            .collect();
        self.warnings.push(format!(
            "`{file}`: {} keep the mode that they are written in; \"mode_scope\": \"all\" changes them too",
            names.join(", ")
        ));
    }
}

impl Goal {
    fn empty(entry: EntryOf, pointer: String, kind: GoalKind, main: PolicyPath, on_confined: OnConfined) -> Self {
        Self {
            entry,
            pointer,
            kind,
            main,
            places: Vec::new(),
            effects: Vec::new(),
            reasons: Vec::new(),
            adoptions: Vec::new(),
            held: Vec::new(),
            mode: None,
            on_confined,
        }
    }
}

/// The entry that a held place belongs to, and that entry's file.
pub(super) fn entry_of(path: &PolicyPath) -> (EntryOf, PolicyPath) {
    let name = path.as_str().rsplit_once('/').filter(|_| path.is_link()).map_or(path.as_str(), |(_, name)| name);
    let file = FileName::new(name).ok();
    match file {
        Some(file) => (EntryOf::Profile(file.clone()), PolicyPath::from(&file)),
        None => (EntryOf::File(path.clone()), path.clone()),
    }
}
