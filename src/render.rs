//! The document's texts as they would be installed, without a host.
//!
//! A service's profile is rendered with AppArmor's own variables and the document's. What only a host knows is added
//! by `apply`: a program that is a link or a script, variables that others declare, abi files that are missing.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::{Content, Desired, ProfileWant, WantedMode};
use crate::plan::conflict::{self, Definitions};
use crate::problem::Problem;
use crate::profile::ModeScope;
use crate::syntax::{self, Variables};
use crate::template::{self, Facts, Knowledge};
use crate::tree::Text;

/// What `render` prints as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rendered {
    /// The texts, include files first, each in the document's order.
    pub texts: Vec<RenderedText>,
    /// Entries whose text is not in the document, and why.
    pub omitted: Vec<String>,
    /// What whoever reads the texts should know.
    pub warnings: Vec<String>,
}

/// One text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RenderedText {
    /// The path relative to the policy directory.
    pub path: String,
    /// The text, replacement characters standing for bytes that are not UTF-8.
    pub content: String,
}

/// Renders every text of `desired`.
///
/// # Errors
/// What is wrong with services on every host, and profiles of one name or for one program.
pub fn render(desired: &Desired) -> Result<Rendered, Vec<Problem>> {
    let variables = variables(desired);
    let brought = desired.files.iter().filter_map(|file| match &file.content {
        Some(Content::Inline(text)) => Some((file.path.as_str().to_owned(), Arc::clone(text))),
        _ => None,
    });
    let brought = brought.collect();
    let mut renderer = Renderer {
        facts: Facts {
            variables: &variables,
            knowledge: Knowledge::Defaults,
            abis: None,
            programs: &BTreeMap::new(),
            links: &BTreeMap::new(),
            brought: &brought,
        },
        rendered: Rendered { texts: Vec::new(), omitted: Vec::new(), warnings: Vec::new() },
        problems: Vec::new(),
    };
    for file in &desired.files {
        match &file.content {
            Some(content) => {
                let _ = renderer.add(file.path.as_str(), content, WantedMode::AsWritten, ModeScope::default());
            }
            None => renderer.omit(format!("{}: absent", file.path)),
        }
    }
    let mut texts = Vec::new();
    let mut pointers = BTreeMap::new();
    for profile in &desired.profiles {
        let file = profile.file.as_str();
        match &profile.want {
            ProfileWant::Text { content, mode, scope } => {
                let text = renderer.add(file, content, *mode, *scope);
                if let Some(text) = text.filter(|_| *mode != WantedMode::Disabled) {
                    texts.push((&profile.file, conflict::definitions_of(text.scan(), &variables)));
                    pointers.insert(&profile.file, profile.pointer.as_str());
                }
            }
            ProfileWant::ModeOnly { .. } => renderer.omit(format!("{file}: the installed profile's mode only")),
            ProfileWant::Absent => renderer.omit(format!("{file}: absent")),
        }
    }
    let mut defined = Definitions::default();
    for (file, definitions) in &texts {
        definitions.iter().for_each(|one| defined.add(file, &one.name, &one.globs));
    }
    conflict::check(&defined, &pointers, &mut renderer.problems);
    if renderer.problems.is_empty() { Ok(renderer.rendered) } else { Err(renderer.problems) }
}

/// The variables that AppArmor declares since 3.0 (tunables/global), with those of the document's own tunables.
fn variables(desired: &Desired) -> Variables {
    const DEFAULTS: &str = "\
@{HOME}=@{HOMEDIRS}/*/ /root/
@{HOMEDIRS}=/home/
@{PROC}=/proc/
@{sys}=/sys/
@{securityfs}=@{sys}/kernel/security/
@{run}=/run/ /var/run/
@{etc_ro}=/etc/ /usr/etc/
@{etc_rw}=/etc/
@{multiarch}=*-linux-gnu*
@{user_share_dirs}=@{HOME}/.local/share/
@{pid}=[1-9]*
@{tid}=@{pid}
@{pids}=@{pid}
@{uid}=[0-9]*
@{uids}=@{uid}
";
    let mut variables = Variables::default();
    variables.add(&syntax::scan(DEFAULTS.as_bytes()));
    let tunables = desired.files.iter().filter(|file| file.path.as_str().starts_with("tunables/"));
    for content in tunables.filter_map(|file| file.content.as_ref()) {
        if let Content::Inline(text) = content {
            variables.add(text.scan());
        }
    }
    variables
}

struct Renderer<'a> {
    facts: Facts<'a>,
    rendered: Rendered,
    problems: Vec<Problem>,
}

impl Renderer<'_> {
    fn omit(&mut self, what: String) {
        self.rendered.omitted.push(what);
    }

    /// Adds a text; what it is before its mode is set, if the document has it.
    fn add(&mut self, path: &str, content: &Content, mode: WantedMode, scope: ModeScope) -> Option<Arc<Text>> {
        let text = match content {
            Content::Inline(text) => Arc::clone(text),
            Content::Source { path: source, .. } => {
                self.omit(format!("{path}: its text is in {} on the host", source.display()));
                return None;
            }
            Content::Service(service) => match template::render(service, mode, self.facts) {
                Ok(rendered) => {
                    self.rendered.warnings.extend(rendered.warnings);
                    Arc::new(Text::new(rendered.text.into_bytes()))
                }
                Err(problems) => {
                    self.problems.extend(problems);
                    return None;
                }
            },
        };
        let bytes = match mode {
            WantedMode::Flags(mode) => syntax::set_mode(&text.bytes, text.scan(), mode, scope).text,
            WantedMode::Disabled | WantedMode::AsWritten => text.bytes.as_slice().into(),
        };
        let content = String::from_utf8_lossy(&bytes).into_owned();
        self.rendered.texts.push(RenderedText { path: path.to_owned(), content });
        Some(text)
    }
}

impl Rendered {
    /// The texts for people, each after a comment with its path.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        for text in &self.texts {
            out.push_str(&format!("# {}\n{}", text.path, text.content));
            if !text.content.ends_with('\n') {
                out.push('\n');
            }
            out.push('\n');
        }
        for remark in self.omitted.iter().chain(&self.warnings) {
            out.push_str(&format!("# {remark}\n"));
        }
        out
    }
}
