//! The transaction on real directories, with the real parser and a kernel that behaves as the real one does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use serde_json::{Value, json};

use crate::host::kernel::Evidence;
use crate::host::kernel::fake::FakeKernel;
use crate::host::{Host, Options as HostOptions};
use crate::policy::{LoadSet, sample};
use crate::profile::{Mode, ProfileName};
use crate::report::{Action, Diffs, Exit, Listing, Outcome, Report, RollbackState};
use crate::run::{self, Options};

struct Bench {
    root: tempfile::TempDir,
    kernel: FakeKernel,
}

impl Bench {
    #[expect(clippy::disallowed_methods, reason = "the test's own directory")]
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let policy = root.path().join("etc/apparmor.d");
        std::fs::create_dir_all(policy.join("abi")).unwrap();
        std::fs::copy("/etc/apparmor.d/abi/3.0", policy.join("abi/3.0")).unwrap();
        Self { root, kernel: FakeKernel::new() }
    }

    fn host(&self) -> Host {
        let options = HostOptions {
            kernel: None,
            root: self.root.path().to_path_buf(),
            kernel_features: None,
            jobs: None,
            parser: None,
            parser_timeout: Duration::from_secs(60),
            temporary: PathBuf::from("/tmp"),
        };
        let mut host = Host::open(options).unwrap();
        host.kernel = Some(Box::new(self.kernel.clone()));
        host
    }

    fn apply(&self, document: &Value) -> Report {
        let options = Options { diffs: Diffs::Omitted, listing: Listing::All, lock_timeout: Duration::from_secs(10) };
        run::apply(document.to_string().into_bytes(), self.host(), options, &|_, _, _| {})
    }

    fn check(&self, document: &Value) -> Report {
        let options = Options { diffs: Diffs::Omitted, listing: Listing::All, lock_timeout: Duration::from_secs(10) };
        run::check(document.to_string().as_bytes(), &self.host(), options, &|_, _, _| {})
    }

    /// Everything in the policy directory, as it can be read.
    #[expect(clippy::disallowed_methods, reason = "the test's own directory")]
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        fn walk(directory: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, found)
                } else {
                    drop(found.insert(path.clone(), std::fs::read(&path).unwrap_or_default()))
                }
            }
        }
        let mut found = BTreeMap::new();
        walk(&self.root.path().join("etc/apparmor.d"), &mut found);
        found
    }

    fn modes(&self) -> Vec<(String, Mode)> {
        self.kernel.modes().into_iter().collect()
    }
}

fn text(name: &str, rules: &str) -> String {
    format!("abi <abi/3.0>,\nprofile {name} /opt/{name} {{\n  {rules}\n}}\n")
}

fn document(profiles: &[Value]) -> Value {
    json!({ "version": 1, "owner": "test", "prune": true, "allow_empty": true, "profiles": profiles })
}

fn entry(name: &str, rules: &str) -> Value {
    json!({ "file": name, "content": text(name, rules) })
}

fn reasons(report: &Report, file: &str) -> Vec<String> {
    let entry = report.profiles.iter().find(|entry| entry.file.as_str() == file).unwrap();
    entry.reasons.iter().map(|reason| reason.0.clone()).collect()
}

fn name(name: &str) -> ProfileName {
    ProfileName::new(name)
}

#[test]
fn what_is_loaded_is_proved_and_the_second_run_writes_nothing() {
    let bench = Bench::new();
    let wanted = document(&[entry("a", "/x r,"), entry("b", "/y r,")]);
    let first = bench.apply(&wanted);
    assert_eq!(first.exit(true), Exit::Changed, "{first:#?}");
    assert_eq!((first.kernel.writes, first.kernel.atomic), (1, true));
    assert!(first.profiles.iter().all(|entry| entry.loaded.iter().all(|loaded| loaded.verified)));
    assert_eq!(bench.modes(), [("a".to_owned(), Mode::Enforce), ("b".to_owned(), Mode::Enforce)]);
    let effects = bench.kernel.effects();
    let second = bench.apply(&wanted);
    assert!(!second.changed, "{second:#?}");
    assert_eq!(bench.kernel.effects(), effects);
    assert!(second.kernel.managed);
}

