//! From what a service needs to the text of its profile. Pure: what must be known of a host is given as [`Facts`].
//!
//! **Invariant:** a text follows from the service, the mode and the facts alone, byte for byte. The facts change no
//! more of it than paths, where these are links, the rules of scripts' interpreters, and which class denials give way.
//!
//! **Invariant:** whatever is refused names the place in the document and what would be right; nothing is widened or
//! left out in silence.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::document::WantedMode;
use crate::glob::Glob;
use crate::problem::Problem;
use crate::profile::Mode;
use crate::service::{Confinement, Execute, Label, Origin, PathPattern, Program, Service, SignalRule, Terms};
use crate::syntax::{Rule, Subject, Variables};
use crate::tree::Text;

mod breadth;
mod class;
mod contradiction;
mod denial;
mod judge;
mod network;
mod text;
mod transition;

#[cfg(test)]
mod tests;

use class::{Allowance, EVERY};
use denial::Asked;
use judge::Judge;
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
    /// Where paths lead whose last or other components are links: those of [`paths`] that lead elsewhere.
    pub links: &'a BTreeMap<String, String>,
    /// The texts of files that the document brings, by their paths in the policy directory.
    pub brought: &'a BTreeMap<String, Arc<Text>>,
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
        /// Where that is env(1): the program that it finds and executes, links resolved.
        started_by_env: Option<Program>,
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
    let terms = service.layers.iter().map(|layer| &layer.terms).flat_map(with_children);
    let executed = terms.flat_map(|terms| &terms.execute);
    std::iter::once(service.executable.clone()).chain(executed.filter_map(|execute| execute.path.as_program()))
}

/// The paths that should be looked at on a host, whether they lead elsewhere: what terms write out of theirs.
pub fn paths(service: &Service) -> impl Iterator<Item = &str> {
    let terms = service.layers.iter().map(|layer| &layer.terms).flat_map(with_children);
    let paths = terms
        .flat_map(|terms| [&terms.config, &terms.libraries, &terms.data, &terms.logs, &terms.runtime, &terms.deny]);
    paths.flatten().filter_map(PathPattern::written_out)
}

/// A profile that a service's programs are to run in, and that others define.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awaited {
    /// The service's own profile.
    pub service: Label,
    /// Where the document names it, a JSON pointer.
    pub pointer: String,
    /// Its name.
    pub name: String,
}

/// The profiles that a service's terms and rules name for programs to run in.
pub fn awaited(service: &Service) -> impl Iterator<Item = Awaited> {
    let found = |pointer: String, name: &str| Awaited { service: service.name.clone(), pointer, name: name.to_owned() };
    service
        .layers
        .iter()
        .flat_map(move |layer| {
            let terms = layer.terms.execute.iter().enumerate().filter_map(move |(at, execute)| match &execute.into {
                Confinement::Profile(name) => {
                    Some(found(format!("{}/execute/{at}/profile", layer.pointer), name.as_str()))
                }
                Confinement::Inherit | Confinement::Child { .. } => None,
            });
            let rules =
                layer.terms.rules.iter().enumerate().filter_map(move |(at, rule)| match Rule::read(rule.as_str()) {
                    Rule { denies: false, subject: Subject::File { permissions, target: Some(target), .. } }
                        if permissions.contains(['p', 'P']) && Label::new(target.as_str()).is_ok() =>
                    {
                        Some(found(format!("{}/rules/{at}", layer.pointer), &target))
                    }
                    _ => None,
                });
            terms.chain(rules)
        })
        .filter(|awaited| !breadth::is_unconfined(&awaited.name))
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
    let mut judge = Judge::new(service, facts);
    let executable = judge.executable();
    judge.abi();
    let asked = judge.asked(&executable);
    judge.local_additions();
    let children = children(service, &mut judge);
    judge.together(&asked.iter().chain(children.iter().flat_map(|child| &child.asked)).collect::<Vec<_>>());
    judge.contradictions(&asked, &children);
    judge.transitions(&executable.interpreters, &children);

    let mut body = Body::default();
    allow_by_class(service, &executable, &mut body);
    for layer in &service.layers {
        allow(&layer.terms, &layer.origin.to_string(), service, facts, &mut body);
    }
    if has_denials(mode) {
        deny_by_class(service, &asked, facts, &mut body, &mut judge.warnings, "");
        deny(service, facts, &mut body);
        for layer in &service.layers {
            deny_as_written(&layer.terms, &layer.origin.to_string(), &mut body);
        }
    }
    let mut nested = String::new();
    for Child { origin, name, program, interpreters, needs, asked, .. } in &children {
        let mut body = Body::default();
        let own = file_rule("", program.as_str(), "mr");
        body.add("the program itself", std::iter::once(own).chain(interpreters.iter().map(Interpreter::rule)));
        let resolves = !needs.connect.is_empty();
        for allowance in EVERY.iter().filter(|allowance| resolves || allowance.sockets.is_empty()) {
            allow_all("every class", allowance, service, &mut body);
        }
        let origin = format!("{origin}, {name}");
        allow(needs, &origin, service, facts, &mut body);
        if has_denials(mode) {
            deny_by_class(service, asked, facts, &mut body, &mut judge.warnings, &format!("//{name}"));
            deny(service, facts, &mut body);
            deny_as_written(needs, &origin, &mut body);
        }
        nested.push_str(&format!("\n  profile {name} {{\n"));
        body.write(4, &mut nested);
        nested.push_str("  }\n");
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
    text.push_str(&nested);
    text.push_str(&format!("\n  # additions of this host\n  {}\n}}\n", local_include(service)));
    Ok(Rendered { text, warnings: judge.warnings })
}

/// The program as the kernel sees it.
struct Executable {
    path: Program,
    /// What runs it, and the scripts that the service executes in its own profile.
    interpreters: Vec<Interpreter>,
}

/// A program that runs a script.
struct Interpreter {
    /// The script's place in the document, a JSON pointer.
    pointer: String,
    program: Program,
    run_by: RunBy,
}

/// Who runs an interpreter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RunBy {
    /// The kernel, which maps it in the script's profile.
    Kernel,
    /// env(1), which executes it.
    Env,
}

