//! Every port in memory.

mod api_keys;
mod audit;
mod checkpoints;
mod clients;
mod directory;
mod erasure;
mod git_credentials;
mod inbox;
mod log;
mod notices;
mod objects;
mod outside;
mod policies;
mod rates;
mod releases;
mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::{
    Checkpoint, Command, Event, Head, OwnerId, SessionKey, TreeKey, UnixMillis, UploadId,
    checkpoint::CheckpointRef,
    ports::{Clock, IdSource, Tree, Unavailable},
};

use crate::{FakeClock, Random, scheduler::yield_once};

pub use world::StartedTask;
use world::World;

/// For how long an ended or suspended session is kept here.
const RETENTION_MILLISECONDS: u64 = 90 * 24 * 60 * 60 * 1000;

/// When an injected fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultTime {
    /// The call fails and had no effect.
    Before,
    /// The call had its effect, and its answer is lost.
    After,
}

/// Every port in memory, with faults on demand. Clones share the world.
///
/// Each port call lets others run once before its effect, which itself is atomic.
#[derive(Clone, Debug)]
pub struct Fake {
    inner: Arc<Mutex<Inner>>,
    clock: FakeClock,
}

#[derive(Debug)]
struct Inner {
    world: World,
    random: Random,
    calls: usize,
    calls_of: BTreeMap<&'static str, usize>,
    fault: Option<(usize, FaultTime)>,
    fault_of: Option<(String, usize, FaultTime)>,
    /// One in so many calls fails, before or after its effect.
    unreliable: Option<(u64, Random)>,
    /// Every call of these names fails.
    refused: BTreeSet<String>,
    /// Storing an object waits; how many have.
    storing_held: bool,
    storing_waited: usize,
}

