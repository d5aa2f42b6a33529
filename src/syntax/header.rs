//! Headers of profiles and hats, and the flags that give them a mode.
//!
//! `[profile|hat|^] NAME [ATTACHMENT] [xattrs=(…)] [flags=](…) {`, with comments and newlines between the parts.

use std::borrow::Cow;
use std::ops::Range;

use super::Scan;
use super::value::{Values, unquote, values};
use crate::profile::{Mode, ModeScope};

/// Which kind of confinement a header begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderKind {
    /// `profile NAME`, or a path alone outside of all braces.
    Profile,
    /// `hat NAME` or `^NAME`: entered through `aa_change_hat(2)`.
    Hat,
}

/// The header of a profile, a child profile or a hat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Which kind it is.
    pub kind: HeaderKind,
    /// The index in [`Scan::headers`] of the header whose rules it stands in.
    pub parent: Option<usize>,
    /// The name, without quotes and escapes; it may hold variables (`@{NAME}`), a namespace (`:ns:`) and globs.
    pub name: String,
    /// The attachment, if there is one beside the name.
    pub attachment: Option<String>,
    /// The mode that its flags name; without one it is in enforce mode. Children do not inherit the mode.
    pub mode: Option<Mode>,
    /// The offset of its first byte; [`line_at`](super::line_at) tells the line.
    pub start: usize,
    flags: Option<Flags>,
    /// Where the brace stands that ends the header.
    brace: usize,
}

/// Where a group of flags stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Flags {
    /// From `flags=` or the parenthesis to the closing one.
    group: Range<usize>,
    /// Between the parentheses.
    list: Range<usize>,
}

impl Header {
    /// The bytes that [`set_mode`] may replace.
    #[cfg(test)]
    pub(super) fn flags_span(&self, text: &[u8]) -> Option<Range<usize>> {
        self.flags.as_ref().map(|flags| flags.group_and_space(text))
    }
}

impl Flags {
    /// The single flags, each with the mode that it names.
    fn words(&self, text: &[u8]) -> Vec<(Range<usize>, Option<Mode>)> {
        values(text, self.list.clone(), Values::List)
            .map(|word| (word.clone(), Mode::from_flag(&unquote(&text[word]))))
            .collect()
    }

    /// The group and one space after it: what [`set_mode`] writes when it gives flags to a header without any.
    fn group_and_space(&self, text: &[u8]) -> Range<usize> {
        let end = self.group.end;
        self.group.start..end + usize::from(text.get(end) == Some(&b' '))
    }
}

/// The beginning of a header whose brace has not come yet.
#[derive(Debug)]
pub(super) struct Candidate {
    kind: HeaderKind,
    name: Range<usize>,
    start: usize,
    attachment: Option<Range<usize>>,
    groups: usize,
    flags: Option<Flags>,
}

impl Candidate {
    pub(super) fn new(kind: HeaderKind, name: Range<usize>, start: usize) -> Self {
        Self { kind, name, start, attachment: None, groups: 0, flags: None }
    }

    /// The header with an attachment, where one may stand.
    pub(super) fn attach(mut self, attachment: Range<usize>) -> Option<Self> {
        if self.attachment.is_some() || self.groups > 0 {
            return None;
        }
        self.attachment = Some(attachment);
        Some(self)
    }

    /// The header with a group: its flags, or conditions such as `xattrs=(…)`, which stand before them.
    pub(super) fn group(mut self, name: &[u8], group: Range<usize>, list: Range<usize>) -> Option<Self> {
        if self.flags.is_some() {
            return None;
        }
        self.groups += 1;
        if matches!(name, b"" | b"flags") {
            self.flags = Some(Flags { group, list });
        }
        Some(self)
    }

    /// The header that ends with the brace at `brace`.
    pub(super) fn open(self, text: &[u8], parent: Option<usize>, brace: usize) -> Header {
        let mode = self.flags.as_ref().and_then(|flags| flags.words(text).into_iter().find_map(|(_, mode)| mode));
        Header {
            kind: self.kind,
            parent,
            name: unquote(&text[self.name]),
            attachment: self.attachment.map(|attachment| unquote(&text[attachment])),
            mode,
            start: self.start,
            flags: self.flags,
            brace,
        }
    }
}

