//! Random steps, documents and interference by hand, after each of which the kernel must run what a simple model says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::guest::{Guest, document, has_apparmor_4};
use crate::kernel::{self, Loaded, Policy, policy, reference, revision};

/// The files that the documents may list; each defines one profile of its name, and its children.
const FILES: usize = 5;
/// Profiles of somebody else.
const FOREIGN: usize = 3;
/// Texts of one profile: without children, the same with another rule, with a child, with a child and a hat.
const VARIANTS: usize = 4;
/// Those of them that have no children.
const CHILDLESS: usize = 2;

const ABI: &str = "abi <abi/3.0>,\n";

/// A text in a mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Text {
    variant: usize,
    complain: bool,
}

impl Text {
    fn any(random: &mut Random, variants: usize) -> Self {
        Self { variant: random.below(variants), complain: random.below(3) == 0 }
    }

    fn render(self, name: &str, flags: &str) -> String {
        let inside = match self.variant {
            0 => "  /opt/data/a r,\n".to_owned(),
            1 => "  /opt/data/b rw,\n".to_owned(),
            2 => format!("  profile kid{flags} {{\n    /opt/data/a r,\n  }}\n"),
            _ => format!("  profile kid{flags} {{\n    /opt/data/b r,\n  }}\n  ^hat{flags} {{\n  }}\n"),
        };
        format!("{ABI}profile {name} /opt/{name}{flags} {{\n{inside}}}\n")
    }

    /// As an administrator would write it.
    fn by_hand(self, name: &str) -> String {
        self.render(name, if self.complain { " flags=(complain)" } else { "" })
    }

    fn entry(self, name: &str) -> Value {
        let mode = if self.complain { "complain" } else { "enforce" };
        json!({ "file": name, "content": self.render(name, ""), "mode": mode })
    }
}

/// splitmix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((word ^ (word >> 31)) % limit as u64).unwrap()
    }
}

/// The host as it should be.
struct Model {
    guest: Guest,
    /// What apparmor_parser makes of each text, in all profiles.
    references: BTreeMap<Text, Policy>,
    /// What the last document listed.
    listed: BTreeMap<String, Text>,
    /// Files that somebody wrote over or removed since.
    spoiled: BTreeSet<String>,
    kernel: Policy,
}

impl Model {
    fn reference(&self, name: &str, text: Text) -> Policy {
        let of_all = self.references[&text].iter();
        of_all
            .filter(|(loaded, _)| is_within(loaded, name))
            .map(|(name, loaded)| (name.clone(), loaded.clone()))
            .collect()
    }

    /// Applies a document, the last one or another, and checks what the program says of it.
    fn apply(&mut self, wanted: BTreeMap<String, Text>) {
        let before = self.kernel.clone();
        for name in self.listed.keys().filter(|name| !wanted.contains_key(*name)) {
            self.kernel.retain(|loaded, _| !is_within(loaded, name));
        }
        for (name, text) in &wanted {
            let loaded = self.reference(name, *text);
            self.kernel.retain(|known, _| !(is_within(known, name) && known != name));
            self.kernel.extend(loaded);
        }
        let changes = wanted != self.listed || !self.spoiled.is_empty() || self.kernel != before;
        let entries = wanted.iter().map(|(name, text)| text.entry(name)).collect();
        self.listed = wanted;
        self.spoiled.clear();

        let revision_before = revision();
        let run = self.guest.apply(&document(entries));
        run.expect(0);
        assert_eq!(run.changed(), changes, "{run:#?}");
        assert_eq!(revision() == revision_before, self.kernel == before, "{run:#?}");
    }

