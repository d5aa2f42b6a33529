#!/usr/bin/env bash
# debian-apt.sh SUITE ARCHITECTURE DIR COMMAND…: runs apt-get on the packages of a Debian suite, with a state of its own
# in DIR: lists in DIR/lists, archives in DIR/archives, and DIR/apt.conf for other tools of apt. The host's packages,
# lists and cache are neither used nor changed, but its mirrors, proxies, credentials and keys are. The first call
# fetches the lists. What apt-get says goes to standard error.
set -euo pipefail

suite=$1 architecture=$2
mkdir -p "$3"
dir=$(realpath "$3")
shift 3

# apt COMMAND…: a mirror that is being updated answers wrongly for a minute.
apt() {
    local attempt
    for attempt in 1 2 3 4 5; do
        apt-get --config-file "$dir/apt.conf" -o Dpkg::Use-Pty=0 --quiet --yes "$@" >&2 && return
        echo "debian-apt.sh: attempt $attempt at apt-get $1 failed" >&2
        sleep $((attempt * 10))
    done
    return 1
}

if [[ ! -e $dir/updated ]]; then
    mkdir -p "$dir"/{lists,archives}/partial
    "$(dirname "$0")/debian-sources.sh" "$suite" >"$dir/sources.list"
    : >"$dir/status"
    # Read after the machine's own configuration, whose hooks concern the machine's own packages.
    cat >"$dir/apt.conf" <<CONF
#clear APT::Update;
#clear DPkg::Pre-Install-Pkgs;
APT::Architecture "$architecture";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "5";
Dir::Cache "$dir";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::sourcelist "$dir/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State "$dir";
Dir::State::lists "$dir/lists";
Dir::State::status "$dir/status";
CONF
    apt update
    touch "$dir/updated"
fi
apt "$@"
