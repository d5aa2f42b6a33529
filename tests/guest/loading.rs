//! What is loaded, once and in one write, and what leaves the kernel.

use serde_json::{Value, json};

use crate::guest::{Guest, document, entry, has_apparmor_4, profile, simple, tool};
use crate::kernel::{self, Policy, policy, reference, revision};
use crate::programs::Program;

#[test]
fn a_first_run_loads_in_one_write_and_a_second_writes_nothing() {
    let guest = Guest::fresh();
    let expected = reference([&*profile("one"), &*profile("two"), &*profile("three")]);
    let document = document(json!([simple("one"), simple("two"), simple("three")]));
    let before = revision();

    let run = guest.converge(&document);
    assert_eq!(policy(), expected);
    assert_eq!(revision(), before + 1, "one write");
    let told = &run.report["kernel"];
    assert_eq!((&told["managed"], &told["global_mode"]), (&json!(true), &json!("enforce")), "{run:#?}");
    assert_eq!((&told["revision"], &told["writes"]), (&json!(before + 1), &json!(1)), "{run:#?}");
    assert_eq!(told["atomic"], true, "{run:#?}");
    for name in ["one", "two", "three"] {
        let loaded = &run.entry(name)["loaded"];
        assert_eq!(loaded[0]["name"], name);
        assert_eq!(loaded[0]["mode"], json!({ "before": null, "after": "enforce" }));
        assert_eq!(loaded[0]["hash"], json!({ "before": null, "after": expected[name].hash }));
        assert_eq!(loaded[0]["verified"], true, "{run:#?}");
    }
    guest.expect_in_sync(&document);
}

#[test]
fn one_changed_of_many_is_loaded_alone() {
    let guest = Guest::fresh();
    let names = ["a", "b", "c", "d", "e", "f"];
    let entries: Vec<Value> = names.into_iter().map(simple).collect();
    guest.converge(&document(json!(entries)));
    let other = profile("c").replace("/opt/data/c r", "/opt/data/** r");
    let before = policy();
    kernel::remove("c");
    let changed = reference([&*other]);
    kernel::load(&profile("c"));
    assert_eq!(policy(), before);

    let mut entries = entries;
    entries[2] = entry("c", &other);
    let revision_before = revision();
    let run = guest.converge(&document(json!(entries)));
    assert_eq!(revision(), revision_before + 1);
    assert_eq!(run.report["profiles"].as_array().unwrap().len(), 1, "{run:#?}");
    assert_eq!(run.entry("c")["loaded"][0]["hash"], json!({ "before": before["c"].hash, "after": changed["c"].hash }));
    let mut expected = before;
    expected.extend(changed);
    assert_eq!(policy(), expected);
}

#[test]
fn a_comment_is_not_loaded() {
    let guest = Guest::fresh();
    guest.converge(&document(json!([simple("one")])));
    let before = revision();
    let run = guest.converge(&document(json!([entry("one", &format!("# A comment.\n{}", profile("one")))])));
    assert_eq!(run.entry("one")["action"], "update");
    assert_eq!(revision(), before, "the compiled profile is the same");
}

/// A parent with the child `kid`, the hat `hat` and the further child `other`.
const FAMILY: &str = "abi <abi/3.0>,\nprofile family /opt/family {\n  /opt/family mr,\n  /opt/kid Cx -> kid,\n\n  \
    profile kid {\n    /opt/kid mr,\n  }\n  ^hat {\n    /opt/kid mr,\n  }\n  profile other {\n    /opt/data/* r,\n  }\n}\n";
/// The parent alone.
const CHILDLESS: &str = "abi <abi/3.0>,\nprofile family /opt/family {\n  /opt/family mr,\n}\n";

#[test]
fn hats_and_children_that_leave_the_text_leave_the_kernel() {
    let guest = Guest::fresh();
    let alone = reference([CHILDLESS]);
    let run = guest.converge(&document(json!([entry("family", FAMILY), simple("one")])));
    assert_eq!(run.entry("family")["loaded"].as_array().unwrap().len(), 4, "{run:#?}");
    assert_eq!(policy().keys().collect::<Vec<_>>(), ["family", "family//hat", "family//kid", "family//other", "one"]);

    let document = document(json!([entry("family", CHILDLESS), simple("one")]));
    guest.converge(&document);
    assert_eq!(policy().keys().collect::<Vec<_>>(), ["family", "one"]);
    assert_eq!(policy()["family"], alone["family"]);
    guest.expect_in_sync(&document);
}

