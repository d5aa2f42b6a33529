//! The status for people: one line a file of profiles with what differs below it, include files that differ, others'
//! profiles, processes, and the summary last.

use std::collections::BTreeSet;
use std::fmt::{Result, Write as _};

use super::{FileState, PackageOf, ProfileFile, ProfileStatus, Status, count};
use crate::profile::Owner;
use crate::report::{Colour, Paint, Reason, visible};

/// The widest that a column is padded to, in characters.
const WIDEST: usize = 48;

/// Writes `status` as text that ends with a newline. Control characters are shown escaped.
#[must_use]
pub fn render(status: &Status, colour: Colour) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _infallible = write_status(&mut out, status, colour);
    out
}

fn write_status(out: &mut String, status: &Status, colour: Colour) -> Result {
    write_files(out, status, colour)?;
    let foreign = status.foreign.iter().map(|profile| vec![profile.name.clone(), profile.mode.to_string()]);
    write_section(out, "loaded, and defined by no file here:", foreign.collect(), colour)?;
    let confined = status.processes.confined.iter().map(|process| {
        let profiles = process.profiles.iter().map(|profile| match profile.mode {
            Some(mode) => format!("{} ({mode})", profile.name),
            None => profile.name.clone(),
        });
        let profiles = profiles.collect::<Vec<_>>().join(" and ");
        vec![process.pid.to_string(), told(process.executable.as_deref()), told(process.unit.as_deref()), profiles]
    });
    write_section(out, "processes under a profile:", confined.collect(), colour)?;
    let unconfined = status.processes.unconfined.iter().flatten().map(|process| {
        let doubt = if process.certain { "" } else { " (not certain)" };
        let profile = format!("{}{doubt}", process.profile);
        vec![process.pid.to_string(), process.executable.clone(), told(process.unit.as_deref()), profile]
    });
    write_section(out, "processes that run unconfined until they are restarted:", unconfined.collect(), colour)?;
    write_end(out, status, colour)
}

fn told(value: Option<&str>) -> String {
    value.unwrap_or("-").to_owned()
}

fn write_files(out: &mut String, status: &Status, colour: Colour) -> Result {
    let of_profiles = status.profiles.iter().map(|file| {
        let cells = [file.file.to_string(), modes(file), whose(file.owner.as_ref(), file.package.as_ref())];
        let profiles = if file.is_merely_unloaded() { &[][..] } else { &file.profiles[..] };
        (word(file), cells, &file.drift, profiles)
    });
    // Include files are many, and say little while they are as they should be.
    let includes = status.files.iter().filter(|file| !file.drift.is_empty()).map(|file| {
        let cells = [file.path.to_string(), "-".to_owned(), whose(Some(&file.owner), None)];
        (("drifted", Paint::Bad), cells, &file.drift, &[][..])
    });
    let lines: Vec<_> = includes.chain(of_profiles).collect();
    let widths = widths(lines.iter().map(|(_, cells, ..)| &cells[..]));
    for ((word, paint), cells, drift, profiles) in lines {
        let reasons: Vec<&str> = drift.iter().map(|reason: &Reason| reason.0.as_str()).collect();
        let line = format!("{}  {}", row(&cells, &widths), visible(&reasons.join(", ")));
        writeln!(out, "{}  {}", colour.paint(paint, &format!("{word:<8}")), line.trim_end())?;
        for profile in profiles.iter().filter(|profile| !profile.drift.is_empty()) {
            writeln!(out, "          {}", colour.paint(Paint::Bad, &visible(&difference(profile))))?;
        }
    }
    Ok(())
}

fn word(file: &ProfileFile) -> (&'static str, Paint) {
    match (file.state, file.drift.is_empty()) {
        (FileState::Missing, _) => ("missing", Paint::Bad),
        _ if file.is_merely_unloaded() => ("unloaded", Paint::Faint),
        (_, false) => ("drifted", Paint::Bad),
        (FileState::Disabled, true) => ("disabled", Paint::Faint),
        (FileState::Enabled, true) => ("ok", Paint::Good),
    }
}

