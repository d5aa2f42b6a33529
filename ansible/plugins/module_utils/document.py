# SPDX-FileCopyrightText: 2026 The aa-converge contributors
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The fields of a document as an argument spec; written by scripts/describe-collection.py from its JSON Schema."""

DOCUMENT_OPTIONS = {
    "accept": {
        "type": "list",
        "elements": "dict",
        "options": {
            "code": {
                "type": "str",
                "required": True,
                "choices": ["kernel-global-mode", "kernel-without-evidence"],
            },
            "reason": {"type": "str", "required": True},
        },
    },
    "allow_empty": {"type": "bool"},
    "classes": {"type": "dict"},
    "defaults": {
        "type": "dict",
        "options": {
            "mode": {
                "type": "str",
                "choices": [
                    "enforce", "complain", "kill", "unconfined", "prompt", "default_allow", "disabled", "as_written",
                ],
            },
            "on_confined": {
                "type": "str",
                "choices": ["refuse", "unload"],
            },
        },
    },
    "files": {
        "type": "list",
        "elements": "dict",
        "options": {
            "content": {"type": "str"},
            "content_base64": {"type": "str"},
            "path": {"type": "str", "required": True},
            "sha256": {"type": "str"},
            "source": {"type": "str"},
            "src": {"type": "str"},
            "state": {
                "type": "str",
                "choices": ["present", "absent"],
            },
        },
    },
    "owner": {"type": "str"},
    "profiles": {
        "type": "list",
        "elements": "dict",
        "options": {
            "content": {"type": "str"},
            "content_base64": {"type": "str"},
            "file": {"type": "str"},
            "if_missing": {
                "type": "str",
                "choices": ["refuse", "skip"],
            },
            "mode": {
                "type": "str",
                "choices": [
                    "enforce", "complain", "kill", "unconfined", "prompt", "default_allow", "disabled", "as_written",
                ],
            },
            "mode_scope": {
                "type": "str",
                "choices": ["enforce_and_complain", "all"],
            },
            "on_confined": {
                "type": "str",
                "choices": ["refuse", "unload"],
            },
            "service": {
                "type": "dict",
                "options": {
                    "abi": {"type": "str"},
                    "accept": {
                        "type": "list",
                        "elements": "dict",
                        "options": {
                            "code": {
                                "type": "str",
                                "required": True,
                                "choices": [
                                    "write-root", "write-etc", "write-usr", "write-bin", "write-lib", "write-boot",
                                    "write-home", "write-var", "write-tmp", "write-run", "write-dev", "write-proc",
                                    "write-sys", "write-accounts", "write-startup", "write-policy", "write-kernel",
                                    "raw-device", "control-socket", "read-root", "execute-directory", "write-execute",
                                    "execute-unconfined", "network-any-family", "link-any", "change-profile-any",
                                    "mount-any", "ptrace-any", "signal-any", "dbus-any", "unix-any", "capability-any",
                                    "capability-audit-control", "capability-bpf", "capability-dac-override",
                                    "capability-dac-read-search", "capability-mac-admin", "capability-mac-override",
                                    "capability-mknod", "capability-setfcap", "capability-sys-admin",
                                    "capability-sys-boot", "capability-sys-module", "capability-sys-ptrace",
                                    "capability-sys-rawio",
                                ],
                            },
                            "reason": {"type": "str", "required": True},
                        },
                    },
                    "capabilities": {
                        "type": "list",
                        "elements": "str",
                        "choices": [
                            "audit_control", "audit_read", "audit_write", "block_suspend", "bpf",
                            "checkpoint_restore", "chown", "dac_override", "dac_read_search", "fowner", "fsetid",
                            "ipc_lock", "ipc_owner", "kill", "lease", "linux_immutable", "mac_admin", "mac_override",
                            "mknod", "net_admin", "net_bind_service", "net_broadcast", "net_raw", "perfmon",
                            "setfcap", "setgid", "setpcap", "setuid", "sys_admin", "sys_boot", "sys_chroot",
                            "sys_module", "sys_nice", "sys_pacct", "sys_ptrace", "sys_rawio", "sys_resource",
                            "sys_time", "sys_tty_config", "syslog", "wake_alarm",
                        ],
                    },
                    "class": {"type": "str", "required": True},
                    "config": {"type": "list", "elements": "str"},
                    "connect": {
                        "type": "list",
                        "elements": "dict",
                        "options": {
                            "family": {
                                "type": "str",
                                "choices": [
                                    "alg", "bluetooth", "can", "inet", "inet6", "netlink", "packet", "tipc", "unix",
                                    "vsock",
                                ],
                            },
                            "type": {
                                "type": "str",
                                "choices": ["stream", "dgram", "seqpacket", "raw"],
                            },
                        },
                    },
                    "data": {"type": "list", "elements": "str"},
                    "deny": {"type": "list", "elements": "str"},
                    "executable": {"type": "str", "required": True},
                    "execute": {
                        "type": "list",
                        "elements": "dict",
                        "options": {
                            "needs": {
                                "type": "dict",
                                "options": {
                                    "capabilities": {
                                        "type": "list",
                                        "elements": "str",
                                        "choices": [
                                            "audit_control", "audit_read", "audit_write", "block_suspend", "bpf",
                                            "checkpoint_restore", "chown", "dac_override", "dac_read_search",
                                            "fowner", "fsetid", "ipc_lock", "ipc_owner", "kill", "lease",
                                            "linux_immutable", "mac_admin", "mac_override", "mknod", "net_admin",
                                            "net_bind_service", "net_broadcast", "net_raw", "perfmon", "setfcap",
                                            "setgid", "setpcap", "setuid", "sys_admin", "sys_boot", "sys_chroot",
                                            "sys_module", "sys_nice", "sys_pacct", "sys_ptrace", "sys_rawio",
                                            "sys_resource", "sys_time", "sys_tty_config", "syslog", "wake_alarm",
                                        ],
                                    },
                                    "config": {"type": "list", "elements": "str"},
                                    "connect": {
                                        "type": "list",
                                        "elements": "dict",
                                        "options": {
                                            "family": {
                                                "type": "str",
                                                "choices": [
                                                    "alg", "bluetooth", "can", "inet", "inet6", "netlink", "packet",
                                                    "tipc", "unix", "vsock",
                                                ],
                                            },
                                            "type": {
                                                "type": "str",
                                                "choices": ["stream", "dgram", "seqpacket", "raw"],
                                            },
                                        },
                                    },
                                    "data": {"type": "list", "elements": "str"},
                                    "execute": {
                                        "type": "list",
                                        "elements": "dict",
                                        "options": {
                                            "path": {"type": "str", "required": True},
                                            "transition": {"type": "str", "required": True},
                                        },
                                    },
                                    "libraries": {"type": "list", "elements": "str"},
                                    "listen": {
                                        "type": "list",
                                        "elements": "dict",
                                        "options": {
                                            "family": {
                                                "type": "str",
                                                "choices": [
                                                    "alg", "bluetooth", "can", "inet", "inet6", "netlink", "packet",
                                                    "tipc", "unix", "vsock",
                                                ],
                                            },
                                            "type": {
                                                "type": "str",
                                                "choices": ["stream", "dgram", "seqpacket", "raw"],
                                            },
                                        },
                                    },
                                    "logs": {"type": "list", "elements": "str"},
                                    "rules": {"type": "list", "elements": "str"},
                                    "runtime": {"type": "list", "elements": "str"},
                                    "signals": {
                                        "type": "list",
                                        "elements": "dict",
                                        "options": {
                                            "direction": {
                                                "type": "str",
                                                "required": True,
                                                "choices": ["send", "receive"],
                                            },
                                            "peer": {"type": "str", "required": True},
                                            "signals": {
                                                "type": "list",
                                                "elements": "str",
                                                "choices": [
                                                    "hup", "int", "quit", "kill", "usr1", "usr2", "pipe", "alrm",
                                                    "term", "chld", "cont", "stop", "winch", "exists",
                                                ],
                                            },
                                        },
                                    },
                                    "temp": {"type": "list", "elements": "str"},
                                },
                            },
                            "path": {"type": "str", "required": True},
                            "profile": {"type": "str"},
                            "transition": {
                                "type": "str",
                                "required": True,
                                "choices": ["inherit", "profile", "child"],
                            },
                        },
                    },
                    "libraries": {"type": "list", "elements": "str"},
                    "listen": {
                        "type": "list",
                        "elements": "dict",
                        "options": {
                            "family": {
                                "type": "str",
                                "choices": [
                                    "alg", "bluetooth", "can", "inet", "inet6", "netlink", "packet", "tipc", "unix",
                                    "vsock",
                                ],
                            },
                            "type": {
                                "type": "str",
                                "choices": ["stream", "dgram", "seqpacket", "raw"],
                            },
                        },
                    },
                    "logs": {"type": "list", "elements": "str"},
                    "name": {"type": "str"},
                    "rules": {"type": "list", "elements": "str"},
                    "runtime": {"type": "list", "elements": "str"},
                    "signals": {
                        "type": "list",
                        "elements": "dict",
                        "options": {
                            "direction": {
                                "type": "str",
                                "required": True,
                                "choices": ["send", "receive"],
                            },
                            "peer": {"type": "str", "required": True},
                            "signals": {
                                "type": "list",
                                "elements": "str",
                                "choices": [
                                    "hup", "int", "quit", "kill", "usr1", "usr2", "pipe", "alrm", "term", "chld",
                                    "cont", "stop", "winch", "exists",
                                ],
                            },
                        },
                    },
                    "temp": {"type": "list", "elements": "str"},
                },
            },
            "sha256": {"type": "str"},
            "source": {"type": "str"},
            "src": {"type": "str"},
            "state": {
                "type": "str",
                "choices": ["present", "absent"],
            },
        },
    },
    "prune": {"type": "bool"},
    "supersedes": {"type": "list", "elements": "str"},
}
