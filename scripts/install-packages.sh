#!/usr/bin/env bash
# Installs the named Debian or Ubuntu packages that are not there yet. With nothing missing it needs neither root nor
# a network.
set -euo pipefail

missing=()
for package in "$@"; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [[ $status == installed ]] || missing+=("$package")
done
((${#missing[@]})) || exit 0

if ! command -v apt-get >/dev/null; then
    echo "cannot install ${missing[*]}: this script knows apt alone; install them by hand and run again" >&2
    exit 1
fi

as_root=()
if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then
        echo "cannot install ${missing[*]}: be root, or install sudo" >&2
        exit 1
    fi
    # Without a terminal nobody could answer a question for a password: fail instead of waiting.
    as_root=(sudo)
    [[ -t 0 ]] || as_root+=(--non-interactive)
fi

# A freshly booted machine often runs unattended upgrades: wait for its lock.
apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get \
        -o DPkg::Lock::Timeout=600 -o Acquire::Retries=5 -o Dpkg::Use-Pty=0 --quiet --yes "$@" </dev/null
}

echo "installing ${missing[*]}"
# A dead mirror of some other project in sources.list must not stop us when the lists at hand name our packages.
apt update || echo "apt-get update failed; trying with the lists that are there" >&2
apt install --no-install-recommends "${missing[@]}"
