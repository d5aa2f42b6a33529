#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Times the Ansible module beside what people did before, in one run of whole plays, and prints ratios with their goals.

Each play is one call of ansible-playbook with one local host, so that Ansible's own start and end are in every figure:

ping      `ansible.builtin.ping` alone: what any play costs
document  the module with a whole document (`src: policy.json`)
entries   the module with a list of entries (`profiles: [{file: …, src: …}, …]`)
copy      `ansible.builtin.copy` in a loop over the same files, which notifies a handler that gives them to
          `apparmor_parser --replace`

All of them write below a root that holds the distribution's policy, and the kernel is left alone: the module's `root`
skips it, and the handler's parser compiles every file as it would to load it, with --skip-kernel-load and without its
cache. So the handler does not pay for the loading; the module pays for its journal, ledger and proofs. The first run of
a play finds no profile installed, the repeated run finds all of them.

Needs ansible-playbook in the path, ANSIBLE_COLLECTIONS_PATH with the collection, and apparmor_parser.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PARSER = shutil.which("apparmor_parser", path=os.environ["PATH"] + ":/usr/sbin:/sbin")

PROFILE = """\
abi <abi/3.0>,
include <tunables/global>

profile bench-{number} /opt/bench/program-{number} {{
  include <abstractions/base>
  include <abstractions/nameservice>

  capability net_bind_service,
  network inet stream,

  /opt/bench/program-{number} mr,
  /etc/bench/{number}/** r,
  owner /var/lib/bench/{number}/** rwk,
  /var/log/bench/{number}.log w,
}}
"""

# The greatest ratio that the repeated run may have to the ping play, and the least that the copy loop has to it.
PING_GOAL = 1.10
COPY_GOALS = {20: 8.0, 200: 60.0}


class Plays:
    """The plays for a number of profiles, in a directory of their own."""

    def __init__(self, directory, number, program):
        self.directory = directory
        self.files = directory / "files"
        self.files.mkdir(parents=True)
        names = [f"opt.bench.program-{one:03}" for one in range(number)]
        texts = {name: PROFILE.format(number=one) for one, name in enumerate(names)}
        for name, text in texts.items():
            (self.files / name).write_text(text)
        document = {"version": 1, "owner": "bench", "prune": True}
        entries = [{"file": name, "content": text} for name, text in texts.items()]
        (self.files / "policy.json").write_text(json.dumps({**document, "profiles": entries}))
        self.roots = {name: directory / name for name in ("document", "entries", "copy")}
        policy = {name: root / "etc/apparmor.d" for name, root in self.roots.items()}
        module = "aaconverge.apparmor.profiles"
        common = {"binary": str(program)}
        self.write("ping", [{"ansible.builtin.ping": {}}])
        self.write("document", [{module: {**common, "root": str(self.roots["document"]), "src": "policy.json"}}])
        listed = {"owner": "bench", "prune": True, "profiles": [{"file": name, "src": name} for name in names]}
        self.write("entries", [{module: {**common, "root": str(self.roots["entries"]), **listed}}])
        copy = {
            "ansible.builtin.copy": {"src": "{{ item }}", "dest": f"{policy['copy']}/{{{{ item }}}}", "mode": "0644"},
            "loop": names,
            "notify": "Load",
        }
        flags = ["--replace", "--skip-kernel-load", "--skip-cache", "--base", str(policy["copy"])]
        load = {"ansible.builtin.command": {"argv": [PARSER, *flags, *(f"{policy['copy']}/{name}" for name in names)]}}
        self.write("copy", [copy], [{"name": "Load", **load}])

    def write(self, name, tasks, handlers=()):
        play = {"hosts": "localhost", "gather_facts": False, "tasks": tasks, "handlers": list(handlers)}
        (self.directory / f"{name}.yml").write_text(json.dumps([play]))

    def make_roots(self):
        """The distribution's policy, as a freshly installed host has it."""
        for root in self.roots.values():
            shutil.rmtree(root, ignore_errors=True)
            (root / "etc").mkdir(parents=True)
            for part in ("etc/apparmor", "etc/apparmor.d", "usr/share/apparmor-features"):
                if Path("/", part).is_dir():
                    shutil.copytree(Path("/", part), root / part, symlinks=True)

    def run(self, name, expect_changed):
        """Seconds that a play takes; fails where it does something else than expected."""
        command = ["ansible-playbook", "-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"]
        begin = time.monotonic()
        done = subprocess.run([*command, f"{name}.yml"], cwd=self.directory, capture_output=True, text=True, check=False)
        taken = time.monotonic() - begin
        changed = "changed=0" not in done.stdout
        if done.returncode != 0 or changed != expect_changed:
            sys.exit(f"the play {name} did not do what it should:\n{done.stdout}{done.stderr}")
        return taken


def measure(plays, repetitions):
    """Median seconds: (first run by play, repeated run by play). The plays take turns, so that a busy moment hits all."""
    plays.make_roots()
    plays.run("ping", False)
    first = {name: plays.run(name, True) for name in ("document", "entries", "copy")}
    taken = {name: [] for name in ("ping", "document", "entries", "copy")}
    for repetition in range(repetitions):
        for name, times in taken.items():
            # The copy loop takes minutes, which no busy moment changes much.
            if name != "copy" or repetition == 0:
                times.append(plays.run(name, False))
    return first, {name: statistics.median(times) for name, times in taken.items()}


def report(number, first, repeated):
    """Prints the figures, and returns whether they are as they should be."""
    print(f"\n{number} profiles{'first run':>15}{'repeated':>12}{'to ping':>10}{'goal':>9}{'copy to it':>12}{'goal':>8}")
    print(f"  ping     {'':>12} {repeated['ping']:>10.2f} s")
    good = True
    for name in ("document", "entries"):
        to_ping, copy_to = repeated[name] / repeated["ping"], repeated["copy"] / repeated[name]
        goal = COPY_GOALS.get(number)
        met = to_ping <= PING_GOAL and (goal is None or copy_to >= goal)
        good = good and met
        print(
            f"  {name:<9}{first[name]:>12.2f} s{repeated[name]:>10.2f} s{to_ping:>10.2f}{f'≤ {PING_GOAL:.2f}':>9}"
            f"{copy_to:>12.1f}{f'≥ {goal:g}' if goal else '-':>8}{'' if met else '   MISSED'}"
        )
    print(f"  {'copy':<9}{first['copy']:>12.2f} s{repeated['copy']:>10.2f} s{repeated['copy'] / repeated['ping']:>10.2f}")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("program", type=Path, help="aa-converge, built for release")
    parser.add_argument("--sizes", default="20,200", help="numbers of profiles (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=7, help="repeated runs of each play (default: %(default)s)")
    arguments = parser.parse_args()
    good = True
    for number in (int(size) for size in arguments.sizes.split(",")):
        with tempfile.TemporaryDirectory(prefix="aa-converge-bench-") as directory:
            plays = Plays(Path(directory) / "plays", number, arguments.program.resolve())
            good = report(number, *measure(plays, arguments.runs)) and good
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
