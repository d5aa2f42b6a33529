//! The program: arguments and standard input in, one value on standard output, an exit status.
//!
//! **Invariants:** only this file prints, reads the environment or ends the process. Whatever happens, standard output
//! gets exactly one value; a closed one changes nothing.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aa_converge::cli::{
    AnswerFormat, ApplyArgs, Cli, Command, ExportArgs, Format, HostArgs, KernelUse, RenderArgs, RenderFormat, SchemaOf,
    StatusArgs,
};
use aa_converge::document::{self, MAX_DOCUMENT};
use aa_converge::error::Error;
use aa_converge::host::dir::Dir;
use aa_converge::host::kernel::Access;
use aa_converge::host::parser::Cancel;
use aa_converge::host::replace::Draft as ReportFile;
use aa_converge::host::root::Entry;
use aa_converge::host::signals::Signals;
use aa_converge::host::{Host, Options as HostOptions};
use aa_converge::ledger::Attributes;
use aa_converge::report::{self, Colour, Diffs, Draft, Exit, Listing, Report, RunError, SaltReport};
use aa_converge::{render, run, status};
use clap::Parser as _;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mimalloc::MiMalloc;
use nix::fcntl::OFlag;

/// glibc's allocator grows a thread's heap page by page, with a system call and a page fault each: a fifth of the time of
/// a run that changes nothing.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How long the parser may take to tell its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(30);

fn main() -> ! {
    let exit = match std::panic::catch_unwind(start) {
        Ok(exit) => exit,
        Err(_) => {
            let error = RunError {
                code: Error::DEFECT.to_owned(),
                message: "a defect in aa-converge; standard error says where".to_owned(),
                remedy: Some("please report it; the next run undoes what this one may have begun".to_owned()),
            };
            let written = print_json(&Draft::default().fail(error, Listing::Changed));
            answered(Exit::Defect, written)
        }
    };
    // Nothing but memory is left, which goes with the process: the allocator, asked first, gives it back in hundreds of
    // pieces.
    signal_hook::low_level::exit(exit as i32)
}

fn start() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            // Only clap knows how to print its own message; the report is for programs.
            let _printed = error.print();
            let written = if io::stdout().is_terminal() {
                Ok(())
            } else {
                print_json(&refused(Error::Usage { message: usage_message(&error) }, false))
            };
            return answered(Exit::Usage, written);
        }
        Err(help) => return answered(Exit::Converged, help.print().and_then(|()| io::stdout().flush())),
    };
    match cli.command {
        Command::Apply(args) => apply(&args),
        Command::Status(args) => status(&args),
        Command::Export(args) => export(&args),
        Command::Render(args) => render(&args),
        Command::Schema(args) => {
            let schema = match args.of {
                SchemaOf::Document => document::schema(),
                SchemaOf::Report => report::schema(),
                SchemaOf::Status => status::schema(),
            };
            answered(Exit::Converged, print(&format!("{schema:#}\n")))
        }
    }
}

/// The first line of what clap says, or what it does not say: that nothing was asked for.
fn usage_message(error: &clap::Error) -> String {
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "a command is missing".to_owned();
    }
    let said = error.render().to_string();
    said.lines().next().unwrap_or("wrong call").trim_start_matches("error: ").to_owned()
}

fn refused(error: Error, check: bool) -> Report {
    Draft { check, ..Draft::default() }.refuse(error, Listing::Changed)
}

fn apply(args: &ApplyArgs) -> Exit {
    let format = args.format.unwrap_or(if io::stdout().is_terminal() { Format::Text } else { Format::Json });
    let report = match open_report(args) {
        Ok(file) => {
            let report = converge(args).unwrap_or_else(|error| refused(error, args.check));
            if let Some(Err(error)) = file.map(|(file, name)| write_report(file, &name, &report)) {
                eprint(&format!("the report could not be written: {error}\n"));
            }
            report
        }
        Err(error) => refused(error, args.check),
    };
    let written = match format {
        Format::Json => print_json(&report),
        Format::Salt => print_json(&SaltReport::from(&report)),
        Format::Text => print(&report::render_text(&report, colour())),
    };
    answered(report.exit(args.detailed_exitcodes), written)
}

fn converge(args: &ApplyArgs) -> Result<Report, Error> {
    let host = Host::open(host_options(args)?)?;
    cancel_on_signals(&host)?;
    let document = read_document(&args.document, &host.cancel)?;
    let options = run::Options {
        diffs: if args.diff { Diffs::Wanted } else { Diffs::Omitted },
        listing: if args.all { Listing::All } else { Listing::Changed },
        lock_timeout: Duration::from_secs(args.lock_timeout),
    };
    let bar = progress_bar();
    let progress = |done: usize, total: usize, name: &str| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
        bar.set_message(name.to_owned());
    };
    let report = if args.check {
        run::check(&document, &host, options, &progress)
    } else {
        run::apply(document, host, options, &progress)
    };
    bar.finish_and_clear();
    Ok(report)
}

