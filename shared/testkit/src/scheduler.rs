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
    steps_back: Option<u64>,
    actors: Vec<Running<'a>>,
}

struct Running<'a> {
    actor: Actor<'a>,
    /// Begins it anew when it was killed; `None` for one that runs to its end.
    again: Option<Box<dyn FnMut() -> Actor<'a> + 'a>>,
}

impl<'a> Scheduler<'a> {
    /// Takes the clock over: from now on only the scheduler moves it.
    #[must_use]
    pub fn new(seed: u64, clock: FakeClock) -> Self {
        clock.hold();
        Self {
            clock,
            random: Random::new(seed),
            steps_back: None,
            actors: Vec::new(),
        }
    }

    /// From now on the clock is set back now and then, by less than so much.
    pub const fn step_back(&mut self, milliseconds: u64) {
        self.steps_back = Some(milliseconds);
    }

    /// Adds an actor that runs to its end.
    pub fn spawn(&mut self, actor: impl Future<Output = ()> + 'a) {
        self.actors.push(Running {
            actor: Box::pin(actor),
            again: None,
        });
    }

    /// Adds an actor that may vanish between any two of its steps, as a killed process does, and
    /// then begins anew.
    pub fn spawn_killable<F>(&mut self, mut actor: impl FnMut() -> F + 'a)
    where
        F: Future<Output = ()> + 'a,
    {
        let mut again = move || -> Actor<'a> { Box::pin(actor()) };
        self.actors.push(Running {
            actor: again(),
            again: Some(Box::new(again)),
        });
    }

    /// Runs until all actors have ended, at most `steps` steps; calls `check` after each. Says
    /// whether all ended.
    pub fn run(&mut self, steps: usize, mut check: impl FnMut()) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..steps {
            if self.actors.is_empty() {
                return true;
            }
            // Mostly small steps of time; now and then one that lets a lease run out.
            self.clock.advance(self.random.below(20));
            if self.random.one_in(2_000) {
                self.clock.advance(self.random.below(30_000));
            }
            if let Some(milliseconds) = self.steps_back
                && self.random.one_in(2_000)
            {
                self.clock.set_back(self.random.below(milliseconds));
            }
            let place = self.random.below(self.actors.len() as u64);
            let place = usize::try_from(place).unwrap_or(0);
            let running = &mut self.actors[place];
            if let Some(again) = &mut running.again
                && self.random.one_in(600)
            {
                running.actor = again();
            } else if running.actor.as_mut().poll(&mut context).is_ready() {
                drop(self.actors.swap_remove(place));
            }
            check();
        }
        self.actors.is_empty()
    }
}
