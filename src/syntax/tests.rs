use proptest::prelude::*;

use super::*;
use crate::profile::{Mode, ModeScope};

/// The headers of a text as `kind name attachment mode`, each indented below its parent.
fn headers(text: &str) -> Vec<String> {
    let scan = scan(text.as_bytes());
    let depth = |at: usize| std::iter::successors(Some(at), |at| scan.headers[*at].parent).count() - 1;
    scan.headers
        .iter()
        .enumerate()
        .map(|(at, header)| {
            let kind = if header.kind == HeaderKind::Hat { "^" } else { "" };
            let attachment = header.attachment.as_ref().map(|path| format!(" {path}")).unwrap_or_default();
            let mode = header.mode.map(|mode| format!(" ({mode})")).unwrap_or_default();
            format!("{}{kind}{}{attachment}{mode}", " ".repeat(depth(at)), header.name)
        })
        .collect()
}

fn set(text: &str, mode: Mode) -> String {
    let rewritten = set_mode(text.as_bytes(), &scan(text.as_bytes()), mode, ModeScope::All);
    String::from_utf8(rewritten.text.into_owned()).unwrap()
}

#[test]
fn headers_that_the_parser_accepts_are_found() {
    for (text, found) in [
        ("profile a {}", vec!["a"]),
        ("profile a{ {}", vec!["a{"]),
        ("/b{c,d} {}", vec!["/b{c,d}"]),
        ("\"/b c\"{}", vec!["/b c"]),
        ("profile \"a b\" {}", vec!["a b"]),
        ("profile a\\ b {}", vec!["a\\ b"]),
        ("profile \"a\\\"b\\x20c\\101\\*\" {}", vec!["a\"b cA\\*"]),
        ("profile \"a\\x00b\" {}", vec!["a\\x00b"]),
        ("profile @{X} {}", vec!["@{X}"]),
        ("profile a @{X} {}", vec!["a @{X}"]),
        ("profile a @{X}/{b,c} {}", vec!["a @{X}/{b,c}"]),
        ("profile a \"/b c\" {}", vec!["a /b c"]),
        ("profile/foo {}", vec!["/foo"]),
        (":ns:a {}", vec![":ns:a"]),
        ("\":ns:a b\" {}", vec![":ns:a b"]),
        ("profile :ns://a {}", vec![":ns://a"]),
        ("profile a//b {}", vec!["a//b"]),
        ("^h {}", vec!["^h"]),
        ("hat h {}", vec!["^h"]),
        ("profile a # x {\n /b # y\n {}", vec!["a /b"]),
        ("profile a (complain) {}", vec!["a (complain)"]),
        ("profile a flags = ( audit, kill, ) {}", vec!["a (kill)"]),
        ("profile a flags = \n (audit\ncomplain) # {\n{}", vec!["a (complain)"]),
        ("profile a flags=(,unconfined){}profile b {}", vec!["a (unconfined)", "b"]),
        ("profile a flags=(\"complain\") {}", vec!["a (complain)"]),
        ("profile a flags=(compl\\x61in) {}", vec!["a (complain)"]),
        ("profile a flags=(enforce) {}", vec!["a (enforce)"]),
        ("profile a flags=(attach_disconnected.path=/x) {}", vec!["a"]),
        ("/x xattrs=(user.a=\"x)\" user.b=(y z))(complain) {}", vec!["/x (complain)"]),
        ("profile a { profile b { ^c (kill) {} } hat\"d e\"{} }", vec!["a", " b", "  ^c (kill)", " ^d e"]),
        (
            "${x}=true\nprofile a { if ${x} { ^b {} } else if not $y { ^c {} } else {^d {}} }",
            vec!["a", " ^b", " ^c", " ^d"],
        ),
    ] {
        assert_eq!(headers(text), found, "{text:?}");
    }
}

