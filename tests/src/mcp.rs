//! An MCP client of our own, for what the clients of other people would not send.
//!
//! It speaks both eras over Streamable HTTP and hands out everything of an answer: status, headers,
//! each message of a stream with the time of its arrival.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

/// Every tool, as the tests of clients expect them, in alphabetical order.
pub const TOOLS: [&str; 27] = [
    "answer_question",
    "cancel_session",
    "check_policy",
    "create_checkpoint",
    "create_session",
    "create_upload",
    "delete_session",
    "diff_checkpoints",
    "export_workspace",
    "find_claude_binary",
    "fork_session",
    "get_session",
    "get_timeline",
    "interrupt_session",
    "list_approvals",
    "list_checkpoints",
    "list_sessions",
    "name_checkpoint",
    "pin_checkpoint",
    "query_audit",
    "read_file",
    "restore_checkpoint",
    "run_command",
    "send_message",
    "suspend_session",
    "verify_audit",
    "wait_session",
];

/// The modern protocol version.
pub const MODERN: &str = "2026-07-28";
/// The last version with an `initialize`.
pub const LEGACY: &str = "2025-11-25";
/// The tasks extension.
pub const TASKS: &str = "io.modelcontextprotocol/tasks";

/// Longer than every bounded wait of the product.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// A client of one endpoint.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    token: Option<String>,
    version: &'static str,
    capabilities: Value,
    next_id: AtomicU64,
}

/// An HTTP client that goes straight to where it is told.
///
/// # Panics
/// When the machine lets no client be made.
pub fn http_client() -> reqwest::Client {
    // Whoever comes first installs it; for the others it is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(ANSWER_WITHIN)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("an HTTP client can be made")
}

/// The answer to one POST.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// HTTP headers.
    pub headers: HeaderMap,
    /// The JSON-RPC messages, each with the time since the request was sent.
    pub messages: Vec<(Duration, Value)>,
    /// Comments of the stream (keep-alives).
    pub comments: usize,
    /// The body as it came.
    pub body: String,
}

/// The answer of a tool.
#[derive(Debug)]
pub struct ToolAnswer {
    /// The tool says that it failed.
    pub is_error: bool,
    /// Its text blocks, one after the other.
    pub text: String,
    /// Its structured content, null without one.
    pub structured: Value,
}

impl Client {
    /// A modern client without extensions.
    pub fn new(url: &str, token: &str) -> Self {
        Self {
            http: http_client(),
            url: url.to_owned(),
            token: Some(token.to_owned()),
            version: MODERN,
            capabilities: json!({}),
            next_id: AtomicU64::new(1),
        }
    }

    /// The same client over another HTTP client.
    #[must_use]
    pub fn over(mut self, http: reqwest::Client) -> Self {
        self.http = http;
        self
    }

    /// The same client with another token, or none.
    #[must_use]
    pub fn with_token(mut self, token: Option<&str>) -> Self {
        self.token = token.map(ToOwned::to_owned);
        self
    }

    /// The same client as one that declares the tasks extension.
    #[must_use]
    pub fn with_tasks(mut self) -> Self {
        self.capabilities["extensions"] = json!({TASKS: {}});
        self
    }

    /// The same client as one whose person can be asked with a form.
    #[must_use]
    pub fn with_elicitation(mut self) -> Self {
        self.capabilities["elicitation"] = json!({"form": {}});
        self
    }

    /// The same client as one of the initialize era.
    #[must_use]
    pub fn legacy(mut self) -> Self {
        self.version = LEGACY;
        self
    }

    /// Sends one request and reads the whole answer.
    pub async fn request(&self, method: &str, params: Value) -> Answer {
        let (headers, body) = self.prepare(method, params);
        self.post(headers, body.to_string()).await
    }

