//! Names and attachments of all installed profiles, and which of them cannot stand together.
//!
//! Two profiles of one name: the later load replaces the earlier, and a set that holds both crashes Linux 6.1 and
//! 6.12 (`__replace_profile`). Two profiles that match one executable equally well: the kernel picks neither and runs
//! it unconfined (security/apparmor/domain.c, `__attach_match`).

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use super::{Expected, ExpectedHeader};
use crate::ledger::Definition;
use crate::problem::{Problem, ProblemCode};
use crate::profile::{FileName, Mode, ProfileName};
use crate::syntax::{Header, HeaderKind, Scan, Variables};
use crate::tree::{Closure, Closures, InputId, Node, Text};

/// A namespace and a glob without variables and alternations.
type Attachment<'t> = (Option<&'t str>, &'t str);

/// What the profile files of one view define.
#[derive(Debug, Default)]
pub(crate) struct Definitions<'t> {
    /// Every name, with the file that defines it first.
    names: HashMap<&'t ProfileName, &'t FileName>,
    /// The names that are defined again, with the first file and the other.
    repeated: Vec<(&'t ProfileName, [&'t FileName; 2])>,
    /// Every attachment of a namespace, variables and alternations expanded, with the profile that has it first.
    attachments: HashMap<Attachment<'t>, Attached<'t>>,
    /// The attachments that more profiles have, with the first profile and the other.
    shared: Vec<(Attachment<'t>, [Attached<'t>; 2])>,
}

/// A profile with an attachment, and its file.
type Attached<'t> = (&'t FileName, &'t ProfileName);

impl<'t> Definitions<'t> {
    /// Adds a profile that a file defines, and attaches by these globs.
    pub(crate) fn add(&mut self, file: &'t FileName, name: &'t ProfileName, globs: &'t [String]) {
        match self.names.entry(name) {
            Entry::Vacant(new) => drop(new.insert(file)),
            Entry::Occupied(first) => self.repeated.push((name, [first.get(), file])),
        }
        for glob in globs {
            let attached = (file, name);
            match self.attachments.entry((name.namespace.as_deref(), glob)) {
                Entry::Vacant(new) => drop(new.insert(attached)),
                Entry::Occupied(first) => self.shared.push((*first.key(), [*first.get(), attached])),
            }
        }
    }

    /// Every name, with a file that defines it.
    pub(super) fn into_names(self) -> HashMap<ProfileName, FileName> {
        self.names.into_iter().map(|(name, file)| (name.clone(), file.clone())).collect()
    }

    /// Whether no name and no attachment is there twice.
    pub(super) fn are_distinct(&self) -> bool {
        self.repeated.is_empty() && self.shared.is_empty()
    }
}

/// What texts see through their includes. Most profiles see the same variables, so each set is built once.
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    /// By the closure's number.
    of_closures: HashMap<usize, Scope>,
    /// By the files that declare variables, in order.
    variables: HashMap<Vec<InputId>, Rc<Variables>>,
}

/// What the texts of one closure see.
#[derive(Debug, Clone)]
struct Scope {
    variables: Rc<Variables>,
    /// Whether an included file has headers of profiles.
    has_headers: bool,
}

impl Scopes {
    pub(super) fn of(&mut self, text: &Text, closure: &Closure, closures: &Closures<'_>) -> Rc<Variables> {
        let shared = &self.scope(closure, closures).variables;
        if text.scan().variables.is_empty() {
            return Rc::clone(shared);
        }
        let mut own = (**shared).clone();
        own.add(text.scan());
        Rc::new(own)
    }

    fn scope(&mut self, closure: &Closure, closures: &Closures<'_>) -> &Scope {
        self.of_closures.entry(closure.number).or_insert_with(|| {
            let scan = |id: &InputId| match closures.node(*id) {
                Node::File(text) => Some(text.scan()),
                Node::Absent | Node::Directory(_) => None,
            };
            let declaring = |id: &InputId| scan(id).filter(|scan| !scan.variables.is_empty());
            let key: Vec<InputId> = closure.inputs.iter().copied().filter(|id| declaring(id).is_some()).collect();
            let variables = self.variables.entry(key).or_insert_with_key(|key| {
                let mut variables = Variables::default();
                key.iter().filter_map(declaring).for_each(|scan| variables.add(scan));
                Rc::new(variables)
            });
            let has_headers = closure.inputs.iter().filter_map(scan).any(|scan| !scan.headers.is_empty());
            Scope { variables: Rc::clone(variables), has_headers }
        })
    }
}

