//! The handler with the sample events and a fake world.

mod faults;

use std::path::Path;
use std::sync::LazyLock;

use checkpoint::{About, IgnoreRules, NewSnapshot, RootName, Snapshots, SourceRoot};
use domain::{
    CommandOutcome, EventBody, FencingToken, NewCheckpoint, Retention, SessionId, SessionKey,
    State, TreeKey,
    audit::AuditChain,
    ports::{
        AuditTrail, Clock, Inbox, NewSession, RefusalCounts, Seals, SessionDirectory, SessionLog,
        SlotLimits, TreeObjects,
    },
    session_token::SigningKey,
    use_cases::{Deletion, Reconciled, delete_session, reconcile_session},
};
use reconciler::{Answer, Event, Limits, handle};
use testkit::{
    Fake, FaultTime, append, caller, checkpoint, message, new_command, new_fork, new_session, owner,
};

fn sample(name: &str) -> serde_json::Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../events")
        .join(name);
    let text = std::fs::read_to_string(path).expect("a sample event");
    serde_json::from_str(&text).expect("JSON")
}

fn event(value: serde_json::Value) -> Event {
    serde_json::from_value(value).expect("an event")
}

/// The sample of a stopped task, for this session and task.
fn stopped(name: &str, key: &SessionKey, task: &str) -> Event {
    let mut value = sample(name);
    let detail = &mut value["detail"];
    detail["taskArn"] = format!("arn:aws:ecs:us-east-1:1:task/shannon/{task}").into();
    for variable in detail["overrides"]["containerOverrides"][0]["environment"]
        .as_array_mut()
        .expect("an environment")
    {
        match variable["name"].as_str() {
            Some("SHANNON_OWNER") => variable["value"] = key.owner.as_str().into(),
            Some("SHANNON_SESSION") => variable["value"] = key.session.as_str().into(),
            _ => {}
        }
    }
    event(value)
}

static LIMITS: LazyLock<Limits> = LazyLock::new(|| Limits {
    signing_key: SigningKey::new(&[7; 32]).expect("long enough"),
    slots: SlotLimits {
        deployment: 10,
        owner: 10,
    },
    retention: Retention {
        max_checkpoints: 2,
        checkpoint_milliseconds: 90 * DAY,
        grace_milliseconds: DAY,
    },
});
const DAY: u64 = 24 * 60 * 60 * 1000;

fn requested(fake: &Fake) -> NewSession {
    new_session(fake, &owner("somebody"))
}

async fn running(fake: &Fake, task: &str) -> SessionKey {
    let key = fake
        .create(requested(fake))
        .await
        .expect("created")
        .head
        .key;
    let now = domain::ports::Clock::now(fake);
    fake.acquire(&key, task, "none", now.plus(10_000), now)
        .await
        .expect("acquired");
    key
}

fn ended(count: usize) -> Answer {
    Answer {
        looked_at: count,
        ended: count,
        ..Answer::default()
    }
}

#[tokio::test]
async fn a_session_whose_task_stopped_gets_another_one() {
    let fake = Fake::new(1);
    let key = running(&fake, "t1").await;
    fake.enqueue(&key, new_command(&fake, "two", message("and this")))
        .await
        .expect("accepted");
    for started in [1, 0] {
        let event = stopped("reconciler-task-stopped.json", &key, "t1");
        let answer = handle(&fake, &LIMITS, event).await.expect("an answer");
        assert_eq!((answer.started, answer.ended), (started, 0));
    }
    let head = fake.peek_head(&key).expect("there");
    assert_eq!(head.state, State::Resuming);
    let task = fake.tasks().pop().expect("a task");
    assert_eq!((head.task, head.fence), (Some(task.name), task.fence));
    let events = fake.peek_events(&key);
    let lost = events.iter().find_map(|event| match &event.body {
        EventBody::RunnerLost { reason } => Some(reason.clone()),
        _ => None,
    });
    let reason = lost.expect("it says so");
    assert!(
        reason.contains("Essential container in task exited") && reason.contains("137"),
        "{reason}"
    );
    // It keeps its slot, and what it was told.
    assert_eq!((fake.slots().0, head.commands_accepted), (1, 2));
}

