//! What the last run saw in the kernel, kept until the next boot in `/run/aa-converge/seen`.
//!
//! As long as the kernel's policy is in the same state, the hashes of loaded profiles are what they were, and no
//! profile's files have to be read. After docker, libvirt or snapd loaded something of theirs, a look at one link of
//! each profile tells that it is still the same. It saves time and decides nothing else: without it, everything is read.
//!
//! **Invariant:** of a profile, a sighting is believed at the very moment that it was made at, or beside the kernel's own
//! word that the profile was not replaced since ([`Sighting::recall`]).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use crate::host::kernel::Sighting;
use crate::host::kernel::{KernelState, Loaded, Moment, Origin, Sight};
use crate::policy::ShownHash;
use crate::profile::ProfileName;

/// The format that this program writes; any other is not read.
const FORMAT: u32 = 2;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: u32,
    moment: Moment,
    profiles: Vec<WrittenSight>,
}

/// The hash, and the directory and set of the origin.
type WrittenSight = (ProfileName, ShownHash, Option<(PathBuf, u64)>);

impl Sighting {
    /// Reads a sighting's bytes; `None` for anything that this version does not write.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let written: Written = serde_json::from_slice(bytes).ok()?;
        let profiles = written.profiles.into_iter().map(|(name, hash, origin)| {
            let origin = origin.map(|(directory, set)| Origin { directory: directory.into(), set });
            (name, Sight { hash, origin })
        });
        (written.format == FORMAT).then(|| Self { moment: written.moment, profiles: profiles.collect() })
    }

    /// The sighting's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let profiles = self.profiles.iter().map(|(name, sight)| {
            let origin = sight.origin.as_ref().map(|origin| (origin.directory.to_path_buf(), origin.set));
            (name.clone(), sight.hash, origin)
        });
        let written = Written { format: FORMAT, moment: self.moment.clone(), profiles: profiles.collect() };
        // Strings and numbers: nothing in these can fail to become JSON.
        serde_json::to_vec(&written).unwrap_or_default()
    }

    /// What `state` shows.
    #[must_use]
    pub fn of(state: &KernelState) -> Self {
        let profiles = state.loaded.iter().filter_map(|(name, loaded)| {
            Some((name.clone(), Sight { hash: loaded.hash?, origin: loaded.origin.clone() }))
        });
        Self { moment: state.moment.clone(), profiles: profiles.collect() }
    }

    /// Whether all that `state` shows, and no more, could be recalled from this.
    #[must_use]
    pub fn tells_all_of(&self, state: &KernelState) -> bool {
        let mut looked_at = state.loaded.iter().filter(|(_, loaded)| loaded.hash.is_some());
        let is_told = |(name, loaded): (&ProfileName, &Loaded)| {
            let sight = self.recall(name, &state.moment, |origin| loaded.origin.as_ref() == Some(origin));
            sight.map(|sight| sight.hash) == loaded.hash
        };
        looked_at.clone().count() == self.profiles.len() && looked_at.all(is_told)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::host::kernel::NamespaceMoment;
    use crate::host::root::Identity;

    fn sample() -> Sighting {
        let current = NamespaceMoment { name: "root".to_owned(), directory: Identity::new(1, 2), revision: 3 };
        let below = [("a//b".to_owned(), NamespaceMoment { revision: 9, ..current.clone() })].into();
        let moment = Moment { boot: "0f".to_owned(), current, below };
        let origin = Origin { directory: Path::new("profiles/x_y.4").into(), set: 3 };
        let seen = |origin| Sight { hash: ShownHash::Sha256([7; 32]), origin };
        let profiles = [(ProfileName::new("x y"), seen(Some(origin))), (ProfileName::new("z"), seen(None))];
        Sighting { moment, profiles: profiles.into() }
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
