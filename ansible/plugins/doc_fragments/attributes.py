# SPDX-FileCopyrightText: 2026 The aa-converge contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the modules support."""


class ModuleDocFragment:
    DOCUMENTATION = r"""
attributes:
  check_mode:
    support: full
    description: Can run in check mode, and tells what it would do without changing the host.
  diff_mode:
    support: full
    description: Returns each changed text before and after in diff mode.
  idempotent:
    support: full
    description: Run again with the same document, it changes nothing.
  platform:
    support: full
    platforms: linux
    description: Hosts with AppArmor's parser, which compiles the policy.
  action:
    support: full
    description: Has an action plugin, which reads files on the controller and copies the program to hosts without one.
  async:
    support: partial
    details: A task with C(async) does not copy the program.
    description: Can be run with C(async).
  action_group:
    support: full
    membership: [aaconverge.apparmor.apparmor]
    description: Use C(group/aaconverge.apparmor.apparmor) in C(module_defaults) to set options of all its modules.
"""

    INFO = r"""
attributes:
  diff_mode:
    support: N/A
    details: It changes nothing.
"""