#[test]
fn only_the_changed_profile_is_loaded() {
    let bench = Bench::new();
    bench.apply(&document(&[entry("a", "/x r,"), entry("b", "/y r,")]));
    let before = bench.kernel.blob(&name("a"));
    let report = bench.apply(&document(&[entry("a", "/x r,"), entry("b", "/z r,")]));
    assert_eq!(report.summary.updated, 1, "{report:#?}");
    assert_eq!(bench.kernel.blob(&name("a")), before);
    let comment = bench.apply(&document(&[entry("a", "/x r,"), entry("b", "/z r, # why")]));
    assert_eq!((comment.summary.updated, comment.kernel.writes), (1, 0), "a comment is written and not loaded");
}

#[test]
fn what_others_did_in_the_kernel_is_found_and_put_right() {
    let bench = Bench::new();
    let wanted = document(&[entry("a", "/x r,")]);
    bench.apply(&wanted);
    let ours = bench.kernel.blob(&name("a")).unwrap();
    bench.kernel.unload(&name("a"));
    assert_eq!(reasons(&bench.apply(&wanted), "a"), ["kernel-missing"]);
    bench.kernel.load(&sample::blob("a", Mode::Enforce, "other"));
    assert_eq!(reasons(&bench.apply(&wanted), "a"), ["kernel-drift"]);
    bench.kernel.load(&sample::blob("a", Mode::Complain, "other"));
    assert_eq!(reasons(&bench.apply(&wanted), "a"), ["kernel-drift", "kernel-mode"]);
    assert_eq!(bench.kernel.blob(&name("a")).unwrap(), ours);
    assert!(!bench.apply(&wanted).changed);
}

/// A run that creates, updates, removes, and takes a child away, so that it has every kind of effect.
fn upgrade() -> (Value, Value) {
    let hat = "abi <abi/3.0>,\nprofile h /opt/h {\n  ^one {\n    /x r,\n  }\n  ^two {\n    /x r,\n  }\n}\n";
    let less = "abi <abi/3.0>,\nprofile h /opt/h {\n  ^one {\n    /x r,\n  }\n}\n";
    let before = document(&[entry("a", "/x r,"), entry("old", "/x r,"), json!({ "file": "h", "content": hat })]);
    let after = document(&[entry("a", "/y r,"), entry("new", "/x r,"), json!({ "file": "h", "content": less })]);
    (before, after)
}

#[test]
fn a_failed_effect_in_the_kernel_undoes_everything() {
    let (before, after) = upgrade();
    for nth in 1.. {
        let bench = Bench::new();
        assert_eq!(bench.apply(&before).exit(false), Exit::Converged);
        let (files, modes) = (bench.files(), bench.modes());
        let blob = bench.kernel.blob(&name("a"));
        bench.kernel.fail_at(nth, Errno::EPROTO);
        let report = bench.apply(&after);
        if !report.failed {
            assert!(nth > 3, "a load and two removals can fail; effect {nth} did not");
            break;
        }
        assert_eq!(report.exit(false), Exit::RolledBack, "effect {nth}: {report:#?}");
        assert_eq!(report.rollback.state, RollbackState::Complete);
        assert!(!report.changed);
        assert!(report.profiles.iter().all(|it| it.action == Action::Keep || it.outcome == Outcome::RolledBack));
        assert_eq!((bench.files(), bench.modes()), (files, modes), "effect {nth}");
        assert_eq!(bench.kernel.blob(&name("a")), blob);
        assert_eq!(bench.apply(&after).exit(false), Exit::Converged, "the next run converges");
        assert!(!bench.apply(&after).changed, "and the one after it has nothing to do");
        assert_eq!(
            bench.modes().into_iter().map(|(name, _)| name).collect::<Vec<_>>(),
            ["a", "h", "h//one", "new"],
            "what the text lost is gone from the kernel"
        );
    }
}

