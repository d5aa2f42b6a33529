//! From what a service needs to the text of its profile. Pure: what must be known of a host is given as [`Facts`].
//!
//! **Invariant:** a text follows from the service, the mode and the facts alone, byte for byte. The facts change no
//! more of it than the program's path, where that is a link, its interpreter's rule, and which class denials give way.
//!
//! **Invariant:** whatever is refused names the place in the document and what would be right; nothing is widened or
//! left out in silence.

use std::collections::{BTreeMap, BTreeSet};

use crate::acceptance::Objection;
use crate::document::WantedMode;
use crate::glob::Glob;
use crate::problem::{Problem, ProblemCode};
use crate::profile::Mode;
use crate::service::{Confinement, Execute, Origin, PathPattern, Program, Service, Terms};
use crate::syntax::{Rule, Subject, Unexpandable, Variables};

mod breadth;
mod class;
mod denial;
mod network;
mod text;

#[cfg(test)]
mod tests;

use class::{Allowance, EVERY};
use denial::Asked;
use network::{Sockets, Use};
use text::{Body, file_rule};

/// What is known of the host that a profile is for.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The variables that `tunables/global` declares.
    pub variables: &'a Variables,
    /// Whether these are all that the host declares.
    pub knowledge: Knowledge,
    /// The names of the installed abi files; none if they are not known.
    pub abis: Option<&'a BTreeSet<String>>,
    /// What stands at programs' paths, as far as it is known.
    pub programs: &'a BTreeMap<Program, Found>,
}

/// Where facts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knowledge {
    /// They were read from the host: what is not among them is not there.
    Host,
    /// They are AppArmor's own defaults, without a host.
    Defaults,
}

/// What stands at a program's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing, so far.
    Nothing,
    /// Something that cannot be executed, in words: `a directory`.
    NotAProgram(String),
    /// A regular file.
    Program {
        /// Its path with all links resolved, as the kernel tells it to AppArmor.
        path: Program,
        /// The program that its first line names as its interpreter, links resolved.
        interpreter: Option<Program>,
    },
}

/// A profile's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// What whoever reads the report should know.
    pub warnings: Vec<String>,
}

/// Whether a profile in this mode has explicit denials. `deny` rules deny in complain mode too, which hides from a
/// rollout exactly what it looks for.
fn has_denials(mode: WantedMode) -> bool {
    match mode {
        WantedMode::Flags(Mode::Enforce | Mode::Kill) | WantedMode::Disabled | WantedMode::AsWritten => true,
        WantedMode::Flags(Mode::Complain | Mode::Unconfined | Mode::Prompt | Mode::DefaultAllow) => false,
    }
}

/// The programs whose paths should be looked at on a host.
pub fn programs(service: &Service) -> impl Iterator<Item = Program> {
    let executed = service.layers.iter().flat_map(|layer| &layer.terms.execute);
    std::iter::once(service.executable.clone()).chain(executed.filter_map(|execute| execute.path.as_program()))
}

/// A text with every reference that a service's profile can have, and nothing else, for whoever must find the files.
#[must_use]
pub fn references(service: &Service) -> String {
    let mut lines = vec![preamble(service)];
    let allowed = EVERY.iter().chain(class::allowances(service.class)).flat_map(|allowance| allowance.rules);
    lines.extend(allowed.filter(|rule| rule.starts_with("include ")).map(|rule| (*rule).to_owned()));
    for terms in service.layers.iter().map(|layer| &layer.terms).flat_map(with_children) {
        lines.extend(terms.rules.iter().filter(|rule| rule.is_include()).map(ToString::to_string));
    }
    lines.push(local_include(service));
    lines.join("\n") + "\n"
}

/// The terms and those of children that they define.
fn with_children(terms: &Terms) -> impl Iterator<Item = &Terms> {
    let children = terms.execute.iter().filter_map(|execute| match &execute.into {
        Confinement::Child { needs, .. } => Some(&**needs),
        Confinement::Inherit | Confinement::Profile(_) => None,
    });
    std::iter::once(terms).chain(children)
}

fn preamble(service: &Service) -> String {
    format!("abi <abi/{}>,\ninclude <tunables/global>", service.abi)
}

fn local_include(service: &Service) -> String {
    format!("include if exists <local/{}>", service.file)
}

