//! The walk and the schema accept the same documents, but for what [`BEYOND_SCHEMA`] names.

use serde_json::{Map, Value, json};

use super::{parse, schema};
use crate::problem::{Problem, ProblemCode};

/// The rules that no schema can state: the code of their problems, the field where it tells, a part of what is said,
/// and why. A document that breaks only these may be one that the schema accepts.
const BEYOND_SCHEMA: [(ProblemCode, &str, &str, &str); 15] = [
    (ProblemCode::Conflict, "/code", "already", "a schema compares no two entries"),
    (ProblemCode::Conflict, "/extends", "extends itself", "a schema follows no names"),
    (ProblemCode::BadValue, "/class", "a known class", "a schema follows no names"),
    (ProblemCode::BadValue, "/extends", "a known class", "a schema follows no names"),
    (ProblemCode::BadValue, "", "AppArmor reads", "a pattern counts no braces"),
    (ProblemCode::BadValue, "", "one rule with its comma", "a pattern knows no rules"),
    (ProblemCode::BadValue, "/executable", "a `name` beside it", "a schema does not look at the end of a path"),
    (ProblemCode::BadValue, "/executable", "a `file` in the entry", "a schema derives no names"),
    (ProblemCode::BadValue, "/path", "a child's name", "a schema does not look at the end of a path"),
    (ProblemCode::DuplicateKey, "", "", "validators see a JSON map, which has every key once"),
    (ProblemCode::DuplicateFile, "", "", "a schema compares neither entries nor the beginnings of paths"),
    (ProblemCode::TooLarge, "", "", "a schema counts characters, not bytes"),
    (ProblemCode::BadValue, "/file", "at most 255 bytes", "a schema counts characters, not bytes"),
    (ProblemCode::BadValue, "/path", "at most 255 bytes", "a schema counts characters, not bytes"),
    (ProblemCode::BadValue, "/content_base64", "is NUL", "a pattern does not see the bytes that base64 stands for"),
];

fn is_beyond_schema(problem: &Problem) -> bool {
    let told = format!("{} {}", problem.message, problem.allowed.as_deref().unwrap_or(""));
    BEYOND_SCHEMA
        .iter()
        .any(|(code, field, part, _)| problem.code == *code && problem.pointer.ends_with(field) && told.contains(part))
}

struct Judges {
    validator: jsonschema::Validator,
    accepted: usize,
    refused: usize,
}

impl Judges {
    fn new() -> Self {
        let schema = schema();
        jsonschema::meta::validate(&schema).unwrap();
        Self { validator: jsonschema::draft202012::new(&schema).unwrap(), accepted: 0, refused: 0 }
    }

    #[track_caller]
    fn agree_on(&mut self, document: &Value) {
        let by_schema = self.validator.is_valid(document);
        match parse(document.to_string().as_bytes()) {
            Ok(_) => {
                let errors: Vec<_> = self.validator.iter_errors(document).map(|error| error.to_string()).collect();
                assert!(by_schema, "only the schema refuses {document}: {errors:?}");
                self.accepted += 1;
            }
            Err(problems) => {
                assert!(!problems.is_empty(), "{document} is refused without a reason");
                let expressible = problems.iter().any(|problem| !is_beyond_schema(problem));
                assert!(!by_schema || !expressible, "only the walk refuses {document}: {problems:#?}");
                self.refused += 1;
            }
        }
    }
}

/// Every field once at least, but for those of services and classes.
fn good() -> Value {
    json!({
        "version": 1,
        "owner": "web-fleet",
        "supersedes": ["old-fleet", "older"],
        "prune": true,
        "allow_empty": false,
        "defaults": { "mode": "complain", "on_confined": "unload" },
        "accept": [{ "code": "kernel-global-mode", "reason": "a laboratory" }],
        "files": [
            { "path": "tunables/home.d/site", "content": "@{HOMEDIRS}+=/srv/home/\n", "state": "present" },
            { "path": "local/b", "content_base64": "L3Nydi93d3cvKiogciwK" },
            { "path": "local/s", "source": "/srv/policy/s", "sha256": "0".repeat(64) },
            { "path": "local/gone", "state": "absent" }
        ],
        "profiles": [
            { "file": "c", "content": "profile c {}\n", "mode": "kill", "mode_scope": "all", "on_confined": "refuse" },
            { "file": "b", "content_base64": "cHJvZmlsZSBiIHt9Cg==", "mode": "as_written", "state": "present" },
            { "file": "s", "source": "/srv/policy/s", "sha256": "A".repeat(64), "mode": "disabled" },
            { "file": "m", "mode": "enforce", "mode_scope": "enforce_and_complain", "if_missing": "skip" },
            { "file": "gone", "state": "absent", "on_confined": "unload" }
        ]
    })
}

