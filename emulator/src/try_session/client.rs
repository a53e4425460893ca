//! A plain MCP 2026-07-28 client over HTTP: one POST for each call, JSON or a stream as the answer.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use thiserror::Error;

use crate::loopback_client::{self, SendError};

const VERSION: &str = "2026-07-28";
/// Longer than every bounded wait of the tools.
const DEADLINE: Duration = Duration::from_secs(120);

/// A client of one stack.
pub struct Client {
    url: String,
    token: String,
    next_id: AtomicU64,
}

/// The answer of a tool.
#[derive(Clone, Debug)]
pub struct ToolAnswer {
    /// The tool says that it failed.
    pub is_error: bool,
    /// Its text.
    pub text: String,
    /// Its structured content.
    pub structured: Value,
}

/// Why there is no answer of a tool.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No HTTP answer, or it was cut.
    #[error("the stack at {url} does not answer")]
    Transport {
        /// Where it should be.
        url: String,
        /// Why.
        #[source]
        source: SendError,
    },
    /// Address or token cannot stand in a request.
    #[error("the address of the stack or its token is not usable")]
    Request(#[source] http::Error),
    /// The token is not that of the stack.
    #[error("the stack refuses our token; start `try` with the SHANNON_DEV_TOKEN of the stack")]
    Token,
    /// A protocol error.
    #[error("the stack refuses the call (HTTP {status}): {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What it says.
        message: String,
    },
    /// The answer is none that MCP has.
    #[error("the stack gives an answer that is not MCP (HTTP {status}): {body}")]
    NotMcp {
        /// HTTP status.
        status: u16,
        /// Its beginning.
        body: String,
    },
}

impl Client {
    /// A client for the MCP endpoint at `url`.
    #[must_use]
    pub fn new(url: String, token: String) -> Self {
        Self {
            url,
            token,
            next_id: AtomicU64::new(1),
        }
    }

    /// The stack's token, which a person logs in with at the pages of approvals.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Calls a tool once.
    ///
    /// # Errors
    /// See [`ClientError`]; whether the tool ran is unknown after [`ClientError::Transport`].
    pub async fn call_tool(&self, name: &str, arguments: Value) -> Result<ToolAnswer, ClientError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let body = json!({
            "jsonrpc": "2.0", "id": id, "method": "tools/call",
            "params": {
                "name": name, "arguments": arguments,
                "_meta": {
                    "io.modelcontextprotocol/protocolVersion": VERSION,
                    "io.modelcontextprotocol/clientCapabilities": {},
                    "io.modelcontextprotocol/clientInfo": {
                        "name": "shannon-try", "version": env!("CARGO_PKG_VERSION"),
                    },
                },
            },
        });
        let request = Request::post(&self.url)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", VERSION)
            .header("mcp-method", "tools/call")
            .header("mcp-name", name)
            .body(Full::from(body.to_string()))
            .map_err(ClientError::Request)?;
        let (status, text) = loopback_client::send(request, DEADLINE)
            .await
            .map_err(|source| ClientError::Transport {
                url: self.url.clone(),
                source,
            })?;
        if status == 401 || status == 403 {
            return Err(ClientError::Token);
        }
        read(&text, id, status)
    }
}

/// The answer with our id, from a JSON document or from the data lines of a stream.
fn read(body: &str, id: u64, status: u16) -> Result<ToolAnswer, ClientError> {
    let whole = serde_json::from_str::<Value>(body).ok();
    let streamed = body
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data:")?).ok());
    let answer = whole.into_iter().chain(streamed).find(|message| {
        message["id"] == id || (message["id"].is_null() && message["error"].is_object())
    });
    let Some(answer) = answer else {
        return Err(ClientError::NotMcp {
            status,
            body: body.chars().take(300).collect(),
        });
    };
    if let Some(message) = answer["error"]["message"].as_str() {
        return Err(ClientError::Refused {
            status,
            message: message.to_owned(),
        });
    }
    let result = &answer["result"];
    let texts = result["content"].as_array().into_iter().flatten();
    Ok(ToolAnswer {
        is_error: result["isError"].as_bool().unwrap_or(false),
        text: texts
            .filter_map(|block| block["text"].as_str())
            .collect::<Vec<_>>()
            .join("\n"),
        structured: result["structuredContent"].clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_from_json_and_from_streams() {
        let result = r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"a"}],"structuredContent":{"state":"idle"}}}"#;
        let stream = format!(
            ": keep-alive\n\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}}\n\nevent: message\ndata: {result}\n\n"
        );
        for body in [result, &stream] {
            let answer = read(body, 7, 200).unwrap();
            assert_eq!(answer.structured["state"], "idle");
            assert_eq!(answer.text, "a");
            assert!(!answer.is_error);
        }
        assert!(matches!(
            read(result, 8, 200),
            Err(ClientError::NotMcp { .. })
        ));
        assert!(matches!(
            read("Bad gateway", 1, 502),
            Err(ClientError::NotMcp { status: 502, .. })
        ));
        let refused =
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32602,"message":"no such tool"}}"#;
        let message = read(refused, 1, 400).unwrap_err().to_string();
        assert!(
            message.contains("no such tool") && message.contains("400"),
            "{message}"
        );
    }
}
