//! How long `aa-converge apply` takes on a real kernel beside what it cannot do without: `tests/vm/bench.sh` runs this in
//! a guest, as root.
//!
//! Everything is measured in one boot, on the distribution's own profiles: nothing to do (also while another program
//! keeps loading a profile of its own), one changed, all changed, beside `apparmor_parser` on the same files. Nothing is
//! asserted: a benchmark on somebody's busy machine is no test.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fs_err as fs;
use serde_json::json;

const POLICY: &str = "/etc/apparmor.d";
const REPLACE: &str = "/sys/kernel/security/apparmor/.replace";
const DOCUMENT: &str = "/tmp/document.json";
/// How many of the distribution's profiles are taken.
const PROFILES: usize = 100;
/// How often everything is measured, and within one round each of what takes little time. Medians count.
const ROUNDS: usize = 3;
const RUNS: usize = 5;
/// How often the other program loads its profile.
const LOADS_EVERY: Duration = Duration::from_millis(20);

type Failure = Box<dyn std::error::Error>;

/// What was measured one soon after the other. A busy machine is slower at one time than at another, so what is compared
/// is always of one round.
struct Round {
    nothing: Duration,
    nothing_static: Duration,
    busy: Duration,
    busy_static: Duration,
    one: Duration,
    all: Duration,
    flushes: Duration,
    parse_one: Duration,
    parse_all: Duration,
    warm: Duration,
    warm_and_busy: Duration,
    start: Duration,
    parser_start: Duration,
}

/// One line of the table.
struct Row {
    case: String,
    took: fn(&Round) -> Duration,
    limit: fn(&Round) -> Duration,
    limit_is: &'static str,
    goal: f64,
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let (Some(program), Some(static_program)) = (arguments.next(), arguments.next()) else {
        return Err("usage: kernel PROGRAM STATIC-PROGRAM".into());
    };
    let texts = texts()?;
    let files: Vec<PathBuf> = texts.keys().map(|file| Path::new(POLICY).join(file)).collect();
    let mut bench = Bench { program, static_program, texts, generation: 0 };
    bench.write_document(0)?;
    bench.apply()?;
    let rounds = (0..ROUNDS).map(|_| bench.round(&files)).collect::<Result<Vec<_>, _>>()?;

    let count = files.len();
    let rows = [
        Row {
            case: format!("nothing to do, {count} profiles"),
            took: |round| round.nothing,
            limit: |round| round.warm,
            limit_is: "apparmor_parser -r, warm cache",
            goal: 0.05,
        },
        Row {
            case: "the same, by the static program".to_owned(),
            took: |round| round.nothing_static,
            limit: |round| round.warm,
            limit_is: "the same",
            goal: 0.05,
        },
        Row {
            case: "nothing to do while another program loads".to_owned(),
            took: |round| round.busy,
            limit: |round| round.warm_and_busy,
            limit_is: "the same, while that program loads",
            goal: 0.05,
        },
        Row {
            case: "the same, by the static program".to_owned(),
            took: |round| round.busy_static,
            limit: |round| round.warm_and_busy,
            limit_is: "the same",
            goal: 0.05,
        },
        Row {
            case: "one changed".to_owned(),
            took: |round| round.one,
            limit: |round| round.parse_one + round.nothing + round.flushes,
            limit_is: "apparmor_parser -r -T of it + no-op + flushes",
            goal: 1.0,
        },
        Row {
            case: format!("{count} changed"),
            took: |round| round.all,
            limit: |round| round.parse_all + round.flushes,
            limit_is: "apparmor_parser -r -T of all + flushes",
            goal: 1.1,
        },
    ];
    let median = |of: &dyn Fn(&Round) -> f64| middle(rounds.iter().map(of).collect(), f64::total_cmp);
    let milliseconds = |of: &dyn Fn(&Round) -> Duration| median(&|round| of(round).as_secs_f64() * 1e3);
    let mut out = std::io::stdout();
    for Row { case, took, limit, limit_is, goal } in rows {
        writeln!(
            out,
            "{case:<41} {:>9.1} ms {:>9.1} ms  {:>6.3} (goal {goal})  {limit_is}",
            milliseconds(&took),
            milliseconds(&limit),
            median(&|round| took(round).as_secs_f64() / limit(round).as_secs_f64()),
        )?;
    }
    // There is one process of the parser for each file here, and one for all files there.
    writeln!(
        out,
        "for comparison: aa-converge --version takes {:.1} ms, apparmor_parser --version {:.1} ms",
        milliseconds(&|round| round.start),
        milliseconds(&|round| round.parser_start)
    )?;
    Ok(())
}

