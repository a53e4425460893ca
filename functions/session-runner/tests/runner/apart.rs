//! A session whose conversation alone is set back: files of one checkpoint and conversation of an
//! earlier one, restored on another machine by the real runner with the real CLI.

use std::time::Duration;

use crate::support::installed::real_claude;
use crate::support::{World, model, results, script};
use domain::checkpoint::{CheckpointName, RestoreScope};
use domain::event::EventBody;
use domain::use_cases::{RestoreCheckpoint, restore_checkpoint};
use domain::{PermissionMode, State};
use serde_json::json;
use session_runner::supervisor::Outcome;

/// Wakes the session on a machine that has nothing of it, and lets it run until it suspends itself.
async fn on_another_machine(world: &mut World) {
    world.wake_elsewhere().await;
    world.start();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

fn bash(command: &str) -> serde_json::Value {
    json!({"tool": "Bash", "input": {"command": command, "description": "d"}})
}

/// What the model said last: `{saw}` is MARKER when the conversation holds that word.
async fn last_words(world: &World) -> String {
    let events = world.events().await;
    let text = events.iter().rev().find_map(|event| match &event.body {
        EventBody::Text { text, .. } => Some(text.clone()),
        _ => None,
    });
    text.expect("it said something")
}

#[tokio::test]
async fn the_conversation_goes_back_and_the_files_stay() {
    let steps = json!([bash("echo one > file"), {"text": "first, after {saw}"}]);
    let mut spec = testkit::spec();
    spec.permission_mode = PermissionMode::Bypass;
    let (model, claude) = (model().await, real_claude().await);
    let mut world = World::new(model, claude, spec, &script(steps)).await;
    world.settings.idle_time = Duration::from_millis(500);
    world.start();
    assert_eq!(world.outcome().await, Outcome::Suspended);
    let first = world.head().await.checkpoint.expect("a checkpoint");

    let steps = json!([bash("echo two > file; echo new > more"), {"text": "second, after {saw}"}]);
    let message = testkit::message(&format!("MARKER {}", script(steps)));
    world.send("m2", message).await;
    on_another_machine(&mut world).await;
    assert_eq!(last_words(&world).await, "second, after MARKER");
    let second = world.head().await.checkpoint.expect("a checkpoint");

    let request = RestoreCheckpoint {
        key: world.key.clone(),
        checkpoint: CheckpointName::Id(first.clone()),
        what: RestoreScope::Conversation,
    };
    let me = testkit::caller(&world.key.owner);
    let back = restore_checkpoint(&world.ports, &testkit::deployment(), &me, &request).await;
    let back = back.expect("set back");
    assert_eq!(back.state, State::Suspended);
    let records = world.ports.peek_checkpoints(&world.key);
    let manifests = |id: &domain::CheckpointId| {
        let record = records.iter().find(|record| record.id == *id);
        let record = record.expect("recorded");
        (record.files.clone(), record.conversation.clone())
    };
    let (files, conversation) = manifests(&back.checkpoint.expect("it goes on from one"));
    assert_ne!(files, conversation);
    assert_eq!(files, manifests(&second).0);
    assert_eq!(conversation, manifests(&first).1);

    let steps = json!([bash("cat file more; echo three >> file"), {"text": "third, after {saw}"}]);
    world.send("m3", testkit::message(&script(steps))).await;
    on_another_machine(&mut world).await;
    let events = world.events().await;
    let last = results(&events).pop().expect("a result");
    assert_eq!(last, (false, "two\nnew".to_owned()));
    assert_eq!(last_words(&world).await, "third, after nothing");

    // From here on both are of one cut again.
    let steps = json!([bash("cat file more"), {"text": "fourth, after {saw}"}]);
    world.send("m4", testkit::message(&script(steps))).await;
    on_another_machine(&mut world).await;
    let events = world.events().await;
    let last = results(&events).pop().expect("a result");
    assert_eq!(last, (false, "two\nthree\nnew".to_owned()));
    assert_eq!(last_words(&world).await, "fourth, after nothing");
}
