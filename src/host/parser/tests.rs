//! Against the real apparmor_parser, and against scripts that misbehave in its place.
#![expect(clippy::disallowed_methods, reason = "the tests read the installed policy and write scripts")]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Mutex;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tempfile::TempDir;

use super::*;

const PROFILE: &str = "/etc/apparmor.d/p";
const POLICY: &str = "/etc/apparmor.d";
const ABI: &str = "/etc/apparmor.d/abi/3.0";
const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();
const LONG: Duration = Duration::from_secs(100);

struct Bench {
    spool: TempDir,
    stage: Stage,
    conf: ParserConf,
}

impl Bench {
    /// A stage that holds what every compile needs, and `text` as [`PROFILE`].
    fn new(text: &str) -> Self {
        let spool = tempfile::tempdir().unwrap();
        let conf = ParserConf::default();
        let stage = Stage::new(spool.path(), conf.base()).unwrap();
        let mut bench = Self { spool, stage, conf };
        bench.add(ABI, &fs::read(ABI).unwrap());
        bench.add(PROFILE, text.as_bytes());
        bench
    }

    fn add(&mut self, path: &str, bytes: &[u8]) {
        self.stage.add(Path::new(path), bytes, &[]).unwrap();
    }

    fn add_installed_policy(&mut self) {
        let mut directories = vec![PathBuf::from(POLICY)];
        while let Some(directory) = directories.pop() {
            self.stage.add_directory(&directory).unwrap();
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    self.stage.add(&path, &fs::read(&path).unwrap(), &[]).unwrap();
                }
            }
        }
    }

    fn compile_with(&self, parser: &Parser, cancel: &Cancel) -> Result<Result<Blob, CompileError>, Error> {
        let jobs = [Job { file: PROFILE.into(), weight: 1 }];
        Ok(self.compile_jobs(parser, &jobs, cancel)?.remove(0))
    }

    fn compile_jobs(
        &self,
        parser: &Parser,
        jobs: &[Job],
        cancel: &Cancel,
    ) -> Result<Vec<Result<Blob, CompileError>>, Error> {
        let kernel_features = &KernelFeatures::Staged(ABI.into());
        let view = View { stage: &self.stage, conf: &self.conf, kernel_features };
        parser.compile_all(view, jobs, TWO, cancel, &|_| {})
    }

    fn compile(&self) -> Result<Blob, CompileError> {
        self.compile_with(&real(), &Cancel::new().unwrap()).unwrap()
    }

    /// What a script says and does in the parser's place.
    fn run(&self, script: &str, timeout: Duration) -> Result<Blob, CompileError> {
        self.compile_with(&self.stand_in(script, timeout), &Cancel::new().unwrap()).unwrap()
    }

    /// A program made of shell commands. Another process writes it: a file that any process has open for writing
    /// cannot be executed, and a process that another test starts just now would inherit ours for a moment.
    fn stand_in(&self, script: &str, timeout: Duration) -> Parser {
        let program = self.spool.path().join("stand-in");
        let mut writer = Command::new("sh")
            .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
            .arg(&program)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        writer.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{script}\n").as_bytes()).unwrap();
        assert!(writer.wait().unwrap().success());
        Parser::find(Some(&program), timeout).unwrap()
    }

    /// A fifo that a script holds open for writing for as long as anything of it lives, and our end to read.
    fn fifo(&self) -> (PathBuf, File) {
        let path = self.spool.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let ours = OpenOptions::new().read(true).custom_flags(0o4000 /* O_NONBLOCK */).open(&path).unwrap();
        (path, ours)
    }
}

fn real() -> Parser {
    Parser::find(None, LONG).unwrap()
}

fn wait_for(fifo: &File, wanted: PollFlags) {
    // A hang-up is always told; what is there to read would end the wait for it.
    let mut descriptors = [PollFd::new(fifo, wanted & PollFlags::IN)];
    assert_eq!(poll(&mut descriptors, Some(&Timespec { tv_sec: 60, tv_nsec: 0 })), Ok(1));
    assert!(descriptors[0].revents().contains(wanted), "{:?}", descriptors[0].revents());
}

