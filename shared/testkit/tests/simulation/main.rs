//! Runners, readers, senders and the sweep on the same sessions, in an order that a seed chooses,
//! with processes that vanish and calls that fail. The invariants are checked at every step; a
//! failure prints the seed, which repeats the run.

mod actors;
mod chunks;
mod disk;
mod invariants;
mod runner;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use domain::{CommandId, SessionKey};
use testkit::{Fake, Random, Scheduler};

/// Longest run. A run that does not end within it has actors that wait for each other.
const STEPS: usize = 400_000;

/// What clients were told, to be held against the end.
#[derive(Default)]
struct Told {
    /// Messages that were accepted.
    accepted: BTreeMap<SessionKey, Vec<CommandId>>,
    /// Sessions that somebody wanted to set back.
    set_back: BTreeSet<SessionKey>,
    /// Sessions that are to be erased.
    erased: BTreeSet<SessionKey>,
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
    clients: u64,
    machines: u32,
}

fn simulate(seed: u64, world: World) -> BTreeMap<domain::State, usize> {
    let fake = Fake::new(seed);
    if let Some(times) = world.faults {
        fake.fail_at_random(times, seed);
    }
    let told = Shared::default();
    let mut random = Random::new(seed);
    let mut scheduler = Scheduler::new(seed, fake.clock().clone());
    for client in 0..world.clients {
        told.borrow_mut().busy += 1;
        let (fake, told, random) = (fake.clone(), Rc::clone(&told), Random::new(random.next()));
        scheduler.spawn(actors::client(fake, told, client, random));
    }
    let claimed = Rc::new(RefCell::new(BTreeMap::new()));
    // Two machines may get the same task, as when a start is repeated.
    for machine in 0..world.machines {
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
    scheduler.spawn(actors::collector(
        fake.clone(),
        Rc::clone(&told),
        Random::new(random.next()),
    ));
    let mut invariants = invariants::Invariants::new(fake.clone());
    let ended = scheduler.run(STEPS, || invariants.check(seed));
    assert!(ended, "seed {seed}: not over after {STEPS} steps");
    invariants.at_the_end(seed, &told.borrow())
}

fn simulate_many(seeds: impl Iterator<Item = u64>, world: World) -> BTreeMap<domain::State, usize> {
    let mut ends = BTreeMap::new();
    for seed in seeds {
        let run = std::panic::catch_unwind(|| simulate(seed, world));
        let run = run.unwrap_or_else(|panic| {
            eprintln!("seed {seed} failed; SHANNON_SIMULATION_SEEDS={seed} repeats it");
            std::panic::resume_unwind(panic)
        });
        for (state, count) in run {
            *ends.entry(state).or_default() += count;
        }
    }
    ends
}

/// Seeds to run: those of `SHANNON_SIMULATION_SEEDS` (`7` or `1000..2000`), to repeat a failure;
/// otherwise as many as the test wants.
fn seeds(otherwise: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("SHANNON_SIMULATION_SEEDS") else {
        return otherwise;
    };
    let number = |text: &str| -> u64 { text.trim().parse().expect("a seed is a number") };
    match text.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => number(&text)..number(&text) + 1,
    }
}

const CALM: World = World {
    faults: None,
    kills: false,
    clients: 3,
    machines: 8,
};

/// Small, so that many seeds are tried.
const ROUGH: World = World {
    faults: Some(30),
    kills: true,
    clients: 2,
    machines: 4,
};

#[test]
fn nothing_is_lost_when_nothing_fails() {
    let ends = simulate_many(0..30, CALM);
    for state in [domain::State::Suspended, domain::State::Cancelled] {
        assert!(ends.get(&state) > Some(&0), "{ends:?}");
    }
}

#[test]
fn nothing_is_lost_when_calls_fail() {
    let world = World {
        faults: Some(12),
        ..CALM
    };
    simulate_many(1_000..1_030, world);
}

/// Ten thousand seeds side by side, as many threads as the machine has cores.
#[test]
fn nothing_is_lost_when_runners_vanish_and_calls_fail() {
    let seeds = seeds(10_000..20_000);
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get) as u64;
    let ends: Vec<_> = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| {
                let seeds = seeds.clone().skip(usize::try_from(part).unwrap_or(0));
                let step = usize::try_from(threads).unwrap_or(1);
                scope.spawn(move || simulate_many(seeds.step_by(step), ROUGH))
            })
            .collect();
        parts
            .into_iter()
            .map(|part| match part.join() {
                Ok(ends) => ends,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect()
    });
    if seeds.end - seeds.start < 100 {
        return;
    }
    // The run is only worth something when all of this happened in it.
    for state in [
        domain::State::Suspended,
        domain::State::Cancelled,
        domain::State::Lost,
    ] {
        let happened = ends.iter().any(|ends| ends.get(&state) > Some(&0));
        assert!(happened, "{state}: {ends:?}");
    }
}

#[test]
fn a_seed_gives_the_same_run_again() {
    assert_eq!(simulate(7, ROUGH), simulate(7, ROUGH));
}
