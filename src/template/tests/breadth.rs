//! What is objected to, and what is not.

use super::*;

#[test]
fn terms_that_mean_everything_are_refused_by_their_codes() {
    let mut wrong = Vec::new();
    for (fields, codes) in [
        (json!({ "data": ["/"] }), &["write-root"][..]),
        (json!({ "data": ["/**"] }), &["write-root"]),
        (json!({ "data": ["/*"] }), &["write-root"]),
        (json!({ "data": ["/etc"] }), &["write-etc"]),
        (json!({ "logs": ["/var/**"] }), &["write-var"]),
        (json!({ "data": ["/{etc,usr}/**"] }), &["write-etc", "write-usr"]),
        (json!({ "data": ["/v*/**"] }), &["write-var"]),
        (json!({ "data": ["@{HOME}"] }), &["write-home"]),
        (json!({ "data": ["@{HOMEDIRS}"] }), &["write-home"]),
        (json!({ "data": ["/root"] }), &["write-home"]),
        (json!({ "data": ["/bin/"] }), &["write-bin"]),
        (json!({ "data": ["/usr/lib/*"] }), &["write-lib"]),
        (json!({ "data": ["/boot/[a-z]*"] }), &["write-boot"]),
        (json!({ "data": ["/tmp"] }), &["write-tmp"]),
        (json!({ "runtime": ["/run/**"] }), &["write-run"]),
        (json!({ "runtime": ["@{run}/*"] }), &["write-run"]),
        (json!({ "config": ["/"] }), &["read-root"]),
        (json!({ "execute": [{ "path": "/usr/bin/*", "transition": "inherit" }] }), &["execute-directory"]),
        (
            json!({ "execute": [{ "path": "/{,usr/}{,s}bin/*", "transition": "child", "profile": "c" }] }),
            &["execute-directory"],
        ),
        (
            json!({ "execute": [{ "path": "/opt/x", "transition": "profile", "profile": "unconfined" }] }),
            &["execute-unconfined"],
        ),
        (
            json!({ "capabilities": ["sys_admin", "setuid", "dac_override"] }),
            &["capability-sys-admin", "capability-dac-override"],
        ),
        (json!({ "listen": [{ "type": "stream" }] }), &["network-any-family"]),
        (json!({ "rules": ["/etc/** rw,"] }), &["write-etc"]),
        (json!({ "rules": ["rw /etc/**,"] }), &["write-etc"]),
        (json!({ "rules": ["file,"] }), &["write-root", "execute-directory"]),
        // What names nothing of its own in a directory of others.
        (json!({ "data": ["/etc/[a-f]*"] }), &["write-etc"]),
        (json!({ "data": ["/etc/[^a-z]*"] }), &["write-etc"]),
        (json!({ "data": ["/etc/??"] }), &["write-etc"]),
        (json!({ "data": ["/etc/*/*/**"] }), &["write-etc"]),
        (json!({ "data": ["/etc/*.conf"] }), &["write-etc"]),
        (json!({ "data": ["/etc/s*"] }), &["write-etc"]),
        (json!({ "data": ["/**.conf"] }), &["write-root"]),
        (json!({ "data": ["/**/x*"] }), &["write-root"]),
        (json!({ "logs": ["/var/log/*.log"] }), &["write-var"]),
        (json!({ "runtime": ["/run/*.pid"] }), &["write-run"]),
        (json!({ "runtime": ["/run/user/*/**"] }), &["write-run"]),
        (json!({ "data": ["/usr/lib/*-linux-gnu*"] }), &["write-lib"]),
        (json!({ "data": ["/usr/lib/x86_64-linux-gnu"] }), &["write-lib"]),
        (json!({ "config": ["/[a-f]*/**", "/[g-z]*/**"] }), &["read-root", "read-root"]),
        (json!({ "config": ["/etc", "/home", "/var", "/root"] }), &["read-root"]),
        (
            json!({ "config": ["/etc", "/home"], "execute": [{ "path": "/opt/x", "transition": "child", "needs": {
                "config": ["/var", "/root"]
            } }] }),
            &["read-root"],
        ),
        (
            json!({ "data": ["/etc/{adduser.conf,apt/sources.list,fstab,hostname,hosts,localtime}"],
                    "rules": ["/etc/{os-release,resolv.conf,shells,ssl/**,default/**} w,", "/etc/sudoers r,", "/etc/ld.so.conf.d/* r,"],
                    "execute": [{ "path": "/opt/x", "transition": "child", "needs": { "data": ["/etc/passwd"] } }] }),
            &["write-startup", "write-startup", "write-accounts", "write-etc"],
        ),
        // What is guarded even by its name.
        (json!({ "data": ["/etc/*/app.conf"] }), &["write-lib", "write-accounts", "write-startup", "write-policy"]),
        (json!({ "data": ["/etc/shadow"] }), &["write-accounts"]),
        (json!({ "data": ["/etc/sudoers.d/app"] }), &["write-accounts"]),
        (json!({ "data": ["/etc/pam.d"] }), &["write-accounts"]),
        (json!({ "data": ["@{HOME}/.ssh"] }), &["write-accounts"]),
        (json!({ "data": ["/etc/cron.d/app"] }), &["write-startup"]),
        (json!({ "data": ["/etc/ld.so.preload"] }), &["write-startup"]),
        (json!({ "data": ["/etc/systemd/system/app.service"] }), &["write-startup"]),
        (json!({ "data": ["/var/spool/cron"] }), &["write-startup"]),
        (json!({ "rules": ["/run/systemd/transient/** w,"] }), &["write-startup"]),
        (json!({ "data": ["/etc/apparmor.d/local/app"] }), &["write-policy"]),
        (json!({ "data": ["/sys/kernel/security/apparmor/.replace"] }), &["write-policy"]),
        (json!({ "data": ["/proc/sys"] }), &["write-kernel"]),
        (json!({ "data": ["/proc/sys/kernel/core_pattern"] }), &["write-kernel"]),
        (json!({ "data": ["/sys/fs/cgroup/memory/release_agent"] }), &["write-kernel"]),
        (json!({ "data": ["/home/*/.bashrc"] }), &["write-startup"]),
        (json!({ "data": ["/root/.profile"] }), &["write-startup"]),
        (json!({ "data": ["@{HOME}/.bashrc"] }), &["write-startup"]),
        (json!({ "data": ["/home/alice/.config/autostart"] }), &["write-startup"]),
        (json!({ "data": ["@{HOME}/.config/systemd/user"] }), &["write-startup"]),
        (json!({ "data": ["/etc/fstab"] }), &["write-startup"]),
        (json!({ "data": ["/etc/crypttab"] }), &["write-startup"]),
        (json!({ "data": ["/var/lib/cloud/scripts"] }), &["write-startup"]),
        (json!({ "data": ["/etc/supervisor/conf.d/app.conf"] }), &["write-startup"]),
        (json!({ "data": ["/etc/kubernetes/manifests"] }), &["write-startup"]),
        (json!({ "data": ["/etc/salt/minion"] }), &["write-startup"]),
        (json!({ "data": ["/etc/puppet"] }), &["write-startup"]),
        (json!({ "data": ["/etc/NetworkManager/dispatcher.d/x"] }), &["write-startup"]),
        (json!({ "data": ["/etc/netplan"] }), &["write-startup"]),
        (json!({ "data": ["/etc/ssl/openssl.cnf"] }), &["write-startup"]),
        (json!({ "data": ["/boot/grub/grub.cfg"] }), &["write-boot"]),
        (json!({ "data": ["/lib/x86_64-linux-gnu/libc.so.6"] }), &["write-lib"]),
        (json!({ "data": ["/usr/lib/x86_64-linux-gnu/security"] }), &["write-lib"]),
        (json!({ "data": ["/usr/lib/python3/dist-packages/x.py"] }), &["write-lib"]),
        (json!({ "data": ["/usr/local/lib/python3.11"] }), &["write-lib"]),
        (json!({ "data": ["/usr/share/perl5/X.pm"] }), &["write-lib"]),
        (json!({ "data": ["/usr/lib/ruby"] }), &["write-lib"]),
        (json!({ "data": ["/usr/lib/sudo/sudoers.so"] }), &["write-lib"]),
        (json!({ "data": ["/usr/lib/other"] }), &["write-lib"]),
        (json!({ "name": "sudo", "data": ["/usr/lib/sudo"] }), &["write-lib"]),
        (json!({ "config": ["/dev/cpu/0/msr"] }), &["raw-device"]),
        (json!({ "data": ["/dev/sg0"] }), &["raw-device"]),
        (json!({ "data": ["/dev/bsg/0:0:0:0"] }), &["raw-device"]),
        (json!({ "data": ["/dev/mtd0"] }), &["raw-device"]),
        (json!({ "data": ["/dev/rbd0"] }), &["raw-device"]),
        (json!({ "data": ["/dev/zvol/x"] }), &["raw-device"]),
        (json!({ "data": ["/dev/vfio/1"] }), &["raw-device"]),
        (json!({ "data": ["/dev/uinput"] }), &["raw-device"]),
        (json!({ "config": ["/dev/input"] }), &["raw-device"]),
        (json!({ "data": ["/tmp/systemd-private-*"] }), &["write-tmp"]),
        (json!({ "data": ["/tmp/ssh-*"] }), &["write-tmp"]),
        (json!({ "data": ["/var/tmp/tmp*"] }), &["write-tmp"]),
        (json!({ "rules": ["owner /tmp/tmp* rw,"] }), &["write-tmp"]),
        (json!({ "temp": ["tmp????????"] }), &["write-tmp"]),
        (json!({ "temp": ["ssh-[a-z]*"] }), &["write-tmp"]),
        (json!({ "executable": "/opt/app/bin/app", "data": ["/opt/app/bin"] }), &["write-execute"]),
        (
            json!({ "data": ["/opt/app"], "execute": [{ "path": "/opt/app/tool", "transition": "inherit" }] }),
            &["write-execute"],
        ),
        (json!({ "data": ["/srv/app"], "libraries": ["/srv/app/venv"] }), &["write-execute"]),
        (json!({ "libraries": ["/usr/bin"] }), &["execute-directory"]),
        (json!({ "rules": ["/opt/x rwix,"] }), &["write-execute"]),
        (json!({ "rules": ["/opt/x w,", "/opt/** m,"] }), &["write-execute"]),
        (json!({ "capabilities": ["mknod"] }), &["capability-mknod"]),
        (json!({ "runtime": ["/run/initctl"] }), &["control-socket"]),
        (json!({ "data": ["/dev/mem"] }), &["raw-device"]),
        (json!({ "config": ["/dev/sda1"] }), &["raw-device"]),
        (json!({ "config": ["/dev/nvme0n1"] }), &["raw-device"]),
        (json!({ "runtime": ["/run/docker.sock"] }), &["control-socket"]),
        (json!({ "runtime": ["/run/containerd"] }), &["control-socket"]),
        (json!({ "rules": ["/etc/cron.d/x l,"] }), &["write-startup"]),
        // Programs of others.
        (json!({ "execute": [{ "path": "/usr/lib/**", "transition": "inherit" }] }), &["execute-directory"]),
        (json!({ "execute": [{ "path": "/opt/*/*", "transition": "inherit" }] }), &["execute-directory"]),
        (json!({ "rules": ["/usr/bin/** m,"] }), &["execute-directory"]),
        // Rules about something else than files.
        (json!({ "rules": ["change_profile,"] }), &["change-profile-any"]),
        (json!({ "rules": ["change_profile -> unconfined,"] }), &["change-profile-any"]),
        (json!({ "rules": ["change_profile /opt/x -> **,"] }), &["change-profile-any"]),
        (json!({ "rules": ["change_profile -> un*,"] }), &["change-profile-any"]),
        (json!({ "rules": ["change_profile -> *ed,"] }), &["change-profile-any"]),
        (json!({ "rules": ["change_profile -> [t-v]*,"] }), &["change-profile-any"]),
        (json!({ "rules": ["change_profile -> u,"] }), &["change-profile-any"]),
        (json!({ "rules": ["change_profile -> :x:unconfined,"] }), &["change-profile-any"]),
        (json!({ "rules": ["change_profile -> :x://unconf,"] }), &["change-profile-any"]),
        (json!({ "rules": ["change_profile -> /usr/sbin/*,"] }), &["change-profile-any"]),
        (json!({ "rules": ["link /srv/app/* -> /**,"] }), &["link-any"]),
        (json!({ "rules": ["/srv/app/* l -> /etc/shadow,"] }), &["link-any"]),
        (json!({ "rules": ["mount,"] }), &["mount-any"]),
        (json!({ "rules": ["mount options=bind / -> /**,"] }), &["mount-any"]),
        (json!({ "rules": ["mount options=bind -> /run/app/,"] }), &["mount-any"]),
        (json!({ "rules": ["umount,"] }), &["mount-any"]),
        (json!({ "rules": ["pivot_root,"] }), &["mount-any"]),
        (json!({ "rules": ["ptrace,"] }), &["ptrace-any"]),
        (json!({ "rules": ["ptrace (read, trace),"] }), &["ptrace-any"]),
        (json!({ "rules": ["ptrace trace peer=unconfined,"] }), &["ptrace-any"]),
        (json!({ "rules": ["ptrace (trace) peer=un*,"] }), &["ptrace-any"]),
        (json!({ "rules": ["signal (send) peer=[a-z]*,"] }), &["signal-any"]),
        (json!({ "rules": ["signal (send) peer=unconfined,"] }), &["signal-any"]),
        (json!({ "signals": [{ "direction": "send", "peer": "unconfined" }] }), &["signal-any"]),
        (json!({ "signals": [{ "direction": "send", "peer": "unc" }] }), &["signal-any"]),
        (
            json!({ "execute": [{ "path": "/opt/x", "transition": "profile", "profile": "u" }] }),
            &["execute-unconfined"],
        ),
        (json!({ "rules": ["/opt/x Px -> unconf,"] }), &["execute-unconfined"]),
        (json!({ "rules": ["unix (connect) peer=(label=*),"] }), &["unix-any"]),
        (json!({ "rules": ["unix (connect) peer=(label=un* addr=@*),"] }), &["unix-any"]),
        (json!({ "rules": ["unix (connect) addr=@mine,"] }), &["unix-any"]),
        (json!({ "rules": ["dbus send bus=system path=/org/x,"] }), &["dbus-any"]),
        (json!({ "rules": ["dbus send bus=system member=X,"] }), &["dbus-any"]),
        (json!({ "rules": ["dbus send bus=system peer=(name=org.*),"] }), &["dbus-any"]),
        (json!({ "rules": ["dbus send interface=org.freedesktop.DBus.Properties,"] }), &["dbus-any"]),
        (json!({ "rules": ["dbus eavesdrop bus=system,"] }), &["dbus-any"]),
        (json!({ "rules": ["dbus (send, eavesdrop) peer=(name=org.x),"] }), &["dbus-any"]),
        (json!({ "rules": ["dbus bind bus=system name=org.*,"] }), &["dbus-any"]),
        (json!({ "rules": ["dbus send peer=(name=org.freedesktop.systemd1),"] }), &["control-socket"]),
        (json!({ "rules": ["dbus send interface=org.freedesktop.login1.Manager,"] }), &["control-socket"]),
        (
            json!({ "rules": ["dbus send member=X peer=( label=polkitd, name = \"org.freedesktop.{PolicyKit1,x}\" ),"] }),
            &["control-socket"],
        ),
        (json!({ "rules": ["signal,"] }), &["signal-any"]),
        (json!({ "rules": ["signal (send) set=(kill),"] }), &["signal-any"]),
        (json!({ "rules": ["signal send peer=**,"] }), &["signal-any"]),
        (json!({ "rules": ["dbus,"] }), &["dbus-any"]),
        (json!({ "rules": ["dbus send bus=system,"] }), &["dbus-any"]),
        (json!({ "rules": ["unix,"] }), &["unix-any"]),
        (json!({ "rules": ["unix (connect) type=stream,"] }), &["unix-any"]),
        (
            json!({ "rules": ["all,"] }),
            &[
                "write-root",
                "execute-directory",
                "network-any-family",
                "link-any",
                "change-profile-any",
                "mount-any",
                "ptrace-any",
                "signal-any",
                "dbus-any",
                "unix-any",
                "capability-any",
            ],
        ),
        (json!({ "rules": ["/usr/bin/x Ux,"] }), &["execute-unconfined"]),
        (json!({ "rules": ["capability,"] }), &["capability-any"]),
        (json!({ "rules": ["capability mac_admin sys_module,"] }), &["capability-mac-admin", "capability-sys-module"]),
        (json!({ "rules": ["network,"] }), &["network-any-family"]),
        (json!({ "rules": ["network stream,"] }), &["network-any-family"]),
    ] {
        let problems = on_host(&service(fields.clone()), ENFORCE, &[]).err().unwrap_or_default();
        assert!(problems.iter().all(|problem| problem.code == ProblemCode::TooBroad), "{fields} {problems:?}");
        let named = |problem: &Problem| {
            let allowed = problem.allowed.clone().unwrap();
            allowed.split_once("\"code\": \"").unwrap().1.split_once('"').unwrap().0.to_owned()
        };
        let found: Vec<_> = problems.iter().map(named).collect();
        if found != codes {
            wrong.push(format!("{fields} has {found:?}, not {codes:?}"));
            continue;
        }

        let codes = BTreeSet::from_iter(codes);
        let accept: Vec<_> = codes.iter().map(|code| json!({ "code": code, "reason": "a laboratory" })).collect();
        let mut accepted = fields.clone();
        accepted.as_object_mut().unwrap().insert("accept".to_owned(), json!(accept));
        let rendered = rendered(accepted);
        for code in codes {
            let told = format!("accepted as `{code}` by the service: a laboratory");
            assert!(rendered.warnings.iter().any(|warning| warning.contains(&told)), "{:?}", rendered.warnings);
        }
        assert!(!rendered.warnings.iter().any(|warning| warning.contains("take it out")), "{:?}", rendered.warnings);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn narrow_terms_are_not_objected_to() {
    let rendered = rendered(json!({
        "config": ["/etc", "/usr/**", "/proc/*/stat"],
        "data": ["/var/lib/app", "/srv", "/etc/app.conf", "@{HOME}/.cache/app", "/var/lib/app-*", "/dev/ttyS0",
                 "/var/lib/pg", "/etc/x", "/var/log/x",
                 "/proc/sys/net/core/somaxconn", "/proc/*/oom_score_adj"],
        "runtime": ["/run/app.sock", "/run/pg", "/run/user/*/app.sock"],
        "rules": [
            "network inet,", "capability chown,", "deny /opt/x/** w,", "ptrace (read),", "signal (receive),",
            "signal (send) peer=nginx,", "unix (create, bind),", "unix (connect) peer=(addr=@x),", "dbus send bus=system path=/org/x peer=(name=org.x),",
            "dbus send interface=org.x.Y,", "dbus bind bus=system name=org.x,", "dbus receive bus=system,",
            "dbus send peer=(label=nginx),", "unix (connect) peer=(label=nginx),", "unix (connect) peer=(addr=none, label=app//x),",
            "signal (send) peer=@{profile_name}//*,", "signal (send) peer=ngi*,", "change_profile -> &unconfined,",
            "change_profile -> /usr/sbin/nginx,", "ptrace (trace) peer=app,",
            "mount fstype=tmpfs -> /run/app/,", "umount /run/app/,", "change_profile -> app//*,", "link subset /srv/a -> /srv/**,",
            "link /srv/a -> /srv/app/*,", "/usr/lib/** m,", "set rlimit nofile <= 1024,"
        ],
        "execute": [{ "path": "/usr/lib/app/*", "transition": "inherit" }]
    }));
    assert!(!rendered.warnings.iter().any(|warning| warning.contains("accept")), "{:?}", rendered.warnings);
}

#[test]
fn among_libraries_a_service_writes_what_has_its_name() {
    rendered(json!({ "data": ["/usr/lib/app", "/usr/lib/x86_64-linux-gnu/app/cache"] }));
    rendered(json!({ "name": "why", "data": ["/usr/local/lib/why/x"] }));
}

#[test]
fn what_is_accepted_in_vain_is_told() {
    let rendered = rendered(json!({ "accept": [{ "code": "write-var", "reason": "once" }] }));
    assert!(rendered.warnings[0].contains("`write-var` is accepted, and nothing"), "{:?}", rendered.warnings);
}
