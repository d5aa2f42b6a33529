#!/usr/bin/env bash
# Makes the directory a repository that apt takes without signatures, with the package in it.
#
#   repository.sh DIRECTORY
set -euo pipefail
package=$(realpath "${CARGO_TARGET_DIR:-target}"/package/aa-converge_*.deb)
mkdir -p "$1"
cd "$1"
cp "$package" .
{
    dpkg-deb --field ./*.deb | sed '/^$/d'
    printf 'Filename: %s\n' ./*.deb
    stat --format='Size: %s' ./*.deb
    sha256sum ./*.deb | sed 's/ .*//; s/^/SHA256: /'
} >Packages