#[test]
fn a_crash_after_any_effect_in_the_kernel_is_recovered_by_the_next_run() {
    let (before, after) = upgrade();
    for nth in 1..=3 {
        let bench = Bench::new();
        assert_eq!(bench.apply(&before).exit(false), Exit::Converged);
        let (files, modes, blob) = (bench.files(), bench.modes(), bench.kernel.blob(&name("a")));
        bench.kernel.crash_after(nth);
        let crashed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| bench.apply(&after)));
        assert!(crashed.is_err(), "an upgrade has three effects in the kernel");
        assert_ne!(bench.kernel.blob(&name("a")), blob);

        let foreseen = bench.check(&before);
        let recovered = foreseen.recovered.clone().unwrap();
        assert!(recovered.restored.contains(&"profile `a`".to_owned()), "{recovered:?}");
        assert_eq!(foreseen.summary.unchanged, 3, "{foreseen:#?}");
        assert!(foreseen.profiles.iter().all(|entry| entry.reasons.is_empty()), "{foreseen:#?}");

        let report = bench.apply(&before);
        assert_eq!(report.recovered, foreseen.recovered, "--check foresaw it");
        assert!(report.changed && report.profiles.iter().all(|entry| entry.action == Action::Keep), "{report:#?}");
        assert_eq!((bench.files(), bench.modes(), bench.kernel.blob(&name("a"))), (files, modes, blob), "effect {nth}");
        assert!(!bench.apply(&before).changed);
    }
}

#[test]
fn recovery_leaves_what_somebody_loaded_since() {
    let (before, after) = upgrade();
    let bench = Bench::new();
    bench.apply(&before);
    bench.kernel.crash_after(1);
    let crashed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| bench.apply(&after)));
    assert!(crashed.is_err());
    bench.kernel.load(&sample::blob("new", Mode::Kill, "an administrator's"));
    let report = bench.apply(&before);
    let recovered = report.recovered.unwrap();
    assert!(recovered.left.iter().any(|left| left.contains("`new`")), "{recovered:?}");
    assert_eq!(bench.kernel.modes().get("new"), Some(&Mode::Kill));
}

#[test]
fn recovery_leaves_a_created_profile_to_the_processes_under_it() {
    let (before, after) = upgrade();
    let bench = Bench::new();
    bench.apply(&before);
    let files = bench.files();
    bench.kernel.crash_after(1);
    let crashed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| bench.apply(&after)));
    assert!(crashed.is_err());
    bench.kernel.start(7, "/opt/new", &name("new"));

    let foreseen = bench.check(&before);
    let report = bench.apply(&before);
    let recovered = report.recovered.clone().unwrap();
    assert_eq!(foreseen.recovered, Some(recovered.clone()), "--check foresaw it");
    assert!(recovered.left.iter().any(|left| left.contains("`new`") && left.contains('7')), "{recovered:?}");
    assert_eq!(bench.kernel.unconfined_by_removal(), []);
    assert_eq!(bench.files(), files);
    let code = |report: &Report| report.error.as_ref().map(|error| error.code.clone());
    assert_eq!(code(&report).as_deref(), Some("confined"), "nothing defines it: {report:#?}");
    assert_eq!(code(&foreseen), code(&report));

    let taken_up = bench.apply(&after);
    assert_eq!(taken_up.exit(false), Exit::Converged, "a document that wants it keeps it: {taken_up:#?}");
    assert!(!bench.apply(&after).changed);
    bench.kernel.end(7);
    assert_eq!(bench.apply(&before).exit(false), Exit::Converged);
    assert!(!bench.modes().iter().any(|(name, _)| name == "new"));
}

