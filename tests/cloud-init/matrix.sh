#!/bin/bash
# The part of test.sh that runs inside the root. The user data is that of the examples but for the document, and for the
# kernel, which is not to be had here (tests/machine has one).
set -euo pipefail
cd /t

fail() {
    printf 'failed: %s\n' "$*" >&2
    tail -n 40 /var/log/cloud-init-output.log >&2 || true
    exit 1
}

# expect FILTER: of the report of the last pass.
expect() {
    jq --exit-status "$1" report.json >/dev/null || {
        cat report.json >&2
        fail "the report does not hold $1"
    }
}

# user_data EXAMPLE DOCUMENT: the example with another document, and a report for us.
user_data() {
    awk -v document="$2" '
        /^    content: \|$/ && !replaced {
            print
            while ((getline line < document) > 0) print "      " line
            replaced = skipping = 1
            next
        }
        skipping && /^      / { next }
        { skipping = 0; print }
    ' "$1" | sed "s|aa-converge apply |&--kernel skip --all --report /t/report.json $options |"
}

instance=0
# boot USER_DATA: a first boot of a new instance, stage by stage as cloud-init's units run them. Leaves its errors, one
# a line, in errors.
boot() {
    instance=$((instance + 1))
    local seed=/var/lib/cloud/seed/nocloud
    mkdir -p $seed
    cp "$1" $seed/user-data
    printf 'instance-id: i-%d\nlocal-hostname: throw-away\n' $instance >$seed/meta-data
    rm -rf /run/cloud-init report.json
    : >/var/log/cloud-init-output.log
    {
        cloud-init init --local
        cloud-init init
        cloud-init modules --mode=config
        # It fails with a module; what counts is what it says afterwards.
        cloud-init modules --mode=final || true
    } >>stages.log 2>&1
    jq --raw-output '.v1.errors[]' /run/cloud-init/result.json >errors
}

expect_done() {
    [[ ! -s errors ]] || fail "cloud-init reports: $(<errors)"
}

# What `cloud-init status` calls "status: error".
expect_error() {
    grep -q 'scripts.user' errors || fail "cloud-init reports no error of the user's script: $(<errors)"
}

policy=/etc/apparmor.d
fingerprint() {
    (cd $policy && find . -type f -exec sha256sum {} + | LC_ALL=C sort) | sha256sum
}

# document FILE FILTER: writes the document of five profiles as the filter changes it.
document() {
    jq -n '{version: 1, owner: "web-fleet", prune: true, profiles: [range(5) | {
        file: "web-fleet.\(.)",
        content: "abi <abi/3.0>,\ninclude <tunables/global>\nprofile web-fleet-\(.) /opt/web/\(.) {\n  /srv/\(.)/** r,\n}\n"}]}' |
        jq "$2" >"$1"
}

cat >/etc/cloud/cloud.cfg.d/99-test.cfg <<'END'
datasource_list: [NoCloud, None]
network: {config: disabled}
manage_etc_hosts: false
cloud_init_modules: [write-files]
cloud_config_modules: [apt-configure, runcmd]
cloud_final_modules: [package-update-upgrade-install, scripts-user]
END
cloud-init --version
install -m 0755 aa-converge /usr/local/bin/aa-converge

