//! What stands at the paths of the programs that services name, and where their other paths lead.

use std::collections::{BTreeMap, btree_map};
use std::path::Path;

use super::{Reader, contents};
use crate::document::{Content, Desired};
use crate::error::Error;
use crate::host::root::Kind;
use crate::service::Program;
use crate::template::{self, Found};

/// How many bytes of a script the kernel looks at (binfmt_script, `BINPRM_BUF_SIZE`).
const INTERPRETER_LINE: usize = 256;

impl Reader<'_> {
    /// What stands at the paths of the programs that services name; the abis that their profiles can be written for.
    pub(super) fn programs(&mut self, desired: &Desired) -> Result<BTreeMap<Program, Found>, Error> {
        let mut found = BTreeMap::new();
        for (_, content) in contents(desired) {
            let Content::Service(service) = content else { continue };
            for program in template::programs(service) {
                if let btree_map::Entry::Vacant(vacant) = found.entry(program) {
                    let what = self.program(vacant.key())?;
                    vacant.insert(what);
                }
            }
        }
        if !found.is_empty() {
            for directory in self.search.clone() {
                self.load(directory.join("abi"))?;
            }
        }
        Ok(found)
    }

    /// Where the paths that services name lead, of those that lead elsewhere.
    pub(super) fn paths(&self, desired: &Desired) -> Result<BTreeMap<String, String>, Error> {
        let mut links = BTreeMap::new();
        for (_, content) in contents(desired) {
            let Content::Service(service) = content else { continue };
            for path in template::paths(service) {
                if let btree_map::Entry::Vacant(vacant) = links.entry(path.to_owned()) {
                    let target = self.root.resolve_to_be(Path::new(path))?;
                    vacant.insert(target.map_or_else(|| path.to_owned(), |target| target.display().to_string()));
                }
            }
        }
        links.retain(|path, target| path != target);
        Ok(links)
    }

    /// The program that is found under a name in the directories that systemd and login(1) search, in their order.
    fn in_search_path(&self, command: &str) -> Result<Option<Program>, Error> {
        const SEARCHED: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
        for directory in SEARCHED {
            // A command with a slash is a path, which replaces the directory.
            let Some(path) = self.root.resolve(&Path::new(directory).join(command))? else { continue };
            if self.root.kind(&path)? == Some(Kind::File) {
                return Ok(path.to_str().and_then(|path| Program::new(path).ok()));
            }
        }
        Ok(None)
    }

    /// What stands at a program's path, links followed. The kernel reads an interpreter from the first line
    /// (execve(2), "Interpreter scripts").
    fn program(&self, program: &Program) -> Result<Found, Error> {
        let Some(path) = self.root.resolve(Path::new(program.as_str()))? else { return Ok(Found::Nothing) };
        let name = |path: &Path| path.to_str().and_then(|path| Program::new(path).ok());
        match self.root.kind(&path)? {
            None => Ok(Found::Nothing),
            Some(Kind::File) => {
                let Some(resolved) = name(&path) else {
                    let what = format!("a link to {}, a path that no profile can name", path.display());
                    return Ok(Found::NotAProgram(what));
                };
                let head = self.root.head(&path, INTERPRETER_LINE)?;
                let interpreter = match interpreter(&head) {
                    Some(interpreter) => match self.root.resolve(interpreter)? {
                        Some(resolved) => name(&resolved),
                        None => name(interpreter),
                    },
                    None => None,
                };
                let started_by_env = match (&interpreter, searched(&head)) {
                    (Some(env), Some(command)) if env.base_name() == "env" => self.in_search_path(command)?,
                    _ => None,
                };
                Ok(Found::Program { path: resolved, interpreter, started_by_env })
            }
            Some(kind) => Ok(Found::NotAProgram(kind.to_string())),
        }
    }
}

/// The command that env(1) looks for, where a program's first line runs that: what follows its options and assignments.
fn searched(head: &[u8]) -> Option<&str> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let words = std::str::from_utf8(line).ok()?.split([' ', '\t']).filter(|word| !word.is_empty());
    words.skip(1).find(|word| !word.starts_with('-') && !word.contains('='))
}

/// The interpreter that a program's first bytes name.
fn interpreter(head: &[u8]) -> Option<&Path> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    std::str::from_utf8(words.next()?).ok().map(Path::new)
}
