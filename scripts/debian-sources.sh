#!/usr/bin/env bash
# debian-sources.sh SUITE: prints lines of a sources.list for a suite of Debian, with the mirrors that this machine's apt
# uses.
set -euo pipefail
suite=$1

# mirror LABEL: the address that this machine's apt gets Debian's packages from.
mirror() {
    # shellcheck disable=SC2016 # These are apt's variables.
    apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages' |
        awk -F '|' -v label="$1" '$1 == "Debian" && $2 == label && $3 == "main" && !seen++ { print $4 }'
}

main=$(mirror Debian)
security=$(mirror Debian-Security)
if [[ -z $main ]]; then
    echo "this machine's apt knows no mirror of Debian; name one in its sources, and run apt-get update" >&2
    exit 1
fi
signed='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
echo "deb $signed $main $suite main"
[[ -z $security ]] || echo "deb $signed $security $suite-security main"
