#!/usr/bin/env bash
# Boots a guest and runs a payload in it as root.
#
#   run.sh [--append PARAMETERS] [--counted] [--layer LAYER]… [--memory MIB] [--timeout SECONDS] SUITE PAYLOAD OUT
#
# The directory PAYLOAD becomes /t in the guest, where /t/run is started. Its output is the console's, which comes here
# on standard output; what it leaves in /t/out comes back in the directory OUT, with the kernel's log (dmesg.txt). The
# exit status is that of /t/run, or 124 when the time is over, or 125 when the guest ended without a status (a crash
# of the kernel, above all). PARAMETERS are for the kernel's command line; LAYERs were made by setup.sh. In a counted guest
# the clock counts instructions, one for each nanosecond: what is timed there takes nearly the same on any machine.
set -euo pipefail
cd "$(dirname "$0")/../.."

append='' counted=() memory=512 timeout=300 layers=(base)
while [[ ${1:-} == --* ]]; do
    case $1 in
    --append) append=$2 ;;
    --counted)
        counted=(-icount 'shift=0,sleep=off')
        shift
        continue
        ;;
    --layer) layers+=("$2") ;;
    --memory) memory=$2 ;;
    --timeout) timeout=$2 ;;
    *)
        echo "run.sh: unknown option $1" >&2
        exit 64
        ;;
    esac
    shift 2
done
if (($# != 3)); then
    echo "usage: run.sh [OPTIONS] SUITE PAYLOAD OUT" >&2
    exit 64
fi
suite=$1 payload=$2 out=$3
vm=${CARGO_TARGET_DIR:-target}/vm/$suite
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# pack PAYLOAD INITRD: the kernel unpacks archives that follow one another, the later over the earlier.
pack() {
    mkdir "$work/top"
    cp --archive "$1" "$work/top/t"
    {
        for layer in "${layers[@]}"; do
            cat "$vm/$layer.cpio"
        done
        (cd "$work/top" && find t -print0 | cpio --null --create --format=newc --owner=0:0 --quiet)
    } >"$2"
    rm -rf "$work/top"
}

# boot ACCELERATOR INITRD RETURNED SECONDS: the console on standard output. The plainest processor is the fastest to
# emulate: libraries use vector instructions where there are any.
#
# No random addresses: an emulator translates what a program executes once for each address that it stands at, so that
# every new process would be translated anew, which takes several times as long as running it.
boot() {
    timeout --kill-after=5 "$4" qemu-system-x86_64 -accel "$1" -cpu qemu64 "${counted[@]}" -m "$memory" -nodefaults -no-reboot \
        -display none -monitor none -serial stdio -serial "file:$3" -kernel "$vm/vmlinuz" -initrd "$2" \
        -append "console=ttyS0 quiet loglevel=3 panic=-1 norandmaps log_buf_len=4M apparmor=1 security=apparmor $append" \
        </dev/null 2>&1 | sed --unbuffered 's|\r||'
}

# ended CONSOLE: the status of the payload, nothing if there is none.
ended() { sed -n 's/^guest: exit status \([0-9]*\)$/\1/p' "$1" | tail -n1; }

# /dev/kvm may be there and still unable to run these kernels: one boot tells.
accelerator() {
    if [[ ! -w /dev/kvm ]]; then
        echo tcg
        return
    fi
    if [[ ! -s $vm/accelerator ]]; then
        local found=tcg
        mkdir "$work/probe"
        printf '#!/bin/sh\n' >"$work/probe/run"
        chmod 0755 "$work/probe/run"
        pack "$work/probe" "$work/probe.cpio"
        boot kvm "$work/probe.cpio" /dev/null 20 >"$work/probe.console" || true
        [[ $(ended "$work/probe.console") != 0 ]] || found=kvm
        echo "$found" >"$vm/accelerator"
    fi
    cat "$vm/accelerator"
}

# Only an emulator counts.
if ((${#counted[@]})); then accelerator=tcg; else accelerator=$(accelerator); fi
pack "$payload" "$work/initrd"
mkdir -p "$out"
code=0
boot "$accelerator" "$work/initrd" "$work/returned.tar" "$timeout" | tee "$out/console.txt" || code=$?
tar --extract --file "$work/returned.tar" --directory "$out" 2>/dev/null ||
    echo "run.sh: the guest sent no files back" >&2
status=$(ended "$out/console.txt")
if [[ -n $status ]]; then
    exit "$status"
elif ((code == 124 || code == 137)); then
    echo "run.sh: the guest was stopped after $timeout s" >&2
    exit 124
fi
echo "run.sh: the guest ended without a status" >&2
exit 125
