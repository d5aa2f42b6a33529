//! What of an automaton matters when it is held against others: how it can still come to a match.

use super::Automaton;
use super::dfa::{DEAD, START, State};

/// An automaton, and what is worth knowing before it is walked.
pub(super) struct Sketch<'a> {
    pub(super) automaton: &'a Automaton,
    steps: Vec<Steps>,
    /// For each state, whether a match is still possible.
    live: Vec<bool>,
    /// For each state, which circles it is on: states that lead to each other have the same number.
    circles: Vec<usize>,
}

/// Where the bytes of a path lead from a state: to the dead state if no match is possible any more.
pub(super) struct Steps {
    /// Where most bytes lead.
    pub(super) most: State,
    /// The bytes that lead elsewhere. NUL is not among them: no path has it.
    pub(super) others: Vec<(u8, State)>,
}

impl<'a> Sketch<'a> {
    /// `None` if nothing matches.
    pub(super) fn new(automaton: &'a Automaton) -> Option<Self> {
        let mut steps: Vec<Steps> =
            automaton.dfa.transitions().into_iter().map(|(most, others)| Steps::new(most, others)).collect();
        let back = reversed(&steps);
        let mut live = vec![false; steps.len()];
        let mut reached: Vec<State> = (0..steps.len()).map(narrow).filter(|state| automaton.accepts(*state)).collect();
        while let Some(state) = reached.pop() {
            if !std::mem::replace(&mut live[index(state)], true) {
                reached.extend(&back[index(state)]);
            }
        }
        if !live[index(START)] {
            return None;
        }
        for steps in &mut steps {
            let others = std::mem::take(&mut steps.others);
            let alive = |state: State| if live[index(state)] { state } else { DEAD };
            let others = others.into_iter().map(|(byte, to)| (byte, alive(to))).collect();
            *steps = Steps::new(alive(steps.most), others);
        }
        let circles = circles(&steps);
        Some(Self { automaton, steps, live, circles })
    }

    /// Where each byte leads.
    pub(super) fn steps(&self, state: State) -> &Steps {
        &self.steps[index(state)]
    }

    /// Says whether a match is still possible.
    pub(super) fn is_live(&self, state: State) -> bool {
        self.live[index(state)]
    }

    /// Says whether two states lead to each other.
    pub(super) fn share_a_circle(&self, one: State, other: State) -> bool {
        self.circles[index(one)] == self.circles[index(other)]
    }
}

/// How many bytes there are but NUL.
pub(super) const BYTES: usize = 255;

impl Steps {
    fn new(most: State, mut others: Vec<(u8, State)>) -> Self {
        others.retain(|(_, to)| *to != most);
        if others.len() * 2 <= BYTES {
            return Self { most, others };
        }
        // The tables name the greater part of the bytes: what most of these lead to is the rule then.
        let mut row = [most; BYTES + 1];
        others.iter().for_each(|(byte, to)| row[usize::from(*byte)] = *to);
        let mut frequent = row[1..].to_vec();
        frequent.sort_unstable();
        let most = frequent.chunk_by(|one, other| one == other).max_by_key(|equal| equal.len());
        let most = most.and_then(|equal| equal.first()).copied().unwrap_or(DEAD);
        let others = (1..=u8::MAX).map(|byte| (byte, row[usize::from(byte)])).filter(|(_, to)| *to != most);
        Self { most, others: others.collect() }
    }

    /// Where the byte leads.
    pub(super) fn to(&self, byte: u8) -> State {
        self.others.iter().find(|(other, _)| *other == byte).map_or(self.most, |(_, to)| *to)
    }

    /// The states that any byte leads to; some more than once.
    fn targets(&self) -> impl Iterator<Item = State> + '_ {
        std::iter::once(self.most).chain(self.others.iter().map(|(_, to)| *to)).filter(|to| *to != DEAD)
    }
}

fn reversed(steps: &[Steps]) -> Vec<Vec<State>> {
    let mut back = vec![Vec::new(); steps.len()];
    for (from, steps) in steps.iter().enumerate() {
        steps.targets().for_each(|to| back[index(to)].push(narrow(from)));
    }
    back
}

/// Numbers the strongly connected parts (Kosaraju's algorithm).
fn circles(steps: &[Steps]) -> Vec<usize> {
    let mut order = Vec::new();
    let mut seen = vec![false; steps.len()];
    for start in 0..steps.len() {
        // `true` asks for what the state leads to first.
        let mut path = vec![(start, true)];
        while let Some((state, is_new)) = path.pop() {
            if !is_new {
                order.push(state);
            } else if !std::mem::replace(&mut seen[state], true) {
                path.push((state, false));
                path.extend(steps[state].targets().map(|to| (index(to), true)));
            }
        }
    }
    let back = reversed(steps);
    let mut circles = vec![usize::MAX; steps.len()];
    for (number, start) in order.into_iter().rev().enumerate() {
        let mut open = vec![start];
        while let Some(state) = open.pop() {
            if circles[state] == usize::MAX {
                circles[state] = number;
                open.extend(back[state].iter().map(|from| index(*from)));
            }
        }
    }
    circles
}

fn index(state: State) -> usize {
    usize::try_from(state).unwrap_or(usize::MAX)
}

fn narrow(state: usize) -> State {
    State::try_from(state).unwrap_or(DEAD)
}
