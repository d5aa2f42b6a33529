//! What `apply` makes true, and what it says about it.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::scratch::{Scratch, assert_untouched, copy, difference, entry, has_reason, profile, profiles, tree};

/// Bytes that no package and no document of these tests wrote.
const ADMIN: &str = "# by hand\nabi <abi/3.0>,\nprofile one /opt/one {\n  /etc/by-hand r,\n}\n";

#[test]
fn creates_what_is_missing_and_then_does_nothing() {
    let host = Scratch::new();
    let document = profiles(json!([entry("one"), entry("two")]));

    let first = host.converge(&document);
    assert!(first.changed());
    assert_eq!(first.report["summary"]["created"], 2);
    assert_eq!(first.entry("one")["action"], "create");
    assert_eq!(first.entry("one")["outcome"], "applied");
    assert_eq!(host.read("one"), profile("one"));
    let mode = host.policy("one").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o644);

    let before = host.policy_tree();
    let second = host.converge(&document);
    assert!(!second.changed());
    assert_eq!(second.report["summary"]["unchanged"], 2);
    assert_eq!(second.report["profiles"], json!([]), "unchanged entries are listed with --all alone");
    assert_untouched(&before, &host.policy_tree());
    assert_eq!(host.leftovers(), [""; 0]);
}

#[test]
fn our_directories_are_for_us_alone() {
    let host = Scratch::new();
    host.converge(&profiles(json!([entry("one")])));
    for directory in ["var/lib/aa-converge", "var/lib/aa-converge/journal", "run/aa-converge"] {
        let Ok(metadata) = host.path(directory).metadata() else { continue };
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o700, "{directory}");
    }
    for (path, node) in tree(&host.path("var/lib/aa-converge")) {
        assert_eq!(node.mode & 0o077, 0, "{path} holds what an attacker would like to write");
    }
}

#[test]
fn repairs_drift_and_says_why() {
    let host = Scratch::new();
    let document = profiles(json!([entry("one"), entry("two")]));
    host.converge(&document);
    host.write("one", ADMIN);

    let run = host.converge(&document);
    assert_eq!(run.entry("one")["action"], "update");
    assert!(has_reason(run.entry("one"), "content"), "{run:#?}");
    assert_eq!(run.report["summary"]["updated"], 1);
    assert_eq!(run.report["summary"]["unchanged"], 1);
    assert_eq!(host.read("one"), profile("one"));
}

#[test]
fn one_changed_of_many_touches_one_file() {
    let host = Scratch::new();
    let mut entries: Vec<_> = (0..20).map(|n| entry(&format!("p{n:02}"))).collect();
    host.converge(&profiles(json!(entries)));
    let before = host.policy_tree();

    entries[7]["content"] = json!(profile("p07").replace("/opt/data", "/srv/data"));
    let run = host.converge(&profiles(json!(entries)));
    assert_eq!(run.report["summary"]["updated"], 1);
    assert_eq!(run.report["summary"]["unchanged"], 19);
    let touched = difference(&before, &host.policy_tree());
    // The directory's own time stamp moves with the rename.
    assert_eq!(touched.iter().filter(|path| !path.is_empty()).collect::<Vec<_>>(), ["p07"]);
}

#[test]
fn a_comment_changes_the_file_and_not_the_policy() {
    let host = Scratch::new();
    host.converge(&profiles(json!([entry("one")])));
    let text = format!("# A comment.\n{}", profile("one"));
    let run = host.converge(&profiles(json!([{ "file": "one", "content": text }])));
    assert!(run.changed());
    assert_eq!(run.entry("one")["action"], "update");
    assert_eq!(host.read("one"), text);
}

