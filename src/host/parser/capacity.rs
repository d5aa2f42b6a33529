//! How much may be compiled at once, and with how much memory.

use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::thread::available_parallelism;

const MIB: u64 = 1 << 20;
/// What a large profile takes; several hundred MiB have been seen.
const MEMORY_PER_PARSER: u64 = 512 * MIB;

/// How many processors this process may use: found out once, because it takes the reading of several files.
#[must_use]
pub fn processors() -> NonZeroUsize {
    static PROCESSORS: OnceLock<NonZeroUsize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| available_parallelism().unwrap_or(NonZeroUsize::MIN))
}

/// How many parsers to run at once where nobody says: one a processor, as far as the available memory has 512 MiB for
/// each, and at least one.
#[must_use]
pub fn default_jobs() -> NonZeroUsize {
    let processors = processors();
    let Some(memory) = available_memory() else { return processors };
    let fitting = usize::try_from(memory / MEMORY_PER_PARSER).unwrap_or(usize::MAX);
    NonZeroUsize::new(processors.get().min(fitting)).unwrap_or(NonZeroUsize::MIN)
}

/// The address space, in bytes, that each of `parallel` parsers may use: its share of the available memory, but at
/// least 1 GiB and at most 4 GiB.
pub(super) fn memory_limit(parallel: NonZeroUsize) -> u64 {
    let share = available_memory().unwrap_or(0) / parallel.get() as u64;
    share.clamp(1024 * MIB, 4096 * MIB)
}

/// The kernel's estimate of the memory that can be had without swapping, in bytes (proc_meminfo(5)).
#[expect(clippy::disallowed_methods, reason = "/proc is the running kernel's, whatever the root")]
fn available_memory() -> Option<u64> {
    parse_available(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse_available(meminfo: &str) -> Option<u64> {
    let value = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    value.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read_in_kib() {
        assert_eq!(parse_available("MemFree: 1 kB\nMemAvailable:   2048 kB\n"), Some(2 * MIB));
        assert_eq!(parse_available("MemFree: 1 kB\n"), None);
        assert_eq!(parse_available("MemAvailable: 18446744073709551615 kB\n"), None);
        assert!(available_memory().is_some());
    }

    #[test]
    fn a_parser_gets_between_one_and_four_gib() {
        let limit = memory_limit(NonZeroUsize::MIN);
        assert!((1024 * MIB..=4096 * MIB).contains(&limit), "{limit}");
        assert_eq!(memory_limit(NonZeroUsize::MAX), 1024 * MIB);
    }
}