/// Renders a service's profile.
///
/// # Errors
/// Everything that is wrong with the service on this host.
pub fn render(service: &Service, mode: WantedMode, facts: Facts<'_>) -> Result<Rendered, Vec<Problem>> {
    let mut judge = Judge { service, facts, problems: Vec::new(), warnings: Vec::new(), objections: BTreeSet::new() };
    let executable = judge.executable();
    judge.abi();
    let asked = judge.asked(&executable);
    judge.denials_of_its_own(&asked);
    judge.transitions();

    let mut body = Body::default();
    allow_by_class(service, &executable, &mut body);
    for layer in &service.layers {
        allow(&layer.terms, &layer.origin.to_string(), service, facts, &mut body);
    }
    if has_denials(mode) {
        deny_by_class(service, &asked, facts, &mut body, &mut judge.warnings, "");
        for layer in &service.layers {
            let denied = layer.terms.deny.iter().map(deny_rule);
            body.add(format!("{}, deny: all access", layer.origin), denied);
        }
    }
    let mut children = String::new();
    for layer in &service.layers {
        for (at, execute) in layer.terms.execute.iter().enumerate() {
            if let Confinement::Child { name, needs } = &execute.into {
                let pointer = format!("{}/execute/{at}", layer.pointer);
                let mut asked = vec![];
                let program = judge.resolved(execute);
                judge.ask(&mut asked, format!("{pointer}/path"), &program, &program, "mr");
                judge.ask_all(&mut asked, needs, &format!("{pointer}/needs"));
                let mut child = Body::default();
                let rules = EVERY[0].rules.iter().map(|rule| (*rule).to_owned());
                let own = file_rule("", program.as_str(), "mr");
                child.add(format!("every class: {}; the program", EVERY[0].purpose), rules.chain([own]));
                allow(needs, &format!("{}, {name}", layer.origin), service, facts, &mut child);
                if has_denials(mode) {
                    deny_by_class(service, &asked, facts, &mut child, &mut judge.warnings, &format!("//{name}"));
                }
                children.push_str(&format!("\n  profile {name} {{\n"));
                child.write(4, &mut children);
                children.push_str("  }\n");
            }
        }
    }
    judge.unused_acceptances();
    if !judge.problems.is_empty() {
        return Err(judge.problems);
    }

    let mut text = format!(
        "# Rendered by aa-converge for a service of class {}: an edit here is undone. Additions go into local/{}.\n",
        service.class_name(),
        service.file
    );
    text.push_str(&preamble(service));
    text.push_str(&format!("\n\nprofile {} {} {{\n", service.name, text::quoted(executable.path.as_str())));
    body.write(2, &mut text);
    text.push_str(&children);
    text.push_str(&format!("\n  # additions of this host\n  {}\n}}\n", local_include(service)));
    Ok(Rendered { text, warnings: judge.warnings })
}

/// The program as the kernel sees it.
struct Executable {
    path: Program,
    interpreter: Option<Program>,
}

/// What the built-in class allows.
fn allow_by_class(service: &Service, executable: &Executable, body: &mut Body) {
    let programs = std::iter::once(&executable.path).chain(&executable.interpreter);
    body.add("the program itself", programs.map(|program| file_rule("", program.as_str(), "mr")));
    let mut add = |origin: &str, allowance: &Allowance| {
        let fixed = allowance.rules.iter().map(|rule| (*rule).to_owned());
        let sockets = allowance.sockets.iter().flat_map(|sockets| sockets.rules(&service.abi));
        body.add(format!("{origin}: {}", allowance.purpose), fixed.chain(sockets));
    };
    EVERY.iter().for_each(|allowance| add("every class", allowance));
    class::allowances(service.class).iter().for_each(|it| add(&format!("class {}", service.class), it));
}

/// The terms about files: their names, the qualifiers and permissions of their rules, and what these mean.
fn file_terms(terms: &Terms) -> [(&'static str, &'static str, &'static str, Vec<(String, PathPattern)>); 5] {
    let paths = |paths: &[PathPattern]| paths.iter().map(|path| (path.to_string(), path.with_contents())).collect();
    [
        ("config", "", "r", paths(&terms.config)),
        ("data", "", "rwk", paths(&terms.data)),
        ("logs", "", "w", paths(&terms.logs)),
        ("runtime", "", "rwk", paths(&terms.runtime)),
        ("temp", "owner", "rwk", terms.temp.iter().map(|name| (name.to_string(), name.pattern())).collect()),
    ]
}

/// What permissions are called.
fn in_words(permissions: &str) -> &'static str {
    match permissions {
        "r" => "read",
        "w" => "write, append",
        _ => "read, write, create, lock",
    }
}

