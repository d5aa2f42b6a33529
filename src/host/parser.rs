//! apparmor_parser, run to compile policy and never to load it.
//!
//! One process compiles one file, so that an error is that file's and a crash takes nothing else along. The parser
//! sees a [`Stage`] only, and an environment made from nothing.
//!
//! **Invariant:** no parser is started in a way that could load, remove or cache policy (`-QKT` with `-o`).
//!
//! **Invariant:** what the parser says and writes is bounded, and so are its time and memory.

mod capacity;
pub mod conf;
mod message;
mod process;

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _};
use std::num::NonZeroUsize;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::error::Error;
use crate::host::stage::{Stage, cannot};
use crate::profile::Digest;

pub use capacity::{default_jobs, processors};
pub use conf::ParserConf;
pub use message::CompileError;
pub use process::Cancel;

use message::Source;
use process::{End, Limits};

const PLACES: [&str; 4] =
    ["/usr/sbin/apparmor_parser", "/sbin/apparmor_parser", "/usr/bin/apparmor_parser", "/bin/apparmor_parser"];
/// The most that a parser may write to one file; the largest blobs are a few MiB.
const OUTPUT_LIMIT: u64 = 64 << 20;
/// How glibc allocates for the parser, which spends its time on automata of many small pieces. The heap grows by 8 MiB
/// at a time, in huge pages, which spares most page faults, and up to 1,000 freed pieces of a size are kept at hand
/// instead of a few. Measured on three of Debian's profiles: 4 to 6 hundredths of the time to compile (glibc manual,
/// "Memory Allocation Tunables").
const TUNABLES: &str = "glibc.malloc.hugetlb=1:glibc.malloc.top_pad=8388608:glibc.malloc.tcache_count=1000";
/// As much of a program as is read for its build ID, which linkers put before everything that grows.
const PAGE: usize = 4096;
/// As much as is read of what a parser says.
const MESSAGE_LIMIT: u64 = 64 << 10;
const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;
const SIGXCPU: i32 = 24;
const SIGXFSZ: i32 = 25;

/// The program, and how long it may work on one file.
#[derive(Debug, Clone)]
pub struct Parser {
    program: PathBuf,
    timeout: Duration,
}

/// What is compiled against what.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The policy, with everything that it and `conf` name.
    pub stage: &'a Stage,
    /// The options of the root's `parser.conf`.
    pub conf: &'a ParserConf,
    /// The features of the kernel that is compiled for.
    pub kernel_features: &'a KernelFeatures,
}

/// Where the parser finds the features of the kernel that it compiles for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelFeatures {
    /// The running kernel's own.
    Running,
    /// A staged file, by its path in the root.
    Staged(PathBuf),
}

/// The directory in which the running kernel shows its features.
const RUNNING_FEATURES: &str = "/sys/kernel/security/apparmor/features";

/// A file to compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its path in the root; it is staged.
    pub file: PathBuf,
    /// How long it takes compared with others, such as the size of all that it includes; the heaviest start first.
    pub weight: u64,
}

/// How far [`Parser::compile_all`] has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// How many files are done.
    pub done: usize,
    /// Of how many.
    pub total: usize,
    /// The one done last, as a path in the root.
    pub file: &'a Path,
}

/// A compiled file, in the spool of the stage that it was compiled from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    path: PathBuf,
    len: u64,
}

impl Blob {
    /// Its size in bytes; never 0.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an empty result is an error, not a blob")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Its bytes, as the kernel takes them.
    ///
    /// # Errors
    /// It cannot be read.
    #[expect(clippy::disallowed_methods, reason = "the spool is a private directory, reached by its own path")]
    pub fn read(&self) -> Result<Vec<u8>, Error> {
        std::fs::read(&self.path).map_err(cannot("read the compiled policy in", &self.path))
    }
}

impl Parser {
    /// Finds the program, at `explicit` or at its usual places. `timeout` is for each file.
    ///
    /// # Errors
    /// It is missing, not a regular file, or not executable.
    pub fn find(explicit: Option<&Path>, timeout: Duration) -> Result<Self, Error> {
        let Some(program) = explicit else {
            let found = PLACES.iter().map(Path::new).find(|program| check_executable(program).is_ok());
            return match found {
                Some(program) => Ok(Self { program: program.to_owned(), timeout }),
                None => Err(Error::Parser {
                    message: format!("cannot find apparmor_parser at {}", PLACES.join(", ")),
                    remedy: "install the package apparmor, or name the program with --parser".to_owned(),
                }),
            };
        };
        // The parser starts with `/` as its working directory.
        let program = std::path::absolute(program).unwrap_or_else(|_| program.to_owned());
        match check_executable(&program) {
            Ok(()) => Ok(Self { program, timeout }),
            Err(why) => Err(Error::Parser {
                message: format!("cannot run the parser {}: {why}", program.display()),
                remedy: "name an executable apparmor_parser with --parser, or leave the option out".to_owned(),
            }),
        }
    }

