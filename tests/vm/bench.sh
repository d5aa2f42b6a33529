#!/usr/bin/env bash
# Measures aa-converge on a real kernel (Debian 13's, with its own profiles) in one boot, and prints the ratios.
#
#   bench.sh [--counted] [SUITE]
#
# With --counted the clock counts instructions, so that two runs give nearly the same: it tells small changes of the program
# apart, and says nothing of what a processor takes longer for than for others.
set -euo pipefail
cd "$(dirname "$0")/../.."

options=()
if [[ ${1:-} == --counted ]]; then
    options+=(--counted)
    shift
fi
suite=${1:-trixie}
target=${CARGO_TARGET_DIR:-target}
scripts/require-rust.sh
scripts/install-packages.sh qemu-system-x86 seabios cpio jq
tests/vm/setup.sh "$suite"

cargo build --locked --release --bins
bench=$(cargo bench --locked --bench kernel --no-run --message-format=json |
    jq --raw-output 'select(.target.name == "kernel" and .executable != null).executable')
payload=$target/vm/$suite/bench
rm -rf "$payload"
mkdir -p "$payload"
strip -o "$payload/kernel" "$bench"
strip -o "$payload/aa-converge" "$target/release/aa-converge"
scripts/build-static.sh "$payload/static"
printf '#!/bin/sh\nexec /t/kernel /t/aa-converge /t/static\n' >"$payload/run"
chmod 0755 "$payload/run"
tests/vm/run.sh "${options[@]}" --memory 1024 --timeout 1200 "$suite" "$payload" "$target/vm/$suite/bench-out"
