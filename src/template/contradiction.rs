//! What a service asks for and denies at once.
//!
//! A `deny` overrides every rule that allows. One that takes an exception out of what is asked for is what it is there
//! for; one that takes away all of it, or cuts across it, is a mistake that nobody would see.

use super::denial::Asked;
use super::network::{Sockets, Use};
use super::{Child, EVERY, Judge, class, led_to, signal_rule};
use crate::glob::Glob;
use crate::problem::{Problem, ProblemCode};
use crate::service::{Network, Terms};
use crate::syntax::{Mediated, Rule, Subject, Variables, elements};

/// Access that is allowed or denied, and where that is said.
struct Access {
    /// The place in the document, a JSON pointer; in a class, what needs it.
    place: String,
    /// What is said there.
    value: String,
    what: What,
}

enum What {
    Files {
        permissions: String,
        glob: Glob,
        /// What of them is needed as a whole, each by itself.
        parts: Vec<Glob>,
    },
    /// None is all of them.
    Capabilities(Vec<String>),
    /// Each rule that one value stands for.
    Mediated(Vec<Mediated>),
}

impl What {
    /// What a rule is about, if that can be compared.
    fn of(subject: Subject, variables: &Variables) -> Option<Self> {
        match subject {
            Subject::File { pattern, permissions, .. } => {
                let glob = Glob::new(&pattern, variables).ok()?;
                Some(Self::Files { permissions: permissions.replace('a', "w"), glob, parts: Vec::new() })
            }
            Subject::Capabilities(names) => Some(Self::Capabilities(names)),
            Subject::Mediated(rule) => Some(Self::Mediated(vec![rule])),
            Subject::Everything => {
                let glob = Glob::new("/**", variables).ok()?;
                Some(Self::Files { permissions: "mrwklx".to_owned(), glob, parts: Vec::new() })
            }
            Subject::Nothing | Subject::Unknown => None,
        }
    }

    /// Whether denying this takes away what is asked for, or a part that is needed as a whole. A denial that lies
    /// within what is asked for and takes no such part is an exception.
    fn takes_away(&self, asked: &Self) -> bool {
        match (self, asked) {
            (Self::Files { permissions: denied, glob, .. }, Self::Files { permissions, glob: wanted, parts }) => {
                permissions.contains(|letter| denied.contains(letter))
                    && wanted.meets(glob)
                    && (!wanted.covers(glob) || glob.covers(wanted) || parts.iter().any(|part| glob.covers(part)))
            }
            (Self::Capabilities(denied), Self::Capabilities(names)) => {
                denied.is_empty() || names.iter().any(|name| denied.contains(name))
            }
            (Self::Mediated(denied), Self::Mediated(rules)) => {
                denied.iter().all(|denied| rules.iter().all(|rule| covers(denied, rule)))
            }
            _ => false,
        }
    }
}

/// A protocol as the type of its sockets (apparmor_parser, network.cc, network_mappings); other words as they are.
fn socket_type(word: &str) -> &str {
    match word {
        "tcp" => "stream",
        "udp" => "dgram",
        "icmp" => "raw",
        word => word,
    }
}

/// Whether a rule is about everything that the other is about.
fn covers(outer: &Mediated, inner: &Mediated) -> bool {
    let same = |one: &str, other: &str| match (one, other) {
        ("receive", "r" | "read") | ("send", "w" | "write") => true,
        _ => one == other,
    };
    let all_of = |outer: &[String], inner: &[String]| {
        outer.is_empty() || !inner.is_empty() && inner.iter().all(|inner| outer.iter().any(|outer| same(inner, outer)))
    };
    let accesses_fit = match outer.keyword {
        // Words name a family, a type and a protocol; each one narrows.
        "network" => {
            let narrows = |word: &String| inner.words.iter().any(|inner| socket_type(inner) == socket_type(word));
            all_of(&outer.listed, &inner.listed) && outer.words.iter().all(narrows)
        }
        _ => {
            let access = |rule: &Mediated| rule.access().map(str::to_owned).collect::<Vec<_>>();
            all_of(&access(outer), &access(inner))
        }
    };
    let matches = |outer: &str, inner: &str| {
        let glob = |text: &str| Glob::new(text, &Variables::default());
        outer == inner || matches!((glob(outer), glob(inner)), (Ok(outer), Ok(inner)) if outer.covers(&inner))
    };
    let conditions_fit = outer.conditions.iter().all(|(name, outer)| match inner.conditions.get(name) {
        Some(inner) if name == "set" => elements(inner).all(|signal| elements(outer).any(|other| other == signal)),
        Some(inner) => matches(outer, inner),
        None => false,
    });
    let target_fits = match (&outer.target, &inner.target) {
        (None, _) => true,
        (Some(outer), Some(inner)) => matches(outer, inner),
        (Some(_), None) => false,
    };
    outer.keyword == inner.keyword && accesses_fit && conditions_fit && target_fits
}

