//! Profiles rendered from services, read and compiled by the real apparmor_parser: this machine's, and that of Debian
//! 13, which `scripts/fetch-parser.sh` fetches.
#![expect(clippy::disallowed_methods, reason = "the test reads files of policy and runs parsers")]
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use aa_converge::{document, render};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A parser, and the policy that belongs to it.
struct Parser {
    program: PathBuf,
    policy: PathBuf,
    abis: &'static [&'static str],
}

/// Both parsers.
fn parsers() -> &'static [Parser; 2] {
    static PARSERS: OnceLock<[Parser; 2]> = OnceLock::new();
    PARSERS.get_or_init(|| {
        let fetched = Path::new(env!("CARGO_TARGET_TMPDIR")).join("apparmor-trixie");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/fetch-parser.sh");
        let output = Command::new(script).arg("trixie").arg(&fetched).output().unwrap();
        assert!(output.status.success(), "the parser of Debian 13: {}", String::from_utf8_lossy(&output.stderr));
        [
            Parser { program: "/usr/sbin/apparmor_parser".into(), policy: "/etc/apparmor.d".into(), abis: &["3.0"] },
            Parser {
                program: fetched.join("apparmor_parser"),
                policy: fetched.join("root/etc/apparmor.d"),
                abis: &["3.0", "4.0"],
            },
        ]
    })
}

impl Parser {
    fn command(&self, policy: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().env("LC_ALL", "C").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
            .args(["--config-file", "/dev/null", "-QKT", "-b"])
            .arg(policy)
            .arg("-M")
            .arg(self.policy.join("abi/3.0"));
        command
    }

    /// Compiles a text against a policy directory.
    fn compile(&self, text: &str, policy: &Path) -> Result<(), String> {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("profile");
        fs_err::write(&file, text).unwrap();
        let blob = directory.path().join("blob");
        let output = self.command(policy).arg("-o").arg(&blob).arg(&file).output().unwrap();
        let compiled = fs_err::metadata(&blob).is_ok_and(|blob| blob.len() > 0);
        if output.status.success() && compiled { Ok(()) } else { Err(said(&output)) }
    }

