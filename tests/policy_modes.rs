//! Every profile file of Debian's AppArmor packages, read by `syntax` and by the real apparmor_parser.
#![expect(clippy::disallowed_methods, reason = "the test reads the host's policy and runs the host's parser")]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of a test say what is wrong by failing it")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};

use aa_converge::policy::{self, Attachment, LeftMatch};
use aa_converge::profile::{Mode, ModeScope, ProfileName, is_skipped_by_parser};
use aa_converge::syntax::{self, IncludeKind, IncludeTarget, Scan, Variables};
use proptest::prelude::*;

const POLICY: &str = "/etc/apparmor.d";
const FEATURES: &str = "/etc/apparmor.d/abi/3.0";
const PACKAGES: [&str; 3] = ["apparmor", "apparmor-profiles", "apparmor-profiles-extra"];

/// Setting a mode changes flags alone, and the compiled profiles have it: each one whose header the file holds.
///
/// The rules of the abstractions take nine tenths of the parser's time, and do not know the mode. So each file is
/// compiled with them in one mode, another than the file before, and without them in the others.
#[test]
fn every_file_of_the_distribution_takes_every_mode() {
    let modes = modes_of_the_parser();
    let bare = tempfile::tempdir().unwrap();
    link_policy_without_rules_of_abstractions(bare.path());
    let changed = AtomicUsize::new(0);
    for_each_profile_file(|number, file| {
        let text = fs::read(file).unwrap();
        let scan = syntax::scan(&text);
        assert!(!scan.headers.is_empty(), "{}: no header was found", file.display());
        let closure = Closure::of(&text);
        for (at, mode) in modes.iter().enumerate() {
            let base = if at == number % modes.len() { Path::new(POLICY) } else { bare.path() };
            let context = format!("{} in mode {mode}", file.display());
            let rewritten = syntax::set_mode(&text, &scan, *mode, ModeScope::All).text;
            assert_eq!(without_flags(&text), without_flags(&rewritten), "{context}: more than flags changed");
            changed.fetch_add(usize::from(rewritten != text), Ordering::Relaxed);

            let mut compiled = compiled_profiles(&compile(file, &rewritten, base));
            for header in 0..scan.headers.len() {
                let names = scan.names(header, &closure.variables);
                let found = names.iter().find_map(|name| compiled.remove(name));
                assert_eq!(found, Some(shown(*mode)), "{context}: {names:?}, left of the compiled: {compiled:?}");
            }
            // What is left has its header in an included file, which keeps its mode.
            for (name, compiled) in compiled {
                let mode = closure.included_modes.iter().find(|(own, _)| name.name.ends_with(&format!("//{own}")));
                assert_eq!(mode.map(|(_, mode)| shown(*mode)), Some(compiled), "{context}: {name} has no header");
            }
        }
    });
    assert!(changed.into_inner() > 0);
}

/// A policy directory that holds nothing but what `scan` finds, file by file, is read by the parser as the whole one.
#[test]
fn the_includes_that_are_found_are_those_that_the_parser_reads() {
    for_each_profile_file(|_, file| {
        let text = fs::read(file).unwrap();
        let closure = Closure::of(&text);
        let stage = tempfile::tempdir().unwrap();
        for path in &closure.files {
            let copy = stage.path().join(path.strip_prefix(POLICY).unwrap());
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(path, copy).unwrap();
        }
        for directory in &closure.directories {
            fs::create_dir_all(stage.path().join(directory.strip_prefix(POLICY).unwrap())).unwrap();
        }
        let whole = preprocess(file, Path::new(POLICY));
        assert!(whole == preprocess(file, stage.path()), "{}: an include was not found", file.display());

        let read: BTreeSet<&str> = whole
            .lines()
            .filter_map(|line| line.strip_prefix("##")?.split_once(" <"))
            .filter(|(act, _)| ["included", "failed include", "skipped duplicate include"].contains(act))
            .filter_map(|(_, path)| path.strip_suffix('>'))
            .collect();
        let found: BTreeSet<&str> = closure.searched.iter().map(String::as_str).collect();
        assert_eq!(found, read, "{}", file.display());
    });
}