#[test]
fn one_broken_profile_holds_everything_back_every_time() {
    let host = Scratch::new();
    host.converge(&profiles(json!([entry("one")])));
    let before = host.policy_tree();
    let broken = profile("two").replace(" r,\n}", " r\n}");
    let document = profiles(json!([
        { "file": "one", "content": profile("one").replace("data", "other") },
        { "file": "two", "content": broken },
        entry("three"),
    ]));
    for _ in 0..2 {
        let run = host.apply(&document);
        run.expect(4);
        assert_eq!(run.error_code(), "compile");
        assert!(!run.changed());
        let error = &run.entry("two")["error"];
        assert!(error["message"].as_str().is_some_and(|message| message.contains("syntax error")), "{run:#?}");
        assert!(error["file"].as_str().is_some_and(|file| file.ends_with("two")), "{run:#?}");
        assert_eq!(error["line"], 7, "{run:#?}");
        assert!(run.entry("one")["error"].is_null());
        assert_untouched(&before, &host.policy_tree());
    }
}

#[test]
fn every_compile_error_is_reported_at_once() {
    let host = Scratch::new();
    let document = profiles(json!([
        { "file": "one", "content": profile("one").replace("abi/3.0", "abi/99.0") },
        { "file": "two", "content": profile("two").replace("/opt/data", "@{NOWHERE}") },
        { "file": "three", "content": profile("three").replace("abstractions/site", "abstractions/missing") },
        entry("four"),
    ]));
    let run = host.apply(&document);
    run.expect(4);
    assert_eq!(run.error_code(), "compile");
    for (file, words) in [("one", "abi/99.0"), ("two", "NOWHERE"), ("three", "abstractions/missing")] {
        let message = run.entry(file)["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains(words), "{file}: {message}");
    }
    assert_eq!(run.report["summary"]["failed"], 3);
    assert!(!host.has("four"));
}

#[test]
fn entries_stand_in_byte_order() {
    let host = Scratch::new();
    let run = host.converge(&profiles(json!([entry("b"), entry("a"), entry("B"), entry("a.b"), entry("a-b")])));
    let files: Vec<_> = run.report["profiles"].as_array().unwrap().iter().map(|entry| &entry["file"]).collect();
    assert_eq!(files, ["B", "a", "a-b", "a.b", "b"]);
}

#[test]
fn absent_removes_the_file_and_its_links() {
    let host = Scratch::new();
    host.converge(&profiles(json!([entry("one"), entry("two")])));
    std::os::unix::fs::symlink("../one", host.policy("force-complain/one")).unwrap();

    let document = profiles(json!([{ "file": "one", "state": "absent" }, entry("two")]));
    let run = host.converge(&document);
    assert_eq!(run.entry("one")["action"], "remove");
    assert_eq!(run.report["summary"]["removed"], 1);
    assert!(!host.has("one") && !host.has("force-complain/one") && host.has("two"));
    assert!(!host.converge(&document).changed());
}

#[test]
fn prune_removes_what_this_owner_no_longer_lists() {
    let host = Scratch::new();
    host.write("by-hand", profile("by-hand"));
    host.converge(&profiles(json!([entry("one"), entry("two")])));
    let mut document = profiles(json!([entry("two")]));
    assert!(!host.converge(&document).changed(), "without prune, what is no longer listed stays");

    document["prune"] = json!(true);
    let run = host.converge(&document);
    assert!(has_reason(run.entry("one"), "pruned"), "{run:#?}");
    assert!(!host.has("one") && host.has("two") && host.has("by-hand"));
}

#[test]
fn prune_leaves_other_owners_alone() {
    let host = Scratch::new();
    host.converge(&json!({ "version": 1, "owner": "other", "profiles": [entry("theirs")] }));
    host.converge(&profiles(json!([entry("ours")])));
    let run = host.converge(&json!({ "version": 1, "owner": "test", "prune": true, "profiles": [entry("new")] }));
    assert!(run.changed());
    assert!(host.has("theirs") && !host.has("ours") && host.has("new"));
}

#[test]
fn an_adopted_original_comes_back() {
    let host = Scratch::new();
    host.write("one", ADMIN);
    fs_err::set_permissions(host.policy("one"), std::fs::Permissions::from_mode(0o640)).unwrap();

    let run = host.converge(&profiles(json!([entry("one"), entry("two")])));
    assert!(has_reason(run.entry("one"), "adopted"), "{run:#?}");
    assert_eq!(host.read("one"), profile("one"));

    let run = host.converge(&json!({ "version": 1, "owner": "test", "prune": true, "profiles": [entry("two")] }));
    assert_eq!(run.entry("one")["action"], "restore");
    assert_eq!(run.report["summary"]["restored"], 1);
    assert_eq!(host.read("one"), ADMIN);
    assert_eq!(host.policy("one").metadata().unwrap().permissions().mode() & 0o7777, 0o640);
}

#[test]
fn uninstalling_needs_to_be_said() {
    let host = Scratch::new();
    host.write("one", ADMIN);
    let before = host.policy_tree();
    host.converge(&json!({
        "version": 1, "owner": "test",
        "files": [{ "path": "local/one", "content": "/srv/one r,\n" }],
        "profiles": [entry("one"), entry("two")],
    }));

    let mut document = json!({ "version": 1, "owner": "test", "prune": true });
    let refused = host.apply(&document);
    refused.expect(3);
    assert_eq!(refused.problems()[0].1, "allow_empty_needed");

    document["allow_empty"] = json!(true);
    assert!(host.converge(&document).changed());
    let contents = |tree: crate::scratch::Tree| -> Vec<_> {
        tree.into_iter().map(|(path, node)| (path, node.mode, node.content)).collect()
    };
    assert_eq!(contents(host.policy_tree()), contents(before));
    assert!(!host.converge(&document).changed());
}

#[test]
fn equal_bytes_are_taken_over_without_a_change() {
    let host = Scratch::new();
    host.write("one", profile("one"));
    let before = host.policy_tree();
    let run = host.converge(&profiles(json!([entry("one")])));
    assert!(!run.changed());
    assert_untouched(&before, &host.policy_tree());
}

#[test]
fn a_mode_is_written_into_the_flags_of_text_that_is_brought() {
    let host = Scratch::new();
    let complain =
        |name: &str| profile(name).replace(&format!("/opt/{name} {{"), &format!("/opt/{name} flags=(complain) {{"));
    let mut document = profiles(json!([entry("one"), entry("two")]));
    document["defaults"] = json!({ "mode": "complain" });
    document["profiles"][1]["mode"] = json!("as_written");
    host.converge(&document);
    assert_eq!(host.read("one"), complain("one"));
    assert_eq!(host.read("two"), profile("two"));

    document["profiles"][0]["mode"] = json!("enforce");
    let run = host.converge(&document);
    assert_eq!(run.entry("one")["action"], "update");
    assert!(!host.read("one").contains("complain"));
    assert!(!host.converge(&document).changed());
}

#[test]
fn the_mode_of_an_installed_profile_is_a_link_where_that_does_the_same() {
    let host = Scratch::new();
    host.write("one", profile("one"));
    let text = host.read("one");
    let with_mode = |mode: &str| profiles(json!([{ "file": "one", "mode": mode }]));
    let link = |directory: &str| fs_err::read_link(host.policy(directory).join("one")).ok();
    let target = || Some(std::path::PathBuf::from("../one"));

    for (mode, force_complain, disable) in
        [("complain", target(), None), ("disabled", None, target()), ("enforce", None, None), ("enforce", None, None)]
    {
        let run = host.converge(&with_mode(mode));
        assert!(!run.warns("one"), "{run:#?}");
        assert_eq!((link("force-complain"), link("disable")), (force_complain, disable), "{mode}");
        assert_eq!(host.read("one"), text, "the package's file stays as it was");
        assert!(!host.converge(&with_mode(mode)).changed(), "{mode}");
    }
}

#[test]
fn a_mode_for_a_missing_file_is_refused_or_skipped() {
    let host = Scratch::new();
    let mut document = profiles(json!([{ "file": "nothing", "mode": "complain" }]));
    let refused = host.apply(&document);
    refused.expect(3);
    assert_eq!(refused.problems(), [("/profiles/0/file", "not_installed")]);

    document["profiles"][0]["if_missing"] = json!("skip");
    let run = host.converge(&document);
    assert!(run.warns("nothing") && !run.changed());
}

#[test]
fn text_comes_as_base64_or_from_a_file_of_the_host() {
    let host = Scratch::new();
    fs_err::create_dir_all(host.path("srv/policy")).unwrap();
    fs_err::write(host.path("srv/policy/two"), profile("two")).unwrap();
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, profile("one"));
    let document = profiles(json!([
        { "file": "one", "content_base64": encoded },
        { "file": "two", "source": "/srv/policy/two" },
    ]));
    host.converge(&document);
    assert_eq!((host.read("one"), host.read("two")), (profile("one"), profile("two")));
    assert!(!host.converge(&document).changed());

    let wrong = profiles(json!([{ "file": "two", "source": "/srv/policy/two", "sha256": "0".repeat(64) }]));
    let run = host.apply(&wrong);
    run.expect(3);
    assert_eq!(run.problems()[0].1, "bad_source");
}

