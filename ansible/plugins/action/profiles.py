# SPDX-FileCopyrightText: 2026 The aa-converge contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Puts the controller's files that `src` names into the document, before the module runs."""

from __future__ import annotations

import base64

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible_collections.aaconverge.apparmor.plugins.plugin_utils.program_action import ProgramAction


class ActionModule(ProgramAction):
    def module_args(self):
        arguments = super().module_args()
        if arguments.get("src") is not None and "document" not in arguments:
            src = arguments.pop("src")
            try:
                arguments["document"] = self.read(src).decode("utf-8")
            except UnicodeDecodeError as error:
                raise AnsibleActionFail("%s is no JSON, which is in UTF-8: %s" % (src, error)) from error
        for part in ("profiles", "files"):
            if isinstance(arguments.get(part), list):
                arguments[part] = [self.with_text(entry) for entry in arguments[part]]
        return arguments

    def with_text(self, entry):
        """The entry with the text of its `src`. One that has no `src`, or is no entry at all, is the program's to judge."""
        if not isinstance(entry, dict) or entry.get("src") is None:
            return entry
        others = [name for name in ("content", "content_base64", "source", "service") if entry.get(name) is not None]
        if others:
            raise AnsibleActionFail("an entry has both `src` and `%s`: %s" % (others[0], entry["src"]))
        entry = dict(entry)
        text = self.read(entry.pop("src"))
        try:
            entry["content"] = text.decode("utf-8")
        except UnicodeDecodeError:
            entry["content_base64"] = base64.b64encode(text).decode("ascii")
        return entry

    def read(self, src):
        """The bytes of a file on the controller; decrypted, where it is a vault."""
        if not isinstance(src, str):
            raise AnsibleActionFail("`src` is not a path, but %r" % (src,))
        try:
            path = self._loader.get_real_file(self._find_needle("files", src))
        except AnsibleError as error:
            # Before ansible-core 2.19, it would end a whole loop, with no results.
            raise AnsibleActionFail(str(error)) from None
        with open(path, "rb") as file:
            return file.read()