#[test]
fn a_failed_run_leaves_a_created_profile_to_the_processes_under_it() {
    let bench = Bench::new();
    let (before, after) = upgrade();
    bench.apply(&before);
    let files = bench.files();
    bench.kernel.start_after(1, 7, "/opt/new", &name("new"));
    bench.kernel.fail_at(2, Errno::EPROTO);
    let report = bench.apply(&after);
    assert_eq!(
        (report.exit(false), report.rollback.state),
        (Exit::RollbackIncomplete, RollbackState::Incomplete),
        "{report:#?}"
    );
    assert!(report.rollback.left.iter().any(|left| left.contains("`new`")), "{report:#?}");
    assert_eq!(bench.kernel.unconfined_by_removal(), []);
    assert_eq!(bench.files(), files);
    bench.kernel.end(7);
    let report = bench.apply(&before);
    assert_eq!(report.exit(false), Exit::Converged);
    assert_eq!(report.recovered.unwrap().restored, ["profile `new`"]);
}

#[test]
fn a_profile_that_somebody_else_removed_first_is_removed() {
    let bench = Bench::new();
    bench.apply(&document(&[entry("a", "/x r,"), entry("b", "/x r,")]));
    bench.kernel.unload_before(1, &name("b"));
    let wanted = document(&[entry("a", "/x r,")]);
    let report = bench.apply(&wanted);
    assert_eq!(report.exit(false), Exit::Converged, "{report:#?}");
    assert_eq!(report.kernel.writes, 0, "{report:#?}");
    assert_eq!(bench.modes(), [("a".to_owned(), Mode::Enforce)]);
    assert!(!bench.apply(&wanted).changed);
}

#[test]
fn a_run_without_the_kernel_does_not_undo_half_of_one() {
    let (before, after) = upgrade();
    let bench = Bench::new();
    bench.apply(&before);
    bench.kernel.crash_after(1);
    let crashed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| bench.apply(&after)));
    assert!(crashed.is_err());
    let files = bench.files();
    let options = Options { diffs: Diffs::Omitted, listing: Listing::All, lock_timeout: Duration::from_secs(10) };
    let mut host = bench.host();
    host.kernel = None;
    let report = run::apply(before.to_string().into_bytes(), host, options, &|_, _, _| {});
    assert_eq!((report.exit(false), report.error.unwrap().code.as_str()), (Exit::Refused, "recovery"));
    assert_eq!(bench.files(), files);
}

#[test]
fn a_profile_that_the_kernel_refuses_takes_its_whole_set_back() {
    let bench = Bench::new();
    bench.apply(&document(&[entry("a", "/x r,")]));
    let (files, modes) = (bench.files(), bench.modes());
    bench.kernel.refuse(&name("bad"));
    let wanted = document(&[entry("a", "/y r,"), entry("bad", "/x r,"), entry("c", "/x r,")]);
    for _ in 0..2 {
        let report = bench.apply(&wanted);
        assert_eq!(report.exit(false), Exit::RolledBack, "{report:#?}");
        assert!(report.msg.contains("kernel"), "{}", report.msg);
        assert_eq!((bench.files(), bench.modes()), (files.clone(), modes.clone()));
    }
}

#[test]
fn a_set_too_large_for_the_kernel_is_loaded_in_halves() {
    let bench = Bench::new();
    let wanted = document(&[entry("a", "/x r,"), entry("b", "/x r,"), entry("c", "/x r,")]);
    bench.kernel.fail_at(1, Errno::ENOMEM);
    let report = bench.apply(&wanted);
    assert_eq!(report.exit(false), Exit::Converged, "{report:#?}");
    assert_eq!((report.kernel.writes, report.kernel.atomic), (2, false));
    assert!(!bench.apply(&wanted).changed);

    let (files, modes, blob) = (bench.files(), bench.modes(), bench.kernel.blob(&name("a")));
    bench.kernel.refuse(&name("d"));
    bench.kernel.fail_at(1, Errno::ENOMEM);
    let report = bench.apply(&document(&[entry("a", "/y r,"), entry("b", "/y r,"), entry("d", "/y r,")]));
    assert_eq!(report.exit(false), Exit::RolledBack, "the first half is undone: {report:#?}");
    assert_eq!((bench.files(), bench.modes(), bench.kernel.blob(&name("a"))), (files, modes, blob));
}

