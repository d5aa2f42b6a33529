//! Options of the command line, the forms of the answer, exit codes.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::scratch::{Run, Scratch, assert_untouched, entry, profile, profiles, start};

#[test]
fn check_writes_nothing_at_all() {
    let host = Scratch::new();
    let document = profiles(json!([entry("one"), entry("two")]));
    let before = host.tree();
    let run = host.apply_with(&["--check"], &document);
    run.expect(0);
    assert_eq!(run.report["check"], true);
    assert!(run.changed(), "check says what would change");
    assert_eq!(run.entry("one")["outcome"], "planned");
    assert_untouched(&before, &host.tree());

    host.converge(&document);
    let before = host.tree();
    let run = host.apply_with(&["--check"], &document);
    run.expect(0);
    assert!(!run.changed());
    assert_untouched(&before, &host.tree());
}

#[test]
fn check_compiles_and_plans_as_apply_does() {
    let host = Scratch::new();
    host.write("by-hand", profile("by-hand"));
    let document = json!({
        "version": 1, "owner": "test",
        "files": [{ "path": "abstractions/site", "content": "/etc/site.conf rw,\n" }],
        "profiles": [entry("one")],
    });
    let planned = host.apply_with(&["--check"], &document);
    let applied = host.converge(&document);
    let entries = |run: &Run| -> Vec<Value> {
        let lists = ["profiles", "files"].map(|key| run.report[key].as_array().cloned().unwrap_or_default());
        let mut entries: Vec<_> = lists.into_iter().flatten().collect();
        for entry in &mut entries {
            entry["outcome"] = Value::Null;
        }
        entries
    };
    assert_eq!(entries(&planned), entries(&applied));

    let broken = profiles(json!([{ "file": "two", "content": "profile two /opt/two {" }]));
    let run = host.apply_with(&["--check"], &broken);
    run.expect(4);
    assert_eq!(run.error_code(), "compile");
}

#[test]
fn diff_shows_both_sides() {
    let host = Scratch::new();
    host.write("one", "profile one /opt/one {\n}\n");
    let run = host.apply_with(&["--check", "--diff"], &profiles(json!([entry("one")])));
    let diff = run.report["diff"].as_array().unwrap();
    assert_eq!(diff.len(), 1, "{run:#?}");
    assert_eq!(diff[0]["before"], "profile one /opt/one {\n}\n");
    assert_eq!(diff[0]["after"], profile("one"));

    let long = format!("{}{}", "# far too long to be read\n".repeat(5000), profile("one"));
    let run = host.apply_with(&["--diff"], &profiles(json!([{ "file": "one", "content": long }])));
    let diff = &run.report["diff"][0];
    assert!(diff["prepared"].is_string() && diff.get("after").is_none_or(Value::is_null), "{diff:#}");
    assert!(host.converge(&profiles(json!([entry("one")]))).report["diff"].as_array().unwrap().is_empty());
}

#[test]
fn diff_keeps_bytes_that_are_not_text() {
    let host = Scratch::new();
    host.write("one", b"# caf\xe9\nprofile one /opt/one {\n}\n");
    let run = host.apply_with(&["--diff"], &profiles(json!([entry("one")])));
    run.expect(0);
    let diff = &run.report["diff"][0];
    let bytes = base64::Engine::decode(
        &base64::engine::general_purpose::STANDARD,
        diff["before_base64"].as_str().unwrap_or_default(),
    );
    assert_eq!(bytes.unwrap_or_default(), b"# caf\xe9\nprofile one /opt/one {\n}\n", "{diff:#}");
}

#[test]
fn detailed_exit_codes_tell_changes_apart() {
    let host = Scratch::new();
    let document = profiles(json!([entry("one")]));
    host.apply_with(&["--detailed-exitcodes", "--check"], &document).expect(2);
    host.apply_with(&["--detailed-exitcodes"], &document).expect(2);
    host.apply_with(&["--detailed-exitcodes"], &document).expect(0);
    host.apply_with(&["--detailed-exitcodes", "--check"], &document).expect(0);
    let broken = profiles(json!([{ "file": "one", "content": "nonsense" }]));
    host.apply_with(&["--detailed-exitcodes"], &broken).expect(4);
}

#[test]
fn all_lists_unchanged_entries_too() {
    let host = Scratch::new();
    let document = profiles(json!([entry("one"), entry("two")]));
    host.converge(&document);
    let run = host.apply_with(&["--all"], &document);
    run.expect(0);
    assert_eq!(run.entry("one")["action"], "keep");
    assert_eq!(run.entry("two")["outcome"], "unchanged");
    assert!(!run.changed());
}

