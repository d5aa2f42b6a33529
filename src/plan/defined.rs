//! What is known of all profile files together once a plan is carried out, what they define among it, and what follows
//! from that.
//!
//! It depends on every file, and what is to be compiled does not depend on it: whoever carries a plan out finds it
//! while the parser is at work.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::conflict::{self, Definitions, Scopes};
use super::freshness::loaded_entries;
use super::{EntryOf, Freshness, Plan, Step, installed};
use crate::ledger::{Definition, Record};
use crate::problem::Problem;
use crate::profile::{Digest, FileName, PolicyPath, ProfileName};
use crate::report::{Action, Change, Draft, Listing, Outcome, ProfileEntry};
use crate::template::Awaited;
use crate::tree::{Closures, Input, Text, View};

/// The profiles that installed, enabled files define once a plan is carried out. No two of them are in each other's way
/// for anything that the document lists.
#[derive(Debug, Default)]
pub struct Defined {
    files: HashMap<ProfileName, FileName>,
    /// What the files to compile define.
    compiled: HashMap<FileName, Vec<Definition>>,
    forgotten: Vec<FileName>,
    /// What was found by reading others' files of which nothing was recorded that holds.
    read: Vec<Reading>,
    /// The files of which what was recorded of reading them is of no use any more.
    unread: Vec<FileName>,
    /// The entries of profiles about which there is nothing to do.
    unchanged: BTreeMap<FileName, ProfileEntry>,
}

impl Defined {
    /// The file that defines the profile.
    #[must_use]
    pub fn file(&self, name: &ProfileName) -> Option<&FileName> {
        self.files.get(name)
    }

    /// Every profile, with the file that defines it.
    pub fn iter(&self) -> impl Iterator<Item = (&ProfileName, &FileName)> {
        self.files.iter()
    }

    /// What a file to compile defines.
    #[must_use]
    pub fn of_compiled(&self, file: &FileName) -> &[Definition] {
        self.compiled.get(file).map_or(&[], Vec::as_slice)
    }

    /// The files whose record of compilation is out of date because they are gone.
    #[must_use]
    pub fn forgotten(&self) -> &[FileName] {
        &self.forgotten
    }

    /// What was found by reading others' files of which nothing was recorded that holds.
    #[must_use]
    pub fn read(&self) -> &[Reading] {
        &self.read
    }

    /// The files of which what was recorded of reading them is of no use any more.
    #[must_use]
    pub fn unread(&self) -> &[FileName] {
        &self.unread
    }

    fn has(&self, name: &ProfileName) -> bool {
        self.files.contains_key(name)
    }
}

/// A file that was read and that is not to be compiled.
#[derive(Debug)]
pub struct Reading {
    /// The file.
    pub file: FileName,
    /// Its text.
    pub text: Digest,
    /// What the text depends on.
    pub inputs: Vec<Input>,
    /// What it defines.
    pub definitions: Vec<Definition>,
}

impl Reading {
    fn of(file: &FileName, text: &Text, definitions: Vec<Definition>, closures: &mut Closures<'_>) -> Self {
        let inputs = closures.of(text).inputs.iter().map(|id| closures.input(*id).clone()).collect();
        Self { file: file.clone(), text: text.digest(), inputs, definitions }
    }
}

/// What a file defines.
enum Known<'a> {
    /// It is as it was when it was recorded.
    ByRecord(Record<'a>),
    /// By its text.
    ByText(Vec<Definition>),
}

/// A step that is needed only where no other file defines what it takes from the kernel, with its entry in the report.
#[derive(Debug)]
pub(super) struct Doubtful {
    pub(super) entry: ProfileEntry,
    pub(super) step: Step,
}

impl Plan {
    /// Finds what is defined once the plan is carried out.
    ///
    /// # Errors
    /// Two files give one name, or attach to the same executables, and the document lists at least one of them.
    pub fn defined(&self) -> Result<Defined, Vec<Problem>> {
        let view = View::new(&self.observed.tree, &self.overlay);
        let mut enabled = installed(view, &self.observed, |_| true);
        let recorded = self.observed.ledger.compiled().keys();
        let forgotten = recorded.filter(|file| !enabled.contains_key(*file)).cloned().collect();
        enabled.retain(|file, _| self.switched.get(file).copied().unwrap_or_else(|| !self.observed.is_disabled(file)));
        let mut closures = Closures::new(view, &self.observed.search);
        let mut scopes = Scopes::default();
        let steps = self.steps.iter().filter_map(|step| Some((&step.file, &step.compile.as_ref()?.text)));
        let compiled: BTreeMap<&FileName, &Arc<Text>> = steps.collect();
        let known = self.known(&enabled, &compiled, &mut closures, &mut scopes);
        let mut found = Definitions::default();
        for (file, definitions) in &known {
            match definitions {
                Known::ByRecord(record) => record.definitions().for_each(|(name, globs)| found.add(file, name, globs)),
                Known::ByText(definitions) => definitions.iter().for_each(|it| found.add(file, &it.name, &it.globs)),
            }
        }
        let problems = self.conflicts(&found);
        if !problems.is_empty() {
            return Err(problems);
        }
        let files = found.into_names();
        let disabled = compiled.iter().filter(|(file, _)| !enabled.contains_key(**file));
        let mut definitions_of = |text: &Text| conflict::definitions(text, &mut closures, &mut scopes);
        let mut definitions: HashMap<FileName, Vec<Definition>> =
            disabled.map(|(file, text)| ((*file).clone(), definitions_of(text))).collect();
        let mut read = Vec::new();
        let mut of_use = HashSet::new();
        for (file, known) in known {
            match known {
                Known::ByRecord(Record::Compiled(_)) => {}
                Known::ByRecord(Record::Read(_)) => drop(of_use.insert(file)),
                Known::ByText(by_text) if compiled.contains_key(file) => {
                    definitions.insert(file.clone(), by_text);
                }
                Known::ByText(by_text) => read.push(Reading::of(file, &enabled[file], by_text, &mut closures)),
            }
        }
        let was_read = self.observed.ledger.read().keys();
        let unread = was_read.filter(|file| !of_use.contains(file)).cloned().collect();
        Ok(Defined { files, compiled: definitions, forgotten, read, unread, unchanged: self.unchanged() })
    }