    /// The headers and the body of a request as this client would send it, to be spoilt by a test.
    pub fn prepare(&self, method: &str, mut params: Value) -> (Vec<(String, String)>, Value) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut headers = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            (
                "accept".to_owned(),
                "application/json, text/event-stream".to_owned(),
            ),
        ];
        if method != "initialize" {
            headers.push(("mcp-protocol-version".to_owned(), self.version.to_owned()));
        }
        if let Some(token) = &self.token {
            headers.push(("authorization".to_owned(), format!("Bearer {token}")));
        }
        if self.version == MODERN {
            headers.push(("mcp-method".to_owned(), method.to_owned()));
            let name = params["name"]
                .as_str()
                .or_else(|| params["taskId"].as_str())
                .or_else(|| params["uri"].as_str());
            if let Some(name) = name {
                headers.push(("mcp-name".to_owned(), name.to_owned()));
            }
            let mut meta = json!({
                "io.modelcontextprotocol/protocolVersion": self.version,
                "io.modelcontextprotocol/clientCapabilities": self.capabilities,
                "io.modelcontextprotocol/clientInfo": {"name": "shannon-tests", "version": "1"},
            });
            if let Some(more) = params["_meta"].as_object() {
                for (name, value) in more {
                    meta[name] = value.clone();
                }
            }
            params["_meta"] = meta;
        }
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        (headers, body)
    }

    /// Sends exactly this and reads the whole answer.
    ///
    /// # Panics
    /// When the connection fails or the answer ends in the middle.
    pub async fn post(
        &self,
        headers: Vec<(String, String)>,
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a test sends legal header names");
            let value: HeaderValue = value.parse().expect("a test sends legal header values");
            map.append(name, value);
        }
        let start = Instant::now();
        let response = self
            .http
            .post(&self.url)
            .headers(map)
            .body(body)
            .send()
            .await
            .unwrap_or_else(|error| panic!("POST {}: {error:?}", self.url));
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let is_stream = headers
            .get("content-type")
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let mut answer = Answer {
            status,
            headers,
            messages: Vec::new(),
            comments: 0,
            body: String::new(),
        };
        let mut chunks = response.bytes_stream();
        let mut unread = Vec::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.unwrap_or_else(|error| panic!("reading the answer: {error:?}"));
            answer.body.push_str(&String::from_utf8_lossy(&chunk));
            if is_stream {
                unread.extend_from_slice(&chunk);
                answer.take_events(&mut unread, start.elapsed());
            }
        }
        if !is_stream && let Ok(message) = serde_json::from_str(&answer.body) {
            answer.messages.push((start.elapsed(), message));
        }
        answer
    }

    /// Calls a tool that must succeed and returns its structured content.
    ///
    /// # Panics
    /// When the tool or the request fails.
    pub async fn call(&self, tool: &str, arguments: Value) -> Value {
        let answer = self.try_call(tool, arguments.clone()).await;
        assert!(!answer.is_error, "{tool} {arguments}: {}", answer.text);
        answer.structured
    }

    /// Calls a tool and returns what it said.
    ///
    /// # Panics
    /// When the request fails before a tool has it.
    pub async fn try_call(&self, tool: &str, arguments: Value) -> ToolAnswer {
        let answer = self
            .request("tools/call", json!({"name": tool, "arguments": arguments}))
            .await;
        ToolAnswer::of(answer.result())
    }

    /// The endpoint.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The HTTP client underneath.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }
}

impl Answer {
    fn take_events(&mut self, unread: &mut Vec<u8>, after: Duration) {
        while let Some(end) = unread.windows(2).position(|pair| pair == b"\n\n") {
            let event: Vec<u8> = unread.drain(..end + 2).collect();
            let event = String::from_utf8_lossy(&event);
            let data: Vec<&str> = event
                .lines()
                .filter_map(|line| line.strip_prefix("data:"))
                .map(str::trim_start)
                .collect();
            self.comments += event.lines().filter(|line| line.starts_with(':')).count();
            let data = data.join("\n");
            if data.is_empty() {
                continue;
            }
            let message = serde_json::from_str(&data)
                .unwrap_or_else(|error| panic!("an event that is no JSON ({error}): {data}"));
            self.messages.push((after, message));
        }
    }

    /// The messages that are no answer.
    pub fn notifications(&self) -> Vec<&Value> {
        self.messages
            .iter()
            .map(|(_, message)| message)
            .filter(|message| message.get("method").is_some())
            .collect()
    }

    /// The result.
    ///
    /// # Panics
    /// When there is an error instead, or nothing.
    pub fn result(&self) -> &Value {
        self.messages
            .iter()
            .find_map(|(_, message)| message.get("result"))
            .unwrap_or_else(|| panic!("no result in {} {}", self.status, self.body))
    }

    /// Code and message of the error.
    ///
    /// # Panics
    /// When there is a result instead, or nothing.
    pub fn error(&self) -> (i64, &str) {
        let error = self
            .messages
            .iter()
            .find_map(|(_, message)| message.get("error"))
            .unwrap_or_else(|| panic!("no error in {} {}", self.status, self.body));
        (
            error["code"].as_i64().expect("an error has a code"),
            error["message"].as_str().expect("an error has a message"),
        )
    }

    /// Whether the answer came as an event stream.
    pub fn is_stream(&self) -> bool {
        self.headers
            .get("content-type")
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
    }
}

impl ToolAnswer {
    fn of(result: &Value) -> Self {
        let text = result["content"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|block| block["text"].as_str())
            .collect::<Vec<_>>()
            .join("\n");
        Self {
            is_error: result["isError"] == true,
            text,
            structured: result["structuredContent"].clone(),
        }
    }
}
