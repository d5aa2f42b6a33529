//! What a document insists on although this program objects: each with a stable code and somebody's reason.
//!
//! An objection is about policy that would work and protect less than it seems to. It refuses the document unless the
//! document accepts it by its code; what was accepted stands in the report's warnings on every run.
//!
//! **Invariant:** codes are never renamed or given another meaning; new ones may be added.

use schemars::JsonSchema;
use serde::Serialize;

use crate::profile::is_unseen;

/// Defines [`Objection`]: each variant with its scope, its code and what it stands for.
macro_rules! objections {
    ($($(#[doc = $meaning:literal])+ $name:ident, $scope:ident, $code:literal;)+) => {
        /// What this program objects to unless the document accepts it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
        pub enum Objection {
            $($(#[doc = $meaning])+ #[serde(rename = $code)] $name,)+
        }

        impl Objection {
            /// Every objection.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The stable word by which a document accepts it.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)+
                }
            }

            /// Where it can be accepted.
            #[must_use]
            pub const fn scope(self) -> Scope {
                match self {
                    $(Self::$name => Scope::$scope,)+
                }
            }

            /// What it stands for, in a sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($meaning),+).trim_ascii(),)+
                }
            }
        }
    };
}

objections! {
    /// The kernel's global mode (`/sys/module/apparmor/parameters/mode`) is not `enforce`: it overrides every profile's.
    KernelGlobalMode, Host, "kernel-global-mode";
    /// The kernel shows neither hashes of profiles nor the bytes that were loaded (`apparmor.hash_policy=0` and
    /// `apparmor.export_binary=0`): what it runs is told by names and modes alone.
    KernelWithoutEvidence, Host, "kernel-without-evidence";

    /// Writing everywhere.
    WriteRoot, Entry, "write-root";
    /// Writing the host's configuration as a whole: its users, its services, what runs as root.
    WriteEtc, Entry, "write-etc";
    /// Writing /usr as a whole: every program and library.
    WriteUsr, Entry, "write-usr";
    /// Writing a directory of programs that others run.
    WriteBin, Entry, "write-bin";
    /// Writing libraries and modules that others load.
    WriteLib, Entry, "write-lib";
    /// Writing kernels and boot loaders.
    WriteBoot, Entry, "write-boot";
    /// Writing everybody's home, or root's.
    WriteHome, Entry, "write-home";
    /// Writing the data, logs or caches of all services.
    WriteVar, Entry, "write-var";
    /// Writing temporary files of all services, or of names that others make too.
    WriteTmp, Entry, "write-tmp";
    /// Writing the sockets and process files of all services.
    WriteRun, Entry, "write-run";
    /// Writing all devices, disks among them.
    WriteDev, Entry, "write-dev";
    /// Writing all kernel settings and other processes.
    WriteProc, Entry, "write-proc";
    /// Writing all settings of devices and drivers.
    WriteSys, Entry, "write-sys";
    /// Writing who there is and who may become whom: users, groups, passwords, keys for logging in, sudo, PAM.
    WriteAccounts, Entry, "write-accounts";
    /// Writing what the host or its users run or load by themselves: units, jobs, boot and login scripts, hooks, settings
    /// of the dynamic linker.
    WriteStartup, Entry, "write-startup";
    /// Writing the policy that confines: AppArmor's files, its interface in the kernel, this program's records.
    WritePolicy, Entry, "write-policy";
    /// Writing the kernel's own settings, interfaces or memory.
    WriteKernel, Entry, "write-kernel";
    /// Reading or writing a disk, the machine's memory, its hardware or its keyboards beneath all files and their permissions.
    RawDevice, Entry, "raw-device";
    /// Asking a daemon that does as root what it is asked to: container engines, virtual machines, the init, on its socket
    /// or on D-Bus.
    ControlSocket, Entry, "control-socket";
    /// Reading everything, secrets included.
    ReadRoot, Entry, "read-root";
    /// Executing whatever a directory that is not the service's own holds.
    ExecuteDirectory, Entry, "execute-directory";
    /// Writing what is executed or mapped as code: whoever takes the service over stays in its program.
    WriteExecute, Entry, "write-execute";
    /// Executing a program outside of any profile.
    ExecuteUnconfined, Entry, "execute-unconfined";
    /// Network access that names no address family.
    NetworkAnyFamily, Entry, "network-any-family";
    /// Links to whatever there is.
    LinkAny, Entry, "link-any";
    /// Changing into whatever profile there is, or into none.
    ChangeProfileAny, Entry, "change-profile-any";
    /// Mounting and unmounting whatever and wherever, or changing the root.
    MountAny, Entry, "mount-any";
    /// Tracing processes of whatever profile, or of none.
    PtraceAny, Entry, "ptrace-any";
    /// Sending signals to processes of whatever profile, or of none.
    SignalAny, Entry, "signal-any";
    /// Speaking to whoever is on D-Bus, as whoever, or listening to others there.
    DbusAny, Entry, "dbus-any";
    /// Connecting to whatever socket of this host.
    UnixAny, Entry, "unix-any";
    /// All capabilities at once.
    CapabilityAny, Entry, "capability-any";
    /// The capability to change auditing, and so to hide.
    CapabilityAuditControl, Entry, "capability-audit-control";
    /// The capability to load programs into the kernel.
    CapabilityBpf, Entry, "capability-bpf";
    /// The capability to ignore permissions of files when writing.
    CapabilityDacOverride, Entry, "capability-dac-override";
    /// The capability to ignore permissions of files when reading.
    CapabilityDacReadSearch, Entry, "capability-dac-read-search";
    /// The capability to change AppArmor's policy.
    CapabilityMacAdmin, Entry, "capability-mac-admin";
    /// The capability to override AppArmor.
    CapabilityMacOverride, Entry, "capability-mac-override";
    /// The capability to make device files, and so to reach every disk.
    CapabilityMknod, Entry, "capability-mknod";
    /// The capability to give programs capabilities.
    CapabilitySetfcap, Entry, "capability-setfcap";
    /// The capability for mounts, namespaces and a hundred other things.
    CapabilitySysAdmin, Entry, "capability-sys-admin";
    /// The capability to boot another kernel.
    CapabilitySysBoot, Entry, "capability-sys-boot";
    /// The capability to load kernel modules.
    CapabilitySysModule, Entry, "capability-sys-module";
    /// The capability to trace processes and write their memory.
    CapabilitySysPtrace, Entry, "capability-sys-ptrace";
    /// The capability for ports of the hardware and for the memory of the kernel.
    CapabilitySysRawio, Entry, "capability-sys-rawio";
}

/// Where an objection can be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// In the document: it is about the host.
    Host,
    /// In an entry or a class: it is about one service's policy.
    Entry,
}

impl Scope {
    /// The objections that can be accepted here.
    pub fn objections(self) -> impl Iterator<Item = Objection> {
        Objection::ALL.iter().copied().filter(move |objection| objection.scope() == self)
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

    /// Checks a reason: 1 to [`Self::MAX`] characters, no control characters or others that are not seen, not beginning
    /// with a space.
    ///
    /// # Errors
    /// The rule.
    pub fn new(reason: impl Into<String>) -> Result<Self, &'static str> {
        let reason = reason.into();
        let length = reason.chars().take(Self::MAX + 1).count();
        if reason.is_empty() || length > Self::MAX || reason.starts_with(' ') || reason.chars().any(is_unseen) {
            return Err("1 to 1000 characters in one line, all of them seen, not beginning with a space");
        }
        Ok(Self(reason))
    }

    /// The reason as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
