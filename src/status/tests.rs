//! The status and the export of real directories and a kernel that behaves as the real one does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::{ConfinedProcess, FileState, Loadable, ProfileFile, Status, render_text};
use crate::host::kernel::Evidence;
use crate::host::kernel::fake::FakeKernel;
use crate::host::{Host, Options as HostOptions};
use crate::journal::{Journal, PlaceChange};
use crate::ledger::{Attributes, Stands};
use crate::plan::Target;
use crate::policy::{HashAlgorithm, sample};
use crate::profile::{Digest, Mode, PolicyPath, ProfileName};
use crate::report::{Colour, Diffs, Listing, Report};
use crate::run::{self, Options};
use crate::tree::Text;

struct Bench {
    root: tempfile::TempDir,
    kernel: FakeKernel,
}

#[expect(clippy::disallowed_methods, reason = "the test's own directory")]
impl Bench {
    fn new() -> Self {
        let bench = Self { root: tempfile::tempdir().unwrap(), kernel: FakeKernel::new() };
        std::fs::create_dir_all(bench.policy("abi")).unwrap();
        std::fs::copy("/etc/apparmor.d/abi/3.0", bench.policy("abi/3.0")).unwrap();
        bench
    }

    fn policy(&self, below: &str) -> PathBuf {
        self.root.path().join("etc/apparmor.d").join(below)
    }

    fn write(&self, below: &str, text: impl AsRef<[u8]>) {
        let path = self.policy(below);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
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

    fn options() -> Options {
        Options { diffs: Diffs::Omitted, listing: Listing::All, lock_timeout: Duration::from_secs(10) }
    }

    fn apply(&self, document: &Value) -> Report {
        let report = run::apply(document.to_string().into_bytes(), self.host(), Self::options(), &|_, _, _| {});
        assert!(!report.failed, "{report:#?}");
        report
    }

    fn check(&self, document: &Value) -> Report {
        run::check(document.to_string().as_bytes(), &self.host(), Self::options(), &|_, _, _| {})
    }

    fn status(&self) -> Status {
        run::status(&self.host()).unwrap()
    }
}

fn text(name: &str) -> String {
    format!("abi <abi/3.0>,\nprofile {name} /opt/{name} {{\n}}\n")
}

fn document(profiles: &[Value]) -> Value {
    json!({ "version": 1, "owner": "test", "profiles": profiles })
}

fn entry(name: &str) -> Value {
    json!({ "file": name, "content": text(name) })
}

fn file<'s>(status: &'s Status, name: &str) -> &'s ProfileFile {
    status.profiles.iter().find(|file| file.file.as_str() == name).unwrap()
}

fn drift(status: &Status, name: &str) -> Vec<String> {
    file(status, name).drift.iter().map(|reason| reason.0.clone()).collect()
}

#[test]
fn what_is_converged_has_no_drift() {
    let bench = Bench::new();
    bench.kernel.set_hash_algorithm(HashAlgorithm::Sha1);
    bench.apply(&document(&[entry("a"), json!({ "file": "b", "content": text("b"), "mode": "complain" })]));
    bench.kernel.load(&sample::blob("docker-default", Mode::Enforce, ""));
    bench.kernel.load(&sample::blob("b//null-/bin/sh", Mode::Complain, ""));
    let status = bench.status();
    assert_eq!((status.summary.drifted, status.summary.wanted, status.summary.loaded), (0, 2, Some(2)));
    assert_eq!((status.summary.modes.enforce, status.summary.modes.complain, status.summary.foreign), (1, 1, 1));
    let [b] = &file(&status, "b").profiles[..] else { panic!("one profile") };
    assert_eq!(b.wanted, b.running);
    let Some(Loadable { mode: Mode::Complain, hash: Some(hash) }) = &b.running else { panic!("{b:?}") };
    assert_eq!(hash.len(), 40, "the kernel's own algorithm");
    assert_eq!(status.foreign.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["docker-default"]);
    assert!(status.kernel.managed && status.kernel.release.is_some() && status.tool.parser.is_some());
    assert_eq!(status.msg, "2 profile files, 2 managed, 2 of 2 profiles loaded, no drift");
}

