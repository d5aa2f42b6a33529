#!/usr/bin/env bash
# The package on a real machine: Debian 13 with its own kernel, systemd and cloud-init boots twice in QEMU from one disk,
# each time with a NoCloud disk. first-boot.sh and second-boot.sh say what is expected.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=$(realpath "${CARGO_TARGET_DIR:-target}")
machine=$target/machine
scripts/install-packages.sh qemu-system-x86 seabios xorriso jq
[[ -e $(echo "$target"/package/aa-converge_*.deb) ]] || scripts/package.sh
tests/machine/setup.sh

work=$(mktemp -d -p "$target")
trap 'rm -rf "$work"' EXIT
cp --sparse=always "$machine/disk.img" "$work/disk.img"

# seed NUMBER USER_DATA CHECKS [FILE…]: the NoCloud disk of a boot.
seed() {
    local content=$work/seed.$1
    mkdir "$content"
    printf 'instance-id: i-%d\nlocal-hostname: machine\n' "$1" >"$content/meta-data"
    cp "$2" "$content/user-data"
    (($# < 4)) || cp -R "${@:4}" "$content"
    cat tests/machine/expect.sh "$3" >"$content/checks"
    xorriso -as mkisofs -quiet -V cidata -J -R -o "$work/seed.$1.iso" "$content"
}

# /dev/kvm may be there and still unable to run these kernels: the tests in virtual machines found out.
accelerator=$(cat "$target/vm/trixie/accelerator" 2>/dev/null || echo tcg)

# boot NUMBER: fails unless the checks came to their end.
boot() {
    local begin=$SECONDS console=$machine/console.$1.txt
    timeout --kill-after=5 "${MACHINE_TIMEOUT:-1200}" qemu-system-x86_64 -accel "$accelerator" -cpu qemu64 -smp 2 -m 1024 \
        -nodefaults -no-reboot -display none -monitor none -nic none -serial "file:$console" \
        -drive "file=$work/disk.img,format=raw,if=virtio,cache=unsafe" \
        -drive "file=$work/seed.$1.iso,format=raw,if=virtio,readonly=on" \
        -kernel "$machine/vmlinuz" -initrd "$machine/initrd" \
        -append "root=/dev/vda rw console=ttyS0 quiet loglevel=3 panic=-1 systemd.show_status=false" </dev/null || true
    sed -i 's/\r//' "$console"
    echo "boot $1 took $((SECONDS - begin)) s"
    grep -a '^machine: ' "$console" || true
    if ! grep -aqx 'machine: every check held' "$console"; then
        tail -n 100 "$console" >&2
        echo "boot $1 failed; its console is in $console" >&2
        return 1
    fi
}

tests/package/repository.sh "$work/repository"
sed 's|https://packages.example.org/aa-converge|file:/seed/repository|' examples/cloud-init/install.yaml >"$work/install.yaml"
seed 1 "$work/install.yaml" tests/machine/first-boot.sh "$work/repository" examples/systemd/report-exporter.service.d
boot 1

# A profile with a comma missing, and an entry after the one that fails.
sed '/"service": {/,/^ *}$/c\            "file": "broken", "content": "profile broken /opt/broken { /srv/** r }\\n"' \
    examples/cloud-init/converge.yaml >"$work/broken.yaml"
echo '  - echo all is well' >>"$work/broken.yaml"
seed 2 "$work/broken.yaml" tests/machine/second-boot.sh
boot 2
