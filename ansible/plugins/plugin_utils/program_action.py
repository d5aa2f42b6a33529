# SPDX-FileCopyrightText: 2026 The aa-converge contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs a module of this collection, and copies the controller's program to a host that has none.

The module runs first: on a host that has the program, and that is nearly every run, nothing is asked beforehand.
"""

from __future__ import annotations

import shlex

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase


class ProgramAction(ActionBase):
    """What the action plugins have in common."""

    _supports_check_mode = True
    _supports_async = True

    # Whether a copied program may stay on the host.
    installs = True

    def module_args(self):
        """The task's arguments, with everything in them that only the controller can read."""
        return dict(self._task.args)

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        arguments = self.module_args()
        binaries = arguments.get("controller_binaries")
        if binaries is not None and not is_text_by_text(binaries):
            raise AnsibleActionFail("`controller_binaries` is not a dictionary of architectures and files")
        in_background = bool(self._task.async_val) and not self._connection.has_native_async

        result = self._execute_module(module_args=arguments, task_vars=task_vars, wrap_async=in_background)
        dest = result.pop("place", None)
        if not binaries or in_background or dest is None:
            return result

        architecture = result["architecture"]
        if architecture not in binaries:
            result["msg"] += "\n`controller_binaries` has none for %s either, only for %s" % (
                architecture,
                ", ".join(sorted(binaries)),
            )
            return result
        try:
            src = self._find_needle("files", binaries[architecture])
        except AnsibleError as error:
            raise AnsibleActionFail(str(error)) from None
        uploaded = self.upload(src)
        refused = self.refuse(uploaded, src, architecture)
        if refused:
            return refused
        if self.installs and not self._task.check_mode:
            self.install(uploaded, dest, task_vars)
        else:
            dest = None
        result = self._execute_module(module_args=dict(arguments, binary=dest or uploaded), task_vars=task_vars)
        result["pushed"] = {"src": src, "dest": dest}
        # In check mode the copy would be a change, too.
        result["changed"] = result.get("changed", False) or self.installs
        return result

    def upload(self, src):
        """Copies the program into the task's temporary directory, which goes when the task ends."""
        directory = self._connection._shell.tmpdir or self._make_tmp_path()
        uploaded = self._connection._shell.join_path(directory, "aa-converge")
        self._transfer_file(src, uploaded)
        self._fixup_perms2([directory, uploaded])
        return uploaded

    def refuse(self, uploaded, src, architecture):
        """The task's failure where the copied program does not run here, or is not aa-converge; else nothing."""
        tried = self._low_level_execute_command(shlex.quote(uploaded) + " --version")
        if tried["rc"] == 0 and tried["stdout"].startswith("aa-converge "):
            return None
        said = (tried["stdout"] + tried["stderr"]).strip().splitlines()[-1:] or ["it ended with status %d" % tried["rc"]]
        message = "the controller's %s does not run on this host as aa-converge: %s" % (src, said[0])
        remedy = "name one that is made for %s in `controller_binaries`; none was installed" % architecture
        return {
            "failed": True,
            "changed": False,
            "msg": message + "\n" + remedy,
            "error": {"code": "wrong_program", "message": message, "remedy": remedy},
            "architecture": architecture,
        }

    def install(self, uploaded, dest, task_vars):
        result = self._execute_module(
            module_name="ansible.legacy.copy",
            module_args={"src": uploaded, "dest": dest, "mode": "0755", "remote_src": True},
            task_vars=task_vars,
        )
        if result.get("failed"):
            raise AnsibleActionFail("cannot copy the program to %s: %s" % (dest, result.get("msg")), result=result)


def is_text_by_text(value):
    return isinstance(value, dict) and all(isinstance(one, str) for pair in value.items() for one in pair)