fn host_options(args: &ApplyArgs) -> Result<HostOptions, Error> {
    let kernel = kernel_use(&args.root, args.kernel)?;
    Ok(HostOptions {
        root: args.root.clone(),
        kernel: (kernel == KernelUse::Require).then_some(Access::Manage),
        kernel_features: args.kernel_features.clone(),
        jobs: args.jobs,
        parser: args.parser.clone(),
        parser_timeout: Duration::from_secs(args.parser_timeout),
        temporary: temporary_directory(),
    })
}

/// Whether the running kernel is wanted.
fn kernel_use(root: &Path, asked: Option<KernelUse>) -> Result<KernelUse, Error> {
    let is_host = root == Path::new("/");
    let kernel = asked.unwrap_or(if is_host { KernelUse::Require } else { KernelUse::Skip });
    if kernel == KernelUse::Require && !is_host {
        return Err(Error::Usage {
            message: "--kernel require cannot go with --root: an image has no kernel".to_owned(),
        });
    }
    Ok(kernel)
}

/// A host that is only looked at.
fn open_to_read(args: &HostArgs) -> Result<Host, Error> {
    let kernel = kernel_use(&args.root, args.kernel)?;
    let host = Host::open(HostOptions {
        root: args.root.clone(),
        kernel: (kernel == KernelUse::Require).then_some(Access::Read),
        kernel_features: args.kernel_features.clone(),
        jobs: None,
        parser: args.parser.clone(),
        parser_timeout: VERSION_TIMEOUT,
        temporary: temporary_directory(),
    })?;
    cancel_on_signals(&host)?;
    Ok(host)
}

#[expect(clippy::disallowed_methods, reason = "this is the place where the environment is read")]
fn temporary_directory() -> PathBuf {
    std::env::temp_dir()
}

#[expect(clippy::disallowed_methods, reason = "this is the place where the environment is read")]
fn colour() -> Colour {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if io::stdout().is_terminal() && !refused { Colour::On } else { Colour::Off }
}

/// Has the signals of somebody who goes away end the run before its first effect; from then on they are too late. One
/// that whoever started us has us ignore, as nohup(1) does with SIGHUP, stays ignored.
fn cancel_on_signals(host: &Host) -> Result<(), Error> {
    let ignored = Signals::ignored();
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        if ignored.contains(signal) {
            continue;
        }
        let socket = host.cancel.trigger_socket().map_err(no_sockets)?;
        signal_hook::low_level::pipe::register(signal, socket).map_err(no_sockets)?;
    }
    Ok(())
}

fn no_sockets(source: io::Error) -> Error {
    Error::File { act: "catch signals by a socket in", path: "/proc/self/fd".into(), source }
}

fn read_document(path: &Path, cancel: &Cancel) -> Result<Vec<u8>, Error> {
    let cannot = |source| Error::File { act: "read the document from", path: path.to_path_buf(), source };
    let bytes = if path == Path::new("-") {
        if io::stdin().is_terminal() {
            eprint("reading the document from standard input (end with Ctrl-D)\n");
        }
        io::stdin().as_fd().try_clone_to_owned().and_then(|input| read_to_limit(input.into(), cancel))
    } else {
        // Opening a FIFO does not wait for its writer: that is left to the reading, which signals end.
        let mut options = fs_err::OpenOptions::new();
        options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
        options.open(path).and_then(|file| read_to_limit(file.into_file(), cancel))
    };
    bytes.map_err(cannot)?.ok_or(Error::Interrupted)
}

