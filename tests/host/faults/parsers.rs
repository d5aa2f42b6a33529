//! Parsers that are missing, hang, die, lie, or eat memory; and interruptions while they run.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::scratch::{PARSER, PROGRAM, Run, Scratch, assert_untouched, command, entry, profiles, start};

/// Runs with a stand-in parser of this body, which must make the run fail without touching policy.
#[track_caller]
fn refuse(body: &str, options: &[&str]) -> Run {
    let host = Scratch::new();
    let parser = host.stand_in_parser(body);
    let before = host.policy_tree();
    let options = [&["--parser", &parser][..], options].concat();
    let run = host.apply_with(&options, &profiles(json!([entry("one"), entry("two")])));
    run.expect(4);
    assert!(!run.changed());
    assert_untouched(&before, &host.policy_tree());
    assert_eq!(host.leftovers(), [""; 0]);
    assert!(!host.converge(&profiles(json!([entry("one"), entry("two")]))).report["failed"].as_bool().unwrap());
    run
}

#[track_caller]
fn compile_error(run: &Run) -> &str {
    assert_eq!(run.error_code(), "compile", "{run:#?}");
    run.entry("one")["error"]["message"].as_str().unwrap_or_else(|| panic!("the entry has an error: {run:#?}"))
}

#[test]
fn a_missing_parser_is_named_with_its_remedy() {
    let host = Scratch::new();
    let run = host.apply_with(&["--parser", "/nonexistent/parser"], &profiles(json!([entry("one")])));
    run.expect(4);
    assert!(run.report["error"]["message"].as_str().unwrap().contains("/nonexistent/parser"), "{run:#?}");
    assert!(run.report["error"]["remedy"].is_string(), "{run:#?}");
}

#[test]
fn a_parser_that_is_not_executable() {
    let host = Scratch::new();
    let parser = host.outside("parser");
    fs_err::write(&parser, "no program").unwrap();
    let run = host.apply_with(&["--parser", parser.to_str().unwrap()], &profiles(json!([entry("one")])));
    run.expect(4);
    assert!(run.report["error"]["message"].as_str().unwrap().contains("parser"), "{run:#?}");
}

#[test]
fn a_parser_that_hangs() {
    let begin = Instant::now();
    let run = refuse("exec sleep 600", &["--parser-timeout", "1"]);
    assert!(begin.elapsed() < Duration::from_secs(30));
    assert!(compile_error(&run).contains("1 s"), "{run:#?}");
}

#[test]
fn a_parser_whose_children_hang() {
    let begin = Instant::now();
    refuse("sleep 600 & wait", &["--parser-timeout", "1"]);
    assert!(begin.elapsed() < Duration::from_secs(30), "a grandchild that holds the pipe open must not hold us");
}

#[test]
fn a_parser_that_is_killed() {
    let run = refuse("kill -KILL $$", &[]);
    assert!(compile_error(&run).contains("signal"), "{run:#?}");
}

#[test]
fn a_parser_that_aborts() {
    refuse("echo 'Assertion failed' >&2; kill -ABRT $$", &[]);
    refuse("exit 134", &[]);
}

#[test]
fn a_parser_that_eats_memory() {
    // dd asks for a buffer of more than any parser may use, and touches none of it. The first may still get it: a
    // process is given its limits right after it has started.
    let body = "while dd if=/dev/null of=/dev/null bs=16G count=1 status=none; do :; done; exit 1";
    let run = refuse(body, &["--parser-timeout", "60"]);
    assert!(compile_error(&run).contains("dd: memory exhausted"), "{run:#?}");
}

#[test]
fn a_parser_that_writes_without_end() {
    refuse("exec yes error >&2", &["--parser-timeout", "2"]);
    refuse("exec yes", &["--parser-timeout", "2"]);
}

#[test]
fn a_parser_that_says_nothing_and_makes_nothing() {
    let run = refuse("exit 0", &[]);
    compile_error(&run);
}

#[test]
fn a_parser_that_fails_without_a_word() {
    let run = refuse("exit 7", &[]);
    assert!(compile_error(&run).contains('7'), "{run:#?}");
}

#[test]
fn a_parser_that_makes_rubbish() {
    refuse(
        &format!(
            "for last; do :; done; {PARSER} \"$@\" || exit; while [ $# -gt 1 ]; do [ \"$1\" = -o ] && echo rubbish > \"$2\"; shift; done"
        ),
        &[],
    );
}

#[test]
fn a_parser_that_lies_about_success() {
    let run = refuse(&format!("{PARSER} \"$@\"; echo 'AppArmor parser error: out of luck' >&2; exit 0"), &[]);
    assert!(compile_error(&run).contains("out of luck"), "{run:#?}");
}

#[test]
fn a_parser_that_does_not_speak_utf8() {
    let run = refuse("printf 'AppArmor parser error for x in profile x at line 3: caf\\351\\n' >&2; exit 1", &[]);
    assert!(compile_error(&run).contains("caf"), "{run:#?}");
}

