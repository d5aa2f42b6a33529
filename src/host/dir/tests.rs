#![expect(
    clippy::disallowed_methods,
    reason = "the tests prepare and inspect real directories beside the code under test"
)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use nix::unistd::mkfifo;
use proptest::prelude::*;
use tempfile::tempdir;

use super::*;

const LIMIT: u64 = 1 << 20;

#[test]
fn names_are_listed_in_byte_order_with_their_own_kinds() {
    let scratch = tempdir().unwrap();
    let dir = Dir::open(scratch.path()).unwrap();
    fs::write(scratch.path().join("b"), "").unwrap();
    fs::create_dir(scratch.path().join("a")).unwrap();
    symlink("a", scratch.path().join("B")).unwrap();
    mkfifo(&scratch.path().join("f"), Mode::S_IRWXU).unwrap();
    fs::write(scratch.path().join(OsStr::from_bytes(b"\xff")), "").unwrap();
    let listed = |name: &[u8], kind| Listed { name: OsStr::from_bytes(name).to_owned(), kind };
    let expected = [
        listed(b"B", Kind::Link),
        listed(b"a", Kind::Directory),
        listed(b"b", Kind::File),
        listed(b"f", Kind::Special("a FIFO")),
        listed(b"\xff", Kind::File),
    ];
    assert_eq!(dir.list().unwrap(), expected);
    assert_eq!(dir.list().unwrap(), expected, "a second listing starts anew");
}

#[test]
fn a_directory_is_opened_where_no_link_stands() {
    let scratch = tempdir().unwrap();
    fs::create_dir(scratch.path().join("real")).unwrap();
    symlink("real", scratch.path().join("link")).unwrap();
    fs::write(scratch.path().join("file"), "").unwrap();
    let dir = Dir::open(scratch.path()).unwrap();
    assert!(dir.dir("real").unwrap().is_some());
    assert!(dir.dir("none").unwrap().is_none());
    for (name, why) in
        [("link", "it is a symbolic link, not a directory"), ("file", "it is a regular file, not a directory")]
    {
        let error = dir.dir(name).unwrap_err().to_string();
        assert_eq!(error, format!("{}: {why}", scratch.path().join(name).display()));
        assert!(matches!(dir.private_dir(name), Err(Error::Untrusted { .. })));
    }
}

#[test]
fn a_private_directory_of_others_is_refused_with_a_remedy() {
    let scratch = tempdir().unwrap();
    let dir = Dir::open(scratch.path()).unwrap();
    let place = scratch.path().join("ours");
    assert!(dir.existing_private_dir("ours").unwrap().is_none());
    let _made = dir.private_dir("ours").unwrap();
    assert_eq!(fs::metadata(&place).unwrap().mode() & 0o7777, 0o700);
    assert!(dir.existing_private_dir("ours").unwrap().is_some());
    for mode in [0o750, 0o701, 0o702, 0o704, 0o770] {
        fs::set_permissions(&place, fs::Permissions::from_mode(mode)).unwrap();
        let Err(Error::Untrusted { path, why, remedy }) = dir.private_dir("ours") else { panic!("{mode:o}") };
        assert_eq!(path, place);
        assert!(why.starts_with(&format!("its mode is {mode:04o}")), "{why}");
        assert!(remedy.contains(&format!("chmod 0700 {}", place.display())), "{remedy}");
    }
    fs::set_permissions(&place, fs::Permissions::from_mode(0o700)).unwrap();
    if geteuid().is_root() {
        chown(&place, Some(12), None).unwrap();
        let error = dir.private_dir("ours").unwrap_err().to_string();
        assert!(error.ends_with("it belongs to user 12, not to user 0"), "{error}");
    }
}

#[test]
fn a_directory_is_made_once() {
    let scratch = tempdir().unwrap();
    let dir = Dir::open(scratch.path()).unwrap();
    let _made = dir.make_dir("sub", 0o751).unwrap();
    assert_eq!(fs::metadata(scratch.path().join("sub")).unwrap().mode() & 0o7777, 0o751);
    let error = dir.make_dir("sub", 0o755).unwrap_err().to_string();
    assert!(error.contains("/sub: File exists"), "{error}");
}