#[test]
fn staged_policy_compiles_as_in_place() {
    let mut bench = Bench::new("profile p { }\n");
    bench.add_installed_policy();
    let mut jobs = Vec::new();
    for entry in fs::read_dir(POLICY).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            jobs.push(Job { weight: path.metadata().unwrap().len(), file: path });
        }
    }
    assert!(!jobs.is_empty());
    let seen = Mutex::new(Vec::new());
    let kernel_features = &KernelFeatures::Staged(ABI.into());
    let view = View { stage: &bench.stage, conf: &bench.conf, kernel_features };
    let count = |progress: Progress<'_>| {
        seen.lock().unwrap().push((progress.done, progress.total));
    };
    let blobs = real().compile_all(view, &jobs, TWO, &Cancel::new().unwrap(), &count).unwrap();
    let mut seen = seen.into_inner().unwrap();
    seen.sort_unstable();
    assert_eq!(seen, (1..=jobs.len()).map(|done| (done, jobs.len())).collect::<Vec<_>>());
    let in_place = bench.spool.path().join("in-place");
    for (job, blob) in jobs.iter().zip(blobs) {
        let status = Command::new(real().program())
            .args(["--config-file", "/dev/null", "-QKTq", "-j0", "--kernel-features", ABI, "-o"])
            .args([&in_place, &job.file])
            .status()
            .unwrap();
        assert!(status.success(), "{job:?}");
        let blob = blob.unwrap();
        assert!(blob.read().unwrap() == fs::read(&in_place).unwrap(), "{job:?}");
        assert_eq!(blob.len(), fs::metadata(&in_place).unwrap().len());
    }
}

#[test]
fn an_error_tells_the_parsers_words_file_and_line() {
    let here = |line| (PROFILE, Some(line));
    let cases = [
        ("profile x /x {\n /a r\n /b w,\n}\n", "missing an end of line character", here(3)),
        ("profile x /x { @{NOPE}/a r, }\n", "Found reference to variable NOPE, but is never declared", (PROFILE, None)),
        ("profile x /x {\n /a ix,\n /a ux,\n}\n", "has merged rule /a with conflicting x modifiers", (PROFILE, None)),
        ("profile x /x { }\nprofile x /y { }\n", "Multiple definitions for profile x exist", (PROFILE, None)),
        ("profile x /x {\n /a{b r,\n}\n", "Unable to parse input line '/a{b'", (PROFILE, None)),
        ("abi <abi/99>,\nprofile x /x { }\n", "Could not open 'abi/99': No such file or directory", here(1)),
        ("profile x /x {\n include <nope/x>\n}\n", "Could not open 'nope/x'", here(2)),
        ("profile x /x {\n include <local/bad>\n}\n", "missing an end of line", ("/etc/apparmor.d/local/bad", Some(2))),
        ("profile x /x flags=(foo) { }\n", "Invalid profile flag: foo", here(1)),
        ("profile x /x {\n capability nope,\n}\n", "Invalid capability nope", here(2)),
        ("profile x /x {\n mount options=(foo) /a,\n}\n", "unsupported mount options", (PROFILE, None)),
        ("@{A}=x\n@{A}=y\nprofile x /x { }\n", "variable @{A} was previously declared", here(3)),
        ("@{A}=@{B}\n@{B}=@{A}\nprofile x /x { /@{A} r, }\n", "@{A} is referenced recursively", (PROFILE, None)),
        ("profile x /x { profile y { } profile y { } }\n", "Multiple definitions for hat y", (PROFILE, None)),
        ("profile x /x {\n /a r,\n", "unexpected end of file", here(3)),
        ("# only a comment", "Lexer found unexpected character", here(1)),
        ("# only a comment\n", "the file defines no profile", (PROFILE, None)),
        ("", "the file defines no profile", (PROFILE, None)),
    ];
    for (text, message, (file, line)) in cases {
        let mut bench = Bench::new(text);
        bench.add("/etc/apparmor.d/local/bad", b" /a r\n /b r,\n");
        let error = bench.compile().unwrap_err();
        assert!(error.message.contains(message), "{text}: {error}");
        assert!(!error.message.contains(bench.spool.path().to_str().unwrap()), "{error}");
        assert_eq!((error.file.as_deref(), error.line), (Some(Path::new(file)), line), "{text}: {error}");
    }
}

