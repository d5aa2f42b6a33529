//! What becomes known of each file, by the ledger's records, the text itself and the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{FileState, IncludeFile, Loadable, PackageOf, ProfileFile, ProfileStatus, Survey};
use crate::host::kernel::{KernelState, Loaded};
use crate::ledger::{Compiled, Held, Original, Stands};
use crate::plan::{Freshness, Observed, Scopes, Staleness, Standing, declared, installed, is_standing, kernel_reasons};
use crate::policy::{HashAlgorithm, KernelHash, ShownHash};
use crate::profile::{FileName, Mode, PolicyPath, ProfileName};
use crate::report::Reason;
use crate::tree::{Closures, Overlay, Text, View};

/// A profile that a file defines, or defined when it was compiled.
struct Defined {
    name: ProfileName,
    mode: Mode,
    /// Known if this program compiled it.
    hash: Option<KernelHash>,
}

/// The files of profiles that are installed or held.
pub(crate) fn profile_files(survey: &Survey) -> Vec<ProfileFile> {
    let observed = &survey.observed;
    let nothing = Overlay::new();
    let view = View::new(&observed.tree, &nothing);
    let mut judge = Judge {
        survey,
        observed,
        closures: Closures::new(view, &observed.search),
        scopes: Scopes::default(),
        freshness: Freshness::new(observed),
    };
    let installed = installed(view, observed, |_| true);
    let held = observed.ledger.held().iter().filter(|(_, held)| held.stands != Stands::Absent);
    let held = held.filter_map(|(path, _)| path.as_profile_file());
    let names: BTreeSet<FileName> = installed.keys().cloned().chain(held).collect();
    let defined: BTreeMap<&FileName, Vec<Defined>> =
        names.iter().map(|file| (file, judge.defined(file, installed.get(file)))).collect();
    let in_force: BTreeSet<&ProfileName> = defined
        .iter()
        .filter(|(file, _)| state(observed, file, installed.get(**file)) == FileState::Enabled)
        .flat_map(|(_, defined)| defined.iter().map(|profile| &profile.name))
        .collect();
    let files = defined.iter().map(|(file, defined)| judge.file(file, installed.get(*file), defined, &in_force));
    files.collect()
}

/// The include files that are held.
pub(super) fn include_files(observed: &Observed) -> Vec<IncludeFile> {
    let held = observed.ledger.held().iter();
    let includes = held.filter(|(path, _)| path.as_profile_file().is_none() && !path.is_link());
    let files = includes.map(|(path, held)| {
        let standing = observed.standing(path);
        IncludeFile {
            path: path.clone(),
            owner: held.owner.clone(),
            sha256: match standing {
                Standing::File(text, _) => Some(text.digest()),
                _ => None,
            },
            drift: written_reasons(held, standing),
        }
    });
    files.collect()
}

/// What the kernel's hashes are, as those that were looked at show.
pub(super) fn hash_algorithm(kernel: &KernelState) -> Option<HashAlgorithm> {
    let shown = kernel.loaded.values().find_map(|loaded| loaded.hash.as_ref())?;
    Some(match shown {
        ShownHash::Sha1(_) => HashAlgorithm::Sha1,
        ShownHash::Sha256(_) => HashAlgorithm::Sha256,
    })
}

fn state(observed: &Observed, file: &FileName, text: Option<&Arc<Text>>) -> FileState {
    match text {
        None => FileState::Missing,
        Some(_) if observed.is_disabled(file) => FileState::Disabled,
        Some(_) => FileState::Enabled,
    }
}

/// Why what stands at a place is not what its owner wrote there.
fn written_reasons(held: &Held, standing: &Standing) -> Vec<Reason> {
    if held.original == Original::Untouched {
        return Vec::new();
    }
    match (&held.stands, standing) {
        (stands, standing) if !is_standing(stands, standing) => vec![Reason::CONTENT.into()],
        (Stands::File { attributes, .. }, Standing::File(_, now)) if attributes != now => {
            vec![Reason::ATTRIBUTES.into()]
        }
        _ => Vec::new(),
    }
}

struct Judge<'a> {
    survey: &'a Survey,
    observed: &'a Observed,
    closures: Closures<'a>,
    scopes: Scopes,
    freshness: Freshness<'a>,
}

