//! Runners, readers, senders and the sweep on the same sessions, in an order that a seed chooses,
//! with processes that vanish and begin anew at any await, calls that fail, and a clock that is set
//! back. The invariants are checked at every step; a failure prints world and seed, which repeat the
//! run.
//!
//! What is real here: all use cases of `domain` that clients and the reconciler call (create, send,
//! withdraw, answer, wait, fork, restore, suspend, cancel, delete, erase, wake, reconcile, sweep),
//! with the state machine and the conditions of the ports. What is model: the ports are the fakes
//! of `testkit`, which keep the same contracts as the store; the runner (`runner`) follows the rules
//! of the ports without a CLI; its disk, packs and manifests (`disk`) and the sweep over them
//! (`chunks`) are small images of those of `checkpoint`. The real ones are disturbed elsewhere: the
//! runner in `functions/session-runner/tests/runner`, and by kills in `tests`, the store in
//! `shared/store/tests`, checkpoints in `shared/checkpoint/tests`.

mod actors;
mod chunks;
mod disk;
mod invariants;
mod runner;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    pin::pin,
    rc::Rc,
    task::{Context, Waker},
    time::Instant,
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
    /// Rounds that each client has finished.
    rounds: BTreeMap<u64, u64>,
    /// Clients that still work.
    busy: usize,
}

type Shared = Rc<RefCell<Told>>;

/// What a run contains.
#[derive(Clone, Copy)]
struct World {
    /// As `SHANNON_SIMULATION_SEEDS` has it.
    name: &'static str,
    /// One in so many port calls fails.
    faults: Option<u64>,
    /// Whoever it is vanishes at any await, and begins anew.
    kills: bool,
    /// The clock is set back now and then, by less than so many milliseconds.
    steps_back: Option<u64>,
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
    if let Some(milliseconds) = world.steps_back {
        scheduler.step_back(milliseconds);
    }
    // Each begins anew with other luck.
    let mut luck = || {
        let mut own = Random::new(random.next());
        move || Random::new(own.next())
    };
    for client in 0..world.clients {
        told.borrow_mut().busy += 1;
        let (fake, told, mut luck) = (fake.clone(), Rc::clone(&told), luck());
        let actor = move || actors::client(fake.clone(), Rc::clone(&told), client, luck());
        spawn(&mut scheduler, world, actor);
    }
    let claimed = Rc::new(RefCell::new(BTreeMap::new()));
    // Two machines may get the same task, as when a start is repeated.
    for machine in 0..world.machines {
        let (fake, told, mut luck) = (fake.clone(), Rc::clone(&told), luck());
        let claimed = Rc::clone(&claimed);
        let mut lives = 0;
        spawn(&mut scheduler, world, move || {
            lives += 1;
            let name = format!("{machine}.{lives}");
            let claimed = Rc::clone(&claimed);
            actors::machine(fake.clone(), Rc::clone(&told), claimed, name, luck())
        });
    }
    let (of, by) = (fake.clone(), Rc::clone(&told));
    spawn(&mut scheduler, world, move || {
        actors::sweeper(of.clone(), Rc::clone(&by))
    });
    let (of, by, mut luck) = (fake.clone(), Rc::clone(&told), luck());
    spawn(&mut scheduler, world, move || {
        actors::collector(of.clone(), Rc::clone(&by), luck())
    });
    let mut invariants = invariants::Invariants::new(fake.clone());
    let ended = scheduler.run(STEPS, || {
        invariants.check(seed);
        // Nothing else happens before they are due, which is hours later.
        if !fake.tombstones().is_empty() && actors::only_tombstones(&fake, &told) {
            fake.clock().advance(60_000);
        }
    });
    assert!(ended, "seed {seed}: not over after {STEPS} steps");
    let ends = invariants.at_the_end(seed, &told.borrow());
    fake.no_more_faults();
    fake.clock().advance(2 * disk::GRACE_MILLISECONDS);
    run_alone(actors::last_sweep(fake.clone()));
    invariants.objects_at_the_end(seed);
    ends
}

fn spawn<'a, F: Future<Output = ()> + 'a>(
    scheduler: &mut Scheduler<'a>,
    world: World,
    mut actor: impl FnMut() -> F + 'a,
) {
    if world.kills {
        scheduler.spawn_killable(actor);
    } else {
        scheduler.spawn(actor());
    }
}

/// Runs what waits for nobody.
fn run_alone(future: impl Future<Output = ()>) {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    while future.as_mut().poll(&mut context).is_pending() {}
}

