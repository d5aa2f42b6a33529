#!/bin/bash
# The part of test.sh that runs inside the root, with the packages in /t.
set -euo pipefail
cd /t

fail() {
    printf 'failed: %s\n' "$*" >&2
    exit 1
}

# expect_report FILE FILTER
expect_report() {
    jq --exit-status "$2" "$1" >/dev/null || {
        cat "$1" >&2
        fail "the report in $1 does not hold $2"
    }
}

# expect_absent PATH…
expect_absent() {
    local path
    for path in "$@"; do
        [[ ! -e $path && ! -L $path ]] || fail "$path is still there"
    done
}

apply=(aa-converge apply --kernel skip --all)
profile=/etc/apparmor.d/aa-converge
own=/etc/apparmor.d/usr.local.sbin.metrics-gateway
wants=/etc/systemd/system/sysinit.target.wants/aa-converge.service

echo "1. install"
cat >/etc/apparmor.d/usr.local.bin.rotate-uploads <<'END'
profile rotate-uploads /usr/local/bin/rotate-uploads { /srv/** r, }
END
dpkg --install aa-converge.deb
[[ $(command -v aa-converge) == /usr/bin/aa-converge ]] || fail "aa-converge is not in the path"
[[ -L $wants ]] || fail "the service is not enabled"
[[ -L /etc/systemd/system/timers.target.wants/aa-converge.timer ]] || fail "the timer is not enabled"
[[ -e /etc/apparmor.d/local/aa-converge ]] || fail "there is no place for local additions to the profile"
for file in /usr/share/man/man8/aa-converge{,-apply,-export,-render,-schema,-status}.8.gz \
    /usr/share/bash-completion/completions/aa-converge /usr/share/zsh/vendor-completions/_aa-converge \
    /usr/share/fish/vendor_completions.d/aa-converge.fish /usr/share/doc/aa-converge/{copyright,README.md} \
    /usr/share/doc/aa-converge/examples/cloud-init/converge.yaml /etc/aa-converge/README; do
    [[ -s $file ]] || fail "the package lacks $file"
done
aa-converge schema document | cmp - /usr/share/aa-converge/schemas/document.v1.json ||
    fail "the packaged schema is not the program's"
for page in aa-converge aa-converge-apply; do
    for section in 'EXIT STATUS' FILES 'SEE ALSO'; do
        gzip --decompress --stdout /usr/share/man/man8/$page.8.gz | grep -qE "^\.SH \"?$section" ||
            fail "$page(8) has no section $section"
    done
done

# expect_completion LINE WORD…: what bash offers at the end of a command line.
expect_completion() {
    local offered
    # shellcheck disable=SC2016 # It is the inner shell that expands these.
    offered=$(bash -c '
        . /usr/share/bash-completion/completions/aa-converge
        mapfile -td " " COMP_WORDS < <(printf "%s" "$1 ")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        completion=$(complete -p aa-converge | sed "s/.* -F \([^ ]*\) .*/\1/")
        "$completion" aa-converge "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        echo "${COMPREPLY[*]}"' completion "$1")
    shift
    [[ $offered == "$*" ]] || fail "bash completes to $offered in place of $*"
}
expect_completion 'aa-converge apply --kernel ' require skip
expect_completion 'aa-converge schema ' -h --help document report status
expect_completion 'aa-converge apply --det' --detailed-exitcodes
expect_completion 'aa-converge sta' status

echo "2. its profile compiles here"
apparmor_parser --skip-kernel-load --skip-cache --kernel-features /etc/apparmor.d/abi/3.0 $profile

echo "3. run"
"${apply[@]}" fleet.json >first.json
expect_report first.json '.changed and (.failed | not)'
"${apply[@]}" fleet.json >second.json
expect_report second.json '.changed == false and (.failed | not)'
[[ -e $own ]] || fail "the document was not applied"

echo "4. run again, as the static program"
./aa-converge-static apply --kernel skip fleet.json >static.json
expect_report static.json '.changed == false and (.failed | not)'
mkdir -p empty/{etc/apparmor.d,bin,tmp}
cp aa-converge-static empty/bin/
printf '{"version":1,"owner":"x","files":[{"path":"tunables/site","content":"@{X}=1\\n"}]}' >empty/document.json
chroot empty /bin/aa-converge-static render --format json /document.json >/dev/null ||
    fail "the static program needs more than itself"
