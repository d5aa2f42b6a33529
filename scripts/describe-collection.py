#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The aa-converge contributors
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Writes what the collection says of the document, the report and the status, from their JSON Schemas.

The options that are the document's fields (their argument spec and their documentation) and the modules' RETURN blocks
say nothing that the schemas do not say, so they are made from them and cannot drift. With --check nothing is written,
and the exit status tells whether all is as it would be written.

Needs nothing but Python's standard library: `make schemas` runs it on any machine.
"""

import argparse
import json
import re
import sys
import textwrap
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
COLLECTION = REPOSITORY / "ansible"
SCHEMAS = REPOSITORY / "schemas"

# What entries have in a playbook alone: the action plugin reads the file and hands on its bytes.
SRC = {
    "type": "string",
    "description": "A file on the controller that holds its text, in place of `content`; found as `ansible.builtin.copy`"
    " finds it, in `files/` of the role or playbook. It is not a template: what stands in it arrives byte for byte.",
}

# What a task returns beside the report.
PUSHED = {
    "description": "The program that was copied from the controller because the host had none.",
    "returned": "when a program was copied",
    "type": "dict",
    "contains": {
        "dest": {"description": "Where it was put; null where it was used for this task alone.", "type": "str"},
        "src": {"description": "The file on the controller.", "type": "str"},
    },
}
ARCHITECTURE = {
    "description": "The host's architecture, as C(uname -m) tells it.",
    "returned": "when the host has no program that it can run",
    "type": "str",
    "sample": "x86_64",
}

# When the answer's fields are returned, by module: a failure of `status` is told in a report.
ANSWERED = {"profiles": "when the program answered", "status_info": "on success"}
WHERE_THERE = "where there is one"

TYPES = {"string": "str", "boolean": "bool", "integer": "int", "array": "list", "object": "dict"}

HEADER = """\
# SPDX-FileCopyrightText: 2026 The aa-converge contributors
# SPDX-License-Identifier: {licence}
"""


class Schema:
    """One JSON Schema, as far as ours go: references, nullable types and enumerations of described constants."""

    def __init__(self, name):
        self.root = json.loads((SCHEMAS / f"{name}.v1.json").read_text(encoding="utf-8"))

    def resolve(self, node):
        """The node with its reference followed and null taken out, and whether null was there.

        What stands beside a reference (the description) wins over what it leads to.
        """
        nullable = False
        node = dict(node)
        while True:
            if "$ref" in node:
                target = self.root["$defs"][node.pop("$ref").rpartition("/")[2]]
                node = {**target, **node}
            elif "anyOf" in node:
                (value,) = (one for one in node.pop("anyOf") if one.get("type") != "null")
                nullable, node = True, {**value, **node}
            else:
                break
        if isinstance(node.get("type"), list):
            (kind,) = (one for one in node["type"] if one != "null")
            nullable, node = True, {**node, "type": kind}
        if "type" not in node:
            node["type"] = node["oneOf"][0]["type"]
        return node, nullable


def prose(text):
    """A description in Ansible's markup."""
    text = " ".join(text.split())
    text = re.sub(r"\[`(\w+)`\]", r"`\1`", text)
    return re.sub(r"`([^`]+)`", r"C(\1)", text)


def choices(node):
    """The constants that a node allows, each with its description."""
    return {one["const"]: prose(one["description"]) for one in node.get("oneOf", [])}


def document_options(schema):
    """The document's fields as options: (argument spec, documentation)."""
    spec, documentation = options(schema, schema.root)
    # The module writes the version that it was made for, and a whole `document` may stand in place of all of them.
    for name in ("version",):
        del spec[name], documentation[name]
    for one in (spec["owner"], documentation["owner"]):
        del one["required"]
    return spec, documentation


def options(schema, parent):
    spec, documentation = {}, {}
    properties = dict(parent["properties"])
    if "content_base64" in properties:
        properties["src"] = SRC
    for name, node in sorted(properties.items()):
        node, _ = schema.resolve(node)
        described = [prose(node["description"])]
        if node.get("default") is not None:
            default = node["default"]
            described.append(f"Taken as V({str(default).lower() if isinstance(default, bool) else default}) if not given.")
        option = {"type": TYPES[node["type"]]}
        if name in parent.get("required", []):
            option["required"] = True
        inner = node
        if node["type"] == "array":
            inner, _ = schema.resolve(node["items"])
            option["elements"] = TYPES[inner["type"]]
        text = dict(option, description=described)
        if inner["type"] == "object" and "properties" in inner:
            option["options"], text["suboptions"] = options(schema, inner)
        allowed = choices(inner)
        if allowed:
            option["choices"], text["choices"] = list(allowed), allowed
        spec[name], documentation[name] = option, text
    return spec, documentation


