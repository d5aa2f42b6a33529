//! Looks for what is wrong with a service on a host: what is missing, what contradicts itself, what means too much.

use std::collections::BTreeSet;

use super::denial::Asked;
use super::{Executable, Facts, FileTerm, Found, Knowledge, breadth, file_terms, resolve};
use crate::acceptance::Objection;
use crate::glob::Glob;
use crate::problem::{Problem, ProblemCode};
use crate::service::{Confinement, Execute, PathPattern, Service, Terms};
use crate::syntax::{Rule, Subject, Unexpandable};

/// Looks for what is wrong.
pub(super) struct Judge<'a> {
    service: &'a Service,
    facts: Facts<'a>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
    /// What was objected to.
    objections: BTreeSet<Objection>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(service: &'a Service, facts: Facts<'a>) -> Self {
        Self { service, facts, problems: Vec::new(), warnings: Vec::new(), objections: BTreeSet::new() }
    }

    fn warn(&mut self, what: &str) {
        self.warnings.push(format!("`{}`: {what}", self.service.name));
    }

    pub(super) fn executable(&mut self) -> Executable {
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

    pub(super) fn abi(&mut self) {
        let abi = self.service.abi.as_str();
        let Some(installed) = self.facts.abis.filter(|installed| !installed.contains(abi)) else { return };
        let names: Vec<String> = installed.iter().map(|name| format!("`{name}`")).collect();
        let pointer = &self.service.abi_pointer;
        self.problems.push(
            Problem::new(pointer.clone(), ProblemCode::NotInstalled, format!("this host has no abi/{abi}"))
                .allowed(format!("an `abi` that is installed: {}", names.join(", "))),
        );
    }

    /// Everything that the service asks for by name, judged one by one.
    pub(super) fn asked(&mut self, executable: &Executable) -> Vec<Asked> {
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

    pub(super) fn ask_all(&mut self, asked: &mut Vec<Asked>, terms: &Terms, pointer: &str) {
        for FileTerm { name, permissions, paths, .. } in file_terms(terms) {
            for (at, (value, pattern)) in paths.iter().enumerate() {
                let place = format!("{pointer}/{name}/{at}");
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

    pub(super) fn resolved(&self, execute: &Execute) -> PathPattern {
        resolve(&execute.path, self.facts)
    }

    pub(super) fn ask(
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
    pub(super) fn denials_of_its_own(&mut self, asked: &[Asked]) {
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
    pub(super) fn transitions(&mut self) {
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

    pub(super) fn unused_acceptances(&mut self) {
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
