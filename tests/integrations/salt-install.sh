#!/usr/bin/env bash
# salt-install.sh RELEASE: installs Salt 3006 or 3008 below target/, as tests/integrations/salt-RELEASE.txt pins it. What
# is there already is kept.
set -euo pipefail
cd "$(dirname "$0")/../.."

requirements=tests/integrations/salt-$1.txt
salt=${CARGO_TARGET_DIR:-target}/integrations/salt-$1/environment
! cmp --silent "$requirements" "$salt/installed.txt" || exit 0

scripts/install-packages.sh python3-venv
rm -rf "$salt"
mkdir -p "$(dirname "$salt")"
/usr/bin/python3 -m venv "$salt"
# All of Salt's requirements, built and compiled in isolation as pip does it by itself, take minutes. --no-deps, because
# the file names all that is needed; --no-compile, because Python compiles the few modules that it loads.
install=("$salt/bin/python" -m pip --quiet --disable-pip-version-check install --no-deps --no-compile)
"${install[@]}" --requirement <(grep -v ^salt== "$requirements")
"${install[@]}" --no-build-isolation "$(grep ^salt== "$requirements")"
"$salt/bin/salt-call" --version
cp "$requirements" "$salt/installed.txt"
