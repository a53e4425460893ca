//! An answer that is read while it is written, and a session of the initialize era to get such
//! answers in.

use std::collections::VecDeque;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::mcp::{Client, LEGACY};
use crate::stack::Stack;

/// Longer than any stream may be silent.
const PATIENCE: Duration = Duration::from_secs(60);

/// The messages of an answer as they come.
#[derive(Debug)]
pub struct Messages {
    response: reqwest::Response,
    text: String,
    parsed: VecDeque<Value>,
    /// The id of the last event that had one.
    pub last_event: Option<String>,
    /// Everything that came so far.
    pub seen: Vec<Value>,
}

impl Messages {
    /// Of an answer whose headers are there.
    #[must_use]
    pub fn of(response: reqwest::Response) -> Self {
        Self {
            response,
            text: String::new(),
            parsed: VecDeque::new(),
            last_event: None,
            seen: Vec::new(),
        }
    }

    /// The status of the answer.
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// The next message; nothing at the end, be it clean or a cut.
    ///
    /// # Panics
    /// When nothing comes for a minute, or what comes is no JSON.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(message) = self.parsed.pop_front() {
                self.seen.push(message.clone());
                return Some(message);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk())
                .await
                .unwrap_or_else(|_| panic!("silence after {:?}", self.seen));
            let Ok(Some(chunk)) = chunk else { return None };
            self.text.push_str(&String::from_utf8_lossy(&chunk));
            while let Some(end) = self.text.find("\n\n") {
                let event: String = self.text.drain(..end + 2).collect();
                self.take(&event);
            }
        }
    }

    /// Reads until a message is what is looked for.
    ///
    /// # Panics
    /// When the stream ends first.
    pub async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let Some(message) = self.next().await else {
                panic!("the stream ended after {:?}", self.seen)
            };
            if wanted(&message) {
                return message;
            }
        }
    }

    fn take(&mut self, event: &str) {
        let mut data = String::new();
        for line in event.lines() {
            if let Some(rest) = line.strip_prefix("data:") {
                data.push_str(rest.trim_start());
            } else if let Some(id) = line.strip_prefix("id:") {
                self.last_event = Some(id.trim().to_owned());
            }
        }
        if !data.is_empty() {
            let message = serde_json::from_str(&data)
                .unwrap_or_else(|error| panic!("an event that is no JSON ({error}): {data}"));
            self.parsed.push_back(message);
        }
    }
}

/// A transport session of the initialize era, used from as many connections as there are requests.
#[derive(Debug)]
pub struct LegacySession {
    client: Client,
    token: String,
    id: String,
}

impl LegacySession {
    /// Introduces a client with these capabilities.
    ///
    /// # Panics
    /// When there is no session in the answer.
    pub async fn open(stack: &Stack, capabilities: Value) -> Self {
        let client = stack.client().legacy();
        let opened = client
            .request(
                "initialize",
                json!({
                    "protocolVersion": LEGACY,
                    "capabilities": capabilities,
                    "clientInfo": {"name": "shannon-tests", "version": "1"},
                }),
            )
            .await;
        opened.result();
        let id = opened.headers["mcp-session-id"]
            .to_str()
            .expect("text")
            .to_owned();
        Self {
            client,
            token: stack.token.clone(),
            id,
        }
    }

    /// The same session on another stack with the same state.
    #[must_use]
    pub fn on(self, stack: &Stack) -> Self {
        Self {
            client: stack.client().legacy(),
            ..self
        }
    }

    /// Sends one message; its answer is read by the caller.
    pub async fn post(&self, message: &Value) -> Messages {
        let request = self.request(Method::POST).body(message.to_string());
        Messages::of(request.send().await.expect("an answer"))
    }

    /// Takes up a stream after one of its events.
    pub async fn resume(&self, last_event: &str) -> Messages {
        let request = self
            .request(Method::GET)
            .header("last-event-id", last_event);
        Messages::of(request.send().await.expect("an answer"))
    }

    fn request(&self, method: Method) -> reqwest::RequestBuilder {
        let http = self.client.http();
        http.request(method, self.client.url())
            .bearer_auth(&self.token)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", LEGACY)
            .header("mcp-session-id", &self.id)
    }
}

/// A call of a tool as a message.
#[must_use]
pub fn tool_call(id: u64, tool: &str, arguments: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": {"name": tool, "arguments": arguments, "_meta": {"progressToken": id}}})
}
