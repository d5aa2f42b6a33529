//! Reading a tree field by field: each value knows its place, and each refusal is recorded where it happens.
//!
//! **Invariant:** [`Refused`] is made only by recording a problem, so that whatever could not be read has a reason in
//! the answer. Reading goes on after a refusal; `?` comes only where nothing independent is left to check.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;

use serde_json::Number;

use super::tree::Value;
use crate::problem::{Problem, ProblemCode};
use crate::profile::is_unseen;

/// How many problems an answer lists; a generator gone wrong has as many as entries, and nobody reads more.
const MAX_PROBLEMS: usize = 10_000;

/// Proof that a problem was recorded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refused(());

/// What was read under a name, or refused.
pub(super) type Named<T> = (String, Result<T, Refused>);

/// The problems found so far, each with its place.
#[derive(Default)]
pub(super) struct Problems {
    found: Vec<(Vec<usize>, Problem)>,
    left_out: usize,
}

impl Problems {
    fn record(&mut self, place: &Place<'_>, code: ProblemCode, message: String, allowed: Option<String>) -> Refused {
        if self.found.len() < MAX_PROBLEMS {
            self.found.push((place.order(), Problem { pointer: place.pointer(), code, message, allowed }));
        } else {
            self.left_out += 1;
        }
        Refused(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The problems in the order of their places, an object's own before those of its fields.
    ///
    /// Of a document of another version, fields that are unknown or missing here say nothing: they are left out.
    pub(super) fn into_answer(mut self) -> Vec<Problem> {
        if self.found.iter().any(|(_, problem)| problem.code == ProblemCode::UnknownVersion) {
            self.found.retain(|(_, p)| !matches!(p.code, ProblemCode::UnknownField | ProblemCode::Missing));
        }
        self.found.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut answer: Vec<_> = self.found.into_iter().map(|(_, problem)| problem).collect();
        if self.left_out > 0 {
            let message = format!("{} more problems are not listed", self.left_out);
            answer.push(Problem::new("", ProblemCode::TooLarge, message).allowed(format!("{MAX_PROBLEMS} are listed")));
        }
        answer
    }
}

/// Where a value stands: a chain to the root, so that pointers cost nothing until there is a problem.
#[derive(Clone, Copy)]
pub(super) struct Place<'p> {
    parent: Option<&'p Place<'p>>,
    /// The key in the parent, if that is an object.
    key: Option<&'p str>,
    /// The number of the entry in the parent.
    index: usize,
}

impl<'p> Place<'p> {
    const ROOT: Self = Self { parent: None, key: None, index: 0 };

    /// The numbers of the entries from the root down: they compare as the places do in the document.
    fn order(&self) -> Vec<usize> {
        let Some(parent) = self.parent else { return Vec::new() };
        let mut order = parent.order();
        order.push(self.index);
        order
    }

    /// The JSON pointer (RFC 6901).
    fn pointer(&self) -> String {
        let Some(parent) = self.parent else { return String::new() };
        let pointer = parent.pointer();
        match self.key {
            Some(key) => pointer + "/" + &key.replace('~', "~0").replace('/', "~1"),
            None => format!("{pointer}/{}", self.index),
        }
    }
}

/// A place, and where to record its problems.
pub(super) struct Site<'n> {
    place: Place<'n>,
    problems: &'n mut Problems,
}

impl Site<'_> {
    /// Records a problem of the value that stands here.
    pub(super) fn refuse(&mut self, code: ProblemCode, message: impl Into<String>, allowed: &str) -> Refused {
        self.problems.record(&self.place, code, message.into(), Some(allowed.to_owned()))
    }

    fn wrong_type(&mut self, found: &Value<'_>, wanted: &str) -> Refused {
        self.refuse(ProblemCode::WrongType, format!("this is {}", found.kind()), wanted)
    }
}

/// A value at its place.
pub(super) struct Node<'n, 'a> {
    value: Value<'a>,
    site: Site<'n>,
}

impl<'n, 'a> Node<'n, 'a> {
    pub(super) fn root(value: Value<'a>, problems: &'n mut Problems) -> Self {
        Self { value, site: Site { place: Place::ROOT, problems } }
    }

    pub(super) fn pointer(&self) -> String {
        self.site.place.pointer()
    }

