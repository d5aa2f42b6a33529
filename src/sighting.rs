//! What the last run saw in the kernel, kept until the next boot in `/run/aa-converge/seen`.
//!
//! As long as the kernel's policy is in the same state, the hashes of loaded profiles are what they were, and no
//! profile's files have to be read. It saves time and decides nothing else: without it, everything is read.
//!
//! **Invariant:** a sighting is believed only at the very moment that it was made at; docker, libvirt and snapd end it
//! by loading something of theirs, and the run after that reads our profiles again.

use serde::{Deserialize, Serialize};

pub use crate::host::kernel::Sighting;
use crate::host::kernel::{KernelState, Moment};
use crate::policy::ShownHash;
use crate::profile::ProfileName;

/// The format that this program writes; any other is not read.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: u32,
    moment: Moment,
    hashes: Vec<(ProfileName, ShownHash)>,
}

impl Sighting {
    /// Reads a sighting's bytes; `None` for anything that this version does not write.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let written: Written = serde_json::from_slice(bytes).ok()?;
        (written.format == FORMAT)
            .then(|| Self { moment: written.moment, hashes: written.hashes.into_iter().collect() })
    }

    /// The sighting's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let hashes = self.hashes.iter().map(|(name, hash)| (name.clone(), *hash)).collect();
        let written = Written { format: FORMAT, moment: self.moment.clone(), hashes };
        // Strings and numbers: nothing in these can fail to become JSON.
        serde_json::to_vec(&written).unwrap_or_default()
    }

    /// What `state` shows.
    #[must_use]
    pub fn of(state: &KernelState) -> Self {
        let hashes = state.loaded.iter().filter_map(|(name, loaded)| Some((name.clone(), loaded.hash?)));
        Self { moment: state.moment.clone(), hashes: hashes.collect() }
    }

    /// Whether it says what `state` shows, and no more.
    #[must_use]
    pub fn is_of(&self, state: &KernelState) -> bool {
        let shown = state.loaded.iter().filter_map(|(name, loaded)| Some((name, loaded.hash.as_ref()?)));
        self.moment == state.moment && self.hashes.iter().eq(shown)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::host::kernel::NamespaceMoment;
    use crate::host::root::Identity;

    fn sample() -> Sighting {
        let current = NamespaceMoment { name: "root".to_owned(), directory: Identity::new(1, 2), revision: 3 };
        let below = [("a//b".to_owned(), NamespaceMoment { revision: 9, ..current.clone() })].into();
        let moment = Moment { boot: "0f".to_owned(), current, below };
        Sighting { moment, hashes: [(ProfileName::new("x y"), ShownHash::Sha256([7; 32]))].into() }
    }

    #[test]
    fn a_sighting_reads_back_as_written() {
        assert_eq!(Sighting::parse(&sample().to_bytes()), Some(sample()));
        assert_eq!(Sighting::parse(br#"{"format":2}"#), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(at in 0..300usize, byte: u8, cut in 0..400usize) {
            let mut bytes = sample().to_bytes();
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            bytes.truncate(cut);
            drop(Sighting::parse(&bytes));
        }
    }
}
