//! When the ledger's record of what a profile depends on is believed, and when its text is read again.

use serde_json::json;

use crate::scratch::{Scratch, profiles};

/// What a record depends on was found where the parser looked then.
#[test]
fn a_record_made_under_other_search_directories_is_not_believed() {
    let host = Scratch::new();
    let conf = host.path("etc/apparmor/parser.conf");
    let before = fs_err::read_to_string(&conf).unwrap_or_default();
    fs_err::create_dir_all(host.path("etc/extra/local")).unwrap();
    fs_err::write(host.path("etc/extra/local/y"), "/x r,\n").unwrap();
    host.write("local/y", "/y rw,\n");
    let text = "abi <abi/3.0>,\nprofile one /opt/one {\n  include if exists <local/y>\n}\n";
    let document = profiles(json!([{ "file": "one", "content": text }]));
    fs_err::write(&conf, format!("{before}Include /etc/extra\n")).unwrap();
    let extra = host.converge(&document).report["profiles"][0]["loaded"][0]["hash"]["after"].clone();
    fs_err::write(&conf, &before).unwrap();
    let plain = host.converge(&document).report["profiles"][0].clone();
    assert!(plain["reasons"].to_string().contains("parser"), "{plain}");
    let fresh = Scratch::new();
    fresh.write("local/y", "/y rw,\n");
    let expected = fresh.converge(&document).report["profiles"][0]["loaded"][0]["hash"]["after"].clone();
    assert_eq!(plain["loaded"][0]["hash"]["after"], expected);
    assert_ne!(extra, expected);
    assert!(!host.converge(&document).report["changed"].as_bool().unwrap());
}

/// Many files that were not there are looked for by listing their directory, where that is one.
#[test]
fn what_cannot_be_listed_is_no_reason_to_refuse_a_run() {
    let absences = |directory: &str| -> String {
        (0..8).map(|number| format!("  include if exists <{directory}/x{number}>\n")).collect()
    };
    let long = "a".repeat(300);
    let text = format!("abi <abi/3.0>,\nprofile one /opt/one {{\n{}{}}}\n", absences("extra/sub"), absences(&long));
    let document = profiles(json!([{ "file": "one", "content": text }]));
    let host = Scratch::new();
    host.converge(&document);
    let policy = host.path("etc/apparmor.d");
    fs_err::write(policy.join("extra"), "a file").unwrap();
    assert_eq!(host.converge(&document).report["changed"], false);
    fs_err::remove_file(policy.join("extra")).unwrap();
    std::os::unix::fs::symlink("extra", policy.join("extra")).unwrap();
    assert_eq!(host.converge(&document).report["changed"], false);
}

/// The ledger names it as what the profile depended on, and nothing includes it any more.
#[test]
fn a_former_include_that_cannot_be_read_is_no_reason_to_refuse_a_run() {
    let host = Scratch::new();
    host.write("abstractions/outer", "include <extra.d/inner>\n");
    fs_err::create_dir_all(host.path("etc/apparmor.d/extra.d")).unwrap();
    host.write("extra.d/inner", "/x r,\n");
    let text = "abi <abi/3.0>,\nprofile one /opt/one {\n  include <abstractions/outer>\n}\n";
    let document = profiles(json!([{ "file": "one", "content": text }]));
    host.converge(&document);
    host.write("abstractions/outer", "/y r,\n");
    fs_err::File::create(host.path("etc/apparmor.d/extra.d/inner")).unwrap().set_len(17 << 20).unwrap();
    let run = host.converge(&document);
    assert_eq!(run.report["profiles"][0]["reasons"], json!(["include:abstractions/outer", "include:extra.d/inner"]));
}

#[test]
fn a_file_that_was_read_as_an_abi_is_followed_where_it_is_included() {
    let host = Scratch::new();
    host.write("abi/pol", "/x r,\ninclude <abstractions/hidden>\n");
    host.write("abstractions/hidden", "/hidden r,\n");
    let one = json!({ "file": "one", "content": "abi <abi/pol>,\nprofile one /opt/one {\n}\n" });
    let two = json!({ "file": "two", "content": "abi <abi/3.0>,\nprofile two /opt/two {\n  include <abi/pol>\n}\n" });
    host.converge(&profiles(json!([one])));
    let both = profiles(json!([one, two]));
    host.converge(&both);
    assert_eq!(host.converge(&both).report["changed"], false);
}

/// What others' files define is kept as well, and is found again only where something that it follows from is another.
#[test]
fn what_an_unlisted_file_defines_is_read_again_when_its_include_changes() {
    let host = Scratch::new();
    host.write("tunables/theirs", "@{program} = /opt/theirs\n");
    host.write("theirs", "abi <abi/3.0>,\ninclude <tunables/theirs>\nprofile theirs @{program} {\n}\n");
    let document = profiles(json!([
        { "file": "one", "content": "abi <abi/3.0>,\nprofile one /opt/one {\n}\n" },
        { "file": "two", "content": "abi <abi/3.0>,\nprofile two /opt/two {\n}\n" },
    ]));
    host.converge(&document);
    let ledger: serde_json::Value =
        serde_json::from_str(&fs_err::read_to_string(host.path("var/lib/aa-converge/state.json")).unwrap()).unwrap();
    assert_eq!(
        ledger["read"]["theirs"]["defines"],
        json!([{ "name": { "name": "theirs" }, "globs": ["/opt/theirs"] }])
    );
    assert_eq!(host.converge(&document).report["changed"], false);

    for (program, theirs) in [("/opt/one", "one"), ("/opt/t{wo,hree}", "two")] {
        host.write("tunables/theirs", format!("@{{program}} = {program}\n"));
        let run = host.apply(&document);
        assert_eq!(run.report["problems"][0]["code"], "equal_attachment", "{}", run.report);
        assert!(run.report["problems"][0]["message"].to_string().contains(theirs), "{}", run.report);
    }
    host.write("tunables/theirs", "@{program} = /opt/theirs\n");
    host.write("theirs", "abi <abi/3.0>,\nprofile one {\n}\n");
    assert_eq!(host.apply(&document).problems()[0].1, "duplicate_profile_name");
    fs_err::remove_file(host.path("etc/apparmor.d/theirs")).unwrap();
    assert_eq!(host.converge(&document).report["changed"], false);
}