#[test]
fn paths_outside_the_search_directories_are_read_from_the_stage() {
    let mut bench = Bench::new("abi <abi/3.0>,\nprofile x /x {\n /a r,\n}\n");
    let plain = bench.compile().unwrap().read().unwrap();
    bench.add("/srv/rules.d/one", b"/a r,\n");
    bench.add("/srv/my abi", &fs::read(ABI).unwrap());
    let text = "abi \"a\",\nprofile x /x {\n #include if exists \"d\"\n}\n";
    let replacements =
        [(4..7, "/srv/my abi".into()), (text.find("\"d\"").map(|at| at..at + 3).unwrap(), "/srv/rules.d".into())];
    bench.stage.add(Path::new("/etc/apparmor.d/q"), text.as_bytes(), &replacements).unwrap();
    let jobs = [Job { file: "/etc/apparmor.d/q".into(), weight: 1 }];
    let blob = bench.compile_jobs(&real(), &jobs, &Cancel::new().unwrap()).unwrap().remove(0).unwrap();
    assert!(blob.read().unwrap() == plain);
}

#[test]
fn complain_is_forced_by_an_empty_file_as_by_the_option() {
    let mut bench = Bench::new("profile x /x { }\n");
    let plain = bench.compile().unwrap().read().unwrap();
    bench.conf = ParserConf::parse(b"Complain\n");
    let by_option = bench.compile().unwrap().read().unwrap();
    bench.conf = ParserConf::default();
    bench.add("/etc/apparmor.d/force-complain/p", b"");
    let by_file = bench.compile().unwrap().read().unwrap();
    assert!(by_file == by_option);
    assert!(by_file != plain);
}

#[test]
fn nothing_of_the_host_is_read() {
    let mut bench = Bench::new("abi <abi/3.0>,\nprofile x /x { include if exists <local/x> }\n");
    bench.conf =
        ParserConf::parse(b"Include /usr/share/x\npolicy-features /etc/apparmor.d/abi/3.0\nOptimize=no-minimize\n");
    let log = bench.spool.path().join("trace");
    let script = format!(
        "exec strace -f -e trace=open,openat,chdir,access -o {} {} \"$@\"",
        log.display(),
        real().program().display()
    );
    bench.run(&script, LONG).unwrap();
    let trace = fs::read_to_string(log).unwrap();
    let spool = bench.spool.path().to_str().unwrap();
    let allowed = [
        "/lib/",
        "/usr/lib/",
        "/lib64/",
        "/etc/ld.so.",
        "/usr/share/locale/",
        "/sys/devices/system/cpu/",
        // glibc looks there for the size of huge pages.
        "/sys/kernel/mm/transparent_hugepage/",
        "/proc/sys/kernel/",
    ];
    let mut own = 0;
    for path in trace.lines().filter_map(|line| line.split('"').nth(1)) {
        own += usize::from(path.starts_with(spool));
        assert!(path.starts_with(spool) || allowed.iter().any(|place| path.starts_with(place)), "{path}");
    }
    assert!(own > 3, "{trace}");
}

#[test]
fn failures_do_not_stop_the_others_and_results_keep_their_order() {
    let mut bench = Bench::new("profile p0 { }\n");
    let mut jobs = vec![Job { file: PROFILE.into(), weight: 0 }];
    for number in 1..7 {
        let file = format!("/etc/apparmor.d/p{number}");
        let text = if number % 2 == 0 {
            format!("profile p{number} {{ }}\n")
        } else {
            format!("\nprofile p{number} {{ bad }}\n")
        };
        bench.add(&file, text.as_bytes());
        jobs.push(Job { file: file.into(), weight: number });
    }
    let results = bench.compile_jobs(&real(), &jobs, &Cancel::new().unwrap()).unwrap();
    for (number, result) in results.iter().enumerate() {
        match result {
            Ok(blob) => {
                let name = format!("p{number}\0");
                assert!(number % 2 == 0 && blob.read().unwrap().windows(name.len()).any(|w| w == name.as_bytes()));
            }
            Err(error) => {
                assert_eq!((number % 2, error.line), (1, Some(2)));
                assert_eq!(error.file.as_deref(), Some(jobs[number].file.as_path()));
            }
        }
    }
    assert_eq!(bench.compile_jobs(&real(), &[], &Cancel::new().unwrap()).unwrap(), []);
}

