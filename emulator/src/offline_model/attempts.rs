//! How often a step was tried: the only thing the offline model remembers.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

/// Which step of which session, and how deep within it (steps nest).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct AttemptKey {
    /// What tells sessions apart, from the request; empty when nothing does.
    pub(super) session: String,
    pub(super) script: String,
    pub(super) step: usize,
    pub(super) depth: usize,
}

/// Counts of the newest steps; beyond the limit the oldest are forgotten, so that a long-lived
/// emulator does not grow.
#[derive(Default)]
pub(super) struct Attempts(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    by_key: HashMap<AttemptKey, u32>,
    oldest_first: VecDeque<AttemptKey>,
}

const LIMIT: usize = 10_000;

impl Attempts {
    /// Counts one more attempt and returns its number, from 1.
    pub(super) fn next(&self, key: &AttemptKey) -> u32 {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.by_key.get_mut(key) {
            *count = count.saturating_add(1);
            return *count;
        }
        if counts.oldest_first.len() >= LIMIT
            && let Some(oldest) = counts.oldest_first.pop_front()
        {
            counts.by_key.remove(&oldest);
        }
        counts.oldest_first.push_back(key.clone());
        counts.by_key.insert(key.clone(), 1);
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(step: usize) -> AttemptKey {
        AttemptKey {
            session: String::new(),
            script: "TEXT:x".to_owned(),
            step,
            depth: 0,
        }
    }

    #[test]
    fn counts_each_step_and_forgets_the_oldest() {
        let attempts = Attempts::default();
        assert_eq!(attempts.next(&key(0)), 1);
        assert_eq!(attempts.next(&key(0)), 2);
        for step in 1..=LIMIT {
            assert_eq!(attempts.next(&key(step)), 1);
        }
        assert_eq!(attempts.next(&key(0)), 1);
        assert_eq!(attempts.next(&key(LIMIT)), 2);
    }
}
