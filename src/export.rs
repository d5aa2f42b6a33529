//! Today's policy directory as a document that `apply` finds in sync.
//!
//! What comes from a package and is as the package ships it stands in the document as a mode, or not at all: an
//! upgrade must be free to change it. Everything else stands in it with its text.
//!
//! **Invariant:** what a document cannot express, or what `apply` would change, is left out or named in a remark.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::document::wire::{Document, File, Mode, Profile, State};
use crate::document::{MAX_TEXT, VERSION};
use crate::error::Error;
use crate::ledger::{Attributes, Ledger, Original, Stands};
use crate::plan::{Observed, Scopes, Standing, declared, objections};
use crate::profile::{FileName, ModeScope, Owner, PolicyPath};
use crate::report::{Colour, Paint, Reason, visible};
use crate::status::{Survey, count, profile_files};
use crate::syntax;
use crate::tree::{Closures, Overlay, Text, View};

/// The owner of an exported document where nobody holds anything yet.
const FIRST_OWNER: &str = "local";

/// An exported document.
#[derive(Debug)]
pub struct Export {
    /// The document.
    pub document: Document,
    /// What it leaves out that somebody might miss, and what `apply` would change all the same.
    pub remarks: Vec<String>,
}

/// The owner that an export is for: who was asked for, else the one who holds something, else `local`.
///
/// # Errors
/// Several owners hold something, and none was asked for.
pub fn owner(asked: Option<Owner>, ledger: &Ledger) -> Result<Owner, Error> {
    let holding: BTreeSet<&Owner> = ledger.held().values().map(|held| &held.owner).collect();
    let holding: Vec<&Owner> = holding.into_iter().collect();
    match (asked, &holding[..]) {
        (Some(asked), _) => Ok(asked),
        (None, [only]) => Ok((*only).clone()),
        (None, []) => Owner::new(FIRST_OWNER).map_err(|rule| Error::Usage { message: rule.to_string() }),
        (None, several) => {
            let names: Vec<&str> = several.iter().map(|owner| owner.as_str()).collect();
            let message = format!("several owners hold policy here ({}): say for which with --owner", names.join(", "));
            Err(Error::Usage { message })
        }
    }
}

/// Makes the document of what was read.
#[must_use]
pub fn export(survey: &Survey, owner: Owner) -> Export {
    let observed = &survey.observed;
    let nothing = Overlay::new();
    let mut exporter = Exporter {
        survey,
        observed,
        owner,
        closures: Closures::new(View::new(&observed.tree, &nothing), &observed.search),
        scopes: Scopes::default(),
        files: BTreeMap::new(),
        profiles: BTreeMap::new(),
        remarks: Vec::new(),
        of_others: BTreeMap::new(),
    };
    let top_level: BTreeMap<_, _> = observed.places.iter().filter(|(path, _)| !path.as_str().contains('/')).collect();
    for (path, standing) in top_level {
        exporter.profile(path, standing);
    }
    for (path, standing) in &survey.includes {
        exporter.include(path, standing);
    }
    exporter.absences();
    exporter.finish()
}

struct Exporter<'a> {
    survey: &'a Survey,
    observed: &'a Observed,
    owner: Owner,
    closures: Closures<'a>,
    scopes: Scopes,
    files: BTreeMap<PolicyPath, File>,
    profiles: BTreeMap<FileName, Profile>,
    remarks: Vec<String>,
    /// How many places each other owner holds.
    of_others: BTreeMap<Owner, usize>,
}

/// Bytes as a document brings them.
enum Brought {
    Text(String),
    Base64(String),
}