def return_values(schema, parent, null="always; null where there is none"):
    """The fields as return values; `null` says of those that may be null when they are returned."""
    values = {}
    for name, node in sorted(parent["properties"].items()):
        node, nullable = schema.resolve(node)
        value = {
            "description": [prose(node["description"])],
            "returned": null if nullable else "always",
            "type": TYPES[node["type"]],
        }
        inner = node
        if node["type"] == "array":
            inner, _ = schema.resolve(node["items"])
            value["elements"] = TYPES[inner["type"]]
        if inner["type"] == "object":
            # The module leaves out what is null in a difference, because Ansible prints every key that is there.
            value["contains"] = return_values(schema, inner, WHERE_THERE if name == "diff" else null)
        allowed = choices(inner)
        if allowed:
            value["choices"] = list(allowed)
            value["description"] += [f"V({one}): {text}" for one, text in allowed.items()]
        values[name] = value
    return values


def task_values(module, schema, report):
    """What a task returns: the program's answer, and what it says of itself where there is none."""
    values = return_values(schema, schema.root)
    error = return_values(report, report.root)["error"]
    for name, value in values.items():
        value["returned"] = value["returned"].replace("always", ANSWERED[module])
    # Ansible itself prints and returns them, and drops an empty list.
    values["warnings"]["returned"] = "when there are warnings"
    for name in ("changed", "failed", "msg"):
        if name in values:
            values[name]["returned"] = "always"
    values["error"] = dict(error, returned="on failure; null where the program answered and did not fail" if "error" in values else "on failure")
    return {**values, "architecture": ARCHITECTURE, "pushed": PUSHED}


def yaml(value, indent=0):
    """A mapping as lines of YAML: plain scalars where they are safe, JSON's otherwise."""
    pad = " " * indent
    for key, one in value.items():
        if isinstance(one, dict):
            yield f"{pad}{scalar(key)}:"
            yield from yaml(one, indent + 2)
        elif isinstance(one, list):
            yield f"{pad}{scalar(key)}:"
            for item in one:
                yield from wrapped(f"{pad}  - ", scalar(item))
        else:
            yield from wrapped(f"{pad}{scalar(key)}: ", scalar(one))


def scalar(value):
    if isinstance(value, bool):
        return str(value).lower()
    plain = re.fullmatch(r"[A-Za-z/][^\"\\]*", value) and not re.search(r": | #|:$", value)
    # YAML 1.1 reads these words as something else than text.
    if plain and value.lower() not in ("true", "false", "yes", "no", "on", "off", "null"):
        return value
    return json.dumps(value, ensure_ascii=False)


def wrapped(start, text):
    return textwrap.wrap(
        text,
        118,
        initial_indent=start,
        subsequent_indent=" " * (len(start) - len(start.lstrip(" ")) + 2),
        break_long_words=False,
        break_on_hyphens=False,
    )


def python(value, indent=0):
    """A literal as Python source: a mapping of plain values in one line, any other a key a line."""
    pad = " " * (indent + 4)
    if isinstance(value, list):
        items = ", ".join(json.dumps(one) for one in value)
        if len(items) + indent < 100:
            return f"[{items}]"
        items = textwrap.fill(f"{items},", 118, initial_indent=pad, subsequent_indent=pad, break_on_hyphens=False)
        return f"[\n{items}\n{' ' * indent}]"
    if not isinstance(value, dict):
        return repr(value) if isinstance(value, bool) else json.dumps(value)
    if not any(isinstance(one, (dict, list)) for one in value.values()):
        return "{" + ", ".join(f"{json.dumps(key)}: {python(one)}" for key, one in value.items()) + "}"
    lines = (f"{pad}{json.dumps(key)}: {python(one, indent + 4)},\n" for key, one in value.items())
    return "{\n" + "".join(lines) + " " * indent + "}"


def generated():
    """Every file that is made here: (path, its text)."""
    document, report, status = Schema("document"), Schema("report"), Schema("status")
    spec, documentation = document_options(document)

    yield COLLECTION / "plugins/module_utils/document.py", (
        HEADER.format(licence="MIT OR Apache-2.0")
        + '"""The fields of a document as an argument spec; written by scripts/describe-collection.py from its JSON Schema."""\n\n'
        + f"DOCUMENT_OPTIONS = {python(spec)}\n"
    )
    yield COLLECTION / "plugins/doc_fragments/document.py", (
        HEADER.format(licence="GPL-3.0-or-later")
        + "# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)\n"
        + '"""The fields of a document as options; written by scripts/describe-collection.py from its JSON Schema."""\n\n'
        + "\n"
        + "class ModuleDocFragment:\n"
        + '    DOCUMENTATION = r"""\n'
        + "\n".join(yaml({"options": documentation}))
        + '\n"""\n'
    )
    for name, schema in (("profiles", report), ("status_info", status)):
        values = task_values(name, schema, report)
        path = COLLECTION / f"plugins/modules/{name}.py"
        block = 'RETURN = r"""\n' + "\n".join(yaml(values)) + '\n"""\n'
        yield path, re.sub(r'RETURN = r""".*?\n"""\n', lambda _: block, path.read_text(encoding="utf-8"), flags=re.DOTALL)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, and fail where something would be written")
    arguments = parser.parse_args()
    stale = []
    for path, text in generated():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path)
        if not arguments.check:
            path.write_text(text, encoding="utf-8")
    for path in stale:
        print(f"{path.relative_to(COLLECTION)}: {'not as the schemas say; run `make schemas`' if arguments.check else 'written'}")
    return int(arguments.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
