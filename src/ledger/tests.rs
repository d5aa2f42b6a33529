use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::tree::InputState;

fn toolchain() -> Toolchain {
    Toolchain {
        parser: Digest::of(b"parser"),
        version: "3.0.8".to_owned(),
        conf: Digest::of(b"conf"),
        features: Digest::of(b"features"),
    }
}

fn inputs() -> [Input; 3] {
    let input = |path: &str, state| Input { path: path.into(), state };
    [
        input("/x", InputState::Absent),
        input("/y", InputState::File(Digest::of(b"y"))),
        input("/z", InputState::File(Digest::of(b"z"))),
    ]
}

fn held(target: &str) -> Held {
    let sha256 = Digest::of(b"before");
    let attributes = Attributes { mode: 0o644, uid: 0, gid: 0 };
    let original = Original::Kept(Stands::File { sha256, attributes });
    Held { owner: Owner::new("test").unwrap(), stands: Stands::Link { target: target.to_owned() }, original }
}

fn place(name: &str) -> PolicyPath {
    PolicyPath::any(format!("disable/{name}")).unwrap()
}

fn file(name: &str) -> FileName {
    FileName::new(name).unwrap()
}

fn sample() -> Ledger {
    let mut recorder = Recorder::new(Ledger::default());
    recorder.hold(&[(place("a"), held("../a"))].into());
    for (name, inputs) in [("a", &inputs()[..2]), ("b", &inputs()[1..2])] {
        record(&mut recorder, name, b"text", false, inputs);
    }
    record_reading(&mut recorder, "theirs", b"text", &inputs()[..2]);
    recorder.finish()
}

fn id(digits: usize) -> LedgerId {
    LedgerId::new(format!("{digits:016x}"))
}

/// The bytes of a ledger of which nothing was written yet.
fn whole(ledger: Ledger) -> Vec<u8> {
    match ledger.into_file(id(1)) {
        LedgerFile::Whole(bytes) => bytes,
        LedgerFile::Changes(_) => panic!("there is nothing that these could be the changes of"),
    }
}

/// The bytes of a change of the sample, and of the whole sample that they are about.
fn changes() -> (Vec<u8>, Vec<u8>) {
    let mut recorder = Recorder::new(sample());
    for name in ["c", "d", "e", "f", "g", "h", "i", "j", "k"] {
        record(&mut recorder, name, b"text", false, &inputs()[..2]);
    }
    let whole = whole(recorder.finish());
    let mut recorder = Recorder::new(Ledger::parse(&whole).unwrap());
    record(&mut recorder, "b", b"other", true, &inputs()[1..]);
    record_reading(&mut recorder, "theirs", b"other", &inputs()[1..]);
    recorder.hold(&BTreeMap::new());
    match recorder.finish().into_file(id(2)) {
        LedgerFile::Changes(bytes) => (whole, bytes),
        LedgerFile::Whole(_) => panic!("three of thirteen entries have changed"),
    }
}

/// Everything that a ledger tells.
fn told(ledger: &Ledger) -> impl PartialEq + std::fmt::Debug + use<> {
    let records = ledger.compiled().iter().map(|(file, record)| {
        (file.clone(), (rests_on(ledger, &record.basis), record.forced_complain, record.profiles.clone()))
    });
    let records: BTreeMap<_, _> = records.collect();
    let read = ledger.read().iter();
    let read = read.map(|(file, record)| (file.clone(), (rests_on(ledger, &record.basis), record.defines.clone())));
    let read: BTreeMap<_, _> = read.collect();
    (ledger.held().clone(), records, read, ledger.left_loaded.clone(), ledger.made.clone())
}

fn rests_on(ledger: &Ledger, basis: &Basis) -> (Digest, Toolchain, BTreeSet<Input>) {
    (basis.text, ledger.toolchain(basis).clone(), ledger.inputs(basis).cloned().collect())
}

fn record_reading(recorder: &mut Recorder, name: &str, text: &[u8], inputs: &[Input]) {
    let definitions = [Definition { name: ProfileName::new(name), globs: vec![format!("/{name}")] }];
    let (text, toolchain) = (Digest::of(text), &toolchain());
    recorder.read(&file(name), &Reading { text, toolchain, inputs, definitions: &definitions });
}

