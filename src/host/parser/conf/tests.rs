use proptest::prelude::*;

use super::*;

fn cache_locs(text: &str) -> Vec<PathBuf> {
    ParserConf::parse(text.as_bytes()).cache_locs()
}

/// Each case was given to `apparmor_parser --config-file FILE --print-cache-dir` (3.0.8, which starts in `/` at boot).
#[test]
fn lines_are_read_as_the_parser_reads_them() {
    let long = "a".repeat(300);
    let cases: [(&str, &[&str]); 18] = [
        ("cache-loc /a,/b\n", &["/a", "/b"]),
        ("cache-loc=/a\ncache-loc /b", &["/b"]),
        ("cache-loc = /a\n", &["/= /a"]),
        ("cache-loc==/a\n", &["/=/a"]),
        ("\t cache-loc  \t/a b  \n", &["/a b  "]),
        ("cache-loc=/a\\,b,/c\n", &["/a\\", "/b", "/c"]),
        ("cache-loc ~/x\n", &["/~/x"]),
        ("cache-loc\n", &DEFAULT_CACHE_LOCS),
        ("nonsense 3\nquiet\n", &DEFAULT_CACHE_LOCS),
        ("  #cache-loc /z\ncache-loc #/z\n", &["/#/z"]),
        ("cache-loc \"/a b\"\n", &["/\"/a b\""]),
        ("cache-loc /a\r\n", &["/a\r"]),
        ("--cache-loc /a\n", &DEFAULT_CACHE_LOCS),
        ("cache-loc ,,/a,\n", &["/a"]),
        ("Cache-loc /a\n", &DEFAULT_CACHE_LOCS),
        ("=cache-loc /a\n", &["/a"]),
        ("cache-loc /a\0b\ncache-loc /c", &["/c"]),
        // The parser itself loops for ever on this one.
        ("cache-loc /a\\\n", &["/a\\"]),
    ];
    for (text, expected) in cases {
        assert_eq!(cache_locs(text), expected.iter().map(PathBuf::from).collect::<Vec<_>>(), "{text:?}");
    }
    let conf = ParserConf::parse(format!("cache-loc /{long}\n").as_bytes());
    assert_eq!(conf.cache_locs(), [PathBuf::from(format!("/{}", "a".repeat(244)))]);
    assert_eq!(conf.unknown, ["a".repeat(56)], "a line is cut after 255 bytes");
}

#[test]
fn debians_file_pins_the_features() {
    let text = "## Set\n#Include /etc/apparmor.d/\n#Optimize=no-minimize\n\npolicy-features=/usr/share/apparmor-features/features\n";
    let conf = ParserConf::parse(text.as_bytes());
    let features = PathBuf::from("/usr/share/apparmor-features/features");
    assert_eq!(conf.files().collect::<Vec<_>>(), [features.as_path()]);
    let arguments = conf.arguments(|path| Path::new("/stage").join(path.strip_prefix("/").unwrap()), Path::new("/k"));
    assert_eq!(arguments, ["--policy-features", "/stage/usr/share/apparmor-features/features"]);
    assert_eq!(ParserConf { policy_features: Some(PolicyFeatures::File(features)), ..ParserConf::default() }, conf);
}

#[test]
fn only_what_changes_the_result_is_kept() {
    let text = "Complain\nOptimize=no-minimize\noptimize compress-fast\njobs=4\nwrite-cache\nreplace\nsubdomainfs /x\n\
                Include /one\nInclude two\nbase /etc/policy\nWerror=all\nwarn=all\nkernel-features /k\nremove\n\
                override-policy-abi <kernel>\nmatch-string pattern=aadfa audit\nfrobnicate 3\n";
    let conf = ParserConf::parse(text.as_bytes());
    assert_eq!(conf.includes, [Path::new("/one"), Path::new("/two")]);
    assert_eq!(conf.base(), Path::new("/etc/policy"));
    assert_eq!(conf.kernel_features.as_deref(), Some(Path::new("/k")));
    assert!(conf.write_cache && conf.forces_complain);
    assert_eq!(conf.unknown, ["frobnicate"]);
    assert_eq!(conf.staged(), b"Complain\nOptimize=no-minimize\noptimize=compress-fast\nWerror=all\n");
    let arguments = conf.arguments(Path::to_owned, Path::new("/kernel"));
    let expected = ["--Include", "/one", "--Include", "/two", "--match-string", "pattern=aadfa audit"];
    assert_eq!(arguments[..6], expected);
    assert_eq!(arguments[6..], ["--override-policy-abi", "/kernel"]);
}

#[test]
fn options_that_change_what_a_boot_does_are_known() {
    let named = |text: &str| -> Vec<&str> {
        let conf = ParserConf::parse(text.as_bytes());
        assert!(conf.unknown.is_empty(), "{text}");
        conf.at_boot.into_iter().map(|(option, _)| option).collect()
    };
    assert_eq!(
        named("skip-kernel-load\nnamespace=x\nquiet\nadd\nskip-cache\n"),
        ["skip-kernel-load", "namespace", "skip-cache"]
    );
    assert_eq!(named("namespace\nwrite-cache\njobs=3\n"), [""; 0], "an option without its value does nothing");
    for (option, _) in AT_BOOT {
        assert_eq!(named(&format!("{option}=x\n")), [option]);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_configuration(text in proptest::collection::vec(any::<u8>(), 0..600)) {
        let conf = ParserConf::parse(&text);
        prop_assert!(conf.cache_locs().iter().all(|place| place.is_absolute()));
        prop_assert!(conf.base().is_absolute());
    }

    #[test]
    fn a_kept_configuration_is_read_back(text in "((Optimize|namespace|Complain|jobs|x)[ =]?[a-z, \t=]{0,9}\n){0,6}") {
        let conf = ParserConf::parse(text.as_bytes());
        let kept = ParserConf::parse(&conf.staged());
        prop_assert_eq!(kept.staged(), conf.staged());
        prop_assert_eq!(kept.unknown, Vec::<String>::new());
    }
}
