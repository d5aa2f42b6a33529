//! Class denials, narrowed to what the service does not ask for.
//!
//! A `deny` rule overrides every rule that allows, and patterns have no exceptions: where a service asks by name for
//! something that a class denies, the denial gives way, for the permissions asked for and the patterns concerned.

use std::collections::BTreeMap;

use super::class::Denial;
use super::text::file_rule;
use crate::glob::Glob;
use crate::syntax::{Unexpandable, Variables};

/// Something that a service asks for by name.
#[derive(Debug)]
pub(super) struct Asked {
    /// Where in the document, a JSON pointer.
    pub(super) pointer: String,
    /// The value there.
    pub(super) value: String,
    /// The permissions, as letters of `mrwklx`.
    pub(super) permissions: String,
    /// The paths.
    pub(super) glob: Glob,
    /// Parts of them that somebody needs as a whole: what is named, and what is in it if that is a directory.
    pub(super) parts: Vec<Glob>,
}

impl Asked {
    pub(super) fn new(
        pointer: String,
        value: &str,
        pattern: &str,
        permissions: &str,
        variables: &Variables,
    ) -> Result<Self, Unexpandable> {
        let glob = Glob::new(pattern, variables)?;
        let named = ["{,/**}", "/{,**}", "/**", "/*"].iter().find_map(|end| pattern.strip_suffix(end));
        let parts = named.into_iter().flat_map(|named| ["", "/", "/*", "/**"].map(|part| format!("{named}{part}")));
        let parts = parts.map(|part| Glob::new(&part, variables)).collect::<Result<Vec<_>, _>>()?;
        let parts = parts.into_iter().filter(|part| glob.covers(part)).collect();
        Ok(Self { pointer, value: value.to_owned(), permissions: permissions.to_owned(), glob, parts })
    }
}

/// The rules of a denial that are left beside what is asked for; what makes it give way is added to `yielded`. What the
/// service itself denies needs no rule, and gives way to nothing.
pub(super) fn rules<'a>(
    denial: &'static Denial,
    asked: &'a [Asked],
    denied_already: &[Glob],
    variables: &Variables,
    yielded: &mut Vec<(&'static str, &'a Asked)>,
) -> Vec<String> {
    let mut left: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
    for member in denial.members {
        let pattern = format!("{}{member}", denial.prefix);
        let mut permissions = denial.permissions.to_owned();
        // A variable that is not declared is an error of the whole text, which the parser tells.
        if let Ok(denied) = Glob::new(&pattern, variables) {
            if denied_already.iter().any(|own| own.covers(&denied)) {
                continue;
            }
            for it in asked.iter().filter(|it| it.glob.meets(&denied)) {
                let before = permissions.len();
                permissions.retain(|letter| !it.permissions.contains(letter));
                if permissions.len() < before {
                    yielded.push((denial.what, it));
                }
            }
        }
        if !permissions.is_empty() {
            left.entry(permissions).or_default().push(member);
        }
    }
    let rules = left.into_iter().flat_map(|(permissions, members)| {
        // Members with patterns of their own stay apart, for those who read them.
        let (plain, others): (Vec<_>, Vec<_>) =
            members.into_iter().partition(|member| !member.contains(['{', '*', '/']));
        let together = match &plain[..] {
            [] => None,
            [one] => Some((*one).to_owned()),
            many => Some(format!("{{{}}}", many.join(","))),
        };
        let ends = together.into_iter().chain(others.into_iter().map(str::to_owned));
        let rules = ends.map(|end| file_rule("audit deny", &format!("{}{end}", denial.prefix), &permissions));
        rules.collect::<Vec<_>>()
    });
    rules.collect()
}