#[test]
fn hats_and_children_in_use_are_kept_unless_the_document_gives_them_up() {
    let guest = Guest::fresh();
    guest.converge(&document(json!([entry("family", FAMILY)])));
    let kid = Program::install("kid");
    for label in ["family//kid", "family//hat"] {
        let running = kid.start_under(label);
        assert_eq!(running.label(), format!("{label} (enforce)"));
        let run = guest.expect_refusal(&document(json!([entry("family", CHILDLESS)])), "confined");
        let message = run.report["error"]["message"].as_str().unwrap();
        assert!(message.contains(&running.pid().to_string()) && message.contains(label), "{message}");
    }
    let running = kid.start_under("family//kid");
    let given_up = json!({ "file": "family", "content": CHILDLESS, "on_confined": "unload" });
    guest.converge(&document(json!([given_up])));
    assert_eq!(policy().keys().collect::<Vec<_>>(), ["family"]);
    assert_eq!(running.label(), "unconfined");
}

#[test]
fn a_renamed_profile_leaves_no_old_one() {
    let guest = Guest::fresh();
    let expected = reference([&*profile("new")]);
    guest.converge(&document(json!([entry("file", &profile("old"))])));
    let document = document(json!([entry("file", &profile("new"))]));
    guest.converge(&document);
    assert_eq!(policy(), expected);
    guest.expect_in_sync(&document);
}

#[test]
fn profiles_that_are_absent_disabled_or_pruned_leave_the_kernel() {
    let guest = Guest::fresh();
    guest.converge(&document(json!([simple("one"), simple("two"), simple("three"), simple("four")])));
    let disabled = json!({ "file": "three", "content": profile("three"), "mode": "disabled" });
    let document = document(json!([{ "file": "one", "state": "absent" }, simple("two"), disabled]));
    guest.converge(&document);
    assert_eq!(policy().keys().collect::<Vec<_>>(), ["two"]);
    guest.expect_in_sync(&document);
}

#[test]
fn a_profile_in_use_is_not_removed_in_any_way() {
    let guest = Guest::fresh();
    guest.converge(&document(json!([simple("one"), simple("two")])));
    let one = Program::install("one").start();
    assert_eq!(one.label(), "one (enforce)");
    let disabled = json!({ "file": "one", "content": profile("one"), "mode": "disabled" });
    let renamed = entry("one", &profile("one").replace("profile one", "profile other"));
    let absent = json!({ "file": "one", "state": "absent" });
    for entries in
        [json!([disabled, simple("two")]), json!([renamed, simple("two")]), json!([absent]), json!([simple("two")])]
    {
        let run = guest.expect_refusal(&document(entries), "confined");
        assert!(run.report["error"]["message"].as_str().unwrap().contains(&one.pid().to_string()), "{run:#?}");
    }
    assert_eq!(one.label(), "one (enforce)");
}