    pub(super) fn value(&self) -> &Value<'a> {
        &self.value
    }

    /// The key that this value has in its object, if it passes `check`; `what` names it in the refusal.
    pub(super) fn key_checked<T, E: std::fmt::Display>(
        &mut self,
        key: &str,
        what: &str,
        check: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, Refused> {
        check(key).map_err(|rule| {
            let message = format!("the key {} is not {what}", shown(key));
            self.site.refuse(ProblemCode::BadValue, message, &rule.to_string())
        })
    }

    pub(super) fn boolean(mut self) -> Result<bool, Refused> {
        match self.value {
            Value::Bool(value) => Ok(value),
            other => Err(self.site.wrong_type(&other, "true or false")),
        }
    }

    pub(super) fn number(mut self) -> Result<(Number, Site<'n>), Refused> {
        match self.value {
            Value::Number(number) => Ok((number, self.site)),
            other => Err(self.site.wrong_type(&other, "a number")),
        }
    }

    pub(super) fn text(mut self) -> Result<(Cow<'a, str>, Site<'n>), Refused> {
        match self.value {
            Value::String(text) => Ok((text, self.site)),
            other => Err(self.site.wrong_type(&other, "a string")),
        }
    }

    /// A text that passes `check`; `what` names it in the refusal.
    pub(super) fn checked<T, E: std::fmt::Display>(
        self,
        what: &str,
        check: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, Refused> {
        let (text, mut site) = self.text()?;
        check(&text).map_err(|rule| {
            let message = format!("{} is not {what}", shown(&text));
            site.refuse(ProblemCode::BadValue, message, &rule.to_string())
        })
    }

    /// One of the words of `T`.
    pub(super) fn word<T: Word>(self) -> Result<T, Refused> {
        let (text, mut site) = self.text()?;
        if let Some((_, value)) = T::WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(*value);
        }
        Err(site.refuse(ProblemCode::BadValue, format!("{} is not known here", shown(&text)), &words_of::<T>()))
    }

    /// Reads every element of an array of at most `most`, the ones after a refused one too.
    pub(super) fn each<T>(
        mut self,
        most: usize,
        mut read: impl FnMut(Node<'_, 'a>) -> Result<T, Refused>,
    ) -> Result<Vec<T>, Refused> {
        let elements = match self.value {
            Value::Array(elements) => elements,
            other => return Err(self.site.wrong_type(&other, "an array")),
        };
        if elements.len() > most {
            let message = format!("this array has {} elements", elements.len());
            return Err(self.site.refuse(ProblemCode::TooLarge, message, &format!("at most {most}")));
        }
        let mut results = Ok(Vec::with_capacity(elements.len()));
        for (index, value) in elements.into_iter().enumerate() {
            let place = Place { parent: Some(&self.site.place), key: None, index };
            match (read(Node { value, site: Site { place, problems: self.site.problems } }), &mut results) {
                (Ok(value), Ok(values)) => values.push(value),
                (Err(refused), _) => results = Err(refused),
                (Ok(_), Err(_)) => {}
            }
        }
        results
    }

    /// Reads every value of an object of at most `most` whose keys are names, each with its name.
    pub(super) fn entries<T>(
        mut self,
        most: usize,
        mut read: impl FnMut(&str, Node<'_, 'a>) -> Result<T, Refused>,
    ) -> Result<Vec<Named<T>>, Refused> {
        let entries = match self.value {
            Value::Object(entries) => entries,
            other => return Err(self.site.wrong_type(&other, "an object")),
        };
        if entries.len() > most {
            let message = format!("this object has {} keys", entries.len());
            return Err(self.site.refuse(ProblemCode::TooLarge, message, &format!("at most {most}")));
        }
        let mut known = HashSet::new();
        let mut results = Vec::with_capacity(entries.len());
        for (index, (key, value)) in entries.into_iter().enumerate() {
            let place = Place { parent: Some(&self.site.place), key: Some(&key), index };
            let mut site = Site { place, problems: self.site.problems };
            let result = if known.insert(key.to_string()) {
                read(&key, Node { value, site })
            } else {
                Err(site.refuse(ProblemCode::DuplicateKey, twice(&key), EVERY_KEY_ONCE))
            };
            results.push((key.into_owned(), result));
        }
        Ok(results)
    }

    /// Reads an object through `read`; what `read` does not ask for is then refused as unknown.
    pub(super) fn object<T>(
        mut self,
        read: impl FnOnce(&mut Fields<'_, 'a>) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let entries = match self.value {
            Value::Object(entries) => entries,
            other => return Err(self.site.wrong_type(&other, "an object")),
        };
        let entries = entries.into_iter().map(|(key, value)| (key, Some(value))).collect();
        let mut fields = Fields { entries, asked: Vec::with_capacity(12), site: self.site };
        let result = read(&mut fields);
        fields.refuse_left();
        result
    }
}

/// A type whose values are written as words.
pub(super) trait Word: Copy + 'static {
    const WORDS: &'static [(&'static str, Self)];
}

/// The words of `T`, listed.
pub(super) fn words_of<T: Word>() -> String {
    listed(&T::WORDS.iter().map(|(word, _)| *word).collect::<Vec<_>>())
}

/// The fields of an object, taken one by one.
pub(super) struct Fields<'n, 'a> {
    /// A value that was taken leaves `None`.
    entries: Vec<(Cow<'a, str>, Option<Value<'a>>)>,
    asked: Vec<&'static str>,
    site: Site<'n>,
}

