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
programs=$vm/programs
rm -rf "$programs" "$vm/payload" "$vm/out"
mkdir -p "$programs" "$vm/payload" "$vm/out"
strip -o "$programs/guest" "$tests"
strip -o "$programs/aa-converge" "${CARGO_TARGET_DIR:-target}/release/aa-converge"
[[ -z ${GUEST_SEED:-} ]] || echo "$GUEST_SEED" >"$programs/seed"

# boot NAME PARAMETERS ARGUMENT…: one boot, in which the arguments choose tests. It fails when one of them does, and
# when there is none.
boot() {
    local payload=$vm/payload/$1 out=$vm/out/$1 append=$2
    shift 2
    cp --recursive --link "$programs" "$payload"
    # The tests begin with an empty policy directory, and take from the distribution's what they need.
    printf '#!/bin/sh\nmv /etc/apparmor.d /t/distribution\nexec /t/guest --test-threads=1 %s\n' "$*" >"$payload/run"
    chmod 0755 "$payload/run"
    tests/vm/run.sh "${options[@]}" --append "aa_converge_guest $append" --timeout 600 "$suite" "$payload" "$out" ||
        return
    if ! grep -q '^test result: ok\. [1-9]' "$out/console.txt"; then
        echo "suite.sh: no test ran in this boot" >&2
        return 1
    fi
}

# boot_with_services NAME ARGUMENT…: the same in a guest that has Debian's services.
boot_with_services() {
    tests/vm/setup.sh "$suite" monitored nginx prometheus-node-exporter >/dev/null || return
    local options=(--layer monitored)
    boot "$1" '' "${@:2}"
}

# What needs a boot of its own, and the model, which takes about as long as all other tests.
boot_others() {
    local failed=0
    boot model '' model:: || failed=1
    boot complain apparmor.mode=complain boots::complain:: || failed=1
    boot absent apparmor=0 boots::absent:: || failed=1
    boot_with_services services services:: || failed=1
    return "$failed"
}

options=() # of run.sh
if [[ "${filters[*]}" == *services::* ]]; then
    boot_with_services filtered "${filters[@]}"
elif ((${#filters[@]})); then
    boot filtered '' "${filters[@]}"
else
    # Emulation uses one processor.
    boot_others >"$vm/out/others.log" 2>&1 &
    failed=0
    boot ordinary '' --skip boots:: --skip services:: --skip model:: || failed=1
    wait $! || failed=1
    cat "$vm/out/others.log"
    exit "$failed"
fi
