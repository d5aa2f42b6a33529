#!/usr/bin/env bash
# Runs every stage and prints its time and what it took of the processors. Independent stages run two at a time; the log of a stage is shown when it fails.
# The last line sums up the tests; a stage that is not a test suite counts as one.
set -euo pipefail
cd "$(dirname "$0")/.."

logs=${CARGO_TARGET_DIR:-target}/test-logs
rm -rf "$logs"
mkdir -p "$logs"
PATH=$PATH:/usr/sbin:/sbin
started=$SECONDS

# tally LOG: sums up the results of the test suites in a log, as "suites passed failed".
tally() {
    awk '/^test result: / {
            suites++
            for (i = 2; i <= NF; i++) {
                if ($i ~ /^passed/) passed += $(i - 1)
                if ($i ~ /^failed/) failed += $(i - 1)
            }
        }
        END { print suites + 0, passed + 0, failed + 0 }' "$1"
}

# run_stage NAME COMMAND…: leaves "passed failed" in NAME.result.
run_stage() {
    local name=$1 log=$logs/$1.log code=0 begin=$EPOCHREALTIME suites passed failed verdict=ok
    shift
    # A subshell of its own: after `||`, the shell would ignore a failure in the midst of a function.
    (set -e; "$@") >"$log" 2>&1 </dev/null &
    wait $! || code=$?
    read -r suites passed failed < <(tally "$log")
    if ((suites == 0)); then
        passed=$((code == 0)) failed=$((code != 0))
    elif ((code == 0 && passed == 0)); then
        # A filter that matches no test would pass for ever.
        echo "no test ran" >>"$log"
        failed=1
    elif ((code != 0 && failed == 0)); then
        failed=1
    fi
    ((failed == 0)) || verdict=FAILED
    # The second line is of this shell's children, which are the stage: 0m1.234s in user mode, then in the kernel.
    times >"$logs/$name.times"
    {
        awk -F '[ms ]+' -v name="$name" -v verdict="$verdict" -v passed="$passed" \
            -v begin="$begin" -v end="$EPOCHREALTIME" 'NR == 2 {
                printf "%-6s %7.1f s %7.1f s of CPU  %-24s %5d passed\n",
                    verdict, end - begin, 60 * ($1 + $3) + $2 + $4, name, passed }' "$logs/$name.times"
        if ((failed)); then
            sed 's/^/    /' "$log"
        fi
    } >"$logs/$name.said"
    # One write, so that two stages that end together do not mix their lines.
    cat "$logs/$name.said"
    echo "$passed $failed" >"$logs/$name.result"
}

# stage NAME COMMAND…: starts the stage as soon as fewer than two are running.
stage() {
    while (($(jobs -rp | wc -l) >= 2)); do
        wait -n || true
    done
    run_stage "$@" &
}

