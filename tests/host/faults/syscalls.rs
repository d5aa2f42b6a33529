//! Every system call that changes something fails once, and is the last one before a kill once.
//!
//! strace names the calls of an undisturbed run; each is then disturbed in a run of its own, on a copy of the same host.
//! Most of these hosts are in memory; those of the drift repair are on a disk's file system.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::boot_cache::{PLACE, boot, with_parser};
use crate::scratch::{PROGRAM, Run, Scratch, command, entry, profile, tree};

/// The calls that can change a file system; `?` lets strace pass over those that an architecture lacks. `execve` tells
/// the parser's processes from our own threads.
const TRACED: &str = "execve,openat,openat2,?open,?creat,write,pwrite64,writev,fsync,fdatasync,syncfs,fchmod,fchmodat,\
    ?fchmodat2,fchown,fchownat,?rename,renameat,renameat2,?unlink,unlinkat,?mkdir,mkdirat,?symlink,symlinkat,?link,linkat,\
    ftruncate,fallocate,utimensat,fsetxattr,copy_file_range,sendfile,?rmdir";

/// One call of the undisturbed run.
#[derive(Debug, Clone)]
struct Call {
    name: String,
    /// Which call of this name it is in its thread, from 1.
    ordinal: usize,
    /// Whether the main thread makes it; the ordinals of other threads hold only as far as their order repeats.
    main_thread: bool,
    /// strace's line, for messages.
    line: String,
}

/// What is done to a call.
#[derive(Debug, Clone, Copy)]
enum Disturbance {
    Fail,
    Kill,
}

/// A host with something to create, update, remove, adopt and link, and the document that does so.
pub(super) struct Case {
    pub(super) host: Scratch,
    pub(super) document: Value,
    /// The policy directory before and after the document: every file and link, without dot files.
    old: Policy,
    new: Policy,
    /// The same of the parser's cache.
    cached_old: Policy,
    cached_new: Policy,
    calls: Vec<Call>,
}

type Policy = BTreeMap<String, Installed>;

/// Mode, owner and group, and bytes.
type Installed = (u32, (u32, u32), Vec<u8>);

impl Case {
    pub(super) fn upgrade() -> Self {
        let case = Self::prepared_upgrade();
        let was_renewed = |(path, file): (&String, &Installed)| case.cached_old.get(path) != Some(file);
        assert!(case.cached_new.iter().any(was_renewed), "the run writes to the cache: {:?}", case.cached_new.keys());
        case
    }

    fn prepared_upgrade() -> Self {
        let host = with_parser(Scratch::in_memory());
        host.write("installed", profile("installed"));
        host.write("adopted", format!("# by hand\n{}", profile("adopted")));
        std::os::unix::fs::chown(host.policy("adopted"), Some(33), Some(44)).expect("the tests run as root");
        fs_err::set_permissions(host.policy("adopted"), Permissions::from_mode(0o640)).expect("it is there");
        host.converge(&json!({
            "version": 1, "owner": "test", "profiles": [entry("changed"), entry("same"), entry("gone"), entry("pruned")],
        }));
        boot(&host);
        let cache = host.path(PLACE).join("26b63962.0");
        fs_err::create_dir_all(&cache).expect("a temporary directory is writable");
        fs_err::write(cache.join("changed"), "compiled long ago").expect("a temporary directory is writable");
        Self::of(
            host,
            json!({
                "version": 1, "owner": "test", "prune": true,
                "files": [
                    { "path": "abstractions/other", "content": "/etc/else r,\n" },
                    { "path": "local/new.d/one", "content": "/srv/one r,\n" },
                ],
                "profiles": [
                    { "file": "changed", "content": profile("changed").replace("data", "more") },
                    entry("same"),
                    entry("new"),
                    entry("adopted"),
                    { "file": "gone", "state": "absent" },
                    { "file": "installed", "mode": "complain" },
                ],
            }),
        )
    }

