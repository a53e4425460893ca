//! What becomes of the helper that the CLI asks before each call, with the real CLI: missing, crashing,
//! hanging, killed, answered with garbage. Nothing runs.
//!
//! The mode lets everything run, so nothing but the helper stands in the way. A script takes its
//! place, for which the session is not isolated: in namespaces the helper is the program of the stages
//! itself.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::approvals::{bash, exists};
use crate::support::installed::real_claude;
use crate::support::{World, model, results, script};
use domain::{CommandBody, PermissionMode};
use serde_json::{Value, json};
use session_runner::sandbox::plan::Isolation;
use session_runner::supervisor::Outcome;
use tempfile::TempDir;

const REAL: &str = env!("CARGO_BIN_EXE_session-runner");

/// A session that calls these one after the other. Its runner program does `gate` for the CLI; for
/// everything else it is itself, after `before`. Its directory is `$here`.
async fn world(calls: &[String], gate: &str, before: &str) -> (World, TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let program = directory.path().join("session-runner");
    let text = format!(
        "#!/bin/bash\nhere=${{0%/*}}\nif [ \"$1\" = gate ]; then\n{gate}\nfi\n{before}\nexec '{REAL}' \"$@\"\n"
    );
    testkit::executable(&program, &text);
    let mut spec = testkit::spec();
    spec.permission_mode = PermissionMode::Bypass;
    let mut steps: Vec<Value> = calls.iter().map(|command| bash(command)).collect();
    steps.push(json!({"text": "done"}));
    let prompt = script(json!(steps));
    let mut world = World::new(model().await, real_claude().await, spec, &prompt).await;
    world.assignment.isolation = Isolation::None;
    world.assignment.runner_program = program;
    world.start();
    (world, directory)
}

/// What became of each call, in order.
async fn failed(world: &mut World) -> Vec<bool> {
    let events = world.idle_after(1).await;
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
    let results = results(&events);
    results.iter().map(|(is_error, _)| *is_error).collect()
}

#[tokio::test]
async fn where_the_gates_helper_crashes_is_killed_or_fails_nothing_runs() {
    let allow = json!({"hookSpecificOutput": {
        "hookEventName": "PreToolUse",
        "permissionDecision": "allow",
        "permissionDecisionReason": "",
    }});
    let ways = [
        ("crashed", "kill -SEGV $$".to_owned()),
        ("killed", "kill -KILL $$".to_owned()),
        ("ended", "exit 1".to_owned()),
        ("unsure", "echo garbage; exit 1".to_owned()),
        ("allowed-and-failed", format!("echo '{allow}'; exit 1")),
        (
            "allowed-and-killed",
            format!("echo '{allow}'; kill -KILL $$"),
        ),
        // The same helper lets a call go when nothing is wrong with it.
        (
            "asked",
            format!("printf %s \"$call\" | '{REAL}' gate \"$2\"; exit"),
        ),
    ];
    let calls = ways.each_ref().map(|(name, _)| format!("touch {name}"));
    let cases: String = ways
        .iter()
        .map(|(name, way)| format!("*'touch {name}'*) {way};;\n"))
        .collect();
    let gate = format!("call=$(cat)\ncase \"$call\" in\n{cases}esac\nexit 9");
    let (mut world, _directory) = world(&calls, &gate, "").await;
    let failed = failed(&mut world).await;
    let ran = ways.each_ref().map(|(name, _)| exists(&world, name));
    assert_eq!(ran, [false, false, false, false, false, false, true]);
    assert_eq!(failed, [true, true, true, true, true, true, false]);
}

#[tokio::test]
async fn where_the_gates_helper_is_missing_nothing_runs() {
    let calls = ["touch ran".to_owned()];
    let (mut world, directory) = world(&calls, "exit 9", "rm -- \"$0\"").await;
    assert_eq!(failed(&mut world).await, [true]);
    assert!(!exists(&world, "ran"));
    assert!(!directory.path().join("session-runner").exists());
}

/// It waits until the file is there.
async fn appears(file: &Path) {
    let start = Instant::now();
    while !file.exists() {
        assert!(start.elapsed() < Duration::from_secs(30), "no {file:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn while_the_gates_helper_hangs_nothing_runs() {
    let calls = ["touch ran".to_owned()];
    let gate = "touch \"$here/hangs\"; exec tail -f /dev/null";
    let (mut world, directory) = world(&calls, gate, "").await;
    appears(&directory.path().join("hangs")).await;
    assert!(!exists(&world, "ran"));
    world.send("i1", CommandBody::Interrupt).await;
    assert_eq!(failed(&mut world).await, [true]);
    assert!(!exists(&world, "ran"));
}

#[tokio::test]
async fn where_the_gates_helper_is_answered_with_garbage_nothing_runs() {
    const ANSWERS: [&[u8]; 6] = [
        b"",
        b"allow",
        b"{}",
        b"{\"decision\":\"allow\"",
        b"{\"decision\":\"yes\"}",
        b"\xff\xfe\0",
    ];
    let calls: Vec<String> = (0..ANSWERS.len())
        .map(|call| format!("touch ran{call}"))
        .collect();
    let gate = format!("exec '{REAL}' gate \"$here/garbage.sock\"");
    let (mut world, directory) = world(&calls, &gate, "").await;
    let socket = UnixListener::bind(directory.path().join("garbage.sock")).expect("a socket");
    let answering = std::thread::spawn(move || {
        for answer in ANSWERS {
            let (mut stream, _) = socket.accept().expect("a helper");
            let mut call = Vec::new();
            stream.read_to_end(&mut call).expect("a call");
            stream.write_all(answer).expect("answered");
        }
    });
    assert_eq!(failed(&mut world).await, [true; ANSWERS.len()]);
    answering.join().expect("each call was asked about");
    assert!((0..ANSWERS.len()).all(|call| !exists(&world, &format!("ran{call}"))));
}
