#!/usr/bin/env bash
# What can be said of the units without booting: that systemd takes them, that they are ordered without a cycle, and how
# exposed the service is. tests/machine boots them.
set -euo pipefail
cd "$(dirname "$0")/../.."

# In tenths, as systemd-analyze counts; docs/integrations.md names it.
limit=24

units=examples/systemd
scripts/install-packages.sh systemd jq
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    printf 'failed: %s\n' "$*" >&2
    exit 1
}

# verify UNIT…: systemd-analyze looks at whether programs are there, which need not be so on this machine.
verify() {
    mkdir -p "$work/verify"
    cp -R $units/. "$work/verify"
    sed -i 's|/usr/bin/aa-converge |/bin/true |' "$work"/verify/aa-converge.service
    printf '[Service]\nExecStart=/bin/true\n' >"$work/verify/report-exporter.service"
    systemd-analyze verify --man=no "$@" >"$work/said" 2>&1 || fail "$(cat "$work/said")"
    # Of what it finds in a drop-in it only tells.
    ! grep -E 'aa-converge|report-exporter' "$work/said" || fail "systemd-analyze has an objection"
}

verify "$work"/verify/{aa-converge.service,aa-converge.timer,report-exporter.service}

systemd-analyze security --offline=true --threshold=$limit --no-pager $units/aa-converge.service >"$work/exposure" ||
    fail "the service is more exposed than $limit tenths: $(tail -n 1 "$work/exposure")"
figure=$(sed -n 's/^.*Overall exposure level for aa-converge.service: \([0-9.]*\) .*/\1/p' "$work/exposure")
[[ $figure == "${limit:0:-1}.${limit: -1}" ]] || fail "the exposure is $figure: lower the limit, and change the docs"
grep -qF "$figure of 10" docs/integrations.md || fail "docs/integrations.md does not give $figure as the exposure"
echo "exposure $figure"

# The profile and the unit allow the same, but for what the kernel asks of the profile alone.
of_profile=$(sed -n 's/^  capability \(.*\),$/cap_\1/p' packaging/apparmor.profile | grep -v cap_sys_resource | sort)
of_unit=$(sed -n 's/^CapabilityBoundingSet=//p' $units/aa-converge.service | tr 'A-Z ' 'a-z\n' | sort)
[[ -n $of_unit && $of_profile == "$of_unit" ]] || fail "the unit's capabilities are $of_unit, the profile's $of_profile"

# The service's own loop, with a stand-in that fails for one document of three: all are tried, and the failure is told.
mkdir "$work/documents"
touch "$work"/documents/{a,b,c}.json
# shellcheck disable=SC2016 # It is a script.
printf '%s\n' '#!/bin/sh' 'echo "$*" >>"$0.calls"' 'case $* in *b.json) exit 4 ;; esac' >"$work/aa-converge"
chmod +x "$work/aa-converge"
loop=$(sed -n "/^ExecStart=/,/'\$/p" $units/aa-converge.service | sed "s/^ExecStart=\/bin\/sh -c '//; s/'\$//; s/\\\\\$//; s/\\\$\\\$/\$/g")
code=0
sh -c "$(sed "s|/etc/aa-converge|$work/documents|; s|/usr/bin/aa-converge|$work/aa-converge|" <<<"$loop")" >"$work/said" || code=$?
((code == 4)) || fail "the loop ended with $code although a document failed with 4"
(($(grep -c '^apply ' "$work/aa-converge.calls") == 3)) || fail "the loop did not try every document"
