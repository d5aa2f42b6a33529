//! What a document insists on although this program objects: each with a stable code and somebody's reason.
//!
//! An objection is about policy that would work and protect less than it seems to. It refuses the document unless the
//! document accepts it by its code; what was accepted stands in the report's warnings on every run.
//!
//! **Invariant:** codes are never renamed or given another meaning; new ones may be added.

use schemars::JsonSchema;
use serde::Serialize;

/// What this program objects to unless the document accepts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Objection {
    /// The kernel's global mode (`/sys/module/apparmor/parameters/mode`) is not `enforce`: it overrides the mode of
    /// every profile, while the kernel goes on showing each profile's own.
    KernelGlobalMode,
    /// The kernel shows neither hashes of profiles nor the bytes that were loaded (`apparmor.hash_policy=0` and
    /// `apparmor.export_binary=0`): what it runs is told by names and modes alone.
    KernelWithoutEvidence,
}

impl Objection {
    /// Every objection.
    pub const ALL: [Self; 2] = [Self::KernelGlobalMode, Self::KernelWithoutEvidence];

    /// The stable word by which a document accepts it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::KernelGlobalMode => "kernel-global-mode",
            Self::KernelWithoutEvidence => "kernel-without-evidence",
        }
    }
}

/// An objection that a document accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acceptance {
    /// What is accepted.
    pub objection: Objection,
    /// Why.
    pub reason: Reason,
}

/// Why somebody accepts an objection: one line of text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Reason(String);

impl Reason {
    /// How many characters a reason may have.
    pub const MAX: usize = 1000;

    /// Checks a reason: 1 to [`Self::MAX`] characters, no control characters, not beginning with a space.
    ///
    /// # Errors
    /// The rule.
    pub fn new(reason: impl Into<String>) -> Result<Self, &'static str> {
        let reason = reason.into();
        let length = reason.chars().take(Self::MAX + 1).count();
        if reason.is_empty() || length > Self::MAX || reason.starts_with(' ') || reason.chars().any(char::is_control) {
            return Err("1 to 1000 characters in one line, not beginning with a space");
        }
        Ok(Self(reason))
    }

    /// The reason as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
