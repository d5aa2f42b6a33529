use std::collections::BTreeSet;

use proptest::prelude::*;

use super::glob::{any_glob, matches, parse, path_near, text};
use super::*;
use crate::policy::tests::compile;
use crate::policy::{profiles, sample};
use crate::profile::Mode;

const KERNELS: [LeftMatch; 2] = LeftMatch::ALL;

/// The attachments of the profiles that `text` defines, by name.
fn attachments(text: &str) -> Vec<(String, Option<Attachment>)> {
    let blob = compile(text);
    let read = |profile: CompiledProfile| (profile.name.to_string(), Attachment::read(&profile, &blob).unwrap());
    profiles(&blob).unwrap().into_iter().map(read).collect()
}

fn verdict(text: &str, path: &str, counting: LeftMatch) -> Verdict<String> {
    let all = attachments(text);
    let candidates = all.iter().filter_map(|(name, attachment)| Some((name.clone(), attachment.as_ref()?)));
    chosen(candidates, path.as_bytes(), counting)
}

#[test]
fn profiles_are_found_by_name_by_automaton_or_not_at_all() {
    let found = attachments(
        "/usr/bin/plain { ^hat { } profile /kid { } }
         /usr/bin/{a,b} { }
         profile named { }
         profile na* { }
         profile attached /usr/bin/attached { }
         profile :n:inside /usr/bin/inside { }",
    );
    let kinds: Vec<_> = found
        .iter()
        .map(|(name, attachment)| {
            let kind = match attachment {
                None => "none",
                Some(Attachment::Name(_)) => "name",
                Some(Attachment::Automaton(_)) => "automaton",
                Some(Attachment::Paths(_)) => "paths",
            };
            (name.as_str(), kind)
        })
        .collect();
    let mut kinds = kinds;
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        [
            ("/usr/bin/plain", "name"),
            ("/usr/bin/plain///kid", "none"),
            ("/usr/bin/plain//hat", "none"),
            ("/usr/bin/{a,b}", "automaton"),
            (":n://inside", "automaton"),
            ("attached", "automaton"),
            ("na*", "automaton"),
            ("named", "none"),
        ]
    );
}

#[test]
fn two_that_match_equally_well_leave_it_unconfined() {
    use Verdict::{Attached, Conflict, Unattached};
    let name = str::to_owned;
    for counting in KERNELS {
        let twice = "profile one /opt/b/x { } profile two /opt/b/x { }";
        assert_eq!(verdict(twice, "/opt/b/x", counting), Conflict(vec![name("one"), name("two")]));
        assert_eq!(verdict(twice, "/opt/b/xx", counting), Unattached);
        let alternatives = "profile one /opt/{b,c}/x { } profile two /opt/b/x { }";
        assert_eq!(verdict(alternatives, "/opt/b/x", counting), Conflict(vec![name("one"), name("two")]));
        assert_eq!(verdict(alternatives, "/opt/c/x", counting), Attached(name("one")));
        let named = "/opt/b/x { } profile two /opt/b/x { } profile three /opt/b/* { }";
        assert_eq!(verdict(named, "/opt/b/x", counting), Attached(name("/opt/b/x")), "the name beats all");
        assert_eq!(verdict(named, "/opt/b/y", counting), Attached(name("three")));
        let longer = "profile one /opt/** { } profile two /opt/b/* { } profile three /opt/b/xy { }";
        assert_eq!(verdict(longer, "/opt/b/xy", counting), Attached(name("three")));
        assert_eq!(verdict(longer, "/opt/b/yz", counting), Attached(name("two")));
        assert_eq!(verdict(longer, "/opt/b/y/z", counting), Attached(name("one")));
    }
}

/// One byte that a star stands for counts as much as one that is written.
#[test]
fn a_star_for_one_byte_is_as_good_as_the_byte() {
    let text = "profile star /opt/b/* { } profile x /opt/b/x { }";
    for counting in KERNELS {
        assert!(matches!(verdict(text, "/opt/b/x", counting), Verdict::Conflict(_)));
    }
}

