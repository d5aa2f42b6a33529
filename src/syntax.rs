//! Reads policy text far enough to find its headers, includes and variables, and to change a header's mode.
//!
//! This is the lexical half of apparmor_parser (`parser_lex.l`), not its grammar: a [`Scan`] says where the text's
//! profiles, hats and includes stand if the text is valid. Whether it is valid only the parser says.
//!
//! **Invariant:** [`scan`] is total and linear: any bytes give a scan, without a panic and in time proportional to
//! their number.
//!
//! **Invariant:** [`set_mode`] changes bytes of flags groups and no others, and is idempotent.

mod attachment;
mod header;
mod include;
mod rule;
mod token;
mod value;
mod variable;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::profile::ProfileName;

pub use attachment::expand;
pub use header::{Header, HeaderKind, Rewritten, set_mode};
pub use include::{IncludeKind, IncludeRef, IncludeTarget};
pub(crate) use rule::{ESCAPABLE, elements};
pub use rule::{Mediated, Rule, Subject, check_rule};
pub use variable::{Assignment, Unexpandable, VariableRule, Variables};

use header::Candidate;
use token::{Lexer, Token};

/// What stands in a policy text, each list in the order of the text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scan {
    /// The headers of profiles and hats, children after their parents.
    pub headers: Vec<Header>,
    /// The `include` and `abi` references.
    pub includes: Vec<IncludeRef>,
    /// The assignments to variables.
    pub variables: Vec<VariableRule>,
}

/// Finds the headers, includes and variables of a policy text.
#[must_use]
pub fn scan(text: &[u8]) -> Scan {
    let mut scanner = Scanner::new(text);
    let mut lexer = Lexer::new(text);
    while let Some((start, token)) = lexer.next_token() {
        scanner.take(start, token, lexer.position());
    }
    scanner.scan
}

/// The line, from 1, in which the byte at `offset` stands.
#[must_use]
pub fn line_at(text: &[u8], offset: usize) -> usize {
    1 + text.iter().take(offset).filter(|byte| **byte == b'\n').count()
}