#[test]
fn a_created_file_is_private_and_names_itself_in_errors() {
    let scratch = tempdir().unwrap();
    let dir = Dir::open(scratch.path()).unwrap();
    dir.create("new").unwrap().write_all(b"text").unwrap();
    assert_eq!(fs::metadata(scratch.path().join("new")).unwrap().mode() & 0o7777, 0o600);
    assert!(dir.create("new").is_err());
    symlink("elsewhere", scratch.path().join("link")).unwrap();
    assert!(dir.create("link").is_err());
    assert!(!scratch.path().join("elsewhere").exists());
    let error = dir.create("other").unwrap().set_len(u64::MAX).unwrap_err().to_string();
    assert!(error.contains(&*scratch.path().join("other").to_string_lossy()), "{error}");
}

#[test]
fn removals_tell_what_they_did() {
    let scratch = tempdir().unwrap();
    let dir = Dir::open(scratch.path()).unwrap();
    fs::write(scratch.path().join("file"), "").unwrap();
    fs::create_dir_all(scratch.path().join("full/sub")).unwrap();
    assert_eq!(dir.remove_file("file").unwrap(), Removal::Removed);
    assert_eq!(dir.remove_file("file").unwrap(), Removal::Absent);
    assert_eq!(dir.remove_dir("full").unwrap(), Removal::NotEmpty);
    assert_eq!(dir.dir("full").unwrap().unwrap().remove_dir("sub").unwrap(), Removal::Removed);
    assert_eq!(dir.remove_dir("full").unwrap(), Removal::Removed);
    assert_eq!(dir.remove_dir("full").unwrap(), Removal::Absent);
    fs::create_dir(scratch.path().join("dir")).unwrap();
    assert!(dir.remove_file("dir").is_err());
}

#[test]
fn a_tree_is_removed_without_following_its_links() {
    let scratch = tempdir().unwrap();
    let kept = tempdir().unwrap();
    fs::write(kept.path().join("kept"), "").unwrap();
    fs::create_dir_all(scratch.path().join("tree/a/b")).unwrap();
    fs::write(scratch.path().join("tree/a/b/file"), "").unwrap();
    symlink(kept.path(), scratch.path().join("tree/a/link")).unwrap();
    let dir = Dir::open(scratch.path()).unwrap();
    assert_eq!(dir.remove_tree("tree").unwrap(), Removal::Removed);
    assert_eq!(dir.remove_tree("tree").unwrap(), Removal::Absent);
    assert!(kept.path().join("kept").exists());
    symlink(kept.path(), scratch.path().join("tree")).unwrap();
    assert!(dir.remove_tree("tree").is_err());
    assert!(kept.path().join("kept").exists());
}

#[test]
fn a_sweep_removes_what_a_killed_run_left_and_nothing_else() {
    let scratch = tempdir().unwrap();
    let elsewhere = tempdir().unwrap();
    let swept = ".aa-converge-0123456789abcdef.tmp";
    fs::create_dir_all(scratch.path().join("a/b")).unwrap();
    fs::write(elsewhere.path().join(swept), "").unwrap();
    for path in [swept, "a/.aa-converge-ffffffffffffffff.tmp", "a/b/.aa-converge-0000000000000000.tmp"] {
        fs::write(scratch.path().join(path), "").unwrap();
    }
    symlink("x", scratch.path().join("a/.aa-converge-0000000000000001.tmp")).unwrap();
    symlink(elsewhere.path(), scratch.path().join("a/link")).unwrap();
    let kept =
        ["profile", ".aa-converge-x.tmp", ".aa-converge-0123456789abcdef", "a/.aa-converge-0123456789abcdefg.tmp"];
    for path in kept {
        fs::write(scratch.path().join(path), "").unwrap();
    }
    fs::create_dir(scratch.path().join(".aa-converge-2222222222222222.tmp")).unwrap();
    let dir = Dir::open(scratch.path()).unwrap();
    assert_eq!(dir.sweep_temporaries().unwrap(), 4);
    assert_eq!(dir.sweep_temporaries().unwrap(), 0);
    assert!(kept.iter().all(|path| scratch.path().join(path).exists()));
    assert!(elsewhere.path().join(swept).exists());
}

