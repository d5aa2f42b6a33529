//! Path patterns as the sets of paths that they match: whether two have a path in common, whether one covers another,
//! and whether one reaches what it does not name.
//!
//! A [`Glob`] is the finite automaton that apparmor_parser makes of a pattern (parser_regex.c,
//! convert_aaregex_to_pcre), over bytes and without the NUL byte, which no path has.
//!
//! **Invariant:** the answers are exact, but where a question outgrows its bound: then two patterns are taken to have a
//! path in common, and neither to cover the other.

use std::collections::{BTreeSet, HashSet};

use crate::syntax::{Unexpandable, Variables};

/// How many sets of states a question about covering may look at.
const MOST_SETS: usize = 20_000;

/// How many pairs of states the question whether two patterns meet may look at.
const MOST_PAIRS: usize = 320_000;

/// A set of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bytes([u64; 4]);

impl Bytes {
    const NONE: Self = Self([0; 4]);

    fn one(byte: u8) -> Self {
        let mut bytes = Self::NONE;
        bytes.insert(byte);
        bytes
    }

    /// Every byte of a path, NUL being none.
    fn any() -> Self {
        Self([!1, !0, !0, !0])
    }

    /// Every byte of a path's component.
    fn within_component() -> Self {
        let mut bytes = Self::any();
        bytes.remove(b'/');
        bytes
    }

    fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    fn remove(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] &= !(1 << (byte & 63));
    }

    fn has(self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] & 1 << (byte & 63) != 0
    }

    fn is_one(self) -> bool {
        self.0.iter().map(|word| word.count_ones()).sum::<u32>() == 1
    }

    fn meets(self, other: Self) -> bool {
        self.0.iter().zip(other.0).any(|(a, b)| a & b != 0)
    }

    fn complement(self) -> Self {
        let mut bytes = Self(self.0.map(|word| !word));
        bytes.remove(0);
        bytes
    }
}

#[derive(Debug, Clone, Default)]
struct State {
    /// States that are reached without a byte.
    free: Vec<usize>,
    /// The state that is reached by one of these bytes.
    step: Option<(Bytes, usize)>,
}

/// What in a pattern stands for more than itself; alternations stand for what is written in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wildcards {
    /// Nothing.
    None,
    /// Classes such as `[a-z]`, and nothing else.
    ClassesAlone,
    /// `*`, `**` or `?`.
    Some,
}

/// How many characters of a component with a wildcard must be written out before that, so that it is named. A component
/// without one is named.
#[derive(Debug, Clone, Copy)]
pub struct Letters {
    /// Of the first component below a directory.
    pub first: usize,
    /// Of the others.
    pub others: usize,
}

/// How far a walk below a directory has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    state: usize,
    /// Whether the present component is the first below the directory.
    is_first: bool,
    /// How many characters of the present component are written out, as long as no wildcard came.
    named: usize,
    /// Whether the present component has a wildcard.
    in_wildcard: bool,
    /// Whether any component has.
    has_wildcard: bool,
}

/// A set of paths.
#[derive(Debug, Clone)]
pub struct Glob {
    states: Vec<State>,
    end: usize,
}

impl Glob {
    /// The paths that `pattern` matches, with the variables as they are declared.
    ///
    /// The pattern is one that apparmor_parser accepts; where it is not, what it means is not defined.
    ///
    /// # Errors
    /// A variable is not declared, or stands for too much.
    pub fn new(pattern: &str, variables: &Variables) -> Result<Self, Unexpandable> {
        let expanded = variables.alternate_sorted(pattern)?;
        let mut builder = Builder::default();
        builder.read(&without_repeated_slashes(expanded.as_bytes()));
        Ok(builder.finish())
    }

