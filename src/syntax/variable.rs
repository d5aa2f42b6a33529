//! Variables of policy text and their values.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use super::Scan;
use super::value::{self, Values, unquote};

/// An assignment to a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariableRule {
    /// The variable's name, without sigil and braces.
    pub name: String,
    /// What the assignment does.
    pub assignment: Assignment,
    /// The values, without quotes and escapes; they may hold variables.
    pub values: Vec<String>,
}

/// What an assignment does to its variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assignment {
    /// `=`: declares it.
    Set,
    /// `+=`: adds values.
    Add,
    /// `?=`: declares it unless it is declared already (AppArmor 5).
    SetIfUndeclared,
    /// `:=`: declares it anew (AppArmor 5).
    Override,
}

impl VariableRule {
    pub(super) fn new(text: &[u8], name: Range<usize>, assignment: Assignment, values: Range<usize>) -> Self {
        let name: Vec<u8> = text[name].iter().copied().filter(|byte| !b"@{}".contains(byte)).collect();
        Self {
            name: String::from_utf8_lossy(&name).into_owned(),
            assignment,
            values: value::values(text, values, Values::Assignment).map(|range| unquote(&text[range])).collect(),
        }
    }
}

/// Why a text with variables or alternations cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unexpandable {
    /// A variable is not declared.
    #[error("the variable @{{{0}}} is not declared")]
    Undeclared(String),
    /// A variable's value refers to the variable itself.
    #[error("the variable @{{{0}}} refers to itself")]
    Recursive(String),
    /// There are more or longer expansions than are kept.
    #[error("it stands for more than {MOST_EXPANSIONS} texts, or for texts of more than {LONGEST_EXPANSION} bytes")]
    TooLarge,
}

/// How many texts one text may expand to.
pub(super) const MOST_EXPANSIONS: usize = 4096;
/// How many bytes an expansion may have, alternations that are not yet expanded included.
pub(super) const LONGEST_EXPANSION: usize = 4096;
/// How many variables may refer to each other in a chain.
const DEEPEST_REFERENCE: usize = 64;

/// The variables that are declared for a profile.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    values: HashMap<String, Vec<String>>,
}

impl Variables {
    /// Takes the assignments of a text: first those of a profile's preamble and its includes, in order.
    ///
    /// A second declaration adds its values; the parser refuses a text with one.
    pub fn add(&mut self, scan: &Scan) {
        for rule in &scan.variables {
            let declared = self.values.contains_key(&rule.name);
            let values = self.values.entry(rule.name.clone()).or_default();
            match rule.assignment {
                Assignment::SetIfUndeclared if declared => continue,
                Assignment::Override => values.clear(),
                Assignment::Set | Assignment::Add | Assignment::SetIfUndeclared => {}
            }
            values.extend_from_slice(&rule.values);
        }
    }

    /// A text with its variables as AppArmor 5 writes them: as an alternation of their sorted values, without slashes
    /// that would stand twice.
    pub(crate) fn alternate_sorted(&self, text: &str) -> Result<String, Unexpandable> {
        self.alternate(text, |values, trim| {
            let sorted: BTreeSet<&str> = values.iter().map(|value| trim.of(value)).collect();
            alternation(&Vec::from_iter(sorted))
        })
    }

    /// A text with its variables as AppArmor 3.0 writes them: in the order of the assignments, a single value as it
    /// is.
    pub(super) fn alternate_as_assigned(&self, text: &str) -> Result<String, Unexpandable> {
        self.alternate(text, |values, trim| match values {
            [one] => one.clone(),
            _ => alternation(&values.iter().map(|value| trim.of(value)).collect::<Vec<_>>()),
        })
    }

    fn alternate(&self, text: &str, write: impl Fn(&[String], Trim) -> String) -> Result<String, Unexpandable> {
        if !text.contains('@') {
            return Ok(text.to_owned());
        }
        let mut expansion = Expansion { variables: self, known: HashMap::new(), expanding: Vec::new() };
        let mut written = String::with_capacity(text.len());
        let mut before = "";
        let mut pieces = pieces(text).into_iter().peekable();
        while let Some(piece) = pieces.next() {
            before = match piece {
                Piece::Text(text) => {
                    written.push_str(text);
                    text
                }
                Piece::Variable(name) => {
                    let trim = Trim {
                        // A path's own leading slashes are no repetition.
                        leading: before.ends_with('/') && before.contains(|letter| letter != '/'),
                        trailing: matches!(pieces.peek(), Some(Piece::Text(after)) if after.starts_with('/')),
                    };
                    written.push_str(&write(expansion.values(name)?, trim));
                    ""
                }
            };
        }
        Ok(written)
    }
}