    /// The program's path.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// What tells this program from another version of it; see [`identity_of`].
    ///
    /// # Errors
    /// The file cannot be read.
    #[expect(clippy::disallowed_methods, reason = "the program is the host's, whatever the root")]
    pub fn identity(&self) -> Result<Digest, Error> {
        let identify = |program: File| identity_of(&program, program.metadata()?.size());
        File::open(&self.program).and_then(identify).map_err(cannot("read", &self.program))
    }

    /// The version that the program gives, such as `3.0.8`, or the first line that it says if that is something else.
    /// This runs the program; what it says passes through the stage's spool.
    ///
    /// # Errors
    /// It cannot be started, fails, says nothing or takes too long, or `cancel` was triggered.
    pub fn version(&self, stage: &Stage, cancel: &Cancel) -> Result<String, Error> {
        let mut run = Run::new(self, stage, 0, self.limits(NonZeroUsize::MIN))?;
        let end = run.start(&[OsString::from("--version")], cancel)?;
        if let End::Interrupted = end {
            return Err(Error::Interrupted);
        }
        let said = run.take_said()?;
        let first = String::from_utf8_lossy(&said).lines().next().unwrap_or_default().trim().to_owned();
        if !matches!(end, End::Exited(status) if status.success()) || first.is_empty() {
            return Err(Error::Parser {
                message: format!("{} does not tell its version", self.program.display()),
                remedy: "name an apparmor_parser with --parser".to_owned(),
            });
        }
        Ok(first.rsplit_once(" version ").map_or(first.clone(), |(_, version)| version.to_owned()))
    }

    /// Compiles every job, `parallel` at a time and the heaviest first. A file that fails does not stop the others:
    /// the results stand in the order of `jobs`, each a blob or why there is none. `progress` is called by the
    /// working threads, of which the caller's is one, after each file.
    ///
    /// # Errors
    /// `cancel` was triggered ([`Error::Interrupted`]), the program cannot be started, or the spool cannot be used.
    pub fn compile_all(
        &self,
        view: View<'_>,
        jobs: &[Job],
        parallel: NonZeroUsize,
        cancel: &Cancel,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<Vec<Result<Blob, CompileError>>, Error> {
        let options = options(view)?;
        let workers = parallel.get().min(jobs.len());
        let limits = self.limits(NonZeroUsize::new(workers).unwrap_or(NonZeroUsize::MIN));
        let mut order: Vec<usize> = (0..jobs.len()).collect();
        order.sort_by_key(|&index| std::cmp::Reverse(jobs[index].weight));
        let (next, done, failed) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
        let work = |worker: usize| {
            let mut run = Run::new(self, view.stage, worker, limits)?;
            let mut results = Vec::new();
            while let Some(&index) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                if failed.load(Ordering::Relaxed) {
                    break;
                }
                let job = &jobs[index];
                let result =
                    run.compile(&options, job, cancel).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
                results.push((index, result));
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                progress(Progress { done, total: jobs.len(), file: &job.file });
            }
            Ok(results)
        };
        let finished: Vec<Result<Vec<_>, Error>> = thread::scope(|scope| {
            let others: Vec<_> = (1..workers).map(|worker| scope.spawn(move || work(worker))).collect();
            let own = work(0);
            let join = |thread: thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            std::iter::once(own).chain(others.into_iter().map(join)).collect()
        });
        let mut results = Vec::with_capacity(jobs.len());
        for worker in finished {
            results.extend(worker?);
        }
        results.sort_unstable_by_key(|&(index, _)| index);
        Ok(results.into_iter().map(|(_, result)| result).collect())
    }

    fn limits(&self, parallel: NonZeroUsize) -> Limits {
        Limits { memory: capacity::memory_limit(parallel), output: OUTPUT_LIMIT, time: self.timeout }
    }
}

