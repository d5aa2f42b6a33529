#![expect(
    clippy::disallowed_methods,
    reason = "the tests prepare and inspect real directories beside the code under test"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use tempfile::tempdir;

use super::*;
use crate::host::root::Entry;

const LIMIT: u64 = 1 << 20;

#[test]
fn a_file_is_replaced_whole_with_its_attributes() {
    let scratch = tempdir().unwrap();
    let dir = Dir::open(scratch.path()).unwrap();
    fs::write(scratch.path().join("x"), "old text, which is longer").unwrap();
    let attributes = Attributes { mode: 0o4751, ..Attributes::ours(0) };
    let temporary = dir.write_temporary(b"new", attributes).unwrap();
    assert_eq!(dir.list().unwrap().len(), 2);
    assert_eq!(fs::read(scratch.path().join("x")).unwrap(), b"old text, which is longer");
    temporary.rename_to("x").unwrap();
    dir.sync().unwrap();
    let file = dir.read("x", LIMIT).unwrap().unwrap();
    assert_eq!((file.bytes.as_slice(), file.attributes), (b"new".as_slice(), attributes));
    assert_eq!(dir.list().unwrap().len(), 1);
}

#[test]
fn the_owner_is_set_by_those_who_may() {
    let scratch = tempdir().unwrap();
    let dir = Dir::open(scratch.path()).unwrap();
    let wanted = Attributes { mode: 0o640, uid: 12, gid: 34 };
    match dir.write_temporary(b"", wanted) {
        Ok(temporary) => {
            temporary.rename_to("x").unwrap();
            assert_eq!(dir.read("x", LIMIT).unwrap().unwrap().attributes, wanted);
        }
        Err(error) => {
            assert!(!nix::unistd::geteuid().is_root());
            assert!(error.to_string().starts_with("cannot set the owner of a temporary file in "), "{error}");
            assert!(dir.list().unwrap().is_empty());
        }
    }
}

#[test]
fn a_file_is_private_under_its_temporary_name() {
    let scratch = tempdir().unwrap();
    let dir = Dir::open(scratch.path()).unwrap();
    let only_entry = || {
        let name = dir.list().unwrap().remove(0).name;
        let mode = fs::metadata(scratch.path().join(&name)).unwrap().mode();
        (name, mode & 0o7777)
    };
    let draft = dir.create_temporary().unwrap();
    let (name, mode) = only_entry();
    assert!(is_temporary(&name), "{name:?}");
    assert_eq!(mode, 0o600);
    let temporary = draft.write(b"text", Attributes::ours(0o644)).unwrap();
    assert_eq!(only_entry(), (name, 0o600));
    temporary.rename_to("x").unwrap();
    assert_eq!(only_entry(), ("x".into(), 0o644));
}

#[test]
fn another_file_at_the_temporary_name_is_left_alone() {
    let scratch = tempdir().unwrap();
    let dir = Dir::open(scratch.path()).unwrap();
    let victim = scratch.path().join("victim");
    fs::write(&victim, "victim").unwrap();
    let before = fs::metadata(&victim).unwrap().mode();
    let plant_link = |name: &Path| symlink(&victim, name).unwrap();
    let plant_hard_link = |name: &Path| fs::hard_link(&victim, name).unwrap();
    for (plant, message) in [
        (&plant_link as &dyn Fn(&Path), "cannot open a temporary file in "),
        (&plant_hard_link, "was changed by somebody"),
    ] {
        let temporary = dir.write_temporary(b"text", Attributes::ours(0o4755)).unwrap();
        let name = scratch.path().join(temporary.name.as_ref().unwrap());
        fs::remove_file(&name).unwrap();
        plant(&name);
        let error = temporary.rename_to("x").unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
        assert_eq!(fs::metadata(&victim).unwrap().mode(), before);
        assert_eq!(dir.list().unwrap().len(), 1);
    }
}

#[test]
fn a_link_at_the_place_is_replaced_not_followed() {
    let scratch = tempdir().unwrap();
    let dir = Dir::open(scratch.path()).unwrap();
    fs::write(scratch.path().join("victim"), "victim").unwrap();
    symlink("victim", scratch.path().join("x")).unwrap();
    dir.write_temporary(b"new", Attributes::ours(0o644)).unwrap().rename_to("x").unwrap();
    assert!(matches!(dir.entry("x", LIMIT).unwrap(), Entry::File(_)));
    assert_eq!(fs::read(scratch.path().join("victim")).unwrap(), b"victim");
    dir.link_temporary(Path::new("../victim")).unwrap().rename_to("x").unwrap();
    assert_eq!(dir.entry("x", LIMIT).unwrap(), Entry::Link { target: "../victim".into() });
}

#[test]
fn what_is_not_renamed_leaves_no_trace() {
    let scratch = tempdir().unwrap();
    let dir = Dir::open(scratch.path()).unwrap();
    drop(dir.write_temporary(b"text", Attributes::ours(0o644)).unwrap());
    drop(dir.link_temporary(Path::new("target")).unwrap());
    assert!(dir.list().unwrap().is_empty());
    let _taken = dir.make_dir("taken", 0o755).unwrap();
    let error = dir.write_temporary(b"text", Attributes::ours(0o644)).unwrap().rename_to("taken").unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot replace {}/taken: ", scratch.path().display())), "{error}");
    assert_eq!(dir.list().unwrap().len(), 1);
}

#[test]
fn a_reader_sees_the_old_text_or_the_new_one() {
    let scratch = tempdir().unwrap();
    let dir = Dir::open(scratch.path()).unwrap();
    let texts = ["a".repeat(40_000), "b".repeat(90_000)];
    dir.write_temporary(texts[0].as_bytes(), Attributes::ours(0o644)).unwrap().rename_to("x").unwrap();
    let replace = |round: usize| {
        dir.write_temporary(texts[round % 2].as_bytes(), Attributes::ours(0o644)).unwrap().rename_to("x").unwrap();
    };
    std::thread::scope(|scope| {
        let replacing = scope.spawn(|| (0..50).for_each(replace));
        while !replacing.is_finished() {
            let seen = dir.read("x", LIMIT).unwrap().unwrap().bytes;
            assert!(texts.iter().any(|text| text.as_bytes() == seen));
        }
    });
}

#[test]
fn names_that_are_taken_are_tried_a_few_times() {
    let mut tries = 0;
    let made = under_new_name(
        || "x".to_owned(),
        |_| {
            tries += 1;
            if tries < 3 { Err(Errno::EEXIST) } else { Ok(tries) }
        },
    );
    assert_eq!(made, Ok(("x".to_owned(), 3)));
    assert_eq!(under_new_name(|| "x".to_owned(), |_| Err::<(), _>(Errno::EEXIST)), Err(Errno::EEXIST));
    assert_ne!(random_digits(), random_digits());
}
