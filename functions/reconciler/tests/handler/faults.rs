//! The sweep fails at every call, before and after its effect, and is cut off at every await; what
//! comes after it goes on, and in between nothing that is needed is gone.

use std::{future::poll_fn, pin::pin, task::Poll};

use checkpoint::Snapshots;
use domain::{
    SessionKey, TreeKey,
    checkpoint::{CheckpointName, RestoreScope},
    use_cases::{Deletion, ForkSession, delete_session, fork_session},
};
use reconciler::handle;
use testkit::{Fake, FaultTime, caller, deployment};

use super::{DAY, LIMITS, event, sample, stored, suspended};

/// What is left of a tree.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    sessions: Vec<SessionKey>,
    /// Erased, and to be looked at again.
    tombstones: Vec<SessionKey>,
    records: usize,
    rows: usize,
    /// Kinds: the packs of two worlds differ by the times of their files.
    objects: Vec<String>,
}

fn left(fake: &Fake, tree: &TreeKey) -> Left {
    let sessions = fake.session_keys();
    let records = |key| fake.peek_checkpoints(key).len();
    let rows = |key| fake.peek_events(key).len() + fake.peek_commands(key).len();
    let objects = fake.peek_objects(tree);
    let kind = |name: &String| name.split('/').next().unwrap_or_default().to_owned();
    Left {
        records: sessions.iter().map(records).sum(),
        rows: sessions.iter().map(rows).sum(),
        objects: objects.iter().map(kind).collect(),
        sessions,
        tombstones: fake.tombstones(),
    }
}

/// Every checkpoint that a session could go on from is whole.
async fn nothing_needed_is_gone(fake: &Fake, tree: &TreeKey, when: &str) {
    let snapshots = Snapshots::new(fake, tree.clone());
    for key in fake.session_keys() {
        let ended = fake
            .peek_head(&key)
            .is_none_or(|head| head.state.is_ended());
        if ended {
            continue;
        }
        for record in fake.peek_checkpoints(&key) {
            let manifest = snapshots.manifest(&record.files).await;
            let manifest = manifest.unwrap_or_else(|error| panic!("{when}: {error}"));
            let whole = snapshots.is_stored(&manifest).await.expect("looked");
            assert!(whole, "{when}: {}", record.id);
        }
    }
}

async fn sweep(fake: &Fake) {
    let swept = handle(fake, &LIMITS, event(sample("reconciler-sweep.json"))).await;
    // What could not be done is in the answer, or the event comes again.
    drop(swept);
}

/// Polls a future at most `polls` times, then drops it.
async fn cut(polls: usize, future: impl Future<Output = ()>) {
    let mut future = pin!(future);
    let mut polled = 0;
    poll_fn(|context| {
        if polled == polls {
            return Poll::Ready(());
        }
        polled += 1;
        future.as_mut().poll(context)
    })
    .await;
}

async fn disturb(setup: impl AsyncFn(&Fake) -> TreeKey) -> (Left, Left) {
    let undisturbed = Fake::new(11);
    let tree = setup(&undisturbed).await;
    let (before, first) = (left(&undisturbed, &tree), undisturbed.calls());
    sweep(&undisturbed).await;
    let calls = undisturbed.calls() - first;
    undisturbed.clock().advance(2 * DAY);
    sweep(&undisturbed).await;
    let expected = left(&undisturbed, &tree);
    assert!(calls > 10, "{calls}");
    for time in [Some(FaultTime::Before), Some(FaultTime::After), None] {
        for n in 1..=calls {
            let when = format!("call {n} of {calls}, {time:?}");
            let fake = Fake::new(11);
            let tree = setup(&fake).await;
            match time {
                Some(time) => {
                    fake.fail_call(n, time);
                    sweep(&fake).await;
                    assert!(!fake.no_more_faults(), "{when}: it was not made");
                }
                None => cut(n, sweep(&fake)).await,
            }
            nothing_needed_is_gone(&fake, &tree, &when).await;
            // The next sweep of the tree is a day later.
            for _ in 0..2 {
                fake.clock().advance(2 * DAY);
                sweep(&fake).await;
                nothing_needed_is_gone(&fake, &tree, &when).await;
            }
            assert_eq!(left(&fake, &tree), expected, "{when}");
        }
    }
    (before, expected)
}

#[tokio::test]
async fn sweeping_a_tree_survives() {
    let (before, after) = disturb(async |fake| {
        let key = suspended(fake).await;
        let tree = fake.peek_head(&key).expect("there").tree_key();
        // Stored by a runner that died before it could record it.
        stored(fake, &tree, 2).await;
        fake.clock().advance(2 * DAY);
        tree
    })
    .await;
    assert_eq!((before.objects.len(), after.objects.len()), (4, 2));
    assert_eq!((before.records, after.records), (1, 1));
}

#[tokio::test]
async fn erasing_a_session_survives() {
    let (before, after) = disturb(async |fake| {
        let key = suspended(fake).await;
        let head = fake.peek_head(&key).expect("there");
        let request = ForkSession {
            key: key.clone(),
            checkpoint: CheckpointName::Latest,
            what: RestoreScope::Both,
            prompt: None,
            message_id: None,
            client_token: None,
        };
        let me = caller(&key.owner);
        let fork = fork_session(fake, &deployment(), &me, request).await;
        fork.expect("forked");
        let me = caller(&key.owner);
        let deleted = delete_session(fake, &me, &key, Deletion::Erase).await;
        assert!(deleted.expect("deleted").state.is_ended());
        fake.clock().advance(1_000);
        head.tree_key()
    })
    .await;
    assert_eq!((before.sessions.len(), after.sessions.len()), (2, 1));
    assert!(after.rows < before.rows, "{before:?} {after:?}");
    assert_eq!(after.objects, before.objects, "the fork needs them");
}

#[tokio::test]
async fn erasing_the_last_session_of_a_tree_survives() {
    let (before, after) = disturb(async |fake| {
        let key = suspended(fake).await;
        let tree = fake.peek_head(&key).expect("there").tree_key();
        stored(fake, &tree, 2).await;
        let me = caller(&key.owner);
        let deleted = delete_session(fake, &me, &key, Deletion::Erase).await;
        assert!(deleted.expect("deleted").state.is_ended());
        fake.clock().advance(1_000);
        tree
    })
    .await;
    assert_eq!(before.objects.len(), 4);
    assert!(after.sessions.is_empty() && after.objects.is_empty());
}
