//! Profiles between which the kernel cannot choose, so that it runs an executable unconfined.
//!
//! Two automata are walked side by side over all paths at once, together with how far the kernel has counted in each,
//! until a path is found that both match equally well. **Decided exactly** is whether there is such a path, with its
//! components neither empty nor `.` nor `..`, which no third of the profiles at hand matches better, so that it would
//! get the executable. **Not decided** is: what conditions on extended attributes change, pairs whose search would take
//! more than [`MOST_NODES`] steps (both are told), and attachments that are differentially encoded (no kernel asks the
//! parser for that, and the kernel's counting does not know it). Whether the file exists, and whether its name is short
//! enough for the file system, is not asked; nor whether a component of the path is a link, which no executable's is.

use std::collections::{HashSet, VecDeque};

use super::choice::{Verdict, chosen};
use super::dfa::DEAD;
use super::meeting;
use super::sketch::Sketch;
use super::{Attachment, LeftMatch, Walk};

/// After so many steps a search is given up.
const MOST_NODES: usize = 50_000;

/// Two profiles that match an executable equally well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict<T> {
    /// The two.
    pub profiles: (T, T),
    /// A path for which the kernel takes neither.
    pub path: Vec<u8>,
}

/// What [`conflicts`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflicts<T> {
    /// The pairs between which the kernel cannot choose.
    pub found: Vec<Conflict<T>>,
    /// The pairs that match a path both and for which it is not decided whether equally well.
    pub undecided: Vec<(T, T)>,
}

/// Finds the pairs of profiles, at least one of them in `changed`, that match some executable equally well **whichever**
/// of `kernels` runs. All are of one namespace and have different names.
///
/// All automata are walked at once to find the pairs that match a path both; only these are searched. Measured on one
/// core with 2,000 profiles, one or all of them changed: 40 ms; with 8,000 pairs of them that overlap: 2.5 s.
#[must_use]
pub fn conflicts<T: Copy>(
    changed: &[(T, &Attachment)],
    others: &[(T, &Attachment)],
    kernels: &[LeftMatch],
) -> Conflicts<T> {
    let all = || changed.iter().chain(others);
    let field = Field { runners: all().map(|(_, attachment)| Runner::new(attachment)).collect(), kernels };
    let profiles: Vec<T> = all().map(|(profile, _)| *profile).collect();
    let mut told = Conflicts { found: Vec::new(), undecided: Vec::new() };
    for (one, other) in meeting::pairs(&field.sketches(), changed.len()) {
        let pair = (profiles[one], profiles[other]);
        match field.path_without_owner(one, other) {
            Outcome::Path(path) => told.found.push(Conflict { profiles: pair, path }),
            Outcome::NoPath => {}
            Outcome::Undecided => told.undecided.push(pair),
        }
    }
    // What is remembered as few paths has no automaton to walk: each path is tried.
    let candidates = || all().map(|(_, attachment)| *attachment).enumerate();
    let mut settled = HashSet::new();
    for (other, attachment) in candidates() {
        let Attachment::Paths(paths) = attachment else { continue };
        for path in paths.iter().map(|(path, _)| path.as_bytes()) {
            // No executable has such a path.
            if path.iter().try_fold(Shape::Nothing, |shape, byte| shape.step(*byte)) != Some(Shape::Name) {
                continue;
            }
            let matching: Vec<_> = candidates().filter(|(_, attachment)| attachment.is_for(path)).collect();
            for (one, _) in matching.iter().take_while(|(at, _)| *at < changed.len()) {
                if settled.contains(&(*one, other)) {
                    continue;
                }
                let pair = (profiles[*one], profiles[other]);
                match tried(&matching, [*one, other], path, kernels) {
                    Outcome::Path(path) => told.found.push(Conflict { profiles: pair, path }),
                    Outcome::NoPath => continue,
                    Outcome::Undecided => told.undecided.push(pair),
                }
                settled.insert((*one, other));
            }
        }
    }
    told
}