#[test]
fn what_was_seen_is_not_read_again_until_somebody_loads_something() {
    let bench = Bench::new();
    let wanted = document(&[entry("a", "/x r,"), entry("b", "/y r,")]);
    bench.apply(&wanted);
    let seen = bench.kernel.hashes_read();
    bench.apply(&wanted);
    assert_eq!(bench.kernel.hashes_read(), seen, "the run that loaded them has seen them");
    bench.kernel.load(&sample::blob("docker-default", Mode::Enforce, "theirs"));
    assert!(!bench.apply(&wanted).changed);
    assert_eq!(bench.kernel.hashes_read(), seen + 2, "ours alone are read, once");
    bench.apply(&wanted);
    assert_eq!(bench.kernel.hashes_read(), seen + 2);
}

#[test]
fn policy_that_is_replaced_before_it_is_saved_refuses_the_run() {
    let bench = Bench::new();
    bench.apply(&document(&[entry("a", "/x r,")]));
    let before = bench.files();
    bench.kernel.replace_before_saved(&name("a"), &sample::blob("a", Mode::Enforce, "theirs"));
    let (wanted, effects) = (document(&[entry("a", "/y r,")]), bench.kernel.effects());
    let report = bench.apply(&wanted);
    assert_eq!(report.exit(false), Exit::Refused, "{report:#?}");
    assert_eq!(report.error.unwrap().code, "kernel_changed");
    assert_eq!((bench.files(), bench.kernel.effects()), (before, effects));
    assert_eq!(bench.apply(&wanted).exit(false), Exit::Converged, "the next run saves what runs now");
}

#[test]
fn policy_that_the_kernel_does_not_keep_is_compiled_again_for_the_undo() {
    let bench = Bench::new();
    bench.kernel.forget_bytes();
    bench.apply(&document(&[entry("a", "/x r,")]));
    let (files, blob) = (bench.files(), bench.kernel.blob(&name("a")));
    bench.kernel.refuse(&name("bad"));
    bench.kernel.fail_at(1, Errno::ENOMEM);
    let report = bench.apply(&document(&[entry("a", "/y r,"), entry("bad", "/x r,")]));
    assert_eq!(report.exit(false), Exit::RolledBack, "{report:#?}");
    assert_eq!((bench.files(), bench.kernel.blob(&name("a"))), (files, blob));
}

#[test]
fn policy_that_cannot_be_put_back_is_told_before_anything_is_changed() {
    let bench = Bench::new();
    bench.kernel.forget_bytes();
    let wanted = document(&[entry("a", "/x r,")]);
    bench.apply(&wanted);
    bench.kernel.load(&sample::blob("a", Mode::Enforce, "by hand"));
    let warns = |report: &Report| report.warnings.iter().any(|it| it.contains("`a`") && it.contains("put back"));
    assert!(warns(&bench.check(&wanted)), "--check says so");
    let report = bench.apply(&wanted);
    assert_eq!(report.exit(false), Exit::Converged);
    assert!(warns(&report), "{report:#?}");
    let changed = document(&[entry("a", "/y r,")]);
    assert!(!warns(&bench.check(&changed)), "what the installed text gives can be put back");
}

#[test]
fn a_profile_without_a_shown_hash_is_drift_and_is_not_proved() {
    let bench = Bench::new();
    let wanted = document(&[entry("a", "/x r,")]);
    bench.apply(&wanted);
    bench.kernel.hide_hash(&name("a"));
    // Somebody else's load has the run look at the hashes again.
    bench.kernel.load(&sample::blob("docker-default", Mode::Enforce, "theirs"));
    assert_eq!(reasons(&bench.check(&wanted), "a"), ["kernel-drift"]);
    let report = bench.apply(&wanted);
    assert_eq!(report.error.as_ref().map(|error| error.code.as_str()), Some("verify"), "{report:#?}");
}

