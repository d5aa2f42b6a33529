#!/usr/bin/env bash
# Runs a program as root in a throw-away copy of a root that setup.sh made: in mount, process, host name, IPC and network
# namespaces of its own, so that what it starts ends with it, and nothing that it writes stays. Its security file system
# is empty, as in a container: the machine's policy cannot be reached.
#
#   enter.sh SUITE PAYLOAD PROGRAM [ARGUMENT…]
#
# The directory PAYLOAD becomes /t, where what should stay may be written.
set -euo pipefail
cd "$(dirname "$0")/../.."

if (($# < 3)); then
    echo "usage: enter.sh SUITE PAYLOAD PROGRAM [ARGUMENT…]" >&2
    exit 64
fi
root=$(realpath "${CARGO_TARGET_DIR:-target}")/roots/$1/root
payload=$(realpath "$2")
shift 2

# shellcheck disable=SC2016 # It is the inner shell that expands these.
exec unshare --mount --uts --ipc --pid --net --fork --kill-child --propagation private -- bash -euc '
    root=$1 payload=$2
    shift 2
    # The writable layer lies in memory; the directory that it is mounted on is only looked at from in here.
    mount -t tmpfs -o mode=0755 tmpfs /mnt
    mkdir /mnt/{changes,work,root}
    mount -t overlay -o "lowerdir=$root,upperdir=/mnt/changes,workdir=/mnt/work" overlay /mnt/root
    cd /mnt/root
    mkdir t
    mount --bind "$payload" t
    mount -t proc proc proc
    mount -t tmpfs -o mode=0755 tmpfs run
    mount -t tmpfs -o mode=1777 tmpfs tmp
    mount -t tmpfs -o mode=0755 tmpfs dev
    for device in full null random tty urandom zero; do
        : >dev/$device
        mount --bind /dev/$device dev/$device
    done
    ln -s /proc/self/fd dev/fd
    mkdir dev/shm
    hostname throw-away
    export HOME=/root LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    export DEBIAN_FRONTEND=noninteractive TERM=dumb
    exec chroot . "$@"
' enter "$root" "$payload" "$@"