impl Interpreter {
    fn permissions(&self) -> &'static str {
        match self.run_by {
            RunBy::Kernel => "mr",
            RunBy::Env => "mrix",
        }
    }

    fn rule(&self) -> String {
        file_rule("", self.program.as_str(), self.permissions())
    }
}

/// A program with a child profile of its own.
struct Child<'a> {
    origin: &'a Origin,
    /// The place of its entry, a JSON pointer.
    pointer: String,
    name: &'a Label,
    program: PathPattern,
    interpreters: Vec<Interpreter>,
    needs: &'a Terms,
    asked: Vec<Asked>,
}

fn children<'a>(service: &'a Service, judge: &mut Judge<'a>) -> Vec<Child<'a>> {
    let mut children = Vec::new();
    for layer in &service.layers {
        for (at, execute) in layer.terms.execute.iter().enumerate() {
            let Confinement::Child { name, needs } = &execute.into else { continue };
            let pointer = format!("{}/execute/{at}", layer.pointer);
            let program = judge.resolved(execute);
            let interpreters = judge.interpreters_of_child(execute, needs, &pointer);
            let asked = judge.asked_by_child(&program, &interpreters, needs, &pointer);
            children.push(Child { origin: &layer.origin, pointer, name, program, interpreters, needs, asked });
        }
    }
    children
}

/// What the built-in class allows.
fn allow_by_class(service: &Service, executable: &Executable, body: &mut Body) {
    let own = file_rule("", executable.path.as_str(), "mr");
    body.add("the program itself", std::iter::once(own).chain(executable.interpreters.iter().map(Interpreter::rule)));
    EVERY.iter().for_each(|allowance| allow_all("every class", allowance, service, body));
    let class = format!("class {}", service.class);
    class::allowances(service.class).iter().for_each(|allowance| allow_all(&class, allowance, service, body));
}

/// Everything of one purpose.
fn allow_all(origin: &str, allowance: &Allowance, service: &Service, body: &mut Body) {
    let fixed = allowance.rules.iter().map(|rule| (*rule).to_owned());
    let sockets = allowance.sockets.iter().flat_map(|sockets| sockets.rules(&service.abi));
    body.add(format!("{origin}: {}", allowance.purpose), fixed.chain(sockets));
}

/// A term about files.
struct FileTerm {
    name: &'static str,
    /// What its rules begin with.
    qualifiers: &'static str,
    permissions: &'static str,
    paths: Vec<TermPath>,
}

/// A path of a term.
struct TermPath {
    /// The value as it was given.
    value: String,
    pattern: PathPattern,
    /// Where a link in it leads, or what no pattern can name.
    link: Option<Result<String, String>>,
}

