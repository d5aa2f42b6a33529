//! What a service needs, in its own terms: the vocabulary that a document speaks and that becomes a profile.
//!
//! **Invariant:** every value here is checked against the way in which AppArmor reads it, so that it stands in a
//! profile's text as itself and as nothing else: no value can end its rule, its line or its profile.

use std::fmt;
use std::sync::Arc;

use crate::acceptance::Acceptance;
use crate::profile::FileName;

mod value;

#[cfg(test)]
mod tests;

pub use value::{AbiName, BadValue, ClassName, Label, PathPattern, Program, RuleText, TemporaryName};

/// How many bytes a value may have.
pub const MAX_VALUE: usize = 4096;

/// A service, and everything that is said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its place in the document, a JSON pointer.
    pub pointer: String,
    /// The program that its profile is for.
    pub executable: Program,
    /// The profile's name.
    pub name: Label,
    /// The profile's file, which also names the file of local additions.
    pub file: FileName,
    /// The features that the profile is written for.
    pub abi: AbiName,
    /// Where the document names them: a JSON pointer, the service's own if nobody does.
    pub abi_pointer: String,
    /// The built-in class.
    pub class: Class,
    /// The document's own classes from the outermost inwards, then the service itself.
    pub layers: Vec<Arc<Layer>>,
}

/// Terms, and who states them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Who.
    pub origin: Origin,
    /// Where in the document, a JSON pointer.
    pub pointer: String,
    /// What is asked for.
    pub terms: Terms,
    /// Objections that are accepted here; none twice.
    pub accept: Vec<Acceptance>,
}

/// Who states terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A class of the document's own.
    Class(ClassName),
    /// The service.
    Service,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class(name) => write!(out, "class {name}"),
            Self::Service => out.write_str("service"),
        }
    }
}

/// Defines enums whose values are written as words, each word with its value.
macro_rules! words {
    ($($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $meaning:literal])+ $variant:ident = $word:literal,)+ })+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, schemars::JsonSchema)]
            pub enum $name {
                $($(#[doc = $meaning])+ #[serde(rename = $word)] $variant,)+
            }

            impl $name {
                /// Every value, with its word.
                pub const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),+];

                /// The word that stands for the value, here and in AppArmor.
                #[must_use]
                pub const fn word(self) -> &'static str {
                    match self {
                        $(Self::$variant => $word,)+
                    }
                }
            }

            impl fmt::Display for $name {
                fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                    out.write_str(self.word())
                }
            }
        )+
    };
}

