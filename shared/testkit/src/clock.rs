//! A clock that only moves when a test says so, or when somebody sleeps.

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
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
    sleepers: Arc<Mutex<Vec<(UnixMillis, Waker)>>>,
}

impl Default for FakeClock {
    /// Starts in November 2026.
    fn default() -> Self {
        Self {
            now: Arc::new(AtomicU64::new(1_795_000_000_000)),
            held: Arc::default(),
            sleepers: Arc::default(),
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
        let now = self.now();
        let due: Vec<_> = self
            .sleepers()
            .extract_if(.., |(end, _)| *end <= now)
            .collect();
        for (_, sleeper) in due {
            sleeper.wake();
        }
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
            if self.held.load(Ordering::SeqCst) {
                poll_fn(|context| self.poll_moved(context, end)).await;
            } else {
                self.now.fetch_max(end.0, Ordering::SeqCst);
            }
        }
    }

    /// Whether the time has come. Whoever waits on a real runtime is woken then, and takes no processor
    /// time until it.
    fn poll_moved(&self, context: &Context<'_>, end: UnixMillis) -> Poll<()> {
        // Locked before the look at the time: who moves it after that finds the waker.
        let mut sleepers = self.sleepers();
        if self.now() >= end {
            return Poll::Ready(());
        }
        // The scheduler of simulations wakes nobody: it looks again by itself.
        let waker = context.waker();
        let known = |(at, sleeper): &(_, Waker)| *at == end && sleeper.will_wake(waker);
        if !waker.will_wake(Waker::noop()) && !sleepers.iter().any(known) {
            sleepers.push((end, waker.clone()));
        }
        Poll::Pending
    }

    fn sleepers(&self) -> MutexGuard<'_, Vec<(UnixMillis, Waker)>> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
