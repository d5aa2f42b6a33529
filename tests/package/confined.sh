#!/usr/bin/env bash
# Runs the program under the package's profile, enforced by a Debian suite's own kernel: a run that changes, one that
# does not, one that repairs drift, and what must leave no trace. The kernel must have denied it nothing, and must deny the
# profile what is not policy.
#
#   confined.sh bookworm|trixie
set -euo pipefail
cd "$(dirname "$0")/../.."

suite=${1:?"usage: confined.sh SUITE"}
target=${CARGO_TARGET_DIR:-target}
scripts/install-packages.sh qemu-system-x86 seabios cpio
tests/vm/setup.sh "$suite" >/dev/null

payload=$target/confined-test/$suite
rm -rf "$payload"
mkdir -p "$payload/payload"
cp "$target"/package/aa-converge-*-linux "$payload/payload/aa-converge"
cp packaging/apparmor.profile examples/fleet.json "$payload/payload"
cat >"$payload/payload/run" <<'GUEST'
#!/bin/sh
set -eu
cp /t/aa-converge /usr/bin/aa-converge
cp /t/apparmor.profile /etc/apparmor.d/aa-converge
apparmor_parser --replace /etc/apparmor.d/aa-converge
mkdir -m 0700 /var/lib/aa-converge /run/aa-converge

# confined COMMAND…: as systemd does for AppArmorProfile=.
cat >/t/confined <<'END'
#!/bin/sh
printf 'exec aa-converge' >/proc/self/attr/exec
exec "$@"
END
chmod 0755 /t/confined

# converge WANTED: what the report must say.
converge() {
    /t/confined /usr/bin/aa-converge apply --format text /t/fleet.json >/t/out/said 2>&1 || {
        cat /t/out/said
        dmesg | grep apparmor=
        exit 1
    }
    cat /t/out/said
    grep -q "$1" /t/out/said
}

# A confined process whose profile lets nobody look at it but as docs/integrations.md says.
cat >/etc/apparmor.d/secretive <<'END'
abi <abi/3.0>,
profile secretive {
  file,
  ptrace (readby) peer=aa-converge,
}
END
apparmor_parser --replace /etc/apparmor.d/secretive
(printf 'exec secretive' >/proc/self/attr/exec && exec sleep 600) &
until grep -q secretive "/proc/$!/attr/current"; do :; done

mkdir -p /t/out
[ "$(/t/confined /usr/bin/aa-converge render --format json /t/fleet.json | head -c 1)" = "{" ]
/t/confined /usr/bin/aa-converge apply --check --format json /t/fleet.json >/t/out/said || {
    cat /t/out/said
    exit 1
}
grep -q '"created":4' /t/out/said
converge '4 created'
/t/confined /usr/bin/aa-converge status --format json >/t/out/said
converge 'in sync'
rm /etc/apparmor.d/usr.local.bin.rotate-uploads
printf metrics-gateway >/sys/kernel/security/apparmor/.remove
converge '1 created, 1 reloaded'
if dmesg | grep 'apparmor="DENIED".*profile="aa-converge'; then
    echo "the profile is in the program's way"
    exit 1
fi
if dmesg | grep 'apparmor="DENIED".*peer="aa-converge'; then
    echo "a process is asked for more than the documented rule allows"
    exit 1
fi

# A shell under the profile is what a defect would be.
if /t/confined /usr/bin/sh -c 'echo x >/etc/passwd' || /t/confined /usr/bin/sh -c '/usr/bin/cat /etc/passwd'; then
    echo "the profile does not confine"
    exit 1
fi
dmesg | grep -q 'apparmor="DENIED".*profile="aa-converge" name="/etc/passwd"'
echo secret >/etc/shadow
/t/confined /usr/bin/sh -c 'read -r line </etc/passwd'
if /t/confined /usr/bin/sh -c 'read -r line </etc/shadow'; then
    echo "the profile lets passwords be read"
    exit 1
fi
echo "every check held"
GUEST
chmod 0755 "$payload/payload/run"
tests/vm/run.sh --timeout 300 "$suite" "$payload/payload" "$payload/out"
grep -qx 'every check held' "$payload/out/console.txt"
