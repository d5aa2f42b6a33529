use serde_json::{Value, json};

use super::*;
use crate::acceptance::Objection;
use crate::document::{self, Content, Desired, ProfileWant};
use crate::problem::ProblemCode;
use crate::service::{AbiName, Class};
use crate::syntax;

mod breadth;
mod contradiction;

fn variables() -> Variables {
    let mut variables = Variables::default();
    variables.add(&syntax::scan(
        b"@{HOME}=@{HOMEDIRS}/*/ /root/\n@{HOMEDIRS}=/home/\n@{PROC}=/proc/\n@{sys}=/sys/\n@{run}=/run/ /var/run/\n",
    ));
    variables
}

fn desired(document: &Value) -> Desired {
    document::parse(document.to_string().as_bytes()).unwrap()
}

/// The document's only service, with `fields` beside a class and an executable.
fn service(fields: Value) -> Service {
    with_classes(json!({}), fields)
}

fn with_classes(classes: Value, fields: Value) -> Service {
    let mut service = json!({ "class": "worker", "executable": "/usr/bin/app" });
    service.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let document = json!({ "version": 1, "owner": "o", "classes": classes, "profiles": [{ "service": service }] });
    match desired(&document).profiles.remove(0).want {
        ProfileWant::Text { content: Content::Service(service), .. } => (*service).clone(),
        other => panic!("a service: {other:?}"),
    }
}

const ENFORCE: WantedMode = WantedMode::Flags(Mode::Enforce);
const COMPLAIN: WantedMode = WantedMode::Flags(Mode::Complain);

fn on_host(service: &Service, mode: WantedMode, programs: &[(&str, Found)]) -> Result<Rendered, Vec<Problem>> {
    let programs = programs.iter().map(|(path, found)| (Program::new(*path).unwrap(), found.clone())).collect();
    let abis = BTreeSet::from(["3.0".to_owned(), "4.0".to_owned()]);
    let facts = Facts {
        variables: &variables(),
        knowledge: Knowledge::Host,
        abis: Some(&abis),
        programs: &programs,
        links: &BTreeMap::from([("/etc/linked".to_owned(), "/srv/a, b".to_owned())]),
        brought: &BTreeMap::new(),
    };
    render(service, mode, facts)
}

fn without_host(service: &Service) -> Result<Rendered, Vec<Problem>> {
    let facts = Facts {
        variables: &variables(),
        knowledge: Knowledge::Defaults,
        abis: None,
        programs: &BTreeMap::new(),
        links: &BTreeMap::new(),
        brought: &BTreeMap::new(),
    };
    render(service, ENFORCE, facts)
}

#[track_caller]
fn rendered(fields: Value) -> Rendered {
    on_host(&service(fields), ENFORCE, &[]).unwrap()
}

#[track_caller]
fn lines(fields: Value) -> Vec<String> {
    rendered(fields).text.lines().map(|line| line.trim_start().to_owned()).collect()
}

#[track_caller]
fn assert_has(fields: Value, wanted: &[&str]) {
    let lines = lines(fields);
    for line in wanted {
        assert!(lines.iter().any(|it| it == line), "{line}\n{lines:#?}");
    }
}

/// The problems as pairs of pointer and code.
#[track_caller]
fn refused(fields: Value) -> Vec<(String, ProblemCode)> {
    let problems = on_host(&service(fields), ENFORCE, &[]).unwrap_err();
    problems.into_iter().map(|problem| (problem.pointer, problem.code)).collect()
}

#[test]
fn a_worker_reads_as_an_administrator_would_write_it() {
    let worker = service(json!({
        "executable": "/usr/local/bin/report-exporter",
        "config": ["/etc/report-exporter/config.yaml"],
        "data": ["/var/lib/report-exporter"],
        "logs": ["/var/log/report-exporter"]
    }));
    let text = on_host(&worker, ENFORCE, &[]).unwrap().text;
    let expected = include_str!("tests/report-exporter");
    assert_eq!(text, expected);
    let watched = on_host(&worker, COMPLAIN, &[]).unwrap().text;
    assert!(!watched.contains("deny"), "{watched}");
    assert!(expected.lines().filter(|line| !line.contains("den")).all(|line| watched.contains(line)));
}

