//! Policy directories that are missing, read-only, full, or of the wrong kind.
//!
//! Mounting needs root or unprivileged user namespaces; a machine that permits neither fails these tests, saying so.

use std::process::Command;

use serde_json::{Value, json};

use crate::scratch::{PROGRAM, Run, Scratch, command, copy, entry, profile, profiles};

/// A shell script in a mount namespace of its own, where `apply` runs the program on the host's root. `$ROOT` and
/// `$POLICY` are the root and the policy directory.
fn in_namespace(script: &str, host: &Scratch, document: &Value) -> Command {
    let mut unshare = command("unshare");
    if !nix::unistd::geteuid().is_root() {
        unshare.arg("--map-root-user");
    }
    unshare
        .args(["--mount", "sh", "-e", "-c"])
        .arg(format!("apply() {{ {PROGRAM} apply --root \"$ROOT\"; }}\n{script}"));
    unshare.env("ROOT", host.root()).env("POLICY", host.policy("")).stdin(Scratch::input(document.to_string()));
    unshare
}

#[track_caller]
fn assert_mountable() {
    let mut unshare = command("unshare");
    if !nix::unistd::geteuid().is_root() {
        unshare.arg("--map-root-user");
    }
    let output =
        unshare.args(["--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).output().expect("util-linux is there");
    assert!(
        output.status.success(),
        "this machine permits neither mounting nor unprivileged user namespaces: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_missing_policy_directory_is_refused() {
    let host = Scratch::new();
    fs_err::remove_dir_all(host.policy("")).unwrap();
    let run = host.apply(&profiles(json!([entry("one")])));
    run.expect(4);
    assert!(run.report["error"]["message"].as_str().unwrap().contains("/etc/apparmor.d"), "{run:#?}");
    assert!(run.report["error"]["remedy"].is_string());
    assert!(!host.policy("").exists());
}

#[test]
fn a_policy_directory_that_is_a_file_or_leads_outside_is_refused() {
    for leads_outside in [false, true] {
        let host = Scratch::new();
        let elsewhere = host.outside("elsewhere");
        fs_err::rename(host.policy(""), &elsewhere).unwrap();
        if leads_outside {
            std::os::unix::fs::symlink(&elsewhere, host.policy("").parent().unwrap().join("apparmor.d")).unwrap();
        } else {
            fs_err::write(host.path("etc/apparmor.d"), "a file").unwrap();
        }
        let before = crate::scratch::tree(&elsewhere);
        host.apply(&profiles(json!([entry("one")]))).expect(4);
        crate::scratch::assert_untouched(&before, &crate::scratch::tree(&elsewhere));
    }
}

#[test]
fn a_root_that_is_not_there_is_refused() {
    let host = Scratch::new();
    let mut program = host.program(["apply", "--root", "/nonexistent/root"]);
    let run = Run::of(program.stdin(Scratch::input(profiles(json!([entry("one")])).to_string())));
    run.expect(4);
    assert!(run.report["error"]["message"].as_str().unwrap().contains("/nonexistent/root"));
}

#[test]
fn a_read_only_policy_directory_is_told_and_left() {
    assert_mountable();
    let host = Scratch::new();
    host.converge(&profiles(json!([entry("one")])));
    let before = host.policy_tree();
    let changed = profiles(json!([{ "file": "one", "content": profile("one").replace("data", "more") }, entry("two")]));
    let read_only = "mount --bind \"$POLICY\" \"$POLICY\"\nmount -o remount,bind,ro \"$POLICY\"\napply";
    let run = Run::of(&mut in_namespace(read_only, &host, &changed));
    assert!(matches!(run.code, Some(4 | 5)), "{run:#?}");
    assert!(!run.changed());
    assert!(run.report["error"].to_string().contains("ead-only"), "{run:#?}");
    crate::scratch::assert_untouched(&before, &host.policy_tree());

    let run = Run::of(&mut in_namespace(read_only, &host, &profiles(json!([entry("one")]))));
    run.expect(0);
    assert!(!run.changed(), "nothing to do needs no writing");
    host.converge(&changed);
}

/// Runs on a small file system mounted at `place` below the root, full but for `free` KiB, and returns the run and a
/// host with what the policy directory held afterwards.
fn on_a_small_disk(place: &str, free: u32, document: &Value) -> (Run, Scratch) {
    let host = Scratch::new();
    host.converge(&profiles(json!([entry("one")])));
    let survivors = Scratch::new();
    fs_err::remove_dir_all(survivors.policy("")).unwrap();
    // The small file system dies with the namespace: what it holds is copied out before.
    let script = format!(
        "PLACE=\"$ROOT/{place}\"; FILLER=\"$PLACE/.filler.orig\"\n\
         mkdir -p \"$PLACE\"; cp -a \"$PLACE\" \"$ROOT.copy\"\n\
         mount -t tmpfs -o size=256k,mode=$(stat -c %a \"$PLACE\") tmpfs \"$PLACE\"\n\
         cp -a \"$ROOT.copy/.\" \"$PLACE/\"\n\
         dd if=/dev/zero of=\"$FILLER\" bs=1k count=1000 2>/dev/null || true\n\
         truncate -s -{free}k \"$FILLER\"\n\
         code=0; apply || code=$?\n\
         rm \"$FILLER\"; cp -a \"$POLICY\" \"$SURVIVORS\"; exit $code"
    );
    let mut program = in_namespace(&script, &host, document);
    (Run::of(program.env("SURVIVORS", survivors.path("etc/apparmor.d"))), survivors)
}

#[test]
fn a_full_disk_leaves_old_files_or_new_ones() {
    assert_mountable();
    let changed = format!("{}{}", "# The parser reads lines of less than 16 KiB.\n".repeat(450), profile("one"));
    let document = profiles(json!([{ "file": "one", "content": changed }, entry("two")]));
    for place in ["etc/apparmor.d", "var/lib/aa-converge", "run/aa-converge"] {
        for free in [0, 4, 8, 12, 16, 20, 24, 28, 40] {
            let (run, survivors) = on_a_small_disk(place, free, &document);
            let one = survivors.read("one");
            match run.code {
                Some(0) => assert!(one == changed && survivors.has("two"), "{place} {free}: {run:#?}"),
                Some(4 | 5) => {
                    assert!(one == profile("one") && !survivors.has("two"), "{place} {free}: {run:#?}");
                    assert!(run.report["error"].to_string().contains("No space left"), "{place} {free}: {run:#?}");
                    assert!(!run.changed());
                }
                _ => panic!("{place} with {free} KiB free: {run:#?}"),
            }
            assert_eq!(survivors.leftovers(), [""; 0], "{place} {free}: {run:#?}");
        }
    }
}

#[test]
fn without_permission_the_message_says_on_what() {
    if !nix::unistd::geteuid().is_root() {
        // Somebody else's root is what a user meets first.
        let mut program = command(PROGRAM);
        let run = Run::of(
            program
                .args(["apply", "--kernel", "skip"])
                .stdin(Scratch::input(profiles(json!([entry("never")])).to_string())),
        );
        run.expect(4);
        return;
    }
    let host = Scratch::new();
    // The program itself must be reachable for nobody.
    let program = host.outside("aa-converge");
    copy(std::path::Path::new(PROGRAM), &program);
    crate::scratch::tool(
        "chmod",
        [std::ffi::OsStr::new("o+rx"), program.parent().unwrap().as_os_str(), program.as_os_str()],
    );
    let mut setpriv = command("setpriv");
    setpriv.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program).args(["apply", "--root"]);
    let before = host.policy_tree();
    let run = Run::of(setpriv.arg(host.root()).stdin(Scratch::input(profiles(json!([entry("one")])).to_string())));
    run.expect(4);
    assert!(run.report["error"]["message"].as_str().unwrap().contains("cannot"), "{run:#?}");
    crate::scratch::assert_untouched(&before, &host.policy_tree());
}