#[test]
fn braces_of_rules_begin_no_header() {
    for rule in [
        "/b{c,d} r,",
        "/b{c,d}{e,f} r,/g{h,i} r,",
        "\"/b {c\" r,",
        "owner { /x r, }",
        "audit deny { /x r, }",
        "{ /x r, }",
        "if $x { /x r, }",
        "if defined @{X} { /x r, } else { /y r, }",
        "if @{X} == \"{\" { /x r, }",
        "change_profile -> x,",
        "change_profile -> {a,b}, change_profile unsafe /{x,y} -> c,",
        "/x px -> {profile,b},",
        "signal peer=a{b,c}, mount {,/b} -> /c{d,e},",
        "mount options=(ro, \"{\") fstype=ext{2,3} -> /x,",
        "dbus send bus=session path=/{a,b} peer=(name=a{b,c}, label=\"{\"),",
        "unix (connect, receive) peer=(addr=\"@{x\"),",
        "ptrace peer=\"x {y\", /a r,",
        "capability # {\n chown,",
        "set rlimit nofile <= 1024, set rlimit nice <= -10,/x r,",
        "link subset /a{,b} -> /{c,d}, pivot_root oldroot=/a{,b} /b -> c,",
        "# profile y {\n",
        "/x r, # profile y {\n",
        "@{X}{a,b}/c r,",
        "@{X} {rw},",
        "/b {}",
        "network inet stream, network,",
    ] {
        assert_eq!(headers(&format!("profile a {{ {rule} ^z {{}} }}\nprofile b {{}}")), ["a", " ^z", "b"], "{rule}");
    }
}

#[test]
fn what_the_parser_refuses_is_no_header() {
    for text in [
        "profile a{}",
        "profile\na {}",
        "^ h {}",
        "@{X} {}",
        "@{X}/a {}",
        "b {}",
        "&b {}",
        "/b! {}",
        "profile a flags=(complain) /b {}",
        "profile a flags=complain {}",
        "profile a (kill) (kill) {}",
        "profile a flags=(complain) xattrs=(user.x=y) {}",
        "profile a /b \"{}",
        "profile \"a {}",
    ] {
        assert_eq!(headers(text), Vec::<String>::new(), "{text:?}");
    }
    // Upper case is no mode, and neither is a word with a carriage return.
    assert_eq!(headers("profile a (Complain) {}\nprofile b (kill\r\n) {}"), ["a", "b"]);
}

#[test]
fn headers_have_the_line_in_which_they_begin() {
    let text = b"# one\nprofile a\n/b\n{\n  #include <x>\n  hat h {}\n}\n/c {}";
    let scan = scan(text);
    assert_eq!(scan.headers.iter().map(|header| line_at(text, header.start)).collect::<Vec<_>>(), [2, 6, 8]);
    assert_eq!((line_at(text, scan.includes[0].argument.start), scan.includes[0].within), (5, Some(0)));
}

#[test]
fn modes_change_flags_and_nothing_else() {
    use Mode::{Complain, Enforce, Kill, Unconfined};
    for (before, mode, after) in [
        ("/a { ^b{} }", Complain, "/a flags=(complain) { ^b{} }"),
        ("/a{,b} # {\n{ hat c {} }", Kill, "/a{,b} # {\nflags=(kill) { hat c flags=(kill) {} }"),
        ("\"/a b\"{}", Complain, "\"/a b\"flags=(complain) {}"),
        ("/a (complain){}", Enforce, "/a {}"),
        ("/a (complain){}", Unconfined, "/a (unconfined){}"),
        ("/a flags=(enforce) {}", Enforce, "/a flags=(enforce) {}"),
        ("/a flags=(enforce) {}", Complain, "/a flags=(complain) {}"),
        ("/a flags=(complain)  {}", Enforce, "/a  {}"),
        ("/a flags=( audit, kill, ) {}", Enforce, "/a flags=( audit, ) {}"),
        ("/a flags=(kill,audit) {}", Enforce, "/a flags=(audit) {}"),
        ("/a flags=(\n  kill\n  audit\n) {}", Enforce, "/a flags=(\n  audit\n) {}"),
        ("/a flags=(audit kill debug) {}", Enforce, "/a flags=(audit debug) {}"),
        ("/a (audit\"kill\"debug) {}", Enforce, "/a (audit,debug) {}"),
        ("/a (kill, audit, kill) {}", Enforce, "/a (audit) {}"),
        ("/a (kill, audit, kill) {}", Complain, "/a (complain, audit) {}"),
        ("/a (complain kill) {}", Complain, "/a (complain) {}"),
        ("/a (audit) {}", Complain, "/a (complain, audit) {}"),
        ("/a () {}", Complain, "/a (complain) {}"),
        ("/a (kill.signal=term, error=EPERM) {}", Kill, "/a (kill, kill.signal=term, error=EPERM) {}"),
        (
            "/a (attach_disconnected.path=\"/complain\",complain) {}",
            Kill,
            "/a (attach_disconnected.path=\"/complain\",kill) {}",
        ),
    ] {
        assert_eq!(set(before, mode), after, "{before:?} {mode}");
    }
}

