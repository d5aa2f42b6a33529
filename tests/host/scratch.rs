//! A host of one's own: a root below a temporary directory, with as much policy as a test needs.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};
use tempfile::TempDir;

/// The parser of the machine, where every distribution has it.
pub(crate) const PARSER: &str = "/usr/sbin/apparmor_parser";

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_aa-converge");

/// A scratch host.
#[derive(Debug)]
pub(crate) struct Scratch {
    dir: TempDir,
}

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    /// What standard output holds as JSON; null when it is not JSON.
    pub(crate) report: Value,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// One name below a directory, with everything that a write would change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) modified: (i64, i64),
    /// A file's bytes, or a link's target.
    pub(crate) content: Vec<u8>,
}

/// A tree by path below its top.
pub(crate) type Tree = BTreeMap<String, Node>;

impl Scratch {
    /// A host with the little policy that [`profile`] needs: compiling it takes milliseconds.
    pub(crate) fn new() -> Self {
        Self::with_little_policy(&tempfile::env::temp_dir())
    }

    /// The same host in memory, where flushing takes no time: for tests that start from hundreds of copies. A machine
    /// without `/dev/shm` has it in the temporary directory.
    pub(crate) fn in_memory() -> Self {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { Self::with_little_policy(memory) } else { Self::new() }
    }

    fn with_little_policy(parent: &Path) -> Self {
        let host = Self::empty_in(parent);
        for directory in ["abi", "abstractions", "tunables", "local", "disable", "force-complain"] {
            fs_err::create_dir_all(host.policy(directory)).expect("a temporary directory is writable");
        }
        host.write("abstractions/site", "/etc/site.conf r,\n");
        host.write("abstractions/other", "/etc/other.conf r,\n");
        host.write("tunables/site", "@{SITE}=/srv/site\n");
        copy(Path::new("/etc/apparmor.d/abi/3.0"), &host.policy("abi/3.0"));
        host
    }

    /// A host with the distribution's abstractions, tunables and abis, and none of its profiles.
    pub(crate) fn debian() -> Self {
        let host = Self::empty();
        for entry in fs_err::read_dir("/etc/apparmor.d").expect("the package apparmor is installed") {
            let path = entry.expect("the directory can be read").path();
            if path.is_dir() {
                copy(&path, &host.policy(name_of(&path)));
            }
        }
        host
    }

    /// A host with all of the distribution's policy, and the list of the packages that it comes from.
    pub(crate) fn installed() -> Self {
        let host = Self::empty();
        fs_err::remove_dir(host.policy("")).expect("it is empty");
        copy(Path::new("/etc/apparmor.d"), &host.policy(""));
        fs_err::create_dir_all(host.path("var/lib/dpkg/info")).expect("a temporary directory is writable");
        copy(Path::new("/var/lib/dpkg/status"), &host.path("var/lib/dpkg/status"));
        host.without_simplified_expressions()
    }

    /// The host with a `parser.conf` that spares the parser the simplification of expressions, which is half of its time
    /// for real policy.
    pub(crate) fn without_simplified_expressions(self) -> Self {
        let conf = self.path("etc/apparmor/parser.conf");
        let text = fs_err::read_to_string(&conf).expect("the package apparmor is installed");
        fs_err::write(&conf, text + "\nOptimize=no-expr-simplify\n").expect("a temporary directory is writable");
        self
    }

    /// A host with an empty policy directory.
    pub(crate) fn empty() -> Self {
        Self::empty_in(&tempfile::env::temp_dir())
    }

    fn empty_in(parent: &Path) -> Self {
        let host = Self { dir: TempDir::new_in(parent).expect("there is a temporary directory") };
        fs_err::create_dir_all(host.policy("")).expect("a temporary directory is writable");
        copy(Path::new("/etc/apparmor"), &host.path("etc/apparmor"));
        let features = Path::new("/usr/share/apparmor-features");
        if features.exists() {
            fs_err::create_dir_all(host.path("usr/share")).expect("a temporary directory is writable");
            copy(features, &host.path("usr/share/apparmor-features"));
        }
        host
    }

    /// Another host beside this one that is the same to the last time stamp.
    pub(crate) fn duplicate(&self) -> Self {
        let parent = self.dir.path().parent().expect("a temporary directory lies in another");
        let twin = Self { dir: TempDir::new_in(parent).expect("there is a temporary directory") };
        copy(&self.root(), &twin.root());
        twin
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// A path below the root.
    pub(crate) fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.root().join(below)
    }

    /// A path below the policy directory.
    pub(crate) fn policy(&self, below: impl AsRef<Path>) -> PathBuf {
        self.path("etc/apparmor.d").join(below)
    }

    /// A path beside the root, which the program has no business with.
    pub(crate) fn outside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file of policy as an administrator would.
    pub(crate) fn write(&self, below: &str, content: impl AsRef<[u8]>) {
        fs_err::write(self.policy(below), content).expect("a temporary directory is writable");
    }

    /// A file of policy as text.
    pub(crate) fn read(&self, below: &str) -> String {
        fs_err::read_to_string(self.policy(below)).expect("the file is there")
    }

