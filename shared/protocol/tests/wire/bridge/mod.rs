//! Clients of the initialize era against any number of instances that share a store.

use std::sync::Arc;

use bytes::Bytes;
use domain::session_token::SigningKey;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt;
use protocol::{
    Asks, Begun, Body, Bridge, Caller, ClientSessionSettings, Edge, Round, ToolCall, Work,
};
use rmcp::ErrorData;
use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock};
use serde_json::{Value, json};
use testkit::{Fake, FakeClock};
use tokio::sync::Notify;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::client::{principal, settings};

mod asking;
mod cancelled;
mod pair;
mod sessions;
mod streams;

/// Tools that do what sessions of clients are there for.
#[derive(Clone)]
struct Tools {
    fake: Fake,
    /// Lets `slow` go on.
    go_on: Arc<Notify>,
}

impl Work for Tools {
    async fn call_tool(&self, call: ToolCall) -> Result<CallToolResponse, ErrorData> {
        let key = SigningKey::new(&[1; 32]).expect("long enough");
        let asks = Asks::new(&self.fake, &key);
        let round = Round {
            method: "tools/call",
            subject: json!([call.name, call.arguments]),
            responses: call.input_responses,
            state: call.request_state,
        };
        let asking = match asks.begin(Caller::of(&call.asked), round).await? {
            Begun::Run(asking) => asking,
            Begun::Settled(outcome) => return Ok(outcome),
        };
        let text = match call.name.as_str() {
            "greet" => {
                let question = serde_json::from_value(json!({
                    "method": "elicitation/create",
                    "params": {"mode": "form", "message": "Who are you?", "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}},
                }));
                match asking.ask("name", question.expect("a question")).await {
                    Ok(answer) => format!("hello {}", answer["content"]["name"]),
                    Err(reason) => reason.to_string(),
                }
            }
            "slow" => {
                if let Some(progress) = call.asked.progress() {
                    progress.report(1.0, None, "begun".to_owned()).await;
                }
                self.go_on.notified().await;
                "done".to_owned()
            }
            _ => "at once".to_owned(),
        };
        let result = CallToolResult::success(vec![ContentBlock::text(text)]);
        asks.finish(asking, Ok(result.into())).await
    }
}

const SESSION: &str = "mcp-session-id";
const VERSION: &str = "mcp-protocol-version";
const LAST_EVENT: &str = "last-event-id";

type Instance = Edge<Tools, Bridge<Tools, Fake>>;

/// A deployment, and one client of it whose every request reaches a new instance.
struct Client {
    tools: Tools,
    owner: &'static str,
    session: Option<HeaderValue>,
    version: &'static str,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Body,
}

impl Answer {
    async fn text(self) -> String {
        let bytes = self.body.collect().await.expect("cannot fail").to_bytes();
        String::from_utf8(bytes.to_vec()).expect("UTF-8")
    }

    async fn json(self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Everything up to and including the next message, as it came; `None` at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        let mut text = String::new();
        loop {
            let frame = self.body.frame().await?.expect("cannot fail");
            let bytes = frame.into_data().expect("data");
            text.push_str(std::str::from_utf8(&bytes).expect("UTF-8"));
            let data = text
                .lines()
                .filter_map(|line| line.strip_prefix("data: "))
                .next_back();
            if let Some(Ok(message)) = data.map(serde_json::from_str::<Value>) {
                return Some((text, message));
            }
        }
    }
}

/// The id of the last event in some text of a stream.
fn last_event(text: &str) -> String {
    let mut ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
    ids.next_back().expect("an event has an id").to_owned()
}

impl Client {
    fn new() -> Self {
        let fake = Fake::new(11);
        Self {
            tools: Tools {
                fake,
                go_on: Arc::new(Notify::new()),
            },
            owner: "me",
            session: None,
            version: "2025-11-25",
        }
    }

    /// A client that has introduced itself, and can be asked.
    async fn introduced() -> Self {
        let mut client = Self::new();
        client.introduce(json!({"elicitation": {}})).await;
        client
    }

