//! An evaluator of AppArmor's globs that owes nothing to the parser or the kernel, to hold both against.

use std::collections::BTreeSet;

use proptest::prelude::*;

/// A part of a glob.
#[derive(Debug, Clone)]
pub(super) enum Part {
    Byte(u8),
    /// `?`
    Any,
    /// `*`
    Star,
    /// `**`
    DoubleStar,
    /// `[…]`, `[^…]`
    Class {
        negated: bool,
        bytes: Vec<u8>,
    },
    /// `{…,…}`
    Alternatives(Vec<Vec<Part>>),
}

/// A glob that begins with a slash, of few letters, so that many match each other's paths.
pub(super) fn any_glob() -> impl Strategy<Value = Vec<Part>> {
    let leaf = || {
        let class = (any::<bool>(), prop::sample::subsequence(b"ab.".to_vec(), 1..3));
        prop_oneof![
            12 => prop::sample::select(&b"aab./"[..]).prop_map(Part::Byte),
            1 => Just(Part::Any),
            1 => Just(Part::Star),
            1 => Just(Part::DoubleStar),
            1 => class.prop_map(|(negated, bytes)| Part::Class { negated, bytes }),
        ]
    };
    let alternative = prop::collection::vec(leaf(), 0..3);
    let alternatives = prop::collection::vec(alternative, 2..4).prop_map(Part::Alternatives);
    let part = prop_oneof![9 => leaf(), 1 => alternatives];
    prop::collection::vec(part, 1..9).prop_map(|mut parts| {
        parts.insert(0, Part::Byte(b'/'));
        parts
    })
}

/// The glob as text.
pub(super) fn text(parts: &[Part]) -> String {
    let part = |part: &Part| match part {
        Part::Byte(byte) => char::from(*byte).to_string(),
        Part::Any => "?".to_owned(),
        Part::Star => "*".to_owned(),
        Part::DoubleStar => "**".to_owned(),
        Part::Class { negated, bytes } => {
            format!("[{}{}]", if *negated { "^" } else { "" }, String::from_utf8_lossy(bytes))
        }
        Part::Alternatives(alternatives) => {
            let alternatives: Vec<_> = alternatives.iter().map(|parts| text(parts)).collect();
            format!("{{{}}}", alternatives.join(","))
        }
    };
    parts.iter().map(part).collect()
}

/// The glob that `text` is, read again: in text, `*` beside `**` is another thing than in parts, slashes that repeat are
/// one, and a star that stands for a whole component is not empty (parser `parser_regex.c`, `filter_slashes`,
/// `convert_aaregex_to_pcre`).
pub(super) fn parse(text: &str) -> Vec<Part> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.dedup_by(|byte, before| *byte == b'/' && *before == b'/');
    // The parser leaves two slashes at the beginning.
    if text.starts_with("//") && !text.starts_with("///") {
        bytes.insert(0, b'/');
    }
    let mut at = 0;
    let mut alternatives = parse_alternatives(&bytes, &mut at);
    assert_eq!((alternatives.len(), at), (1, bytes.len()), "{text}");
    alternatives.remove(0)
}

fn parse_alternatives(glob: &[u8], at: &mut usize) -> Vec<Vec<Part>> {
    let nested = *at > 0;
    let mut alternatives = vec![Vec::new()];
    while let Some(byte) = glob.get(*at) {
        let parts = alternatives.last_mut().unwrap();
        *at += 1;
        match byte {
            b'}' => break,
            b',' if nested => alternatives.push(Vec::new()),
            b'{' => parts.push(Part::Alternatives(parse_alternatives(glob, at))),
            b'?' => parts.push(Part::Any),
            b'*' => {
                let begins_component = *at >= 2 && glob[*at - 2] == b'/';
                let after = glob[*at..].iter().find(|byte| **byte != b'*');
                if begins_component && matches!(after, None | Some(b'/')) {
                    parts.push(Part::Any);
                }
                if glob.get(*at) == Some(&b'*') {
                    *at += 1;
                    parts.push(Part::DoubleStar);
                } else {
                    parts.push(Part::Star);
                }
            }
            b'[' => {
                let end = *at + glob[*at..].iter().position(|byte| *byte == b']').unwrap();
                let negated = glob[*at] == b'^';
                parts.push(Part::Class { negated, bytes: glob[*at + usize::from(negated)..end].to_vec() });
                *at = end + 1;
            }
            byte => parts.push(Part::Byte(*byte)),
        }
    }
    alternatives
}

/// Says whether the glob, as [`parse`] gives it, matches the whole of `path`.
pub(super) fn matches(parts: &[Part], path: &[u8]) -> bool {
    ends(parts, path, BTreeSet::from([0])).contains(&path.len())
}

/// Where a match of `parts` may end that begins at one of `starts`.
fn ends(parts: &[Part], path: &[u8], starts: BTreeSet<usize>) -> BTreeSet<usize> {
    parts.iter().fold(starts, |starts, part| {
        let one = |matches: &dyn Fn(u8) -> bool| {
            starts.iter().filter(|at| path.get(**at).is_some_and(|byte| matches(*byte))).map(|at| at + 1).collect()
        };
        let run = |matches: &dyn Fn(u8) -> bool| {
            let run = |at: &usize| {
                let length = path[*at..].iter().take_while(|byte| matches(**byte)).count();
                *at..=at + length
            };
            starts.iter().flat_map(run).collect()
        };
        match part {
            Part::Byte(wanted) => one(&|byte| byte == *wanted),
            Part::Any => one(&|byte| byte != b'/'),
            Part::Star => run(&|byte| byte != b'/'),
            Part::DoubleStar => run(&|_| true),
            Part::Class { negated, bytes } => one(&|byte| bytes.contains(&byte) != *negated),
            Part::Alternatives(alternatives) => {
                alternatives.iter().flat_map(|parts| ends(parts, path, starts.clone())).collect()
            }
        }
    })
}

/// Paths that the glob matches, or nearly: one for each of `choices`, which choose what stands for its parts and what is
/// changed in the end.
pub(super) fn path_near(parts: &[Part], choices: &mut impl FnMut(usize) -> usize) -> Vec<u8> {
    let mut path = Vec::new();
    stand_for(parts, choices, &mut path);
    match choices(6) {
        0 => path.push(b"ab./"[choices(4)]),
        1 => drop(path.pop()),
        2 => {
            let at = choices(path.len().max(1));
            if let Some(byte) = path.get_mut(at) {
                *byte = b"ab./"[choices(4)];
            }
        }
        _ => {}
    }
    path
}

fn stand_for(parts: &[Part], choices: &mut impl FnMut(usize) -> usize, path: &mut Vec<u8>) {
    for part in parts {
        match part {
            Part::Byte(byte) => path.push(*byte),
            Part::Any => path.push(b"abx"[choices(3)]),
            Part::Star => (0..choices(3)).for_each(|_| path.push(b"abx"[choices(3)])),
            Part::DoubleStar => (0..choices(5)).for_each(|_| path.push(b"abx/"[choices(4)])),
            Part::Class { bytes, .. } => path.push(if choices(4) == 0 { b'c' } else { bytes[choices(bytes.len())] }),
            Part::Alternatives(alternatives) => stand_for(&alternatives[choices(alternatives.len())], choices, path),
        }
    }
}