#[test]
fn terms_become_rules() {
    assert_has(
        json!({
            "config": ["/etc/app", "/etc/app.d/*.conf", "/srv/a b/", "@{HOME}/.app"],
            "data": ["/srv/{a,,b}/x"],
            "libraries": ["/srv/venv"],
            "logs": ["/var/log/app*"],
            "runtime": ["/run/app.sock"],
            "temp": ["app-*"],
            "listen": [{ "family": "inet", "type": "stream" }, { "family": "unix" }],
            "connect": [{ "family": "netlink" }],
            "execute": [
                { "path": "/usr/bin/gzip", "transition": "inherit" },
                { "path": "/usr/bin/other", "transition": "profile", "profile": "other" },
                { "path": "/usr/bin/dump", "transition": "child", "needs": { "config": ["/etc/dump"] } }
            ],
            "capabilities": ["setuid"],
            "signals": [
                { "direction": "send", "signals": ["term", "hup"], "peer": "nginx" },
                { "direction": "receive", "peer": "nginx" }
            ],
            "deny": ["/etc/app/secret"],
            "rules": ["ptrace (read) peer=nginx,", "include <abstractions/nameservice>"]
        }),
        &[
            "/etc/app{,/**} r,",
            "/srv/venv{,/**} mr,",
            "/etc/app.d/*.conf{,/**} r,",
            "\"/srv/a b/{,**}\" r,",
            "@{HOME}/.app{,/**} r,",
            "\"/srv/{a,,b}/x{,/**}\" rwk,",
            "/var/log/app* w,",
            "/run/app.sock{,/**} rwk,",
            "owner /{,var/}tmp/app-* rwk,",
            "network inet stream,",
            "network unix dgram,",
            "network unix stream,",
            "network netlink dgram,",
            "/usr/bin/gzip mrix,",
            "/usr/bin/other Px -> other,",
            "/usr/bin/dump Cx -> dump,",
            "profile dump {",
            "/usr/bin/dump mr,",
            "/etc/dump{,/**} r,",
            "capability setuid,",
            "signal (send) set=(hup, term) peer=nginx,",
            "signal (receive) peer=nginx,",
            "audit deny /etc/app/secret{,/**} mrwklx,",
            "ptrace (read) peer=nginx,",
            "include <abstractions/nameservice>",
            "include if exists <local/usr.bin.app>",
        ],
    );
}

#[test]
fn a_variable_before_a_plus_or_an_equals_sign_is_no_assignment() {
    assert_has(
        json!({ "config": ["@{HOME}+", "@{HOME}=/x", "@{HOME}/x=1"] }),
        &["\"@{HOME}+{,/**}\" r,", "\"@{HOME}=/x{,/**}\" r,", "@{HOME}/x=1{,/**} r,"],
    );
}

#[test]
fn an_abi_of_4_tells_listening_from_connecting() {
    let common = "create, getattr, getopt, receive, send, setattr, setopt, shutdown";
    assert_has(
        json!({ "abi": "4.0", "listen": [{ "family": "inet", "type": "stream" }], "connect": [{ "family": "inet6" }] }),
        &[
            "abi <abi/4.0>,",
            &format!("network (accept, bind, listen, {common}) inet stream,"),
            &format!("network (connect, {common}) inet6 stream,"),
            &format!("network (connect, {common}) inet6 dgram,"),
        ],
    );
}

#[test]
fn a_missing_abi_is_refused_with_those_that_are_there() {
    let problems = on_host(&service(json!({ "abi": "9.9" })), ENFORCE, &[]).unwrap_err();
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    assert_eq!((&*problem.pointer, problem.code), ("/profiles/0/service/abi", ProblemCode::NotInstalled));
    assert!(problem.allowed.as_ref().unwrap().contains("`3.0`, `4.0`"));
}

