//! From what is wanted and what was observed to what is to be done. Pure: no file system, process or clock.
//!
//! **Invariants:** a plan changes only places that the document lists or its owner holds; everything that can be
//! refused by looking at texts alone is refused here, all of it at once: by [`plan()`], or by [`Plan::defined`] before
//! anybody's files are touched.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::document::{Content, Desired, OnConfined, ProfileWant};
use crate::host::kernel::KernelState;
use crate::host::parser::ParserConf;
use crate::ledger::{Attributes, Held, Ledger, Stands, Toolchain};
use crate::problem::Problem;
use crate::profile::{FileName, Mode, PolicyPath, ProfileName};
use crate::report::{Diff, Diffs, Draft, KernelReport, Listing};
use crate::service::Program;
use crate::sighting::Sighting;
use crate::template::{self, Awaited, Found};
use crate::tree::{Closures, Input, InputId, Node, Overlay, Text, Tree, View};

use defined::Doubtful;
use freshness::Compared;

pub(crate) mod conflict;
mod defined;
mod facts;
mod freshness;
mod goal;
mod objections;
mod profiles;

pub(crate) use conflict::{Scopes, declared};
pub use defined::{Defined, Reading};
pub(crate) use freshness::{Freshness, Staleness, kernel_reasons};
pub(crate) use goal::is_standing;
pub use objections::object;
pub(crate) use objections::objections;

/// Everything that a plan is made from; read once.
#[derive(Debug)]
pub struct Observed {
    /// Every file that policy text refers to, and every profile's file.
    pub tree: Tree,
    /// The policy directory, absolute below the root.
    pub policy_dir: PathBuf,
    /// The directories that `<x>` is looked for in, in order, absolute below the root.
    pub search: Vec<PathBuf>,
    /// What stands at each place that the document lists or the ledger holds.
    pub places: Places,
    /// What stands where a directory above such a place should be and is none, in words.
    pub blocked: BTreeMap<PolicyPath, String>,
    /// The bytes of adopted files, by the place that they go back to.
    pub originals: BTreeMap<PolicyPath, Arc<Text>>,
    /// The `source` files that the document names, or why one cannot be had.
    pub sources: BTreeMap<PathBuf, Result<Arc<Text>, String>>,
    /// What stands at the paths of the programs that services name.
    pub programs: BTreeMap<Program, Found>,
    /// Where paths that services name lead, of those that lead elsewhere.
    pub links: BTreeMap<String, String>,
    /// What earlier runs did.
    pub ledger: Ledger,
    /// What turns text into compiled policy.
    pub toolchain: Toolchain,
    /// The parser's configuration.
    pub parser_conf: ParserConf,
    /// The kernel features to compile for.
    pub features: Arc<Text>,
    /// The files that parser.conf names, with their paths.
    pub conf_files: Vec<(PathBuf, Arc<Text>)>,
    /// The attributes that files of ours have.
    pub attributes: Attributes,
    /// What the kernel runs, when it is managed.
    pub kernel: Option<KernelState>,
    /// What the last run saw in the kernel.
    pub sighting: Option<Sighting>,
}

/// What stands at places. Links that switch profiles are few: apart from files, they are soon looked up.
#[derive(Debug, Default)]
pub struct Places {
    files: HashMap<PolicyPath, Standing>,
    links: HashMap<PolicyPath, Standing>,
}

impl Places {
    /// Records what stands at `path`.
    pub fn insert(&mut self, path: PolicyPath, standing: Standing) {
        let places = if path.is_link() { &mut self.links } else { &mut self.files };
        places.insert(path, standing);
    }

    /// What stands at `path`, if it was looked at.
    #[must_use]
    pub fn get(&self, path: &PolicyPath) -> Option<&Standing> {
        if path.is_link() { self.links.get(path) } else { self.files.get(path) }
    }

    /// Every place, with what stands there.
    pub fn iter(&self) -> impl Iterator<Item = (&PolicyPath, &Standing)> {
        self.files.iter().chain(&self.links)
    }
}