#[test]
fn content_keeps_every_byte() {
    let host = Scratch::new();
    let text =
        "# Grüße, 世界 \u{1F980}\r\nabi <abi/3.0>,\r\nprofile one /opt/öne {\r\n\t\"/opt/d a t a\" r,\r\n}\r\n\r\n";
    host.converge(&profiles(json!([{ "file": "one", "content": text }])));
    assert_eq!(host.read("one"), text);
}

#[test]
fn a_changed_include_reloads_exactly_what_depends_on_it() {
    let host = Scratch::new();
    let other = profile("other").replace("abstractions/site", "abstractions/other");
    host.write("by-hand", profile("by-hand"));
    let mut document = json!({
        "version": 1, "owner": "test",
        "files": [{ "path": "abstractions/site", "content": "/etc/site.conf r,\n" }],
        "profiles": [entry("one"), { "file": "other", "content": other }],
    });
    host.converge(&document);

    document["files"][0]["content"] = json!("/etc/site.conf r,\n/etc/site.d/* r,\n");
    let run = host.converge(&document);
    for file in ["one", "by-hand"] {
        assert_eq!(run.entry(file)["action"], "reload", "{run:#?}");
        assert!(has_reason(run.entry(file), "include:abstractions/site"), "{run:#?}");
    }
    assert!(run.find_entry("other").is_none(), "{run:#?}");
    assert_eq!(run.report["summary"]["reloaded"], 2);
    assert!(!host.converge(&document).changed());

    document["files"][0]["content"] = json!("# Only a comment.\n/etc/site.conf r,\n/etc/site.d/* r,\n");
    let run = host.converge(&document);
    assert_eq!(run.report["summary"]["reloaded"], 0, "the same policy is not loaded again: {run:#?}");
    assert_eq!(run.report["summary"]["updated"], 1, "{run:#?}");
}