/// A policy text whose headers were given a mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten<'t> {
    /// The text, borrowed where nothing had to change.
    pub text: Cow<'t, [u8]>,
    /// The indices in [`Scan::headers`] of those that kept another mode because the scope leaves them alone.
    pub kept: Vec<usize>,
}

/// Gives the headers of `text` that are in `scope` the mode `mode`, by changing their flags and nothing else.
///
/// A header in that mode already stays as it is, byte for byte. Enforce mode is written by removing the mode's word,
/// and the whole group where no other flag is left, since the parser refuses an empty one. `scan` is the scan of
/// `text`.
///
/// # Panics
/// If `scan` is the scan of a longer text.
#[must_use]
pub fn set_mode<'t>(text: &'t [u8], scan: &Scan, mode: Mode, scope: ModeScope) -> Rewritten<'t> {
    let mut rewrite = Rewrite { text, written: Vec::new(), copied: 0 };
    let mut kept = Vec::new();
    for (index, header) in scan.headers.iter().enumerate() {
        let own = header.mode.unwrap_or(Mode::Enforce);
        if in_scope(own, scope) {
            rewrite.header(header, mode);
        } else if own != mode {
            kept.push(index);
        }
    }
    Rewritten { text: rewrite.finish(), kept }
}

fn in_scope(own: Mode, scope: ModeScope) -> bool {
    match scope {
        ModeScope::All => true,
        ModeScope::EnforceAndComplain => matches!(own, Mode::Enforce | Mode::Complain),
    }
}

/// Copies a text with changes, made from its beginning to its end.
struct Rewrite<'t> {
    text: &'t [u8],
    written: Vec<u8>,
    copied: usize,
}

impl<'t> Rewrite<'t> {
    fn replace(&mut self, range: Range<usize>, with: &str) {
        self.written.extend_from_slice(&self.text[self.copied..range.start]);
        self.written.extend_from_slice(with.as_bytes());
        self.copied = range.end;
    }

    fn finish(mut self) -> Cow<'t, [u8]> {
        if self.copied == 0 && self.written.is_empty() {
            return Cow::Borrowed(self.text);
        }
        self.written.extend_from_slice(&self.text[self.copied..]);
        Cow::Owned(self.written)
    }

    fn header(&mut self, header: &Header, mode: Mode) {
        let Some(flags) = &header.flags else {
            if mode != Mode::Enforce {
                self.replace(header.brace..header.brace, &format!("flags=({mode}) "));
            }
            return;
        };
        let words = flags.words(self.text);
        let first_mode = words.iter().position(|(_, own)| own.is_some());
        let settled = match first_mode {
            Some(_) => words.iter().all(|(_, own)| own.is_none_or(|own| own == mode)),
            None => mode == Mode::Enforce,
        };
        if settled {
            return;
        }
        match (mode, first_mode) {
            (Mode::Enforce, _) if words.iter().all(|(_, own)| own.is_some()) => {
                self.replace(flags.group_and_space(self.text), "");
            }
            (Mode::Enforce, _) => self.edit_words(&words, None),
            (_, Some(first)) => self.edit_words(&words, Some((first, mode.flag()))),
            (_, None) => match words.first() {
                Some((first, _)) => self.replace(first.start..first.start, &format!("{mode}, ")),
                None => self.replace(flags.list.start..flags.list.start, mode.flag()),
            },
        }
    }

    /// Removes the modes' words with what separates them from the others, except for one that is written anew.
    fn edit_words(&mut self, words: &[(Range<usize>, Option<Mode>)], anew: Option<(usize, &str)>) {
        let stays = |index: usize| words[index].1.is_none() || anew.is_some_and(|(anew, _)| anew == index);
        let Some(last) = (0..words.len()).rev().find(|index| stays(*index)) else { return };
        for (index, (word, _)) in words[..=last].iter().enumerate() {
            match anew {
                Some((anew, flag)) if anew == index => self.replace(word.clone(), flag),
                _ if stays(index) => {}
                _ => {
                    // Quoted flags need nothing between them, so that this one may be all that separates two others.
                    let touching = index > 0 && words[index - 1].0.end == word.start;
                    self.replace(word.start..words[index + 1].0.start, if touching { "," } else { "" });
                }
            }
        }
        if let (Some((end, _)), true) = (words.last(), last + 1 < words.len()) {
            self.replace(words[last].0.end..end.end, "");
        }
    }
}
