//! Reading services and classes.
//!
//! **Invariant:** a class that a service or another class names is known, and no chain of classes comes back to where
//! it began. What depends on a host, or on all terms together, is for whoever renders the profile.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::content::CONTENT;
use super::fields::{Fields, Node, Refused, Word, listed, shown, words_of};
use super::tree::Value;
use super::{MAX_ACCEPTANCES, MAX_ENTRIES, MAX_VALUES_OF_TERM};
use crate::acceptance::{Acceptance, Objection, Reason, Scope};
use crate::problem::ProblemCode;
use crate::profile::FileName;
use crate::service::{
    AbiName, BadValue, Capability, Class, ClassName, Confinement, Direction, Execute, Family, Label, Layer, Network,
    Origin, PathPattern, Program, RuleText, Service, Signal, SignalRule, SocketType, TemporaryName, Terms, Transition,
};

/// The fields that bring a profile's text.
pub(super) const TEXTS: [&str; 4] = [CONTENT[0], CONTENT[1], CONTENT[2], "service"];

/// How many classes may extend one another in a chain.
const LONGEST_CHAIN: usize = 32;

/// The document's classes.
#[derive(Default)]
pub(super) struct Classes {
    /// Every name, with what its class extends where that is text.
    parents: HashMap<String, Option<String>>,
    read: HashMap<String, Result<ReadClass, Refused>>,
}

struct ReadClass {
    extends: String,
    abi: Option<AbiName>,
    layer: Arc<Layer>,
}

/// What a name of a class comes to.
struct Lineage {
    class: Class,
    /// The abi, and where it is named.
    abi: Option<(AbiName, String)>,
    /// From the outermost class inwards.
    layers: Vec<Arc<Layer>>,
}

impl Classes {
    pub(super) fn read(node: Node<'_, '_>) -> Result<Self, Refused> {
        let mut classes = Self { parents: parents(node.value()), read: HashMap::new() };
        let read = node.entries(MAX_ENTRIES, |name, node| classes.class(name, node))?;
        classes.read = read.into_iter().collect();
        Ok(classes)
    }

    /// Whether a class was refused.
    pub(super) fn verdict(&self) -> Result<(), Refused> {
        self.read.values().try_for_each(|read| read.as_ref().map(|_| ()).map_err(|refused| *refused))
    }

    fn class(&self, name: &str, mut node: Node<'_, '_>) -> Result<ReadClass, Refused> {
        let name = node.key_checked(name, "a class's name", |name| ClassName::new(name));
        let pointer = node.pointer();
        node.object(|entry| {
            let extends = entry.required("extends", &self.names(), |node| self.known(node));
            let extends = match &name {
                Ok(name) => extends.and_then(|extends| self.without_cycle(name.as_str(), extends, entry)),
                Err(_) => extends,
            };
            let abi = entry.optional("abi", abi);
            let accept = entry.optional("accept", |node| acceptances(node, Scope::Entry));
            let terms = terms(entry, Level::Profile);
            let layer =
                Layer { origin: Origin::Class(name?), pointer, terms: terms?, accept: accept?.unwrap_or_default() };
            Ok(ReadClass { extends: extends?, abi: abi?, layer: Arc::new(layer) })
        })
    }

    /// Reads the name of a class that there is.
    fn known(&self, node: Node<'_, '_>) -> Result<String, Refused> {
        node.checked("a known class", |name| {
            if built_in(name).is_some() || self.parents.contains_key(name) {
                return Ok(name.to_owned());
            }
            Err(self.names())
        })
    }

    /// The classes that there are.
    fn names(&self) -> String {
        let mut own: Vec<&str> = self.parents.keys().map(String::as_str).collect();
        own.sort_unstable();
        let names = Class::WORDS.iter().map(|(word, _)| *word).chain(own.into_iter().take(100));
        listed(&names.collect::<Vec<_>>())
    }

    /// Refuses a class that leads back to itself, or is too far from a built-in one.
    fn without_cycle(&self, name: &str, extends: String, entry: &mut Fields<'_, '_>) -> Result<String, Refused> {
        let mut way = vec![name];
        let mut at = Some(extends.as_str());
        while let Some(parent) = at {
            if parent == name {
                let message =
                    format!("the class {} extends itself: {} extends {name}", shown(name), way.join(" extends "));
                return Err(entry.refuse("extends", ProblemCode::Conflict, message, "a class that does not lead back"));
            }
            // A cycle among others is told where they stand.
            if way.contains(&parent) {
                break;
            }
            way.push(parent);
            if way.len() > LONGEST_CHAIN {
                let message = format!("more than {LONGEST_CHAIN} classes extend one another here");
                let allowed = format!("a chain of at most {LONGEST_CHAIN}");
                return Err(entry.refuse("extends", ProblemCode::TooLarge, message, &allowed));
            }
            at = self.parents.get(parent).and_then(Option::as_deref);
        }
        Ok(extends)
    }

