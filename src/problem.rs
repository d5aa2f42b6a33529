//! What is wrong with a document: every problem at once, each with the place, a stable code and what would be right.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One reason why a document is refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Where in the document: a JSON pointer (RFC 6901) such as `/profiles/3/mode`; empty for the document as a whole.
    pub pointer: String,
    /// A stable word for programs.
    pub code: ProblemCode,
    /// What is wrong, for people.
    pub message: String,
    /// What would be right, for people; null where the message says all there is.
    pub allowed: Option<String>,
}

impl Problem {
    /// A problem at `pointer` for which nothing more than `message` is to be said.
    #[must_use]
    pub fn new(pointer: impl Into<String>, code: ProblemCode, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), code, message: message.into(), allowed: None }
    }

    /// The same problem with what would be right.
    #[must_use]
    pub fn allowed(mut self, allowed: impl Into<String>) -> Self {
        self.allowed = Some(allowed.into());
        self
    }
}

/// The kinds of [`Problem`]; the words are stable, new ones may be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProblemCode {
    /// The input is not JSON, or not UTF-8.
    NotJson,
    /// A limit on size, count or depth is exceeded.
    TooLarge,
    /// An object holds one key twice.
    DuplicateKey,
    /// A field that this version does not know.
    UnknownField,
    /// A value of the wrong JSON type.
    WrongType,
    /// A value of the right type that is not allowed here.
    BadValue,
    /// A required field is missing.
    Missing,
    /// The document's version is not one that this program reads.
    UnknownVersion,
    /// Fields that exclude each other.
    Conflict,
    /// Two entries name one file.
    DuplicateFile,
    /// Another owner holds the path.
    OwnedByOther,
    /// The entry needs an installed file that is not there.
    NotInstalled,
    /// The place is taken by something that is not a regular file.
    NotAFile,
    /// A `source` file is missing, unreadable, or does not have the `sha256` that the entry gives.
    BadSource,
    /// Two profiles have one name.
    DuplicateProfileName,
    /// Two profiles match one executable equally well; the kernel would run it unconfined.
    EqualAttachment,
    /// The mode cannot be reached by changing flags in this file.
    ModeNotReachable,
    /// What is asked for makes a profile meaningless; it can be accepted by a code that the problem names.
    TooBroad,
    /// Pruning everything needs `allow_empty`.
    AllowEmptyNeeded,
}