/// The compiled attachments match what the texts name, and nothing that Debian ships is refused for its attachments.
#[test]
fn the_attachments_of_the_distribution_match_what_they_name_and_do_not_conflict() {
    let read = Mutex::new(Vec::new());
    for_each_profile_file(|_, file| {
        let text = fs::read(file).unwrap();
        let scan = syntax::scan(&text);
        let variables = Closure::of(&text).variables;
        let blob = compile(file, &text, Path::new(POLICY));
        let mut compiled = BTreeMap::new();
        for profile in policy::profiles(&blob).unwrap() {
            let attachment = Attachment::read(&profile, &blob).unwrap();
            assert!(attachment.is_none() || profile.name.depth() == 0, "{}", profile.name);
            compiled.extend(attachment.map(|attachment| (profile.name, attachment)));
        }
        for header in (0..scan.headers.len()).filter(|header| scan.headers[*header].parent.is_none()) {
            let Some(name) = scan.names(header, &variables).into_iter().find(|name| compiled.contains_key(name)) else {
                continue;
            };
            for path in scan.attachments(header, &variables).unwrap() {
                let is_plain = !path.contains(['*', '?', '[', '\\']);
                for kernel in LeftMatch::ALL {
                    let matched = compiled[&name].matches(path.as_bytes(), kernel);
                    assert!(!is_plain || matched.is_some(), "{}: {name} does not match {path}", file.display());
                }
            }
        }
        read.lock().unwrap().extend(compiled);
    });

    let read = read.into_inner().unwrap();
    let all: Vec<(&ProfileName, &Attachment)> = read.iter().map(|(name, attachment)| (name, attachment)).collect();
    assert!(all.len() > 100, "{} attachments", all.len());
    for kernel in LeftMatch::ALL {
        let told = policy::conflicts(&all, &[], &[kernel]);
        assert!(told.undecided.is_empty(), "{:?}", told.undecided);
        for found in told.found {
            // Debian 13 has two profiles of Chromium, of which the one in `extra-profiles` is not in use.
            let names = [&found.profiles.0.name, &found.profiles.1.name];
            let are_known = names.into_iter().all(|name| name.starts_with("chromium"));
            assert!(are_known, "{found:?}");
        }
    }
}

/// Rules that are hard to read: braces, commas, quotes and comments where a header could seem to be.
const RULES: &[&str] = &[
    "/b{c,d} r,",
    "/b{c,d}{e,f} r,/g{h,i} r,",
    "\"/b {c,d} profile\" r,",
    "owner { /x r, } ",
    "audit { /x r, owner /y w, }",
    "{ /x r, }",
    "if $yes { /x r, } else if not $yes {/y r,} else { /z r, }",
    "if defined @{X} { /x r, }",
    "change_profile -> {a,b}, change_profile unsafe /{x,y} -> c,",
    "/x px -> profile,",
    "signal peer=a{b,c}, mount {,/b} -> /c{d,e},",
    "mount options=(ro, bind) fstype=ext{2,3} \"/a {b,c}\" -> /x,",
    "dbus send bus=session path=/{a,b} peer=(name=a{b,c}, label=\"x{y,z}\"),",
    "unix (connect, receive) peer=(addr=\"@x{y,z}\"),",
    "capability # {\n chown,",
    "set rlimit nofile <= 1024, set rlimit nice <= -10,/x r,",
    "link subset /a{,b} -> /{c,d}, pivot_root oldroot=/a /b -> c,",
    "# profile y {\n",
    "/x r,# profile y {\n",
    "@{X}{a,b}/c r,",
    "@{X}/a rw,",
    "network inet stream, network,",
    "#include if exists <{>\n",
    "include if exists <a b {> include if exists \"{\"",
];

/// Between two parts of a header.
fn gap() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&[" ", "\n", "\t", " # c {\n", "\n#}\n\n", " include if exists <x>\n"][..])
}

