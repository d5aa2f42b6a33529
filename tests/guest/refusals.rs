//! What is refused before the first effect, and where nothing can be managed.

use serde_json::json;

use crate::guest::{Guest, document, entry, profile, simple};
use crate::kernel::{self, policy};
use crate::programs::Program;

#[test]
fn a_broken_profile_among_good_ones_loads_nothing() {
    let guest = Guest::fresh();
    guest.converge(&document(json!([simple("one"), simple("two")])));
    let before = policy();
    let broken = profile("three").replace(" r,\n}", " r\n}");
    let changed = profile("one").replace("/opt/data/one r", "/** r");
    let run = guest
        .expect_refusal(&document(json!([entry("one", &changed), simple("four"), entry("three", &broken)])), "compile");
    assert!(run.entry("three")["error"]["line"].is_number(), "{run:#?}");
    assert_eq!(policy(), before);
}

#[test]
fn a_name_defined_twice_is_refused() {
    let guest = Guest::fresh();
    guest.converge(&document(json!([simple("one")])));
    let again = profile("one").replace("/opt/one", "/opt/elsewhere");
    let twice =
        format!("{}{}", profile("two"), profile("two").replace("abi <abi/3.0>,\n", "").replace("/opt/two", "/opt/2"));
    for entries in [json!([simple("one"), entry("again", &again)]), json!([simple("one"), entry("two", &twice)])] {
        let run = guest.apply(&document(entries));
        assert!(matches!(run.code, Some(3 | 4)), "{run:#?}");
        assert_eq!(policy().keys().collect::<Vec<_>>(), ["one"]);
    }
    // What a kernel that was written to all the same would do to it: 6.1 and 6.12 crash.
    guest.expect_in_sync(&document(json!([simple("one")])));
}

#[test]
fn a_namespace_inside_of_another_is_refused_because_no_kernel_makes_one() {
    let guest = Guest::fresh();
    let nested = profile("one").replace("profile one", "profile :outer//inner:one");
    let (source, blob) = ("/tmp/nested", "/tmp/nested.bin");
    fs_err::write(source, &nested).unwrap();
    crate::guest::tool(crate::guest::PARSER, ["--skip-kernel-load", "--skip-cache", "--ofile", blob, source]);
    let refused = fs_err::write("/sys/kernel/security/apparmor/.replace", fs_err::read(blob).unwrap()).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    let run = guest.expect_refusal(&document(json!([entry("one", &nested)])), "not_loadable");
    assert!(run.report["error"]["remedy"].as_str().unwrap().contains("directly below"), "{run:#?}");
}

#[test]
fn two_profiles_for_one_executable_are_refused_and_it_stays_confined() {
    let guest = Guest::fresh();
    let one = Program::install("one");
    guest.converge(&document(json!([simple("one")])));
    let rival = profile("rival").replace("/opt/rival {", "/opt/{one,rival} {");
    let run = guest.apply(&document(json!([simple("one"), entry("rival", &rival)])));
    assert!(matches!(run.code, Some(3 | 4)), "{run:#?}");
    let told = run.report["problems"].to_string() + &run.report["error"].to_string();
    assert!(told.contains("one") && told.contains("rival"), "both files are named: {run:#?}");
    assert_eq!(policy().keys().collect::<Vec<_>>(), ["one"]);
    assert_eq!(one.start().label(), "one (enforce)");

    // That it would be unconfined is what the kernel does with equal matches.
    kernel::load(&rival);
    assert_eq!(one.start().label(), "unconfined");
}

#[test]
fn without_privilege_nothing_is_managed() {
    let guest = Guest::fresh();
    let run = guest.run_as_nobody(&["apply"], &document(json!([simple("one")])).to_string());
    run.expect(4);
    assert_eq!(run.report["error"]["code"], "permission", "{run:#?}");
    assert!(run.report["error"]["remedy"].is_string());
    assert!(policy().is_empty());
}

