//! Somebody else changes the host while a run is under way.
//!
//! The stand-in parser makes the change: it runs after observation and before the first effect.

use serde_json::json;

use crate::scratch::{PARSER, Scratch, entry, profile, profiles};

/// Bytes of an administrator.
const EDIT: &str = "# An administrator was faster.\n";

#[test]
fn a_file_changed_since_observation_is_not_overwritten() {
    let host = Scratch::new();
    let document = |word: &str| {
        let text = |name: &str| json!({ "file": name, "content": profile(name).replace("data", word) });
        profiles(json!([text("a-first"), text("one"), text("z-last")]))
    };
    host.converge(&document("data"));
    let parser =
        host.stand_in_parser(&format!("printf '{EDIT}' > {}; exec {PARSER} \"$@\"", host.policy("one").display()));
    let run = host.apply_with(&["--parser", &parser], &document("more"));
    assert!(matches!(run.code, Some(4 | 5)), "{run:#?}");
    assert!(run.report["error"]["message"].as_str().unwrap().contains("one"), "{run:#?}");
    assert!(!run.changed());
    assert_eq!(host.read("one"), EDIT);
    for file in ["a-first", "z-last"] {
        assert!(host.read(file).contains("/opt/data"), "{file} is as it was");
    }
    assert_eq!(host.leftovers(), [""; 0]);
    assert!(host.converge(&document("more")).changed());
}

#[test]
fn a_file_that_appeared_since_observation_is_not_overwritten() {
    let host = Scratch::new();
    let parser =
        host.stand_in_parser(&format!("printf '{EDIT}' > {}; exec {PARSER} \"$@\"", host.policy("one").display()));
    let run = host.apply_with(&["--parser", &parser], &profiles(json!([entry("a-first"), entry("one")])));
    assert!(matches!(run.code, Some(4 | 5)), "{run:#?}");
    assert_eq!(host.read("one"), EDIT);
    assert!(!host.has("a-first"));
    assert_eq!(host.leftovers(), [""; 0]);
}

#[test]
fn a_file_that_vanished_since_observation_is_noticed() {
    let host = Scratch::new();
    host.converge(&profiles(json!([entry("one")])));
    let parser = host.stand_in_parser(&format!("rm -f {}; exec {PARSER} \"$@\"", host.policy("one").display()));
    let changed = profiles(json!([{ "file": "one", "content": profile("one").replace("data", "more") }]));
    let run = host.apply_with(&["--parser", &parser], &changed);
    assert!(matches!(run.code, Some(4 | 5)), "{run:#?}");
    assert!(!host.has("one"), "who removed it meant it");
    host.converge(&changed);
}

#[test]
fn a_file_replaced_by_a_link_since_observation_is_not_followed() {
    let host = Scratch::new();
    host.converge(&profiles(json!([entry("one")])));
    let victim = host.outside("victim");
    fs_err::write(&victim, "precious").unwrap();
    let parser = host.stand_in_parser(&format!(
        "ln -sf {} {}; exec {PARSER} \"$@\"",
        victim.display(),
        host.policy("one").display()
    ));
    let changed = profiles(json!([{ "file": "one", "content": profile("one").replace("data", "more") }]));
    let run = host.apply_with(&["--parser", &parser], &changed);
    assert!(matches!(run.code, Some(4 | 5)), "{run:#?}");
    assert_eq!(fs_err::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn a_policy_directory_that_is_swapped_for_a_link_is_not_followed() {
    let host = Scratch::new();
    host.converge(&profiles(json!([entry("one")])));
    let elsewhere = host.outside("elsewhere");
    fs_err::create_dir(&elsewhere).unwrap();
    let policy = host.path("etc/apparmor.d");
    let parser = host.stand_in_parser(&format!(
        "[ -L {0} ] || {{ mv {0} {0}.moved && ln -s {1} {0}; }} 2>/dev/null; exec {PARSER} \"$@\"",
        policy.display(),
        elsewhere.display()
    ));
    let changed = profiles(json!([{ "file": "one", "content": profile("one").replace("data", "more") }, entry("two")]));
    host.apply_with(&["--parser", &parser], &changed);
    assert_eq!(crate::scratch::tree(&elsewhere).len(), 1, "nothing is written where the link leads");
}
