//! A clock that is set back: nothing is lost or shown half, what is due is late at most, and waits
//! end.

use domain::{
    Cursor, Event, EventBody, Retention, State, UnixMillis,
    ports::{
        Checkpoints, Chunks, Clock, SessionDirectory, SessionLog, Swept, TreeObjects, Unavailable,
    },
    use_cases::{
        Deletion, Observer, Reconciled, Until, WaitSession, delete_session, erase_session,
        get_session, list_sessions, reconcile_session, sweep_tree, wait_session,
    },
};
use testkit::{Fake, append, caller, checkpoint, deployment};

use crate::{checkpoints::resting, running};

const HOUR: u64 = 60 * 60 * 1000;
const DAY: u64 = 24 * HOUR;

/// There are no chunks here.
struct NoChunks;

impl Chunks for NoChunks {
    async fn sweep(
        &self,
        _: &domain::TreeKey,
        _: &domain::ports::ChunkSweep,
    ) -> Result<Swept, Unavailable> {
        Ok(Swept::default())
    }
}

#[tokio::test]
async fn a_lease_is_kept_and_lost_as_before() {
    let fake = Fake::new(1);
    let key = running(&fake).await;
    let lease = fake.peek_head(&key).expect("there").lease();
    fake.clock().set_back(HOUR);
    // Nobody takes it for lost, and its runner goes on.
    let reconciled = reconcile_session(&fake, deployment().slots(), &key).await;
    assert_eq!(reconciled.expect("looked"), Reconciled::Healthy);
    let until = fake.now().plus(10_000);
    fake.renew(&lease, until).await.expect("renewed");
    let last = fake.peek_head(&key).expect("there").last_sequence;
    let text = EventBody::Thinking {
        text: "on".to_owned(),
    };
    let written = fake
        .append(&lease, &append(&fake, last.next(), vec![text]))
        .await;
    assert_eq!(written.expect("appended"), last.next());
    let overdue = fake.overdue(fake.now(), 9).await.expect("looked");
    assert!(overdue.is_empty());
    // From now on it is silent.
    fake.clock().advance(10_001);
    assert_eq!(
        fake.overdue(fake.now(), 9).await.expect("looked"),
        std::slice::from_ref(&key)
    );
    let reconciled = reconcile_session(&fake, deployment().slots(), &key).await;
    assert_eq!(reconciled.expect("looked"), Reconciled::Started);
    // The next one comes when the clock has been set back once more; the first stays out.
    fake.clock().set_back(HOUR);
    let now = fake.now();
    let taken = fake.acquire(&key, "next", "none", now.plus(10_000), now);
    let (next, head) = taken.await.expect("acquired");
    assert!(next.fence > lease.fence);
    for lease in [&lease, &next] {
        let appended = append(&fake, head.last_sequence.next(), vec![]);
        let written = fake.append(lease, &appended).await;
        assert_eq!(written.is_ok(), lease == &next, "{written:?}");
    }
    let sequences: Vec<u64> = fake
        .peek_events(&key)
        .iter()
        .map(|it| it.sequence.0)
        .collect();
    assert!(sequences.iter().copied().eq(1..=head.last_sequence.0));
}

/// A runner that died before the clock was set back is found when its time has come again.
#[tokio::test]
async fn a_dead_runner_is_found_late_and_not_never() {
    let fake = Fake::new(2);
    let key = running(&fake).await;
    fake.clock().set_back(HOUR);
    fake.clock().advance(10_001);
    let early = reconcile_session(&fake, deployment().slots(), &key).await;
    assert_eq!(early.expect("looked"), Reconciled::Healthy);
    fake.clock().advance(HOUR);
    let late = reconcile_session(&fake, deployment().slots(), &key).await;
    assert_eq!(late.expect("looked"), Reconciled::Started);
}

#[tokio::test]
async fn retention_takes_nothing_for_old_that_is_not() {
    let fake = Fake::new(3);
    let key = running(&fake).await;
    let lease = fake.peek_head(&key).expect("there").lease();
    for ordinal in 1..=3 {
        let head = fake.peek_head(&key).expect("there");
        let mut cut = append(&fake, head.last_sequence.next(), vec![]);
        cut.checkpoint = Some(checkpoint(&fake, ordinal, Some(&head)));
        fake.append(&lease, &cut).await.expect("appended");
        fake.clock().set_back(30 * DAY);
    }
    let listed = fake.checkpoints(&key, None, 9).await.expect("read");
    let ordinals: Vec<u64> = listed.iter().map(|it| it.ordinal).collect();
    assert_eq!(
        ordinals,
        [3, 2, 1],
        "their order is not that of their times"
    );
    let retention = Retention {
        max_checkpoints: 100,
        checkpoint_milliseconds: DAY,
        grace_milliseconds: 0,
    };
    let tree = fake.peek_head(&key).expect("there").tree_key();
    let swept = sweep_tree(&fake, &NoChunks, retention, &tree, false).await;
    assert_eq!(swept.expect("swept").removed, []);
    fake.clock().advance(100 * DAY);
    let swept = sweep_tree(&fake, &NoChunks, retention, &tree, false).await;
    assert_eq!(swept.expect("swept").removed.len(), 2);
}