    fn first_run() -> Self {
        Self::of(
            Scratch::in_memory(),
            json!({ "version": 1, "owner": "test", "profiles": [entry("one"), entry("two")] }),
        )
    }

    fn of(host: Scratch, document: Value) -> Self {
        let undisturbed = host.duplicate();
        let (old, cached_old) = (policy(&host), cached(&host));
        let calls = changing_calls(&undisturbed, &document);
        let (new, cached_new) = (policy(&undisturbed), cached(&undisturbed));
        assert!(calls.len() > 10, "strace saw too little: {calls:#?}");
        Self { host, document, old, new, cached_old, cached_new, calls }
    }

    /// Disturbs one call and checks everything that is promised afterwards. Says whether the call was met.
    fn disturb(&self, call: &Call, disturbance: Disturbance) -> bool {
        let host = self.host.duplicate();
        let about = || format!("{disturbance:?} {call:?}");
        let (run, met) = self.run_disturbed(&host, call, disturbance);

        let after = policy(&host);
        self.assert_whole(&after, &about());
        assert_private(&host, &about());
        match disturbance {
            Disturbance::Kill => {}
            Disturbance::Fail => {
                let code = run.code.unwrap_or_else(|| panic!("{}: killed: {run:#?}", about()));
                assert!([0, 4, 5, 6].contains(&code), "{}: {run:#?}", about());
                // strace counts each thread's calls apart: with another thread's call fails the main thread's of the
                // same number, and that may be the one which writes the report.
                let is_told = !run.report.is_null();
                let is_lost = !call.main_thread && run.stderr.contains("the answer could not be written");
                assert!(is_told || is_lost, "{}: no report: {run:#?}", about());
                if is_told {
                    assert_eq!(run.changed(), after != self.old, "{}: `changed` is not true: {run:#?}", about());
                }
                if code == 0 {
                    assert_eq!(after, self.new, "{}: {run:#?}", about());
                    assert_among(&cached(&host), &self.cached_new, &about());
                }
                if code == 4 || code == 5 {
                    assert_among(&cached(&host), &self.cached_old, &about());
                    assert_eq!(after, self.old, "{}: {run:#?}", about());
                    assert_eq!(host.leftovers(), [""; 0], "{}: {run:#?}", about());
                    assert!(!is_told || run.report["error"]["message"].is_string(), "{}: {run:#?}", about());
                }
                if code == 6 && is_told {
                    assert!(
                        !run.report["rollback"]["left"].as_array().is_none_or(Vec::is_empty),
                        "{}: {run:#?}",
                        about()
                    );
                }
            }
        }

        let next = host.apply(&self.document);
        assert_eq!(next.code, Some(0), "{}: the next run converges: {next:#?}\nafter {run:#?}", about());
        assert_eq!(policy(&host), self.new, "{}: {next:#?}", about());
        assert_among(&cached(&host), &self.cached_new, &about());
        assert_eq!(next.changed(), after != self.new || !next.report["recovered"].is_null(), "{}: {next:#?}", about());
        assert_eq!(host.leftovers(), [""; 0], "{}: {next:#?}", about());
        let last = host.apply(&self.document);
        assert!(last.code == Some(0) && !last.changed(), "{}: the one after has nothing to do: {last:#?}", about());
        met
    }

    /// Every file is as it was or as it shall be.
    fn assert_whole(&self, after: &Policy, about: &str) {
        let paths: BTreeSet<_> = self.old.keys().chain(self.new.keys()).chain(after.keys()).collect();
        for path in paths {
            let now = after.get(path);
            assert!(
                now == self.old.get(path) || now == self.new.get(path),
                "{about}: {path} is neither old nor new: {:?}",
                now.map(|(mode, owner, bytes)| (mode, owner, String::from_utf8_lossy(bytes)))
            );
        }
    }