/// Every field of services and classes once at least.
fn good_services() -> Value {
    json!({
        "version": 1,
        "owner": "o",
        "classes": {
            "web": {
                "extends": "proxy", "abi": "4.0", "config": ["/etc/web"], "deny": ["/srv/secret"],
                "accept": [{ "code": "write-var", "reason": "a laboratory" }],
                "execute": [{ "path": "/usr/bin/x", "transition": "inherit" }]
            },
            "web-2": { "extends": "web" }
        },
        "profiles": [
            { "service": { "class": "web-2", "executable": "/usr/sbin/x" } },
            { "file": "y", "mode": "enforce", "service": good_service() }
        ]
    })
}

/// Every term of a service.
fn good_service() -> Value {
    json!({
                "class": "worker", "executable": "/usr/sbin/y", "name": "why", "abi": "3.0",
                "accept": [{ "code": "capability-sys-admin", "reason": "a laboratory" }],
                "config": ["/etc/y", "@{HOME}/y"], "libraries": ["/opt/y/lib"], "data": ["/srv/{y,z}/*"], "logs": ["/var/log/y"],
                "runtime": ["/run/y.pid", "@{run}/y/"], "temp": ["yyy-*"],
                "listen": [{ "family": "inet", "type": "stream" }, {}], "connect": [{ "family": "unix" }],
                "execute": [
                    { "path": "/usr/bin/a", "transition": "inherit" },
                    { "path": "/usr/bin/b", "transition": "profile", "profile": "/usr/bin/b" },
                    { "path": "/usr/bin/c", "transition": "child", "profile": "sea", "needs": { "config": ["/etc/c"], "execute": [{ "path": "/usr/bin/e", "transition": "inherit" }] } },
                    { "path": "/usr/bin/d", "transition": "child" }
                ],
                "capabilities": ["setuid", "sys_admin"],
                "signals": [{ "direction": "send", "signals": ["hup"], "peer": "b" }, { "direction": "receive", "peer": "b" }],
                "deny": ["/srv/y/secret"], "rules": ["ptrace (read) peer=b,"]
    })
}