words! {
    /// A kind of service, as this program knows it.
    Class {
        /// Proxy and edge services: they take connections from outside and pass them on.
        Proxy = "proxy",
        /// Background workers: they read their configuration, keep their data and write their logs.
        Worker = "worker",
        /// Observability agents: they read what the kernel tells about the host and its processes.
        Observer = "observer",
        /// Management tools: people and schedulers start them, and they start others.
        Helper = "helper",
    }

    /// What becomes of the confinement when a program is executed.
    Transition {
        /// The program runs in the service's own profile.
        Inherit = "inherit",
        /// The program runs in another profile, which is loaded under its name.
        Profile = "profile",
        /// The program runs in a child profile of the service's, which is rendered with it.
        Child = "child",
    }

    /// A family of network addresses.
    Family {
        /// The kernel's cryptography.
        Alg = "alg",
        /// Bluetooth.
        Bluetooth = "bluetooth",
        /// Controller area network.
        Can = "can",
        /// IPv4.
        Inet = "inet",
        /// IPv6.
        Inet6 = "inet6",
        /// The kernel's own interfaces.
        Netlink = "netlink",
        /// Whole frames.
        Packet = "packet",
        /// Transparent inter-process communication.
        Tipc = "tipc",
        /// Sockets of this host.
        Unix = "unix",
        /// A virtual machine and its host.
        Vsock = "vsock",
    }

    /// A type of sockets.
    SocketType {
        /// A stream of bytes, such as TCP.
        Stream = "stream",
        /// Datagrams, such as UDP.
        Dgram = "dgram",
        /// A stream of packets.
        Seqpacket = "seqpacket",
        /// Below the transport.
        Raw = "raw",
    }

    /// Whether signals go out or come in.
    Direction {
        /// The service sends them.
        Send = "send",
        /// The service receives them.
        Receive = "receive",
    }

    /// A signal.
    Signal {
        /// Hang up: reload, by custom.
        Hup = "hup",
        /// Interrupt.
        Int = "int",
        /// Quit.
        Quit = "quit",
        /// Kill; cannot be caught.
        Kill = "kill",
        /// First of the user's own.
        Usr1 = "usr1",
        /// Second of the user's own.
        Usr2 = "usr2",
        /// Broken pipe.
        Pipe = "pipe",
        /// Alarm.
        Alrm = "alrm",
        /// Terminate.
        Term = "term",
        /// A child has ended.
        Chld = "chld",
        /// Continue.
        Cont = "cont",
        /// Stop; cannot be caught.
        Stop = "stop",
        /// The window has another size.
        Winch = "winch",
        /// No signal: asks whether the process is there.
        Exists = "exists",
    }

    /// A capability, by the name of capabilities(7) without `CAP_`.
    Capability {
        /// Change audit rules.
        AuditControl = "audit_control",
        /// Read the audit log.
        AuditRead = "audit_read",
        /// Write records to the audit log.
        AuditWrite = "audit_write",
        /// Keep the system from sleeping.
        BlockSuspend = "block_suspend",
        /// Load programs into the kernel.
        Bpf = "bpf",
        /// Checkpoint and restore processes.
        CheckpointRestore = "checkpoint_restore",
        /// Change owners of files.
        Chown = "chown",
        /// Ignore permissions of files.
        DacOverride = "dac_override",
        /// Ignore permissions of files for reading.
        DacReadSearch = "dac_read_search",
        /// Act as the owner of any file.
        Fowner = "fowner",
        /// Keep set-id bits.
        Fsetid = "fsetid",
        /// Lock memory.
        IpcLock = "ipc_lock",
        /// Act as the owner of System V objects.
        IpcOwner = "ipc_owner",
        /// Send signals to anybody's processes.
        Kill = "kill",
        /// Take leases on files.
        Lease = "lease",
        /// Set the immutable and append-only flags.
        LinuxImmutable = "linux_immutable",
        /// Change AppArmor's policy.
        MacAdmin = "mac_admin",
        /// Override AppArmor.
        MacOverride = "mac_override",
        /// Make device files.
        Mknod = "mknod",
        /// Configure the network.
        NetAdmin = "net_admin",
        /// Listen on ports below 1024.
        NetBindService = "net_bind_service",
        /// Send broadcasts.
        NetBroadcast = "net_broadcast",
        /// Use raw sockets.
        NetRaw = "net_raw",
        /// Watch performance.
        Perfmon = "perfmon",
        /// Give programs capabilities.
        Setfcap = "setfcap",
        /// Change the group.
        Setgid = "setgid",
        /// Change a process's capabilities.
        Setpcap = "setpcap",
        /// Change the user.
        Setuid = "setuid",
        /// Mounts, namespaces and a hundred other things.
        SysAdmin = "sys_admin",
        /// Boot another kernel.
        SysBoot = "sys_boot",
        /// Change the root directory.
        SysChroot = "sys_chroot",
        /// Load kernel modules.
        SysModule = "sys_module",
        /// Raise priorities.
        SysNice = "sys_nice",
        /// Account for processes.
        SysPacct = "sys_pacct",
        /// Trace processes.
        SysPtrace = "sys_ptrace",
        /// Ports of the hardware and memory of the kernel.
        SysRawio = "sys_rawio",
        /// Exceed limits.
        SysResource = "sys_resource",
        /// Set the clock.
        SysTime = "sys_time",
        /// Configure terminals.
        SysTtyConfig = "sys_tty_config",
        /// Read the kernel's log.
        Syslog = "syslog",
        /// Wake the system up.
        WakeAlarm = "wake_alarm",
    }
}

/// What is asked for. Each list is in the document's order, so that an element's number is its place there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terms {
    /// To read.
    pub config: Vec<PathPattern>,
    /// To read and to map as code.
    pub libraries: Vec<PathPattern>,
    /// To read, write, create and lock.
    pub data: Vec<PathPattern>,
    /// To write and append.
    pub logs: Vec<PathPattern>,
    /// Sockets and process files below /run: to read, write, create and lock.
    pub runtime: Vec<PathPattern>,
    /// Names below /tmp and /var/tmp: to read, write, create and lock, if the service's user owns them.
    pub temp: Vec<TemporaryName>,
    /// Where connections come in.
    pub listen: Vec<Network>,
    /// Where connections go out.
    pub connect: Vec<Network>,
    /// Programs to execute.
    pub execute: Vec<Execute>,
    /// Capabilities.
    pub capabilities: Vec<Capability>,
    /// Signals to and from other profiles.
    pub signals: Vec<SignalRule>,
    /// What is denied, whatever else allows it.
    pub deny: Vec<PathPattern>,
    /// Rules as AppArmor writes them.
    pub rules: Vec<RuleText>,
}

/// Addresses and sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The family; none is all of them.
    pub family: Option<Family>,
    /// The type; none is those that are usual in the family.
    pub socket: Option<SocketType>,
}

/// A program to execute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execute {
    /// The program, or several.
    pub path: PathPattern,
    /// What becomes of the confinement.
    pub into: Confinement,
}

/// The profile that an executed program runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confinement {
    /// The service's own.
    Inherit,
    /// Another, by name.
    Profile(Label),
    /// A child of the service's own.
    Child {
        /// Its name.
        name: Label,
        /// What it may do; what it executes inherits its profile, and it has no `deny`.
        needs: Box<Terms>,
    },
}

impl Confinement {
    /// The word for it.
    #[must_use]
    pub fn transition(&self) -> Transition {
        match self {
            Self::Inherit => Transition::Inherit,
            Self::Profile(_) => Transition::Profile,
            Self::Child { .. } => Transition::Child,
        }
    }
}

/// Signals between the service and another profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalRule {
    /// Which way.
    pub direction: Direction,
    /// Which; none is all of them.
    pub signals: Vec<Signal>,
    /// The other profile's name.
    pub peer: Label,
}
