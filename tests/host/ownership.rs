//! Whose bytes are whose: what is kept when something is taken over, and what comes back.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::scratch::{PROGRAM, Run, Scratch, command, entry, has_reason, profile, profiles};

fn document(profiles: &Value) -> Value {
    json!({ "version": 1, "owner": "test", "prune": true, "allow_empty": true, "profiles": profiles })
}

#[test]
fn an_entry_that_is_skipped_does_not_forget_the_original() {
    let host = Scratch::new();
    host.write("one", profile("one"));
    host.converge(&document(&json!([{ "file": "one", "state": "absent" }])));
    assert!(!host.has("one"));
    let skipped = json!([{ "file": "one", "mode": "complain", "if_missing": "skip" }]);
    host.converge(&profiles(skipped));
    host.converge(&document(&json!([])));
    assert_eq!(host.read("one"), profile("one"));
}

#[test]
fn a_file_that_a_package_puts_where_ours_was_removed_is_kept() {
    let host = Scratch::new();
    host.converge(&document(&json!([entry("one")])));
    let absent = document(&json!([{ "file": "one", "state": "absent" }]));
    host.converge(&absent);
    let theirs = profile("one").replace("data", "theirs");
    host.write("one", &theirs);
    host.converge(&absent);
    assert!(!host.has("one"));
    host.converge(&document(&json!([])));
    assert_eq!(host.read("one"), theirs);
}

#[test]
fn an_upgrade_of_an_adopted_file_becomes_the_original() {
    let host = Scratch::new();
    host.write("one", profile("one").replace("data", "version-1"));
    let wanted = document(&json!([entry("one")]));
    host.converge(&wanted);
    let upgraded = profile("one").replace("data", "version-2");
    host.write("one", &upgraded);
    let run = host.converge(&wanted);
    assert!(has_reason(run.entry("one"), "adopted"), "{run:#?}");
    let kept = || fs_err::read_dir(host.path("var/lib/aa-converge/adopted")).unwrap().count();
    assert_eq!(kept(), 1, "the first version is of no use any more");
    host.converge(&document(&json!([])));
    assert_eq!(host.read("one"), upgraded);
    assert_eq!(kept(), 0);
}

#[test]
fn what_a_refused_run_adopted_is_forgotten() {
    let host = Scratch::new();
    host.converge(&document(&json!([entry("three")])));
    host.write("one", profile("one").replace("data", "version-1"));
    let broken = json!({ "file": "two", "content": "profile two /opt/two {\n  no such rule,\n}\n" });
    host.apply(&document(&json!([entry("one"), broken]))).expect(4);
    let kept = || fs_err::read_dir(host.path("var/lib/aa-converge/adopted")).unwrap().count();
    assert_eq!(kept(), 1);
    assert!(!host.converge(&document(&json!([entry("three")]))).changed());
    assert_eq!(kept(), 0, "a run that changes nothing else does so as well");
}

/// Whether or not what is not listed is given up.
#[test]
fn a_profile_that_was_to_be_absent_comes_back_in_the_mode_that_is_asked_for() {
    for prune in [true, false] {
        let host = Scratch::new();
        host.write("one", profile("one"));
        let document = |entry| json!({ "version": 1, "owner": "test", "prune": prune, "profiles": [entry] });
        host.converge(&document(json!({ "file": "one", "state": "absent" })));
        assert!(!host.has("one"));
        let run = host.converge(&document(json!({ "file": "one", "mode": "kill" })));
        assert_eq!(run.entry("one")["action"], "create");
        assert_eq!(run.entry("one")["loaded"][0]["mode"]["after"], "kill");
        host.converge(&document(json!({ "file": "one", "mode": "complain", "if_missing": "skip" })));
        assert_eq!(host.read("one"), profile("one"), "a link does it");
        host.converge(&document(json!({ "file": "one", "state": "absent" })));
        let run = host.converge(&document(json!({ "file": "one", "mode": "complain", "if_missing": "skip" })));
        assert_eq!(run.entry("one")["loaded"][0]["mode"]["after"], "complain");
        assert!(!run.warns("not installed"));
        let run = host.converge(&json!({ "version": 1, "owner": "test", "prune": true, "allow_empty": true }));
        assert!(run.changed());
        assert_eq!(host.read("one"), profile("one"));
        assert!(!host.has("force-complain/one"));
    }
}

#[test]
fn an_edit_of_a_file_that_is_ours_from_the_start_is_no_original() {
    let host = Scratch::new();
    let wanted = document(&json!([entry("one")]));
    host.converge(&wanted);
    host.write("one", profile("one").replace("data", "by-hand"));
    host.converge(&wanted);
    host.converge(&document(&json!([])));
    assert!(!host.has("one"));
}

#[test]
fn a_restored_text_is_not_explained_by_what_it_includes() {
    let host = Scratch::new();
    host.write("one", "profile one /opt/one {\n}\n");
    host.converge(&document(&json!([entry("one")])));
    let run = host.converge(&document(&json!([])));
    assert_eq!(run.entry("one")["reasons"], json!(["pruned"]), "{run:#?}");
}

