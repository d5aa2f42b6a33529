//! From the tree to what is wanted: one walk that reads every field and collects what is wrong.
//!
//! **Invariant:** the rules here are those that the schema of [`super::wire`] states, and the few that a schema
//! cannot: duplicate keys and files, and sizes in bytes.

use std::collections::HashMap;
use std::sync::Arc;

use super::content::{self, CONTENT};
use super::fields::{Fields, Node, Problems, Refused, Word};
use super::service::{Classes, TEXTS, acceptances, plain_file};
use super::tree::Value;
use super::wire::State;
use super::{
    Content, Desired, DesiredFile, DesiredProfile, IfMissing, MAX_ENTRIES, OnConfined, ProfileWant, Prune, VERSION,
    WantedMode,
};
use crate::acceptance::Scope;
use crate::problem::{Problem, ProblemCode};
use crate::profile::{FileName, Mode, ModeScope, Owner, PolicyPath};

/// Reads a document's tree.
pub(super) fn walk(tree: Value<'_>) -> Result<Desired, Vec<Problem>> {
    let mut problems = Problems::default();
    match document(Node::root(tree, &mut problems)) {
        Ok(desired) if problems.is_empty() => Ok(desired),
        _ => Err(problems.into_answer()),
    }
}

fn document(node: Node<'_, '_>) -> Result<Desired, Refused> {
    node.object(|fields| {
        let version = fields.required("version", &VERSION.to_string(), version);
        let owner = fields.required("owner", "the name of whoever claims the entries", owner_name);
        let supersedes = fields.optional("supersedes", |node| node.each(MAX_ENTRIES, owner_name));
        let prune = fields.optional("prune", |node| node.boolean());
        let allow_empty = fields.optional("allow_empty", |node| node.boolean());
        let defaults = fields.optional("defaults", defaults);
        // Where the defaults are refused, so is the document: entries are then read for their problems alone.
        let assumed = defaults.ok().flatten().unwrap_or_default();
        let accept = fields.optional("accept", |node| acceptances(node, Scope::Host));
        let mut places = Places::default();
        let files = fields.optional("files", |node| node.each(MAX_ENTRIES, |node| file(node, &mut places)));
        let classes = fields.optional("classes", Classes::read).map(Option::unwrap_or_default);
        let none = Classes::default();
        let known = classes.as_ref().unwrap_or(&none);
        let profiles = fields
            .optional("profiles", |node| node.each(MAX_ENTRIES, |node| profile(node, assumed, known, &mut places)));

        let empties = matches!(prune, Ok(Some(true))) && is_empty(&files) && is_empty(&profiles);
        if empties && matches!(allow_empty, Ok(None | Some(false))) {
            let message = "`prune` with neither `files` nor `profiles` removes everything of this owner".to_owned();
            fields.refuse("prune", ProblemCode::AllowEmptyNeeded, message, "`\"allow_empty\": true` beside it");
        }
        version?;
        allow_empty?;
        defaults?;
        known.verdict()?;
        classes.as_ref().map_err(|refused| *refused)?;
        Ok(Desired {
            owner: owner?,
            supersedes: supersedes?.unwrap_or_default(),
            prune: if prune?.unwrap_or(false) { Prune::Unlisted } else { Prune::Keep },
            on_confined: assumed.on_confined,
            accept: accept?.unwrap_or_default(),
            files: files?.unwrap_or_default(),
            profiles: profiles?.unwrap_or_default(),
        })
    })
}

fn version(node: Node<'_, '_>) -> Result<(), Refused> {
    let (number, mut site) = node.number()?;
    // JSON does not tell 1.0 from 1.
    if number.as_f64() == Some(f64::from(VERSION)) {
        return Ok(());
    }
    let tool = env!("CARGO_PKG_VERSION");
    let message = format!("aa-converge {tool} does not know version {number} of the document; a newer one may");
    Err(site.refuse(ProblemCode::UnknownVersion, message, &VERSION.to_string()))
}

fn owner_name(node: Node<'_, '_>) -> Result<Owner, Refused> {
    node.checked("an owner's name", |name| Owner::new(name))
}

fn is_empty<T>(list: &Result<Option<Vec<T>>, Refused>) -> bool {
    matches!(list, Ok(list) if list.as_ref().is_none_or(Vec::is_empty))
}

/// What entries are taken to say where they say nothing.
#[derive(Clone, Copy)]
struct Defaults {
    /// The mode of entries that bring text.
    mode: WantedMode,
    on_confined: OnConfined,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { mode: WantedMode::AsWritten, on_confined: OnConfined::default() }
    }
}

fn defaults(node: Node<'_, '_>) -> Result<Defaults, Refused> {
    node.object(|fields| {
        let mode = fields.word("mode");
        let on_confined = fields.word("on_confined");
        Ok(Defaults { mode: mode?.unwrap_or(Defaults::default().mode), on_confined: on_confined?.unwrap_or_default() })
    })
}

fn file(node: Node<'_, '_>, places: &mut Places) -> Result<DesiredFile, Refused> {
    let pointer = node.pointer();
    node.object(|entry| {
        let path = entry
            .required("path", "a path below the policy directory, such as local/usr.sbin.nginx", |node| {
                node.checked("the path of an include", |path| PolicyPath::include(path))
            })
            .and_then(|path| places.claim(path.clone(), &pointer, "path", entry).map(|()| path));
        let content = content::read(entry, &CONTENT);
        let state = entry.word("state")?.unwrap_or(State::Present);
        let content = match (state, content) {
            (State::Absent, _) => {
                exclude_with_absent(&[], entry);
                None
            }
            (State::Present, Some(content)) => Some(content?),
            (State::Present, None) => return Err(entry.none_of(&CONTENT)),
        };
        Ok(DesiredFile { path: path?, content, pointer })
    })
}

