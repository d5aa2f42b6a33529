//! What a service asks for in two ways at once.

use super::*;

#[test]
fn a_deny_that_takes_away_what_is_asked_for_is_refused_and_names_both() {
    for (deny, asked) in [
        (json!({ "deny": ["/var/lib/app"] }), "/var/lib/app"),
        (json!({ "deny": ["/var/lib"] }), "/var/lib/app"),
        (json!({ "deny": ["/var/lib/*/x"] }), "/var/lib/app"),
        (json!({ "deny": ["/usr/bin/app"] }), "/usr/bin/app"),
        (json!({ "deny": ["/var/lib/app/**"] }), "/var/lib/app"),
        (json!({ "deny": ["/var/lib/app/"] }), "/var/lib/app"),
        (json!({ "deny": ["/var/lib/app/*"] }), "/var/lib/app"),
        (json!({ "rules": ["deny /var/lib/app/** w,"] }), "/var/lib/app"),
        (json!({ "rules": ["deny /var/lib/app/ r,"] }), "/var/lib/app"),
        (json!({ "rules": ["deny /var/lib/app w,"] }), "/var/lib/app"),
        (json!({ "rules": ["deny /var/lib/app/** x,"] }), ""),
        (json!({ "rules": ["deny /var/lib/app/*.key r,"] }), ""),
        (json!({ "deny": ["/var/lib/app/keys/**"] }), ""),
        (json!({ "config": ["/etc/app/*"], "deny": ["/etc/app/**"] }), "/etc/app/*"),
        (json!({ "logs": ["/var/log/app/"], "rules": ["deny /var/log/app/* a,"] }), "/var/log/app/"),
        (json!({ "runtime": ["/run/app.sock"], "rules": ["deny /run/app.sock w,"] }), "/run/app.sock"),
        (
            json!({ "deny": ["/srv/kid/**"], "execute": [{ "path": "/opt/x", "transition": "child",
                "needs": { "data": ["/srv/kid"] } }] }),
            "/srv/kid",
        ),
        (
            json!({ "rules": ["deny network inet tcp,"], "listen": [{ "family": "inet", "type": "stream" }] }),
            "network inet stream,",
        ),
        (
            json!({ "rules": ["deny network tcp,"], "listen": [{ "family": "inet", "type": "stream" }] }),
            "network inet stream,",
        ),
        (json!({ "rules": ["deny network udp,"], "listen": [{ "family": "inet", "type": "stream" }] }), ""),
        (json!({ "rules": ["audit deny /var/lib/** rw,"] }), "/var/lib/app"),
        (json!({ "rules": ["deny capability setuid,"], "capabilities": ["setuid"] }), "setuid"),
        (json!({ "rules": ["deny capability,", "capability chown,"] }), "capability chown,"),
        (
            json!({ "rules": ["deny network,"], "listen": [{ "family": "inet" }] }),
            "network inet dgram, network inet stream,",
        ),
        (
            json!({ "rules": ["deny network inet,"], "connect": [{ "family": "inet", "type": "stream" }] }),
            "network inet stream,",
        ),
        (json!({ "rules": ["deny network inet stream,"], "listen": [{ "family": "inet" }] }), ""),
        (json!({ "rules": ["deny network inet6,"], "listen": [{ "family": "inet" }] }), ""),
        (
            json!({ "rules": ["deny signal send set=(hup, term) peer=ngi*,"],
                    "signals": [{ "direction": "send", "signals": ["term"], "peer": "nginx" }] }),
            "signal (send) set=(term) peer=nginx,",
        ),
        (
            json!({ "rules": ["deny signal send set=(hup),"],
                    "signals": [{ "direction": "send", "signals": ["hup", "term"], "peer": "nginx" }] }),
            "",
        ),
        (json!({ "rules": ["ptrace read peer=x,", "deny ptrace,"] }), "ptrace read peer=x,"),
        (
            json!({ "deny": ["/etc/secret"], "execute": [{ "path": "/opt/x", "transition": "child",
                "needs": { "config": ["/etc/secret"] } }] }),
            "/etc/secret",
        ),
        (
            json!({ "execute": [{ "path": "/opt/x", "transition": "child",
                "needs": { "capabilities": ["setuid"], "rules": ["deny capability setuid,"] } }] }),
            "setuid",
        ),
    ] {
        let mut fields = json!({ "data": ["/var/lib/app"] });
        fields.as_object_mut().unwrap().extend(deny.as_object().unwrap().clone());
        let outcome = on_host(&service(fields), ENFORCE, &[]);
        if asked.is_empty() {
            assert!(outcome.is_ok(), "an exception within what is asked for: {deny}");
            continue;
        }
        let problems = outcome.unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].code, ProblemCode::Conflict);
        assert!(problems[0].message.contains(asked) && problems[0].pointer.contains('/'), "{problems:?}");
    }
    assert_has(
        json!({ "data": ["/var/lib/app"], "deny": ["/var/lib/app/secret"] }),
        &["audit deny /var/lib/app/secret{,/**} mrwklx,"],
    );
}

