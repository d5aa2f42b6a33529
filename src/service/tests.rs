use super::*;

#[test]
fn patterns_are_what_apparmor_reads() {
    for good in [
        "/etc/app",
        "/etc/app/",
        "/",
        "@{HOME}/.config/app",
        "/srv/{a,b{c,}}/*.conf",
        "/srv/[a-z0-9_]?",
        "/srv/[^.]*",
        "/opt/My App/größe",
        "/a,b",
        "/a\\*b\\{c\\,",
        "/x#y!z$(1)|2'3`4",
        "/a@b",
        "/...",
    ] {
        assert_eq!(PathPattern::new(good).map(|pattern| pattern.to_string()).as_deref(), Ok(good));
    }
    let long = format!("/{}", "a".repeat(MAX_VALUE));
    for bad in [
        "",
        "etc/app",
        "~/x",
        "/a\nb",
        "/a\0b",
        "/a\u{85}b",
        "/a\"b",
        "/a//b",
        "/a/../b",
        "/a/./b",
        "/a/..",
        "/a{b",
        "/a}b",
        "/a{b}c",
        "/a[b",
        "/a]b",
        "/a[]",
        "/a[^]",
        "/a[z-a]",
        "/a[/]",
        "/a[ö]",
        "/a\\",
        "/a\\nb",
        "/a\\\"",
        "/a\\@{HOME}",
        "/@{}",
        "/@{1}",
        "/@{HOME",
        "@HOME/x",
        "/[@{HOME}]",
        "/a[b]",
        "/a\u{202e}b",
        "/a\u{2028}b",
        "/a\u{2066}b",
        "/a\u{200b}b",
        "/a\u{feff}b",
        long.as_str(),
    ] {
        assert!(PathPattern::new(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_pattern_means_what_is_named_and_what_is_below() {
    for (pattern, meant) in [
        ("/etc/app", "/etc/app{,/**}"),
        ("/etc/app/", "/etc/app/{,**}"),
        ("/etc/{a,b}", "/etc/{a,b}{,/**}"),
        ("/etc/*.conf", "/etc/*.conf{,/**}"),
        ("/etc/app/*", "/etc/app/*"),
        ("/etc/app/**", "/etc/app/**"),
        ("/etc/app-[0-9]", "/etc/app-[0-9]"),
        ("/etc/app\\*", "/etc/app\\*{,/**}"),
        ("/", "/{,**}"),
        ("@{HOME}", "@{HOME}/{,**}"),
        ("@{HOME}/app", "@{HOME}/app{,/**}"),
        ("/srv/@{X}{a,b}", "/srv/@{X}{a,b}{,/**}"),
    ] {
        assert_eq!(PathPattern::new(pattern).unwrap().with_contents().as_str(), meant);
    }
}

#[test]
fn a_rule_is_one_rule() {
    for good in [
        "/etc/x r,",
        "\"/etc/a, b # c\" rw,",
        "owner @{HOME}/x{a,b} rw,",
        "audit deny /etc/{,g}shadow mrwklx,",
        "r /etc/x,",
        "file /etc/x r,",
        "capability setuid setgid,",
        "network inet stream,",
        "signal (send, receive) set=(hup, term) peer=nginx,",
        "unix (bind, listen) type=stream addr=\"@x\",",
        "dbus send bus=system path=/org/x member={A,B},",
        "/usr/bin/x Px -> y,",
        "set rlimit nofile <= 1024,",
        "signal (send)set=(hup)peer=nginx,",
        "signal send set = ( hup ) peer = \"a b\",",
        "\"/srv/a (b)\" r,",
        "/srv/a=b r,",
        "/opt/x Px -> \"a b\",",
        "link subset /a -> /b,",
        "change_profile \"/opt/x y\" -> b,",
        "mount fstype=tmpfs -> /run/x/,",
        "userns,",
        "include <abstractions/nameservice>",
        "include if exists <local/x>",
    ] {
        assert!(RuleText::new(good).is_ok(), "{good:?}");
    }
    for bad in [
        "",
        "/etc/x r",
        "/etc/x r, /etc/y r,",
        "/etc/x r,/etc/y r,",
        "/etc/x r, # comment",
        "# comment,",
        "/etc/x r,\n/etc/y r,",
        " /etc/x r,",
        "} profile y { /** rwx,",
        "/x r, } profile y { /y r,",
        "profile y { /x r, }",
        "profile y {,",
        "^hat {,",
        "owner { /x r, }",
        "@{X}=/y,",
        "$x=true,",
        "if $x { /y r, }",
        "include \"/etc/x\"",
        "include <a> include <b>",
        "include <a>, /x r,",
        "#include <a>",
        "include </etc/passwd>",
        "include <../x>",
        "include <abstractions/../../x>",
        "include if exists <local/./x>",
        "include <\"/etc/x\">",
        "/var/lib/app/../x r,",
        "\"/srv/a b/..\" r,",
        "r /srv/./x,",
        "rlimit nofile <= 1000,",
        "abi <abi/3.0>,",
        "alias /a -> /b,",
        "/x{a, b} r,",
        "/x\" r,",
        "/srv/\"x y\" r,",
        "/srv/\"x\" r,",
        "\"/srv/x\"y r,",
        "unix (connect) addr=@x\"y\",",
        "/srv/x y r,",
        "/srv/x\\ y r,",
        "/srv/\\x41 r,",
        "/srv/\\101 r,",
        "/srv/x,",
        "/srv/x q,",
        "/srv/x r -> a b,",
        "(),",
        ",",
        "hello,",
    ] {
        assert!(RuleText::new(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn names_are_plain() {
    for good in ["report-exporter", "/usr/sbin/cupsd", "a//b", "x+y_z.1"] {
        assert!(Label::new(good).is_ok(), "{good:?}");
    }
    for bad in ["", "a b", "a,", "a{b", "a\n", "-a", "a*", "a:b", "größe"] {
        assert!(Label::new(bad).is_err(), "{bad:?}");
    }
    assert!(Label::own("unconfined").is_err() && Label::own("a/b").is_err() && Label::own("a").is_ok());
    assert!(ClassName::new("proxy").is_err() && ClassName::new("web-2").is_ok() && ClassName::new("Web").is_err());
    for good in ["report-exporter-*", "abc", "app[0-9]", "template-x", "app-{a,b}", "tmp????????"] {
        assert!(TemporaryName::new(good).is_ok(), "{good:?}");
    }
    for bad in ["", "*", "ab*", "**", ".abc", "abc/d", "..", "abc\"", "ab{c,d}", "abc**", "abc@{HOME}"] {
        assert!(TemporaryName::new(bad).is_err(), "{bad:?}");
    }
    assert!(AbiName::new("4.0").unwrap().tells_socket_operations());
    for old in ["3.0", "kernel-5.4-vanilla", "3"] {
        assert!(!AbiName::new(old).unwrap().tells_socket_operations());
    }
    assert!(AbiName::new("../x").is_err() && AbiName::new("3.0>").is_err());
}

#[test]
fn what_is_written_out_is_followed() {
    for (pattern, written, led) in [
        ("/etc/app", Some("/etc/app"), "/srv/a/b"),
        ("/etc/app/", Some("/etc/app"), "/srv/a/b/"),
        ("/etc/app/*.conf", Some("/etc/app"), "/srv/a/b/*.conf"),
        ("/etc/app*", Some("/etc"), "/srv/a/b/app*"),
        ("/etc/a\\*", Some("/etc"), "/srv/a/b/a\\*"),
        ("/*/x", None, "/*/x"),
        ("@{HOME}/x", None, "@{HOME}/x"),
    ] {
        let pattern = PathPattern::new(pattern).unwrap();
        assert_eq!(pattern.written_out(), written, "{pattern}");
        if written.is_some() {
            assert_eq!(pattern.led_to("/srv/a/b").unwrap().as_str(), led);
        }
    }
    let app = PathPattern::new("/etc/app").unwrap();
    assert_eq!(app.led_to("/srv/[a]{b}*").unwrap().as_str(), "/srv/\\[a\\]\\{b\\}\\*");
    assert!(app.led_to("/srv/\"").is_err() && app.led_to("/srv/\n").is_err());
}

#[test]
fn a_programs_path_is_one_path() {
    for good in ["/usr/sbin/nginx", "/opt/My App/x,y", "/usr/bin/g++"] {
        assert!(Program::new(good).is_ok(), "{good:?}");
    }
    for bad in ["nginx", "/", "/usr/bin/", "/usr/bin/*", "/a/../b", "/{a,b}", "@{HOME}/x", "/usr/bin/[", "/a\"b"] {
        assert!(Program::new(bad).is_err(), "{bad:?}");
    }
    assert_eq!(Program::new("/usr/sbin/nginx").unwrap().file_name(), "usr.sbin.nginx");
}
