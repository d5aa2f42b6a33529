//! What policy text refers to: the files, directories and absences that includes resolve to, as they are and as the
//! document would have them.
//!
//! **Invariant:** a [`Tree`] holds every path that any text in it can refer to, under every search directory, so that
//! resolving an include never needs the file system again, whichever files a plan adds or takes away.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use crate::profile::{Digest, is_skipped_by_parser};
use crate::syntax::{self, IncludeKind, IncludeTarget, Scan};

/// The bytes of a policy file, with what is known about them.
#[derive(Debug)]
pub struct Text {
    /// The bytes.
    pub bytes: Vec<u8>,
    digest: OnceLock<Digest>,
    scan: OnceLock<Scan>,
}

impl Text {
    /// A text of these bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, digest: OnceLock::new(), scan: OnceLock::new() }
    }

    /// The bytes' SHA-256; computed once.
    pub fn digest(&self) -> Digest {
        *self.digest.get_or_init(|| Digest::of(&self.bytes))
    }

    /// The headers, includes and variables in the text; found once.
    pub fn scan(&self) -> &Scan {
        self.scan.get_or_init(|| syntax::scan(&self.bytes))
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Text {}

/// What stands at a path, links followed.
#[derive(Debug, Clone)]
pub enum Node {
    /// Nothing that the parser could open.
    Absent,
    /// A regular file.
    File(Arc<Text>),
    /// A directory: the names of the regular files in it that the parser would read.
    Directory(Arc<BTreeSet<String>>),
}

impl Node {
    /// The same without bytes and names.
    #[must_use]
    pub fn state(&self) -> InputState {
        match self {
            Self::Absent => InputState::Absent,
            Self::File(text) => InputState::File(text.digest()),
            Self::Directory(names) => InputState::Directory(Digest::of_parts(names.iter().map(String::as_bytes))),
        }
    }
}

/// Everything that was read, by absolute path below the root, which has no `.`, `..` or doubled `/`.
#[derive(Debug, Default)]
pub struct Tree {
    /// By the paths' bytes: to hash a path is to take it apart, and to hash bytes is not.
    nodes: HashMap<OsString, Node>,
}

impl Tree {
    /// Records what stands at `path`.
    pub fn insert(&mut self, path: PathBuf, node: Node) {
        self.nodes.insert(path.into(), node);
    }

    /// Has `path` hold `text`, or nothing, and its directory list it accordingly.
    pub fn assume(&mut self, path: PathBuf, text: Option<Arc<Text>>) {
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) {
            if let Some(Node::Directory(names)) = self.nodes.get_mut(parent.as_os_str()) {
                list(Arc::make_mut(names), name, text.is_some());
            }
        }
        self.nodes.insert(path.into(), text.map_or(Node::Absent, Node::File));
    }

    /// Every file's text.
    pub fn texts(&self) -> impl Iterator<Item = &Arc<Text>> {
        self.nodes.values().filter_map(|node| match node {
            Node::File(text) => Some(text),
            Node::Absent | Node::Directory(_) => None,
        })
    }

    /// The path of every file, in no order.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.nodes.iter().filter(|(_, node)| matches!(node, Node::File(_))).map(|(path, _)| Path::new(path))
    }

    /// The text at `path`.
    #[must_use]
    pub fn text(&self, path: &Path) -> Option<Arc<Text>> {
        match self.node(path) {
            Some(Node::File(text)) => Some(Arc::clone(text)),
            _ => None,
        }
    }

    /// What stands at `path`, if it was looked at.
    #[must_use]
    pub fn node(&self, path: &Path) -> Option<&Node> {
        self.nodes.get(path.as_os_str())
    }

    /// Says whether `path` was looked at.
    #[must_use]
    pub fn knows(&self, path: &Path) -> bool {
        self.nodes.contains_key(path.as_os_str())
    }
}

/// Changes to a tree: the text that a path is to have, or its absence.
pub type Overlay = BTreeMap<PathBuf, Option<Arc<Text>>>;

/// A tree as it would be with an overlay's changes.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    tree: &'a Tree,
    overlay: &'a Overlay,
}

impl<'a> View<'a> {
    /// The tree with `overlay` laid over it.
    #[must_use]
    pub fn new(tree: &'a Tree, overlay: &'a Overlay) -> Self {
        Self { tree, overlay }
    }

