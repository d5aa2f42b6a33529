#!/usr/bin/env bash
# Tests the Ansible collection with Ansible's own tools, one stage a call:
#
#   test-ansible.sh environment CORE     the tools of ansible/tests/requirements-CORE.txt, in a virtual environment
#   test-ansible.sh sanity CORE          ansible-test sanity
#   test-ansible.sh units CORE           ansible-test units
#   test-ansible.sh integration CORE PROGRAM [TARGET…]
#                                        ansible-test integration, with a program that is built already
#   test-ansible.sh lint                 ansible-lint, antsibull-docs, antsibull-changelog, reuse, and the schemas
#   test-ansible.sh tarball              build, install without a network, verify, and read the documentation
#   test-ansible.sh python CORE          the Python that an environment is made with; fails where there is none
#   test-ansible.sh bench PROGRAM [ARGUMENT…]
#                                        benches/ansible.py, with a program that is built already
#
# Everything is below target/ansible: environments are made once and kept while their requirements stay the same; every
# stage works in a copy of the collection of its own, with a home directory of its own.
set -euo pipefail
cd "$(dirname "$0")/.."

repository=$PWD
work=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")/ansible
export LC_ALL=C.UTF-8 LANG=C.UTF-8
# What is tested is the collection, and not what is installed or configured on the machine.
unset "${!ANSIBLE_@}" PYTHONPATH PYTHONHOME

# python_for CORE: the Python that this ansible-core runs on, as its documentation's support matrix has it.
python_for() {
    local versions version python
    case $1 in
    2.16) versions='3.11 3.12 3.10' ;;
    2.19) versions='3.11 3.12 3.13' ;;
    2.21) versions='3.12 3.13 3.14' ;;
    *)
        echo "there are no requirements for ansible-core $1" >&2
        return 1
        ;;
    esac
    for version in $versions; do
        for python in "/usr/bin/python$version" "$(command -v "python$version" || true)" \
            "$(pyenv prefix "$(pyenv latest "$version" 2>/dev/null)" 2>/dev/null || true)/bin/python$version"; do
            # A shim may stand in the path for a Python that is not there, and Debian's own is without venv by default.
            if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
                echo "$python"
                return
            fi
        done
    done
    echo "ansible-core $1 runs on Python ${versions// /, }, and none of them (with venv) is installed here" >&2
    return 1
}

# make_environment CORE
make_environment() {
    local environment=$work/environment-$1 requirements=ansible/tests/requirements-$1.txt python
    python=$(python_for "$1")
    if cmp --silent "$requirements" "$environment/installed.txt" && "$environment/bin/ansible" --version >/dev/null; then
        echo "ansible-core $1 is installed, as $requirements says"
        return
    fi
    rm -rf "$environment"
    "$python" -m venv "$environment"
    "$environment/bin/pip" install --quiet --requirement "$requirements"
    # The last step, so that an environment of which only a part was installed is made anew.
    cp "$requirements" "$environment/installed.txt"
}

# enter CORE STAGE: puts the core's tools into the path, makes a home, and goes into a copy of the collection.
enter() {
    local environment=$work/environment-$1 stage=$work/$2-$1
    make_environment "$1"
    PATH=$environment/bin:$PATH
    rm -rf "$stage"
    export HOME=$work/home-$1
    collection=$stage/ansible_collections/aaconverge/apparmor
    mkdir -p "$HOME" "$collection"
    cp -a ansible/. "$collection/"
    export ANSIBLE_COLLECTIONS_PATH=$stage
    cd "$collection"
    # ansible-test asks git which files there are, and would find this repository, which ignores target/.
    git init --quiet
}

