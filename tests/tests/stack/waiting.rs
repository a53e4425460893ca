//! Watching: bounded waits, cursors, budgets, streams with keep-alives and progress.

use std::time::{Duration, Instant};

use e2e::script;
use e2e::session::Session;
use e2e::stack;
use serde_json::json;

#[tokio::test]
async fn the_same_cursor_gives_the_same_events() {
    let stack = stack::shared();
    let client = stack.client();
    let mut session =
        Session::scripted(&client, &[script::bash("echo one"), script::text("done")]).await;
    session.until_turns_ended(1).await;
    session.cancel().await;
    let whole =
        json!({"session_id": session.id, "wait_seconds": 0, "response_budget_characters": 100_000});
    let first = client.call("wait_session", whole.clone()).await;
    let second = client.call("wait_session", whole).await;
    assert_eq!(first["events"], second["events"]);
    assert_eq!(first["events"].as_array().expect("events"), &session.events);
}

#[tokio::test]
async fn a_wait_ends_in_time() {
    let stack = stack::shared();
    let client = stack.client();
    let mut session = Session::scripted(&client, &["SLEEP:20:TEXT:late"]).await;
    session
        .until("a running turn", |session| session.state == "running")
        .await;
    let start = Instant::now();
    let answer = session.wait(2).await;
    let took = start.elapsed();
    assert_eq!(answer["state"], "running");
    assert!(took >= Duration::from_millis(1900), "{took:?}");
    assert!(took < Duration::from_secs(6), "{took:?}");
    session.cancel().await;
}

#[tokio::test]
async fn a_small_budget_loses_nothing() {
    let stack = stack::shared();
    let client = stack.client();
    let mut session = Session::scripted(
        &client,
        &[
            script::bash("seq 1 400"),
            script::bash("seq 1 400"),
            script::text("done"),
        ],
    )
    .await;
    session.until_turns_ended(1).await;
    session.cancel().await;

    let mut cursor = json!(null);
    let mut events = Vec::new();
    let mut answers = 0;
    loop {
        let mut arguments =
            json!({"session_id": session.id, "wait_seconds": 0, "response_budget_characters": 500});
        if cursor.is_string() {
            arguments["cursor"] = cursor;
        }
        let answer = client.call("wait_session", arguments).await;
        let page = answer["events"].as_array().expect("events");
        events.extend(page.iter().map(|event| event["sequence"].clone()));
        cursor = answer["next_cursor"].clone();
        answers += 1;
        if answer["more"] != true {
            break;
        }
        assert!(
            !page.is_empty(),
            "an answer with more to come but without events never ends"
        );
    }
    let all: Vec<_> = session
        .events
        .iter()
        .map(|event| event["sequence"].clone())
        .collect();
    assert_eq!(events, all);
    assert!(answers > 3, "{answers} answers of 500 characters");
}

#[tokio::test]
async fn text_is_seen_while_it_is_written() {
    let stack = stack::shared();
    let client = stack.client();
    let mut session = Session::scripted(&client, &[script::slow(40, 250)]).await;
    let mut live = String::new();
    while live.is_empty() {
        let answer = session.wait(1).await;
        live = answer["live"]["text"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(
            session.of_kind("text").is_empty(),
            "the text was finished before any of it was shown:\n{}",
            session.story()
        );
    }
    assert!(live.starts_with("word0"), "{live}");
    session.until_turns_ended(1).await;
    assert!(session.said().contains("word39"));
    session.cancel().await;
}

#[tokio::test]
async fn a_long_wait_is_a_stream_with_keep_alives_and_progress() {
    let stack = stack::shared();
    let client = stack.client();
    let mut session = Session::scripted(
        &client,
        &[script::bash("echo early"), "SLEEP:40:TEXT:late".to_owned()],
    )
    .await;
    // However long the start takes: the silence is what is waited through. The checkpoint of the
    // tool call breaks it once, at any time; what is left on one side of it is more than 15 s.
    session
        .until("the tool's result", |session| {
            !session.tool_results().is_empty()
        })
        .await;
    let answer = client
        .request(
            "tools/call",
            json!({
                "name": "wait_session",
                "arguments": {"session_id": session.id, "wait_seconds": 50, "response_budget_characters": 100_000},
                "_meta": {"progressToken": "watching"},
            }),
        )
        .await;
    assert!(answer.is_stream(), "{:?}", answer.headers);
    assert!(answer.comments > 0, "no keep-alive in {}", answer.body);
    let progress: Vec<_> = answer
        .notifications()
        .into_iter()
        .filter(|message| message["method"] == "notifications/progress")
        .collect();
    assert!(!progress.is_empty(), "{}", answer.body);
    let mut last = 0.0;
    for message in &progress {
        assert_eq!(message["params"]["progressToken"], "watching");
        let value = message["params"]["progress"].as_f64().expect("a number");
        assert!(value > last, "progress must grow: {progress:?}");
        last = value;
    }
    let arrivals: Vec<Duration> = answer.messages.iter().map(|(after, _)| *after).collect();
    let (first, end) = (arrivals[0], arrivals[arrivals.len() - 1]);
    assert!(
        end - first > Duration::from_secs(10),
        "the stream was held back: {arrivals:?}"
    );
    assert_eq!(answer.result()["structuredContent"]["state"], "idle");
    client
        .call("cancel_session", json!({"session_id": session.id}))
        .await;
}
