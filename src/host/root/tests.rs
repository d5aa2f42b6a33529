#![expect(
    clippy::disallowed_methods,
    reason = "the tests prepare and inspect real directories beside the code under test"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use nix::fcntl::{RenameFlags, renameat2};
use nix::unistd::mkfifo;
use proptest::prelude::*;
use tempfile::{TempDir, tempdir};

use super::*;

const LIMIT: u64 = 1 << 20;

/// A root with `etc/policy`, and beside it what must not be reached.
struct Scratch {
    outer: TempDir,
    root: Root,
}

impl Scratch {
    fn new() -> Self {
        let outer = tempdir().unwrap();
        fs::create_dir_all(outer.path().join("root/etc/policy")).unwrap();
        fs::create_dir(outer.path().join("outside")).unwrap();
        fs::write(outer.path().join("outside/secret"), "outside").unwrap();
        let root = Root::open(&outer.path().join("root")).unwrap();
        Self { outer, root }
    }

    fn inside(&self, path: &str) -> PathBuf {
        self.outer.path().join("root").join(path)
    }

    fn outside(&self, path: &str) -> PathBuf {
        self.outer.path().join("outside").join(path)
    }

    fn text(&self, path: &str) -> Option<String> {
        self.root.read(Path::new(path), LIMIT).unwrap().map(|file| String::from_utf8(file.bytes).unwrap())
    }
}

#[test]
fn a_file_is_read_with_its_attributes() {
    let scratch = Scratch::new();
    fs::write(scratch.inside("etc/policy/x"), "text").unwrap();
    fs::set_permissions(scratch.inside("etc/policy/x"), fs::Permissions::from_mode(0o640)).unwrap();
    let file = scratch.root.read(Path::new("/etc/policy/x"), 4).unwrap().unwrap();
    let found = fs::metadata(scratch.inside("etc/policy/x")).unwrap();
    assert_eq!(file.bytes, b"text");
    assert_eq!(file.attributes, Attributes { mode: 0o640, uid: found.uid(), gid: found.gid() });
    assert_eq!(file.identity, Identity { device: found.dev(), inode: found.ino() });
}

#[test]
fn nothing_is_absent_rather_than_an_error() {
    let scratch = Scratch::new();
    fs::write(scratch.inside("etc/policy/file"), "").unwrap();
    symlink("nowhere", scratch.inside("etc/policy/dangling")).unwrap();
    symlink("circle", scratch.inside("etc/policy/circle")).unwrap();
    let long = format!("/etc/{}", "x".repeat(300));
    for path in
        ["/etc/none", "/none/none", "/etc/policy/file/below", "/etc/policy/dangling", "/etc/policy/circle", &long]
    {
        assert_eq!(scratch.text(path), None, "{path}");
        assert_eq!(scratch.root.kind(Path::new(path)).unwrap(), None, "{path}");
    }
    assert_eq!(scratch.root.list(Path::new("/etc/none")).unwrap(), None);
    assert!(scratch.root.dir(Path::new("/etc/none")).unwrap().is_none());
    assert!(scratch.root.existing_private_dir(Path::new("/none/none")).unwrap().is_none());
}

#[test]
fn links_lead_to_places_inside_the_root_only() {
    let scratch = Scratch::new();
    fs::write(scratch.inside("etc/shadow"), "the image's own").unwrap();
    symlink("/etc/shadow", scratch.inside("etc/policy/absolute")).unwrap();
    symlink("../../../../../../etc/shadow", scratch.inside("etc/policy/climbing")).unwrap();
    symlink(scratch.outside("secret"), scratch.inside("etc/policy/out")).unwrap();
    symlink("../../../outside/secret", scratch.inside("etc/policy/beside")).unwrap();
    assert_eq!(scratch.text("/etc/policy/absolute").as_deref(), Some("the image's own"));
    assert_eq!(scratch.text("/etc/policy/climbing").as_deref(), Some("the image's own"));
    assert_eq!(scratch.text("/etc/policy/out"), None);
    assert_eq!(scratch.text("/etc/policy/beside"), None);
    assert_eq!(scratch.text("/../outside/secret"), None);
}