/// What `text` defines, included files outside of its profiles among it.
pub(super) fn definitions(text: &Text, closures: &mut Closures<'_>, scopes: &mut Scopes) -> Vec<Definition> {
    let closure = closures.of(text);
    let variables = scopes.of(text, &closure, closures);
    let mut found = definitions_of(text.scan(), &variables);
    if scopes.scope(&closure, closures).has_headers {
        for included in closures.at_top_level(text) {
            found.append(&mut definitions_of(included.scan(), &variables));
        }
    }
    found
}

/// What a text itself defines, given the variables that it sees.
pub(crate) fn definitions_of(scan: &Scan, variables: &Variables) -> Vec<Definition> {
    let definition = |(at, header): (usize, &Header)| {
        let attaches = header.parent.is_none() && header.kind != HeaderKind::Hat;
        // A variable that nobody declares is an error that the parser reports; an expansion without bounds is not
        // compared.
        let globs = attaches.then(|| scan.attachments(at, variables).ok()).flatten().unwrap_or_default();
        Definition { name: scan.name(at, variables), globs: globs.into_iter().collect() }
    };
    scan.headers.iter().enumerate().map(definition).collect()
}

/// The names that `text` defines.
pub(super) fn names_of(text: &Text, closures: &mut Closures<'_>, scopes: &mut Scopes) -> BTreeSet<ProfileName> {
    let closure = closures.of(text);
    let variables = scopes.of(text, &closure, closures);
    let scan = text.scan();
    (0..scan.headers.len()).flat_map(|header| scan.names(header, &variables)).collect()
}

/// The modes that compiling `text` must give.
pub(super) fn expected(
    text: &Text,
    wanted: Option<Mode>,
    forced_complain: bool,
    closures: &mut Closures<'_>,
    scopes: &mut Scopes,
) -> Expected {
    let closure = closures.of(text);
    let variables = scopes.of(text, &closure, closures);
    Expected { headers: headers(text.scan(), forced_complain, &variables), wanted }
}

/// What `text` defines, included files outside of its profiles among it.
pub(crate) fn declared(
    text: &Text,
    forced_complain: bool,
    closures: &mut Closures<'_>,
    scopes: &mut Scopes,
) -> Vec<ExpectedHeader> {
    let closure = closures.of(text);
    let variables = scopes.of(text, &closure, closures);
    let mut found = headers(text.scan(), forced_complain, &variables);
    for included in closures.at_top_level(text) {
        found.extend(headers(included.scan(), forced_complain, &variables));
    }
    found
}

fn headers(scan: &Scan, forced_complain: bool, variables: &Variables) -> Vec<ExpectedHeader> {
    let headers = scan.headers.iter().enumerate().map(|(at, header)| {
        let written = header.mode.unwrap_or(Mode::Enforce);
        let mode = if forced_complain { Mode::Complain } else { written };
        ExpectedHeader { names: scan.names(at, variables), mode }
    });
    headers.collect()
}

/// Refuses repeated names and equal attachments where the document lists at least one of the two files.
pub(crate) fn check(found: &Definitions<'_>, pointers: &BTreeMap<&FileName, &str>, problems: &mut Vec<Problem>) {
    let pointer = |first: &FileName, second: &FileName| pointers.get(second).or_else(|| pointers.get(first)).copied();
    for (name, [file, other_file]) in &found.repeated {
        let Some(pointer) = pointer(file, other_file) else { continue };
        let message = if file == other_file {
            format!("`{file}` defines the profile `{name}` twice")
        } else {
            format!("the profile `{name}` is defined in `{file}` and in `{other_file}`")
        };
        problems.push(
            Problem::new(pointer, ProblemCode::DuplicateProfileName, message)
                .allowed("one file a name: rename a profile, or make one of the files absent or disabled"),
        );
    }
    let mut told = BTreeSet::new();
    let mut shared: Vec<_> = found.shared.iter().collect();
    shared.sort_by_key(|(attachment, _)| attachment);
    for ((_, pattern), [(file, name), (other_file, other_name)]) in shared {
        let Some(pointer) = pointer(file, other_file) else { continue };
        if name == other_name || !told.insert((name, other_name)) {
            continue;
        }
        let message = format!(
            "`{name}` in `{file}` and `{other_name}` in `{other_file}` both attach to {pattern}: the kernel would run it unconfined"
        );
        problems.push(
            Problem::new(pointer, ProblemCode::EqualAttachment, message)
                .allowed("one profile an executable: make one of the files absent or disabled"),
        );
    }
}
