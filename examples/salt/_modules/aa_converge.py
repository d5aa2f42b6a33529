"""
Make AppArmor policy what one document says, with ``aa-converge``.

:maturity: new
:platform: Linux
:depends: the program ``aa-converge``, on the minion

The functions return what the program reports; ``aa-converge schema report`` and ``aa-converge schema status`` describe it.
The state module of the same name is what states use.
"""

import json
import shutil
import subprocess

from salt.exceptions import CommandExecutionError

__virtualname__ = "aa_converge"


def __virtual__():
    # The program may be installed by the very run that needs it, so its absence is an error of the call and not of loading.
    return __virtualname__


def _answer(program, command, options, document=None):
    """
    What the program says, as a dictionary. It answers with one JSON object on success and failure alike.
    """
    path = shutil.which(program)
    if path is None:
        raise CommandExecutionError(
            f"cannot find {program}: install it before, or name it by `program`"
        )
    call = [path, command, "--format", "json"]
    for option, value in options.items():
        if value is True:
            call.append(f"--{option}")
        elif value is not None and value is not False:
            call.append(f"--{option}={value}")
    # Not cmd.run: its `stdin` turns the two characters `\n` into line ends, which breaks JSON.
    result = subprocess.run(
        call,
        input=json.dumps(document).encode("ascii") if document is not None else b"",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        check=False,
    )
    try:
        answer = json.loads(result.stdout)
        if not isinstance(answer, dict):
            raise ValueError("not an object")
    except ValueError as error:
        said = result.stderr.decode("utf-8", "replace").strip()
        raise CommandExecutionError(
            f"{path} {command} gave no JSON object but exit status {result.returncode}: {said}"
        ) from error
    return answer


def apply(
    document,
    test=False,
    diff=False,
    root=None,
    kernel=None,
    kernel_features=None,
    parser=None,
    lock_timeout=None,
    program="aa-converge",
):
    """
    Make the policy what the document says, and return the report. Its ``failed`` tells whether that failed; a refused
    document is no exception.

    document
        The document, as a mapping. Its ``version`` is 1 where it names none.
    test
        Plan and compile, but change nothing.
    diff
        Add the texts before and after to the report.
    root
        A directory that holds an image or a chroot, in place of this host.
    kernel
        ``require`` or ``skip``: whether policy is loaded into the running kernel.
    kernel_features
        Compile for the kernel with these features, a file as ``aa-features-abi`` writes it.
    parser
        The path of ``apparmor_parser``, where it is none of the usual.
    lock_timeout
        How many seconds to wait for another run to end.
    program
        ``aa-converge`` itself, where it is not in the search path.

    CLI Example:

    .. code-block:: bash

        salt '*' aa_converge.apply '{"owner": "web", "profiles": [{"file": "usr.sbin.nginx", "mode": "complain"}]}' test=True
    """
    if not isinstance(document, dict):
        raise CommandExecutionError("the document is not a mapping")
    options = {
        "check": test,
        "diff": diff,
        "root": root,
        "kernel": kernel,
        "kernel-features": kernel_features,
        "parser": parser,
        "lock-timeout": lock_timeout,
    }
    try:
        return _answer(program, "apply", options, {"version": 1, **document})
    except TypeError as error:
        # YAML makes dates of what looks like one.
        raise CommandExecutionError(
            f"the document holds what JSON cannot: {error}"
        ) from error


def status(root=None, kernel=None, program="aa-converge"):
    """
    Tell what is installed, whose it is, what runs of it, and what differs. Changes nothing.

    CLI Example:

    .. code-block:: bash

        salt '*' aa_converge.status
    """
    return _answer(program, "status", {"root": root, "kernel": kernel})


def export(owner=None, root=None, kernel=None, program="aa-converge"):
    """
    Return today's policy as a document that ``aa_converge.apply`` finds in sync. Changes nothing.

    CLI Example:

    .. code-block:: bash

        salt '*' aa_converge.export owner=web-fleet
    """
    return _answer(
        program, "export", {"owner": owner, "root": root, "kernel": kernel}
    )
