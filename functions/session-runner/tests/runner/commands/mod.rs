//! Commands of callers, with the real CLI in the real sandbox: what runs, what does not, how it ends,
//! and that it runs once at the most, whoever is lost meanwhile.

mod outlived;

use std::time::{Duration, Instant};

use crate::approvals::{decide, deny, exists, next_approval};
use crate::support::installed::real_claude;
use crate::support::{World, bodies, model, script};
use domain::event::{EventBody, RunEnd, RunHow};
use domain::{
    CommandBody, CommandOutcome, CommandState, Decision, Event, PermissionMode, State, Tier, limits,
};
use serde_json::{Value, json};
use session_runner::supervisor::Outcome;

async fn world(mode: PermissionMode, steps: Value) -> World {
    let mut spec = testkit::spec();
    spec.permission_mode = mode;
    World::new(model().await, real_claude().await, spec, &script(steps)).await
}

/// A session that is idle after its first turn.
async fn idle(mode: PermissionMode) -> World {
    let mut world = world(mode, json!([{"text": "done"}])).await;
    world.start();
    world.idle_after(1).await;
    world
}

fn run(command: &str) -> CommandBody {
    CommandBody::Run {
        command: command.to_owned(),
        timeout_seconds: 60,
    }
}

/// What came of a command: how it ended and what it printed, once it has.
struct Came {
    end: RunEnd,
    stdout: String,
    stderr: String,
    bytes: (u64, u64),
}

fn about<'e>(events: &'e [Event], id: &str) -> Vec<&'e EventBody> {
    let caused = events.iter().filter(|event| {
        event
            .cause
            .as_ref()
            .is_some_and(|cause| cause.as_str() == id)
    });
    caused.map(|event| &event.body).collect()
}

