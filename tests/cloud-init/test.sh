#!/usr/bin/env bash
# Runs cloud-init's own stages with the user data of examples/cloud-init in a throw-away root: see matrix.sh.
#
#   test.sh bookworm|trixie
set -euo pipefail
cd "$(dirname "$0")/../.."

suite=${1:?"usage: test.sh SUITE"}
target=${CARGO_TARGET_DIR:-target}
tests/roots/setup.sh "$suite"

payload=$target/cloud-init-test/$suite
rm -rf "$payload"
mkdir -p "$payload"
cp "$target"/package/aa-converge-*-linux "$payload/aa-converge"
cp tests/cloud-init/matrix.sh examples/cloud-init/*.yaml "$payload"
tests/package/repository.sh "$payload/repository"

tests/roots/enter.sh "$suite" "$payload" bash /t/matrix.sh
