//! What others did to the kernel's policy is found and put right.

use std::ffi::OsStr;

use serde_json::json;

use crate::guest::{Guest, document, entry, profile, simple};
use crate::kernel::{self, policy, revision};

#[test]
fn unloaded_replaced_and_switched_profiles_are_each_found_and_repaired() {
    let guest = Guest::fresh();
    let document = document(json!([simple("one"), simple("two"), simple("three"), simple("four")]));
    guest.converge(&document);
    let right = policy();

    kernel::remove("one");
    kernel::load(&profile("two").replace("/opt/data/two r", "/** rw"));
    kernel::load_with(&["--Complain"], &profile("three"));
    let wrong = policy();
    assert_eq!(wrong["three"].mode, "complain");
    assert_ne!(wrong["two"], right["two"]);

    let before = revision();
    let check = guest.apply_with(&["--check"], &document);
    check.expect(0);
    assert_eq!((policy(), revision()), (wrong, before), "--check has no effect");

    let run = guest.converge(&document);
    assert_eq!(policy(), right);
    assert_eq!(revision(), before + 1, "all three in one write");
    for (run, outcome) in [(&check, "planned"), (&run, "applied")] {
        for (file, reason) in [("one", "kernel-missing"), ("two", "kernel-drift"), ("three", "kernel-mode")] {
            let entry = run.entry(file);
            assert_eq!((&entry["action"], &entry["outcome"]), (&json!("reload"), &json!(outcome)), "{run:#?}");
            assert!(entry["reasons"].as_array().unwrap().contains(&json!(reason)), "{run:#?}");
        }
        assert_eq!(run.report["profiles"].as_array().unwrap().len(), 3, "`four` is as it should be: {run:#?}");
    }
    guest.expect_in_sync(&document);
}

#[test]
fn drift_in_the_kernel_and_in_files_is_repaired_together() {
    let guest = Guest::fresh();
    let document = document(json!([simple("one"), simple("two")]));
    guest.converge(&document);
    let right = policy();
    let by_hand = profile("one").replace("/opt/data/one r", "/** rw");
    guest.write("one", &by_hand);
    kernel::load(&by_hand);
    kernel::remove("two");
    guest.converge(&document);
    assert_eq!(policy(), right);
    assert_eq!(fs_err::read_to_string(guest.policy("one")).unwrap(), profile("one"));
}