/// Waits until the condition holds.
#[track_caller]
fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
        std::thread::yield_now();
    }
}

fn interrupt(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

/// The processes whose command line contains these words.
fn processes(words: &str) -> usize {
    let mut count = 0;
    for entry in fs_err::read_dir("/proc").unwrap() {
        let line = entry.unwrap().path().join("cmdline");
        count += usize::from(fs_err::read(line).is_ok_and(|line| String::from_utf8_lossy(&line).contains(words)));
    }
    count
}

#[test]
fn interrupted_while_a_profile_compiles() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let host = Scratch::new();
        let started = host.outside("started");
        let parser = host.stand_in_parser(&format!("touch {}; exec sleep 600", started.display()));
        let before = host.policy_tree();
        let document = profiles(json!([entry("one"), entry("two")])).to_string();
        let child = start(&mut host.apply_command(&["--parser", &parser], document));
        wait_for("the parser starts", || started.exists());
        interrupt(&child, signal);
        let run = Run::end_of(child);
        run.expect(4);
        assert_eq!(run.error_code(), "interrupted");
        assert_ne!(run.report["elapsed_ms"]["compile"], 0, "{run:#?}");
        assert_untouched(&before, &host.policy_tree());
        wait_for("no parser is left behind", || processes(host.root().to_str().unwrap()) == 0);
        host.converge(&profiles(json!([entry("one"), entry("two")])));
    }
}

/// As nohup(1) and a shell without job control have them ignored.
#[test]
fn what_whoever_started_it_ignores_does_not_interrupt() {
    let host = Scratch::new();
    let (started, go) = (host.outside("started"), host.outside("go"));
    let parser = host.stand_in_parser(&format!(
        "touch {}; while [ ! -e {} ]; do sleep 0.05; done; exec {PARSER} \"$@\"",
        started.display(),
        go.display()
    ));
    let document = profiles(json!([entry("one")])).to_string();
    let program = host.apply_command(&["--parser", &parser], &document);
    let mut ignoring = command("sh");
    ignoring.args(["-c", "trap '' HUP INT; exec \"$@\"", "sh"]).arg(program.get_program()).args(program.get_args());
    ignoring.stdin(Scratch::input(document));
    let child = start(&mut ignoring);
    wait_for("the parser starts", || started.exists());
    interrupt(&child, Signal::SIGHUP);
    interrupt(&child, Signal::SIGINT);
    fs_err::write(&go, "").unwrap();
    Run::end_of(child).expect(0);
    assert!(host.has("one"));
}

fn catches_interrupts(child: &Child) -> bool {
    let status = fs_err::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t"));
    mask.and_then(|mask| u64::from_str_radix(mask, 16).ok()).is_some_and(|mask| mask & 0b10 != 0)
}

#[test]
fn interrupted_while_the_document_is_read() {
    let host = Scratch::new();
    let mut program = host.program(["apply", "--root"]);
    program.arg(host.root()).stdin(Stdio::piped());
    let mut child = start(&mut program);
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"{\"version\": 1, ").unwrap();
    wait_for("the program catches signals and reads", || catches_interrupts(&child));
    interrupt(&child, Signal::SIGINT);
    let run = Run::end_of(child);
    assert!(run.code == Some(4) && run.error_code() == "interrupted", "{run:#?}");
    drop(input);
    assert!(!host.path("run/aa-converge").exists() || host.leftovers().is_empty());
}

#[test]
fn interrupted_while_nobody_writes_the_document() {
    let host = Scratch::new();
    let fifo = host.outside("document");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let child = start(host.program(["apply", "--root"]).arg(host.root()).arg(&fifo));
    wait_for("the program catches signals", || catches_interrupts(&child));
    interrupt(&child, Signal::SIGINT);
    let run = Run::end_of(child);
    assert!(run.code == Some(4) && run.error_code() == "interrupted", "{run:#?}");

    // And one that somebody writes is a document as any other.
    let child = start(host.program(["apply", "--root"]).arg(host.root()).arg(&fifo));
    fs_err::write(&fifo, profiles(json!([entry("one")])).to_string()).unwrap();
    let run = Run::end_of(child);
    assert!(run.code == Some(0) && run.changed(), "{run:#?}");
}

#[test]
fn a_refused_document_does_not_wait_for_the_parser() {
    let host = Scratch::new();
    let parser = host.stand_in_parser("exec sleep 600");
    let before = host.policy_tree();
    let again = json!({ "file": "again", "content": crate::scratch::profile("one") });
    let begin = Instant::now();
    let run = host.apply_with(&["--parser", &parser], &profiles(json!([entry("one"), again])));
    assert!(begin.elapsed() < Duration::from_secs(30), "{run:#?}");
    run.expect(3);
    assert_untouched(&before, &host.policy_tree());
    assert_eq!(host.leftovers(), [""; 0]);
}

