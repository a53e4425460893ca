//! From the CLI to the client: how late an event is, and what starting through the stack adds.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use e2e::mcp::Client;
use e2e::session::Session;
use e2e::stack::Stack;
use e2e::{installed, script};
use emulator::offline_model::{OfflineModel, OfflineReason};
use serde_json::{Value, json};

use crate::Figure;
use crate::statistics::{median, milliseconds, percentile};

const STARTS: usize = 7;
const TOOL_CALLS: usize = 40;

pub(crate) async fn measure(stack: &Stack) -> Vec<Figure> {
    let client = stack.client();
    let mut late = latencies(&client).await;
    let mut through_stack = Vec::new();
    let mut plain = Vec::new();
    let model = OfflineModel::start(OfflineReason::Asked)
        .await
        .expect("a free port");
    // In turn, so that a busy moment of the machine meets both.
    for _ in 0..STARTS {
        through_stack.push(first_output(&client).await);
        let (url, key) = (model.url(), model.key().to_owned());
        plain.push(
            tokio::task::spawn_blocking(move || plain_claude(&url, &key))
                .await
                .expect("the task ends"),
        );
    }
    let (through_stack, plain) = (median(&mut through_stack), median(&mut plain));
    vec![
        Figure::new(
            "event latency, CLI line read to client: median, 99th percentile",
            format!(
                "{}, {}",
                milliseconds(median(&mut late)),
                milliseconds(percentile(&mut late, 0.99))
            ),
            "100 ms, –",
        ),
        Figure::new(
            "`create_session` to first CLI output, plain `claude -p`, difference",
            format!(
                "{}, {}, {}",
                milliseconds(through_stack),
                milliseconds(plain),
                milliseconds(through_stack.saturating_sub(plain))
            ),
            "–, –, 150 ms",
        ),
    ]
}

pub(crate) fn unix_now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is after 1970")
}

/// For every event of a busy turn, the time from its writer's clock to our having it.
async fn latencies(client: &Client) -> Vec<Duration> {
    let mut steps = vec![script::bash("true"); TOOL_CALLS];
    steps.push(script::text("done"));
    let mut session = Session::scripted(client, &steps).await;
    let mut late = Vec::new();
    while session.of_kind("turn_ended").is_empty() {
        let mut arguments = json!({"session_id": session.id, "until": "event", "wait_seconds": 20});
        if let Some(cursor) = &session.cursor {
            arguments["cursor"] = json!(cursor);
        }
        let answer = client.call("wait_session", arguments).await;
        let now = unix_now();
        for event in answer["events"].as_array().into_iter().flatten() {
            let cli_wrote = ["text", "tool_call", "tool_result"]
                .contains(&event["kind"].as_str().unwrap_or_default());
            if cli_wrote {
                let written =
                    Duration::from_millis(event["time_unix_ms"].as_u64().expect("a time"));
                late.push(now.saturating_sub(written));
            }
        }
        session.take(&answer);
        assert!(!session.is_ended(), "{}", session.story());
    }
    session.cancel().await;
    late
}

async fn first_output(client: &Client) -> Duration {
    let start = Instant::now();
    let mut session = Session::scripted(client, &["TEXT:hello"]).await;
    while session.of_kind("turn_started").is_empty() {
        let mut arguments = json!({"session_id": session.id, "until": "event", "wait_seconds": 20});
        if let Some(cursor) = &session.cursor {
            arguments["cursor"] = json!(cursor);
        }
        let answer = client.call("wait_session", arguments).await;
        session.take(&answer);
        assert!(!session.is_ended(), "{}", session.story());
    }
    let time = start.elapsed();
    session.cancel().await;
    time
}

/// Spawn of the plain CLI to its first line of output, the start of its turn.
fn plain_claude(model_url: &str, key: &str) -> Duration {
    let home = tempfile::tempdir().expect("a directory");
    let start = Instant::now();
    let mut child = Command::new(installed::claude())
        .args([
            "-p",
            "@@TEXT:hello",
            "--output-format",
            "stream-json",
            "--verbose",
        ])
        .current_dir(home.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.path())
        .env("ANTHROPIC_BASE_URL", model_url)
        .env("ANTHROPIC_API_KEY", key)
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the CLI starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let first = lines.next().expect("a line").expect("a readable line");
    let time = start.elapsed();
    let first: Value = serde_json::from_str(&first).expect("JSON");
    assert_eq!(first["subtype"], "init", "{first}");
    for line in lines {
        line.expect("a readable line");
    }
    assert!(child.wait().expect("it ends").success());
    time
}