#[test]
fn names_that_are_hard_to_read() {
    let guest = Guest::fresh();
    let here = "abi <abi/3.0>,\nprofile \"with space (x)\" /opt/a {\n  profile \"kid of it\" {\n  }\n}\n\
        profile Ünï-çødé /opt/b {\n  ^hät {\n  }\n}\n/opt/c.[0-9]*-{x,y} {\n}\n";
    let elsewhere = "profile :guest:inside /opt/d {\n  profile kid {\n  }\n}\n";
    // What one write loads is for one namespace.
    let expected = reference([here, &format!("abi <abi/3.0>,\n{elsewhere}")]);
    let text = &format!("{here}{elsewhere}");
    assert_eq!(expected.len(), 7, "{expected:#?}");
    let document = document(json!([entry("hard", text)]));
    let run = guest.converge(&document);
    assert_eq!(policy(), expected);
    let told: Vec<&str> =
        run.entry("hard")["loaded"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    for name in expected.keys() {
        assert!(told.contains(&&**name), "{name} is not among {told:?}");
    }
    guest.expect_in_sync(&document);
    guest.converge(&crate::guest::document(json!([])));
    assert_eq!(policy(), Policy::new());
}

#[test]
fn profiles_nested_three_levels_deep() {
    let guest = Guest::fresh();
    let nested = "abi <abi/3.0>,\nprofile a /opt/a {\n  profile b {\n    profile c {\n    }\n  }\n}\n";
    let beside = "abi <abi/3.0>,\nprofile a /opt/a {\n}\nprofile a//b {\n}\nprofile a//b//c {\n}\n";
    // AppArmor 3 compiles the third level as `b//c`, whose parent nobody defines.
    let text = if has_apparmor_4() {
        nested
    } else {
        guest.expect_refusal(&document(json!([entry("deep", nested)])), "not_loadable");
        beside
    };
    let expected = reference([text]);
    assert_eq!(expected.keys().collect::<Vec<_>>(), ["a", "a//b", "a//b//c"]);
    guest.converge(&document(json!([entry("deep", text)])));
    assert_eq!(policy(), expected);

    let two = "abi <abi/3.0>,\nprofile a /opt/a {\n  profile b {\n  }\n}\n";
    guest.converge(&document(json!([entry("deep", two)])));
    assert_eq!(policy().keys().collect::<Vec<_>>(), ["a", "a//b"]);
}

#[test]
fn what_others_loaded_is_never_touched() {
    let guest = Guest::fresh();
    let foreign =
        "profile docker-default flags=(attach_disconnected) {\n  file,\n}\nprofile :lxd:inside {\n  file,\n}\n";
    kernel::load(foreign);
    let theirs = policy();
    guest.converge(&document(json!([simple("one"), simple("two")])));
    guest.converge(&document(json!([simple("two")])));
    // A load by others between two runs changes the revision, and nothing else.
    kernel::load("profile snap.x.y {\n  file,\n}\n");
    guest.expect_in_sync(&document(json!([simple("two")])));
    guest.converge(&document(json!([])));
    kernel::remove("snap.x.y");
    assert_eq!(policy(), theirs);
}

#[test]
fn three_hundred_profiles_at_once() {
    let guest = Guest::fresh();
    let texts: Vec<String> =
        (0..30).map(|file| (0..10).map(|n| profile(&format!("p{file:02}-{n}"))).collect()).collect();
    let texts = texts.iter().map(|text| format!("abi <abi/3.0>,\n{}", text.replace("abi <abi/3.0>,\n", "")));
    let texts: Vec<String> = texts.collect();
    // To compile all of them twice would take as long as ten other tests.
    let sample = reference([&*texts[0], &*texts[29]]);
    let entries: Vec<Value> = texts.iter().enumerate().map(|(n, text)| entry(&format!("file{n}"), text)).collect();
    let before = revision();
    let run = guest.converge(&document(json!(entries)));
    assert_eq!(revision(), before + 1);
    assert_eq!(run.report["kernel"]["atomic"], true);
    let loaded = policy();
    assert_eq!(loaded.len(), 300);
    assert!(loaded.values().all(|it| it.mode == "enforce"));
    assert_eq!(sample.len(), 20);
    assert!(sample.iter().all(|(name, it)| loaded[name] == *it));
    guest.expect_in_sync(&document(json!(entries)));
}

#[test]
fn after_a_reboot_what_the_boot_loaded_right_is_left() {
    let guest = Guest::fresh();
    let document = document(json!([simple("one"), entry("family", FAMILY)]));
    guest.converge(&document);
    // A boot loses what the kernel and /run hold, has another name, and loads the policy directory.
    kernel::unload_everything();
    fs_err::remove_dir_all("/run/aa-converge").unwrap();
    let boot_id = "/proc/sys/kernel/random/boot_id";
    fs_err::write("/tmp/boot_id", "01234567-89ab-cdef-0123-456789abcdef\n").unwrap();
    tool("mount", ["--bind", "/tmp/boot_id", boot_id]);
    for file in ["one", "family"] {
        kernel::load(&fs_err::read_to_string(guest.policy(file)).unwrap());
    }
    guest.expect_in_sync(&document);

    kernel::remove("one");
    let run = guest.converge(&document);
    assert_eq!(run.entry("one")["reasons"], json!(["kernel-missing"]));
    tool("umount", [boot_id]);
}
