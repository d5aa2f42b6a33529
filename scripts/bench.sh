#!/usr/bin/env bash
# Runs the benchmarks. BENCH_ARGS passes options on, for example BENCH_ARGS="--sizes 20,200 --runs 3".
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/require-rust.sh
scripts/install-packages.sh apparmor apparmor-profiles apparmor-profiles-extra strace
read -ra arguments <<<"${BENCH_ARGS:-}"
exec cargo bench --locked --bench converge -- "${arguments[@]}"
