//! Runners, readers, senders and the sweep on the same sessions, in an order that a seed chooses,
//! with processes that vanish and calls that fail. The invariants are checked at every step; a
//! failure prints the seed, which repeats the run.

mod actors;
mod invariants;
mod runner;

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use domain::{CommandId, SessionKey};
use testkit::{Fake, Random, Scheduler};

/// Longest run. A run that does not end within it has actors that wait for each other.
const STEPS: usize = 400_000;

/// What clients were told, to be held against the end.
#[derive(Default)]
struct Told {
    /// Messages that were accepted.
    accepted: BTreeMap<SessionKey, Vec<CommandId>>,
    /// Senders and others that still work.
    busy: usize,
}

type Shared = Rc<RefCell<Told>>;

/// What a run contains.
#[derive(Clone, Copy)]
struct World {
    /// One in so many port calls fails.
    faults: Option<u64>,
    /// Runners vanish.
    kills: bool,
}

fn simulate(seed: u64, world: World) -> BTreeMap<domain::State, usize> {
    let fake = Fake::new(seed);
    if let Some(times) = world.faults {
        fake.fail_at_random(times, seed);
    }
    let told = Shared::default();
    let mut random = Random::new(seed);
    let mut scheduler = Scheduler::new(seed, fake.clock().clone());
    for client in 0..3 {
        told.borrow_mut().busy += 1;
        let (fake, told, random) = (fake.clone(), Rc::clone(&told), Random::new(random.next()));
        scheduler.spawn(actors::client(fake, told, client, random));
    }
    let claimed = Rc::new(RefCell::new(BTreeMap::new()));
    // Two machines may get the same task, as when a start is repeated.
    for machine in 0..8 {
        let actor = actors::machine(
            fake.clone(),
            Rc::clone(&told),
            Rc::clone(&claimed),
            machine,
            Random::new(random.next()),
        );
        if world.kills && machine % 2 == 0 {
            scheduler.spawn_killable(actor);
        } else {
            scheduler.spawn(actor);
        }
    }
    scheduler.spawn(actors::sweeper(fake.clone(), Rc::clone(&told)));
    let mut invariants = invariants::Invariants::new(fake.clone());
    let ended = scheduler.run(STEPS, || invariants.check(seed));
    assert!(ended, "seed {seed}: not over after {STEPS} steps");
    invariants.at_the_end(seed, &told.borrow().accepted)
}

fn simulate_many(seeds: std::ops::Range<u64>, world: World) -> BTreeMap<domain::State, usize> {
    let mut ends = BTreeMap::new();
    for seed in seeds {
        // Shown when a test fails: the last line names the seed to repeat.
        eprintln!("seed {seed}");
        for (state, count) in simulate(seed, world) {
            *ends.entry(state).or_default() += count;
        }
    }
    ends
}

#[test]
fn nothing_is_lost_when_nothing_fails() {
    let world = World {
        faults: None,
        kills: false,
    };
    let ends = simulate_many(0..60, world);
    assert!(ends.contains_key(&domain::State::Completed), "{ends:?}");
}

#[test]
fn nothing_is_lost_when_calls_fail() {
    let world = World {
        faults: Some(12),
        kills: false,
    };
    simulate_many(1_000..1_060, world);
}

#[test]
fn nothing_is_lost_when_runners_vanish_and_calls_fail() {
    let world = World {
        faults: Some(25),
        kills: true,
    };
    let ends = simulate_many(2_000..2_080, world);
    // The run is only worth something when all of this happened in it.
    for state in [
        domain::State::Completed,
        domain::State::Cancelled,
        domain::State::Lost,
    ] {
        assert!(ends.get(&state) > Some(&0), "{ends:?}");
    }
}

#[test]
fn a_seed_gives_the_same_run_again() {
    let world = World {
        faults: Some(25),
        kills: true,
    };
    assert_eq!(simulate(7, world), simulate(7, world));
}
