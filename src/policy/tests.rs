use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use sha2::Digest as _;

use super::*;

const FEATURES: &str = "/etc/apparmor.d/abi/3.0";

/// Compiles the file `path`; the tests need Debian's packages `apparmor` and `apparmor-profiles`.
fn compile_file(path: &Path, options: &[&str]) -> Vec<u8> {
    let out = tempfile::NamedTempFile::new().unwrap();
    parser(path, &[&["-Q", "-K", "-T", "-q", "-o", out.path().to_str().unwrap()], options].concat());
    fs_err::read(out.path()).unwrap()
}

pub(super) fn compile(text: &str) -> Vec<u8> {
    compile_with(text, &[])
}

fn compile_with(text: &str, options: &[&str]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs_err::write(file.path(), format!("abi <abi/3.0>,\n{text}\n")).unwrap();
    compile_file(file.path(), options)
}

#[expect(clippy::disallowed_methods, reason = "the tests hold this module against the real parser")]
fn parser(path: &Path, options: &[&str]) -> String {
    let output = Command::new("apparmor_parser")
        .args(["-M", FEATURES])
        .args(options)
        .arg(path)
        .env("LC_ALL", "C")
        .output()
        .expect("apparmor_parser is installed");
    assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn names(blob: &[u8]) -> Vec<String> {
    profiles(blob).unwrap().iter().map(|profile| profile.name.to_string()).collect()
}

fn modes(blob: &[u8]) -> Vec<(String, Mode)> {
    profiles(blob).unwrap().into_iter().map(|profile| (profile.name.name, profile.mode)).collect()
}

/// Everything that must hold of whatever the parser writes.
fn check(blob: &[u8]) {
    let found = profiles(blob).unwrap();
    let mut end = 0;
    for profile in &found {
        assert_eq!(profile.range.start, end, "profiles follow each other without gaps");
        end = profile.range.end;
        let alone = profiles(&blob[profile.range.clone()]).unwrap();
        assert_eq!((&alone[0].name.name, &alone[0].hash), (&profile.name.name, &profile.hash));
        let cut = profile.cut(blob).unwrap();
        let [alone] = &profiles(&cut).unwrap()[..] else { panic!("{} is not one profile", profile.name) };
        assert_eq!((&alone.name, alone.mode, alone.hash), (&profile.name, profile.mode, profile.hash));
    }
    assert_eq!(end, blob.len());
}

#[test]
fn real_policy_is_read_whole() {
    let folder = |path: &str| -> Vec<PathBuf> {
        let files = fs_err::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = files.filter(|path| path.is_file() && !path.ends_with("README")).collect();
        files.sort();
        files
    };
    let mut files = folder("/etc/apparmor.d");
    files.extend(folder("/usr/share/apparmor/extra-profiles").into_iter().step_by(60));
    assert!(files.len() > 20, "Debian's profiles are installed");
    let mut all = Vec::new();
    let mut count = 0;
    for path in files {
        let blob = compile_file(&path, &[]);
        check(&blob);
        let listed = parser(&path, &["-N"]);
        let mut listed: Vec<_> = listed.lines().map(str::to_owned).collect();
        listed.sort();
        let mut found = names(&blob);
        found.sort();
        assert_eq!(found, listed, "{}", path.display());
        count += found.len();
        all.extend(blob);
    }
    assert_eq!(profiles(&all).unwrap().len(), count);
    check(&all);
}

#[test]
fn names_are_those_of_the_text() {
    let blob = compile(
        "profile \"a b\" { profile \"c é\" { } ^hat { } }
         profile größe { }
         profile a//extension { }
         /usr/bin/by-path { }
         profile attached /usr/b{in,on}/x { }",
    );
    check(&blob);
    let mut found = names(&blob);
    found.sort();
    assert_eq!(found, ["/usr/bin/by-path", "a b", "a b//c é", "a b//hat", "a//extension", "attached", "größe"]);
}

#[test]
fn children_are_in_their_parents_namespace() {
    let blob = compile(
        "profile outside { profile kid { } }
         profile :one:a { profile kid { } ^hat { } }
         profile :two//three:b { }
         profile \":s p://c\" { profile kid { } }",
    );
    check(&blob);
    assert_eq!(
        names(&blob),
        [
            "outside",
            "outside//kid",
            ":one://a",
            ":one://a//hat",
            ":one://a//kid",
            ":s p://c",
            ":s p://c//kid",
            ":two//three://b",
        ]
    );
}

#[test]
fn grandchildren_of_either_naming_are_in_their_parents_namespace() {
    for (outer, inner) in [("kid//grandkid", "grandkid//last"), ("a//kid//grandkid", "a//kid//grandkid//last")] {
        let blob = chain(&["a", "a//kid", outer, inner]);
        assert_eq!(
            names(&blob),
            [":n://a".to_owned(), ":n://a//kid".to_owned(), format!(":n://{outer}"), format!(":n://{inner}")]
        );
    }
}

/// The profiles `names`, of which the first alone states the namespace `n`.
fn chain(names: &[&str]) -> Vec<u8> {
    let stated = std::iter::once(Some("n")).chain(std::iter::repeat(None));
    names.iter().zip(stated).flat_map(|(name, namespace)| sample::blob_in(namespace, name, Mode::Enforce, "")).collect()
}

#[test]
fn a_profile_without_namespace_after_a_namespaced_one_is_no_child_of_it() {
    let mut blob = sample::blob_in(Some("n"), "a", Mode::Enforce, "");
    blob.extend(sample::blob("b//c", Mode::Enforce, ""));
    blob.extend(sample::blob("a//c", Mode::Enforce, ""));
    assert_eq!(names(&blob), [":n://a", "b//c", "a//c"]);
}

#[test]
fn a_namespace_in_the_name_counts() {
    for (written, read) in [(":n:a", ":n://a"), (":n://a//b", ":n://a//b"), ("a:b", "a:b")] {
        assert_eq!(names(&sample::blob(written, Mode::Enforce, "")), [read]);
    }
    for written in ["", ":", ":n", ":n:", ":n://", "::a"] {
        assert!(profiles(&sample::blob(written, Mode::Enforce, "")).is_err(), "{written:?}");
    }
    assert!(profiles(&sample::blob_in(Some("m"), ":n:a", Mode::Enforce, "")).is_err());
    assert_eq!(names(&sample::blob_in(Some("n"), ":n:a", Mode::Enforce, "")), [":n://a"]);
}

#[test]
fn modes_are_those_of_the_text() {
    let text = "profile a { profile kid flags=(complain) { } ^hat flags=(kill) { } }
         profile b flags=(complain) { }
         profile c flags=(kill, audit) { }
         profile d flags=(unconfined) { }
         profile e flags=(enforce, attach_disconnected) { set rlimit nofile <= 10, /x Px -> :n:x, }";
    let blob = compile(text);
    check(&blob);
    let all = |modes: [Mode; 7]| {
        let names = ["a", "a//hat", "a//kid", "b", "c", "d", "e"].map(str::to_owned);
        names.into_iter().zip(modes).collect::<Vec<_>>()
    };
    use Mode::{Complain, Enforce, Kill, Unconfined};
    assert_eq!(modes(&blob), all([Enforce, Kill, Complain, Complain, Kill, Unconfined, Enforce]));

    let forced = compile_with(text, &["--Complain"]);
    check(&forced);
    assert_eq!(modes(&forced), all([Complain; 7]), "force-complain is in the version word");
}

#[test]
fn every_packed_mode_is_read() {
    for mode in Mode::ALL {
        let shown = if mode == Mode::DefaultAllow { Mode::Unconfined } else { mode };
        assert_eq!(modes(&sample::blob("a", mode, "")), [("a".to_owned(), shown)]);
    }
}

#[test]
fn every_kernel_interface_from_5_to_9_is_read() {
    for abi in 0..=12 {
        let blob = sample::with_version(sample::VERSION & !KERNEL_ABI | abi, None, "a", Mode::Enforce, "");
        match profiles(&blob) {
            Ok(_) => assert!((5..=9).contains(&abi)),
            Err(refused) => assert!(refused.to_string().contains(&format!("version {abi};")), "{refused}"),
        }
    }
    let old = compile_with("profile a { network inet, }", &["-M", "/etc/apparmor.d/abi/kernel-5.4-outoftree-network"]);
    check(&old);
}

#[test]
fn the_hash_is_over_version_and_struct() {
    let blob = compile("profile :n:a { /x r, }");
    let [a] = &profiles(&blob).unwrap()[..] else { panic!() };
    // 16 bytes of version field, then the namespace field: its name, and a string of one character.
    let hashed = [&blob[12..16], &blob[16 + 13 + 5..]].concat();
    assert_eq!(a.hash.sha256, <[u8; 32]>::from(sha2::Sha256::digest(&hashed)));
    assert_eq!(a.hash.sha1, <[u8; 20]>::from(sha1::Sha1::digest(&hashed)));
}

/// `profile unc flags=(unconfined) { }`, compiled by apparmor_parser 3.0.8 for `abi/3.0`; the hashes are what Linux 6.1
/// and 6.12 showed under `policy/profiles/` once it was loaded.
#[test]
fn the_hash_is_the_one_that_kernels_show() {
    let hash = profiles(include_bytes!("fixtures/unconfined.bin")).unwrap()[0].hash;
    assert_eq!(hash.shown(HashAlgorithm::Sha1).to_string(), "5528877a1028eb66a6e0ccdad7b88823d77a258a");
    assert_eq!(
        hash.shown(HashAlgorithm::Sha256).to_string(),
        "0864f6bf14ac8883afff918b00e178059faea98965c0f039f3c393fc325d1016"
    );
}

#[test]
fn hashes_read_back_as_written() {
    let hash = profiles(&sample::blob("a", Mode::Kill, "")).unwrap()[0].hash;
    let json = serde_json::to_string(&hash).unwrap();
    assert_eq!(serde_json::from_str::<KernelHash>(&json).unwrap(), hash);
    for algorithm in [HashAlgorithm::Sha1, HashAlgorithm::Sha256] {
        let shown = hash.shown(algorithm);
        assert!(shown.is_of(&hash));
        assert_eq!(ShownHash::from_hex(&shown.to_string()), Some(shown));
        assert_eq!(serde_json::from_value::<ShownHash>(serde_json::to_value(shown).unwrap()).unwrap(), shown);
    }
    for text in [String::new(), "0".repeat(39), "g".repeat(40), "é".repeat(20), "0".repeat(63)] {
        assert_eq!(ShownHash::from_hex(&text), None, "{text}");
    }
}

#[test]
fn what_is_not_policy_is_refused_with_the_place() {
    let two = [sample::blob("a", Mode::Enforce, ""), sample::blob("b", Mode::Enforce, "")].concat();
    let second = profiles(&two).unwrap()[1].range.start;
    let without_version = [&two[..second], &two[second + 16..]].concat();
    assert_eq!(profiles(&without_version).unwrap_err().at, second);
    for bytes in [&b"#!/bin/sh"[..], b"\x28\xb5\x2f\xfd", b"\0"] {
        assert_eq!(profiles(bytes).unwrap_err().at, 0);
    }
    let mut latin1 = sample::blob("u", Mode::Enforce, "");
    let at = latin1.iter().position(|byte| *byte == b'u').unwrap();
    latin1[at] = 0xfc;
    assert!(profiles(&latin1).unwrap_err().to_string().contains("UTF-8"));
    assert_eq!(profiles(b""), Ok(Vec::new()));
}

#[test]
fn a_truncated_blob_is_refused_except_between_profiles() {
    let blob = compile("profile :n:a { ^hat { /x r, } } profile b { }");
    let ends: Vec<_> = profiles(&blob).unwrap().iter().map(|profile| profile.range.end).collect();
    for length in 1..blob.len() {
        let whole = ends.iter().position(|end| *end == length).map(|index| index + 1);
        assert_eq!(profiles(&blob[..length]).ok().map(|found| found.len()), whole, "{length} bytes");
    }
}

#[test]
fn a_set_is_one_namespace_parents_first() {
    let outside = compile("profile a { } profile a//b//c { }");
    let extension = compile("profile a//b { }");
    let inside = compile("profile :n:a { profile kid { } }");
    let mixed = compile("profile x//y { } profile :n:z { }");
    let sets = LoadSet::build(&[&outside, &inside, &extension, &mixed]).unwrap();
    let listed: Vec<_> = sets.iter().map(|set| (set.namespace(), names(set.bytes()))).collect();
    let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        listed,
        [(None, texts(&["a", "a//b", "x//y", "a//b//c"])), (Some("n"), texts(&[":n://a", ":n://z", ":n://a//kid"])),]
    );
    for set in &sets {
        check(set.bytes());
        assert_eq!(profiles(set.bytes()).unwrap(), set.profiles());
        for profile in set.profiles() {
            let stated = sample_namespace(&set.bytes()[profile.range.clone()]);
            assert_eq!(stated.as_deref(), set.namespace(), "every header names the namespace");
        }
    }
    assert_eq!(sets[0].missing_parents(), [ProfileName::new("x")].into());
    assert!(sets[1].missing_parents().is_empty());
    assert!(LoadSet::build::<&[u8]>(&[]).unwrap().is_empty());
    assert!(LoadSet::build(&[b""]).unwrap().is_empty());
}