#[test]
fn a_namespace_inside_of_another_is_refused_before_anything_is_changed() {
    let bench = Bench::new();
    let wanted = document(&[json!({ "file": "n", "content": text(":outer//inner:n", "/x r,") })]);
    let report = bench.apply(&wanted);
    assert_eq!(report.exit(false), Exit::Refused, "{report:#?}");
    assert!(report.error.as_ref().unwrap().message.contains("namespace inside"), "{report:#?}");
    assert_eq!(bench.check(&wanted).error, report.error);
}

#[test]
fn a_kernel_that_overrides_modes_is_refused_unless_the_document_accepts_it() {
    let bench = Bench::new();
    let mut wanted = document(&[entry("a", "/x r,")]);
    for (mode, evidence, code) in [
        (Mode::Complain, Evidence::Hash, "kernel-global-mode"),
        (Mode::Enforce, Evidence::Name, "kernel-without-evidence"),
    ] {
        bench.kernel.set_global_mode(mode);
        bench.kernel.set_evidence(evidence);
        let report = bench.apply(&wanted);
        assert_eq!((report.exit(false), report.error.unwrap().code.as_str()), (Exit::Refused, code));
        assert_eq!(bench.modes(), []);
    }
    bench.kernel.set_global_mode(Mode::Complain);
    bench.kernel.set_evidence(Evidence::Hash);
    wanted["accept"] = json!([{ "code": "kernel-global-mode", "reason": "a laboratory" }]);
    for _ in 0..2 {
        let report = bench.apply(&wanted);
        assert_eq!(report.exit(false), Exit::Converged, "{report:#?}");
        assert!(report.warnings.iter().any(|it| it.contains("complain") && it.contains("a laboratory")));
        assert!(!report.profiles[0].loaded[0].verified, "it is not enforced: {report:#?}");
    }
}

#[test]
fn running_processes_keep_their_confinement_unless_the_document_says_otherwise() {
    let bench = Bench::new();
    let (before, after) = upgrade();
    bench.apply(&before);
    bench.kernel.start(7, "/opt/h", &name("h//two"));
    let (files, modes) = (bench.files(), bench.modes());
    let report = bench.apply(&after);
    assert_eq!(report.exit(false), Exit::Refused);
    let error = report.error.unwrap();
    assert_eq!(bench.check(&after).error.as_ref(), Some(&error), "--check says the same");
    assert_eq!(error.code, "confined");
    assert!(error.message.contains("process 7") && error.message.contains("h//two"), "{}", error.message);
    assert_eq!((bench.files(), bench.modes()), (files, modes));

    let mut willing = after.clone();
    willing["defaults"] = json!({ "on_confined": "unload" });
    assert_eq!(bench.apply(&willing).exit(false), Exit::Converged);
    assert_eq!(bench.kernel.unconfined_by_removal(), [(7, name("h//two"))]);
}

#[test]
fn a_profile_is_not_removed_from_above_a_child_that_another_file_defines() {
    let bench = Bench::new();
    let child = json!({ "file": "child", "content": text("a//child", "/x r,") });
    bench.apply(&document(&[entry("a", "/x r,"), child.clone()]));
    let (files, modes) = (bench.files(), bench.modes());
    let report = bench.apply(&document(std::slice::from_ref(&child)));
    assert_eq!(report.exit(false), Exit::Refused, "{report:#?}");
    let error = report.error.unwrap();
    assert_eq!(bench.check(&document(&[child])).error.as_ref(), Some(&error), "--check says the same");
    assert!(error.message.contains("`child`") && error.message.contains("`a//child`"), "{}", error.message);
    assert_eq!((bench.files(), bench.modes()), (files, modes));

    assert_eq!(bench.apply(&document(&[])).exit(false), Exit::Converged);
    assert!(bench.modes().is_empty());
}

