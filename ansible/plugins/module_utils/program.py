# SPDX-FileCopyrightText: 2026 The aa-converge contributors
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Runs aa-converge for a module: finds the program, hands it the document, reads its one JSON value."""

import errno
import json
import os
import subprocess

# Where a program is installed that is looked for by its name.
PLACE = "/usr/local/sbin"

PROGRAM_OPTIONS = {
    "binary": {"type": "path", "default": "aa-converge"},
    "controller_binaries": {"type": "dict"},
    "kernel": {"type": "str", "choices": ["require", "skip"]},
    "kernel_features": {"type": "path"},
    "parser": {"type": "path"},
    "root": {"type": "path"},
}


def run(module, command, switches=(), options=(), document=None):
    """What the program answers to a command.

    The switches are added where their parameter is true, the options where theirs is given. Fails the module where the
    program is missing, or answers nothing that can be read. Of every command that could not do its work, the answer is a
    report that says why.
    """
    program = find(module)
    arguments = [program, command, "--format", "json"]
    arguments += ["--" + name for name, wanted in switches if wanted]
    for name in ("root", "kernel", "kernel_features", "parser") + tuple(options):
        if module.params[name] is not None:
            arguments += ["--" + name.replace("_", "-"), str(module.params[name])]
    # Not run_command, which fails with a broken pipe where the program answers without reading the document.
    try:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(os.environ, LC_ALL="C.UTF-8"),
        )
    except OSError as error:
        fail(module, "wrong_program", "cannot run %s: %s" % (program, why_not_run(error)), replace(program))
    out, err = process.communicate(document)
    try:
        answer = json.loads(out.decode("utf-8"))
    except ValueError:
        answer = None
    if not is_answer(command, answer):
        out, err = out.decode("utf-8", "replace"), err.decode("utf-8", "replace")
        message = "%s printed no report that can be read; it ended with status %d" % (" ".join(arguments), process.returncode)
        last = err.strip().splitlines()[-1:]
        fail(module, "no_report", ": ".join([message] + last), replace(program), stdout=out, stderr=err)
    for warning in answer.pop("warnings", []):
        module.warn(warning)
    # A task's arguments come back with its result, and of these the texts of policy would be nearly all.
    kept = {name: value for name, value in module.params.items() if name not in ("document", "profiles", "files")}
    answer["invocation"] = {"module_args": kept}
    if answer.get("failed"):
        answer["msg"] = explain(answer)
        module.fail_json(**answer)
    return answer


def find(module):
    """The program's path; where the host has none, the module fails in a way that the action plugin knows."""
    binary = module.params["binary"]
    if "/" in binary:
        program = binary if os.path.isfile(binary) and os.access(binary, os.X_OK) else None
    else:
        program = module.get_bin_path(binary)
    if program is None:
        fail(
            module,
            "no_program",
            "there is no %s on this host" % binary,
            "run the role aaconverge.apparmor.install, or name the controller's copy in `controller_binaries`",
            # Where it would be found, for the action plugin, which cannot know the host's directories.
            place=os.path.abspath(binary) if "/" in binary else os.path.join(PLACE, binary),
        )
    return program


def is_answer(command, answer):
    """Whether a value is what the program of this collection's version answers to the command."""
    if not isinstance(answer, dict):
        return False
    if command == "status":
        return answer.get("status") == 1 or (answer.get("report") == 1 and answer.get("failed") is True)
    return answer.get("report") == 1


def why_not_run(error):
    """Why a file that is there and may be executed did not start."""
    if error.errno == errno.ENOEXEC:
        return "it is no program for this host's architecture"
    if error.errno == errno.ENOENT:
        return "the interpreter or the dynamic loader that it asks for is not on this host"
    return os.strerror(error.errno)


def replace(program):
    return "put the aa-converge for %s in place of %s, or remove that and name the controller's copy in `controller_binaries`" % (
        os.uname()[4],
        program,
    )


def fail(module, code, message, remedy, **more):
    """Fails the module where the program could not say why itself, in the form of its own failures."""
    error = {"code": code, "message": message, "remedy": remedy}
    module.fail_json(msg="%s\n%s" % (message, remedy), error=error, architecture=os.uname()[4], **more)


def explain(report):
    """Why a run failed, in full: each problem of the document with its pointer, each profile's error with its place."""
    lines = [report["error"]["message"] if not report["problems"] else "the document is refused:"]
    for problem in report["problems"]:
        lines.append("%s: %s" % (problem["pointer"] or "the document", problem["message"]))
        if problem["allowed"]:
            lines[-1] += " (allowed: %(allowed)s)" % problem
    for entry in report["profiles"] + report["files"]:
        error = entry.get("error")
        if error:
            place = [str(part) for part in (error["file"] or entry.get("file") or entry.get("path"), error["line"]) if part]
            lines.append("%s: %s" % (":".join(place), error["message"]))
    lines += report["rollback"]["left"]
    if report["error"]["remedy"]:
        lines.append(report["error"]["remedy"])
    return "\n".join(lines)
