//! How long `aa-converge apply` takes beside what it cannot do without.
//!
//! Three cases (nothing to do, one changed of N, everything changed) for several N, each beside its limit, measured in
//! the same run on the same files, in turn with it: `sha256sum`, the bare parser, the flushes that durability needs.
//! Nothing is asserted: a benchmark on somebody's busy machine is no test.
//!
//! The N profiles are copies of the distribution's real ones. Each copy has names and attachments of its own; its
//! includes are the distribution's.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fs_err as fs;
use serde_json::json;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_aa-converge");
const PARSER: &str = "/usr/sbin/apparmor_parser";
const USAGE: &str = "options: --sizes N,N,…  --runs N  --pool half|all";

type Failure = Box<dyn std::error::Error>;
type Texts = BTreeMap<String, String>;

/// What the command line asks for.
struct Options {
    sizes: Vec<usize>,
    /// How often each quick case is measured; the median counts. "Everything" is measured once above 500 profiles.
    runs: usize,
    /// Whether to copy from the lighter half of the distribution's profiles, by compile time, or from all.
    pool: Pool,
}

#[derive(Clone, Copy, PartialEq)]
enum Pool {
    Half,
    All,
}

/// One line of the table.
struct Row {
    profiles: usize,
    case: &'static str,
    took: Duration,
    limit: Duration,
    limit_is: String,
    goal: f64,
    memory: Option<u64>,
    processes: Option<usize>,
}

fn main() -> Result<(), Failure> {
    let options = Options::from(std::env::args().skip(1))?;
    let pool = pool(options.pool)?;
    let mut rows = Vec::new();
    for &size in &options.sizes {
        rows.extend(measure(size, &pool, options.runs)?);
    }
    let mut out = std::io::stdout();
    let pool_is = match options.pool {
        Pool::Half => "the half that compiles fastest",
        Pool::All => "all",
    };
    writeln!(
        out,
        "\n{}; {} processors; copies of {} real profiles ({pool_is}); median of {} runs, of 3 for everything, of 1 above 500\n",
        version()?,
        std::thread::available_parallelism()?,
        pool.len(),
        options.runs,
    )?;
    write!(out, "{}", table(&rows)?)?;
    Ok(())
}

impl Options {
    fn from(mut arguments: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut options = Self { sizes: vec![20, 200, 2000], runs: 5, pool: Pool::Half };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value; {USAGE}"));
            match argument.as_str() {
                // cargo adds it.
                "--bench" => {}
                "--sizes" => options.sizes = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
                "--runs" => options.runs = value()?.parse::<usize>()?.max(1),
                "--pool" => {
                    options.pool = match value()?.as_str() {
                        "half" => Pool::Half,
                        "all" => Pool::All,
                        other => return Err(format!("no such pool: {other}; {USAGE}").into()),
                    }
                }
                other => return Err(format!("no such option: {other}; {USAGE}").into()),
            }
        }
        Ok(options)
    }
}

/// A scratch root on the disk that the repository is on: flushes to a memory file system would cost nothing.
struct Root {
    dir: TempDir,
}

impl Drop for Root {
    fn drop(&mut self) {
        // The directory cannot be removed before; what stays of it then shows in target/tmp.
        let _unmounted = time(command("umount").arg(self.path("run")));
    }
}

