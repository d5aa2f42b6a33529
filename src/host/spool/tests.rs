#![expect(
    clippy::disallowed_methods,
    reason = "the tests prepare and inspect real directories beside the code under test"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::time::Duration;

use tempfile::tempdir;

use super::*;
use crate::host::root::Root;

#[test]
fn a_spool_is_private_and_gone_afterwards() {
    let scratch = tempdir().unwrap();
    let root = Root::open(scratch.path()).unwrap();
    let lock = Lock::acquire(&root, Duration::ZERO, &|| false).unwrap();
    let spool = Spool::create(&lock).unwrap();
    assert!(spool.path().unwrap().starts_with(scratch.path().join("run/aa-converge")));
    assert_eq!(fs::metadata(spool.path().unwrap()).unwrap().mode() & 0o7777, 0o700);
    let _file = spool.dir().make_dir("sub", 0o700).unwrap().create("blob").unwrap();
    assert!(spool.path().unwrap().join("sub/blob").exists());
    let path = spool.path().unwrap();
    drop(spool);
    assert!(!path.exists());
    assert!(scratch.path().join("run/aa-converge/lock").exists());
}

#[test]
fn what_killed_runs_left_is_swept() {
    let scratch = tempdir().unwrap();
    let root = Root::open(scratch.path()).unwrap();
    let lock = Lock::acquire(&root, Duration::ZERO, &|| false).unwrap();
    let stale = scratch.path().join("run/aa-converge/spool-0123456789abcdef");
    fs::create_dir_all(stale.join("deep/er")).unwrap();
    fs::write(stale.join("deep/er/blob"), "").unwrap();
    Spool::sweep(&lock).unwrap();
    assert!(!stale.exists());
    assert!(scratch.path().join("run/aa-converge/lock").exists());
}

#[test]
fn a_spool_outside_leaves_the_root_alone() {
    let temporary = tempdir().unwrap();
    let spool = Spool::outside(temporary.path()).unwrap();
    assert_eq!(spool.path().unwrap().parent(), Some(temporary.path()));
    assert_eq!(fs::metadata(spool.path().unwrap()).unwrap().mode() & 0o7777, 0o700);
    drop(spool);
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[test]
fn the_path_of_a_spool_does_not_lead_out_of_an_image() {
    let scratch = tempdir().unwrap();
    fs::create_dir_all(scratch.path().join("var/volatile")).unwrap();
    symlink("/var/volatile", scratch.path().join("run")).unwrap();
    let root = Root::open(scratch.path()).unwrap();
    let lock = Lock::acquire(&root, Duration::ZERO, &|| false).unwrap();
    let spool = Spool::create(&lock).unwrap();
    let real = fs::canonicalize(scratch.path()).unwrap().join("var/volatile/aa-converge");
    assert_eq!(spool.path().unwrap().parent(), Some(real.as_path()));
}
