//! `export`: today's policy directory as a document that `apply` finds in sync.

use serde_json::{Value, json};

use crate::scratch::{Run, Scratch, assert_untouched, entry, profile};

/// A profile in enforce mode beside a stub that is written as unconfined.
const MIXED: &str = "abi <abi/3.0>,\nprofile mixed /opt/mixed {\n}\nprofile stub /opt/stub flags=(unconfined) {\n}\n";

/// The document that `export` prints, which must be one, and what it says on standard error.
#[track_caller]
fn export_with(host: &Scratch, options: &[&str]) -> (Value, String) {
    let run = host.look("export", options);
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert_eq!(run.report["version"], 1, "{run:#?}");
    (run.report, run.stderr)
}

#[track_caller]
fn export(host: &Scratch) -> (Value, String) {
    export_with(host, &[])
}

/// The entry of a profile or other file in a document.
fn entry_of<'d>(document: &'d Value, name: &str) -> Option<&'d Value> {
    let entries = ["profiles", "files"].into_iter().flat_map(|key| document[key].as_array().unwrap());
    entries.into_iter().find(|entry| entry["file"] == name || entry["path"] == name)
}

/// Applies an exported document to the host that it comes from: nothing may change, then or later.
#[track_caller]
fn assert_in_sync(host: &Scratch, document: &Value) {
    let before = host.policy_tree();
    for _ in 0..2 {
        let run = host.converge(document);
        assert!(!run.changed(), "{run:#?}");
        assert_untouched(&before, &host.policy_tree());
    }
    assert_eq!(export(host).0, *document, "what was taken over is exported as before");
}

/// A host that was kept by hand for years.
fn kept_by_hand() -> Scratch {
    let host = Scratch::installed();
    let append = |name: &str, more: &[u8]| host.write(name, [host.read(name).as_bytes(), more].concat());
    append("usr.sbin.dnsmasq", b"# Edited here.\n");
    append("abstractions/nameservice", b"  /etc/site-resolver.conf r,\n");
    append("local/usr.sbin.traceroute", b"/etc/site r,\n");
    fs_err::remove_file(host.policy("usr.sbin.mdnsd")).unwrap();
    fs_err::remove_file(host.policy("abstractions/ubuntu-xterm")).unwrap();

    host.write("by-hand", profile("by-hand"));
    host.write("with space", profile("with-space"));
    host.write("crlf", profile("crlf").replace('\n', "\r\n"));
    host.write("latin1", [b"# caf\xe9\n", profile("latin1").as_bytes()].concat());
    host.write("mixed", MIXED);
    host.write("notes", "# Ask Jo before changing anything here.\n");
    host.write("usr.sbin.dnsmasq~", "profile backup /usr/sbin/dnsmasq {\n}\n");
    host.write("local/by-hand", "");
    host.write("abstractions/site", "/etc/site.conf r,\n");
    host.write("abstractions/with space", b"# caf\xe9\r\n");
    host.write("tunables/home.d/site", "@{HOMEDIRS}+=/srv/home/\n");
    fs_err::create_dir(host.policy("site.d")).unwrap();
    host.write("site.d/included", "/etc/site.d/* r,\n");
    host.write("includes-a-directory", "abi <abi/3.0>,\nprofile a-directory /opt/d {\n  include <site.d>\n}\n");
    fs_err::create_dir(host.policy("libvirt")).unwrap();
    host.write("libvirt/libvirt-0815", "profile libvirt-0815 {\n}\n");

    host.link("disable/usr.bin.irssi", "/etc/apparmor.d/usr.bin.irssi");
    host.link("disable/by-hand", "../by-hand");
    host.link("force-complain/by-hand", "../by-hand");
    host.link("force-complain/lsb_release", "/etc/apparmor.d/lsb_release");
    host.link("force-complain/crlf", "../crlf");
    host.link("force-complain/mixed", "../mixed");
    // Already in complain mode, so that the link changes nothing.
    host.link("force-complain/usr.sbin.identd", "../usr.sbin.identd");
    host.link("elsewhere", "../apparmor/elsewhere");
    fs_err::write(host.path("etc/apparmor/elsewhere"), profile("elsewhere")).unwrap();
    host
}