impl Root {
    fn new() -> Result<Self, Failure> {
        let root = Self { dir: TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))? };
        fs::create_dir_all(root.policy())?;
        fs::create_dir_all(root.path("usr/share"))?;
        for entry in fs::read_dir("/etc/apparmor.d")? {
            let path = entry?.path();
            if path.is_dir() {
                copy(&path, &root.policy())?;
            }
        }
        copy(Path::new("/etc/apparmor"), &root.path("etc"))?;
        copy(Path::new("/usr/share/apparmor-features"), &root.path("usr/share"))?;
        // As on every host: what is compiled is written there. scripts/bench.sh gives this process mounts of its own.
        fs::create_dir(root.path("run"))?;
        time(command("mount").args(["-t", "tmpfs", "tmpfs"]).arg(root.path("run")))?;
        Ok(root)
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join("root").join(below)
    }

    fn policy(&self) -> PathBuf {
        self.path("etc/apparmor.d")
    }

    fn features(&self) -> PathBuf {
        self.path("usr/share/apparmor-features/features")
    }

    /// The document that lists these profiles, as a file beside the root.
    fn document(&self, name: &str, texts: &Texts) -> Result<PathBuf, Failure> {
        let path = self.dir.path().join(name);
        let profiles: Vec<_> =
            texts.iter().map(|(file, content)| json!({ "file": file, "content": content })).collect();
        fs::write(&path, json!({ "version": 1, "owner": "bench", "profiles": profiles }).to_string())?;
        Ok(path)
    }

    fn apply(&self, wrapper: &[&str], document: &Path) -> Result<Command, Failure> {
        let words = [wrapper, &[PROGRAM, "apply", "--root"]].concat();
        let mut apply = command(words[0]);
        apply.args(&words[1..]).arg(self.path("")).arg("--kernel-features").arg(self.features());
        apply.stdin(fs::File::open(document)?.into_file());
        Ok(apply)
    }

    /// The bare parser on these files, two at a time, with what the program gives it.
    fn bare_parser<'a>(&self, files: impl Iterator<Item = &'a String>) -> Command {
        let mut parser = command(PARSER);
        parser.args(["-Q", "-K", "-T", "-q", "-j2", "-o", "/dev/null", "--base"]).arg(self.policy());
        parser.arg("--kernel-features").arg(self.features()).args(files.map(|file| self.policy().join(file)));
        parser
    }

    /// Every file that decides: profiles and includes.
    fn files(&self) -> Result<Vec<PathBuf>, Failure> {
        let mut files = Vec::new();
        let mut pending = vec![self.policy()];
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(directory)? {
                let entry = entry?;
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    pending.push(entry.path());
                } else if kind.is_file() {
                    files.push(entry.path());
                }
            }
        }
        Ok(files)
    }

    /// How long it takes to make `count` small files durable, one after the other, and their directory once.
    fn flushes(&self, count: usize) -> Result<Duration, Failure> {
        let directory = TempDir::new_in(self.dir.path())?;
        let begin = Instant::now();
        for n in 0..count {
            let mut file = fs::File::create(directory.path().join(format!("temporary-{n}")))?;
            file.write_all(&[b'#'; 2048])?;
            file.sync_all()?;
            fs::rename(directory.path().join(format!("temporary-{n}")), directory.path().join(format!("file-{n}")))?;
        }
        fs::File::open(directory.path())?.sync_all()?;
        Ok(begin.elapsed())
    }
}

/// Measures the three cases for `size` profiles.
fn measure(size: usize, pool: &Texts, runs: usize) -> Result<Vec<Row>, Failure> {
    let everything_runs = if size > 500 { 1 } else { 3.min(runs) };
    let texts = copies(pool, size);
    let changed: Texts = texts.iter().map(|(file, text)| (file.clone(), with_another_rule(text))).collect();
    let middle = texts.keys().nth(size / 2).ok_or("no profiles")?;
    let mut one_changed = texts.clone();
    one_changed.insert(middle.clone(), changed[middle].clone());
    let root = Root::new()?;
    let document = root.document("texts.json", &texts)?;
    let document_changed = root.document("changed.json", &changed)?;
    let document_one_changed = root.document("one.json", &one_changed)?;

    progress(&format!("{size}: first apply"))?;
    let first = time(&mut root.apply(&[], &document)?)?;

    progress(&format!("{size}: no-op and one changed"))?;
    let files = root.files()?;
    let one_or_none = |round: usize| if round % 2 == 0 { &document_one_changed } else { &document };
    let [one, no_op, compile, eight_flushes, hashing] = medians(
        runs,
        [
            &|round| {
                // As before the no-op, so that both find in the processor's caches what a run before them left there.
                time(&mut root.apply(&[], one_or_none(round + 1))?)?;
                time(&mut root.apply(&[], one_or_none(round))?)
            },
            // The round's document again: nothing is left to do.
            &|round| time(&mut root.apply(&[], one_or_none(round))?),
            &|_| time(&mut root.bare_parser(std::iter::once(middle))),
            &|_| root.flushes(8),
            &|_| time(command("sha256sum").args(&files)),
        ],
    )?;
    let no_op_memory = peak_memory(&mut root.apply(&[], one_or_none(runs + 1))?)?;
    let no_op_processes = processes(&root, one_or_none(runs + 1))?;
    let one_memory = peak_memory(&mut root.apply(&[], one_or_none(runs))?)?;
    let one_processes = processes(&root, one_or_none(runs + 1))?;

    progress(&format!("{size}: everything changed"))?;
    let all_or_none = |round: usize| if round % 2 == 0 { &document_changed } else { &document };
    let [everything, bare, all_flushes] = medians(
        everything_runs,
        [
            &|round| time(&mut root.apply(&[], all_or_none(round))?),
            &|_| time(&mut root.bare_parser(texts.keys())),
            &|_| root.flushes(size),
        ],
    )?;
    let everything_memory =
        if size > 500 { None } else { Some(peak_memory(&mut root.apply(&[], all_or_none(everything_runs))?)?) };

    let row = |case, took, limit, limit_is, goal, memory, processes| Row {
        profiles: size,
        case,
        took,
        limit,
        limit_is,
        goal,
        memory,
        processes,
    };
    let parser_and_flushes = format!("bare parser {} + {size} flushes {}", seconds(bare), seconds(all_flushes));
    // The goal allows a tenth more than the parser, and the flushes as they are.
    let allowed = (bare.mul_f64(1.1) + all_flushes).as_secs_f64() / (bare + all_flushes).as_secs_f64();
    Ok(vec![
        row(
            "no-op",
            no_op,
            hashing,
            format!("sha256sum of {} files", files.len()),
            2.0,
            Some(no_op_memory),
            Some(no_op_processes),
        ),
        row(
            "one changed",
            one,
            compile + no_op + eight_flushes,
            format!("its compile {} + no-op + 8 flushes {}", seconds(compile), seconds(eight_flushes)),
            1.0,
            Some(one_memory),
            Some(one_processes),
        ),
        row("first apply", first, bare + all_flushes, parser_and_flushes.clone(), allowed, None, None),
        row("all changed", everything, bare + all_flushes, parser_and_flushes, allowed, everything_memory, None),
    ])
}