#[test]
fn every_way_to_fail_is_told() {
    let cases = [
        ("echo x > \"$OUT\"; echo 'AppArmor parser error for /etc/apparmor.d/p at line 2: odd'", "odd"),
        ("exit 0", "the file defines no profile"),
        ("exit 3", "exit code 3 and said nothing"),
        ("kill -SEGV $$", "crashed (signal 11)"),
        ("echo 'oops: assertion' >&2; kill -ABRT $$", "crashed (signal 6): oops: assertion"),
        ("kill -KILL $$", "killed (signal 9)"),
        ("exit 134", "crashed (signal 6)"),
        ("exit 10", "crashed (signal 6)"),
        (
            "echo \"terminate called after throwing an instance of 'std::bad_alloc'\" >&2; kill -ABRT $$",
            "out of memory",
        ),
        ("exec yes >&2", "wrote more than 64 MiB"),
        ("exec cat /dev/zero > \"$OUT\"", "wrote more than 64 MiB"),
        ("printf '\\377\\033[1m\\n' >&2; exit 1", "\u{fffd}\u{fffd}[1m"),
    ];
    let bench = Bench::new("profile x /x { }\n");
    for (script, message) in cases {
        let out = "while [ $# -gt 3 ]; do shift; done; OUT=$1";
        let script = if script.contains("OUT") { format!("{out}\n{script}") } else { script.to_owned() };
        let error = bench.run(&script, LONG).unwrap_err();
        assert!(error.message.contains(message), "{script}: {error}");
        assert_eq!(error.file.as_deref(), Some(Path::new(PROFILE)));
    }
}

#[test]
fn a_hanging_parser_and_its_children_are_killed() {
    let bench = Bench::new("profile x /x { }\n");
    let (fifo, ours) = bench.fifo();
    let script = format!("exec 9> {}\nsleep 1000 & sleep 1000", fifo.display());
    let error = bench.run(&script, Duration::from_millis(300)).unwrap_err();
    assert_eq!(error.message, "apparmor_parser was killed because it took longer than 0.3 s (--parser-timeout)");
    wait_for(&ours, PollFlags::HUP);
}

#[test]
fn what_a_parser_leaves_behind_is_killed() {
    let bench = Bench::new("profile x /x { }\n");
    let (fifo, ours) = bench.fifo();
    let error = bench.run(&format!("exec 9> {}\nsleep 1000 &\nexit 3", fifo.display()), LONG).unwrap_err();
    assert!(error.message.contains("exit code 3"), "{error}");
    wait_for(&ours, PollFlags::HUP);
}

#[test]
fn cancelling_kills_what_runs_and_starts_nothing_more() {
    let bench = Bench::new("profile x /x { }\n");
    let (fifo, ours) = bench.fifo();
    let parser =
        bench.stand_in(&format!("exec 9> {}\necho started >&9\nsleep 1000 & sleep 1000", fifo.display()), LONG);
    let cancel = Cancel::new().unwrap();
    let jobs: Vec<_> = (0..9).map(|weight| Job { file: PROFILE.into(), weight }).collect();
    let result = thread::scope(|scope| {
        let compiling = scope.spawn(|| bench.compile_jobs(&parser, &jobs, &cancel));
        wait_for(&ours, PollFlags::IN);
        cancel.trigger();
        compiling.join().unwrap()
    });
    assert!(matches!(result, Err(Error::Interrupted)), "{result:?}");
    let mut started = String::new();
    wait_for(&ours, PollFlags::HUP);
    (&ours).read_to_string(&mut started).unwrap();
    assert!(started.lines().count() <= 2, "{started}");
    assert!(cancel.is_triggered());
    assert!(matches!(bench.compile_with(&real(), &cancel), Err(Error::Interrupted)));
}

