# SPDX-FileCopyrightText: 2026 The aa-converge contributors
# SPDX-License-Identifier: MIT OR Apache-2.0
from __future__ import annotations

from ansible_collections.aaconverge.apparmor.plugins.module_utils.program import explain


def report(**given):
    whole = {
        "error": {"code": "x", "message": "it went wrong", "remedy": None},
        "problems": [],
        "profiles": [],
        "files": [],
        "rollback": {"state": "not_needed", "left": []},
    }
    whole.update(given)
    return whole


def test_problems_stand_with_their_pointers():
    problems = [
        {"pointer": "/profiles/0/mode", "code": "bad_value", "message": "`foo` is not known here", "allowed": "one of `enforce`"},
        {"pointer": "", "code": "missing", "message": "`owner` is missing", "allowed": None},
    ]
    assert explain(report(problems=problems)).splitlines() == [
        "the document is refused:",
        "/profiles/0/mode: `foo` is not known here (allowed: one of `enforce`)",
        "the document: `owner` is missing",
    ]


def test_errors_of_entries_stand_with_their_places():
    profiles = [
        {"file": "a", "error": {"message": "syntax error", "file": "/etc/apparmor.d/abstractions/base", "line": 7}},
        {"file": "b", "error": {"message": "undeclared variable", "file": None, "line": None}},
        {"file": "c", "error": None},
    ]
    files = [{"path": "tunables/x", "error": {"message": "is a directory", "file": None, "line": None}}]
    assert explain(report(profiles=profiles, files=files)).splitlines() == [
        "it went wrong",
        "/etc/apparmor.d/abstractions/base:7: syntax error",
        "b: undeclared variable",
        "tunables/x: is a directory",
    ]


def test_what_is_left_and_what_to_do_come_last():
    error = {"code": "x", "message": "it went wrong", "remedy": "repair it"}
    left = {"state": "incomplete", "left": ["/etc/apparmor.d/a: no space left"]}
    assert explain(report(error=error, rollback=left)).splitlines() == [
        "it went wrong",
        "/etc/apparmor.d/a: no space left",
        "repair it",
    ]