#[tokio::test]
async fn a_task_that_never_began_fails_its_session() {
    let fake = Fake::new(2);
    let key = fake
        .create(requested(&fake))
        .await
        .expect("created")
        .head
        .key;
    fake.note_task(&key, FencingToken(0), "t1")
        .await
        .expect("noted");
    let event = stopped("reconciler-task-failed-to-start.json", &key, "t1");
    assert_eq!(handle(&fake, &LIMITS, event).await, Ok(ended(1)));
    let head = fake.peek_head(&key).expect("there");
    assert_eq!(head.state, State::Failed);
    assert!(
        head.end_reason
            .expect("a reason")
            .contains("CannotPullContainerError")
    );
}

#[tokio::test]
async fn the_task_of_another_runner_ends_nothing() {
    let fake = Fake::new(3);
    let key = running(&fake, "t2").await;
    let event = stopped("reconciler-task-stopped.json", &key, "t1");
    let answer = handle(&fake, &LIMITS, event).await.expect("an answer");
    assert_eq!((answer.looked_at, answer.ended), (1, 0));
    let state = fake.peek_head(&key).map(|head| head.state);
    assert_eq!(state, Some(State::Provisioning));
}

#[tokio::test]
async fn a_message_that_comes_at_the_same_time_is_no_reason_to_wait() {
    let fake = Fake::new(4);
    let key = running(&fake, "t1").await;
    let event = stopped("reconciler-task-stopped.json", &key, "t1");
    let (answer, _) = tokio::join!(
        handle(&fake, &LIMITS, event),
        fake.enqueue(&key, new_command(&fake, "two", message("hello")))
    );
    assert_eq!(answer.expect("an answer").started, 1);
    let state = fake.peek_head(&key).map(|head| head.state);
    assert_eq!(state, Some(State::Resuming));
}

/// The notice about a task that was replaced may come while the next one has not been noted yet.
#[tokio::test]
async fn a_late_notice_about_an_earlier_task_ends_nothing() {
    let fake = Fake::new(9);
    let key = running(&fake, "t1").await;
    let event = || stopped("reconciler-task-stopped.json", &key, "t1");
    handle(&fake, &LIMITS, event()).await.expect("an answer");
    let mut head = fake.peek_head(&key).expect("there");
    for _ in 0..2 {
        // As after the loss of the second one, before the third is noted.
        let now = domain::ports::Clock::now(&fake);
        fake.acquire(&key, "t2", "none", now.plus(10_000), now)
            .await
            .expect("acquired");
        let again = handle(&fake, &LIMITS, event()).await.expect("an answer");
        assert_eq!((again.started, again.ended), (0, 0));
        let second = stopped("reconciler-task-stopped.json", &key, "t2");
        handle(&fake, &LIMITS, second).await.expect("an answer");
        let next = fake.peek_head(&key).expect("there");
        assert!(next.fence > head.fence && next.state == State::Resuming);
        head = next;
    }
}

#[tokio::test]
async fn tasks_and_sessions_that_are_not_ours_are_left_alone() {
    let fake = Fake::new(5);
    for environment in [
        serde_json::json!([]),
        serde_json::json!([{"name": "SHANNON_OWNER", "value": "no owner id"}]),
    ] {
        let mut foreign = sample("reconciler-task-stopped.json");
        foreign["detail"]["overrides"]["containerOverrides"][0]["environment"] = environment;
        assert_eq!(
            handle(&fake, &LIMITS, event(foreign)).await,
            Ok(Answer::default())
        );
    }
    let unknown = SessionKey {
        owner: owner("nobody"),
        session: SessionId::from_random([1; 17]),
    };
    let event = stopped("reconciler-task-stopped.json", &unknown, "t1");
    let answer = handle(&fake, &LIMITS, event).await.expect("an answer");
    assert_eq!((answer.looked_at, answer.ended), (1, 0));
}

