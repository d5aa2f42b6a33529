use proptest::prelude::*;

use super::*;
use crate::syntax;

fn variables() -> Variables {
    let mut variables = Variables::default();
    variables.add(&syntax::scan(b"@{HOME}=@{HOMEDIRS}/*/ /root/\n@{HOMEDIRS}=/home/\n"));
    variables
}

const LETTERS: Letters = Letters { first: 3, others: 3 };

fn glob(pattern: &str) -> Glob {
    Glob::new(pattern, &variables()).unwrap()
}

fn path(path: &str) -> Glob {
    glob(&path.replace(['*', '?', '[', ']', '{', '}', '\\'], "_"))
}

#[test]
fn a_pattern_matches_what_apparmor_says() {
    for (pattern, matched, other) in [
        ("/x{,/**}", &["/x", "/x/", "/x/a", "/x/a/b"][..], &["/xa", "/"][..]),
        ("/x/**", &["/x/a", "/x/a/"], &["/x", "/x/"]),
        ("/x/*", &["/x/a"], &["/x/", "/x/a/", "/x/a/b"]),
        ("/x/*/", &["/x/a/"], &["/x//", "/x/a"]),
        ("/x/*.d/", &["/x/.d/", "/x/a.d/"], &["/x/a/.d/"]),
        ("/x/a*", &["/x/a", "/x/ab"], &["/x/a/"]),
        ("/x/{a,b{c,}}?", &["/x/az", "/x/bz", "/x/bcz"], &["/x/a", "/x/cz", "/x/a/"]),
        ("/x/[a-c^]", &["/x/b", "/x/^"], &["/x/d", "/x/-"]),
        ("/x/[^a-c]", &["/x/d"], &["/x/a"]),
        ("/x\\*", &["/x_"], &[]),
        ("@{HOME}/.ssh/", &["/home/a/.ssh/", "/root/.ssh/"], &["/home/.ssh/", "/home/a/b/.ssh/"]),
        ("/a,b", &["/a,b"], &["/a", "/b"]),
    ] {
        for matched in matched {
            let wanted = if pattern == "/x\\*" { glob("/x\\*") } else { path(matched) };
            assert!(glob(pattern).meets(&wanted), "{pattern} {matched}");
        }
        for other in other {
            assert!(!glob(pattern).meets(&path(other)), "{pattern} {other}");
        }
    }
}

#[test]
fn patterns_meet_where_a_path_matches_both() {
    for (one, two) in [
        ("/home/app/**", "@{HOME}/{,**}"),
        ("/**", "/etc/{,g}shadow{,-}"),
        ("/{usr/,}bin/*", "/usr/{,local/}bin/{ba,}sh"),
        ("/etc/*shadow", "/etc/{,g}shadow{,-}"),
    ] {
        assert!(glob(one).meets(&glob(two)) && glob(two).meets(&glob(one)), "{one} {two}");
    }
    for (one, two) in [
        ("/home", "@{HOME}/{,**}"),
        ("/etc/*.conf", "/etc/{,g}shadow{,-}"),
        ("/usr/bin/bashful", "/{,usr/}bin/{bash,sh}"),
        ("/srv/a/**", "/srv/b/**"),
    ] {
        assert!(!glob(one).meets(&glob(two)) && !glob(two).meets(&glob(one)), "{one} {two}");
    }
}

#[test]
fn a_pattern_covers_what_is_within_it() {
    for (outer, inner) in [
        ("/srv/**", "/srv/a/**"),
        ("/srv{,/**}", "/srv/*/x"),
        ("@{HOME}/{,**}", "/root/.ssh/id"),
        ("/a/[a-z]", "/a/[b-d]"),
        ("/a/{b,c}", "/a/[bc]"),
        ("/a/*", "/a/?*"),
    ] {
        assert!(glob(outer).covers(&glob(inner)), "{outer} {inner}");
        assert!(glob(outer).meets(&glob(inner)), "{outer} {inner}");
    }
    for (outer, inner) in [("/srv/a/**", "/srv/**"), ("/srv/**", "/srv{,/**}"), ("/a/[bc]", "/a/[b-d]"), ("/a", "/b")] {
        assert!(!glob(outer).covers(&glob(inner)), "{outer} {inner}");
    }
}

