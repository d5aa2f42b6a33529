//! Modes of profiles that others installed: the links that switch them, and what is left when they are given up.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::scratch::{PARSER, Run, Scratch, Tree, command, profile, profiles};

fn with_mode(mode: &str) -> Value {
    json!({ "version": 1, "owner": "test", "prune": true, "profiles": [{ "file": "one", "mode": mode }] })
}

fn given_up() -> Value {
    json!({ "version": 1, "owner": "test", "prune": true, "allow_empty": true })
}

/// Everything in the policy directory but for the time stamps of what was written over and put back.
fn contents(host: &Scratch) -> Tree {
    let mut nodes = host.policy_tree();
    nodes.values_mut().for_each(|node| node.modified = (0, 0));
    nodes
}

fn link(host: &Scratch, directory: &str) -> Option<PathBuf> {
    fs_err::read_link(host.policy(directory).join("one")).ok()
}

/// A file whose headers are in every mode that this parser knows.
fn mixed() -> String {
    "abi <abi/3.0>,\nprofile one /opt/one {\n  /x r,\n  profile child {\n    /x r,\n  }\n  \
     profile stub flags=(unconfined) {\n    /x r,\n  }\n  profile strict flags=(kill) {\n    /x r,\n  }\n}\n"
        .to_owned()
}

#[test]
fn every_mode_of_an_installed_profile_goes_back_without_a_trace() {
    let modes = ["complain", "disabled", "kill", "unconfined", "enforce", "as_written"];
    for text in [profile("one"), profile("one").replace("/opt/one {", "/opt/one flags=(complain) {"), mixed()] {
        for (n, first) in modes.into_iter().enumerate() {
            for then in [modes[(n + 1) % modes.len()], modes[(n + 4) % modes.len()]] {
                let host = Scratch::new();
                host.write("one", &text);
                let before = contents(&host);
                for mode in [first, then] {
                    host.converge(&with_mode(mode));
                    assert!(!host.converge(&with_mode(mode)).changed(), "{first}, {then}: {mode} again");
                }
                host.converge(&given_up());
                assert_eq!(contents(&host), before, "{first}, then {then}");
                assert!(!host.converge(&given_up()).changed(), "{first}, then {then}");
            }
        }
    }
}

#[test]
fn a_directory_that_was_made_for_a_link_goes_with_it_when_it_is_empty() {
    let directories = ["disable", "force-complain"];
    let host = Scratch::new();
    host.write("one", profile("one"));
    host.write("two", profile("two"));
    for directory in directories {
        fs_err::remove_dir(host.policy(directory)).unwrap();
    }
    let before = contents(&host);
    host.converge(&with_mode("disabled"));
    host.converge(&with_mode("complain"));
    assert!(!host.has("disable") && host.has("force-complain"));
    host.converge(&given_up());
    assert_eq!(contents(&host), before);

    // Somebody else's link keeps it, and so does not having made it.
    host.converge(&with_mode("disabled"));
    symlink("../two", host.policy("disable/two")).unwrap();
    fs_err::create_dir(host.policy("force-complain")).unwrap();
    host.converge(&given_up());
    assert!(host.has("disable/two") && host.has("force-complain"));
    fs_err::remove_file(host.policy("disable/two")).unwrap();
    host.converge(&with_mode("complain"));
    host.converge(&given_up());
    assert!(host.has("disable") && host.has("force-complain"), "they are not this program's");
}

#[test]
fn a_link_leaves_the_file_of_a_package_to_the_last_time_stamp() {
    let host = Scratch::new();
    host.write("one", profile("one"));
    let before = host.policy_tree()["one"].clone();
    for mode in ["complain", "disabled", "enforce"] {
        host.converge(&with_mode(mode));
        assert_eq!(host.policy_tree()["one"], before, "{mode}");
    }
}

#[test]
fn directories_for_links_are_made_where_there_are_none() {
    let host = Scratch::new();
    for directory in ["disable", "force-complain"] {
        fs_err::remove_dir(host.policy(directory)).unwrap();
    }
    host.write("one", profile("one"));
    for (mode, directory) in [("complain", "force-complain"), ("disabled", "disable")] {
        host.converge(&with_mode(mode));
        assert_eq!(link(&host, directory), Some("../one".into()));
    }
}

/// What others put at the place of a link, and whether the parser honours it: it asks access(2).
const OTHERS: [(&str, bool); 6] = [
    ("/etc/apparmor.d/one", true),
    ("../one", true),
    ("../tunables", true),
    ("/etc/apparmor.d/gone", false),
    ("../gone", false),
    ("one", false),
];

#[test]
fn the_parser_honours_the_same_links() {
    for (directory, says) in [("disable", "Skipping profile in"), ("force-complain", "forcing complain mode")] {
        // An absolute link below a scratch root leads this parser to the machine's own policy.
        for (target, is_honoured) in OTHERS.into_iter().filter(|(target, _)| !target.starts_with('/')) {
            let host = Scratch::new();
            host.write("one", profile("one"));
            symlink(target, host.policy(directory).join("one")).unwrap();
            let mut parser = command(PARSER);
            parser.args(["--skip-kernel-load", "--skip-cache", "--config-file", "/dev/null"]);
            parser.arg("--kernel-features").arg(host.policy("abi/3.0")).arg("--base").arg(host.policy(""));
            let output = parser.arg("--").arg(host.policy("one")).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}");
            assert_eq!(said.contains(says), is_honoured, "{directory} -> {target}: {said}");
        }
    }
}