summarise() {
    wait
    local passed=0 failed=0 p f result
    for result in "$logs"/*.result; do
        read -r p f <"$result"
        passed=$((passed + p)) failed=$((failed + f))
    done
    printf '%d passed, %d failed\n' "$passed" "$failed" >"$logs/summary"
    printf 'in %d s\n' $((SECONDS - started))
    cat "$logs/summary"
    ((failed == 0))
}

# Stages after a barrier need what the ones before it built; without that they would only repeat its failure.
barrier() {
    wait
    ! grep -qv ' 0$' "$logs"/*.result || {
        summarise
        exit 1
    }
}

# What runs in a virtual machine is no part of --all-targets.
build_tests() {
    cargo test --locked --all-targets --no-run
    cargo test --locked --test guest --no-run
}

lints() {
    cargo clippy --locked --all-targets -- --deny warnings
    cargo clippy --locked --test guest --bench kernel -- --deny warnings
}

unit_tests() {
    cargo test --locked --lib --bins
    cargo test --locked --doc
}

# The Ansible collection is tested on the ansible-core that Debian 12's Python runs, and on the newest one where there is
# a Python for it.
ansible_cores=(2.19)
if scripts/test-ansible.sh python 2.21 >"$logs/python-for-2.21" 2>&1; then
    ansible_cores+=(2.21)
else
    echo "not run: the Ansible collection on ansible-core 2.21: $(cat "$logs/python-for-2.21")"
fi

stage packages scripts/install-packages.sh apparmor apparmor-profiles apparmor-profiles-extra jq shellcheck strace \
    qemu-system-x86 seabios cpio git python3-venv puppet-agent puppet-lint metadata-json-lint ruby-rspec-puppet \
    mmdebstrap lintian xz-utils dpkg-dev systemd
stage toolchain scripts/require-rust.sh
stage parser-of-debian-13 scripts/fetch-parser.sh trixie "${CARGO_TARGET_DIR:-target}/tmp/apparmor-trixie"
barrier

stage build-tests build_tests
# It begins with the release build, which the tests on real kernels take.
stage build-package scripts/package.sh
stage guest-of-debian-12 tests/vm/setup.sh bookworm
stage guest-of-debian-13 tests/vm/setup.sh trixie
stage salt-3006-install tests/integrations/salt-install.sh 3006
stage salt-3008-install tests/integrations/salt-install.sh 3008
stage root-of-debian-12 tests/roots/setup.sh bookworm
stage root-of-debian-13 tests/roots/setup.sh trixie
stage format cargo fmt --check
stage shell-scripts shellcheck scripts/*.sh tests/vm/init tests/*/*.sh ansible/tests/integration/targets/*/*.sh packaging/scripts/* .ci/run
for core in "${ansible_cores[@]}"; do
    stage "ansible-$core" scripts/test-ansible.sh environment "$core"
done
barrier

# The longest first. What may have to compile comes right behind, while nothing else waits for cargo's lock.
stage vm-6.12 tests/vm/suite.sh trixie
stage vm-6.1 tests/vm/suite.sh bookworm
stage profile-on-6.12 tests/package/confined.sh trixie
stage profile-on-6.1 tests/package/confined.sh bookworm
stage lintian tests/package/lintian.sh
stage package-on-debian-12 tests/package/test.sh bookworm
stage package-on-debian-13 tests/package/test.sh trixie
stage cloud-init-22.4 tests/cloud-init/test.sh bookworm
stage cloud-init-25.1 tests/cloud-init/test.sh trixie
stage systemd tests/systemd/test.sh
stage faults cargo test --locked --test host -- faults::
for core in "${ansible_cores[@]}"; do
    stage "ansible-integration-$core" scripts/test-ansible.sh integration "$core" "${CARGO_TARGET_DIR:-target}/release/aa-converge"
done
stage ansible-sanity scripts/test-ansible.sh sanity 2.19
stage ansible-lint scripts/test-ansible.sh lint
stage lints lints
stage salt-3006 tests/integrations/salt.sh 3006 "${CARGO_TARGET_DIR:-target}/debug/aa-converge"
stage salt-3008 tests/integrations/salt.sh 3008 "${CARGO_TARGET_DIR:-target}/debug/aa-converge"
stage puppet tests/integrations/puppet.sh "${CARGO_TARGET_DIR:-target}/debug/aa-converge"
stage puppet-module tests/integrations/puppet-module.sh
stage documentation env RUSTDOCFLAGS=--deny=warnings cargo doc --locked --no-deps
for suite in tests/*.rs; do
    [[ -e $suite ]] || continue
    suite=$(basename "$suite" .rs)
    stage "$suite" cargo test --locked --test "$suite"
done
stage ansible-units scripts/test-ansible.sh units 2.19
stage ansible-tarball scripts/test-ansible.sh tarball
stage unit unit_tests
stage debian-policy cargo test --locked --test host -- debian_policy::
stage demo scripts/demo.sh "${CARGO_TARGET_DIR:-target}/debug/aa-converge"
stage host cargo test --locked --test host -- --skip faults:: --skip debian_policy::
summarise
