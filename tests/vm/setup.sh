#!/usr/bin/env bash
# Puts together what a guest boots: the kernel of a Debian suite, and a root file system with its AppArmor, its policy
# and busybox. `setup.sh SUITE LAYER PACKAGE…` adds a layer, which run.sh puts over the root when asked to: these
# packages with all that they depend on.
#
#   setup.sh bookworm|trixie [LAYER PACKAGE…]
#
# Everything lies in target/vm/SUITE: vmlinuz, base.cpio, LAYER.cpio, and beside each archive the recipe that it was
# made by and the versions that it holds. An archive is made again when its recipe is another, and not otherwise:
# Debian's archive keeps the newest version of a suite alone, so the suite is all that can be pinned.
set -euo pipefail
cd "$(dirname "$0")/../.."

suite=${1:?"usage: setup.sh SUITE [LAYER PACKAGE…]"}
layer=${2:-base}
packages=("${@:3}")
if [[ $layer == base ]]; then
    packages=(apparmor apparmor-profiles apparmor-profiles-extra busybox-static libgcc-s1 strace)
elif ((${#packages[@]} == 0)); then
    echo "setup.sh: the layer $layer needs packages" >&2
    exit 64
fi

[[ $layer == base ]] || tests/vm/setup.sh "$suite" >/dev/null

vm=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")/vm/$suite
mkdir -p "$vm"
# Two stages, or two shells, may want the same guest.
exec {lock}>"$vm/lock"
flock "$lock"

recipe=$(printf '%s\n' "$suite" "$layer" "${packages[@]}" |
    cat - tests/vm/{setup.sh,init} scripts/debian-apt.sh | sha256sum)

# The recipe is written last, so that what was interrupted is made again.
if [[ -e $vm/$layer.recipe && $(<"$vm/$layer.recipe") == "$recipe" ]]; then
    cat "$vm/$layer.versions"
    exit 0
fi

rm -f "$vm/$layer.recipe"
work=$vm/$layer.work
rm -rf "$work"
mkdir -p "$work/root"

scripts/debian-apt.sh "$suite" amd64 "$work" install --download-only "${packages[@]}"

# unpack DEB DIRECTORY [TAR OPTION…]
unpack() {
    dpkg-deb --fsys-tarfile "$1" | tar --extract --directory "$2" --keep-directory-symlink "${@:3}"
}

root=$work/root
chmod 0755 "$root"
mkdir -p "$root"/usr/{bin,lib,lib64,sbin}
for directory in bin lib lib64 sbin; do
    ln -s "usr/$directory" "$root/$directory"
done
for deb in "$work"/archives/*.deb; do
    if [[ $layer != base ]] && grep -qxF "${deb##*/}" "$vm/base.versions"; then
        rm "$deb"
        continue
    fi
    # What nothing in the guest reads would only make its boot slower.
    unpack "$deb" "$root" --exclude='./usr/share/doc' --exclude='./usr/share/man' --exclude='./usr/share/locale' \
        --exclude='./usr/share/lintian' --exclude='./usr/share/bug' --exclude='./usr/lib/*/gconv'
done

if [[ $layer == base ]]; then
    image=$(apt-cache --config-file "$work/apt.conf" depends linux-image-cloud-amd64 |
        awk '$1 == "Depends:" && /linux-image/ { print $2; exit }')
    # Its dependencies make an initial ramdisk, which is what we do here.
    (cd "$work/archives" && "$OLDPWD/scripts/debian-apt.sh" "$suite" amd64 .. download "$image")
    mkdir "$work/kernel"
    unpack "$work/archives/${image}"_*.deb "$work/kernel" --wildcards './boot/vmlinuz-*'
    mv "$work"/kernel/boot/vmlinuz-* "$vm/vmlinuz"

    mkdir -p "$root"/{dev,etc,proc,root,run,sys,t,tmp,var/{cache/apparmor,lib,log,tmp}}
    printf '%s\n' root:x:0:0:root:/root:/bin/sh nobody:x:65534:65534:nobody:/:/bin/false >"$root/etc/passwd"
    printf '%s\n' root:x:0: nogroup:x:65534: >"$root/etc/group"
    while read -r applet; do
        [[ -e $root/usr/bin/$applet || -e $root/usr/sbin/$applet ]] || ln -s busybox "$root/usr/bin/$applet"
    done < <("$root/usr/bin/busybox" --list)
    install -m 0755 tests/vm/init "$root/init"
fi

(cd "$root" && find . -print0 | LC_ALL=C sort --zero-terminated |
    cpio --null --create --format=newc --owner=0:0 --quiet) >"$vm/$layer.cpio"
(cd "$work/archives" && printf '%s\n' *.deb) >"$vm/$layer.versions"
rm -rf "$work"
echo "$recipe" >"$vm/$layer.recipe"
cat "$vm/$layer.versions"