impl Exporter<'_> {
    fn profile(&mut self, path: &PolicyPath, standing: &Standing) {
        let Some((text, attributes)) = self.regular(path, standing) else { return };
        let file = match FileName::new(path.as_str()) {
            Ok(file) => file,
            Err(rule) => return self.leave_out(path, &rule.to_string()),
        };
        if declared(text, false, &mut self.closures, &mut self.scopes).is_empty() {
            return self.leave_out(path, "it defines no profile");
        }
        let mut entry = profile_entry(file.clone());
        (entry.mode, entry.mode_scope) = self.mode_by_links(&file, text);
        if self.is_as_shipped(path, text) {
            entry.mode = entry.mode.or(Some(Mode::AsWritten));
        } else {
            match self.brought(path, text, *attributes) {
                Some(Brought::Text(content)) => entry.content = Some(content),
                Some(Brought::Base64(content)) => entry.content_base64 = Some(content),
                None => return,
            }
        }
        self.profiles.insert(file, entry);
    }

    fn include(&mut self, path: &PolicyPath, standing: &Standing) {
        let Some((text, attributes)) = self.regular(path, standing) else { return };
        if self.is_as_shipped(path, text) || self.is_stub(path, text) {
            return;
        }
        if let Err(rule) = PolicyPath::include(path.as_str()) {
            return self.leave_out(path, &rule.to_string());
        }
        let mut entry = file_entry(path.clone());
        match self.brought(path, text, *attributes) {
            Some(Brought::Text(content)) => entry.content = Some(content),
            Some(Brought::Base64(content)) => entry.content_base64 = Some(content),
            None => return,
        }
        self.files.insert(path.clone(), entry);
    }

    /// What is absent on purpose: what this owner keeps away, and what a package ships and somebody deleted.
    fn absences(&mut self) {
        let kept_away = self.observed.ledger.held().iter().filter(|(_, held)| held.stands == Stands::Absent);
        let mut paths: BTreeSet<PolicyPath> = kept_away.map(|(path, _)| path.clone()).collect();
        for (path, shipped) in self.survey.packages.iter().flat_map(|packages| packages.iter()) {
            let below = path.strip_prefix(&self.observed.policy_dir).ok().and_then(Path::to_str);
            paths.extend(below.filter(|_| shipped.is_set_up()).and_then(|below| PolicyPath::any(below).ok()));
        }
        for path in paths.into_iter().filter(|path| !path.is_link()) {
            let standing = self.survey.includes.get(&path).unwrap_or_else(|| self.observed.standing(&path));
            if !matches!(standing, Standing::Absent) || self.is_of_another(&path) {
                continue;
            }
            match FileName::new(path.as_str()) {
                // Links that are left of it would go with an entry.
                Ok(file)
                    if links(&file).iter().any(|link| !matches!(self.observed.standing(link), Standing::Absent)) => {}
                Ok(file) => {
                    let entry = Profile { state: Some(State::Absent), ..profile_entry(file.clone()) };
                    self.profiles.insert(file, entry);
                }
                Err(_) if PolicyPath::include(path.as_str()).is_ok() => {
                    let entry = File { state: Some(State::Absent), ..file_entry(path.clone()) };
                    self.files.insert(path, entry);
                }
                Err(_) => {}
            }
        }
    }

    fn finish(mut self) -> Export {
        for path in &self.survey.unnameable {
            let why = "no document can name it: it is not UTF-8, has control characters or is too long";
            self.remarks.push(format!("`{}` is left out: {why}", path.display()));
        }
        let files: Vec<_> =
            profile_files(self.survey).into_iter().filter(|file| self.profiles.contains_key(&file.file)).collect();
        let unloaded: Vec<&str> =
            files.iter().filter(|file| file.is_merely_unloaded()).map(|file| file.file.as_str()).collect();
        if !unloaded.is_empty() {
            self.remarks.push(format!(
                "{} with profiles that are not loaded: `apply` loads them ({})",
                count(unloaded.len(), "file"),
                unloaded.join(", ")
            ));
        }
        for file in files.iter().filter(|file| !file.is_merely_unloaded()) {
            let reasons = file.drift.iter().filter(|reason| reason.0 != Reason::ATTRIBUTES);
            let reasons: Vec<&str> = reasons.map(|reason| reason.0.as_str()).collect();
            if !reasons.is_empty() {
                let reasons = reasons.join(", ");
                self.remarks.push(format!("`{}` has drifted ({reasons}): `apply` loads it anew", file.file));
            }
        }
        for (objection, message, _) in self.observed.kernel.iter().flat_map(objections) {
            let code = objection.code();
            self.remarks.push(format!("{message}: `apply` refuses that unless the document accepts `{code}`"));
        }
        for (owner, places) in &self.of_others {
            self.remarks.push(format!(
                "{places} of the files are held by the owner `{owner}` and left out: export them with --owner {owner}, \
                 or take them over with `supersedes`"
            ));
        }
        if self.survey.packages.is_none() {
            self.remarks.push(
                "there is no list of dpkg's packages here: what packages ship stands in the document with its text"
                    .to_owned(),
            );
        }
        let document = Document {
            version: VERSION,
            owner: self.owner,
            supersedes: None,
            prune: None,
            allow_empty: None,
            defaults: None,
            accept: None,
            files: Some(self.files.into_values().collect()),
            classes: None,
            profiles: Some(self.profiles.into_values().collect()),
        };
        Export { document, remarks: self.remarks }
    }

    /// The regular file at a place that this owner may claim.
    fn regular<'s>(&mut self, path: &PolicyPath, standing: &'s Standing) -> Option<(&'s Arc<Text>, &'s Attributes)> {
        match standing {
            Standing::File(text, attributes) if !self.is_of_another(path) => return Some((text, attributes)),
            Standing::Link { target, .. } => {
                self.leave_out(
                    path,
                    &format!("it is a symbolic link to `{target}`, and links are never written through"),
                );
            }
            Standing::Other(what) => self.leave_out(path, &format!("it is {what}")),
            Standing::File(..) | Standing::Absent | Standing::Directory => {}
        }
        None
    }

    fn leave_out(&mut self, path: &PolicyPath, why: &str) {
        self.remarks.push(format!("`{path}` is left out: {why}"));
    }

    fn is_of_another(&mut self, path: &PolicyPath) -> bool {
        let other = self.observed.ledger.held().get(path).map(|held| &held.owner).filter(|owner| **owner != self.owner);
        if let Some(owner) = other {
            *self.of_others.entry(owner.clone()).or_default() += 1;
        }
        other.is_some()
    }

    /// Whether a package ships the file just so, and the owner has not written it: it is not the document's to bring.
    fn is_as_shipped(&self, path: &PolicyPath, text: &Text) -> bool {
        let is_written = self.observed.ledger.held().get(path).is_some_and(|held| held.original != Original::Untouched);
        let packages = self.survey.packages.as_ref();
        let shipped = packages.and_then(|packages| packages.shipped(&self.observed.policy_dir.join(path.as_str())));
        !is_written && shipped.is_some_and(|shipped| !shipped.is_edited(&text.bytes))
    }

    /// Whether this is what dh_apparmor leaves for additions to a package's profile, with nothing added yet: every
    /// host with the package has it.
    fn is_stub(&self, path: &PolicyPath, text: &Text) -> bool {
        let Some(profile) = path.as_str().strip_prefix("local/") else { return false };
        let packages = self.survey.packages.as_ref();
        let is_shipped = packages.is_some_and(|it| it.shipped(&self.observed.policy_dir.join(profile)).is_some());
        let is_held = self.observed.ledger.held().contains_key(path);
        is_shipped
            && !is_held
            && text.scan().includes.is_empty()
            && text.bytes.split(|byte| *byte == b'\n').all(is_idle)
    }

    /// The mode that links give to a profile, as an entry says it; none where there are none.
    fn mode_by_links(&self, file: &FileName, text: &Text) -> (Option<Mode>, Option<ModeScope>) {
        if self.observed.is_disabled(file) {
            return (Some(Mode::Disabled), None);
        }
        if !self.observed.standing(&PolicyPath::force_complain_link(file)).is_effective() {
            return (None, None);
        }
        let complain = crate::profile::Mode::Complain;
        let kept = syntax::set_mode(&text.bytes, text.scan(), complain, ModeScope::default()).kept;
        (Some(Mode::Complain), (!kept.is_empty()).then_some(ModeScope::All))
    }

    /// The text as a document brings it, if one can.
    fn brought(&mut self, path: &PolicyPath, text: &Text, attributes: Attributes) -> Option<Brought> {
        let bytes = &text.bytes;
        if bytes.len() > MAX_TEXT {
            self.leave_out(path, "it has more than 4 MiB");
            return None;
        }
        if bytes.contains(&0) || bytes.starts_with("\u{feff}".as_bytes()) {
            self.leave_out(path, "it has NUL bytes or a byte order mark, which apparmor_parser refuses");
            return None;
        }
        let ours = self.observed.attributes;
        if attributes != ours {
            let told = |it: Attributes| format!("mode {:04o} and owner {}:{}", it.mode, it.uid, it.gid);
            self.remarks.push(format!("`{path}` has {}: `apply` makes that {}", told(attributes), told(ours)));
        }
        Some(match std::str::from_utf8(bytes) {
            Ok(text) => Brought::Text(text.to_owned()),
            Err(_) => Brought::Base64(STANDARD.encode(bytes)),
        })
    }
}