code=0
chroot empty /bin/aa-converge-static apply --kernel skip /document.json >empty/report.json || code=$?
# There is no parser in there, and the report says it.
((code == 4)) || fail "without a parser, apply ended with $code"
expect_report empty/report.json '.failed and .error.code != null'

echo "5. upgrade to an older file: what is loaded, and cached for the next boot, is the new profile"
# The machine's kernel is out of reach in here, so the parser is kept from loading; all else it does as it is called.
here=/usr/local/sbin
printf '#!/bin/sh\nexit 0\n' >$here/aa-enabled
printf '#!/bin/sh\nexec /sbin/apparmor_parser --skip-kernel-load --kernel-features=/etc/apparmor.d/abi/3.0 "$@"\n' \
    >$here/apparmor_parser
chmod 0755 $here/aa-enabled $here/apparmor_parser
dpkg --install aa-converge.deb
cached=$(echo /var/cache/apparmor/*/aa-converge)
[[ -f $cached ]] || fail "installing the package left no compiled profile"
cp "$cached" before.cache
dpkg --install older-profile.deb
grep -q /srv/nobody $profile || fail "the upgrade did not bring its profile"
[[ $profile -ot $cached ]] || fail "the profile is not older than what was cached"
$here/apparmor_parser --skip-cache --ofile=after.cache $profile
cmp -s before.cache after.cache && fail "the two profiles compile to the same"
cmp "$cached" after.cache || fail "after the upgrade, the old profile is still cached"
rm $here/aa-enabled $here/apparmor_parser
dpkg --install aa-converge.deb

echo "6. upgrade: an edited profile and what was applied stay"
echo '# edited' >>$profile
dpkg --install --force-confold later.deb
grep -qx '# edited' $profile || fail "the upgrade overwrote an edited profile"
"${apply[@]}" fleet.json >upgraded.json
expect_report upgraded.json '.changed == false and (.failed | not)'
[[ -L $wants ]] || fail "the upgrade disabled the service"

echo "7. switched off, it stays so"
rm $wants
dpkg --install --force-confold later.deb
[[ ! -L $wants ]] || fail "installing again enabled a disabled service"

echo "8. remove: policy and state stay"
dpkg --remove aa-converge
[[ ! -e /usr/bin/aa-converge ]] || fail "the program is still there"
[[ -e $own && -e /var/lib/aa-converge/state.json ]] || fail "removing the package removed policy or state"

echo "9. purge: originals that are replaced stay, and it says so"
dpkg --purge aa-converge 2>purge.log
cat purge.log
grep -q '/var/lib/aa-converge is kept' purge.log || fail "the purge does not say what it keeps"
[[ -n $(ls -A /var/lib/aa-converge/adopted) ]] || fail "the purge removed originals"
expect_absent $profile /etc/apparmor.d/local/aa-converge /etc/aa-converge/README \
    /etc/systemd/system/timers.target.wants/aa-converge.timer /usr/share/aa-converge /usr/share/doc/aa-converge

echo "10. taken back with the document, nothing is left after a purge, but for a journal that is pending"
dpkg --install aa-converge.deb
printf '{"version": 1, "owner": "web-fleet", "prune": true, "allow_empty": true}' |
    "${apply[@]}" >uninstall.json
expect_report uninstall.json '.changed and (.failed | not)'
grep -q '/srv/\*\* r, }$' /etc/apparmor.d/usr.local.bin.rotate-uploads || fail "the original is not back"
# What an interrupted run would have left.
mkdir -p /var/lib/aa-converge/journal
echo interrupted >/var/lib/aa-converge/journal/undo
dpkg --purge aa-converge 2>purge.log
grep -q 'is kept: it holds how to undo' purge.log || fail "the purge does not say that it keeps the journal"
[[ -s /var/lib/aa-converge/journal/undo ]] || fail "the purge removed a pending journal"
rm /var/lib/aa-converge/journal/undo
dpkg --install aa-converge.deb
dpkg --purge aa-converge
expect_absent $own /var/lib/aa-converge /run/aa-converge $profile /etc/aa-converge $wants