struct Bench {
    program: String,
    static_program: String,
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

    /// Measures everything once.
    fn round(&mut self, files: &[PathBuf]) -> Result<Round, Failure> {
        // Whatever the round before loaded by the parser is looked at by this run, and not by those that are measured.
        self.apply()?;
        let nothing = median(RUNS, || self.apply())?;
        let nothing_static = median(RUNS, || self.apply_by(&self.static_program))?;
        let busy = Neighbour::during(|| median(RUNS, || self.apply()))?;
        let busy_static = Neighbour::during(|| median(RUNS, || self.apply_by(&self.static_program)))?;
        let flushes = median(RUNS, || flushes(8))?;
        self.apply()?;
        let one = median(RUNS, || self.change(1))?;
        let parse_one = median(RUNS, || parser(&["-r", "-T"], &files[..1]))?;
        self.apply()?;
        let all = self.change(usize::MAX)?;
        let parse_all = parser(&["-r", "-T"], files)?;
        parser(&["-r", "-W"], files)?;
        let warm = median(RUNS, || parser(&["-r"], files))?;
        let warm_and_busy = Neighbour::during(|| median(RUNS, || parser(&["-r"], files)))?;
        let start = median(RUNS, || run(command(&self.program).arg("--version")))?;
        let parser_start = median(RUNS, || parser(&["--version"], &[]))?;
        Ok(Round {
            nothing,
            nothing_static,
            busy,
            busy_static,
            one,
            all,
            flushes,
            parse_one,
            parse_all,
            warm,
            warm_and_busy,
            start,
            parser_start,
        })
    }

    fn change(&mut self, changed: usize) -> Result<Duration, Failure> {
        self.write_document(changed)?;
        self.apply()
    }

    fn apply(&self) -> Result<Duration, Failure> {
        self.apply_by(&self.program)
    }

    fn apply_by(&self, program: &str) -> Result<Duration, Failure> {
        run(command(program).args(["apply", "--format", "json", DOCUMENT]))
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

fn parser(options: &[&str], files: &[PathBuf]) -> Result<Duration, Failure> {
    run(command("/usr/sbin/apparmor_parser").args(options).args(files))
}

/// How long a process takes, from its start to its end.
fn run(command: &mut Command) -> Result<Duration, Failure> {
    let started = Instant::now();
    let output = command.stdin(Stdio::null()).output()?;
    let took = started.elapsed();
    if output.status.success() {
        return Ok(took);
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&said)).into())
}

/// What durability costs: new files, flushed, and their directory.
fn flushes(count: usize) -> Result<Duration, Failure> {
    let started = Instant::now();
    for number in 0..count {
        let path = format!("/var/lib/flush-{number}");
        let mut file = fs::File::create(&path)?;
        file.write_all(&[0; 4096])?;
        file.sync_all()?;
        fs::File::open("/var/lib")?.sync_all()?;
        fs::remove_file(path)?;
    }
    Ok(started.elapsed())
}

fn median(runs: usize, measure: impl FnMut() -> Result<Duration, Failure>) -> Result<Duration, Failure> {
    let took = std::iter::repeat_with(measure).take(runs).collect::<Result<Vec<_>, _>>()?;
    Ok(middle(took, Duration::cmp))
}

fn middle<T: Copy>(mut values: Vec<T>, order: impl Fn(&T, &T) -> Ordering) -> T {
    values.sort_unstable_by(order);
    values[values.len() / 2]
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
                while !done.load(Relaxed) {
                    fs::OpenOptions::new().write(true).open(REPLACE)?.write_all(&blob)?;
                    loads.fetch_add(1, Relaxed);
                    std::thread::park_timeout(LOADS_EVERY);
                }
                Ok(())
            });
            let took = work();
            done.store(true, Relaxed);
            neighbour.join().map_err(|_| "the neighbour panicked")??;
            took
        })?;
        let loads = loads.into_inner();
        if loads < 2 { Err(format!("the neighbour loaded {loads} times only").into()) } else { Ok(took) }
    }
}