fn sample_namespace(header: &[u8]) -> Option<String> {
    Header::read(&mut Reader::new(header)).unwrap().namespace.map(str::to_owned)
}

#[test]
fn a_repeated_name_is_never_in_a_set() {
    let a = sample::blob("a", Mode::Enforce, "one");
    let other = sample::blob("a", Mode::Enforce, "two");
    let namespaced = sample::blob_in(Some("n"), "a", Mode::Enforce, "");
    assert_eq!(LoadSet::build(&[&a, &namespaced]).unwrap().len(), 2);
    let name = ProfileName::new("a");
    assert_eq!(
        LoadSet::build(&[&a, &namespaced, &other]).unwrap_err(),
        [Unloadable::Repeated { name: name.clone(), first: 0, again: 2 }]
    );
    assert_eq!(
        LoadSet::build(&[[a, other].concat()]).unwrap_err(),
        [Unloadable::Repeated { name, first: 0, again: 0 }]
    );
    let kid = compile("profile :n:a { ^k { } }");
    let again = sample::blob(":n:a//k", Mode::Enforce, "");
    let refused = LoadSet::build(&[kid, again]).unwrap_err();
    assert_eq!(refused[0].to_string(), "the profile `:n://a//k` is defined twice");
}

#[test]
fn every_blob_that_cannot_be_read_is_told() {
    let good = sample::blob("a", Mode::Enforce, "");
    let refused = LoadSet::build(&[&b"x"[..], &good, &good[1..]]).unwrap_err();
    let blobs: Vec<_> = refused
        .iter()
        .map(|problem| match problem {
            Unloadable::Malformed { blob, .. } => *blob,
            Unloadable::Repeated { .. } | Unloadable::Stripped { .. } | Unloadable::Nested { .. } => {
                panic!("{problem}")
            }
        })
        .collect();
    assert_eq!(blobs, [0, 2]);
}

