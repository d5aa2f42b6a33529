//! The mode of each profile in the kernel, by flags and by links.

use std::path::Path;

use serde_json::json;

use crate::guest::{Guest, document, has_apparmor_4, profile, simple};
use crate::kernel::{self, policy, revision};
use crate::programs::Program;

#[test]
fn every_mode_is_loaded_as_the_kernel_calls_it() {
    let guest = Guest::fresh();
    let mut modes =
        vec![("enforce", "enforce"), ("complain", "complain"), ("kill", "kill"), ("unconfined", "unconfined")];
    if has_apparmor_4() {
        modes.extend([("prompt", "user"), ("default_allow", "unconfined")]);
    }
    let of = |mode: &str| json!({ "file": mode, "content": profile(mode), "mode": mode });
    let wanted = document(modes.iter().map(|(mode, _)| of(mode)).collect());
    let run = guest.converge(&wanted);
    let loaded = policy();
    for (mode, shown) in &modes {
        assert_eq!(loaded[*mode].mode, *shown);
        assert_eq!(run.entry(mode)["loaded"][0]["verified"], true, "{run:#?}");
    }
    guest.expect_in_sync(&wanted);

    // Each file gets the next mode.
    let of =
        |file: &str, mode: &str| json!({ "file": file, "content": profile(file), "mode": mode, "mode_scope": "all" });
    let turned = modes.iter().zip(modes.iter().cycle().skip(1));
    let wanted = document(turned.clone().map(|((file, _), (mode, _))| of(file, mode)).collect());
    guest.converge(&wanted);
    let loaded = policy();
    for ((file, _), (_, shown)) in turned {
        assert_eq!(loaded[*file].mode, *shown, "{file}");
    }
    guest.expect_in_sync(&wanted);
}

#[test]
fn the_modes_of_apparmor_4_do_what_they_say() {
    let guest = Guest::fresh();
    let reader = Program::install("reader");
    let in_mode = |mode: &str| document(json!([{ "file": "reader", "content": profile("reader"), "mode": mode }]));
    if !has_apparmor_4() {
        for mode in ["prompt", "default_allow"] {
            guest.expect_refusal(&in_mode(mode), "compile");
        }
        return;
    }
    guest.converge(&in_mode("default_allow"));
    assert_eq!(reader.start().label(), "reader (unconfined)");
    assert!(reader.reads("reader") && reader.reads("secret"));

    // The kernel has one word for both modes, and apparmor_parser 4.1.0 compiles both to the same bytes.
    let right = policy();
    kernel::load(&profile("reader").replace("/opt/reader {", "/opt/reader flags=(unconfined) {"));
    assert_eq!(policy(), right);
    guest.expect_in_sync(&in_mode("default_allow"));
    // Other rules are told apart by the hash all the same.
    kernel::load(
        &profile("reader").replace("/opt/reader {\n", "/opt/reader flags=(unconfined) {\n  deny /opt/data/secret r,\n"),
    );
    assert_eq!(policy()["reader"].mode, right["reader"].mode);
    let run = guest.converge(&in_mode("default_allow"));
    assert_eq!(run.entry("reader")["reasons"], json!(["kernel-drift"]), "{run:#?}");
    assert_eq!(policy(), right);

    // Nobody answers, so what would be asked is denied.
    guest.converge(&in_mode("prompt"));
    assert_eq!(reader.start().label(), "reader (user)");
    assert!(reader.reads("reader") && !reader.reads("secret"));
    guest.expect_in_sync(&in_mode("prompt"));
}

#[test]
fn a_change_of_mode_alone_is_told_and_loaded() {
    let guest = Guest::fresh();
    guest.converge(&document(json!([simple("one"), simple("two")])));
    let complain = json!({ "file": "one", "content": profile("one"), "mode": "complain" });
    let before = revision();
    let run = guest.converge(&document(json!([complain, simple("two")])));
    assert_eq!(revision(), before + 1);
    assert_eq!(run.entry("one")["loaded"][0]["mode"], json!({ "before": "enforce", "after": "complain" }));
    let loaded = policy();
    assert_eq!((&*loaded["one"].mode, &*loaded["two"].mode), ("complain", "enforce"));
}

#[test]
fn a_distributions_profile_changes_its_mode_by_links_and_back_without_a_trace() {
    let guest = Guest::fresh();
    guest.write("usr.sbin.daemon", &profile("daemon"));
    let pristine = guest.files();
    let in_mode = |mode: &str| document(json!([{ "file": "usr.sbin.daemon", "mode": mode }]));

    guest.converge(&in_mode("enforce"));
    assert_eq!(policy()["daemon"].mode, "enforce");
    assert!(guest.files() == pristine);

    for (mode, directory) in [("complain", "force-complain"), ("disabled", "disable")] {
        guest.converge(&in_mode(mode));
        let link = fs_err::read_link(guest.policy(directory).join("usr.sbin.daemon")).unwrap();
        assert_eq!(link, Path::new("../usr.sbin.daemon"));
        assert_eq!(policy().get("daemon").map(|loaded| &*loaded.mode), (mode == "complain").then_some("complain"));
        guest.expect_in_sync(&in_mode(mode));
        guest.converge(&in_mode("enforce"));
        assert_eq!(policy()["daemon"].mode, "enforce");
        assert!(guest.files() == pristine, "no link is left");
    }
}

#[test]
fn links_that_others_left_are_understood() {
    let guest = Guest::fresh();
    guest.write("one", &profile("one"));
    guest.write("two", &profile("two"));
    // aa-disable writes absolute links, and the parser takes no notice of links that lead nowhere.
    std::os::unix::fs::symlink("/etc/apparmor.d/one", guest.policy("disable/one")).unwrap();
    std::os::unix::fs::symlink("../nowhere", guest.policy("disable/two")).unwrap();
    let wanted = document(json!([{ "file": "one", "mode": "disabled" }, { "file": "two", "mode": "complain" }]));
    guest.converge(&wanted);
    assert_eq!(policy().keys().collect::<Vec<_>>(), ["two"]);
    assert_eq!(policy()["two"].mode, "complain");
    guest.expect_in_sync(&wanted);
    guest.converge(&document(json!([{ "file": "one", "mode": "enforce" }, { "file": "two", "mode": "enforce" }])));
    assert_eq!(policy().values().map(|loaded| &*loaded.mode).collect::<Vec<_>>(), ["enforce", "enforce"]);
}
