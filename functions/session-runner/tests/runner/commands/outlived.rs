//! Commands of callers whose session is suspended, whose runner is lost or stopped, or whose session
//! ends.

use std::time::{Duration, Instant};

use crate::approvals::{decide, exists, next_approval};
use crate::support::{bodies, script};
use domain::event::{EventBody, RunHow};
use domain::{CommandBody, Decision, PermissionMode, State};
use serde_json::json;
use session_runner::settings::Strategy;
use session_runner::supervisor::Outcome;

use super::{
    ended, idle, mark, run, sleep_until_there_are, sleepers, starts, stop, until_state, world,
};

#[tokio::test]
async fn an_approval_outlives_suspension_and_loss_and_the_command_runs_once() {
    let mut world = world(PermissionMode::Review, json!([{"text": "done"}])).await;
    world.settings.idle_time = Duration::from_millis(500);
    world.start();
    world.idle_after(1).await;
    world.send("r1", run("echo x >> one")).await;
    let asked = next_approval(&world, None).await;
    assert_eq!(world.outcome().await, Outcome::Suspended);
    let head = world.head().await;
    assert_eq!(head.state, State::Suspended);
    assert_eq!(
        head.question.map(|question| question.id),
        Some(asked.0.clone())
    );
    // A message behind it waits for it.
    world
        .send("m2", testkit::message(&script(json!([{"text": "second"}]))))
        .await;
    world.wake_elsewhere().await;
    world.settings.idle_time = Duration::from_secs(60);
    world.start();
    until_state(&world, State::Waiting).await;
    world.lose().await;
    world.start();
    until_state(&world, State::Waiting).await;
    assert_eq!(next_approval(&world, None).await.0, asked.0);
    assert!(starts(&world.events().await).is_empty());
    decide(&world, &asked, Decision::AllowOnce).await;
    ended(&world, "r1").await;
    let events = world.idle_after(2).await;
    let file = world.base.path().join("workspace/one");
    assert_eq!(std::fs::read_to_string(file).expect("made"), "x\n");
    assert_eq!(starts(&events).len(), 1);
    let at = |wanted: fn(&EventBody) -> bool| events.iter().rposition(|event| wanted(&event.body));
    let over = at(|body| matches!(body, EventBody::CommandEnded { .. }));
    let message = at(|body| matches!(body, EventBody::MessageTaken { .. }));
    assert!(over.is_some() && over < message, "{:#?}", bodies(&events));
    stop(world).await;
}

#[tokio::test]
async fn no_checkpoint_holds_the_approval_of_a_command() {
    let mut world = world(PermissionMode::Review, json!([{"text": "done"}])).await;
    world.settings.idle_time = Duration::from_millis(500);
    world.start();
    world.idle_after(1).await;
    world.send("r1", run("touch one")).await;
    next_approval(&world, None).await;
    assert_eq!(world.outcome().await, Outcome::Suspended);
    let records = world.ports.peek_checkpoints(&world.key);
    assert!(records.iter().all(|record| record.question.is_none()));
    assert!(world.head().await.question.is_some());
}

#[tokio::test]
async fn one_whose_runner_is_lost_is_not_run_twice() {
    let mut world = world(PermissionMode::Bypass, json!([{"text": "done"}])).await;
    // Checkpoints are taken while it runs, too.
    world.settings.checkpoint_strategy = Strategy::Interval;
    world.settings.checkpoint_interval = Duration::from_secs(1);
    world.start();
    world.idle_after(1).await;
    let mark = mark();
    world
        .send("r1", run(&format!("touch one; sleep {mark}")))
        .await;
    world.send("r2", run("echo second")).await;
    sleep_until_there_are(1, &mark).await;
    let start = Instant::now();
    loop {
        let events = world.events().await;
        let begun = events
            .iter()
            .position(|event| matches!(event.body, EventBody::CommandStarted { .. }));
        let mut later = events.iter().skip(begun.expect("it runs"));
        if later.any(|event| matches!(event.body, EventBody::CheckpointCreated { .. })) {
            break;
        }
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "no checkpoint: {:#?}",
            bodies(&events)
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.lose().await;
    sleep_until_there_are(0, &mark).await;
    world.start();
    let came = ended(&world, "r1").await;
    assert_eq!(came.end.how, RunHow::Interrupted);
    assert!(came.end.reason.expect("why").contains("may have run"));
    // What stood behind it and had not begun runs.
    assert_eq!(ended(&world, "r2").await.stdout, "second\n");
    let events = world.events().await;
    assert_eq!(starts(&events).len(), 2);
    assert_eq!(sleepers(&mark), 0);
    stop(world).await;
}

#[tokio::test]
async fn one_that_runs_when_the_runner_must_stop_ends_with_it() {
    let mut world = idle(PermissionMode::Bypass).await;
    world.settings.stop_timeout = Duration::from_secs(4);
    let mark = mark();
    world.send("r1", run(&format!("sleep {mark}"))).await;
    sleep_until_there_are(1, &mark).await;
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Left);
    let came = ended(&world, "r1").await;
    assert_eq!(came.end.how, RunHow::Interrupted);
    assert_eq!(sleepers(&mark), 0);
}

#[tokio::test]
async fn one_that_runs_when_the_session_is_cancelled_ends_first() {
    let mut world = idle(PermissionMode::Bypass).await;
    let mark = mark();
    world
        .send("r1", run(&format!("echo before; sleep {mark}")))
        .await;
    world.send("r2", run("touch two")).await;
    sleep_until_there_are(1, &mark).await;
    let reason = "enough".to_owned();
    world.send("c1", CommandBody::Cancel { reason }).await;
    assert_eq!(world.outcome().await, Outcome::Ended(State::Cancelled));
    assert_eq!(ended(&world, "r1").await.stdout, "before\n");
    assert_eq!(sleepers(&mark), 0);
    let events = world.events().await;
    let Some(EventBody::SessionEnded { unfinished, .. }) = bodies(&events).last().copied() else {
        panic!("{:#?}", bodies(&events));
    };
    let names: Vec<&str> = unfinished.iter().map(domain::CommandId::as_str).collect();
    assert_eq!(names, ["r2"]);
    assert!(!exists(&world, "two"));
}