/// What terms allow.
fn allow(terms: &Terms, origin: &str, service: &Service, facts: Facts<'_>, body: &mut Body) {
    for (term, qualifiers, permissions, paths) in file_terms(terms) {
        let rules = paths.iter().map(|(_, pattern)| file_rule(qualifiers, pattern.as_str(), permissions));
        body.add(format!("{origin}, {term}: {}", in_words(permissions)), rules);
    }
    for (term, used, networks) in [("listen", Use::Listen, &terms.listen), ("connect", Use::Connect, &terms.connect)] {
        let rules = networks.iter().flat_map(|network| Sockets::of(*network, used).rules(&service.abi));
        body.add(format!("{origin}, {term}"), rules);
    }
    body.add(format!("{origin}, execute"), terms.execute.iter().map(|execute| execute_rule(execute, facts)));
    let capabilities = terms.capabilities.iter().map(|capability| format!("capability {capability},"));
    body.add(format!("{origin}, capabilities"), capabilities);
    let signals = terms.signals.iter().map(|rule| {
        let mut names: Vec<_> = rule.signals.iter().map(|signal| signal.word()).collect();
        names.sort_unstable();
        names.dedup();
        let set = if names.is_empty() { String::new() } else { format!("set=({}) ", names.join(", ")) };
        format!("signal ({}) {set}peer={},", rule.direction, rule.peer)
    });
    body.add(format!("{origin}, signals"), signals);
    body.add(format!("{origin}, rules: as written"), terms.rules.iter().map(ToString::to_string));
}

fn execute_rule(execute: &Execute, facts: Facts<'_>) -> String {
    let path = resolve(&execute.path, facts);
    let (permissions, target) = match &execute.into {
        Confinement::Inherit => ("mrix", None),
        // The environment of a program that leaves the profile is scrubbed (apparmor.d(5), execute rules).
        Confinement::Profile(name) => ("Px", Some(name)),
        Confinement::Child { name, .. } => ("Cx", Some(name)),
    };
    let target = target.map_or(String::new(), |name| format!(" -> {name}"));
    format!("{} {permissions}{target},", text::quoted(path.as_str()))
}

/// The pattern that matches what a path leads to, if it is one program's.
fn resolve(path: &PathPattern, facts: Facts<'_>) -> PathPattern {
    match path.as_program().and_then(|program| facts.programs.get(&program)) {
        Some(Found::Program { path, .. }) => PathPattern::of_program(path),
        _ => path.clone(),
    }
}

fn deny_rule(path: &PathPattern) -> String {
    file_rule("audit deny", path.with_contents().as_str(), "mrwklx")
}

/// What the built-in class denies, beside what is asked for.
fn deny_by_class(
    service: &Service,
    asked: &[Asked],
    facts: Facts<'_>,
    body: &mut Body,
    warnings: &mut Vec<String>,
    child: &str,
) {
    for denial in class::denials(service.class) {
        let mut yielded = Vec::new();
        let rules = denial::rules(denial, asked, facts.variables, &mut yielded);
        body.add(format!("class {}, denied: {}", service.class, denial.what), rules);
        let told: BTreeSet<_> = yielded.into_iter().map(|(what, it)| (what, &it.value, &it.pointer)).collect();
        warnings.extend(told.into_iter().map(|(what, value, pointer)| {
            format!(
                "`{}{child}`: {value} at {pointer} is asked for, so the class's denial of {what} gives way to it",
                service.name
            )
        }));
    }
}

impl Service {
    /// The class that the document names, with the built-in one that it comes from.
    fn class_name(&self) -> String {
        let own = self.layers.iter().rev().find(|layer| layer.origin != Origin::Service);
        match own.map(|layer| layer.origin.to_string()) {
            Some(own) => format!("{} ({})", own.trim_start_matches("class "), self.class),
            None => self.class.to_string(),
        }
    }
}

/// Looks for what is wrong.
struct Judge<'a> {
    service: &'a Service,
    facts: Facts<'a>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
    /// What was objected to.
    objections: BTreeSet<Objection>,
}

