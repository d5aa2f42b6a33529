//! Compiled policy that a boot loads in place of the text. What a boot would do is asked of the real parser, called as
//! Debian's `apparmor.service` calls it, but for the kernel.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::scratch::{PARSER, PROGRAM, Run, Scratch, assert_untouched, command, copy, entry, profile, profiles, tree};

/// Where the parser keeps its cache without `cache-loc`.
pub(crate) const PLACE: &str = "var/cache/apparmor";
const EARLY: &str = "etc/apparmor/earlypolicy";

/// What the parser did about one profile at a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Took {
    /// The text, which it compiled.
    Text,
    /// The compiled policy in the cache.
    Cache,
}
use Took::{Cache, Text};

/// The kernel features that all is compiled for here: with a root, those of its newest abi.
fn features(host: &Scratch) -> PathBuf {
    host.policy("abi/3.0")
}

/// Puts the machine's parser where the host's boots find one, so that a run can know what it would write.
pub(crate) fn with_parser(host: Scratch) -> Scratch {
    fs_err::create_dir_all(host.path("sbin")).unwrap();
    copy(Path::new(PARSER), &host.path("sbin/apparmor_parser"));
    host
}

/// Boots the host as far as policy is concerned, with the cache at `place`, and says what was taken.
fn boot_with(host: &Scratch, place: &str) -> BTreeMap<String, Took> {
    // The package apparmor ships the directory; the parser makes none above it.
    fs_err::create_dir_all(host.path(place)).unwrap();
    let mut parser = command(PARSER);
    parser.arg("--config-file").arg(host.path("etc/apparmor/parser.conf"));
    parser.arg("--base").arg(host.policy("")).arg("--kernel-features").arg(features(host));
    parser.arg("--cache-loc").arg(host.path(place));
    parser.args(["--skip-kernel-load", "--show-cache", "--write-cache", "--replace", "--"]).arg(host.policy(""));
    let output = parser.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let mut took = BTreeMap::new();
    for line in said.lines() {
        let (path, what) = match (line.strip_prefix("Cache hit: "), line.strip_prefix("Cache miss: ")) {
            (Some(path), _) => (path, Cache),
            (_, Some(path)) => (path, Text),
            (None, None) => continue,
        };
        took.insert(Path::new(path).file_name().unwrap().to_str().unwrap().to_owned(), what);
    }
    took
}

pub(crate) fn boot(host: &Scratch) -> BTreeMap<String, Took> {
    boot_with(host, PLACE)
}

/// The one directory at a place of the cache.
pub(crate) fn directory(host: &Scratch, place: &str) -> PathBuf {
    let found: Vec<_> = fs_err::read_dir(host.path(place)).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [directory] = &found[..] else { panic!("{place} holds {found:?}") };
    directory.clone()
}

/// Entries by name: time stamp and bytes.
pub(crate) type Entries = BTreeMap<String, ((i64, i64), Vec<u8>)>;

pub(crate) fn entries(directory: &Path) -> Entries {
    let nodes = tree(directory).into_iter().filter(|(name, _)| !name.is_empty() && name != ".features");
    nodes.map(|(name, node)| (name, (node.modified, node.content))).collect()
}

/// What the parser itself would cache now.
fn own_entries(host: &Scratch) -> Entries {
    boot_with(host, "own-cache");
    let own = entries(&directory(host, "own-cache"));
    fs_err::remove_dir_all(host.path("own-cache")).unwrap();
    own
}

fn set_modified(path: &Path, time: SystemTime) {
    fs_err::OpenOptions::new().write(true).open(path).unwrap().into_file().set_modified(time).unwrap();
}

/// Makes every entry one that no time stamp of a text will ever put out of date.
fn make_everlasting(directory: &Path) {
    for name in entries(directory).keys() {
        set_modified(&directory.join(name), SystemTime::now() + Duration::from_secs(3_000_000_000));
    }
}

fn other(name: &str) -> Value {
    json!({ "file": name, "content": profile(name).replace("data", "more") })
}

/// Hosts whose runs can and cannot write the parser's own entries.
fn hosts() -> [Scratch; 2] {
    [Scratch::new(), with_parser(Scratch::new())]
}