#[test]
fn a_host_kept_by_hand_is_taken_over_without_a_change() {
    let host = kept_by_hand();
    let (document, notes) = export(&host);
    assert_eq!(document["owner"], "local");
    let expected = [
        ("usr.bin.man", json!({ "file": "usr.bin.man", "mode": "as_written" })),
        ("usr.bin.irssi", json!({ "file": "usr.bin.irssi", "mode": "disabled" })),
        ("lsb_release", json!({ "file": "lsb_release", "mode": "complain" })),
        ("usr.sbin.identd", json!({ "file": "usr.sbin.identd", "mode": "complain" })),
        ("usr.sbin.mdnsd", json!({ "file": "usr.sbin.mdnsd", "state": "absent" })),
        ("abstractions/ubuntu-xterm", json!({ "path": "abstractions/ubuntu-xterm", "state": "absent" })),
        ("usr.sbin.dnsmasq", json!({ "file": "usr.sbin.dnsmasq", "content": host.read("usr.sbin.dnsmasq") })),
        ("by-hand", json!({ "file": "by-hand", "content": profile("by-hand"), "mode": "disabled" })),
        ("with space", json!({ "file": "with space", "content": profile("with-space") })),
        ("crlf", json!({ "file": "crlf", "content": host.read("crlf"), "mode": "complain" })),
        ("mixed", json!({ "file": "mixed", "content": MIXED, "mode": "complain", "mode_scope": "all" })),
        ("abstractions/site", json!({ "path": "abstractions/site", "content": "/etc/site.conf r,\n" })),
        ("abstractions/with space", json!({ "path": "abstractions/with space", "content_base64": "IyBjYWbpDQo=" })),
        ("local/by-hand", json!({ "path": "local/by-hand", "content": "" })),
        ("local/usr.sbin.traceroute", json!({ "path": "local/usr.sbin.traceroute", "content": "/etc/site r,\n" })),
        ("site.d/included", json!({ "path": "site.d/included", "content": "/etc/site.d/* r,\n" })),
    ];
    for (name, entry) in expected {
        assert_eq!(entry_of(&document, name), Some(&entry), "{name}");
    }
    assert!(entry_of(&document, "latin1").unwrap()["content_base64"].is_string());
    for name in ["local/usr.bin.man", "abstractions/base", "libvirt/libvirt-0815", "usr.sbin.dnsmasq~", "notes"] {
        assert_eq!(entry_of(&document, name), None, "{name}");
    }
    assert!(notes.contains("`notes` is left out") && notes.contains("`elsewhere` is left out"), "{notes}");
    assert_eq!(notes.lines().count(), 2, "{notes}");
    assert_in_sync(&host, &document);
}

#[test]
fn another_host_with_the_same_packages_gets_the_same_policy() {
    let host = kept_by_hand();
    let (document, _) = export(&host);
    let other = Scratch::installed();
    assert!(other.converge(&document).changed());
    assert!(!other.converge(&document).changed());
    for name in ["usr.sbin.dnsmasq", "with space", "latin1", "abstractions/nameservice", "site.d/included"] {
        assert_eq!(fs_err::read(other.policy(name)).unwrap(), fs_err::read(host.policy(name)).unwrap(), "{name}");
    }
    assert!(other.has("disable/usr.bin.irssi") && other.has("force-complain/lsb_release"));
    assert!(other.has("disable/by-hand") && !other.has("usr.sbin.mdnsd"));
    assert!(other.read("mixed").matches("flags=(complain)").count() == 2, "{}", other.read("mixed"));
}

#[test]
fn an_empty_policy_directory_is_an_empty_document() {
    let host = Scratch::empty();
    let (document, notes) = export(&host);
    assert_eq!(document, json!({ "version": 1, "owner": "local", "files": [], "profiles": [] }));
    assert!(notes.contains("no list of dpkg's packages"), "{notes}");
    assert_in_sync(&host, &document);
}

