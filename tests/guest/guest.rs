//! The machine, and the program run on it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::kernel;

pub(crate) const PARSER: &str = "/usr/sbin/apparmor_parser";
const PROGRAM: &str = "/t/aa-converge";
const POLICY: &str = "/etc/apparmor.d";
/// Where the payload put the policy that the distribution's packages install.
const DISTRIBUTION: &str = "/t/distribution";

/// The guest, in the hands of one test.
#[derive(Debug)]
pub(crate) struct Guest(());

impl Guest {
    /// The guest with nothing loaded, nothing remembered, and no policy files but abis.
    pub(crate) fn fresh() -> Self {
        let guest = Self::on_any_kernel();
        kernel::unload_everything();
        for (parameter, value) in [("mode", "enforce"), ("hash_policy", "Y"), ("export_binary", "Y")] {
            kernel::set_parameter(parameter, value);
        }
        guest
    }

    /// The same on a kernel that has no AppArmor, or another global mode, which are left as they are.
    pub(crate) fn on_any_kernel() -> Self {
        let parameters = fs_err::read_to_string("/proc/cmdline").unwrap();
        assert!(
            parameters.split_whitespace().any(|parameter| parameter == "aa_converge_guest"),
            "these tests wipe the policy of the machine that they run on: start them by tests/vm/suite.sh"
        );
        for directory in
            [POLICY, "/var/lib/aa-converge", "/run/aa-converge", "/var/cache/apparmor", "/etc/apparmor/earlypolicy"]
        {
            if Path::new(directory).exists() {
                fs_err::remove_dir_all(directory).unwrap();
            }
        }
        for directory in ["abstractions", "tunables", "local", "disable", "force-complain"] {
            fs_err::create_dir_all(Path::new(POLICY).join(directory)).unwrap();
        }
        fs_err::create_dir_all("/var/cache/apparmor").unwrap();
        tool("cp", ["-a".as_ref(), Path::new(DISTRIBUTION).join("abi").as_os_str(), POLICY.as_ref()]);
        Self(())
    }

    /// The guest with the distribution's policy installed, and nothing loaded.
    pub(crate) fn with_distribution() -> Self {
        let guest = Self::fresh();
        fs_err::remove_dir_all(POLICY).unwrap();
        tool("cp", ["-a", DISTRIBUTION, POLICY]);
        guest
    }

    pub(crate) fn policy(&self, below: &str) -> PathBuf {
        Path::new(POLICY).join(below)
    }

    /// Writes a file of policy as an administrator would.
    pub(crate) fn write(&self, below: &str, text: &str) {
        fs_err::write(self.policy(below), text).unwrap();
    }

    /// Every file and link below the policy directory, with its text or target.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut pending = vec![PathBuf::from(POLICY)];
        while let Some(directory) = pending.pop() {
            for entry in fs_err::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_symlink() {
                    let target = fs_err::read_link(&path).unwrap().into_os_string().into_encoded_bytes();
                    files.insert(path, target);
                } else if path.is_dir() {
                    pending.push(path);
                } else {
                    let bytes = fs_err::read(&path).unwrap();
                    files.insert(path, bytes);
                }
            }
        }
        files
    }

    /// Runs the program under a tracer, or in whatever else `wrapper` makes.
    pub(crate) fn run_under(&self, wrapper: &[&str], arguments: &[&str], input: &str) -> Run {
        let mut program = command(wrapper[0]);
        program.args(&wrapper[1..]).arg(PROGRAM).args(arguments);
        Run::of(program, input)
    }

    /// Runs the program without any privilege.
    pub(crate) fn run_as_nobody(&self, arguments: &[&str], input: &str) -> Run {
        let mut program = command(PROGRAM);
        program.args(arguments).uid(65534).gid(65534);
        Run::of(program, input)
    }

    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> Run {
        let mut program = command(PROGRAM);
        program.args(arguments);
        Run::of(program, input)
    }

    /// Runs `apply` on `/`.
    pub(crate) fn apply(&self, document: &Value) -> Run {
        self.apply_with(&[], document)
    }

    /// Runs `apply` on `/` with further options.
    pub(crate) fn apply_with(&self, options: &[&str], document: &Value) -> Run {
        self.run(&[&["apply"][..], options].concat(), &document.to_string())
    }

    /// Applies the document, which must converge and change something.
    #[track_caller]
    pub(crate) fn converge(&self, document: &Value) -> Run {
        let run = self.apply(document);
        run.expect(0);
        assert!(run.changed(), "{run:#?}");
        run
    }

    /// Applies the document once more, which must leave files and kernel alone.
    #[track_caller]
    pub(crate) fn expect_in_sync(&self, document: &Value) {
        let (files, revisions, policy) = (self.files(), kernel::revisions(), kernel::policy());
        let run = self.apply(document);
        run.expect(0);
        assert!(!run.changed(), "{run:#?}");
        assert_eq!(run.report["kernel"]["writes"], 0, "{run:#?}");
        assert_eq!(kernel::revisions(), revisions, "nothing was written to the kernel");
        assert_eq!(kernel::policy(), policy);
        assert!(self.files() == files, "a policy file was changed");
    }

    /// Applies the document, which must be refused with this code, and leave files and kernel alone.
    #[track_caller]
    pub(crate) fn expect_refusal(&self, document: &Value, code: &str) -> Run {
        let (files, revisions) = (self.files(), kernel::revisions());
        let run = self.apply(document);
        run.expect(if code == "document" { 3 } else { 4 });
        assert_eq!(run.report["error"]["code"], code, "{run:#?}");
        assert!(!run.changed(), "{run:#?}");
        assert_eq!(kernel::revisions(), revisions, "nothing was written to the kernel");
        assert!(self.files() == files, "a policy file was changed");
        run
    }
}

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    /// What standard output holds as JSON; null when it is not JSON.
    pub(crate) report: Value,
    pub(crate) stderr: String,
}