#[test]
fn an_include_that_others_changed_concerns_the_listed_profiles() {
    let host = Scratch::new();
    let document = profiles(json!([entry("one")]));
    host.converge(&document);
    host.write("abstractions/site", "/etc/site.conf r,\n/etc/more r,\n");
    let run = host.converge(&document);
    assert_eq!(run.entry("one")["action"], "reload");
    assert!(has_reason(run.entry("one"), "include:abstractions/site"), "{run:#?}");
    assert!(!host.converge(&document).changed());
}

#[test]
fn every_form_of_include_counts() {
    let host = Scratch::new();
    let forms = [
        "include <abstractions/site>",
        "#include <abstractions/site>",
        "include if exists <abstractions/site>",
        "include \"/etc/apparmor.d/abstractions/site\"",
        "include <abstractions>",
        "/x r, #include <abstractions/site>",
        "include if exists <local/one>",
    ];
    let entries: Vec<_> = forms
        .iter()
        .enumerate()
        .filter(|(_, form)| !form.contains('"'))
        .map(|(n, form)| {
            let name = format!("p{n}");
            json!({ "file": name, "content": profile(&name).replace("include <abstractions/site>", form) })
        })
        .collect();
    let document = profiles(json!(entries));
    host.converge(&document);

    host.write("abstractions/site", "/etc/elsewhere r,\n");
    let run = host.converge(&document);
    assert_eq!(run.report["summary"]["reloaded"], 5, "{run:#?}");
    host.write("abstractions/added", "/etc/added r,\n");
    let run = host.converge(&document);
    assert_eq!(run.report["summary"]["reloaded"], 1, "a directory's listing counts: {run:#?}");
    host.write("local/one", "/etc/local r,\n");
    let run = host.converge(&document);
    assert_eq!(run.report["summary"]["reloaded"], 1, "an absence counts: {run:#?}");
    fs_err::remove_file(host.policy("local/one")).unwrap();
    assert_eq!(host.converge(&document).report["summary"]["reloaded"], 1, "and so does its return");
}

