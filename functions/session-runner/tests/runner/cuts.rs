//! When checkpoints are taken, what is said about them, and what happens beside one: with the real CLI
//! in the real sandbox, and a scripted model.

use std::time::{Duration, Instant};

use crate::support::installed::real_claude;
use crate::support::{World, model, results, script};
use checkpoint::{Manifest, Snapshots};
use domain::checkpoint::{CheckpointStrategy, CheckpointTrigger};
use domain::event::EventBody;
use domain::{CheckpointId, CommandBody, PermissionMode, SessionSpec, State};
use serde_json::json;
use session_runner::supervisor::Outcome;

fn spec() -> SessionSpec {
    let mut spec = testkit::spec();
    spec.permission_mode = PermissionMode::Bypass;
    spec
}

async fn world(spec: SessionSpec, steps: serde_json::Value) -> World {
    World::new(model().await, real_claude().await, spec, &script(steps)).await
}

fn bash(command: &str) -> serde_json::Value {
    json!({"tool": "Bash", "input": {"command": command, "description": "d"}})
}

async fn manifest(world: &World, id: &CheckpointId) -> Manifest {
    let tree = world.head().await.tree_key();
    let snapshots = Snapshots::new(&world.ports, tree);
    snapshots.manifest(id).await.expect("a manifest")
}

async fn notices(world: &World, wanted: &str) -> Vec<String> {
    let events = world.events().await;
    let said = events.into_iter().filter_map(|event| match event.body {
        EventBody::Notice { code, message } if code == wanted => Some(message),
        _ => None,
    });
    said.collect()
}

#[tokio::test]
async fn damage_ends_the_session_with_the_checkpoint_that_a_fork_goes_on_from() {
    let steps = json!([bash("echo one > first"), {"text": "done"}]);
    let mut world = world(spec(), steps).await;
    world.start();
    world.idle_after(1).await;
    let tree = world.head().await.tree_key();
    let before = world.ports.peek_objects(&tree);
    let whole = world.ports.peek_checkpoints(&world.key);
    let whole = whole.last().expect("of the turn").clone();
    let steps = json!([bash("echo two > second"), {"text": "done"}]);
    world.send("m2", testkit::message(&script(steps))).await;
    world.idle_after(2).await;
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
    let newest = world.head().await.checkpoint.expect("one");
    let mut added = world.ports.peek_objects(&tree);
    added.retain(|name| name.starts_with("packs/") && !before.contains(name));
    for pack in &added {
        // A bit of the first file in it.
        let spoil = |bytes: &mut Vec<u8>| bytes[48] ^= 1;
        assert!(world.ports.damage_object(&tree, pack, spoil));
    }
    world.send("m3", testkit::message("go on")).await;
    world.wake_elsewhere().await;
    world.start();
    assert_eq!(world.outcome().await, Outcome::Ended(State::Failed));
    let reason = world.head().await.end_reason.expect("a reason");
    let (session, whole) = (&world.key.session, whole.id.as_str());
    let offered = format!(
        "The newest checkpoint that is whole is {whole}: fork_session \
         {{\"session_id\":\"{session}\",\"checkpoint\":\"{whole}\"}} goes on from it"
    );
    for named in [newest.as_str(), &offered, "workspace/second"] {
        assert!(reason.contains(named), "{named}: {reason}");
    }
    assert!(added.iter().any(|pack| reason.contains(pack)), "{reason}");
    // Nothing is lost: the message is named and can be read, and the checkpoint is there.
    let events = world.events().await;
    let says = |event: &domain::Event| match &event.body {
        EventBody::MessageTaken { text } => text == "go on",
        _ => false,
    };
    assert_eq!(events.iter().filter(|event| says(event)).count(), 1);
    let last = events.last().map(|event| &event.body);
    let Some(EventBody::SessionEnded { unfinished, .. }) = last else {
        panic!("{last:?}")
    };
    assert_eq!(unfinished.len(), 1);
}

