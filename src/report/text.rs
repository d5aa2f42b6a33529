//! The report for people: one line a changed profile, what is wrong with what to do about it, and the summary last.

use std::fmt::Write as _;

use similar::TextDiff;

use super::{Action, Diff, EntryError, Outcome, Reason, Report, RollbackState};
use crate::profile::is_unseen;

/// Whether to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// With ANSI escapes.
    On,
    /// Plain.
    Off,
}

/// What a piece of text is to look like.
#[derive(Clone, Copy)]
pub(crate) enum Paint {
    Good,
    Attention,
    Bad,
    Faint,
    Strong,
}

impl Colour {
    pub(crate) fn paint(self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Good => "32",
            Paint::Attention => "33",
            Paint::Bad => "31",
            Paint::Faint => "2",
            Paint::Strong => "1",
        };
        match self {
            Self::On => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Off => text.to_owned(),
        }
    }
}

/// Of how many entries that were not attempted each has its line. More would bury why they were not.
const MOST_NOT_ATTEMPTED: usize = 10;

struct Line<'a> {
    name: &'a str,
    action: Action,
    outcome: Outcome,
    reasons: &'a [Reason],
    error: Option<&'a EntryError>,
}

/// Writes `report` as text that ends with a newline. Control characters in names and messages are shown escaped, so
/// that no file name can move the cursor.
#[must_use]
pub fn render(report: &Report, colour: Colour) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _infallible = write_report(&mut out, report, colour);
    out
}

fn write_report(out: &mut String, report: &Report, colour: Colour) -> std::fmt::Result {
    let profiles = report.profiles.iter().map(|entry| Line {
        name: entry.file.as_str(),
        action: entry.action,
        outcome: entry.outcome,
        reasons: &entry.reasons,
        error: entry.error.as_ref(),
    });
    let files = report.files.iter().map(|entry| Line {
        name: entry.path.as_str(),
        action: entry.action,
        outcome: entry.outcome,
        reasons: &entry.reasons,
        error: entry.error.as_ref(),
    });
    let mut lines: Vec<Line<'_>> = files.chain(profiles).collect();
    let not_attempted = lines.iter().filter(|line| line.outcome == Outcome::NotAttempted).count();
    if not_attempted > MOST_NOT_ATTEMPTED {
        lines.retain(|line| line.outcome != Outcome::NotAttempted);
    }
    let width = lines.iter().map(|line| visible(line.name).chars().count()).max().unwrap_or(0).min(60);
    for line in &lines {
        let (word, paint) = word_of(line);
        let name = visible(line.name);
        let reasons: Vec<&str> = line.reasons.iter().map(|reason| reason.0.as_str()).collect();
        let reasons = colour.paint(Paint::Faint, &visible(&reasons.join(", ")));
        writeln!(out, "{}  {name:<width$}  {reasons}", colour.paint(paint, &format!("{word:<13}")))?;
        if let Some(error) = line.error {
            writeln!(out, "               {}", colour.paint(Paint::Bad, &visible(&error.to_string())))?;
        }
    }
    if not_attempted > MOST_NOT_ATTEMPTED {
        let word = colour.paint(Paint::Faint, "not attempted");
        writeln!(out, "{word}  {not_attempted} entries; --format json names them")?;
    }
    for diff in &report.diff {
        write_diff(out, diff, colour)?;
    }
    for problem in &report.problems {
        let pointer = if problem.pointer.is_empty() { "(document)" } else { &problem.pointer };
        writeln!(out, "{}  {}", colour.paint(Paint::Bad, &visible(pointer)), visible(&problem.message))?;
        if let Some(allowed) = &problem.allowed {
            writeln!(out, "    {}", colour.paint(Paint::Faint, &format!("allowed: {}", visible(allowed))))?;
        }
    }
    for process in &report.needs_restart {
        writeln!(out, "{}", colour.paint(Paint::Attention, &visible(&process.to_string())))?;
    }
    if let Some(recovered) = &report.recovered {
        let verb = if report.check { "would be put back" } else { "put back" };
        for path in &recovered.restored {
            writeln!(out, "after an interrupted run: {} {verb}", visible(path))?;
        }
        for left in &recovered.left {
            let line = format!("after an interrupted run: {left}");
            writeln!(out, "{}", colour.paint(Paint::Attention, &visible(&line)))?;
        }
    }
    for warning in &report.warnings {
        writeln!(out, "{}", colour.paint(Paint::Attention, &format!("warning: {}", visible(warning))))?;
    }
    for left in &report.rollback.left {
        writeln!(out, "{}", colour.paint(Paint::Bad, &format!("not undone: {}", visible(left))))?;
    }
    write_end(out, report, colour)
}