#[tokio::test]
async fn the_sweep_starts_ends_and_leaves_alone() {
    let fake = Fake::new(6);
    let never_started = fake
        .create(requested(&fake))
        .await
        .expect("created")
        .head
        .key;
    let vanished = running(&fake, "t1").await;
    let sweep = || event(sample("reconciler-sweep.json"));
    assert_eq!(handle(&fake, &LIMITS, sweep()).await, Ok(Answer::default()));

    fake.clock().advance(16_000);
    let healthy = running(&fake, "t2").await;
    let answer = handle(&fake, &LIMITS, sweep()).await.expect("an answer");
    assert_eq!(
        answer,
        Answer {
            looked_at: 2,
            started: 2,
            ..Answer::default()
        }
    );
    let mut tasks = fake.tasks();
    tasks.sort_by_key(|task| task.fence);
    assert_eq!(tasks.len(), 2);
    assert_eq!(
        (&tasks[0].key, tasks[0].fence),
        (&never_started, FencingToken(0))
    );
    assert_eq!(
        (&tasks[1].key, tasks[1].fence),
        (&vanished, FencingToken(3))
    );
    let state = |key| fake.peek_head(key).map(|head| head.state);
    assert_eq!(state(&vanished), Some(State::Resuming));
    assert_eq!(state(&healthy), Some(State::Provisioning));
    assert_eq!(state(&never_started), Some(State::Requested));

    // Its runner does not come either.
    fake.clock().advance(300_000);
    handle(&fake, &LIMITS, sweep()).await.expect("an answer");
    assert_eq!(state(&never_started), Some(State::Failed));
    assert_eq!(state(&vanished), Some(State::Resuming));
    assert_eq!(fake.slots().0, 2);
}

/// One whose runners all fail is given up, and says what to do.
#[tokio::test]
async fn a_session_that_loses_every_runner_has_failed() {
    let fake = Fake::new(10);
    let key = running(&fake, "t0").await;
    for round in 0..6 {
        let state = fake.peek_head(&key).map(|head| head.state);
        assert!(!state.expect("there").is_ended(), "round {round}");
        fake.clock().advance(310_000);
        let sweep = event(sample("reconciler-sweep.json"));
        handle(&fake, &LIMITS, sweep).await.expect("an answer");
    }
    let head = fake.peek_head(&key).expect("there");
    assert_eq!(head.state, State::Failed);
    let reason = head.end_reason.expect("a reason");
    assert!(reason.contains("6 times in a row"), "{reason}");
    assert_eq!(fake.slots().0, 0);
}

#[tokio::test]
async fn one_session_that_cannot_be_read_does_not_stop_the_sweep() {
    let fake = Fake::new(7);
    for task in ["t1", "t2"] {
        running(&fake, task).await;
    }
    fake.clock().advance(20_000);
    fake.fail_call_of("head", 1, FaultTime::Before);
    let answer = handle(&fake, &LIMITS, event(sample("reconciler-sweep.json")))
        .await
        .expect("an answer");
    assert_eq!((answer.started, answer.failed), (1, 1));
    let answer = handle(&fake, &LIMITS, event(sample("reconciler-sweep.json")))
        .await
        .expect("an answer");
    assert_eq!((answer.started, answer.failed), (1, 0));
}

#[tokio::test]
async fn an_unreachable_store_asks_for_the_event_again() {
    let fake = Fake::new(8);
    let key = running(&fake, "t1").await;
    fake.fail_call(1, FaultTime::Before);
    let event = stopped("reconciler-task-stopped.json", &key, "t1");
    let error = handle(&fake, &LIMITS, event)
        .await
        .expect_err("unavailable");
    assert_eq!(error.kind, "Unavailable");
}

#[test]
fn hostile_events_are_refused() {
    let other = event(serde_json::json!({"detail-type": "Other", "detail": 1}));
    assert_eq!(other, Event::Unknown("Other".to_owned()));
    for bad in [
        serde_json::json!(null),
        serde_json::json!({}),
        serde_json::json!({"detail-type": "ECS Task State Change", "detail": {}}),
        serde_json::json!({"detail-type": "ECS Task State Change", "detail": {"taskArn": 1}}),
    ] {
        assert!(
            serde_json::from_value::<Event>(bad.clone()).is_err(),
            "{bad}"
        );
    }
}

/// Suspends a session with a checkpoint that is stored, and gives its manifest's name.
async fn suspended(fake: &Fake) -> SessionKey {
    let key = running(fake, "t1").await;
    let head = fake.peek_head(&key).expect("there");
    let mut last = append(fake, head.last_sequence.next(), Vec::new());
    last.take = fake.commands_after(&key, 0, 9).await.expect("read");
    last.finish = vec![(last.take[0].clone(), CommandOutcome::Answered)];
    last.state = State::Suspended;
    last.checkpoint = Some(NewCheckpoint {
        commands_settled: 1,
        ..stored(fake, &head.tree_key(), 1).await
    });
    fake.append(&head.lease(), &last).await.expect("suspended");
    key
}