impl Judge<'_> {
    fn warn(&mut self, what: &str) {
        self.warnings.push(format!("`{}`: {what}", self.service.name));
    }

    fn executable(&mut self) -> Executable {
        let pointer = format!("{}/executable", self.service.pointer);
        let given = &self.service.executable;
        let as_given = Executable { path: given.clone(), interpreter: None };
        match self.facts.programs.get(given) {
            None => as_given,
            Some(Found::Nothing) => {
                self.warn(&format!(
                    "{given} is not there yet: its profile is for this path, and a link or script at it \
                     needs another run"
                ));
                as_given
            }
            Some(Found::NotAProgram(what)) => {
                let message = format!("{given} is {what}");
                self.problems.push(
                    Problem::new(pointer, ProblemCode::NotAFile, message)
                        .allowed("the path of a program, a regular file"),
                );
                as_given
            }
            Some(Found::Program { path, interpreter }) => {
                if path != given {
                    self.warn(&format!("{given} leads to {path}, which the profile is for: AppArmor sees no links"));
                }
                if interpreter.as_ref().is_some_and(|interpreter| interpreter.base_name() == "env") {
                    self.warn(&format!(
                        "{path} is run by env, which looks for the interpreter: name that under `execute`, with \
                         `inherit`"
                    ));
                }
                Executable { path: path.clone(), interpreter: interpreter.clone() }
            }
        }
    }

    fn abi(&mut self) {
        let abi = self.service.abi.as_str();
        let Some(installed) = self.facts.abis.filter(|installed| !installed.contains(abi)) else { return };
        let layers = self.service.layers.iter().rev();
        let names: Vec<String> = installed.iter().map(|name| format!("`{name}`")).collect();
        let pointer = layers.map(|layer| &layer.pointer).next().unwrap_or(&self.service.pointer);
        self.problems.push(
            Problem::new(pointer.clone(), ProblemCode::NotInstalled, format!("this host has no abi/{abi}"))
                .allowed(format!("an `abi` that is installed: {}", names.join(", "))),
        );
    }

    /// Everything that the service asks for by name, judged one by one.
    fn asked(&mut self, executable: &Executable) -> Vec<Asked> {
        let mut asked = Vec::new();
        let pointer = format!("{}/executable", self.service.pointer);
        for program in std::iter::once(&executable.path).chain(&executable.interpreter) {
            let pattern = PathPattern::of_program(program);
            self.ask(&mut asked, pointer.clone(), &pattern, &pattern, "mr");
        }
        for layer in &self.service.layers {
            self.ask_all(&mut asked, &layer.terms, &layer.pointer);
        }
        asked
    }

    fn ask_all(&mut self, asked: &mut Vec<Asked>, terms: &Terms, pointer: &str) {
        for (term, _, permissions, paths) in file_terms(terms) {
            for (at, (value, pattern)) in paths.iter().enumerate() {
                let place = format!("{pointer}/{term}/{at}");
                if let Some(it) = self.asked_for(place, value, pattern.as_str(), permissions) {
                    self.judge_files(&it);
                    asked.push(it);
                }
            }
        }
        for (term, networks) in [("listen", &terms.listen), ("connect", &terms.connect)] {
            for (at, _) in networks.iter().enumerate().filter(|(_, network)| network.family.is_none()) {
                self.object(Objection::NetworkAnyFamily, format!("{pointer}/{term}/{at}"), "this names no family");
            }
        }
        for (at, capability) in terms.capabilities.iter().enumerate() {
            if let Some(objection) = breadth::of_capability(capability.word()) {
                self.object(objection, format!("{pointer}/capabilities/{at}"), &format!("`{capability}`"));
            }
        }
        for (at, execute) in terms.execute.iter().enumerate() {
            let place = format!("{pointer}/execute/{at}");
            let pattern = self.resolved(execute);
            if pattern != execute.path {
                self.warn(&format!("{} at {place}/path leads to {pattern}, which is what AppArmor sees", execute.path));
            }
            let permissions = if execute.into == Confinement::Inherit { "mrx" } else { "x" };
            if let Some(it) =
                self.asked_for(format!("{place}/path"), execute.path.as_str(), pattern.as_str(), permissions)
            {
                self.judge_files(&it);
                asked.push(it);
            }
            if matches!(&execute.into, Confinement::Profile(name) if name.as_str() == "unconfined") {
                self.object(Objection::ExecuteUnconfined, format!("{place}/profile"), execute.path.as_str());
            }
        }
        for (at, rule) in terms.rules.iter().enumerate() {
            let place = format!("{pointer}/rules/{at}");
            let read = Rule::read(rule.as_str());
            if !read.denies {
                self.judge_rule(asked, place, rule.as_str(), &read.subject);
            }
        }
    }

    fn judge_rule(&mut self, asked: &mut Vec<Asked>, place: String, rule: &str, subject: &Subject) {
        match subject {
            Subject::File { pattern, permissions, target } => {
                let leaves = permissions.contains(['u', 'U']) || target.as_deref() == Some("unconfined");
                if leaves && permissions.contains('x') {
                    self.object(Objection::ExecuteUnconfined, place.clone(), rule);
                }
                let mut plain: String = permissions.replace('a', "w");
                plain.retain(|letter| "mrwklx".contains(letter));
                if permissions.contains('i') {
                    plain.push_str("mr");
                }
                if let Some(it) = self.asked_for(place, rule, pattern, &plain) {
                    self.judge_files(&it);
                    asked.push(it);
                }
            }
            Subject::Capabilities(names) if names.is_empty() => {
                self.object(Objection::CapabilityAny, place, rule);
            }
            Subject::Capabilities(names) => {
                for objection in names.iter().filter_map(|name| breadth::of_capability(name)) {
                    self.object(objection, place.clone(), rule);
                }
            }
            Subject::Network { has_family: false } => self.object(Objection::NetworkAnyFamily, place, rule),
            Subject::Network { has_family: true } | Subject::Other => {}
        }
    }

    fn resolved(&self, execute: &Execute) -> PathPattern {
        resolve(&execute.path, self.facts)
    }

    fn ask(
        &mut self,
        asked: &mut Vec<Asked>,
        pointer: String,
        value: &PathPattern,
        pattern: &PathPattern,
        permissions: &str,
    ) {
        asked.extend(self.asked_for(pointer, value.as_str(), pattern.as_str(), permissions));
    }

    /// What is asked for, with its paths; none if these cannot be told.
    fn asked_for(&mut self, pointer: String, value: &str, pattern: &str, permissions: &str) -> Option<Asked> {
        match Glob::new(pattern, self.facts.variables) {
            Ok(glob) => Some(Asked { pointer, value: value.to_owned(), permissions: permissions.to_owned(), glob }),
            Err(Unexpandable::Undeclared(name)) if self.facts.knowledge == Knowledge::Defaults => {
                self.warn(&format!(
                    "{value} at {pointer} has the variable @{{{name}}}, which the host must declare: how much it \
                     takes is not known here"
                ));
                None
            }
            Err(error) => {
                self.problems.push(
                    Problem::new(pointer, ProblemCode::BadValue, format!("{value}: {error}"))
                        .allowed("variables that tunables/global of this host declares"),
                );
                None
            }
        }
    }

    fn judge_files(&mut self, asked: &Asked) {
        let has = |letter: char| asked.permissions.contains(letter);
        let mut everywhere = false;
        if has('w') {
            for (objection, directory) in breadth::of_writing(&asked.glob) {
                everywhere |= objection == Objection::WriteRoot;
                self.object(objection, asked.pointer.clone(), &format!("{} takes {directory} as a whole", asked.value));
            }
        }
        if has('r') && !everywhere && breadth::reads_everything(&asked.glob) {
            self.object(Objection::ReadRoot, asked.pointer.clone(), &asked.value);
        }
        if let Some(directory) = breadth::of_executing(&asked.glob).filter(|_| has('x')) {
            let what = format!("{} takes {directory} as a whole", asked.value);
            self.object(Objection::ExecuteDirectory, asked.pointer.clone(), &what);
        }
    }

    /// Objects to what stands at `pointer`, unless that is accepted.
    fn object(&mut self, objection: Objection, pointer: String, what: &str) {
        self.objections.insert(objection);
        let code = objection.code();
        let meaning = objection.meaning().trim_end_matches('.');
        let accepted = self.service.layers.iter().rev().find_map(|layer| {
            let found = layer.accept.iter().find(|acceptance| acceptance.objection == objection)?;
            Some(format!("accepted as `{code}` by the {}: {}", layer.origin, found.reason.as_str()))
        });
        match accepted {
            Some(accepted) => self.warn(&format!("{what} at {pointer}: {meaning}; {accepted}")),
            None => self.problems.push(
                Problem::new(pointer, ProblemCode::TooBroad, format!("{what}: {meaning}")).allowed(format!(
                    "{}; or {{\"code\": \"{code}\", \"reason\": \"…\"}} in `accept` of the service",
                    breadth::narrower(objection)
                )),
            ),
        }
    }

    /// Refuses a `deny` that takes away what is asked for, but for an exception that lies within it.
    fn denials_of_its_own(&mut self, asked: &[Asked]) {
        let service = self.service;
        for layer in &service.layers {
            let terms = layer.terms.deny.iter().enumerate().map(|(at, path)| {
                (
                    format!("{}/deny/{at}", layer.pointer),
                    path.to_string(),
                    path.with_contents().to_string(),
                    "mrwklx".to_owned(),
                )
            });
            let rules = layer.terms.rules.iter().enumerate().filter_map(|(at, rule)| match Rule::read(rule.as_str()) {
                Rule { denies: true, subject: Subject::File { pattern, permissions, .. } } => {
                    let place = format!("{}/rules/{at}", layer.pointer);
                    Some((place, rule.to_string(), pattern, permissions.replace('a', "w")))
                }
                _ => None,
            });
            for (pointer, value, pattern, permissions) in terms.chain(rules) {
                let Some(denied) = self.asked_for(pointer, &value, &pattern, &permissions) else { continue };
                let taken = asked.iter().find(|it| {
                    it.permissions.contains(|letter| denied.permissions.contains(letter))
                        && it.glob.meets(&denied.glob)
                        && (denied.glob.covers(&it.glob) || !it.glob.covers(&denied.glob))
                });
                if let Some(taken) = taken {
                    let message =
                        format!("denying {value} takes away {}, which is asked for at {}", taken.value, taken.pointer);
                    self.problems.push(
                        Problem::new(denied.pointer, ProblemCode::Conflict, message)
                            .allowed("a denial of a part that lies within what is asked for, or of something else"),
                    );
                }
            }
        }
    }

    /// Refuses programs that two entries execute in different ways, and children that have one name.
    fn transitions(&mut self) {
        let mut known: Vec<(String, &Execute, Option<Glob>)> = Vec::new();
        let service = self.service;
        for layer in &service.layers {
            for (at, execute) in layer.terms.execute.iter().enumerate() {
                let pointer = format!("{}/execute/{at}", layer.pointer);
                let pattern = self.resolved(execute);
                // Where one of two is a single path, that one decides (parser, libapparmor_re/hfa.cc).
                let glob = match pattern.as_program() {
                    Some(_) => None,
                    None => Glob::new(pattern.as_str(), self.facts.variables).ok(),
                };
                for (first, other, other_glob) in &known {
                    let same_paths = match (&glob, other_glob) {
                        (Some(glob), Some(other)) => glob.meets(other),
                        (None, None) => pattern == self.resolved(other),
                        _ => false,
                    };
                    let is_child = |execute: &Execute| matches!(execute.into, Confinement::Child { .. });
                    let message = if same_paths && execute.into != other.into {
                        format!(
                            "{} is executed with `{}` here and with `{}` at {first}",
                            execute.path,
                            execute.into.transition(),
                            other.into.transition()
                        )
                    } else if is_child(execute) && is_child(other) && child_name(execute) == child_name(other) {
                        format!("the child profile at {first} has the same name")
                    } else {
                        continue;
                    };
                    self.problems.push(
                        Problem::new(pointer.clone(), ProblemCode::Conflict, message)
                            .allowed("one transition a program, and a name of its own for each child"),
                    );
                    break;
                }
                known.push((pointer, execute, glob));
            }
        }
    }

    fn unused_acceptances(&mut self) {
        let own = self.service.layers.last().map_or(&[][..], |layer| &layer.accept);
        let unused = own.iter().filter(|it| !self.objections.contains(&it.objection));
        let unused: Vec<_> = unused.map(|it| it.objection.code()).collect();
        for code in unused {
            self.warn(&format!("`{code}` is accepted, and nothing in the service needs it: take it out of `accept`"));
        }
    }
}

fn child_name(execute: &Execute) -> Option<&str> {
    match &execute.into {
        Confinement::Child { name, .. } => Some(name.as_str()),
        Confinement::Inherit | Confinement::Profile(_) => None,
    }
}
