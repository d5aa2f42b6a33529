//! Whether compiled policy is up to date: whether everything that it was made from is what it was. Time stamps have
//! no say in this.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Observed, mode_as_compiled};
use crate::host::kernel::KernelState;
use crate::ledger::{Basis, Compiled, Record};
use crate::policy::{HashAlgorithm, KernelHash};
use crate::profile::{FileName, Mode, ProfileName};
use crate::report::{Change, LoadedProfile, Reason};
use crate::tree::{Closures, Input, InputId, Text};

/// Compares one view with the ledger's records.
pub(crate) struct Freshness<'a> {
    observed: &'a Observed,
    compared: Compared,
}

/// What was found by comparing one view with the ledger's records.
#[derive(Debug, Clone)]
pub(super) struct Compared {
    /// Whether everything in a list of the ledger's is as it was, as far as it was asked.
    lists: Vec<Option<bool>>,
    /// The same of each input.
    inputs: Vec<Option<bool>>,
}

impl<'a> Freshness<'a> {
    pub(crate) fn new(observed: &'a Observed) -> Self {
        let ledger = &observed.ledger;
        let (lists, inputs) = (vec![None; ledger.input_list_count()], vec![None; ledger.all_inputs().len()]);
        Self::continuing(observed, Compared { lists, inputs })
    }

    /// Goes on with what was found in the same view.
    pub(super) fn continuing(observed: &'a Observed, compared: Compared) -> Self {
        Self { observed, compared }
    }

    /// What was found.
    pub(super) fn into_compared(self) -> Compared {
        self.compared
    }