    /// The rules that the parser reads in a text, as its debug output lists them, with how often each stands there.
    fn rules(&self, text: &str, policy: &Path) -> Result<BTreeMap<String, usize>, String> {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("profile");
        fs_err::write(&file, text).unwrap();
        let output = self.command(policy).arg("-d").arg(&file).output().unwrap();
        if !output.status.success() {
            return Err(said(&output));
        }
        let mut rules = BTreeMap::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            *rules.entry(line.to_owned()).or_insert(0) += 1;
        }
        Ok(rules)
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The texts of a document by file, or its problems.
fn rendered(document: &Value) -> Result<BTreeMap<String, String>, String> {
    let desired = document::parse(document.to_string().as_bytes()).map_err(|problems| format!("{problems:#?}"))?;
    let rendered = render::render(&desired).map_err(|problems| format!("{problems:#?}"))?;
    // `apply` refuses what the host does not declare; `render` knows no host.
    if let Some(warning) = rendered.warnings.iter().find(|warning| warning.contains("which the host must declare")) {
        return Err(warning.clone());
    }
    Ok(rendered.texts.into_iter().map(|text| (text.path, text.content)).collect())
}

fn example(name: &str) -> Value {
    let path = format!("{}/examples/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap()
}

#[test]
fn every_example_compiles_in_every_mode_on_both_parsers() {
    let mut compiled = 0;
    for name in ["nginx", "haproxy", "report-exporter", "prometheus-node-exporter", "backup"] {
        for mode in ["enforce", "complain", "kill"] {
            for abi in ["3.0", "4.0"] {
                let mut document = example(name);
                let profile = document.pointer_mut("/profiles/0").unwrap();
                profile["mode"] = json!(mode);
                profile["service"]["abi"] = json!(abi);
                let texts = rendered(&document).unwrap();
                assert_eq!(texts.len(), 1, "{name}");
                for text in texts.values() {
                    assert_eq!(text.contains("deny"), mode != "complain", "{name} in {mode}");
                    for parser in parsers().iter().filter(|parser| parser.abis.contains(&abi)) {
                        let outcome = parser.compile(text, &parser.policy);
                        assert_eq!(outcome, Ok(()), "{name}, {mode}, abi {abi}, {}\n{text}", parser.program.display());
                        compiled += 1;
                    }
                }
            }
        }
    }
    assert_eq!(compiled, 5 * 3 * 3);
}

#[test]
fn every_word_of_the_vocabulary_is_known_to_both_parsers() {
    use aa_converge::acceptance::Scope;
    use aa_converge::service::{Capability, Family, Signal, SocketType};
    let accept: Vec<_> = Scope::Entry.objections().map(|it| json!({ "code": it.code(), "reason": "test" })).collect();
    let families = Family::WORDS.iter().flat_map(|(family, _)| {
        let types = SocketType::WORDS.iter().map(move |(socket, _)| json!({ "family": family, "type": socket }));
        types.chain([json!({ "family": family })])
    });
    for class in ["proxy", "worker", "observer", "helper"] {
        for abi in ["3.0", "4.0"] {
            let document = json!({ "version": 1, "owner": "o", "profiles": [{ "service": {
                "class": class, "executable": "/usr/bin/app", "abi": abi, "accept": accept,
                "capabilities": Capability::WORDS.iter().map(|(word, _)| *word).collect::<Vec<_>>(),
                "listen": families.clone().collect::<Vec<_>>(),
                "connect": families.clone().chain([json!({})]).collect::<Vec<_>>(),
                "signals": [
                    { "direction": "send", "peer": "x//y", "signals": Signal::WORDS.iter().map(|(word, _)| *word).collect::<Vec<_>>() },
                    { "direction": "receive", "peer": "/usr/bin/x" }
                ]
            } }] });
            let texts = rendered(&document).unwrap();
            for parser in parsers().iter().filter(|parser| parser.abis.contains(&abi)) {
                let outcome = parser.compile(&texts["usr.bin.app"], &parser.policy);
                assert_eq!(outcome, Ok(()), "{class}, abi {abi}, {}", parser.program.display());
            }
        }
    }
}

/// A policy directory of a few lines, so that a compile takes milliseconds.
fn small_policy() -> &'static Path {
    static POLICY: OnceLock<TempDir> = OnceLock::new();
    let directory = POLICY.get_or_init(|| {
        let directory = TempDir::new().unwrap();
        let write = |path: &str, text: &str| {
            let path = directory.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        };
        fs_err::create_dir_all(directory.path().join("abi")).unwrap();
        fs_err::copy("/etc/apparmor.d/abi/3.0", directory.path().join("abi/3.0")).unwrap();
        let globals = "@{HOMEDIRS}=/home/\n@{HOME}=@{HOMEDIRS}/*/ /root/\n@{PROC}=/proc/\n@{sys}=/sys/\n@{run}=/run/\n";
        write("tunables/global", globals);
        for name in ["base", "consoles", "openssl", "perl", "ssl_certs"] {
            write(&format!("abstractions/{name}"), &format!("/opt/{name} r,\n"));
        }
        directory
    });
    directory.path()
}

/// A field of a service that a value can be put into.
#[derive(Debug, Clone, Copy)]
struct Field {
    name: &'static str,
    /// What a value begins with that is not refused at once.
    beginning: &'static str,
    /// Puts the value into a service.
    put: fn(&mut Value, &str),
    /// How the value stands in the rule that it makes.
    shown: fn(&str) -> String,
}

fn with_contents(value: &str) -> String {
    use aa_converge::service::PathPattern;
    PathPattern::new(value).unwrap().with_contents().to_string()
}

const FIELDS: [Field; 11] = [
    Field {
        name: "config",
        beginning: "/srv/app",
        put: |service, value| service["config"] = json!([value]),
        shown: with_contents,
    },
    Field {
        name: "libraries",
        beginning: "/srv/app",
        put: |service, value| service["libraries"] = json!([value]),
        shown: with_contents,
    },
    Field {
        name: "data",
        beginning: "/srv/app",
        put: |service, value| service["data"] = json!([value]),
        shown: with_contents,
    },
    Field {
        name: "logs",
        beginning: "/srv/app",
        put: |service, value| service["logs"] = json!([value]),
        shown: with_contents,
    },
    Field {
        name: "runtime",
        beginning: "/run/app",
        put: |service, value| service["runtime"] = json!([value]),
        shown: with_contents,
    },
    Field {
        name: "deny",
        beginning: "/srv/app",
        put: |service, value| service["deny"] = json!([value]),
        shown: with_contents,
    },
    Field {
        name: "temp",
        beginning: "app-",
        put: |service, value| service["temp"] = json!([value]),
        shown: |value| with_contents(&format!("/{{,var/}}tmp/{value}")),
    },
    Field {
        name: "execute",
        beginning: "/srv/app",
        put: |service, value| service["execute"] = json!([{ "path": value, "transition": "inherit" }]),
        shown: str::to_owned,
    },
    Field {
        name: "execute into a profile",
        beginning: "/srv/app",
        put: |service, value| {
            service["execute"] = json!([{ "path": value, "transition": "profile", "profile": "other" }]);
        },
        shown: str::to_owned,
    },
    Field {
        name: "peer",
        beginning: "app",
        put: |service, value| service["signals"] = json!([{ "direction": "send", "peer": value }]),
        shown: |value| format!(" {value},"),
    },
    Field {
        name: "config of a child",
        beginning: "/srv/app",
        put: |service, value| {
            service["execute"] = json!([{ "path": "/opt/kid", "transition": "child", "needs": { "config": [value] } }]);
        },
        shown: with_contents,
    },
];

fn document_of(service: &Value, mode: &str) -> Value {
    json!({ "version": 1, "owner": "o", "profiles": [{ "mode": mode, "service": service }] })
}

fn plain_service() -> Value {
    use aa_converge::acceptance::Scope;
    let accept: Vec<_> = Scope::Entry.objections().map(|it| json!({ "code": it.code(), "reason": "test" })).collect();
    json!({
        "class": "worker", "executable": "/opt/app/bin/app", "accept": accept,
        "execute": [{ "path": "/opt/kid", "transition": "child", "needs": {} }]
    })
}

/// Texts made of what means something to a lexer, a pattern or a path.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => Just("/"),
        2 => Just("/srv/"),
        1 => Just("/run/"),
        3 => Just("app"),
        1 => Just("\""),
        1 => Just(","),
        1 => Just(" "),
        1 => Just("\n"),
        1 => Just("\\"),
        1 => Just("{"),
        1 => Just("}"),
        1 => Just("{a,b}"),
        1 => Just("{,x}"),
        1 => Just("["),
        1 => Just("]"),
        1 => Just("[a-z]"),
        1 => Just("[^a]"),
        1 => Just("*"),
        1 => Just("**"),
        1 => Just("?"),
        1 => Just("^"),
        1 => Just("$"),
        1 => Just("@"),
        2 => Just("@{HOME}"),
        1 => Just("="),
        1 => Just("@{"),
        1 => Just("#"),
        1 => Just("!"),
        1 => Just("("),
        1 => Just(")"),
        1 => Just("|"),
        1 => Just("+"),
        1 => Just("."),
        1 => Just(".."),
        1 => Just(":"),
        1 => Just("->"),
        1 => Just("<x>"),
        1 => Just("%"),
        1 => Just("\\*"),
        1 => Just("\\{"),
        1 => Just("\\,"),
        1 => Just("\\\\"),
        1 => Just("\\x41"),
        1 => Just("\\101"),
        1 => Just("\0"),
        1 => Just("\t"),
        1 => Just("\r"),
        1 => Just("ä"),
        1 => Just("\u{85}"),
        1 => Just("\u{2028}"),
        1 => Just("\u{202e}"),
        1 => Just("\u{2066}"),
        1 => Just("\u{feff}"),
        1 => Just(" r,"),
        1 => Just(" rwx,\n/** rwx,"),
        1 => Just("} profile evil {"),
        1 => Just("include <abstractions/x>"),
        1 => Just("#include"),
        1 => Just(" flags=(unconfined)"),
        1 => Just("unconfined"),
        1 => Just("//"),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

/// Beginnings that make more of the texts pass.
fn prefixed() -> impl Strategy<Value = String> {
    (prop_oneof![Just(""), Just("/"), Just("/srv/app"), Just("/run/app"), Just("app"), Just("@{HOME}/")], hostile())
        .prop_map(|(beginning, rest)| format!("{beginning}{rest}"))
}

/// What `with` has more than `without`, and what it has less.
fn difference(without: &BTreeMap<String, usize>, with: &BTreeMap<String, usize>) -> (Vec<String>, Vec<String>) {
    let more = |one: &BTreeMap<String, usize>, two: &BTreeMap<String, usize>| {
        let more = two.iter().filter(|(line, count)| one.get(*line).copied().unwrap_or(0) < **count);
        more.map(|(line, _)| line.clone()).collect()
    };
    (more(without, with), more(with, without))
}

/// As many as a few hundred runs of two parsers each take seconds.
fn cases() -> ProptestConfig {
    ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() }
}