/// Once it has begun to go, nobody sees what is left of it, whatever the clock says; and it goes.
#[tokio::test]
async fn an_erasure_that_has_begun_is_not_taken_back() {
    for deletes in [true, false] {
        let fake = Fake::new(4);
        let key = resting(&fake).await;
        let me = caller(&key.owner);
        let tree = fake.peek_head(&key).expect("there").tree_key();
        let own = format!("sessions/{}/transcript/1", key.session);
        let put = fake.put_new(&tree, &own, b"a line".to_vec()).await;
        put.expect("stored");
        let deletion = match deletes {
            true => Deletion::Erase,
            false => Deletion::Archive,
        };
        let deleted = delete_session(&fake, &me, &key, deletion).await;
        deleted.expect("deleted");
        if !deletes {
            fake.clock().advance(91 * DAY);
        }
        let before = fake.clock().now();
        // Cut off by a fault at every call, and set back each time.
        let mut calls = 1;
        loop {
            fake.fail_call(calls, testkit::FaultTime::After);
            let erased = erase_session(&fake, &NoChunks, &key, DAY).await;
            let over = fake.no_more_faults();
            fake.clock().set_back(2 * DAY);
            if calls > 2 || deletes {
                assert!(get_session(&fake, &caller(&key.owner), &key).await.is_err());
                let query = domain::ports::ListQuery {
                    limit: 9,
                    ..Default::default()
                };
                let reader = caller(&key.owner);
                let page = list_sessions(&fake, &reader, &query).await.expect("listed");
                assert!(page.heads.is_empty(), "call {calls}");
            } else {
                // Nothing has happened yet: it is whole.
                fake.clock().advance(2 * DAY);
            }
            if over {
                erased.expect("nothing failed");
                break;
            }
            calls += 1;
        }
        assert!(fake.peek_head(&key).is_none() && fake.peek_events(&key).is_empty());
        assert!(fake.peek_all_objects().is_empty());
        assert_eq!(fake.tombstones(), std::slice::from_ref(&key));
        // Looked at again when its time has come, not before.
        let early = erase_session(&fake, &NoChunks, &key, DAY).await;
        assert_eq!(early.expect("looked"), None);
        fake.clock()
            .advance(before.since(UnixMillis(0)) - fake.now().0 + 2 * DAY);
        let late = erase_session(&fake, &NoChunks, &key, DAY).await;
        assert!(late.expect("looked").expect("it is due").forgotten);
        assert_eq!(fake.tombstones(), []);
    }
}

/// Sets the clock back when it sees the first event.
struct SetsBack<'a>(&'a Fake, bool);

impl Observer for SetsBack<'_> {
    async fn event(&mut self, _: &Event, _came: bool) {
        if !self.1 {
            self.0.clock().set_back(HOUR);
            self.1 = true;
        }
    }
    fn characters(&self, _: &Event) -> usize {
        1
    }
}

#[tokio::test]
async fn a_wait_ends() {
    let fake = Fake::new(5);
    let key = running(&fake).await;
    let lease = fake.peek_head(&key).expect("there").lease();
    let until = fake.now().plus(10 * HOUR);
    fake.renew(&lease, until).await.expect("renewed");
    assert_eq!(
        fake.peek_head(&key).map(|head| head.state),
        Some(State::Running)
    );
    let started = fake.now();
    let request = WaitSession {
        key: key.clone(),
        cursor: Cursor::default(),
        until: Until::Idle,
        wait_seconds: Some(5),
        response_budget_characters: Some(500),
    };
    let mut observer = SetsBack(&fake, false);
    let reader = caller(&key.owner);
    let waited = wait_session(&fake, &deployment(), &reader, &request, &mut observer).await;
    assert!(!waited.expect("waited").events.is_empty());
    let back = UnixMillis(started.0 - HOUR);
    let passed = fake.now().since(back);
    assert!((5_000..7_000).contains(&passed), "{passed} ms");
}