    /// What the name of a class comes to; refused where one of its classes was.
    fn lineage(&self, name: &str) -> Result<Lineage, Refused> {
        let (mut layers, mut abi, mut at) = (Vec::new(), None, name);
        loop {
            if let Some(class) = built_in(at) {
                layers.reverse();
                return Ok(Lineage { class, abi, layers });
            }
            let own = self.read[at].as_ref().map_err(|refused| *refused)?;
            layers.push(Arc::clone(&own.layer));
            abi = abi.or_else(|| own.abi.clone().map(|abi| (abi, format!("{}/abi", own.layer.pointer))));
            at = &own.extends;
        }
    }

    /// Reads a service. Where its entry gives no `file`, the executable does.
    pub(super) fn service(
        &self,
        node: Node<'_, '_>,
        file: Option<&Result<FileName, Refused>>,
    ) -> Result<Service, Refused> {
        let pointer = node.pointer();
        node.object(|entry| {
            let class = entry.required("class", &self.names(), |node| self.known(node));
            let executable = entry.required("executable", "the absolute path of a program", |node| {
                node.checked("a program", |path| Program::new(path))
            });
            let name = entry.optional("name", |node| node.checked("a profile's name", |name| Label::own(name)));
            let abi = entry.optional("abi", abi);
            let accept = entry.optional("accept", |node| acceptances(node, Scope::Entry));
            let terms = terms(entry, Level::Profile);

            let executable = executable?;
            let name = name.and_then(|name| name.map_or_else(|| named_after(&executable, entry), Ok));
            let file = match file {
                Some(file) => file.clone(),
                None => filed_after(&executable, entry),
            };
            let lineage = self.lineage(&class?)?;
            let layer = Layer {
                origin: Origin::Service,
                pointer: pointer.clone(),
                terms: terms?,
                accept: accept?.unwrap_or_default(),
            };
            let mut layers = lineage.layers;
            layers.push(Arc::new(layer));
            let own = abi?.map(|abi| (abi, format!("{pointer}/abi")));
            let (abi, abi_pointer) = own.or(lineage.abi).unwrap_or_else(|| (AbiName::default(), pointer.clone()));
            let (name, file, class) = (name?, file?, lineage.class);
            Ok(Service { pointer, executable, name, file, abi, abi_pointer, class, layers })
        })
    }
}

/// Every class's name with what it extends, before anything is checked.
fn parents(classes: &Value<'_>) -> HashMap<String, Option<String>> {
    let Value::Object(classes) = classes else { return HashMap::new() };
    let parent = |class: &Value<'_>| match class {
        Value::Object(fields) => fields.iter().find_map(|(key, value)| match value {
            Value::String(parent) if key == "extends" => Some(parent.to_string()),
            _ => None,
        }),
        _ => None,
    };
    classes.iter().map(|(name, class)| (name.to_string(), parent(class))).collect()
}

fn built_in(name: &str) -> Option<Class> {
    Class::WORDS.iter().find(|(word, _)| *word == name).map(|(_, class)| *class)
}

/// The profile's name that the executable gives.
fn named_after(executable: &Program, entry: &mut Fields<'_, '_>) -> Result<Label, Refused> {
    let name = executable.base_name();
    Label::own(name).map_err(|rule| {
        let message = format!("{} cannot be a profile's name", shown(name));
        entry.refuse("executable", ProblemCode::BadValue, message, &format!("a `name` beside it: {rule}"))
    })
}

/// The name of the profile's file that the executable gives.
fn filed_after(executable: &Program, entry: &mut Fields<'_, '_>) -> Result<FileName, Refused> {
    let name = executable.file_name();
    let file = FileName::new(&*name).map_err(|rule| rule.to_string());
    file.and_then(|file| plain_file(&file).map(|()| file)).map_err(|rule| {
        let message = format!("{} cannot be the name of a profile's file", shown(&name));
        entry.refuse("executable", ProblemCode::BadValue, message, &format!("a `file` in the entry: {rule}"))
    })
}