/// The files that a run opens below the directories of loaded profiles.
fn opened_of_profiles(guest: &Guest, document: &serde_json::Value) -> Vec<String> {
    let trace = "/tmp/trace";
    let run = guest.run_under(
        &["strace", "-f", "-o", trace, "-e", "trace=open,openat,openat2"],
        &["apply"],
        &document.to_string(),
    );
    run.expect(0);
    assert!(!run.changed(), "{run:#?}");
    let trace = fs_err::read_to_string(trace).unwrap();
    assert!(trace.contains("apparmor"), "the trace shows what is opened");
    trace
        .lines()
        .filter(|line| line.contains("\"profiles/") && line.contains("/sha") && !line.contains("ENOENT"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn profiles_are_looked_at_only_after_something_was_loaded_and_then_only_ours() {
    let guest = Guest::fresh();
    let document = document(json!([simple("one"), simple("two")]));
    guest.converge(&document);
    assert_eq!(opened_of_profiles(&guest, &document), [""; 0]);
    kernel::load("profile docker-default {\n  file,\n}\n");
    let opened = opened_of_profiles(&guest, &document);
    assert_eq!(opened.len(), 2, "{opened:#?}");
    assert!(opened.iter().all(|line| line.contains("/one.") || line.contains("/two.")), "{opened:#?}");
    assert_eq!(opened_of_profiles(&guest, &document), [""; 0]);
}

/// The kernel takes bytes that it still keeps for the set that it got them with (security/apparmor/policy.c,
/// `aa_replace_profiles`): the profile then comes from a set that is older than what replaced it.
#[test]
fn a_profile_that_goes_back_to_a_set_which_the_kernel_keeps_has_drifted() {
    let guest = Guest::fresh();
    guest.converge(&document(json!([simple("one"), simple("two")])));
    let set = fs_err::read(kernel::directory("two").join("raw_data")).unwrap();
    let changed = profile("one").replace("/opt/data/one r", "/opt/data/one rw");
    let wanted = document(json!([entry("one", &changed), simple("two")]));
    guest.converge(&wanted);
    let right = policy();
    fs_err::write("/tmp/set", set).unwrap();
    kernel::load_compiled("/tmp/set".as_ref());
    assert_ne!(policy()["one"], right["one"]);
    let run = guest.converge(&wanted);
    assert_eq!(run.entry("one")["reasons"], json!(["kernel-drift"]), "{run:#?}");
    assert_eq!(policy(), right);
}

/// The kernel names the directories of `one` and `/one` alike, but for a number.
#[test]
fn a_profile_whose_directory_looks_like_ours_is_not_taken_for_it() {
    let guest = Guest::fresh();
    let document = document(json!([simple("one")]));
    guest.converge(&document);
    let right = policy()["one"].clone();
    kernel::load("profile /one {\n  file,\n}\n");
    guest.expect_in_sync(&document);
    let foreign = policy()["/one"].clone();
    kernel::load(&profile("one").replace("/opt/data/one r", "/** rw"));
    guest.converge(&document);
    assert_eq!(policy()["one"], right);
    kernel::remove("one");
    guest.converge(&document);
    assert_eq!((&policy()["one"], &policy()["/one"]), (&right, &foreign));
}

#[test]
fn old_policy_in_the_parsers_cache_does_not_come_back() {
    let guest = Guest::fresh();
    let old = profile("one").replace("/opt/data/one r", "/** rw");
    guest.write("one", &old);
    let boot = |guest: &Guest| {
        kernel::unload_everything();
        // As apparmor.service does (/lib/apparmor/rc.apparmor.functions).
        let file = guest.policy("one");
        crate::guest::tool(crate::guest::PARSER, ["--replace".as_ref(), "--write-cache".as_ref(), file.as_os_str()]);
    };
    boot(&guest);
    let document = document(json!([simple("one")]));
    guest.converge(&document);
    let right = policy();
    // The parser believes a cache that is no older than the file.
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs_err::File::options().write(true).open(guest.policy("one")).unwrap().set_modified(long_ago).unwrap();
    boot(&guest);
    assert_eq!(policy(), right);
    guest.expect_in_sync(&document);
}

#[test]
fn old_early_policy_does_not_come_back() {
    const EARLY: &str = "/etc/apparmor/earlypolicy";
    let guest = Guest::fresh();
    guest.write("one", &profile("one").replace("/opt/data/one r", "/** rw"));
    guest.write("others", &profile("others"));
    for file in ["one", "others"] {
        let file = guest.policy(file);
        let options = ["--skip-kernel-load", "--write-cache", "--cache-loc", EARLY].map(OsStr::new);
        crate::guest::tool(crate::guest::PARSER, options.into_iter().chain([file.as_os_str()]));
    }
    // systemd loads every file there, whatever its name, before anything is started (systemd, apparmor-setup.c;
    // libapparmor, `aa_policy_cache_replace_all`).
    let boot = || {
        kernel::unload_everything();
        for directory in fs_err::read_dir(EARLY).unwrap() {
            for entry in fs_err::read_dir(directory.unwrap().path()).unwrap() {
                let path = entry.unwrap().path();
                if !path.file_name().unwrap().to_str().unwrap().starts_with('.') {
                    kernel::load_compiled(&path);
                }
            }
        }
        policy()
    };
    let old = boot();
    assert_eq!(old.keys().collect::<Vec<_>>(), ["one", "others"]);

    let wanted = document(json!([simple("one")]));
    guest.converge(&wanted);
    let right = policy();
    assert_ne!(right["one"], old["one"]);
    let booted = boot();
    assert_eq!(booted["others"], old["others"], "it is somebody else's");
    assert!(booted.get("one").is_none_or(|one| *one == right["one"]), "{booted:?}");
    guest.apply(&wanted).expect(0);
    assert_eq!(policy(), right);

    guest.converge(&document(json!([{ "file": "one", "state": "absent" }])));
    assert_eq!(boot().keys().collect::<Vec<_>>(), ["others"]);
}