fn file_terms(terms: &Terms, facts: Facts<'_>) -> [FileTerm; 6] {
    let term = |name, permissions, paths: &[PathPattern]| {
        let paths = paths.iter().map(|path| {
            let (pattern, link) = led_to(path, facts);
            TermPath { value: path.to_string(), pattern: pattern.with_contents(), link }
        });
        FileTerm { name, qualifiers: "", permissions, paths: paths.collect() }
    };
    let temp = terms.temp.iter().map(|name| TermPath { value: name.to_string(), pattern: name.pattern(), link: None });
    [
        term("config", "r", &terms.config),
        term("libraries", "mr", &terms.libraries),
        term("data", "rwk", &terms.data),
        term("logs", "w", &terms.logs),
        term("runtime", "rwk", &terms.runtime),
        FileTerm { name: "temp", qualifiers: "owner", permissions: "rwk", paths: temp.collect() },
    ]
}

/// The pattern of what a path leads to, as AppArmor sees it, and where that is if a link is on the way.
fn led_to(path: &PathPattern, facts: Facts<'_>) -> (PathPattern, Option<Result<String, String>>) {
    let target = path.written_out().and_then(|written| facts.links.get(written));
    match target.map(|target| (path.led_to(target), target)) {
        None => (path.clone(), None),
        Some((Ok(pattern), _)) => (pattern.clone(), Some(Ok(pattern.to_string()))),
        Some((Err(_), target)) => (path.clone(), Some(Err(target.clone()))),
    }
}

/// What permissions are called.
fn in_words(permissions: &str) -> &'static str {
    match permissions {
        "r" => "read",
        "w" => "write, append",
        "mr" => "read, map as code",
        _ => "read, write, create, lock",
    }
}

/// What terms allow.
fn allow(terms: &Terms, origin: &str, service: &Service, facts: Facts<'_>, body: &mut Body) {
    for FileTerm { name, qualifiers, permissions, paths } in file_terms(terms, facts) {
        let rules = paths.iter().map(|path| file_rule(qualifiers, path.pattern.as_str(), permissions));
        body.add(format!("{origin}, {name}: {}", in_words(permissions)), rules);
    }
    for (term, used, networks) in [("listen", Use::Listen, &terms.listen), ("connect", Use::Connect, &terms.connect)] {
        let rules = networks.iter().flat_map(|network| Sockets::of(*network, used).rules(&service.abi));
        body.add(format!("{origin}, {term}"), rules);
    }
    body.add(format!("{origin}, execute"), terms.execute.iter().map(|execute| execute_rule(execute, facts)));
    let capabilities = terms.capabilities.iter().map(|capability| format!("capability {capability},"));
    body.add(format!("{origin}, capabilities"), capabilities);
    body.add(format!("{origin}, signals"), terms.signals.iter().map(signal_rule));
    let written = terms.rules.iter().filter(|rule| !Rule::read(rule.as_str()).denies);
    body.add(format!("{origin}, rules: as written"), written.map(ToString::to_string));
}

fn signal_rule(rule: &SignalRule) -> String {
    let mut names: Vec<_> = rule.signals.iter().map(|signal| signal.word()).collect();
    names.sort_unstable();
    names.dedup();
    let set = if names.is_empty() { String::new() } else { format!("set=({}) ", names.join(", ")) };
    format!("signal ({}) {set}peer={},", rule.direction, rule.peer)
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

/// What the service and its classes deny, in each of its profiles.
fn deny(service: &Service, facts: Facts<'_>, body: &mut Body) {
    for layer in &service.layers {
        let rules = layer.terms.deny.iter().map(|path| {
            let (pattern, _) = led_to(path, facts);
            file_rule("audit deny", pattern.with_contents().as_str(), "mrwklx")
        });
        body.add(format!("{}, deny: all access", layer.origin), rules);
    }
}

/// Rules as written that deny. They are where all denials are: in complain mode they would deny as well.
fn deny_as_written(terms: &Terms, origin: &str, body: &mut Body) {
    let written = terms.rules.iter().filter(|rule| Rule::read(rule.as_str()).denies);
    body.add(format!("{origin}, rules: denials as written"), written.map(ToString::to_string));
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
    let paths = service.layers.iter().flat_map(|layer| &layer.terms.deny);
    let denied_already: Vec<Glob> = paths
        .filter_map(|path| Glob::new(led_to(path, facts).0.with_contents().as_str(), facts.variables).ok())
        .collect();
    for denial in class::denials(service.class) {
        let mut yielded = Vec::new();
        let rules = denial::rules(denial, asked, &denied_already, facts.variables, &mut yielded);
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