impl<'a> Fields<'_, 'a> {
    /// Whether the object has the field, taken or not.
    pub(super) fn has(&self, name: &str) -> bool {
        self.index(name).is_some()
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.entries.iter().position(|(key, _)| key == name)
    }

    /// Takes a field.
    pub(super) fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Node<'_, 'a>) -> Result<T, Refused>,
    ) -> Result<Option<T>, Refused> {
        self.asked.push(name);
        let Some(index) = self.index(name) else { return Ok(None) };
        let Some(value) = self.entries[index].1.take() else { return Ok(None) };
        let place = Place { parent: Some(&self.site.place), key: Some(name), index };
        read(Node { value, site: Site { place, problems: self.site.problems } }).map(Some)
    }

    /// Takes a field that must be there; `allowed` says what it holds.
    pub(super) fn required<T>(
        &mut self,
        name: &'static str,
        allowed: &str,
        read: impl FnOnce(Node<'_, 'a>) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let value = self.optional(name, read)?;
        value.ok_or_else(|| self.lacks(name, allowed))
    }

    fn missing(&mut self, message: String, allowed: &str) -> Refused {
        self.site.refuse(ProblemCode::Missing, message, allowed)
    }

    /// Refuses an object because what it says needs the field `name`.
    pub(super) fn lacks(&mut self, name: &str, allowed: &str) -> Refused {
        self.missing(format!("`{name}` is missing"), &format!("`{name}`: {allowed}"))
    }

    /// Takes a field whose value is one of the words of `T`.
    pub(super) fn word<T: Word>(&mut self, name: &'static str) -> Result<Option<T>, Refused> {
        self.optional(name, |node| node.word())
    }

    /// Records a problem of the field `name`, or of the object where it has no such field.
    pub(super) fn refuse(&mut self, name: &str, code: ProblemCode, message: String, allowed: &str) -> Refused {
        let field = self.index(name).map(|index| Place { parent: Some(&self.site.place), key: Some(name), index });
        self.site.problems.record(field.as_ref().unwrap_or(&self.site.place), code, message, Some(allowed.to_owned()))
    }

    /// Refuses each of `names` that the object has; `with` says what they do not go with.
    pub(super) fn exclude(&mut self, names: &[&str], with: &str, allowed: &str) {
        for name in names {
            if self.has(name) {
                let message = format!("`{name}` does not go with {with}");
                self.refuse(name, ProblemCode::Conflict, message, allowed);
            }
        }
    }

    /// Refuses all but the first, in the document's order, of the `names` that the object has.
    pub(super) fn at_most_one(&mut self, names: &[&str]) {
        let mut present: Vec<&str> = names.iter().copied().filter(|name| self.has(name)).collect();
        present.sort_by_key(|name| self.index(name));
        if let [first, _, ..] = present[..] {
            self.exclude(&present[1..], &format!("`{first}`"), &listed(names));
        }
    }

    /// Refuses an object because it has none of `names`.
    pub(super) fn none_of(&mut self, names: &[&str]) -> Refused {
        self.missing("this entry does not say what should be there".to_owned(), &listed(names))
    }

    /// Refuses what was not taken: second values of a key, and fields that nobody asked for.
    fn refuse_left(&mut self) {
        let mut unknown = HashSet::new();
        for (index, (key, _)) in self.entries.iter().enumerate().filter(|(_, (_, value))| value.is_some()) {
            let place = Place { parent: Some(&self.site.place), key: Some(key), index };
            let (code, message, allowed) = if self.asked.contains(&key.as_ref()) || !unknown.insert(key.as_ref()) {
                (ProblemCode::DuplicateKey, twice(key), EVERY_KEY_ONCE.to_owned())
            } else {
                (ProblemCode::UnknownField, unknown_field(key, &self.asked), listed(&self.asked))
            };
            self.site.problems.record(&place, code, message, Some(allowed));
        }
    }
}

const EVERY_KEY_ONCE: &str = "every key once";

fn twice(key: &str) -> String {
    format!("the key {} stands in this object more than once", shown(key))
}

fn unknown_field(key: &str, known: &[&str]) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let advice = match nearest(key, known) {
        Some(name) => format!("did you mean `{name}`?"),
        None => "a newer aa-converge may know it".to_owned(),
    };
    format!("aa-converge {version} does not know the field {} here; {advice}", shown(key))
}

/// `word` in quotes for a message: without control characters, and cut where it gets long.
pub(super) fn shown(word: &str) -> String {
    const MOST: usize = 60;
    let mut shown = String::from("`");
    for c in word.chars().take(MOST) {
        if is_unseen(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    if word.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown + "`"
}

/// `one of a, b, c`.
pub(super) fn listed(words: &[&str]) -> String {
    let mut list = String::from("one of ");
    for (at, word) in words.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(list, "{}`{word}`", if at == 0 { "" } else { ", " });
    }
    list
}

/// The name that `key` is most likely a slip of the pen for: at most two edits away, and at most a third of it.
fn nearest<'n>(key: &str, names: &[&'n str]) -> Option<&'n str> {
    let near = |name: &&&str| name.len().abs_diff(key.len()) <= 2;
    let (edits, name) = names.iter().filter(near).map(|name| (edits(key, name), *name)).min()?;
    (edits <= 2 && edits * 3 <= name.len()).then_some(name)
}

/// The Levenshtein distance.
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in to.chars().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}
