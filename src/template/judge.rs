//! Looks for what is wrong with a service on a host: what is missing, and what means too much. What contradicts itself
//! is [`contradiction`](super::contradiction)'s and [`transition`](super::transition)'s.

use std::collections::BTreeSet;

use super::denial::Asked;
use super::{Executable, Facts, FileTerm, Found, Interpreter, Knowledge, RunBy, breadth, file_terms, led_to};
use crate::acceptance::Objection;
use crate::glob::Glob;
use crate::problem::{Problem, ProblemCode};
use crate::service::{AbiName, Confinement, Direction, Execute, PathPattern, Program, RuleText, Service, Terms};
use crate::syntax::{Rule, Subject, Unexpandable};

/// Looks for what is wrong.
pub(super) struct Judge<'a> {
    pub(super) service: &'a Service,
    pub(super) facts: Facts<'a>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
    /// The directories of the service's own among libraries.
    own_libraries: Glob,
    /// What was objected to.
    objections: BTreeSet<Objection>,
    /// Where something was.
    objected: BTreeSet<String>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(service: &'a Service, facts: Facts<'a>) -> Self {
        let own_libraries = breadth::own_libraries([service.name.as_str(), service.executable.base_name()]);
        Self {
            service,
            facts,
            problems: Vec::new(),
            warnings: Vec::new(),
            own_libraries,
            objections: BTreeSet::new(),
            objected: BTreeSet::new(),
        }
    }

    pub(super) fn warn(&mut self, what: &str) {
        self.warnings.push(format!("`{}`: {what}", self.service.name));
    }

    pub(super) fn executable(&mut self) -> Executable {
        let service = self.service;
        let pointer = format!("{}/executable", service.pointer);
        let given = &service.executable;
        let mut path = given;
        match self.facts.programs.get(given) {
            _ if breadth::is_known_directory(given.as_str()) => {
                self.not_a_program(pointer.clone(), given.as_str(), "a directory");
            }
            None => {}
            Some(Found::Nothing) => self.warn(&format!(
                "{given} is not there yet: its profile is for this path, and a link or script at it needs another run"
            )),
            Some(Found::NotAProgram(what)) => self.not_a_program(pointer.clone(), given.as_str(), what),
            Some(Found::Program { path: resolved, .. }) => {
                if resolved != given {
                    self.warn(&format!(
                        "{given} leads to {resolved}, which the profile is for: AppArmor sees no links"
                    ));
                }
                path = resolved;
            }
        }
        let terms: Vec<(&Terms, &str)> =
            service.layers.iter().map(|layer| (&layer.terms, layer.pointer.as_str())).collect();
        Executable { path: path.clone(), interpreters: self.interpreters(Some(given), pointer, &terms) }
    }

    /// The interpreters of a child: its program's, and those of what it executes itself.
    pub(super) fn interpreters_of_child(
        &mut self,
        execute: &Execute,
        needs: &Terms,
        pointer: &str,
    ) -> Vec<Interpreter> {
        let program = execute.path.as_program();
        self.interpreters(program.as_ref(), format!("{pointer}/path"), &[(needs, &format!("{pointer}/needs"))])
    }

    /// What runs the scripts that run in one profile: its program, which stands at `pointer`, and what its terms
    /// execute without leaving it.
    fn interpreters(
        &mut self,
        program: Option<&Program>,
        pointer: String,
        terms: &[(&Terms, &str)],
    ) -> Vec<Interpreter> {
        let mut scripts: Vec<(String, Program)> =
            program.map(|program| (pointer, program.clone())).into_iter().collect();
        for (terms, pointer) in terms {
            let inherited =
                terms.execute.iter().enumerate().filter(|(_, execute)| execute.into == Confinement::Inherit);
            scripts.extend(inherited.filter_map(|(at, execute)| {
                Some((format!("{pointer}/execute/{at}/path"), execute.path.as_program()?))
            }));
        }
        let mut found = Vec::new();
        for (pointer, script) in scripts {
            let Some(Found::Program { path, interpreter: Some(interpreter), started_by_env }) =
                self.facts.programs.get(&script)
            else {
                continue;
            };
            let mut add = |program: &Program, run_by| {
                found.push(Interpreter { pointer: pointer.clone(), program: program.clone(), run_by });
            };
            add(interpreter, RunBy::Kernel);
            match started_by_env {
                Some(program) => {
                    self.warn(&format!("{path} is run by env, which executes {program} on this host"));
                    // Where the terms say themselves how they execute it, that stands.
                    let pattern = PathPattern::of_program(program);
                    let mut executed = terms.iter().flat_map(|(terms, _)| &terms.execute);
                    if executed.all(|execute| self.resolved(execute) != pattern) {
                        add(program, RunBy::Env);
                    }
                }
                None if interpreter.base_name() == "env" => self.warn(&format!(
                    "{path} is run by env, which looks for the interpreter: name that under `execute`, with `inherit`"
                )),
                None => {}
            }
        }
        found
    }

    fn not_a_program(&mut self, pointer: String, given: &str, what: &str) {
        self.problems.push(
            Problem::new(pointer, ProblemCode::NotAFile, format!("{given} is {what}"))
                .allowed("the path of a program, a regular file"),
        );
    }

    pub(super) fn abi(&mut self) {
        let abi = self.service.abi.as_str();
        let Some(installed) = self.facts.abis else {
            if self.service.abi != AbiName::default() {
                self.warn(&format!(
                    "a host without abi/{abi} refuses this profile; every AppArmor since 3.0 has abi/3.0"
                ));
            }
            return;
        };
        if installed.contains(abi) {
            return;
        }
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
        let path = executable.path.as_str();
        asked.extend(self.asked_for(pointer, path, path, "mr"));
        self.ask_for_interpreters(&mut asked, &executable.interpreters);
        for layer in &self.service.layers {
            self.ask_all(&mut asked, &layer.terms, &layer.pointer);
        }
        asked
    }

    /// Everything that a child asks for by name.
    pub(super) fn asked_by_child(
        &mut self,
        program: &PathPattern,
        interpreters: &[Interpreter],
        needs: &Terms,
        pointer: &str,
    ) -> Vec<Asked> {
        let path = program.as_str();
        let mut asked: Vec<Asked> = self.asked_for(format!("{pointer}/path"), path, path, "mr").into_iter().collect();
        self.ask_for_interpreters(&mut asked, interpreters);
        self.ask_all(&mut asked, needs, &format!("{pointer}/needs"));
        asked
    }

    fn ask_for_interpreters(&mut self, asked: &mut Vec<Asked>, interpreters: &[Interpreter]) {
        for Interpreter { pointer, program, run_by } in interpreters {
            let permissions = if *run_by == RunBy::Env { "mrx" } else { "mr" };
            asked.extend(self.asked_for(pointer.clone(), program.as_str(), program.as_str(), permissions));
        }
    }

    fn ask_all(&mut self, asked: &mut Vec<Asked>, terms: &Terms, pointer: &str) {
        for FileTerm { name, permissions, paths, .. } in file_terms(terms, self.facts) {
            for (at, path) in paths.iter().enumerate() {
                let place = format!("{pointer}/{name}/{at}");
                if let Some(target) = &path.link {
                    self.tell_link(&path.value, &place, target);
                }
                self.ask(asked, place, &path.value, path.pattern.as_str(), permissions);
            }
        }
        for (at, path) in terms.deny.iter().enumerate() {
            if let Some(target) = led_to(path, self.facts).1 {
                self.tell_link(path.as_str(), &format!("{pointer}/deny/{at}"), &target);
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
        for (at, signal) in terms.signals.iter().enumerate() {
            if signal.direction == Direction::Send && breadth::is_unconfined(signal.peer.as_str()) {
                let what = format!("`{}`, which the kernel takes for `unconfined`", signal.peer);
                self.object(Objection::SignalAny, format!("{pointer}/signals/{at}/peer"), &what);
            }
        }
        for (at, execute) in terms.execute.iter().enumerate() {
            self.ask_to_execute(asked, execute, &format!("{pointer}/execute/{at}"));
        }
        for (at, rule) in terms.rules.iter().enumerate() {
            if let Some(file) = rule.included() {
                self.judge_included(file, &format!("{pointer}/rules/{at}"));
            }
            let read = Rule::read(rule.as_str());
            if !read.denies {
                self.ask_by_rule(asked, format!("{pointer}/rules/{at}"), rule.as_str(), &read.subject);
            }
        }
    }

    /// Judges a file that the profile includes at `place`, rule by rule, where the document brings it and each rule stands
    /// on a line of its own. What is not judged is told. No class denial gives way to what is included.
    fn judge_included(&mut self, file: &str, place: &str) {
        let brought = self.facts.brought.get(file).and_then(|text| std::str::from_utf8(&text.bytes).ok());
        let is_rule = |line: &&str| !line.is_empty() && (!line.starts_with('#') || line.starts_with("#include"));
        let rules = brought.map(|text| text.lines().map(str::trim).filter(is_rule).map(RuleText::new));
        let Some(Ok(rules)) = rules.map(Iterator::collect::<Result<Vec<_>, _>>) else {
            self.warn(&format!(
                "what <{file}> says, which {place} includes, is not judged: read it on each host that has it"
            ));
            return;
        };
        for rule in rules {
            if let Some(other) = rule.included() {
                self.warn(&format!("what <{other}> says, which <{file}> at {place} includes, is not judged"));
            }
            let Rule { denies: false, subject } = Rule::read(rule.as_str()) else { continue };
            self.ask_by_rule(&mut Vec::new(), place.to_owned(), &format!("{rule} in <{file}>"), &subject);
        }
    }

    /// Judges the additions of the host that the document itself brings.
    pub(super) fn local_additions(&mut self) {
        let service = self.service;
        let file = format!("local/{}", service.file);
        if self.facts.brought.contains_key(&file) {
            self.judge_included(&file, &service.pointer);
        }
    }

    /// Says that a path is a link.
    fn tell_link(&mut self, value: &str, place: &str, target: &Result<String, String>) {
        match target {
            Ok(target) => self
                .warn(&format!("{value} at {place} leads to {target}, which its rule is for: AppArmor sees no links")),
            Err(target) => self.warn(&format!(
                "{value} at {place} leads to {target}, which no rule can name: AppArmor sees no links, so its rule \
                 never applies"
            )),
        }
    }

    fn ask_to_execute(&mut self, asked: &mut Vec<Asked>, execute: &Execute, place: &str) {
        let pattern = self.resolved(execute);
        if pattern != execute.path {
            self.warn(&format!("{} at {place}/path leads to {pattern}, which is what AppArmor sees", execute.path));
        }
        let found = execute.path.as_program().and_then(|program| self.facts.programs.get(&program));
        let what = match found {
            Some(Found::NotAProgram(what)) => Some(what.clone()),
            _ if breadth::is_known_directory(pattern.as_str()) => Some("a directory".to_owned()),
            _ if Glob::new(pattern.as_str(), self.facts.variables).is_ok_and(|glob| glob.is_of_directories()) => {
                Some("a directory".to_owned())
            }
            _ => None,
        };
        if let Some(what) = what {
            self.not_a_program(format!("{place}/path"), execute.path.as_str(), &what);
            return;
        }
        let permissions = if execute.into == Confinement::Inherit { "mrx" } else { "x" };
        self.ask(asked, format!("{place}/path"), execute.path.as_str(), pattern.as_str(), permissions);
        if let Confinement::Profile(name) = &execute.into {
            if breadth::is_unconfined(name.as_str()) {
                let what = format!("{} executed into `{name}`, which the kernel takes for `unconfined`", execute.path);
                self.object(Objection::ExecuteUnconfined, format!("{place}/profile"), &what);
            }
        }
    }

    fn ask_by_rule(&mut self, asked: &mut Vec<Asked>, place: String, rule: &str, subject: &Subject) {
        match subject {
            Subject::Everything => {
                for objection in breadth::of_everything() {
                    self.object(objection, place.clone(), rule);
                }
                asked.extend(self.asked_for(place, rule, "/**", "mrwklx"));
            }
            Subject::File { pattern, permissions, target } => {
                let executes = permissions.contains('x');
                let leaves = permissions.contains(['p', 'P']);
                let unconfined = |target: &str| breadth::is_unconfined_or_open(target, self.facts.variables);
                if executes && (permissions.contains(['u', 'U']) || leaves && target.as_deref().is_some_and(unconfined))
                {
                    self.object(Objection::ExecuteUnconfined, place.clone(), rule);
                }
                if let Some(target) = target.as_deref().filter(|_| !executes && !rule.contains("link subset")) {
                    let target = Glob::new(target, self.facts.variables).ok();
                    if let Some(objection) =
                        target.and_then(|target| breadth::of_link_target(&target, &self.own_libraries))
                    {
                        self.object(objection, place.clone(), rule);
                    }
                }
                let mut plain: String = permissions.replace('a', "w");
                plain.retain(|letter| "mrwklx".contains(letter));
                if permissions.contains('i') {
                    plain.push_str("mr");
                }
                self.ask(asked, place, rule, pattern, &plain);
            }
            Subject::Capabilities(names) if names.is_empty() => {
                self.object(Objection::CapabilityAny, place, rule);
            }
            Subject::Capabilities(names) => {
                for objection in names.iter().filter_map(|name| breadth::of_capability(name)) {
                    self.object(objection, place.clone(), rule);
                }
            }
            Subject::Mediated(mediated) => {
                if let Some(objection) = breadth::of_mediated(mediated, self.facts.variables) {
                    self.object(objection, place, rule);
                }
            }
            Subject::Nothing | Subject::Unknown => {}
        }
    }

    pub(super) fn resolved(&self, execute: &Execute) -> PathPattern {
        super::resolve(&execute.path, self.facts)
    }

    /// Asks for paths, and judges how many these are.
    fn ask(&mut self, asked: &mut Vec<Asked>, pointer: String, value: &str, pattern: &str, permissions: &str) {
        let Some(it) = self.asked_for(pointer, value, pattern, permissions) else { return };
        for (objection, how) in breadth::of_files(&it.glob, permissions, &self.own_libraries) {
            self.object(objection, it.pointer.clone(), &format!("{value} {how}"));
        }
        asked.push(it);
    }

    /// What is asked for, with its paths; none if these cannot be told.
    pub(super) fn asked_for(
        &mut self,
        pointer: String,
        value: &str,
        pattern: &str,
        permissions: &str,
    ) -> Option<Asked> {
        match Asked::new(pointer.clone(), value, pattern, permissions, self.facts.variables) {
            Ok(asked) if !asked.glob.is_absolute() => {
                self.problems.push(
                    Problem::new(
                        pointer,
                        ProblemCode::BadValue,
                        format!("{value} is not a path once its variables are known"),
                    )
                    .allowed("variables whose values are absolute paths at the beginning, others after a `/`"),
                );
                None
            }
            Ok(asked) => Some(asked),
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

    /// Judges what all that is asked for comes to, whichever class, term, rule or child asks.
    pub(super) fn together(&mut self, asked: &[&Asked]) {
        self.written_code(asked);
        let with = |letter: char| asked.iter().copied().filter(move |it| it.permissions.contains(letter));
        let globs = |letter: char| with(letter).map(|it| &it.glob).collect::<Vec<_>>();
        for (objection, how) in breadth::together(&globs('w'), &globs('r')) {
            let last = with(if objection == Objection::ReadRoot { 'r' } else { 'w' }).next_back();
            let told = [objection, Objection::WriteRoot].iter().any(|known| self.objections.contains(known));
            if let Some(last) = last.filter(|_| !told) {
                let what = format!("with what is asked for elsewhere, {} {how}", last.value);
                self.object(objection, last.pointer.clone(), &what);
            }
        }
    }

    /// Objects to writing what is executed or mapped, where the writing is not objected to already.
    fn written_code(&mut self, asked: &[&Asked]) {
        let with = |it: &&&Asked, letters: [char; 2]| it.permissions.contains(letters);
        for written in asked.iter().filter(|it| with(it, ['w', 'l'])) {
            let code = asked.iter().filter(|it| with(it, ['x', 'm'])).find(|code| code.glob.meets(&written.glob));
            if let Some(code) = code.filter(|_| !self.objected.contains(&written.pointer)) {
                let what = match code.pointer == written.pointer {
                    true => format!("{} writes what it executes", written.value),
                    false => format!("{} writes {}, which is code at {}", written.value, code.value, code.pointer),
                };
                self.object(Objection::WriteExecute, written.pointer.clone(), &what);
            }
        }
    }

    /// Objects to what stands at `pointer`, unless that is accepted.
    fn object(&mut self, objection: Objection, pointer: String, what: &str) {
        self.objections.insert(objection);
        self.objected.insert(pointer.clone());
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

    pub(super) fn unused_acceptances(&mut self) {
        let own = self.service.layers.last().map_or(&[][..], |layer| &layer.accept);
        let unused = own.iter().filter(|it| !self.objections.contains(&it.objection));
        let unused: Vec<_> = unused.map(|it| it.objection.code()).collect();
        for code in unused {
            self.warn(&format!("`{code}` is accepted, and nothing in the service needs it: take it out of `accept`"));
        }
    }
}