#[test]
fn the_next_boot_takes_what_was_compiled() {
    let host = with_parser(Scratch::new());
    host.converge(&profiles(json!([entry("one"), entry("two")])));
    assert_eq!(boot(&host), [("one".into(), Text), ("two".into(), Text)].into());
    host.converge(&profiles(json!([other("one"), entry("two"), entry("three")])));
    let cache = directory(&host, PLACE);
    assert_eq!(entries(&cache), own_entries(&host));
    assert_eq!(cache.join("one").metadata().unwrap().mode() & 0o7777, 0o600);
    assert_eq!(boot(&host), [("one".into(), Cache), ("two".into(), Cache), ("three".into(), Cache)].into());
}

#[test]
fn entries_are_the_parsers_own_for_the_distributions_profiles() {
    let host = with_parser(Scratch::debian());
    for installed in ["nvidia_modprobe", "lsb_release", "usr.bin.man", "usr.sbin.tcpdump"] {
        let from = Path::new("/etc/apparmor.d").join(installed);
        if from.exists() {
            copy(&from, &host.policy(installed));
        }
    }
    let before = boot(&host);
    assert!(before.len() >= 2, "the machine has some of the profiles: {before:?}");
    let run = host.converge(&json!({
        "version": 1, "owner": "test",
        "files": [{ "path": "tunables/home.d/site", "content": "@{HOMEDIRS}+=/srv/home/\n" }],
    }));
    assert!(run.report["summary"]["reloaded"].as_u64().unwrap() > 0, "{run:#?}");
    let (left, own) = (entries(&directory(&host, PLACE)), own_entries(&host));
    let reloaded: Vec<_> =
        run.report["profiles"].as_array().unwrap().iter().map(|entry| entry["file"].as_str().unwrap()).collect();
    for file in &reloaded {
        assert!(left[*file] == own[*file], "{file}: {:?} and {:?}", left[*file].0, own[*file].0);
    }
    assert!(boot(&host).values().all(|took| *took == Cache));
}

#[test]
fn policy_that_stays_the_same_stays_warm() {
    let host = with_parser(Scratch::new());
    host.write("dependent", profile("dependent"));
    host.converge(&profiles(json!([entry("one")])));
    boot(&host);
    // The same rules in another text: no entry changes but for its time stamp.
    let text = "# The site's own.\n/etc/site.conf r,\n";
    let run = host.converge(&json!({
        "version": 1, "owner": "test",
        "files": [{ "path": "abstractions/site", "content": text }],
        "profiles": [entry("one")],
    }));
    assert_eq!(run.report["summary"]["reloaded"], 0, "{run:#?}");
    assert_eq!(entries(&directory(&host, PLACE)), own_entries(&host));
    assert_eq!(boot(&host), [("dependent".into(), Cache), ("one".into(), Cache)].into());
    // And when somebody else changed it.
    host.write("abstractions/site", "# Somebody's.\n/etc/site.conf r,\n");
    let run = host.converge(&profiles(json!([entry("one")])));
    assert!(!run.changed(), "{run:#?}");
    assert_eq!(boot(&host), [("dependent".into(), Text), ("one".into(), Cache)].into());
}

#[test]
fn no_time_stamp_brings_old_policy_back() {
    for host in hosts() {
        for name in ["dependent", "idle"] {
            host.write(name, profile(name).replace("abstractions/site", "abstractions/other"));
        }
        let listed = ["changed", "absent", "disabled", "complaining", "same"];
        host.converge(&profiles(json!(listed.map(entry))));
        boot(&host);
        let cache = directory(&host, PLACE);
        make_everlasting(&cache);
        let before = entries(&cache);
        assert_eq!(before.len(), 7);
        symlink("../idle", host.policy("disable/idle")).unwrap();
        host.converge(&json!({
            "version": 1, "owner": "test",
            "files": [{ "path": "abstractions/other", "content": "/etc/else r,\n" }],
            "profiles": [
                other("changed"), entry("same"),
                { "file": "absent", "state": "absent" },
                { "file": "disabled", "content": profile("disabled"), "mode": "disabled" },
                { "file": "complaining", "content": profile("complaining"), "mode": "complain" },
            ],
        }));
        fs_err::remove_file(host.policy("disable/idle")).unwrap();
        for (name, left) in entries(&cache) {
            assert_eq!(before[&name] == left, name == "same", "{name}");
        }
        let took = boot(&host);
        assert_eq!(took["same"], Cache);
        assert_eq!(took["idle"], Text, "a profile that was switched off is not compiled for its sake");
        let compiled = |entries: Entries| -> BTreeMap<String, Vec<u8>> {
            entries.into_iter().map(|(name, (_, bytes))| (name, bytes)).collect()
        };
        let own = compiled(own_entries(&host));
        for (name, bytes) in compiled(entries(&cache)) {
            assert!(own[&name] == bytes, "{name} is not what is installed");
        }
    }
}

