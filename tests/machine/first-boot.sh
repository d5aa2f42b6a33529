# shellcheck shell=bash disable=SC2016 # dpkg expands its own variables.
# After the first boot, in which cloud-init installed the package and applied a document.
expect "cloud-init is done" is "status: done" cloud-init status
expect "the package is installed" is installed dpkg-query --show --showformat='${db:Status-Status}' aa-converge
expect "the document's profile is in the kernel" loaded report-exporter complain
expect "nothing differs" holds '.summary.drifted == 0'
expect "the package's own profile is in the kernel" loaded aa-converge enforce
expect "the timer waits" is active systemctl is-active aa-converge.timer

expect "the service runs under its profile" systemctl start aa-converge.service
expect "it changed nothing" sh -c 'journalctl --boot --unit aa-converge.service | grep -q "all 1 in sync"'

# Drift in the kernel and on disk at once, and a second owner.
policy=/etc/apparmor.d
file=$policy/usr.local.bin.report-exporter
printf report-exporter >/sys/kernel/security/apparmor/.remove
echo '# by hand' >>$file
printf '%s' '{"version": 1, "owner": "second", "profiles": [{"file": "opt.second", "content": "profile second /opt/second {\n  /srv/second/** r,\n}\n"}]}' \
    >/etc/aa-converge/second.json
expect "a service under its profile repairs drift" systemctl start aa-converge.service
expect "the profile is back in the kernel" loaded report-exporter complain
expect "the edit is gone" refuses grep -q 'by hand' $file
expect "the second document has its own owner, and its profile is loaded" loaded second enforce

# A document that cannot be applied does not keep the others from it.
printf '%s' '{"version": 1, "owner": "broken", "profiles": [{"file": "opt.broken", "content": "profile broken /opt/broken { /srv/** r }\n"}]}' \
    >/etc/aa-converge/broken.json
printf second >/sys/kernel/security/apparmor/.remove
expect "a broken document fails the service" refuses systemctl start aa-converge.service
expect "systemd says that it failed" is failed systemctl is-failed aa-converge.service
expect "the journal names the file" sh -c 'journalctl --boot --unit aa-converge.service | grep -q opt.broken'
expect "the other documents were applied" loaded second enforce
expect "nothing is left of the broken one" test ! -e $policy/opt.broken
rm /etc/aa-converge/broken.json

# Fail closed: a service with a drop-in runs under its profile or not at all.
install -D -m 0755 /dev/stdin /usr/local/bin/report-exporter <<'PROGRAM'
#!/bin/sh
exec cat /proc/self/attr/current
PROGRAM
printf '[Service]\nType=oneshot\nExecStart=/bin/cat /proc/self/attr/current\n' >/etc/systemd/system/report-exporter.service
mkdir -p /etc/systemd/system/report-exporter.service.d
cp /seed/report-exporter.service.d/apparmor.conf /etc/systemd/system/report-exporter.service.d/
systemctl daemon-reload
expect "the drop-in's service starts under its profile" systemctl start report-exporter.service
expect "it was confined" sh -c 'journalctl --boot --unit report-exporter.service | grep -q "report-exporter (complain)"'

expect "nothing was denied to aa-converge" refuses denied

# For the second boot: drift that nothing repairs until then.
rm $file
sync
finish
