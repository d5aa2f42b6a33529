#!/usr/bin/env bash
# Runs the benchmarks. BENCH_ARGS passes options on, for example BENCH_ARGS="--sizes 20,200 --runs 3".
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/require-rust.sh
scripts/install-packages.sh apparmor apparmor-profiles apparmor-profiles-extra strace
read -ra arguments <<<"${BENCH_ARGS:-}"
cargo bench --locked --bench converge --no-run
# With mounts of its own, so that a benchmark that is stopped leaves none behind.
own_mounts=(unshare --mount)
((EUID == 0)) || own_mounts+=(--map-root-user)
exec "${own_mounts[@]}" cargo bench --locked --bench converge -- "${arguments[@]}"