#[test]
fn a_copy_of_the_report_goes_to_a_file() {
    let host = Scratch::new();
    let path = host.outside("report.json");
    let run = host.apply_with(&["--report", path.to_str().unwrap()], &profiles(json!([entry("one")])));
    run.expect(0);
    let copy: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
    assert_eq!(copy, run.report);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);

    let refused = host.apply_with(&["--report", path.to_str().unwrap()], &json!({}));
    refused.expect(3);
    let copy: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
    assert_eq!(copy, refused.report, "a refusal is a report too");
}

#[test]
fn the_report_file_is_never_written_through_a_link() {
    let host = Scratch::new();
    let victim = host.outside("victim");
    fs_err::write(&victim, "precious").unwrap();
    let link = host.outside("report.json");
    std::os::unix::fs::symlink(&victim, &link).unwrap();
    host.apply_with(&["--report", link.to_str().unwrap()], &profiles(json!([entry("one")])));
    assert_eq!(fs_err::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn the_report_file_takes_the_place_of_a_file_alone() {
    let host = Scratch::new();
    let before = host.policy_tree();
    let [link, fifo, directory] = ["link", "fifo", "directory"].map(|name| host.outside(name));
    std::os::unix::fs::symlink("/dev/null", &link).unwrap();
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs_err::create_dir(&directory).unwrap();
    for (path, what) in [(&link, "a link to /dev/null"), (&fifo, "a FIFO"), (&directory, "a directory")] {
        let there = path.symlink_metadata().unwrap().file_type();
        let run = host.apply_with(&["--report", path.to_str().unwrap()], &profiles(json!([entry("one")])));
        run.expect(64);
        assert!(run.report["error"]["message"].as_str().unwrap().contains(what), "{run:#?}");
        assert_eq!(path.symlink_metadata().unwrap().file_type(), there);
    }
    assert_untouched(&before, &host.policy_tree());
}

#[test]
fn a_refusal_says_that_it_was_only_checked() {
    let host = Scratch::new();
    let run = Run::of(host.program(["apply", "--check", "--root"]).arg(host.root()).arg(host.outside("missing")));
    run.expect(4);
    assert_eq!(run.report["check"], true, "{run:#?}");
    let run = Run::of(host.program(["apply", "--root"]).arg(host.root()).arg(host.root()));
    run.expect(4);
    assert!(run.report["check"] == false && run.report["error"]["remedy"] == "name a file", "{run:#?}");
}

#[test]
fn a_report_file_that_cannot_be_written_refuses_the_run() {
    let host = Scratch::new();
    let before = host.policy_tree();
    let run = host.apply_with(&["--report", "/nonexistent/report.json"], &profiles(json!([entry("one")])));
    run.expect(4);
    assert_untouched(&before, &host.policy_tree());
}

#[test]
fn text_is_for_people() {
    let host = Scratch::new();
    let run = host.apply_with(&["--format", "text"], &profiles(json!([entry("one"), entry("two")])));
    run.expect(0);
    assert!(run.report.is_null(), "it is not JSON");
    let lines: Vec<_> = run.stdout.lines().collect();
    assert!(lines.iter().any(|line| line.contains("one")) && lines.iter().any(|line| line.contains("two")), "{run:#?}");
    assert!(lines.last().unwrap().contains("2 of 2"), "the summary comes last: {run:#?}");
    assert!(!run.stdout.contains('\u{1b}'), "no colours off a terminal");

    let run =
        host.apply_with(&["--format", "text"], &json!({ "version": 1, "owner": "test", "profiles": [{ "fiel": 1 }] }));
    run.expect(3);
    assert!(run.stdout.contains("/profiles/0"), "problems stand with their pointer: {run:#?}");
}

#[test]
fn text_shows_what_failed_and_counts_what_many_others_were_spared() {
    let host = Scratch::new();
    let fails = json!({ "file": "fails", "content": "profile fails {\n  /etc/one r\n}\n" });
    for (others, of_these) in
        [(10, "not attempted  other7  content"), (11, "not attempted  11 entries; --format json names them")]
    {
        let mut entries: Vec<_> = (0..others).map(|n| entry(&format!("other{n}"))).collect();
        entries.push(fails.clone());
        let run = host.apply_with(&["--format", "text"], &profiles(json!(entries)));
        run.expect(4);
        let lines: Vec<_> = run.stdout.lines().map(str::trim_end).collect();
        assert!(lines.contains(&of_these), "{run:#?}");
        assert!(lines.iter().any(|line| line.starts_with("failed") && line.contains("  fails  ")), "{run:#?}");
        assert_eq!(
            lines.iter().filter(|line| line.starts_with("not attempted")).count(),
            if others > 10 { 1 } else { 10 }
        );
    }
}

#[test]
fn salt_reads_three_kinds_of_keys() {
    let host = Scratch::new();
    let document = profiles(json!([entry("one"), entry("two")]));
    host.converge(&document);
    host.write("one", "# by hand\n");
    let run = host.apply_with(&["--format", "salt"], &document);
    assert_eq!(run.code, Some(0));
    let keys: Vec<_> = run.report.as_object().unwrap().keys().map(String::as_str).collect();
    assert!(keys.contains(&"changed") && keys.contains(&"comment"), "{run:#?}");
    assert!(run.report["changed"].as_bool().unwrap());
    assert!(run.stdout.contains("one") && !keys.contains(&"warnings") && !keys.contains(&"summary"), "{run:#?}");
}

#[test]
fn salt_is_told_the_line_that_does_not_compile() {
    let host = Scratch::new();
    let content = "profile broken /usr/bin/broken {\n  /etc/one r\n  /etc/two r,\n}\n";
    let document = profiles(json!([{ "file": "broken", "content": content }]));
    let run = host.apply_with(&["--format", "salt"], &document);
    assert_eq!(run.code, Some(4));
    let comment = run.report["comment"].as_str().unwrap();
    let line = comment.lines().find(|line| line.starts_with("broken: ")).unwrap_or_else(|| panic!("{run:#?}"));
    assert!(line.contains("/etc/apparmor.d/broken:3: "), "{line}");
}

#[test]
fn a_closed_standard_output_changes_nothing_on_the_host() {
    let host = Scratch::new();
    let document = profiles(json!([entry("one"), entry("two")]));
    let (reader, writer) = nix::unistd::pipe().unwrap();
    drop(reader);
    let mut program = host.apply_command(&[], document.to_string());
    let status = program.stdout(writer).stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(74), "SIGPIPE must not kill it, and an answer that nobody can read is no success");
    assert!(host.has("one") && host.has("two"));
    assert_eq!(host.leftovers(), [""; 0]);
    assert!(!host.converge(&document).changed());
}

#[test]
fn an_answer_that_cannot_be_written_is_no_success() {
    let host = Scratch::new();
    let document = profiles(json!([entry("one")]));
    let full = || fs_err::OpenOptions::new().write(true).open("/dev/full").unwrap().into_file();
    let root = host.root();
    let root = root.to_str().unwrap();
    let path = host.outside("fleet.json");
    fs_err::write(&path, document.to_string()).unwrap();
    let path = path.to_str().unwrap();
    for (arguments, code) in [
        (&["apply", "--root", root, path][..], 74),
        (&["apply", "--root", root, "--check", "--detailed-exitcodes", "--format", "text", path], 74),
        (&["status", "--root", root], 74),
        (&["export", "--root", root, "--format", "json"], 74),
        (&["render", path], 74),
        (&["schema", "report"], 74),
        (&["--version"], 74),
        // What failed stays what it is.
        (&["apply", "--root", root, "/nonexistent"], 4),
        (&["apply", "--no-such-option"], 64),
    ] {
        let output = host.program(arguments).stdin(Stdio::null()).stdout(full()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains("could not be written to standard output"), "{arguments:?}: {stderr}");
    }
    assert!(host.has("one"), "what was asked for is done all the same");
}

#[test]
fn a_usage_error_is_one_json_value_and_exit_code_64() {
    let host = Scratch::new();
    let root = host.root();
    let root = root.to_str().unwrap();
    for arguments in [
        &["apply", "--no-such-option"][..],
        &["apply", "--root", root, "--kernel", "require"],
        &["apply", "--format", "yaml"],
        &["apply", "--jobs", "0"],
        &["apply", "--lock-timeout", "soon"],
        &["apply", "a", "b"],
        &["no-such-command"],
        &["status", "--root", root, "--kernel", "require"],
        &["status", "--format", "salt"],
        &["export", "--owner", "no spaces"],
        &["schema", "nothing"],
    ] {
        let run = Run::of(&mut host.program(arguments));
        assert_eq!(run.code, Some(64), "{arguments:?}: {run:#?}");
        assert!(run.report.is_object(), "{arguments:?}: standard output holds one JSON value: {run:#?}");
        assert_eq!(run.error_code(), "usage");
        assert!(!run.changed());
    }
}

#[test]
fn a_document_that_is_not_there_is_told_apart_from_a_bad_one() {
    let host = Scratch::new();
    let mut program = host.program(["apply", "--root"]);
    let run = Run::of(program.arg(host.root()).arg("/nonexistent/document.json"));
    run.expect(4);
    assert!(run.report["error"]["message"].as_str().unwrap().contains("/nonexistent/document.json"));
}

#[test]
fn a_document_comes_from_a_file_too() {
    let host = Scratch::new();
    let path = host.outside("fleet.json");
    fs_err::write(&path, profiles(json!([entry("one")])).to_string()).unwrap();
    let mut program = host.program(["apply", "--root"]);
    Run::of(program.arg(host.root()).arg(&path)).expect(0);
    assert!(host.has("one"));
}

#[test]
fn help_has_examples_and_goes_to_people() {
    let host = Scratch::new();
    let commands =
        [&["--help"][..], &["apply", "--help"], &["status", "--help"], &["export", "--help"], &["--version"]];
    for arguments in commands {
        let run = Run::of(&mut host.program(arguments));
        assert_eq!(run.code, Some(0), "{arguments:?}");
        assert!(!run.stdout.is_empty());
    }
    for name in ["apply", "status", "export"] {
        let help = Run::of(&mut host.program([name, "--help"])).stdout;
        assert!(help.contains(&format!("Examples:\n  aa-converge {name}")), "{help}");
    }
}

#[test]
fn the_schemas_in_the_repository_are_what_the_program_writes() {
    let host = Scratch::new();
    for kind in ["document", "report", "status"] {
        let run = Run::of(&mut host.program(["schema", kind]));
        let kept = fs_err::read_to_string(format!("{}/schemas/{kind}.v1.json", env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert_eq!(run.stdout, kept, "`make schemas` writes them anew");
    }
}

#[test]
fn the_examples_are_what_the_schema_says() {
    let directory = env!("CARGO_MANIFEST_DIR");
    let schema = fs_err::read(format!("{directory}/schemas/document.v1.json")).unwrap();
    let schema = jsonschema::validator_for(&serde_json::from_slice(&schema).unwrap()).unwrap();
    let mut examples = 0;
    for example in fs_err::read_dir(format!("{directory}/examples")).unwrap() {
        let path = example.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let document = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
            let faults: Vec<_> = schema.iter_errors(&document).map(|fault| fault.to_string()).collect();
            assert!(faults.is_empty(), "{}: {faults:?}", path.display());
            examples += 1;
        }
    }
    assert!(examples > 0);
}

#[test]
fn render_prints_text_without_touching_a_host() {
    let host = Scratch::new();
    let mut program = host.program(["render"]);
    let run = Run::of(program.stdin(Scratch::input(profiles(json!([entry("one")])).to_string())));
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert!(run.stdout.contains("/opt/data/one r,"), "{run:#?}");
}

#[test]
fn nothing_is_expected_of_the_environment() {
    let host = Scratch::new();
    let mut program = host.apply_command(&[], profiles(json!([entry("one")])).to_string());
    let run =
        Run::of(program.env_clear().env("LC_ALL", "de_DE.UTF-8").env("LANGUAGE", "de").env("TMPDIR", "/nonexistent"));
    run.expect(0);
}

#[test]
fn compiling_for_another_kernel_is_a_reload() {
    let host = Scratch::new();
    let document = profiles(json!([entry("one")]));
    host.converge(&document);
    let features = "/etc/apparmor.d/abi/kernel-5.4-vanilla";
    let run = host.apply_with(&["--kernel-features", features], &document);
    run.expect(0);
    assert!(!host.apply_with(&["--kernel-features", features], &document).changed());
}

#[test]
fn a_report_reader_sees_the_progress_of_nobody() {
    // Standard error is not a terminal here: no progress bar may be drawn into a log.
    let host = Scratch::new();
    let mut child = start(&mut host.apply_command(&[], profiles(json!([entry("one"), entry("two")])).to_string()));
    let lines: Vec<_> = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok).collect();
    Run::end_of(child).expect(0);
    assert_eq!(lines, [""; 0]);
}

#[test]
fn files_named_like_keys_of_salts_do_not_hide_them() {
    let host = Scratch::new();
    let document = profiles(json!([entry("changed"), entry("comment"), entry("stdout")])).to_string();
    let output = host.apply_command(&["--format", "salt"], &document).output().unwrap();
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["changed"], true);
    assert!(said["comment"].is_string(), "{said}");
    assert_eq!(said["./changed"]["action"], "create", "{said}");
    assert_eq!(said["./comment"]["action"], "create", "{said}");
    assert_eq!(said["./stdout"]["action"], "create", "{said}");
}