echo "1. the examples are user data"
for example in ./*.yaml; do
    cloud-init schema --config-file "$example"
done

echo "2. check mode changes nothing"
document five.json .
before=$(fingerprint)
options=--check user_data converge.yaml five.json >user-data
boot user-data
expect_done
expect '.check and .changed and .summary.created == 5'
[[ $(fingerprint) == "$before" ]] || fail "check mode changed the policy directory"

options=''
echo "3. create"
user_data converge.yaml five.json >user-data
boot user-data
expect_done
expect '.changed and .summary.created == 5'
[[ $(stat --format=%a /etc/aa-converge/web-fleet.json) == 600 ]] || fail "the document can be read by others"

echo "4. repeat"
boot user-data
expect_done
expect '.changed == false and .summary.unchanged == 5'

echo "5. drift"
echo '# by hand' >>$policy/web-fleet.3
boot user-data
expect_done
expect '.changed and .summary.updated == 1 and .summary.unchanged == 4'
! grep -q 'by hand' $policy/web-fleet.3 || fail "drift was not repaired"

echo "6. one of five changed"
document one.json '.profiles[1].content |= sub("/srv/1"; "/srv/one")'
user_data converge.yaml one.json >user-data
boot user-data
expect_done
expect '[.profiles[] | select(.action != "keep") | .file] == ["web-fleet.1"]'

echo "7. a broken profile fails, twice, and leaves nothing behind"
document broken.json '.profiles[1].content |= sub("r,"; "r") | .profiles[4].content |= sub("/srv"; "/var")'
user_data converge.yaml broken.json >user-data
# What comes after a failure must not hide it.
echo '  - echo all is well' >>user-data
before=$(fingerprint)
for attempt in first second; do
    boot user-data
    expect_error
    expect '.failed and (.changed | not) and .error.code == "compile"'
    [[ $(fingerprint) == "$before" ]] || fail "the $attempt attempt left something behind"
    ! grep -q 'all is well' /var/log/cloud-init-output.log || fail "the script went on"
    grep -q 'web-fleet.1:' /var/log/cloud-init-output.log || fail "the log does not name the file"
done

echo "8. remove"
document four.json 'del(.profiles[2])'
user_data converge.yaml four.json >user-data
boot user-data
expect_done
expect '.summary.removed == 1 and .summary.updated == 1'
[[ ! -e $policy/web-fleet.2 ]] || fail "a profile that is no longer listed is still there"

echo "9. every byte arrives"
cat >bytes <<'END'
abi <abi/3.0>,
# Grüße, 日本語, "double", 'single', `back`, $HOME, ${x}, {{ jinja }}, %(percent)s, \n, \\, \u00e4, a	tab, trailing 

profile web-fleet-bytes /opt/web/bytes {
  "/srv/with \"quotes\" and \\backslash/**" r,
  /srv/ünïcode/** r,
}
END
jq -n --rawfile text bytes '{version: 1, owner: "web-fleet", prune: true, profiles: [{file: "web-fleet.bytes", content: $text}]}' >bytes.json
user_data converge.yaml bytes.json >user-data
boot user-data
expect_done
cmp bytes $policy/web-fleet.bytes || fail "the profile is not what was meant"

echo "10. the package first"
rm /usr/local/bin/aa-converge
# Without the package, it is an error that the program is not there.
user_data converge.yaml five.json >user-data
boot user-data
expect_error
user_data install.yaml five.json | sed 's|https://packages.example.org/aa-converge|file:/t/repository|' >user-data
boot user-data
expect_done
expect '.changed and .summary.created == 5'
[[ $(dpkg-query --show --showformat='${db:Status-Status}' aa-converge) == installed ]] || fail "the package is not installed"

echo "11. a timer for drift"
# There is no systemd to talk to here: systemctl then sets links and leaves the rest, as in a chroot.
export SYSTEMD_OFFLINE=1
user_data timer.yaml five.json >user-data
boot user-data
expect_done
[[ -L /etc/systemd/system/timers.target.wants/web-fleet-policy.timer ]] || fail "the timer is not enabled"
systemd-analyze verify --man=no web-fleet-policy.timer web-fleet-policy.service
jq --exit-status .owner /etc/aa-converge/web-fleet.json >/dev/null || fail "the document is not written"
# What the timer would start.
echo '# by hand' >>$policy/web-fleet.3
sh -ec "$(sed -n 's/^ExecStart=//p' /etc/systemd/system/web-fleet-policy.service)" >/dev/null
! grep -q 'by hand' $policy/web-fleet.3 || fail "drift was not repaired"
