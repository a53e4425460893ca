//! Sessions that go on elsewhere: suspended and stopped runners, and questions to a person, with the
//! real CLI in the real sandbox, and a scripted model. Killed ones are in `killed`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::installed::real_claude;
use crate::support::{World, model, results, script};
use domain::checkpoint::CheckpointStrategy;
use domain::event::EventBody;
use domain::{CommandBody, CommandOutcome, PermissionMode, State};
use serde_json::{Value, json};
use session_runner::supervisor::Outcome;

async fn world(prompt: &str) -> World {
    let mut spec = testkit::spec();
    spec.permission_mode = PermissionMode::Bypass;
    World::new(model().await, real_claude().await, spec, prompt).await
}

fn question() -> Value {
    json!({"questions": [{"question": "Which colour?", "header": "Colour", "multiSelect": false,
        "options": [{"label": "Red", "description": "warm"}, {"label": "Blue", "description": "cold"}]}]})
}

fn answer(world_question: &domain::QuestionId) -> CommandBody {
    CommandBody::Answer {
        question: world_question.clone(),
        answers: r#"{"Which colour?":"Blue"}"#.to_owned(),
    }
}

async fn asked(world: &World) -> domain::QuestionId {
    world
        .until("question", |body| {
            matches!(body, EventBody::QuestionAsked { .. })
        })
        .await;
    let start = Instant::now();
    loop {
        if let Some(question) = world.head().await.question {
            return question.id;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "no question");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_suspended_session_goes_on_elsewhere_with_its_files() {
    let steps = json!([
        {"tool": "Bash", "input": {"command": "mkdir -p a/empty; echo one > a/file; ln -s file a/link; chmod 700 a/file", "description": "d"}},
        {"text": "first"},
    ]);
    let mut world = world(&script(steps)).await;
    world.settings.idle_time = Duration::from_millis(500);
    world.start();
    assert_eq!(world.outcome().await, Outcome::Suspended);
    let head = world.head().await;
    assert_eq!((head.state, head.commands_settled), (State::Suspended, 1));
    let checkpoints = world.ports.peek_checkpoints(&world.key);
    assert_eq!(
        Some(&checkpoints.last().expect("one").id),
        head.checkpoint.as_ref()
    );

    let steps = json!([
        {"tool": "Bash", "input": {"command": "cat a/file; readlink a/link; ls -d a/empty; stat -c %a a/file; echo two >> a/file", "description": "d"}},
        {"text": "second, after {saw}"},
    ]);
    world
        .send("m2", testkit::message(&format!("MARKER {}", script(steps))))
        .await;
    world.wake_elsewhere().await;
    world.start();
    assert_eq!(world.outcome().await, Outcome::Suspended);
    let events = world.events().await;
    let results = results(&events);
    assert_eq!(results[1], (false, "one\nfile\na/empty\n700".to_owned()));
    let resumed = events.iter().find_map(|event| match &event.body {
        EventBody::SessionResumed {
            checkpoint,
            abandoned,
            redone,
            ..
        } => Some((checkpoint.clone(), *abandoned, redone.clone())),
        _ => None,
    });
    assert_eq!(resumed, Some((head.checkpoint, None, vec![])));
    let changed = events.iter().rev().find_map(|event| match &event.body {
        EventBody::FilesChanged { files, patch } => Some((files.len(), patch.clone())),
        _ => None,
    });
    let (files, patch) = changed.expect("changed files");
    assert_eq!(files, 1, "{patch}");
    assert!(patch.contains("+two"), "{patch}");
}

#[tokio::test]
async fn a_question_waits_here_for_its_answer() {
    let steps = json!([
        {"tool": "AskUserQuestion", "input": question()},
        {"text": "thanks"},
    ]);
    let mut world = world(&script(steps)).await;
    world.start();
    let question = asked(&world).await;
    assert_eq!(world.head().await.state, State::Waiting);
    world
        .send(
            "a0",
            CommandBody::Answer {
                question: domain::QuestionId::parse("other").expect("an id"),
                answers: "{}".to_owned(),
            },
        )
        .await;
    world.send("a1", answer(&question)).await;
    let events = world.idle_after(1).await;
    assert!(results(&events)[0].1.contains("\"Which colour?\"=\"Blue\""));
    let outcome = world.command("a0").await.outcome;
    assert!(
        matches!(outcome, Some(CommandOutcome::Refused(_))),
        "{outcome:?}"
    );
    assert_eq!(
        world.command("a1").await.outcome,
        Some(CommandOutcome::Answered)
    );
    assert_eq!(world.head().await.question, None);
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

#[tokio::test]
async fn an_answer_wakes_the_session_and_exactly_that_call_goes_on() {
    let steps = json!([
        {"tool": "Bash", "input": {"command": "echo before >> log", "description": "d"}},
        {"tool": "AskUserQuestion", "input": question()},
        {"tool": "Bash", "input": {"command": "echo after >> log; cat log", "description": "d"}},
        {"text": "thanks"},
    ]);
    let mut world = world(&script(steps)).await;
    world.settings.idle_time = Duration::from_millis(500);
    world.start();
    assert_eq!(world.outcome().await, Outcome::Suspended);
    let head = world.head().await;
    let pending = head.question.expect("the question waits");
    world.send("a1", answer(&pending.id)).await;
    world.settings.idle_time = Duration::from_secs(60);
    world.wake_elsewhere().await;
    world.start();
    let events = world.idle_after(1).await;
    let texts: Vec<String> = results(&events).into_iter().map(|(_, text)| text).collect();
    assert!(texts[1].contains("\"Which colour?\"=\"Blue\""), "{texts:?}");
    assert_eq!(texts[2], "before\nafter");
    let first = world.ports.peek_commands(&world.key)[0].clone();
    assert!(
        matches!(first.outcome, Some(CommandOutcome::Turn(_))),
        "{first:?}"
    );
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

#[tokio::test]
async fn a_session_that_takes_no_checkpoints_is_kept_when_it_is_suspended() {
    let steps = json!([
        {"tool": "Bash", "input": {"command": "mkdir out; echo a > out/a; echo b > b", "description": "d"}},
        {"text": "done"},
    ]);
    let mut spec = testkit::spec();
    spec.permission_mode = PermissionMode::Bypass;
    spec.checkpoint_strategy = Some(CheckpointStrategy::Manual);
    spec.checkpoint_ignore = Some(vec!["out/".to_owned()]);
    let (model, claude) = (model().await, real_claude().await);
    let mut world = World::new(model, claude, spec, &script(steps)).await;
    world.start();
    world.idle_after(1).await;
    assert!(world.ports.peek_checkpoints(&world.key).is_empty());
    world.send("s1", CommandBody::Suspend).await;
    assert_eq!(world.outcome().await, Outcome::Suspended);
    let checkpoints = world.ports.peek_checkpoints(&world.key);
    // The file `b`, and the conversation.
    assert_eq!((checkpoints.len(), checkpoints[0].size.files), (1, 2));
}

#[tokio::test]
async fn a_checkpoint_is_taken_on_request_and_a_suspension_too() {
    let mut world = world(&script(json!([{"text": "done"}]))).await;
    world.start();
    world.idle_after(1).await;
    world
        .send(
            "k1",
            CommandBody::Checkpoint {
                message: Some("before the storm".to_owned()),
                tags: vec!["keep".to_owned()],
                pinned: true,
            },
        )
        .await;
    world.send("s1", CommandBody::Suspend).await;
    assert_eq!(world.outcome().await, Outcome::Suspended);
    let checkpoints = world.ports.peek_checkpoints(&world.key);
    let last = checkpoints.last().expect("one");
    assert_eq!(last.message.as_deref(), Some("before the storm"));
    assert!(last.pinned);
    assert_eq!(
        world.command("k1").await.outcome,
        Some(CommandOutcome::Checkpointed(last.id.clone()))
    );
    assert_eq!(
        world.command("s1").await.outcome,
        Some(CommandOutcome::Suspended)
    );
}

#[tokio::test]
async fn a_stopped_runner_hands_its_turn_over() {
    let steps = json!([
        {"tool": "Bash", "input": {"command": "echo one >> log", "description": "d"}},
        {"tool": "AskUserQuestion", "input": question()},
        {"text": "done"},
    ]);
    let mut world = world(&script(steps)).await;
    world.start();
    let question = asked(&world).await;
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
    world.send("a1", answer(&question)).await;
    world.wake_elsewhere().await;
    world.start();
    let events = world.idle_after(1).await;
    assert!(results(&events)[1].1.contains("Blue"));
    let log = std::fs::read_to_string(world.base.path().join("workspace/log")).expect("a log");
    assert_eq!(log, "one\n");
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

/// The only file below a directory of large results, wherever that lies below `directory`.
fn large_result(directory: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found = entries.filter_map(|entry| {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => large_result(&path),
            Ok(kind) => (kind.is_file() && directory.ends_with("tool-results")).then_some(path),
            Err(_) => None,
        }
    });
    let first = found.next();
    assert_eq!(found.next(), None);
    first
}

#[tokio::test]
async fn a_result_that_the_cli_keeps_in_a_file_is_there_on_the_next_machine() {
    let numbers = "seq 1 60000";
    let steps = json!([
        {"tool": "Bash", "input": {"command": numbers, "description": "d"}},
        {"text": "first"},
    ]);
    let mut world = world(&script(steps)).await;
    world.start();
    let events = world.idle_after(1).await;
    let projects = |world: &World| world.base.path().join("claude/projects");
    let file = large_result(&projects(&world)).expect("a large result");
    let bytes = std::fs::read(&file).expect("its bytes");
    assert!(bytes.starts_with(b"1\n2\n") && bytes.ends_with(b"60000\n"));
    let name = file.strip_prefix(projects(&world)).expect("below");
    let name = name.to_str().expect("a name").to_owned();
    // The conversation names it, and has only its beginning.
    let path = format!("/claude/projects/{name}");
    let said = results(&events)[0].1.clone();
    assert!(said.contains(&path) && said.len() < bytes.len(), "{said}");
    world.send("s1", CommandBody::Suspend).await;
    assert_eq!(world.outcome().await, Outcome::Suspended);

    let steps = json!([
        {"tool": "Read", "input": {"file_path": path, "offset": 59_999, "limit": 2}},
        {"text": "second"},
    ]);
    world.send("m2", testkit::message(&script(steps))).await;
    world.wake_elsewhere().await;
    world.start();
    let events = world.idle_after(2).await;
    let again = std::fs::read(projects(&world).join(&name)).expect("its bytes");
    assert!(again == bytes, "it has {} bytes", again.len());
    let (is_error, said) = results(&events)[1].clone();
    assert!(!is_error && said.contains("60000"), "{said}");
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
    // Readers have it too, once.
    let (_, below_project) = name.split_once('/').expect("a project");
    let end = format!("/{below_project}.zst");
    let written = world.objects.written.lock().expect("no panic");
    let stored: Vec<Vec<u8>> = written
        .iter()
        .filter(|(object, _)| object.ends_with(&end))
        .map(|(_, bytes)| zstd::decode_all(&bytes[..]).expect("a segment"))
        .collect();
    assert!(stored == [bytes], "{} of {end}", stored.len());
}