/// Whether a line says nothing: it is empty, or a comment.
fn is_idle(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    line.is_empty() || line.starts_with(b"#")
}

fn links(file: &FileName) -> [PolicyPath; 2] {
    [PolicyPath::disable_link(file), PolicyPath::force_complain_link(file)]
}

fn profile_entry(file: FileName) -> Profile {
    Profile {
        file: Some(file),
        content: None,
        content_base64: None,
        source: None,
        sha256: None,
        service: None,
        mode: None,
        mode_scope: None,
        state: None,
        on_confined: None,
        if_missing: None,
    }
}

fn file_entry(path: PolicyPath) -> File {
    File { path, content: None, content_base64: None, source: None, sha256: None, state: None }
}

impl Export {
    /// The document as JSON that people can read and change.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings and numbers: nothing in a document can fail to become JSON.
        serde_json::to_string_pretty(&self.document).unwrap_or_default()
    }

    /// The document for people: one line an entry, the remarks, and the summary last.
    #[must_use]
    pub fn to_text(&self, colour: Colour) -> String {
        let mut out = String::new();
        let (files, profiles) = (self.document.files.iter().flatten(), self.document.profiles.iter().flatten());
        let files =
            files.map(|it| (it.path.as_str(), size(it.content.as_ref(), it.content_base64.as_ref()), it.state, None));
        let profiles = profiles.map(|it| {
            (
                it.file.as_ref().map_or("", FileName::as_str),
                size(it.content.as_ref(), it.content_base64.as_ref()),
                it.state,
                it.mode,
            )
        });
        let lines: Vec<_> = files.chain(profiles).collect();
        let width = lines.iter().map(|(name, ..)| visible(name).chars().count()).max().unwrap_or(0).min(60);
        for (name, size, state, mode) in &lines {
            let (word, paint) = match (state, size) {
                (Some(State::Absent), _) => ("absent", Paint::Attention),
                (_, Some(_)) => ("text", Paint::Good),
                (_, None) => ("mode", Paint::Faint),
            };
            let mode = mode.map(word_of).unwrap_or_default();
            let size = size.map(|size| count(size, "byte")).unwrap_or_default();
            let line = format!(
                "{}  {:<width$}  {mode:<10}  {size}",
                colour.paint(paint, &format!("{word:<6}")),
                visible(name)
            );
            out.push_str(line.trim_end());
            out.push('\n');
        }
        for remark in &self.remarks {
            out.push_str(&colour.paint(Paint::Attention, &format!("note: {}", visible(remark))));
            out.push('\n');
        }
        let texts = lines.iter().filter(|(_, size, ..)| size.is_some()).count();
        let summary = format!(
            "{} entries of the owner `{}`, {texts} with their text; `aa-converge export > policy.json` writes the document",
            lines.len(),
            self.document.owner
        );
        out.push_str(&colour.paint(Paint::Good, &summary));
        out.push('\n');
        out
    }
}

/// How many bytes an entry brings.
fn size(content: Option<&String>, base64: Option<&String>) -> Option<usize> {
    let padded = |text: &String| text.len() / 4 * 3 - text.bytes().rev().take_while(|byte| *byte == b'=').count();
    content.map(String::len).or(base64.map(padded))
}

fn word_of(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Complain => "complain",
        Mode::Kill => "kill",
        Mode::Unconfined => "unconfined",
        Mode::Prompt => "prompt",
        Mode::DefaultAllow => "default_allow",
        Mode::Disabled => "disabled",
        Mode::AsWritten => "as_written",
    }
}