/// What stands at a place in the policy directory, links not followed.
#[derive(Debug, Clone)]
pub enum Standing {
    /// Nothing.
    Absent,
    /// A regular file.
    File(Arc<Text>, Attributes),
    /// A symbolic link.
    Link {
        /// Where it points, as written.
        target: String,
        /// Whether something stands there; the parser ignores dangling links.
        resolves: bool,
    },
    /// A directory.
    Directory,
    /// A device, socket or pipe, as the word says.
    Other(&'static str),
}

impl Standing {
    /// Whether apparmor_parser would honour this as a link in `disable/` or `force-complain/`: it asks `access(2)`.
    #[must_use]
    pub fn is_effective(&self) -> bool {
        match self {
            Self::Absent => false,
            Self::Link { resolves, .. } => *resolves,
            Self::File(..) | Self::Directory | Self::Other(_) => true,
        }
    }

    /// The same without bytes; none for what this program never writes over.
    #[must_use]
    pub fn stands(&self) -> Option<Stands> {
        match self {
            Self::Absent => Some(Stands::Absent),
            Self::File(text, attributes) => Some(Stands::File { sha256: text.digest(), attributes: *attributes }),
            Self::Link { target, .. } => Some(Stands::Link { target: target.clone() }),
            Self::Directory | Self::Other(_) => None,
        }
    }

    fn text(&self) -> Option<&Arc<Text>> {
        match self {
            Self::File(text, _) => Some(text),
            _ => None,
        }
    }
}

/// What is to stand at a place.
#[derive(Debug, Clone)]
pub enum Target {
    /// Nothing.
    Absent,
    /// A regular file.
    File(Arc<Text>, Attributes),
    /// A symbolic link.
    Link(String),
}

impl Target {
    /// The same without bytes.
    #[must_use]
    pub fn stands(&self) -> Stands {
        match self {
            Self::Absent => Stands::Absent,
            Self::File(text, attributes) => Stands::File { sha256: text.digest(), attributes: *attributes },
            Self::Link(target) => Stands::Link { target: target.clone() },
        }
    }

    fn text(&self) -> Option<&Arc<Text>> {
        match self {
            Self::File(text, _) => Some(text),
            _ => None,
        }
    }
}

/// Which entry of the report an effect belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryOf {
    /// A profile's file.
    Profile(FileName),
    /// An include file.
    File(PolicyPath),
}

/// One change to one place in the policy directory.
#[derive(Debug, Clone)]
pub struct Effect {
    /// The place.
    pub path: PolicyPath,
    /// What was observed there, and is put back when something fails.
    pub before: Standing,
    /// What is put there.
    pub after: Target,
    /// The report's entry that it belongs to.
    pub entry: EntryOf,
}

/// What is to be done about one profile's compiled policy.
#[derive(Debug)]
pub struct Step {
    /// The profile's file.
    pub file: FileName,
    /// Whether the document lists it, or it only depends on an include that the document changes.
    pub listed: Listed,
    /// What to compile; none when the file is removed or disabled.
    pub compile: Option<Source>,
    /// The modes that the compiled policy must have.
    pub expected: Expected,
    /// The names that the file's earlier text defined.
    pub defined_before: BTreeSet<ProfileName>,
    /// What to do when a removal from the kernel would unconfine running processes.
    pub on_confined: OnConfined,
    /// Whether the compiled policy is to be loaded; a disabled profile is compiled only to check it.
    pub enabled: bool,
    /// Whether this run itself changes the file, its links, or something that it includes.
    pub touched: bool,
}

/// The modes that compiled policy must have.
#[derive(Debug, Default)]
pub struct Expected {
    /// The text's own headers.
    pub headers: Vec<ExpectedHeader>,
    /// The mode that the document asks for; a header in an included file cannot be rewritten to it.
    pub wanted: Option<Mode>,
}

/// The mode that one header must have after compiling.
#[derive(Debug)]
pub struct ExpectedHeader {
    /// The names that the header can have: parsers differ in how they name deep children.
    pub names: Vec<ProfileName>,
    /// Its mode.
    pub mode: Mode,
}

/// How a profile came into a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// The document lists it.
    Document,
    /// An include that it depends on is changed by the document.
    Dependent,
}

/// The text of a profile and everything that it includes.
#[derive(Debug)]
pub struct Source {
    /// The profile's text.
    pub text: Arc<Text>,
    /// Whether a link forces complain mode.
    pub forced_complain: bool,
    /// What it depends on, absences and directories included.
    pub inputs: Vec<Input>,
    /// The files among the inputs, with their bytes.
    pub files: Vec<(PathBuf, Arc<Text>)>,
}

