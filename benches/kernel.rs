//! How long `aa-converge apply` takes on a real kernel beside what it cannot do without: `tests/vm/bench.sh` runs this in
//! a guest, as root.
//!
//! Everything is measured in one boot, on the distribution's own profiles: nothing to do (also while another program
//! keeps loading a profile of its own), one changed, all changed, beside `apparmor_parser` on the same files. Nothing is
//! asserted: a benchmark on somebody's busy machine is no test.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fs_err as fs;
use serde_json::json;

const POLICY: &str = "/etc/apparmor.d";
const REPLACE: &str = "/sys/kernel/security/apparmor/.replace";
const DOCUMENT: &str = "/tmp/document.json";
/// How many of the distribution's profiles are taken, and how often each case is measured; the median counts.
const PROFILES: usize = 100;
const RUNS: usize = 5;
/// How often the other program loads its profile.
const LOADS_EVERY: Duration = Duration::from_millis(20);

type Failure = Box<dyn std::error::Error>;

/// One line of the table.
struct Row {
    case: String,
    took: Duration,
    limit: Duration,
    limit_is: &'static str,
    goal: f64,
}

fn main() -> Result<(), Failure> {
    let program = std::env::args().nth(1).ok_or("usage: kernel PROGRAM")?;
    let texts = texts()?;
    let files: Vec<PathBuf> = texts.keys().map(|file| Path::new(POLICY).join(file)).collect();
    let mut bench = Bench { program, texts, generation: 0 };
    bench.write_document(0)?;
    bench.apply()?;

    let nothing = median(RUNS, || bench.apply())?;
    let busy = Neighbour::during(|| median(RUNS, || bench.apply()))?;
    let flushes = median(RUNS, || flushes(8))?;
    let one = median(RUNS, || {
        bench.write_document(1)?;
        bench.apply()
    })?;
    let parse_one = median(RUNS, || parser(&["-r", "-T"], &files[..1]))?;
    let all = median(3, || {
        bench.write_document(usize::MAX)?;
        bench.apply()
    })?;
    let parse_all = median(3, || parser(&["-r", "-T"], &files))?;
    parser(&["-r", "-W"], &files)?;
    let warm = median(RUNS, || parser(&["-r"], &files))?;

    let start = median(RUNS, || run(command(&bench.program).arg("--version")))?;
    let parser_start = median(RUNS, || parser(&["--version"], &[]))?;

    let count = files.len();
    let row = |case: String, took, limit, limit_is, goal| Row { case, took, limit, limit_is, goal };
    let rows = [
        row(format!("nothing to do, {count} profiles"), nothing, warm, "apparmor_parser -r, warm cache", 0.05),
        row("the same while another program loads".to_owned(), busy, warm, "the same", 0.05),
        row(
            "one changed".to_owned(),
            one,
            parse_one + nothing + flushes,
            "apparmor_parser -r -T of it + no-op + flushes",
            1.0,
        ),
        row(format!("{count} changed"), all, parse_all + flushes, "apparmor_parser -r -T of all + flushes", 1.1),
    ];
    let mut out = std::io::stdout();
    for row in rows {
        let (took, limit) = (row.took.as_secs_f64() * 1e3, row.limit.as_secs_f64() * 1e3);
        writeln!(
            out,
            "{:<40} {took:>9.1} ms {limit:>9.1} ms  {:>6.3} (goal {})  {}",
            row.case,
            took / limit,
            row.goal,
            row.limit_is
        )?;
    }
    // Without hardware acceleration it is the beginning of a process that costs most, above all the parser's, of which
    // there is one for each file here and one for all files there.
    writeln!(
        out,
        "for comparison: aa-converge --version takes {:.1} ms, apparmor_parser --version {:.1} ms",
        start.as_secs_f64() * 1e3,
        parser_start.as_secs_f64() * 1e3
    )?;
    Ok(())
}

struct Bench {
    program: String,
    texts: BTreeMap<String, String>,
    generation: usize,
}