#[test]
fn a_child_that_somebody_loaded_by_hand_goes_with_its_parent_and_comes_back_with_it() {
    let bench = Bench::new();
    bench.apply(&document(&[entry("a", "/x r,")]));
    bench.kernel.load(&sample::blob("a//by-hand", Mode::Enforce, "theirs"));
    let modes = bench.modes();
    bench.kernel.fail_at(2, Errno::EPROTO);
    let report = bench.apply(&document(&[]));
    assert_eq!((report.exit(false), report.rollback.state), (Exit::RolledBack, RollbackState::Complete));
    assert_eq!(bench.modes(), modes);
    assert_eq!(bench.apply(&document(&[])).exit(false), Exit::Converged);
    assert!(bench.modes().is_empty());
}

#[test]
fn a_process_that_a_run_took_from_its_profile_before_it_failed_is_told() {
    let bench = Bench::new();
    let (before, mut after) = upgrade();
    bench.apply(&before);
    bench.kernel.start(7, "/opt/h", &name("h//two"));
    after["defaults"] = json!({ "on_confined": "unload" });
    bench.kernel.fail_at(3, Errno::EPROTO);
    let report = bench.apply(&after);
    assert_eq!(report.exit(false), Exit::RolledBack, "{report:#?}");
    assert_eq!(bench.kernel.unconfined_by_removal(), [(7, name("h//two"))]);
    let told: Vec<_> = report.needs_restart.iter().map(|it| (it.pid, it.profile.as_str())).collect();
    assert_eq!(told, [(7, "h//two")]);
}

#[test]
fn what_must_be_restarted_is_told_on_every_run() {
    let bench = Bench::new();
    bench.kernel.start(7, "/opt/a", &name("a"));
    let wanted = document(&[entry("a", "/x r,"), entry("b", "/x r,")]);
    let told = |report: &Report| {
        let told = report.needs_restart.iter().map(|it| (it.pid, it.profile.clone(), it.certain));
        told.collect::<Vec<_>>()
    };
    let expected = [(7, "a".to_owned(), true)];
    assert_eq!(told(&bench.check(&wanted)), expected, "it would have to be restarted");
    assert_eq!(told(&bench.apply(&wanted)), expected);
    assert_eq!(told(&bench.apply(&wanted)), expected, "a restart that failed once is asked for again");
    bench.kernel.end(7);
    bench.kernel.start(8, "/opt/a", &name("a"));
    assert_eq!(told(&bench.apply(&wanted)), []);
    let mut willing = document(&[entry("b", "/x r,")]);
    willing["defaults"] = json!({ "on_confined": "unload" });
    assert_eq!(told(&bench.apply(&willing)), [], "nothing is for it any more");
    assert_eq!(told(&bench.apply(&wanted)), [(8, "a".to_owned(), true)], "loaded again is not confined again");
}

#[test]
fn what_a_run_without_the_kernel_gave_up_is_removed_by_the_next_with_it() {
    let bench = Bench::new();
    bench.apply(&document(&[entry("a", "/x r,"), entry("b", "/x r,")]));
    let renamed = document(&[json!({ "file": "a", "content": text("c", "/x r,") })]);
    let options = Options { diffs: Diffs::Omitted, listing: Listing::All, lock_timeout: Duration::from_secs(10) };
    let mut host = bench.host();
    host.kernel = None;
    let skipped = run::apply(renamed.to_string().into_bytes(), host, options, &|_, _, _| {});
    assert_eq!(skipped.exit(false), Exit::Converged, "{skipped:#?}");
    assert!(bench.check(&renamed).changed);
    let report = bench.apply(&renamed);
    assert!(report.changed && report.warnings.iter().any(|it| it.contains("`b`")), "{report:#?}");
    assert_eq!(bench.modes(), [("c".to_owned(), Mode::Enforce)]);
    let again = bench.apply(&renamed);
    assert!(!again.changed && again.warnings.is_empty(), "{again:#?}");
}