    /// Runs the document on `host` with one call disturbed, and says whether the call was met.
    fn run_disturbed(&self, host: &Scratch, call: &Call, disturbance: Disturbance) -> (Run, bool) {
        let trace = host.outside("trace");
        let run = Run::of(&mut disturbed(host, &self.document, call, disturbance, &trace));
        let met = match disturbance {
            Disturbance::Kill => run.signal == Some(9),
            Disturbance::Fail => {
                String::from_utf8_lossy(&fs_err::read(&trace).expect("strace wrote it")).contains("(INJECTED)")
            }
        };
        (run, met)
    }

    /// Disturbs every call.
    fn disturb_all(&self, disturbance: Disturbance) {
        self.for_each_call(|_, call| self.disturb(call, disturbance));
    }

    /// Hands over every call with its number, on all processors. `disturb` says whether the call was met.
    fn for_each_call(&self, disturb: impl Fn(usize, &Call) -> bool + Sync) {
        let met = AtomicUsize::new(0);
        let next = AtomicUsize::new(0);
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(call) = self.calls.get(number) else { break };
                        met.fetch_add(usize::from(disturb(number, call)), Ordering::Relaxed);
                    }
                });
            }
        });
        let (met, calls) = (met.into_inner(), self.calls.len());
        assert!(met * 10 >= calls * 9, "only {met} of {calls} calls were met: the order of calls does not repeat");
    }
}

/// Files and links of the policy directory by path. Temporary files are not policy: the parser does not read them.
fn policy(host: &Scratch) -> Policy {
    host.policy_tree()
        .into_iter()
        .filter(|(path, node)| !path.split('/').any(|name| name.starts_with('.')) && node.mode & 0o170_000 != 0o040_000)
        .map(|(path, node)| (path, (node.mode, node.owner, node.content)))
        .collect()
}

/// A file gets its own mode as the last thing before its rename, so one at most was killed between the two.
fn assert_private(host: &Scratch, about: &str) {
    let mut others = host.policy_tree();
    others.retain(|path, node| {
        path.rsplit('/').next().unwrap_or(path).starts_with('.') && ![0o100_600, 0o120_777].contains(&node.mode)
    });
    assert!(others.len() <= 1, "{about}: temporary files that everybody may read: {:?}", others.keys());
}

/// Every file in the parser's cache, by path.
fn cached(host: &Scratch) -> Policy {
    let place = host.path(PLACE);
    let nodes = if place.exists() { tree(&place) } else { BTreeMap::new() };
    nodes
        .into_iter()
        .filter(|(_, node)| node.mode & 0o170_000 != 0o040_000)
        .map(|(path, node)| (path, (node.mode, node.owner, node.content)))
        .collect()
}

/// A boot may lack an entry of its cache, and never has one of policy that is not installed, or half of one.
#[track_caller]
fn assert_among(cached: &Policy, expected: &Policy, about: &str) {
    for (path, file) in cached {
        assert!(expected.get(path) == Some(file), "{about}: {path} in the cache is not of what is installed");
    }
}

fn strace<'a>(
    options: impl IntoIterator<Item = &'a str>,
    output: &std::path::Path,
    host: &Scratch,
    document: &Value,
) -> Command {
    let mut strace = command("strace");
    strace.args(options).arg("-o").arg(output).args([PROGRAM, "apply", "--jobs", "1", "--root"]).arg(host.root());
    strace.stdin(Scratch::input(document.to_string()));
    strace
}