fn table(rows: &[Row]) -> Result<String, Failure> {
    let mut table = String::from(
        "    N  case              took  per profile    ratio     goal  memory  processes  limit\n\
         -----  -----------  ---------  -----------  -------  -------  ------  ---------  -----\n",
    );
    for row in rows {
        let ratio = row.took.as_secs_f64() / row.limit.as_secs_f64();
        let per_profile = row.took.as_secs_f64() * 1000.0 / row.profiles as f64;
        let memory = row.memory.map_or("-".to_owned(), |kib| format!("{} MiB", kib.div_ceil(1024)));
        let processes = row.processes.map_or("-".to_owned(), |count| count.to_string());
        writeln!(
            table,
            "{:>5}  {:<11}  {:>9}  {per_profile:>8.2} ms  {ratio:>7.2}  {:>5.2}{}  {memory:>6}  {processes:>9}  {} = {}",
            row.profiles,
            row.case,
            seconds(row.took),
            row.goal,
            if ratio <= row.goal { " +" } else { " -" },
            seconds(row.limit),
            row.limit_is,
        )?;
    }
    table.push_str(
        "\n+ goal reached, - missed; memory is the program's own peak (VmHWM); processes are those that it starts\n",
    );
    Ok(table)
}

/// The distribution's profiles by file name: all, or the half that compiles fastest.
fn pool(pool: Pool) -> Result<Texts, Failure> {
    let mut timed = BTreeMap::new();
    for directory in ["/etc/apparmor.d", "/usr/share/apparmor/extra-profiles"] {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if !path.is_file() || name == "README" || name.starts_with('.') {
                continue;
            }
            let mut parser = command(PARSER);
            let took = time(parser.args(["-Q", "-K", "-T", "-q", "-o", "/dev/null"]).arg(&path))?;
            // Two directories may share a file name: one of them serves.
            timed.insert(name, (took, fs::read_to_string(path)?));
        }
    }
    let mut by_time: Vec<_> = timed.into_iter().map(|(name, (took, text))| (took, name, text)).collect();
    by_time.sort();
    if pool == Pool::Half {
        by_time.truncate(by_time.len() / 2);
    }
    Ok(by_time.into_iter().map(|(_, name, text)| (name, text)).collect())
}

