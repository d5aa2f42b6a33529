//! `status` of files: whose they are, and what differs. What it says of a kernel is tested with the library.

use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::scratch::{Run, Scratch, entry, profile, profiles};

/// The status, which must be as its schema says.
#[track_caller]
fn status(host: &Scratch) -> Value {
    let run = host.look("status", &[]);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{run:#?}");
    let faults: Vec<_> = schema().iter_errors(&run.report).map(|fault| fault.to_string()).collect();
    assert!(faults.is_empty(), "{faults:#?}\n{:#}", run.report);
    run.report
}

fn schema() -> &'static jsonschema::Validator {
    static SCHEMA: OnceLock<jsonschema::Validator> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/status.v1.json");
        jsonschema::validator_for(&serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap()).unwrap()
    })
}

#[track_caller]
fn file<'s>(status: &'s Value, name: &str) -> &'s Value {
    let files = ["profiles", "files"].into_iter().flat_map(|key| status[key].as_array().unwrap());
    let mut files = files.filter(|file| file["file"] == name || file["path"] == name);
    files.next().unwrap_or_else(|| panic!("the status has {name}\n{status:#}"))
}

#[test]
fn every_field_of_the_schema_is_described() {
    fn check(schema: &Value, at: &str) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let is_described = field["description"].is_string() || field["$ref"].is_string();
            assert!(is_described, "{at}/{name}: {field:#}");
        }
    }
    let run = Run::of(&mut Scratch::new().program(["schema", "status"]));
    check(&run.report, "");
    let definitions = run.report["$defs"].as_object().unwrap();
    assert!(definitions.len() > 10);
    for (name, schema) in definitions {
        assert!(schema["description"].is_string(), "{name}");
        check(schema, name);
    }
}

#[test]
fn files_have_owners_packages_and_modes() {
    let host = Scratch::installed();
    host.write("abstractions/site", "/etc/site.conf r,\n");
    host.write("usr.sbin.dnsmasq", host.read("usr.sbin.dnsmasq") + "# Edited here.\n");
    host.converge(&json!({
        "version": 1, "owner": "web-fleet",
        "files": [{ "path": "tunables/home.d/site", "content": "@{HOMEDIRS}+=/srv/home/\n" }],
        "profiles": [entry("one"), { "file": "lsb_release", "mode": "complain" }, { "file": "usr.bin.man", "mode": "disabled" }],
    }));
    let status = status(&host);
    assert_eq!(status["kernel"]["managed"], false);
    assert_eq!(status["summary"]["drifted"], 0, "{status:#}");
    assert_eq!(status["summary"]["owned"], 4, "{status:#}");
    assert_eq!(status["summary"]["disabled"], 1);
    assert_eq!(status["processes"], json!({ "confined": [], "unconfined": null }));

    let one = file(&status, "one");
    assert_eq!((&one["owner"], &one["package"], &one["state"]), (&json!("web-fleet"), &Value::Null, &json!("enabled")));
    let wanted = &one["profiles"][0];
    assert_eq!(
        (&wanted["name"], &wanted["wanted"]["mode"], &wanted["running"]),
        (&json!("one"), &json!("enforce"), &Value::Null)
    );
    assert_eq!(wanted["wanted"]["hash"].as_str().map(str::len), Some(64), "{wanted:#}");

    let release = file(&status, "lsb_release");
    assert_eq!((&release["owner"], &release["forced_complain"]), (&json!("web-fleet"), &json!(true)));
    assert_eq!(release["package"], json!({ "name": "apparmor", "edited": false }));
    assert_eq!(release["profiles"][0]["wanted"]["mode"], "complain");

    let dnsmasq = file(&status, "usr.sbin.dnsmasq");
    assert_eq!((&dnsmasq["owner"], &dnsmasq["package"]["edited"]), (&Value::Null, &json!(true)));
    let names: Vec<_> = dnsmasq["profiles"].as_array().unwrap().iter().map(|it| it["name"].clone()).collect();
    assert_eq!(names, [json!("dnsmasq"), json!("dnsmasq//libvirt_leaseshelper")]);
    let man = file(&status, "usr.bin.man");
    assert_eq!((&man["state"], &man["profiles"][0]["wanted"]), (&json!("disabled"), &Value::Null));
    assert_eq!(file(&status, "tunables/home.d/site")["owner"], "web-fleet");
}

#[test]
fn drift_of_files_has_the_words_of_the_report() {
    let host = Scratch::new();
    host.write("installed", profile("installed"));
    let document = json!({
        "version": 1, "owner": "test",
        "files": [{ "path": "local/site", "content": "/etc/one r,\n" }],
        "profiles": [
            entry("edited"), entry("includes"), entry("lost"), entry("private"), entry("same"), entry("switched"),
            { "file": "installed", "mode": "complain" },
        ],
    });
    host.converge(&document);
    assert_eq!(status(&host)["summary"]["drifted"], 0);

    let only_includes = profile("includes").replace("abstractions/site", "abstractions/other");
    host.converge(
        &json!({ "version": 1, "owner": "test", "profiles": [{ "file": "includes", "content": only_includes }] }),
    );
    host.write("edited", profile("edited") + "# by hand\n");
    host.write("abstractions/other", "/etc/another.conf r,\n");
    host.write("local/site", "/etc/two r,\n");
    fs_err::remove_file(host.policy("lost")).unwrap();
    fs_err::set_permissions(host.policy("private"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    host.link("disable/switched", "../switched");
    fs_err::remove_file(host.policy("force-complain/installed")).unwrap();

    let drifted = status(&host);
    for (name, reasons) in [
        ("edited", json!(["content"])),
        ("includes", json!(["include:abstractions/other"])),
        ("lost", json!(["content"])),
        ("local/site", json!(["content"])),
        ("private", json!(["attributes"])),
        ("same", json!([])),
        ("switched", json!(["mode"])),
        ("installed", json!(["mode"])),
    ] {
        assert_eq!(file(&drifted, name)["drift"], reasons, "{name}: {drifted:#}");
    }
    assert_eq!(file(&drifted, "lost")["state"], "missing");
    assert_eq!(drifted["summary"]["drifted"], 7);

    let text = host.look("status", &["--format", "text"]);
    for line in ["drifted   edited ", "missing   lost ", "ok        same ", "include:abstractions/other", "7 drifted"] {
        assert!(text.stdout.contains(line), "{line}: {}", text.stdout);
    }
    host.converge(&document);
    assert_eq!(status(&host)["summary"]["drifted"], 0, "what `apply` puts right is told no longer");
}

#[test]
fn another_parser_configuration_is_told_before_it_is_applied() {
    let host = Scratch::new();
    host.converge(&profiles(json!([entry("one")])));
    let conf = host.path("etc/apparmor/parser.conf");
    fs_err::write(&conf, fs_err::read_to_string(&conf).unwrap() + "\nComplain\n").unwrap();
    let status = status(&host);
    assert_eq!(file(&status, "one")["drift"], json!(["mode", "parser"]), "{status:#}");
    assert!(status["warnings"][0].as_str().unwrap().contains("Complain"), "{status:#}");
}

#[test]
fn nothing_is_made_on_a_host_without_a_ledger() {
    let host = Scratch::new();
    assert_eq!(status(&host)["pending"], Value::Null);
    assert!(!host.path("var/lib/aa-converge").exists() && !host.path("run").exists());
}
