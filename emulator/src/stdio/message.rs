//! What a line of the host is, and the headers that it needs on its way.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

/// A line.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    /// Wants an answer.
    Request { id: Value, method: String },
    /// Takes a request back.
    Cancelled { request: Value },
    /// A notification, or the answer to a question of the server.
    Other,
    /// Nothing that JSON-RPC knows, with the reason.
    None(&'static str),
}

impl Message {
    pub(super) fn of(value: &Value) -> Self {
        let Some(object) = value.as_object() else {
            return Self::None("send one JSON-RPC message a line; batches are not served");
        };
        let id = object.get("id");
        match (object.get("method").and_then(Value::as_str), id) {
            (Some(method), Some(id @ (Value::String(_) | Value::Number(_)))) => Self::Request {
                id: id.clone(),
                method: method.to_owned(),
            },
            (Some(_), Some(_)) => Self::None("id must be a string or a number"),
            (Some("notifications/cancelled"), None) => Self::Cancelled {
                request: value["params"]["requestId"].clone(),
            },
            (Some(_), None) => Self::Other,
            (None, Some(_)) if object.contains_key("result") || object.contains_key("error") => {
                Self::Other
            }
            (None, _) => Self::None("the message is neither a request nor an answer"),
        }
    }
}

/// Headers that repeat what the body says.
#[derive(Debug, PartialEq)]
pub(super) struct Headers(pub(super) Vec<(&'static str, String)>);

impl Headers {
    /// Of a modern message from its body; of another from what `initialize` agreed on.
    pub(super) fn of(value: &Value, version: Option<&str>, session: Option<&str>) -> Self {
        let params = &value["params"];
        let modern = params["_meta"]["io.modelcontextprotocol/protocolVersion"].as_str();
        let mut headers = Vec::new();
        if let Some(version) = modern {
            headers.push(("mcp-protocol-version", encoded(version)));
            if let Some(method) = value["method"].as_str() {
                headers.push(("mcp-method", encoded(method)));
                let field = match method {
                    "tools/call" | "prompts/get" => Some("name"),
                    "resources/read" => Some("uri"),
                    "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
                    _ => None,
                };
                if let Some(name) = field.and_then(|field| params[field].as_str()) {
                    headers.push(("mcp-name", encoded(name)));
                }
            }
            return Self(headers);
        }
        if value["method"] != "initialize" {
            headers.extend(version.map(|version| ("mcp-protocol-version", encoded(version))));
            headers.extend(session.map(|session| ("mcp-session-id", session.to_owned())));
        }
        Self(headers)
    }
}

/// A header value; what cannot stand in one is written in Base64, as 2026-07-28 has it.
fn encoded(text: &str) -> String {
    let plain = text
        .bytes()
        .all(|byte| byte == b' ' || byte.is_ascii_graphic())
        && text.trim() == text
        && !(text.starts_with("=?base64?") && text.ends_with("?="));
    if plain {
        text.to_owned()
    } else {
        format!("=?base64?{}?=", STANDARD.encode(text))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_are_told_apart() {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
        assert_eq!(
            Message::of(&request),
            Message::Request {
                id: json!(1),
                method: "ping".to_owned()
            }
        );
        let cancelled = json!({"method": "notifications/cancelled", "params": {"requestId": "a"}});
        assert_eq!(
            Message::of(&cancelled),
            Message::Cancelled {
                request: json!("a")
            }
        );
        assert_eq!(Message::of(&json!({"id": 1, "result": {}})), Message::Other);
        assert_eq!(
            Message::of(&json!({"method": "notifications/initialized"})),
            Message::Other
        );
        for bad in [
            json!([]),
            json!(1),
            json!({}),
            json!({"id": 1}),
            json!({"id": null, "method": "ping"}),
            json!({"id": {}, "method": "ping"}),
        ] {
            assert!(matches!(Message::of(&bad), Message::None(_)), "{bad}");
        }
    }

    #[test]
    fn headers_follow_the_era() {
        let modern = json!({"id": 1, "method": "resources/read", "params": {
            "uri": "shannon://é",
            "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
        }});
        assert_eq!(
            Headers::of(&modern, Some("2025-11-25"), Some("s")).0,
            [
                ("mcp-protocol-version", "2026-07-28".to_owned()),
                ("mcp-method", "resources/read".to_owned()),
                ("mcp-name", "=?base64?c2hhbm5vbjovL8Op?=".to_owned()),
            ]
        );
        let legacy = json!({"id": 1, "method": "tools/call", "params": {"name": "x"}});
        assert_eq!(
            Headers::of(&legacy, Some("2025-11-25"), Some("s")).0,
            [
                ("mcp-protocol-version", "2025-11-25".to_owned()),
                ("mcp-session-id", "s".to_owned()),
            ]
        );
        assert_eq!(
            Headers::of(
                &json!({"id": 1, "method": "initialize"}),
                Some("x"),
                Some("s")
            )
            .0,
            []
        );
        assert_eq!(encoded("a\r\nb: c"), "=?base64?YQ0KYjogYw==?=");
        assert_eq!(encoded("=?base64?x?="), "=?base64?PT9iYXNlNjQ/eD89?=");
    }
}