    fn interfere(&mut self, random: &mut Random) -> String {
        let name = file(random.below(FILES));
        let foreign = foreign(random.below(FOREIGN));
        match random.below(7) {
            0 if self.kernel.contains_key(&name) => {
                kernel::remove(&name);
                self.kernel.retain(|loaded, _| !is_within(loaded, &name));
                format!("unload {name}")
            }
            1 => {
                let text = Text::any(random, CHILDLESS);
                let loaded = self.reference(&name, text);
                kernel::load(&text.by_hand(&name));
                self.kernel.extend(loaded);
                format!("load {name} as {text:?}")
            }
            2 if self.kernel.contains_key(&format!("{name}//kid")) => {
                let kid = format!("{name}//kid");
                kernel::remove(&kid);
                self.kernel.remove(&kid);
                format!("unload {kid}")
            }
            3 if self.kernel.contains_key(&foreign) => {
                kernel::remove(&foreign);
                self.kernel.retain(|loaded, _| !is_within(loaded, &foreign));
                format!("unload {foreign}")
            }
            3 => {
                let text = Text::any(random, VARIANTS);
                let loaded = self.reference(&foreign, text);
                kernel::load(&text.by_hand(&foreign));
                self.kernel.extend(loaded);
                format!("load {foreign} as {text:?}")
            }
            4 if self.listed.contains_key(&name) => {
                self.guest.write(&name, &Text::any(random, VARIANTS).by_hand(&name).replace("/opt/data", "/by/hand"));
                self.spoiled.insert(name.clone());
                format!("write over {name}")
            }
            5 if self.listed.contains_key(&name) && !self.spoiled.contains(&name) => {
                fs_err::remove_file(self.guest.policy(&name)).unwrap();
                self.spoiled.insert(name.clone());
                format!("delete {name}")
            }
            _ => {
                // As a reboot does, less the rest of it.
                let run = std::path::Path::new("/run/aa-converge");
                if run.exists() {
                    fs_err::remove_dir_all(run).unwrap();
                }
                "forget what was seen".to_owned()
            }
        }
    }
}

/// Every text, in all profiles.
fn references() -> BTreeMap<Text, Policy> {
    let names: Vec<String> = (0..FILES).map(file).chain((0..FOREIGN).map(foreign)).collect();
    let texts = (0..VARIANTS).flat_map(|variant| [true, false].map(|complain| Text { variant, complain }));
    texts
        .map(|text| {
            let all: String = names.iter().map(|name| text.by_hand(name)).collect();
            // A file has one abi.
            (text, reference([&*format!("{ABI}{}", all.replace(ABI, ""))]))
        })
        .collect()
}

fn file(n: usize) -> String {
    format!("p{n}")
}

fn foreign(n: usize) -> String {
    format!("foreign{n}")
}

fn is_within(loaded: &str, name: &str) -> bool {
    loaded.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("//"))
}

#[test]
fn random_steps_leave_what_a_simple_model_says() {
    let seed = seed();
    let mut random = Random(seed);
    let guest = Guest::fresh();
    let mut model = Model {
        guest,
        references: references(),
        listed: BTreeMap::new(),
        spoiled: BTreeSet::new(),
        kernel: Policy::new(),
    };
    let mut told = vec![format!("seed {seed}")];
    let steps = if has_apparmor_4() { 200 } else { 50 };
    for step in 0..steps {
        let what = match random.below(4) {
            0 => {
                model.apply(model.listed.clone());
                "the same document".to_owned()
            }
            1 => {
                let mut wanted = BTreeMap::new();
                for name in (0..FILES).map(file) {
                    let keeps = model.spoiled.contains(&name) || random.below(5) > 0;
                    let known = model.listed.get(&name).copied().filter(|_| random.below(4) > 0);
                    if keeps {
                        wanted.insert(name, known.unwrap_or_else(|| Text::any(&mut random, VARIANTS)));
                    }
                }
                let what = format!("document {wanted:?}");
                told.push(format!("{step}: about to apply {what}"));
                model.apply(wanted);
                what
            }
            _ => model.interfere(&mut random),
        };
        told.push(format!("{step}: {what}"));
        let now: BTreeMap<String, Loaded> = policy();
        let recent = &told[told.len().saturating_sub(12)..];
        assert_eq!(now, model.kernel, "{}; of the steps until now: {recent:#?}", told[0]);
    }
}

/// Another one each time, unless `/t/seed` repeats one.
fn seed() -> u64 {
    let seed = match fs_err::read_to_string("/t/seed") {
        Ok(seed) => seed.trim().parse().unwrap(),
        Err(_) => u64::from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos()),
    };
    fs_err::write("/t/out/seed", seed.to_string()).unwrap();
    seed
}
