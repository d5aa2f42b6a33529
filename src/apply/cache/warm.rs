//! Writes into the parser's cache what a run compiled, so that the next boot need not compile it again.
//!
//! The parser takes an entry without looking at the text. So one is written only where its bytes are certain to be the
//! parser's own: the same program, options and kernel features, and inputs that are still what was compiled. It gets the
//! time stamp that the parser would give it, that of the newest input, so that whatever puts the parser's own entries out
//! of date does the same to these.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use super::features;
use crate::apply::compile::{Compiled, CompiledStep};
use crate::error::Error;
use crate::host::Host;
use crate::host::dir::Dir;
use crate::host::parser;
use crate::host::root::{Entry, Kind, Modified};
use crate::host::stage::cannot;
use crate::ledger::Attributes;
use crate::observe::POLICY_DIR;
use crate::plan::{Plan, Source, Step};
use crate::profile::{Digest, FileName, is_skipped_by_parser};
use crate::syntax::IncludeKind;
use crate::tree::{Input, InputState, Node, Text, View, candidates};

/// The parser that a boot runs (rc.apparmor.functions of Debian 12 and 13).
const BOOT_PARSER: &str = "/sbin/apparmor_parser";
/// The largest program that is compared, in bytes.
const MAX_PARSER: u64 = 64 << 20;
/// The largest policy file that is compared, in bytes.
const MAX_INPUT: u64 = 16 << 20;
/// How many entries are written at once: a file system flushes several files in about the time of one (measured on ext4:
/// 100 files one after another 340 ms, by four threads 34 ms).
const WRITERS: usize = 4;

/// An entry that should be in the cache.
pub(super) struct Wanted<'c> {
    pub(super) dir: Dir,
    pub(super) file: &'c FileName,
    pub(super) act: Act,
}

/// What there is to do about an entry.
#[derive(Clone, Copy)]
pub(super) enum Act {
    /// It is to be written.
    Write,
    /// It has the bytes that it should have, but not the time stamp.
    Date,
}

/// An entry whose bytes and time stamp are known.
struct Fresh<'c> {
    wanted: Wanted<'c>,
    result: &'c CompiledStep,
    modified: Modified,
}

/// Puts entries into the cache, as far as they are certain. A cold cache only costs time, so what cannot be written is
/// worth a warning and no more.
pub(super) fn warm(host: &Host, compiled: &Compiled, wanted: Vec<Wanted<'_>>) -> Option<String> {
    let cold = |error: &Error| format!("the next boot compiles some profiles again: {error}");
    let fresh = match certain(host, compiled, wanted) {
        Ok(fresh) => fresh,
        Err(error) => return Some(cold(&error)),
    };
    let put = |writer: usize| -> Vec<Error> {
        let share = fresh.iter().skip(writer).step_by(WRITERS);
        share.filter_map(|entry| entry.put().err()).collect()
    };
    let put = &put;
    let failed: Vec<Error> = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS.min(fresh.len())).map(|writer| scope.spawn(move || put(writer))).collect();
        let join = |writer: thread::ScopedJoinHandle<'_, Vec<Error>>| {
            writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        writers.into_iter().flat_map(join).collect()
    });
    failed.first().map(cold)
}

impl Fresh<'_> {
    fn put(&self) -> Result<(), Error> {
        let Wanted { dir, file, act } = &self.wanted;
        match act {
            Act::Date => dir.set_modified(file.as_str(), self.modified),
            Act::Write => {
                let (bytes, attributes) = (self.result.blob.read()?, Attributes::ours(0o600));
                dir.create_temporary()?.write_dated(&bytes, attributes, self.modified)?.rename_to(file.as_str())
            }
        }
    }
}

/// The entries that are certain to be what a boot's parser would write.
fn certain<'c>(host: &Host, compiled: &'c Compiled, wanted: Vec<Wanted<'c>>) -> Result<Vec<Fresh<'c>>, Error> {
    let Compiled { plan, results, .. } = compiled;
    let observed = &plan.observed;
    if !observed.parser_conf.compiles_as_staged() {
        return Ok(Vec::new());
    }
    let results: HashMap<&FileName, &CompiledStep> =
        results.iter().map(|result| (&plan.steps[result.step].file, result)).collect();
    let mut inputs = Inputs::new(host, plan);
    let mut is_for_this_kernel = HashMap::new();
    let mut is_boots_parser = None;
    let mut fresh = Vec::new();
    for wanted in wanted {
        let Some(result) = results.get(wanted.file) else { continue };
        let step = &plan.steps[result.step];
        let source = step.compile.as_ref().filter(|source| step.enabled && !source.forced_complain);
        let Some(source) = source else { continue };
        let is_for_this_kernel = match is_for_this_kernel.entry(wanted.dir.shown().to_owned()) {
            Slot::Occupied(known) => *known.get(),
            Slot::Vacant(slot) => *slot.insert(features(&wanted.dir)?.as_ref() == Some(&observed.features.bytes)),
        };
        if !is_for_this_kernel {
            continue;
        }
        let is_boots_parser = match is_boots_parser {
            Some(known) => known,
            None => *is_boots_parser.insert(boot_parser(host)? == Some(observed.toolchain.parser)),
        };
        if !is_boots_parser {
            break;
        }
        let modified = inputs.newest(step, source)?;
        fresh.extend(modified.map(|modified| Fresh { wanted, result, modified }));
    }
    Ok(fresh)
}