#[test]
fn a_forced_mode_and_back_again_leaves_no_entry_from_before() {
    for host in hosts() {
        host.write("one", profile("one"));
        boot(&host);
        let cache = directory(&host, PLACE);
        for mode in ["complain", "disabled"] {
            make_everlasting(&cache);
            host.converge(&profiles(json!([{ "file": "one", "mode": mode }])));
            assert_eq!(entries(&cache), [].into(), "{mode}");
            // Who edits the text meanwhile may leave any time stamp.
            host.write("one", profile("one").replace("data", mode));
            set_modified(&host.policy("one"), SystemTime::UNIX_EPOCH);
            host.converge(&profiles(json!([{ "file": "one", "mode": "enforce" }])));
            boot(&host);
            assert!(entries(&cache)["one"].1 == own_entries(&host)["one"].1, "{mode}");
        }
    }
}

#[test]
fn an_entry_that_others_made_is_judged_when_a_profile_is_first_seen() {
    for host in hosts() {
        for name in ["right", "wrong", "off"] {
            host.write(name, profile(name));
        }
        boot(&host);
        symlink("../off", host.policy("disable/off")).unwrap();
        let cache = directory(&host, PLACE);
        fs_err::copy(cache.join("right"), cache.join("wrong")).unwrap();
        make_everlasting(&cache);
        let before = entries(&cache);
        let wanted = json!([{ "file": "off", "mode": "disabled" }, entry("right"), entry("wrong")]);
        let run = host.converge(&profiles(wanted.clone()));
        assert!(!run.changed(), "{run:#?}");
        let left = entries(&cache);
        assert!(left["right"].1 == before["right"].1, "it is what the text compiles to");
        assert_ne!(left.get("wrong"), Some(&before["wrong"]));
        assert_eq!(left.get("off"), None);
        boot(&host);
        assert!(entries(&cache)["wrong"].1 == own_entries(&host)["wrong"].1);
        let state = || host.path("var/lib/aa-converge");
        let (before, state_before) = (tree(&cache), tree(&state()));
        host.converge(&profiles(wanted));
        assert_untouched(&before, &tree(&cache));
        assert_untouched(&state_before, &tree(&state()));
    }
}

#[test]
fn a_text_that_was_put_back_in_time_is_found_out() {
    let host = with_parser(Scratch::new());
    let document = profiles(json!([entry("one")]));
    host.converge(&document);
    boot(&host);
    host.converge(&profiles(json!([other("one")])));
    host.converge(&document);
    assert_eq!(boot(&host)["one"], Cache);
    // A later time stamp puts our entry out of date as it does the parser's own.
    let compiled = entries(&directory(&host, PLACE))["one"].clone();
    host.write("one", profile("one").replace("data", "newer"));
    assert_eq!(boot(&host)["one"], Text);
    host.write("one", profile("one").replace("data", "older"));
    set_modified(&host.policy("one"), SystemTime::UNIX_EPOCH);
    assert_eq!(boot(&host)["one"], Cache, "the parser trusts time stamps");
    // The text is one that was compiled before, so it is not compiled again: the entry is only removed.
    host.converge(&document);
    assert_eq!(boot(&host)["one"], Text);
    assert!(entries(&directory(&host, PLACE))["one"].1 == compiled.1);
}