/// A checkpoint of an empty directory, with what it stores.
async fn stored(fake: &Fake, tree: &TreeKey, ordinal: u64) -> NewCheckpoint {
    let new = checkpoint(fake, ordinal, None);
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("a"), new.id.as_str()).expect("written");
    let snapshot = NewSnapshot {
        id: new.id.clone(),
        about: About {
            session: tree.tree.root().clone(),
            parent: None,
            created_at: domain::ports::Clock::now(fake),
            author: "test".to_owned(),
            message: None,
            tags: Vec::new(),
            claude_session: None,
            cut_sequence: domain::Sequence(1),
            commands_settled: 1,
        },
        roots: vec![SourceRoot {
            name: RootName::Workspace,
            directory: directory.path().to_owned(),
            ignore: IgnoreRules::default(),
        }],
        base: None,
        unless_unchanged: false,
    };
    let snapshots = Snapshots::new(fake, tree.clone());
    snapshots.create(snapshot).await.expect("stored");
    new
}

#[tokio::test]
async fn what_nobody_needs_is_taken_after_its_time_and_the_rest_stays() {
    let fake = Fake::new(11);
    let key = suspended(&fake).await;
    let tree = fake.peek_head(&key).expect("there").tree_key();
    // Stored by a runner that died before it could record it.
    stored(&fake, &tree, 2).await;
    let before = fake.peek_objects(&tree);
    assert_eq!(before.len(), 4);
    let sweep = || event(sample("reconciler-sweep.json"));
    fake.clock().advance(1_000);
    let answer = handle(&fake, &LIMITS, sweep()).await.expect("an answer");
    assert_eq!((answer.swept, answer.failed), (1, 0));
    assert_eq!(fake.peek_objects(&tree), before, "it is too young");
    fake.clock().advance(2 * DAY);
    let dry_run = event(sample("reconciler-dry-run.json"));
    let would = handle(&fake, &LIMITS, dry_run).await.expect("an answer");
    assert!(would.bytes_reclaimed > 0, "{would:?}");
    assert_eq!(fake.peek_objects(&tree), before, "it only says so");
    let answer = handle(&fake, &LIMITS, sweep()).await.expect("an answer");
    assert_eq!(answer, would, "and does what it said");
    assert_eq!(fake.peek_objects(&tree).len(), 2);
    // What is left can be read.
    let record = &fake.peek_checkpoints(&key)[0];
    let snapshots = Snapshots::new(&fake, tree);
    let manifest = snapshots.manifest(&record.files).await.expect("there");
    assert!(snapshots.is_stored(&manifest).await.expect("read"));
}

#[tokio::test]
async fn a_session_whose_time_is_up_leaves_nothing() {
    let fake = Fake::new(12);
    let key = suspended(&fake).await;
    let tree = fake.peek_head(&key).expect("there").tree_key();
    let sweep = || event(sample("reconciler-sweep.json"));
    // Suspended for its whole time it is completed, and after as long again it is erased.
    for (state, erased) in [(Some(State::Completed), 0), (None, 1)] {
        fake.clock().advance(91 * DAY);
        let answer = handle(&fake, &LIMITS, sweep()).await.expect("an answer");
        assert_eq!(answer.erased, erased, "{answer:?}");
        assert_eq!(fake.peek_head(&key).map(|head| head.state), state);
    }
    assert!(fake.peek_objects(&tree).is_empty());
    assert!(fake.peek_events(&key).is_empty() && fake.peek_commands(&key).is_empty());
    assert_eq!(handle(&fake, &LIMITS, sweep()).await, Ok(Answer::default()));
    // A runner that was frozen wakes.
    let late = format!("sessions/{}/transcript/2", key.session);
    let put = fake.put_new(&tree, &late, b"a line".to_vec()).await;
    put.expect("nobody knows better");
    stored(&fake, &tree, 2).await;
    assert_eq!(fake.peek_objects(&tree).len(), 3);
    fake.clock().advance(DAY + 1);
    let answer = handle(&fake, &LIMITS, sweep()).await.expect("an answer");
    assert_eq!((answer.looked_at, answer.erased, answer.failed), (1, 0, 0));
    assert!(fake.peek_objects(&tree).is_empty());
    assert!(fake.tombstones().is_empty());
    assert_eq!(handle(&fake, &LIMITS, sweep()).await, Ok(Answer::default()));
}

