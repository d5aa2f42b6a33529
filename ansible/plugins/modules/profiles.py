#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The aa-converge contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

DOCUMENTATION = r"""
module: profiles
short_description: Make a host's AppArmor policy what one document says
version_added: 0.1.0
description:
  - Hands one document to C(aa-converge apply) on the host. The document says which AppArmor policy the host should have.
  - Everything that changes is compiled first; then files are written and profiles are loaded, all of them or none. What
    does not compile changes nothing, on this run and on the next.
  - The document is given by its fields as options, as a whole in O(document), or as a JSON file on the controller in
    O(src).
author:
  - The aa-converge contributors (!UNKNOWN)
extends_documentation_fragment:
  - aaconverge.apparmor.program
  - aaconverge.apparmor.document
  - aaconverge.apparmor.attributes
options:
  document:
    description:
      - The whole document, a dictionary or JSON text.
    type: raw
  src:
    description:
      - A file on the controller that holds the whole document as JSON; found as M(ansible.builtin.copy) finds it, in
        C(files/) of the role or playbook. It is not a template.
    type: path
  mode:
    description:
      - The mode of entries that bring text and name none; short for O(defaults.mode), with which it must not be given.
    type: str
    choices: [enforce, complain, kill, unconfined, prompt, default_allow, disabled, as_written]
  list_unchanged:
    description:
      - Whether RV(profiles) and RV(files) list unchanged entries, too.
    type: bool
    default: false
  lock_timeout:
    description:
      - How long to wait for another run on the host to end, in seconds; V(30) if not given.
    type: int
  parser_timeout:
    description:
      - How long the parser may work on one file, in seconds; V(120) if not given.
    type: int
  jobs:
    description:
      - How many parsers run at once; by default as many as there are processors, as far as memory goes.
    type: int
notes:
  - With O(prune), one task holds all entries of its O(owner). Two tasks with the same owner, or a loop over one, would each
    remove what the other brought.
  - A document equals root on the host, because it decides what programs there may do.
seealso:
  - module: aaconverge.apparmor.status_info
  - ref: ansible_collections.aaconverge.apparmor.rollout_role
    description: Converges a fleet, canaries first.
"""

EXAMPLES = r"""
- name: Confine a service, watching first
  aaconverge.apparmor.profiles:
    owner: web-fleet
    profiles:
      - mode: complain
        service:
          class: worker
          executable: /usr/local/bin/report-exporter
          config: [/etc/report-exporter/config.yaml]
          data: [/var/lib/report-exporter]
          logs: [/var/log/report-exporter]

- name: Keep profiles of one's own, a tunable and the mode of the distribution's profile, and remove what is not listed any more
  aaconverge.apparmor.profiles:
    owner: web-fleet
    prune: true
    mode: enforce
    files:
      - path: tunables/home.d/site
        content: |
          @{HOMEDIRS}+=/srv/home/
    profiles:
      - file: usr.local.sbin.metrics-gateway
        src: apparmor/metrics-gateway
      - file: usr.sbin.traceroute
        mode: complain
        if_missing: skip
  register: policy

- name: Restart what runs without its profile
  ansible.builtin.systemd_service:
    name: "{{ item }}"
    state: restarted
  loop: "{{ policy.needs_restart | selectattr('certain') | map(attribute='unit') | select | unique }}"

- name: Apply a whole document, kept as JSON in files/
  aaconverge.apparmor.profiles:
    src: fleet.json

- name: Manage an image, whose kernel is not here
  aaconverge.apparmor.profiles:
    src: fleet.json
    root: /srv/images/web

- name: Take everything back
  aaconverge.apparmor.profiles:
    owner: web-fleet
    prune: true
    allow_empty: true

- name: Copy the controller's program to hosts that have none
  aaconverge.apparmor.profiles:
    src: fleet.json
    controller_binaries:
      x86_64: bin/aa-converge-x86_64
      aarch64: bin/aa-converge-aarch64
"""