/// Whatever stands in a field: it is refused, or both parsers read the same rules as without it and one more, which
/// holds the value as it was given.
#[test]
fn no_value_says_more_than_itself() {
    let passed: std::cell::RefCell<BTreeMap<&str, usize>> = std::cell::RefCell::default();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 40 * u32::try_from(FIELDS.len()).unwrap(),
        ..cases()
    });
    let outcome = runner.run(&(0..FIELDS.len(), 0..4_usize, hostile()), |(field, beginning, rest)| {
        let field = FIELDS[field];
        // One in four is left to begin as it may.
        let value = if beginning == 0 { rest } else { format!("{}{rest}", field.beginning) };
        // Denials give way to what is asked for, and are left out in complain mode: `deny` is what is tested then.
        let mode = if field.name == "deny" { "enforce" } else { "complain" };
        let mut service = plain_service();
        if field.name.starts_with("execute") {
            service["execute"] = json!([]);
        }
        let without = rendered(&document_of(&service, mode)).map_err(TestCaseError::fail)?;
        (field.put)(&mut service, &value);
        let Ok(with) = rendered(&document_of(&service, mode)) else { return Ok(()) };
        *passed.borrow_mut().entry(field.name).or_default() += 1;
        let file = "opt.app.bin.app";
        for parser in parsers() {
            let read = |text: &str| {
                parser.compile(text, small_policy())?;
                parser.rules(text, small_policy())
            };
            let before = read(&without[file]).map_err(TestCaseError::fail)?;
            let after = read(&with[file])
                .map_err(|error| TestCaseError::fail(format!("{}: {value:?}: {error}\n{}", field.name, with[file])))?;
            let (more, less) = difference(&before, &after);
            prop_assert_eq!(&less, &Vec::<String>::new(), "{} took rules away\n{}", field.name, &with[file]);
            // A rule with `l` has a second line for the link's target, which all of them share.
            let more: Vec<_> = more.into_iter().filter(|line| !line.starts_with("\tlink:")).collect();
            let shown = (field.shown)(&value);
            if more.is_empty() && without[file].contains(&shown) {
                // The class denies that already.
                continue;
            }
            prop_assert_eq!(more.len(), 1, "{}: {:?}\n{}", field.name, &more, &with[file]);
            if !value.contains("@{") {
                prop_assert!(more[0].contains(&shown), "{}: {} is not {}", field.name, &more[0], shown);
            }
        }
        Ok(())
    });
    outcome.unwrap();
    for field in FIELDS {
        assert!(
            passed.borrow().get(field.name).is_some_and(|count| *count >= 3),
            "few values pass in {}: {passed:?}",
            field.name
        );
    }
}

