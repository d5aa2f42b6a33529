#!/usr/bin/env bash
# Debian's own judgement of the package: neither an error nor a warning.
set -euo pipefail
cd "$(dirname "$0")/../.."

scripts/install-packages.sh lintian
lintian --allow-root --fail-on error,warning "${CARGO_TARGET_DIR:-target}"/package/aa-converge_*.deb