    /// What stands at `path` in this view.
    #[must_use]
    pub fn node(&self, path: &Path) -> Node {
        if let Some(changed) = self.overlay.get(path) {
            return changed.as_ref().map_or(Node::Absent, |text| Node::File(Arc::clone(text)));
        }
        let mut names = match self.tree.node(path) {
            Some(Node::File(text)) => return Node::File(Arc::clone(text)),
            Some(Node::Directory(names)) => Some(Arc::clone(names)),
            Some(Node::Absent) | None => None,
        };
        let children = self.overlay.range(path.to_path_buf()..).take_while(|(child, _)| child.starts_with(path));
        for (child, text) in children.filter(|(child, _)| child.parent() == Some(path)) {
            let names = names.get_or_insert_default();
            let Some(name) = child.file_name().and_then(|name| name.to_str()) else { continue };
            // A directory of thousands of names is not copied for a file that only gets another text.
            if names.contains(name) != is_listed(name, text.is_some()) {
                list(Arc::make_mut(names), name, text.is_some());
            }
        }
        names.map_or(Node::Absent, Node::Directory)
    }

    /// The regular file at `path` in this view.
    #[must_use]
    pub fn text(&self, path: &Path) -> Option<Arc<Text>> {
        match self.node(path) {
            Node::File(text) => Some(text),
            _ => None,
        }
    }
}

fn is_listed(name: &str, is_there: bool) -> bool {
    is_there && !is_skipped_by_parser(name)
}

/// Has a directory's names hold that of a file that is there, if the parser would read it, and no other.
fn list(names: &mut BTreeSet<String>, name: &str, is_there: bool) {
    if is_listed(name, is_there) {
        names.insert(name.to_owned());
    } else {
        names.remove(name);
    }
}

/// The paths that an include can resolve to, in the order in which the parser tries them: `<x>` below each search
/// directory, `"x"` below the parser's working directory, which is `/` (parser_include.c).
pub fn candidates<'a>(target: &'a IncludeTarget, search: &'a [PathBuf]) -> impl Iterator<Item = PathBuf> + 'a {
    let (directories, literal) = match target {
        IncludeTarget::Searched(_) => (search, None),
        IncludeTarget::Literal(path) => (&[][..], Some(normalized(&Path::new("/").join(path)))),
    };
    let below = target.path().trim_start_matches('/');
    directories.iter().map(move |directory| normalized(&directory.join(below))).chain(literal)
}

/// Resolves `.` and `..` by name; `/..` is `/`.
fn normalized(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::ParentDir => drop(out.pop()),
            Component::Normal(name) => out.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    out
}

/// One thing that compiled policy depends on, and how it was when it was compiled.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Input {
    /// The absolute path below the root.
    pub path: PathBuf,
    /// What stood there.
    pub state: InputState,
}

/// How an [`Input`] was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputState {
    /// Nothing there: an `if exists` target, or a search directory without the file.
    Absent,
    /// A file with this digest.
    File(Digest),
    /// A directory whose names have this digest.
    Directory(Digest),
}

/// An index into the inputs of one [`Closures`].
pub type InputId = u32;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Reference {
    to: InputId,
    /// An abi file is read as a list of features, not as policy, so what looks like an include in it is none.
    followed: bool,
}

/// Inputs, each once, in the order in which they were met.
#[derive(Debug, Default)]
struct Met {
    inputs: Vec<InputId>,
    is_met: Vec<bool>,
}

impl Met {
    /// Says whether the input is new.
    fn insert(&mut self, id: InputId) -> bool {
        let at = id as usize;
        if self.is_met.len() <= at {
            self.is_met.resize(at + 1, false);
        }
        let is_new = !std::mem::replace(&mut self.is_met[at], true);
        if is_new {
            self.inputs.push(id);
        }
        is_new
    }
}

/// Everything that a text depends on besides itself. Texts with the same includes share one.
#[derive(Debug)]
pub struct Closure {
    /// The closure's number among those of one [`Closures`], from 0.
    pub number: usize,
    /// The inputs, each once, in the order in which the parser meets them.
    pub inputs: Vec<InputId>,
}

