use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::acceptance::Objection;
use crate::problem::ProblemCode::{self, *};

/// The problems of a document as pairs of pointer and code.
fn refusals(document: impl AsRef<[u8]>) -> Vec<(String, ProblemCode)> {
    parse(document.as_ref()).unwrap_err().into_iter().map(|problem| (problem.pointer, problem.code)).collect()
}

#[track_caller]
fn assert_refused(document: &str, expected: &[(&str, ProblemCode)]) {
    let found = refusals(document);
    let found: Vec<_> = found.iter().map(|(pointer, code)| (pointer.as_str(), *code)).collect();
    assert_eq!(found, expected, "{document}");
}

fn only_problem(document: impl AsRef<[u8]>) -> Problem {
    let mut problems = parse(document.as_ref()).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems.remove(0)
}

fn with_profile(entry: &str) -> String {
    format!(r#"{{"version":1,"owner":"o","profiles":[{entry}]}}"#)
}

fn profile(entry: &str) -> DesiredProfile {
    parse(with_profile(entry).as_bytes()).unwrap().profiles.remove(0)
}

#[test]
fn a_full_document_is_read() {
    let desired = parse(
        br#"{
          "version": 1, "owner": "web-fleet", "supersedes": ["old"], "prune": true,
          "defaults": { "mode": "complain", "on_confined": "unload" },
          "files": [
            { "path": "tunables/home.d/site", "content": "@{HOMEDIRS}+=/srv/home/\n" },
            { "path": "local/gone", "state": "absent" }
          ],
          "profiles": [
            { "file": "usr.sbin.mydaemon", "mode": "enforce", "content_base64": "cHJvZmlsZSBiIHt9Cg==" },
            { "file": "usr.sbin.nginx", "mode": "disabled" },
            { "file": "usr.bin.old", "state": "absent", "on_confined": "refuse" }
          ]
        }"#,
    )
    .unwrap();
    assert_eq!(desired.owner.as_str(), "web-fleet");
    assert_eq!(desired.supersedes, [Owner::new("old").unwrap()]);
    assert_eq!(desired.prune, Prune::Unlisted);
    assert_eq!(desired.files[0].content, Some(Content::inline(b"@{HOMEDIRS}+=/srv/home/\n".to_vec())));
    assert_eq!((&*desired.files[1].pointer, &desired.files[1].content), ("/files/1", &None));
    let [daemon, nginx, old] = &desired.profiles[..] else { panic!("three profiles") };
    let text = ProfileWant::Text {
        content: Content::inline(b"profile b {}\n".to_vec()),
        mode: WantedMode::Flags(Mode::Enforce),
        scope: ModeScope::EnforceAndComplain,
    };
    assert_eq!((&daemon.want, daemon.on_confined), (&text, OnConfined::Unload));
    assert_eq!(
        nginx.want,
        ProfileWant::ModeOnly {
            mode: WantedMode::Disabled,
            scope: ModeScope::EnforceAndComplain,
            if_missing: IfMissing::Refuse
        }
    );
    assert_eq!((&old.want, old.on_confined), (&ProfileWant::Absent, OnConfined::Refuse));
    assert_eq!((old.pointer.as_str(), old.file.as_str()), ("/profiles/2", "usr.bin.old"));
}

#[test]
fn the_smallest_document_wants_nothing() {
    let desired = parse(br#"{"version":1,"owner":"o"}"#).unwrap();
    assert_eq!((desired.prune, desired.files.len(), desired.profiles.len()), (Prune::Keep, 0, 0));
}

#[test]
fn a_default_mode_applies_to_text_alone_and_wherever_it_stands() {
    let desired = parse(
        br#"{"version":1,"owner":"o","profiles":[{"file":"a","content":""},{"file":"b","content":"","mode":"as_written"}],
          "defaults":{"mode":"complain"}}"#,
    )
    .unwrap();
    let modes: Vec<_> = desired
        .profiles
        .iter()
        .map(|profile| match profile.want {
            ProfileWant::Text { mode, .. } => mode,
            _ => panic!("text"),
        })
        .collect();
    assert_eq!(modes, [WantedMode::Flags(Mode::Complain), WantedMode::AsWritten]);
    let mode_only = r#"{"version":1,"owner":"o","defaults":{"mode":"complain"},"profiles":[{"file":"a"}]}"#;
    assert_refused(mode_only, &[("/profiles/0", Missing)]);
}