impl Scan {
    /// The full names by which the kernel may know the header's profile, the likeliest first.
    ///
    /// There is more than one where versions of the parser differ. A header three deep is `a//b//c` since 4.1 and
    /// `b//c` in 3.0.8. A variable in a name becomes its value, or an alternation `{x,y}` of its values: 3.0.8 keeps
    /// the order of the assignments and the slashes of a single value, later versions sort the values and drop a slash
    /// that would stand twice. A variable that is not declared stays as written; the parser refuses it.
    ///
    /// # Panics
    /// If there is no such header.
    #[must_use]
    pub fn names(&self, header: usize, variables: &Variables) -> Vec<ProfileName> {
        let mut names = Vec::new();
        for spell in [Variables::alternate_sorted, Variables::alternate_as_assigned] {
            let lineage = self.lineage(header, |name| spell(variables, name));
            for length in [lineage.len(), 2] {
                let name = joined(&lineage, length);
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// The first of [`Self::names`].
    ///
    /// # Panics
    /// If there is no such header.
    #[must_use]
    pub fn name(&self, header: usize, variables: &Variables) -> ProfileName {
        let mut lineage = self.lineage(header, |name| variables.alternate_sorted(name));
        if lineage.len() == 1 { lineage.remove(0) } else { joined(&lineage, lineage.len()) }
    }

    /// The names of the header and of those that it stands in, outermost first.
    fn lineage(&self, header: usize, spell: impl Fn(&str) -> Result<String, Unexpandable>) -> Vec<ProfileName> {
        let headers =
            std::iter::successors(Some(&self.headers[header]), |child| child.parent.map(|at| &self.headers[at]));
        let names = headers.map(|header| spell(&header.name).unwrap_or_else(|_| header.name.clone()));
        let mut lineage: Vec<ProfileName> = names.map(split_namespace).collect();
        lineage.reverse();
        lineage
    }

    /// The globs of the executables that the header's profile attaches to, as [`expand`] gives them. Empty for a
    /// profile that is entered only by name: one without an attachment whose name is not a path.
    ///
    /// # Errors
    /// Why the attachment cannot be told.
    ///
    /// # Panics
    /// If there is no such header.
    pub fn attachments(&self, header: usize, variables: &Variables) -> Result<BTreeSet<String>, Unexpandable> {
        let header = &self.headers[header];
        let mut globs = expand(header.attachment.as_deref().unwrap_or_else(|| local_name(&header.name)), variables)?;
        globs.retain(|glob| glob.starts_with('/'));
        Ok(globs)
    }
}

/// A profile's full name, of the innermost `length` names of its lineage.
fn joined(lineage: &[ProfileName], length: usize) -> ProfileName {
    let innermost = &lineage[lineage.len().saturating_sub(length)..];
    let name = innermost.iter().map(|part| part.name.as_str()).collect::<Vec<_>>().join("//");
    ProfileName { namespace: lineage.first().and_then(|outermost| outermost.namespace.clone()), name }
}

/// The part of a name by which the parser attaches a profile without a separate attachment: what stands after the
/// last `//`, searched from the left (parser_regex.c, local_name).
fn local_name(mut name: &str) -> &str {
    while let Some((_, local)) = name.split_once("//") {
        name = local;
    }
    name
}

/// Splits `:namespace:name` or `:namespace://name` (parser_common.c, parse_label).
fn split_namespace(name: String) -> ProfileName {
    let split = name.strip_prefix(':').and_then(|rest| rest.split_once(':'));
    match split {
        Some((namespace, name)) => ProfileName {
            namespace: Some(namespace.to_owned()),
            name: name.strip_prefix("//").unwrap_or(name).to_owned(),
        },
        None => ProfileName::new(name),
    }
}

/// How many blocks may nest. The parser has room for some thousands, real policy uses three; a bound keeps the work on
/// [`Scan::names`] proportional to the text.
const DEEPEST_BLOCK: usize = 100;

/// Assembles tokens into a [`Scan`].
struct Scanner<'t> {
    text: &'t [u8],
    scan: Scan,
    /// For each open block the header whose rules it holds. A block of rules, `owner { … }` or `if $x { … }`, belongs to
    /// the header around it.
    open: Vec<Option<usize>>,
    candidate: Option<Candidate>,
    /// Whether the next token is the first of its rule. A path there, outside of all braces, may begin a header.
    at_start: bool,
}

impl<'t> Scanner<'t> {
    fn new(text: &'t [u8]) -> Self {
        Self { text, scan: Scan::default(), open: Vec::new(), candidate: None, at_start: true }
    }

    /// Takes the token that stands from `start` to `end`.
    fn take(&mut self, start: usize, token: Token, end: usize) {
        let was_at_start = std::mem::replace(&mut self.at_start, false);
        match token {
            Token::Header { kind, name } => {
                self.candidate = Some(Candidate::new(kind, name, start));
            }
            Token::Label(label) => match self.candidate.take() {
                Some(candidate) => self.candidate = candidate.attach(label),
                None if was_at_start && self.open.is_empty() && names_a_profile(&self.text[label.clone()]) => {
                    self.candidate = Some(Candidate::new(HeaderKind::Profile, label, start));
                }
                None => {}
            },
            Token::Variable(variable) => {
                self.candidate = self.candidate.take().and_then(|candidate| candidate.attach(variable));
            }
            Token::Group { name, list } => {
                let candidate = self.candidate.take();
                self.candidate = candidate.and_then(|header| header.group(&self.text[name], start..end, list));
            }
            // An include is replaced by its text: it may even stand inside of a header.
            Token::Include { kind, if_exists, argument } => {
                let within = self.within();
                self.scan.includes.push(IncludeRef::new(self.text, kind, if_exists, argument, within));
                self.at_start = was_at_start;
            }
            Token::Assignment { name, assignment, values } => {
                self.scan.variables.push(VariableRule::new(self.text, name, assignment, values));
                self.next_rule();
            }
            Token::Open => {
                let within = self.within();
                let candidate = self.candidate.take().filter(|_| self.open.len() < DEEPEST_BLOCK);
                let header = candidate.map(|candidate| {
                    self.scan.headers.push(candidate.open(self.text, within, start));
                    self.scan.headers.len() - 1
                });
                self.open.push(header.or(within));
                self.next_rule();
            }
            Token::Close => {
                self.open.pop();
                self.next_rule();
            }
            Token::End => self.next_rule(),
            Token::Other => self.candidate = None,
        }
    }

    fn next_rule(&mut self) {
        self.candidate = None;
        self.at_start = true;
    }

    /// The header whose rules the scanner is in.
    fn within(&self) -> Option<usize> {
        self.open.last().copied().flatten()
    }
}

/// Says whether a path may be a header's name without the word `profile`: one that starts with `/` or a namespace.
fn names_a_profile(label: &[u8]) -> bool {
    let unquoted = label.strip_prefix(b"\"").unwrap_or(label);
    matches!(unquoted.first(), Some(b'/' | b':'))
}