fn alternation(values: &[&str]) -> String {
    match values {
        [one] => (*one).to_owned(),
        _ => format!("{{{}}}", values.join(",")),
    }
}

/// Which slashes of a variable's value its neighbours have already (variable.cc, expand_by_alternation).
#[derive(Clone, Copy)]
struct Trim {
    leading: bool,
    trailing: bool,
}

impl Trim {
    fn of(self, value: &str) -> &str {
        let value = if self.leading { value.trim_start_matches('/') } else { value };
        if self.trailing { value.trim_end_matches('/') } else { value }
    }
}

/// Replaces the variables in variables' values, each variable once.
struct Expansion<'v> {
    variables: &'v Variables,
    known: HashMap<&'v str, Vec<String>>,
    /// The variables whose values are being expanded, outermost first.
    expanding: Vec<&'v str>,
}

impl<'v> Expansion<'v> {
    /// The variable's values without variables, in the order of its assignments.
    fn values(&mut self, name: &str) -> Result<&[String], Unexpandable> {
        let Some((name, values)) = self.variables.values.get_key_value(name) else {
            return Err(Unexpandable::Undeclared(name.to_owned()));
        };
        if !self.known.contains_key(name.as_str()) {
            if self.expanding.contains(&name.as_str()) {
                return Err(Unexpandable::Recursive(name.clone()));
            }
            if self.expanding.len() == DEEPEST_REFERENCE {
                return Err(Unexpandable::TooLarge);
            }
            self.expanding.push(name);
            let mut expanded = Vec::new();
            for value in values {
                expanded.append(&mut self.texts(value)?);
                if expanded.len() > MOST_EXPANSIONS {
                    return Err(Unexpandable::TooLarge);
                }
            }
            self.expanding.pop();
            self.known.insert(name, expanded);
        }
        Ok(&self.known[name.as_str()])
    }

    /// Every text that `text` stands for once its variables are replaced.
    fn texts(&mut self, text: &str) -> Result<Vec<String>, Unexpandable> {
        let mut texts = vec![String::new()];
        for piece in pieces(text) {
            texts = match piece {
                Piece::Text(text) => {
                    append(&mut texts, text)?;
                    texts
                }
                Piece::Variable(name) => combine(&texts, self.values(name)?)?,
            };
        }
        Ok(texts)
    }
}

/// Every beginning with every end, as long as there are not too many and none is too long.
pub(super) fn combine(beginnings: &[String], ends: &[String]) -> Result<Vec<String>, Unexpandable> {
    if beginnings.len().saturating_mul(ends.len()) > MOST_EXPANSIONS {
        return Err(Unexpandable::TooLarge);
    }
    let mut combined = Vec::with_capacity(beginnings.len() * ends.len());
    for beginning in beginnings {
        for end in ends {
            if beginning.len() + end.len() > LONGEST_EXPANSION {
                return Err(Unexpandable::TooLarge);
            }
            combined.push([beginning.as_str(), end].concat());
        }
    }
    Ok(combined)
}

/// Every beginning with the one end, as long as none is too long.
pub(super) fn append(beginnings: &mut [String], end: &str) -> Result<(), Unexpandable> {
    for beginning in beginnings {
        if beginning.len() + end.len() > LONGEST_EXPANSION {
            return Err(Unexpandable::TooLarge);
        }
        beginning.push_str(end);
    }
    Ok(())
}

enum Piece<'t> {
    Text(&'t str),
    /// `@{NAME}`: the name.
    Variable(&'t str),
}

/// Splits a text at its variables; `\@{NAME}` is none.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find(['\\', '@']).map(|length| at + length) {
        let rest = &text[found..];
        let variable = rest.strip_prefix("@{").and_then(|rest| rest.split_once('}')).map(|(name, _)| name);
        match variable {
            Some(name) if is_name(name) => {
                if start < found {
                    pieces.push(Piece::Text(&text[start..found]));
                }
                pieces.push(Piece::Variable(name));
                start = found + name.len() + "@{}".len();
                at = start;
            }
            _ if rest.starts_with('\\') => at = found + 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            _ => at = found + 1,
        }
    }
    if start < text.len() {
        pieces.push(Piece::Text(&text[start..]));
    }
    pieces
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}