/// Whether every kernel finds the pair equal for this path, among all attachments that match it.
fn tried(matching: &[(usize, &Attachment)], pair: [usize; 2], path: &[u8], kernels: &[LeftMatch]) -> Outcome {
    let verdicts = kernels.iter().map(|kernel| chosen(matching.iter().copied(), path, *kernel));
    let verdicts: Vec<Verdict<usize>> = verdicts.collect();
    let is_equal = |verdict: &Verdict<usize>| match verdict {
        Verdict::Conflict(equals) => pair.iter().all(|at| equals.contains(at)),
        _ => false,
    };
    let is_unsure = |verdict: &Verdict<usize>| matches!(verdict, Verdict::Unsure(unsure) if unsure.contains(&pair[0]));
    if verdicts.iter().all(is_equal) {
        Outcome::Path(path.to_vec())
    } else if verdicts.iter().any(is_unsure) {
        Outcome::Undecided
    } else {
        Outcome::NoPath
    }
}

/// What is walked over paths.
enum Runner<'a> {
    Name(&'a [u8]),
    Automaton(Sketch<'a>),
    /// What matches nothing, or is not compared.
    None,
}

impl<'a> Runner<'a> {
    fn new(attachment: &'a Attachment) -> Self {
        match attachment {
            Attachment::Name(name) => Self::Name(name.as_bytes()),
            Attachment::Automaton(automaton) if automaton.dfa.is_differential() => Self::None,
            Attachment::Automaton(automaton) => Sketch::new(automaton).map_or(Self::None, Self::Automaton),
            Attachment::Paths(_) => Self::None,
        }
    }
}

enum Outcome {
    Path(Vec<u8>),
    NoPath,
    Undecided,
}

/// All profiles that the kernel chooses between.
struct Field<'a> {
    runners: Vec<Runner<'a>>,
    kernels: &'a [LeftMatch],
}

impl<'a> Field<'a> {
    fn sketches(&self) -> Vec<Option<&Sketch<'a>>> {
        let sketches = self.runners.iter().map(|runner| match runner {
            Runner::Automaton(sketch) => Some(sketch),
            Runner::Name(_) | Runner::None => None,
        });
        sketches.collect()
    }

    /// Looks for a path that both match equally well and nothing else better. A third that matches the path found better
    /// joins the search, which begins anew.
    fn path_without_owner(&self, one: usize, other: usize) -> Outcome {
        let (Runner::Automaton(first), Runner::Automaton(second)) = (&self.runners[one], &self.runners[other]) else {
            return Outcome::NoPath;
        };
        if first.automaton.xattrs > 0 || second.automaton.xattrs > 0 {
            return Outcome::Undecided;
        }
        let mut search = Search { pair: [first, second], owners: Vec::new(), kernels: self.kernels };
        let mut joined = HashSet::from([one, other]);
        loop {
            let path = match search.run() {
                Outcome::Path(path) => path,
                nothing => return nothing,
            };
            let before = joined.len();
            for (at, runner) in self.runners.iter().enumerate() {
                if !joined.contains(&at) && search.is_better(runner, &path) {
                    joined.insert(at);
                    search.owners.push(runner);
                }
            }
            if joined.len() == before {
                return Outcome::Path(path);
            }
        }
    }
}

/// The search for one pair.
struct Search<'s, 'a> {
    pair: [&'s Sketch<'a>; 2],
    /// Profiles that get some executables of both.
    owners: Vec<&'s Runner<'a>>,
    kernels: &'s [LeftMatch],
}

/// Where all are after the same bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Node {
    shape: Shape,
    /// Of each of the pair, what each kernel sees.
    pair: [Vec<Walk>; 2],
    owners: Vec<Place>,
}

/// Where a profile is that might get an executable.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Place {
    Walks(Vec<Walk>),
    /// So many bytes of the name are there.
    Name(usize),
    /// No match any more.
    Out,
}