    /// What each file defines: as it was recorded, unless that is out of date or to be compiled anew.
    fn known<'p>(
        &'p self,
        enabled: &'p BTreeMap<FileName, Arc<Text>>,
        compiled: &BTreeMap<&FileName, &Arc<Text>>,
        closures: &mut Closures<'_>,
        scopes: &mut Scopes,
    ) -> Vec<(&'p FileName, Known<'p>)> {
        let mut freshness = Freshness::continuing(&self.observed, self.compared.clone());
        let known = enabled.iter().map(|(file, text)| {
            let current = freshness.current(file, text, closures).filter(|_| !compiled.contains_key(file));
            let by_text = || Known::ByText(conflict::definitions(text, closures, scopes));
            (file, current.map_or_else(by_text, Known::ByRecord))
        });
        known.collect()
    }

    fn unchanged(&self) -> BTreeMap<FileName, ProfileEntry> {
        let entry = |file: &FileName| {
            let sha256 = self.observed.standing(&PolicyPath::from(file)).text().map(|text| text.digest());
            // What no report shows need not be written out.
            let record = self.observed.ledger.compiled().get(file).filter(|_| self.listing == Listing::All);
            ProfileEntry {
                file: file.clone(),
                action: Action::Keep,
                outcome: Outcome::Unchanged,
                reasons: Vec::new(),
                error: None,
                sha256: Change { before: sha256, after: sha256 },
                loaded: record.map_or_else(Vec::new, |it| loaded_entries(it, self.observed.kernel.as_ref())),
            }
        };
        self.unchanged.iter().map(|file| (file.clone(), entry(file))).collect()
    }

    /// The report of a run that ends before the plan is settled.
    #[must_use]
    pub fn into_draft(mut self) -> Draft {
        if let Ok(mut defined) = self.defined() {
            self.settle(&mut defined);
        }
        self.draft
    }

    fn conflicts(&self, found: &Definitions<'_>) -> Vec<Problem> {
        if found.are_distinct() {
            return Vec::new();
        }
        let listed = self.listed.iter().filter_map(|(entry, pointer)| match entry {
            EntryOf::Profile(file) if !pointer.is_empty() => Some((file, pointer.as_str())),
            EntryOf::Profile(_) | EntryOf::File(_) => None,
        });
        let pointers: BTreeMap<&FileName, &str> = listed.collect();
        let mut problems = Vec::new();
        conflict::check(found, &pointers, &mut problems);
        problems.sort();
        problems
    }

    /// Adds to the plan what follows from what is `defined`: which profiles must leave the kernel, and which are awaited
    /// in vain.
    pub fn settle(&mut self, defined: &mut Defined) {
        // Usually the unchanged ones are the most, and so the others are put among them.
        let changed = std::mem::replace(&mut self.draft.profiles, std::mem::take(&mut defined.unchanged));
        self.draft.profiles.extend(changed);
        let observed = &self.observed;
        let is_loaded =
            |name: &&ProfileName| observed.kernel.as_ref().is_some_and(|kernel| kernel.loaded.contains_key(*name));
        for Doubtful { entry, step } in self.doubtful.drain(..) {
            if step.defined_before.iter().filter(is_loaded).any(|name| !defined.has(name)) {
                self.draft.profiles.insert(step.file.clone(), entry);
                self.steps.push(step);
            }
        }
        for Awaited { service, pointer, name } in self.awaited.drain(..) {
            let profile = ProfileName::new(name);
            if !defined.has(&profile) && !is_loaded(&&profile) {
                self.draft.warnings.push(format!(
                    "`{service}`: `{profile}` at {pointer} is defined by no profile file of this host or the document: until it \
                     is loaded, programs that should run in it do not start"
                ));
            }
        }
        let given_up = observed.ledger.left_loaded.iter().filter(|name| !defined.has(name));
        self.leftover = given_up.filter(is_loaded).cloned().collect();
        for name in &self.leftover {
            self.draft.unloaded.push(name.to_string());
            self.draft
                .warnings
                .push(format!("the kernel still runs `{name}`, which an earlier run had to leave there"));
        }
    }
}