#[test]
fn the_scope_keeps_modes_that_were_chosen() {
    let text = b"/a { ^b (unconfined) {} ^c (kill, audit) {} ^d (complain) {} }\n/e (prompt) {}\n/f (enforce) {}";
    let scan = scan(text);
    let rewritten = set_mode(text, &scan, Mode::Kill, ModeScope::EnforceAndComplain);
    assert_eq!(rewritten.kept, [1, 4]);
    assert_eq!(
        String::from_utf8_lossy(&rewritten.text),
        "/a flags=(kill) { ^b (unconfined) {} ^c (kill, audit) {} ^d (kill) {} }\n/e (prompt) {}\n/f (kill) {}"
    );
    assert!(set_mode(text, &scan, Mode::Complain, ModeScope::All).kept.is_empty());
}

#[test]
fn a_text_without_a_change_is_borrowed() {
    let text = b"profile a {}";
    let rewritten = set_mode(text, &scan(text), Mode::Enforce, ModeScope::All);
    assert!(matches!(rewritten.text, std::borrow::Cow::Borrowed(_)));
}

#[test]
fn every_form_of_include_is_found() {
    use IncludeKind::{Abi, Include};
    type Target = fn(String) -> IncludeTarget;
    let (searched, literal): (Target, Target) = (IncludeTarget::Searched, IncludeTarget::Literal);
    for (text, kind, target, path, if_exists, argument) in [
        ("include <a/b>", Include, searched, "a/b", false, "<a/b>"),
        ("#include <a/b>\n", Include, searched, "a/b", false, "<a/b>"),
        ("#include<a b>", Include, searched, "a b", false, "<a b>"),
        ("include < a/b >", Include, searched, "a/b", false, "< a/b >"),
        ("include <\"a b\">/x r,", Include, searched, "a b", false, "<\"a b\">"),
        ("include \"/a b\"", Include, literal, "/a b", false, "\"/a b\""),
        ("include a/b }", Include, literal, "a/b", false, "a/b"),
        ("#includes are fun\n", Include, literal, "s", false, "s"),
        ("#include\n\r\n<a>", Include, searched, "a", false, "<a>"),
        ("include if exists <a>", Include, searched, "a", true, "<a>"),
        ("#include \t if\texists \"/a\"", Include, literal, "/a", true, "\"/a\""),
        ("include if exists\n<a>", Include, literal, "if", false, "if"),
        ("/x r, #include <a>\n", Include, searched, "a", false, "<a>"),
        ("/x r,#include <a>\n", Include, searched, "a", false, "<a>"),
        ("/x r,include <a>", Include, searched, "a", false, "<a>"),
        ("profile x /y #include <a>\n {}", Include, searched, "a", false, "<a>"),
        ("abi <abi/3.0>,", Abi, searched, "abi/3.0", false, "<abi/3.0>"),
        ("abi \"/a\",", Abi, literal, "/a", false, "\"/a\""),
        ("abi a/b,", Abi, literal, "a/b", false, "a/b"),
    ] {
        let scan = scan(text.as_bytes());
        let [found] = &scan.includes[..] else { panic!("{text:?}: {:?}", scan.includes) };
        assert_eq!((found.kind, &found.target, found.if_exists), (kind, &target(path.to_owned()), if_exists));
        assert_eq!(&text[found.argument.clone()], argument, "{text:?}");
    }
    for text in
        ["# #include <a>\n", "/x/include r,", "includes <a>", "network inet #include <a>\n,", "\"/include <a>\" r,"]
    {
        assert_eq!(scan(text.as_bytes()).includes, [], "{text:?}");
    }
}