/// What the last component of a path is so far.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Shape {
    /// There is none: not even the first slash.
    Nothing,
    Empty,
    Dot,
    DotDot,
    Name,
}

impl Shape {
    /// `None` if no executable has such a path.
    fn step(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Nothing | Self::Name, b'/') => Some(Self::Empty),
            (Self::Nothing, _) | (_, b'/') => None,
            (Self::Empty, b'.') => Some(Self::Dot),
            (Self::Dot, b'.') => Some(Self::DotDot),
            _ => Some(Self::Name),
        }
    }
}

impl Search<'_, '_> {
    /// Looks for the shortest path of all.
    fn run(&self) -> Outcome {
        let start = Node {
            shape: Shape::Nothing,
            pair: [self.start(), self.start()],
            owners: self.owners.iter().map(|owner| self.start_of(owner)).collect(),
        };
        let mut seen = HashSet::from([start.clone()]);
        // Each node with the one before it and the byte between.
        let mut nodes = vec![(start.clone(), 0, 0)];
        let mut open = VecDeque::from([(start, 0)]);
        while let Some((node, at)) = open.pop_front() {
            for byte in self.bytes(&node) {
                let Some(next) = self.step(&node, byte) else { continue };
                if !seen.insert(next.clone()) {
                    continue;
                }
                if nodes.len() == MOST_NODES {
                    return Outcome::Undecided;
                }
                let has_no_owner = self.has_no_owner(&next);
                nodes.push((next.clone(), at, byte));
                if has_no_owner {
                    return Outcome::Path(path_to(&nodes, nodes.len() - 1));
                }
                open.push_back((next, nodes.len() - 1));
            }
        }
        Outcome::NoPath
    }