#[test]
fn what_extended_attributes_decide_is_not_decided() {
    // The parser leaves the conditions out for kernels without them, which those of `abi/3.0` are.
    let plain = compile("profile one /opt/b/* { }");
    let at = plain.windows(12).position(|window| window == b"\x04\x09\0policydb\0").unwrap();
    let xattrs = b"\x04\x07\0xattrs\0\x07\x0b\x01\0\x05\x0b\0security.x\0\x0c\x08";
    let blob = [&plain[..at], xattrs, &plain[at..]].concat();
    let one = Attachment::read(&profiles(&blob).unwrap()[0], &blob).unwrap().unwrap();
    let others = attachments("profile two /opt/b/* { } profile three /opt/b/xy { }");
    for counting in KERNELS {
        assert!(one.matches(b"/opt/b/y", counting).unwrap().has_xattrs);
        let candidates = || {
            let others = others.iter().filter_map(|(name, attachment)| Some((name.as_str(), attachment.as_ref()?)));
            std::iter::once(("one", &one)).chain(others)
        };
        assert_eq!(chosen(candidates(), b"/opt/b/yz", counting), Verdict::Unsure(vec!["one"]));
        assert_eq!(chosen(candidates(), b"/opt/b/xy", counting), Verdict::Attached("three"));
    }
}

/// Kernels of the original way take any step to a state of a lesser number for a loop, here that from `/usr/` to the
/// `bin` which `/` leads to as well: no other match is as long as that.
#[test]
fn a_loop_that_is_none_counts_for_more_than_anything() {
    let text = "profile loop /{usr/,}bin/netstat { } profile other /usr/bin/netstat { }";
    let count = |path: &str, counting| match attachments(text)[0].1.as_ref().unwrap().matches(path.as_bytes(), counting)
    {
        Some(Match { specificity: Specificity::Counted(count), .. }) => count,
        _ => panic!(),
    };
    assert_eq!(count("/usr/bin/netstat", LeftMatch::Corrected), 16);
    assert_eq!(count("/usr/bin/netstat", LeftMatch::Original), u32::MAX);
    assert!(matches!(verdict(text, "/usr/bin/netstat", LeftMatch::Corrected), Verdict::Conflict(_)));
    assert_eq!(verdict(text, "/usr/bin/netstat", LeftMatch::Original), Verdict::Attached("loop".to_owned()));
}

#[test]
fn a_table_of_permissions_is_followed() {
    let blob = compile("profile a /opt/{b,c} { }");
    let profile = &profiles(&blob).unwrap()[0];
    let Some(Attachment::Automaton(plain)) = Attachment::read(profile, &blob).unwrap() else { panic!() };
    let at = blob.windows(9).position(|window| window == b"\x04\x06\0aadfa\0").unwrap();
    let mut words = vec![0; 2 * PERMISSION_WORDS];
    words[PERMISSION_WORDS + ALLOWED] = EXECUTES;
    let with_table = |words: &[u32]| {
        let mut table = b"\x04\x06\0perms\0\x07\x04\x08\0version\0\x02\x01\0\0\0\x0b\x02\0".to_vec();
        words.iter().for_each(|word| table.extend([&[2][..], &word.to_le_bytes()].concat()));
        table.extend(b"\x0c\x08");
        let blob = [&blob[..at], &table, &blob[at..]].concat();
        Attachment::read(&profiles(&blob).unwrap()[0], &blob)
    };
    let Ok(Some(Attachment::Automaton(tabled))) = with_table(&words) else { panic!() };
    assert_eq!(tabled.accepts, plain.accepts);
    assert!(with_table(&words[..PERMISSION_WORDS]).unwrap_err().to_string().contains("permissions"));
}

