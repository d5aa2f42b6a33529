//! `status` and `export` on a host with the distribution's policy.

use serde_json::{Value, json};

use crate::guest::{Guest, document, profile, simple};
use crate::kernel::{self, policy, revisions};
use crate::programs::Program;

fn answer(guest: &Guest, command: &str) -> Value {
    let (files, before) = (guest.files(), revisions());
    let run = guest.run(&[command, "--format", "json"], "");
    run.expect(0);
    assert!(guest.files() == files && revisions() == before, "{command} changes nothing");
    run.report
}

fn file<'a>(status: &'a Value, name: &str) -> &'a Value {
    status["profiles"].as_array().unwrap().iter().find(|it| it["file"] == name).unwrap()
}

#[test]
fn status_tells_what_runs_and_what_differs() {
    let guest = Guest::fresh();
    let early = Program::install("two").start();
    guest.converge(&document(json!([simple("one"), simple("two"), simple("three"), simple("four")])));
    let confined = Program::install("one").start();
    kernel::remove("three");
    kernel::load(&profile("four").replace("/opt/data/four r", "/** rw"));
    kernel::load("profile docker-default {\n  file,\n}\n");
    let loaded = policy();

    let status = answer(&guest, "status");
    assert_eq!(status["summary"]["files"], 4, "{status:#}");
    assert_eq!(status["summary"]["loaded"], 3);
    assert_eq!(file(&status, "one")["drift"], json!([]));
    assert_eq!(file(&status, "one")["owner"], "test");
    assert_eq!(file(&status, "three")["drift"], json!(["kernel-missing"]));
    assert_eq!(file(&status, "four")["drift"], json!(["kernel-drift"]));
    assert!(status["foreign"].to_string().contains("docker-default"));
    assert!(status["kernel"].to_string().contains("enforce"));
    let shown = file(&status, "one").to_string();
    assert!(shown.contains(loaded["one"].hash.as_deref().unwrap()), "{shown}");
    let processes = status["processes"].to_string();
    assert!(processes.contains(&format!("\"pid\":{}", confined.pid())), "{processes}");
    assert!(processes.contains(&format!("\"pid\":{}", early.pid())), "{processes}");
    assert_eq!(status["summary"]["confined"], 1);
    assert_eq!(status["summary"]["unconfined"], 1);

    guest.converge(&document(json!([simple("one"), simple("two"), simple("three"), simple("four")])));
    assert_eq!(answer(&guest, "status")["summary"]["drifted"], 0);
}

#[test]
fn an_export_is_in_sync() {
    let guest = Guest::fresh();
    for name in ["one", "two", "three"] {
        guest.write(name, &profile(name));
        kernel::load(&profile(name));
    }
    std::os::unix::fs::symlink("../two", guest.policy("disable/two")).unwrap();
    kernel::remove("two");
    kernel::load_with(&["--Complain"], &profile("three"));
    std::os::unix::fs::symlink("../three", guest.policy("force-complain/three")).unwrap();
    let loaded = policy();
    let files = guest.files();

    let exported = answer(&guest, "export");
    let before = revisions();
    let run = guest.apply(&exported);
    run.expect(0);
    assert_eq!((policy(), revisions()), (loaded, before), "{run:#?}");
    assert!(guest.files() == files);
    guest.expect_in_sync(&exported);
}

#[test]
fn a_host_with_the_distributions_policy_is_told() {
    let guest = Guest::with_distribution();
    let file = guest.policy("bin.ping");
    crate::guest::tool(crate::guest::PARSER, ["--replace".as_ref(), file.as_os_str()]);
    let status = answer(&guest, "status");
    assert!(status["summary"]["files"].as_u64().unwrap() > 20, "{:#}", status["summary"]);
    assert_eq!(status["summary"]["owned"], 0);
    assert!(status["summary"]["loaded"].as_u64().unwrap() > 0);
}
