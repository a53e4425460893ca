//! `try` against a stand-in for the stack: what it asks the tools and how it ends.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    future::pending,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use emulator::try_session::{
    Client, ReplayOptions, Style, TryEnd, TryError, TryOptions, replay, run,
};
use serde_json::{Value, json};

/// A stack that answers tools from a list, in order, and notes what it was asked.
#[derive(Clone, Default)]
struct Stack {
    waits: Arc<Mutex<Vec<Value>>>,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

async fn mcp(State(stack): State<Stack>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let params = &body["params"];
    let name = params["name"].as_str().unwrap().to_owned();
    assert_eq!(header("authorization"), "Bearer the-token");
    assert_eq!(header("mcp-protocol-version"), "2026-07-28");
    assert_eq!(header("mcp-method"), body["method"].as_str().unwrap());
    assert_eq!(header("mcp-name"), name);
    assert_eq!(
        params["_meta"]["io.modelcontextprotocol/protocolVersion"],
        "2026-07-28"
    );
    let arguments = params["arguments"].clone();
    stack.asked.lock().unwrap().push((name.clone(), arguments));
    let structured = match name.as_str() {
        "create_session" => json!({"session_id": "s1", "state": "requested"}),
        "cancel_session" => json!({"session_id": "s1", "state": "cancelled"}),
        _ => {
            let next = {
                let mut waits = stack.waits.lock().unwrap();
                if waits.is_empty() {
                    Value::Null
                } else {
                    waits.remove(0)
                }
            };
            match next {
                Value::Null => pending().await,
                Value::String(text) => {
                    let result =
                        json!({"content": [{"type": "text", "text": text}], "isError": true});
                    return Json(json!({"jsonrpc": "2.0", "id": body["id"], "result": result}))
                        .into_response();
                }
                Value::Number(status) => {
                    let status = u16::try_from(status.as_u64().unwrap()).unwrap();
                    return StatusCode::from_u16(status).unwrap().into_response();
                }
                next => next,
            }
        }
    };
    let result = json!({"content": [], "structuredContent": structured});
    let answer = json!({"jsonrpc": "2.0", "id": body["id"], "result": result});
    // as a stream, like an answer that took its time
    let stream = format!(": keep-alive\n\ndata: {answer}\n\n");
    ([("content-type", "text/event-stream")], stream).into_response()
}

impl Stack {
    async fn serve(waits: Vec<Value>) -> (Self, Client) {
        let stack = Self {
            waits: Arc::new(Mutex::new(waits)),
            ..Self::default()
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/mcp", post(mcp))
            .with_state(stack.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (stack, Client::new(url, "the-token".to_owned()))
    }

    fn tools(&self) -> Vec<String> {
        self.asked
            .lock()
            .unwrap()
            .iter()
            .map(|(tool, _)| tool.clone())
            .collect()
    }
}

fn options(keep: bool) -> TryOptions {
    TryOptions {
        arguments: json!({"prompt": "do it"}),
        keep,
        style: Style::Plain,
        longest_wait_seconds: 50,
    }
}

fn events(state: &str, cursor: &str, events: &[(&str, Value)]) -> Value {
    let events: Vec<Value> = events
        .iter()
        .map(|(kind, body)| json!({"sequence": 1, "turn": 1, "time_unix_ms": 0, "kind": kind, "body": body}))
        .collect();
    json!({"session_id": "s1", "state": state, "next_cursor": cursor, "events": events, "more": false})
}

fn turn(is_error: bool) -> (&'static str, Value) {
    let end = json!({"is_error": is_error, "subtype": "success", "text": "", "total_cost_usd": 0.5, "duration_ms": 100});
    ("turn_ended", end)
}

async fn tried(waits: Vec<Value>, keep: bool) -> (Stack, Result<TryEnd, TryError>, String) {
    let (stack, client) = Stack::serve(waits).await;
    let mut printed = String::new();
    let end = run(&client, options(keep), pending(), &mut |text| {
        printed.push_str(text)
    })
    .await;
    (stack, end, printed)
}

#[tokio::test]
async fn a_session_is_followed_to_its_end_and_cancelled() {
    let live = json!({"session_id": "s1", "state": "running", "next_cursor": "b", "events": [], "live": {"text": "Hel"}});
    let changed = json!({"files": [{"path": "a", "change": "added"}], "patch": "+new line\n"});
    let (stack, end, printed) = tried(
        vec![
            events("running", "a", &[("session_created", json!({}))]),
            live,
            events(
                "running",
                "c",
                &[("text", json!({"text": "Hello"})), turn(false)],
            ),
            events("idle", "d", &[("files_changed", changed)]),
            events("idle", "d", &[]),
        ],
        false,
    )
    .await;
    assert_eq!(end.unwrap(), TryEnd::Success);
    assert!(
        printed.contains("Hello\n") && printed.matches("Hel").count() == 1,
        "{printed}"
    );
    assert!(
        printed.contains("+new line") && printed.contains("done: $0.5000"),
        "{printed}"
    );
    let asked = stack.asked.lock().unwrap();
    assert!(asked[0].1["client_token"].is_string());
    let cursors: Vec<&Value> = asked[1..6]
        .iter()
        .map(|(_, arguments)| &arguments["cursor"])
        .collect();
    assert_eq!(
        cursors,
        [
            &Value::Null,
            &json!("a"),
            &json!("b"),
            &json!("c"),
            &json!("d")
        ]
    );
    assert_eq!(
        asked[5].1["wait_seconds"], 0,
        "what is over is read without waiting"
    );
    assert_eq!(asked[6].0, "cancel_session");
}

#[tokio::test]
async fn a_kept_session_is_not_cancelled() {
    let waits = vec![
        events("idle", "a", &[turn(false)]),
        events("idle", "a", &[]),
    ];
    let (stack, end, printed) = tried(waits, true).await;
    assert_eq!(end.unwrap(), TryEnd::Success);
    assert!(printed.contains("s1 is kept"));
    assert_eq!(
        stack.tools(),
        ["create_session", "wait_session", "wait_session"]
    );
}

#[tokio::test]
async fn failures_are_told_from_success() {
    let ended = json!({"state": "failed", "reason": "no claude", "unfinished": []});
    for waits in [
        vec![events("idle", "a", &[turn(true)]), events("idle", "a", &[])],
        vec![
            events("failed", "a", &[("session_ended", ended)]),
            events("failed", "a", &[]),
        ],
        vec![
            events("timed_out", "a", &[turn(false)]),
            events("timed_out", "a", &[]),
        ],
    ] {
        let (_, end, printed) = tried(waits, false).await;
        assert_eq!(end.unwrap(), TryEnd::Failed);
        assert!(printed.contains("the session failed"), "{printed}");
    }
}

#[tokio::test]
async fn an_interruption_cancels() {
    let (stack, client) = Stack::serve(vec![events("running", "a", &[])]).await;
    let asked = stack.asked.clone();
    // interrupted once the second wait hangs
    let interrupted = async move {
        while asked.lock().unwrap().len() < 3 {
            tokio::task::yield_now().await;
        }
    };
    let mut printed = String::new();
    let end = run(&client, options(true), interrupted, &mut |text| {
        printed.push_str(text)
    })
    .await;
    assert_eq!(end.unwrap(), TryEnd::Interrupted);
    assert!(
        printed.contains("interrupted; the session is cancelled"),
        "{printed}"
    );
    assert_eq!(
        stack.tools().last().unwrap(),
        "cancel_session",
        "also one that was to be kept"
    );
}

#[tokio::test]
async fn refusals_and_gaps_are_told() {
    let (stack, end, _) = tried(vec![json!("no such session")], false).await;
    let message = end.unwrap_err().to_string();
    assert_eq!(message, "wait_session: no such session");
    assert_eq!(stack.tools().last().unwrap(), "cancel_session");
    // a wait that fails on the way is made again
    let waits = vec![
        json!(502),
        events("idle", "a", &[turn(false)]),
        events("idle", "a", &[]),
    ];
    let (_, end, _) = tried(waits, false).await;
    assert_eq!(end.unwrap(), TryEnd::Success);
    let (_, end, _) = tried(vec![json!(502), json!(502), json!(502)], false).await;
    assert!(matches!(end, Err(TryError::Client(_))));
    let (_, end, _) = tried(vec![json!(401), json!(401), json!(401)], false).await;
    assert!(end.unwrap_err().to_string().contains("SHANNON_DEV_TOKEN"));
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let nowhere = Client::new(format!("http://{closed}/mcp"), "x".to_owned());
    let end = run(&nowhere, options(false), pending(), &mut |_| {}).await;
    assert!(end.unwrap_err().to_string().contains("does not answer"));
}

fn recorded(kind: &str, time: u64, body: Value) -> Value {
    json!({"sequence": 1, "turn": 1, "time_unix_ms": time, "kind": kind, "body": body})
}

#[tokio::test]
async fn a_log_is_played_at_its_pace_and_nothing_is_changed() {
    let first = json!({"state": "idle", "next_cursor": "c2", "more": true, "events": [
        recorded("message_taken", 10_000, json!({"text": "do it"})),
        recorded("text", 10_600, json!({"text": "on it"})),
    ]});
    // a later runner, whose clock is behind
    let second = json!({"state": "idle", "next_cursor": "c4", "more": false, "events": [
        recorded("text", 10_500, json!({"text": "and done"})),
        recorded("turn_ended", 10_900, json!({"is_error": false, "total_cost_usd": 0.5, "duration_ms": 100})),
    ]});
    for (speed, least_milliseconds) in [(Some(1.0), 900), (Some(10.0), 90), (None, 0)] {
        let (stack, client) = Stack::serve(vec![first.clone(), second.clone()]).await;
        let options = ReplayOptions {
            session: "s1".to_owned(),
            style: Style::Plain,
            speed,
        };
        let mut printed = String::new();
        let started = std::time::Instant::now();
        let end = replay(&client, options, pending(), &mut |text| {
            printed.push_str(text)
        })
        .await;
        assert_eq!(end.unwrap(), TryEnd::Success);
        let took = started.elapsed().as_millis();
        assert!(took >= least_milliseconds, "{speed:?}: {took} ms");
        assert!(
            printed.contains("< do it\n") && printed.contains("and done\n"),
            "{printed}"
        );
        assert!(printed.contains("the session is idle"), "{printed}");
        assert_eq!(stack.tools(), ["wait_session", "wait_session"]);
    }
}

#[tokio::test]
async fn an_interrupted_replay_stops_without_a_word_to_the_session() {
    let (stack, client) = Stack::serve(vec![]).await;
    let options = ReplayOptions {
        session: "s1".to_owned(),
        style: Style::Plain,
        speed: None,
    };
    let end = replay(&client, options, async {}, &mut |_| {}).await;
    assert_eq!(end.unwrap(), TryEnd::Interrupted);
    assert!(!stack.tools().contains(&"cancel_session".to_owned()));
}
