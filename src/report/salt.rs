//! The report for Salt's `cmd.run` with `stateful`: every key but `changed` and `comment` lands in Salt's `changes`,
//! so there is one for each profile and file that changed, and no other.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, Outcome, Reason, Report};
use crate::problem::Problem;

/// What Salt reads.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SaltReport {
    /// Whether anything was changed, or with `--check` would be.
    pub changed: bool,
    /// The message, what is wrong, and which processes need a restart, in lines.
    pub comment: String,
    /// What changed, by file.
    #[serde(flatten)]
    pub changes: BTreeMap<String, SaltChange>,
}

/// What became of one file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SaltChange {
    /// What was done.
    pub action: Action,
    /// How far it came.
    pub outcome: Outcome,
    /// Why.
    pub reasons: Vec<Reason>,
}

/// A file of the name of one of Salt's own keys is told by another path to it. (Salt puts its own `stdout` over ours:
/// `_reinterpreted_state` in salt/states/cmd.py.)
fn key(file: String) -> String {
    if ["changed", "comment", "stdout"].contains(&file.as_str()) { format!("./{file}") } else { file }
}

fn problem_line(problem: &Problem) -> String {
    let place = if problem.pointer.is_empty() { "document" } else { &problem.pointer };
    format!("{place}: {}", problem.message)
}

impl From<&Report> for SaltReport {
    fn from(report: &Report) -> Self {
        let mut comment = vec![report.msg.clone()];
        comment.extend(report.problems.iter().map(problem_line));
        let profiles = report.profiles.iter().map(|entry| (entry.file.as_str(), &entry.error));
        let files = report.files.iter().map(|entry| (entry.path.as_str(), &entry.error));
        let errors = profiles.chain(files).filter_map(|(file, error)| Some(format!("{file}: {}", error.as_ref()?)));
        comment.extend(errors);
        comment.extend(report.error.iter().filter_map(|error| error.remedy.clone()));
        comment.extend(report.rollback.left.iter().map(|left| format!("not undone: {left}")));
        comment.extend(report.needs_restart.iter().map(ToString::to_string));
        comment.extend(report.warnings.iter().map(|warning| format!("warning: {warning}")));
        let profiles = report
            .profiles
            .iter()
            .map(|entry| (entry.file.to_string(), entry.action, entry.outcome, entry.reasons.clone()));
        let files = report
            .files
            .iter()
            .map(|entry| (entry.path.to_string(), entry.action, entry.outcome, entry.reasons.clone()));
        let changes =
            profiles.chain(files).filter(|(_, _, outcome, _)| matches!(outcome, Outcome::Planned | Outcome::Applied));
        Self {
            changed: report.changed,
            comment: comment.join("\n"),
            changes: changes
                .map(|(file, action, outcome, reasons)| (key(file), SaltChange { action, outcome, reasons }))
                .collect(),
        }
    }
}