impl Bench {
    /// Writes a document in which the first `changed` profiles have a rule that they never had before.
    fn write_document(&mut self, changed: usize) -> Result<(), Failure> {
        self.generation += 1;
        for text in self.texts.values_mut().take(changed) {
            let end = text.rfind('}').ok_or("a profile without an end")?;
            text.insert_str(end, &format!("  /bench/{} r,\n", self.generation));
        }
        let profiles: Vec<_> = self
            .texts
            .iter()
            .map(|(file, text)| json!({ "file": file, "mode": "as_written", "content": text }))
            .collect();
        fs::write(DOCUMENT, json!({ "version": 1, "owner": "bench", "profiles": profiles }).to_string())?;
        Ok(())
    }

    fn apply(&self) -> Result<(), Failure> {
        run(command(&self.program).args(["apply", "--format", "json", DOCUMENT]))
    }
}

/// The distribution's profiles that the parser here loads, by file.
fn texts() -> Result<BTreeMap<String, String>, Failure> {
    let mut texts = BTreeMap::new();
    for entry in fs::read_dir(POLICY)? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|_| "a name that is not UTF-8")?;
        if !entry.file_type()?.is_file() || name == "README" || name.starts_with('.') {
            continue;
        }
        if parser(&["-Q", "-K", "-T"], &[entry.path()]).is_ok() {
            texts.insert(name, fs::read_to_string(entry.path())?);
        }
    }
    let beyond: Vec<String> = texts.keys().skip(PROFILES).cloned().collect();
    for name in beyond {
        texts.remove(&name);
    }
    Ok(texts)
}

/// A process of any program.
#[expect(clippy::disallowed_methods, reason = "a benchmark starts what it measures")]
fn command(program: &str) -> Command {
    Command::new(program)
}

fn parser(options: &[&str], files: &[PathBuf]) -> Result<(), Failure> {
    run(command("/usr/sbin/apparmor_parser").args(options).args(files))
}

fn run(command: &mut Command) -> Result<(), Failure> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&said)).into())
}

/// What durability costs: new files, flushed, and their directory.
fn flushes(count: usize) -> Result<(), Failure> {
    for number in 0..count {
        let path = format!("/var/lib/flush-{number}");
        let mut file = fs::File::create(&path)?;
        file.write_all(&[0; 4096])?;
        file.sync_all()?;
        fs::File::open("/var/lib")?.sync_all()?;
        fs::remove_file(path)?;
    }
    Ok(())
}

fn median(runs: usize, mut work: impl FnMut() -> Result<(), Failure>) -> Result<Duration, Failure> {
    let mut took = Vec::new();
    for _ in 0..runs {
        let started = Instant::now();
        work()?;
        took.push(started.elapsed());
    }
    took.sort_unstable();
    Ok(took[took.len() / 2])
}

/// Another program that loads policy all the time, as docker, libvirt and snapd do.
struct Neighbour;

impl Neighbour {
    fn during(work: impl FnOnce() -> Result<Duration, Failure>) -> Result<Duration, Failure> {
        let text = "/tmp/neighbour";
        fs::write(text, "profile bench-neighbour {\n}\n")?;
        run(command("/usr/sbin/apparmor_parser").args(["-Q", "-K", "-T", "-o", "/tmp/neighbour.blob", text]))?;
        let blob = fs::read("/tmp/neighbour.blob")?;
        let (done, loads) = (AtomicBool::new(false), AtomicU32::new(0));
        let took = std::thread::scope(|scope| {
            let neighbour = scope.spawn(|| -> std::io::Result<()> {
                while !done.load(Ordering::Relaxed) {
                    fs::OpenOptions::new().write(true).open(REPLACE)?.write_all(&blob)?;
                    loads.fetch_add(1, Ordering::Relaxed);
                    std::thread::park_timeout(LOADS_EVERY);
                }
                Ok(())
            });
            let took = work();
            done.store(true, Ordering::Relaxed);
            neighbour.join().map_err(|_| "the neighbour panicked")??;
            took
        })?;
        let loads = loads.into_inner();
        if loads < 2 { Err(format!("the neighbour loaded {loads} times only").into()) } else { Ok(took) }
    }
}
