//! Killing what runs: sessions say what happened, lose nothing acknowledged, leave nothing behind.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use e2e::mcp::Client;
use e2e::process::{self, Running};
use e2e::script;
use e2e::session::Session;
use e2e::stack::{Options, Stack};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

/// A command that runs for a long time, outlives its shell, and can be found by its marker.
fn lingering(marker: &str) -> String {
    script::bash(&format!(
        "setsid sh -c 'tail -f /dev/null # {marker}' & timeout 100 tail -f /dev/null --pid=1 # {marker}"
    ))
}

fn marker() -> String {
    format!("marker-{}", uuid::Uuid::new_v4().simple())
}

async fn working<'client>(client: &'client Client, marker: &str) -> Session<'client> {
    let mut session = Session::create(
        client,
        json!({
            "prompt": script::prompt(&[script::bash("echo acknowledged"), lingering(marker), script::text("never")]),
            "message_id": "the-message",
            "permission_mode": "bypass",
        }),
    )
    .await;
    session
        .until("the second tool call", |session| {
            session.of_kind("tool_call").len() == 2
        })
        .await;
    assert!(
        process::eventually(Duration::from_secs(10), || process::running_with(marker)
            .len()
            >= 2),
        "{:?}",
        process::running_with(marker)
    );
    session
}

fn nothing_left(marker: &str) {
    assert!(
        process::eventually(Duration::from_secs(15), || process::running_with(marker)
            .is_empty()),
        "{:?}",
        process::running_with(marker)
    );
}

fn one_slot() -> Options {
    Options::default().with("SHANNON_MAX_SESSIONS", "1")
}

#[tokio::test]
async fn a_killed_runner_is_replaced_and_leaves_nothing() {
    let stack = Stack::start(&one_slot());
    let client = stack.client();
    let marker = marker();
    let mut session = working(&client, &marker).await;
    let seen = session.events.clone();
    let full = client
        .try_call("create_session", json!({"prompt": "no room"}))
        .await;
    assert!(
        full.is_error && full.text.contains("as many sessions"),
        "{}",
        full.text
    );

    let killed = Instant::now();
    process::kill_hard(process::runner_of(&session.id).id);
    session
        .until("the loss", |session| {
            session.of_kind("runner_lost").len() == 1
        })
        .await;
    assert!(
        killed.elapsed() < Duration::from_secs(12),
        "{:?}",
        killed.elapsed()
    );
    // Another runner takes over, and the interrupted turn is done again.
    session
        .until("the same tool call again", |session| {
            session.of_kind("runner_started").len() == 2 && session.of_kind("tool_call").len() == 4
        })
        .await;
    assert_eq!(
        session.events[..seen.len()],
        seen,
        "what was acknowledged is still there"
    );
    let lost = session.of_kind("runner_lost")[0];
    assert!(!lost["reason"].as_str().expect("a reason").is_empty());
    // It has kept its slot, and gives it back at its end.
    let full = client
        .try_call("create_session", json!({"prompt": "no room"}))
        .await;
    assert!(full.is_error, "{}", full.text);
    session.cancel().await;
    session.until_ended().await;
    let end = session.of_kind("session_ended")[0];
    assert_eq!(end["state"], "cancelled");
    assert_eq!(end["unfinished"], json!(["the-message"]));
    nothing_left(&marker);
    let mut next = Session::scripted(&client, &["TEXT:there is room"]).await;
    next.until_turns_ended(1).await;
    next.cancel().await;
}

#[tokio::test]
async fn a_runner_that_hangs_loses_its_session_and_can_write_nothing_more() {
    let stack = Stack::start(&one_slot());
    let client = stack.client();
    let marker = marker();
    let mut session = working(&client, &marker).await;
    let stopped = process::runner_of(&session.id);
    let id = Pid::from_raw(i32::try_from(stopped.id).expect("a small number"));
    kill(id, Signal::SIGSTOP).expect("our own runner can be stopped");
    let start = Instant::now();
    session
        .until("the loss", |session| {
            session.of_kind("runner_lost").len() == 1
        })
        .await;
    assert!(
        start.elapsed() < Duration::from_secs(12),
        "{:?}",
        start.elapsed()
    );
    session
        .until("another runner", |session| {
            session.of_kind("runner_started").len() == 2
        })
        .await;
    session.cancel().await;
    session.until_ended().await;
    let last = session.events.len();

    // It wakes up and finds that the session is not its own any more. (Somebody may have killed it.)
    let _ = kill(id, Signal::SIGCONT);
    assert!(
        process::eventually(Duration::from_secs(100), || process::running_with(
            &session.id
        )
        .is_empty()),
        "{:?}",
        process::running_with(&session.id)
    );
    nothing_left(&marker);
    session.wait(0).await;
    assert_eq!(session.events.len(), last, "{}", session.story());
}

