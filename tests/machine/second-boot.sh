# shellcheck shell=bash
# After a boot in which the service met a profile that somebody had removed, and cloud-init a broken document.
expect "the boot repaired drift" test -e /etc/apparmor.d/usr.local.bin.report-exporter
expect "and loaded it" loaded report-exporter complain
expect "the service succeeded" is success systemctl show --property Result --value aa-converge.service

monotonic() { systemctl show --property "$2" --value "$1"; }
before_services() {
    local ended sysinit service
    ended=$(monotonic aa-converge.service InactiveEnterTimestampMonotonic)
    sysinit=$(monotonic sysinit.target ActiveEnterTimestampMonotonic)
    service=$(monotonic cloud-config.service ExecMainStartTimestampMonotonic)
    echo "it ended at $ended us, sysinit.target was reached at $sysinit, cloud-config.service started at $service"
    ((0 < ended && ended <= sysinit && sysinit <= service))
}
expect "it had ended before the first ordinary service" before_services

expect "cloud-init reports the broken document" sh -c 'cloud-init status | grep -qx "status: error"'
expect "and names the file" grep -q 'broken:' /var/log/cloud-init-output.log
expect "the script did not go on" refuses grep -q 'all is well' /var/log/cloud-init-output.log
expect "nothing is left of it" test ! -e /etc/apparmor.d/broken
expect "what was there before still is" loaded report-exporter complain
expect "nothing was denied to aa-converge" refuses denied
finish
