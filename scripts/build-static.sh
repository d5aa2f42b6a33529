#!/usr/bin/env bash
# build-static.sh FILE: builds the static program, stripped, as FILE. Only the program itself is compiled again. It looks
# up no names of users or hosts, which static programs cannot do.
set -euo pipefail
output=$(realpath "$1")
cd "$(dirname "$0")/.."

built=${CARGO_TARGET_DIR:-target}/release/aa-converge
cargo rustc --locked --release --bin aa-converge -- -C target-feature=+crt-static
install -m 0755 "$built" "$output"
strip "$output"
# What others take from there is the ordinary program.
cargo build --quiet --locked --release --bin aa-converge
