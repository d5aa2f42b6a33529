//! The example documents of services, on the services themselves: they do their work, and nothing else.
//!
//! These run in a boot of their own, whose guest has Debian's nginx and prometheus-node-exporter
//! (`tests/vm/suite.sh`). What no package brings is made here as the packages' scripts make it. Files that a service
//! must not touch have modes that let everybody read them, so that AppArmor alone stands in the way; each test first
//! shows that without the profile nothing does.

use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::guest::{Guest, command, tool};
use crate::kernel;
use crate::programs::{AuditLog, eventually};

const NGINX: &str = "/usr/sbin/nginx";
const NODE_EXPORTER: &str = "/usr/bin/prometheus-node-exporter";
const REPORT_EXPORTER: &str = "/usr/local/bin/report-exporter";

const SECRETS: [&str; 3] = ["/etc/shadow", "/home/alice/diary", "/root/secret"];

#[test]
fn nginx_serves_its_site_and_no_secrets() {
    let guest = guest();
    install_nginx();
    write(
        "/etc/nginx/conf.d/secrets.conf",
        "server {\n  listen 127.0.0.1:8080;\n  location = /shadow { alias /etc/shadow; }\n  \
         location = /diary { alias /home/alice/diary; }\n  location = /secret { alias /root/secret; }\n}\n",
    );
    // As somebody who took the configuration over would do it: a log that root's cron reads.
    write(
        "/etc/nginx/cron.conf",
        "user www-data;\npid /run/nginx.pid;\nerror_log /etc/cron.d/nginx;\nevents {}\nhttp { access_log off; }\n",
    );
    let urls = ["shadow", "diary", "secret"].map(|name| format!("http://127.0.0.1:8080/{name}"));

    start_nginx();
    for url in &urls {
        assert_eq!(get(url).unwrap(), "secret\n", "{url}");
    }
    assert!(nginx(&["-t", "-c", "/etc/nginx/cron.conf"]));
    let run = guest.converge(&example(include_str!("../../examples/nginx.json")));
    assert_eq!(run.needs_restart().len(), processes(NGINX).len(), "{run:#?}");
    stop_nginx();

    let mut log = AuditLog::from_now();
    start_nginx();
    expect_confined(NGINX, "nginx (enforce)");
    assert!(get("http://127.0.0.1/").unwrap().contains("Welcome to nginx!"));

    // A reload starts new workers, and ends the old ones.
    let before = processes(NGINX);
    assert!(nginx(&["-s", "reload"]));
    eventually("the workers are new ones", || {
        let now = processes(NGINX);
        now.len() == before.len() && now.iter().filter(|pid| before.contains(pid)).count() == 1
    });
    expect_confined(NGINX, "nginx (enforce)");

    // As logrotate does it.
    fs_err::rename("/var/log/nginx/access.log", "/var/log/nginx/access.log.1").unwrap();
    make_log("/var/log/nginx/access.log");
    tool("kill", ["-s", "USR1", nginx_pid().as_str()]);
    eventually("requests stand in the new log", || {
        assert!(get("http://127.0.0.1/").unwrap().contains("Welcome to nginx!"));
        fs_err::metadata("/var/log/nginx/access.log").unwrap().len() > 0
    });

    upgrade_nginx();
    expect_confined(NGINX, "nginx (enforce)");
    assert!(get("http://127.0.0.1/").unwrap().contains("Welcome to nginx!"));
    stop_nginx();
    expect_no_event(&mut log);

    start_nginx();
    for (url, secret) in urls.iter().zip(SECRETS) {
        let refusal = get(url).unwrap_err();
        assert!(refusal.contains("403 Forbidden"), "{url}: {refusal}");
        log.wait_for(&["DENIED", "profile=\"nginx\"", &format!("name=\"{secret}\""), "denied_mask=\"r\""]);
    }
    fs_err::remove_file("/etc/cron.d/nginx").unwrap();
    assert!(!nginx(&["-t", "-c", "/etc/nginx/cron.conf"]));
    log.wait_for(&["DENIED", "profile=\"nginx\"", "name=\"/etc/cron.d/nginx\""]);
    assert!(!Path::new("/etc/cron.d/nginx").exists());
    stop_nginx();
}