#[test]
fn a_comment_in_an_include_reloads_nothing_on_the_first_run_either() {
    let host = Scratch::new();
    host.write("by-hand", profile("by-hand"));
    let site = host.read("abstractions/site");
    let run = host.converge(&json!({
        "version": 1, "owner": "test",
        "files": [{ "path": "abstractions/site", "content": format!("# Only a comment.\n{site}") }],
    }));
    assert_eq!(run.report["summary"]["reloaded"], 0, "{run:#?}");
    assert_eq!(run.report["summary"]["updated"], 1, "{run:#?}");
}

#[test]
fn names_and_attachments_in_included_files_count() {
    for (included, other) in [
        ("profile shared {\n  /x r,\n}\n", "abi <abi/3.0>,\nprofile shared {\n}\n"),
        ("profile inner /opt/x {\n  /x r,\n}\n", "abi <abi/3.0>,\nprofile outer /opt/x {\n}\n"),
    ] {
        let host = Scratch::new();
        fs_err::create_dir(host.policy("containers.d")).unwrap();
        host.write("containers.d/default", included);
        host.write("containers", "abi <abi/3.0>,\ninclude <containers.d>\n");
        let run = host.apply(&profiles(json!([{ "file": "mine", "content": other }])));
        run.expect(3);
        let said = run.report["problems"].to_string();
        assert!(said.contains("containers") && said.contains("mine"), "{said}");
    }
}

#[test]
fn a_link_that_gives_the_mode_asked_for_stays() {
    let mixed = "abi <abi/3.0>,\nprofile one /opt/one {\n}\nprofile stub flags=(unconfined) {\n}\n";
    let complain = profile("one").replace("/opt/one {", "/opt/one flags=(complain) {");
    for text in [profile("one"), mixed.to_owned(), complain] {
        for brings in [true, false] {
            let host = Scratch::new();
            host.write("one", &text);
            let link = host.policy("force-complain/one");
            std::os::unix::fs::symlink("/etc/apparmor.d/one", &link).unwrap();
            let with = |mode: &str, scope: &str| {
                let mut entry = json!({ "file": "one", "mode": mode, "mode_scope": scope });
                if brings {
                    entry["content"] = json!(text);
                }
                document(&json!([entry]))
            };
            let run = host.converge(&with("complain", "all"));
            assert!(!run.changed(), "{brings} {text}: {run:#?}");
            assert!(!host.converge(&with("complain", "all")).changed(), "{brings} {text}");
            assert_eq!(fs_err::read_link(&link).unwrap(), std::path::Path::new("/etc/apparmor.d/one"));
            // It would put the stub into complain mode, too, which was not asked for.
            if text == mixed {
                assert!(host.converge(&with("complain", "enforce_and_complain")).changed());
                assert!(!host.has("force-complain/one"));
            } else {
                assert!(host.converge(&with("enforce", "all")).changed());
                assert!(!host.has("force-complain/one"));
            }
        }
    }
}

#[test]
fn a_link_for_complain_mode_says_nothing_of_a_disabled_profile() {
    let host = Scratch::new();
    host.write("one", profile("one"));
    for directory in ["disable", "force-complain"] {
        std::os::unix::fs::symlink("../one", host.policy(directory).join("one")).unwrap();
    }
    let with = |mode: &str| document(&json!([{ "file": "one", "mode": mode }]));
    assert!(!host.converge(&with("disabled")).changed());
    assert!(host.converge(&with("enforce")).changed());
    assert!(!host.has("disable/one") && !host.has("force-complain/one"));
}

#[test]
fn no_umask_has_a_say_in_modes() {
    for umask in ["0777", "0277", "0"] {
        let host = Scratch::new();
        let original = host.policy("one");
        fs_err::write(&original, profile("one")).unwrap();
        fs_err::set_permissions(&original, Permissions::from_mode(0o600)).unwrap();
        let apply = |entries: &Value| {
            let mut shell = command("sh");
            shell.args(["-c", r#"umask "$1"; shift; exec "$@""#, "sh", umask, PROGRAM, "apply", "--root"]);
            shell.arg(host.root()).stdin(Scratch::input(document(entries).to_string()));
            Run::of(&mut shell).expect(0);
        };
        let mode = |path: &str| fs_err::metadata(host.path(path)).unwrap().permissions().mode() & 0o7777;
        apply(&json!([{ "file": "one", "content": profile("one").replace("data", "more") }]));
        assert_eq!(mode("etc/apparmor.d/one"), 0o644, "{umask}");
        assert_eq!(mode("var/lib/aa-converge/state.json"), 0o600, "{umask}");
        assert_eq!((mode("var/lib/aa-converge"), mode("run/aa-converge")), (0o700, 0o700), "{umask}");
        apply(&json!([]));
        assert_eq!(mode("etc/apparmor.d/one"), 0o600, "{umask}");
    }
}