    /// Whether there is a path that both match.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        let mut pairs = self.walk(other).enumerate();
        pairs.any(|(count, pair)| pair == (self.end, other.end) || count > MOST_PAIRS)
    }

    /// Whether it matches every path that `other` matches.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let letters = representatives(&[self, other]);
        let start = (other.closure([0]), self.closure([0]));
        let mut seen = HashSet::from([start.clone()]);
        let mut pending = vec![start];
        while let Some((theirs, mine)) = pending.pop() {
            if theirs.contains(&other.end) && !mine.contains(&self.end) || seen.len() > MOST_SETS {
                return false;
            }
            for letter in &letters {
                let next = (other.after(&theirs, *letter), self.after(&mine, *letter));
                if !next.0.is_empty() && seen.insert(next.clone()) {
                    pending.push(next);
                }
            }
        }
        true
    }

    /// What any of `globs` matches.
    #[must_use]
    pub fn union<'g>(globs: impl IntoIterator<Item = &'g Self>) -> Self {
        let (start, end) = (0, 1);
        let mut states = vec![State::default(), State::default()];
        for glob in globs {
            let first = states.len();
            states[start].free.push(first);
            states.extend(glob.states.iter().map(|state| State {
                free: state.free.iter().map(|next| next + first).collect(),
                step: state.step.map(|(bytes, next)| (bytes, next + first)),
            }));
            states[first + glob.end].free.push(end);
        }
        Self { states, end }
    }

    /// Whether everything that it matches begins with a slash.
    #[must_use]
    pub fn is_absolute(&self) -> bool {
        let start = self.closure([0]);
        let slash = Bytes::one(b'/');
        !start.contains(&self.end)
            && start.iter().filter_map(|state| self.states[*state].step).all(|(bytes, _)| bytes == slash)
    }

    /// Whether everything that it matches ends with a slash, as the names of directories do.
    #[must_use]
    pub fn is_of_directories(&self) -> bool {
        // What leads to the end without a byte, and so comes after the last one.
        let mut last = vec![false; self.states.len()];
        last[self.end] = true;
        while let Some(state) =
            (0..last.len()).find(|state| !last[*state] && self.states[*state].free.iter().any(|next| last[*next]))
        {
            last[state] = true;
        }
        let slash = Bytes::one(b'/');
        let steps = self.states.iter().filter_map(|state| state.step);
        !last[0] && steps.filter(|(_, next)| last[*next]).all(|(bytes, _)| bytes == slash)
    }

    /// What in it stands for more than itself.
    #[must_use]
    pub fn wildcards(&self) -> Wildcards {
        let steps = || self.states.iter().filter_map(|state| state.step).map(|(bytes, _)| bytes);
        if steps().all(Bytes::is_one) {
            Wildcards::None
        } else if steps().any(|bytes| bytes == Bytes::any() || bytes == Bytes::within_component()) {
            Wildcards::Some
        } else {
            Wildcards::ClassesAlone
        }
    }

    /// Whether it matches a path below `directory`, a pattern that ends with a slash, in which nothing is named: a part
    /// of it is left to wildcards, and no component of it is written out, or begins with as many characters as `letters`
    /// says that are.
    ///
    /// `/etc/*`, `/etc/[a-f]*`, `/etc/*.conf`, `/etc/??` and `/etc/*/*/**` have such paths below `/etc/`;
    /// `/etc/pg/**`, `/etc/app-*` and `/etc/*/nginx.conf` have none. Patterns that have none cannot take the directory
    /// as a whole together either, but with a wildcard for each of all beginnings of names.
    #[must_use]
    pub fn has_unnamed(&self, directory: &Self, letters: Letters) -> bool {
        let start = Place { state: 0, is_first: true, named: 0, in_wildcard: false, has_wildcard: false };
        let mut pending: Vec<Place> =
            self.after_all_of(directory).into_iter().map(|state| Place { state, ..start }).collect();
        let mut seen: HashSet<Place> = pending.iter().copied().collect();
        while let Some(at) = pending.pop() {
            let written_out = at.named > 0 && !at.in_wildcard;
            if at.state == self.end && at.has_wildcard && !written_out {
                return true;
            }
            let state = &self.states[at.state];
            let mut next: Vec<Place> = state.free.iter().map(|next| Place { state: *next, ..at }).collect();
            if let Some((bytes, to)) = state.step {
                let wild = !bytes.is_one();
                if bytes.has(b'/') && (wild || !written_out) {
                    let has_wildcard = at.has_wildcard || wild;
                    next.push(Place { state: to, is_first: false, named: 0, in_wildcard: false, has_wildcard });
                }
                if wild || at.in_wildcard && !bytes.has(b'/') {
                    next.push(Place { state: to, named: 0, in_wildcard: true, has_wildcard: true, ..at });
                } else if !bytes.has(b'/') && at.named + 1 < if at.is_first { letters.first } else { letters.others } {
                    next.push(Place { state: to, named: at.named + 1, ..at });
                }
            }
            pending.extend(next.into_iter().filter(|place| seen.insert(*place)));
        }
        false
    }

    /// The states that are reached by any path that `other` matches.
    fn after_all_of(&self, other: &Self) -> BTreeSet<usize> {
        self.walk(other).filter(|(_, theirs)| *theirs == other.end).map(|(mine, _)| mine).collect()
    }

    /// The pairs of states that both reach by the same bytes.
    fn walk<'g>(&'g self, other: &'g Self) -> impl Iterator<Item = (usize, usize)> + 'g {
        let mut seen = HashSet::from([(0, 0)]);
        let mut pending = vec![(0, 0)];
        std::iter::from_fn(move || {
            let (mine, theirs) = pending.pop()?;
            let (one, two) = (&self.states[mine], &other.states[theirs]);
            let free = one.free.iter().map(|next| (*next, theirs));
            let free = free.chain(two.free.iter().map(|next| (mine, *next)));
            let step = match (one.step, two.step) {
                (Some((a, one)), Some((b, two))) if a.meets(b) => Some((one, two)),
                _ => None,
            };
            pending.extend(free.chain(step).filter(|pair| seen.insert(*pair)));
            Some((mine, theirs))
        })
    }

    /// The states that are reached from `from` without a byte, these included, in order.
    fn closure(&self, from: impl IntoIterator<Item = usize>) -> Vec<usize> {
        let mut pending: Vec<usize> = from.into_iter().collect();
        let mut reached = vec![false; self.states.len()];
        while let Some(state) = pending.pop() {
            if !std::mem::replace(&mut reached[state], true) {
                pending.extend(&self.states[state].free);
            }
        }
        reached.iter().enumerate().filter(|(_, reached)| **reached).map(|(state, _)| state).collect()
    }

    fn after(&self, from: &[usize], byte: u8) -> Vec<usize> {
        let steps = from.iter().filter_map(|state| self.states[*state].step);
        self.closure(steps.filter(|(bytes, _)| bytes.has(byte)).map(|(_, next)| next))
    }
}