#[test]
fn an_include_that_breaks_an_installed_profile_is_refused() {
    let host = Scratch::new();
    host.write("by-hand", profile("by-hand"));
    let before = host.policy_tree();
    let run = host.apply(&json!({
        "version": 1, "owner": "test",
        "files": [{ "path": "abstractions/site", "content": "/etc/site.conf nonsense,\n" }],
    }));
    run.expect(4);
    assert_eq!(run.error_code(), "compile");
    let error = &run.entry("by-hand")["error"];
    assert!(error["file"].as_str().is_some_and(|file| file.ends_with("abstractions/site")), "{run:#?}");
    assert_untouched(&before, &host.policy_tree());
}

#[test]
fn a_profile_that_was_broken_before_does_not_hold_others_back() {
    let host = Scratch::new();
    host.write("broken", "profile broken /opt/broken {\n  include <abstractions/site>\n  nonsense\n}\n");
    let document = json!({
        "version": 1, "owner": "test",
        "files": [{ "path": "abstractions/site", "content": "/etc/other.conf r,\n" }],
        "profiles": [entry("one")],
    });
    let run = host.converge(&document);
    assert!(run.warns("broken"), "{run:#?}");
    assert!(host.has("one"));
}

#[test]
fn stale_entries_of_the_parsers_cache_are_dropped() {
    let host = Scratch::new();
    let document = profiles(json!([entry("one"), entry("two")]));
    host.converge(&document);
    let cache = host.path("var/cache/apparmor/26b63962.0");
    fs_err::create_dir_all(&cache).unwrap();
    for name in ["one", "two", "unrelated"] {
        fs_err::write(cache.join(name), "compiled long ago").unwrap();
    }
    host.converge(&profiles(
        json!([{ "file": "one", "content": profile("one").replace("data", "more") }, entry("two")]),
    ));
    assert!(!cache.join("one").exists(), "the next boot would load the old policy");
    assert!(cache.join("unrelated").exists());
}

#[test]
fn directories_are_made_for_other_files() {
    let host = Scratch::new();
    let document = json!({
        "version": 1, "owner": "test",
        "files": [{ "path": "tunables/home.d/fleet", "content": "@{FLEET}=/srv\n" }],
    });
    let run = host.converge(&document);
    assert_eq!(run.entry("tunables/home.d/fleet")["action"], "create");
    assert_eq!(host.policy("tunables/home.d").metadata().unwrap().permissions().mode() & 0o7777, 0o755);
    assert_eq!(host.read("tunables/home.d/fleet"), "@{FLEET}=/srv\n");
}

#[test]
fn a_file_that_moves_to_another_owner_is_named_or_superseded() {
    let host = Scratch::new();
    host.converge(&profiles(json!([entry("one")])));
    let mut document = json!({ "version": 1, "owner": "second", "profiles": [entry("one")] });
    let refused = host.apply(&document);
    refused.expect(3);
    assert_eq!(refused.problems()[0].1, "owned_by_other");
    assert!(refused.report["problems"][0]["message"].as_str().unwrap().contains("test"));

    document["supersedes"] = json!(["test"]);
    host.converge(&document);
    host.apply(&profiles(json!([entry("one")]))).expect(3);
}