/// Runs the document undisturbed and returns the calls of our own threads that change something below the root.
fn changing_calls(host: &Scratch, document: &Value) -> Vec<Call> {
    let output = host.outside("trace");
    let run = Run::of(&mut strace(["-f", "-y", "-s", "0", "-e", &format!("trace={TRACED}")], &output, host, document));
    run.expect(0);
    let trace = String::from_utf8_lossy(&fs_err::read(&output).expect("strace wrote it")).into_owned();
    let root = host.root();
    let root = root.to_str().expect("temporary paths are UTF-8");

    let mut main = None;
    let mut parsers = BTreeSet::new();
    let mut ordinals: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        let Some((name, arguments)) = call.split_once('(') else { continue };
        if name.starts_with("<...") || name.starts_with("+++") || name.starts_with("---") {
            continue;
        }
        let main = *main.get_or_insert(thread);
        if name == "execve" {
            if thread != main {
                parsers.insert(thread);
            }
            continue;
        }
        let ordinal = ordinals.entry((thread, name)).or_default();
        *ordinal += 1;
        let opens = name.starts_with("open");
        let changes = !opens || ["O_CREAT", "O_TRUNC", "O_TMPFILE"].iter().any(|flag| arguments.contains(flag));
        if changes && arguments.contains(root) {
            calls.push((
                thread,
                Call {
                    name: name.to_owned(),
                    ordinal: *ordinal,
                    main_thread: thread == main,
                    line: call.replace(root, ""),
                },
            ));
        }
    }
    calls.into_iter().filter(|(thread, _)| !parsers.contains(thread)).map(|(_, call)| call).collect()
}

/// `apply` under strace, with one call disturbed.
fn disturbed(
    host: &Scratch,
    document: &Value,
    call: &Call,
    disturbance: Disturbance,
    output: &std::path::Path,
) -> Command {
    let effect = match disturbance {
        Disturbance::Kill => "signal=KILL",
        // A full disk shows where something grows, a broken one everywhere.
        Disturbance::Fail
            if ["open", "write", "mkdir", "symlink", "link"].iter().any(|what| call.name.contains(what)) =>
        {
            "error=ENOSPC"
        }
        Disturbance::Fail => "error=EIO",
    };
    injected(host, document, call, effect, output)
}

/// `apply` under strace, which does `effect` to one call.
fn injected(host: &Scratch, document: &Value, call: &Call, effect: &str, output: &std::path::Path) -> Command {
    let injection = format!("inject={}:{effect}:when={}", call.name, call.ordinal);
    let trace = format!("trace={}", call.name);
    // Not `--seccomp-bpf`, which would be faster: with it, strace 6.1 injects no signals.
    let follow = (!call.main_thread).then_some("-f");
    strace(follow.into_iter().chain(["-e", &trace, "-e", &injection]), output, host, document)
}

#[test]
fn each_call_fails_once() {
    Case::upgrade().disturb_all(Disturbance::Fail);
}

#[test]
fn each_call_is_the_last_before_a_kill() {
    Case::upgrade().disturb_all(Disturbance::Kill);
}

#[test]
fn each_call_of_a_first_run_fails_once() {
    Case::first_run().disturb_all(Disturbance::Fail);
}

#[test]
fn each_call_of_a_first_run_is_the_last_before_a_kill() {
    Case::first_run().disturb_all(Disturbance::Kill);
}

/// A document that is applied already, to a host on which an administrator edited what it wrote: nothing new is known
/// afterwards, and the run must be told apart from the one before all the same.
fn drift_repair() -> Case {
    let host = Scratch::new();
    let document = json!({
        "version": 1, "owner": "test",
        "files": [{ "path": "abstractions/other", "content": "/etc/else r,\n" }],
        "profiles": [entry("one"), entry("two")],
    });
    host.converge(&document);
    for file in ["abstractions/other", "one", "two"] {
        let edited = format!("# By hand.\n{}", host.read(file));
        host.write(file, edited);
    }
    Case::of(host, document)
}

#[test]
fn each_call_of_a_drift_repair_fails_once() {
    drift_repair().disturb_all(Disturbance::Fail);
}

#[test]
fn each_call_of_a_drift_repair_is_the_last_before_a_kill() {
    drift_repair().disturb_all(Disturbance::Kill);
}