fn profile(
    node: Node<'_, '_>,
    defaults: Defaults,
    classes: &Classes,
    places: &mut Places,
) -> Result<DesiredProfile, Refused> {
    let pointer = node.pointer();
    node.object(|entry| {
        let given = entry
            .optional("file", |node| node.checked("the name of a profile's file", |name| FileName::new(name)))
            .transpose();
        let service = entry.optional("service", |node| classes.service(node, given.as_ref())).transpose();
        let file = match (&given, &service) {
            (Some(given), None) => given.clone(),
            (Some(given), Some(_)) => given.clone().and_then(|file| match plain_file(&file) {
                Ok(()) => Ok(file),
                Err(rule) => {
                    let message = format!("`{file}` cannot be the name of a rendered profile's file");
                    Err(entry.refuse("file", ProblemCode::BadValue, message, &rule))
                }
            }),
            (None, Some(service)) => service.as_ref().map(|service| service.file.clone()).map_err(|refused| *refused),
            (None, None) => Err(entry.lacks("file", "the name of the profile's file, or a `service`, which gives one")),
        };
        let file = file.and_then(|file| places.claim(PolicyPath::from(&file), &pointer, "file", entry).map(|()| file));
        let content = content::read(entry, &TEXTS).or_else(|| {
            let service = service.as_ref()?;
            Some(service.clone().map(|service| Content::Service(Arc::new(service))))
        });
        let mode = entry.word("mode");
        let scope = entry.word("mode_scope");
        let on_confined = entry.word("on_confined");
        let if_missing = entry.word("if_missing");
        let state = entry.word("state")?.unwrap_or(State::Present);
        let want = match (state, content) {
            (State::Absent, _) => {
                exclude_with_absent(&["service", "mode", "mode_scope", "if_missing"], entry);
                ProfileWant::Absent
            }
            (State::Present, Some(content)) => {
                entry.exclude(&["if_missing"], "an entry that brings text", "`if_missing` in entries without text");
                ProfileWant::Text {
                    content: content?,
                    mode: mode?.unwrap_or(defaults.mode),
                    scope: scope?.unwrap_or_default(),
                }
            }
            (State::Present, None) => ProfileWant::ModeOnly {
                mode: mode?.ok_or_else(|| entry.none_of(&[&TEXTS[..], &["mode"]].concat()))?,
                scope: scope?.unwrap_or_default(),
                if_missing: if_missing?.unwrap_or_default(),
            },
        };
        Ok(DesiredProfile { file: file?, want, on_confined: on_confined?.unwrap_or(defaults.on_confined), pointer })
    })
}

/// Refuses what brings bytes, and `more`, in an entry whose state is absent.
fn exclude_with_absent(more: &[&str], entry: &mut Fields<'_, '_>) {
    let names = [&CONTENT[..], &["sha256"], more].concat();
    entry.exclude(&names, "`\"state\": \"absent\"`", "an absent file has neither text nor mode");
}

impl Word for State {
    const WORDS: &'static [(&'static str, Self)] = &[("present", Self::Present), ("absent", Self::Absent)];
}

impl Word for OnConfined {
    const WORDS: &'static [(&'static str, Self)] = &[("refuse", Self::Refuse), ("unload", Self::Unload)];
}

impl Word for IfMissing {
    const WORDS: &'static [(&'static str, Self)] = &[("refuse", Self::Refuse), ("skip", Self::Skip)];
}

impl Word for ModeScope {
    const WORDS: &'static [(&'static str, Self)] =
        &[("enforce_and_complain", Self::EnforceAndComplain), ("all", Self::All)];
}

impl Word for WantedMode {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("enforce", Self::Flags(Mode::Enforce)),
        ("complain", Self::Flags(Mode::Complain)),
        ("kill", Self::Flags(Mode::Kill)),
        ("unconfined", Self::Flags(Mode::Unconfined)),
        ("prompt", Self::Flags(Mode::Prompt)),
        ("default_allow", Self::Flags(Mode::DefaultAllow)),
        ("disabled", Self::Disabled),
        ("as_written", Self::AsWritten),
    ];
}

/// The places in the policy directory that the entries read so far take, each with the entry's pointer.
#[derive(Default)]
struct Places {
    files: HashMap<PolicyPath, String>,
    /// The directories above the files; the pointer is that of the first entry below.
    directories: HashMap<PolicyPath, String>,
}

impl Places {
    /// Takes `path` for the entry at `pointer`, whose field `name` gives it.
    fn claim(
        &mut self,
        path: PolicyPath,
        pointer: &str,
        name: &str,
        entry: &mut Fields<'_, '_>,
    ) -> Result<(), Refused> {
        let taken = if let Some(first) = self.files.get(&path) {
            Some(format!("{first} names `{path}` already"))
        } else if let Some(first) = self.directories.get(&path) {
            Some(format!("`{path}` is a directory of the path at {first}"))
        } else {
            path.parents().find_map(|parent| {
                let first = self.files.get(&parent)?;
                Some(format!("its directory `{parent}` is a file at {first}"))
            })
        };
        if let Some(message) = taken {
            return Err(entry.refuse(
                name,
                ProblemCode::DuplicateFile,
                message,
                "every path once, and none below another",
            ));
        }
        for parent in path.parents() {
            self.directories.entry(parent).or_insert_with(|| pointer.to_owned());
        }
        self.files.insert(path, pointer.to_owned());
        Ok(())
    }
}