/// Names, paths of programs and whole rules: refused, or the profile is still one, of that name, for that program.
#[test]
fn no_name_or_rule_opens_another_profile() {
    let headers = |rules: &BTreeMap<String, usize>| -> Vec<String> {
        rules.keys().filter(|line| line.starts_with("Name:")).cloned().collect()
    };
    let passed = std::cell::Cell::new(0);
    let rule = prop_oneof![
        prefixed(),
        (prefixed(), prop_oneof![Just(" r,"), Just(" Px -> x,"), Just(","), Just("")]).prop_map(|(a, b)| a + b),
        prefixed().prop_map(|value| format!("\"{value}\" r,")),
    ];
    let mut runner = proptest::test_runner::TestRunner::new(cases());
    let outcome = runner.run(&(0..5_usize, rule), |(at, value)| {
        let mut service = plain_service();
        service["execute"] = json!([]);
        let mut entry = json!({ "mode": "complain", "service": service });
        let plain =
            rendered(&json!({ "version": 1, "owner": "o", "profiles": [entry] })).map_err(TestCaseError::fail)?;
        match at {
            0 => entry["service"]["name"] = json!(value),
            1 => entry["service"]["executable"] = json!(value),
            2 => entry["file"] = json!(value),
            3 => entry["service"]["abi"] = json!(value),
            _ => entry["service"]["rules"] = json!([value]),
        }
        if at == 1 {
            entry["file"] = json!("file");
            entry["service"]["name"] = json!("app");
        }
        let Ok(with) = rendered(&json!({ "version": 1, "owner": "o", "profiles": [entry] })) else { return Ok(()) };
        let (plain, text) = (plain.values().next().unwrap(), with.values().next().unwrap());
        for parser in parsers() {
            let before = parser.rules(plain, small_policy()).map_err(TestCaseError::fail)?;
            let compiled = parser.compile(text, small_policy());
            // An abi that is not there, and what only the parser's grammar refuses in a rule, are refused by it.
            if at >= 3 && compiled.is_err() {
                continue;
            }
            prop_assert_eq!(compiled, Ok(()), "{}", text);
            let after = parser.rules(text, small_policy()).map_err(TestCaseError::fail)?;
            passed.set(passed.get() + 1);
            if at == 0 {
                let names = headers(&after);
                prop_assert_eq!(names.len(), 1, "{:?}", &names);
                prop_assert!(names[0].ends_with(&format!("\t{value}")), "{:?} {}", &names, &value);
            } else {
                prop_assert_eq!(headers(&before), headers(&after), "{}", text);
            }
            let (more, less) = difference(&before, &after);
            prop_assert!(more.len() <= 2 && less.len() <= 2, "{}: {:?} {:?}", text, more, less);
        }
        Ok(())
    });
    outcome.unwrap();
    assert!(passed.get() > 20, "{}", passed.get());
}

