//! What stands at a place as one line of text.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Attributes, Stands};
use crate::profile::{Digest, deserialize_str};

const ABSENT: &str = "absent";
const FILE: &str = "file ";
const LINK: &str = "link ";

/// How long a link's target is at most, in bytes (symlink(7), `PATH_MAX`).
const MAX_TARGET: usize = 4096;

impl Stands {
    /// Reads what [`fmt::Display`] writes.
    fn read(text: &str) -> Option<Self> {
        if text == ABSENT {
            return Some(Self::Absent);
        }
        if let Some(target) = text.strip_prefix(LINK) {
            let can_be = !target.is_empty() && target.len() < MAX_TARGET && !target.contains('\0');
            return can_be.then(|| Self::Link { target: target.to_owned() });
        }
        let (mode, rest) = text.strip_prefix(FILE)?.split_once(' ')?;
        let (owner, sha256) = rest.split_once(' ')?;
        let (uid, gid) = owner.split_once(':')?;
        let plain = |number: &str| number.bytes().all(|byte| byte.is_ascii_digit());
        if mode.len() != 4 || ![mode, uid, gid].into_iter().all(plain) {
            return None;
        }
        let id = |number: &str| number.parse().ok().filter(|id| *id != Attributes::NO_ID);
        let attributes = Attributes { mode: u32::from_str_radix(mode, 8).ok()?, uid: id(uid)?, gid: id(gid)? };
        Some(Self::File { sha256: Digest::from_hex(sha256)?, attributes })
    }
}

impl fmt::Display for Stands {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => out.write_str(ABSENT),
            Self::File { sha256, attributes: Attributes { mode, uid, gid } } => {
                write!(out, "{FILE}{mode:04o} {uid}:{gid} {sha256}")
            }
            Self::Link { target } => write!(out, "{LINK}{target}"),
        }
    }
}

impl Serialize for Stands {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Stands {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = |text: &str| Self::read(text).ok_or_else(|| format!("`{text}` does not say what stands at a place"));
        deserialize_str(deserializer, "what stands at a place", read)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            target in "[^\0]{1,99}", bytes in any::<Vec<u8>>(), mode in 0..=0o7777_u32, uid in 0..u32::MAX, gid in 0..u32::MAX,
        ) {
            let sha256 = Digest::of(&bytes);
            let file = Stands::File { sha256, attributes: Attributes { mode, uid, gid } };
            for stands in [Stands::Absent, file, Stands::Link { target }] {
                let json = serde_json::to_string(&stands).unwrap();
                prop_assert_eq!(serde_json::from_str::<Stands>(&json).unwrap(), stands);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            for text in [text.clone(), format!("file {text}"), format!("file 0644 {text}"), format!("file 0644 0:0 {text}")] {
                if let Some(read) = Stands::read(&text) {
                    prop_assert_eq!(read.to_string(), text);
                }
            }
        }
    }

    #[test]
    fn people_can_read_it() {
        let sha256 = Digest::of(b"");
        let attributes = Attributes { mode: 0o644, uid: 0, gid: 12 };
        assert_eq!(Stands::File { sha256, attributes }.to_string(), format!("file 0644 0:12 {sha256}"));
        assert_eq!(Stands::Link { target: "../a b".to_owned() }.to_string(), "link ../a b");
    }

    #[test]
    fn what_cannot_stand_anywhere_is_refused() {
        let sha256 = Digest::of(b"");
        for file in
            ["", "10000 0:0", "0648 0:0", "+644 0:0", "0644 +0:0", "0644 4294967295:0", "0644 0:4294967296", "0644 0 0"]
        {
            assert_eq!(Stands::read(&format!("file {file} {sha256}")), None, "{file}");
        }
        let long = format!("link {}", "x".repeat(MAX_TARGET));
        for wrong in ["", "absent ", "dir", "file 0644 0:0", "file 0644 0:0 abc", "link ", "link a\0b", &long] {
            assert_eq!(Stands::read(wrong), None, "{wrong}");
        }
        assert!(Stands::read(&format!("file 0644 0:0 {sha256}")).is_some());
    }

    #[test]
    fn attributes_that_no_file_has_are_refused() {
        let no_id = u64::from(u32::MAX);
        for (mode, uid, gid, are_read) in
            [(0o7777, 0, no_id - 1, true), (0o10000, 0, 0, false), (0, no_id, 0, false), (0, 0, no_id, false)]
        {
            let json = format!(r#"{{ "mode": {mode}, "uid": {uid}, "gid": {gid} }}"#);
            assert_eq!(serde_json::from_str::<Attributes>(&json).is_ok(), are_read, "{json}");
        }
    }
}