#[test]
fn a_parser_that_fails_whatever_it_is_asked() {
    let host = Scratch::new();
    let parser = host.stand_in_parser("");
    fs_err::write(&parser, "#!/bin/sh\necho out of order >&2\nkill -ABRT $$\n").unwrap();
    let run = host.apply_with(&["--parser", &parser], &profiles(json!([entry("one")])));
    run.expect(4);
    assert!(compile_error(&run).contains("out of order"), "{run:#?}");
}

#[test]
fn a_second_run_is_told_who_holds_the_lock_and_can_wait() {
    let host = Scratch::new();
    let go = host.outside("go");
    let started = host.outside("started");
    let parser = host.stand_in_parser(&format!(
        "touch {}; while [ ! -e {} ]; do sleep 0.05; done; exec {PARSER} \"$@\"",
        started.display(),
        go.display()
    ));
    let document = profiles(json!([entry("one")]));
    let first = start(&mut host.apply_command(&["--parser", &parser], document.to_string()));
    wait_for("the first run holds the lock", || started.exists());

    let second = host.apply_with(&["--lock-timeout", "0"], &profiles(json!([entry("two")])));
    second.expect(4);
    assert_eq!(second.error_code(), "lock_held");
    let message = second.report["error"]["message"].as_str().unwrap();
    assert!(message.contains(&first.id().to_string()), "{message} names {}", first.id());

    let check = host.apply_with(&["--check", "--lock-timeout", "0"], &profiles(json!([entry("two")])));
    assert!(check.code.is_some(), "{check:#?}");

    let document = profiles(json!([entry("two")])).to_string();
    let mut waiting = start(&mut host.apply_command(&["--lock-timeout", "60"], &document));
    let interrupted = start(&mut host.apply_command(&["--lock-timeout", "60"], &document));
    // What comes after the whole document is read is the lock.
    let has_read = |pid: u32| {
        let read = fs_err::read_to_string(format!("/proc/{pid}/fdinfo/0")).unwrap_or_default();
        read.lines().any(|line| line == format!("pos:\t{}", document.len()))
    };
    wait_for("the others wait", || [waiting.id(), interrupted.id()].into_iter().all(has_read));
    interrupt(&interrupted, Signal::SIGINT);
    let interrupted = Run::end_of(interrupted);
    assert!(interrupted.code == Some(4) && interrupted.error_code() == "interrupted", "{interrupted:#?}");
    assert!(waiting.try_wait().unwrap().is_none(), "it waits");

    fs_err::write(&go, "").unwrap();
    Run::end_of(first).expect(0);
    Run::end_of(waiting).expect(0);
    assert!(host.has("one") && host.has("two"));
}

#[test]
fn a_killed_run_leaves_no_lock_behind() {
    let host = Scratch::new();
    let started = host.outside("started");
    let parser = host.stand_in_parser(&format!("echo $$ > {0}.tmp; mv {0}.tmp {0}; exec sleep 600", started.display()));
    let options = ["--parser", &parser, "--jobs", "1"];
    let mut child = start(&mut host.apply_command(&options, profiles(json!([entry("one")])).to_string()));
    wait_for("the run holds the lock", || started.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    let run = host.apply_with(&["--lock-timeout", "0"], &profiles(json!([entry("one")])));
    // A parser that outlived its run is this test's to end.
    let parser: i32 = fs_err::read_to_string(&started).unwrap().trim().parse().unwrap();
    let _ = kill(Pid::from_raw(parser), Signal::SIGKILL);
    run.expect(0);
    assert!(!host.converge(&profiles(json!([entry("one")]))).changed());
}

#[test]
fn many_runs_at_once_all_converge() {
    let host = Scratch::new();
    let document = profiles(json!([entry("one"), entry("two")])).to_string();
    // The runs read one file: it is written for all of them before the first one starts.
    let commands: Vec<_> = (0..8).map(|_| host.apply_command(&["--lock-timeout", "60"], &document)).collect();
    let children: Vec<_> = commands.into_iter().map(|mut command| start(&mut command)).collect();
    let runs: Vec<_> = children.into_iter().map(Run::end_of).collect();
    for run in &runs {
        run.expect(0);
    }
    assert_eq!(runs.iter().filter(|run| run.changed()).count(), 1, "one did it, the others found it done");
}

#[test]
fn progress_goes_to_a_terminal_alone() {
    // script(1) gives the program a terminal for standard error; standard output stays a file.
    let host = Scratch::new();
    let output = host.outside("stdout");
    let document = host.outside("fleet.json");
    fs_err::write(&document, profiles(json!([entry("one")])).to_string()).unwrap();
    let line = format!(
        "{PROGRAM} apply --root {} --format json {} > {}",
        host.root().display(),
        document.display(),
        output.display()
    );
    let mut script = command("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    let mut child = script.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("script is part of bsdutils");
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        line.unwrap_or_default();
    }
    assert!(child.wait().unwrap().success());
    let report: serde_json::Value = serde_json::from_slice(&fs_err::read(&output).unwrap()).unwrap();
    assert_eq!(report["changed"], true);
}
