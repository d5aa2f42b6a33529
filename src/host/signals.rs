//! The signals that this process was started with.

/// A set of signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signals(u64);

impl Signals {
    /// Those that this process ignores; none where procfs does not tell.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "/proc is the running kernel's, whatever the root")]
    pub fn ignored() -> Self {
        std::fs::read_to_string("/proc/self/status").map_or(Self(0), |status| Self::ignored_in(&status))
    }

    /// Reads `SigIgn`, a mask in which signal 1 is the lowest bit (proc_pid_status(5)).
    fn ignored_in(status: &str) -> Self {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        Self(mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0))
    }

    /// Whether a signal, by its number, is among them.
    #[must_use]
    pub fn contains(self, signal: i32) -> bool {
        (1..=64).contains(&signal) && self.0 >> (signal - 1) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        let ignored =
            Signals::ignored_in("SigBlk:\t0000000000000002\nSigIgn:\t8000000000001001\nSigCgt:\t0000000000000002\n");
        let found: Vec<i32> = (-1..=65).filter(|signal| ignored.contains(*signal)).collect();
        assert_eq!(found, [1, 13, 64]);
        for unknown in ["", "SigIgn:\n", "SigIgn:\tall\n", "SigIgn:\t10000000000000000\n"] {
            assert_eq!(Signals::ignored_in(unknown), Signals(0), "{unknown}");
        }
    }
}
