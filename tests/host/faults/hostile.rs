//! Links, special files and forged records in an image or on a host that somebody else prepared.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};

use super::syscalls::{Case, killed_in_the_middle};
use crate::scratch::{Run, Scratch, Tree, assert_untouched, entry, profile, profiles, tool, tree};

/// Bytes outside the root that no run may change.
const PRECIOUS: &str = "precious";

fn victim(host: &Scratch) -> std::path::PathBuf {
    let path = host.outside("victim");
    fs_err::write(&path, PRECIOUS).expect("a temporary directory is writable");
    path
}

#[track_caller]
fn assert_unharmed(victim: &Path) {
    assert_eq!(fs_err::read_to_string(victim).expect("it is still there"), PRECIOUS);
}

fn ledger(host: &Scratch) -> std::path::PathBuf {
    host.path("var/lib/aa-converge/state.json")
}

fn changes(host: &Scratch) -> std::path::PathBuf {
    host.path("var/lib/aa-converge/state.recent.json")
}

/// The document that would change something if it were applied.
fn change() -> Value {
    profiles(json!([{ "file": "one", "content": profile("one").replace("data", "more") }, entry("two")]))
}

/// A run that is refused with a message about `path`, a way out, and nothing touched.
#[track_caller]
fn assert_refused(host: &Scratch, before: &Tree, path: &str) {
    let run = host.apply(&change());
    run.expect(4);
    assert!(run.report["error"]["message"].as_str().is_some_and(|message| message.contains(path)), "{run:#?}");
    assert!(run.report["error"]["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{run:#?}");
    assert_untouched(before, &host.policy_tree());
}

#[test]
fn whatever_is_no_regular_file_is_not_replaced() {
    type Plant = fn(&Scratch, &Path);
    let plants: [(&str, Plant); 4] = [
        ("a link outside", |host, place| symlink(victim(host), place).unwrap()),
        ("a dangling link", |_, place| symlink("/nowhere", place).unwrap()),
        ("a FIFO", |_, place| mkfifo(place, Mode::S_IRUSR | Mode::S_IWUSR).unwrap()),
        ("a directory", |_, place| fs_err::create_dir(place).unwrap()),
    ];
    for (what, plant) in plants {
        let host = Scratch::new();
        plant(&host, &host.policy("one"));
        let before = host.policy_tree();
        let run = host.apply(&profiles(json!([entry("one"), entry("two")])));
        run.expect(3);
        assert_eq!(run.problems(), [("/profiles/0/file", "not_a_file")], "{what}");
        assert_untouched(&before, &host.policy_tree());
        if host.outside("victim").exists() {
            assert_unharmed(&host.outside("victim"));
        }
    }
}

#[test]
fn a_hard_link_is_replaced_and_not_written_through() {
    let host = Scratch::new();
    let victim = victim(&host);
    fs_err::hard_link(&victim, host.policy("one")).unwrap();
    host.apply(&profiles(json!([entry("one")])));
    assert_unharmed(&victim);
}

#[test]
fn a_directory_that_leads_outside_is_not_followed() {
    for target in ["ABSOLUTE", "../../../elsewhere", "../../../../../../../../../../../../ABSOLUTE"] {
        let host = Scratch::new();
        let elsewhere = host.outside("elsewhere");
        fs_err::create_dir(&elsewhere).unwrap();
        let target = target.replace("ABSOLUTE", elsewhere.to_str().unwrap());
        fs_err::remove_dir_all(host.policy("local")).unwrap();
        symlink(target, host.policy("local")).unwrap();
        host.apply(&json!({
            "version": 1, "owner": "test", "files": [{ "path": "local/one", "content": "/x r,\n" }],
        }));
        assert_eq!(tree(&elsewhere).len(), 1, "nothing was made there");
    }
}

#[test]
fn an_absolute_link_in_an_image_is_the_images_own() {
    let host = Scratch::new();
    let outside = host.outside("abstraction");
    fs_err::write(&outside, "/from/outside r,\n").unwrap();
    symlink(&outside, host.policy("abstractions/linked")).unwrap();
    let text = profile("one").replace("abstractions/site", "abstractions/linked");
    let document = profiles(json!([{ "file": "one", "content": text }]));
    let run = host.apply(&document);
    run.expect(4);
    assert_eq!(run.error_code(), "compile", "the file outside must not have been read: {run:#?}");

    let inside = host.root().join(outside.strip_prefix("/").unwrap());
    fs_err::create_dir_all(inside.parent().unwrap()).unwrap();
    fs_err::write(&inside, "/from/inside r,\n").unwrap();
    host.converge(&document);
}

#[test]
fn includes_that_are_no_files_do_not_hang_or_exhaust() {
    let text = profile("one").replace("include <abstractions/site>", "include <local>");
    let document = profiles(json!([{ "file": "one", "content": text }]));

    let host = Scratch::new();
    mkfifo(&host.policy("local/fifo"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let run = host.apply_with(&["--parser-timeout", "5"], &document);
    assert!(run.code.is_some(), "{run:#?}");

    let host = Scratch::new();
    fs_err::File::create(host.policy("local/huge")).unwrap().set_len(64 << 30).unwrap();
    let run = host.apply_with(&["--parser-timeout", "5"], &document);
    run.expect(4);

    let host = Scratch::new();
    host.write("local/loop", "include <local/loop>\n");
    // The parser itself reads a file that includes itself once.
    host.apply_with(&["--parser-timeout", "5"], &document).expect(0);
}

#[test]
fn our_directories_are_not_taken_from_others() {
    for below in ["var/lib/aa-converge", "run/aa-converge"] {
        let host = Scratch::new();
        host.converge(&profiles(json!([entry("one")])));
        fs_err::set_permissions(host.path(below), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert_refused(&host, &host.policy_tree(), below);

        let host = Scratch::new();
        let elsewhere = host.outside("elsewhere");
        fs_err::create_dir(&elsewhere).unwrap();
        fs_err::create_dir_all(host.path(below).parent().unwrap()).unwrap();
        symlink(&elsewhere, host.path(below)).unwrap();
        assert_refused(&host, &host.policy_tree(), below);
        assert_eq!(tree(&elsewhere).len(), 1);

        let host = Scratch::new();
        fs_err::create_dir_all(host.path(below).parent().unwrap()).unwrap();
        fs_err::write(host.path(below), "a file").unwrap();
        assert_refused(&host, &host.policy_tree(), below);

        if nix::unistd::geteuid().is_root() {
            let host = Scratch::new();
            host.converge(&profiles(json!([entry("one")])));
            std::os::unix::fs::chown(host.path(below), Some(65534), Some(65534)).unwrap();
            assert_refused(&host, &host.policy_tree(), below);
        }
    }
}

#[test]
fn a_planted_lock_is_not_followed() {
    let host = Scratch::new();
    host.converge(&profiles(json!([entry("one")])));
    let run = host.path("run/aa-converge");
    let locks: Vec<_> = tree(&run).into_iter().filter(|(_, node)| node.mode & 0o170_000 == 0o100_000).collect();
    for (name, _) in locks {
        let victim = victim(&host);
        fs_err::remove_file(run.join(&name)).unwrap();
        symlink(&victim, run.join(&name)).unwrap();
        host.apply(&change());
        assert_unharmed(&victim);
        fs_err::remove_file(run.join(&name)).unwrap();
        mkfifo(&run.join(&name), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        let run = host.apply_with(&["--lock-timeout", "1"], &change());
        assert!(run.code.is_some());
    }
}

#[test]
fn a_damaged_ledger_is_told_and_left() {
    let host = Scratch::new();
    host.converge(&profiles(json!([entry("one")])));
    let whole = fs_err::read(ledger(&host)).unwrap();
    let half = whole[..whole.len() / 2].to_vec();
    for damaged in
        [Vec::new(), half, b"nonsense".to_vec(), b"{}".to_vec(), b"[]".to_vec(), vec![0xff; 100], vec![0; 4096]]
    {
        fs_err::write(ledger(&host), &damaged).unwrap();
        assert_refused(&host, &host.policy_tree(), "state.json");
        assert_eq!(fs_err::read(ledger(&host)).unwrap(), damaged, "it is evidence: not rewritten");
    }
    // The way out that the remedy describes: move it away. What is installed is then taken over anew.
    fs_err::rename(ledger(&host), host.outside("state.json")).unwrap();
    host.converge(&change());
}

/// A host whose ledger has changes beside the whole, and the document that it is converged to.
fn with_changes() -> (Scratch, Value) {
    let host = Scratch::new();
    let names = ["one", "a", "b", "c", "d", "e"];
    host.converge(&profiles(json!(names.map(entry))));
    let mut document = profiles(json!(names.map(entry)));
    document["profiles"][0]["content"] = profile("one").replace("data", "less").into();
    host.converge(&document);
    assert!(changes(&host).exists());
    (host, document)
}

#[test]
fn damaged_changes_of_a_ledger_are_told_and_left() {
    let (host, mut document) = with_changes();
    let sound = fs_err::read(changes(&host)).unwrap();
    let newer = String::from_utf8(sound.clone()).unwrap().replace("\"format\":1", "\"format\":9999").into_bytes();
    let half = sound[..sound.len() / 2].to_vec();
    for damaged in [Vec::new(), half, newer, b"{}".to_vec(), fs_err::read(ledger(&host)).unwrap(), vec![0; 4096]] {
        fs_err::write(changes(&host), &damaged).unwrap();
        assert_refused(&host, &host.policy_tree(), "state.recent.json");
        assert_eq!(fs_err::read(changes(&host)).unwrap(), damaged, "they are evidence: not rewritten");
    }
    // The way out that the remedy describes: the ledger is then as it was before the last runs.
    fs_err::remove_file(changes(&host)).unwrap();
    host.converge(&document);
    assert!(!host.converge(&document).changed());
    // Changes of a ledger that is gone mean nothing to the next one, and nothing to those after it.
    fs_err::write(changes(&host), &sound).unwrap();
    let old = fs_err::read(ledger(&host)).unwrap();
    fs_err::remove_file(ledger(&host)).unwrap();
    host.converge(&document);
    assert!(!host.converge(&document).changed());
    assert_eq!(fs_err::read(changes(&host)).unwrap(), sound);
    // An older ledger that is put back without its changes is told from one that has them.
    let new = fs_err::read(ledger(&host)).unwrap();
    document["profiles"][0]["content"] = profile("one").into();
    host.converge(&document);
    assert_ne!(fs_err::read(changes(&host)).unwrap(), sound);
    fs_err::write(ledger(&host), old).unwrap();
    assert_refused(&host, &host.policy_tree(), "state.recent.json");
    fs_err::write(ledger(&host), new).unwrap();
    assert!(!host.converge(&document).changed());
}

#[test]
fn without_its_changes_a_ledger_asks_for_no_original_that_is_given_back() {
    let host = Scratch::new();
    let by_hand = format!("# by hand\n{}", profile("mine"));
    host.write("mine", &by_hand);
    let of = |names: &[&str]| {
        let entries: Vec<Value> = names.iter().map(|name| entry(name)).collect();
        json!({ "version": 1, "owner": "test", "prune": true, "profiles": entries })
    };
    host.converge(&of(&["a", "b", "c", "d", "e", "f", "mine"]));
    let document = of(&["a", "b", "c", "d", "e", "f"]);
    host.converge(&document);
    assert_eq!(host.read("mine"), by_hand);
    fs_err::remove_file(changes(&host)).unwrap();
    host.converge(&document);
    assert_eq!(host.read("mine"), by_hand);
}

#[test]
fn linked_changes_of_a_ledger_are_not_followed() {
    let (host, _) = with_changes();
    fs_err::rename(changes(&host), host.outside("changes")).unwrap();
    symlink(host.outside("changes"), changes(&host)).unwrap();
    let before = fs_err::read(host.outside("changes")).unwrap();
    assert_refused(&host, &host.policy_tree(), "state.recent.json");
    assert_eq!(fs_err::read(host.outside("changes")).unwrap(), before);
}

#[test]
fn a_ledger_of_a_newer_format_is_never_rewritten() {
    let host = Scratch::new();
    host.converge(&profiles(json!([entry("one")])));
    let mut state: Value = serde_json::from_slice(&fs_err::read(ledger(&host)).unwrap()).unwrap();
    assert!(state["format"].is_u64(), "the ledger carries its format");
    state["format"] = json!(9999);
    state["from_the_future"] = json!({});
    let newer = state.to_string();
    fs_err::write(ledger(&host), &newer).unwrap();
    assert_refused(&host, &host.policy_tree(), "state.json");
    assert_eq!(fs_err::read_to_string(ledger(&host)).unwrap(), newer);
    let run = host.apply(&change());
    assert!(run.report["error"].to_string().contains("newer"), "{run:#?}");
}

#[test]
fn a_forged_ledger_reaches_nothing_outside_the_policy_directory() {
    let prune = json!({ "version": 1, "owner": "test", "prune": true, "profiles": [entry("two")] });
    for forged in ["../../../victim", "/victim", "../victim", "..", ".", "", "local/../../victim", "one\\u0000"] {
        let host = Scratch::new();
        let victims = [host.outside("victim"), host.path("victim"), host.path("etc/victim")];
        for victim in &victims {
            fs_err::write(victim, PRECIOUS).unwrap();
        }
        host.write("one", "# by hand\n");
        host.converge(&profiles(json!([entry("one")])));
        let state = fs_err::read_to_string(ledger(&host)).unwrap();
        let state = state.replace("\"one\"", &format!("\"{forged}\""));
        fs_err::write(ledger(&host), state).unwrap();
        let before = host.policy_tree();
        let run = host.apply(&prune);
        run.expect(4);
        for victim in &victims {
            assert_unharmed(victim);
        }
        assert_untouched(&before, &host.policy_tree());
    }
}

#[test]
fn a_linked_ledger_or_original_is_not_followed() {
    let host = Scratch::new();
    host.write("one", "# by hand\n");
    host.converge(&profiles(json!([entry("one")])));
    let victim = victim(&host);
    let adopted = host.path("var/lib/aa-converge/adopted");
    let kept: Vec<_> = tree(&adopted).into_keys().filter(|path| !path.is_empty()).collect();
    assert!(!kept.is_empty(), "the original is kept");
    for path in kept.iter().filter(|path| adopted.join(path).is_file()) {
        fs_err::remove_file(adopted.join(path)).unwrap();
        symlink(&victim, adopted.join(path)).unwrap();
    }
    let run = host.apply(&json!({ "version": 1, "owner": "test", "prune": true, "profiles": [entry("two")] }));
    assert!(matches!(run.code, Some(4 | 5)), "{run:#?}");
    assert_eq!(host.read("one"), profile("one"), "no foreign bytes become policy");

    let state = fs_err::read(ledger(&host)).unwrap();
    fs_err::write(host.outside("state.json"), &state).unwrap();
    fs_err::remove_file(ledger(&host)).unwrap();
    symlink(host.outside("state.json"), ledger(&host)).unwrap();
    assert_refused(&host, &host.policy_tree(), "state.json");
    assert_eq!(fs_err::read(host.outside("state.json")).unwrap(), state);
}

#[test]
fn a_damaged_or_forged_journal_is_told_and_left() {
    let case = Case::upgrade();
    let killed = killed_in_the_middle(&case);
    let journal = killed.path("var/lib/aa-converge/journal");
    let files: Vec<_> = tree(&journal).into_keys().filter(|path| journal.join(path).is_file()).collect();
    assert!(!files.is_empty(), "there is a journal");
    for file in files {
        let whole = fs_err::read(journal.join(&file)).unwrap();
        let damages: [(&str, Vec<u8>); 5] = [
            ("empty", Vec::new()),
            ("half", whole[..whole.len() / 2].to_vec()),
            ("rubbish", vec![0xff; 500]),
            ("one bit", {
                let mut bytes = whole.clone();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0x20;
                bytes
            }),
            ("longer", [&whole[..], b"more"].concat()),
        ];
        for (what, damaged) in damages {
            let host = killed.duplicate();
            let place = host.path("var/lib/aa-converge/journal").join(&file);
            fs_err::write(&place, &damaged).unwrap();
            let before = host.policy_tree();
            let run = host.apply(&case.document);
            run.expect(4);
            assert!(run.report["error"]["remedy"].is_string(), "{file} {what}: {run:#?}");
            assert_untouched(&before, &host.policy_tree());
            assert_eq!(fs_err::read(&place).unwrap(), damaged, "{file} {what}: it is evidence");
            // The way out: with the journal moved away, what is installed is converged from as it stands.
            fs_err::rename(host.path("var/lib/aa-converge/journal"), host.outside("journal")).unwrap();
            host.converge(&case.document);
        }
    }
}

#[test]
fn the_cache_of_an_image_leads_nowhere() {
    let host = Scratch::new();
    host.converge(&profiles(json!([entry("one")])));
    let elsewhere = host.outside("elsewhere");
    fs_err::create_dir_all(elsewhere.join("26b63962.0")).unwrap();
    fs_err::write(elsewhere.join("26b63962.0/one"), PRECIOUS).unwrap();
    fs_err::create_dir_all(host.path("var/cache")).unwrap();
    symlink(&elsewhere, host.path("var/cache/apparmor")).unwrap();
    let run = host.apply(&change());
    assert!(run.code.is_some());
    assert_unharmed(&elsewhere.join("26b63962.0/one"));

    let host = Scratch::new();
    host.converge(&profiles(json!([entry("one")])));
    let victim = victim(&host);
    fs_err::create_dir_all(host.path("var/cache/apparmor/26b63962.0")).unwrap();
    symlink(&victim, host.path("var/cache/apparmor/26b63962.0/one")).unwrap();
    let run = host.apply(&change());
    assert!(run.code.is_some());
    assert_unharmed(&victim);
}

#[test]
fn an_images_parser_conf_does_not_reach_the_host() {
    let host = Scratch::new();
    let elsewhere = host.outside("elsewhere");
    fs_err::create_dir_all(elsewhere.join("26b63962.0")).unwrap();
    fs_err::write(elsewhere.join("26b63962.0/one"), PRECIOUS).unwrap();
    let conf = format!("write-cache\ncache-loc={}\nreplace\n", elsewhere.display());
    fs_err::write(host.path("etc/apparmor/parser.conf"), conf).unwrap();
    let run: Run = host.apply(&profiles(json!([entry("one")])));
    assert!(run.code.is_some(), "{run:#?}");
    assert_eq!(tree(&elsewhere).len(), 3, "neither written nor removed");
    assert_unharmed(&elsewhere.join("26b63962.0/one"));
}

#[test]
fn a_link_where_a_directory_should_be_is_refused_before_anything_is_done() {
    for (place, document) in [
        ("local", json!({ "version": 1, "owner": "test", "files": [{ "path": "local/zz", "content": "# x\n" }] })),
        ("disable", profiles(json!([{ "file": "one", "content": profile("one"), "mode": "disabled" }]))),
    ] {
        let host = Scratch::new();
        let directory = host.policy(place);
        if directory.exists() {
            fs_err::remove_dir_all(&directory).unwrap();
        }
        symlink("/nowhere/at/all", &directory).unwrap();
        for options in [&["--check"][..], &[]] {
            let run = host.apply_with(options, &document);
            run.expect(3);
            assert_eq!(run.problems()[0].1, "not_a_file", "{run:#?}");
        }
    }
}

#[test]
fn a_file_where_a_directory_should_be_is_refused_by_check_as_well() {
    let host = Scratch::new();
    host.write("one", profile("one"));
    let document = json!({ "version": 1, "owner": "test", "files": [{ "path": "one/below", "content": "# x\n" }] });
    for options in [&["--check"][..], &[]] {
        let run = host.apply_with(options, &document);
        run.expect(3);
        assert_eq!(run.problems(), [("/files/0/path", "not_a_file")], "{run:#?}");
    }
}

#[test]
fn a_directory_at_the_name_of_a_cache_entry_stops_nothing() {
    let host = Scratch::new();
    fs_err::create_dir_all(host.path("var/cache/apparmor/abc.0/one")).unwrap();
    host.converge(&profiles(json!([entry("one")])));
    assert!(!host.converge(&profiles(json!([entry("one")]))).changed());
}

#[test]
fn a_name_that_the_parser_reads_and_we_cannot_express_is_refused() {
    use std::os::unix::ffi::OsStrExt as _;
    for place in ["", "q.d"] {
        let host = Scratch::new();
        let directory = host.policy(place);
        fs_err::create_dir_all(&directory).unwrap();
        fs_err::write(directory.join(std::ffi::OsStr::from_bytes(b"x\xff")), "/x r,\n").unwrap();
        let text = profile("one").replace("include <abstractions/site>", "include <q.d>");
        let run = host.apply(&profiles(json!([{ "file": "one", "content": text }])));
        run.expect(4);
        assert_eq!(run.error_code(), "untrusted", "{run:#?}");
        assert!(!host.has("one"));
    }
}

#[test]
fn a_ledger_of_somebody_elses_is_refused() {
    let host = Scratch::new();
    host.converge(&profiles(json!([entry("one")])));
    tool("chmod", ["0666".as_ref(), ledger(&host).as_os_str()]);
    assert_refused(&host, &host.policy_tree(), "state.json");
}
