# SPDX-FileCopyrightText: 2026 The aa-converge contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which program works, and on what."""


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  binary:
    description:
      - The program on the host, a path or a name to be looked for.
    type: path
    default: aa-converge
  controller_binaries:
    description:
      - Programs on the controller, for hosts that have none; by architecture, as C(uname -m) tells it. Each is found as
        M(ansible.builtin.copy) finds its O(ansible.builtin.copy#module:src).
      - The one for the host's architecture is copied to O(binary) if that is a path, else under that name into
        C(/usr/local/sbin), if it runs on the host. In check mode, and by M(aaconverge.apparmor.status_info), it is used
        from Ansible's temporary directory and leaves nothing behind.
      - A program that is there is never replaced; that is what the role P(aaconverge.apparmor.install#role) is for.
    type: dict
  root:
    description:
      - An image or a chroot on the host; every path is below it, and the kernel is left alone.
    type: path
  kernel:
    description:
      - Whether the running kernel is a part of it. By default it is, unless O(root) is given.
    type: str
    choices:
      require: A part of it; without AppArmor the task fails.
      skip: Left alone; only files count.
  kernel_features:
    description:
      - Compile for the kernel with these features, a file on the host as C(aa-features-abi) writes it.
    type: path
  parser:
    description:
      - The parser on the host; by default C(apparmor_parser) where it is usually installed.
    type: path
requirements:
  - aa-converge on the host, or on the controller in O(controller_binaries)
  - apparmor_parser 3.0 or newer on the host
"""
