//! What the model reads, word for word: recorded between the gateway and the model.
//!
//! The stack is told that the recorder is the real API, so this is also the way of the real key.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use e2e::script;
use e2e::session::Session;
use e2e::stack::{Options, Stack};
use emulator::offline_model::{OfflineModel, OfflineReason};
use serde_json::{Value, json};

/// The offline model behind a server that keeps what it is asked.
struct RecordedModel {
    model: OfflineModel,
    url: String,
    requests: Arc<Mutex<Vec<Recorded>>>,
}

#[derive(Clone)]
struct Recorded {
    headers: axum::http::HeaderMap,
    body: Value,
}

#[derive(Clone)]
struct Recorder {
    http: reqwest::Client,
    behind: String,
    requests: Arc<Mutex<Vec<Recorded>>>,
}

impl RecordedModel {
    async fn start() -> Self {
        let model = OfflineModel::start(OfflineReason::Asked)
            .await
            .expect("a free port");
        let requests: Arc<Mutex<Vec<Recorded>>> = Arc::default();
        let recorder = Recorder {
            http: e2e::mcp::http_client(),
            behind: model.url(),
            requests: Arc::clone(&requests),
        };
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = axum::Router::new().fallback(record).with_state(recorder);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            model,
            url,
            requests,
        }
    }

    fn stack(&self) -> Stack {
        let options = Options::default()
            .with("ANTHROPIC_API_KEY", self.model.key())
            .with("ANTHROPIC_BASE_URL", &self.url);
        Stack::start(&options)
    }

    fn requests(&self) -> Vec<Recorded> {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

async fn record(State(recorder): State<Recorder>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX)
        .await
        .expect("a whole body");
    let recorded = Recorded {
        headers: parts.headers.clone(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    recorder
        .requests
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(recorded);
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut forward = recorder
        .http
        .request(parts.method, format!("{}{path}", recorder.behind))
        .body(body);
    for name in [
        "content-type",
        "x-api-key",
        "anthropic-version",
        "x-claude-code-session-id",
    ] {
        if let Some(value) = parts.headers.get(name) {
            forward = forward.header(name, value);
        }
    }
    let answer = forward.send().await.expect("the model answers");
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        response = response.header(name, value);
    }
    response
        .body(Body::from_stream(answer.bytes_stream()))
        .expect("an answer that was one already")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_into_a_running_turn_is_read_by_the_model_in_that_turn() {
    let model = RecordedModel::start().await;
    let stack = model.stack();
    let client = stack.client();
    let busy = script::bash("timeout 6 tail -f /dev/null");
    let mut session = Session::create(
        &client,
        json!({
            "prompt": script::prompt(&[busy, script::text("the end of the turn")]),
            "message_id": "first",
            "permission_mode": "bypass",
        }),
    )
    .await;
    session
        .until("a tool call", |session| {
            !session.of_kind("tool_call").is_empty()
        })
        .await;
    session.send("by the way: use tabs", "second").await;
    session.until_turns_ended(1).await;
    let ends = session.of_kind("turn_ended");
    assert_eq!(ends.len(), 1, "one turn answers both:\n{}", session.story());
    assert_eq!(ends[0]["messages"], json!(["first", "second"]));
    let last = model.requests().pop().expect("a request");
    assert!(
        last.body["messages"]
            .to_string()
            .contains("by the way: use tabs"),
        "{}",
        last.body["messages"]
    );
    session.cancel().await;
    assert_eq!(
        session.of_kind("turn_ended").len(),
        1,
        "{}",
        session.story()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_is_asked_as_the_session_was_created() {
    let model = RecordedModel::start().await;
    let stack = model.stack();
    let client = stack.client();
    let mut session = Session::create(
        &client,
        json!({
            "prompt": script::prompt(&["TEXT:done"]),
            "system_prompt_addition": "Always answer in Esperanto.",
            "model": "haiku",
        }),
    )
    .await;
    session.until_turns_ended(1).await;
    let requests = model.requests();
    let asked = requests
        .iter()
        .find(|request| {
            request.body["messages"]
                .to_string()
                .contains("follow the script")
        })
        .unwrap_or_else(|| {
            panic!(
                "the prompt did not reach the model: {} requests",
                requests.len()
            )
        });
    assert!(
        asked.body["system"]
            .to_string()
            .contains("Always answer in Esperanto."),
        "{}",
        asked.body["system"]
    );
    assert!(
        asked.body["model"]
            .as_str()
            .expect("a model")
            .contains("haiku"),
        "{}",
        asked.body["model"]
    );
    for request in &requests {
        assert_eq!(
            request.headers["x-api-key"],
            model.model.key(),
            "the real key, and only here"
        );
        assert!(
            request.headers.get("authorization").is_none(),
            "a session's token must not go on"
        );
    }
    session.cancel().await;
}
