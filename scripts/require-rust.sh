#!/usr/bin/env bash
# Says clearly what is missing when there is no Rust toolchain, or one that is too old. Installs no toolchain: which
# one a machine has is its owner's decision.
set -euo pipefail
cd "$(dirname "$0")/.."

wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
if ! version=$(cargo --version 2>&1); then
    echo "cannot run cargo: $version" >&2
    echo "install Rust $wanted or newer, for example from https://rustup.rs" >&2
    exit 1
fi
found=$(cut -d' ' -f2 <<<"$version")
if [[ $(printf '%s\n' "$wanted" "$found" | sort --version-sort | head -n1) != "$wanted" ]]; then
    echo "cargo is version $found, but this crate needs $wanted or newer: run \`rustup update\`" >&2
    exit 1
fi
# rustc links with the C compiler.
command -v cc >/dev/null || scripts/install-packages.sh gcc libc6-dev
