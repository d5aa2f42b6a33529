//! Path patterns as the sets of paths that they match: whether two have a path in common, whether one covers another,
//! and how much of a directory one takes.
//!
//! A [`Glob`] is the finite automaton that apparmor_parser makes of a pattern (parser_regex.c,
//! convert_aaregex_to_pcre), over bytes and without the NUL byte, which no path has.
//!
//! **Invariant:** the answers are exact, but where an automaton outgrows its bound: then two patterns are taken to have
//! a path in common, neither to cover the other, and a pattern to take all of a directory.

use std::collections::{BTreeMap, HashSet};

use crate::syntax::{Unexpandable, Variables};

/// How many sets of states one question may look at.
const MOST_SETS: usize = 20_000;

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
        let mut seen = HashSet::from([(0, 0)]);
        let mut pending = vec![(0, 0)];
        while let Some((mine, theirs)) = pending.pop() {
            if (mine, theirs) == (self.end, other.end) || seen.len() > MOST_SETS * 16 {
                return true;
            }
            let (one, two) = (&self.states[mine], &other.states[theirs]);
            let free = one.free.iter().map(|next| (*next, theirs));
            let free = free.chain(two.free.iter().map(|next| (mine, *next)));
            let step = match (one.step, two.step) {
                (Some((a, one)), Some((b, two))) if a.meets(b) => Some((one, two)),
                _ => None,
            };
            pending.extend(free.chain(step).filter(|pair| seen.insert(*pair)));
        }
        false
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

    /// The share of names in `directory` that it takes, from 0 to 1: of all names of small letters that have one
    /// length, how many it matches, or takes as much of what is below them; for the length where these are most.
    ///
    /// `/etc/**` takes all of `/etc`, `/etc/[a-m]*` half, `/etc/nginx/**` and `/etc/*.conf` next to nothing; `/*/**` and
    /// `/v*/**` take all of `/var`, and `@{HOME}/**` all of `/home`.
    #[must_use]
    pub fn share_of(&self, directory: &str) -> f64 {
        let mut at = self.closure([0]);
        for byte in directory.trim_end_matches('/').bytes().chain([b'/']) {
            at = self.after(&at, byte);
        }
        self.share_below(&at, 2)
    }

    /// The share that is taken from the states `at`, just after a slash, looking at names `depth` deep.
    fn share_below(&self, at: &[usize], depth: usize) -> f64 {
        const LETTERS: std::ops::RangeInclusive<u8> = b'a'..=b'z';
        const LENGTHS: std::ops::RangeInclusive<usize> = 3..=12;
        let mut most: f64 = 0.0;
        let mut reached = BTreeMap::from([(at.to_vec(), 1.0)]);
        let mut below = BTreeMap::new();
        for length in 1..=*LENGTHS.end() {
            let mut next = BTreeMap::new();
            for (states, share) in reached {
                for letter in LETTERS {
                    let after = self.after(&states, letter);
                    if !after.is_empty() {
                        *next.entry(after).or_insert(0.0) += share / 26.0;
                    }
                }
            }
            reached = next;
            if reached.len() > MOST_SETS / 100 {
                return 1.0;
            }
            if LENGTHS.contains(&length) {
                let taken = reached.iter().map(|(states, share)| {
                    let part = below.entry(states.clone()).or_insert_with(|| {
                        let within = self.after(states, b'/');
                        if states.contains(&self.end) || within.contains(&self.end) {
                            1.0
                        } else if depth > 1 && !within.is_empty() {
                            self.share_below(&within, depth - 1)
                        } else {
                            0.0
                        }
                    });
                    share * *part
                });
                most = most.max(taken.sum());
            }
        }
        most
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
