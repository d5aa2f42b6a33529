//! Every profile that Debian's packages install, onto an empty policy directory beside the distribution's abstractions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::scratch::{Scratch, assert_untouched, has_reason, tool};

/// The packages whose profiles are taken. `/etc/apparmor.d/usr.bin.man` belongs to the package man-db and so is not
/// among them; the file of the same name from the extra profiles is.
const PACKAGES: [&str; 3] = ["apparmor", "apparmor-profiles", "apparmor-profiles-extra"];

/// The installed profiles by file name. A file name that two directories share would be one entry too few: that is a
/// failure, to be decided here, not passed over.
fn installed_profiles() -> BTreeMap<String, PathBuf> {
    let mut files = BTreeMap::new();
    for package in PACKAGES {
        for line in tool("dpkg-query", ["--listfiles", package]).lines() {
            let path = Path::new(line);
            let directory = path.parent().and_then(Path::to_str);
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let is_profile = matches!(directory, Some("/etc/apparmor.d" | "/usr/share/apparmor/extra-profiles"))
                && path.is_file()
                && name != "README";
            if is_profile {
                let earlier = files.insert(name.to_owned(), path.to_owned());
                assert_eq!(earlier, None, "two files of one name: say here which one counts");
            }
        }
    }
    assert!(files.len() > 130, "only {} profiles: are {PACKAGES:?} installed whole?", files.len());
    files
}

fn document() -> Value {
    let entries: Vec<_> = installed_profiles()
        .into_iter()
        .map(|(name, path)| json!({ "file": name, "content": fs_err::read_to_string(path).expect("Debian's policy is UTF-8") }))
        .collect();
    json!({ "version": 1, "owner": "debian", "profiles": entries })
}

#[test]
fn converges_stays_and_follows_an_abstraction() {
    let host = Scratch::debian().without_simplified_expressions();
    let mut document = document();
    let count = document["profiles"].as_array().unwrap().len();

    let first = host.converge(&document);
    assert_eq!(first.report["summary"]["created"], count, "{:#}", first.report["summary"]);
    for (name, path) in installed_profiles() {
        assert_eq!(host.read(&name), fs_err::read_to_string(path).unwrap());
    }
    let before = host.policy_tree();
    let again = host.converge(&document);
    assert!(!again.changed());
    assert_eq!(again.report["summary"]["unchanged"], count);
    assert_untouched(&before, &host.policy_tree());

    // One abstraction changes: exactly the profiles that include it, through whatever other file, are compiled anew.
    let abstraction = host.read("abstractions/nameservice") + "\n  /etc/site-resolver.conf r,\n";
    document["files"] = json!([{ "path": "abstractions/nameservice", "content": abstraction }]);
    let third = host.converge(&document);
    let reloaded: Vec<_> = third.report["profiles"].as_array().unwrap().iter().collect();
    assert!(reloaded.len() > 20 && reloaded.len() < count, "{} of {count}", reloaded.len());
    for entry in &reloaded {
        assert_eq!(entry["action"], "reload", "{entry:#}");
        assert!(has_reason(entry, "include:abstractions/nameservice"), "{entry:#}");
    }
    assert_eq!(third.report["summary"]["reloaded"], reloaded.len());
    let depends = |name: &str| reloaded.iter().any(|entry| entry["file"] == name);
    assert!(depends("usr.sbin.dnsmasq") && depends("usr.sbin.sshd"), "they include it");
    assert!(!depends("sbin.klogd"), "it does not include it");
    assert!(!host.converge(&document).changed());
}

#[test]
fn both_files_for_man_are_refused_by_name() {
    let host = Scratch::debian();
    let from_extra = fs_err::read_to_string("/usr/share/apparmor/extra-profiles/usr.bin.man").unwrap();
    let from_man_db = "profile other-man /usr/bin/man {\n  /usr/bin/man mr,\n}\n";
    host.write("usr.bin.man.man-db", from_man_db);
    let before = host.policy_tree();
    let run = host.apply(&json!({
        "version": 1, "owner": "debian", "profiles": [{ "file": "usr.bin.man", "content": from_extra }],
    }));
    run.expect(3);
    let problem = run.report["problems"][0].to_string();
    assert!(problem.contains("equal_attachment") && problem.contains("usr.bin.man.man-db"), "{run:#?}");
    assert_untouched(&before, &host.policy_tree());
}
