# shellcheck shell=bash
# Put before the checks of a boot, which run in the machine.
set -uo pipefail
export LC_ALL=C.UTF-8 HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
failed=0

# expect CLAIM COMMAND…: says whether the claim holds.
expect() {
    local claim=$1 said
    shift
    if said=$("$@" 2>&1); then
        echo "machine: ok: $claim"
    else
        echo "machine: NOT SO: $claim"
        printf '%s\n' "$said" | head -n 40
        failed=1
    fi
}

# refuses COMMAND…
refuses() { ! "$@"; }

# is WANTED COMMAND…: the command says this.
is() {
    local wanted=$1 said
    shift
    said=$("$@")
    [[ $said == "$wanted" ]] || {
        echo "$* says: $said"
        return 1
    }
}

# holds FILTER: of the host's status.
holds() { aa-converge status --format json | jq --exit-status "$1"; }

# loaded PROFILE MODE
loaded() { grep -qxF "$1 ($2)" /sys/kernel/security/apparmor/profiles; }

# What the profile of aa-converge was in the way of: nothing, if it is right.
denied() { dmesg | grep -a 'apparmor="DENIED".*profile="aa-converge'; }

finish() {
    if ((failed)); then
        systemctl status --no-pager --full aa-converge.service cloud-final.service || true
        journalctl --no-pager --boot --unit aa-converge.service --unit cloud-final.service | tail -n 60
        dmesg | grep -a apparmor= | tail -n 40
        echo "machine: a check failed"
    else
        echo "machine: every check held"
    fi
    exit "$failed"
}