#[test]
fn links_of_others_are_understood_as_the_parser_does() {
    for (directory, mode, opposite) in [("disable", "disabled", "enforce"), ("force-complain", "complain", "enforce")] {
        for (target, is_honoured) in OTHERS {
            let host = Scratch::new();
            host.write("one", profile("one"));
            symlink(target, host.policy(directory).join("one")).unwrap();
            let before = contents(&host);

            let run = host.converge(&with_mode(mode));
            assert_eq!(run.changed(), !is_honoured, "{directory} -> {target}: {run:#?}");
            let expected = if is_honoured { target } else { "../one" };
            assert_eq!(link(&host, directory), Some(expected.into()), "{directory} -> {target}");
            host.converge(&given_up());
            assert_eq!(contents(&host), before, "{directory} -> {target}");

            host.converge(&with_mode(opposite));
            assert_eq!(link(&host, directory), None, "{directory} -> {target}");
            host.converge(&given_up());
            assert_eq!(contents(&host), before, "{directory} -> {target}");
        }
    }
}

#[test]
fn a_file_where_a_link_should_be_switches_too_and_comes_back() {
    for (directory, mode) in [("disable", "disabled"), ("force-complain", "complain")] {
        let host = Scratch::new();
        host.write("one", profile("one"));
        host.write(&format!("{directory}/one"), "# Switched by hand.\n");
        let before = contents(&host);
        assert!(!host.converge(&with_mode(mode)).changed());
        host.converge(&with_mode("enforce"));
        assert!(!host.has(&format!("{directory}/one")));
        host.converge(&given_up());
        assert_eq!(contents(&host), before);
    }
}

#[test]
fn a_profile_that_others_switched_off_is_not_loaded_for_its_include() {
    for (target, is_honoured) in OTHERS {
        let host = Scratch::new();
        host.write("one", profile("one"));
        symlink(target, host.policy("disable/one")).unwrap();
        let run = host.converge(&json!({
            "version": 1, "owner": "test",
            "files": [{ "path": "abstractions/site", "content": "/etc/else r,\n" }],
        }));
        assert_eq!(run.find_entry("one").is_none(), is_honoured, "{target}: {run:#?}");
    }
}

#[test]
fn headers_of_other_modes_keep_them_unless_all_is_said() {
    let host = Scratch::new();
    host.write("one", mixed());
    let run = host.converge(&with_mode("complain"));
    for name in ["stub (unconfined)", "strict (kill)"] {
        assert!(run.warns(name), "{name}: {run:#?}");
    }
    // A link would have forced them as well.
    assert_eq!(link(&host, "force-complain"), None);
    let text = host.read("one");
    assert!(text.contains("flags=(unconfined)") && text.contains("flags=(kill)"), "{text}");
    assert_eq!(text.matches("complain").count(), 2, "{text}");
    let modes = |run: &Run| -> Vec<String> {
        let loaded = run.entry("one")["loaded"].as_array().unwrap().iter();
        loaded.map(|loaded| format!("{} {}", loaded["name"], loaded["mode"]["after"]).replace('"', "")).collect()
    };
    let kept = ["one complain", "one//child complain", "one//strict kill", "one//stub unconfined"];
    assert_eq!(modes(&run), kept);

    let all = profiles(json!([{ "file": "one", "mode": "complain", "mode_scope": "all" }]));
    let run = host.converge(&all);
    assert!(!run.warns("keep the mode"), "{run:#?}");
    assert_eq!(link(&host, "force-complain"), Some("../one".into()));
    assert_eq!(host.read("one"), mixed(), "the link does it alone");
    let forced = ["one complain", "one//child complain", "one//strict complain", "one//stub complain"];
    assert_eq!(modes(&run), forced);

    host.converge(&with_mode("enforce"));
    assert_eq!(host.read("one"), mixed());
    let run = host.converge(&profiles(json!([{ "file": "one", "mode": "enforce", "mode_scope": "all" }])));
    assert!(modes(&run).iter().all(|mode| mode.ends_with(" enforce")), "{run:#?}");
}

#[test]
fn a_header_that_is_included_keeps_its_mode_too() {
    let host = Scratch::new();
    host.write("abstractions/stubs", "profile stub flags=(unconfined) {\n  /x r,\n}\n");
    host.write("one", profile("one").replace("abstractions/site", "abstractions/stubs"));
    let run = host.converge(&with_mode("complain"));
    assert_eq!(link(&host, "force-complain"), None, "a link would force what is included: {run:#?}");
    assert!(host.read("one").contains("flags=(complain)") && run.warns("one//stub"), "{run:#?}");
    let all = profiles(json!([{ "file": "one", "mode": "complain", "mode_scope": "all" }]));
    host.converge(&all);
    assert_eq!(link(&host, "force-complain"), Some("../one".into()));
    host.converge(&given_up());
    assert!(!host.read("one").contains("complain"));
}