#[test]
fn without_securityfs_nothing_is_managed() {
    let guest = Guest::fresh();
    let document = document(json!([simple("one")])).to_string();
    let unmounted = ["unshare", "--mount", "sh", "-c", "umount /sys/kernel/security && exec \"$@\"", "sh"];
    let run = guest.run_under(&unmounted, &["apply"], &document);
    run.expect(4);
    assert_eq!(run.report["error"]["code"], "no_securityfs", "{run:#?}");
    assert!(run.report["error"]["remedy"].as_str().unwrap().contains("mount"), "{run:#?}");
    assert!(!guest.policy("one").exists());

    let run = guest.run_under(&unmounted, &["apply", "--kernel", "skip"], &document);
    run.expect(0);
    assert_eq!(run.report["kernel"]["managed"], false);
    assert!(guest.policy("one").exists() && policy().is_empty());
}

#[test]
fn a_container_does_not_manage_its_hosts_policy() {
    let guest = Guest::fresh();
    let document = document(json!([simple("one")])).to_string();
    let run = guest.run_under(&["unshare", "--pid", "--fork", "--mount-proc"], &["apply"], &document);
    run.expect(4);
    assert_eq!(run.report["error"]["code"], "container", "{run:#?}");
    assert!(policy().is_empty());
}

#[test]
fn a_container_with_a_policy_namespace_of_its_own_manages_that() {
    let guest = Guest::fresh();
    kernel::load("profile :apart:already {\n  file,\n}\n");
    let entered = "echo 'exec :apart:unconfined' >/proc/self/attr/apparmor/exec && exec \"$@\"";
    let container = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", entered, "sh"];
    let wanted = document(json!([simple("one")])).to_string();
    let run = guest.run_under(&container, &["apply"], &wanted);
    run.expect(0);
    assert!(run.changed());
    assert_eq!(policy().keys().collect::<Vec<_>>(), [":apart://already", ":apart://one"]);
    let before = kernel::revisions();
    let run = guest.run_under(&container, &["apply"], &wanted);
    run.expect(0);
    assert!(!run.changed(), "{run:#?}");
    assert_eq!(kernel::revisions(), before);
}

#[test]
fn a_kernel_that_shows_no_hashes_is_verified_by_the_bytes_it_keeps() {
    let guest = Guest::fresh();
    kernel::set_parameter("hash_policy", "N");
    let document = document(json!([simple("one"), simple("two")]));
    let run = guest.converge(&document);
    assert!(policy().values().all(|loaded| loaded.hash.is_none()));
    assert_eq!(run.entry("one")["loaded"][0]["verified"], true, "{run:#?}");
    guest.expect_in_sync(&document);
    kernel::load(&profile("two").replace("/opt/data/two r", "/** rw"));
    let run = guest.converge(&document);
    assert_eq!(run.entry("two")["reasons"], json!(["kernel-drift"]));
    guest.expect_in_sync(&document);
}

#[test]
fn a_kernel_that_shows_no_evidence_is_told_and_refused_unless_accepted() {
    let guest = Guest::fresh();
    kernel::set_parameter("hash_policy", "N");
    kernel::set_parameter("export_binary", "N");
    let mut wanted = document(json!([simple("one"), simple("two")]));
    guest.expect_refusal(&wanted, "kernel-without-evidence");
    wanted["accept"] = json!([{ "code": "kernel-without-evidence", "reason": "small kernel" }]);
    let run = guest.converge(&wanted);
    assert!(run.warns("small kernel"), "{run:#?}");
    assert_eq!(policy().keys().collect::<Vec<_>>(), ["one", "two"]);
    guest.expect_in_sync(&wanted);

    kernel::remove("one");
    kernel::load_with(&["--Complain"], &profile("two"));
    guest.converge(&wanted);
    assert_eq!(policy().values().map(|loaded| &*loaded.mode).collect::<Vec<_>>(), ["enforce", "enforce"]);
}