#[test]
fn the_real_parser_without_memory_is_told_so() {
    let rules: String =
        (0..1000).map(|number| format!(" /**/directory{number}/file{} r,\n", number * 7919 % 1000)).collect();
    let bench = Bench::new(&format!("profile x /x {{\n{rules}}}\n"));
    let script = format!("ulimit -v 20000; exec {} \"$@\"", real().program().display());
    let error = bench.run(&script, LONG).unwrap_err();
    assert!(error.message.contains("out of memory"), "{error}");
}

#[test]
fn memory_is_limited() {
    let limits = Limits { memory: 200 << 20, output: 1 << 20, time: LONG };
    let mut eater = Command::new("tail");
    eater.arg("/dev/zero").stdout(Stdio::null()).stderr(Stdio::null());
    let end = process::run(&mut eater, limits, &Cancel::new().unwrap()).unwrap();
    assert!(matches!(end, End::Exited(status) if !status.success()), "{end:?}");
}

#[test]
fn a_program_that_cannot_run_is_refused_with_a_way_out() {
    let bench = Bench::new("profile x /x { }\n");
    let file = bench.spool.path().join("file");
    let find = |program: &Path| Parser::find(Some(program), LONG);
    let refused = |result: Result<Parser, Error>, why: &str| match result {
        Err(Error::Parser { message, remedy }) => {
            assert!(message.contains(why), "{message}");
            assert!(remedy.contains("--parser"));
        }
        other => panic!("{other:?}"),
    };
    refused(find(&file), "No such file or directory");
    refused(find(bench.spool.path()), "not a regular file");
    fs::write(&file, "no program").unwrap();
    refused(find(&file), "Permission denied");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let result = bench.compile_with(&find(&file).unwrap(), &Cancel::new().unwrap());
    assert!(
        matches!(&result, Err(Error::Parser { message, .. }) if message.contains("Exec format error")),
        "{result:?}"
    );
}

#[test]
fn a_parser_tells_its_version() {
    let bench = Bench::new("");
    let cancel = Cancel::new().unwrap();
    let version = real().version(&bench.stage, &cancel).unwrap();
    assert!(version.split('.').all(|part| part.parse::<u32>().is_ok()), "{version}");
    assert!(bench.stand_in("exit 0", LONG).version(&bench.stage, &cancel).is_err());
}

#[test]
fn a_parser_is_told_from_other_versions() {
    let directory = tempfile::tempdir().unwrap();
    let identity = |bytes: &[u8]| {
        let program = directory.path().join("parser");
        fs::write(&program, bytes).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Parser::find(Some(&program), LONG).unwrap().identity().unwrap()
    };
    let real = fs::read(real().program()).unwrap();
    let note = real.windows(4).position(|window| window == b"\x14\0\0\0").unwrap() + 12;
    assert_eq!(&real[note - 4..note], b"GNU\0");
    let changed = |at: usize| {
        let mut bytes = real.clone();
        bytes[at] ^= 1;
        bytes
    };
    // Another build has another build ID, which is looked for in a program alone.
    assert_ne!(identity(&real), identity(&changed(note)));
    assert_ne!(identity(&real), identity(&[&real[..], b"\0"].concat()));
    for whole in [&changed(1)[..], &changed(note - 8), &changed(note - 12), b"#!/bin/sh\nexit 0\n", b""] {
        assert_eq!(identity(whole), Digest::of(whole));
    }
}

#[test]
fn the_newest_abi_is_the_highest_version() {
    let names = ["kernel-5.4-vanilla", "3.0", "4.0", "10.1", "README", "4"];
    assert_eq!(newest_abi(names), Some("10.1"));
    assert_eq!(newest_abi(["kernel-5.4-vanilla"]), None);
}