/// Checks the name of a rendered profile's file, which stands in the profile's own text.
pub(super) fn plain_file(file: &FileName) -> Result<(), String> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._+@-".contains(letter);
    if file.as_str().chars().all(plain) {
        return Ok(());
    }
    Err("a rendered profile's file has a name of the characters A-Z a-z 0-9 . _ + @ -".to_owned())
}

fn abi(node: Node<'_, '_>) -> Result<AbiName, Refused> {
    node.checked("the name of an abi", |name| AbiName::new(name))
}

fn objection(node: Node<'_, '_>, scope: Scope) -> Result<Objection, Refused> {
    node.checked("the code of something that can be accepted here", |code| {
        let known = scope.objections().find(|objection| objection.code() == code);
        known.ok_or_else(|| codes(scope))
    })
}

fn codes(scope: Scope) -> String {
    listed(&scope.objections().map(Objection::code).collect::<Vec<_>>())
}

/// Reads what is accepted, each code once.
pub(super) fn acceptances(node: Node<'_, '_>, scope: Scope) -> Result<Vec<Acceptance>, Refused> {
    let mut accepted = HashSet::new();
    node.each(MAX_ACCEPTANCES, |node| {
        node.object(|entry| {
            let objection =
                entry.required("code", &codes(scope), |node| objection(node, scope)).and_then(|objection| {
                    if accepted.insert(objection) {
                        return Ok(objection);
                    }
                    let message = format!("`{}` is accepted already", objection.code());
                    Err(entry.refuse("code", ProblemCode::Conflict, message, "every code once"))
                });
            let reason = entry.required("reason", "why it is accepted, in one line", |node| {
                node.checked("a reason", |reason| Reason::new(reason))
            });
            Ok(Acceptance { objection: objection?, reason: reason? })
        })
    })
}

/// Whose terms are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    /// A profile's.
    Profile,
    /// A child profile's, which executes in itself alone and needs no `deny`: whatever else it may do stands in `rules`.
    Child,
}

fn terms(entry: &mut Fields<'_, '_>, level: Level) -> Result<Terms, Refused> {
    let config = entry.optional("config", paths);
    let libraries = entry.optional("libraries", paths);
    let data = entry.optional("data", paths);
    let logs = entry.optional("logs", paths);
    let runtime = entry.optional("runtime", |node| many(node, runtime));
    let temp = entry.optional("temp", |node| {
        many(node, |node| node.checked("a name of temporary files", |name| TemporaryName::new(name)))
    });
    let listen = entry.optional("listen", |node| many(node, network));
    let connect = entry.optional("connect", |node| many(node, network));
    let capabilities = entry.optional("capabilities", |node| many(node, |node| node.word()));
    let signals = entry.optional("signals", |node| many(node, signal_rule));
    let rules =
        entry.optional("rules", |node| many(node, |node| node.checked("an AppArmor rule", |rule| RuleText::new(rule))));
    let (execute, deny) = match level {
        Level::Profile => (entry.optional("execute", |node| many(node, execute)), entry.optional("deny", paths)),
        Level::Child => (entry.optional("execute", |node| many(node, execute_in_child)), Ok(None)),
    };
    Ok(Terms {
        config: config?.unwrap_or_default(),
        libraries: libraries?.unwrap_or_default(),
        data: data?.unwrap_or_default(),
        logs: logs?.unwrap_or_default(),
        runtime: runtime?.unwrap_or_default(),
        temp: temp?.unwrap_or_default(),
        listen: listen?.unwrap_or_default(),
        connect: connect?.unwrap_or_default(),
        execute: execute?.unwrap_or_default(),
        capabilities: capabilities?.unwrap_or_default(),
        signals: signals?.unwrap_or_default(),
        deny: deny?.unwrap_or_default(),
        rules: rules?.unwrap_or_default(),
    })
}

fn many<'a, T>(node: Node<'_, 'a>, read: impl FnMut(Node<'_, 'a>) -> Result<T, Refused>) -> Result<Vec<T>, Refused> {
    node.each(MAX_VALUES_OF_TERM, read)
}

fn paths(node: Node<'_, '_>) -> Result<Vec<PathPattern>, Refused> {
    many(node, path)
}

fn path(node: Node<'_, '_>) -> Result<PathPattern, Refused> {
    node.checked("a path", |path| PathPattern::new(path))
}