/// What real kernels gave to executables under policy that was loaded into them: a line for each has the path, the label
/// under Linux 6.1.192 of Debian 12 and that under 6.12.118 of Debian 13, separated by tabulators. A dash stands where
/// that kernel could not load the policy.
#[test]
fn real_kernels_decided_likewise() {
    let observed: [(&[u8], &str); 3] = [
        (include_bytes!("fixtures/layers.bin"), include_str!("fixtures/layers.labels")),
        (include_bytes!("fixtures/alternatives.bin"), include_str!("fixtures/alternatives.labels")),
        (include_bytes!("fixtures/of-parser-5.bin"), include_str!("fixtures/of-parser-5.labels")),
    ];
    let (mut conflicts, mut differences) = (0, 0);
    for (blob, labels) in observed {
        let profiles = profiles(blob).unwrap();
        let attachment = |profile: &CompiledProfile| Attachment::read(profile, blob).unwrap().unwrap();
        let attachments: Vec<_> = profiles.iter().map(attachment).collect();
        let candidates = || profiles.iter().map(|profile| profile.name.name.as_str()).zip(&attachments);
        for line in labels.lines() {
            let [path, old, new] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
            differences += usize::from(old != "-" && old != new);
            for (label, counting) in [(old, LeftMatch::Original), (new, LeftMatch::Corrected)] {
                let expected = match chosen(candidates(), path.as_bytes(), counting) {
                    Verdict::Attached(name) => name,
                    Verdict::Unattached => "unconfined",
                    Verdict::Conflict(_) => {
                        conflicts += 1;
                        "unconfined"
                    }
                    Verdict::Unsure(_) => panic!("{path}"),
                };
                assert!(label == "-" || label == expected, "{path} is {label} with {counting:?}, not {expected}");
            }
        }
    }
    assert!(conflicts > 20 && differences > 10, "{conflicts} conflicts, {differences} differences");
}

/// The conflicts among the profiles that `text` defines, those named in `changed` against all.
fn conflicts_of(text: &str, changed: &[&str], kernels: &[LeftMatch]) -> Vec<(String, String, String)> {
    let all: Vec<(String, Attachment)> =
        attachments(text).into_iter().filter_map(|(name, attachment)| Some((name, attachment?))).collect();
    let pick = |wanted: bool| {
        all.iter()
            .filter(move |(name, _)| changed.contains(&name.as_str()) == wanted)
            .map(|(name, attachment)| (name.as_str(), attachment))
            .collect::<Vec<_>>()
    };
    let told = conflicts(&pick(true), &pick(false), kernels);
    assert_eq!(told.undecided, []);
    let conflict = |conflict: Conflict<&str>| {
        let path = String::from_utf8(conflict.path).unwrap();
        (conflict.profiles.0.to_owned(), conflict.profiles.1.to_owned(), path)
    };
    told.found.into_iter().map(conflict).collect()
}

fn conflict(one: &str, other: &str, path: &str) -> (String, String, String) {
    (one.to_owned(), other.to_owned(), path.to_owned())
}

#[test]
fn conflicts_come_with_a_path() {
    for kernels in [&KERNELS[..], &KERNELS[..1], &KERNELS[1..]] {
        let text = "profile one /opt/{b,c}/x { } profile two /opt/b/x { } profile three /opt/d/x { }";
        assert_eq!(conflicts_of(text, &["two"], kernels), [conflict("two", "one", "/opt/b/x")]);
        assert_eq!(conflicts_of(text, &["three"], kernels), []);
        let text = "profile one /opt/*/x { } profile two /opt/b*/x { } profile three /o*/** { }";
        assert_eq!(conflicts_of(text, &["one", "two", "three"], kernels), [conflict("one", "two", "/opt/b/x")]);
        let text = "profile one /opt/**/sh { } profile two /opt/**/.. { } profile three /opt// { }";
        assert_eq!(conflicts_of(text, &["one", "two", "three"], kernels), [], "no executable has such a path");
    }
}

#[test]
fn what_a_third_gets_is_no_conflict() {
    for third in ["profile three /opt/abc { }", "/opt/abc { }"] {
        let text = format!("profile one /opt/a*c {{ }} profile two /opt/a[b]* {{ }} {third}");
        let found = conflicts_of(&text, &["one"], &[LeftMatch::Corrected]);
        assert!(found.iter().all(|(_, _, path)| path != "/opt/abc"), "{found:?}");
    }
    let text = "profile one /opt/{a,b}/x { } profile two /opt/{b,c}/x { } /opt/b/x { }";
    assert_eq!(conflicts_of(text, &["one", "two"], &KERNELS), []);
}

#[test]
fn a_conflict_of_one_kernel_is_told_for_that_kernel() {
    let text = "profile a /{usr/,}bin/netstat { } profile b /{usr/,}bin/net* { }";
    assert_eq!(conflicts_of(text, &["a"], &[LeftMatch::Original]).len(), 1);
    assert_eq!(conflicts_of(text, &["a"], &[LeftMatch::Corrected]), []);
    assert_eq!(conflicts_of(text, &["a"], &KERNELS), []);
}

