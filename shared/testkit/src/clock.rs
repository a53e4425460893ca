//! A clock that only moves when a test says so, or when somebody sleeps.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use domain::UnixMillis;

use crate::scheduler::yield_once;

/// Virtual time; clones share it.
///
/// Usually a sleeper moves the time to its end at once. After [`FakeClock::hold`] only
/// [`FakeClock::advance`] and [`FakeClock::set_back`] move it, and sleepers wait for that.
#[derive(Clone, Debug)]
pub struct FakeClock {
    now: Arc<AtomicU64>,
    held: Arc<AtomicBool>,
}

impl Default for FakeClock {
    /// Starts in November 2026.
    fn default() -> Self {
        Self {
            now: Arc::new(AtomicU64::new(1_795_000_000_000)),
            held: Arc::default(),
        }
    }
}

impl FakeClock {
    /// The virtual time.
    #[must_use]
    pub fn now(&self) -> UnixMillis {
        UnixMillis(self.now.load(Ordering::SeqCst))
    }

    /// Moves the time on.
    pub fn advance(&self, milliseconds: u64) {
        self.now.fetch_add(milliseconds, Ordering::SeqCst);
    }

    /// Moves the time back, as a machine does whose clock was wrong.
    pub fn set_back(&self, milliseconds: u64) {
        self.now.fetch_sub(milliseconds, Ordering::SeqCst);
    }

    /// From now on sleeping moves nothing.
    pub fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    /// Returns once `milliseconds` have passed; makes them pass unless the clock is held.
    pub async fn sleep(&self, milliseconds: u64) {
        let end = self.now().plus(milliseconds);
        loop {
            yield_once().await;
            if self.now() >= end {
                return;
            }
            if !self.held.load(Ordering::SeqCst) {
                self.now.fetch_max(end.0, Ordering::SeqCst);
            }
        }
    }
}
