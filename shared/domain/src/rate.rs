//! How often one principal may ask: a bucket of requests that fills again by itself.
//!
//! The bucket is one number, the moment at which it is full again (the "generic cell rate
//! algorithm"), so that taking a request is one conditional write of one attribute, whoever does it.

use crate::UnixMillis;

const MICROSECONDS: u64 = 1_000_000;

/// How far clocks that write the same rows may be apart. A time in a row that is further ahead than this is
/// of a clock that was set back since; waiting for it could take any time. Own.
pub const CLOCKS_APART_MILLISECONDS: u64 = 60_000;

/// A rate, and how much of it may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests that come back each second; at least 1.
    pub per_second: u32,
    /// Requests that a full bucket holds; at least 1.
    pub burst: u32,
}

/// What asking for requests gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// They may be served.
    Allowed {
        /// Requests that are left at this moment.
        remaining: u32,
        /// When the bucket is full again, in microseconds since 1970.
        full_at: u64,
    },
    /// Nothing was taken.
    Refused {
        /// When there is enough in the bucket, in microseconds since 1970. Until then everybody who
        /// asks for as many is refused, because the number in the row only ever grows while no clock is
        /// set back.
        allowed_at: u64,
    },
}

impl RateLimit {
    /// How long one request takes to come back, in microseconds; at least 1.
    #[must_use]
    pub fn interval(&self) -> u64 {
        (MICROSECONDS / u64::from(self.per_second.max(1))).max(1)
    }

    /// How long an empty bucket takes to be full, in microseconds.
    #[must_use]
    pub fn whole(&self) -> u64 {
        self.interval() * u64::from(self.burst.max(1))
    }

    /// The latest time, in microseconds since 1970, at which any bucket is full again that was filled on a
    /// clock like this one.
    #[must_use]
    pub fn latest(&self, now: UnixMillis) -> u64 {
        microseconds(now.plus(CLOCKS_APART_MILLISECONDS)) + self.whole()
    }

    /// Takes `count` requests out of the bucket that is full at `full_at` (microseconds since 1970; a
    /// bucket that nobody used has no such time, and one of a clock that was set back counts as that). A
    /// `count` above the burst is never allowed.
    #[must_use]
    pub fn take(&self, full_at: Option<u64>, count: u32, now: UnixMillis) -> Taken {
        let latest = self.latest(now);
        let now = microseconds(now);
        let full_at = full_at.filter(|full_at| *full_at <= latest);
        let after = full_at.unwrap_or(now).max(now) + self.interval() * u64::from(count);
        let last = now + self.whole();
        if after > last {
            return Taken::Refused {
                allowed_at: after - self.whole(),
            };
        }
        let remaining = (last - after) / self.interval();
        Taken::Allowed {
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            full_at: after,
        }
    }
}

/// The same moment in microseconds.
#[must_use]
pub fn microseconds(time: UnixMillis) -> u64 {
    time.0.saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: RateLimit = RateLimit {
        per_second: 10,
        burst: 20,
    };

    fn full_at(taken: Taken) -> Option<u64> {
        match taken {
            Taken::Allowed { full_at, .. } => Some(full_at),
            Taken::Refused { .. } => None,
        }
    }

    #[test]
    fn a_burst_then_the_rate() {
        let now = UnixMillis(1_700_000_000_000);
        let mut bucket = None;
        for left in (0..20).rev() {
            let taken = LIMIT.take(bucket, 1, now);
            assert!(matches!(taken, Taken::Allowed { remaining, .. } if remaining == left));
            bucket = full_at(taken);
        }
        let allowed_at = microseconds(now) + 100_000;
        assert_eq!(LIMIT.take(bucket, 1, now), Taken::Refused { allowed_at });
        assert!(full_at(LIMIT.take(bucket, 1, now.plus(99))).is_none());
        // One comes back each tenth of a second, and not more than the burst.
        let one = LIMIT.take(bucket, 1, now.plus(100));
        assert!(matches!(one, Taken::Allowed { remaining: 0, .. }));
        let later = LIMIT.take(bucket, 1, now.plus(3_600_000));
        assert!(matches!(later, Taken::Allowed { remaining: 19, .. }));
    }

    #[test]
    fn several_at_once_are_all_or_nothing() {
        let now = UnixMillis(5);
        let taken = LIMIT.take(None, 15, now);
        assert!(matches!(taken, Taken::Allowed { remaining: 5, .. }));
        let bucket = full_at(taken);
        let allowed_at = microseconds(now) + 100_000;
        assert_eq!(LIMIT.take(bucket, 6, now), Taken::Refused { allowed_at });
        assert!(full_at(LIMIT.take(bucket, 5, now)).is_some());
        assert!(full_at(LIMIT.take(None, 21, now)).is_none());
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let now = UnixMillis(1_700_000_000_000);
        let bucket = full_at(LIMIT.take(None, 20, now));
        // As far as clocks are apart the bucket is what it was; an hour back it is another one's.
        let little = UnixMillis(now.0 - CLOCKS_APART_MILLISECONDS);
        assert!(full_at(LIMIT.take(bucket, 1, little)).is_none());
        let hour = UnixMillis(now.0 - 3_600_000);
        let taken = LIMIT.take(bucket, 1, hour);
        assert!(
            matches!(taken, Taken::Allowed { remaining: 19, full_at } if full_at < microseconds(now))
        );
    }

    #[test]
    fn a_rate_that_does_not_divide_a_second_is_not_lost() {
        let limit = RateLimit {
            per_second: 3,
            burst: 1,
        };
        let (mut bucket, mut allowed) = (None, 0);
        for millisecond in 0..10_000 {
            let now = UnixMillis(1_700_000_000_000 + millisecond);
            if let Some(next) = full_at(limit.take(bucket, 1, now)) {
                bucket = Some(next);
                allowed += 1;
            }
        }
        assert!((29..=31).contains(&allowed), "{allowed}");
    }
}