#[tokio::test]
async fn a_hanging_runner_is_noticed_although_nobody_watches() {
    let stack = Stack::start(&one_slot());
    let client = stack.client();
    let marker = marker();
    let session = working(&client, &marker).await;
    let id =
        Pid::from_raw(i32::try_from(process::runner_of(&session.id).id).expect("a small number"));
    kill(id, Signal::SIGSTOP).expect("our own runner can be stopped");
    let (start, stopped_at) = (Instant::now(), unix_milliseconds());
    // The sweep finds it, stops what is left of its task, and starts another one.
    let of_session = |process: &Running| {
        let variable = format!("SHANNON_SESSION={} ", session.id);
        process.environment.contains(&variable)
    };
    let hanging = id.as_raw().unsigned_abs();
    loop {
        let running = process::running_with(&session.id);
        let others = running.iter().any(|it| of_session(it) && it.id != hanging);
        if others && !running.iter().any(|it| it.id == hanging) {
            break;
        }
        assert!(
            start.elapsed() < Duration::from_secs(220),
            "not replaced: {running:?}"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // Only now does anybody look.
    let mut session = session;
    session
        .until("the loss", |session| {
            !session.of_kind("runner_lost").is_empty()
        })
        .await;
    let lost = session
        .events
        .iter()
        .find(|event| event["kind"] == "runner_lost");
    let lost_at = lost
        .and_then(|event| event["time_unix_ms"].as_u64())
        .expect("a time");
    assert!(
        (stopped_at..=stopped_at + 90_000).contains(&lost_at),
        "lost {} ms after it was stopped",
        i128::from(lost_at) - i128::from(stopped_at)
    );
    session.cancel().await;
    session.until_ended().await;
    nothing_left(&marker);
}

fn unix_milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.expect("the clock is right").as_millis();
    u64::try_from(since).expect("a time of this age")
}

#[tokio::test]
async fn a_killed_emulator_leaves_no_process_and_the_next_one_finds_the_sessions() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = Options {
        state: Some(directory.path().join("state")),
        ..Options::default()
    };
    let stack = Stack::start(&options);
    let client = stack.client();
    let marker = marker();
    let mut idle = Session::scripted(&client, &["TEXT:an answer that stays"]).await;
    idle.until_turns_ended(1).await;
    idle.cancel().await;
    let session = working(&client, &marker).await;
    let state = stack.state.display().to_string();

    process::kill_hard(stack.process_id());
    nothing_left(&marker);
    assert!(
        process::eventually(Duration::from_secs(15), || {
            process::running_with(&session.id).is_empty()
                && process::running_with(&state).is_empty()
        }),
        "{:?} {:?}",
        process::running_with(&session.id),
        process::running_with(&state)
    );
    let (seen, cursor, id) = (
        session.events.clone(),
        session.cursor.clone(),
        session.id.clone(),
    );
    let token = stack.token.clone();
    drop(stack);

    let stack = Stack::start(&options);
    assert_eq!(stack.token, token, "clients keep their token");
    let client = stack.client();
    let listed = client.call("list_sessions", json!({})).await;
    let ids: Vec<&str> = listed["sessions"]
        .as_array()
        .expect("sessions")
        .iter()
        .filter_map(|session| session["session_id"].as_str())
        .collect();
    assert_eq!(ids, [id.as_str(), idle.id.as_str()]);

    let whole = client
        .call("wait_session", json!({"session_id": idle.id, "wait_seconds": 0, "response_budget_characters": 100_000}))
        .await;
    assert_eq!(whole["events"].as_array().expect("events"), &idle.events);
    let start = Instant::now();
    let mut arguments = json!({"session_id": id, "cursor": cursor, "wait_seconds": 5});
    let mut later = Vec::new();
    loop {
        let answer = client.call("wait_session", arguments.clone()).await;
        later.extend(answer["events"].as_array().expect("events").clone());
        arguments["cursor"] = answer["next_cursor"].clone();
        let lost = |event: &serde_json::Value| event["kind"] == "runner_lost";
        if later.iter().any(lost) {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{answer}");
    }
    let first = later.first().expect("it says that its runner is lost");
    assert_eq!(
        first["sequence"].as_u64(),
        seen.last()
            .and_then(|event| event["sequence"].as_u64())
            .map(|last| last + 1),
        "{later:?}"
    );
    let cancelled = client.call("cancel_session", json!({"session_id": id}));
    assert_eq!(cancelled.await["session_id"], json!(id));
}

#[tokio::test]
async fn a_stopped_emulator_stops_everything() {
    let stack = Stack::start(&one_slot());
    let client = stack.client();
    let marker = marker();
    let session = working(&client, &marker).await;
    let (id, state) = (session.id.clone(), stack.state.display().to_string());
    let (status, said) = stack.stop();
    assert!(status.success(), "{status} {said}");
    nothing_left(&marker);
    assert!(
        process::running_with(&id).is_empty(),
        "{:?}",
        process::running_with(&id)
    );
    assert!(
        process::running_with(&state).is_empty(),
        "{:?}",
        process::running_with(&state)
    );
}