#[test]
fn conflicting_transitions_are_refused() {
    let entry = |path: &str, transition: &str| json!({ "path": path, "transition": transition });
    for (one, two) in [
        (entry("/opt/x", "inherit"), entry("/opt/x", "child")),
        (entry("/opt/app/x*", "inherit"), json!({ "path": "/opt/app/*x", "transition": "profile", "profile": "y" })),
        (entry("/opt/{a,b}", "inherit"), entry("/opt/a", "child")),
        (entry("/opt/app/[a-c]", "inherit"), entry("/opt/app/b", "child")),
        (entry("/opt/app/[a-c]", "inherit"), json!({ "path": "/opt/app/*", "transition": "child", "profile": "c" })),
        (entry("/opt/x{,y}", "inherit"), entry("/opt/x", "child")),
        (entry("/opt/x", "child"), entry("/srv/x", "child")),
    ] {
        let refused = refused(json!({ "execute": [one, two] }));
        assert_eq!(refused, [("/profiles/0/service/execute/1".to_owned(), ProblemCode::Conflict)], "{one} {two}");
    }
    for (one, two) in [("/opt/app/*", "/opt/app/x"), ("/opt/app/a*", "/opt/app/b*")] {
        rendered(
            json!({ "execute": [entry(one, "inherit"), json!({ "path": two, "transition": "child", "profile": "c" })] }),
        );
    }
    let other = json!({ "path": "/opt/x", "transition": "profile", "profile": "y" });
    for (execute, rules, place) in [
        (json!([entry("/opt/x", "inherit")]), json!(["/opt/x Px -> y,"]), "rules/0"),
        (json!([other]), json!(["/opt/x px -> y,"]), "rules/0"),
        (json!([]), json!(["/opt/app/x* ix,", "/opt/app/*x Px -> y,"]), "rules/1"),
        (json!([]), json!(["/opt/app/x Cx -> nochild,"]), "rules/0"),
        (json!([]), json!(["/opt/app/x Cix,"]), "rules/0"),
        (json!([]), json!(["/opt/x mrix,", "/opt/{x,y} Px,"]), "rules/1"),
        (
            json!([{ "path": "/opt/x", "transition": "child", "needs": { "rules": ["/opt/y ix,", "/opt/y Px,"] } }]),
            json!([]),
            "execute/0/needs/rules/1",
        ),
    ] {
        let refused = refused(json!({ "execute": execute, "rules": rules }));
        assert_eq!(refused, [(format!("/profiles/0/service/{place}"), ProblemCode::Conflict)], "{execute} {rules}");
    }
    let kid = json!({ "path": "/opt/kid", "transition": "child" });
    rendered(json!({ "execute": [kid], "rules": ["/opt/x Cx -> kid,", "/opt/kid Cx -> kid,"] }));
    rendered(json!({ "execute": [other], "rules": ["/opt/x Px -> y,", "/opt/app/** ix,", "deny /opt/z x,"] }));
}

#[test]
fn a_denial_of_what_the_class_allows_is_told() {
    for (fields, what) in [
        (json!({ "deny": ["/usr/lib"] }), "libc.so.6"),
        (json!({ "deny": ["/etc/passwd"] }), "/etc/passwd r,"),
        (json!({ "rules": ["deny /dev/** w,"] }), "/dev/null rw,"),
        (json!({ "class": "proxy", "rules": ["deny capability net_bind_service,"] }), "capability net_bind_service,"),
        (json!({ "class": "proxy", "rules": ["deny network inet,"] }), "network inet stream,"),
    ] {
        let warnings = rendered(fields.clone()).warnings;
        let told = |warning: &String| warning.contains("takes away") && warning.contains(what);
        assert_eq!(warnings.iter().filter(|warning| told(warning)).count(), 1, "{fields}: {warnings:#?}");
    }
    for fields in [
        json!({ "deny": ["/usr/lib/app/secret"] }),
        json!({ "class": "observer", "deny": ["/sys/firmware"] }),
        json!({ "class": "proxy", "rules": ["deny network inet6 raw,"] }),
    ] {
        assert_eq!(rendered(fields).warnings, Vec::<String>::new());
    }
}