/// The include closures of texts in one view. Each closure is found once and each include is resolved once, however
/// many profiles have it.
#[derive(Debug)]
pub struct Closures<'a> {
    view: View<'a>,
    search: &'a [PathBuf],
    ids: HashMap<OsString, InputId>,
    inputs: Vec<Input>,
    nodes: Vec<Node>,
    resolved: HashMap<IncludeTarget, Rc<[InputId]>>,
    references: Vec<Option<Rc<[Reference]>>>,
    of_inputs: Vec<Option<Rc<[InputId]>>>,
    of_references: HashMap<Vec<Reference>, Rc<Closure>>,
    of_texts: HashMap<Digest, Rc<Closure>>,
}

impl<'a> Closures<'a> {
    /// Closures over `view`, with the directories that `<x>` is looked for in.
    #[must_use]
    pub fn new(view: View<'a>, search: &'a [PathBuf]) -> Self {
        Self {
            view,
            search,
            ids: HashMap::new(),
            inputs: Vec::new(),
            nodes: Vec::new(),
            resolved: HashMap::new(),
            references: Vec::new(),
            of_inputs: Vec::new(),
            of_references: HashMap::new(),
            of_texts: HashMap::new(),
        }
    }

    /// Everything that `text` depends on besides itself.
    pub fn of(&mut self, text: &Text) -> Rc<Closure> {
        if let Some(known) = self.of_texts.get(&text.digest()) {
            return Rc::clone(known);
        }
        let references = self.references_of_text(text);
        let closure = match self.of_references.get(&references) {
            Some(known) => Rc::clone(known),
            None => self.closure(references),
        };
        self.of_texts.insert(text.digest(), Rc::clone(&closure));
        closure
    }

    fn closure(&mut self, references: Vec<Reference>) -> Rc<Closure> {
        let mut met = Met::default();
        for reference in &references {
            // What an include that was met before leads to was met with it.
            for id in self.of_input(*reference).iter() {
                met.insert(*id);
            }
        }
        let closure = Rc::new(Closure { number: self.of_references.len(), inputs: met.inputs });
        self.of_references.insert(references, Rc::clone(&closure));
        closure
    }

    /// An input and everything that it depends on.
    fn of_input(&mut self, reference: Reference) -> Rc<[InputId]> {
        if !reference.followed {
            return Rc::new([reference.to]);
        }
        if let Some(known) = &self.of_inputs[reference.to as usize] {
            return Rc::clone(known);
        }
        let mut met = Met::default();
        let mut pending = vec![reference];
        while let Some(reference) = pending.pop() {
            if met.insert(reference.to) && reference.followed {
                let next = self.references_of_input(reference.to);
                pending.extend(next.iter().rev());
            }
        }
        let inputs: Rc<[InputId]> = met.inputs.into();
        self.of_inputs[reference.to as usize] = Some(Rc::clone(&inputs));
        inputs
    }

    /// The included files that `text` reads outside of all its profiles: what they define stands at the top, too.
    pub fn at_top_level(&mut self, text: &Text) -> Vec<Arc<Text>> {
        let mut found = Vec::new();
        let mut met = Met::default();
        let mut pending = self.led_to_at_top_level(text);
        while let Some(id) = pending.pop() {
            if !met.insert(id) {
                continue;
            }
            match self.nodes[id as usize].clone() {
                Node::Absent => {}
                Node::Directory(_) => {
                    pending.extend(self.references_of_input(id).iter().map(|reference| reference.to));
                }
                Node::File(text) => {
                    pending.extend(self.led_to_at_top_level(&text));
                    found.push(text);
                }
            }
        }
        found
    }

    fn led_to_at_top_level(&mut self, text: &Text) -> Vec<InputId> {
        let includes = text.scan().includes.iter();
        let outside = includes.filter(|include| include.kind == IncludeKind::Include && include.within.is_none());
        outside.flat_map(|include| self.resolve(&include.target).to_vec()).collect()
    }

    /// An input of this view.
    #[must_use]
    pub fn input(&self, id: InputId) -> &Input {
        &self.inputs[id as usize]
    }

    /// What stands at an input's path.
    #[must_use]
    pub fn node(&self, id: InputId) -> &Node {
        &self.nodes[id as usize]
    }