#[test]
fn changes_go_where_the_directory_went() {
    let scratch = tempdir().unwrap();
    let place = scratch.path().join("place");
    fs::create_dir(&place).unwrap();
    fs::create_dir(scratch.path().join("trap")).unwrap();
    fs::write(scratch.path().join("trap/file"), "").unwrap();
    let dir = Dir::open(&place).unwrap();
    fs::rename(&place, scratch.path().join("moved")).unwrap();
    symlink("trap", &place).unwrap();
    dir.write_temporary(b"text", Attributes::ours(0o644)).unwrap().rename_to("file").unwrap();
    assert_eq!(fs::read(scratch.path().join("moved/file")).unwrap(), b"text");
    assert_eq!(dir.remove_file("file").unwrap(), Removal::Removed);
    assert_eq!(fs::read(scratch.path().join("trap/file")).unwrap(), b"");
    assert_eq!(dir.real_path().unwrap(), fs::canonicalize(scratch.path().join("moved")).unwrap());
}

#[test]
fn a_directory_that_takes_no_files_is_named() {
    // Not even the superuser creates files in sysfs.
    let dir = Dir::open(Path::new("/sys")).unwrap();
    let error = dir.create_temporary().unwrap_err().to_string();
    assert!(error.starts_with("cannot create a temporary file in /sys: "), "{error}");
    assert!(
        dir.link_temporary(Path::new("x"))
            .unwrap_err()
            .to_string()
            .starts_with("cannot create a temporary link in /sys: ")
    );
    assert!(dir.make_dir("x", 0o755).unwrap_err().to_string().starts_with("cannot create the directory /sys/x: "));
    assert!(dir.private_dir("x").unwrap_err().to_string().starts_with("cannot create the directory /sys/x: "));
}

#[test]
fn paths_are_not_names() {
    let scratch = tempdir().unwrap();
    fs::create_dir(scratch.path().join("dir")).unwrap();
    fs::write(scratch.path().join("victim"), "").unwrap();
    let dir = Dir::open(&scratch.path().join("dir")).unwrap();
    for name in ["", ".", "..", "/", "a/b", "../victim", "a/", "/etc"] {
        assert!(dir.remove_file(name).is_err(), "{name:?}");
        assert!(dir.remove_dir(name).is_err(), "{name:?}");
        assert!(dir.remove_tree(name).is_err(), "{name:?}");
        assert!(dir.entry(name, LIMIT).is_err(), "{name:?}");
        assert!(dir.create(name).is_err(), "{name:?}");
        assert!(dir.make_dir(name, 0o755).is_err(), "{name:?}");
        assert!(dir.write_temporary(b"", Attributes::ours(0o644)).unwrap().rename_to(name).is_err(), "{name:?}");
    }
    assert!(scratch.path().join("victim").exists());
    assert!(dir.list().unwrap().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_name_an_entry_of_this_directory_or_nothing(name in prop::collection::vec(prop_oneof![Just(b'/'), Just(b'.'), any::<u8>()], 0..6)) {
        let scratch = tempdir().unwrap();
        fs::create_dir(scratch.path().join("dir")).unwrap();
        let dir = Dir::open(&scratch.path().join("dir")).unwrap();
        let name = OsStr::from_bytes(&name);
        if dir.create(name).is_ok() {
            prop_assert_eq!(dir.list().unwrap(), [Listed { name: name.to_owned(), kind: Kind::File }]);
            prop_assert_eq!(dir.remove_file(name).unwrap(), Removal::Removed);
        }
        prop_assert!(dir.list().unwrap().is_empty());
        prop_assert_eq!(Dir::open(scratch.path()).unwrap().list().unwrap().len(), 1);
    }
}