#[test]
fn assignments_are_found_with_their_values() {
    let text =
        "@{A}=/a \"/b c\" \\\n  d\\,e{f,g} # no value\n@B += @{A}/x\n@{C} := c\n@{D}?=d\n$e = true\n${f}=false\n/x {}";
    let rule = |name: &str, assignment, values: &[&str]| VariableRule {
        name: name.to_owned(),
        assignment,
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    };
    let scan = scan(text.as_bytes());
    assert_eq!(
        scan.variables,
        [
            rule("A", Assignment::Set, &["/a", "/b c", "d\\,e{f,g}"]),
            rule("B", Assignment::Add, &["@{A}/x"]),
            rule("C", Assignment::Override, &["c"]),
            rule("D", Assignment::SetIfUndeclared, &["d"]),
        ]
    );
    assert_eq!(scan.headers.len(), 1);
}

fn names(text: &str) -> Vec<Vec<String>> {
    let scan = scan(text.as_bytes());
    let mut variables = Variables::default();
    variables.add(&scan);
    let names = |at| scan.names(at, &variables).iter().map(ToString::to_string).collect();
    (0..scan.headers.len()).map(names).collect()
}

/// Measured with the parser of AppArmor 3.0.8, whose name must be among the candidates.
#[test]
fn names_are_those_that_the_kernel_knows() {
    assert_eq!(
        names("profile a { profile b { hat c { ^d {} } } }"),
        [vec!["a"], vec!["a//b"], vec!["a//b//c", "b//c"], vec!["a//b//c//d", "c//d"],]
    );
    assert_eq!(names("profile :ns:a { hat b {} }\n:ns://c {}"), [[":ns://a"], [":ns://a//b"], [":ns://c"]]);
    assert_eq!(
        names("@{X}=z a\n@{Y}=b@{X} q@{X}@{X}\nprofile @{Y} {}"),
        [["{ba,bz,qaa,qaz,qza,qzz}", "{bz,ba,qzz,qza,qaz,qaa}",]]
    );
    assert_eq!(names("@{X}=/a/ /b/\nprofile p/@{X}/y@{X} {}"), [["p/{a,b}/y{/a/,/b/}"]]);
    assert_eq!(names("@{X}=/a/\nprofile p/@{X}/y {}"), [["p/a/y", "p//a//y"]]);
    assert_eq!(names("profile \\@{X}-@{Y} {}"), [["\\@{X}-@{Y}"]]);
}

fn expanded(pattern: &str, assignments: &str) -> Result<Vec<String>, Unexpandable> {
    let mut variables = Variables::default();
    variables.add(&scan(assignments.as_bytes()));
    expand(pattern, &variables).map(Vec::from_iter)
}

#[test]
fn attachments_expand_to_plain_globs() {
    for (pattern, globs) in [
        ("/a", vec!["/a"]),
        ("/{a,b}/c{,d}", vec!["/a/c", "/a/cd", "/b/c", "/b/cd"]),
        ("/{a,{b,c}d}", vec!["/a", "/bd", "/cd"]),
        ("@{X}/y", vec!["/p q/y", "/r/y"]),
        ("/@{Z}/@{X}", vec!["/s/p q/", "/s/r/"]),
        ("/a//b///c/", vec!["/a/b/c/"]),
        ("///a", vec!["/a"]),
        ("//a", vec!["//a"]),
        ("/a\\ b\\,c\\{d\\*", vec!["/a b,c\\{d\\*"]),
        ("/[a{,}]\\[{b,c}", vec!["/[a{,}]\\[b", "/[a{,}]\\[c"]),
        ("/a{b", vec!["/a{b"]),
        ("/a}{b,c}", vec!["/a}b", "/a}c"]),
    ] {
        assert_eq!(expanded(pattern, "@{X}=\"/p q/\" /r/\n@{Z}=s\n").unwrap(), globs, "{pattern}");
    }
}

