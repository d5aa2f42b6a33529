//! Writes what a package adds to a program's own `--help`: manual pages and shell completions, all from the grammar of
//! the command line, so that they cannot say anything else than the program does.
//!
//! `cargo run --example command_line_pages DIRECTORY` fills DIRECTORY, which must be there, with `man/*.8` and
//! `completions/{bash,zsh,fish}/`, each file under the name that it is installed by.

use std::error::Error;
use std::path::{Path, PathBuf};

use aa_converge::cli::Cli;
use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

/// Commands of an administrator (man-pages(7)).
const SECTION: &str = "8";

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os().nth(1).map(PathBuf::from).ok_or("usage: command_line_pages DIRECTORY")?;
    let mut command = Cli::command();
    command.build();
    write_manual(&command, &subdirectory(&directory, "man")?)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let completions = subdirectory(&directory, &format!("completions/{shell}"))?;
        let name = command.get_name().to_owned();
        let written = clap_complete::generate_to(shell, &mut command, &name, &completions)?;
        if shell == Shell::Bash {
            // bash-completion looks for a file that is named as the command alone.
            fs_err::rename(written, completions.join(name))?;
        }
    }
    Ok(())
}

fn subdirectory(parent: &Path, name: &str) -> Result<PathBuf, Box<dyn Error>> {
    let directory = parent.join(name);
    fs_err::create_dir_all(&directory)?;
    Ok(directory)
}

/// One page for the program and one for each of its commands, which the first one names.
fn write_manual(command: &Command, directory: &Path) -> Result<(), Box<dyn Error>> {
    let source = format!("{} {}", command.get_name(), command.get_version().unwrap_or_default());
    let commands = || std::iter::once(command).chain(command.get_subcommands());
    let pages: Vec<&str> = commands().map(page_of).collect();
    for command in commands() {
        let name = page_of(command);
        let man = Man::new(command.clone())
            .title(name)
            .section(SECTION)
            .source(source.as_str())
            .manual("System Manager's Manual");
        let mut page = Vec::new();
        man.render_title(&mut page)?;
        man.render_name_section(&mut page)?;
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
        if command.has_subcommands() {
            man.render_subcommands_section(&mut page)?;
        }
        after_help(command).to_writer(&mut page)?;
        files().to_writer(&mut page)?;
        see_also(&pages, name).to_writer(&mut page)?;
        fs_err::write(directory.join(format!("{name}.{SECTION}")), page)?;
    }
    Ok(())
}

fn page_of(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// What `--help` says at its end: a paragraph whose first line ends with a colon is a section, with lines that stay as
/// they are.
fn after_help(command: &Command) -> Roff {
    let mut roff = Roff::new();
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    for paragraph in text.split("\n\n") {
        match paragraph.split_once(":\n") {
            Some((title, lines)) if !title.contains('\n') => {
                roff.control("SH", [title.to_uppercase().as_str()]).control("nf", []);
                roff.text(lines.lines().map(|line| roman(format!("{line}\n"))).collect::<Vec<_>>());
                roff.control("fi", []);
            }
            _ => {
                roff.control("PP", []).text([roman(paragraph)]);
            }
        }
    }
    roff
}

/// Where the program and its service read and write.
const FILES: [(&str, &str); 8] = [
    ("/etc/apparmor.d", "The policy directory."),
    (
        "/etc/apparmor/parser.conf",
        "The parser's configuration, which names its cache and the kernel features to compile for.",
    ),
    ("/var/cache/apparmor", "The parser's cache, which is kept such that the next boot loads what was applied."),
    ("/var/lib/aa-converge/state.json", "What is whose, and what was compiled."),
    ("/var/lib/aa-converge/state.recent.json", "What of it has changed since that file was written."),
    ("/var/lib/aa-converge/adopted", "The originals of files that are replaced."),
    ("/var/lib/aa-converge/journal", "How to undo a run that was interrupted, which the next run does."),
    ("/etc/aa-converge/*.json", "The documents that aa-converge.service applies."),
];

fn files() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["FILES"]);
    for (path, meaning) in FILES {
        roff.control("TP", []).text([roman(path)]).text([roman(meaning)]);
    }
    roff
}

/// The program's other pages, and AppArmor's.
fn see_also(pages: &[&str], page: &str) -> Roff {
    let others = pages.iter().filter(|other| **other != page).map(|other| format!("{other}({SECTION})"));
    let all: Vec<String> =
        others.chain(["apparmor(7)", "apparmor.d(5)", "apparmor_parser(8)"].map(str::to_owned)).collect();
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]).text([roman(all.join(", "))]);
    roff
}