#[test]
fn without_a_list_of_packages_everything_is_exported_with_its_text() {
    let host = Scratch::new();
    host.write("one", profile("one"));
    let (document, notes) = export(&host);
    assert_eq!(entry_of(&document, "one"), Some(&entry("one")));
    assert!(entry_of(&document, "abi/3.0").is_some() && entry_of(&document, "tunables/site").is_some());
    assert!(notes.contains("no list of dpkg's packages"), "{notes}");
    assert_in_sync(&host, &document);
}

#[test]
fn what_an_owner_holds_is_exported_for_that_owner() {
    let host = Scratch::new();
    host.write("installed", profile("installed"));
    host.write("gone", profile("gone"));
    host.converge(&json!({
        "version": 1, "owner": "web-fleet",
        "files": [{ "path": "local/one", "content": "/etc/one r,\n" }],
        "profiles": [
            { "file": "one", "content": profile("one"), "mode": "complain" },
            { "file": "installed", "mode": "disabled" },
            { "file": "gone", "state": "absent" },
        ],
    }));
    let (document, _) = export(&host);
    assert_eq!(document["owner"], "web-fleet");
    assert_eq!(entry_of(&document, "one").unwrap()["content"], host.read("one"));
    assert_eq!(entry_of(&document, "installed").unwrap()["mode"], "disabled");
    assert_eq!(entry_of(&document, "gone"), Some(&json!({ "file": "gone", "state": "absent" })));
    assert_in_sync(&host.duplicate(), &document);

    let (document, notes) = export_with(&host, &["--owner", "other"]);
    assert_eq!(entry_of(&document, "one"), None);
    assert!(entry_of(&document, "abstractions/site").is_some(), "what nobody holds is anybody's");
    assert!(notes.contains("4 of the files are held by the owner `web-fleet`"), "{notes}");
    let run = host.converge(&document);
    assert!(!run.changed(), "{run:#?}");

    let run = host.look("export", &[]);
    assert_eq!(run.code, Some(64), "{run:#?}");
    let message = run.report["error"]["message"].as_str().unwrap();
    assert!(message.contains("other, web-fleet") && message.contains("--owner"), "{message}");
}

#[test]
fn what_no_document_can_say_is_named() {
    let host = Scratch::new();
    host.write("nul", b"profile nul {\n}\n# \0\n");
    host.write("mark", "\u{feff}profile mark {\n}\n");
    host.write("private", profile("private"));
    fs_err::set_permissions(host.policy("private"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    host.link("local/away", "/etc/site");
    nix::unistd::mkfifo(&host.policy("abstractions/fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let (document, notes) = export(&host);
    for (name, why) in [
        ("nul", "NUL bytes"),
        ("mark", "byte order mark"),
        ("local/away", "symbolic link to `/etc/site`"),
        ("abstractions/fifo", "a FIFO"),
    ] {
        let note = notes.lines().find(|line| line.contains(&format!("`{name}` is left out")));
        assert!(note.is_some_and(|note| note.contains(why)), "{name}: {notes}");
        assert_eq!(entry_of(&document, name), None);
    }
    assert!(notes.contains("`private` has mode 0600"), "{notes}");
    let run = host.converge(&document);
    assert_eq!(run.report["summary"]["updated"], 1, "only what the note says: {run:#?}");
    assert_eq!(run.entry("private")["reasons"], json!(["attributes"]), "{run:#?}");
}

#[test]
fn the_list_for_people_names_every_entry() {
    let host = Scratch::new();
    host.write("one", profile("one"));
    host.write("two", profile("two"));
    let run = host.look("export", &["--format", "text"]);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{run:#?}");
    for name in ["one", "two", "abstractions/site", "note: ", "owner `local`"] {
        assert!(run.stdout.contains(name), "{name}: {}", run.stdout);
    }
}

#[test]
fn an_export_that_fails_is_a_report() {
    let host = Scratch::new();
    fs_err::remove_dir_all(host.policy("")).unwrap();
    for command in ["export", "status"] {
        let run = host.look(command, &[]);
        run.expect(4);
        assert_eq!(run.error_code(), "no_policy_directory");
        let text = host.look(command, &["--format", "text"]);
        assert_eq!(text.code, Some(4));
        assert!(text.stdout.contains("install the package apparmor"), "{text:#?}");
    }
    let mut program = host.program(["export", "--root", "/nonexistent"]);
    Run::of(&mut program).expect(4);
}