/// Many profiles, of which one changes, so that the ledger's changes are written beside the whole of it; and then all,
/// which makes a whole one of it again.
#[test]
fn each_call_on_either_file_of_the_ledger_fails_once_and_is_the_last_before_a_kill() {
    let of = |changed: usize| {
        let profiles = ["a", "b", "c", "d", "e", "f"].iter().enumerate().map(|(at, name)| {
            let text = if at < changed { profile(name).replace("data", "more") } else { profile(name) };
            json!({ "file": name, "content": text })
        });
        json!({ "version": 1, "owner": "test", "profiles": profiles.collect::<Vec<_>>() })
    };
    let host = Scratch::in_memory();
    let changes = host.path("var/lib/aa-converge/state.recent.json");
    host.converge(&of(0));
    let one = Case::of(host.duplicate(), of(1));
    assert!(!changes.exists());
    host.converge(&of(1));
    assert!(changes.exists());
    let all = Case::of(host, of(6));
    for mut case in [one, all] {
        case.calls.retain(|call| call.line.contains("/var/lib/aa-converge") && !call.line.contains("/journal"));
        assert!(case.calls.len() > 4, "{:#?}", case.calls);
        case.disturb_all(Disturbance::Fail);
        case.disturb_all(Disturbance::Kill);
    }
}

/// The removal of a complete run's journal is not flushed. It may come back as long as the ledger that it names holds, and
/// no longer: until then nothing may undo the run.
#[test]
fn a_journal_that_the_power_brings_back_undoes_nothing() {
    const JOURNAL: &str = "var/lib/aa-converge/journal/undo";
    let host = Scratch::in_memory();
    let first = json!({ "version": 1, "owner": "test", "profiles": [entry("one")] });
    let calls = changing_calls(&host.duplicate(), &first);
    let removal = calls.iter().find(|call| call.name == "unlinkat" && call.line.contains("\"undo\"")).unwrap();
    let trace = host.outside("trace");
    let run = Run::of(&mut injected(&host, &first, removal, "error=EIO", &trace));
    run.expect(0);
    assert!(run.warns("done, but"), "{run:#?}");
    let journal = fs_err::read(host.path(JOURNAL)).expect("it could not be removed");
    let done = policy(&host);
    assert!(!host.converge(&first).changed());
    assert!(!host.path(JOURNAL).exists());

    fs_err::write(host.path(JOURNAL), &journal).unwrap();
    fs_err::set_permissions(host.path(JOURNAL), Permissions::from_mode(0o600)).unwrap();
    let again = host.converge(&first);
    assert!(!again.changed() && again.report["recovered"].is_null(), "{again:#?}");
    assert_eq!(policy(&host), done);

    // A profile that is there already as it should be: the ledger alone is written.
    host.write("two", profile("two"));
    let second = json!({ "version": 1, "owner": "test", "profiles": [entry("one"), entry("two")] });
    let calls = changing_calls(&host, &second);
    assert!(calls.iter().all(|call| !call.line.contains("\"undo\"")), "{calls:#?}");
    let of_journal = |call: &Call| call.name == "fsync" && call.line.contains("/journal>");
    let of_ledger = |call: &Call| call.name.starts_with("rename") && call.line.contains("\"state.");
    let flushed = calls.iter().position(of_journal).expect("the journal's removal is flushed");
    let holds = calls.iter().position(of_ledger).expect("a ledger is written");
    assert!(flushed < holds, "{calls:#?}");
}

#[test]
fn a_killed_drift_repair_is_undone_even_if_the_next_document_is_refused() {
    let case = drift_repair();
    let host = killed_in_the_middle(&case);
    let run =
        host.apply(&json!({ "version": 1, "owner": "test", "profiles": [{ "file": "bad", "content": "bad\n" }] }));
    assert_eq!(run.code, Some(4), "{run:#?}");
    assert!(!run.report["recovered"].is_null(), "{run:#?}");
    assert_eq!(policy(&host), case.old);
}