    /// Whether in this view something is as it was when it was recorded.
    pub fn is_as(&mut self, recorded: &Input) -> bool {
        match self.ids.get(recorded.path.as_os_str()) {
            Some(id) => self.input(*id).state == recorded.state,
            None => self.view.node(&recorded.path).state() == recorded.state,
        }
    }

    fn references_of_text(&mut self, text: &Text) -> Vec<Reference> {
        let includes = &text.scan().includes;
        let mut out = Vec::with_capacity(includes.len() + 2);
        for include in includes {
            let followed = include.kind == IncludeKind::Include;
            out.extend(self.resolve(&include.target).iter().map(|to| Reference { to: *to, followed }));
        }
        out
    }

    /// What stands where an include leads, and the absences before it.
    fn resolve(&mut self, target: &IncludeTarget) -> Rc<[InputId]> {
        if let Some(known) = self.resolved.get(target) {
            return Rc::clone(known);
        }
        let mut met = Vec::new();
        for path in candidates(target, self.search) {
            let to = self.intern(path);
            met.push(to);
            if !matches!(self.nodes[to as usize], Node::Absent) {
                break;
            }
        }
        let met: Rc<[InputId]> = met.into();
        self.resolved.insert(target.clone(), Rc::clone(&met));
        met
    }

    fn references_of_input(&mut self, id: InputId) -> Rc<[Reference]> {
        if let Some(known) = &self.references[id as usize] {
            return Rc::clone(known);
        }
        let found: Rc<[Reference]> = match self.nodes[id as usize].clone() {
            Node::Absent => Rc::new([]),
            Node::File(text) => self.references_of_text(&text).into(),
            Node::Directory(names) => {
                let directory = self.inputs[id as usize].path.clone();
                // The parser reads a directory in reverse alphabetical order.
                let children = names.iter().rev().map(|name| directory.join(name));
                children.map(|path| Reference { to: self.intern(path), followed: true }).collect()
            }
        };
        self.references[id as usize] = Some(Rc::clone(&found));
        found
    }

    fn intern(&mut self, path: PathBuf) -> InputId {
        if self.ids.is_empty() {
            self.ids.reserve(self.view.tree.nodes.len());
        }
        let new = match self.ids.entry(path.into()) {
            Entry::Occupied(known) => return *known.get(),
            Entry::Vacant(new) => new,
        };
        let path = PathBuf::from(new.key());
        let node = self.view.node(&path);
        let state = node.state();
        let id = InputId::try_from(self.inputs.len()).unwrap_or(InputId::MAX);
        new.insert(id);
        self.inputs.push(Input { path, state });
        self.nodes.push(node);
        self.references.push(None);
        self.of_inputs.push(None);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &str) -> Arc<Text> {
        Arc::new(Text::new(bytes.into()))
    }

    #[test]
    fn an_overlay_changes_files_and_what_directories_list() {
        let mut tree = Tree::default();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        tree.insert("/d".into(), Node::Directory(Arc::new(names(&["kept", "removed"]))));
        tree.insert("/d/kept".into(), Node::File(text("kept")));
        tree.insert("/d/removed".into(), Node::File(text("removed")));
        let changes = [
            ("/d/added", Some("added")),
            ("/d/kept/below", Some("a file has none")),
            ("/d/removed", None),
            ("/new/x", Some("x")),
            ("/new/x~", Some("the parser skips it")),
        ];
        let overlay = changes.map(|(path, new)| (PathBuf::from(path), new.map(text))).into();
        let view = View::new(&tree, &overlay);
        let bytes = |path: &str| view.text(Path::new(path)).map(|text| String::from_utf8(text.bytes.clone()).unwrap());
        assert_eq!(bytes("/d/kept").as_deref(), Some("kept"));
        assert_eq!(bytes("/d/added").as_deref(), Some("added"));
        assert_eq!(bytes("/d/removed"), None);
        let listed = |path: &str| match view.node(Path::new(path)) {
            Node::Directory(names) => Some(names.iter().cloned().collect::<Vec<_>>()),
            Node::Absent | Node::File(_) => None,
        };
        assert_eq!(listed("/d"), Some(vec!["added".to_owned(), "kept".to_owned()]));
        assert_eq!(listed("/new"), Some(vec!["x".to_owned()]));
        assert_eq!(listed("/d/removed").or(listed("/nowhere")), None);
    }
}