/// One byte of each class of bytes that none of the automata tells apart.
fn representatives(globs: &[&Glob]) -> Vec<u8> {
    let mut sets: Vec<Bytes> = Vec::new();
    for (bytes, _) in globs.iter().flat_map(|glob| &glob.states).filter_map(|state| state.step) {
        if !sets.contains(&bytes) {
            sets.push(bytes);
        }
    }
    let mut classes = HashSet::new();
    (1..=u8::MAX).filter(|byte| classes.insert(sets.iter().map(|set| set.has(*byte)).collect::<Vec<_>>())).collect()
}

/// The pattern as the parser takes it (parser_regex.c, filter_slashes).
fn without_repeated_slashes(pattern: &[u8]) -> Vec<u8> {
    let mut plain: Vec<u8> = Vec::with_capacity(pattern.len());
    for byte in pattern {
        if *byte != b'/' || plain.last() != Some(&b'/') {
            plain.push(*byte);
        }
    }
    plain
}

/// Makes an automaton of a pattern, from left to right.
struct Builder {
    states: Vec<State>,
    at: usize,
    /// For each open alternation the state that its alternatives leave from, and the one that they lead to.
    open: Vec<(usize, usize)>,
}

impl Default for Builder {
    fn default() -> Self {
        Self { states: vec![State::default()], at: 0, open: Vec::new() }
    }
}

impl Builder {
    fn read(&mut self, pattern: &[u8]) {
        let mut rest = pattern;
        let mut before = 0;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            match byte {
                b'\\' => {
                    if let Some((&escaped, after)) = rest.split_first() {
                        self.step(Bytes::one(escaped));
                        rest = after;
                    }
                }
                b'*' => {
                    // Alone between slashes, or at the end, a name is not empty.
                    let beyond = rest.iter().find(|byte| **byte != b'*');
                    if before == b'/' && matches!(beyond, None | Some(b'/')) {
                        self.step(Bytes::within_component());
                    }
                    match rest.strip_prefix(b"*") {
                        Some(after) => {
                            self.repeat(Bytes::any());
                            rest = after;
                        }
                        None => self.repeat(Bytes::within_component()),
                    }
                }
                b'?' => self.step(Bytes::within_component()),
                b'[' => {
                    let length = rest.iter().position(|byte| *byte == b']').unwrap_or(rest.len());
                    self.step(class(&rest[..length]));
                    rest = rest.get(length + 1..).unwrap_or_default();
                }
                b'{' => {
                    let to = self.add();
                    self.open.push((self.at, to));
                    self.alternative();
                }
                b',' if !self.open.is_empty() => {
                    self.close_alternative();
                    self.alternative();
                }
                b'}' if !self.open.is_empty() => {
                    self.close_alternative();
                    if let Some((_, to)) = self.open.pop() {
                        self.at = to;
                    }
                }
                byte => self.step(Bytes::one(byte)),
            }
            before = byte;
        }
    }

    fn finish(self) -> Glob {
        Glob { states: self.states, end: self.at }
    }

    fn add(&mut self) -> usize {
        self.states.push(State::default());
        self.states.len() - 1
    }

    fn step(&mut self, bytes: Bytes) {
        let next = self.add();
        self.states[self.at].step = Some((bytes, next));
        self.at = next;
    }

    /// Any number of `bytes`.
    fn repeat(&mut self, bytes: Bytes) {
        let (again, next) = (self.add(), self.add());
        self.states[self.at].free.push(again);
        self.states[again] = State { free: vec![next], step: Some((bytes, again)) };
        self.at = next;
    }

    fn alternative(&mut self) {
        let start = self.add();
        if let Some((from, _)) = self.open.last() {
            self.states[*from].free.push(start);
        }
        self.at = start;
    }

    fn close_alternative(&mut self) {
        if let Some((_, to)) = self.open.last() {
            self.states[self.at].free.push(*to);
        }
    }
}

/// The bytes of a character class, given what stands between its brackets.
fn class(text: &[u8]) -> Bytes {
    let (negated, mut rest) = match text.strip_prefix(b"^") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut bytes = Bytes::NONE;
    while let [first, after @ ..] = rest {
        match after {
            [b'-', last, after @ ..] => {
                (*first..=*last).for_each(|byte| bytes.insert(byte));
                rest = after;
            }
            _ => {
                bytes.insert(*first);
                rest = after;
            }
        }
    }
    if negated { bytes.complement() } else { bytes }
}

#[cfg(test)]
mod tests;