impl Run {
    fn of(mut program: Command, input: &str) -> Self {
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = program.spawn().unwrap();
        // A program that refuses before it reads closes its end; its report says why.
        let _closed = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        if report.get("report").is_some() {
            let faults: Vec<_> = report_schema().iter_errors(&report).map(|fault| fault.to_string()).collect();
            assert!(faults.is_empty(), "the report is not what its schema says: {faults:#?}\n{report:#}");
        }
        Self {
            code: output.status.code(),
            signal: output.status.signal(),
            report,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Fails, showing everything, unless the run ended with this exit code.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32) {
        assert_eq!(self.code, Some(code), "exit code\n{self:#?}");
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
    }

    #[track_caller]
    pub(crate) fn changed(&self) -> bool {
        self.report["changed"].as_bool().unwrap_or_else(|| panic!("`changed` is a bool\n{self:#?}"))
    }

    /// The entry of a profile's file.
    #[track_caller]
    pub(crate) fn entry(&self, file: &str) -> &Value {
        let entries = self.report["profiles"].as_array().into_iter().flatten();
        entries
            .into_iter()
            .find(|entry| entry["file"] == file)
            .unwrap_or_else(|| panic!("the report has an entry for {file}\n{self:#?}"))
    }

    /// The processes that must be restarted, as `(pid, profile, certain)`.
    pub(crate) fn needs_restart(&self) -> Vec<(u64, &str, bool)> {
        let told = self.report["needs_restart"].as_array().into_iter().flatten();
        told.map(|it| (it["pid"].as_u64().unwrap(), it["profile"].as_str().unwrap(), it["certain"].as_bool().unwrap()))
            .collect()
    }

    /// Whether any warning contains `words`.
    pub(crate) fn warns(&self, words: &str) -> bool {
        self.report["warnings"].to_string().contains(words)
    }
}

fn report_schema() -> &'static jsonschema::Validator {
    static SCHEMA: OnceLock<jsonschema::Validator> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let schema = serde_json::from_str(include_str!("../../schemas/report.v1.json")).unwrap();
        jsonschema::validator_for(&schema).unwrap()
    })
}

/// A document of owner `test` with these profiles and no others.
pub(crate) fn document(profiles: Value) -> Value {
    json!({ "version": 1, "owner": "test", "prune": true, "allow_empty": true, "profiles": profiles })
}

/// An entry that brings `text` in `file`.
pub(crate) fn entry(file: &str, text: &str) -> Value {
    json!({ "file": file, "content": text })
}

/// An entry that brings [`profile`] in the file of the same name.
pub(crate) fn simple(name: &str) -> Value {
    entry(name, &profile(name))
}

/// A profile that compiles in no time: for `/opt/NAME`, which may read `/opt/data/NAME`.
pub(crate) fn profile(name: &str) -> String {
    format!("abi <abi/3.0>,\nprofile {name} /opt/{name} {{\n  /opt/{name} mr,\n  /opt/data/{name} r,\n}}\n")
}

/// Whether the guest has AppArmor 4, with `prompt`, `default_allow` and deep nesting.
pub(crate) fn has_apparmor_4() -> bool {
    Path::new(DISTRIBUTION).join("abi/4.0").exists()
}

/// A process of any program: the one place in these tests that starts some.
#[expect(clippy::disallowed_methods, reason = "the tests start the program under test, and tools beside it")]
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

/// Runs a tool of the system, which must succeed.
#[track_caller]
pub(crate) fn tool<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> String {
    let output = command(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Writes an executable shell script.
pub(crate) fn script(path: &str, body: &str) {
    fs_err::write(path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