#[test]
fn drift_in_the_kernel_has_the_words_and_the_cause_that_apply_gives() {
    let bench = Bench::new();
    let wanted = document(&[entry("missing"), entry("other"), entry("mode"), entry("same"), entry("switched")]);
    bench.apply(&wanted);
    bench.kernel.unload(&ProfileName::new("missing"));
    bench.kernel.load(&sample::blob("other", Mode::Enforce, "other rules"));
    bench.kernel.load(&sample::blob("mode", Mode::Complain, ""));
    let status = bench.status();
    let report = bench.check(&wanted);
    for (name, expected) in [
        ("missing", &["kernel-missing"][..]),
        ("other", &["kernel-drift"]),
        ("mode", &["kernel-drift", "kernel-mode"]),
        ("same", &[]),
        ("switched", &[]),
    ] {
        assert_eq!(drift(&status, name), expected, "{name}");
        let entry = report.profiles.iter().find(|entry| entry.file.as_str() == name).unwrap();
        assert_eq!(entry.reasons, file(&status, name).drift, "{name}: what `apply` gives as its reasons");
    }
    let shown = render_text(&status, Colour::Off);
    for line in ["missing is not loaded", "mode runs another text than was compiled and runs in complain mode, not in"]
    {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    assert_eq!(status.summary.loaded, Some(4));

    bench.apply(&document(&[json!({ "file": "switched", "content": text("switched"), "mode": "disabled" })]));
    assert_eq!(drift(&bench.status(), "switched"), [""; 0]);
    bench.kernel.load(&sample::blob("switched", Mode::Enforce, ""));
    let status = bench.status();
    let switched = file(&status, "switched");
    assert_eq!((switched.state, &switched.profiles[0].wanted), (FileState::Disabled, &None));
    assert_eq!(drift(&status, "switched"), ["kernel-drift"]);
}

#[test]
fn files_of_nobody_are_measured_by_their_text() {
    let bench = Bench::new();
    bench.write("tunables/names", "@{NAMES}=x y\n");
    bench.write("hand", "include <tunables/names>\nprofile a@{NAMES} flags=(complain) {\n  ^hat {\n  }\n}\n");
    bench.write("containers", "include <containers.d>\n");
    bench.write("containers.d/default", "profile inner flags=(unconfined) {\n}\n");
    let status = bench.status();
    assert_eq!(drift(&status, "hand"), ["kernel-missing"]);
    assert_eq!(file(&status, "containers").profiles[0].name, "inner");
    for (name, mode) in [("a{x,y}", Mode::Complain), ("a{x,y}//hat", Mode::Enforce), ("inner", Mode::Enforce)] {
        bench.kernel.load(&sample::blob(name, mode, ""));
    }
    let status = bench.status();
    assert_eq!(drift(&status, "hand"), [""; 0]);
    assert_eq!(drift(&status, "containers"), ["kernel-mode"]);
    assert_eq!(status.foreign, []);
    assert_eq!(file(&status, "hand").owner, None);
}

#[test]
fn processes_are_told_with_the_modes_of_their_profiles() {
    let bench = Bench::new();
    bench.apply(&document(&[entry("a")]));
    bench.kernel.start(7, "/opt/a", &ProfileName::new("a"));
    bench.kernel.start(8, "/opt/b", &ProfileName::new("b"));
    let status = bench.status();
    let [ConfinedProcess { pid: 7, profiles, .. }] = &status.processes.confined[..] else { panic!("{status:#?}") };
    assert_eq!((profiles[0].name.as_str(), profiles[0].mode), ("a", Some(Mode::Enforce)));
    assert!(render_text(&status, Colour::Off).contains("7  /opt/a  -  a (enforce)"));
}

#[test]
fn a_kernel_that_proves_little_is_told() {
    let bench = Bench::new();
    bench.apply(&document(&[entry("a")]));
    // What an earlier run saw counts only until anybody loads anything.
    bench.kernel.load(&sample::blob("other", Mode::Enforce, ""));
    bench.kernel.set_evidence(Evidence::Name);
    bench.kernel.set_global_mode(Mode::Complain);
    let status = bench.status();
    assert_eq!((status.kernel.verified_by.as_deref(), status.kernel.hash_algorithm), (Some("name"), None));
    assert_eq!(status.kernel.global_mode, Some(Mode::Complain));
    assert_eq!(status.warnings.len(), 2, "{:?}", status.warnings);
    let remarks = run::export(&bench.host(), None).unwrap().remarks.join("\n");
    assert!(remarks.contains("kernel-global-mode") && remarks.contains("kernel-without-evidence"), "{remarks}");
}

#[test]
fn what_runs_already_is_taken_over_without_loading_it() {
    let first = Bench::new();
    first.apply(&document(&[entry("a")]));
    // The same kernel, and a host that nobody manages.
    let bench = Bench { kernel: first.kernel.clone(), ..Bench::new() };
    bench.write("a", text("a"));
    let export = run::export(&bench.host(), None).unwrap();
    let effects = bench.kernel.effects();
    let report = bench.apply(&serde_json::from_str(&export.to_json()).unwrap());
    assert!(!report.changed, "{report:#?}");
    assert_eq!(bench.kernel.effects(), effects);
    let [loaded] = &report.profiles[0].loaded[..] else { panic!("{report:#?}") };
    assert!(loaded.verified && loaded.mode.before == loaded.mode.after && loaded.hash.before == loaded.hash.after);
}

#[test]
fn an_export_names_what_apply_would_load() {
    let bench = Bench::new();
    bench.write("a", text("a"));
    bench.write("b", text("b"));
    let export = run::export(&bench.host(), None).unwrap();
    assert_eq!(export.remarks[0], "2 files with profiles that are not loaded: `apply` loads them (a, b)", "{export:?}");
    let status = bench.status();
    assert_eq!((status.summary.drifted, status.summary.unloaded), (0, 2));
    assert_eq!(status.msg, "2 profile files, 0 of 2 profiles loaded, no drift, 2 unmanaged and not loaded");
    let document: Value = serde_json::from_str(&export.to_json()).unwrap();
    let report = bench.apply(&document);
    assert_eq!((report.summary.reloaded, report.summary.updated), (2, 0), "{report:#?}");
    assert!(!bench.apply(&document).changed);
    bench.kernel.unload(&ProfileName::new("a"));
    let export = run::export(&bench.host(), None).unwrap();
    assert!(export.remarks[0].contains("`a` has drifted (kernel-missing)"), "{export:?}");
    let status = bench.status();
    assert_eq!((status.summary.drifted, status.summary.unloaded), (1, 0), "what is managed has drifted");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test's own directory")]
fn an_interrupted_run_is_told_and_exported_as_it_will_be_undone() {
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};

    let bench = Bench::new();
    bench.write("a", text("after"));
    let before = Target::File(Text::new(text("before").into_bytes()).into(), Attributes::ours(0o644));
    let after = Stands::File { sha256: Digest::of(text("after").as_bytes()), attributes: Attributes::ours(0o644) };
    let place = PlaceChange { path: PolicyPath::any("a").unwrap(), before, after };
    let journal = Journal { places: vec![place], ..Journal::default() };
    let directory = bench.root.path().join("var/lib/aa-converge/journal");
    std::fs::create_dir_all(bench.root.path().join("var/lib")).unwrap();
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(&directory).unwrap();
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(directory.join("undo"))
        .unwrap();
    std::io::Write::write_all(&mut file, &journal.to_bytes()).unwrap();

    let status = bench.status();
    assert_eq!(status.pending.as_ref().map(|pending| pending.restored.len()), Some(1), "{status:#?}");
    assert!(status.warnings.iter().any(|warning| warning.contains("interrupted")), "{:?}", status.warnings);
    assert_eq!(file_name(&status), ["after"], "the status is of what stands there");
    let export = run::export(&bench.host(), None).unwrap();
    assert!(export.remarks[0].contains("interrupted"), "{:?}", export.remarks);
    assert!(export.to_json().contains("profile before"), "{}", export.to_json());
    assert!(directory.join(Path::new("undo")).exists(), "it is still there to be undone");
}

fn file_name(status: &Status) -> Vec<&str> {
    file(status, "a").profiles.iter().map(|profile| profile.name.as_str()).collect()
}

#[test]
fn text_cannot_move_the_cursor() {
    let bench = Bench::new();
    bench.kernel.load(&sample::blob("evil\u{1b}[2Jname", Mode::Enforce, ""));
    let shown = render_text(&bench.status(), Colour::Off);
    assert!(shown.contains("evil\\u{1b}[2Jname") && !shown.contains('\u{1b}'), "{shown}");
}
