//! Loads what policy text refers to: everything that a plan may need to know of includes, whatever it changes.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{MAX_POLICY_FILE, POLICY_DIR, Reader, contents, in_parallel};
use crate::document::{Content, Desired, ProfileWant, WantedMode};
use crate::error::Error;
use crate::host::root::Entry;
use crate::ledger::{Basis, Ledger};
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
        conf: &Digest,
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
        // With one directory to search, no change of a plan has the parser find a file that was not found before.
        if self.search.len() == 1 {
            pending = self.unexplained(ledger, conf, pending);
        }
        let scan = |text: &Arc<Text>| {
            text.scan();
        };
        // The headers of some are looked for, whatever is known of them.
        let scanned: Vec<Arc<Text>> = pending.iter().cloned().chain(self.to_rewrite(desired)).collect();
        in_parallel(&scanned, scan, || ());
        let (mut met, mut followed) = (HashSet::new(), HashSet::new());
        while let Some(text) = pending.pop() {
            for include in &text.scan().includes {
                let is_policy = include.kind == IncludeKind::Include;
                if !met.insert((include.target.clone(), is_policy)) {
                    continue;
                }
                let paths: Vec<PathBuf> = candidates(&include.target, &self.search).collect();
                for path in paths {
                    if !self.tree.knows(&path) {
                        self.load(path.clone())?;
                    }
                    if is_policy && followed.insert(path.clone()) {
                        pending.extend(self.texts_at(&path));
                    }
                }
            }
        }
        Ok(())
    }

    /// The text at a path that was loaded, or those in it.
    fn texts_at(&self, path: &Path) -> Vec<Arc<Text>> {
        match self.tree.node(path) {
            Some(Node::File(text)) => vec![Arc::clone(text)],
            Some(Node::Directory(names)) => names.iter().filter_map(|name| self.tree.text(&path.join(name))).collect(),
            Some(Node::Absent) | None => Vec::new(),
        }
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

    /// Loads everything that the ledger says these texts depend on, and gives back the texts of which that may not be
    /// true any more: those that it does not know, and those of which anything is not as it was.
    fn unexplained(&mut self, ledger: &Ledger, conf: &Digest, mut texts: Vec<Arc<Text>>) -> Vec<Arc<Text>> {
        let wanted: HashSet<Digest> = texts.iter().map(|text| text.digest()).collect();
        let is_of_interest = |basis: &&Basis| wanted.contains(&basis.text) && ledger.toolchain(basis).conf == *conf;
        let bases: Vec<&Basis> = ledger.bases().filter(is_of_interest).collect();
        let lists: BTreeSet<u32> = bases.iter().map(|basis| basis.input_list()).collect();
        let numbers: BTreeSet<u32> = lists.iter().flat_map(|list| ledger.input_list(*list)).copied().collect();
        let input = |number: &u32| &ledger.all_inputs()[*number as usize];
        self.expect_absent(numbers.iter().map(input).filter(|input| input.state == InputState::Absent));
        let mut differs = |input: &Input| {
            // Perhaps nothing includes it any more. If something does, that is why the run is refused, in its turn.
            let is_known = self.tree.knows(&input.path) || self.load(input.path.clone()).is_ok();
            !is_known || self.tree.node(&input.path).is_none_or(|node| node.state() != input.state)
        };
        let changed: HashSet<u32> = numbers.iter().filter(|number| differs(input(number))).copied().collect();
        let holds = |list: &u32| !ledger.input_list(*list).iter().any(|number| changed.contains(number));
        let lists: HashSet<u32> = lists.into_iter().filter(holds).collect();
        let explained = bases.into_iter().filter(|basis| lists.contains(&basis.input_list()));
        let explained: HashSet<Digest> = explained.map(|basis| basis.text).collect();
        texts.retain(|text| !explained.contains(&text.digest()));
        texts
    }

    /// Looks for many files that were not there, by listing the directories that they would stand in. What cannot be
    /// listed is left to be looked for one by one.
    fn expect_absent<'i>(&mut self, inputs: impl Iterator<Item = &'i Input>) {
        let mut places: BTreeMap<&Path, Vec<&Path>> = BTreeMap::new();
        for path in inputs.map(|input| input.path.as_path()).filter(|path| !self.tree.knows(path)) {
            if let Some(parent) = path.parent() {
                places.entry(parent).or_default().push(path);
            }
        }
        for (directory, paths) in places.into_iter().filter(|(_, paths)| paths.len() >= WORTH_A_LIST) {
            let Ok(Some(listed)) = self.root.list(directory) else { continue };
            let there: HashSet<&OsStr> = listed.iter().map(|listed| listed.name.as_os_str()).collect();
            let absent = paths.into_iter().filter(|path| path.file_name().is_some_and(|name| !there.contains(name)));
            absent.for_each(|path| self.tree.insert(path.to_path_buf(), Node::Absent));
        }
    }

    fn stands_at(&self, place: &PolicyPath, text: &Text) -> bool {
        matches!(self.places.get(place), Some(Standing::File(standing, _)) if **standing == *text)
    }

    /// Loads one path, and the files in it if it is a directory.
    pub(super) fn load(&mut self, path: PathBuf) -> Result<(), Error> {
        match self.root.follow(&path, MAX_POLICY_FILE)? {
            Entry::File(read) => {
                self.tree.insert(path, Node::File(Arc::new(Text::new(read.bytes))));
            }
            Entry::Directory => {
                let listed = self.root.list(&path)?.unwrap_or_else(Vec::new);
                let mut names = BTreeSet::new();
                for name in self.names_read(&path, &listed)? {
                    let child = path.join(name);
                    let text = match self.tree.text(&child) {
                        Some(known) => Some(known),
                        None => self.followed(&child)?,
                    };
                    if let Some(text) = text {
                        names.insert(name.to_owned());
                        self.tree.insert(child, Node::File(text));
                    }
                }
                self.tree.insert(path, Node::Directory(Arc::new(names)));
            }
            Entry::Absent | Entry::Link { .. } | Entry::Special(_) => {
                self.tree.insert(path, Node::Absent);
            }
        }
        Ok(())
    }
}