/// Values of every JSON type, and strings that are right in one field and wrong in another or nowhere.
fn substitutes() -> Vec<Value> {
    let words = "present absent refuse unload skip all enforce_and_complain kernel-global-mode enforce complain kill unconfined prompt \
        default_allow disabled as_written Enforce /abs /abs/ /abs/.. /a/../b /.. /a..b // relative ../up .hidden a/.b a/b a//b \
        a/b/ README a/README README/b READMES x~ a~/b x.orig x.orig.d a/x.rpmnew/b x.bak disable/x disabled/x \
        force-complain/x cache/x cached.d/x local/cache proxy web-2 Web web--2 nosuch write-var child inherit profile inet unix stream raw setuid hup send \
        /a{b /a[b] /a{b} @{HOME}/x @{HOME @{1}/x /run /run/ /run/x /tmp ab* abc* abc/d 3.0 9.9 /usr/bin/unconfined unconfined userns, QQ== QR== QQ=A QQA= QQB= QUI 77u/QUJD QUJD QUJD==== QU-_ = ==== owner@host:1/x";
    let mut values = vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(1.0),
        json!(2),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!([]),
        json!({}),
        json!([null]),
        json!(["x"]),
        json!([["x"]]),
        json!({ "x": 1 }),
        json!([{}]),
        json!(""),
        json!(" "),
        json!("a b"),
        json!("größe"),
        json!("nul\0"),
        json!("/nul\0/x"),
        json!("line\nbreak"),
        json!("a/line\nbreak"),
        json!("c1\u{85}"),
        json!("\u{feff}mark"),
        json!("late\u{feff}mark"),
        json!("QUJD\nQUJD"),
        json!("0".repeat(63)),
        json!("f".repeat(64)),
        json!("g".repeat(64)),
        json!("0".repeat(65)),
        json!("o".repeat(128)),
        json!("o".repeat(129)),
        json!("/x r,"),
        json!("/x r, /y r,"),
        json!(" /x r,"),
        json!("include <abstractions/x>"),
        json!("a\"b"),
        json!("/a\"b"),
        json!("/a b/c"),
        json!("/s".repeat(2049)),
        json!({ "family": "inet" }),
        json!({ "path": "/x", "transition": "child" }),
        json!([{ "path": "/x", "transition": "profile" }]),
        json!(["/x"]),
        json!("f".repeat(255)),
        json!("f".repeat(256)),
        json!("/s".repeat(2047)),
        json!("/s".repeat(2048)),
        json!("ö".repeat(1000)),
        json!("ö".repeat(1001)),
    ];
    values.extend(words.split_whitespace().map(|word| json!(word)));
    values
}

