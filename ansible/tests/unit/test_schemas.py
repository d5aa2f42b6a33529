# SPDX-FileCopyrightText: 2026 The aa-converge contributors
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The collection says of the document, the report and the status what their JSON Schemas say, field by field.

Written without a look at scripts/describe-collection.py, which writes what is tested here.
"""

from __future__ import annotations

import importlib
import json
import pathlib

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.aaconverge.apparmor.plugins.doc_fragments.document import ModuleDocFragment
from ansible_collections.aaconverge.apparmor.plugins.module_utils.document import DOCUMENT_OPTIONS
from ansible_collections.aaconverge.apparmor.plugins.modules import profiles

KINDS = {"string": "str", "boolean": "bool", "integer": "int", "array": "list", "object": "dict"}
SCHEMAS = pathlib.Path(__file__).parent / "schemas"

# What the document has and a playbook has not, and the other way round.
NOT_OPTIONS = {"version"}
NOT_FIELDS = {"src"}


def schema(name):
    return json.loads((SCHEMAS / ("%s.v1.json" % name)).read_text())


def settle(root, node):
    """The node that a node stands for, and its JSON types."""
    types = set()
    while True:
        if "$ref" in node:
            node = root["$defs"][node["$ref"].split("/")[-1]]
        elif "anyOf" in node:
            types |= {one["type"] for one in node["anyOf"] if "type" in one}
            node = next(one for one in node["anyOf"] if one.get("type") != "null")
        else:
            break
    own = node.get("type") or {one["type"] for one in node["oneOf"]}
    return node, types | ({own} if isinstance(own, str) else set(own))


def kind(types):
    (one,) = types - {"null"}
    return KINDS[one]


def differences(root, node, described, inner, path="", ignored=frozenset()):
    """Where a schema's object and a mapping of options or return values do not agree."""
    fields = set(node["properties"]) - (NOT_OPTIONS if inner != "contains" and not path else set())
    for name in fields ^ (set(described) - ignored):
        yield "%s/%s stands on one side alone" % (path, name)
    for name in fields & set(described):
        here = "%s/%s" % (path, name)
        field, types = settle(root, node["properties"][name])
        option = described[name]
        if option["type"] != kind(types):
            yield "%s has the type %s, not %s" % (here, option["type"], kind(types))
        # The module drops nulls from differences.
        null = "where there is one" if path == "/diff" else "null"
        if inner == "contains" and ("null" in types) != (null in option["returned"]):
            yield "%s may be null, or not" % here
        if inner != "contains" and path and option.get("required", False) != (name in node.get("required", [])):
            yield "%s is required, or not" % here
        if option["type"] == "list":
            field, types = settle(root, field["items"])
            if option["elements"] != kind(types):
                yield "%s has elements of the type %s, not %s" % (here, option["elements"], kind(types))
        words = [one["const"] for one in field.get("oneOf", [])]
        if list(option.get("choices", [])) != words:
            yield "%s has the choices %s, not %s" % (here, list(option.get("choices", [])), words)
        if ("properties" in field) != (inner in option):
            yield "%s has fields, or not" % here
        elif "properties" in field:
            yield from differences(root, field, option[inner], inner, here, ignored)


def test_argument_spec():
    root = schema("document")
    assert list(differences(root, root, DOCUMENT_OPTIONS, "options", ignored=NOT_FIELDS)) == []


def test_documented_options():
    root = schema("document")
    described = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
    assert list(differences(root, root, described, "suboptions", ignored=NOT_FIELDS)) == []


@pytest.mark.parametrize("module, name", [("profiles", "report"), ("status_info", "status")])
def test_return_values(module, name):
    root = schema(name)
    code = importlib.import_module("ansible_collections.aaconverge.apparmor.plugins.modules." + module)
    described = yaml.safe_load(code.RETURN)
    del described["pushed"], described["architecture"]
    if "error" not in root["properties"]:
        del described["error"]
    assert list(differences(root, root, described, "contains")) == []


def example(root, node, depth=0):
    """A value with every field that a schema knows."""
    field, types = settle(root, node)
    if "oneOf" in field:
        return field["oneOf"][-1]["const"]
    if "const" in field:
        return field["const"]
    one = kind(types)
    if one == "list":
        return [example(root, field["items"])]
    if one == "dict" and "properties" in field:
        return {name: example(root, value) for name, value in field["properties"].items()}
    if one == "dict":
        return {"web": example(root, field["additionalProperties"])}
    return {"str": "Grüße\n'\"\\{{ x }}", "bool": True, "int": 1}[one]


def test_document_arrives_as_it_was_given():
    root = schema("document")
    whole = example(root, root)
    fields = {name: value for name, value in whole.items() if name not in NOT_OPTIONS}

    validated = ArgumentSpecValidator(DOCUMENT_OPTIONS).validate(json.loads(json.dumps(fields)))
    assert validated.error_messages == []

    params = dict(validated.validated_parameters, document=None, mode=None)
    assert json.loads(profiles.document(params)) == whole