/// Among the names in an `abi/` directory, that of the newest version: `4.0` of `3.0`, `4.0` and `kernel-5.4-vanilla`.
/// It is what to compile for when there is no kernel to ask.
#[must_use]
pub fn newest_abi<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let version = |name: &str| name.split('.').map(|number| number.parse().ok()).collect::<Option<Vec<u32>>>();
    let versions = names.into_iter().filter_map(|name| Some((version(name)?, name)));
    versions.max().map(|(_, name)| name)
}

/// The arguments that all files of a run share.
#[expect(clippy::disallowed_methods, reason = "the spool is a private directory, reached by its own path")]
fn options(view: View<'_>) -> Result<Vec<OsString>, Error> {
    let View { stage, conf, kernel_features } = view;
    let kernel_features = match kernel_features {
        KernelFeatures::Running => PathBuf::from(RUNNING_FEATURES),
        KernelFeatures::Staged(path) => stage.path(path),
    };
    let config = stage.beside("parser.conf");
    std::fs::write(&config, conf.staged()).map_err(cannot("write", &config))?;
    let mut options: Vec<OsString> = vec!["--config-file".into(), config.into()];
    options.extend(["--base".into(), stage.path(stage.base()).into_os_string()]);
    options.extend(conf.arguments(|path| stage.path(path), &kernel_features));
    options.extend(["--kernel-features".into(), kernel_features.into_os_string()]);
    // Without `-j0` the parser forks once more for the file.
    options.extend(["-Q", "-K", "-T", "-q", "-j0"].map(OsString::from));
    Ok(options)
}

/// One worker's means to run the parser: a file that takes what it says, used again for the next run.
struct Run<'a> {
    parser: &'a Parser,
    stage: &'a Stage,
    limits: Limits,
    said: File,
    said_path: PathBuf,
}

impl<'a> Run<'a> {
    fn new(parser: &'a Parser, stage: &'a Stage, worker: usize, limits: Limits) -> Result<Self, Error> {
        let said_path = stage.beside(&format!("said-{worker}"));
        let said = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&said_path)
            .map_err(cannot("open", &said_path))?;
        Ok(Self { parser, stage, limits, said, said_path })
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that starts a process")]
    fn start(&mut self, arguments: &[impl AsRef<OsStr>], cancel: &Cancel) -> Result<End, Error> {
        if cancel.is_triggered() {
            return Err(Error::Interrupted);
        }
        let said = || self.said.try_clone().map_err(cannot("open", &self.said_path));
        let mut command = Command::new(&self.parser.program);
        command
            .args(arguments)
            .current_dir("/")
            .env_clear()
            .env("LC_ALL", "C")
            .env("GLIBC_TUNABLES", TUNABLES)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null()).stdout(said()?).stderr(said()?);
        process::run(&mut command, self.limits, cancel).map_err(|error| Error::Parser {
            message: format!("cannot run {}: {error}", self.parser.program.display()),
            remedy: "install the package apparmor, or name an executable apparmor_parser with --parser".to_owned(),
        })
    }

    /// What the parser has said, and makes room for the next.
    fn take_said(&mut self) -> Result<Vec<u8>, Error> {
        let take = |mut file: &File| -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            if file.metadata()?.len() > 0 {
                file.rewind()?;
                file.take(MESSAGE_LIMIT).read_to_end(&mut bytes)?;
                file.set_len(0)?;
            }
            Ok(bytes)
        };
        take(&self.said).map_err(cannot("read", &self.said_path))
    }

    #[expect(clippy::disallowed_methods, reason = "the spool is a private directory, reached by its own path")]
    fn compile(
        &mut self,
        options: &[OsString],
        job: &Job,
        cancel: &Cancel,
    ) -> Result<Result<Blob, CompileError>, Error> {
        let output = self.stage.new_output();
        let staged = self.stage.path(&job.file);
        let mut arguments: Vec<&OsStr> = options.iter().map(OsString::as_os_str).collect();
        arguments.extend([OsStr::new("-o"), output.as_os_str(), OsStr::new("--"), staged.as_os_str()]);
        let end = self.start(&arguments, cancel)?;
        let said = self.take_said()?;
        let source = Source { program: &self.parser.program, stage: self.stage.prefix(), file: &job.file };
        if let Err(message) = self.judge(end, &said, source)? {
            return Ok(Err(message));
        }
        let len = match std::fs::metadata(&output) {
            Ok(metadata) => metadata.size(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(cannot("read the compiled policy in", &output)(error)),
        };
        if len == 0 {
            let why = "apparmor_parser gave no compiled policy: the file defines no profile";
            return Ok(Err(CompileError::of(&job.file, why)));
        }
        Ok(Ok(Blob { path: output, len }))
    }

    /// Tells a run that succeeded from every way in which the parser fails.
    fn judge(&self, end: End, said: &[u8], source: Source<'_>) -> Result<Result<(), CompileError>, Error> {
        let status = match end {
            End::Interrupted => return Err(Error::Interrupted),
            End::TimedOut => return Ok(Err(self.timed_out(source))),
            End::Exited(status) => status,
        };
        if status.success() && !message::tells_error(said) {
            return Ok(Ok(()));
        }
        let error = message::first_error(said, source);
        Ok(Err(match fatal_signal(status, said) {
            Some(SIGXCPU) => self.timed_out(source),
            Some(SIGXFSZ) => {
                let limit = self.limits.output >> 20;
                CompileError::of(
                    source.file,
                    format!("apparmor_parser was killed because it wrote more than {limit} MiB"),
                )
            }
            _ if message::tells_lack_of_memory(said) => {
                let limit = self.limits.memory >> 20;
                CompileError::of(source.file, format!("apparmor_parser ran out of memory; it may use {limit} MiB"))
            }
            Some(SIGKILL) => {
                let why = "apparmor_parser was killed (signal 9), by somebody or for lack of memory";
                CompileError::of(source.file, why)
            }
            Some(signal) => {
                let said = error.map(|error| format!(": {}", error.message)).unwrap_or_default();
                CompileError::of(source.file, format!("apparmor_parser crashed (signal {signal}){said}"))
            }
            None => error.unwrap_or_else(|| {
                let code = status.code().unwrap_or_default();
                CompileError::of(source.file, format!("apparmor_parser failed with exit code {code} and said nothing"))
            }),
        }))
    }

    fn timed_out(&self, source: Source<'_>) -> CompileError {
        let seconds = self.limits.time.as_secs_f32();
        CompileError::of(
            source.file,
            format!("apparmor_parser was killed because it took longer than {seconds} s (--parser-timeout)"),
        )
    }
}

