//! A report in the making, and what is computed from its entries.

use std::collections::BTreeMap;

use super::{
    Action, Diff, Elapsed, FileEntry, KernelReport, NeedsRestart, Outcome, ProfileEntry, REPORT_VERSION, Recovered,
    Report, Rollback, RollbackState, RunError, Summary, Tool,
};
use crate::error::Error;
use crate::problem::Problem;
use crate::profile::{FileName, PolicyPath};

/// Which entries a report lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// Only what is not `keep`.
    Changed,
    /// Everything.
    All,
}

/// A report in the making.
#[derive(Debug)]
pub struct Draft {
    /// Entries of profiles, by file name.
    pub profiles: BTreeMap<FileName, ProfileEntry>,
    /// Entries of include files, by path.
    pub files: BTreeMap<PolicyPath, FileEntry>,
    /// See [`Report::warnings`].
    pub warnings: Vec<String>,
    /// See [`Report::diff`].
    pub diff: Vec<Diff>,
    /// See [`Tool::parser`].
    pub parser_version: Option<String>,
    /// See [`Report::rollback`].
    pub rollback: Rollback,
    /// See [`Report::recovered`].
    pub recovered: Option<Recovered>,
    /// See [`Report::kernel`].
    pub kernel: KernelReport,
    /// See [`Report::elapsed_ms`].
    pub elapsed: Elapsed,
    /// See [`Report::needs_restart`].
    pub needs_restart: Vec<NeedsRestart>,
    /// Profiles that leave the kernel and belong to no entry.
    pub unloaded: Vec<String>,
    /// See [`Report::check`].
    pub check: bool,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            profiles: BTreeMap::new(),
            files: BTreeMap::new(),
            warnings: Vec::new(),
            diff: Vec::new(),
            parser_version: None,
            rollback: Rollback { state: RollbackState::NotNeeded, left: Vec::new() },
            recovered: None,
            kernel: KernelReport::default(),
            elapsed: Elapsed::default(),
            needs_restart: Vec::new(),
            unloaded: Vec::new(),
            check: false,
        }
    }
}

impl Draft {
    /// Gives every entry that is not `keep` this outcome.
    pub fn settle(&mut self, outcome: Outcome) {
        for entry in self.profiles.values_mut().filter(|entry| entry.action != Action::Keep) {
            entry.outcome = outcome;
        }
        for entry in self.files.values_mut().filter(|entry| entry.action != Action::Keep) {
            entry.outcome = outcome;
        }
    }

    /// Ends the draft as the report of a run that reached its end.
    #[must_use]
    pub fn finish(self, listing: Listing) -> Report {
        self.into_report(None, Vec::new(), listing)
    }

    /// Ends the draft as the report of a run that failed with `error`, before or after its first effect: the
    /// rollback's state says which.
    #[must_use]
    pub fn fail(self, error: RunError, listing: Listing) -> Report {
        self.into_report(Some(error), Vec::new(), listing)
    }

    /// Ends the draft as the report of a run that was refused before its first effect.
    #[must_use]
    pub fn refuse(mut self, error: Error, listing: Listing) -> Report {
        let untouched = |outcome: &mut Outcome| {
            if matches!(outcome, Outcome::Planned | Outcome::Applied) {
                *outcome = Outcome::NotAttempted;
            }
        };
        self.profiles.values_mut().for_each(|entry| untouched(&mut entry.outcome));
        self.files.values_mut().for_each(|entry| untouched(&mut entry.outcome));
        let run_error = RunError::from(&error);
        let problems = match error {
            Error::Document(problems) => problems,
            _ => Vec::new(),
        };
        self.into_report(Some(run_error), problems, listing)
    }

    fn into_report(self, error: Option<RunError>, problems: Vec<Problem>, listing: Listing) -> Report {
        let ends = || {
            let profiles = self.profiles.values().map(|entry| (entry.action, entry.outcome));
            profiles.chain(self.files.values().map(|entry| (entry.action, entry.outcome)))
        };
        let mut summary = Summary::default();
        ends().for_each(|(action, outcome)| summary.count(action, outcome));
        let recovered = self.recovered.as_ref().is_some_and(|recovered| !recovered.restored.is_empty());
        let changed = recovered
            || error.is_none() && !self.unloaded.is_empty()
            || self.rollback.state == RollbackState::Incomplete
            || ends().any(|(_, outcome)| matches!(outcome, Outcome::Planned | Outcome::Applied));
        let msg = match &error {
            Some(error) => error.message.clone(),
            None => summary.sentence(self.check, ends().count(), recovered),
        };
        let listed = |action: Action| listing == Listing::All || action != Action::Keep;
        let profiles = self.profiles.into_values();
        let (profiles, unlisted): (Vec<_>, Vec<_>) =
            profiles.partition(|entry| listed(entry.action) || entry.error.is_some());
        // The process ends with the report. To give the many others back, piece by piece, would keep it waiting.
        std::mem::forget(unlisted);
        Report {
            report: REPORT_VERSION,
            tool: Tool { version: env!("CARGO_PKG_VERSION").to_owned(), parser: self.parser_version },
            changed,
            failed: error.is_some(),
            check: self.check,
            msg,
            error,
            problems,
            summary,
            profiles,
            files: self.files.into_values().filter(|entry| listed(entry.action) || entry.error.is_some()).collect(),
            needs_restart: self.needs_restart,
            rollback: self.rollback,
            recovered: self.recovered,
            kernel: self.kernel,
            warnings: self.warnings,
            diff: self.diff,
            elapsed_ms: self.elapsed,
        }
    }
}

impl Summary {
    fn count(&mut self, action: Action, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Failed => &mut self.failed,
            Outcome::RolledBack => &mut self.rolled_back,
            Outcome::NotAttempted => &mut self.not_attempted,
            Outcome::Planned | Outcome::Applied | Outcome::Unchanged => match action {
                Action::Create => &mut self.created,
                Action::Update => &mut self.updated,
                Action::Reload => &mut self.reloaded,
                Action::Remove => &mut self.removed,
                Action::Restore => &mut self.restored,
                Action::Keep => &mut self.unchanged,
            },
        };
        *counter += 1;
    }

    fn sentence(&self, check: bool, total: usize, recovered: bool) -> String {
        let parts: Vec<String> = [
            (self.created, "created"),
            (self.updated, "updated"),
            (self.reloaded, "reloaded"),
            (self.removed, "removed"),
            (self.restored, "restored"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
        let changed = total - self.unchanged;
        let after_recovery = match (recovered, check) {
            (false, _) => "",
            (true, false) => "; an interrupted run was undone first",
            (true, true) => "; an interrupted run would be undone first",
        };
        if changed == 0 {
            return format!("all {total} in sync{after_recovery}");
        }
        let would = if check { "would be " } else { "" };
        format!("{changed} of {total} {would}changed: {}{after_recovery}", parts.join(", "))
    }
}