#[tokio::test]
async fn a_long_tool_is_kept_again_and_again_while_it_runs() {
    let loops = "until [ -e go ]; do date >> log; sleep 0.1; done";
    let mut world = world(spec(), json!([bash(loops), {"text": "done"}])).await;
    world.settings.checkpoint_interval = Duration::from_secs(2);
    world.start();
    let of_tool = || {
        let mut all = world.ports.peek_checkpoints(&world.key);
        all.retain(|it| it.trigger == CheckpointTrigger::Tool);
        all
    };
    let start = Instant::now();
    while of_tool().len() < 3 {
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", of_tool());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    std::fs::write(world.base.path().join("workspace/go"), "").expect("written");
    world.idle_after(1).await;
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

#[tokio::test]
async fn a_message_that_races_the_stop_leaves_a_checkpoint_all_the_same() {
    let mut spec = spec();
    spec.checkpoint_strategy = Some(CheckpointStrategy::Manual);
    let steps = json!([bash("echo kept > file"), {"text": "done"}]);
    let mut world = world(spec, steps).await;
    world.start();
    world.idle_after(1).await;
    assert!(world.ports.peek_checkpoints(&world.key).is_empty());
    // While the checkpoint of the suspension is stored, a message comes.
    world.ports.hold_storing(true);
    world.stop();
    cut_begins(&world).await;
    world.send("m2", testkit::message("late")).await;
    world.ports.hold_storing(false);
    assert_eq!(world.outcome().await, Outcome::Left);
    let head = world.head().await;
    assert_eq!(head.state, State::Idle);
    let checkpoints = world.ports.peek_checkpoints(&world.key);
    let last = checkpoints.last().expect("one");
    assert_eq!(last.trigger, CheckpointTrigger::Stop);
    assert_eq!((last.turn, last.commands_settled), (1, 1));
    let manifest = manifest(&world, &last.files).await;
    assert_eq!(manifest.about.author, "session-runner");
}

#[tokio::test]
async fn what_is_left_out_is_said_once_and_again_when_it_changes() {
    let mut spec = spec();
    spec.checkpoint_ignore = Some(vec!["out/".to_owned(), "a{".to_owned()]);
    let odd = "mkfifo pipe; head -c 70000 /dev/zero | tr '\\0' x > .shannonignore";
    let steps = json!([bash(odd), {"text": "done"}]);
    let mut world = world(spec, steps).await;
    world.start();
    world.idle_after(1).await;
    for (id, command) in [("m2", "echo more > file"), ("m3", "mkfifo second")] {
        let steps = json!([bash(command), {"text": "done"}]);
        world.send(id, testkit::message(&script(steps))).await;
        world.idle_after(if id == "m2" { 2 } else { 3 }).await;
    }
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
    let files = notices(&world, "checkpoint_left_out").await;
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files[0].contains("leave out 1 of") && files[0].contains("workspace/pipe ("));
    assert!(files[1].contains("leave out 2 of") && files[1].contains("workspace/second ("));
    let rules = notices(&world, "checkpoint_rules").await;
    assert_eq!(rules.len(), 1, "{rules:?}");
    assert!(
        rules[0].contains("workspace/.shannonignore: it is no readable file of at most 64 KiB")
    );
    assert!(rules[0].contains("\"a{\""), "{rules:?}");
}

#[tokio::test]
async fn a_checkpoint_says_who_asked_for_it_and_what_was_in_the_log() {
    let mut world = world(spec(), json!([{"text": "done"}])).await;
    world.start();
    world.idle_after(1).await;
    let body = CommandBody::Checkpoint {
        message: Some("before the storm".to_owned()),
        tags: vec![],
        pinned: false,
    };
    world.send("k1", body).await;
    let start = Instant::now();
    while world.command("k1").await.outcome.is_none() {
        assert!(start.elapsed() < Duration::from_secs(30), "no checkpoint");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let checkpoints = world.ports.peek_checkpoints(&world.key);
    let last = checkpoints.last().expect("one");
    let about = manifest(&world, &last.files).await.about;
    assert_eq!(about.author, "command k1");
    assert_eq!(about.message.as_deref(), Some("before the storm"));
    let events = world.events().await;
    let ended = events
        .iter()
        .find(|event| matches!(event.body, EventBody::TurnEnded(_)))
        .expect("a turn");
    assert!(ended.sequence <= about.cut_sequence && about.cut_sequence < last.sequence);
    world.stop();
    world.outcome().await;
}

#[tokio::test]
async fn what_is_mirrored_during_a_cut_is_stored_before_its_end() {
    let command = "echo one > file; until [ -e go ]; do sleep 0.1; done; cat file";
    let mut world = world(spec(), json!([bash(command), {"text": "done"}])).await;
    world.settings.checkpoint_interval = Duration::from_secs(1);
    world.ports.hold_storing(true);
    world.start();
    cut_begins(&world).await;
    std::fs::write(world.base.path().join("workspace/go"), "").expect("written");
    let start = Instant::now();
    while !stored(&world).contains("tool_result") {
        assert!(start.elapsed() < Duration::from_secs(60), "not stored");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(world.ports.peek_checkpoints(&world.key).is_empty());
    world.ports.hold_storing(false);
    let events = world.idle_after(1).await;
    assert_eq!(results(&events)[0].1, "one");
    // It is heard after the cut, and belongs to the next one.
    let place = |wanted: &dyn Fn(&EventBody) -> bool| {
        let found = events.iter().find(|event| wanted(&event.body));
        found.expect("an event").sequence
    };
    let cut = place(&|it| matches!(it, EventBody::CheckpointCreated { .. }));
    assert!(cut < place(&|it| matches!(it, EventBody::ToolResult { .. })));
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
    // And once in the stream.
    assert_eq!(stored(&world).matches("\"tool_result\"").count(), 1);
}

/// All that is stored of the transcript.
fn stored(world: &World) -> String {
    let written = world.objects.written.lock().expect("no panic");
    let pieces = written
        .iter()
        .filter(|(name, _)| name.starts_with("transcript/"))
        .flat_map(|(_, bytes)| zstd::decode_all(&bytes[..]).expect("a segment"));
    String::from_utf8_lossy(&pieces.collect::<Vec<_>>()).into_owned()
}

/// Waits until a checkpoint is being stored, in a world that holds that back.
async fn cut_begins(world: &World) {
    let start = Instant::now();
    while world.ports.held_back() == 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "no checkpoint");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
