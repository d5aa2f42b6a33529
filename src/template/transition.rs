//! Programs that are executed in different ways at once.

use super::{Child, Interpreter, Judge, RunBy, resolve};
use crate::glob::{Glob, Wildcards};
use crate::problem::{Problem, ProblemCode};
use crate::service::{Confinement, PathPattern, Terms};
use crate::syntax::{Rule, Subject};

/// How programs are executed.
struct Way {
    pointer: String,
    /// What the document says.
    value: String,
    glob: Glob,
    /// The letters of the transition, and the profile it leads to.
    transition: (String, Option<String>),
}

impl Way {
    /// Whether apparmor_parser refuses both in one profile: programs that both are about, in different ways. Where one of
    /// two is without wildcards, that one decides (libapparmor_re, accept_perms). Measured: alternations are no wildcards,
    /// and classes are some for 3.0.8, and none for 4.1.0.
    fn conflicts(&self, other: &Self) -> bool {
        self.transition != other.transition
            && !matches!(
                (self.glob.wildcards(), other.glob.wildcards()),
                (Wildcards::None, Wildcards::Some) | (Wildcards::Some, Wildcards::None)
            )
            && self.glob.meets(&other.glob)
    }

    fn transition_in_words(&self) -> String {
        let (letters, target) = &self.transition;
        let target = target.as_ref().map_or(String::new(), |target| format!(" -> {target}"));
        format!("`{letters}{target}`")
    }
}

impl Judge<'_> {
    /// Refuses programs that are executed in different ways within one profile, and children that have one name.
    pub(super) fn transitions(&mut self, interpreters: &[Interpreter], children: &[Child<'_>]) {
        let service = self.service;
        let mut ways = Vec::new();
        self.ways_of_interpreters(&mut ways, interpreters);
        for layer in &service.layers {
            self.ways(&mut ways, &layer.terms, &layer.pointer);
        }
        self.refuse_conflicts(&ways);
        self.refuse_lost_children(children);
        for (at, child) in children.iter().enumerate() {
            let mut ways = Vec::new();
            self.ways_of_interpreters(&mut ways, &child.interpreters);
            self.ways(&mut ways, child.needs, &format!("{}/needs", child.pointer));
            self.refuse_conflicts(&ways);
            if let Some(first) = children[..at].iter().find(|other| other.name == child.name) {
                let message = format!("the child profile at {} has the same name", first.pointer);
                self.problems.push(
                    Problem::new(child.pointer.clone(), ProblemCode::Conflict, message)
                        .allowed("a name of its own for each child"),
                );
            }
        }
    }

    /// Refuses rules that lead into children that are not rendered: the program would not start, or run in another
    /// profile.
    fn refuse_lost_children(&mut self, children: &[Child<'_>]) {
        let own = self.service.layers.iter().map(|layer| (&layer.terms, layer.pointer.clone(), children));
        // A child has no children.
        let theirs = children.iter().map(|child| (child.needs, format!("{}/needs", child.pointer), &[][..]));
        let mut problems = Vec::new();
        for (terms, pointer, children) in own.chain(theirs) {
            for (at, rule) in terms.rules.iter().enumerate() {
                let Rule { denies: false, subject: Subject::File { permissions, target, .. } } =
                    Rule::read(rule.as_str())
                else {
                    continue;
                };
                let known = |name: &str| children.iter().any(|child| child.name.as_str() == name);
                if permissions.contains(['c', 'C']) && !target.as_deref().is_some_and(known) {
                    let message = format!("{rule} leads into a child profile that the service does not have");
                    problems.push(Problem::new(format!("{pointer}/rules/{at}"), ProblemCode::Conflict, message).allowed(
                        "an entry of `execute` with `child`, which brings the profile and the rule; or `-> NAME` of one",
                    ));
                }
            }
        }
        self.problems.extend(problems);
    }

    fn ways_of_interpreters(&self, ways: &mut Vec<Way>, interpreters: &[Interpreter]) {
        for Interpreter { pointer, program, .. } in interpreters.iter().filter(|it| it.run_by == RunBy::Env) {
            self.add_way(ways, pointer.clone(), program.as_str(), program.as_str(), "ix", None);
        }
    }

    fn ways(&self, ways: &mut Vec<Way>, terms: &Terms, pointer: &str) {
        for (at, execute) in terms.execute.iter().enumerate() {
            let (letters, target) = match &execute.into {
                Confinement::Inherit => ("ix", None),
                Confinement::Profile(name) => ("Px", Some(name.to_string())),
                Confinement::Child { name, .. } => ("Cx", Some(name.to_string())),
            };
            let pattern: PathPattern = resolve(&execute.path, self.facts);
            let place = format!("{pointer}/execute/{at}");
            self.add_way(ways, place, execute.path.as_str(), pattern.as_str(), letters, target);
        }
        for (at, rule) in terms.rules.iter().enumerate() {
            let Rule { denies: false, subject: Subject::File { pattern, permissions, target } } =
                Rule::read(rule.as_str())
            else {
                continue;
            };
            let letters: String = permissions.chars().filter(|letter| "pPcCuUix".contains(*letter)).collect();
            if letters.contains('x') {
                // Only the first letter tells whether the environment is scrubbed (apparmor.d(5), access modes).
                let (first, rest) = letters.split_at(1);
                let letters = format!("{first}{}", rest.to_ascii_lowercase());
                self.add_way(ways, format!("{pointer}/rules/{at}"), rule.as_str(), &pattern, &letters, target);
            }
        }
    }

    fn add_way(
        &self,
        ways: &mut Vec<Way>,
        pointer: String,
        value: &str,
        pattern: &str,
        letters: &str,
        target: Option<String>,
    ) {
        // What cannot be expanded is told where it is asked for.
        if let Ok(glob) = Glob::new(pattern, self.facts.variables) {
            ways.push(Way { pointer, value: value.to_owned(), glob, transition: (letters.to_owned(), target) });
        }
    }

    fn refuse_conflicts(&mut self, ways: &[Way]) {
        for (at, way) in ways.iter().enumerate() {
            let Some(first) = ways[..at].iter().find(|first| first.conflicts(way)) else { continue };
            let message = format!(
                "{} is executed with {} here, and {} with {} at {}",
                way.value,
                way.transition_in_words(),
                first.value,
                first.transition_in_words(),
                first.pointer
            );
            self.problems.push(
                Problem::new(way.pointer.clone(), ProblemCode::Conflict, message).allowed(
                    "one transition for each program; where one of two is without wildcards, that one decides",
                ),
            );
        }
    }
}