impl Source {
    /// The text with the inputs that `closures` found for it.
    #[must_use]
    pub fn of(text: Arc<Text>, forced_complain: bool, inputs: &[InputId], closures: &Closures<'_>) -> Self {
        let files = inputs.iter().filter_map(|id| match closures.node(*id) {
            Node::File(text) => Some((closures.input(*id).path.clone(), Arc::clone(text))),
            Node::Absent | Node::Directory(_) => None,
        });
        let files = files.collect();
        let inputs = inputs.iter().map(|id| closures.input(*id).clone()).collect();
        Self { text, forced_complain, inputs, files }
    }
}

/// What is to be done.
#[derive(Debug)]
pub struct Plan {
    /// Changes of places in the policy directory, in order.
    pub effects: Vec<Effect>,
    /// Others' files whose flags are changed in place, because no link gives the same result.
    pub edited: Vec<PolicyPath>,
    /// Bytes of others' files that are written over, to be kept.
    pub adoptions: Vec<Arc<Text>>,
    /// Profiles to compile, load or unload.
    pub steps: Vec<Step>,
    /// Steps of which [`Plan::settle`] decides.
    doubtful: Vec<Doubtful>,
    /// The files of listed profiles about which there is nothing to do.
    unchanged: Vec<FileName>,
    /// The files of profiles that the plan switches on, or off.
    switched: HashMap<FileName, bool>,
    /// The entries of the report, with the place of each in the document; an empty one for what it does not list.
    listed: Vec<(EntryOf, String)>,
    /// The profiles that services of the document lead to.
    awaited: Vec<Awaited>,
    /// Profiles that the kernel still runs although a run which left it alone gave them up; known once it is settled.
    pub leftover: Vec<ProfileName>,
    /// What to do when removing these would unconfine running processes.
    pub on_confined: OnConfined,
    /// The report so far.
    pub draft: Draft,
    /// What the next ledger holds; records of compiles are added by whoever compiles.
    pub held: BTreeMap<PolicyPath, Held>,
    /// Installed profiles that depend on what the plan changes and need no step: they are switched off, or the kernel
    /// does not run them. What a boot's cache holds of them goes out of date all the same.
    pub idle_dependents: Vec<FileName>,
    /// What of the ledger's records holds once the plan is carried out, as far as it was asked.
    compared: Compared,
    /// Which entries the report will show.
    listing: Listing,
    /// What the plan was made from.
    pub observed: Observed,
    /// The changes to the tree of texts.
    pub overlay: Overlay,
}

/// Makes the plan. What the files define together is left to [`Plan::defined`].
///
/// # Errors
/// Every problem of the document on this host.
pub fn plan(desired: Desired, observed: Observed, diffs: Diffs, listing: Listing) -> Result<Plan, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut draft = Draft::default();
    let on_confined = desired.on_confined;
    let services = desired.profiles.iter().filter_map(|profile| match &profile.want {
        ProfileWant::Text { content: Content::Service(service), .. } => Some(service),
        _ => None,
    });
    let awaited: Vec<_> = services.flat_map(|service| template::awaited(service)).collect();
    let found = goal::goals(desired, &observed, &mut problems, &mut draft.warnings);
    let (mut goals, mut held) = (found.goals, found.untouched);

    let mut adoptions = Vec::new();
    let mut edited = Vec::new();
    for goal in &mut goals {
        if goal.kind == goal::GoalKind::ModeOnly {
            edited.extend(goal.effects.iter().filter(|it| it.path == goal.main).map(|it| it.path.clone()));
        }
        adoptions.append(&mut goal.adoptions);
        held.extend(goal.held.drain(..));
    }
    let at = |path: &PolicyPath| observed.policy_dir.join(path.as_str());
    let effects = goals.iter().flat_map(|goal| &goal.effects);
    let texts = effects.filter(|effect| !effect.path.is_link());
    let overlay: Overlay = texts.map(|effect| (at(&effect.path), effect.after.text().cloned())).collect();

    let profiles::Weighed { steps, doubtful, unchanged, switched, idle_dependents, compared } =
        profiles::weigh(&goals, &observed, &overlay, &mut draft);
    draft.warnings.extend(observed.warnings());
    if let Some(kernel) = &observed.kernel {
        draft.kernel = KernelReport {
            managed: true,
            global_mode: Some(kernel.global_mode.to_string()),
            revision: Some(kernel.moment.current.revision),
            verified_by: Some(kernel.evidence.to_string()),
            writes: 0,
            atomic: true,
        };
    }
    let mut effects = Vec::new();
    let mut listed = Vec::with_capacity(goals.len());
    for goal in goals {
        effects.extend(goal.effects);
        listed.push((goal.entry, goal.pointer));
    }
    if diffs == Diffs::Wanted {
        let texts = effects.iter().filter(|effect| !effect.path.is_link());
        draft.diff =
            Diff::of_all(texts.map(|effect| (effect.path.as_str(), effect.before.text(), effect.after.text())));
    }
    let plan = Plan {
        effects,
        edited,
        adoptions,
        steps,
        doubtful,
        unchanged,
        switched,
        listed,
        awaited,
        leftover: Vec::new(),
        on_confined,
        draft,
        held,
        idle_dependents,
        compared,
        listing,
        observed,
        overlay,
    };
    if problems.is_empty() {
        return Ok(plan);
    }
    problems.extend(plan.defined().err().into_iter().flatten());
    problems.sort();
    Err(problems)
}

