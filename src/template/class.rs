//! What the built-in classes allow, and what they deny whatever else allows it. Each line is justified in
//! docs/classes.md.

use super::network::{Sockets, Use};
use crate::service::{Class, Family, SocketType};

/// Rules of one purpose.
pub(super) struct Allowance {
    /// The purpose, for the comment above the rules.
    pub(super) purpose: &'static str,
    /// Rules that are the same for every abi.
    pub(super) rules: &'static [&'static str],
    /// Network access.
    pub(super) sockets: &'static [Sockets],
}

/// What every class allows.
pub(super) const EVERY: [Allowance; 4] = [
    Allowance {
        purpose: "libraries, locale, logging, settings of the language's runtime",
        rules: &[
            "include <abstractions/base>",
            "@{PROC}/sys/net/core/somaxconn r,",
            "@{sys}/kernel/mm/transparent_hugepage/hpage_pmd_size r,",
        ],
        sockets: &[],
    },
    Allowance {
        purpose: "names of users and groups",
        rules: &["/etc/group r,", "/etc/nsswitch.conf r,", "/etc/passwd r,"],
        sockets: &[],
    },
    Allowance {
        purpose: "telling systemd that it is ready, of a unit with Type=notify",
        rules: &["@{run}/systemd/notify w,"],
        sockets: &[],
    },
    Allowance {
        purpose: "name resolution, and which addresses this host has",
        rules: &[
            "/etc/gai.conf r,",
            "/etc/host.conf r,",
            "/etc/hosts r,",
            "/etc/protocols r,",
            "/etc/resolv.conf r,",
            "/etc/services r,",
            "@{run}/systemd/resolve/{resolv,stub-resolv}.conf r,",
        ],
        sockets: &[Sockets { used: Use::Both, family: Some(Family::Netlink), socket: Some(SocketType::Raw) }],
    },
];

const CERTIFICATES: Allowance = Allowance {
    purpose: "certificates of authorities, settings of OpenSSL",
    rules: &["include <abstractions/openssl>", "include <abstractions/ssl_certs>"],
    sockets: &[],
};

/// What no program starts without, of all that `abstractions/base` allows.
pub(super) const BASE: [&str; 8] = [
    "/dev/null rw,",
    "/dev/urandom r,",
    "/etc/ld.so.cache r,",
    "/etc/localtime r,",
    "/lib/x86_64-linux-gnu/libc.so.6 mr,",
    "/lib64/ld-linux-x86-64.so.2 mr,",
    "/usr/lib/x86_64-linux-gnu/libc.so.6 mr,",
    "/usr/share/zoneinfo/UTC r,",
];

/// What a class allows besides.
pub(super) const fn allowances(class: Class) -> &'static [Allowance] {
    match class {
        Class::Proxy => &[
            CERTIFICATES,
            Allowance {
                purpose: "listening for TCP, on privileged ports too",
                rules: &["capability net_bind_service,"],
                sockets: &[
                    Sockets { used: Use::Listen, family: Some(Family::Inet), socket: Some(SocketType::Stream) },
                    Sockets { used: Use::Listen, family: Some(Family::Inet6), socket: Some(SocketType::Stream) },
                ],
            },
            Allowance {
                purpose: "asking for names",
                rules: &[],
                sockets: &[
                    Sockets { used: Use::Connect, family: Some(Family::Inet), socket: Some(SocketType::Dgram) },
                    Sockets { used: Use::Connect, family: Some(Family::Inet6), socket: Some(SocketType::Dgram) },
                ],
            },
        ],
        Class::Worker => &[CERTIFICATES],
        Class::Observer => &[
            Allowance {
                purpose: "what the kernel tells of the host",
                rules: &["@{PROC}/ r,", "@{PROC}/[a-z]*{,/**} r,", "@{run}/udev/data/* r,", "@{sys}/{,**} r,"],
                sockets: &[],
            },
            Allowance {
                purpose: "what the kernel tells of processes, without their memory and environment",
                rules: &[
                    "@{PROC}/[0-9]*/ r,",
                    "@{PROC}/[0-9]*/{,task/[0-9]*/}{cgroup,cmdline,comm,io,limits,mountinfo,mounts,mountstats,oom_score,sched,schedstat,smaps_rollup,stat,statm,status,wchan} r,",
                    "@{PROC}/[0-9]*/{fd,net,ns,task}/{,**} r,",
                    "ptrace (read),",
                ],
                sockets: &[],
            },
        ],
        Class::Helper => &[
            CERTIFICATES,
            Allowance {
                purpose: "the terminal of whoever runs it",
                rules: &["include <abstractions/consoles>"],
                sockets: &[],
            },
        ],
    }
}

/// Paths that a class denies.
pub(super) struct Denial {
    /// What they are, for the comment above the rules and for reports.
    pub(super) what: &'static str,
    /// What the patterns begin with.
    pub(super) prefix: &'static str,
    /// What each ends with, sorted.
    pub(super) members: &'static [&'static str],
    /// The permissions that are denied, as letters.
    pub(super) permissions: &'static str,
}

/// Every permission on files.
const EVERYTHING: &str = "mrwklx";

/// What every class denies.
const DENIED: [Denial; 5] = [
    Denial { what: "homes", prefix: "@{HOME}/", members: &["{,**}"], permissions: EVERYTHING },
    Denial {
        what: "shadow files",
        prefix: "/etc/",
        members: &["security/opasswd", "{,g}shadow{,-}"],
        permissions: EVERYTHING,
    },
    Denial {
        what: "private keys",
        prefix: "/etc/",
        members: &[
            "letsencrypt/keys/{,**}",
            "letsencrypt/{archive,live}/*/privkey*.pem",
            "pki/tls/private/{,**}",
            "ssh/ssh_host_*_key",
            "ssl/private/{,**}",
        ],
        permissions: EVERYTHING,
    },
    Denial {
        what: "shells",
        prefix: "/{,usr/,usr/local/}bin/",
        members: &[
            "ash", "bash", "busybox", "csh", "dash", "fish", "ksh", "ksh93", "mksh", "rbash", "sh", "tcsh", "zsh",
        ],
        permissions: "x",
    },
    Denial {
        what: "download tools",
        prefix: "/{,usr/,usr/local/}bin/",
        members: &[
            "aria2c",
            "curl",
            "ftp",
            "lftp",
            "nc",
            "nc.openbsd",
            "nc.traditional",
            "ncat",
            "netcat",
            "scp",
            "sftp",
            "socat",
            "telnet",
            "tftp",
            "wget",
            "wget2",
        ],
        permissions: "x",
    },
];

/// What an observer is denied besides.
const OBSERVER_DENIED: [Denial; 1] = [Denial {
    what: "memory of processes and of the kernel",
    prefix: "@{PROC}/",
    members: &["kcore", "[0-9]*/{,task/[0-9]*/}{environ,mem}"],
    permissions: EVERYTHING,
}];

/// What a class denies.
pub(super) fn denials(class: Class) -> impl Iterator<Item = &'static Denial> {
    let more: &[Denial] = if class == Class::Observer { &OBSERVER_DENIED } else { &[] };
    DENIED.iter().chain(more)
}
