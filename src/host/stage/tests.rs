use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn stage() -> (tempfile::TempDir, Stage) {
    let spool = tempfile::tempdir().unwrap();
    let stage = Stage::new(spool.path(), Path::new("/etc/apparmor.d")).unwrap();
    (spool, stage)
}

#[expect(clippy::disallowed_methods, reason = "the test looks at what was staged")]
fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the test looks at what was staged")]
fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn files_are_private_and_in_their_place() {
    let (spool, mut stage) = stage();
    let file = Path::new("/etc/apparmor.d/tunables/home.d/site");
    stage.add(file, b"\xff\n", &[]).unwrap();
    let staged = spool.path().join("stage/etc/apparmor.d/tunables/home.d/site");
    assert_eq!(stage.path(file), staged);
    assert_eq!(read(&staged), b"\xff\n");
    assert_eq!(mode(&staged), 0o600);
    assert_eq!(mode(staged.parent().unwrap()), 0o700);
    stage.add(file, b"other", &[]).unwrap();
    assert_eq!(read(&staged), b"\xff\n", "what is staged stays");
}

#[test]
fn included_paths_are_replaced_and_lines_kept() {
    let (spool, mut stage) = stage();
    let text = b"abi \"/a\",\ninclude if exists <../b> # </b>\n/x r,";
    let replacements = [(4..8, "/a".into()), (28..34, "/etc/b c".into())];
    assert_eq!(&text[28..34], b"<../b>");
    stage.add(Path::new("/etc/apparmor.d/p"), text, &replacements).unwrap();
    let top = spool.path().join("stage");
    let expected = format!("abi \"{0}/a\",\ninclude if exists \"{0}/etc/b c\" # </b>\n/x r,", top.display());
    assert_eq!(read(&stage.path(Path::new("/etc/apparmor.d/p"))), expected.as_bytes());
}

#[test]
fn what_cannot_be_staged_truly_is_refused() {
    let (_spool, mut stage) = stage();
    for path in ["relative", "/a/../../b", "/"] {
        assert!(stage.add(Path::new(path), b"", &[]).is_err(), "{path}");
    }
    let bad: [&[(Range<usize>, PathBuf)]; 6] = [
        &[(0..99, "/a".into())],
        &[(2..3, "/a".into()), (1..2, "/a".into())],
        &[(0..1, "/a\"b".into())],
        &[(0..1, "/a\\b".into())],
        &[(0..1, "/a\nb".into())],
        &[(0..5, "/a".into())],
    ];
    for (number, replacements) in bad.iter().enumerate() {
        assert!(stage.add(Path::new("/p"), b"abc\nd", replacements).is_err(), "{number}");
    }
    stage.add(Path::new("/p"), b"abc\nd", &[]).unwrap();
    assert!(stage.add(Path::new("/p/q"), b"", &[]).is_err(), "a file is no directory");
}

#[test]
fn one_spool_holds_one_stage() {
    let (spool, _stage) = stage();
    let again = Stage::new(spool.path(), Path::new("/etc/apparmor.d")).unwrap_err();
    assert!(again.to_string().starts_with("cannot make the directory "), "{again}");
}