    /// Bytes that stand for all: those that are special to any, and one, the best to read, for the others.
    fn bytes(&self, node: &Node) -> Vec<u8> {
        let mut bytes = vec![b'/', b'.'];
        let mut add = |sketch: &Sketch<'_>, walks: &[Walk]| {
            let state = walks.first().map_or(DEAD, Walk::state);
            bytes.extend(sketch.steps(state).others.iter().map(|(byte, _)| *byte));
        };
        self.pair.iter().zip(&node.pair).for_each(|(sketch, walks)| add(sketch, walks));
        for (owner, place) in self.owners.iter().zip(&node.owners) {
            if let (Runner::Automaton(sketch), Place::Walks(walks)) = (owner, place) {
                add(sketch, walks);
            }
        }
        for (owner, place) in self.owners.iter().zip(&node.owners) {
            if let (Runner::Name(name), Place::Name(there)) = (owner, place) {
                bytes.extend(name.get(*there));
            }
        }
        bytes.sort_unstable();
        bytes.dedup();
        let readable = (b'a'..=b'z').chain(b'0'..=b'9').chain(b'!'..=b'~').chain(1..=u8::MAX);
        let other = readable.into_iter().find(|byte| bytes.binary_search(byte).is_err());
        bytes.extend(other);
        bytes
    }

    fn start(&self) -> Vec<Walk> {
        self.kernels.iter().map(|_| Walk::new()).collect()
    }

    fn start_of(&self, owner: &Runner<'_>) -> Place {
        match owner {
            Runner::Name(_) => Place::Name(0),
            Runner::Automaton(_) => Place::Walks(self.start()),
            Runner::None => Place::Out,
        }
    }

    fn step(&self, node: &Node, byte: u8) -> Option<Node> {
        let shape = node.shape.step(byte)?;
        let [one, other] = &node.pair;
        let pair = [self.walk(self.pair[0], one, byte)?, self.walk(self.pair[1], other, byte)?];
        let owners = self.owners.iter().zip(&node.owners).map(|(owner, place)| self.follow(owner, place, byte));
        Some(Node { shape, pair, owners: owners.collect() })
    }

    fn follow(&self, owner: &Runner<'_>, place: &Place, byte: u8) -> Place {
        match (owner, place) {
            (Runner::Name(name), Place::Name(there)) if name.get(*there) == Some(&byte) => Place::Name(there + 1),
            (Runner::Automaton(sketch), Place::Walks(walks)) => {
                self.walk(sketch, walks, byte).map_or(Place::Out, Place::Walks)
            }
            _ => Place::Out,
        }
    }

    /// `None` if nothing can match any more. Of the history is kept what the walk can still come back to, so that
    /// walks which differ in the rest alone are one.
    fn walk(&self, sketch: &Sketch<'_>, walks: &[Walk], byte: u8) -> Option<Vec<Walk>> {
        let step = |(walk, counting): (&Walk, &LeftMatch)| {
            let mut walk = walk.clone();
            walk.step(sketch.automaton, byte, *counting);
            let state = walk.state();
            if let Walk::Counting { bytes, history } = &mut walk {
                let last = *bytes;
                history.retain(|(at, earlier)| {
                    *at == last || at + super::HISTORY >= last && sketch.share_a_circle(*earlier, state)
                });
            }
            sketch.is_live(state).then_some(walk)
        };
        walks.iter().zip(self.kernels).map(step).collect()
    }

    /// Says whether the kernel finds the pair equal here and no owner better, whichever of the kernels it is.
    fn has_no_owner(&self, node: &Node) -> bool {
        let matched = self.pair.iter().zip(&node.pair).all(|(sketch, walks)| accepts(sketch, walks));
        matched
            && node.shape == Shape::Name
            && (0..self.kernels.len()).all(|kernel| {
                let [(one, one_least), (other, other_least)] = self.counts(&node.pair, kernel);
                (one == other_least || other == one_least)
                    && !self
                        .owners
                        .iter()
                        .zip(&node.owners)
                        .any(|(owner, place)| is_above(owner, place, kernel, one_least.max(other_least)))
            })
    }

    /// For each of the pair, its count, and what another has to exceed to win over it.
    fn counts(&self, pair: &[Vec<Walk>; 2], kernel: usize) -> [(u32, u32); 2] {
        let count = |at: usize| {
            let count = pair[at].get(kernel).map_or(0, Walk::count);
            (count, count.max(self.pair[at].automaton.shortest))
        };
        [count(0), count(1)]
    }

    /// Says whether a third gets the executable at `path` instead of the pair, in the eyes of one of the kernels.
    fn is_better(&self, third: &Runner<'_>, path: &[u8]) -> bool {
        let mut pair = [self.start(), self.start()];
        let mut place = self.start_of(third);
        for byte in path {
            for (sketch, walks) in self.pair.iter().zip(&mut pair) {
                *walks = self.walk(sketch, walks, *byte).unwrap_or_default();
            }
            place = self.follow(third, &place, *byte);
        }
        (0..self.kernels.len()).any(|kernel| {
            let [(_, one), (_, other)] = self.counts(&pair, kernel);
            is_above(third, &place, kernel, one.max(other))
        })
    }
}

fn accepts(sketch: &Sketch<'_>, walks: &[Walk]) -> bool {
    walks.iter().all(|walk| sketch.automaton.accepts(walk.state()))
}

/// Says whether a profile matches better than `count`. One with conditions on extended attributes may not match at all.
fn is_above(runner: &Runner<'_>, place: &Place, kernel: usize, count: u32) -> bool {
    match (runner, place) {
        (Runner::Name(name), Place::Name(there)) => *there == name.len(),
        (Runner::Automaton(sketch), Place::Walks(walks)) => {
            sketch.automaton.xattrs == 0
                && accepts(sketch, walks)
                && walks.get(kernel).is_some_and(|walk| walk.count() > count)
        }
        _ => false,
    }
}

fn path_to(nodes: &[(Node, usize, u8)], mut at: usize) -> Vec<u8> {
    let mut path = Vec::new();
    while at > 0 {
        let (_, before, byte) = &nodes[at];
        path.push(*byte);
        at = *before;
    }
    path.reverse();
    path
}