#[test]
fn one_attachment_for_two_profiles_is_refused_naming_both_files() {
    let host = Scratch::new();
    host.write("nginx-by-hand", "profile nginx-by-hand /usr/sbin/{nginx,nginx-debug} {\n}\n");
    let ours = "@{BIN}=/usr/sbin\nprofile nginx @{BIN}/nginx {\n}\n";
    let run = host.apply(&profiles(json!([{ "file": "nginx", "content": ours }])));
    run.expect(3);
    let problem = &run.report["problems"][0];
    assert_eq!(problem["code"], "equal_attachment");
    let message = problem["message"].as_str().unwrap();
    assert!(message.contains("nginx-by-hand") && message.contains("/usr/sbin/nginx"), "{message}");
}

#[test]
fn one_name_for_two_profiles_is_refused_naming_both_files() {
    let host = Scratch::new();
    host.write("by-hand", profile("one"));
    let run = host.apply(&profiles(json!([entry("one")])));
    run.expect(3);
    let problem = &run.report["problems"][0];
    assert_eq!(problem["code"], "duplicate_profile_name");
    assert!(problem["message"].as_str().unwrap().contains("by-hand"));
}

#[test]
fn a_profile_may_move_from_file_to_file() {
    let host = Scratch::new();
    host.converge(&profiles(json!([entry("one")])));
    let document = profiles(json!([
        { "file": "one", "state": "absent" },
        { "file": "uno", "content": profile("one") },
    ]));
    host.converge(&document);
    assert!(!host.has("one") && host.has("uno"));
}

#[test]
fn the_example_documents_converge() {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    for example in fs_err::read_dir(examples).unwrap() {
        let path = example.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let host = Scratch::debian();
        for installed in ["nvidia_modprobe", "lsb_release"] {
            copy(&std::path::Path::new("/etc/apparmor.d").join(installed), &host.policy(installed));
        }
        let document = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
        let uninstalls = path.ends_with("uninstall.json");
        assert_eq!(host.converge(&document).changed(), !uninstalls, "{}", path.display());
        assert!(!host.converge(&document).changed(), "{}", path.display());
    }
}

#[test]
fn a_header_from_an_included_file_keeps_its_mode_and_is_named() {
    let host = Scratch::new();
    host.write("abstractions/helpers", "profile helper {\n  /x r,\n}\n");
    let text = profile("one").replace("abstractions/site", "abstractions/helpers");
    let run = host.converge(&profiles(json!([{ "file": "one", "content": text, "mode": "complain" }])));
    assert!(run.warns("one//helper"), "{run:#?}");
    assert!(!host.read("abstractions/helpers").contains("complain"));
}

#[test]
fn a_features_file_that_is_not_there_is_one_refusal() {
    let host = Scratch::new();
    let conf = host.path("etc/apparmor/parser.conf");
    let text = fs_err::read_to_string(&conf).unwrap_or_default();
    fs_err::write(&conf, format!("{text}\npolicy-features=/usr/share/nowhere/features\n")).unwrap();
    let run = host.apply(&profiles(json!([entry("one"), entry("two")])));
    run.expect(4);
    assert_eq!(run.error_code(), "parser");
    let message = run.report["error"]["message"].as_str().unwrap();
    assert!(message.contains("parser.conf") && message.contains("/usr/share/nowhere/features"), "{run:#?}");
    assert!(!host.has("one"));
}

#[test]
fn every_refusal_says_what_to_do() {
    let host = Scratch::new();
    fs_err::create_dir_all(host.path("var")).unwrap();
    fs_err::write(host.path("var/lib"), "a file where a directory should be").unwrap();
    let run = host.apply(&profiles(json!([entry("one")])));
    run.expect(4);
    assert!(run.report["error"]["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{run:#?}");
}