#[test]
fn node_exporter_tells_of_the_host_and_of_no_homes() {
    let guest = guest();
    add_user("prometheus", 105);
    write("/home/alice/metrics/diary.prom", "diary_pages 7\n");
    write("/var/lib/prometheus/node-exporter/backup.prom", "backup_age_seconds 60\n");
    let at_home = ["--collector.textfile.directory=/home/alice/metrics"];

    let exporter = start_node_exporter(&at_home);
    let metrics = get_metrics();
    assert!(metrics.contains("diary_pages 7"), "{metrics}");
    let run = guest.converge(&example(include_str!("../../examples/prometheus-node-exporter.json")));
    assert_eq!(run.needs_restart().len(), 1, "{run:#?}");
    stop(exporter);

    let mut log = AuditLog::from_now();
    let exporter = start_node_exporter(&[]);
    expect_confined(NODE_EXPORTER, "prometheus-node-exporter (enforce)");
    let metrics = get_metrics();
    let collectors = ["cpu", "diskstats", "filesystem", "loadavg", "meminfo", "netclass", "netdev", "stat", "textfile"];
    for collector in collectors {
        let success = format!("node_scrape_collector_success{{collector=\"{collector}\"}} 1");
        assert!(metrics.contains(&success), "{collector}: {metrics}");
    }
    assert!(metrics.contains("node_memory_MemTotal_bytes") && metrics.contains("backup_age_seconds 60"), "{metrics}");
    stop(exporter);
    expect_no_event(&mut log);

    let exporter = start_node_exporter(&at_home);
    let metrics = get_metrics();
    assert!(metrics.contains("node_load1") && !metrics.contains("diary_pages"), "{metrics}");
    log.wait_for(&["DENIED", "profile=\"prometheus-node-exporter\"", "name=\"/home/alice/metrics/\""]);
    stop(exporter);
}

#[test]
fn report_exporter_is_watched_and_then_confined() {
    let guest = guest();
    fs_err::create_dir_all("/usr/local/bin").unwrap();
    for path in [REPORT_EXPORTER, "/usr/bin/curl"] {
        if !Path::new(path).exists() {
            fs_err::copy("/usr/bin/busybox", path).unwrap();
        }
    }
    write("/etc/report-exporter/config.yaml", "title: daily\n");
    fs_err::create_dir_all("/var/lib/report-exporter").unwrap();
    fs_err::create_dir_all("/var/log/report-exporter").unwrap();

    let mut document = example(include_str!("../../examples/report-exporter.json"));
    assert_eq!(document["profiles"][0]["mode"], "complain");
    for (mode, event) in [("complain", "apparmor=\"ALLOWED\""), ("enforce", "apparmor=\"DENIED\"")] {
        document["profiles"][0]["mode"] = mode.into();
        guest.converge(&document);
        let mut log = AuditLog::from_now();
        export_reports();
        expect_no_event(&mut log);

        let wanted = mode == "complain";
        for secret in SECRETS {
            let read = report_exporter("cat", &[secret]);
            assert_eq!(read.is_ok_and(|text| text == "secret\n"), wanted, "{mode}: {secret}");
            let name = format!("name=\"{secret}\"");
            log.wait_for(&[event, "operation=\"open\"", "profile=\"report-exporter\"", &name, "\"r\""]);
        }
        for program in ["/bin/sh", "/usr/bin/curl"] {
            // Called `echo`, the program shows that it ran, whatever it is.
            let executed = report_exporter("sh", &["-c", "exec -a echo \"$0\" executed", program]);
            assert_eq!(executed.is_ok_and(|text| text == "executed\n"), wanted, "{mode}: {program}");
            // The kernel knows no links.
            let name = format!("name=\"{}\"", fs_err::canonicalize(program).unwrap().display());
            log.wait_for(&[event, "operation=\"exec\"", "profile=\"report-exporter\"", &name, "\"x\""]);
        }
    }
    guest.expect_in_sync(&document);
}

/// The guest with the distribution's policy and the secrets.
fn guest() -> Guest {
    let guest = Guest::with_distribution();
    for secret in SECRETS {
        write(secret, "secret\n");
    }
    guest
}