fn flags() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(
        &[
            "",
            "",
            "(complain)",
            "flags=(complain)",
            "flags=(enforce)",
            "flags = ( audit, kill, )",
            "flags=(unconfined\n\tattach_disconnected,audit)",
            "(audit)",
            "flags=(\"complain\",audit complain)",
            "flags=\n(\naudit,chroot_relative\n)",
        ][..],
    )
}

/// A profile or hat; each `%` stands for a number of its own.
fn profile(starts: &'static [&'static str], depth: u32) -> BoxedStrategy<String> {
    let attachment = proptest::sample::select(&["", " /bin/%{a,b}", " \"/x %\""][..]);
    let rule = proptest::sample::select(RULES).prop_map(str::to_owned);
    let item = match depth {
        0 => rule.boxed(),
        _ => prop_oneof![3 => rule, 1 => profile(&["profile c%", "profile \"c %\"", "hat h%", "^h%", "^\"h %\""], depth - 1)].boxed(),
    };
    (proptest::sample::select(starts), attachment, gap(), flags(), gap(), proptest::collection::vec(item, 0..4))
        .prop_map(|(start, attachment, gap, flags, last_gap, items)| {
            format!("{start}{attachment}{gap}{flags}{last_gap}{{ {} }}\n", items.join(" "))
        })
        .boxed()
}

fn policy() -> impl Strategy<Value = String> {
    const STARTS: &[&str] = &[
        "profile p%",
        "profile \"p %\"",
        "/p%",
        "\"/p %\"",
        "/p%{a,b}",
        "profile /p%",
        "hat p%",
        "^p%",
        "profile p@{X}%",
    ];
    proptest::collection::vec(profile(STARTS, 2), 1..3).prop_map(|profiles| {
        let text = format!("$yes = true\n@{{X}} = /x /y\n{}", profiles.concat());
        let parts: Vec<&str> = text.split('%').collect();
        parts
            .iter()
            .enumerate()
            .map(|(at, part)| format!("{part}{}", if at + 1 < parts.len() { at.to_string() } else { String::new() }))
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// What the parser accepts it compiles to the profiles that `scan` finds, in the modes that `set_mode` gives.
    #[test]
    fn the_parser_agrees_with_the_scan(text in policy(), mode in proptest::sample::select(modes_of_the_parser())) {
        let name = Path::new("policy");
        let scan = syntax::scan(text.as_bytes());
        let mut variables = Variables::default();
        variables.add(&scan);
        let rewritten = syntax::set_mode(text.as_bytes(), &scan, mode, ModeScope::All).text;
        let base = Path::new(POLICY);
        let Ok(before) = try_compile(name, text.as_bytes(), base) else { return Ok(()) };
        let mut before = compiled_profiles(&before);
        let mut after = compiled_profiles(&compile(name, &rewritten, base));
        for (at, header) in scan.headers.iter().enumerate() {
            let names = scan.names(at, &variables);
            let mode_before = names.iter().find_map(|name| before.remove(name));
            let mode_after = names.iter().find_map(|name| after.remove(name));
            prop_assert_eq!(mode_before, Some(shown(header.mode.unwrap_or(Mode::Enforce))), "{:?}", names);
            prop_assert_eq!(mode_after, Some(shown(mode)), "{:?}", names);
        }
        prop_assert!(before.is_empty(), "not found: {before:?}");
    }

    /// Damaged policy scans too, and setting a mode twice is setting it once.
    #[test]
    fn damaged_profiles_scan(
        file in 0_usize..1000,
        damage in proptest::collection::vec((0_usize..4000, 0_usize..20, proptest::sample::select(
            &["", "{", "}", "\"", "\\", ",", "#", "(", ")", "\n", "^", "profile ", "flags=(", "\0", "=", "/"][..])), 1..6),
        mode in proptest::sample::select(&Mode::ALL[..]),
    ) {
        let files = profile_files();
        let mut text = fs::read(&files[file % files.len()]).unwrap();
        for (at, removed, inserted) in damage {
            let start = at % (text.len() + 1);
            let end = text.len().min(start + removed);
            text.splice(start..end, inserted.bytes());
        }
        let once = syntax::set_mode(&text, &syntax::scan(&text), mode, ModeScope::All).text;
        let twice = syntax::set_mode(&once, &syntax::scan(&once), mode, ModeScope::All).text;
        prop_assert!(once == twice);
    }
}

/// Calls `check` with the number and path of every profile file, on all processors.
fn for_each_profile_file(check: impl Fn(usize, &Path) + Sync) {
    let files = profile_files();
    println!("{} profile files", files.len());
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().unwrap().get();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(file) = files.get(number) else { break };
                    check(number, file);
                }
            });
        }
    });
}

