//! From what a service needs to the text of its profile. Pure: what must be known of a host is given as [`Facts`].
//!
//! **Invariant:** a text follows from the service, the mode and the facts alone, byte for byte. The facts change no
//! more of it than the program's path, where that is a link, its interpreter's rule, and which class denials give way.
//!
//! **Invariant:** whatever is refused names the place in the document and what would be right; nothing is widened or
//! left out in silence.

use std::collections::{BTreeMap, BTreeSet};

use crate::document::WantedMode;
use crate::problem::Problem;
use crate::profile::Mode;
use crate::service::{Confinement, Execute, Origin, PathPattern, Program, Service, Terms};
use crate::syntax::Variables;

mod breadth;
mod class;
mod denial;
mod judge;
mod network;
mod text;

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
    let mut judge = Judge::new(service, facts);
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

/// A term about files.
struct FileTerm {
    name: &'static str,
    /// What its rules begin with.
    qualifiers: &'static str,
    permissions: &'static str,
    /// The values as they were given, each with its pattern.
    paths: Vec<(String, PathPattern)>,
}

fn file_terms(terms: &Terms) -> [FileTerm; 5] {
    let term = |name, permissions, paths: &[PathPattern]| {
        let paths = paths.iter().map(|path| (path.to_string(), path.with_contents())).collect();
        FileTerm { name, qualifiers: "", permissions, paths }
    };
    let temp = terms.temp.iter().map(|name| (name.to_string(), name.pattern())).collect();
    [
        term("config", "r", &terms.config),
        term("data", "rwk", &terms.data),
        term("logs", "w", &terms.logs),
        term("runtime", "rwk", &terms.runtime),
        FileTerm { name: "temp", qualifiers: "owner", permissions: "rwk", paths: temp },
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
    for FileTerm { name, qualifiers, permissions, paths } in file_terms(terms) {
        let rules = paths.iter().map(|(_, pattern)| file_rule(qualifiers, pattern.as_str(), permissions));
        body.add(format!("{origin}, {name}: {}", in_words(permissions)), rules);
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
