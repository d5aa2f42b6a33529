//! A run that fails after its first effect, or is killed, leaves the old policy, in files and in the kernel.

use serde_json::{Value, json};

use crate::guest::{Guest, PARSER, Run, document, entry, profile, script, simple, tool};
use crate::kernel::{self, Policy, policy};

/// The document before: `one` and `two`, and a profile of somebody else.
fn before() -> Value {
    document(json!([simple("one"), simple("two")]))
}

/// The document after: `one` is another, `two` goes, `three` and a parent with a child come.
fn after() -> Value {
    let one = profile("one").replace("/opt/data/one r", "/opt/data/** r");
    let parent = "abi <abi/3.0>,\nprofile parent /opt/parent {\n  profile kid {\n  }\n}\n";
    document(json!([entry("one", &one), simple("three"), entry("parent", parent)]))
}

/// A parser that gives damaged policy for files called `NAME`, which compiles and which the kernel refuses.
fn parser_that_damages(name: &str) -> String {
    let source = format!("/tmp/{name}");
    fs_err::write(&source, profile(name)).unwrap();
    let blob = "/tmp/damaged";
    tool(PARSER, ["-QKTq", "-o", blob, &source]);
    let mut bytes = fs_err::read(blob).unwrap();
    // The last automaton's tables are big-endian behind this magic (security/apparmor/match.c): the kernel checks them.
    let magic = [0x1b, 0x5e, 0x78, 0x3d];
    let at = bytes.windows(magic.len()).rposition(|window| window == magic).unwrap();
    bytes[at + 16..at + 48].fill(0xff);
    fs_err::write(blob, bytes).unwrap();
    let parser = "/tmp/parser";
    script(
        parser,
        &format!(
            "case \"$*\" in */{name})\n  while [ \"$1\" != -o ]; do shift; done\n  exec cp {blob} \"$2\";;\nesac\n\
             exec {PARSER} \"$@\""
        ),
    );
    parser.to_owned()
}

fn assert_rolled_back(run: &Run) {
    run.expect(5);
    assert_eq!(run.report["rollback"], json!({ "state": "complete", "left": [] }), "{run:#?}");
    assert!(!run.changed(), "{run:#?}");
}

#[test]
fn a_set_that_the_kernel_refuses_is_undone_in_files_and_kernel() {
    let guest = Guest::fresh();
    kernel::load("profile somebody-else {\n  file,\n}\n");
    guest.converge(&before());
    let (files, loaded) = (guest.files(), policy());

    let parser = parser_that_damages("three");
    let run = guest.apply_with(&["--parser", &parser], &after());
    assert_rolled_back(&run);
    assert_eq!(run.report["error"]["code"], "kernel", "{run:#?}");
    assert!(run.report["error"]["remedy"].is_string());
    assert_eq!(policy(), loaded);
    assert!(guest.files() == files);

    // With a parser that does not damage it, the same document converges.
    guest.converge(&after());
    assert_eq!(policy().keys().collect::<Vec<_>>(), ["one", "parent", "parent//kid", "somebody-else", "three"]);
    guest.expect_in_sync(&after());
}

#[test]
fn a_removal_that_fails_undoes_the_load_before_it() {
    let guest = Guest::fresh();
    guest.converge(&before());
    let (files, loaded) = (guest.files(), policy());
    // The write to `.remove` comes after that to `.replace`.
    let remove = format!("{APPARMOR}/.remove");
    let tracer = ["strace", "-f", "-o", "/dev/null", "-P", &remove, "-e", "inject=write:error=EACCES:when=1"];
    let run = guest.run_under(&tracer, &["apply"], &after().to_string());
    assert_rolled_back(&run);
    assert_eq!(policy(), loaded);
    assert!(guest.files() == files);
    guest.converge(&after());
}

const APPARMOR: &str = "/sys/kernel/security/apparmor";
/// Where the ledger is renamed into place.
const STATE: &str = "/var/lib/aa-converge";

