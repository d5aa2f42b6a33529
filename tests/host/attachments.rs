//! Profiles of which the kernel would give an executable neither, because both match it equally well.

use serde_json::json;

use crate::scratch::{Scratch, assert_untouched, entry, profiles};

/// No text tells that a path matches both globs, and each as well as the other.
#[test]
fn globs_that_match_one_executable_equally_well_are_refused() {
    let attached = |name: &str, glob: &str| json!({ "file": name, "content": format!("abi <abi/3.0>,\nprofile {name} {glob} {{\n}}\n") });
    let host = Scratch::new();
    let before = host.policy_tree();
    let both = profiles(json!([attached("one", "/opt/*/x"), attached("two", "/opt/b*/x"), entry("three")]));
    let run = host.apply(&both);
    run.expect(4);
    assert_untouched(&before, &host.policy_tree());
    let said = "`one` in `one` and `two` in `two` match /opt/b/x equally well: the kernel would run it unconfined";
    assert!(run.report["profiles"].to_string().contains(said), "{run:#?}");

    // The other is installed by an earlier run, and not compiled again.
    let layers = [attached("one", "/opt/*/x"), attached("long", "/opt/bcd/x*")];
    host.converge(&profiles(json!(layers)));
    let run = host.apply(&profiles(json!([layers[0], layers[1], attached("two", "/opt/b*/x")])));
    run.expect(4);
    let said = "`two` in `two` and `one` in `one` match /opt/b/x equally well";
    assert!(run.report["profiles"].to_string().contains(said), "{run:#?}");
}

/// What an installed profile is for is known from when it compiled.
#[test]
fn a_glob_counts_whose_profile_does_not_compile_any_more() {
    let host = Scratch::new();
    let content = "profile one /opt/*/x {\n  include <abstractions/site>\n  include if exists <local/one>\n}\n";
    let document = |owner: &str, file: &str, content: &str| json!({ "version": 1, "owner": owner, "profiles": [{ "file": file, "content": format!("abi <abi/3.0>,\n{content}") }] });
    host.converge(&document("first", "one", content));
    host.write("local/one", "nonsense\n");
    let mut second = document("second", "two", "profile two /opt/b*/x {\n}\n");
    second["files"] = json!([{ "path": "abstractions/site", "content": "/etc/other.conf r,\n" }]);
    let before = host.policy_tree();
    let run = host.apply(&second);
    run.expect(4);
    assert!(run.warns("`one` depends on a changed include and does not compile"), "{run:#?}");
    let said = "`two` in `two` and `one` in `one` match /opt/b/x equally well";
    assert!(run.report["profiles"].to_string().contains(said), "{run:#?}");
    assert_untouched(&before, &host.policy_tree());
}

/// What is recorded is not compiled again to be compared: the globs of its text are kept, variables expanded, whatever
/// its automaton looks like.
#[test]
fn an_administrators_profile_beside_a_recorded_one_with_the_same_globs_is_refused() {
    let globs = ["/opt/x", "/opt/{x,y}", "/opt/[xy]", "/opt/*/x", "@{OPT}/lib/**", "/opt/x//y"];
    for glob in globs {
        let text = |name: &str| format!("abi <abi/3.0>,\n@{{OPT}}=/opt /srv\nprofile {name} {glob} {{\n}}\n");
        let host = Scratch::new();
        let recorded = profiles(json!([{ "file": "recorded", "content": text("recorded") }]));
        host.converge(&recorded);
        host.write("own", text("own"));
        let run = host.apply(&recorded);
        run.expect(3);
        let problem = run.report["problems"].to_string();
        assert!(problem.contains("equal_attachment") && problem.contains("`own` in `own`"), "{glob}: {run:#?}");
    }
}

/// The parser spells such names otherwise than the text of another file does.
#[test]
fn a_repeated_name_is_found_however_the_parser_spelled_it() {
    let headers = [
        "@{X}=/usr/lib /lib\nprofile @{X}/foo*",
        "@{X}=b a\nprofile /opt/@{X}/z*",
        "@{X}=one/\nprofile /opt/@{X}/z*",
        "@{X}=/m/ /k\nprofile foo-@{X} /opt/w*",
        "@{X}=space\nprofile :@{X}:foo /opt/w*",
    ];
    for header in headers {
        let text = format!("abi <abi/3.0>,\n{header} {{\n}}\n");
        let host = Scratch::new();
        let recorded = profiles(json!([{ "file": "recorded", "content": text }]));
        host.converge(&recorded);
        host.write("own", text);
        let run = host.apply(&recorded);
        run.expect(3);
        assert!(run.report["problems"].to_string().contains("duplicate_profile_name"), "{header}: {run:#?}");
    }
}

/// Of a profile that is for few executables, the paths are remembered and not the automaton.
#[test]
fn globs_of_few_paths_are_refused_whoever_brings_them_and_whenever() {
    let of = |owner: &str, (name, attachment): (&str, &str)| {
        let content = format!("abi <abi/3.0>,\nprofile {name} {attachment} {{\n}}\n");
        json!({ "version": 1, "owner": owner, "profiles": [{ "file": "of-".to_owned() + owner, "content": content }] })
    };
    let path = ("path", "/opt/py3.9");
    let globs = [path, ("digit", "/opt/py3.[0-9]"), ("odd", "/opt/py3.[579]"), ("braces", "/opt/{py3.9,zz*}")];
    for (one, other) in globs.iter().flat_map(|one| globs.iter().map(move |other| (*one, *other))) {
        if one == other {
            continue;
        }
        let host = Scratch::new();
        host.converge(&of("first", one));
        let before = host.policy_tree();
        let run = host.apply(&of("second", other));
        // Braces are told apart in the texts already.
        assert!(matches!(run.code, Some(3 | 4)), "{one:?} {other:?}: {run:#?}");
        assert!(run.report.to_string().contains("the kernel would run it unconfined"), "{run:#?}");
        assert_untouched(&before, &host.policy_tree());
    }
    // No executable has the one path that both match.
    let host = Scratch::new();
    host.converge(&of("first", ("one", "/opt/{a,}/x[12]")));
    host.converge(&of("second", ("two", "/opt/{b,}/x[13]")));
    // A name that is the path has no equal: the kernel looks no further.
    let host = Scratch::new();
    host.converge(&of("first", ("/opt/py3.9", "")));
    host.converge(&of("second", globs[1]));
}