#[test]
fn what_cannot_be_expanded_says_why() {
    assert_eq!(expanded("/@{X}", ""), Err(Unexpandable::Undeclared("X".to_owned())));
    assert_eq!(expanded("/@{X}", "@{X}=@{Y}\n@{Y}=a@{X}\n"), Err(Unexpandable::Recursive("X".to_owned())));
    assert_eq!(expanded(&"/{a,b}".repeat(13), ""), Err(Unexpandable::TooLarge));
    assert_eq!(expanded(&"{".repeat(60), ""), Ok(vec!["{".repeat(60)]));
    assert_eq!(expanded(&format!("{}{}", "{a,".repeat(60), "}".repeat(60)), ""), Err(Unexpandable::TooLarge));
    let doubling: String = (0..100).map(|at| format!("@{{V{at}}}=@{{V{0}}}@{{V{0}}}\n", at + 1)).collect();
    assert_eq!(expanded("@{V0}", &format!("{doubling}@{{V100}}=a\n")), Err(Unexpandable::TooLarge));
}

#[test]
fn only_paths_attach() {
    let text =
        "@{X}=/x /y\nprofile a {}\nprofile b /b{,c} {}\n/d {}\nprofile @{X} {}\nprofile /e//f {}\nprofile /g///h {}";
    let scan = scan(text.as_bytes());
    let mut variables = Variables::default();
    variables.add(&scan);
    let attachments = |at| Vec::from_iter(scan.attachments(at, &variables).unwrap());
    let all: Vec<Vec<String>> = (0..scan.headers.len()).map(attachments).collect();
    assert_eq!(all, [vec![], vec!["/b", "/bc"], vec!["/d"], vec!["/x", "/y"], vec![], vec!["/h"]]);
}

/// Each of these took time in the square of its length from some version of the lexer, or could.
#[test]
fn hostile_texts_scan_in_linear_time() {
    for (start, repeated) in [
        ("", "{"),
        ("profile a ", "{"),
        ("", "profile a { "),
        ("profile a { ", "{ include <x> "),
        ("", "include <a "),
        ("", "#include \"a "),
        ("", "\"\0"),
        ("\"", "\\\""),
        ("mount ", "\""),
        ("profile a ", "("),
        ("profile a (", "\""),
        ("", "@{a"),
        ("", "a    "),
        ("if ", "@"),
        ("@{X}=", "\\\n"),
        ("#", "include if exists "),
    ] {
        let text = start.to_owned() + &repeated.repeat(2_000_000 / repeated.len());
        let scan = scan(text.as_bytes());
        assert!(scan.headers.len() <= 100);
        let names: usize = (0..scan.headers.len()).map(|at| scan.names(at, &Variables::default()).len()).sum();
        assert!(names <= 200);
    }
}

/// Pieces whose combinations reach every state of the lexer.
const PIECES: &[&str] = &[
    "profile", "hat", "^", "a", "/b{c,d}", "\"/b c\"", "@{X}", "@{X}/y", ":ns:a", "flags=", "xattrs=", "(", ")",
    "complain", "kill", "audit", "{", "}", ",", "#", "include", "#include", "if", "exists", "<x>", "->", "mount",
    "network", "abi", "=", "+=", "$x", "\"", "\\", "\\\"", "!", "\0", " ", " ", " ", "\n", "\t", "\r", "é",
];

fn policy_like() -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(PIECES), 0..60).prop_map(|pieces| pieces.concat())
}

fn any_mode() -> impl Strategy<Value = Mode> {
    proptest::sample::select(&Mode::ALL[..])
}

/// A text without its groups of flags and the one space that may follow each.
fn without_flags(text: &[u8]) -> Vec<u8> {
    let mut rest = text.to_vec();
    for span in scan(text).headers.iter().rev().filter_map(|header| header.flags_span(text)) {
        rest.drain(span);
    }
    rest
}