/// The case's host after a run that was killed in the midst of its commit.
pub(super) fn killed_in_the_middle(case: &Case) -> Scratch {
    let renames: Vec<_> = case
        .calls
        .iter()
        .filter(|call| call.name.starts_with("rename") && call.line.contains("/etc/apparmor.d"))
        .collect();
    let call = renames[renames.len() / 2];
    let host = case.host.duplicate();
    let trace = host.outside("trace");
    let run = Run::of(&mut disturbed(&host, &case.document, call, Disturbance::Kill, &trace));
    assert_eq!(run.signal, Some(9), "{run:#?}");
    let after = policy(&host);
    assert!(after != case.old && after != case.new, "some files are new and some are old");
    host
}

#[test]
fn recovery_itself_may_be_killed_or_fail_at_each_call() {
    let case = Case::upgrade();
    let recovering = Case::of(killed_in_the_middle(&case), case.document.clone());
    let from_the_start = Case { old: case.old, new: case.new, ..recovering };
    from_the_start.for_each_call(|number, call| {
        // `changed` of a failed recovery is judged from another start: only wholeness and the way out are checked here.
        let disturbance = if number % 2 == 0 { Disturbance::Kill } else { Disturbance::Fail };
        let host = from_the_start.host.duplicate();
        let (run, met) = from_the_start.run_disturbed(&host, call, disturbance);
        from_the_start.assert_whole(&policy(&host), &format!("{disturbance:?} {call:?}: {run:#?}"));
        let next = host.apply(&from_the_start.document);
        assert_eq!(next.code, Some(0), "{disturbance:?} {call:?}: {next:#?}");
        assert_eq!(policy(&host), from_the_start.new, "{disturbance:?} {call:?}: {next:#?}");
        assert!(!host.converge(&from_the_start.document).changed());
        assert_eq!(host.leftovers(), [""; 0]);
        met
    });
}

#[test]
fn check_after_a_kill_writes_nothing_and_says_what_recovery_will_do() {
    let case = Case::upgrade();
    let host = killed_in_the_middle(&case);
    let before = host.tree();
    let run = host.apply_with(&["--check"], &case.document);
    run.expect(0);
    assert!(run.changed());
    assert!(!run.report["recovered"].is_null() || run.warns("interrupted"), "{run:#?}");
    crate::scratch::assert_untouched(&before, &host.tree());
}

#[test]
fn an_administrators_edit_after_a_crash_is_left_and_named() {
    let case = Case::upgrade();
    let host = killed_in_the_middle(&case);
    let written = policy(&host)
        .into_iter()
        .find(|(path, file)| !path.contains('/') && case.old.get(path) != Some(file))
        .map(|(path, _)| path)
        .expect("a profile was written before the kill");
    let edit = format!("# An administrator was here.\n{}", profile(&written));
    host.write(&written, &edit);

    let run = host.converge(&json!({ "version": 1, "owner": "somebody-else", "profiles": [entry("bystander")] }));
    assert_eq!(host.read(&written), edit, "{run:#?}");
    let told = format!("{}{}", run.report["recovered"], run.report["warnings"]);
    assert!(told.contains(&written), "what was left is named: {run:#?}");
    assert_eq!(host.leftovers(), [""; 0]);
}

#[test]
fn a_signal_during_commit_waits_until_it_is_finished() {
    let case = Case::upgrade();
    let rename = case
        .calls
        .iter()
        .find(|call| call.name.starts_with("rename") && call.line.contains("/etc/apparmor.d"))
        .expect("a policy file is renamed into place");
    for signal in ["INT", "TERM"] {
        let host = case.host.duplicate();
        let effect = format!("signal={signal}");
        let run = Run::of(&mut injected(&host, &case.document, rename, &effect, &host.outside("trace")));
        run.expect(0);
        assert_eq!(policy(&host), case.new, "{run:#?}");
    }
}