/// The signal that ended the parser, or its child: 134 is a shell's code for one that aborted, and 10 (`ECHILD`) is
/// what the parser itself gives for a child of its own that crashed.
fn fatal_signal(status: ExitStatus, said: &[u8]) -> Option<i32> {
    match status.code() {
        None => status.signal(),
        Some(134) => Some(SIGABRT),
        Some(10) if !message::tells_error(said) => Some(SIGABRT),
        Some(_) => None,
    }
}

/// What tells a program of this size in bytes from other versions of it: its size and first page if that holds its build
/// ID, because the linker makes that of everything else in it; all bytes of any other, such as a script.
///
/// # Errors
/// It cannot be read.
pub fn identity_of(mut program: impl io::Read, size: u64) -> io::Result<Digest> {
    let mut page = Vec::with_capacity(PAGE);
    program.by_ref().take(PAGE as u64).read_to_end(&mut page)?;
    if has_build_id(&page) {
        return Ok(Digest::of_parts([&size.to_le_bytes()[..], &page]));
    }
    Digest::of_all(page.chain(program))
}

/// Whether the beginning of a program holds a build ID (ld(1), `--build-id`; elf(5), `NT_GNU_BUILD_ID`) of the length of
/// a digest. Others can be any number that a build was given.
fn has_build_id(page: &[u8]) -> bool {
    const OWNER: &[u8] = b"GNU\0";
    const SHA1_LENGTH: u32 = 20;
    const NT_GNU_BUILD_ID: u32 = 3;
    let note = [OWNER.len() as u32, SHA1_LENGTH, NT_GNU_BUILD_ID].map(u32::to_ne_bytes);
    let note = [note.as_flattened(), OWNER].concat();
    page.starts_with(b"\x7fELF") && page.windows(note.len()).any(|window| window == note)
}

fn check_executable(program: &Path) -> Result<(), String> {
    use nix::unistd::{AccessFlags, access};
    access(program, AccessFlags::X_OK).map_err(|errno| errno.desc().to_owned())?;
    if program.is_file() { Ok(()) } else { Err("it is not a regular file".to_owned()) }
}

#[cfg(test)]
mod tests;