#[test]
fn a_class_of_ones_own_gives_its_services_all_it_has() {
    let classes = json!({
        "web": { "extends": "proxy", "abi": "4.0", "config": ["/etc/web"], "deny": ["/etc/web/secret"] },
        "shop": { "extends": "web", "data": ["/var/lib/shop"] }
    });
    let shop = with_classes(classes, json!({ "class": "shop", "config": ["/etc/shop"] }));
    let text = on_host(&shop, ENFORCE, &[]).unwrap().text;
    for part in [
        "of class shop (proxy)",
        "abi <abi/4.0>",
        "# class proxy: certificates",
        "# class web, config: read\n  /etc/web{,/**} r,\n",
        "# class shop, data: read, write, create, lock\n  /var/lib/shop{,/**} rwk,\n",
        "# service, config: read\n  /etc/shop{,/**} r,\n",
        "audit deny /etc/web/secret{,/**} mrwklx,",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn equal_services_give_equal_bytes_in_any_order() {
    let one = rendered(json!({ "config": ["/etc/b", "/etc/a", "/etc/b"], "capabilities": ["setuid", "chown"] }));
    let other = rendered(json!({ "capabilities": ["chown", "setuid"], "config": ["/etc/a", "/etc/b"] }));
    assert_eq!(one.text, other.text);
    assert!(one.text.lines().all(|line| line.trim_end() == line) && one.text.ends_with("}\n"));
}

#[test]
fn a_link_is_rendered_as_what_it_leads_to_and_a_script_with_its_interpreter() {
    let found = Found::Program {
        path: Program::new("/opt/app-1/app").unwrap(),
        interpreter: Some(Program::new("/usr/bin/dash").unwrap()),
        started_by_env: None,
    };
    let app = service(json!({ "execute": [{ "path": "/usr/bin/tool", "transition": "inherit" }] }));
    let tool = Found::Program { path: Program::new("/opt/tool").unwrap(), interpreter: None, started_by_env: None };
    let rendered = on_host(&app, ENFORCE, &[("/usr/bin/app", found), ("/usr/bin/tool", tool)]).unwrap();
    for part in ["profile app /opt/app-1/app {", "  /opt/app-1/app mr,", "  /usr/bin/dash mr,", "  /opt/tool mrix,"] {
        assert!(rendered.text.contains(part), "{part}\n{}", rendered.text);
    }
    assert!(rendered.text.contains(",dash,"), "the interpreter is read, not executed: {}", rendered.text);
    assert!(rendered.warnings.iter().any(|it| it.contains("leads to /opt/app-1/app")), "{:?}", rendered.warnings);
    let directory = Found::NotAProgram("a directory".to_owned());
    let problems = on_host(&app, ENFORCE, &[("/usr/bin/app", directory)]).unwrap_err();
    assert_eq!((&*problems[0].pointer, problems[0].code), ("/profiles/0/service/executable", ProblemCode::NotAFile));
}

#[test]
fn what_is_asked_for_replaces_the_denials_that_overlap_it() {
    let rendered = rendered(json!({
        "config": ["/etc/ssl/private/site.key", "/root/.app"],
        "data": ["/home/app/data"],
        "execute": [{ "path": "/usr/bin/curl", "transition": "inherit" }, { "path": "/bin/bash", "transition": "inherit" }]
    }));
    let denied: Vec<&str> = rendered.text.lines().map(str::trim_start).filter(|it| it.starts_with("audit")).collect();
    assert_eq!(
        denied,
        [
            "audit deny @{HOME}/{,**} mlx,",
            "audit deny /etc/security/opasswd mrwklx,",
            "audit deny /etc/{,g}shadow{,-} mrwklx,",
            "audit deny /etc/letsencrypt/keys/{,**} mrwklx,",
            "audit deny /etc/letsencrypt/{archive,live}/*/privkey*.pem mrwklx,",
            "audit deny /etc/pki/tls/private/{,**} mrwklx,",
            "audit deny /etc/ssh/ssh_host_*_key mrwklx,",
            "audit deny /etc/ssl/private/{,**} mwklx,",
            "audit deny /{,usr/,usr/local/}bin/{ash,busybox,csh,dash,fish,ksh,ksh93,mksh,rbash,sh,tcsh,zsh} x,",
            "audit deny /{,usr/,usr/local/}bin/{aria2c,ftp,lftp,nc,nc.openbsd,nc.traditional,ncat,netcat,scp,sftp,socat,telnet,tftp,wget,wget2} x,",
        ]
    );
    for (value, what) in [
        ("/etc/ssl/private/site.key", "private keys"),
        ("/root/.app", "homes"),
        ("/home/app/data", "homes"),
        ("/usr/bin/curl", "download tools"),
        ("/bin/bash", "shells"),
    ] {
        let told = |warning: &&String| warning.contains(value) && warning.contains(&format!("denial of {what} gives"));
        assert_eq!(rendered.warnings.iter().filter(told).count(), 1, "{value}: {:#?}", rendered.warnings);
    }
    assert_eq!(rendered.warnings.len(), 5, "{:#?}", rendered.warnings);
}

#[test]
fn a_variable_that_nobody_declares_is_refused_on_a_host_and_told_without_one() {
    let service = service(json!({ "config": ["@{NOWHERE}/x"] }));
    let problems = on_host(&service, ENFORCE, &[]).unwrap_err();
    assert_eq!((&*problems[0].pointer, problems[0].code), ("/profiles/0/service/config/0", ProblemCode::BadValue));
    let rendered = without_host(&service).unwrap();
    assert!(rendered.text.contains("@{NOWHERE}/x{,/**} r,") && rendered.warnings[0].contains("@{NOWHERE}"));
}

#[test]
fn references_are_those_of_the_text() {
    let service = service(json!({
        "rules": ["include <abstractions/python>"],
        "execute": [{ "path": "/opt/x", "transition": "child", "needs": { "rules": ["include if exists <local/x>"] } }]
    }));
    let targets = |text: &str| {
        let scan = syntax::scan(text.as_bytes());
        scan.includes.iter().map(|include| format!("{:?}", include.target)).collect::<BTreeSet<_>>()
    };
    assert_eq!(targets(&on_host(&service, ENFORCE, &[]).unwrap().text), targets(&references(&service)));
}

#[test]
fn the_documentation_justifies_every_line_and_lists_every_code() {
    let documentation = fs_err::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/classes.md")).unwrap();
    let has = |what: &str| assert!(documentation.contains(&format!("`{what}`")), "docs/classes.md has no `{what}`");
    let classes = [Class::Proxy, Class::Worker, Class::Observer, Class::Helper];
    let allowances = classes.into_iter().flat_map(class::allowances).chain(&EVERY);
    for allowance in allowances {
        allowance.rules.iter().for_each(|rule| has(rule));
        let rules = allowance.sockets.iter().flat_map(|sockets| sockets.rules(&AbiName::default()));
        rules.for_each(|rule| has(&rule));
    }
    for denial in classes.into_iter().flat_map(class::denials) {
        for member in denial.members {
            match denial.permissions {
                "x" => has(member),
                _ => has(&format!("{}{member}", denial.prefix)),
            }
        }
    }
    for objection in Objection::ALL {
        has(objection.code());
        assert!(documentation.contains(objection.meaning().lines().next().unwrap()), "{objection:?}");
    }
}

#[test]
fn a_denial_as_written_is_where_all_denials_are() {
    let service = service(json!({
        "rules": ["deny /srv/x w,", "audit deny capability syslog,", "/srv/y r,"],
        "execute": [{ "path": "/opt/x", "transition": "child", "needs": { "rules": ["deny /srv/z r,"] } }],
        "deny": ["/srv/secret"]
    }));
    let enforced = on_host(&service, ENFORCE, &[]).unwrap().text;
    let watched = on_host(&service, COMPLAIN, &[]).unwrap().text;
    for rule in ["deny /srv/x w,", "audit deny capability syslog,", "deny /srv/z r,"] {
        assert!(enforced.contains("denials as written\n") && enforced.contains(rule), "{enforced}");
        assert!(!watched.contains("deny"), "{watched}");
    }
    assert!(watched.contains("/srv/y r,"));
    let (_, child) = enforced.split_once("profile x {").unwrap();
    assert!(child.contains("audit deny /srv/secret{,/**} mrwklx,"), "a denial holds in children too: {enforced}");
}

#[test]
fn a_path_that_leads_elsewhere_is_rendered_as_where_it_leads() {
    let rendered = rendered(json!({ "config": ["/etc/linked"], "deny": ["/etc/linked/secret*"] }));
    for rule in ["\"/srv/a, b{,/**}\" r,", "\"/srv/a, b/secret*\" mrwklx,"] {
        assert!(rendered.text.contains(rule), "{rule}\n{}", rendered.text);
    }
    assert!(rendered.warnings[0].contains("/etc/linked at /profiles/0/service/config/0 leads to"), "{rendered:?}");
}

#[test]
fn what_env_executes_may_be_executed() {
    let found = |started: Option<&str>| Found::Program {
        path: Program::new("/usr/bin/app").unwrap(),
        interpreter: Some(Program::new("/usr/bin/env").unwrap()),
        started_by_env: started.map(|started| Program::new(started).unwrap()),
    };
    let app = |execute: Value| service(json!({ "execute": execute }));
    let plain = on_host(&app(json!([])), ENFORCE, &[("/usr/bin/app", found(Some("/usr/bin/bash")))]).unwrap();
    assert!(plain.text.contains("  /usr/bin/bash mrix,\n"), "{}", plain.text);
    assert!(!plain.text.contains(",bash,"), "the denial of shells gives way: {}", plain.text);
    let own = app(json!([{ "path": "/usr/bin/bash", "transition": "child" }]));
    let own = on_host(&own, ENFORCE, &[("/usr/bin/app", found(Some("/usr/bin/bash")))]).unwrap();
    assert!(own.text.contains("/usr/bin/bash Cx -> bash,") && !own.text.contains("mrix"), "{}", own.text);
    let lost = on_host(&app(json!([])), ENFORCE, &[("/usr/bin/app", found(None))]).unwrap();
    assert!(lost.warnings.iter().any(|warning| warning.contains("name that under `execute`")), "{:?}", lost.warnings);
}

#[test]
fn a_script_that_is_executed_has_its_interpreter_in_the_profile_that_it_runs_in() {
    let script = |path: &str, interpreter: &str, started: Option<&str>| Found::Program {
        path: Program::new(path).unwrap(),
        interpreter: Some(Program::new(interpreter).unwrap()),
        started_by_env: started.map(|started| Program::new(started).unwrap()),
    };
    let app = service(json!({ "execute": [
        { "path": "/opt/plain", "transition": "inherit" },
        { "path": "/opt/other", "transition": "profile", "profile": "other" },
        { "path": "/opt/kid", "transition": "child", "needs": { "execute": [{ "path": "/opt/grandkid", "transition": "inherit" }] } }
    ] }));
    let found = [
        ("/opt/plain", script("/opt/plain", "/usr/bin/env", Some("/usr/bin/python3.11"))),
        ("/opt/other", script("/opt/other", "/usr/bin/ruby", None)),
        ("/opt/kid", script("/opt/wrapper", "/usr/bin/perl", None)),
        ("/opt/grandkid", script("/opt/grandkid", "/usr/bin/env", Some("/usr/bin/bash"))),
    ];
    let text = on_host(&app, ENFORCE, &found).unwrap().text;
    let (own, child) = text.split_once("profile kid {").unwrap();
    let has = |text: &str, rule: &str| text.lines().any(|line| line.trim() == rule);
    for rule in ["/usr/bin/env mr,", "/usr/bin/python3.11 mrix,", "/opt/wrapper Cx -> kid,"] {
        assert!(has(own, rule), "{rule}\n{own}");
    }
    for rule in
        ["/opt/wrapper mr,", "/usr/bin/perl mr,", "/opt/grandkid mrix,", "/usr/bin/env mr,", "/usr/bin/bash mrix,"]
    {
        assert!(has(child, rule), "{rule}\n{child}");
    }
    assert!(!text.contains("ruby") && !own.contains("perl") && !own.contains("/usr/bin/bash"), "{text}");
    assert!(own.contains(",bash,") && !child.contains(",bash,"), "denials give way where it is executed: {text}");
}

#[test]
fn a_child_has_names_and_where_it_connects_name_resolution() {
    let child = |needs: Value| {
        let text = rendered(json!({ "execute": [{ "path": "/opt/x", "transition": "child", "needs": needs }] })).text;
        text.split_once("profile x {").unwrap().1.to_owned()
    };
    let (plain, connects) = (child(json!({})), child(json!({ "connect": [{ "family": "inet" }] })));
    for rule in ["/etc/passwd r,", "/etc/group r,", "/etc/nsswitch.conf r,"] {
        assert!(plain.contains(rule) && connects.contains(rule), "{rule}\n{plain}");
    }
    assert!(!plain.contains("/etc/resolv.conf") && connects.contains("/etc/resolv.conf r,"), "{connects}");
}

#[test]
fn what_the_document_brings_to_be_included_is_judged_or_told() {
    let outcome = |path: &str, text: &str| {
        let brought = BTreeMap::from([(path.to_owned(), Arc::new(Text::new(text.as_bytes().to_vec())))]);
        let facts = Facts {
            variables: &variables(),
            knowledge: Knowledge::Defaults,
            abis: None,
            programs: &BTreeMap::new(),
            links: &BTreeMap::new(),
            brought: &brought,
        };
        render(&service(json!({ "rules": ["include if exists <abstractions/own>"] })), ENFORCE, facts)
    };
    for (path, pointer) in [("abstractions/own", "/rules/0"), ("local/usr.bin.app", "")] {
        let problems = outcome(path, "  # wide\n  /etc/** rw,\n\n  /srv/x r,\n").unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(
            (problems[0].pointer.as_str(), problems[0].code),
            (&*format!("/profiles/0/service{pointer}"), ProblemCode::TooBroad)
        );
        assert!(problems[0].message.contains(&format!("/etc/** rw, in <{path}>")), "{problems:?}");
        let hidden = outcome(path, "#include <x>\n").unwrap().warnings;
        assert!(hidden.iter().any(|warning| warning.contains(&format!("what <{path}> says"))), "{hidden:?}");
        let narrow = outcome(path, "/home/app/x r,\ndeny /srv/** w,\n").unwrap();
        assert!(!narrow.warnings.iter().any(|warning| warning.contains(path)), "{:?}", narrow.warnings);
        assert!(
            narrow.text.contains("audit deny @{HOME}/{,**} mrwklx,"),
            "no addition opens a denial: {}",
            narrow.text
        );
    }
}

#[test]
fn what_the_service_denies_itself_is_denied_once_and_gives_way_to_nothing() {
    let rendered = rendered(json!({ "config": ["/etc"], "deny": ["/etc/ssl/private"] }));
    let denied: Vec<&str> = rendered.text.lines().filter(|line| line.contains("/etc/ssl/private")).collect();
    assert_eq!(denied, ["  audit deny /etc/ssl/private{,/**} mrwklx,"]);
    assert!(!rendered.text.contains("/etc/shadow") && rendered.text.contains("pki/tls/private/{,**} mwklx,"));
}

#[test]
fn what_is_included_is_told_on_every_run() {
    let warnings = rendered(json!({ "rules": ["include <abstractions/python>"] })).warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("what <abstractions/python> says") && warnings[0].contains("/rules/0"),
        "{warnings:?}"
    );
}

#[test]
fn what_is_no_program_is_not_executed() {
    let execute = |path: &str| json!({ "execute": [{ "path": path, "transition": "inherit" }] });
    let executable = service(json!({ "executable": "/usr/bin" }));
    let problems = without_host(&executable).unwrap_err();
    assert_eq!((&*problems[0].pointer, problems[0].code), ("/profiles/0/service/executable", ProblemCode::NotAFile));
    for path in ["/usr/bin", "/opt", "@{HOME}"] {
        let refused = refused(execute(path));
        assert_eq!(refused, [("/profiles/0/service/execute/0/path".to_owned(), ProblemCode::NotAFile)], "{path}");
    }
    let directory = Found::NotAProgram("a directory".to_owned());
    let problems = on_host(&service(execute("/opt/tools")), ENFORCE, &[("/opt/tools", directory)]).unwrap_err();
    assert_eq!(
        (&*problems[0].pointer, problems[0].code),
        ("/profiles/0/service/execute/0/path", ProblemCode::NotAFile)
    );
    let document = json!({ "version": 1, "owner": "o", "profiles": [{ "service":
        { "class": "worker", "executable": "/usr/bin/app", "execute": [{ "path": "/usr/bin/", "transition": "inherit" }] } }] });
    let problems = document::parse(document.to_string().as_bytes()).unwrap_err();
    assert_eq!(
        (&*problems[0].pointer, problems[0].code),
        ("/profiles/0/service/execute/0/path", ProblemCode::BadValue)
    );
}

#[test]
fn a_value_that_is_no_path_once_expanded_is_refused() {
    let mut variables = variables();
    variables.add(&syntax::scan(b"@{multiarch}=*-linux-gnu*\n@{some}=/srv/a b\n"));
    for path in ["@{multiarch}", "@{some}", "@{multiarch}/x"] {
        let service = service(json!({ "data": [path] }));
        let facts = Facts {
            variables: &variables,
            knowledge: Knowledge::Host,
            abis: None,
            programs: &BTreeMap::new(),
            links: &BTreeMap::new(),
            brought: &BTreeMap::new(),
        };
        let problems = render(&service, ENFORCE, facts).unwrap_err();
        assert_eq!(problems[0].pointer, "/profiles/0/service/data/0", "{path}");
        assert_eq!(problems[0].code, ProblemCode::BadValue, "{path}");
    }
}

#[test]
fn an_abi_that_hosts_may_lack_is_told_without_a_host() {
    let warned = |fields: Value| without_host(&service(fields)).unwrap().warnings;
    assert!(warned(json!({ "abi": "4.0" }))[0].contains("a host without abi/4.0 refuses"));
    assert_eq!(warned(json!({})), Vec::<String>::new());
}
