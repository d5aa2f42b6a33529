//! What rendering a service's profile must know of the host, as it will be with the document's other files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use super::conflict::Scopes;
use super::goal::Goal;
use super::{EntryOf, Observed};
use crate::service::Program;
use crate::syntax::Variables;
use crate::template::{Facts, Found, Knowledge};
use crate::tree::{Closures, Node, Overlay, Text, View};

/// The facts of one host.
pub(super) struct HostFacts<'a> {
    variables: Rc<Variables>,
    abis: BTreeSet<String>,
    programs: &'a BTreeMap<Program, Found>,
    links: &'a BTreeMap<String, String>,
    brought: BTreeMap<String, Arc<Text>>,
}

impl<'a> HostFacts<'a> {
    /// The facts once the includes among `goals` are written.
    pub(super) fn new(observed: &'a Observed, goals: &[Goal]) -> Self {
        let includes = goals.iter().filter(|goal| matches!(goal.entry, EntryOf::File(_)));
        let brought = includes
            .clone()
            .flat_map(|goal| &goal.places)
            .filter_map(|place| Some((place.path.as_str().to_owned(), Arc::clone(place.target.text()?))));
        let brought = brought.collect();
        let texts = includes.flat_map(|goal| &goal.places).map(|place| {
            let path: PathBuf = observed.policy_dir.join(place.path.as_str());
            (path, place.target.text().cloned())
        });
        let overlay: Overlay = texts.collect();
        let view = View::new(&observed.tree, &overlay);
        let mut closures = Closures::new(view, &observed.search);
        let globals = Arc::new(Text::new(b"include <tunables/global>\n".to_vec()));
        let inputs = closures.of(&globals);
        let variables = Scopes::default().of(&globals, &inputs, &closures);
        let mut abis = BTreeSet::new();
        for directory in &observed.search {
            if let Node::Directory(names) = view.node(&directory.join("abi")) {
                abis.extend(names.iter().cloned());
            }
        }
        Self { variables, abis, programs: &observed.programs, links: &observed.links, brought }
    }

    pub(super) fn facts(&self) -> Facts<'_> {
        Facts {
            variables: &self.variables,
            knowledge: Knowledge::Host,
            abis: Some(&self.abis),
            programs: self.programs,
            links: self.links,
            brought: &self.brought,
        }
    }
}
