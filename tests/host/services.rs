//! Profiles that are rendered for services, on hosts with what matters to them: links, scripts, other profiles.

use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use crate::scratch::{Run, Scratch, assert_untouched, profiles};

/// The example for `report-exporter`.
fn report_exporter() -> Value {
    example("report-exporter")
}

fn example(name: &str) -> Value {
    let path = format!("{}/examples/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap()
}

fn service(fields: Value) -> Value {
    let mut service = json!({ "class": "worker", "executable": "/usr/bin/app" });
    service.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    profiles(json!([{ "mode": "enforce", "service": service }]))
}

/// Puts a program into a scratch host.
fn install(host: &Scratch, path: &str, content: &str) {
    let path = host.path(path.trim_start_matches('/'));
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(path, content).unwrap();
}

fn link(host: &Scratch, path: &str, target: &str) {
    let path = host.path(path.trim_start_matches('/'));
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    symlink(Path::new(target), path).unwrap();
}

/// The run is refused with exactly these problems, and nothing has changed.
#[track_caller]
fn assert_refused(host: &Scratch, document: &Value, problems: &[(&str, &str)]) -> Run {
    let before = host.policy_tree();
    let run = host.apply(document);
    run.expect(3);
    assert_eq!(run.problems(), problems, "{run:#?}");
    assert_untouched(&before, &host.policy_tree());
    run
}

#[test]
fn a_service_is_written_watched_and_enforced() {
    let host = Scratch::debian();
    install(&host, "/usr/local/bin/report-exporter", "\x7fELF");
    let mut document = report_exporter();
    let run = host.converge(&document);
    assert_eq!(run.entry("usr.local.bin.report-exporter")["action"], "create");
    let watched = host.read("usr.local.bin.report-exporter");
    assert!(watched.contains("/usr/local/bin/report-exporter flags=(complain) {"), "{watched}");
    assert!(!watched.contains("deny"), "denials deny in complain mode too: {watched}");
    assert!(!host.converge(&document).changed(), "the second run finds everything in place");

    document["profiles"][0]["mode"] = json!("enforce");
    host.converge(&document);
    let enforced = host.read("usr.local.bin.report-exporter");
    for rule in [
        "/etc/report-exporter/config.yaml{,/**} r,",
        "/var/lib/report-exporter{,/**} rwk,",
        "/var/log/report-exporter{,/**} w,",
        "audit deny @{HOME}/{,**} mrwklx,",
        "audit deny /etc/{,g}shadow{,-} mrwklx,",
    ] {
        assert!(enforced.contains(rule), "{rule}\n{enforced}");
    }
    assert!(!host.converge(&document).changed());
}

#[test]
fn every_example_of_a_service_converges_and_stays() {
    for name in ["nginx", "haproxy", "prometheus-node-exporter", "backup"] {
        let host = Scratch::debian();
        let document = example(name);
        host.converge(&document);
        let again = host.apply_with(&["--all"], &document);
        again.expect(0);
        assert!(!again.changed(), "{name}: {again:#?}");
        assert_eq!(
            again.warns("accepted as"),
            document.to_string().contains("\"accept\""),
            "what is accepted is told on every run: {again:#?}"
        );
    }
}

#[test]
fn a_program_that_is_a_link_or_a_script_is_rendered_as_what_it_is() {
    let host = Scratch::debian();
    install(&host, "/opt/app-1/app", "#! /bin/sh -e\n");
    install(&host, "/usr/bin/dash", "\x7fELF");
    link(&host, "/usr/bin/app", "/opt/app/app");
    link(&host, "/opt/app", "app-1");
    link(&host, "/usr/bin/sh", "dash");
    link(&host, "/bin", "usr/bin");
    let run = host.converge(&service(json!({})));
    let text = host.read("usr.bin.app");
    for part in ["profile app /opt/app-1/app {", "  /opt/app-1/app mr,\n  /usr/bin/dash mr,\n"] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(run.warns("/usr/bin/app leads to /opt/app-1/app"), "{run:#?}");
}

#[test]
fn a_script_that_env_starts_may_execute_what_env_finds() {
    let host = Scratch::debian();
    install(&host, "/usr/bin/app", "#!/usr/bin/env -S python3 -u\n");
    install(&host, "/usr/bin/env", "\x7fELF");
    let lost = host.converge(&service(json!({})));
    assert!(lost.warns("name that under `execute`"), "{lost:#?}");
    install(&host, "/usr/bin/python3.11", "\x7fELF");
    link(&host, "/usr/bin/python3", "python3.11");
    let run = host.converge(&service(json!({})));
    assert!(host.read("usr.bin.app").contains("  /usr/bin/python3.11 mrix,\n"), "{}", host.read("usr.bin.app"));
    assert!(run.warns("run by env, which executes /usr/bin/python3.11"), "{run:#?}");
}

#[test]
fn a_wrapper_that_is_executed_as_a_child_is_rendered_with_its_interpreter() {
    let host = Scratch::debian();
    install(&host, "/usr/share/postgresql-common/pg_wrapper", "#!/usr/bin/perl\n");
    install(&host, "/usr/bin/perl", "\x7fELF");
    install(&host, "/usr/bin/dash", "\x7fELF");
    link(&host, "/usr/bin/pg_dumpall", "../share/postgresql-common/pg_wrapper");
    link(&host, "/usr/bin/sh", "dash");
    link(&host, "/bin", "usr/bin");
    host.converge(&example("backup"));
    let text = host.read("usr.local.sbin.backup");
    let (own, child) = text.split_once("profile pg_dumpall {").unwrap();
    assert!(own.contains("  /usr/share/postgresql-common/pg_wrapper Cx -> pg_dumpall,\n"), "{own}");
    for rule in [
        "/usr/share/postgresql-common/pg_wrapper mr,",
        "/usr/bin/perl mr,",
        "/usr/bin/dash mrix,",
        "/usr/lib/postgresql/*/bin/{pg_dump,pg_dumpall} mrix,",
        "include <abstractions/perl>",
        "/etc/passwd r,",
    ] {
        assert!(child.contains(rule), "{rule}\n{child}");
    }
}

#[test]
fn paths_that_are_links_are_rendered_as_what_they_lead_to() {
    let host = Scratch::debian();
    install(&host, "/srv/app-1/config", "");
    link(&host, "/etc/app", "../srv/app-1");
    link(&host, "/var/run", "/run");
    let document = service(json!({
        "config": ["/etc/app/config", "/etc/app/*.conf", "/etc/plain"],
        "runtime": ["/run/app.pid"],
        "data": ["/var/run/later/app"],
        "deny": ["/etc/app/config/secret"]
    }));
    let run = host.converge(&document);
    let text = host.read("usr.bin.app");
    for rule in [
        "/srv/app-1/config{,/**} r,",
        "/srv/app-1/*.conf{,/**} r,",
        "/etc/plain{,/**} r,",
        "/run/app.pid{,/**} rwk,",
        "/run/later/app{,/**} rwk,",
        "audit deny /srv/app-1/config/secret{,/**} mrwklx,",
    ] {
        assert!(text.contains(rule), "{rule}\n{text}");
    }
    assert!(!text.contains("/etc/app") && !text.contains("/var/run"), "{text}");
    assert!(run.warns("/etc/app/config at /profiles/0/service/config/0 leads to /srv/app-1/config"), "{run:#?}");
    assert!(!host.converge(&document).changed());
    // What is guarded is guarded behind a link too.
    install(&host, "/etc/shadow", "");
    link(&host, "/srv/shadow", "/etc/shadow");
    let through = service(json!({ "data": ["/srv/shadow"] }));
    assert_refused(&host, &through, &[("/profiles/0/service/data/0", "too_broad")]);
}

#[test]
fn a_profile_that_nobody_defines_is_told() {
    let host = Scratch::debian();
    let document = service(json!({
        "execute": [{ "path": "/opt/x", "transition": "profile", "profile": "other" }],
        "rules": ["/opt/y Px -> another,"]
    }));
    let run = host.converge(&document);
    assert!(run.warns("`other` at /profiles/0/service/execute/0/profile is defined by no profile"), "{run:#?}");
    assert!(run.warns("`another` at /profiles/0/service/rules/0 is defined by no profile"), "{run:#?}");
    host.write("other", "profile other {\n}\n");
    let run = host.converge(&document);
    assert!(!run.warns("`other` at") && run.warns("`another` at"), "{run:#?}");
}

#[test]
fn what_cannot_be_executed_is_refused_and_what_is_missing_is_told() {
    let host = Scratch::debian();
    fs_err::create_dir_all(host.path("usr/bin/app")).unwrap();
    assert_refused(&host, &service(json!({})), &[("/profiles/0/service/executable", "not_a_file")]);
    let executed =
        json!({ "executable": "/usr/bin/later", "execute": [{ "path": "/usr/bin/app", "transition": "inherit" }] });
    assert_refused(&host, &service(executed), &[("/profiles/0/service/execute/0/path", "not_a_file")]);
    let missing = host.converge(&service(json!({ "executable": "/usr/bin/later" })));
    assert!(missing.warns("/usr/bin/later is not there yet"), "{missing:#?}");
}

#[test]
fn an_executable_has_one_profile() {
    let host = Scratch::debian();
    let two = |second: Value| {
        let one = json!({ "service": { "class": "worker", "executable": "/usr/bin/app" } });
        profiles(json!([one, second]))
    };
    let again = json!({ "service": { "class": "helper", "executable": "/usr/bin/app" } });
    assert_refused(&host, &two(again), &[("/profiles/1", "duplicate_file")]);
    let named = json!({ "file": "x", "service": { "class": "helper", "executable": "/usr/bin/app", "name": "x" } });
    assert_refused(&host, &two(named), &[("/profiles/1", "equal_attachment")]);
    let namesake = json!({ "service": { "class": "helper", "executable": "/opt/app" } });
    assert_refused(&host, &two(namesake), &[("/profiles/0", "duplicate_profile_name")]);

    host.write("others", "profile others /usr/{,s}bin/app {\n}\n");
    assert_refused(&host, &service(json!({})), &[("/profiles/0", "equal_attachment")]);
    link(&host, "/usr/bin/alias", "app");
    install(&host, "/usr/bin/app", "");
    let by_link = service(json!({ "executable": "/usr/bin/alias" }));
    assert_refused(&host, &by_link, &[("/profiles/0", "equal_attachment")]);
}

#[test]
fn an_abi_that_is_not_installed_is_refused() {
    let host = Scratch::debian();
    let run = assert_refused(&host, &service(json!({ "abi": "9.0" })), &[("/profiles/0/service/abi", "not_installed")]);
    let allowed = run.report["problems"][0]["allowed"].as_str().unwrap();
    assert!(allowed.contains("`3.0`") && allowed.contains("`kernel-5.4-vanilla`"), "{allowed}");
}

#[test]
fn variables_are_those_of_the_host_as_the_document_makes_it() {
    let host = Scratch::debian();
    let mut document = service(json!({ "data": ["@{STORE}/app"] }));
    assert_refused(&host, &document, &[("/profiles/0/service/data/0", "bad_value")]);
    document["files"] = json!([{ "path": "tunables/home.d/store", "content": "@{STORE}=/srv/store\n" }]);
    host.converge(&document);
    assert!(host.read("usr.bin.app").contains("@{STORE}/app{,/**} rwk,"));
    // What a variable stands for counts, not its name.
    document["files"][0]["content"] = json!("@{STORE}=/srv/store\n@{HOMEDIRS}+=/srv/\n");
    let run = host.converge(&document);
    assert!(run.warns("the class's denial of homes gives way"), "{run:#?}");
    document["files"][0]["content"] = json!("@{STORE}=/var/\n");
    document["profiles"][0]["service"]["data"] = json!(["@{STORE}"]);
    assert_refused(&host, &document, &[("/profiles/0/service/data/0", "too_broad")]);
}

#[test]
fn what_is_wrong_with_a_service_is_told_all_at_once_and_before_anything_is_touched() {
    let host = Scratch::debian();
    let long = format!("/{}", "a".repeat(4096));
    let run = assert_refused(
        &host,
        &json!({
            "version": 1, "owner": "test",
            "classes": { "a": { "extends": "b" }, "b": { "extends": "a" }, "worker": { "extends": "proxy" } },
            "profiles": [
                { "service": {} },
                { "service": { "class": "nosuch", "executable": "/usr/bin/a" } },
                { "service": { "class": "worker", "executable": "bin/b" } },
                { "service": { "class": "worker", "executable": "/usr/bin/c", "databases": [] } },
                { "service": { "class": "worker", "executable": "/usr/bin/d", "config": ["relative", long] } },
                { "service": { "class": "worker", "executable": "/usr/bin/e", "execute": [{ "path": "/x", "transition": "unconfined" }] } }
            ]
        }),
        &[
            ("/classes/a/extends", "conflict"),
            ("/classes/b/extends", "conflict"),
            ("/classes/worker", "bad_value"),
            ("/profiles/0/service", "missing"),
            ("/profiles/0/service", "missing"),
            ("/profiles/1/service/class", "bad_value"),
            ("/profiles/2/service/executable", "bad_value"),
            ("/profiles/3/service/databases", "unknown_field"),
            ("/profiles/4/service/config/0", "bad_value"),
            ("/profiles/4/service/config/1", "bad_value"),
            ("/profiles/5/service/execute/0/transition", "bad_value"),
        ],
    );
    let problems = run.report["problems"].as_array().unwrap();
    assert!(problems.iter().all(|problem| problem["allowed"].is_string()), "{problems:#?}");
    let missing: Vec<_> = problems.iter().filter(|problem| problem["code"] == "missing").collect();
    assert!(missing[0]["allowed"].as_str().unwrap().contains("`worker`"), "{missing:#?}");
    let twice = json!([
        { "path": "/opt/x", "transition": "inherit" },
        { "path": "/opt/x", "transition": "profile", "profile": "y" }
    ]);
    assert_refused(
        &host,
        &service(json!({ "execute": twice, "data": ["/var"], "deny": ["/usr/bin"], "capabilities": ["sys_admin"] })),
        &[
            ("/profiles/0/service/capabilities/0", "too_broad"),
            ("/profiles/0/service/data/0", "too_broad"),
            ("/profiles/0/service/deny/0", "conflict"),
            ("/profiles/0/service/execute/1", "conflict"),
        ],
    );
}

#[test]
fn render_shows_the_text_that_apply_writes() {
    let host = Scratch::debian();
    install(&host, "/usr/local/bin/report-exporter", "\x7fELF");
    let document = report_exporter();
    host.converge(&document);
    let rendered = Run::of(host.program(["render", "--format", "json"]).stdin(Scratch::input(document.to_string())));
    let text = rendered.report["texts"][0]["content"].as_str().unwrap();
    assert_eq!(text, host.read("usr.local.bin.report-exporter"));
    let refused = Run::of(
        host.program(["render", "--format", "json"])
            .stdin(Scratch::input(service(json!({ "data": ["/"] })).to_string())),
    );
    refused.expect(3);
    assert_eq!(refused.problems(), [("/profiles/0/service/data/0", "too_broad")]);
}

#[test]
fn render_refuses_profiles_of_one_name_or_for_one_program() {
    let host = Scratch::debian();
    let refused = |entries: Value| {
        let run =
            Run::of(host.program(["render", "--format", "json"]).stdin(Scratch::input(profiles(entries).to_string())));
        run.expect(3);
        run.problems().into_iter().map(|(pointer, code)| format!("{pointer} {code}")).collect::<Vec<_>>()
    };
    let one = json!({ "service": { "class": "worker", "executable": "/usr/bin/app" } });
    let namesake = json!({ "service": { "class": "helper", "executable": "/opt/app" } });
    let written = json!({ "file": "written", "content": "profile app {\n}\n" });
    assert_eq!(refused(json!([one, namesake])), ["/profiles/1 duplicate_profile_name"]);
    assert_eq!(refused(json!([one, written])), ["/profiles/1 duplicate_profile_name"]);
    let again = json!({ "file": "x", "service": { "class": "helper", "executable": "/usr/bin/app", "name": "x" } });
    assert_eq!(refused(json!([one, again])), ["/profiles/1 equal_attachment"]);
    let disabled = json!({ "mode": "disabled", "service": { "class": "helper", "executable": "/opt/app" } });
    let run = Run::of(
        host.program(["render", "--format", "json"])
            .stdin(Scratch::input(profiles(json!([one, disabled])).to_string())),
    );
    run.expect(0);
}