/// What tells the program that the root's boots run from others; none where it is not there.
fn boot_parser(host: &Host) -> Result<Option<Digest>, Error> {
    Ok(match host.root.follow(Path::new(BOOT_PARSER), MAX_PARSER)? {
        Entry::File(read) => {
            let identity = parser::identity_of(&read.bytes[..], read.bytes.len() as u64);
            Some(identity.map_err(cannot("read", &host.root.shown(Path::new(BOOT_PARSER))))?)
        }
        Entry::Absent | Entry::Directory | Entry::Link { .. } | Entry::Special(_) => None,
    })
}

/// What profiles were compiled from, as it stands now; each file and directory is looked at once.
struct Inputs<'h> {
    host: &'h Host,
    view: View<'h>,
    search: &'h [PathBuf],
    seen: HashMap<PathBuf, Option<Modified>>,
}

impl<'h> Inputs<'h> {
    fn new(host: &'h Host, plan: &'h Plan) -> Self {
        let view = View::new(&plan.observed.tree, &plan.overlay);
        Self { host, view, search: &plan.observed.search, seen: HashMap::new() }
    }

    /// The time stamp that the parser would give the compiled policy: the latest of the profile's file, the files that
    /// it includes, and the directories that it includes as a whole (parser_lex.l, `update_mru_tstamp`); those of abi
    /// files have no say. None where one of them is not what was compiled.
    fn newest(&mut self, step: &Step, source: &Source) -> Result<Option<Modified>, Error> {
        let own = Path::new(POLICY_DIR).join(step.file.as_str());
        let own = std::iter::once((&own, &source.text));
        let files = || own.clone().chain(source.files.iter().map(|(path, text)| (path, text)));
        let includes = files().flat_map(|(_, text)| &text.scan().includes);
        let abis = includes.filter(|include| include.kind == IncludeKind::Abi);
        let abis: HashSet<PathBuf> = abis.flat_map(|abi| candidates(&abi.target, self.search)).collect();
        let mut newest = None;
        for (path, text) in files().filter(|(path, _)| !abis.contains(*path)) {
            let Some(modified) = self.file(path, text)? else { return Ok(None) };
            newest = newest.max(Some(modified));
        }
        let directories = source.inputs.iter().filter(|input| matches!(input.state, InputState::Directory(_)));
        for Input { path, .. } in directories {
            let Some(modified) = self.directory(path)? else { return Ok(None) };
            newest = newest.max(Some(modified));
        }
        Ok(newest)
    }

    fn file(&mut self, path: &Path, text: &Arc<Text>) -> Result<Option<Modified>, Error> {
        if let Some(known) = self.seen.get(path) {
            return Ok(*known);
        }
        let modified = match self.host.root.follow(path, MAX_INPUT)? {
            Entry::File(read) if read.bytes == text.bytes => Some(read.modified),
            Entry::File(_) | Entry::Absent | Entry::Directory | Entry::Link { .. } | Entry::Special(_) => None,
        };
        self.seen.insert(path.to_owned(), modified);
        Ok(modified)
    }

    fn directory(&mut self, path: &Path) -> Result<Option<Modified>, Error> {
        if let Some(known) = self.seen.get(path) {
            return Ok(*known);
        }
        let mut unchanged = None;
        if let Some(directory) = self.host.root.dir(path)? {
            let modified = directory.modified()?;
            let mut names = BTreeSet::new();
            for listed in directory.list()? {
                let Some(name) = listed.name.to_str().filter(|name| !is_skipped_by_parser(name)) else { continue };
                let is_file = match listed.kind {
                    Kind::File => true,
                    Kind::Link => self.host.root.kind(&path.join(name))? == Some(Kind::File),
                    Kind::Directory | Kind::Special(_) => false,
                };
                names.extend(is_file.then(|| name.to_owned()));
            }
            unchanged = matches!(self.view.node(path), Node::Directory(known) if *known == names).then_some(modified);
        }
        self.seen.insert(path.to_owned(), unchanged);
        Ok(unchanged)
    }
}