#[test]
fn a_source_is_an_absolute_path_with_its_digest() {
    let entry = format!(r#"{{"file":"a","source":"/srv/a","sha256":"{}"}}"#, "a".repeat(64));
    let ProfileWant::Text { content: Content::Source { path, sha256 }, .. } = profile(&entry).want else {
        panic!("a source")
    };
    assert_eq!((path, sha256), (PathBuf::from("/srv/a"), Digest::from_hex(&"a".repeat(64))));
    for path in ["srv/a", "/srv/../a", "/srv/a/", "/", "/a\\u0000", "/.."] {
        let document = with_profile(&format!(r#"{{"file":"a","source":"{path}"}}"#));
        assert_refused(&document, &[("/profiles/0/source", BadValue)]);
    }
    let document = with_profile(&format!(r#"{{"file":"a","content":"","sha256":"{}"}}"#, "a".repeat(64)));
    assert_refused(&document, &[("/profiles/0/sha256", Conflict)]);
}

#[test]
fn all_problems_are_told_in_the_documents_order() {
    assert_refused(
        r#"{
          "profiles": [
            { "mode": "Enforce", "file": "README" },
            7,
            { "file": "a", "source": "/x", "content": 5, "if_missing": "skip" },
            { "file": "b", "state": "absent", "mode": "kill", "on_confined": "no", "text": "" },
            { "file": "a", "mode": "kill" }
          ],
          "files": [{ "path": "local/x" }],
          "prune": "yes",
          "version": 1
        }"#,
        &[
            ("", Missing),
            ("/profiles/0/mode", BadValue),
            ("/profiles/0/file", BadValue),
            ("/profiles/1", WrongType),
            ("/profiles/2/content", WrongType),
            ("/profiles/2/content", Conflict),
            ("/profiles/2/if_missing", Conflict),
            ("/profiles/3/mode", Conflict),
            ("/profiles/3/on_confined", BadValue),
            ("/profiles/3/text", UnknownField),
            ("/profiles/4/file", DuplicateFile),
            ("/files/0", Missing),
            ("/prune", WrongType),
        ],
    );
}

#[test]
fn unknown_fields_are_told_with_what_was_meant() {
    let problem = only_problem(with_profile(r#"{"file":"a","mode":"kill","on_confind":"refuse"}"#));
    assert_eq!(problem.pointer, "/profiles/0/on_confind");
    assert!(problem.message.ends_with("did you mean `on_confined`?"), "{}", problem.message);
    assert!(problem.allowed.unwrap().contains("`if_missing`"));
    for (field, advice) in
        [("modus", "newer"), ("Mode", "`mode`"), ("moed", "newer"), ("content_base_64", "`content_base64`")]
    {
        let problem = only_problem(with_profile(&format!(r#"{{"file":"a","mode":"kill","{field}":1}}"#)));
        assert!(problem.message.contains(advice), "{}", problem.message);
    }
}

#[test]
fn unknown_fields_are_left_to_newer_versions() {
    let problems = parse(br#"{"version":1,"owner":"o","lint":{},"profiles":[{"file":"a","hats":{}}]}"#).unwrap_err();
    let unknown: Vec<_> = problems.iter().filter(|problem| problem.code == UnknownField).collect();
    assert_eq!(unknown.len(), 2);
    for problem in unknown {
        let newer = concat!("aa-converge ", env!("CARGO_PKG_VERSION"), " does not know the field");
        assert!(problem.message.starts_with(newer) && problem.message.ends_with("a newer aa-converge may know it"));
    }
}

#[test]
fn another_version_is_told_without_its_fields() {
    let problem = only_problem(r#"{"version":2,"name":"o","profiles":[{"file":"a","service":{}}]}"#);
    assert_eq!((problem.pointer.as_str(), problem.code), ("/version", UnknownVersion));
    assert!(problem.message.contains(env!("CARGO_PKG_VERSION")) && problem.message.contains("newer"));
    assert_refused(r#"{"version":"1","owner":"o"}"#, &[("/version", WrongType)]);
    assert_refused(r#"{"owner":"o"}"#, &[("", Missing)]);
    assert_refused(r#"{"version":1.5,"owner":"o"}"#, &[("/version", UnknownVersion)]);
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    assert_refused(
        r#"{"version":1,"owner":"o","owner":"p","profiles":[{"file":"a","mode":"kill","mode":"kill"}],"a/~":1,"a/~":2}"#,
        &[
            ("/owner", DuplicateKey),
            ("/profiles/0/mode", DuplicateKey),
            ("/a~1~0", UnknownField),
            ("/a~1~0", DuplicateKey),
        ],
    );
    assert_refused(r#"{"version":1,"owner":"o","o\u0077ner":"p"}"#, &[("/owner", DuplicateKey)]);
}

#[test]
fn every_path_is_named_once_and_none_below_another() {
    let document = r#"{"version":1,"owner":"o",
      "profiles":[{"file":"site","mode":"kill"},{"file":"x","mode":"kill"},{"file":"x","state":"absent"}],
      "files":[{"path":"site/a/b","content":""},{"path":"site/a","content":""},{"path":"site/a/b/c","content":""},
        {"path":"site/a/b","content":""}]}"#;
    let problems = parse(document.as_bytes()).unwrap_err();
    let told: Vec<_> = problems.iter().map(|problem| (problem.pointer.as_str(), problem.message.as_str())).collect();
    assert_eq!(
        told,
        [
            ("/profiles/0/file", "`site` is a directory of the path at /files/0"),
            ("/profiles/2/file", "/profiles/1 names `x` already"),
            ("/files/1/path", "`site/a` is a directory of the path at /files/0"),
            ("/files/2/path", "its directory `site/a/b` is a file at /files/0"),
            ("/files/3/path", "/files/0 names `site/a/b` already"),
        ]
    );
    assert!(problems.iter().all(|problem| problem.code == DuplicateFile));
}

#[test]
fn pruning_everything_must_be_asked_for() {
    for listed in ["", r#","files":[]"#, r#","files":[],"profiles":[],"allow_empty":false"#] {
        let document = format!(r#"{{"version":1,"owner":"o","prune":true{listed}}}"#);
        assert_refused(&document, &[("/prune", AllowEmptyNeeded)]);
    }
    let uninstall = parse(br#"{"version":1,"owner":"o","prune":true,"allow_empty":true}"#).unwrap();
    assert_eq!(uninstall.prune, Prune::Unlisted);
    parse(br#"{"version":1,"owner":"o","prune":true,"profiles":[{"file":"a","state":"absent"}]}"#).unwrap();
}

#[test]
fn base64_is_told_where_it_goes_wrong() {
    for (text, byte) in [("QUJD\\nQUJD", 4), ("QU*D", 2), ("QUI", 3), ("QUJDQ=", 5), ("QR==", 1), ("QQ==QQ==", 2)] {
        let problem = only_problem(with_profile(&format!(r#"{{"file":"a","content_base64":"{text}"}}"#)));
        assert_eq!((problem.pointer.as_str(), problem.code), ("/profiles/0/content_base64", BadValue));
        assert!(problem.message.starts_with(&format!("byte {byte} ")), "{text}: {}", problem.message);
    }
}

#[test]
fn nul_bytes_and_byte_order_marks_are_refused() {
    for entry in [
        r#"{"file":"a","content":"ab\u0000"}"#,
        r#"{"file":"a","content":"\ufeffab"}"#,
        r#"{"file":"a","content_base64":"YWIA"}"#,
        r#"{"file":"a","content_base64":"77u/YQ=="}"#,
    ] {
        assert_eq!(only_problem(with_profile(entry)).code, BadValue, "{entry}");
    }
    let problem = only_problem(with_profile(r#"{"file":"a","content":"ab\u0000"}"#));
    assert!(problem.message.starts_with("byte 2 "), "{}", problem.message);
    // Bytes that are not UTF-8 are policy all the same.
    let ProfileWant::Text { content, .. } = profile(r#"{"file":"a","content_base64":"/w=="}"#).want else { panic!() };
    assert_eq!(content, Content::inline(vec![0xff]));
}

#[test]
fn what_is_not_json_is_told_where() {
    for (document, part) in [
        (&b""[..], "empty"),
        (b" \n\t", "empty"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b"{\"owner\":\"\xff\"}", "byte 10 "),
        (b"{\n \"owner\": }", "line 2 column 11"),
        (b"{} {}", "trailing characters at line 1 column 4"),
        (b"{\"version\":1", "line 1 column 12"),
        (b"{\"owner\":\"\\ud800\"}", "line 1 column"),
        (b"[1e999]", "out of range at line 1 column"),
        (b"{'a':1}", "line 1 column 2"),
        (b"NaN", "line 1 column 1"),
    ] {
        let problem = only_problem(document);
        assert_eq!((problem.pointer.as_str(), problem.code), ("", NotJson));
        assert!(problem.message.contains(part), "{}", problem.message);
    }
    assert!(only_problem(b"\xff").allowed.unwrap().contains("content_base64"));
    assert_refused("[]", &[("", WrongType)]);
}

#[test]
fn what_exceeds_a_limit_is_refused_with_the_figure() {
    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(only_problem(nested(tree::MAX_DEPTH)).code, WrongType);
    let text = |bytes: usize| with_profile(&format!(r#"{{"file":"a","content":"{}"}}"#, "x".repeat(bytes)));
    parse(text(MAX_TEXT).as_bytes()).unwrap();
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, "x".repeat(MAX_TEXT + 1));
    let entries = |count: usize| with_profile(&vec!["1"; count].join(","));
    for (document, figures) in [
        (nested(tree::MAX_DEPTH + 1), ["nest", "32"]),
        (nested(100_000), ["nest", "32"]),
        (" ".repeat(MAX_DOCUMENT + 1), ["67108865", "67108864"]),
        (format!("[{}1]", "1,".repeat(tree::MAX_VALUES)), ["values", "2000000"]),
        (format!(r#"{{"{}":1}}"#, "k".repeat(tree::MAX_KEY + 1)), ["1025", "1024"]),
        (text(MAX_TEXT + 1), ["4194305", "4194304"]),
        (with_profile(&format!(r#"{{"file":"a","content_base64":"{encoded}"}}"#)), ["4194305", "4194304"]),
        (entries(MAX_ENTRIES + 1), ["100001", "100000"]),
    ] {
        let problem = only_problem(&document);
        assert_eq!(problem.code, TooLarge);
        let allowed = problem.allowed.unwrap();
        assert!(problem.message.contains(figures[0]) && allowed.contains(figures[1]), "{}", problem.message);
    }
}

#[test]
fn problems_are_listed_up_to_a_limit() {
    let problems = parse(with_profile(&vec!["1"; 10_005].join(",")).as_bytes()).unwrap_err();
    assert_eq!(problems.len(), 10_001);
    let last = &problems[10_000];
    assert_eq!((last.code, last.message.as_str()), (TooLarge, "5 more problems are not listed"));
}

#[test]
fn messages_show_hostile_words_short_and_plain() {
    let problem = only_problem(with_profile(&format!(r#"{{"file":"a","mode":"\u001b[2J{}"}}"#, "m".repeat(1000))));
    assert!(problem.message.starts_with("`\\u{1b}[2Jmm") && problem.message.len() < 120, "{}", problem.message);
}

/// Ways to spoil an entry of its own, each with the code of the problem that it must give.
const FAULTS: [(&str, ProblemCode); 12] = [
    (r#"{"file":"README","mode":"kill"}"#, BadValue),
    (r#"{"mode":"kill"}"#, Missing),
    (r#"{"file":"?"}"#, Missing),
    (r#"{"file":"?","mode":"gentle"}"#, BadValue),
    (r#"{"file":"?","mode":"kill","mode":"kill"}"#, DuplicateKey),
    (r#"{"file":"?","mode":"kill","mood":1}"#, UnknownField),
    (r#"{"file":"?","content":"","source":"/x"}"#, Conflict),
    (r#"{"file":"?","content":"","if_missing":"skip"}"#, Conflict),
    (r#"{"file":"?","content":[]}"#, WrongType),
    (r#"{"file":"?","content":"\u0000"}"#, BadValue),
    (r#"{"file":"?","content_base64":"="}"#, BadValue),
    (r#"{"file":"good","state":"absent"}"#, DuplicateFile),
];

/// A document whose profiles are a good one and these, each with a file name of its own where it says `?`.
fn document_of<'e>(entries: impl IntoIterator<Item = &'e str>) -> String {
    let mut list = vec![r#"{"file":"good","mode":"kill"}"#.to_owned()];
    list.extend(entries.into_iter().enumerate().map(|(at, entry)| entry.replace('?', &format!("f{at}"))));
    with_profile(&list.join(","))
}

/// JSON that looks like a document here and there.
fn json_like() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(
        "version owner supersedes prune allow_empty defaults files profiles path file content content_base64 source \
         sha256 state mode mode_scope on_confined if_missing present absent kill all skip local/x x /x QQ=="
            .split(' ')
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>(),
    );
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(json!(1)),
        word.clone().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((word.clone(), inner), 0..8)
                .prop_map(|fields| fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

/// Whatever the bytes are, the answer comes, has a reason if it is a refusal, and is the same again.
fn assert_answered(document: &[u8]) {
    let answer = parse(document);
    if let Err(problems) = &answer {
        assert!(!problems.is_empty());
    }
    assert_eq!(answer, parse(document));
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_answered(bytes: Vec<u8>) {
        assert_answered(&bytes);
    }

    #[test]
    fn arbitrary_json_is_answered(document in json_like()) {
        assert_answered(document.to_string().as_bytes());
    }

    #[test]
    fn damaged_documents_are_answered(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_usize), 1..8),
    ) {
        let mut document = document_of(FAULTS[..3].iter().map(|(entry, _)| *entry)).into_bytes();
        for (at, byte, act) in edits {
            let at = at.index(document.len());
            match act {
                0 => document[at] = byte,
                1 => document.insert(at, byte),
                _ => document.truncate(at.max(1)),
            }
        }
        assert_answered(&document);
    }

    #[test]
    fn as_many_problems_are_told_as_faults_were_made(faults in prop::collection::vec(0..FAULTS.len(), 1..40)) {
        let told = refusals(document_of(faults.iter().map(|fault| FAULTS[*fault].0)));
        for (at, fault) in faults.iter().enumerate() {
            let entry = format!("/profiles/{}", at + 1);
            let code = FAULTS[*fault].1;
            let is_told = told.iter().any(|(pointer, told)| {
                *told == code && pointer.strip_prefix(&entry).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            });
            prop_assert!(is_told, "{entry} {code:?} in {told:?}");
        }
    }
}

#[test]
fn what_is_accepted_has_a_known_code_once_and_a_reason() {
    let with = |accept: &str| format!(r#"{{"version":1,"owner":"o","accept":{accept}}}"#);
    let desired = parse(with(r#"[{"code":"kernel-global-mode","reason":"a laboratory"}]"#).as_bytes()).unwrap();
    let [acceptance] = &desired.accept[..] else { panic!("one acceptance") };
    assert_eq!((acceptance.objection, acceptance.reason.as_str()), (Objection::KernelGlobalMode, "a laboratory"));
    assert_refused(
        &with(
            r#"[{"code":"kernel-global-mode","reason":""},{"code":"kernel-global-mode","reason":"again"},
                {"code":"kernel_global_mode","reason":"two\nlines"},{"reason":"what?"},{"code":"kernel-global-mode"}]"#,
        ),
        &[
            ("/accept/0/reason", BadValue),
            ("/accept/1/code", Conflict),
            ("/accept/2/code", BadValue),
            ("/accept/2/reason", BadValue),
            ("/accept/3", Missing),
            ("/accept/4", Missing),
            ("/accept/4/code", Conflict),
        ],
    );
}

#[test]
fn an_objection_has_one_code_everywhere() {
    for (at, objection) in Objection::ALL.iter().enumerate() {
        assert_eq!(json!(objection), json!(objection.code()));
        assert!(Objection::ALL[..at].iter().all(|other| other.code() != objection.code()), "{objection:?}");
    }
}
