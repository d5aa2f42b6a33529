#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The aa-converge contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

DOCUMENTATION = r"""
module: status_info
short_description: Tell what AppArmor policy a host has, whose it is, and what differs
version_added: 0.1.0
description:
  - Returns what C(aa-converge status) says, every file of profiles with its owner and package, every profile with the mode
    and hash that it should have and that it has in the kernel, and the processes that profiles confine.
  - What differs has the words that M(aaconverge.apparmor.profiles) gives for its reasons.
author:
  - The aa-converge contributors (!UNKNOWN)
extends_documentation_fragment:
  - aaconverge.apparmor.program
  - aaconverge.apparmor.attributes
  - aaconverge.apparmor.attributes.info
seealso:
  - module: aaconverge.apparmor.profiles
"""

EXAMPLES = r"""
- name: Look at the policy
  aaconverge.apparmor.status_info:
  register: apparmor

- name: Fail where the policy is not as it was applied
  ansible.builtin.assert:
    that: apparmor.summary.drifted == 0
    fail_msg: "{{ apparmor.profiles | rejectattr('drift', 'equalto', []) | map(attribute='file') }}"

- name: Look at an image
  aaconverge.apparmor.status_info:
    root: /srv/images/web
"""

RETURN = r"""
files:
  description:
    - The include files that an owner holds, sorted by path in byte order.
  returned: on success
  type: list
  elements: dict
  contains:
    drift:
      description:
        - C(content) and C(attributes) when it is not what its owner wrote.
      returned: always
      type: list
      elements: str
    owner:
      description:
        - The owner that holds it.
      returned: always
      type: str
    path:
      description:
        - Its path relative to the policy directory.
      returned: always
      type: str
    sha256:
      description:
        - SHA-256 of its bytes, 64 hexadecimal digits; null when it is not there.
      returned: always; null where there is none
      type: str
foreign:
  description:
    - "Profiles in the kernel that no installed file defines, sorted by name: those of docker, libvirt or snapd, or
      what was left when a file changed."
  returned: on success
  type: list
  elements: dict
  contains:
    mode:
      description:
        - Its mode.
        - "V(enforce): Deny it and log it."
        - "V(complain): Allow it and log it; explicit C(deny) rules still deny, silently."
        - "V(kill): Deny it, log it, and kill the process."
        - "V(unconfined): Allow everything; the profile only marks its processes."
        - "V(prompt): Ask a daemon in user space (AppArmor 4 and later)."
        - "V(default_allow): Allow what no rule denies (AppArmor 4 and later)."
      returned: always
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
kernel:
  description:
    - The running kernel.
  returned: on success
  type: dict
  contains:
    features:
      description:
        - SHA-256 of the list of kernel features that policy is compiled for, 64 hexadecimal digits.
      returned: always
      type: str
    global_mode:
      description:
        - AppArmor's global mode, which overrides the modes of profiles unless it is C(enforce).
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
    hash_algorithm:
      description:
        - What the hashes of loaded profiles are; null where none of ours is known.
        - "V(sha1): SHA-1, 40 hexadecimal digits."
        - "V(sha256): SHA-256, 64 hexadecimal digits."
      returned: always; null where there is none
      type: str
      choices:
        - sha1
        - sha256
    managed:
      description:
        - Whether the kernel was looked at.
      returned: always
      type: bool
    release:
      description:
        - Its release, as C(uname -r) tells it.
      returned: always; null where there is none
      type: str
    revision:
      description:
        - The number of changes to the policy of the current namespace.
      returned: always; null where there is none
      type: int
    verified_by:
      description:
        - "By what the kernel shows which policy it runs: C(hash), or C(raw_data) (the bytes that were loaded, hashed
          by aa-converge), or C(name) (names and modes alone)."
      returned: always; null where there is none
      type: str
msg:
  description:
    - One line for people.
  returned: always
  type: str
pending:
  description:
    - What the next run would undo first, because a run was interrupted or is under way right now; null when every run
      has ended.
  returned: on success; null where there is none
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
processes:
  description:
    - Running processes.
  returned: on success
  type: dict
  contains:
    confined:
      description:
        - Those that run under a profile, whatever its mode, by number.
      returned: always
      type: list
      elements: dict
      contains:
        executable:
          description:
            - What it executes; null when that cannot be told.
          returned: always; null where there is none
          type: str
        pid:
          description:
            - Its number.
          returned: always
          type: int
        profiles:
          description:
            - The profile that it runs under, or all of a stack.
          returned: always
          type: list
          elements: dict
          contains:
            mode:
              description:
                - Its mode; null when it left the kernel meanwhile.
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
        unit:
          description:
            - Its systemd unit; null when it is none's.
          returned: always; null where there is none
          type: str
    unconfined:
      description:
        - Those that should run under a profile and do not, until they are restarted; null where this is not known.
      returned: always; null where there is none
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
profiles:
  description:
    - "The files of profiles, sorted by name in byte order: all that are installed, and those that an owner holds and
      that are not there."
  returned: on success
  type: list
  elements: dict
  contains:
    drift:
      description:
        - "What differs from what was applied, in the words of the report's C(reasons): C(content) and C(attributes)
          when the file is not what its owner wrote, C(mode) when its links are not, C(include:<path>), C(parser) and
          C(features) when compiling it now gives another result, and what differs in the kernel."
      returned: always
      type: list
      elements: str
    file:
      description:
        - Its name in the policy directory.
      returned: always
      type: str
    forced_complain:
      description:
        - Whether a link in C(force-complain/), or parser.conf, puts all that it defines into complain mode.
      returned: always
      type: bool
    owner:
      description:
        - "The owner that holds it: the name in the document that was applied; null when it is nobody's."
      returned: always; null where there is none
      type: str
    package:
      description:
        - The package that ships it; null when none does, or when this is not known.
      returned: always; null where there is none
      type: dict
      contains:
        edited:
          description:
            - Whether the file is another than the package's.
          returned: always
          type: bool
        name:
          description:
            - The package's name.
          returned: always
          type: str
    profiles:
      description:
        - The profiles, hats and children that it defines.
      returned: always
      type: list
      elements: dict
      contains:
        drift:
          description:
            - "What differs in the kernel: C(kernel-missing), C(kernel-drift) (it has another profile of this name, or
              has it although it is switched off), C(kernel-mode)."
          returned: always
          type: list
          elements: str
        name:
          description:
            - The full name, with parents and namespace.
          returned: always
          type: str
        running:
          description:
            - What is loaded; null when nothing is, or when the kernel was not looked at.
          returned: always; null where there is none
          type: dict
          contains:
            hash:
              description:
                - The kernel's hash of the compiled profile, hexadecimal (SHA-1 or SHA-256, as the kernel shows;
                  SHA-256 where it was not looked at); null when this program never compiled it, or when the kernel
                  shows none.
              returned: always; null where there is none
              type: str
            mode:
              description:
                - Its mode. The kernel shows C(default_allow) as C(unconfined).
                - "V(enforce): Deny it and log it."
                - "V(complain): Allow it and log it; explicit C(deny) rules still deny, silently."
                - "V(kill): Deny it, log it, and kill the process."
                - "V(unconfined): Allow everything; the profile only marks its processes."
                - "V(prompt): Ask a daemon in user space (AppArmor 4 and later)."
                - "V(default_allow): Allow what no rule denies (AppArmor 4 and later)."
              returned: always
              type: str
              choices:
                - enforce
                - complain
                - kill
                - unconfined
                - prompt
                - default_allow
        wanted:
          description:
            - "What should be loaded: as it was compiled by the last run, else as the text says; null when nothing
              should."
          returned: always; null where there is none
          type: dict
          contains:
            hash:
              description:
                - The kernel's hash of the compiled profile, hexadecimal (SHA-1 or SHA-256, as the kernel shows;
                  SHA-256 where it was not looked at); null when this program never compiled it, or when the kernel
                  shows none.
              returned: always; null where there is none
              type: str
            mode:
              description:
                - Its mode. The kernel shows C(default_allow) as C(unconfined).
                - "V(enforce): Deny it and log it."
                - "V(complain): Allow it and log it; explicit C(deny) rules still deny, silently."
                - "V(kill): Deny it, log it, and kill the process."
                - "V(unconfined): Allow everything; the profile only marks its processes."
                - "V(prompt): Ask a daemon in user space (AppArmor 4 and later)."
                - "V(default_allow): Allow what no rule denies (AppArmor 4 and later)."
              returned: always
              type: str
              choices:
                - enforce
                - complain
                - kill
                - unconfined
                - prompt
                - default_allow
    sha256:
      description:
        - SHA-256 of its bytes, 64 hexadecimal digits; null when it is not there.
      returned: always; null where there is none
      type: str
    state:
      description:
        - Whether it is there, and in force.
        - "V(enabled): It is there, and its profiles should be loaded."
        - "V(disabled): It is there, and a link in C(disable/) switches it off."
        - "V(missing): It is not there, although an owner wrote it, or it is no regular file any more."
      returned: always
      type: str
      choices:
        - enabled
        - disabled
        - missing
status:
  description:
    - "The version of the status's form: 1."
  returned: on success
  type: int
summary:
  description:
    - How many of each.
  returned: on success
  type: dict
  contains:
    confined:
      description:
        - Running processes that a profile confines.
      returned: always
      type: int
    disabled:
      description:
        - Installed files of profiles that are switched off.
      returned: always
      type: int
    drifted:
      description:
        - Files of profiles and include files with a C(drift), less those that C(unloaded) counts.
      returned: always
      type: int
    files:
      description:
        - Installed files of profiles.
      returned: always
      type: int
    foreign:
      description:
        - Loaded profiles that no installed file defines.
      returned: always
      type: int
    loaded:
      description:
        - Those of them that are loaded; null when the kernel was not looked at.
      returned: always; null where there is none
      type: int
    modes:
      description:
        - The loaded profiles that an installed file defines, by the mode that the kernel has for each.
      returned: always
      type: dict
      contains:
        complain:
          description:
            - Logging only.
          returned: always
          type: int
        enforce:
          description:
            - Denying and logging.
          returned: always
          type: int
        kill:
          description:
            - Denying, logging and killing.
          returned: always
          type: int
        prompt:
          description:
            - Asking a daemon.
          returned: always
          type: int
        unconfined:
          description:
            - Allowing everything; the kernel shows C(default_allow) so, too.
          returned: always
          type: int
    owned:
      description:
        - Files of profiles and include files that an owner holds.
      returned: always
      type: int
    unconfined:
      description:
        - Running processes that should be confined and are not; null where this is not known.
      returned: always; null where there is none
      type: int
    unloaded:
      description:
        - "Files of profiles that nobody holds and that differ in nothing but that a profile of theirs is not loaded:
          many packages ship policy that a host does not use."
      returned: always
      type: int
    wanted:
      description:
        - Profiles, hats and children that should be loaded.
      returned: always
      type: int
tool:
  description:
    - The programs that it was made with.
  returned: on success
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
    - What people should know.
  returned: when there are warnings
  type: list
  elements: str
error:
  description:
    - Why the run failed; null when it did not.
  returned: on failure
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

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aaconverge.apparmor.plugins.module_utils.program import PROGRAM_OPTIONS, run


def main():
    module = AnsibleModule(argument_spec=PROGRAM_OPTIONS, supports_check_mode=True)
    module.exit_json(changed=False, **run(module, "status"))


if __name__ == "__main__":
    main()