#[test]
fn every_place_of_the_cache_is_cleared() {
    for conf in [
        "cache-loc=/srv/first,/srv/second\n",
        "cache-loc=/srv/nowhere\ncache-loc /srv/first,/srv/second\n",
        "cache-loc=/srv/fi\\,rst\ncache-loc=/srv/linked,/srv/first,/srv/second\n",
    ] {
        let host = Scratch::new();
        fs_err::write(host.path("etc/apparmor/parser.conf"), conf).unwrap();
        fs_err::create_dir_all(host.path("srv/elsewhere")).unwrap();
        symlink("elsewhere", host.path("srv/linked")).unwrap();
        host.converge(&profiles(json!([entry("one"), entry("two")])));
        let places = ["srv/first", "srv/second", "srv/elsewhere", PLACE, "etc/apparmor.d/cache.d", EARLY];
        let places = places.into_iter().filter(|place| conf.contains("linked") || !place.contains("elsewhere"));
        let directories = places.flat_map(|place| [format!("{place}/6ff7d57f.0"), format!("{place}/0badcafe.12")]);
        let directories: Vec<_> = directories.map(|directory| host.path(directory)).collect();
        for directory in &directories {
            fs_err::create_dir_all(directory).unwrap();
            for name in ["one", "two"] {
                fs_err::write(directory.join(name), "compiled long ago").unwrap();
            }
        }
        host.converge(&profiles(json!([other("one"), entry("two")])));
        for directory in &directories {
            assert_eq!(entries(directory).into_keys().collect::<Vec<_>>(), ["two"], "{}", directory.display());
        }
    }
}

#[test]
fn a_linked_directory_of_the_cache_is_one_only_if_it_says_so() {
    let host = Scratch::new();
    host.converge(&profiles(json!([entry("one")])));
    fs_err::create_dir_all(host.path(PLACE)).unwrap();
    for (directory, is_cache) in [("srv/cache", true), ("srv/documents", false)] {
        fs_err::create_dir_all(host.path(directory)).unwrap();
        fs_err::write(host.path(directory).join("one"), "x").unwrap();
        symlink(Path::new("/").join(directory), host.path(PLACE).join(format!("{}.0", u8::from(is_cache)))).unwrap();
    }
    copy(&features(&host), &host.path("srv/cache/.features"));
    host.converge(&profiles(json!([other("one")])));
    assert!(!host.path("srv/cache/one").exists(), "the parser follows the link");
    assert!(host.path("srv/documents/one").exists());
}

#[test]
fn a_cache_in_the_policy_directory_costs_no_policy() {
    let host = Scratch::new();
    fs_err::write(host.path("etc/apparmor/parser.conf"), "cache-loc=/etc/apparmor.d\n").unwrap();
    host.write("local/one", "/srv/local r,\n");
    host.converge(&profiles(json!([entry("one")])));
    fs_err::create_dir_all(host.policy("6ff7d57f.0")).unwrap();
    host.write("6ff7d57f.0/one", "compiled long ago");
    host.converge(&profiles(json!([other("one")])));
    assert!(host.has("one") && host.has("local/one") && !host.has("6ff7d57f.0/one"));

    copy(&features(&host), &host.policy(".features"));
    symlink(".", host.policy("6ff7d57f.1")).unwrap();
    host.converge(&profiles(json!([entry("one")])));
    assert_eq!(host.read("one"), profile("one"));
}

#[test]
fn early_policy_is_known_by_what_is_in_it() {
    for host in hosts() {
        host.write("bystander", profile("bystander"));
        host.write("gone-child", "profile gone-child {\n  ^old {\n    /x r,\n  }\n}\n");
        let before = [entry("one"), entry("two"), json!({ "file": "gone-child", "content": host.read("gone-child") })];
        host.converge(&profiles(json!(before)));
        boot_with(&host, EARLY);
        let early = directory(&host, EARLY);
        let joined = [fs_err::read(early.join("bystander")).unwrap(), fs_err::read(early.join("one")).unwrap()];
        fs_err::write(early.join("joined"), joined.concat()).unwrap();
        copy(&early.join("one"), &early.join("one-Xk3fQz"));
        copy(&early.join("gone-child"), &early.join("with-child"));
        copy(&early.join("bystander"), &early.join("theirs"));
        copy(&early.join("two"), &early.join("two-again"));
        let odd = OsStr::from_bytes(b"odd-\xff");
        copy(&early.join("one"), &early.join(odd));
        fs_err::write(early.join("unreadable"), "not compiled policy").unwrap();
        fs_err::write(early.join("one.dpkg-old"), fs_err::read(early.join("one")).unwrap()).unwrap();

        let without_child = json!({ "file": "gone-child", "content": "profile gone-child {\n}\n" });
        let run = host.converge(&profiles(json!([other("one"), entry("two"), without_child])));
        assert!(!early.join(odd).exists());
        let left: Vec<_> = entries(&early).into_keys().collect();
        let mut expected = vec!["bystander", "one.dpkg-old", "theirs", "two", "two-again", "unreadable"];
        if host.path("sbin/apparmor_parser").exists() {
            expected.extend(["one", "gone-child"]);
            for name in ["one", "gone-child"] {
                assert!(entries(&early)[name] == own_entries(&host)[name], "{name}");
            }
        }
        expected.sort_unstable();
        assert_eq!(left, expected);
        assert!(run.warns("joined") && run.warns("with-child") && run.warns("`one`"), "{run:#?}");
    }
}