/// The profile files that the packages own.
fn profile_files() -> &'static [PathBuf] {
    static FILES: LazyLock<Vec<PathBuf>> = LazyLock::new(find_profile_files);
    &FILES
}

fn find_profile_files() -> Vec<PathBuf> {
    let output = Command::new("dpkg-query").arg("--listfiles").args(PACKAGES).output();
    let output = output.expect("cannot start dpkg-query: this test is for Debian and its descendants");
    assert!(output.status.success(), "install {}: {}", PACKAGES.join(", "), String::from_utf8_lossy(&output.stderr));
    let mut files: Vec<PathBuf> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(PathBuf::from)
        .filter(|path| {
            let directory = path.parent().unwrap_or(path);
            directory == Path::new(POLICY) || directory == Path::new("/usr/share/apparmor/extra-profiles")
        })
        .filter(|path| path.is_file() && !is_skipped_by_parser(&path.file_name().unwrap().to_string_lossy()))
        .collect();
    files.sort();
    files.dedup();
    assert!(files.len() > 100, "only {} profile files are installed: install {}", files.len(), PACKAGES.join(", "));
    files
}

fn parser() -> Command {
    let mut parser = Command::new("apparmor_parser");
    parser.env_clear().env("LC_ALL", "C").env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").current_dir("/");
    parser
}

fn run(parser: &mut Command) -> std::process::Output {
    parser.output().expect("cannot start apparmor_parser: install Debian's package apparmor")
}

/// The modes that the installed parser knows: prompt and default_allow came with 4.0.
fn modes_of_the_parser() -> Vec<Mode> {
    let output = String::from_utf8(run(parser().arg("--version")).stdout).unwrap();
    let version = output.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    let major: u32 = version.unwrap().split('.').next().unwrap().parse().unwrap();
    let (known, unknown): (Vec<Mode>, Vec<Mode>) =
        Mode::ALL.into_iter().partition(|mode| major >= 4 || !matches!(mode, Mode::Prompt | Mode::DefaultAllow));
    for mode in unknown {
        println!("not tested: {mode}, which apparmor_parser {} does not know", version.unwrap());
    }
    known
}

/// Makes `base` a policy directory where an abstraction is as the distribution's if it holds a header or a variable,
/// and has only its includes otherwise.
fn link_policy_without_rules_of_abstractions(base: &Path) {
    for entry in fs::read_dir(POLICY).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() == "abstractions" {
            copy_without_rules(&entry.path(), &base.join("abstractions"));
        } else {
            symlink(entry.path(), base.join(entry.file_name())).unwrap();
        }
    }
}

fn copy_without_rules(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy_without_rules(&entry.path(), &to.join(entry.file_name()));
        }
        return;
    }
    let text = fs::read_to_string(from).unwrap();
    let scan = syntax::scan(text.as_bytes());
    if scan.headers.is_empty() && scan.variables.is_empty() {
        let includes = text.lines().filter(|line| line.trim_start().trim_start_matches('#').starts_with("include "));
        fs::write(to, includes.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    } else {
        fs::write(to, text).unwrap();
    }
}

fn compile(file: &Path, text: &[u8], base: &Path) -> Vec<u8> {
    let compiled = try_compile(file, text, base);
    compiled.unwrap_or_else(|said| panic!("{}: {said}\n{}", file.display(), String::from_utf8_lossy(text)))
}