/// Runs towards [`after`] and kills the program when it makes the call, of those that concern `path`.
fn kill_at(guest: &Guest, path: &str, call: &str) {
    let injection = format!("inject={call}:signal=KILL:when=1");
    let tracer = ["strace", "-f", "-o", "/dev/null", "-P", path, "-e", &injection];
    let run = guest.run_under(&tracer, &["apply"], &after().to_string());
    assert_eq!(run.signal, Some(9), "it was to be killed at {call} on {path}, and its tracer with it: {run:#?}");
}

#[test]
fn after_a_kill_the_next_run_restores_files_and_kernel() {
    // Before the load; after it; before the removal; after it; before the ledger is in place.
    for (path, call) in [
        (&*format!("{APPARMOR}/.replace"), "write"),
        (&format!("{APPARMOR}/.replace"), "close"),
        (&format!("{APPARMOR}/.remove"), "write"),
        (&format!("{APPARMOR}/.remove"), "close"),
        (STATE, "renameat"),
    ] {
        let context = format!("killed at {call} on {path}");
        let guest = Guest::fresh();
        guest.converge(&before());
        let (files, loaded) = (guest.files(), policy());
        kill_at(&guest, path, call);
        assert!(guest.files() != files, "{context}: it had begun");

        let run = guest.apply(&before());
        run.expect(0);
        assert!(!run.report["recovered"].is_null(), "{context}: {run:#?}");
        assert_eq!(policy(), loaded, "{context}");
        assert!(guest.files() == files, "{context}");
        guest.converge(&after());
    }
}

#[test]
fn a_run_that_was_killed_once_its_ledger_was_in_place_is_done() {
    let guest = Guest::fresh();
    guest.converge(&before());
    // The journal goes last.
    kill_at(&guest, "/var/lib/aa-converge/journal", "unlinkat");
    guest.expect_in_sync(&after());
}

#[test]
fn recovery_leaves_what_others_loaded_since() {
    let guest = Guest::fresh();
    guest.converge(&before());
    kill_at(&guest, &format!("{APPARMOR}/.replace"), "close");
    let by_hand = profile("three").replace("/opt/data/three r", "/** rw");
    kernel::load(&by_hand);
    let theirs = policy()["three"].clone();
    let run = guest.apply(&before());
    run.expect(0);
    assert!(run.report["recovered"]["left"].to_string().contains("three"), "{run:#?}");
    assert_eq!(policy()["three"], theirs);
    assert!(!policy().contains_key("parent"));
}

#[test]
fn neighbours_in_a_set_are_put_back_each_as_it_was() {
    let guest = Guest::fresh();
    // One write loaded all three, so that each is saved as a part of what they share.
    let family =
        "abi <abi/3.0>,\nprofile family /opt/family {\n  profile kid {\n    /opt/kid mr,\n  }\n  ^hat {\n  }\n}\n";
    let spaced = "abi <abi/3.0>,\nprofile \"with space\" /opt/space {\n}\nprofile :apart:inside /opt/inside {\n}\n";
    let old = json!([simple("one"), simple("two"), entry("family", family), entry("spaced", spaced)]);
    guest.converge(&document(old.clone()));
    let loaded: Policy = policy();
    let (one, two) = (profile("one").replace("/opt/data/one r", "/** r"), profile("two"));
    let parser = parser_that_damages("new");
    let new = json!([
        entry("one", &one),
        entry("two", &two),
        entry("family", &family.replace("/opt/kid mr", "/** rw")),
        entry("spaced", &spaced.replace("/opt/inside {", "/opt/inside {\n  /x r,")),
        simple("new"),
    ]);
    let run = guest.apply_with(&["--parser", &parser], &document(new));
    assert_rolled_back(&run);
    assert_eq!(policy(), loaded);
    guest.expect_in_sync(&document(old));
}