fn example(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Writes a file that everybody can read, below directories that everybody can search.
fn write(path: &str, text: &str) {
    let directory = Path::new(path).parent().unwrap();
    fs_err::create_dir_all(directory).unwrap();
    fs_err::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
    fs_err::write(path, text).unwrap();
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
}

fn add_user(name: &str, id: u32) {
    for (file, entry) in [
        ("/etc/passwd", format!("{name}:x:{id}:{id}::/nonexistent:/usr/sbin/nologin\n")),
        ("/etc/group", format!("{name}:x:{id}:\n")),
    ] {
        let text = fs_err::read_to_string(file).unwrap();
        if !text.contains(&entry) {
            fs_err::write(file, text + &entry).unwrap();
        }
    }
}

/// The page at the address, or what the client says instead.
fn get(url: &str) -> Result<String, String> {
    told(command("/usr/bin/busybox").args(["wget", "-q", "-O", "-", url]))
}

/// What the program says if it succeeds, or what it says instead.
fn told(program: &mut Command) -> Result<String, String> {
    let output = program.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// The processes of an executable.
fn processes(executable: &str) -> Vec<u64> {
    let entries = fs_err::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    // One that ends meanwhile has none.
    pids.filter(|pid| fs_err::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path == Path::new(executable)))
        .collect()
}

#[track_caller]
fn expect_confined(executable: &str, label: &str) {
    let labels: Vec<_> = processes(executable)
        .iter()
        .map(|pid| fs_err::read_to_string(format!("/proc/{pid}/attr/apparmor/current")).unwrap())
        .collect();
    assert!(!labels.is_empty() && labels.iter().all(|current| current.trim_end() == label), "{labels:?}");
}

/// Fails if AppArmor logged anything of a confined process until now.
#[track_caller]
fn expect_no_event(log: &mut AuditLog) {
    // The kernel logs in the order of events, so what comes before this one is everything.
    kernel::load("abi <abi/3.0>,\nprofile until-now {\n}\n");
    let lines = log.wait_for(&["STATUS", "name=\"until-now\""]);
    kernel::remove("until-now");
    let events: Vec<_> =
        lines.iter().filter(|line| line.contains("apparmor=") && !line.contains("apparmor=\"STATUS\"")).collect();
    assert!(events.is_empty(), "{events:#?}");
}

/// What the package's scripts make.
fn install_nginx() {
    add_user("www-data", 33);
    let page = fs_err::read_to_string("/usr/share/nginx/html/index.html").unwrap();
    write("/var/www/html/index.nginx-debian.html", &page);
    for log in ["access.log", "error.log"] {
        make_log(&format!("/var/log/nginx/{log}"));
    }
    let site = "/etc/nginx/sites-enabled/default";
    if !Path::new(site).is_symlink() {
        symlink("/etc/nginx/sites-available/default", site).unwrap();
    }
    fs_err::create_dir_all("/etc/cron.d").unwrap();
}

fn make_log(path: &str) {
    fs_err::write(path, "").unwrap();
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o640)).unwrap();
    tool("chown", ["www-data:root", path]);
}

/// Runs nginx as its unit does, and tells whether it succeeded.
fn nginx(arguments: &[&str]) -> bool {
    let mut nginx = command(NGINX);
    nginx.args(["-g", "daemon on; master_process on;"]).args(arguments);
    // The daemon keeps what it inherits.
    nginx.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
}

/// What stands in the process file, which a mere test of the configuration leaves empty.
fn nginx_pid() -> String {
    fs_err::read_to_string("/run/nginx.pid").unwrap_or_default().trim().to_owned()
}

fn start_nginx() {
    assert!(nginx(&["-t", "-q"]));
    assert!(nginx(&[]));
    eventually("nginx has a master and a worker", || !nginx_pid().is_empty() && processes(NGINX).len() >= 2);
}

fn stop_nginx() {
    tool("kill", ["-s", "QUIT", nginx_pid().as_str()]);
    eventually("nginx ends", || processes(NGINX).is_empty());
}

/// Puts a new master in the place of the old one, as an upgrade of the package does.
fn upgrade_nginx() {
    let old = nginx_pid();
    tool("kill", ["-s", "USR2", &old]);
    eventually("a second master runs", || {
        Path::new("/run/nginx.pid.oldbin").exists() && !["", &old].contains(&nginx_pid().as_str())
    });
    tool("kill", ["-s", "QUIT", &old]);
    eventually("the first master ends", || !Path::new("/proc").join(&old).join("exe").exists());
}

/// Starts the exporter as its unit does.
fn start_node_exporter(arguments: &[&str]) -> Child {
    let mut exporter = command(NODE_EXPORTER);
    exporter.args(arguments).uid(105).gid(105);
    let exporter = exporter.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the exporter listens", || TcpStream::connect("127.0.0.1:9100").is_ok());
    exporter
}

fn get_metrics() -> String {
    get("http://127.0.0.1:9100/metrics").unwrap()
}

fn stop(mut service: Child) {
    tool("kill", ["-s", "TERM", service.id().to_string().as_str()]);
    service.wait().unwrap();
}

/// Lets the stand-in do what `busybox` does when it is called so.
fn report_exporter(applet: &str, arguments: &[&str]) -> Result<String, String> {
    told(command(REPORT_EXPORTER).arg0(applet).args(arguments))
}

/// The stand-in's ordinary work, in its own process: it reads its configuration, keeps its data and writes its log.
#[track_caller]
fn export_reports() {
    let data = "/var/lib/report-exporter";
    assert_eq!(report_exporter("cat", &["/etc/report-exporter/config.yaml"]).unwrap(), "title: daily\n");
    report_exporter("mkdir", &["-p", &format!("{data}/2026")]).unwrap();
    report_exporter("sh", &["-c", &format!("echo report >{data}/2026/.new")]).unwrap();
    report_exporter("mv", &[&format!("{data}/2026/.new"), &format!("{data}/2026/daily")]).unwrap();
    assert_eq!(report_exporter("cat", &[&format!("{data}/2026/daily")]).unwrap(), "report\n");
    report_exporter("sh", &["-c", "echo done >>/var/log/report-exporter/export.log"]).unwrap();
    report_exporter("rm", &["-r", &format!("{data}/2026")]).unwrap();
}