#[test]
fn what_is_left_to_wildcards_is_unnamed() {
    for (pattern, directory) in [
        ("/**", "/etc/"),
        ("/etc{,/**}", "/etc/"),
        ("/v*/**", "/var/"),
        ("/{etc,usr}/**", "/usr/"),
        ("/etc/[a-f]*", "/etc/"),
        ("/etc/[^a-z]*", "/etc/"),
        ("/etc/??", "/etc/"),
        ("/etc/s*", "/etc/"),
        ("/etc/*.conf", "/etc/"),
        ("/etc/*/*/**", "/etc/"),
        ("/etc/*/a*", "/etc/"),
        ("/**.conf", "/etc/"),
        ("/**/x*", "/etc/"),
        ("/etc/a**", "/etc/"),
        ("/etc/a{,b*}/c*", "/etc/"),
        ("/**/", "/var/"),
        ("/e**", "/etc/"),
        ("@{HOME}/**", "/home/"),
        ("@{HOME}/.*", "/root/"),
        ("@{HOMEDIRS}/**", "/home/"),
        ("/usr/lib/*-linux-gnu/**", "/usr/lib/"),
        ("/usr/lib/x86_64-linux-gnu/**", "/usr/lib/*-linux-gnu*/"),
    ] {
        assert!(glob(pattern).has_unnamed(&glob(directory), LETTERS), "{pattern} {directory}");
    }
    for (pattern, directory) in [
        ("/etc/nginx{,/**}", "/etc/"),
        ("/etc/mc{,/x}", "/etc/"),
        ("/etc/{passwd,a,bb}", "/etc/"),
        ("/etc/app-*", "/etc/"),
        ("/etc/*/nginx.conf", "/etc/"),
        ("/etc/x{,/**}", "/etc/"),
        ("/etc/*/pg", "/etc/"),
        ("/etc/*/pg/**", "/etc/"),
        ("/**/nginx.conf", "/etc/"),
        ("/etc", "/etc/"),
        ("/etcetera/**", "/etc/"),
        ("/home/alice/**", "/home/"),
        ("@{HOME}/.cache/**", "/home/"),
        ("/usr/lib/x86_64-linux-gnu/**", "/usr/lib/"),
    ] {
        assert!(!glob(pattern).has_unnamed(&glob(directory), LETTERS), "{pattern} {directory}");
    }
}

#[test]
fn the_shape_of_what_a_pattern_matches() {
    for (pattern, absolute, directories, wildcards) in [
        ("/etc/a", true, false, Wildcards::None),
        ("/etc/a/", true, true, Wildcards::None),
        ("/etc/{a,b}/", true, true, Wildcards::None),
        ("/etc/a{,/}", true, false, Wildcards::None),
        ("/etc/*", true, false, Wildcards::Some),
        ("/etc/*/", true, true, Wildcards::Some),
        ("/etc/[ab]?", true, false, Wildcards::Some),
        ("/etc/{a,[ab]}", true, false, Wildcards::ClassesAlone),
        ("@{HOME}", true, true, Wildcards::Some),
        ("*-linux-gnu*", false, false, Wildcards::Some),
        ("{/a,b}", false, false, Wildcards::None),
        ("", false, false, Wildcards::None),
        ("{,/}", false, false, Wildcards::None),
    ] {
        let glob = glob(pattern);
        assert_eq!(
            (glob.is_absolute(), glob.is_of_directories(), glob.wildcards()),
            (absolute, directories, wildcards),
            "{pattern}"
        );
    }
}

/// Patterns of a few letters, so that random ones meet.
fn pattern() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just("/".to_owned()),
        Just("*".to_owned()),
        Just("**".to_owned()),
        Just("?".to_owned()),
        Just("[ab]".to_owned()),
        Just("[^a]".to_owned()),
        Just("{a,/b}".to_owned()),
        Just("{,a*}".to_owned()),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #[test]
    fn a_path_that_both_match_is_one_where_they_meet(one in pattern(), two in pattern(), path in "(/[ab]{1,2}){1,3}/?") {
        let (one, two, path) = (glob(&one), glob(&two), super::tests::path(&path));
        let (in_one, in_two) = (one.meets(&path), two.meets(&path));
        prop_assert_eq!(in_one, one.covers(&path));
        if in_one && in_two {
            prop_assert!(one.meets(&two) && two.meets(&one));
        }
        if in_one && !in_two {
            prop_assert!(!two.covers(&one));
        }
        prop_assert!(one.covers(&one) && one.meets(&one) == one.covers(&one));
        let union = Glob::union([&one, &two]);
        prop_assert_eq!(union.meets(&path), in_one || in_two);
        prop_assert!(union.covers(&one) && union.covers(&two));
    }

    /// What is written out is named, whatever stands around it; what takes a directory as a whole has unnamed paths.
    #[test]
    fn a_pattern_with_its_own_name_in_front_has_nothing_unnamed(pattern in pattern()) {
        let (directory, all) = (glob("/etc/"), glob("/etc/**"));
        let named = glob(&format!("/etc/app{pattern}"));
        prop_assert!(!named.has_unnamed(&directory, LETTERS));
        let within = glob(&format!("/etc{pattern}"));
        prop_assert!(within.has_unnamed(&directory, LETTERS) || !within.covers(&all));
        prop_assert!(within.wildcards() != Wildcards::None || !within.has_unnamed(&directory, LETTERS));
    }

    #[test]
    fn any_text_is_read(pattern in "[a-c/*?{},\\[\\]^\\\\-]{0,40}") {
        let glob = glob(&pattern);
        let _ = (glob.covers(&glob), glob.is_absolute(), glob.is_of_directories());
        let _ = glob.has_unnamed(&super::tests::glob("/a/"), LETTERS);
    }
}
