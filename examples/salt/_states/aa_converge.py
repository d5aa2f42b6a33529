"""
AppArmor policy as one document says, with ``aa-converge``.

:maturity: new
:platform: Linux
:depends: the execution module of the same name

.. code-block:: yaml

    web-fleet:
      aa_converge.applied:
        - document_pillar: apparmor
        - require:
          - pkg: aa-converge
"""

import difflib
import shutil

import salt.utils.data
from salt.exceptions import CommandExecutionError

__virtualname__ = "aa_converge"


def __virtual__():
    if "aa_converge.apply" in __salt__:
        return __virtualname__
    return False, "the execution module aa_converge is not there: copy it to _modules/"


def applied(
    name,
    document=None,
    document_pillar=None,
    owner=None,
    prune=None,
    allow_empty=None,
    supersedes=None,
    defaults=None,
    accept=None,
    classes=None,
    files=None,
    profiles=None,
    show_changes=True,
    root=None,
    kernel=None,
    kernel_features=None,
    parser=None,
    lock_timeout=None,
    program="aa-converge",
):
    """
    Make the policy what a document says. ``changes`` has one key for each file of policy.

    The document comes whole from ``document_pillar`` or ``document``, or in parts; parts replace those of a whole one. It
    is all or nothing: when something fails, nothing of it is applied.

    name
        The owner, unless the document names one.
    document_pillar
        The key of the pillar that holds the document, ``:`` between levels. No template touches the texts on this way.
    document
        The document, as a mapping.
    owner, prune, allow_empty, supersedes, defaults, accept, classes, files, profiles
        The parts of a document; ``aa-converge schema document`` describes them.
    show_changes
        Show the texts' differences, as ``file.managed`` does.
    root, kernel, kernel_features, parser, lock_timeout, program
        As in the execution module's ``aa_converge.apply``.
    """
    ret = {"name": name, "changes": {}, "result": False, "comment": ""}
    parts = {
        "owner": owner,
        "prune": prune,
        "allow_empty": allow_empty,
        "supersedes": supersedes,
        "defaults": defaults,
        "accept": accept,
        "classes": classes,
        "files": files,
        "profiles": profiles,
    }
    try:
        whole = _whole(document, document_pillar)
        if __opts__["test"] and shutil.which(program) is None:
            # A state before this one installs it, or the run that is no test will say that it is missing.
            ret["result"] = None
            ret["comment"] = f"{program} is not installed yet, so what it would change is not known"
            return ret
        report = __salt__["aa_converge.apply"](
            {
                "owner": name,
                **whole,
                **{part: value for part, value in parts.items() if value is not None},
            },
            test=__opts__["test"],
            diff=show_changes,
            root=root,
            kernel=kernel,
            kernel_features=kernel_features,
            parser=parser,
            lock_timeout=lock_timeout,
            program=program,
        )
    except CommandExecutionError as error:
        ret["comment"] = str(error)
        return ret
    ret["changes"] = _changes(report)
    ret["comment"] = "\n".join(_comment(report))
    if report["warnings"]:
        ret["warnings"] = report["warnings"]
    if not report["failed"]:
        ret["result"] = None if report["check"] and report["changed"] else True
    return ret


def _whole(document, document_pillar):
    if document_pillar is None:
        whole = {} if document is None else document
    elif document is not None:
        raise CommandExecutionError("both `document` and `document_pillar` are given")
    else:
        # Not pillar.get: since Salt 3008 it masks every text outside of templates.
        whole = salt.utils.data.traverse_dict_and_list(__pillar__, document_pillar)
        if whole is None:
            raise CommandExecutionError(f"the pillar has no document at {document_pillar}")
    if not isinstance(whole, dict):
        raise CommandExecutionError("the document is not a mapping")
    return whole


def _entries(report):
    for entry in report["profiles"]:
        yield entry["file"], entry
    for entry in report["files"]:
        yield entry["path"], entry


def _changes(report):
    """
    What was done, or in a test would be, by file.
    """
    changes = {
        file: {"action": entry["action"], "reasons": entry["reasons"]}
        for file, entry in _entries(report)
        if entry["outcome"] in ("planned", "applied")
    }
    for diff in report["diff"]:
        file = diff["after_header"] or diff["before_header"]
        if file in changes:
            changes[file]["diff"] = diff["prepared"] or _unified(diff)
    return changes


def _unified(diff):
    return "".join(
        difflib.unified_diff(
            (diff["before"] or "").splitlines(keepends=True),
            (diff["after"] or "").splitlines(keepends=True),
            diff["before_header"] or "/dev/null",
            diff["after_header"] or "/dev/null",
        )
    )


def _comment(report):
    yield report["msg"]
    for problem in report["problems"]:
        yield f"{problem['pointer'] or 'document'}: {problem['message']}"
    for file, entry in _entries(report):
        error = entry["error"]
        if error:
            # As compilers say it: the file, the line and the message, as far as they are known.
            place = ":".join(str(part) for part in (error["file"], error["line"]) if part)
            yield ": ".join(part for part in (file, place, error["message"]) if part)
    if report["error"] and report["error"]["remedy"]:
        yield report["error"]["remedy"]
    for left in report["rollback"]["left"]:
        yield f"not undone: {left}"
    for process in report["needs_restart"]:
        what = process["unit"] or process["executable"]
        yield (
            f"restart {what} (process {process['pid']}):"
            f" it does not run under `{process['profile']}` yet"
        )