/// The profile files with such names that stand in the policy directory, switched off or not, in `view`.
pub(crate) fn installed(
    view: View<'_>,
    observed: &Observed,
    is_wanted: impl Fn(&str) -> bool,
) -> BTreeMap<FileName, Arc<Text>> {
    let Node::Directory(names) = view.node(&observed.policy_dir) else { return BTreeMap::new() };
    let files = names.iter().filter(|name| is_wanted(name)).filter_map(|name| FileName::new(name.as_str()).ok());
    let texts = files.filter_map(|file| {
        let text = view.text(&observed.policy_dir.join(file.as_str()))?;
        Some((file, text))
    });
    texts.collect()
}

impl Observed {
    /// What stands at a place; a place that nobody listed has nothing of interest.
    #[must_use]
    pub fn standing(&self, path: &PolicyPath) -> &Standing {
        self.places.get(path).unwrap_or(&Standing::Absent)
    }

    /// A file that parser.conf names for compiling and that is not there.
    #[must_use]
    pub fn missing_conf_file(&self) -> Option<&Path> {
        self.parser_conf.files().find(|path| self.conf_files.iter().all(|(there, _)| there != path))
    }

    /// What people should know of the parser's configuration.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.parser_conf.forces_complain {
            warnings.push("parser.conf says `Complain`: no profile is enforced, whatever its mode".to_owned());
        }
        if self.parser_conf.base() != self.policy_dir {
            warnings.push(format!(
                "parser.conf says `base` {}: this version of aa-converge manages {} alone",
                self.parser_conf.base().display(),
                self.policy_dir.display()
            ));
        }
        warnings.extend(self.missing_conf_file().map(|path| {
            format!("parser.conf names {}, which is not there: no profile compiles without it", path.display())
        }));
        let at_boot = self.parser_conf.at_boot.iter();
        warnings.extend(at_boot.map(|(option, effect)| format!("parser.conf has the option `{option}`: {effect}")));
        let unknown = self.parser_conf.unknown.iter();
        warnings.extend(unknown.map(|option| {
            format!(
                "parser.conf has the option `{option}`, which this version of aa-converge leaves out when it compiles"
            )
        }));
        warnings
    }

    /// Whether a link switches the profile off.
    #[must_use]
    pub fn is_disabled(&self, file: &FileName) -> bool {
        self.standing(&PolicyPath::disable_link(file)).is_effective()
    }

    /// Whether a link or parser.conf puts all of the profile into complain mode.
    #[must_use]
    pub fn is_forced_to_complain(&self, file: &FileName) -> bool {
        self.parser_conf.forces_complain || self.standing(&PolicyPath::force_complain_link(file)).is_effective()
    }
}

/// The mode that the compiled format and the kernel show for a profile that was asked to be in `mode`: they have no
/// `default_allow`, which is `unconfined` with an allowing policy (parser 4.1, `profile.h`).
#[must_use]
pub fn mode_as_compiled(mode: Mode) -> Mode {
    if mode == Mode::DefaultAllow { Mode::Unconfined } else { mode }
}
