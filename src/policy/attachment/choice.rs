//! Which profile an executable gets.

use super::{Attachment, LeftMatch, Specificity};

/// The kernel's decision for one executable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<T> {
    /// No profile is for it.
    Unattached,
    /// It gets this profile.
    Attached(T),
    /// These match it equally well, so it gets none and runs unconfined.
    Conflict(Vec<T>),
    /// These match it well enough to decide, and depend on its extended attributes, which are not looked at.
    Unsure(Vec<T>),
}

/// Decides as the kernel does (`security/apparmor/domain.c`, `find_attach`) which of `candidates` the executable at
/// `path` gets: those of the profiles in **one** namespace that have an attachment, each with whatever stands for it.
///
/// They are best given in the order of the kernel's list, which is that of its file `profiles`, the last new one first:
/// it matters where the length that the parser computed is greater than what the kernel counts. The path is absolute
/// and as the kernel sees it: links followed, below the root of the process that starts it.
pub fn chosen<'a, T>(
    candidates: impl IntoIterator<Item = (T, &'a Attachment)>,
    path: &[u8],
    counting: LeftMatch,
) -> Verdict<T> {
    let mut best = 0;
    let mut equals = Vec::new();
    let mut with_xattrs = Vec::new();
    for (profile, attachment) in candidates {
        let Some(found) = attachment.matches(path, counting) else { continue };
        let count = match found.specificity {
            Specificity::Name => return Verdict::Attached(profile),
            Specificity::Counted(count) => count,
        };
        if found.has_xattrs {
            with_xattrs.push((profile, count));
        } else if count == best && !equals.is_empty() {
            equals.push(profile);
        } else if count >= best {
            equals = vec![profile];
            best = count.max(attachment.shortest());
        }
    }
    with_xattrs.retain(|(_, count)| *count >= best);
    if !with_xattrs.is_empty() {
        return Verdict::Unsure(with_xattrs.into_iter().map(|(profile, _)| profile).collect());
    }
    match (equals.pop(), equals.is_empty()) {
        (None, _) => Verdict::Unattached,
        (Some(only), true) => Verdict::Attached(only),
        (Some(last), false) => {
            equals.push(last);
            Verdict::Conflict(equals)
        }
    }
}