fn add_to_conf(host: &Scratch, line: &str) {
    let path = host.path("etc/apparmor/parser.conf");
    let text = fs_err::read_to_string(&path).unwrap();
    fs_err::write(path, format!("{text}{line}\n")).unwrap();
}

#[test]
fn an_entry_is_written_only_where_it_is_certainly_the_parsers_own() {
    type Spoil = fn(&Scratch);
    let spoils: [(&str, Spoil); 7] = [
        ("another parser", |host| fs_err::write(host.path("sbin/apparmor_parser"), "another").unwrap()),
        ("no parser", |host| fs_err::remove_file(host.path("sbin/apparmor_parser")).unwrap()),
        ("other features", |host| {
            let features = fs_err::read_to_string(directory(host, PLACE).join(".features")).unwrap();
            fs_err::write(directory(host, PLACE).join(".features"), format!("{features}\n")).unwrap();
        }),
        ("no features", |host| fs_err::remove_file(directory(host, PLACE).join(".features")).unwrap()),
        ("an unknown option", |host| add_to_conf(host, "frobnicate")),
        ("a namespace", |host| add_to_conf(host, "namespace=other")),
        ("no cache", |host| add_to_conf(host, "skip-cache")),
    ];
    for (what, spoil) in spoils {
        let host = with_parser(Scratch::new());
        host.converge(&profiles(json!([entry("one")])));
        boot(&host);
        spoil(&host);
        let run = host.converge(&profiles(json!([other("one")])));
        assert_eq!(entries(&directory(&host, PLACE)), [].into(), "{what}: {run:#?}");
    }
}

#[test]
fn options_that_change_what_a_boot_does_are_told() {
    for (line, words) in [
        ("Complain", "no profile is enforced"),
        ("base=/srv/policy", "/srv/policy"),
        ("skip-kernel-load", "loads no policy"),
        ("skip-read-cache", "compiles every profile anew"),
        ("namespace=x", "into that policy namespace"),
        ("abort-on-error", "keeps a boot from loading"),
        ("force-complain", "leaves out"),
    ] {
        let host = Scratch::new();
        fs_err::write(host.path("etc/apparmor/parser.conf"), format!("{line}\n")).unwrap();
        let run = host.apply_with(&["--check"], &profiles(json!([entry("one")])));
        assert!(run.warns(words) && run.warns(line.split('=').next().unwrap()), "{line}: {run:#?}");
    }
}

/// Runs `apply` with `place` mounted read-only.
fn apply_with_read_only(host: &Scratch, place: &str, options: &str, document: &Value) -> Run {
    let mut unshare = command("unshare");
    if !nix::unistd::geteuid().is_root() {
        unshare.arg("--map-root-user");
    }
    let script = format!(
        "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && exec {PROGRAM} apply {options} --root \"$2\""
    );
    unshare.args(["--mount", "sh", "-e", "-c", &script, "sh"]).arg(host.path(place)).arg(host.root());
    Run::of(unshare.stdin(Scratch::input(document.to_string())))
}

#[test]
fn an_entry_that_cannot_be_removed_refuses_the_run() {
    for place in [PLACE, "usr/share/policy-cache", EARLY] {
        let host = with_parser(Scratch::new());
        fs_err::write(host.path("etc/apparmor/parser.conf"), "cache-loc=/var/cache/apparmor,/usr/share/policy-cache\n")
            .unwrap();
        host.converge(&profiles(json!([entry("one"), entry("two")])));
        boot_with(&host, place);
        let stale = directory(&host, place).join("one");
        let before = host.policy_tree();
        for options in ["--check", ""] {
            let run = apply_with_read_only(&host, place, options, &profiles(json!([other("one"), entry("two")])));
            run.expect(4);
            assert_eq!(run.error_code(), "boot_cache");
            let message = run.report["error"]["message"].as_str().unwrap();
            assert!(message.contains(stale.to_str().unwrap()) && message.contains("ead-only"), "{message}");
            assert!(!message.contains("two"), "{message}");
            assert!(run.report["error"]["remedy"].as_str().unwrap().contains("cache-loc"), "{run:#?}");
            assert_eq!(host.policy_tree(), before);
        }
        // What holds nothing of a changed profile stands in nobody's way.
        let run = apply_with_read_only(&host, place, "", &profiles(json!([entry("one"), entry("two"), entry("new")])));
        run.expect(0);
        assert!(!run.warns("boot"), "{run:#?}");
        host.converge(&profiles(json!([other("one"), entry("two"), entry("new")])));
        assert_ne!(fs_err::read(stale).ok(), Some(Vec::new()));
    }
}