    async fn introduce(&mut self, capabilities: Value) -> Value {
        let introduction = json!({
            "protocolVersion": self.version,
            "capabilities": capabilities,
            "clientInfo": {"name": "test", "version": "1"},
        });
        let answer = self.call("initialize", introduction).await;
        assert_eq!(answer.status, StatusCode::OK);
        self.session = answer.headers.get(SESSION).cloned();
        answer.json().await
    }

    fn clock(&self) -> &FakeClock {
        self.tools.fake.clock()
    }

    /// Another client of the same deployment.
    fn other(&self, owner: &'static str) -> Self {
        Self {
            tools: self.tools.clone(),
            owner,
            session: self.session.clone(),
            version: self.version,
        }
    }

    fn instance(&self) -> Instance {
        let sessions = ClientSessionSettings {
            days: 30,
            pair: true,
            pair_stream_seconds: 100,
        };
        Edge::bridged(
            settings(),
            sessions,
            self.tools.clone(),
            self.tools.fake.clone(),
        )
    }

    fn request(&self, method: Method, path: &str, body: String) -> Request<Bytes> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(Bytes::from(body))
            .expect("a request");
        let headers = request.headers_mut();
        if let Some(session) = &self.session {
            headers.insert(SESSION, session.clone());
            headers.insert(VERSION, HeaderValue::from_static(self.version));
        }
        request
    }

    async fn send(&self, request: Request<Bytes>) -> Answer {
        let response = self
            .instance()
            .handle(request, Some(principal(self.owner)))
            .await;
        let (parts, body) = response.into_parts();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    async fn post(&self, message: Value) -> Answer {
        self.send(self.request(Method::POST, "/mcp", message.to_string()))
            .await
    }

    async fn call(&self, method: &str, params: Value) -> Answer {
        self.post(json!({"jsonrpc": "2.0", "id": 5, "method": method, "params": params}))
            .await
    }

    async fn tool(&self, name: &str) -> Answer {
        self.call(
            "tools/call",
            json!({"name": name, "arguments": {}, "_meta": {"progressToken": 1}}),
        )
        .await
    }

    async fn resume(&self, last: &str) -> Answer {
        let mut request = self.request(Method::GET, "/mcp", String::new());
        request
            .headers_mut()
            .insert(LAST_EVENT, HeaderValue::from_str(last).expect("a header"));
        self.send(request).await
    }
}

/// What is logged, at every level, while something runs.
fn logged<T>(run: impl Future<Output = T>) -> (T, String) {
    let log = Log::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let subscriber = tracing_subscriber::registry().with(log.clone());
    let done = tracing::subscriber::with_default(subscriber, || {
        let span = tracing::info_span!(
            "request",
            mcp_method = tracing::field::Empty,
            mcp_name = tracing::field::Empty,
            principal = tracing::field::Empty,
            trace_id = tracing::field::Empty,
            parent_id = tracing::field::Empty,
        );
        runtime.block_on(tracing::Instrument::instrument(run, span))
    });
    let lines = log.0.lock().expect("unpoisoned").join("\n");
    (done, lines)
}

/// Keeps every field of every span and event.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<String>>>);

impl Log {
    fn keep(&self, name: &str, value: &dyn std::fmt::Debug) {
        let mut lines = self.0.lock().expect("unpoisoned");
        lines.push(format!("{name}={value:?}"));
    }
}

impl tracing::field::Visit for Log {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.keep(field.name(), value);
    }
}

impl<S> Layer<S> for Log
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(
        &self,
        span: &tracing::span::Attributes<'_>,
        _: &tracing::span::Id,
        _: Context<'_, S>,
    ) {
        span.record(&mut self.clone());
    }

    fn on_record(
        &self,
        _: &tracing::span::Id,
        values: &tracing::span::Record<'_>,
        _: Context<'_, S>,
    ) {
        values.record(&mut self.clone());
    }

    fn on_event(&self, event: &tracing::Event<'_>, context: Context<'_, S>) {
        let inside = context
            .event_scope(event)
            .is_some_and(|mut spans| spans.any(|span| span.name() == "request"));
        let metadata = event.metadata();
        if !inside && metadata.target().starts_with("protocol") {
            self.keep("outside of a request", &metadata.line());
        }
        event.record(&mut self.clone());
    }
}

fn said(message: &Value) -> &str {
    message["result"]["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("{message}"))
}