fn assert_only_flags_change(text: &[u8], mode: Mode) {
    let before = scan(text);
    let rewritten = set_mode(text, &before, mode, ModeScope::All).text;
    let after = scan(&rewritten);
    assert_eq!(without_flags(text), without_flags(&rewritten));
    assert_eq!(before.headers.len(), after.headers.len());
    assert!(after.headers.iter().all(|header| header.mode.unwrap_or(Mode::Enforce) == mode));
    assert_eq!(set_mode(&rewritten, &after, mode, ModeScope::All).text, rewritten, "not idempotent");
    if before.headers.iter().all(|header| header.flags_span(text).is_none()) {
        assert_eq!(set_mode(&rewritten, &after, Mode::Enforce, ModeScope::All).text, text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_scan(text in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = scan(&text);
    }

    #[test]
    fn only_flags_change_in_any_text(text in policy_like(), mode in any_mode()) {
        assert_only_flags_change(text.as_bytes(), mode);
    }

    #[test]
    fn ranges_lie_in_the_text(text in policy_like()) {
        for include in scan(text.as_bytes()).includes {
            prop_assert!(text.as_bytes().get(include.argument).is_some_and(|argument| !argument.is_empty()));
        }
    }

    #[test]
    fn any_pattern_expands_or_says_why(
        pattern in proptest::collection::vec(proptest::sample::select(
            &["/", "a", "{", "}", ",", "[", "]", "\\*", "@{X}", "@{", "*", "é"][..]), 0..40),
    ) {
        let pattern = pattern.concat();
        if let Ok(globs) = expanded(&pattern, "@{X}=/p/ {q,r}\n") {
            for glob in globs {
                prop_assert!(!glob.get(1..).is_some_and(|rest| rest.contains("//")), "{pattern:?}: {glob:?}");
            }
        }
    }
}

#[test]
fn a_rule_about_something_else_than_files_is_read() {
    let read = |text: &str| match Rule::read(text).subject {
        Subject::Mediated(rule) => rule,
        other => panic!("{text}: {other:?}"),
    };
    let signal = read("audit signal (send receive)set = (hup,term) peer=\"a b\",");
    assert_eq!((signal.keyword, signal.access().collect::<Vec<_>>()), ("signal", vec!["send", "receive"]));
    assert_eq!((&*signal.conditions["set"], &*signal.conditions["peer"]), ("hup,term", "a b"));
    let mount = read("mount fstype=tmpfs options=(rw, nosuid) tmpfs -> /run/x/,");
    assert_eq!((mount.words, mount.target.as_deref()), (vec!["tmpfs".to_owned()], Some("/run/x/")));
    let change = read("change_profile \"/opt/x y\" -> b,");
    assert_eq!((change.words, change.target.as_deref()), (vec!["/opt/x y".to_owned()], Some("b")));
    assert!(read("network inet stream,").has_family() && !read("network (send) stream,").has_family());
    assert!(read("ptrace,").allows(&["trace"]) && !read("ptrace (read),").allows(&["trace"]));
}

#[test]
fn a_rule_about_files_is_read() {
    for (text, denies, pattern, permissions, target) in [
        ("/etc/x r,", false, "/etc/x", "r", None),
        ("deny owner file rw \"/srv/a (b)\",", true, "/srv/a (b)", "rw", None),
        ("priority=5 /srv/a=b(c) w,", false, "/srv/a=b(c)", "w", None),
        ("/opt/x Px -> \"a b\",", false, "/opt/x", "Px", Some("a b")),
        ("link subset /a -> /b,", false, "/a", "l", Some("/b")),
        ("file,", false, "/**", "rwaklmix", None),
    ] {
        let subject = Subject::File {
            pattern: pattern.to_owned(),
            permissions: permissions.to_owned(),
            target: target.map(str::to_owned),
        };
        assert_eq!(Rule::read(text), Rule { denies, subject }, "{text}");
    }
}

proptest! {
    /// Whatever passes as a rule is a rule that is read, so that nothing is rendered unjudged.
    #[test]
    fn a_rule_that_passes_is_known(text in "(deny |owner |audit )?(/srv/|\"/a b|signal |mount |capability |file |x)[a-z@{}()\\[\\]\"\\\\ =,*?>-]{0,20}( r| Px -> y)?,") {
        if check_rule(&text).is_ok() {
            prop_assert!(Rule::read(&text).subject != Subject::Unknown);
        }
    }

    #[test]
    fn any_text_is_read_as_a_rule(text in any::<String>()) {
        let _ = (check_rule(&text), Rule::read(&text));
    }
}
