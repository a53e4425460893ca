//! Running futures side by side without threads: all at once, or in an order that a seed chooses.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use crate::{FakeClock, Random};

type Actor<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Lets others run once.
pub async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            Poll::Ready(())
        } else {
            yielded = true;
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

/// Runs all side by side on the caller's task and gives their results in order.
pub async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    let mut results: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (future, result) in futures.iter_mut().zip(&mut results) {
            if result.is_none()
                && let Poll::Ready(value) = future.as_mut().poll(context)
            {
                *result = Some(value);
            }
        }
        if results.iter().all(Option::is_some) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    results.into_iter().flatten().collect()
}

/// Runs actors in an order that its seed chooses, one step (up to the next wait) at a time, while
/// virtual time passes at random. The same seed gives the same run.
pub struct Scheduler<'a> {
    clock: FakeClock,
    random: Random,
    actors: Vec<Actor<'a>>,
    killable: Vec<usize>,
}

impl<'a> Scheduler<'a> {
    /// Takes the clock over: from now on only the scheduler moves it.
    #[must_use]
    pub fn new(seed: u64, clock: FakeClock) -> Self {
        clock.hold();
        Self {
            clock,
            random: Random::new(seed),
            actors: Vec::new(),
            killable: Vec::new(),
        }
    }

    /// Adds an actor that runs to its end.
    pub fn spawn(&mut self, actor: impl Future<Output = ()> + 'a) {
        self.actors.push(Box::pin(actor));
    }

    /// Adds an actor that may vanish between two of its steps, as a killed process does.
    pub fn spawn_killable(&mut self, actor: impl Future<Output = ()> + 'a) {
        self.killable.push(self.actors.len());
        self.actors.push(Box::pin(actor));
    }

    /// Runs until all actors have ended, at most `steps` steps; calls `check` after each. Says
    /// whether all ended.
    pub fn run(&mut self, steps: usize, mut check: impl FnMut()) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let mut alive: Vec<usize> = (0..self.actors.len()).collect();
        for _ in 0..steps {
            if alive.is_empty() {
                return true;
            }
            // Mostly small steps of time; now and then one that lets a lease run out.
            self.clock.advance(self.random.below(20));
            if self.random.one_in(2_000) {
                self.clock.advance(self.random.below(30_000));
            }
            let place = usize::try_from(self.random.below(alive.len() as u64)).unwrap_or(0);
            let actor = alive[place];
            if self.killable.contains(&actor) && self.random.one_in(600) {
                alive.swap_remove(place);
                continue;
            }
            if self.actors[actor].as_mut().poll(&mut context).is_ready() {
                alive.swap_remove(place);
            }
            check();
        }
        alive.is_empty()
    }
}