# bootstrap_pip: ansible-test fetches pip's installer from a server of its own. Python brings one: a program that uses it
# goes where ansible-test keeps what it fetched before.
bootstrap_pip() {
    local version
    version=$(python -c '
import sys, types
from ansible_test._internal.python_requirements import get_venv_packages
print(get_venv_packages(types.SimpleNamespace(version="%d.%d" % sys.version_info[:2]))["pip"])')
    mkdir -p "$HOME/.ansible/test/cache"
    cat >"$HOME/.ansible/test/cache/get_pip_${version//./_}.py" <<'PROGRAM'
import subprocess
import sys

subprocess.check_call([sys.executable, "-m", "ensurepip", "--default-pip"])
wanted = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
if wanted:
    subprocess.check_call([sys.executable, "-m", "pip", "install", *wanted])
PROGRAM
}

# python_version: that of the environment.
python_version() { python -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }

sanity() {
    enter "$1" sanity
    bootstrap_pip
    ansible-test sanity --color no --python "$(python_version)"
}

units() {
    enter "$1" units
    # What the options and return values are compared with.
    cp -a "$repository/schemas" tests/unit/
    ansible-test units --color no --python "$(python_version)"
    # The number of tests that ran, as scripts/test.sh counts those of cargo.
    python - <<'PROGRAM'
import glob
import xml.etree.ElementTree as xml

suites = [suite for path in glob.glob("tests/output/junit/*.xml") for suite in xml.parse(path).iter("testsuite")]
ran = sum(int(suite.get("tests")) - int(suite.get("skipped") or 0) for suite in suites)
assert ran > 0, "no unit test ran"
print("test result: ok. %d passed; 0 failed" % ran)
PROGRAM
}

integration() {
    local core=$1 program
    program=$(realpath "$2")
    shift 2
    "$repository/scripts/install-packages.sh" apparmor apparmor-profiles
    enter "$core" integration
    printf 'program: %s\nscratch: %s\n' "$program" "$work/scratch-$core" >tests/integration/integration_config.yml
    rm -rf "$work/scratch-$core"
    mkdir -p "$work/scratch-$core"
    ansible-test integration --color no --python "$(python_version)" --allow-destructive "$@" 2>&1 | tee "$work/integration-$core.log"
    # The number of targets that ran, as scripts/test.sh counts tests.
    printf 'test result: ok. %d passed; 0 failed\n' "$(grep --count '^Running .* integration test' "$work/integration-$core.log")"
}

lint() {
    python3 "$repository/scripts/describe-collection.py" --check
    enter 2.19 lint
    ansible-lint --offline --profile production --strict
    antsibull-docs lint-collection-docs --plugin-docs --skip-rstcheck .
    antsibull-changelog lint
    reuse lint
}

# What users do with a release, and without a network.
tarball() {
    enter 2.19 tarball
    rm -rf .git
    local built
    ansible-galaxy collection build --force --output-path "$work"
    built=$(echo "$work"/aaconverge-apparmor-*.tar.gz)
    export ANSIBLE_COLLECTIONS_PATH=$work/installed
    rm -rf "$work/installed"
    ansible-galaxy collection install --offline "$built"
    ansible-galaxy collection verify --offline aaconverge.apparmor
    cd "$work/installed"
    local module
    for module in profiles status_info; do
        ansible-doc --type module "aaconverge.apparmor.$module" >/dev/null
        ansible-doc --type module --json "aaconverge.apparmor.$module" | grep --quiet version_added
    done
    local role
    for role in install rollout; do
        ansible-doc --type role "aaconverge.apparmor.$role" | grep --quiet --ignore-case OPTIONS
    done
    # Tests that need this repository, and what tests leave behind, are no part of a release.
    if tar --list --file "$built" | grep -E '(^|/)(tests/output|schemas|requirements)'; then
        echo "the tarball holds what it should not" >&2
        return 1
    fi
    echo "$built"
}

bench() {
    local program
    program=$(realpath "$1")
    shift
    "$repository/scripts/install-packages.sh" apparmor
    enter 2.19 bench
    python "$repository/benches/ansible.py" "$program" "$@"
}

stage=${1:?a stage is missing: see the head of this file}
shift
case $stage in
environment) make_environment "$@" ;;
python) python_for "$@" ;;
sanity | units | integration | lint | tarball | bench) "$stage" "$@" ;;
*)
    echo "there is no stage $stage: see the head of this file" >&2
    exit 64
    ;;
esac