RETURN = r"""
changed:
  description:
    - "Whether anything on the host was changed (with C(check): would be changed). False after a complete rollback."
  returned: always
  type: bool
check:
  description:
    - Whether this was a run with C(--check), which has no effect of any kind.
  returned: when the program answered
  type: bool
diff:
  description:
    - "With C(--diff): the texts before and after."
  returned: when the program answered
  type: list
  elements: dict
  contains:
    after:
      description:
        - The text after, replacement characters standing for bytes that are not UTF-8; null when C(prepared) is
          given.
      returned: where there is one
      type: str
    after_base64:
      description:
        - The exact bytes after, base64; only where they are not UTF-8.
      returned: where there is one
      type: str
    after_header:
      description:
        - The path after; null where there is no file.
      returned: where there is one
      type: str
    before:
      description:
        - The text before, replacement characters standing for bytes that are not UTF-8; null when C(prepared) is
          given.
      returned: where there is one
      type: str
    before_base64:
      description:
        - The exact bytes before, base64; only where they are not UTF-8.
      returned: where there is one
      type: str
    before_header:
      description:
        - The path before; null where there was no file.
      returned: where there is one
      type: str
    prepared:
      description:
        - Sizes in bytes and SHA-256 in place of texts that are too large (100 KiB a side, 1 MiB in all).
      returned: where there is one
      type: str
elapsed_ms:
  description:
    - How long the parts took, in milliseconds.
  returned: when the program answered
  type: dict
  contains:
    commit:
      description:
        - Writing, loading and verifying.
      returned: always
      type: int
    compile:
      description:
        - Compiling.
      returned: always
      type: int
    observe:
      description:
        - Reading and comparing.
      returned: always
      type: int
error:
  description:
    - Why the run failed; null when it did not.
  returned: on failure; null where the program answered and did not fail
  type: dict
  contains:
    code:
      description:
        - A stable word for programs, so that they can tell what to try again from what to repair. One with C(-) in it
          is an objection, and the word by which the document's C(accept) overrides it.
      returned: always
      type: str
    message:
      description:
        - What was attempted, on what, and why not.
      returned: always
      type: str
    remedy:
      description:
        - What to do about it. This version always says something; readers must expect null.
      returned: always; null where there is none
      type: str
failed:
  description:
    - Whether the document's state was not reached.
  returned: always
  type: bool
files:
  description:
    - The include files, sorted by path in byte order; unchanged ones only with C(--all).
  returned: when the program answered
  type: list
  elements: dict
  contains:
    action:
      description:
        - What is done.
        - "V(create): Write it where nothing is."
        - "V(update): Write it over something else, or change its links."
        - "V(reload): Leave the file; its compiled policy is another now."
        - "V(remove): Remove it."
        - "V(restore): Put back what stood there before it was taken over."
        - "V(keep): Nothing."
      returned: always
      type: str
      choices:
        - create
        - update
        - reload
        - remove
        - restore
        - keep
    error:
      description:
        - What went wrong with it; null when nothing did.
      returned: always; null where there is none
      type: dict
      contains:
        file:
          description:
            - "The file that the parser was reading: the profile's or an include's; null where it did not say."
          returned: always; null where there is none
          type: str
        line:
          description:
            - The line in that file, from 1; null where it did not say.
          returned: always; null where there is none
          type: int
        message:
          description:
            - The parser's own first error line, or what the system said.
          returned: always
          type: str
    outcome:
      description:
        - How far it came.
        - "V(planned): Would be done: the run had C(--check)."
        - "V(applied): Done and verified."
        - "V(unchanged): Nothing was to be done."
        - "V(rolled_back): Done, and undone because of a later failure."
        - "V(not_attempted): Not begun when the run failed."
        - "V(failed): The run failed on it."
      returned: always
      type: str
      choices:
        - planned
        - applied
        - unchanged
        - rolled_back
        - not_attempted
        - failed
    path:
      description:
        - The path relative to the policy directory.
      returned: always
      type: str
    reasons:
      description:
        - Why.
      returned: always
      type: list
      elements: str
    sha256:
      description:
        - SHA-256 of the file's bytes, 64 hexadecimal digits.
      returned: always
      type: dict
      contains:
        after:
          description:
            - After the run; null when there is none.
          returned: always; null where there is none
          type: str
        before:
          description:
            - Before the run; null when there was none.
          returned: always; null where there is none
          type: str
kernel:
  description:
    - What concerns the running kernel.
  returned: when the program answered
  type: dict
  contains:
    atomic:
      description:
        - Whether all changed profiles were loaded in one write.
      returned: always
      type: bool
    global_mode:
      description:
        - AppArmor's global mode; null when the kernel is not managed.
      returned: always; null where there is none
      type: str
    managed:
      description:
        - Whether policy was loaded into the running kernel.
      returned: always
      type: bool
    revision:
      description:
        - The policy's revision after the run; null when the kernel is not managed.
      returned: always; null where there is none
      type: int
    verified_by:
      description:
        - "By what the kernel shows which policy it runs: C(hash), or C(raw_data) (the bytes that were loaded, hashed
          by aa-converge), or C(name) (names and modes alone); null when the kernel is not managed."
      returned: always; null where there is none
      type: str
    writes:
      description:
        - How many times policy was written to the kernel.
      returned: always
      type: int
msg:
  description:
    - One line for people.
  returned: always
  type: str
needs_restart:
  description:
    - Running processes that should be confined as this document says and are not, until they are restarted.
  returned: when the program answered
  type: list
  elements: dict
  contains:
    certain:
      description:
        - False where this cannot be known for sure.
      returned: always
      type: bool
    executable:
      description:
        - Its executable.
      returned: always
      type: str
    pid:
      description:
        - The process.
      returned: always
      type: int
    profile:
      description:
        - The profile that it should run under.
      returned: always
      type: str
    unit:
      description:
        - Its systemd unit; null when it is none's.
      returned: always; null where there is none
      type: str
problems:
  description:
    - What is wrong with the document, all of it.
  returned: when the program answered
  type: list
  elements: dict
  contains:
    allowed:
      description:
        - What would be right, for people; null where the message says all there is.
      returned: always; null where there is none
      type: str
    code:
      description:
        - A stable word for programs.
        - "V(not_json): The input is not JSON, or not UTF-8."
        - "V(too_large): A limit on size, count or depth is exceeded."
        - "V(duplicate_key): An object holds one key twice."
        - "V(unknown_field): A field that this version does not know."
        - "V(wrong_type): A value of the wrong JSON type."
        - "V(bad_value): A value of the right type that is not allowed here."
        - "V(missing): A required field is missing."
        - "V(unknown_version): The document's version is not one that this program reads."
        - "V(conflict): Fields that exclude each other."
        - "V(duplicate_file): Two entries name one file."
        - "V(owned_by_other): Another owner holds the path."
        - "V(not_installed): The entry needs an installed file that is not there."
        - "V(not_a_file): The place is taken by something that is not a regular file."
        - "V(bad_source): A C(source) file is missing, unreadable, or does not have the C(sha256) that the entry
          gives."
        - "V(duplicate_profile_name): Two profiles have one name."
        - "V(equal_attachment): Two profiles match one executable equally well; the kernel would run it unconfined."
        - "V(mode_not_reachable): The mode cannot be reached by changing flags in this file."
        - "V(too_broad): What is asked for makes a profile meaningless; it can be accepted by a code that the problem
          names."
        - "V(allow_empty_needed): Pruning everything needs C(allow_empty)."
      returned: always
      type: str
      choices:
        - not_json
        - too_large
        - duplicate_key
        - unknown_field
        - wrong_type
        - bad_value
        - missing
        - unknown_version
        - conflict
        - duplicate_file
        - owned_by_other
        - not_installed
        - not_a_file
        - bad_source
        - duplicate_profile_name
        - equal_attachment
        - mode_not_reachable
        - too_broad
        - allow_empty_needed
    message:
      description:
        - What is wrong, for people.
      returned: always
      type: str
    pointer:
      description:
        - "Where in the document: a JSON pointer (RFC 6901) such as C(/profiles/3/mode); empty for the document as a
          whole."
      returned: always
      type: str
profiles:
  description:
    - The profiles' files, sorted by name in byte order; unchanged ones only with C(--all).
  returned: when the program answered
  type: list
  elements: dict
  contains:
    action:
      description:
        - What is done.
        - "V(create): Write it where nothing is."
        - "V(update): Write it over something else, or change its links."
        - "V(reload): Leave the file; its compiled policy is another now."
        - "V(remove): Remove it."
        - "V(restore): Put back what stood there before it was taken over."
        - "V(keep): Nothing."
      returned: always
      type: str
      choices:
        - create
        - update
        - reload
        - remove
        - restore
        - keep
    error:
      description:
        - What went wrong with it; null when nothing did.
      returned: always; null where there is none
      type: dict
      contains:
        file:
          description:
            - "The file that the parser was reading: the profile's or an include's; null where it did not say."
          returned: always; null where there is none
          type: str
        line:
          description:
            - The line in that file, from 1; null where it did not say.
          returned: always; null where there is none
          type: int
        message:
          description:
            - The parser's own first error line, or what the system said.
          returned: always
          type: str
    file:
      description:
        - The file's name in the policy directory.
      returned: always
      type: str
    loaded:
      description:
        - The profiles, hats and children that the file defines, as the kernel knows them.
      returned: always
      type: list
      elements: dict
      contains:
        hash:
          description:
            - The kernel's hash of the compiled profile, hexadecimal (SHA-1 or SHA-256, as the kernel shows; SHA-256
              where the kernel is not managed).
          returned: always
          type: dict
          contains:
            after:
              description:
                - After the run; null when there is none.
              returned: always; null where there is none
              type: str
            before:
              description:
                - Before the run; null when there was none.
              returned: always; null where there is none
              type: str
        mode:
          description:
            - Its mode.
          returned: always
          type: dict
          contains:
            after:
              description:
                - After the run; null when there is none.
                - "V(enforce): Deny it and log it."
                - "V(complain): Allow it and log it; explicit C(deny) rules still deny, silently."
                - "V(kill): Deny it, log it, and kill the process."
                - "V(unconfined): Allow everything; the profile only marks its processes."
                - "V(prompt): Ask a daemon in user space (AppArmor 4 and later)."
                - "V(default_allow): Allow what no rule denies (AppArmor 4 and later)."
              returned: always; null where there is none
              type: str
              choices:
                - enforce
                - complain
                - kill
                - unconfined
                - prompt
                - default_allow
            before:
              description:
                - Before the run; null when there was none.
                - "V(enforce): Deny it and log it."
                - "V(complain): Allow it and log it; explicit C(deny) rules still deny, silently."
                - "V(kill): Deny it, log it, and kill the process."
                - "V(unconfined): Allow everything; the profile only marks its processes."
                - "V(prompt): Ask a daemon in user space (AppArmor 4 and later)."
                - "V(default_allow): Allow what no rule denies (AppArmor 4 and later)."
              returned: always; null where there is none
              type: str
              choices:
                - enforce
                - complain
                - kill
                - unconfined
                - prompt
                - default_allow
        name:
          description:
            - The full name, with parents and namespace.
          returned: always
          type: str
        verified:
          description:
            - Whether the kernel was read after the run and has just this.
          returned: always
          type: bool
    outcome:
      description:
        - How far it came.
        - "V(planned): Would be done: the run had C(--check)."
        - "V(applied): Done and verified."
        - "V(unchanged): Nothing was to be done."
        - "V(rolled_back): Done, and undone because of a later failure."
        - "V(not_attempted): Not begun when the run failed."
        - "V(failed): The run failed on it."
      returned: always
      type: str
      choices:
        - planned
        - applied
        - unchanged
        - rolled_back
        - not_attempted
        - failed
    reasons:
      description:
        - Why.
      returned: always
      type: list
      elements: str
    sha256:
      description:
        - SHA-256 of the file's bytes, 64 hexadecimal digits.
      returned: always
      type: dict
      contains:
        after:
          description:
            - After the run; null when there is none.
          returned: always; null where there is none
          type: str
        before:
          description:
            - Before the run; null when there was none.
          returned: always; null where there is none
          type: str
recovered:
  description:
    - What the recovery of an interrupted earlier run did; null when there was nothing to recover.
  returned: when the program answered; null where there is none
  type: dict
  contains:
    left:
      description:
        - "What was left as it is: what somebody else changed since, and profiles that processes run under by now."
      returned: always
      type: list
      elements: str
    restored:
      description:
        - Paths and profiles that were put back.
      returned: always
      type: list
      elements: str
report:
  description:
    - "The version of the report's form: 1."
  returned: when the program answered
  type: int
rollback:
  description:
    - Whether a failure was undone.
  returned: when the program answered
  type: dict
  contains:
    left:
      description:
        - What could not be undone, each with the reason; empty unless C(incomplete).
      returned: always
      type: list
      elements: str
    state:
      description:
        - How it went.
        - "V(not_needed): Nothing failed after the first effect."
        - "V(complete): Everything is as it was."
        - "V(incomplete): Something could not be undone; C(left) names it."
      returned: always
      type: str
      choices:
        - not_needed
        - complete
        - incomplete
summary:
  description:
    - How many profiles and files came to which end.
  returned: when the program answered
  type: dict
  contains:
    created:
      description:
        - Written where nothing was.
      returned: always
      type: int
    failed:
      description:
        - Those on which the run failed.
      returned: always
      type: int
    not_attempted:
      description:
        - Not begun when the run failed.
      returned: always
      type: int
    reloaded:
      description:
        - Same file, new compiled policy.
      returned: always
      type: int
    removed:
      description:
        - Removed.
      returned: always
      type: int
    restored:
      description:
        - Put back as it was before it was taken over.
      returned: always
      type: int
    rolled_back:
      description:
        - Done and undone.
      returned: always
      type: int
    unchanged:
      description:
        - As the document says already.
      returned: always
      type: int
    updated:
      description:
        - Written over something else, or its links changed.
      returned: always
      type: int
tool:
  description:
    - The programs that made it.
  returned: when the program answered
  type: dict
  contains:
    parser:
      description:
        - apparmor_parser's version; null when it is not known, because nothing was ever compiled.
      returned: always; null where there is none
      type: str
    version:
      description:
        - aa-converge's own version.
      returned: always
      type: str
warnings:
  description:
    - What people should know although it stops nothing.
  returned: when there are warnings
  type: list
  elements: str
architecture:
  description: The host's architecture, as C(uname -m) tells it.
  returned: when the host has no program that it can run
  type: str
  sample: x86_64
pushed:
  description: The program that was copied from the controller because the host had none.
  returned: when a program was copied
  type: dict
  contains:
    dest:
      description: Where it was put; null where it was used for this task alone.
      type: str
    src:
      description: The file on the controller.
      type: str
"""

