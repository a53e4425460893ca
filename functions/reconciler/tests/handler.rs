//! The handler with the sample events and a fake world.

use std::path::Path;

use domain::{
    EventBody, FencingToken, SessionId, SessionKey, State,
    ports::{Inbox, NewSession, SessionDirectory, SessionLog},
};
use reconciler::{Answer, Event, handle};
use testkit::{Fake, FaultTime, message, new_command, new_session, owner};

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
async fn a_stopped_task_loses_its_session_and_names_what_is_unfinished() {
    let fake = Fake::new(1);
    let key = running(&fake, "t1").await;
    fake.enqueue(&key, new_command(&fake, "two", message("and this")))
        .await
        .expect("accepted");
    for _ in 0..2 {
        let event = stopped("reconciler-task-stopped.json", &key, "t1");
        assert_eq!(handle(&fake, event).await, Ok(ended(1)));
    }
    let head = fake.peek_head(&key).expect("there");
    assert_eq!(head.state, State::Lost);
    let reason = head.end_reason.expect("a reason");
    assert!(
        reason.contains("Essential container in task exited") && reason.contains("137"),
        "{reason}"
    );
    let last = fake.peek_events(&key).pop().expect("an event");
    match last.body {
        EventBody::SessionEnded { unfinished, .. } => assert_eq!(unfinished.len(), 2),
        other => panic!("{other:?}"),
    }
    assert_eq!(fake.slots().0, 0);
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
    fake.note_task(&key, "t1").await.expect("noted");
    let event = stopped("reconciler-task-failed-to-start.json", &key, "t1");
    assert_eq!(handle(&fake, event).await, Ok(ended(1)));
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
    let answer = handle(&fake, event).await.expect("an answer");
    assert_eq!((answer.looked_at, answer.ended), (1, 0));
    let state = fake.peek_head(&key).map(|head| head.state);
    assert_eq!(state, Some(State::Provisioning));
}

#[tokio::test]
async fn a_message_that_comes_at_the_same_time_does_not_save_a_lost_session() {
    let fake = Fake::new(4);
    let key = running(&fake, "t1").await;
    let event = stopped("reconciler-task-stopped.json", &key, "t1");
    let (answer, _) = tokio::join!(
        handle(&fake, event),
        fake.enqueue(&key, new_command(&fake, "two", message("hello")))
    );
    assert_eq!(answer, Ok(ended(1)));
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
        assert_eq!(handle(&fake, event(foreign)).await, Ok(Answer::default()));
    }
    let unknown = SessionKey {
        owner: owner("nobody"),
        session: SessionId::from_random([1; 17]),
    };
    let event = stopped("reconciler-task-stopped.json", &unknown, "t1");
    let answer = handle(&fake, event).await.expect("an answer");
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
    assert_eq!(handle(&fake, sweep()).await, Ok(Answer::default()));

    fake.clock().advance(16_000);
    let healthy = running(&fake, "t2").await;
    let answer = handle(&fake, sweep()).await.expect("an answer");
    assert_eq!(
        answer,
        Answer {
            looked_at: 2,
            started: 1,
            ended: 1,
            failed: 0
        }
    );
    let tasks = fake.tasks();
    assert_eq!(tasks.len(), 1);
    assert_eq!(
        (&tasks[0].key, tasks[0].fence),
        (&never_started, FencingToken(0))
    );
    let state = |key| fake.peek_head(key).map(|head| head.state);
    assert_eq!(state(&vanished), Some(State::Lost));
    assert_eq!(state(&healthy), Some(State::Provisioning));
    assert_eq!(state(&never_started), Some(State::Requested));

    // Its runner does not come either.
    fake.clock().advance(300_000);
    handle(&fake, sweep()).await.expect("an answer");
    assert_eq!(state(&never_started), Some(State::Failed));
    assert_eq!(fake.slots().0, 0);
}

#[tokio::test]
async fn one_session_that_cannot_be_read_does_not_stop_the_sweep() {
    let fake = Fake::new(7);
    for task in ["t1", "t2"] {
        running(&fake, task).await;
    }
    fake.clock().advance(20_000);
    // The list is the first call, the first session's head the second.
    fake.fail_call(2, FaultTime::Before);
    let answer = handle(&fake, event(sample("reconciler-sweep.json")))
        .await
        .expect("an answer");
    assert_eq!((answer.ended, answer.failed), (1, 1));
    let answer = handle(&fake, event(sample("reconciler-sweep.json")))
        .await
        .expect("an answer");
    assert_eq!((answer.ended, answer.failed), (1, 0));
}

#[tokio::test]
async fn an_unreachable_store_asks_for_the_event_again() {
    let fake = Fake::new(8);
    let key = running(&fake, "t1").await;
    fake.fail_call(1, FaultTime::Before);
    let event = stopped("reconciler-task-stopped.json", &key, "t1");
    let error = handle(&fake, event).await.expect_err("unavailable");
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
