//! What is objected to in rules about something else than files and capabilities.

use std::sync::LazyLock;

use super::{LETTERS, LETTERS_IN_ROOT, WRITTEN, pattern};
use crate::acceptance::Objection;
use crate::glob::{Glob, Wildcards};
use crate::syntax::{Mediated, Variables};

/// The name that stands for no confinement.
const UNCONFINED: &str = "unconfined";

/// The names that the kernel takes for no confinement where no profile has them: it compares as many bytes as the name
/// has (security/apparmor/policy.c, aa_lookupn_profile).
static TAKEN_FOR_UNCONFINED: LazyLock<Glob> = LazyLock::new(|| {
    let names: Vec<Glob> = (1..=UNCONFINED.len()).map(|length| pattern(&UNCONFINED[..length])).collect();
    Glob::union(&names)
});

/// Names that many profiles have by custom: the paths of their programs. A pattern that matches one names no profile.
static PATHS_AS_NAMES: LazyLock<Glob> = LazyLock::new(|| {
    let names = ["/{,s}bin/x", "/opt/x/x", "/usr/{,local/}{,s}bin/x", "/usr/lib{,exec}/x", "/usr/lib{,exec}/x/x"];
    Glob::union(&names.map(pattern))
});

/// Who does as root what it is asked to on D-Bus, or says who may ask.
static CONTROLLERS: LazyLock<Glob> = LazyLock::new(|| {
    pattern(
        "org.freedesktop.{Accounts,PackageKit,PolicyKit1,UDisks2,home1,import1,login1,machine1,portable1,systemd1}{,.**}",
    )
});

/// Whether a name stands for no confinement, if no profile has it.
pub(in super::super) fn is_unconfined(label: &str) -> bool {
    !label.is_empty() && UNCONFINED.starts_with(label)
}

/// Whether a name, or the pattern of one, stands for no confinement or leaves open for which profile.
pub(in super::super) fn is_unconfined_or_open(label: &str, variables: &Variables) -> bool {
    // What is stacked on the present profile is confined by that, and a stack by each of its profiles.
    !label.starts_with('&') && label.split("//&").all(|label| is_one_unconfined_or_open(label, variables))
}

fn is_one_unconfined_or_open(label: &str, variables: &Variables) -> bool {
    let name = match label.strip_prefix(':').and_then(|rest| rest.split_once(':')) {
        Some((_namespace, name)) => name.strip_prefix("//").unwrap_or(name),
        None => label,
    };
    // The parser puts the profile's own name there.
    let name = name.replace("@{profile_name}", "profile_name");
    let Ok(glob) = Glob::new(&name, variables) else { return false };
    name.is_empty()
        || glob.meets(&TAKEN_FOR_UNCONFINED)
        || glob.has_unnamed(&pattern(""), LETTERS)
        || glob.wildcards() != Wildcards::None && glob.meets(&PATHS_AS_NAMES)
}

/// What is objected to in a rule about something else than files and capabilities.
pub(in super::super) fn of_mediated(rule: &Mediated, variables: &Variables) -> Option<Objection> {
    let is_open = |label: Option<&str>| label.is_none_or(|label| is_unconfined_or_open(label, variables));
    let peer = || rule.conditions.get("peer").map(String::as_str);
    let objects = match rule.keyword {
        "network" => (!rule.has_family(), Objection::NetworkAnyFamily),
        "change_profile" => (is_open(rule.target.as_deref()), Objection::ChangeProfileAny),
        "mount" | "remount" | "umount" | "unmount" | "pivot_root" => (mounts_any(rule, variables), Objection::MountAny),
        "ptrace" => (rule.allows(&["trace"]) && is_open(peer()), Objection::PtraceAny),
        "signal" => (rule.allows(&["send", "w", "write", "rw"]) && is_open(peer()), Objection::SignalAny),
        "dbus" => return of_dbus(rule, variables),
        "unix" => {
            let peer = rule.peer();
            let address_is_open = peer.get("addr").is_none_or(|address| {
                let address = address.strip_prefix('@').unwrap_or(address);
                Glob::new(address, variables).is_ok_and(|glob| glob.has_unnamed(&pattern(""), LETTERS))
            });
            let any = address_is_open && is_open(peer.get("label").map(String::as_str));
            (rule.allows(&["connect", "rw", "w", "write"]) && any, Objection::UnixAny)
        }
        _ => return None,
    };
    objects.0.then_some(objects.1)
}

fn mounts_any(rule: &Mediated, variables: &Variables) -> bool {
    let open = |place: Option<&str>| {
        place.is_none_or(|place| {
            let is_any = !place.is_empty() && place.chars().all(|letter| "*?/{}, []^".contains(letter));
            let glob = Glob::new(place, variables);
            is_any || glob.is_ok_and(|glob| glob.has_unnamed(&WRITTEN[0].glob, LETTERS_IN_ROOT))
        })
    };
    let named = rule.words.iter().map(String::as_str).find(|word| word.starts_with(['/', '@', '*', '{']));
    match rule.keyword {
        // A file system that is named has contents of its own; anything else shows what is elsewhere.
        "mount" => open(rule.target.as_deref()) || !rule.conditions.contains_key("fstype") && open(named),
        _ => open(named),
    }
}

/// Messages go to whoever has a name, or to whoever knows an interface; both must be written out.
fn of_dbus(rule: &Mediated, variables: &Variables) -> Option<Objection> {
    let glob = |name: Option<&String>| name.and_then(|name| Glob::new(name, variables).ok());
    let is_written_out = |glob: &Option<Glob>| glob.as_ref().is_some_and(|glob| glob.wildcards() == Wildcards::None);
    let peer = rule.peer();
    let (name, interface) = (glob(peer.get("name")), glob(rule.conditions.get("interface")));
    let sends = rule.allows(&["send", "w", "write", "rw"]);
    // Everybody has the interfaces of D-Bus itself.
    let everybodys = pattern("org.freedesktop.DBus{,.**}");
    let to_one = is_written_out(&name)
        || is_written_out(&interface) && interface.as_ref().is_some_and(|interface| !interface.meets(&everybodys))
        || peer.get("label").is_some_and(|label| !is_unconfined_or_open(label, variables));
    let binds_any = rule.allows(&["bind"]) && !is_written_out(&glob(rule.conditions.get("name")));
    if rule.allows(&["eavesdrop"]) || sends && !to_one || binds_any {
        return Some(Objection::DbusAny);
    }
    let is_controller = |name: &Option<Glob>| name.as_ref().is_some_and(|name| name.meets(&CONTROLLERS));
    (sends && (is_controller(&name) || is_controller(&interface))).then_some(Objection::ControlSocket)
}
