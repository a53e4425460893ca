//! Sessions that go on elsewhere: suspended, stopped and killed runners, and questions to a person,
//! with the real CLI in the real sandbox, and a scripted model.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::checkpoint::CheckpointStrategy;
use domain::event::EventBody;
use domain::ports::{ControlChange, SessionDirectory, SlotLimits};
use domain::{CommandBody, CommandOutcome, CommandState, PermissionMode, State, Transition};
use serde_json::{Value, json};
use session_runner::supervisor::{self, Outcome};
use support::installed::real_claude;
use support::{World, bodies, model, results, script};
use tokio::runtime::Runtime;
use tokio::sync::watch;

async fn world(prompt: &str) -> World {
    let mut spec = testkit::spec();
    spec.permission_mode = PermissionMode::Bypass;
    World::new(model().await, real_claude().await, spec, prompt).await
}

async fn control(world: &World, transition: Transition) {
    loop {
        let based_on = world.head().await;
        let change = ControlChange {
            rewind: None,
            slots: SlotLimits {
                deployment: 100,
                owner: 100,
            },
            based_on,
            transition,
            reason: "tested".to_owned(),
            events: vec![],
            now: domain::ports::Clock::now(&world.ports),
        };
        if world.ports.control(change).await.is_ok() {
            return;
        }
    }
}

/// A machine that has nothing of the session, for the next runner.
fn elsewhere(world: &mut World, number: usize) {
    world.base = tempfile::tempdir().expect("a directory");
    world.assignment.base = world.base.path().to_owned();
    world.assignment.task = format!("task-{number}");
    (world.stop, world.stopped) = watch::channel(false);
}

/// A runner with a runtime of its own: dropped, it ends at whatever await it stands, with every task
/// that it had started.
struct Machine(Option<Runtime>);