/// `size` profiles: the pool's in turn, each round with names and attachments of its own.
fn copies(pool: &Texts, size: usize) -> Texts {
    let spread = (pool.len() / size).max(1);
    pool.iter()
        .step_by(spread)
        .cycle()
        .zip(0..size)
        .map(|((name, text), n)| match n * spread / pool.len() {
            0 => (name.clone(), text.clone()),
            round => (format!("{name}.copy{round}"), renamed(text, round)),
        })
        .collect()
}

/// Whether a line of Debian's policy opens a profile at the top of its file: there, such headers start their line, and
/// everything within a profile is indented.
fn is_top_header(line: &str) -> bool {
    line.trim_end().ends_with('{') && !line.starts_with([' ', '\t', '#', '@', '^'])
}

/// The text with another name and another attachment in every top header: paths move below a directory of their own.
fn renamed(text: &str, round: usize) -> String {
    let rename = |line: &str| -> String {
        let mut is_name = true;
        let words = line.split(' ').map(|word| match word {
            "profile" => word.to_owned(),
            path if path.starts_with('/') => {
                is_name = false;
                format!("/copy{round}{path}")
            }
            name if is_name && name != "{" => {
                is_name = false;
                format!("{name}.copy{round}")
            }
            other => other.to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    };
    let lines: Vec<_> =
        text.split('\n').map(|line| if is_top_header(line) { rename(line) } else { line.to_owned() }).collect();
    lines.join("\n")
}

/// The text with one more rule in its first profile: another policy, not only another text.
fn with_another_rule(text: &str) -> String {
    let mut lines: Vec<_> = text.split('\n').collect();
    if let Some(header) = lines.iter().position(|line| is_top_header(line)) {
        lines.insert(header + 1, "  /srv/benchmark/another.rule r,");
    }
    lines.join("\n")
}

/// The program's own peak memory in KiB: the last `VmHWM` that it shows. Taken in a run of its own, since asking costs
/// time.
#[expect(clippy::disallowed_methods, reason = "the kernel offers no other way to sample a process than to come back")]
fn peak_memory(command: &mut Command) -> Result<u64, Failure> {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait()?.is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let figure = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().split(' ').next()?.parse().ok());
        peak = figure.unwrap_or(peak);
        std::thread::sleep(Duration::from_micros(500));
    }
    Ok(peak)
}

/// How many programs a run starts.
fn processes(root: &Root, document: &Path) -> Result<usize, Failure> {
    let trace = root.dir.path().join("trace");
    let output = trace.to_str().ok_or("the path is not UTF-8")?;
    time(&mut root.apply(&["strace", "-f", "-qq", "-e", "trace=execve", "-o", output], document)?)?;
    // The first is the program itself.
    Ok(fs::read_to_string(trace)?.lines().filter(|line| line.ends_with("= 0")).count().saturating_sub(1))
}

/// Runs a command to its end, which must be a good one.
fn time(command: &mut Command) -> Result<Duration, Failure> {
    let begin = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut said)?;
    }
    let status = child.wait()?;
    let took = begin.elapsed();
    if !status.success() {
        let program = command.get_program().to_string_lossy().into_owned();
        return Err(format!("{program} ended with {status}: {}", said.chars().take(2000).collect::<String>()).into());
    }
    Ok(took)
}

/// The medians of what is measured in turn, `rounds` times, so that whatever else the machine does meets all of it alike.
fn medians<const N: usize>(
    rounds: usize,
    measured: [&dyn Fn(usize) -> Result<Duration, Failure>; N],
) -> Result<[Duration; N], Failure> {
    let mut times = [const { Vec::new() }; N];
    for round in 0..rounds {
        for (times, measure) in times.iter_mut().zip(measured) {
            times.push(measure(round)?);
        }
    }
    Ok(times.map(|mut times| {
        times.sort();
        times[times.len() / 2]
    }))
}

fn seconds(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1000.0;
    if milliseconds < 1000.0 { format!("{milliseconds:.1} ms") } else { format!("{:.2} s", milliseconds / 1000.0) }
}

fn version() -> Result<String, Failure> {
    let output = command(PARSER).arg("--version").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or("apparmor_parser").to_owned())
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    time(command("cp").arg("--archive").arg(from).arg(to)).map(drop)
}

fn progress(what: &str) -> Result<(), Failure> {
    Ok(writeln!(std::io::stderr(), "{what}")?)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark starts what it measures")]
fn command(program: &str) -> Command {
    Command::new(program)
}
