//! The hash by which the kernel tells which policy it runs (`sha256` or `sha1` under `policy/profiles/`).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::profile::{deserialize_hex, deserialize_str, read_hex, write_hex};

/// The algorithm that a kernel hashes policy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HashAlgorithm {
    /// Older kernels, Debian 12's 6.1 among them.
    Sha1,
    /// Newer kernels, Debian 13's 6.12 among them.
    Sha256,
}

/// The hash of one compiled profile in every algorithm that a kernel may show: which one it is, is not known before
/// the kernel is asked. Serialized as an object of two hexadecimal strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelHash {
    /// As a kernel that uses SHA-1 shows it.
    #[serde(serialize_with = "to_hex", deserialize_with = "deserialize_hex")]
    pub sha1: [u8; 20],
    /// As a kernel that uses SHA-256 shows it.
    #[serde(serialize_with = "to_hex", deserialize_with = "deserialize_hex")]
    pub sha256: [u8; 32],
}

impl KernelHash {
    /// The hash as `security/apparmor/crypto.c`, `aa_calc_profile_hash`, computes it: over the version word and the
    /// bytes of the profile's struct. The namespace does not count.
    pub(super) fn of(version: u32, body: &[u8]) -> Self {
        let version = version.to_le_bytes();
        Self {
            sha1: Sha1::new().chain_update(version).chain_update(body).finalize().into(),
            sha256: Sha256::new().chain_update(version).chain_update(body).finalize().into(),
        }
    }

    /// The hash as a kernel that uses `algorithm` shows it.
    #[must_use]
    pub fn shown(&self, algorithm: HashAlgorithm) -> ShownHash {
        match algorithm {
            HashAlgorithm::Sha1 => ShownHash::Sha1(self.sha1),
            HashAlgorithm::Sha256 => ShownHash::Sha256(self.sha256),
        }
    }
}

/// The hash of a loaded profile, as the kernel shows it; displayed and serialized as lower-case hexadecimal digits,
/// whose number tells the algorithm.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShownHash {
    /// 40 digits.
    Sha1([u8; 20]),
    /// 64 digits.
    Sha256([u8; 32]),
}

impl ShownHash {
    /// Reads 40 or 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(digits: &str) -> Option<Self> {
        match digits.len() {
            40 => read_hex(digits).map(Self::Sha1),
            64 => read_hex(digits).map(Self::Sha256),
            _ => None,
        }
    }

    /// Says whether this is the hash of the compiled profile that hashes to `compiled`.
    #[must_use]
    pub fn is_of(&self, compiled: &KernelHash) -> bool {
        match self {
            Self::Sha1(shown) => *shown == compiled.sha1,
            Self::Sha256(shown) => *shown == compiled.sha256,
        }
    }
}

impl fmt::Display for ShownHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: &[u8] = match self {
            Self::Sha1(bytes) => bytes,
            Self::Sha256(bytes) => bytes,
        };
        out.write_str(write_hex(bytes, &mut [0; 64]))
    }
}

impl fmt::Debug for ShownHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl Serialize for ShownHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ShownHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let what = "a kernel's hash of 40 or 64 hexadecimal digits";
        deserialize_str(deserializer, what, |digits| {
            Self::from_hex(digits).ok_or_else(|| format!("this is not {what}"))
        })
    }
}

fn to_hex<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(write_hex(bytes, &mut [0; 64]))
}