/// The JSON pointers of `value` and of everything in it.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| pointers(value, &format!("{at}/{key}"), found)),
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(index, value)| pointers(value, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

#[test]
fn on_every_mutation_of_every_field() {
    let mut judges = Judges::new();
    for good in [good(), good_services()] {
        let before = judges.accepted;
        judges.agree_on(&good);
        assert_eq!(judges.accepted, before + 1, "the good document is good");
        mutate(&good, &mut judges);
    }
    assert!(judges.accepted > 500 && judges.refused > 3000, "{} and {}", judges.accepted, judges.refused);
}

fn mutate(good: &Value, judges: &mut Judges) {
    let mut places = Vec::new();
    pointers(good, "", &mut places);
    for place in &places {
        for substitute in substitutes() {
            let mut document = good.clone();
            *document.pointer_mut(place).unwrap() = substitute;
            judges.agree_on(&document);
        }
        let Some((parent, name)) = place.rsplit_once('/') else { continue };
        let mut document = good.clone();
        match document.pointer_mut(parent).unwrap() {
            Value::Object(fields) => drop(fields.remove(name)),
            Value::Array(values) => drop(values.remove(name.parse().unwrap())),
            _ => unreachable!("a parent holds something"),
        }
        judges.agree_on(&document);
    }
    for place in &places {
        let mut document = good.clone();
        let Some(Value::Object(fields)) = document.pointer_mut(place) else { continue };
        fields.insert("unknown".to_owned(), json!(1));
        judges.agree_on(&document);
    }
}

#[test]
fn on_every_set_of_fields() {
    let mut judges = Judges::new();
    let file = json!({
        "path": "local/x", "content": "x", "content_base64": "QQ==", "source": "/x", "sha256": "0".repeat(64),
        "state": ["present", "absent"]
    });
    let profile = json!({
        "file": "x", "content": "x", "content_base64": "QQ==", "source": "/x", "sha256": "0".repeat(64),
        "mode": "kill", "mode_scope": "all", "on_confined": "unload", "if_missing": "skip",
        "service": { "class": "worker", "executable": "/usr/bin/x" },
        "state": ["present", "absent"]
    });
    for entry in sets_of_fields(&file) {
        judges.agree_on(&json!({ "version": 1, "owner": "o", "files": [entry] }));
    }
    for entry in sets_of_fields(&profile) {
        judges.agree_on(&json!({ "version": 1, "owner": "o", "profiles": [entry] }));
    }
    let execute = json!({
        "path": "/usr/bin/x", "transition": ["inherit", "profile", "child"], "profile": ["y", "/y", "unconfined"],
        "needs": {}
    });
    for execute in sets_of_fields(&execute) {
        let service = json!({ "class": "worker", "executable": "/x", "execute": [execute] });
        judges.agree_on(&json!({ "version": 1, "owner": "o", "profiles": [{ "service": service }] }));
    }
    let root = json!({
        "version": 1, "owner": "o", "prune": [true, false], "allow_empty": [true, false],
        "files": [[], [{ "path": "local/x", "state": "absent" }]],
        "profiles": [[], [{ "file": "x", "state": "absent" }]]
    });
    for document in sets_of_fields(&root) {
        judges.agree_on(&document);
    }
    assert!(judges.accepted > 100, "{}", judges.accepted);
}

/// Every object that has or lacks each of the fields; a field that holds an array has each of its elements in turn.
fn sets_of_fields(object: &Value) -> Vec<Value> {
    let mut sets = vec![Map::new()];
    for (key, value) in object.as_object().unwrap() {
        let choices = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        let larger: Vec<_> = sets
            .iter()
            .flat_map(|set| choices.iter().map(move |choice| (set.clone(), choice.clone())))
            .map(|(mut set, choice)| {
                set.insert(key.clone(), choice);
                set
            })
            .collect();
        sets.extend(larger);
    }
    sets.into_iter().map(Value::Object).collect()
}

#[test]
fn but_for_what_no_schema_can_state() {
    let mut judges = Judges::new();
    let wide = "ö".repeat(200);
    let large = "ö".repeat(super::MAX_TEXT / 2 + 1);
    for entries in [
        json!({ "files": [{ "path": "a/b", "content": "" }, { "path": "a/b", "content": "" }] }),
        json!({ "accept": [{ "code": "kernel-global-mode", "reason": "a" }, { "code": "kernel-global-mode", "reason": "b" }] }),
        json!({ "files": [{ "path": "a/b", "content": "" }, { "path": "a/b/c", "content": "" }] }),
        json!({ "files": [{ "path": "a/b", "content": "" }], "profiles": [{ "file": "a", "content": "" }] }),
        json!({ "profiles": [{ "file": "a", "content": "" }, { "file": "a", "state": "absent" }] }),
        json!({ "profiles": [{ "file": "a", "content": large }] }),
        json!({ "profiles": [{ "file": "a", "content_base64": "QQBB" }] }),
        json!({ "profiles": [{ "file": wide, "content": "" }] }),
        json!({ "files": [{ "path": format!("a/{wide}"), "content": "" }] }),
    ] {
        let mut document = json!({ "version": 1, "owner": "o" });
        document.as_object_mut().unwrap().extend(entries.as_object().unwrap().clone());
        assert!(judges.validator.is_valid(&document), "{document}");
        judges.agree_on(&document);
    }
    assert_eq!((judges.accepted, judges.refused), (0, 9));
}

#[test]
fn every_field_of_the_schema_is_described_and_typed() {
    let schema = schema();
    let mut objects = vec![&schema];
    objects.extend(schema["$defs"].as_object().unwrap().values());
    let mut fields = 0;
    for object in objects {
        assert!(object["description"].is_string(), "{object}");
        for (name, field) in object["properties"].as_object().into_iter().flatten() {
            let typed = field["type"].is_string() || field["$ref"].is_string();
            assert!(typed && field["description"].is_string(), "{name}: {field}");
            fields += 1;
        }
    }
    assert!(fields > 20, "{fields}");
}

#[test]
fn the_kept_schema_is_what_the_types_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/document.v1.json");
    let schema = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    #[expect(clippy::disallowed_methods, reason = "the developer asks for the rewriting by the environment")]
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        fs_err::write(path, &schema).unwrap();
    }
    let kept = fs_err::read_to_string(path).unwrap();
    assert!(kept == schema, "schemas/document.v1.json differs from the types: run UPDATE_SCHEMAS=1 cargo test");
}

#[test]
fn the_examples_are_good_documents() {
    let mut judges = Judges::new();
    let mut names = Vec::new();
    for entry in fs_err::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            judges.agree_on(&serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap());
            names.push(path);
        }
    }
    assert!(names.len() >= 3 && judges.accepted == names.len(), "{names:?}");
}
