//! What stands at a place as one line of text.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Attributes, Stands};
use crate::profile::{Digest, deserialize_str};

const ABSENT: &str = "absent";
const FILE: &str = "file ";
const LINK: &str = "link ";

impl Stands {
    /// Reads what [`fmt::Display`] writes.
    fn read(text: &str) -> Option<Self> {
        if text == ABSENT {
            return Some(Self::Absent);
        }
        if let Some(target) = text.strip_prefix(LINK) {
            return Some(Self::Link { target: target.to_owned() });
        }
        let (mode, rest) = text.strip_prefix(FILE)?.split_once(' ')?;
        let (owner, sha256) = rest.split_once(' ')?;
        let (uid, gid) = owner.split_once(':')?;
        let attributes = Attributes {
            mode: u32::from_str_radix(mode, 8).ok().filter(|mode| *mode <= 0o7777)?,
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
        };
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
            target in ".*", bytes in any::<Vec<u8>>(), mode in 0..=0o7777_u32, uid in any::<u32>(), gid in any::<u32>(),
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
                let _read = Stands::read(&text);
            }
        }
    }

    #[test]
    fn people_can_read_it() {
        let sha256 = Digest::of(b"");
        let attributes = Attributes { mode: 0o644, uid: 0, gid: 12 };
        assert_eq!(Stands::File { sha256, attributes }.to_string(), format!("file 0644 0:12 {sha256}"));
        assert_eq!(Stands::Link { target: "../a b".to_owned() }.to_string(), "link ../a b");
        for wrong in ["", "absent ", "file", "file 0644 0:0", "file 10000 0:0 x", "file 0644 0 0", "dir"] {
            assert_eq!(Stands::read(wrong), None, "{wrong}");
        }
        let too_many_bits = format!("file 10000 0:0 {sha256}");
        assert_eq!(Stands::read(&too_many_bits), None);
    }
}
