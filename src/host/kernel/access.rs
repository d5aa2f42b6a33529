//! Whether policy can be managed from here at all, and if not, what to do about it.

use std::io;
use std::path::Path;

use nix::sys::stat::stat;

use super::Evidence;
use super::files::{read_bytes, read_text};
use super::securityfs::Places;
use crate::error::Error;
use crate::host::root::Identity;

/// What the kernel is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To look at it.
    Read,
    /// To load and remove policy.
    Manage,
}

/// What managing policy takes (capabilities(7)), with the bits in `CapEff` of `/proc/PID/status`: to load and remove it,
/// and to see what other users' processes execute and what confines them.
const CAPABILITIES: [(&str, u32); 2] = [("CAP_MAC_ADMIN", 33), ("CAP_SYS_PTRACE", 19)];
/// The inode of the initial pid namespace on every Linux (include/linux/proc_ns.h, `PROC_PID_INIT_INO`).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";
/// The mapping of the initial user namespace (user_namespaces(7)): every number to itself.
const IDENTITY_MAPPING: [&str; 3] = ["0", "0", "4294967295"];
/// The most that is read of a mapping, in bytes: it has at most 340 lines (user_namespaces(7)).
const MAX_MAPPING: u64 = 1 << 16;

fn refusal(code: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Error {
    Error::Kernel { code, message: message.into(), remedy: remedy.into() }
}

/// Refuses where policy cannot be managed, or must not be from here.
pub(super) fn check(places: &Places, access: Access) -> Result<(), Error> {
    check_module(places)?;
    check_privilege(places)?;
    if access == Access::Read {
        return Ok(());
    }
    check_container(places)?;
    if parameter(places, "lock_policy")?.as_deref() == Some("Y") {
        return Err(refusal(
            "policy_locked",
            "the kernel's policy is locked (apparmor.lock_policy): nothing can be loaded or removed until the next boot",
            "reboot: the files that are installed are loaded then; --kernel skip writes files without the kernel",
        ));
    }
    Ok(())
}

/// A parameter of the module; `None` if this kernel does not have it.
pub(super) fn parameter(places: &Places, name: &str) -> Result<Option<String>, Error> {
    let path = places.parameters.join(name);
    match read_text(&path) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File { act: "read", path, source }),
    }
}

/// By what the kernel shows which policy it runs. A kernel that is too old to say whether it keeps the bytes keeps
/// them.
pub(super) fn evidence(places: &Places) -> Result<Evidence, Error> {
    if parameter(places, "hash_policy")?.as_deref() == Some("Y") {
        return Ok(Evidence::Hash);
    }
    let keeps_bytes = parameter(places, "export_binary")?.is_none_or(|value| value == "Y");
    Ok(if keeps_bytes { Evidence::RawData } else { Evidence::Name })
}

fn check_module(places: &Places) -> Result<(), Error> {
    match parameter(places, "enabled")?.as_deref() {
        Some("Y") => {}
        Some(_) => {
            return Err(refusal(
                "no_apparmor",
                "AppArmor is switched off in this kernel",
                "boot with `apparmor=1 security=apparmor` on the kernel's command line (and `apparmor` in `lsm=` if \
                 that is there); --kernel skip writes files without the kernel",
            ));
        }
        None => {
            return Err(refusal(
                "no_apparmor",
                format!("there is no AppArmor in this kernel ({} is missing)", places.parameters.display()),
                "boot a kernel that has it (CONFIG_SECURITY_APPARMOR); in a container, have /sys mounted; --kernel \
                 skip writes files without the kernel",
            ));
        }
    }
    if !places.exists(&places.apparmor.join("profiles")) {
        return Err(refusal(
            "no_securityfs",
            format!("AppArmor's files are not below {}", places.apparmor.display()),
            "mount -t securityfs securityfs /sys/kernel/security",
        ));
    }
    Ok(())
}

fn check_privilege(places: &Places) -> Result<(), Error> {
    let path = places.proc.join("self/status");
    let status = read_text(&path).map_err(|source| Error::File { act: "read", path, source })?;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or(0);
    let missing: Vec<&str> =
        CAPABILITIES.iter().filter(|(_, bit)| effective >> bit & 1 == 0).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(refusal(
        "permission",
        format!("managing the kernel's policy takes {}, which this process does not have", missing.join(" and ")),
        "run it as root (under systemd, with CAP_MAC_ADMIN and CAP_SYS_PTRACE in CapabilityBoundingSet=)",
    ))
}

/// Whether the first process sees another root directory than this one. Where that is not shown (it takes
/// `CAP_SYS_PTRACE`, proc(5)), it is taken for the same. A service of systemd's in a mount namespace of its own sees the
/// same directory there.
fn has_own_root(places: &Places) -> bool {
    let identity = |path: &Path| stat(path).ok().map(|found| Identity::of(&found));
    let (first, own) = (identity(&places.proc.join("1/root/")), identity(&places.proc.join("self/root/")));
    first.is_some_and(|first| own.is_some_and(|own| own != first))
}

/// Refuses to manage the host's policy from inside a container: its files are not the host's. A container with a policy
/// namespace of its own is a host to itself.
fn check_container(places: &Places) -> Result<(), Error> {
    let level = read_text(&places.apparmor.join(".ns_level")).unwrap_or_default();
    if level.trim().parse().is_ok_and(|level: u32| level > 0) {
        return Ok(());
    }
    let mapping = read_bytes(&places.proc.join("self/uid_map"), MAX_MAPPING).unwrap_or_default();
    let mapping = String::from_utf8_lossy(&mapping);
    let own_users = !mapping.is_empty() && mapping.split_whitespace().ne(IDENTITY_MAPPING);
    let pids = fs_err::read_link(places.proc.join("self/ns/pid")).unwrap_or_default();
    let own_pids = pids != Path::new("") && pids != Path::new(INITIAL_PID_NAMESPACE);
    if !own_pids && has_own_root(places) {
        return Err(refusal(
            "container",
            "this is a chroot or a container with files of its own: what it loads would be the host's policy, made from \
             these files",
            "run it on the host, with --root for the files of an image; --kernel skip writes files without the kernel",
        ));
    }
    if own_users || own_pids {
        return Err(refusal(
            "container",
            "this is a container without a policy namespace of its own: what it loads would be the host's policy, made \
             from the container's files",
            "run it on the host; or give the container a policy namespace (LXD and Incus do); --kernel skip writes \
             files without the kernel",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// What procfs shows on the host itself, and what it shows in a chroot.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test's own directory")]
    fn a_root_directory_that_is_not_the_hosts_is_refused() {
        let host = tempfile::tempdir().unwrap();
        let proc = host.path().join("proc");
        for directory in ["self/ns", "1", "image"] {
            std::fs::create_dir_all(proc.join(directory)).unwrap();
        }
        symlink(INITIAL_PID_NAMESPACE, proc.join("self/ns/pid")).unwrap();
        symlink(host.path(), proc.join("1/root")).unwrap();
        symlink(host.path(), proc.join("self/root")).unwrap();
        let places = Places { apparmor: host.path().join("none"), parameters: host.path().join("none"), proc };
        check_container(&places).unwrap();
        std::fs::remove_file(places.proc.join("self/root")).unwrap();
        symlink("../image", places.proc.join("self/root")).unwrap();
        assert_eq!(check_container(&places).unwrap_err().code(), "container");
        std::fs::remove_file(places.proc.join("1/root")).unwrap();
        check_container(&places).unwrap();
    }
}