    pub(crate) fn has(&self, below: &str) -> bool {
        self.policy(below).symlink_metadata().is_ok()
    }

    /// The program with `arguments`; not yet started.
    pub(crate) fn program<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut program = command(PROGRAM);
        program.args(arguments).stdin(Stdio::null());
        program
    }

    /// `apply --root ROOT` with further `options`, reading `document` from standard input; not yet started.
    pub(crate) fn apply_command(&self, options: &[&str], document: impl AsRef<[u8]>) -> Command {
        let mut program = self.program(["apply", "--root"]);
        program.arg(self.root()).args(options).stdin(Self::input(document));
        program
    }

    /// Standard input with these bytes.
    pub(crate) fn input(bytes: impl AsRef<[u8]>) -> Stdio {
        // A file of its own: another input must not shorten one that a program is still reading.
        let mut file = tempfile::tempfile().expect("a temporary directory is writable");
        file.write_all(bytes.as_ref()).expect("a temporary directory is writable");
        file.rewind().expect("it is a regular file");
        Stdio::from(file)
    }

    /// Runs `apply` on the document.
    pub(crate) fn apply(&self, document: &Value) -> Run {
        self.apply_with(&[], document)
    }

    /// Runs `apply` with further options.
    pub(crate) fn apply_with(&self, options: &[&str], document: &Value) -> Run {
        Run::of(&mut self.apply_command(options, document.to_string()))
    }

    /// Runs a command that only looks, which must leave everything below the root as it is.
    #[track_caller]
    pub(crate) fn look(&self, command: &str, options: &[&str]) -> Run {
        let before = self.tree();
        let mut program = self.program([command, "--root"]);
        let run = Run::of(program.arg(self.root()).args(options));
        assert_untouched(&before, &self.tree());
        run
    }

    /// Runs `apply` on any bytes.
    pub(crate) fn apply_bytes(&self, document: impl AsRef<[u8]>) -> Run {
        Run::of(&mut self.apply_command(&[], document))
    }

    /// Applies the document, which must converge.
    pub(crate) fn converge(&self, document: &Value) -> Run {
        let run = self.apply(document);
        run.expect(0);
        run
    }

    /// Puts a symbolic link into the policy directory as an administrator would.
    pub(crate) fn link(&self, below: &str, target: &str) {
        std::os::unix::fs::symlink(target, self.policy(below)).expect("nothing is there yet");
    }

    /// Everything below the root.
    pub(crate) fn tree(&self) -> Tree {
        tree(&self.root())
    }

    /// Everything below the policy directory. The time stamps of directories are left out: a run that is refused may
    /// have written new files under temporary names by then, and has taken them away again.
    pub(crate) fn policy_tree(&self) -> Tree {
        let mut found = tree(&self.policy(""));
        for (path, node) in &mut found {
            if self.policy(path).is_dir() {
                node.modified = (0, 0);
            }
        }
        found
    }

    /// Names below the policy directory that the parser would not read and nobody should see after a run.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let journal = self.path("var/lib/aa-converge/journal");
        let policy =
            self.policy_tree().into_keys().filter(|path| path.rsplit('/').next().unwrap_or(path).starts_with('.'));
        let state = if journal.is_dir() { tree(&journal) } else { Tree::new() };
        // The empty name is the directory itself, which stays.
        let state = state.into_keys().filter(|path| !path.is_empty());
        policy.chain(state.map(|path| format!("journal/{path}"))).collect()
    }

    /// Puts an executable shell script beside the root, to stand in for the parser: it answers `--version` as the real
    /// one does and runs `body` for everything else.
    pub(crate) fn stand_in_parser(&self, body: &str) -> String {
        let path = self.outside("parser");
        let script = format!(
            "#!/bin/sh\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n\
             case \"$*\" in --version|-V) exec {PARSER} \"$@\";; esac\n{body}\n"
        );
        fs_err::write(&path, script).expect("a temporary directory is writable");
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("it was just written");
        path.to_str().expect("temporary paths are UTF-8").to_owned()
    }
}

impl Run {
    /// Runs the command to its end and reads its report, which must be valid.
    pub(crate) fn of(command: &mut Command) -> Self {
        Self::from(command.output().expect("the program was built"))
    }

    /// Waits for a process that was started with [`start`].
    pub(crate) fn end_of(child: Child) -> Self {
        Self::from(child.wait_with_output().expect("the process was started here"))
    }

