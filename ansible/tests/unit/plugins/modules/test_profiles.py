# SPDX-FileCopyrightText: 2026 The aa-converge contributors
# SPDX-License-Identifier: MIT OR Apache-2.0
from __future__ import annotations

import json

from ansible_collections.aaconverge.apparmor.plugins.modules import profiles


def parts(**given):
    names = list(profiles.DOCUMENT_OPTIONS) + ["document", "mode"]
    return {name: given.get(name) for name in names}


def test_parts_become_a_document():
    params = parts(owner="web", prune=False, profiles=[{"file": "a", "mode": None, "content": "\u00fc\\n", "service": None}])
    assert json.loads(profiles.document(params)) == {
        "version": 1,
        "owner": "web",
        "prune": False,
        "profiles": [{"file": "a", "content": "\u00fc\\n"}],
    }


def test_an_empty_list_is_not_the_same_as_none():
    assert json.loads(profiles.document(parts(owner="web", files=[]))) == {"version": 1, "owner": "web", "files": []}


def test_mode_is_the_default_of_entries():
    assert json.loads(profiles.document(parts(owner="web", mode="complain")))["defaults"] == {"mode": "complain"}


def test_mode_stands_beside_other_defaults():
    params = parts(owner="web", mode="complain", defaults={"mode": None, "on_confined": "unload"})
    assert json.loads(profiles.document(params))["defaults"] == {"mode": "complain", "on_confined": "unload"}


def test_a_whole_document_goes_on_as_it_is():
    text = '{"version": 1, "owner": "a", "owner": "b", "x": null}'
    assert profiles.document(parts(document=text)) == text.encode()
    whole = {"version": 1, "owner": "a", "classes": {"web": None}}
    assert json.loads(profiles.document(parts(document=whole))) == whole