#[test]
fn an_attachment_that_somebody_elses_loaded_profile_has_is_refused() {
    let elsewhere = Bench::new();
    let theirs = text("theirs", "/x r,").replace("/opt/theirs", "/opt/a");
    elsewhere.apply(&document(&[json!({ "file": "theirs", "content": theirs })]));
    let bench = Bench::new();
    bench.kernel.load(&elsewhere.kernel.blob(&name("theirs")).unwrap());
    let report = bench.apply(&document(&[entry("a", "/x r,")]));
    assert_eq!(report.exit(false), Exit::Refused, "{report:#?}");
    let error = report.profiles[0].error.clone().unwrap().message;
    assert!(error.contains("`theirs`") && error.contains("/opt/a"), "{error}");
    bench.kernel.unload(&name("theirs"));
    assert_eq!(bench.apply(&document(&[entry("a", "/x r,")])).exit(false), Exit::Converged);
}

#[test]
fn attachments_that_extended_attributes_decide_are_told() {
    let glob = |name: &str, glob: &str| json!({ "file": name, "content": text(name, "/x r,").replace(&format!("/opt/{name}"), glob) });
    let elsewhere = Bench::new();
    elsewhere.apply(&document(&[glob("theirs", "/opt/**")]));
    let plain = elsewhere.kernel.blob(&name("theirs")).unwrap();
    // The parser writes conditions for kernels that have them, which those of `abi/3.0` do not.
    let at = plain.windows(9).position(|window| window == b"\x04\x06\0flags\0").unwrap();
    let xattrs = b"\x04\x07\0xattrs\0\x07\x0b\x01\0\x05\x0b\0security.x\0\x0c\x08";
    let bench = Bench::new();
    bench.kernel.load(&[&plain[..at], xattrs, &plain[at..]].concat());
    let report = bench.apply(&document(&[glob("ours", "/opt/*/x")]));
    assert_eq!(report.exit(false), Exit::Converged, "{report:#?}");
    let told = |it: &String| it.contains("`ours` in `ours`") && it.contains("`theirs`") && it.contains("not decided");
    assert!(report.warnings.iter().any(told), "{report:#?}");
}

#[test]
fn profiles_of_others_are_never_touched() {
    let bench = Bench::new();
    let foreign = LoadSet::build(&[sample::blob("docker-default", Mode::Enforce, "theirs")]).unwrap();
    bench.kernel.load(foreign[0].bytes());
    let theirs = bench.kernel.blob(&name("docker-default"));
    bench.apply(&document(&[entry("a", "/x r,")]));
    bench.apply(&document(&[]));
    assert_eq!(bench.modes(), [("docker-default".to_owned(), Mode::Enforce)]);
    assert_eq!(bench.kernel.blob(&name("docker-default")), theirs);
}

#[test]
fn a_renamed_profile_leaves_no_old_one() {
    let bench = Bench::new();
    bench.apply(&document(&[entry("a", "/x r,")]));
    bench.apply(&document(&[json!({ "file": "a", "content": text("b", "/x r,") })]));
    assert_eq!(bench.modes(), [("b".to_owned(), Mode::Enforce)]);
}

#[test]
fn a_disabled_profile_leaves_the_kernel_and_comes_back() {
    let bench = Bench::new();
    let with = |mode: &str| document(&[json!({ "file": "a", "content": text("a", "/x r,"), "mode": mode })]);
    bench.apply(&with("enforce"));
    let report = bench.apply(&with("disabled"));
    assert_eq!(reasons(&report, "a"), ["mode"], "{report:#?}");
    assert_eq!(bench.modes(), []);
    assert!(!bench.apply(&with("disabled")).changed);
    bench.apply(&with("complain"));
    assert_eq!(bench.modes(), [("a".to_owned(), Mode::Complain)]);
}

#[test]
fn the_default_for_confined_processes_governs_what_is_pruned() {
    let bench = Bench::new();
    bench.apply(&document(&[entry("a", "/x r,")]));
    bench.kernel.start(7, "/opt/a", &name("a"));
    assert_eq!(bench.apply(&document(&[])).exit(false), Exit::Refused);
    let mut willing = document(&[]);
    willing["defaults"] = json!({ "on_confined": "unload" });
    assert_eq!(bench.apply(&willing).exit(false), Exit::Converged);
    assert_eq!(bench.modes(), []);
}