/// Two rules of one profile: this program finds the conflict that one of the parsers finds, and no other.
#[test]
fn conflicting_transitions_are_those_of_the_parsers() {
    let piece = prop_oneof![
        3 => Just("a"),
        3 => Just("b"),
        1 => Just("{a,b}"),
        1 => Just("{,b}"),
        2 => Just("*"),
        1 => Just("**"),
        1 => Just("?"),
        1 => Just("[ab]"),
    ];
    let pattern = prop::collection::vec(piece, 1..4).prop_map(|pieces| format!("/opt/app/{}", pieces.concat()));
    let way = || {
        prop_oneof![
            Just("ix"),
            Just("mrix"),
            Just("Px -> y"),
            Just("px -> y"),
            Just("Px -> z"),
            Just("Cx -> kid"),
            Just("PUx"),
            Just("Pux")
        ]
    };
    let seen: std::cell::RefCell<BTreeMap<bool, usize>> = std::cell::RefCell::default();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig { cases: 250, ..cases() });
    let outcome = runner.run(&(pattern.clone(), way(), pattern, way()), |(one, its_way, two, other_way)| {
        let mut service = plain_service();
        let plain = rendered(&document_of(&service, "complain")).map_err(TestCaseError::fail)?;
        let rules = [format!("{one} {its_way},"), format!("{two} {other_way},")];
        service["rules"] = json!(rules);
        let refused = match rendered(&document_of(&service, "complain")) {
            Ok(_) => false,
            Err(problems) => {
                prop_assert!(problems.contains("is executed with"), "{problems}");
                true
            }
        };
        *seen.borrow_mut().entry(refused).or_default() += 1;
        let text = plain["opt.app.bin.app"]
            .replace("\n  # additions", &format!("\n  {}\n  {}\n  # additions", rules[0], rules[1]));
        let outcomes = parsers().each_ref().map(|parser| parser.compile(&text, small_policy()));
        prop_assert_eq!(outcomes.iter().any(Result::is_err), refused, "{:?} {:?}\n{}", outcomes, rules, text);
        Ok(())
    });
    outcome.unwrap();
    assert!(seen.borrow().len() == 2 && seen.borrow().values().all(|count| *count > 10), "{seen:?}");
}