impl Judge<'_> {
    /// Refuses denials that take away what is asked for, in the profile and in its children; warns of those that hit what
    /// its class allows.
    pub(super) fn contradictions(&mut self, asked: &[Asked], children: &[Child<'_>]) {
        let service = self.service;
        let mut allowed: Vec<Access> = asked.iter().map(of_files).collect();
        let (mut everywhere, mut denied) = (Vec::new(), Vec::new());
        for layer in &service.layers {
            self.allowed_by(&layer.terms, &layer.pointer, &mut allowed);
            self.denied_paths(&layer.terms, &layer.pointer, &mut everywhere);
            self.denied_by_rules(&layer.terms, &layer.pointer, &mut denied);
        }
        self.compare(&everywhere, &allowed);
        self.compare(&denied, &allowed);
        let needed = self.needed_by_class();
        for denial in everywhere.iter().chain(&denied) {
            if let Some(needed) = needed.iter().find(|needed| denial.what.takes_away(&needed.what)) {
                self.warn(&format!(
                    "{} at {} takes away `{}`, which {} has: the service may not start",
                    denial.value, denial.place, needed.value, needed.place
                ));
            }
        }
        for child in children {
            let mut allowed: Vec<Access> = child.asked.iter().map(of_files).collect();
            let pointer = format!("{}/needs", child.pointer);
            self.allowed_by(child.needs, &pointer, &mut allowed);
            let mut denied = Vec::new();
            self.denied_by_rules(child.needs, &pointer, &mut denied);
            self.compare(&everywhere, &allowed);
            self.compare(&denied, &allowed);
        }
    }

    fn compare(&mut self, denied: &[Access], allowed: &[Access]) {
        for denial in denied {
            let Some(taken) = allowed.iter().find(|it| denial.what.takes_away(&it.what)) else { continue };
            let message = format!(
                "the denial `{}` takes away `{}`, which is asked for at {}",
                denial.value, taken.value, taken.place
            );
            self.problems.push(Problem::new(denial.place.clone(), ProblemCode::Conflict, message).allowed(
                "a denial of something named below what is asked for, of something else, or a narrower term: a `deny` \
                     overrides every rule that allows",
            ));
        }
    }

    /// What terms allow beside files.
    fn allowed_by(&self, terms: &Terms, pointer: &str, allowed: &mut Vec<Access>) {
        let mut add = |term: &str, at: usize, value: String, what: What| {
            allowed.push(Access { place: format!("{pointer}/{term}/{at}"), value, what });
        };
        for (term, used, networks) in
            [("listen", Use::Listen, &terms.listen), ("connect", Use::Connect, &terms.connect)]
        {
            for (at, Network { family, socket }) in networks.iter().enumerate() {
                let rules = Sockets { used, family: *family, socket: *socket }.rules(&self.service.abi);
                add(
                    term,
                    at,
                    rules.join(" "),
                    What::Mediated(rules.iter().filter_map(|rule| mediated(rule)).collect()),
                );
            }
        }
        for (at, capability) in terms.capabilities.iter().enumerate() {
            add("capabilities", at, capability.to_string(), What::Capabilities(vec![capability.to_string()]));
        }
        for (at, rule) in terms.signals.iter().enumerate() {
            let rule = signal_rule(rule);
            add("signals", at, rule.clone(), What::Mediated(mediated(&rule).into_iter().collect()));
        }
        for (at, rule) in terms.rules.iter().enumerate() {
            let Rule { denies: false, subject } = Rule::read(rule.as_str()) else { continue };
            // Files are known already, with their permissions in full.
            if let Some(what @ (What::Capabilities(_) | What::Mediated(_))) = What::of(subject, self.facts.variables) {
                add("rules", at, rule.to_string(), what);
            }
        }
    }

    fn denied_paths(&mut self, terms: &Terms, pointer: &str, denied: &mut Vec<Access>) {
        for (at, path) in terms.deny.iter().enumerate() {
            let pattern = led_to(path, self.facts).0.with_contents();
            let place = format!("{pointer}/deny/{at}");
            denied.extend(self.asked_for(place, path.as_str(), pattern.as_str(), "mrwklx").as_ref().map(of_files));
        }
    }

    fn denied_by_rules(&mut self, terms: &Terms, pointer: &str, denied: &mut Vec<Access>) {
        for (at, rule) in terms.rules.iter().enumerate() {
            let Rule { denies: true, subject } = Rule::read(rule.as_str()) else { continue };
            let place = format!("{pointer}/rules/{at}");
            if let Subject::File { pattern, permissions, .. } = &subject {
                let permissions = permissions.replace('a', "w");
                denied.extend(self.asked_for(place, rule.as_str(), pattern, &permissions).as_ref().map(of_files));
            } else if let Some(what) = What::of(subject, self.facts.variables) {
                denied.push(Access { place, value: rule.to_string(), what });
            }
        }
    }

    /// What the class allows, and what its abstractions are included for.
    fn needed_by_class(&self) -> Vec<Access> {
        let class = self.service.class;
        let allowances = EVERY.iter().map(|it| ("every class".to_owned(), it));
        let allowances = allowances.chain(class::allowances(class).iter().map(|it| (format!("class {class}"), it)));
        let rules = allowances.flat_map(|(place, it)| {
            let sockets = it.sockets.iter().flat_map(|sockets| sockets.rules(&self.service.abi));
            let rules = it.rules.iter().map(|rule| (*rule).to_owned());
            rules.chain(sockets).map(move |rule| (place.clone(), rule))
        });
        let base = class::BASE.iter().map(|rule| ("abstractions/base".to_owned(), (*rule).to_owned()));
        let needed = rules.chain(base).filter_map(|(place, value)| {
            let what = What::of(Rule::read(&value).subject, self.facts.variables)?;
            Some(Access { place, value, what })
        });
        needed.collect()
    }
}

fn mediated(rule: &str) -> Option<Mediated> {
    match Rule::read(rule).subject {
        Subject::Mediated(rule) => Some(rule),
        _ => None,
    }
}

fn of_files(asked: &Asked) -> Access {
    Access {
        place: asked.pointer.clone(),
        value: asked.value.clone(),
        what: What::Files {
            permissions: asked.permissions.clone(),
            glob: asked.glob.clone(),
            parts: asked.parts.clone(),
        },
    }
}