/// Whatever the bytes are, what is read of them stays within them and can be cut and put together again.
fn read_safely(bytes: &[u8]) {
    let Ok(found) = profiles(bytes) else { return };
    for profile in &found {
        let cut = profile.cut(bytes).unwrap();
        assert_eq!(profiles(&cut).unwrap()[0].name, profile.name);
    }
    if let Ok(sets) = LoadSet::build(&[bytes]) {
        assert_eq!(sets.iter().map(|set| set.profiles().len()).sum::<usize>(), found.len());
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_safely(bytes: Vec<u8>) {
        read_safely(&bytes);
        let headed = [&sample::blob("a", Mode::Enforce, "")[..27], &bytes].concat();
        read_safely(&headed);
    }

    #[test]
    fn any_stream_of_elements_is_read_safely(bytes in proptest::collection::vec(0u8..13, 0..200)) {
        let headed = [&sample::blob("a", Mode::Enforce, "")[..27], &bytes].concat();
        read_safely(&headed);
    }

    #[test]
    fn damaged_bytes_are_read_safely(damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut blob = [
            sample::blob_in(Some("n"), "a", Mode::Kill, "rules"),
            sample::blob("a//b", Mode::Enforce, ""),
            sample::blob("c", Mode::Prompt, "x"),
        ].concat();
        for (index, byte) in damage {
            let at = index.index(blob.len());
            blob[at] = byte;
        }
        read_safely(&blob);
    }

    #[test]
    fn what_is_written_is_read(namespace in proptest::option::of("[^:\0]{1,12}"), name in "[^:\0][^\0]{0,20}", mode in prop::sample::select(&Mode::ALL[..4]), rules: String) {
        let blob = sample::blob_in(namespace.as_deref(), &name, mode, &rules);
        let [found] = &profiles(&blob).unwrap()[..] else { panic!() };
        prop_assert_eq!(&found.name, &ProfileName { namespace, name });
        prop_assert_eq!((found.mode, &found.range), (mode, &(0..blob.len())));
    }
}

#[test]
fn a_name_that_the_kernel_would_change_is_not_loaded() {
    for (name, is_changed) in
        [(" a", true), ("a ", true), ("/opt/voil\u{e0}", true), ("a b", false), ("/opt/\u{e9}", false)]
    {
        let built = LoadSet::build(&[sample::blob(name, Mode::Enforce, "rules")]);
        let stripped = Unloadable::Stripped { blob: 0, name: ProfileName::new(name) };
        assert_eq!(built.err(), is_changed.then(|| vec![stripped]), "{name:?}");
    }
}

#[test]
fn a_namespace_inside_of_a_namespace_is_not_loaded() {
    let built = LoadSet::build(&[sample::blob_in(Some("a//b"), "x", Mode::Enforce, "rules")]);
    let name = ProfileName { namespace: Some("a//b".to_owned()), name: "x".to_owned() };
    assert_eq!(built.err(), Some(vec![Unloadable::Nested { blob: 0, name }]));
}