    fn from(output: Output) -> Self {
        let stdout = String::from_utf8(output.stdout).expect("standard output is UTF-8");
        let report: Value = serde_json::from_str(&stdout).unwrap_or(Value::Null);
        if report.get("report").is_some() {
            let faults: Vec<_> = report_schema().iter_errors(&report).map(|fault| fault.to_string()).collect();
            assert!(faults.is_empty(), "the report is not what its schema says: {faults:#?}\n{report:#}");
        }
        Self {
            code: output.status.code(),
            signal: output.status.signal(),
            report,
            stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Fails, showing everything, unless the run ended with this exit code; a run that changed nothing must say so.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32) {
        assert_eq!(self.code, Some(code), "exit code\n{self:#?}");
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        if self.report.get("report").is_some() {
            assert_eq!(
                self.report["failed"],
                json!(!matches!(code, 0 | 2)),
                "`failed` belongs to the exit code\n{self:#?}"
            );
        }
    }

    /// The run's `error.code`.
    #[track_caller]
    pub(crate) fn error_code(&self) -> &str {
        self.report["error"]["code"].as_str().unwrap_or_else(|| panic!("the report has an error\n{self:#?}"))
    }

    #[track_caller]
    pub(crate) fn changed(&self) -> bool {
        self.report["changed"].as_bool().unwrap_or_else(|| panic!("`changed` is a bool\n{self:#?}"))
    }

    /// The entry of a profile or other file.
    #[track_caller]
    pub(crate) fn entry(&self, file: &str) -> &Value {
        self.find_entry(file).unwrap_or_else(|| panic!("the report has an entry for {file}\n{self:#?}"))
    }

    pub(crate) fn find_entry(&self, file: &str) -> Option<&Value> {
        let entries = ["profiles", "files"].into_iter().filter_map(|key| self.report[key].as_array()).flatten();
        entries.into_iter().find(|entry| entry["file"] == file || entry["path"] == file)
    }

    /// `(pointer, code)` of every problem.
    pub(crate) fn problems(&self) -> Vec<(&str, &str)> {
        let problems = self.report["problems"].as_array().map(Vec::as_slice).unwrap_or_default();
        problems
            .iter()
            .map(|problem| (problem["pointer"].as_str().unwrap_or("?"), problem["code"].as_str().unwrap_or("?")))
            .collect()
    }

    /// Whether any warning contains `words`.
    pub(crate) fn warns(&self, words: &str) -> bool {
        self.report["warnings"].to_string().contains(words)
    }
}

/// Whether an entry's `reasons` name `reason`.
pub(crate) fn has_reason(entry: &Value, reason: &str) -> bool {
    entry["reasons"].as_array().is_some_and(|reasons| reasons.iter().any(|given| given == reason))
}

/// A document of owner `test` with these profiles.
pub(crate) fn profiles(profiles: Value) -> Value {
    json!({ "version": 1, "owner": "test", "profiles": profiles })
}

/// A profile's text that compiles in milliseconds and shares no name or attachment with another `name`.
pub(crate) fn profile(name: &str) -> String {
    format!(
        "abi <abi/3.0>,\n\nprofile {name} /opt/{name} {{\n  include <abstractions/site>\n\n  /opt/data/{name} r,\n}}\n"
    )
}

/// An entry that brings [`profile`] in the file of the same name.
pub(crate) fn entry(name: &str) -> Value {
    json!({ "file": name, "content": profile(name) })
}

/// A process of any program: the one place in these tests that starts some.
#[expect(clippy::disallowed_methods, reason = "the tests start the program under test, and tools beside it")]
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

/// Starts a command whose output is wanted later.
pub(crate) fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program was built")
}

/// Runs a tool of the system, which must succeed.
#[track_caller]
pub(crate) fn tool<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> String {
    let output =
        command(program).args(arguments).output().unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Copies a file or tree with modes, links and time stamps.
pub(crate) fn copy(from: &Path, to: &Path) {
    tool("cp", [OsStr::new("--archive"), from.as_os_str(), to.as_os_str()]);
}

/// Every name below `top`.
pub(crate) fn tree(top: &Path) -> Tree {
    let mut nodes = Tree::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(below) = pending.pop() {
        let path = top.join(&below);
        let metadata = fs_err::symlink_metadata(&path).expect("the tree stands still");
        let content = if metadata.is_dir() {
            for entry in fs_err::read_dir(&path).expect("the directory can be read") {
                pending.push(below.join(entry.expect("the directory can be read").file_name()));
            }
            Vec::new()
        } else if metadata.is_symlink() {
            fs_err::read_link(&path).expect("it is a link").into_os_string().into_encoded_bytes()
        } else if metadata.is_file() {
            fs_err::read(&path).expect("the file can be read")
        } else {
            Vec::new()
        };
        let node = Node {
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            content,
        };
        nodes.insert(below.to_str().expect("the tests name files in UTF-8").to_owned(), node);
    }
    nodes
}

/// Says which paths differ, for messages.
pub(crate) fn difference(before: &Tree, after: &Tree) -> Vec<String> {
    let paths: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    paths.into_iter().filter(|path| before.get(*path) != after.get(*path)).cloned().collect()
}

/// Fails, naming the paths, when anything below the root differs from `before`, time stamps included.
#[track_caller]
pub(crate) fn assert_untouched(before: &Tree, after: &Tree) {
    assert_eq!(difference(before, after), Vec::<String>::new(), "nothing may have changed");
}

fn name_of(path: &Path) -> &OsStr {
    path.file_name().expect("directory entries have names")
}

fn report_schema() -> &'static jsonschema::Validator {
    static SCHEMA: OnceLock<jsonschema::Validator> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let text = fs_err::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/report.v1.json"))
            .expect("the schema is part of the repository");
        jsonschema::validator_for(&serde_json::from_str(&text).expect("the schema is JSON")).expect("the schema is one")
    })
}