fn record(recorder: &mut Recorder, name: &str, text: &[u8], forced_complain: bool, inputs: &[Input]) {
    let (text, toolchain) = (Digest::of(text), &toolchain());
    let (profiles, definitions) = (Vec::new(), &[][..]);
    recorder.record(&file(name), Compilation { text, forced_complain, toolchain, inputs, profiles, definitions });
}

#[test]
fn a_ledger_reads_back_as_written() {
    let ledger = sample();
    let bytes = whole(ledger.clone());
    let read = Ledger::parse(&bytes).unwrap();
    assert_eq!(told(&read), told(&ledger));
}

#[test]
fn changes_hold_beside_the_whole_that_they_are_about_alone() {
    let (whole_before, changed) = changes();
    let before = Ledger::parse(&whole_before).unwrap();
    let after = before.clone().caught_up(&changed).unwrap();
    assert_eq!(after.held().len(), 0);
    for basis in [&after.compiled()[&file("b")].basis, &after.read()[&file("theirs")].basis] {
        assert_eq!(
            rests_on(&after, basis),
            (Digest::of(b"other"), toolchain(), inputs()[1..].iter().cloned().collect())
        );
    }
    assert!(changed.len() < whole_before.len() / 2, "{} of {}", changed.len(), whole_before.len());

    let other = |id| match sample().into_file(id) {
        LedgerFile::Whole(other) => Ledger::parse(&other).unwrap(),
        LedgerFile::Changes(_) => panic!("nothing was written of it"),
    };
    assert_eq!(other(id(3)).caught_up(&changed), Err(Unusable::Torn));

    // All changes: the next whole leaves the file of changes there.
    let mut recorder = Recorder::new(after);
    for name in ["a", "b", "c", "d", "e"] {
        recorder.forget(&file(name));
    }
    recorder.forget_read(&file("theirs"));
    let LedgerFile::Whole(next) = recorder.finish().into_file(id(4)) else { panic!("nearly everything has changed") };
    let next = Ledger::parse(&next).unwrap();
    assert_eq!(next.compiled().len(), 6);
    assert_eq!(told(&next.clone().caught_up(&changed).unwrap()), told(&next));

    // As they do beside none, which is how somebody starts anew.
    assert_eq!(told(&Ledger::default().caught_up(&changed).unwrap()), told(&Ledger::default()));
}

#[test]
fn what_no_record_uses_is_left_out() {
    let mut recorder = Recorder::new(sample());
    recorder.forget(&file("a"));
    recorder.forget_read(&file("theirs"));
    let read = Ledger::parse(&whole(recorder.finish())).unwrap();
    let Tables { inputs, input_lists, toolchains } = &read.tables;
    assert_eq!((inputs.len(), input_lists.len(), toolchains.len()), (1, 1, 1));
}

