//! The document's texts as they would be installed, without a host.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::{Content, Desired, ProfileWant, WantedMode};
use crate::syntax;

/// What `render` prints as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rendered {
    /// The texts, include files first, each in the document's order.
    pub texts: Vec<RenderedText>,
    /// Entries whose text is not in the document, and why.
    pub omitted: Vec<String>,
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
#[must_use]
pub fn render(desired: &Desired) -> Rendered {
    let mut rendered = Rendered { texts: Vec::new(), omitted: Vec::new() };
    for file in &desired.files {
        match &file.content {
            Some(content) => rendered.add(file.path.as_str(), content, WantedMode::AsWritten, Default::default()),
            None => rendered.omitted.push(format!("{}: absent", file.path)),
        }
    }
    for profile in &desired.profiles {
        let file = profile.file.as_str();
        match &profile.want {
            ProfileWant::Text { content, mode, scope } => rendered.add(file, content, *mode, *scope),
            ProfileWant::ModeOnly { .. } => rendered.omitted.push(format!("{file}: the installed profile's mode only")),
            ProfileWant::Absent => rendered.omitted.push(format!("{file}: absent")),
        }
    }
    rendered
}

impl Rendered {
    fn add(&mut self, path: &str, content: &Content, mode: WantedMode, scope: crate::profile::ModeScope) {
        let text = match content {
            Content::Inline(text) => text,
            Content::Source { path: source, .. } => {
                self.omitted.push(format!("{path}: its text is in {} on the host", source.display()));
                return;
            }
        };
        let bytes = match mode {
            WantedMode::Flags(mode) => syntax::set_mode(&text.bytes, text.scan(), mode, scope).text,
            WantedMode::Disabled | WantedMode::AsWritten => text.bytes.as_slice().into(),
        };
        self.texts.push(RenderedText { path: path.to_owned(), content: String::from_utf8_lossy(&bytes).into_owned() });
    }

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
        for omitted in &self.omitted {
            out.push_str(&format!("# {omitted}\n"));
        }
        out
    }
}
