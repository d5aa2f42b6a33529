//! Loads what policy text refers to: everything that a plan may need to know of includes, whatever it changes.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{MAX_POLICY_FILE, POLICY_DIR, Reader, contents, in_parallel};
use crate::document::{Content, Desired, ProfileWant, WantedMode};
use crate::error::Error;
use crate::host::root::{Entry, Kind};
use crate::ledger::{Compiled, Ledger};
use crate::plan::Standing;
use crate::profile::{Digest, PolicyPath};
use crate::syntax::IncludeKind;
use crate::template;
use crate::tree::{Input, InputState, Node, Text, candidates};

/// From how many files of a directory on that were not there, listing it is less work than looking for each.
const WORTH_A_LIST: usize = 6;

impl Reader<'_> {
    /// Loads everything that any text refers to, directly or through includes, under every search directory.
    pub(super) fn references(
        &mut self,
        desired: &Desired,
        ledger: &Ledger,
        sources: &BTreeMap<PathBuf, Result<Arc<Text>, String>>,
        originals: &BTreeMap<PolicyPath, Arc<Text>>,
    ) -> Result<(), Error> {
        let mut pending: Vec<Arc<Text>> = self.tree.texts().cloned().collect();
        pending.extend(contents(desired).filter_map(|(place, content)| match content {
            Content::Inline(text) if self.stands_at(&place, text) => None,
            Content::Inline(text) => Some(Arc::clone(text)),
            Content::Source { path, .. } => sources.get(path).and_then(|source| source.as_ref().ok()).cloned(),
            Content::Service(service) => Some(Arc::new(Text::new(template::references(service).into_bytes()))),
        }));
        pending.extend(originals.values().cloned());
        // With one directory to search, what a text depends on leaves no choice that a plan's changes could turn.
        if self.search.len() == 1 {
            pending = self.recorded(ledger, pending)?;
        }
        // Their headers are looked for, whatever is known of them.
        pending.extend(self.to_rewrite(desired));
        let scan = |text: &Arc<Text>| {
            text.scan();
        };
        in_parallel(&pending, scan, || ());
        let mut met = HashSet::new();
        while let Some(text) = pending.pop() {
            for include in &text.scan().includes {
                if met.contains(&include.target) {
                    continue;
                }
                met.insert(include.target.clone());
                let paths: Vec<PathBuf> = candidates(&include.target, &self.search).collect();
                for path in paths.into_iter().filter(|path| !self.tree.knows(path)).collect::<Vec<_>>() {
                    let loaded = self.load(path)?;
                    if include.kind == IncludeKind::Include {
                        pending.extend(loaded);
                    }
                }
            }
        }
        Ok(())
    }

    /// The installed texts whose flags an entry gives.
    fn to_rewrite(&self, desired: &Desired) -> Vec<Arc<Text>> {
        let entries = desired.profiles.iter().filter(|profile| {
            let (ProfileWant::Text { mode, .. } | ProfileWant::ModeOnly { mode, .. }) = &profile.want else {
                return false;
            };
            matches!(mode, WantedMode::Flags(_))
        });
        entries.filter_map(|profile| self.tree.text(&Path::new(POLICY_DIR).join(profile.file.as_str()))).collect()
    }

    /// Loads everything that the ledger says these texts depend on, and gives back the texts of which it does not tell
    /// that: those that it does not know, and what is not as it was any more.
    fn recorded(&mut self, ledger: &Ledger, mut texts: Vec<Arc<Text>>) -> Result<Vec<Arc<Text>>, Error> {
        let wanted: HashSet<Digest> = texts.iter().map(|text| text.digest()).collect();
        let records = || ledger.compiled().values().filter(|record| wanted.contains(&record.text));
        let known: HashSet<Digest> = records().map(|record| record.text).collect();
        texts.retain(|text| !known.contains(&text.digest()));
        let lists: BTreeSet<u32> = records().map(Compiled::input_list).collect();
        let numbers: BTreeSet<u32> = lists.iter().flat_map(|list| ledger.input_list(*list)).copied().collect();
        let inputs = || numbers.iter().map(|number| &ledger.all_inputs()[*number as usize]);
        self.expect_absent(inputs().filter(|input| input.state == InputState::Absent))?;
        for input in inputs() {
            if !self.tree.knows(&input.path) {
                self.load(input.path.clone())?;
            }
            let node = self.tree.node(&input.path).filter(|node| node.state() != input.state);
            match node {
                Some(Node::File(text)) => texts.push(Arc::clone(text)),
                Some(Node::Directory(names)) => {
                    let children = names.iter().filter_map(|name| self.tree.text(&input.path.join(name)));
                    texts.extend(children);
                }
                Some(Node::Absent) | None => {}
            }
        }
        Ok(texts)
    }

    /// Looks for many files that were not there, by listing the directories that they would stand in.
    fn expect_absent<'i>(&mut self, inputs: impl Iterator<Item = &'i Input>) -> Result<(), Error> {
        let mut places: BTreeMap<&Path, Vec<&Path>> = BTreeMap::new();
        for path in inputs.map(|input| input.path.as_path()).filter(|path| !self.tree.knows(path)) {
            if let Some(parent) = path.parent() {
                places.entry(parent).or_default().push(path);
            }
        }
        for (directory, paths) in places.into_iter().filter(|(_, paths)| paths.len() >= WORTH_A_LIST) {
            if !matches!(self.root.kind(directory)?, Some(Kind::Directory) | None) {
                continue;
            }
            let listed = self.root.list(directory)?.unwrap_or_default();
            let there: HashSet<&OsStr> = listed.iter().map(|listed| listed.name.as_os_str()).collect();
            let absent = paths.into_iter().filter(|path| path.file_name().is_some_and(|name| !there.contains(name)));
            absent.for_each(|path| self.tree.insert(path.to_path_buf(), Node::Absent));
        }
        Ok(())
    }

    fn stands_at(&self, place: &PolicyPath, text: &Text) -> bool {
        matches!(self.places.get(place), Some(Standing::File(standing, _)) if **standing == *text)
    }

    /// Loads one path, and the files in it if it is a directory; returns the texts.
    pub(super) fn load(&mut self, path: PathBuf) -> Result<Vec<Arc<Text>>, Error> {
        match self.root.follow(&path, MAX_POLICY_FILE)? {
            Entry::File(read) => {
                let text = Arc::new(Text::new(read.bytes));
                self.tree.insert(path, Node::File(Arc::clone(&text)));
                Ok(vec![text])
            }
            Entry::Directory => {
                let listed = self.root.list(&path)?.unwrap_or_else(Vec::new);
                let (mut names, mut texts) = (BTreeSet::new(), Vec::new());
                for name in self.names_read(&path, &listed)? {
                    let child = path.join(name);
                    let text = match self.tree.text(&child) {
                        Some(known) => Some(known),
                        None => self.followed(&child)?,
                    };
                    if let Some(text) = text {
                        names.insert(name.to_owned());
                        self.tree.insert(child, Node::File(Arc::clone(&text)));
                        texts.push(text);
                    }
                }
                self.tree.insert(path, Node::Directory(Arc::new(names)));
                Ok(texts)
            }
            Entry::Absent | Entry::Link { .. } | Entry::Special(_) => {
                self.tree.insert(path, Node::Absent);
                Ok(Vec::new())
            }
        }
    }
}