/// A program, or a pattern of several: a directory is none.
fn programs(node: Node<'_, '_>) -> Result<PathPattern, Refused> {
    node.checked("a program", |path| match path.ends_with('/') {
        true => {
            Err(BadValue::because("programs, by name or by a pattern such as /usr/lib/NAME/*: a directory is none"))
        }
        false => PathPattern::new(path),
    })
}

fn runtime(node: Node<'_, '_>) -> Result<PathPattern, Refused> {
    node.checked("a path below /run", |path| {
        let below = path.strip_prefix("/run/").or_else(|| path.strip_prefix("@{run}/"));
        match below.filter(|below| !below.is_empty()) {
            Some(_) => PathPattern::new(path),
            None => Err(BadValue::because("a path below /run/ or @{run}/; what is kept elsewhere is `data`")),
        }
    })
}

fn network(node: Node<'_, '_>) -> Result<Network, Refused> {
    node.object(|entry| {
        let family = entry.word("family");
        let socket = entry.word("type");
        Ok(Network { family: family?, socket: socket? })
    })
}

fn signal_rule(node: Node<'_, '_>) -> Result<SignalRule, Refused> {
    node.object(|entry| {
        let direction = entry.required("direction", &words_of::<Direction>(), |node| node.word());
        let signals = entry.optional("signals", |node| many(node, |node| node.word()));
        let peer = entry.required("peer", "the name of the other profile", label);
        Ok(SignalRule { direction: direction?, signals: signals?.unwrap_or_default(), peer: peer? })
    })
}

fn label(node: Node<'_, '_>) -> Result<Label, Refused> {
    node.checked("the name of a profile", |name| Label::new(name))
}

fn execute(node: Node<'_, '_>) -> Result<Execute, Refused> {
    node.object(|entry| {
        let path = entry.required("path", "the absolute path of a program", programs);
        let profile = entry.optional("profile", label);
        let needs = entry.optional("needs", |node| node.object(|needs| terms(needs, Level::Child)));
        let transition: Transition = entry.required("transition", &words_of::<Transition>(), |node| node.word())?;
        if transition != Transition::Child {
            entry.exclude(&["needs"], &format!("`{transition}`"), "`needs` with `child`");
        }
        let into = match transition {
            Transition::Inherit => {
                entry.exclude(&["profile"], "`inherit`", "`profile` with `profile` or `child`");
                Confinement::Inherit
            }
            Transition::Profile => Confinement::Profile(
                profile?.ok_or_else(|| entry.lacks("profile", "the name of the profile that the program runs in"))?,
            ),
            Transition::Child => {
                let path = path.as_ref().map_err(|refused| *refused)?;
                Confinement::Child {
                    name: child_name(profile?, path, entry)?,
                    needs: Box::new(needs?.unwrap_or_default()),
                }
            }
        };
        Ok(Execute { path: path?, into })
    })
}

/// A program that a child executes: a child has no children, and leaves itself by rules as written alone.
fn execute_in_child(node: Node<'_, '_>) -> Result<Execute, Refused> {
    node.object(|entry| {
        let path = entry.required("path", "the absolute path of a program", programs);
        let transition = entry.required("transition", "`inherit`", |node| {
            node.checked("the transition of what a child executes", |word| match word {
                "inherit" => Ok(()),
                _ => Err(BadValue::because("`inherit`: what a child executes runs in the child's profile")),
            })
        });
        transition?;
        Ok(Execute { path: path?, into: Confinement::Inherit })
    })
}

/// The name of a child profile: the one given, else the program's base name.
fn child_name(given: Option<Label>, path: &PathPattern, entry: &mut Fields<'_, '_>) -> Result<Label, Refused> {
    let (field, name) = match &given {
        Some(label) => ("profile", label.as_str()),
        None => ("path", path.as_str().rsplit('/').next().unwrap_or_default()),
    };
    Label::own(name).map_err(|rule| {
        let message = format!("{} cannot be a child profile's name", shown(name));
        entry.refuse(field, ProblemCode::BadValue, message, &format!("a child's name in `profile`: {rule}"))
    })
}

/// Words that stand for values here and in AppArmor.
macro_rules! read_as_words {
    ($($name:ident)+) => {
        $(impl Word for $name {
            const WORDS: &'static [(&'static str, Self)] = $name::WORDS;
        })+
    };
}
read_as_words! { Capability Direction Family Signal SocketType Transition }