import json

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aaconverge.apparmor.plugins.module_utils.document import DOCUMENT_OPTIONS
from ansible_collections.aaconverge.apparmor.plugins.module_utils.program import PROGRAM_OPTIONS, run

WHOLE = ("document", "src")
PARTS = sorted(DOCUMENT_OPTIONS) + ["mode"]


def main():
    module = AnsibleModule(
        argument_spec=dict(
            PROGRAM_OPTIONS,
            document={"type": "raw"},
            src={"type": "path"},
            mode=DOCUMENT_OPTIONS["defaults"]["options"]["mode"],
            list_unchanged={"type": "bool", "default": False},
            lock_timeout={"type": "int"},
            parser_timeout={"type": "int"},
            jobs={"type": "int"},
            **DOCUMENT_OPTIONS
        ),
        mutually_exclusive=[WHOLE] + [(whole, part) for whole in WHOLE for part in PARTS],
        required_one_of=[WHOLE + ("owner",)],
        supports_check_mode=True,
    )
    if module.params["mode"] is not None and (module.params["defaults"] or {}).get("mode") is not None:
        module.fail_json(msg="parameters are mutually exclusive: mode|defaults.mode")
    report = run(
        module,
        "apply",
        switches=[("check", module.check_mode), ("diff", module._diff), ("all", module.params["list_unchanged"])],
        options=("lock_timeout", "parser_timeout", "jobs"),
        document=document(module.params),
    )
    # Ansible prints every key that is there, null or not.
    report["diff"] = [{key: value for key, value in one.items() if value is not None} for one in report["diff"]]
    module.exit_json(**report)


def document(params):
    """The document in JSON: as it is given, or put together from its parts."""
    whole = params["document"]
    if whole is None:
        whole = without_none({part: params[part] for part in DOCUMENT_OPTIONS})
        whole["version"] = 1
        if params["mode"] is not None:
            whole["defaults"] = dict(whole.get("defaults", {}), mode=params["mode"])
    # Text goes to the program as it is, which tells where it is wrong. Of duplicate keys it learns where the text comes from
    # `src`; ansible-core before 2.19 makes a dictionary of JSON that a template yields, and keeps the last of them.
    text = whole if isinstance(whole, str) else json.dumps(whole)
    return text.encode("utf-8")


def without_none(value):
    """The value without what was not given, which Ansible fills in as None."""
    if isinstance(value, dict):
        return {key: without_none(one) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        return [without_none(one) for one in value]
    return value


if __name__ == "__main__":
    main()