#[test]
fn a_cache_that_cannot_be_warmed_is_worth_a_warning() {
    let host = with_parser(Scratch::new());
    host.converge(&profiles(json!([entry("one")])));
    boot(&host);
    let cache = directory(&host, PLACE);
    // A directory at the entry's name takes no file.
    fs_err::create_dir_all(cache.join("two")).unwrap();
    let run = host.converge(&profiles(json!([other("one"), entry("two")])));
    assert!(run.warns("the next boot compiles some profiles again"), "{run:#?}");
    assert_eq!(boot(&host)["one"], Cache);
    let names: Vec<_> = entries(&cache).into_keys().collect();
    assert_eq!(names, ["one", "two"], "and nothing half done is left");
}

#[test]
fn a_run_that_is_undone_leaves_no_entry_of_its_policy() {
    let host = with_parser(Scratch::new());
    let old = profiles(json!([entry("one"), entry("two")]));
    host.converge(&old);
    boot(&host);
    let cache = directory(&host, PLACE);
    let before = entries(&cache);
    let new = profiles(json!([other("one"), entry("two"), entry("three")]));

    // The ledger is renamed into place last: by then, the entries are written.
    for (what, code, signal) in [("error=EIO", Some(5), None), ("signal=KILL", None, Some(9))] {
        let twin = host.duplicate();
        let cache = directory(&twin, PLACE);
        let calls = renames(&twin.duplicate(), &new);
        let ledger = calls.iter().position(|line| line.contains("state.json")).unwrap() + 1;
        let entry = calls.iter().position(|line| line.contains(PLACE));
        let trace = twin.outside("trace");
        let options = format!("inject=renameat:{what}:when={ledger}");
        let run = Run::of(&mut strace(&twin, &new, &trace, &["-e", "trace=renameat", "-e", &options]));
        assert_eq!((run.code, run.signal), (code, signal), "{run:#?}");
        assert!(entry.is_none_or(|entry| entry > 0));
        if signal.is_some() {
            assert_ne!(entries(&cache).get("one"), Some(&before["one"]), "the entry was renewed before the kill");
            assert!(entries(&cache).contains_key("three"));
            // Recovery comes before anything else is looked at.
            let refused = twin.apply(&profiles(json!([{ "file": "bad", "content": "bad\n" }])));
            assert_eq!(refused.code, Some(4), "{refused:#?}");
            assert!(!refused.report["recovered"].is_null(), "{refused:#?}");
        }
        assert_eq!(twin.read("one"), profile("one"));
        assert_eq!(entries(&cache), [("two".to_owned(), before["two"].clone())].into(), "{what}");
        assert_eq!(boot(&twin), [("one".into(), Text), ("two".into(), Cache)].into());
        assert!(!twin.converge(&old).changed());
    }
}

fn strace(host: &Scratch, document: &Value, output: &Path, options: &[&str]) -> Command {
    let mut strace = command("strace");
    strace.args(options).arg("-o").arg(output).args([PROGRAM, "apply", "--jobs", "1", "--root"]).arg(host.root());
    strace.stdin(Scratch::input(document.to_string()));
    strace
}

/// The main thread's renames of an undisturbed run.
fn renames(host: &Scratch, document: &Value) -> Vec<String> {
    let output = host.outside("trace");
    Run::of(&mut strace(host, document, &output, &["-y", "-e", "trace=renameat"])).expect(0);
    let trace = String::from_utf8_lossy(&fs_err::read(output).unwrap()).into_owned();
    trace.lines().filter(|line| line.starts_with("renameat(")).map(str::to_owned).collect()
}
