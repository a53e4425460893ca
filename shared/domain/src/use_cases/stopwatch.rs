//! How long somebody has waited.

use crate::UnixMillis;

/// Adds up the time between two looks at a clock that may be set back meanwhile: what it loses by
/// that is one interval, so that every wait ends. Set on, it shows more than has passed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopwatch {
    last: UnixMillis,
    milliseconds: u64,
}

impl Stopwatch {
    pub(super) const fn start(now: UnixMillis) -> Self {
        Self {
            last: now,
            milliseconds: 0,
        }
    }

    /// Milliseconds since the start.
    pub(super) const fn read(&mut self, now: UnixMillis) -> u64 {
        self.milliseconds = self.milliseconds.saturating_add(now.since(self.last));
        self.last = now;
        self.milliseconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_costs_one_interval() {
        let mut stopwatch = Stopwatch::start(UnixMillis(10_000));
        let read = [10_500, 11_000, 3_000, 3_500, 4_500].map(|now| stopwatch.read(UnixMillis(now)));
        assert_eq!(read, [500, 1_000, 1_000, 1_500, 2_500]);
    }
}
