#!/usr/bin/env bash
# Runs the tests of tests/guest in a guest, booting once for each command line of the kernel that they need.
#
#   suite.sh bookworm|trixie [FILTER…]
#
# FILTERs choose tests of the ordinary boot by name, and those that begin with services:: tests of the boot that has
# Debian's services. GUEST_SEED repeats the random steps of an earlier run, whose seed stands in target/vm/SUITE/out and
# in the message of a failed test.
set -euo pipefail
cd "$(dirname "$0")/../.."

suite=${1:?"usage: suite.sh SUITE [FILTER…]"}
filters=("${@:2}")
vm=${CARGO_TARGET_DIR:-target}/vm/$suite
scripts/install-packages.sh qemu-system-x86 seabios cpio jq
tests/vm/setup.sh "$suite"

# What people run, and several times as fast as a development build.
cargo build --locked --release --bin aa-converge
tests=$(cargo test --locked --test guest --no-run --message-format=json |
    jq --raw-output 'select(.target.name == "guest" and .executable != null).executable')
payload=$vm/payload
rm -rf "$payload" "$vm/out"
mkdir -p "$payload"
strip -o "$payload/guest" "$tests"
strip -o "$payload/aa-converge" "${CARGO_TARGET_DIR:-target}/release/aa-converge"
[[ -z ${GUEST_SEED:-} ]] || echo "$GUEST_SEED" >"$payload/seed"

# boot NAME PARAMETERS ARGUMENT…: one boot, in which the arguments choose tests.
boot() {
    local out=$vm/out/$1 append=$2 status=0
    shift 2
    # The tests begin with an empty policy directory, and take from the distribution's what they need.
    printf '#!/bin/sh\nmv /etc/apparmor.d /t/distribution\nexec /t/guest --test-threads=1 %s\n' "$*" >"$payload/run"
    chmod 0755 "$payload/run"
    tests/vm/run.sh "${options[@]}" --append "aa_converge_guest $append" --timeout 600 "$suite" "$payload" "$out" ||
        status=$?
    if ((status == 0)) && ! grep -q '^test result: ok\. [1-9]' "$out/console.txt"; then
        echo "suite.sh: no test ran in this boot" >&2
        status=1
    fi
    ((status == 0)) || failed=1
}

# boot_with_services NAME ARGUMENT…: the same in a guest that has Debian's services.
boot_with_services() {
    tests/vm/setup.sh "$suite" monitored nginx prometheus-node-exporter >/dev/null
    local options=(--layer monitored)
    boot "$1" '' "${@:2}"
}

options=() # of run.sh
failed=0
if [[ "${filters[*]}" == *services::* ]]; then
    boot_with_services filtered "${filters[@]}"
elif ((${#filters[@]})); then
    boot filtered '' "${filters[@]}"
else
    boot ordinary '' --skip boots:: --skip services::
    boot complain apparmor.mode=complain boots::complain::
    boot absent apparmor=0 boots::absent::
    boot_with_services services services::
fi
exit "$failed"
