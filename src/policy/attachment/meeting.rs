//! Which of many automata match a string both, without a look at each pair: all are walked at once, and those that most
//! strings tell apart soon part ways. What begins with `**` stays in every company, and is what makes it slow.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::dfa::{DEAD, START, State};
use super::sketch::{BYTES, Sketch};

/// After so many steps, counted for each automaton, the pairs that are left are looked at one by one.
const MOST_STEPS: usize = 20_000_000;

/// The automata that are alive after the same bytes, and where they are.
type Company = Vec<(usize, State)>;

/// The pairs of `sketches`, told by their places, that match a string both: those of which one is among the first
/// `changed`.
pub(super) fn pairs(sketches: &[Option<&Sketch<'_>>], changed: usize) -> BTreeSet<(usize, usize)> {
    pairs_within(MOST_STEPS, sketches, changed)
}

fn pairs_within(limit: usize, sketches: &[Option<&Sketch<'_>>], changed: usize) -> BTreeSet<(usize, usize)> {
    let start: Company =
        sketches.iter().enumerate().filter(|(_, sketch)| sketch.is_some()).map(|(at, _)| (at, START)).collect();
    let mut walk = Together { sketches, changed, met: BTreeSet::new() };
    if walk.run(start.clone(), limit).is_none() {
        for (at, one) in start.iter().enumerate().take_while(|(_, one)| one.0 < changed) {
            for other in &start[at + 1..] {
                if !walk.met.contains(&(one.0, other.0)) {
                    walk.run(vec![*one, *other], usize::MAX);
                }
            }
        }
    }
    walk.met
}

struct Together<'s, 'a> {
    sketches: &'s [Option<&'s Sketch<'a>>],
    changed: usize,
    met: BTreeSet<(usize, usize)>,
}

impl Together<'_, '_> {
    /// Walks `start` over all strings; `None` if that takes more than `limit` steps.
    fn run(&mut self, start: Company, limit: usize) -> Option<()> {
        let mut left = limit;
        let mut seen = HashSet::new();
        let mut open = vec![start];
        while let Some(company) = open.pop() {
            if !seen.insert(company.clone()) {
                continue;
            }
            self.note_matches(&company);
            let next = self.next(&company);
            left = left.checked_sub(company.len() + next.iter().map(Vec::len).sum::<usize>())?;
            open.extend(next);
        }
        Some(())
    }

    fn note_matches(&mut self, company: &Company) {
        let matching: Vec<usize> = company
            .iter()
            .filter(|(at, state)| self.sketches[*at].is_some_and(|sketch| sketch.automaton.accepts(*state)))
            .map(|(at, _)| *at)
            .collect();
        for (position, one) in matching.iter().enumerate().take_while(|(_, one)| **one < self.changed) {
            self.met.extend(matching[position + 1..].iter().map(|other| (*one, *other)));
        }
    }

    /// The companies that bytes lead to: one for each byte that is special to any, and one for all other bytes. Those
    /// in which no pair is of interest are left out.
    fn next(&self, company: &Company) -> Vec<Company> {
        let steps = |at: usize, state| self.sketches[at].map(|sketch| sketch.steps(state));
        let mut rest = Company::new();
        let mut special: BTreeMap<u8, Company> = BTreeMap::new();
        for (at, state) in company {
            let Some(steps) = steps(*at, *state) else { continue };
            for (byte, to) in &steps.others {
                let on = special.entry(*byte).or_default();
                if *to != DEAD {
                    on.push((*at, *to));
                }
            }
            if steps.most != DEAD {
                rest.push((*at, *state));
            }
        }
        for (byte, on) in &mut special {
            let others = rest.iter().filter_map(|(at, state)| {
                let steps = steps(*at, *state)?;
                (steps.to(*byte) == steps.most).then_some((*at, steps.most))
            });
            on.extend(others);
            on.sort_unstable();
        }
        if special.len() < BYTES {
            let most = rest.iter().filter_map(|(at, state)| Some((*at, steps(*at, *state)?.most)));
            special.insert(0, most.collect());
        }
        let is_of_interest = |company: &Company| company.len() > 1 && company[0].0 < self.changed;
        special.into_values().filter(is_of_interest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::profiles;
    use crate::policy::tests::compile;
    use crate::policy::{Attachment, Automaton};

    #[test]
    fn pairs_are_the_same_however_they_are_found() {
        let globs = ["/a*b", "/ab", "/**/x", "/c/*", "/c/x", "/[ac]?b", "/d", "/d/**", "/{,q/}d", "/a*/**b"];
        let profile = |(at, glob): (usize, &&str)| format!("profile p{at} {glob} {{ }}\n");
        let blob = compile(&globs.iter().enumerate().map(profile).collect::<String>());
        let automaton = |profile: &_| match Attachment::read(profile, &blob).unwrap().unwrap() {
            Attachment::Automaton(automaton) => automaton,
            other => panic!("{other:?}"),
        };
        let automata: Vec<Automaton> = profiles(&blob).unwrap().iter().map(automaton).collect();
        let sketches: Vec<_> = automata.iter().map(Sketch::new).collect();
        let sketches: Vec<_> = sketches.iter().map(Option::as_ref).collect();
        for changed in 0..=globs.len() {
            let met = pairs(&sketches, changed);
            assert_eq!(met, pairs_within(0, &sketches, changed));
            assert_eq!(met, pairs_within(40, &sketches, changed));
            assert!(met.iter().all(|(one, other)| *one < changed && one < other));
        }
        let expected = [(0, 1), (0, 5), (2, 3), (2, 4), (2, 7), (3, 4), (6, 8)];
        assert_eq!(pairs(&sketches, globs.len()), expected.into());
    }
}
