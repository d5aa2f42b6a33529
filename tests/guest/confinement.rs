//! Real programs under real profiles.

use std::path::Path;

use serde_json::{Value, json};

use crate::guest::{Guest, command, document, entry, profile, script, simple, tool};
use crate::kernel;
use crate::programs::{AuditLog, Program, Running};

fn in_mode(mode: &str) -> Value {
    document(json!([{ "file": "reader", "content": profile("reader"), "mode": mode }]))
}

#[test]
fn a_program_is_denied_then_only_logged_then_denied_again() {
    let guest = Guest::fresh();
    let reader = Program::install("reader");
    assert!(reader.reads("secret"), "it is not confined yet");

    for (mode, event) in [("enforce", "DENIED"), ("complain", "ALLOWED"), ("enforce", "DENIED")] {
        guest.converge(&in_mode(mode));
        let mut log = AuditLog::from_now();
        assert!(reader.reads("reader"), "{mode}");
        assert_eq!(reader.reads("secret"), mode == "complain", "{mode}");
        let event = format!("apparmor=\"{event}\"");
        log.wait_for(&[&event, "operation=\"open\"", "profile=\"reader\"", "name=\"/opt/data/secret\""]);
    }
    guest.expect_in_sync(&in_mode("enforce"));
}

#[test]
fn a_running_program_follows_a_replaced_profile_at_once() {
    let guest = Guest::fresh();
    guest.converge(&in_mode("enforce"));
    let running = Program::install("reader").start();
    assert_eq!(running.label(), "reader (enforce)");
    let run = guest.converge(&in_mode("complain"));
    assert_eq!(running.label(), "reader (complain)");
    assert_eq!(run.needs_restart(), []);
}

#[test]
fn a_process_that_needs_a_restart_is_told_on_every_run() {
    let guest = Guest::fresh();
    let one = Program::install("one");
    let running = one.start();
    assert_eq!(running.label(), "unconfined");
    let wanted = document(json!([simple("one"), simple("two")]));

    let first = guest.converge(&wanted);
    assert_eq!(first.needs_restart(), [(running.pid(), "one", true)], "{first:#?}");
    assert_eq!(first.report["needs_restart"][0]["executable"], one.path());
    let second = guest.apply(&wanted);
    assert!(!second.changed());
    assert_eq!(second.needs_restart(), [(running.pid(), "one", true)]);

    drop(running);
    let restarted = one.start();
    assert_eq!(restarted.label(), "one (enforce)");
    assert_eq!(guest.apply(&wanted).needs_restart(), []);

    // Removed and loaded again, the profile no longer confines what ran under it.
    kernel::remove("one");
    assert_eq!(restarted.label(), "unconfined");
    let run = guest.converge(&wanted);
    assert_eq!(restarted.label(), "unconfined");
    assert_eq!(run.needs_restart(), [(restarted.pid(), "one", true)]);
}

#[test]
fn a_process_is_told_with_its_unit() {
    const CGROUPS: &str = "/sys/fs/cgroup";
    let guest = Guest::fresh();
    if !Path::new(CGROUPS).join("cgroup.procs").exists() {
        tool("mount", ["-t", "cgroup2", "cgroup2", CGROUPS]);
    }
    // The names are systemd's (systemd.unit(5), systemd.slice(5)).
    let units = [
        ("system.slice/one.service", Some("one.service")),
        ("system.slice/system-one.slice/one@a.service/payload", Some("one@a.service")),
        ("user.slice/user-0.slice/session-3.scope", Some("session-3.scope")),
        ("one", None),
    ];
    let one = Program::install("one");
    let start = |(cgroup, unit): (&str, Option<&'static str>)| {
        let running = one.start();
        let directory = Path::new(CGROUPS).join(cgroup);
        fs_err::create_dir_all(&directory).unwrap();
        fs_err::write(directory.join("cgroup.procs"), running.pid().to_string()).unwrap();
        (running, unit)
    };
    let running = units.map(start);
    let told = |processes: &Value| -> Vec<(u64, Option<String>)> {
        let told = processes.as_array().unwrap().iter();
        told.map(|it| (it["pid"].as_u64().unwrap(), it["unit"].as_str().map(str::to_owned))).collect()
    };
    let mut expected: Vec<_> = running.iter().map(|(running, unit)| (running.pid(), unit.map(str::to_owned))).collect();
    expected.sort();
    let run = guest.converge(&document(json!([simple("one")])));
    assert_eq!(told(&run.report["needs_restart"]), expected, "{run:#?}");

    drop(running);
    let running = start(units[0]).0;
    let status = guest.run(&["status", "--format", "json"], "").report;
    assert_eq!(told(&status["processes"]["confined"]), [(running.pid(), units[0].1.map(str::to_owned))], "{status:#}");
}

#[test]
fn a_program_whose_file_was_replaced_is_still_known() {
    let guest = Guest::fresh();
    let one = Program::install("one");
    let running = one.start();
    fs_err::remove_file(one.path()).unwrap();
    Program::install("one");
    let run = guest.converge(&document(json!([simple("one")])));
    assert_eq!(run.needs_restart(), [(running.pid(), "one", true)]);
}

#[test]
fn a_script_is_told_as_uncertain() {
    let guest = Guest::fresh();
    script("/opt/job", "cat");
    let running = Running::of(&mut command("/opt/job"));
    let run = guest.converge(&document(json!([simple("job")])));
    assert_eq!(run.needs_restart(), [(running.pid(), "job", false)], "{run:#?}");
}

#[test]
fn of_a_stack_every_profile_is_in_use() {
    let guest = Guest::fresh();
    guest.converge(&document(json!([simple("one"), simple("two"), simple("three")])));
    let text = "abi <abi/3.0>,\nprofile both flags=(attach_disconnected) {\n  file,\n}\n";
    kernel::load(text);
    let running = Program::install("one").start_under("one//&both");
    assert!(running.label().contains("one") && running.label().contains("both"), "{}", running.label());
    guest.expect_refusal(&document(json!([simple("two"), simple("three")])), "confined");
    let run = guest.converge(&document(json!([simple("one"), simple("three")])));
    assert_eq!(run.needs_restart(), []);
    drop(running);
    guest.converge(&document(json!([simple("three")])));
}

#[test]
fn a_profile_for_a_glob_tells_what_it_matches() {
    let guest = Guest::fresh();
    let running =
        [Program::install("tool-a").start(), Program::install("tool-b").start(), Program::install("other").start()];
    let text = "abi <abi/3.0>,\nprofile tools /opt/tool-{a,c*,[b]} {\n  /opt/tool-* mr,\n}\n";
    let run = guest.converge(&document(json!([entry("tools", text)])));
    let told: Vec<u64> = run.needs_restart().into_iter().map(|(pid, ..)| pid).collect();
    assert_eq!(told, [running[0].pid(), running[1].pid()]);
}