#[test]
fn a_policy_directory_that_is_a_link_is_found_inside_the_root() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.inside("usr/etc/apparmor.d")).unwrap();
    fs::write(scratch.inside("usr/etc/apparmor.d/x"), "profile").unwrap();
    symlink("/usr/etc/apparmor.d", scratch.inside("etc/apparmor.d")).unwrap();
    assert_eq!(scratch.text("/etc/apparmor.d/x").as_deref(), Some("profile"));
    let dir = scratch.root.dir(Path::new("/etc/apparmor.d")).unwrap().unwrap();
    assert_eq!(dir.read("x", LIMIT).unwrap().unwrap().bytes, b"profile");
    assert_eq!(dir.shown(), scratch.inside("etc/apparmor.d"));
    // The link is absolute: for another process it leads to the host's own directory.
    assert_eq!(dir.real_path().unwrap(), fs::canonicalize(scratch.inside("usr/etc/apparmor.d")).unwrap());
}

#[test]
fn magic_links_are_not_followed() {
    let root = Root::open(Path::new("/")).unwrap();
    assert_eq!(root.follow(Path::new("/proc/self/exe"), LIMIT).unwrap(), Entry::Absent);
}

#[test]
fn what_stands_at_a_path_is_told_without_following_it() {
    let scratch = Scratch::new();
    fs::write(scratch.inside("etc/policy/file"), "text").unwrap();
    symlink("/etc/policy/file", scratch.inside("etc/policy/link")).unwrap();
    symlink("circle", scratch.inside("etc/policy/circle")).unwrap();
    let entry = |path: &str| scratch.root.entry(Path::new(path), LIMIT).unwrap();
    assert!(matches!(entry("/etc/policy/file"), Entry::File(FileRead { bytes, .. }) if bytes == b"text"));
    assert_eq!(entry("/etc/policy/link"), Entry::Link { target: "/etc/policy/file".into() });
    assert_eq!(entry("/etc/policy/circle"), Entry::Link { target: "circle".into() });
    assert_eq!(entry("/etc/policy"), Entry::Directory);
    assert_eq!(entry("/etc/policy/none"), Entry::Absent);
    assert_eq!(entry("/etc/policy/circle/below"), Entry::Absent);
}