#[test]
fn newer_and_damaged_ledgers_are_told_apart() {
    let (whole, changes) = changes();
    let ledger = Ledger::parse(&whole).unwrap();
    let parse = Ledger::parse;
    let caught_up = |bytes: &[u8]| ledger.clone().caught_up(bytes);
    assert_eq!(parse(br#"{"format":2,"news":[]}"#), Err(Unusable::Newer(2)));
    assert_eq!(caught_up(br#"{"format":2,"news":[]}"#), Err(Unusable::Newer(2)));
    for damaged in [&br#"{"format":0,"held":{}}"#[..], b"", b"{}", &whole[1..], &changes[..changes.len() / 2]] {
        assert!(matches!(parse(damaged), Err(Unusable::Damaged(_))));
        assert!(matches!(caught_up(damaged), Err(Unusable::Damaged(_))));
    }
    assert!(matches!(parse(&changes), Err(Unusable::Damaged(_))));
    assert!(matches!(caught_up(&whole), Err(Unusable::Damaged(_))));
    for (sound_part, forged_part) in [
        ("disable/a", "../shadow"),
        ("[[0,1]", "[[0,7]"),
        ("\"inputs\":0", "\"inputs\":7"),
        ("\"toolchain\":0", "\"toolchain\":7"),
    ] {
        for (sound, is_whole) in [(&whole, true), (&changes, false)] {
            let sound = String::from_utf8(sound.clone()).unwrap();
            assert!(sound.contains(sound_part), "{sound_part}: {sound}");
            let forged = sound.replace(sound_part, forged_part).into_bytes();
            let read = if is_whole { parse(&forged) } else { caught_up(&forged) };
            assert!(matches!(read, Err(Unusable::Damaged(_))), "{forged_part}");
        }
    }
}

/// Something that a run does to a ledger.
#[derive(Debug, Clone)]
enum Step {
    Hold(Vec<(String, String)>),
    Record(String, usize),
    Forget(String),
    Read(String, usize),
    ForgetRead(String),
}

fn steps() -> impl Strategy<Value = Step> {
    let name = "[a-m]";
    prop_oneof![
        prop::collection::vec((name, "[xyz]"), 0..12).prop_map(Step::Hold),
        (name, 0..4usize).prop_map(|(name, inputs)| Step::Record(name, inputs)),
        name.prop_map(Step::Forget),
        (name, 0..4usize).prop_map(|(name, inputs)| Step::Read(name, inputs)),
        name.prop_map(Step::ForgetRead),
    ]
}

proptest! {
    #[test]
    fn however_it_is_written_a_ledger_is_what_runs_made_of_it(runs in prop::collection::vec(prop::collection::vec(steps(), 0..4), 1..20)) {
        let (mut on_disk, mut changes_on_disk): (Option<Vec<u8>>, Option<Vec<u8>>) = (None, None);
        let mut expected = Ledger::default();
        for (run, steps) in runs.into_iter().enumerate() {
            let whole = on_disk.as_ref().map_or_else(Ledger::default, |bytes| Ledger::parse(bytes).unwrap());
            let read = match &changes_on_disk {
                Some(changes) if on_disk.is_some() => whole.caught_up(changes).unwrap(),
                _ => whole,
            };
            prop_assert_eq!(told(&read), told(&expected));
            // The one is written and read again by every run, the other never.
            let [next, model] = [read, expected].map(|ledger| {
                let mut recorder = Recorder::new(ledger);
                for step in &steps {
                    match step {
                        Step::Hold(places) => {
                            let places = places.iter().map(|(name, target)| (place(name), held(target)));
                            recorder.hold(&places.collect());
                        }
                        Step::Record(name, many) => {
                            let inputs = &inputs()[..*many.min(&3)];
                            record(&mut recorder, name, name.as_bytes(), *many == 3, inputs);
                        }
                        Step::Forget(name) => recorder.forget(&file(name)),
                        Step::Read(name, many) => {
                            record_reading(&mut recorder, name, name.as_bytes(), &inputs()[..*many.min(&3)]);
                        }
                        Step::ForgetRead(name) => recorder.forget_read(&file(name)),
                    }
                }
                recorder.finish()
            });
            expected = model;
            match next.into_file(id(run)) {
                // Changes that are about an earlier one stay, as after a run that was killed before it removed them.
                LedgerFile::Whole(bytes) => on_disk = Some(bytes),
                LedgerFile::Changes(bytes) => changes_on_disk = Some(bytes),
            }
        }
    }

    #[test]
    fn no_bytes_panic(at in 0..600usize, byte: u8, cut in 0..1200usize) {
        let (whole_bytes, changed_bytes) = changes();
        let ledger = Ledger::parse(&whole_bytes).unwrap();
        for mut bytes in [whole_bytes, changed_bytes] {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            bytes.truncate(cut);
            for read in [Ledger::parse(&bytes), ledger.clone().caught_up(&bytes)].into_iter().flatten() {
                let written = read.into_file(id(9));
                let again = match &written {
                    LedgerFile::Whole(bytes) => Ledger::parse(bytes),
                    LedgerFile::Changes(bytes) => ledger.clone().caught_up(bytes),
                };
                prop_assert!(again.is_ok());
            }
        }
    }
}