/// The sweep that does not know what a sibling needs takes no pack, and erases all the same.
#[tokio::test]
async fn a_damaged_checkpoint_keeps_nobody_from_being_erased() {
    for gone in [false, true] {
        let fake = Fake::new(13);
        let key = suspended(&fake).await;
        let head = fake.peek_head(&key).expect("there");
        let tree = head.tree_key();
        let fork = fake.fork(new_fork(&fake, &head)).await.expect("forked");
        let fork = fork.head.key;
        // The fork went on, and that checkpoint is damaged.
        let own = stored(&fake, &tree, 2).await;
        let now = domain::ports::Clock::now(&fake);
        let say = new_command(&fake, "go", message("go"));
        fake.enqueue(&fork, say).await.expect("accepted");
        wake(&fake, &fork).await;
        let taken = fake.acquire(&fork, "t2", "none", now.plus(10_000), now);
        let (lease, forked) = taken.await.expect("acquired");
        let mut cut = append(&fake, forked.last_sequence.next(), Vec::new());
        cut.checkpoint = Some(own.clone());
        fake.append(&lease, &cut).await.expect("appended");
        let damaged = format!("manifests/{}", own.id);
        let flip = |bytes: &mut Vec<u8>| bytes[20] ^= 1;
        if gone {
            let objects = fake.list_objects(&tree, &damaged, None).await;
            for object in objects.expect("listed").objects {
                let version = object.version.as_deref();
                let deleted = fake.delete_object(&tree, &object.name, version).await;
                deleted.expect("deleted");
            }
        } else {
            assert!(fake.damage_object(&tree, &damaged, flip));
        }
        let packs = |fake: &Fake| {
            let mut objects = fake.peek_objects(&tree);
            objects.retain(|name| name.starts_with("packs/"));
            objects
        };
        let before = packs(&fake);
        let me = caller(&key.owner);
        let deleted = delete_session(&fake, &me, &key, Deletion::Erase).await;
        deleted.expect("deleted");
        let sweep = || event(sample("reconciler-sweep.json"));
        let answer = handle(&fake, &LIMITS, sweep()).await.expect("an answer");
        assert_eq!((answer.erased, answer.failed), (1, 0), "{answer:?}");
        assert!(fake.peek_head(&key).is_none() && fake.peek_events(&key).is_empty());
        assert_eq!(packs(&fake), before);
        // Also a day later, and until a person gives it up.
        fake.clock().advance(2 * DAY);
        let answer = handle(&fake, &LIMITS, sweep()).await.expect("an answer");
        assert_eq!((answer.damaged, answer.failed), (1, 0), "{answer:?}");
        assert_eq!((packs(&fake), fake.tombstones()), (before, vec![]));
        let deleted = delete_session(&fake, &me, &fork, Deletion::Erase).await;
        deleted.expect("deleted");
        let answer = handle(&fake, &LIMITS, sweep()).await.expect("an answer");
        assert_eq!((answer.erased, answer.failed), (1, 0), "{answer:?}");
        assert!(fake.peek_objects(&tree).is_empty());
    }
}

async fn wake(fake: &Fake, key: &SessionKey) {
    let woken = reconcile_session(fake, LIMITS.slots, key).await;
    assert_eq!(woken.expect("woken"), Reconciled::Started);
}

#[tokio::test]
async fn refusals_become_entries_and_what_moved_is_sealed() {
    let fake = Fake::new(1);
    let sweep = || event(sample("reconciler-sweep.json"));
    fake.count_refusal("192.0.2.1", fake.now())
        .await
        .expect("counted");
    fake.clock().advance(60_000);
    // Nothing is sealed yet: more may come.
    let answer = handle(&fake, &LIMITS, sweep()).await.expect("an answer");
    assert_eq!(answer.sealed, 0);
    let entries = fake
        .entries(&AuditChain::Deployment, 0, 10)
        .await
        .expect("read");
    assert_eq!(entries.len(), 1);
    fake.clock().advance(domain::limits::SEAL_MILLISECONDS + 1);
    for sealed in [1, 0] {
        let answer = handle(&fake, &LIMITS, sweep()).await.expect("an answer");
        assert_eq!(answer.sealed, sealed);
    }
    let seals = fake.seals(&AuditChain::Deployment, 0, u64::MAX, 10).await;
    let seals = seals.expect("read");
    let seal = seals[0].seal.as_ref().expect("a seal");
    assert!(seal.verify(&LIMITS.signing_key).is_ok());

    // An audit that cannot be kept keeps nothing else waiting, and is tried again.
    fake.fail_call_of("to_seal", 1, FaultTime::Before);
    let answer = handle(&fake, &LIMITS, sweep()).await.expect("an answer");
    assert_eq!(answer.failed, 1);
}
