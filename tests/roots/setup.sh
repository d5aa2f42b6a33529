#!/usr/bin/env bash
# Installs a minimal Debian with AppArmor's user space, cloud-init and further packages into target/roots/NAME/root, from
# the mirrors that this machine's apt uses, and keeps it until its recipe changes. enter.sh starts programs in throw-away
# copies of it.
#
#   setup.sh bookworm|trixie [NAME PACKAGE…]
#
# NAME is the suite's if it is not given.
set -euo pipefail
cd "$(dirname "$0")/../.."

suite=${1:?"usage: setup.sh SUITE [NAME PACKAGE…]"}
packages=(apparmor ca-certificates cloud-init jq systemd "${@:3}")
dir=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")/roots/${2:-$suite}
recipe=$(printf '%s\n' "$suite" "${packages[@]}" | cat - tests/roots/setup.sh | sha256sum)
mkdir -p "$dir"
exec {lock}>"$dir/lock"
flock "$lock"
[[ ! -e $dir/recipe || $(<"$dir/recipe") != "$recipe" ]] || exit 0

if ((EUID != 0)); then
    echo "setup.sh: a root file system with its owners and devices takes root" >&2
    exit 1
fi
scripts/install-packages.sh mmdebstrap
scripts/debian-sources.sh "$suite" >"$dir/sources.list"

rm -rf "$dir/recipe" "$dir/root"
# The tests have no network; what they install is brought along.
# shellcheck disable=SC2016 # mmdebstrap hands the directory to the hook.
mmdebstrap --mode=root --variant=minbase --quiet --include="$(IFS=,; echo "${packages[*]}")" \
    --aptopt='Acquire::Retries "5"' --aptopt='Acquire::Languages "none"' \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-include=/usr/share/doc/aa-converge/*' \
    --customize-hook='rm -rf "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/* "$1"/var/lib/apt/lists/*' \
    "$suite" "$dir/root" "$dir/sources.list"
echo "$recipe" >"$dir/recipe"