#[test]
fn fifos_sockets_and_devices_are_not_read() {
    let scratch = Scratch::new();
    mkfifo(&scratch.inside("etc/policy/fifo"), Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(scratch.inside("etc/policy/socket")).unwrap();
    for (path, words) in [("/etc/policy/fifo", "a FIFO"), ("/etc/policy/socket", "a socket")] {
        assert_eq!(scratch.root.follow(Path::new(path), LIMIT).unwrap(), Entry::Special(words));
        let error = scratch.root.read(Path::new(path), LIMIT).unwrap_err().to_string();
        assert!(error.ends_with(&format!("{path}: it cannot be read: it is {words}, not a regular file")), "{error}");
    }
    let host = Root::open(Path::new("/")).unwrap();
    assert_eq!(host.follow(Path::new("/dev/zero"), LIMIT).unwrap(), Entry::Special("a character device"));
    let error = host.read(Path::new("/etc"), LIMIT).unwrap_err().to_string();
    assert_eq!(error, "/etc: it cannot be read: it is a directory, not a regular file");
}

#[test]
fn a_file_over_the_limit_is_an_error_with_both_figures() {
    let scratch = Scratch::new();
    fs::File::create(scratch.inside("etc/policy/huge")).unwrap().set_len(1 << 40).unwrap();
    let error = scratch.root.read(Path::new("/etc/policy/huge"), 4096).unwrap_err().to_string();
    assert!(error.ends_with("it has 1099511627776 bytes, and at most 4096 are read"), "{error}");
}

#[test]
fn a_file_whose_size_says_nothing_is_read_whole_and_within_the_limit() {
    let host = Root::open(Path::new("/")).unwrap();
    let path = Path::new("/proc/self/status");
    let status = host.read(path, LIMIT).unwrap().unwrap();
    assert!(status.bytes.starts_with(b"Name:") && status.bytes.ends_with(b"\n"));
    let error = host.read(path, 10).unwrap_err().to_string();
    assert!(error.ends_with("it has more than 10 bytes, and at most 10 are read"), "{error}");
}

#[test]
fn the_root_itself_may_be_the_host() {
    assert!(Root::open(Path::new("/")).unwrap().is_host().unwrap());
    assert!(Root::open(Path::new("/proc/..")).unwrap().is_host().unwrap());
    let scratch = Scratch::new();
    assert!(!scratch.root.is_host().unwrap());
    assert_eq!(Root::open(Path::new("/")).unwrap().shown(Path::new("/etc/x")), Path::new("/etc/x"));
    assert_eq!(scratch.root.shown(Path::new("/etc/x")), scratch.inside("etc/x"));
}

#[test]
fn a_root_that_is_missing_or_a_file_is_named() {
    let scratch = Scratch::new();
    fs::write(scratch.inside("file"), "").unwrap();
    for (path, why) in [("none", "No such file or directory"), ("file", "Not a directory")] {
        let error = Root::open(&scratch.inside(path)).unwrap_err().to_string();
        let start = format!("cannot open the directory {}: {why}", scratch.inside(path).display());
        assert!(error.starts_with(&start), "{error}");
    }
}

#[test]
fn private_directories_are_made_with_those_above_them() {
    let scratch = Scratch::new();
    let dir = scratch.root.private_dir(Path::new("/var/lib/ours")).unwrap();
    assert_eq!(dir.shown(), scratch.inside("var/lib/ours"));
    let mode = |path: &str| fs::metadata(scratch.inside(path)).unwrap().mode() & 0o7777;
    assert_eq!((mode("var"), mode("var/lib"), mode("var/lib/ours")), (0o755, 0o755, 0o700));
    assert!(scratch.root.private_dir(Path::new("/")).is_err());
}

#[test]
fn a_dangling_link_above_a_private_directory_makes_nothing_elsewhere() {
    let scratch = Scratch::new();
    symlink(scratch.outside("made"), scratch.inside("run")).unwrap();
    let error = scratch.root.private_dir(Path::new("/run/ours")).unwrap_err().to_string();
    let leads_to = scratch.inside(scratch.outside("made").to_str().unwrap().trim_start_matches('/'));
    let why = format!("/root/run: it is a link that leads to {}, where no directory is", leads_to.display());
    assert!(error.ends_with(&why), "{error}");
    assert!(!scratch.outside("made").exists());
}

#[test]
fn swapping_a_directory_and_a_link_never_shows_what_is_outside() {
    let scratch = Scratch::new();
    fs::write(scratch.inside("etc/policy/secret"), "inside").unwrap();
    symlink(scratch.outside(""), scratch.inside("etc/other")).unwrap();
    let (policy, other) = (scratch.inside("etc/policy"), scratch.inside("etc/other"));
    let swap = || renameat2(AT_FDCWD, &policy, AT_FDCWD, &other, RenameFlags::RENAME_EXCHANGE).unwrap();
    let seen = while_another_thread(swap, || scratch.root.follow(Path::new("/etc/policy/secret"), LIMIT));
    assert!(seen.iter().all(|text| text == b"inside"));
    assert!(!seen.is_empty());
}

#[test]
fn moving_a_directory_up_does_not_lead_its_parents_out() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.inside("a/b/c")).unwrap();
    fs::write(scratch.inside("secret"), "inside").unwrap();
    let (deep, high) = (scratch.inside("a/b/c"), scratch.inside("c"));
    let path = Path::new("/a/b/c/../../../outside/../../secret");
    fs::create_dir(scratch.inside("outside")).unwrap();
    let swap = || fs::rename(&deep, &high).and_then(|()| fs::rename(&high, &deep)).unwrap();
    let seen = while_another_thread(swap, || scratch.root.follow(path, LIMIT));
    assert!(seen.iter().all(|text| text == b"inside"));
}

/// The texts that `look` finds while another thread swaps things; that an open is refused after many attempts is fine.
fn while_another_thread(swap: impl Fn() + Sync, look: impl Fn() -> Result<Entry, Error>) -> Vec<Vec<u8>> {
    std::thread::scope(|scope| {
        let swapping = scope.spawn(|| (0..1_000).for_each(|_| swap()));
        let mut seen = Vec::new();
        loop {
            // After the last swap, of an even number, everything is in its place again for one more look.
            let last = swapping.is_finished();
            match look() {
                Ok(Entry::File(file)) => seen.push(file.bytes),
                Ok(_) => {}
                Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
            if last {
                return seen;
            }
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_chain_of_links_leads_out(targets in prop::collection::vec("(/|\\.\\./|etc/|a/|b/|outside/|root/){0,6}(a|b|secret|\\.\\.)", 2), path in "/(etc/|a/|b/|\\.\\./|outside/){0,6}(a|b|secret)") {
        let scratch = Scratch::new();
        fs::write(scratch.inside("secret"), "inside").unwrap();
        symlink(&targets[0], scratch.inside("a")).unwrap();
        symlink(&targets[1], scratch.inside("etc/b")).unwrap();
        if let Ok(Entry::File(file)) = scratch.root.follow(Path::new(&path), LIMIT) {
            prop_assert_eq!(file.bytes, b"inside");
        }
    }
}
