# SPDX-FileCopyrightText: 2026 The aa-converge contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The fields of a document as options; written by scripts/describe-collection.py from its JSON Schema."""


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  accept:
    type: list
    elements: dict
    description:
      - What the document insists on although this program objects to it, on the host as a whole; each code once.
    suboptions:
      code:
        type: str
        required: true
        description:
          - What is accepted.
        choices:
          kernel-global-mode: "The kernel's global mode (C(/sys/module/apparmor/parameters/mode)) is not C(enforce):
            it overrides every profile's."
          kernel-without-evidence: "The kernel shows neither hashes of profiles nor the bytes that were loaded
            (C(apparmor.hash_policy=0) and C(apparmor.export_binary=0)): what it runs is told by names and modes
            alone."
      reason:
        type: str
        required: true
        description:
          - Why, in one line, for whoever reads the document or the report.
  allow_empty:
    type: bool
    description:
      - "Whether C(prune) may remove everything, when neither C(files) nor C(profiles) lists an entry: the way to
        uninstall."
      - Taken as V(false) if not given.
  classes:
    type: dict
    description:
      - "Classes of one's own, by name: what services of one kind have in common. A name is a small letter, then up to
        62 small letters, digits and C(-), and not that of a built-in class."
  defaults:
    type: dict
    description:
      - What entries are taken to say where they say nothing.
    suboptions:
      mode:
        type: str
        description:
          - The mode of entries that bring text.
          - Taken as V(as_written) if not given.
        choices:
          enforce: What the profile does not allow is denied and logged.
          complain: What the profile does not allow is allowed and logged; explicit C(deny) rules still deny,
            silently.
          kill: What the profile does not allow is denied and logged, and the process is killed.
          unconfined: Everything is allowed; the profile only marks its processes.
          prompt: What the profile does not allow is asked of a daemon in user space (AppArmor 4 and later).
          default_allow: What no rule denies is allowed (AppArmor 4 and later).
          disabled: "The profile is switched off: a link in C(disable/), nothing in the kernel."
          as_written: The mode that the text itself gives.
      on_confined:
        type: str
        description:
          - What to do when profiles that leave the kernel confine running processes.
          - Taken as V(refuse) if not given.
        choices:
          refuse: Change nothing on the host, and name the processes.
          unload: Unload the profiles all the same.
  files:
    type: list
    elements: dict
    description:
      - "Files that profiles include: tunables, abstractions, additions in C(local/)."
    suboptions:
      content:
        type: str
        description:
          - Its text; at most 4 MiB in UTF-8, without NUL bytes and byte order mark.
      content_base64:
        type: str
        description:
          - "Its text in standard base64 with padding, at most 4 MiB decoded: for templating engines that break line
            ends, and for other encodings."
      path:
        type: str
        required: true
        description:
          - Its place below the policy directory (C(/etc/apparmor.d)), in at least one directory.
      sha256:
        type: str
        description:
          - "What the C(source) must hold: its SHA-256 in hexadecimal digits."
      source:
        type: str
        description:
          - The absolute path of a regular file on the host that holds its text, at most 4 MiB.
      src:
        type: str
        description:
          - "A file on the controller that holds its text, in place of C(content); found as C(ansible.builtin.copy)
            finds it, in C(files/) of the role or playbook. It is not a template: what stands in it arrives byte for
            byte."
      state:
        type: str
        description:
          - Whether it should be there.
          - Taken as V(present) if not given.
        choices:
          present: It should.
          absent: It should not.
  owner:
    type: str
    description:
      - "Who claims the entries: a name for the set of documents that follow one another on a host. A path that
        another owner holds is refused."
  profiles:
    type: list
    elements: dict
    description:
      - Files that hold profiles.
    suboptions:
      content:
        type: str
        description:
          - Its text; at most 4 MiB in UTF-8, without NUL bytes and byte order mark.
      content_base64:
        type: str
        description:
          - "Its text in standard base64 with padding, at most 4 MiB decoded: for templating engines that break line
            ends, and for other encodings."
      file:
        type: str
        description:
          - "Its name in the policy directory (C(/etc/apparmor.d)): one component, which apparmor_parser would not
            skip. With a C(service) it may be left out: it is then the executable's path without the leading slash,
            with C(.) for C(/)."
      if_missing:
        type: str
        description:
          - What to do when the file is not installed; only in entries that name nothing but a mode.
          - Taken as V(refuse) if not given.
        choices:
          refuse: Change nothing on the host, and say so.
          skip: Leave the entry out, with a warning.
      mode:
        type: str
        description:
          - The mode of its profiles, hats and children. An entry that brings text has the default's mode if it names
            none.
        choices:
          enforce: What the profile does not allow is denied and logged.
          complain: What the profile does not allow is allowed and logged; explicit C(deny) rules still deny,
            silently.
          kill: What the profile does not allow is denied and logged, and the process is killed.
          unconfined: Everything is allowed; the profile only marks its processes.
          prompt: What the profile does not allow is asked of a daemon in user space (AppArmor 4 and later).
          default_allow: What no rule denies is allowed (AppArmor 4 and later).
          disabled: "The profile is switched off: a link in C(disable/), nothing in the kernel."
          as_written: The mode that the text itself gives.
      mode_scope:
        type: str
        description:
          - Which of its headers the mode applies to.
          - Taken as V(enforce_and_complain) if not given.
        choices:
          enforce_and_complain: Headers in enforce or complain mode; those written as C(unconfined), C(default_allow),
            C(prompt) or C(kill) keep theirs.
          all: Every header.
      on_confined:
        type: str
        description:
          - What to do when profiles that leave the kernel confine running processes; else as C(defaults) say.
        choices:
          refuse: Change nothing on the host, and name the processes.
          unload: Unload the profiles all the same.
      service:
        type: dict
        description:
          - The service that its text is rendered for.
        suboptions:
          abi:
            type: str
            description:
              - The abi that the profile is written for, a file in the policy directory's C(abi/); else the class's,
                else C(3.0).
          accept:
            type: list
            elements: dict
            description:
              - What the service insists on although this program objects to it; each code once.
            suboptions:
              code:
                type: str
                required: true
                description:
                  - What is accepted.
                choices:
                  write-root: Writing everywhere.
                  write-etc: "Writing the host's configuration as a whole: its users, its services, what runs as
                    root."
                  write-usr: "Writing /usr as a whole: every program and library."
                  write-bin: Writing a directory of programs that others run.
                  write-lib: Writing libraries and modules that others load.
                  write-boot: Writing kernels and boot loaders.
                  write-home: Writing everybody's home, or root's.
                  write-var: Writing the data, logs or caches of all services.
                  write-tmp: Writing temporary files of all services, or of names that others make too.
                  write-run: Writing the sockets and process files of all services.
                  write-dev: Writing all devices, disks among them.
                  write-proc: Writing all kernel settings and other processes.
                  write-sys: Writing all settings of devices and drivers.
                  write-accounts: "Writing who there is and who may become whom: users, groups, passwords, keys for
                    logging in, sudo, PAM."
                  write-startup: "Writing what the host or its users run or load by themselves: units, jobs, boot and
                    login scripts, hooks, settings of the dynamic linker."
                  write-policy: "Writing the policy that confines: AppArmor's files, its interface in the kernel, this
                    program's records."
                  write-kernel: Writing the kernel's own settings, interfaces or memory.
                  raw-device: Reading or writing a disk, the machine's memory, its hardware or its keyboards beneath
                    all files and their permissions.
                  control-socket: "Asking a daemon that does as root what it is asked to: container engines, virtual
                    machines, the init, on its socket or on D-Bus."
                  read-root: Reading everything, secrets included.
                  execute-directory: Executing whatever a directory that is not the service's own holds.
                  write-execute: "Writing what is executed or mapped as code: whoever takes the service over stays in
                    its program."
                  execute-unconfined: Executing a program outside of any profile.
                  network-any-family: Network access that names no address family.
                  link-any: Links to whatever there is.
                  change-profile-any: Changing into whatever profile there is, or into none.
                  mount-any: Mounting and unmounting whatever and wherever, or changing the root.
                  ptrace-any: Tracing processes of whatever profile, or of none.
                  signal-any: Sending signals to processes of whatever profile, or of none.
                  dbus-any: Speaking to whoever is on D-Bus, as whoever, or listening to others there.
                  unix-any: Connecting to whatever socket of this host.
                  capability-any: All capabilities at once.
                  capability-audit-control: The capability to change auditing, and so to hide.
                  capability-bpf: The capability to load programs into the kernel.
                  capability-dac-override: The capability to ignore permissions of files when writing.
                  capability-dac-read-search: The capability to ignore permissions of files when reading.
                  capability-mac-admin: The capability to change AppArmor's policy.
                  capability-mac-override: The capability to override AppArmor.
                  capability-mknod: The capability to make device files, and so to reach every disk.
                  capability-setfcap: The capability to give programs capabilities.
                  capability-sys-admin: The capability for mounts, namespaces and a hundred other things.
                  capability-sys-boot: The capability to boot another kernel.
                  capability-sys-module: The capability to load kernel modules.
                  capability-sys-ptrace: The capability to trace processes and write their memory.
                  capability-sys-rawio: The capability for ports of the hardware and for the memory of the kernel.
              reason:
                type: str
                required: true
                description:
                  - Why, in one line, for whoever reads the document or the report.
          capabilities:
            type: list
            elements: str
            description:
              - Capabilities, by their names in capabilities(7) without C(CAP_), in small letters.
            choices:
              audit_control: Change audit rules.
              audit_read: Read the audit log.
              audit_write: Write records to the audit log.
              block_suspend: Keep the system from sleeping.
              bpf: Load programs into the kernel.
              checkpoint_restore: Checkpoint and restore processes.
              chown: Change owners of files.
              dac_override: Ignore permissions of files.
              dac_read_search: Ignore permissions of files for reading.
              fowner: Act as the owner of any file.
              fsetid: Keep set-id bits.
              ipc_lock: Lock memory.
              ipc_owner: Act as the owner of System V objects.
              kill: Send signals to anybody's processes.
              lease: Take leases on files.
              linux_immutable: Set the immutable and append-only flags.
              mac_admin: Change AppArmor's policy.
              mac_override: Override AppArmor.
              mknod: Make device files.
              net_admin: Configure the network.
              net_bind_service: Listen on ports below 1024.
              net_broadcast: Send broadcasts.
              net_raw: Use raw sockets.
              perfmon: Watch performance.
              setfcap: Give programs capabilities.
              setgid: Change the group.
              setpcap: Change a process's capabilities.
              setuid: Change the user.
              sys_admin: Mounts, namespaces and a hundred other things.
              sys_boot: Boot another kernel.
              sys_chroot: Change the root directory.
              sys_module: Load kernel modules.
              sys_nice: Raise priorities.
              sys_pacct: Account for processes.
              sys_ptrace: Trace processes.
              sys_rawio: Ports of the hardware and memory of the kernel.
              sys_resource: Exceed limits.
              sys_time: Set the clock.
              sys_tty_config: Configure terminals.
              syslog: Read the kernel's log.
              wake_alarm: Wake the system up.
          class:
            type: str
            required: true
            description:
              - "Its class: C(proxy), C(worker), C(observer), C(helper), or one of the document's C(classes)."
          config:
            type: list
            elements: str
            description:
              - "Configuration: may be read. Each path stands for itself and, if it is a directory, for everything
                below; one that ends with a wildcard is taken as it is."
          connect:
            type: list
            elements: dict
            description:
              - Sockets that make connections. With an abi of AppArmor 4.0 or later, they cannot be used to listen.
            suboptions:
              family:
                type: str
                description:
                  - The address family. None is all of them, which must be accepted as C(network-any-family).
                choices:
                  alg: The kernel's cryptography.
                  bluetooth: Bluetooth.
                  can: Controller area network.
                  inet: IPv4.
                  inet6: IPv6.
                  netlink: The kernel's own interfaces.
                  packet: Whole frames.
                  tipc: Transparent inter-process communication.
                  unix: Sockets of this host.
                  vsock: A virtual machine and its host.
              type:
                type: str
                description:
                  - The type of the sockets; else C(stream) and C(dgram), or what the family has instead.
                choices:
                  stream: A stream of bytes, such as TCP.
                  dgram: Datagrams, such as UDP.
                  seqpacket: A stream of packets.
                  raw: Below the transport.
          data:
            type: list
            elements: str
            description:
              - "Data: may be read, written, created and locked. Paths as for C(config)."
          deny:
            type: list
            elements: str
            description:
              - "Paths that are denied, whatever else allows them, and logged when they are tried: in enforce and kill
                modes alone; in children too. It may take an exception out of what is asked for, never all of that.
                Paths as for C(config)."
          executable:
            type: str
            required: true
            description:
              - The absolute path of its program. Where that is a link on the host, the profile is for what it leads
                to.
          execute:
            type: list
            elements: dict
            description:
              - Programs that it executes, each with what becomes of the confinement.
            suboptions:
              needs:
                type: dict
                description:
                  - What the program may do in its C(child) profile, besides reading and executing itself.
                suboptions:
                  capabilities:
                    type: list
                    elements: str
                    description:
                      - Capabilities, by their names in capabilities(7) without C(CAP_), in small letters.
                    choices:
                      audit_control: Change audit rules.
                      audit_read: Read the audit log.
                      audit_write: Write records to the audit log.
                      block_suspend: Keep the system from sleeping.
                      bpf: Load programs into the kernel.
                      checkpoint_restore: Checkpoint and restore processes.
                      chown: Change owners of files.
                      dac_override: Ignore permissions of files.
                      dac_read_search: Ignore permissions of files for reading.
                      fowner: Act as the owner of any file.
                      fsetid: Keep set-id bits.
                      ipc_lock: Lock memory.
                      ipc_owner: Act as the owner of System V objects.
                      kill: Send signals to anybody's processes.
                      lease: Take leases on files.
                      linux_immutable: Set the immutable and append-only flags.
                      mac_admin: Change AppArmor's policy.
                      mac_override: Override AppArmor.
                      mknod: Make device files.
                      net_admin: Configure the network.
                      net_bind_service: Listen on ports below 1024.
                      net_broadcast: Send broadcasts.
                      net_raw: Use raw sockets.
                      perfmon: Watch performance.
                      setfcap: Give programs capabilities.
                      setgid: Change the group.
                      setpcap: Change a process's capabilities.
                      setuid: Change the user.
                      sys_admin: Mounts, namespaces and a hundred other things.
                      sys_boot: Boot another kernel.
                      sys_chroot: Change the root directory.
                      sys_module: Load kernel modules.
                      sys_nice: Raise priorities.
                      sys_pacct: Account for processes.
                      sys_ptrace: Trace processes.
                      sys_rawio: Ports of the hardware and memory of the kernel.
                      sys_resource: Exceed limits.
                      sys_time: Set the clock.
                      sys_tty_config: Configure terminals.
                      syslog: Read the kernel's log.
                      wake_alarm: Wake the system up.
                  config:
                    type: list
                    elements: str
                    description:
                      - "Configuration: may be read. Each path stands for itself and, if it is a directory, for
                        everything below; one that ends with a wildcard is taken as it is."
                  connect:
                    type: list
                    elements: dict
                    description:
                      - Sockets that make connections. With an abi of AppArmor 4.0 or later, they cannot be used to
                        listen.
                    suboptions:
                      family:
                        type: str
                        description:
                          - The address family. None is all of them, which must be accepted as C(network-any-family).
                        choices:
                          alg: The kernel's cryptography.
                          bluetooth: Bluetooth.
                          can: Controller area network.
                          inet: IPv4.
                          inet6: IPv6.
                          netlink: The kernel's own interfaces.
                          packet: Whole frames.
                          tipc: Transparent inter-process communication.
                          unix: Sockets of this host.
                          vsock: A virtual machine and its host.
                      type:
                        type: str
                        description:
                          - The type of the sockets; else C(stream) and C(dgram), or what the family has instead.
                        choices:
                          stream: A stream of bytes, such as TCP.
                          dgram: Datagrams, such as UDP.
                          seqpacket: A stream of packets.
                          raw: Below the transport.
                  data:
                    type: list
                    elements: str
                    description:
                      - "Data: may be read, written, created and locked. Paths as for C(config)."
                  execute:
                    type: list
                    elements: dict
                    description:
                      - Programs that it executes, in the child's own profile.
                    suboptions:
                      path:
                        type: str
                        required: true
                        description:
                          - The program, or a pattern of several. A directory is no program.
                      transition:
                        type: str
                        required: true
                        description:
                          - "C(inherit): a child has no children of its own."
                  libraries:
                    type: list
                    elements: str
                    description:
                      - "Libraries and modules: may be read and mapped as code, as Python's and Node's native modules
                        and a JVM's libraries are. Paths as for C(config)."
                  listen:
                    type: list
                    elements: dict
                    description:
                      - Sockets that take connections. With an abi of AppArmor 4.0 or later, they cannot be used to
                        connect; earlier ones do not tell the two apart.
                    suboptions:
                      family:
                        type: str
                        description:
                          - The address family. None is all of them, which must be accepted as C(network-any-family).
                        choices:
                          alg: The kernel's cryptography.
                          bluetooth: Bluetooth.
                          can: Controller area network.
                          inet: IPv4.
                          inet6: IPv6.
                          netlink: The kernel's own interfaces.
                          packet: Whole frames.
                          tipc: Transparent inter-process communication.
                          unix: Sockets of this host.
                          vsock: A virtual machine and its host.
                      type:
                        type: str
                        description:
                          - The type of the sockets; else C(stream) and C(dgram), or what the family has instead.
                        choices:
                          stream: A stream of bytes, such as TCP.
                          dgram: Datagrams, such as UDP.
                          seqpacket: A stream of packets.
                          raw: Below the transport.
                  logs:
                    type: list
                    elements: str
                    description:
                      - "Logs: may be written and appended to, not read. Paths as for C(config)."
                  rules:
                    type: list
                    elements: str
                    description:
                      - "AppArmor rules as they are written, for what no other term can say: each one rule with its
                        comma in one line, or one C(include <…>). Commas, blanks and C(#) in a path need quotes around
                        all of it. Rules that deny are left out in complain mode, where they would deny in silence."
                  runtime:
                    type: list
                    elements: str
                    description:
                      - "Sockets and process files below /run: may be read, written, created and locked."
                  signals:
                    type: list
                    elements: dict
                    description:
                      - Signals to and from the processes of other profiles. Those within the service are always
                        allowed, and so are those from unconfined processes such as systemd.
                    suboptions:
                      direction:
                        type: str
                        required: true
                        description:
                          - Which way they go.
                        choices:
                          send: The service sends them.
                          receive: The service receives them.
                      peer:
                        type: str
                        required: true
                        description:
                          - The name of the other profile.
                      signals:
                        type: list
                        elements: str
                        description:
                          - Which signals; else all of them.
                        choices:
                          hup: "Hang up: reload, by custom."
                          int: Interrupt.
                          quit: Quit.
                          kill: Kill; cannot be caught.
                          usr1: First of the user's own.
                          usr2: Second of the user's own.
                          pipe: Broken pipe.
                          alrm: Alarm.
                          term: Terminate.
                          chld: A child has ended.
                          cont: Continue.
                          stop: Stop; cannot be caught.
                          winch: The window has another size.
                          exists: "No signal: asks whether the process is there."
                  temp:
                    type: list
                    elements: str
                    description:
                      - "Names of temporary files and directories, below /tmp and /var/tmp: may be read, written,
                        created and locked by the user that owns them. A name begins with at least three plain
                        characters; one that other programs make too, such as C(tmp*), must be accepted as
                        C(write-tmp)."
              path:
                type: str
                required: true
                description:
                  - The program, or a pattern of several. A directory is no program.
              profile:
                type: str
                description:
                  - "The profile that the program runs in: required with C(profile); with C(child) the child's name,
                    else the program's base name."
              transition:
                type: str
                required: true
                description:
                  - What becomes of the confinement.
                choices:
                  inherit: The program runs in the service's own profile.
                  profile: The program runs in another profile, which is loaded under its name.
                  child: The program runs in a child profile of the service's, which is rendered with it.
          libraries:
            type: list
            elements: str
            description:
              - "Libraries and modules: may be read and mapped as code, as Python's and Node's native modules and a
                JVM's libraries are. Paths as for C(config)."
          listen:
            type: list
            elements: dict
            description:
              - Sockets that take connections. With an abi of AppArmor 4.0 or later, they cannot be used to connect;
                earlier ones do not tell the two apart.
            suboptions:
              family:
                type: str
                description:
                  - The address family. None is all of them, which must be accepted as C(network-any-family).
                choices:
                  alg: The kernel's cryptography.
                  bluetooth: Bluetooth.
                  can: Controller area network.
                  inet: IPv4.
                  inet6: IPv6.
                  netlink: The kernel's own interfaces.
                  packet: Whole frames.
                  tipc: Transparent inter-process communication.
                  unix: Sockets of this host.
                  vsock: A virtual machine and its host.
              type:
                type: str
                description:
                  - The type of the sockets; else C(stream) and C(dgram), or what the family has instead.
                choices:
                  stream: A stream of bytes, such as TCP.
                  dgram: Datagrams, such as UDP.
                  seqpacket: A stream of packets.
                  raw: Below the transport.
          logs:
            type: list
            elements: str
            description:
              - "Logs: may be written and appended to, not read. Paths as for C(config)."
          name:
            type: str
            description:
              - The profile's name; else the base name of the executable.
          rules:
            type: list
            elements: str
            description:
              - "AppArmor rules as they are written, for what no other term can say: each one rule with its comma in
                one line, or one C(include <…>). Commas, blanks and C(#) in a path need quotes around all of it. Rules
                that deny are left out in complain mode, where they would deny in silence."
          runtime:
            type: list
            elements: str
            description:
              - "Sockets and process files below /run: may be read, written, created and locked."
          signals:
            type: list
            elements: dict
            description:
              - Signals to and from the processes of other profiles. Those within the service are always allowed, and
                so are those from unconfined processes such as systemd.
            suboptions:
              direction:
                type: str
                required: true
                description:
                  - Which way they go.
                choices:
                  send: The service sends them.
                  receive: The service receives them.
              peer:
                type: str
                required: true
                description:
                  - The name of the other profile.
              signals:
                type: list
                elements: str
                description:
                  - Which signals; else all of them.
                choices:
                  hup: "Hang up: reload, by custom."
                  int: Interrupt.
                  quit: Quit.
                  kill: Kill; cannot be caught.
                  usr1: First of the user's own.
                  usr2: Second of the user's own.
                  pipe: Broken pipe.
                  alrm: Alarm.
                  term: Terminate.
                  chld: A child has ended.
                  cont: Continue.
                  stop: Stop; cannot be caught.
                  winch: The window has another size.
                  exists: "No signal: asks whether the process is there."
          temp:
            type: list
            elements: str
            description:
              - "Names of temporary files and directories, below /tmp and /var/tmp: may be read, written, created and
                locked by the user that owns them. A name begins with at least three plain characters; one that other
                programs make too, such as C(tmp*), must be accepted as C(write-tmp)."
      sha256:
        type: str
        description:
          - "What the C(source) must hold: its SHA-256 in hexadecimal digits."
      source:
        type: str
        description:
          - The absolute path of a regular file on the host that holds its text, at most 4 MiB.
      src:
        type: str
        description:
          - "A file on the controller that holds its text, in place of C(content); found as C(ansible.builtin.copy)
            finds it, in C(files/) of the role or playbook. It is not a template: what stands in it arrives byte for
            byte."
      state:
        type: str
        description:
          - Whether it should be there. An absent file's profiles leave the kernel too.
          - Taken as V(present) if not given.
        choices:
          present: It should.
          absent: It should not.
  prune:
    type: bool
    description:
      - Whether files that this owner wrote and no longer lists go. What stood there before comes back; what a package
        installed is never deleted.
      - Taken as V(false) if not given.
  supersedes:
    type: list
    elements: str
    description:
      - Owners whose entries this document takes over.
"""