fn write_end(out: &mut String, report: &Report, colour: Colour) -> std::fmt::Result {
    let paint = match (report.failed, report.changed) {
        (true, _) => Paint::Bad,
        (false, true) => Paint::Attention,
        (false, false) => Paint::Good,
    };
    let head = if report.failed { "failed: " } else { "" };
    writeln!(out, "{}", colour.paint(paint, &format!("{head}{}", visible(&report.msg))))?;
    let undone = match report.rollback.state {
        RollbackState::NotNeeded if report.failed => Some("nothing was changed"),
        RollbackState::Complete => Some("everything was undone"),
        RollbackState::Incomplete => Some("not everything could be undone; the next run tries it again first"),
        RollbackState::NotNeeded => None,
    };
    if let Some(undone) = undone {
        writeln!(out, "{undone}")?;
    }
    if let Some(remedy) = report.error.as_ref().and_then(|error| error.remedy.as_deref()) {
        writeln!(out, "{}", colour.paint(Paint::Strong, &visible(remedy)))?;
    }
    Ok(())
}

fn word_of(line: &Line<'_>) -> (&'static str, Paint) {
    match (line.outcome, line.action) {
        (Outcome::Failed, _) => ("failed", Paint::Bad),
        (Outcome::RolledBack, _) => ("rolled back", Paint::Attention),
        (Outcome::NotAttempted, _) => ("not attempted", Paint::Faint),
        (Outcome::Unchanged, _) => ("ok", Paint::Good),
        (Outcome::Planned, action) => (
            match action {
                Action::Create => "would create",
                Action::Update => "would update",
                Action::Reload => "would reload",
                Action::Remove => "would remove",
                Action::Restore => "would restore",
                Action::Keep => "ok",
            },
            Paint::Attention,
        ),
        (Outcome::Applied, action) => (
            match action {
                Action::Create => "created",
                Action::Update => "updated",
                Action::Reload => "reloaded",
                Action::Remove => "removed",
                Action::Restore => "restored",
                Action::Keep => "ok",
            },
            Paint::Attention,
        ),
    }
}

fn write_diff(out: &mut String, diff: &Diff, colour: Colour) -> std::fmt::Result {
    if let Some(prepared) = &diff.prepared {
        return write!(out, "{}", visible_lines(prepared));
    }
    let (before, after) = (diff.before.as_deref().unwrap_or(""), diff.after.as_deref().unwrap_or(""));
    let null = "/dev/null";
    let header = (diff.before_header.as_deref().unwrap_or(null), diff.after_header.as_deref().unwrap_or(null));
    let unified = TextDiff::from_lines(before, after).unified_diff().header(header.0, header.1).to_string();
    for line in unified.lines() {
        let paint = match line.as_bytes().first() {
            Some(b'+') => Paint::Good,
            Some(b'-') => Paint::Bad,
            _ => Paint::Faint,
        };
        writeln!(out, "{}", colour.paint(paint, &visible(line)))?;
    }
    Ok(())
}

fn visible_lines(text: &str) -> String {
    text.lines().map(|line| visible(line) + "\n").collect()
}

/// Escapes characters that are not seen or change how others are, tabs excepted.
pub(crate) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unseen(c) && c != '\t' { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}