/// The modes that a file's profiles run in, or should where none runs.
fn modes(file: &ProfileFile) -> String {
    let modes = file.profiles.iter().filter_map(|profile| profile.running.as_ref().or(profile.wanted.as_ref()));
    let modes: BTreeSet<_> = modes.map(|profile| profile.mode).collect();
    if modes.is_empty() {
        return "-".to_owned();
    }
    modes.iter().map(ToString::to_string).collect::<Vec<_>>().join("+")
}

fn whose(owner: Option<&Owner>, package: Option<&PackageOf>) -> String {
    let package = package.map(|package| format!("{}{}", package.name, if package.edited { ", edited" } else { "" }));
    match (owner, package) {
        (Some(owner), Some(package)) => format!("{owner} ({package})"),
        (Some(owner), None) => owner.to_string(),
        (None, Some(package)) => format!("({package})"),
        (None, None) => "-".to_owned(),
    }
}

fn difference(profile: &ProfileStatus) -> String {
    let name = &profile.name;
    let said: Vec<String> = profile
        .drift
        .iter()
        .map(|reason| match (reason.0.as_str(), &profile.wanted, &profile.running) {
            (Reason::KERNEL_MISSING, ..) => "is not loaded".to_owned(),
            (Reason::KERNEL_DRIFT, Some(_), _) => "runs another text than was compiled".to_owned(),
            (Reason::KERNEL_DRIFT, None, _) => "is loaded, although its file is not in force".to_owned(),
            (Reason::KERNEL_MODE, Some(wanted), Some(running)) => {
                format!("runs in {} mode, not in {} mode", running.mode, wanted.mode)
            }
            (other, ..) => other.to_owned(),
        })
        .collect();
    format!("{name} {}", said.join(" and "))
}

/// A heading with a table; nothing where the table is empty.
fn write_section(out: &mut String, heading: &str, rows: Vec<Vec<String>>, colour: Colour) -> Result {
    if rows.is_empty() {
        return Ok(());
    }
    let widths = widths(rows.iter().map(Vec::as_slice));
    writeln!(out, "\n{}", colour.paint(Paint::Strong, heading))?;
    for cells in rows {
        writeln!(out, "  {}", row(&cells, &widths).trim_end())?;
    }
    Ok(())
}

fn widths<'a>(rows: impl Iterator<Item = &'a [String]>) -> Vec<usize> {
    let mut widths = Vec::new();
    for cells in rows {
        widths.resize(widths.len().max(cells.len()), 0);
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = visible(cell).chars().count().min(WIDEST).max(*width);
        }
    }
    widths
}

fn row(cells: &[String], widths: &[usize]) -> String {
    let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{:<width$}", visible(cell)));
    padded.collect::<Vec<_>>().join("  ")
}

fn write_end(out: &mut String, status: &Status, colour: Colour) -> Result {
    if !out.is_empty() {
        writeln!(out)?;
    }
    for warning in &status.warnings {
        writeln!(out, "{}", colour.paint(Paint::Attention, &format!("warning: {}", visible(warning))))?;
    }
    let kernel = &status.kernel;
    let mut facts = Vec::new();
    if let (Some(mode), Some(revision)) = (kernel.global_mode, kernel.revision) {
        let release = kernel.release.as_deref().unwrap_or("of unknown release");
        facts.push(format!("kernel {release}, global mode {mode}, revision {revision}"));
        let modes = status.summary.modes.told();
        if !modes.is_empty() {
            facts.push(format!("loaded from here: {}", modes.join(", ")));
        }
        if status.summary.foreign > 0 {
            facts.push(count(status.summary.foreign, "other profile"));
        }
    }
    facts.extend(status.tool.parser.as_ref().map(|version| format!("parser {version}")));
    writeln!(out, "{}", colour.paint(Paint::Faint, &visible(&facts.join("; "))))?;
    let to_restart = status.summary.unconfined.is_some_and(|number| number > 0);
    let paint = match (status.summary.drifted, to_restart) {
        (0, false) => Paint::Good,
        (0, true) => Paint::Attention,
        _ => Paint::Bad,
    };
    writeln!(out, "{}", colour.paint(paint, &visible(&status.msg)))
}