/// Paths of up to five letters after the slash that could be an executable's.
fn short_paths() -> Vec<Vec<u8>> {
    let mut paths = vec![b"/".to_vec()];
    let mut from = 0;
    for _ in 0..5 {
        let until = paths.len();
        for at in from..until {
            let longer = b"abx./".map(|byte| [&paths[at][..], &[byte]].concat());
            paths.extend(longer);
        }
        from = until;
    }
    let is_possible =
        |path: &Vec<u8>| path[1..].split(|byte| *byte == b'/').all(|part| !matches!(part, b"" | b"." | b".."));
    paths.retain(is_possible);
    paths
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// What is found is a conflict indeed, and none is missed that trying out short paths shows.
    #[test]
    fn conflicts_are_found_where_trying_finds_them(globs in prop::collection::vec(any_glob(), 6)) {
        let profile = |(at, glob): (usize, &Vec<_>)| format!("profile p{at} \"{}\" {{ }}\n", text(glob));
        let policy: String = globs.iter().enumerate().map(profile).collect();
        let all = attachments(&policy);
        let all: Vec<(&str, &Attachment)> =
            all.iter().filter_map(|(name, attachment)| Some((name.as_str(), attachment.as_ref()?))).collect();
        for kernel in KERNELS {
            let told = conflicts(&all, &[], &[kernel]);
            prop_assert!(told.undecided.is_empty());
            for found in &told.found {
                let Verdict::Conflict(names) = chosen(all.iter().copied(), &found.path, kernel) else {
                    panic!("{policy}{found:?}");
                };
                prop_assert!(names.contains(&found.profiles.0) && names.contains(&found.profiles.1));
            }
            for path in short_paths() {
                if let Verdict::Conflict(names) = chosen(all.iter().copied(), &path, kernel) {
                    let is_told = told.found.iter().any(|found| found.profiles == (names[0], names[1]));
                    prop_assert!(is_told, "{} {} of {:?}", policy, path.escape_ascii(), names);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// What is remembered of an attachment matches as the attachment itself, for every kernel.
    #[test]
    fn what_is_remembered_matches_as_what_was_compiled(
        few in prop::collection::vec("/(a|b|x|/|\\{a,bx\\}|\\{,ab\\}|\\[abx\\]){1,5}", 20),
        globs in prop::collection::vec(any_glob(), 5),
    ) {
        let globs = few.into_iter().chain(globs.iter().map(|glob| text(glob)));
        let profile = |(at, glob): (usize, String)| format!("profile p{at} \"{glob}\" {{ }} /opt/p{at} {{ }}\n");
        let blobs = globs.enumerate().map(profile).map(|policy| (compile(&policy), policy));
        let mut all = Vec::new();
        for (blob, policy) in blobs {
            for profile in profiles(&blob).unwrap() {
                let Some(attachment) = Attachment::read(&profile, &blob).unwrap() else { continue };
                let record = AttachmentRecord::of(&profile, &blob).unwrap().unwrap();
                let record: AttachmentRecord = serde_json::from_value(serde_json::to_value(&record).unwrap()).unwrap();
                let remembered = record.attachment().unwrap();
                let matcher = record.matcher().unwrap();
                for path in short_paths() {
                    for kernel in KERNELS {
                        let (then, now) = (attachment.matches(&path, kernel), remembered.matches(&path, kernel));
                        prop_assert_eq!(then, now, "{} {}", policy, path.escape_ascii());
                    }
                    let is_for = attachment.is_for(&path);
                    prop_assert_eq!(is_for, attachment.matches(&path, LeftMatch::Corrected).is_some());
                    prop_assert_eq!(is_for, matcher.matches(&path));
                    prop_assert!(!is_for || record.may_be_for(&path), "{} {}", policy, path.escape_ascii());
                }
                let paths: BTreeSet<Vec<u8>> =
                    short_paths().into_iter().filter(|path| attachment.is_for(path)).collect();
                all.push((record, attachment, paths, policy.clone()));
            }
        }
        for (record, _, paths, policy) in &all {
            let apart = all.iter().filter(|(_, other, ..)| !record.may_meet(&Reach::of(other)));
            for (_, _, other_paths, other_policy) in apart {
                prop_assert!(paths.is_disjoint(other_paths), "{}{}", policy, other_policy);
            }
        }
    }
}

#[test]
fn a_glob_of_few_paths_conflicts_when_it_is_remembered_too() {
    let text = "profile path /opt/py3.9 { } profile digit /opt/py3.[0-9] { } profile odd /opt/py3.[579] { } \
                profile usr /{usr/,}bin/py3.9 { } profile other /usr/bin/py3.? { } \
                profile a /opt/{a,}/x[12] { } profile b /opt/{b,}/x[13] { }";
    let blob = compile(text);
    let all = profiles(&blob).unwrap();
    let read = |profile: &_| Attachment::read(profile, &blob).unwrap().unwrap();
    let remembered = |profile: &_| AttachmentRecord::of(profile, &blob).unwrap().unwrap().attachment().unwrap();
    for (one, other) in all.iter().flat_map(|one| all.iter().map(move |other| (one, other))) {
        if one.name == other.name {
            continue;
        }
        let (changed, compiled, known) = (read(one), read(other), remembered(other));
        for kernels in [&KERNELS[..], &KERNELS[..1], &KERNELS[1..]] {
            let found = |other| conflicts(&[((), &changed)], &[((), other)], kernels).found.len();
            assert_eq!(found(&compiled), found(&known), "{} {} {kernels:?}", one.name, other.name);
        }
    }
    assert!(matches!(remembered(&all[1]), Attachment::Paths(_)), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// What the real parser compiles, read here, matches as an evaluator that reads the globs themselves.
    #[test]
    fn globs_match_as_the_parser_compiles_them(
        globs in prop::collection::vec(any_glob(), 40),
        choices in prop::collection::vec(any::<u16>(), 500),
    ) {
        let mut choices = choices.into_iter().cycle();
        let mut choose = |below: usize| usize::from(choices.next().unwrap()) % below;
        let profile = |(at, glob): (usize, &Vec<_>)| format!("profile p{at} \"{}\" {{ }}\n", text(glob));
        let policy: String = globs.iter().enumerate().map(profile).collect();
        let mut found = attachments(&policy);
        found.sort_by_key(|(name, _)| name[1..].parse::<usize>().unwrap());
        for (glob, (_, attachment)) in globs.iter().zip(&found) {
            let text = text(glob);
            let glob = parse(&text);
            for _ in 0..40 {
                let path = path_near(&globs[choose(globs.len())], &mut choose);
                let near = path_near(&glob, &mut choose);
                for path in [path, near] {
                    for counting in KERNELS {
                        let matched = attachment.as_ref().unwrap().matches(&path, counting).is_some();
                        prop_assert_eq!(matched, matches(&glob, &path), "{} {}", text, path.escape_ascii());
                    }
                }
            }
        }
    }
}

/// Whatever is read walks any path.
fn read_safely(blob: &[u8]) {
    for profile in profiles(blob).unwrap_or_default() {
        let Ok(Some(attachment)) = Attachment::read(&profile, blob) else { continue };
        for path in [&b""[..], b"/opt/bin/x", &(0..=255).collect::<Vec<u8>>(), &[b'a'; 300]] {
            for counting in KERNELS {
                let _walked = attachment.matches(path, counting);
            }
        }
    }
}

/// A profile `a` whose attachment's tables are `tables`.
fn with_tables(tables: &[u8]) -> Vec<u8> {
    let head = sample::blob("a", Mode::Enforce, "");
    let at = head.windows(9).position(|window| window == b"\x04\x06\0flags\0").unwrap();
    let length = u32::try_from(tables.len()).unwrap();
    let field = [&b"\x04\x06\0aadfa\0\x06"[..], &length.to_le_bytes(), tables, b"\x02\x01\0\0\0"].concat();
    [&head[..at], &field, &head[at..]].concat()
}

/// Tables in the kernel's format, of entries 32 bits wide, with nothing checked.
fn packed(flags: u16, accept: &[u32], base: &[u32], default: &[u32], next: &[u32], check: &[u32]) -> Vec<u8> {
    let mut out = [&0x1b5e_783d_u32.to_be_bytes()[..], &24_u32.to_be_bytes(), &[0; 4], &flags.to_be_bytes()].concat();
    out.resize(24, 0);
    for (kind, entries) in [(1_u16, accept), (2, base), (4, default), (8, next), (3, check)] {
        out.extend(kind.to_be_bytes());
        out.extend([0, 4, 0, 0, 0, 0]);
        out.extend(u32::try_from(entries.len()).unwrap().to_be_bytes());
        entries.iter().for_each(|entry| out.extend(entry.to_be_bytes()));
        out.resize(out.len().next_multiple_of(8), 0);
    }
    out
}

#[test]
fn differential_encoding_is_followed_and_must_end() {
    let read = |base: [u32; 4], default: [u32; 4]| {
        let (mut next, mut check) = (vec![0; 512], vec![0; 512]);
        // State 1 goes on `a` to 2; state 2 goes on `b` to 3.
        (next[usize::from(b'a')], check[usize::from(b'a')]) = (2, 1);
        (next[usize::from(b'b')], check[usize::from(b'b')]) = (3, 2);
        Dfa::read(&packed(1, &[0, 0, 0, 1], &base, &default, &next, &check))
    };
    let differential = 1 << 31;
    let dfa = read([0, 0, differential, 0], [0, 0, 1, 0]).unwrap();
    assert_eq!((dfa.step(2, b'a'), dfa.step_overlooking_differences(2, b'a')), (2, 1));
    assert_eq!((dfa.step(2, b'b'), dfa.step(2, b'c')), (3, 0));
    for (base, default) in [
        ([0, 0, differential, 0], [0, 0, 2, 0]),
        ([0, differential, differential, differential], [0, 2, 3, 1]),
        ([0, differential, 0, 0], [0, 4, 0, 0]),
        ([0, 257, 0, 0], [0, 0, 0, 0]),
        ([0, 1 << 28, 0, 0], [0, 0, 0, 0]),
        ([0, 1 << 29, 0, 0], [0, 0, 0, 0]),
    ] {
        read(base, default).unwrap_err();
    }
}

#[test]
fn a_truncated_automaton_is_refused() {
    let tables = packed(0, &[0, 1], &[0, 0], &[0, 0], &[0; 256], &[0; 256]);
    assert!(Dfa::read(&tables).is_ok());
    for length in 0..tables.len() {
        Dfa::read(&tables[..length]).unwrap_err();
    }
    read_safely(&with_tables(&tables));
}

proptest! {
    #[test]
    fn any_tables_are_walked_safely(
        flags in 0_u16..4,
        accept in prop::collection::vec(0_u32..3, 3),
        base in prop::collection::vec((prop::sample::select(vec![0, 1 << 31, 1 << 29, 1 << 28]), 0_u32..5), 3),
        default in prop::collection::vec(0_u32..4, 3),
        transitions in prop::collection::vec((0_u32..3, 0_u32..3), 255..262),
    ) {
        let base: Vec<u32> = base.into_iter().map(|(flag, base)| flag | base).collect();
        let (next, check): (Vec<_>, Vec<_>) = transitions.into_iter().unzip();
        let tables = packed(flags, &accept, &base, &default, &next, &check);
        read_safely(&with_tables(&tables));
    }

    #[test]
    fn damaged_attachments_are_read_safely(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)
    ) {
        let (mut next, check) = (vec![2; 256], vec![1; 256]);
        next[usize::from(b'/')] = 1;
        let mut blob = with_tables(&packed(0, &[0, 0, 1], &[0, 0, 0], &[0, 0, 1], &next, &check));
        for (index, byte) in damage {
            let at = index.index(blob.len());
            blob[at] = byte;
        }
        read_safely(&blob);
    }

    #[test]
    fn any_bytes_are_no_automaton_or_a_safe_one(bytes: Vec<u8>) {
        read_safely(&with_tables(&bytes));
        read_safely(&with_tables(&[&[0x1b, 0x5e, 0x78, 0x3d, 0, 0, 0, 16][..], &bytes].concat()));
    }
}

#[test]
fn a_release_tells_how_its_kernel_counts_where_its_number_does() {
    for release in ["6.12.42", "6.12.118+deb13-cloud-amd64", "6.17.0-5-generic", "7.0.0"] {
        assert_eq!(LeftMatch::of_release(release), [LeftMatch::Corrected], "{release}");
    }
    for release in ["", "6.1.0-40-amd64", "6.12.41+deb13-amd64", "6.8.0-45-generic", "5.15.0", "next"] {
        assert_eq!(LeftMatch::of_release(release), LeftMatch::ALL, "{release}");
    }
}
