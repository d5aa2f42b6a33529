#!/usr/bin/env bash
# Makes the disk of a Debian 13 machine with systemd and cloud-init in target/machine: disk.img, vmlinuz and initrd. It is
# as Debian installs it, but for: no network, a console on the serial line that tells what the tests said, and a unit that
# runs a program from the NoCloud disk when cloud-init is done, and then switches the machine off.
set -euo pipefail
cd "$(dirname "$0")/../.."

scripts/install-packages.sh e2fsprogs
tests/roots/setup.sh trixie trixie-machine linux-image-cloud-amd64 initramfs-tools systemd-sysv udev dbus kmod

target=$(realpath "${CARGO_TARGET_DIR:-target}")
root=$target/roots/trixie-machine/root
machine=$target/machine
recipe=$(cat tests/machine/setup.sh "$target/roots/trixie-machine/recipe" | sha256sum)
mkdir -p "$machine"
[[ ! -e $machine/recipe || $(<"$machine/recipe") != "$recipe" ]] || exit 0
rm -f "$machine/recipe"

install -D -m 0644 /dev/stdin "$root/etc/systemd/system/machine-test.service" <<'UNIT'
[Unit]
Description=The program on the NoCloud disk
After=cloud-final.service
RequiresMountsFor=/seed
SuccessAction=poweroff-force
FailureAction=poweroff-force

[Service]
Type=oneshot
ExecStart=/bin/bash /seed/checks
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0

[Install]
WantedBy=cloud-init.target
UNIT
mkdir -p "$root/seed" "$root/etc/systemd/system/cloud-init.target.wants"
ln -sf ../machine-test.service "$root/etc/systemd/system/cloud-init.target.wants/machine-test.service"
cat >"$root/etc/fstab" <<'FSTAB'
/dev/vda / ext4 defaults 0 1
LABEL=cidata /seed iso9660 ro,nofail 0 0
FSTAB
cat >"$root/etc/cloud/cloud.cfg.d/99-machine.cfg" <<'CONFIG'
datasource_list: [NoCloud]
network: {config: disabled}
# The disk has its size, and there is no SSH: their modules would fail.
resize_rootfs: false
ssh_genkeytypes: []
CONFIG
# Of no use here, and an emulated processor takes seconds for each.
for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_reap.service e2scrub_all.timer fstrim.timer \
    dpkg-db-backup.timer getty@tty1.service serial-getty@ttyS0.service systemd-pstore.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done

cp "$root"/boot/vmlinuz-* "$machine/vmlinuz"
cp "$root"/boot/initrd.img-* "$machine/initrd"
rm -f "$machine/disk.img"
truncate --size=1500M "$machine/disk.img"
mke2fs -q -t ext4 -O ^has_journal -d "$root" "$machine/disk.img"
echo "$recipe" >"$machine/recipe"