/// Reads to the end, or beyond what a document may have. `None` if it was interrupted.
fn read_to_limit(mut input: File, cancel: &Cancel) -> io::Result<Option<Vec<u8>>> {
    // A file is read at once, into memory that does not grow; of anything else the size is not known.
    let size = input.metadata().map_or(0, |metadata| metadata.len());
    let room = usize::try_from(size).map_or(MAX_DOCUMENT, |size| size.min(MAX_DOCUMENT)) + 1;
    let (mut bytes, mut filled) = (vec![0; room], 0);
    while filled <= MAX_DOCUMENT {
        if filled == bytes.len() {
            bytes.resize(filled + filled.max(1 << 16), 0);
        }
        if !cancel.lets_read(&input)? {
            return Ok(None);
        }
        match input.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(Some(bytes))
}

/// Opens the report's copy before anything is done, so that a place that cannot be written is known in time.
fn open_report(args: &ApplyArgs) -> Result<Option<(ReportFile, PathBuf)>, Error> {
    let Some(path) = &args.report else { return Ok(None) };
    let Some(name) = path.file_name() else {
        return Err(Error::Usage { message: format!("--report {}: it names no file", path.display()) });
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = Dir::open(parent)?;
    // The report takes the place of a file, and of nothing else.
    let there = match directory.entry(name, u64::MAX)? {
        Entry::Absent | Entry::File(_) => None,
        Entry::Directory => Some("a directory".to_owned()),
        Entry::Link { target } => Some(format!("a link to {}", target.display())),
        Entry::Special(words) => Some(words.to_owned()),
    };
    if let Some(there) = there {
        return Err(Error::Usage { message: format!("--report {}: it is {there}, not a file", path.display()) });
    }
    let file = directory.create_temporary()?;
    Ok(Some((file, PathBuf::from(name))))
}

fn write_report(file: ReportFile, name: &Path, report: &Report) -> Result<(), Error> {
    let mut bytes = to_json(report);
    bytes.push(b'\n');
    file.write(&bytes, Attributes::ours(0o600))?.rename_to(name)
}

fn progress_bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("compiling {pos}/{len} {wide_bar} {msg}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn status(args: &StatusArgs) -> Exit {
    let format = answer_format(args.format);
    match open_to_read(&args.host).and_then(|host| run::status(&host)) {
        Ok(status) => {
            let written = match format {
                AnswerFormat::Json => print_json(&status),
                AnswerFormat::Text => print(&status::render_text(&status, colour())),
            };
            answered(Exit::Converged, written)
        }
        Err(error) => no_answer(error, format),
    }
}

fn export(args: &ExportArgs) -> Exit {
    let format = answer_format(args.format);
    match open_to_read(&args.host).and_then(|host| run::export(&host, args.owner.clone())) {
        Ok(export) => {
            let written = match format {
                AnswerFormat::Json => {
                    let written = print(&format!("{}\n", export.to_json()));
                    export.remarks.iter().for_each(|remark| eprint(&format!("note: {remark}\n")));
                    written
                }
                AnswerFormat::Text => print(&export.to_text(colour())),
            };
            answered(Exit::Converged, written)
        }
        Err(error) => no_answer(error, format),
    }
}

fn answer_format(asked: Option<AnswerFormat>) -> AnswerFormat {
    asked.unwrap_or(if io::stdout().is_terminal() { AnswerFormat::Text } else { AnswerFormat::Json })
}

/// Prints a report in the place of an answer that there is not.
fn no_answer(error: Error, format: AnswerFormat) -> Exit {
    let report = refused(error, false);
    let written = match format {
        AnswerFormat::Json => print_json(&report),
        AnswerFormat::Text => print(&report::render_text(&report, colour())),
    };
    answered(report.exit(false), written)
}

fn render(args: &RenderArgs) -> Exit {
    let read = Cancel::new().map_err(no_sockets).and_then(|cancel| read_document(&args.document, &cancel));
    let json = match read {
        Ok(json) => json,
        Err(error) => {
            let report = refused(error, false);
            return answered(report.exit(false), print_json(&report));
        }
    };
    match document::parse(&json).and_then(|desired| render::render(&desired)) {
        Ok(rendered) => {
            let written = match args.format {
                RenderFormat::Json => print_json(&rendered),
                RenderFormat::Text => print(&rendered.to_text()),
            };
            answered(Exit::Converged, written)
        }
        Err(problems) => {
            let report = refused(Error::Document(problems), false);
            let written = match args.format {
                RenderFormat::Json => print_json(&report),
                RenderFormat::Text => print(&report::render_text(&report, colour())),
            };
            answered(Exit::DocumentRefused, written)
        }
    }
}

fn to_json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    // Strings, numbers and lists: nothing in our wire types can fail to become JSON.
    serde_json::to_vec(value).unwrap_or_default()
}

/// The exit status of a run whose answer was written, or not: one that nobody could read is no success.
fn answered(exit: Exit, written: io::Result<()>) -> Exit {
    let Err(error) = written else { return exit };
    eprint(&format!("the answer could not be written to standard output: {error}\n"));
    match exit {
        Exit::Converged | Exit::Changed => Exit::Unanswered,
        failed => failed,
    }
}

fn print_json<T: serde::Serialize>(value: &T) -> io::Result<()> {
    let mut bytes = to_json(value);
    bytes.push(b'\n');
    write_out(&bytes)
}

fn print(text: &str) -> io::Result<()> {
    write_out(text.as_bytes())
}

fn write_out(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

fn eprint(text: &str) {
    // There is nowhere left to say that standard error is closed.
    let _closed = io::stderr().write_all(text.as_bytes());
}
