#![expect(
    clippy::disallowed_methods,
    reason = "the tests prepare and inspect real directories beside the code under test"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::{Command, Stdio};

use nix::unistd::mkfifo;
use proptest::prelude::*;
use tempfile::{TempDir, tempdir};

use super::*;

fn scratch() -> (TempDir, Root) {
    let scratch = tempdir().unwrap();
    let root = Root::open(scratch.path()).unwrap();
    (scratch, root)
}

fn take(root: &Root) -> Result<Lock, Error> {
    Lock::acquire(root, Duration::ZERO, &|| false)
}

#[test]
fn the_second_one_learns_who_was_first() {
    let (scratch, root) = scratch();
    let lock = take(&root).unwrap();
    let file = scratch.path().join("run/aa-converge/lock");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{}\n", std::process::id()));
    let error = take(&root).unwrap_err();
    assert_eq!(error.to_string(), format!("another run holds the lock (process {})", std::process::id()));
    drop(lock);
    assert_eq!(fs::read_to_string(&file).unwrap(), "");
    let _lock = take(&root).unwrap();
}

#[test]
fn who_left_nothing_behind_is_known_in_the_same_boot_alone() {
    let (scratch, root) = scratch();
    let file = scratch.path().join("run/aa-converge/lock");
    let follows_nothing_left = |leaves_nothing: bool| {
        let mut lock = take(&root).unwrap();
        if leaves_nothing {
            lock.leaves_nothing();
        }
        lock.follows_nothing_left()
    };
    assert!(!follows_nothing_left(true), "there was no run before");
    assert!(follows_nothing_left(false));
    assert!(!follows_nothing_left(true), "the run before said nothing");
    let signed = fs::read_to_string(&file).unwrap();
    let others = [signed.replace(|c: char| c.is_ascii_digit(), "0"), format!("{signed}\n"), "7\n".to_owned()];
    for other in others {
        fs::write(&file, &other).unwrap();
        assert!(!follows_nothing_left(true), "{other}");
    }
    assert!(follows_nothing_left(true));
    let panicked = std::panic::catch_unwind(|| {
        let _lock = take(&root).unwrap();
        panic!("a defect");
    });
    assert!(panicked.is_err() && !follows_nothing_left(true));
}

#[test]
fn a_lock_that_is_released_in_time_is_taken() {
    let (_scratch, root) = scratch();
    let lock = take(&root).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| Lock::acquire(&root, Duration::from_secs(60), &|| false).map(drop));
        std::thread::park_timeout(Duration::from_millis(120));
        drop(lock);
        waiting.join().unwrap().unwrap();
    });
}

#[test]
fn waiting_ends_at_the_timeout_and_at_an_interruption() {
    let (_scratch, root) = scratch();
    let _lock = take(&root).unwrap();
    let started = Instant::now();
    let outcome = Lock::acquire(&root, Duration::from_millis(120), &|| false);
    assert!(matches!(outcome, Err(Error::LockHeld { pid: Some(_) })));
    assert!(started.elapsed() >= Duration::from_millis(120));
    let asked = std::cell::Cell::new(0);
    let outcome = Lock::acquire(&root, Duration::from_secs(3600), &|| {
        asked.set(asked.get() + 1);
        asked.get() == 3
    });
    assert!(matches!(outcome, Err(Error::Interrupted)));
}

#[test]
fn another_process_holds_it_and_dies() {
    let (scratch, root) = scratch();
    drop(take(&root).unwrap());
    let file = scratch.path().join("run/aa-converge/lock");
    let mut holder = Command::new("flock")
        .arg(&file)
        .args(["sh", "-c", "echo $$ >\"$0\"; echo held; exec cat"])
        .arg(&file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(holder.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");
    let signed: u32 = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    assert!(matches!(take(&root), Err(Error::LockHeld { pid: Some(pid) }) if pid == signed));
    // The end of its input ends `cat`, and with it `flock`.
    drop(holder.stdin.take());
    said.read_to_string(&mut line).unwrap();
    holder.wait().unwrap();
    let _lock = take(&root).unwrap();
}

#[test]
fn a_lock_file_that_was_removed_meanwhile_is_no_lock() {
    let (scratch, root) = scratch();
    let old = take(&root).unwrap();
    fs::remove_file(scratch.path().join("run/aa-converge/lock")).unwrap();
    let new = take(&root).unwrap();
    // Dropping the lock on the removed file leaves the new one alone.
    drop(old);
    assert!(matches!(take(&root), Err(Error::LockHeld { .. })));
    drop(new);
}

#[test]
fn a_lock_file_that_is_removed_between_opening_and_locking_is_no_lock() {
    let (scratch, root) = scratch();
    let dir = root.private_dir(Path::new(PLACE)).unwrap();
    let file = open(&dir).unwrap();
    fs::remove_file(scratch.path().join("run/aa-converge/lock")).unwrap();
    let _lock = take(&root).unwrap();
    assert!(matches!(Lock::lock(&root, dir, file), Ok(Attempt::Held { pid: None })));
}

#[test]
fn links_and_fifos_in_place_of_the_lock_are_refused() {
    let (scratch, root) = scratch();
    drop(take(&root).unwrap());
    let place = scratch.path().join("run/aa-converge/lock");
    fs::write(scratch.path().join("victim"), "victim").unwrap();
    let plant: [(&str, &dyn Fn()); 3] = [
        ("a symbolic link", &|| symlink("../../victim", &place).unwrap()),
        ("a FIFO", &|| mkfifo(&place, Mode::S_IRWXU).unwrap()),
        ("a directory", &|| fs::create_dir(&place).unwrap()),
    ];
    for (words, plant) in plant {
        fs::remove_file(&place).unwrap();
        plant();
        let error = take(&root).unwrap_err();
        assert_eq!(error.to_string(), format!("{}: it is {words}, not a regular file", place.display()));
    }
    assert_eq!(fs::read(scratch.path().join("victim")).unwrap(), b"victim");
}

#[test]
fn a_link_in_place_of_our_directory_is_refused() {
    let (scratch, root) = scratch();
    fs::create_dir_all(scratch.path().join("run")).unwrap();
    fs::create_dir(scratch.path().join("trap")).unwrap();
    symlink("/trap", scratch.path().join("run/aa-converge")).unwrap();
    assert!(matches!(take(&root), Err(Error::Untrusted { .. })));
    assert_eq!(fs::read_dir(scratch.path().join("trap")).unwrap().count(), 0);
}

#[test]
fn an_image_whose_run_is_a_link_is_locked_inside_the_image() {
    let (scratch, root) = scratch();
    fs::create_dir_all(scratch.path().join("var/run")).unwrap();
    symlink("/var/run", scratch.path().join("run")).unwrap();
    let _lock = take(&root).unwrap();
    assert!(scratch.path().join("var/run/aa-converge/lock").exists());
}

#[test]
fn numbers_that_cannot_be_the_holders_are_not_told() {
    for bytes in ["", "1", "0\n", "-1\n", "x\n", "4194304\n", "99999999999999999999\n", " 1\n", "1\n\n"] {
        assert_eq!(holder_pid(bytes.as_bytes()), None, "{bytes:?}");
    }
    assert_eq!(holder_pid(b"1\n"), Some(1));
    let mut gone = Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    assert_eq!(holder_pid(format!("{}\n", gone.id()).as_bytes()), None);
}

proptest! {
    #[test]
    fn any_bytes_are_read_as_a_number_or_not(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = holder_pid(&bytes);
    }
}
