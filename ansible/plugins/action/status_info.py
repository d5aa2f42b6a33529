# SPDX-FileCopyrightText: 2026 The aa-converge contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Looks at a host's policy; a program that had to be copied for it does not stay."""

from __future__ import annotations

from ansible_collections.aaconverge.apparmor.plugins.plugin_utils.program_action import ProgramAction


class ActionModule(ProgramAction):
    installs = False
