//! Documents that are refused: nothing is touched, and every problem is told at once, each with its place.

use serde_json::{Value, json};

use crate::scratch::{Scratch, assert_untouched, entry, profile, profiles};

/// Applies bytes that must be refused and returns the `(pointer, code)` of every problem.
#[track_caller]
fn refuse(document: impl AsRef<[u8]>) -> Vec<(String, String)> {
    let host = Scratch::new();
    let before = host.policy_tree();
    let run = host.apply_bytes(document);
    run.expect(3);
    assert!(!run.changed());
    assert!(run.report["error"]["message"].is_string() && run.report["error"]["code"].is_string(), "{run:#?}");
    assert_untouched(&before, &host.policy_tree());
    for problem in run.report["problems"].as_array().unwrap() {
        assert!(problem["message"].as_str().is_some_and(|message| !message.is_empty()), "{run:#?}");
    }
    run.problems().into_iter().map(|(pointer, code)| (pointer.to_owned(), code.to_owned())).collect()
}

#[track_caller]
fn assert_refused(document: &Value, expected: &[(&str, &str)]) {
    assert_refused_text(&document.to_string(), expected);
}

#[track_caller]
fn assert_refused_text(document: &str, expected: &[(&str, &str)]) {
    let mut problems = refuse(document);
    problems.sort();
    let mut expected: Vec<_> =
        expected.iter().map(|(pointer, code)| ((*pointer).to_owned(), (*code).to_owned())).collect();
    expected.sort();
    assert_eq!(problems, expected, "{document}");
}

#[test]
fn not_json() {
    for text in [
        "",
        "   ",
        "{",
        "{]",
        "nonsense",
        "{\"version\": 1} {}",
        "{\"version\": 01}",
        "\u{feff}{}",
        "{\"a\": \"\u{1}\"}",
    ] {
        let problems = refuse(text);
        assert_eq!(problems[0].1, "not_json", "{text:?}");
    }
    assert_eq!(refuse(b"{\"version\": 1, \"owner\": \"caf\xe9\"}")[0].1, "not_json");
}

#[test]
fn not_an_object() {
    for text in ["[]", "1", "null", "\"version\""] {
        assert_refused_text(text, &[("", "wrong_type")]);
    }
}