impl Fake {
    /// An empty world whose ids follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner {
                world: World::default(),
                random: Random::new(seed),
                calls: 0,
                calls_of: BTreeMap::new(),
                fault: None,
                fault_of: None,
                unreliable: None,
                refused: BTreeSet::new(),
                storing_held: false,
                storing_waited: 0,
            })),
            clock: FakeClock::default(),
        }
    }

    /// The clock of this world.
    #[must_use]
    pub const fn clock(&self) -> &FakeClock {
        &self.clock
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the `n`-th port call from now on (from 1) fail, once.
    pub fn fail_call(&self, n: usize, time: FaultTime) {
        let mut inner = self.lock();
        inner.fault = Some((inner.calls + n, time));
    }

    /// Lets the `n`-th call of that name from now on (from 1) fail, once: where how often others are
    /// made depends on the time.
    pub fn fail_call_of(&self, name: &str, n: usize, time: FaultTime) {
        let mut inner = self.lock();
        let so_far = inner.calls_of.get(name).copied().unwrap_or_default();
        inner.fault_of = Some((name.to_owned(), so_far + n, time));
    }

    /// Lets every call of that name fail, before it has an effect, until this is taken back.
    pub fn refuse(&self, name: &str, refused: bool) {
        let mut inner = self.lock();
        if refused {
            inner.refused.insert(name.to_owned());
        } else {
            inner.refused.remove(name);
        }
    }

    /// Lets one in `times` port calls fail, chosen by `seed`.
    pub fn fail_at_random(&self, times: u64, seed: u64) {
        self.lock().unreliable = Some((times, Random::new(seed)));
    }

    /// From now on storing an object waits until this is taken back.
    pub fn hold_storing(&self, held: bool) {
        let mut inner = self.lock();
        (inner.storing_held, inner.storing_waited) = (held, 0);
    }

    /// Objects that have waited to be stored since the hold.
    #[must_use]
    pub fn held_back(&self) -> usize {
        self.lock().storing_waited
    }

    /// Takes planned faults back; says whether one had not struck yet.
    pub fn no_more_faults(&self) -> bool {
        let mut inner = self.lock();
        inner.unreliable = None;
        let of_name = inner.fault_of.take();
        inner.fault.take().is_some() || of_name.is_some()
    }

    /// Port calls so far (clock and randomness do not count).
    #[must_use]
    pub fn calls(&self) -> usize {
        self.lock().calls
    }

    /// The same by name.
    #[must_use]
    pub fn calls_by_name(&self) -> BTreeMap<&'static str, usize> {
        self.lock().calls_of.clone()
    }

    /// A port call: lets others run, then has its effect at once, unless a fault strikes.
    async fn call<T, E: From<Unavailable>>(
        &self,
        name: &'static str,
        effect: impl FnOnce(&mut World) -> Result<T, E>,
    ) -> Result<T, E> {
        yield_once().await;
        let mut inner = self.lock();
        inner.calls += 1;
        let of_name = inner.calls_of.entry(name).or_default();
        *of_name += 1;
        let of_name = *of_name;
        let fault = match inner.fault {
            Some((call, time)) if call == inner.calls => {
                inner.fault = None;
                Some(time)
            }
            _ => None,
        };
        let strikes =
            |fault: &mut (String, usize, FaultTime)| fault.0 == name && fault.1 == of_name;
        let struck = inner.fault_of.take_if(strikes);
        let fault = fault.or(struck.map(|(_, _, time)| time));
        let fault = fault.or_else(|| {
            let (times, random) = inner.unreliable.as_mut()?;
            let strikes = random.one_in(*times);
            let time = if random.one_in(2) {
                FaultTime::Before
            } else {
                FaultTime::After
            };
            strikes.then_some(time)
        });
        let refused = inner.refused.contains(name).then_some(FaultTime::Before);
        let fault = fault.or(refused);
        let failed = || {
            E::from(Unavailable {
                attempted: name,
                outcome_unknown: true,
                source: "an injected fault".into(),
            })
        };
        match fault {
            Some(FaultTime::Before) => Err(failed()),
            Some(FaultTime::After) => {
                // The effect's own refusal is lost like everything else in the answer.
                drop(effect(&mut inner.world));
                Err(failed())
            }
            None => effect(&mut inner.world),
        }
    }

    /// A head, looked at without a port call.
    #[must_use]
    pub fn peek_head(&self, key: &SessionKey) -> Option<Head> {
        let inner = self.lock();
        Some(inner.world.sessions.get(key)?.head.clone())
    }

    /// The whole log, looked at without a port call.
    #[must_use]
    pub fn peek_events(&self, key: &SessionKey) -> Vec<Event> {
        let inner = self.lock();
        let session = inner.world.sessions.get(key);
        session.map(|it| it.events.clone()).unwrap_or_default()
    }

    /// All commands, looked at without a port call.
    #[must_use]
    pub fn peek_commands(&self, key: &SessionKey) -> Vec<Command> {
        let inner = self.lock();
        let session = inner.world.sessions.get(key);
        session.map(|it| it.commands.clone()).unwrap_or_default()
    }

    /// The records of a session's checkpoints, in order, looked at without a port call.
    #[must_use]
    pub fn peek_checkpoints(&self, key: &SessionKey) -> Vec<Checkpoint> {
        let inner = self.lock();
        let session = inner.world.sessions.get(key);
        session.map(|it| it.checkpoints.clone()).unwrap_or_default()
    }

    /// The names of a session's checkpoints, looked at without a port call.
    #[must_use]
    pub fn peek_refs(&self, key: &SessionKey) -> Vec<CheckpointRef> {
        let inner = self.lock();
        let session = inner.world.sessions.get(key);
        session
            .map(|it| it.refs.values().cloned().collect())
            .unwrap_or_default()
    }

    /// The tree as it is recorded, looked at without a port call.
    #[must_use]
    pub fn peek_tree(&self, tree: &TreeKey) -> Tree {
        self.lock().world.tree(tree)
    }

    /// All sessions, by key.
    #[must_use]
    pub fn session_keys(&self) -> Vec<SessionKey> {
        self.lock().world.sessions.keys().cloned().collect()
    }

    /// Sessions that were erased and are to be looked at once more.
    #[must_use]
    pub fn tombstones(&self) -> Vec<SessionKey> {
        self.lock().world.tombstones.keys().cloned().collect()
    }

    /// Slots in use: of the deployment, and of each owner.
    #[must_use]
    pub fn slots(&self) -> (u32, BTreeMap<OwnerId, u32>) {
        let inner = self.lock();
        (
            inner.world.deployment_slots,
            inner.world.owner_slots.clone(),
        )
    }

    /// Tasks that were started, in order.
    #[must_use]
    pub fn tasks(&self) -> Vec<StartedTask> {
        self.lock().world.tasks.clone()
    }

    /// Names of the objects of a tree that are there now, looked at without a port call.
    #[must_use]
    pub fn peek_objects(&self, tree: &TreeKey) -> Vec<String> {
        let inner = self.lock();
        inner
            .world
            .objects
            .iter()
            .filter(|((of, _), versions)| {
                of == tree && versions.last().is_some_and(|last| last.bytes.is_some())
            })
            .map(|((_, name), _)| name.clone())
            .collect()
    }

    /// Every object of every tree that is there now, looked at without a port call.
    #[must_use]
    pub fn peek_all_objects(&self) -> Vec<(TreeKey, String)> {
        let inner = self.lock();
        let objects = inner.world.objects.iter();
        objects
            .filter(|(_, versions)| versions.last().is_some_and(|last| last.bytes.is_some()))
            .map(|(place, _)| place.clone())
            .collect()
    }

    /// An object as it is now, looked at without a port call.
    #[must_use]
    pub fn peek_object(&self, tree: &TreeKey, name: &str) -> Option<Vec<u8>> {
        self.lock().world.object(tree, name).cloned()
    }

    /// Deletions of objects so far.
    #[must_use]
    pub fn deletions(&self) -> usize {
        self.lock().world.deletions
    }

    /// Changes the bytes of an object behind everybody's back, as a failing disk would. Says
    /// whether there was one.
    pub fn damage_object(
        &self,
        tree: &TreeKey,
        name: &str,
        change: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let mut inner = self.lock();
        let versions = inner
            .world
            .objects
            .get_mut(&(tree.clone(), name.to_owned()));
        let bytes = versions.and_then(|versions| versions.last_mut()?.bytes.as_mut());
        bytes.map(change).is_some()
    }

    /// The file of an upload arrives, as if the client had sent it.
    pub fn deliver_upload(&self, owner: &OwnerId, id: &UploadId) {
        let mut inner = self.lock();
        if let Some((_, arrived)) = inner.world.uploads.get_mut(&(owner.clone(), id.clone())) {
            *arrived = true;
        }
    }
}

impl Clock for Fake {
    fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    async fn sleep(&self, milliseconds: u64) {
        self.clock.sleep(milliseconds).await;
    }
}

impl IdSource for Fake {
    fn random(&self) -> [u8; 17] {
        let mut inner = self.lock();
        let mut bytes = [0; 17];
        for byte in &mut bytes {
            *byte = inner.random.next().to_le_bytes()[0];
        }
        bytes
    }
}
