//! Limits of a session, with the real CLI: reaching one ends the turn as a turn, what it did is kept,
//! and the log says what to do.

use std::time::{Duration, Instant};

use crate::approvals::{bash, exists};
use crate::support::installed::real_claude;
use crate::support::{World, bodies, model, script};
use domain::checkpoint::{CheckpointName, RestoreScope};
use domain::event::{EventBody, TurnEnd};
use domain::use_cases::{ForkSession, fork_session};
use domain::{CommandOutcome, Event, PermissionMode, SessionSpec, State};
use serde_json::{Value, json};
use session_runner::supervisor::Outcome;

async fn world(change: impl FnOnce(&mut SessionSpec), steps: Value) -> World {
    let mut spec = testkit::spec();
    spec.permission_mode = PermissionMode::Bypass;
    change(&mut spec);
    World::new(model().await, real_claude().await, spec, &script(steps)).await
}

fn ends(events: &[Event]) -> Vec<&TurnEnd> {
    let ends = events.iter().filter_map(|event| match &event.body {
        EventBody::TurnEnded(end) => Some(end),
        _ => None,
    });
    ends.collect()
}

/// The checkpoint of a turn stands before its end, and is the head's.
async fn is_kept(world: &World, events: &[Event]) {
    let kinds: Vec<&str> = bodies(events).iter().map(|body| body.kind()).collect();
    let kept = kinds.iter().position(|kind| *kind == "checkpoint_created");
    let ended = kinds.iter().position(|kind| *kind == "turn_ended");
    assert!(kept.expect("kept") < ended.expect("ended"), "{kinds:?}");
    assert!(world.head().await.checkpoint.is_some());
}

/// From here on the world is about a fork of its session, on another machine.
async fn fork(world: &mut World, prompt: &str) {
    let request = ForkSession {
        key: world.key.clone(),
        checkpoint: CheckpointName::Latest,
        what: RestoreScope::Both,
        prompt: Some(prompt.to_owned()),
        message_id: None,
        client_token: None,
    };
    let me = testkit::caller(&world.key.owner);
    let forked = fork_session(&world.ports, &testkit::deployment(), &me, request).await;
    let key = forked.expect("a fork").head.key;
    world.key = key.clone();
    world.assignment.key = key;
    world.move_elsewhere();
}

/// Waits until the message is refused with what to do.
async fn refused(world: &World, id: &str) {
    let start = Instant::now();
    let outcome = loop {
        if let Some(outcome) = world.command(id).await.outcome {
            break outcome;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "not taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(
        matches!(&outcome, CommandOutcome::Refused(words) if words.contains("fork_session")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn too_many_turns_end_the_turn_and_the_next_message_has_as_many() {
    let steps = json!([bash("touch one"), bash("touch two"), {"text": "done"}]);
    let mut world = world(|spec| spec.max_turns = 1, steps).await;
    world.start();
    let events = world.idle_after(1).await;
    is_kept(&world, &events).await;
    let ended = ends(&events)[0];
    assert_eq!(ended.subtype, "error_max_turns");
    assert!(
        ended.is_error && ended.text.contains("send_message"),
        "{ended:?}"
    );
    assert!(exists(&world, "one") && !exists(&world, "two"));
    let message = testkit::message(&script(json!([{"text": "went on"}])));
    world.send("m2", message).await;
    let events = world.idle_after(2).await;
    let ended = ends(&events)[1];
    assert_eq!(
        (ended.subtype.as_str(), ended.text.as_str()),
        ("success", "went on")
    );
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

#[tokio::test]
async fn what_is_spent_ends_the_turn_and_a_fork_goes_on() {
    let steps =
        json!([bash("touch one"), bash("touch two"), bash("touch three"), {"text": "done"}]);
    let mut world = world(|spec| spec.max_budget_usd = 0.000_2, steps).await;
    world.start();
    let events = world.idle_after(1).await;
    is_kept(&world, &events).await;
    let ended = ends(&events)[0];
    assert_eq!(ended.subtype, "error_max_budget_usd");
    assert!(
        ended.is_error && ended.text.contains("fork_session"),
        "{ended:?}"
    );
    assert!(exists(&world, "one") && !exists(&world, "three"));
    let head = world.head().await;
    assert!(head.total_cost_usd >= head.spec.max_budget_usd, "{head:?}");
    // It takes no more messages, here and on the next machine.
    let more = testkit::message(&script(json!([bash("touch four"), {"text": "went on"}])));
    world.send("m2", more.clone()).await;
    refused(&world, "m2").await;
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
    world.send("m3", more).await;
    world.wake_elsewhere().await;
    world.start();
    refused(&world, "m3").await;
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
    let events = world.events().await;
    assert_eq!(ends(&events).len(), 1);
    let told = bodies(&events).into_iter().filter(|body| {
        matches!(body, EventBody::Notice { code, message }
            if code == "budget_spent" && message.contains("fork_session"))
    });
    assert_eq!(told.count(), 2);
    assert!(exists(&world, "one") && !exists(&world, "four"));
    fork(&mut world, &script(json!([{"text": "went on"}]))).await;
    world.start();
    let events = world.idle_after(1).await;
    assert!(
        ends(&events)[0].total_cost_usd < 0.000_2,
        "a budget of its own"
    );
    assert!(exists(&world, "one"));
    assert_eq!(ends(&events)[0].text, "went on");
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

#[tokio::test]
async fn what_was_spent_counts_on_the_next_machine() {
    let said = script(json!([{"text": "said"}]));
    let mut world = world(|_| {}, json!([{"text": "said"}])).await;
    world.start();
    let events = world.idle_after(1).await;
    let each = ends(&events)[0].total_cost_usd;
    assert!(each > 0.0);
    for turn in 2..=4 {
        world.stop();
        assert_eq!(world.outcome().await, Outcome::Suspended);
        world
            .send(&format!("m{turn}"), testkit::message(&said))
            .await;
        world.wake_elsewhere().await;
        world.start();
        let events = world.idle_after(turn).await;
        let total = ends(&events)[turn - 1].total_cost_usd;
        let expected = each * f64::from(u32::try_from(turn).expect("small"));
        assert!((total / expected - 1.0).abs() < 0.01, "{total}, {expected}");
    }
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

#[tokio::test]
async fn time_that_is_over_ends_the_turn_and_a_fork_goes_on() {
    let steps = json!([bash("touch made; tail -f /dev/null"), {"text": "done"}]);
    let mut world = world(|_| {}, steps).await;
    world.settings.session_timeout = Duration::from_secs(5);
    world.start();
    assert_eq!(world.outcome().await, Outcome::Ended(State::TimedOut));
    let events = world.events().await;
    is_kept(&world, &events).await;
    assert!(ends(&events)[0].is_error);
    let reason = world.head().await.end_reason.expect("a reason");
    let says = format!(r#"fork_session {{"session_id":"{}"}}"#, world.key.session);
    assert!(
        reason.contains(&says) && reason.contains("SHANNON_SESSION_TIMEOUT_SECONDS"),
        "{reason}"
    );
    fork(&mut world, &script(json!([{"text": "went on"}]))).await;
    world.start();
    let events = world.idle_after(1).await;
    assert_eq!(ends(&events)[0].text, "went on");
    assert!(exists(&world, "made"));
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}