    /// A record of `file`, if it is of this text and everything that the text depends on is as it was.
    ///
    /// What a text depends on follows from the text, from where the parser looks, and from what stands there, so that
    /// nothing new can have come to it, and neither it nor what it includes is read for references again.
    pub(crate) fn current(&mut self, file: &FileName, text: &Text, closures: &mut Closures<'_>) -> Option<Record<'a>> {
        let ledger = &self.observed.ledger;
        ledger.records(file).find(|record| self.holds(record.basis(), text, closures))
    }

    fn holds(&mut self, basis: &Basis, text: &Text, closures: &mut Closures<'_>) -> bool {
        let is_comparable =
            basis.text == text.digest() && self.observed.ledger.toolchain(basis).conf == self.observed.toolchain.conf;
        is_comparable && self.are_as_recorded(basis, closures)
    }

    /// Why what the ledger records for `file` is not what compiling it now would give; empty when it is.
    pub(crate) fn stale_reasons(
        &mut self,
        file: &FileName,
        text: &Text,
        forced_complain: bool,
        closures: &mut Closures<'_>,
    ) -> Staleness {
        let ledger = &self.observed.ledger;
        let Some(record) = ledger.compiled().get(file) else { return Staleness::NeverCompiled };
        let mut reasons = Vec::new();
        if record.basis.text != text.digest() {
            reasons.push(Reason::CONTENT.into());
        }
        if record.forced_complain != forced_complain {
            reasons.push(Reason::MODE.into());
        }
        let (then, now) = (ledger.toolchain(&record.basis), &self.observed.toolchain);
        if (then.parser, then.conf) != (now.parser, now.conf) {
            reasons.push(Reason::PARSER.into());
        }
        if then.features != now.features {
            reasons.push(Reason::FEATURES.into());
        }
        if !self.holds(&record.basis, text, closures) {
            let closure = closures.of(text);
            let then: BTreeSet<&Input> = ledger.inputs(&record.basis).collect();
            let now: BTreeSet<&Input> = closure.inputs.iter().map(|id| closures.input(*id)).collect();
            let paths = then.symmetric_difference(&now).map(|input| input.path.as_path()).collect();
            reasons.extend(self.include_reasons(&paths));
        }
        if reasons.is_empty() { Staleness::Fresh } else { Staleness::Stale(reasons) }
    }

    /// The reasons that name these paths, relative to the policy directory where they lie below it. A directory is
    /// not named beside an entry of it: that entry's coming or going is what changed it.
    pub(super) fn include_reasons(&self, paths: &BTreeSet<&Path>) -> Vec<Reason> {
        let explained: BTreeSet<&Path> = paths.iter().filter_map(|path| path.parent()).collect();
        let named = paths.iter().filter(|path| !explained.contains(**path));
        let shown = named.map(|path| path.strip_prefix(&self.observed.policy_dir).unwrap_or(path));
        shown.map(|path| Reason::include(&path.to_string_lossy())).collect()
    }

    /// Why what the kernel runs is not what the ledger records for `file`.
    pub(super) fn kernel_reasons(&self, file: &FileName) -> Vec<Reason> {
        let Some(kernel) = &self.observed.kernel else { return Vec::new() };
        let Some(record) = self.observed.ledger.compiled().get(file) else { return Vec::new() };
        let reasons = record.profiles.iter();
        let reasons = reasons.flat_map(|it| kernel_reasons(kernel, &it.name, it.mode, Some(&it.hash)));
        reasons.collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn are_as_recorded(&mut self, basis: &Basis, closures: &mut Closures<'_>) -> bool {
        let ledger = &self.observed.ledger;
        let list = basis.input_list();
        let Compared { lists, inputs } = &mut self.compared;
        if let Some(known) = lists[list as usize] {
            return known;
        }
        let mut is_same = |number: &u32| {
            let at = *number as usize;
            *inputs[at].get_or_insert_with(|| closures.is_as(&ledger.all_inputs()[at]))
        };
        let same = ledger.input_list(list).iter().all(&mut is_same);
        lists[list as usize] = Some(same);
        same
    }
}

/// Why the profile that the kernel runs as `name` is not the one in `mode`, and with `hash` where that is known.
pub(crate) fn kernel_reasons(
    kernel: &KernelState,
    name: &ProfileName,
    mode: Mode,
    hash: Option<&KernelHash>,
) -> Vec<Reason> {
    let Some(loaded) = kernel.loaded.get(name) else { return vec![Reason::KERNEL_MISSING.into()] };
    let mut reasons = Vec::new();
    if hash.is_some_and(|hash| !kernel.shows(loaded, hash)) {
        reasons.push(Reason::KERNEL_DRIFT.into());
    }
    if loaded.mode != mode_as_compiled(mode) {
        reasons.push(Reason::KERNEL_MODE.into());
    }
    reasons
}

/// Whether a record of compilation still holds.
pub(crate) enum Staleness {
    /// Compiling would give what is recorded.
    Fresh,
    /// There is no record.
    NeverCompiled,
    /// Something that it was made from is different.
    Stale(Vec<Reason>),
}

/// What the report says of profiles that are as recorded.
pub(super) fn loaded_entries(record: &Compiled, kernel: Option<&KernelState>) -> Vec<LoadedProfile> {
    let entries = record.profiles.iter().map(|profile| {
        let loaded = kernel.and_then(|kernel| kernel.loaded.get(&profile.name));
        let (mode, hash) = match (kernel, loaded) {
            (None, _) => (Some(profile.mode), Some(profile.hash.shown(HashAlgorithm::Sha256).to_string())),
            (Some(_), loaded) => (
                loaded.map(|loaded| loaded.mode),
                loaded.and_then(|loaded| loaded.hash.as_ref()).map(ToString::to_string),
            ),
        };
        LoadedProfile {
            name: profile.name.to_string(),
            mode: Change { before: mode, after: mode },
            hash: Change { before: hash.clone(), after: hash },
            verified: loaded
                .is_some_and(|loaded| kernel.is_some_and(|kernel| kernel.effective_mode(loaded.mode) == loaded.mode)),
        }
    });
    entries.collect()
}

/// The paths that two closures of one text differ in.
pub(super) fn changed_paths<'c>(
    before: &[InputId],
    before_in: &'c Closures<'_>,
    after: &[InputId],
    after_in: &'c Closures<'_>,
) -> BTreeSet<&'c Path> {
    let before: BTreeSet<&Input> = before.iter().map(|id| before_in.input(*id)).collect();
    let after: BTreeSet<&Input> = after.iter().map(|id| after_in.input(*id)).collect();
    before.symmetric_difference(&after).map(|input| input.path.as_path()).collect()
}