impl Machine {
    fn start(world: &mut World) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        world.running = Some(runtime.spawn(supervisor::run(
            Arc::new(world.ports.clone()),
            world.objects.clone(),
            world.settings.clone(),
            world.assignment.clone(),
            world.stopped.clone(),
        )));
        Self(Some(runtime))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
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
    control(&world, Transition::WasWoken).await;
    elsewhere(&mut world, 2);
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
    control(&world, Transition::WasWoken).await;
    world.settings.idle_time = Duration::from_secs(60);
    elsewhere(&mut world, 2);
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
    assert_eq!((checkpoints.len(), checkpoints[0].size.files), (1, 1));
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
    control(&world, Transition::WasWoken).await;
    elsewhere(&mut world, 2);
    world.start();
    let events = world.idle_after(1).await;
    assert!(results(&events)[1].1.contains("Blue"));
    let log = std::fs::read_to_string(world.base.path().join("workspace/log")).expect("a log");
    assert_eq!(log, "one\n");
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

/// The prompt of each turn of the long session.
fn turn(number: usize) -> String {
    let note = json!({"tool": "Bash", "input": {"command": format!("echo {number} >> log"), "description": "d"}});
    let write = json!({"tool": "Write", "input": {"file_path": format!("/workspace/file-{number}"), "content": format!("{number}\n")}});
    let inner = json!([
        {"tool": "Bash", "input": {"command": format!("echo agent {number} >> agents"), "description": "d"}},
        {"tool": "Write", "input": {"file_path": format!("/workspace/agent-{number}"), "content": "x"}},
        {"text": "the agent is done"},
    ]);
    let agent = json!({"tool": "Agent", "input": {"description": "sub", "prompt": format!("sub @@{inner}"),
        "subagent_type": "general-purpose", "run_in_background": false}});
    let asks = json!({"tool": "AskUserQuestion", "input": question()});
    let end = json!({"text": format!("turn {number} is done")});
    let steps = match number % 5 {
        1 => json!([note, write, end]),
        2 => json!([note, agent, write, end]),
        3 => json!([note, asks, write, end]),
        4 => json!([note, write, note, end]),
        _ => json!([note, end]),
    };
    script(steps)
}

const TURNS: usize = 20;

/// Runs the whole session; after each pause its runner is killed. Gives the files and what was said.
async fn whole_session(mut pauses: Vec<Duration>) -> (BTreeMap<String, String>, Vec<String>) {
    let mut world = world(&turn(1)).await;
    let mut runners = 1;
    let mut machine = Machine::start(&mut world);
    let mut kill_at = pauses.pop().map(|pause| Instant::now() + pause);
    let mut sent = 1;
    let mut answered = Vec::new();
    let patience = Instant::now();
    loop {
        assert!(
            patience.elapsed() < Duration::from_secs(600),
            "too long: {:#?}",
            bodies(&world.events().await)
        );
        if kill_at.is_some_and(|at| Instant::now() >= at) {
            world.running = None;
            drop(machine);
            control(&world, Transition::RunnerVanished).await;
            control(&world, Transition::WasWoken).await;
            runners += 1;
            elsewhere(&mut world, runners);
            machine = Machine::start(&mut world);
            kill_at = pauses.pop().map(|pause| Instant::now() + pause);
        }
        let head = world.head().await;
        assert!(
            !head.state.is_ended(),
            "{:#?}",
            bodies(&world.events().await)
        );
        if let Some(question) = &head.question
            && !answered.contains(&question.id)
        {
            answered.push(question.id.clone());
            let id = format!("a{}", answered.len());
            world.send(&id, answer(&question.id)).await;
        }
        let done = world
            .ports
            .peek_commands(&world.key)
            .iter()
            .all(|command| command.state == CommandState::Done);
        if head.state == State::Idle && done && head.commands_settled == head.commands_accepted {
            if sent == TURNS {
                break;
            }
            sent += 1;
            world
                .send(&format!("m{sent}"), testkit::message(&turn(sent)))
                .await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(pauses.is_empty(), "{} kills are left", pauses.len());
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(world.base.path().join("workspace")).expect("files") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(entry.path()).expect("a text");
        files.insert(name, text);
    }
    let said = conversation(&world.base.path().join("var/shannon/transcript"));
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
    drop(machine);
    (files, said)
}

/// The conversation that a transcript holds: from its last entry back along the parents, without
/// what the CLI says about a resume.
fn conversation(directory: &Path) -> Vec<String> {
    let project = std::fs::read_dir(directory)
        .expect("a project")
        .next()
        .expect("one")
        .expect("an entry")
        .path();
    let main = std::fs::read_dir(project)
        .expect("files")
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|kind| kind == "jsonl"))
        .expect("a conversation");
    let text = std::fs::read_to_string(main).expect("a text");
    let lines: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let by_id: BTreeMap<&str, &Value> = lines
        .iter()
        .filter_map(|line| Some((line["uuid"].as_str()?, line)))
        .collect();
    let spoken = |line: &Value| line["type"] == "user" || line["type"] == "assistant";
    let mut at = lines.iter().rev().find(|line| spoken(line));
    let mut said = Vec::new();
    while let Some(line) = at {
        if spoken(line) && line["isMeta"] != true {
            said.push(said_by(line));
        }
        let parent = line["parentUuid"].as_str();
        at = parent.and_then(|parent| by_id.get(parent).copied());
    }
    said.reverse();
    said
}

fn said_by(line: &Value) -> String {
    let content = &line["message"]["content"];
    let Some(blocks) = content.as_array() else {
        return content.to_string();
    };
    let shown = blocks.iter().map(|block| match block["type"].as_str() {
        Some("text") => block["text"].to_string(),
        Some("tool_use") => format!("{} {}", block["name"], block["input"]),
        // An agent's report names the agent's id.
        Some("tool_result") if block["content"].is_array() => "a report".to_owned(),
        Some("tool_result") => block["content"].to_string(),
        other => format!("{other:?}"),
    });
    shown.collect::<Vec<_>>().join("; ")
}

/// Pauses between 0 and 3 s; the same for the same seed.
fn pauses(seed: u64, count: usize) -> Vec<Duration> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    (0..count)
        .map(|_| Duration::from_millis(next() % 3_000))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_runner_is_killed_fifty_times_is_as_if_it_had_not_been() {
    let seed = std::env::var("SHANNON_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(7);
    let count = std::env::var("SHANNON_TEST_KILLS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(50);
    let (files, said) = whole_session(Vec::new()).await;
    assert_eq!(files["log"].lines().count(), 24);
    let (files_after, said_after) = whole_session(pauses(seed, count)).await;
    assert_eq!(files_after, files, "seed {seed}");
    assert_eq!(said_after, said, "seed {seed}");
}