fn simulate_many(seeds: impl Iterator<Item = u64>, world: World) -> BTreeMap<domain::State, usize> {
    let mut ends = BTreeMap::new();
    for seed in seeds {
        let run = std::panic::catch_unwind(|| simulate(seed, world));
        let run = run.unwrap_or_else(|panic| {
            let name = world.name;
            eprintln!("seed {seed} failed; SHANNON_SIMULATION_SEEDS={name}:{seed} repeats it");
            std::panic::resume_unwind(panic)
        });
        for (state, count) in run {
            *ends.entry(state).or_default() += count;
        }
    }
    ends
}

/// Seeds to run in a world: those of `SHANNON_SIMULATION_SEEDS` (`rough:7` or `calm:1000..2000`), to
/// repeat a failure, and none in the other worlds; otherwise as many as the test wants.
fn seeds(world: World, otherwise: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("SHANNON_SIMULATION_SEEDS") else {
        return otherwise;
    };
    let (name, text) = text.split_once(':').expect("a world, a colon, and seeds");
    let worlds = [CALM.name, UNRELIABLE.name, ROUGH.name];
    assert!(worlds.contains(&name), "{name} is none of {worlds:?}");
    if name != world.name {
        return 0..0;
    }
    let number = |text: &str| -> u64 { text.trim().parse().expect("a seed is a number") };
    match text.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => number(text)..number(text) + 1,
    }
}

const CALM: World = World {
    name: "calm",
    faults: None,
    kills: false,
    steps_back: None,
    clients: 3,
    machines: 8,
};

const UNRELIABLE: World = World {
    name: "unreliable",
    faults: Some(12),
    ..CALM
};

/// Small, so that many seeds are tried.
const ROUGH: World = World {
    name: "rough",
    faults: Some(30),
    kills: true,
    // A checkpoint under way is safe from the sweep while clocks differ by less than half the
    // grace time; several steps in a row stay below that.
    steps_back: Some(disk::GRACE_MILLISECONDS / 8),
    clients: 2,
    machines: 4,
};

/// Runs the seeds of a world side by side, as many threads as the machine has cores, and says how
/// long that took: in the output of a run that passes too.
fn simulate_all(world: World, otherwise: std::ops::Range<u64>) -> BTreeMap<domain::State, usize> {
    let seeds = seeds(world, otherwise);
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get) as u64;
    let parts: Vec<_> = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| {
                let seeds = seeds.clone().skip(usize::try_from(part).unwrap_or(0));
                let step = usize::try_from(threads).unwrap_or(1);
                scope.spawn(move || simulate_many(seeds.step_by(step), world))
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
    let (count, seconds) = (seeds.end - seeds.start, started.elapsed().as_secs_f64());
    // Past the harness, which keeps what passing tests print. Nobody may read it.
    let _ = writeln!(
        std::io::stderr(),
        "simulation, world {}: {count} seeds in {seconds:.1} s on {threads} threads",
        world.name
    );
    let mut ends = BTreeMap::new();
    for (state, count) in parts.into_iter().flatten() {
        *ends.entry(state).or_default() += count;
    }
    ends
}

/// A run is only worth something when all of this happened in it.
fn assert_happened(ends: &BTreeMap<domain::State, usize>, states: &[domain::State]) {
    // Whoever repeats one seed wants to see that one.
    let all = std::env::var_os("SHANNON_SIMULATION_SEEDS").is_none();
    for state in states {
        assert!(!all || ends.get(state) > Some(&0), "{state}: {ends:?}");
    }
}

#[test]
fn nothing_is_lost_when_nothing_fails() {
    let ends = simulate_all(CALM, 0..30);
    assert_happened(&ends, &[domain::State::Suspended, domain::State::Cancelled]);
}

#[test]
fn nothing_is_lost_when_calls_fail() {
    let ends = simulate_all(UNRELIABLE, 1_000..1_030);
    assert_happened(&ends, &[domain::State::Suspended, domain::State::Cancelled]);
}

/// Ten thousand seeds.
#[test]
fn nothing_is_lost_when_processes_vanish_calls_fail_and_the_clock_goes_back() {
    let ends = simulate_all(ROUGH, 10_000..20_000);
    let lost = domain::State::Lost;
    let states = [domain::State::Suspended, domain::State::Cancelled, lost];
    assert_happened(&ends, &states);
}

#[test]
fn a_seed_gives_the_same_run_again() {
    assert_eq!(simulate(7, ROUGH), simulate(7, ROUGH));
}