#[test]
fn duplicate_key() {
    assert_refused_text(r#"{"version": 1, "owner": "a", "owner": "b"}"#, &[("/owner", "duplicate_key")]);
    assert_refused_text(
        r#"{"version": 1, "owner": "a", "profiles": [{"file": "x", "mode": "kill", "mode": "complain"}]}"#,
        &[("/profiles/0/mode", "duplicate_key")],
    );
}

#[test]
fn wrong_types_deep_inside() {
    assert_refused(
        &json!({
            "version": 1, "owner": 7, "prune": "yes", "defaults": { "mode": 3 },
            "files": [{ "path": ["a"], "content": {} }],
            "profiles": [{ "file": "one", "content": 5 }, "two", { "file": "three", "mode": null, "content": profile("three") }],
        }),
        &[
            ("/owner", "wrong_type"),
            ("/prune", "wrong_type"),
            ("/defaults/mode", "wrong_type"),
            ("/files/0/path", "wrong_type"),
            ("/files/0/content", "wrong_type"),
            ("/profiles/0/content", "wrong_type"),
            ("/profiles/1", "wrong_type"),
            ("/profiles/2/mode", "wrong_type"),
        ],
    );
}

#[test]
fn unknown_fields() {
    assert_refused(
        &json!({
            "version": 1, "owner": "test", "profile": [],
            "defaults": { "moed": "complain" },
            "profiles": [{ "file": "one", "contents": "", "content": profile("one") }],
        }),
        &[
            ("/profile", "unknown_field"),
            ("/defaults/moed", "unknown_field"),
            ("/profiles/0/contents", "unknown_field"),
        ],
    );
}

#[test]
fn an_unknown_field_may_be_known_to_a_newer_version() {
    let host = Scratch::new();
    let run = host.apply(&json!({ "version": 1, "owner": "test", "from_the_future": 1 }));
    let said = run.report["problems"].to_string();
    assert!(said.contains(env!("CARGO_PKG_VERSION")) && said.contains("newer"), "{run:#?}");
}

#[test]
fn unknown_version() {
    for version in [json!(0), json!(2), json!(1.5), json!(-1), json!(u64::MAX)] {
        let problems = refuse(json!({ "version": version, "owner": "test" }).to_string());
        assert_eq!(problems[0], ("/version".to_owned(), "unknown_version".to_owned()));
    }
    assert_refused(&json!({ "owner": "test" }), &[("", "missing")]);
}

#[test]
fn missing_fields() {
    assert_refused(&json!({ "version": 1 }), &[("", "missing")]);
    assert_refused(
        &json!({ "version": 1, "owner": "test", "files": [{}], "profiles": [{ "content": "" }, { "file": "one" }] }),
        &[("/files/0", "missing"), ("/files/0", "missing"), ("/profiles/0", "missing"), ("/profiles/1", "missing")],
    );
}

#[test]
fn duplicate_file() {
    assert_refused(
        &profiles(json!([entry("one"), entry("two"), entry("one")])),
        &[("/profiles/2/file", "duplicate_file")],
    );
    let file = json!({ "path": "local/one", "content": "" });
    assert_refused(
        &json!({ "version": 1, "owner": "test", "files": [file, file] }),
        &[("/files/1/path", "duplicate_file")],
    );
}

#[test]
fn two_contents() {
    assert_refused(
        &profiles(json!([{ "file": "one", "content": profile("one"), "content_base64": "", "source": "/x" }])),
        &[("/profiles/0/content_base64", "conflict"), ("/profiles/0/source", "conflict")],
    );
    assert_refused(
        &profiles(json!([{ "file": "one", "state": "absent", "content": profile("one") }])),
        &[("/profiles/0/content", "conflict")],
    );
}

#[test]
fn names_that_would_mislead_the_parser() {
    for name in [
        "",
        ".",
        "..",
        "a/b",
        "/etc/passwd",
        "../x",
        ".hidden",
        "README",
        "x~",
        "x.dpkg-new",
        "x.rpmsave",
        "x.orig",
        "a\u{0}b",
        "a\nb",
        "abstractions",
        "tunables",
        "disable",
        "force-complain",
        "cache",
        "local",
        "abi",
    ] {
        let problems = refuse(profiles(json!([{ "file": name, "content": profile("one") }])).to_string());
        assert_eq!(problems, [("/profiles/0/file".to_owned(), "bad_value".to_owned())], "{name:?}");
    }
    refuse(profiles(json!([{ "file": "x".repeat(300), "content": profile("one") }])).to_string());
}

#[test]
fn paths_that_would_leave_their_place() {
    for path in [
        "",
        "top-level",
        "/etc/passwd",
        "../shadow",
        "local/../../shadow",
        "local//one",
        "local/./one",
        "disable/one",
        "force-complain/one",
        "cache/one",
        "cache.d/one",
        "local/.one",
        "local/one/",
        "local/a\u{0}b",
    ] {
        let document = json!({ "version": 1, "owner": "test", "files": [{ "path": path, "content": "" }] });
        let problems = refuse(document.to_string());
        assert_eq!(problems, [("/files/0/path".to_owned(), "bad_value".to_owned())], "{path:?}");
    }
}

#[test]
fn modes_and_states_that_do_not_exist() {
    assert_refused(
        &profiles(json!([
            { "file": "one", "mode": "Complain", "content": profile("one") },
            { "file": "two", "state": "gone" },
            { "file": "three", "mode": "complain", "if_missing": "ignore" },
            { "file": "four", "on_confined": "maybe", "state": "absent" },
            { "file": "five", "mode": "complain", "mode_scope": "some" },
        ])),
        &[
            ("/profiles/0/mode", "bad_value"),
            ("/profiles/1/state", "bad_value"),
            ("/profiles/2/if_missing", "bad_value"),
            ("/profiles/3/on_confined", "bad_value"),
            ("/profiles/4/mode_scope", "bad_value"),
        ],
    );
}

#[test]
fn base64_that_is_none() {
    assert_refused(
        &profiles(json!([{ "file": "one", "content_base64": "not base64!" }])),
        &[("/profiles/0/content_base64", "bad_value")],
    );
}

#[test]
fn sources_that_lead_astray() {
    let host = Scratch::new();
    fs_err::write(host.outside("secret"), profile("one")).unwrap();
    fs_err::create_dir_all(host.path("srv")).unwrap();
    std::os::unix::fs::symlink("/../../secret", host.path("srv/link")).unwrap();
    nix::unistd::mkfifo(&host.path("srv/fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    for source in ["/srv/missing", "/srv/link", "/srv/fifo", "/srv", "relative", "/srv/../../secret"] {
        let run = host.apply(&profiles(json!([{ "file": "one", "source": source }])));
        run.expect(3);
        let (pointer, code) = run.problems()[0];
        assert_eq!(pointer, "/profiles/0/source", "{source}");
        assert!(["bad_source", "bad_value"].contains(&code), "{source}: {code}");
        assert!(!host.has("one"));
    }
}

#[test]
fn a_hundred_mebibytes() {
    let mut document =
        b"{\"version\": 1, \"owner\": \"test\", \"profiles\": [{\"file\": \"one\", \"content\": \"".to_vec();
    document.resize(100 << 20, b'#');
    document.extend_from_slice(b"\"}]}");
    let host = Scratch::new();
    let run = host.apply_bytes(&document);
    run.expect(3);
    assert_eq!(run.problems(), [("", "too_large")]);
    assert!(run.report["problems"][0]["message"].as_str().unwrap().contains("64 MiB"), "{run:#?}");
}

#[test]
fn a_profile_beyond_its_limit() {
    let text = format!("# {}\n{}", "x".repeat(5 << 20), profile("one"));
    let host = Scratch::new();
    let run = host.apply(&profiles(json!([{ "file": "one", "content": text }])));
    run.expect(3);
    assert_eq!(run.problems(), [("/profiles/0/content", "too_large")]);
    assert!(run.report["problems"][0]["message"].as_str().unwrap().contains("4 MiB"), "{run:#?}");
}

#[test]
fn nesting_without_end() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let document = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        assert_eq!(refuse(&document)[0].1, "too_large");
    }
}

#[test]
fn a_thousand_problems_are_told() {
    let entries: Vec<_> = (0..1000).map(|n| json!({ "file": format!("p{n}"), "mode": "nonsense" })).collect();
    assert_eq!(refuse(profiles(json!(entries)).to_string()).len(), 1000);
}

#[test]
fn text_that_no_tokenizer_could_read() {
    for text in
        ["profile one /opt/one {", "profile \"one {\n}\n", "}\n", "profile one /opt/{a,b {\n}\n", "\u{0}\u{1}\u{2}", ""]
    {
        let host = Scratch::new();
        let before = host.policy_tree();
        let run = host.apply(&profiles(json!([{ "file": "one", "content": text }])));
        assert!(matches!(run.code, Some(3 | 4)), "{text:?}: {run:#?}");
        assert_untouched(&before, &host.policy_tree());
    }
}
