#!/usr/bin/env bash
# Puts together what a guest boots: the kernel of a Debian suite, and a root file system with its AppArmor, its policy
# and busybox. `setup.sh SUITE LAYER PACKAGE…` adds a layer, which run.sh puts over the root when asked to: these
# packages with all that they depend on.
#
#   setup.sh bookworm|trixie [LAYER PACKAGE…]
#
# Everything lies in target/vm/SUITE: vmlinuz, base.cpio, LAYER.cpio, and beside each archive the recipe that it was
# made by and the versions that it holds. An archive is made again when its recipe is another, and not otherwise:
# Debian's archive keeps the newest version of a suite alone, so the suite is all that can be pinned. apt runs with
# directories of its own; the host's packages, lists and cache are neither used nor changed, but its mirrors, proxies
# and credentials are.
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

recipe=$(printf '%s\n' "$suite" "$layer" "${packages[@]}" | cat - tests/vm/setup.sh tests/vm/init | sha256sum)

# The recipe is written last, so that what was interrupted is made again.
if [[ -e $vm/$layer.recipe && $(<"$vm/$layer.recipe") == "$recipe" ]]; then
    cat "$vm/$layer.versions"
    exit 0
fi

rm -f "$vm/$layer.recipe"
work=$vm/$layer.work
rm -rf "$work"
mkdir -p "$work"/{apt/lists/partial,archives/partial,root}

# mirror LABEL: the address that this machine's apt gets Debian's packages from.
mirror() {
    # shellcheck disable=SC2016 # These are apt's variables.
    apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages' |
        awk -F '|' -v label="$1" '$1 == "Debian" && $2 == label && $3 == "main" && !seen++ { print $4 }'
}

main=$(mirror Debian)
security=$(mirror Debian-Security)
if [[ -z $main ]]; then
    echo "setup.sh: this machine's apt knows no mirror of Debian; name one in its sources, and run apt-get update" >&2
    exit 1
fi
signed='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
{
    echo "deb $signed $main $suite main"
    [[ -z $security ]] || echo "deb $signed $security $suite-security main"
} >"$work/sources.list"
: >"$work/dpkg-status"
# Read after the machine's own configuration, whose hooks concern the machine's own packages.
cat >"$work/apt.conf" <<CONF
#clear APT::Update;
#clear DPkg::Pre-Install-Pkgs;
APT::Architecture "amd64";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "5";
Dir::Cache "$work";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State "$work/apt";
Dir::State::lists "$work/apt/lists";
Dir::State::status "$work/dpkg-status";
CONF

# private_apt COMMAND…: apt on what is described above. A mirror that is being updated answers wrongly for a minute.
private_apt() {
    local attempt
    for attempt in 1 2 3 4 5; do
        apt-get --config-file "$work/apt.conf" -o Dpkg::Use-Pty=0 --quiet --yes "$@" >&2 && return
        echo "setup.sh: attempt $attempt at apt-get $1 failed" >&2
        sleep $((attempt * 10))
    done
    return 1
}

private_apt update
private_apt install --download-only "${packages[@]}"

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
    (cd "$work/archives" && private_apt download "$image")
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