async fn done(world: &World, id: &str) -> Option<CommandOutcome> {
    let start = Instant::now();
    loop {
        let command = world.command(id).await;
        if command.state == CommandState::Done {
            return command.outcome;
        }
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{id} is not done: {:#?}",
            bodies(&world.events().await)
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn ended(world: &World, id: &str) -> Came {
    let outcome = done(world, id).await;
    let events = world.events().await;
    let came = about(&events, id).into_iter().find_map(|body| match body {
        EventBody::CommandEnded {
            end,
            stdout,
            stderr,
            stdout_bytes,
            stderr_bytes,
        } => Some(Came {
            end: end.clone(),
            stdout: stdout.clone(),
            stderr: stderr.clone(),
            bytes: (*stdout_bytes, *stderr_bytes),
        }),
        _ => None,
    });
    let came = came.unwrap_or_else(|| panic!("{outcome:?}: {:#?}", bodies(&events)));
    assert_eq!(outcome, Some(CommandOutcome::Ran(came.end.clone())));
    came
}

async fn until_state(world: &World, state: State) {
    let start = Instant::now();
    while world.head().await.state != state {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "not {state}: {:#?}",
            bodies(&world.events().await)
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn starts(events: &[Event]) -> Vec<&str> {
    let started = events.iter().filter_map(|event| match &event.body {
        EventBody::CommandStarted { command, .. } => Some(command.as_str()),
        _ => None,
    });
    started.collect()
}

async fn stop(mut world: World) {
    until_state(&world, State::Idle).await;
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

/// Seconds that nobody else sleeps for.
fn mark() -> String {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("7{}.{count}", std::process::id())
}

fn sleepers(mark: &str) -> usize {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let wanted = format!("sleep\0{mark}\0");
    lines.filter(|line| line == wanted.as_bytes()).count()
}

async fn sleep_until_there_are(count: usize, mark: &str) {
    let start = Instant::now();
    while sleepers(mark) != count {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{} sleepers instead of {count}",
            sleepers(mark)
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn it_runs_in_the_workspace_and_is_kept() {
    let write = json!({"tool": "Write", "input": {"file_path": "/workspace/made", "content": "by the model\n"}});
    let mut world = world(PermissionMode::Bypass, json!([write, {"text": "done"}])).await;
    world.start();
    world.idle_after(1).await;
    let script = "cat made; cat; pwd; echo new > other; echo wrong >&2; exit 3";
    world.send("r1", run(script)).await;
    let came = ended(&world, "r1").await;
    let directory = if cfg!(target_os = "linux") {
        "/workspace".to_owned()
    } else {
        world.base.path().join("workspace").display().to_string()
    };
    assert_eq!(came.stdout, format!("by the model\n{directory}\n"));
    assert_eq!(came.stderr, "wrong\n");
    assert_eq!(came.bytes.1, 6);
    assert_eq!(
        (came.end.how, came.end.exit_code),
        (RunHow::Exited, Some(3))
    );
    until_state(&world, State::Idle).await;
    let events = world.events().await;
    assert_eq!(starts(&events), [script]);
    let changed = events.iter().rev().find_map(|event| match &event.body {
        EventBody::FilesChanged { files, .. } => Some(files[0].path.as_str()),
        _ => None,
    });
    assert_eq!(changed, Some("other"));
    let head = world.head().await;
    assert_eq!(head.commands_settled, head.commands_accepted);
    // The next machine has what it made; a signal is counted as shells do.
    world.send("s1", CommandBody::Suspend).await;
    assert_eq!(world.outcome().await, Outcome::Suspended);
    world.send("r2", run("cat other; kill -9 $$")).await;
    world.wake_elsewhere().await;
    world.start();
    let came = ended(&world, "r2").await;
    assert_eq!(came.stdout, "new\n");
    assert_eq!(came.end.exit_code, Some(137));
    assert_eq!(starts(&world.events().await).len(), 2);
    stop(world).await;
}

#[tokio::test]
async fn what_is_denied_does_not_run() {
    let world = idle(PermissionMode::Bypass).await;
    world.send("r1", run("touch one; rm -rf /")).await;
    let outcome = done(&world, "r1").await;
    assert!(
        matches!(outcome, Some(CommandOutcome::Refused(_))),
        "{outcome:?}"
    );
    until_state(&world, State::Idle).await;
    let events = world.events().await;
    let denied = about(&events, "r1")
        .into_iter()
        .find_map(|body| match body {
            EventBody::ToolDenied {
                policies, reason, ..
            } => Some((policies.clone(), reason.clone())),
            _ => None,
        });
    let (policies, reason) = denied.expect("denied");
    assert_eq!(policies, ["denials/destroying-roots"]);
    assert!(!reason.is_empty());
    assert!(starts(&events).is_empty() && !exists(&world, "one"));
    stop(world).await;
}

#[tokio::test]
async fn a_person_decides_about_exactly_that_command() {
    let world = idle(PermissionMode::Review).await;
    world.send("r1", run("touch one")).await;
    let first = next_approval(&world, None).await;
    assert_eq!(world.head().await.state, State::Waiting);
    assert!(
        first.1.parts.iter().any(|part| part.contains("touch one")),
        "{first:?}"
    );
    assert!(first.1.reason.contains("run_command"), "{first:?}");
    assert!(!exists(&world, "one") && starts(&world.events().await).is_empty());
    decide(&world, &first, Decision::AllowOnce).await;
    assert_eq!(ended(&world, "r1").await.end.exit_code, Some(0));
    assert!(exists(&world, "one"));
    until_state(&world, State::Idle).await;
    assert_eq!(world.head().await.question, None);

    // The same command again is asked about again, and may be edited.
    world.send("r2", run("touch one")).await;
    let second = next_approval(&world, Some(&first.0)).await;
    let input = json!({"command": "touch yours"}).to_string();
    decide(&world, &second, Decision::AllowEdited { input }).await;
    assert_eq!(ended(&world, "r2").await.end.exit_code, Some(0));
    assert!(exists(&world, "yours"));
    assert_eq!(starts(&world.events().await), ["touch one", "touch yours"]);

    world.send("r3", run("touch three")).await;
    let third = next_approval(&world, Some(&second.0)).await;
    decide(&world, &third, deny("not today")).await;
    let outcome = done(&world, "r3").await;
    assert!(
        matches!(&outcome, Some(CommandOutcome::Refused(words)) if words.contains("not today")),
        "{outcome:?}"
    );
    let events = world.events().await;
    let denied = |body: &&EventBody| matches!(body, EventBody::ToolDenied { reason, .. } if reason.contains("not today"));
    assert!(about(&events, "r3").iter().any(denied));

    // Allowed for the session, it is not asked about.
    world.send("r4", run("touch four")).await;
    let fourth = next_approval(&world, Some(&third.0)).await;
    decide(&world, &fourth, Decision::AllowCall).await;
    ended(&world, "r4").await;
    world.send("r5", run("touch four")).await;
    ended(&world, "r5").await;
    assert!(!exists(&world, "three"));

    // That it only reads has no second reader.
    world.send("r6", run("ls")).await;
    let sixth = next_approval(&world, Some(&fourth.0)).await;
    assert!(sixth.1.reason.contains("second reader"), "{sixth:?}");
    decide(&world, &sixth, deny("")).await;
    done(&world, "r6").await;
    stop(world).await;
}

#[tokio::test]
async fn what_the_tier_lets_run_runs_by_itself() {
    let mut spec = testkit::spec();
    spec.tier = Tier::Auto;
    let prompt = script(json!([{"text": "done"}]));
    let mut world = World::new(model().await, real_claude().await, spec, &prompt).await;
    world.settings.tier = Tier::Auto;
    world.start();
    world.idle_after(1).await;
    world.send("r1", run("touch one && ls")).await;
    assert_eq!(ended(&world, "r1").await.stdout, "one\n");
    stop(world).await;
}

#[tokio::test]
async fn what_nobody_decides_does_not_run() {
    let mut world = world(PermissionMode::Review, json!([{"text": "done"}])).await;
    world.settings.approval_expiry = Duration::from_millis(300);
    world.start();
    world.idle_after(1).await;
    world.send("r1", run("touch one")).await;
    let outcome = done(&world, "r1").await;
    assert!(
        matches!(&outcome, Some(CommandOutcome::Refused(words)) if words.contains("Nobody decided")),
        "{outcome:?}"
    );
    assert!(!exists(&world, "one"));
    stop(world).await;
}

#[tokio::test]
async fn its_time_ends_it_with_all_that_it_started() {
    let world = idle(PermissionMode::Bypass).await;
    let mark = mark();
    let body = CommandBody::Run {
        command: format!("echo before; (setsid sleep {mark} &) ; sleep {mark} & sleep {mark}"),
        timeout_seconds: 2,
    };
    world.send("r1", body).await;
    sleep_until_there_are(3, &mark).await;
    assert_eq!(world.head().await.state, State::Running);
    let came = ended(&world, "r1").await;
    assert_eq!((came.end.how, came.end.exit_code), (RunHow::TimedOut, None));
    assert!(came.end.reason.expect("why").contains("2 s"));
    assert_eq!(came.stdout, "before\n");
    assert_eq!(sleepers(&mark), 0);

    // What it leaves running when it ends by itself ends with it.
    let script = format!("setsid sleep {mark} & disown; echo left");
    world.send("r2", run(&script)).await;
    let came = ended(&world, "r2").await;
    assert_eq!(
        (came.stdout.as_str(), came.end.exit_code),
        ("left\n", Some(0))
    );
    assert_eq!(sleepers(&mark), 0);
    stop(world).await;
}

#[tokio::test]
async fn much_output_is_bounded_and_secrets_are_hidden() {
    let mut world = world(PermissionMode::Bypass, json!([{"text": "done"}])).await;
    let secret = "this-runners-own-secret-0123456789";
    world.assignment.secrets = vec![secret.to_owned()];
    world.start();
    world.idle_after(1).await;
    let script = "yes 0123456789 | head -c 5000000; echo the end";
    world.send("r1", run(script)).await;
    let came = ended(&world, "r1").await;
    assert_eq!(came.bytes, (5_000_008, 0));
    assert!(
        came.stdout.len() < limits::RUN_OUTPUT_BYTES + 200,
        "{}",
        came.stdout.len()
    );
    assert!(came.stdout.starts_with("0123456789\n") && came.stdout.ends_with("the end\n"));
    // The CLI's own secrets are not there, and others are not shown.
    let token = format!("ghp_{}", "a1B2c3D4e5F6".repeat(3));
    world
        .send(
            "r2",
            run(&format!("env; echo {secret}; echo token {token} >&2")),
        )
        .await;
    let came = ended(&world, "r2").await;
    assert!(
        came.stdout.contains("HOME=") && came.stdout.contains("[redacted"),
        "{}",
        came.stdout
    );
    assert!(
        !came.stdout.contains("ANTHROPIC") && !came.stdout.contains("CLAUDE"),
        "{}",
        came.stdout
    );
    let said = format!("{:?}", world.events().await);
    assert!(!said.contains(secret) && !said.contains(&token), "{said}");
    stop(world).await;
}

#[tokio::test]
async fn it_waits_for_the_turn_and_what_comes_behind_waits_for_it() {
    let call = json!({"tool": "Bash", "input": {"command": "until [ -e go ]; do sleep 0.05; done; touch turn", "description": "d"}});
    let mut world = world(PermissionMode::Bypass, json!([call, {"text": "done"}])).await;
    world.start();
    world
        .until("a call", |body| matches!(body, EventBody::ToolCall { .. }))
        .await;
    world.send("r1", run("ls turn")).await;
    world.send("r2", run("touch two")).await;
    let second = script(json!([{"text": "second"}]));
    world.send("m2", testkit::message(&second)).await;
    world.send("r3", run("ls two")).await;
    let stop_two = CommandBody::StopRun {
        run: domain::CommandId::parse("r2").expect("an id"),
    };
    // One that has not begun is taken back.
    world.send("k1", stop_two).await;
    assert_eq!(
        done(&world, "k1").await,
        Some(CommandOutcome::Interrupted(true))
    );
    assert!(matches!(
        done(&world, "r2").await,
        Some(CommandOutcome::Refused(_))
    ));
    assert!(starts(&world.events().await).is_empty());
    std::fs::write(world.base.path().join("workspace/go"), "").expect("written");
    assert_eq!(ended(&world, "r1").await.stdout, "turn\n");
    assert_eq!(ended(&world, "r3").await.end.exit_code, Some(2));
    let events = world.idle_after(2).await;
    let order: Vec<&str> = events
        .iter()
        .filter_map(|event| match &event.body {
            EventBody::MessageTaken { .. } => Some("message"),
            EventBody::TurnEnded(_) => Some("turn"),
            EventBody::CommandStarted { .. } => Some("started"),
            EventBody::CommandEnded { .. } => Some("ended"),
            EventBody::MessageWithdrawn => Some("withdrawn"),
            _ => None,
        })
        .collect();
    let expected = [
        "message",
        "withdrawn",
        "turn",
        "started",
        "ended",
        "message",
        "turn",
        "started",
        "ended",
    ];
    assert_eq!(order, expected);
    assert!(!exists(&world, "two"));
    stop(world).await;
}

#[tokio::test]
async fn interrupts_reach_it_wherever_it_is() {
    let mut world = world(PermissionMode::Review, json!([{"text": "done"}])).await;
    world.start();
    world.idle_after(1).await;
    let mark = mark();
    world.send("r1", run(&format!("sleep {mark}"))).await;
    let asked = next_approval(&world, None).await;
    decide(&world, &asked, Decision::AllowOnce).await;
    sleep_until_there_are(1, &mark).await;
    world.send("i1", CommandBody::Interrupt).await;
    assert_eq!(ended(&world, "r1").await.end.how, RunHow::Interrupted);
    assert_eq!(
        done(&world, "i1").await,
        Some(CommandOutcome::Interrupted(true))
    );
    assert_eq!(sleepers(&mark), 0);
    // One that waits for a person is taken back, and nobody can allow it any more.
    world.send("r2", run("touch two")).await;
    let asked = next_approval(&world, Some(&asked.0)).await;
    world.send("i2", CommandBody::Interrupt).await;
    assert!(matches!(
        done(&world, "r2").await,
        Some(CommandOutcome::Refused(_))
    ));
    until_state(&world, State::Idle).await;
    assert_eq!(world.head().await.question, None);
    decide(&world, &asked, Decision::AllowOnce).await;
    let late = done(&world, &format!("answer.{}", asked.0)).await;
    assert!(matches!(late, Some(CommandOutcome::Refused(_))), "{late:?}");
    assert!(!exists(&world, "two"));
    // Nothing runs.
    let none = CommandBody::StopRun {
        run: domain::CommandId::parse("r1").expect("an id"),
    };
    world.send("k1", none).await;
    assert_eq!(
        done(&world, "k1").await,
        Some(CommandOutcome::Interrupted(false))
    );
    // The session works on.
    world
        .send("m2", testkit::message(&script(json!([{"text": "second"}]))))
        .await;
    world.idle_after(2).await;
    stop(world).await;
}