/// The compiled policy, or what the parser says against it. `base` is the policy directory.
fn try_compile(file: &Path, text: &[u8], base: &Path) -> Result<Vec<u8>, String> {
    let directory = tempfile::tempdir().unwrap();
    let (source, blob) = (directory.path().join(file.file_name().unwrap()), directory.path().join("blob"));
    fs::write(&source, text).unwrap();
    // Simplifying expressions takes half of the time and has no part in names and modes.
    let options = ["-Q", "-K", "-T", "-q", "-O", "no-expr-simplify", "--kernel-features", FEATURES, "-o"];
    let output = run(parser().args(options).arg(&blob).arg("--base").args([base, &source]));
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(fs::read(blob).unwrap())
}

fn preprocess(file: &Path, base: &Path) -> String {
    let output =
        run(parser().args(["-p", "-Q", "-K", "-T", "-q", "--kernel-features", FEATURES, "--base"]).args([base, file]));
    assert!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A text without its groups of flags and the one space that may follow each. All of Debian's begin with `flags=`.
fn without_flags(text: &[u8]) -> String {
    let mut rest = std::str::from_utf8(text).unwrap();
    let mut left = String::new();
    while let Some((before, group)) = rest.split_once("flags=(") {
        let after = group.split_once(')').unwrap().1;
        left.push_str(before);
        rest = after.strip_prefix(' ').unwrap_or(after);
    }
    left + rest
}

/// What a policy text includes, and what that includes.
#[derive(Default)]
struct Closure {
    files: BTreeSet<PathBuf>,
    directories: BTreeSet<PathBuf>,
    /// The paths between `<` and `>`.
    searched: BTreeSet<String>,
    variables: Variables,
    /// The names and modes of the headers in included files.
    included_modes: Vec<(String, Mode)>,
}

impl Closure {
    fn of(text: &[u8]) -> Self {
        let mut closure = Self::default();
        closure.follow(&syntax::scan(text));
        closure
    }

    fn follow(&mut self, scan: &Scan) {
        self.variables.add(scan);
        for include in &scan.includes {
            let IncludeTarget::Searched(target) = &include.target else {
                panic!("Debian's policy has no literal include: {include:?}");
            };
            let path = Path::new(POLICY).join(target);
            if include.kind == IncludeKind::Abi {
                self.files.insert(path);
                continue;
            }
            self.searched.insert(target.clone());
            if path.is_dir() {
                for entry in fs::read_dir(&path).unwrap() {
                    let entry = entry.unwrap().path();
                    if entry.is_file() && !is_skipped_by_parser(&entry.file_name().unwrap().to_string_lossy()) {
                        self.file(entry);
                    }
                }
                self.directories.insert(path);
            } else if path.exists() {
                self.file(path);
            } else {
                assert!(include.if_exists, "{} is missing", path.display());
            }
        }
    }

    fn file(&mut self, path: PathBuf) {
        let scan = syntax::scan(&fs::read(&path).unwrap());
        if self.files.insert(path) {
            let modes = scan.headers.iter().map(|header| (header.name.clone(), header.mode.unwrap_or(Mode::Enforce)));
            self.included_modes.extend(modes);
            self.follow(&scan);
        }
    }
}

/// The names and modes in a compiled policy.
fn compiled_profiles(blob: &[u8]) -> BTreeMap<ProfileName, Mode> {
    let profiles = policy::profiles(blob).unwrap();
    let count = profiles.len();
    let modes: BTreeMap<_, _> = profiles.into_iter().map(|profile| (profile.name, profile.mode)).collect();
    assert_eq!(modes.len(), count, "a profile is compiled twice");
    modes
}

/// The mode that a compiled profile shows: `default_allow` is compiled as `unconfined`.
fn shown(mode: Mode) -> Mode {
    if mode == Mode::DefaultAllow { Mode::Unconfined } else { mode }
}
