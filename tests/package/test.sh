#!/usr/bin/env bash
# Installs, runs, upgrades, removes and purges the package in a clean root of a Debian suite, and runs the static program
# in a root that holds nothing else.
#
#   test.sh bookworm|trixie
set -euo pipefail
cd "$(dirname "$0")/../.."

suite=${1:?"usage: test.sh SUITE"}
target=${CARGO_TARGET_DIR:-target}
scripts/install-packages.sh dpkg jq
tests/roots/setup.sh "$suite"

payload=$target/package-test/$suite
rm -rf "$payload"
mkdir -p "$payload"
cp "$target"/package/aa-converge_*.deb "$payload/aa-converge.deb"
cp "$target"/package/aa-converge-*-linux "$payload/aa-converge-static"
cp tests/package/lifecycle.sh examples/fleet.json "$payload"

# The same package as a later version, to upgrade to.
dpkg-deb --raw-extract "$payload/aa-converge.deb" "$payload/later"
sed -i 's/^Version: .*/&+later/' "$payload/later/DEBIAN/control"
dpkg-deb --root-owner-group -Znone --build "$payload/later" "$payload/later.deb" >/dev/null

# And one whose profile is another, and older than what the installed one's cache is dated.
sed -i 's|^  include if exists|  deny /srv/nobody r,\n&|' "$payload/later/etc/apparmor.d/aa-converge"
touch --date=2001-01-01 "$payload/later/etc/apparmor.d/aa-converge"
dpkg-deb --root-owner-group -Znone --build "$payload/later" "$payload/older-profile.deb" >/dev/null
rm -rf "$payload/later"

tests/roots/enter.sh "$suite" "$payload" bash /t/lifecycle.sh