impl Judge<'_> {
    /// What a file defines: as it was compiled, where that was for an owner or from this text, else as the text says.
    fn defined(&mut self, file: &FileName, text: Option<&Arc<Text>>) -> Vec<Defined> {
        let record = self.observed.ledger.compiled().get(file);
        let is_held = self.observed.ledger.held().contains_key(&PolicyPath::from(file));
        let is_current = |record: &Compiled| text.is_some_and(|text| text.digest() == record.basis.text);
        let mut defined: Vec<Defined> = match record {
            Some(record) if is_held || is_current(record) => record.profiles.iter(),
            _ => [].iter(),
        }
        .map(|profile| Defined { name: profile.name.clone(), mode: profile.mode, hash: Some(profile.hash) })
        .collect();
        if let Some(text) = text.filter(|_| !record.is_some_and(is_current)) {
            let forced_complain = self.observed.is_forced_to_complain(file);
            for header in declared(text, forced_complain, &mut self.closures, &mut self.scopes) {
                if defined.iter().any(|profile| header.names.contains(&profile.name)) {
                    continue;
                }
                // Parsers differ in how they spell some names: one that is loaded is the one.
                let loaded = header.names.iter().find(|name| self.loaded(name).is_some());
                if let Some(name) = loaded.or(header.names.first()) {
                    defined.push(Defined { name: name.clone(), mode: header.mode, hash: None });
                }
            }
        }
        defined
    }

    fn file(
        &mut self,
        file: &FileName,
        text: Option<&Arc<Text>>,
        defined: &[Defined],
        in_force: &BTreeSet<&ProfileName>,
    ) -> ProfileFile {
        let observed = self.observed;
        let main = PolicyPath::from(file);
        let state = state(observed, file, text);
        let held = observed.ledger.held().get(&main);
        let profiles: Vec<ProfileStatus> =
            defined.iter().map(|profile| self.profile(profile, state, in_force)).collect();
        let mut drift: BTreeSet<Reason> = profiles.iter().flat_map(|profile| profile.drift.iter().cloned()).collect();
        if let Some(held) = held {
            drift.extend(written_reasons(held, observed.standing(&main)));
            drift.extend(self.link_reasons(file));
            let is_compiled = state == FileState::Enabled || held.original != Original::Untouched;
            if let Some(text) = text.filter(|_| is_compiled) {
                drift.extend(self.stale_reasons(file, text));
            }
        }
        let at = observed.policy_dir.join(file.as_str());
        let shipped = self.survey.packages.as_ref().and_then(|packages| packages.shipped(&at));
        ProfileFile {
            file: file.clone(),
            state,
            forced_complain: observed.is_forced_to_complain(file),
            owner: held.map(|held| held.owner.clone()),
            package: shipped.map(|shipped| PackageOf {
                name: shipped.package.clone(),
                edited: text.is_none_or(|text| shipped.is_edited(&text.bytes)),
            }),
            sha256: text.map(|text| text.digest()),
            drift: drift.into_iter().collect(),
            profiles,
        }
    }

    fn profile(&self, profile: &Defined, state: FileState, in_force: &BTreeSet<&ProfileName>) -> ProfileStatus {
        let loaded = self.loaded(&profile.name);
        let is_wanted = state == FileState::Enabled;
        let drift = match &self.observed.kernel {
            None => Vec::new(),
            Some(kernel) if is_wanted => kernel_reasons(kernel, &profile.name, profile.mode, profile.hash.as_ref()),
            Some(_) if loaded.is_some() && !in_force.contains(&profile.name) => vec![Reason::KERNEL_DRIFT.into()],
            Some(_) => Vec::new(),
        };
        let algorithm = self.observed.kernel.as_ref().and_then(hash_algorithm).unwrap_or(HashAlgorithm::Sha256);
        let compiled = profile.hash.map(|hash| hash.shown(algorithm).to_string());
        ProfileStatus {
            name: profile.name.to_string(),
            wanted: is_wanted.then_some(Loadable { mode: profile.mode, hash: compiled }),
            running: loaded
                .map(|loaded| Loadable { mode: loaded.mode, hash: loaded.hash.as_ref().map(ToString::to_string) }),
            drift,
        }
    }

    fn loaded(&self, name: &ProfileName) -> Option<&Loaded> {
        self.observed.kernel.as_ref()?.loaded.get(name)
    }

    /// `mode` where a link has another effect than when the owner's document was applied: then every link that had one
    /// was held.
    fn link_reasons(&self, file: &FileName) -> Option<Reason> {
        let links = [PolicyPath::disable_link(file), PolicyPath::force_complain_link(file)];
        let differs = links.iter().any(|link| {
            let had_effect = self.observed.ledger.held().get(link).is_some_and(|held| held.stands != Stands::Absent);
            had_effect != self.observed.standing(link).is_effective()
        });
        differs.then(|| Reason::MODE.into())
    }

    fn stale_reasons(&mut self, file: &FileName, text: &Text) -> Vec<Reason> {
        let forced_complain = self.observed.is_forced_to_complain(file);
        match self.freshness.stale_reasons(file, text, forced_complain, &mut self.closures) {
            Staleness::Stale(reasons) => reasons,
            Staleness::Fresh | Staleness::NeverCompiled => Vec::new(),
        }
    }
}
