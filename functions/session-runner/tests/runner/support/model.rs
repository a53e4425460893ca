//! A model that follows a script, behind a gateway on loopback.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// The session token that the model knows; as long as the real program wants one.
pub(crate) const TOKEN: &str = "session-token-for-tests-0123456789";

/// A model behind a gateway. The prompt carries the script: after `@@` a JSON list of steps, each
/// `{"text": ..}`, `{"tool": .., "input": ..}` or `{"tools": [several of those]}`; step N answers the N-th request.
pub(crate) async fn model() -> String {
    model_beside(axum::Router::new()).await
}

/// The same behind a gateway that serves these routes too.
pub(crate) async fn model_beside(routes: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let router = routes.fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn answer(request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let token = request.headers().get("authorization").cloned();
    let body = axum::body::to_bytes(request.into_body(), usize::MAX)
        .await
        .unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    if token.is_none_or(|token| token != format!("Bearer {TOKEN}")) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if path != "/model/v1/messages" {
        return axum::Json(json!({"input_tokens": 1})).into_response();
    }
    let mut step = 0;
    let mut script = Vec::new();
    for message in body["messages"].as_array().into_iter().flatten().rev() {
        if message["role"] == "assistant" {
            step += 1;
        }
        let text = match &message["content"] {
            Value::String(text) => text.clone(),
            blocks => blocks
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|b| b["text"].as_str())
                .collect(),
        };
        if message["role"] == "user"
            && let Some((_, steps)) = text.split_once("@@")
        {
            script = serde_json::Deserializer::from_str(steps)
                .into_iter::<Vec<Value>>()
                .next()
                .and_then(Result::ok)
                .unwrap_or_default();
            break;
        }
    }
    let block = script.get(step).cloned().unwrap_or(json!({"text": "done"}));
    if let Some(status) = block["status"].as_u64() {
        let status =
            StatusCode::from_u16(u16::try_from(status).expect("a status")).expect("a status");
        return (
            status,
            axum::Json(
                json!({"type": "error", "error": {"type": "permission_error", "message": "no"}}),
            ),
        )
            .into_response();
    }
    let asks = serde_json::to_string(&body).unwrap_or_default();
    let text = block["text"].as_str().map(|text| {
        text.replace(
            "{saw}",
            if asks.contains("MARKER") {
                "MARKER"
            } else {
                "nothing"
            },
        )
    });
    let calls = match (block["tool"].as_str(), block["tools"].as_array()) {
        (Some(_), _) => vec![block.clone()],
        (None, Some(calls)) => calls.clone(),
        (None, None) => vec![],
    };
    let message = body["messages"].as_array().map_or(0, Vec::len);
    let mut blocks: Vec<(Value, Value)> = Vec::new();
    if let Some(text) = &text {
        blocks.push((
            json!({"type": "text", "text": ""}),
            json!({"type": "text_delta", "text": text}),
        ));
    }
    for (number, call) in calls.iter().enumerate() {
        let id = format!("toolu_{}_{message}_{number}", std::process::id());
        blocks.push((
            json!({"type": "tool_use", "id": id, "name": call["tool"], "input": {}}),
            json!({"type": "input_json_delta", "partial_json": call["input"].to_string()}),
        ));
    }
    assert!(!blocks.is_empty(), "not a step: {block}");
    let reason = if calls.is_empty() {
        "end_turn"
    } else {
        "tool_use"
    };
    let usage = json!({"input_tokens": 10, "output_tokens": 5, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0});
    let mut events = vec![
        json!({"type": "message_start", "message": {"id": format!("msg_{step}"), "type": "message", "role": "assistant",
            "model": body["model"], "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage}}),
    ];
    for (index, (start, delta)) in blocks.into_iter().enumerate() {
        events.push(json!({"type": "content_block_start", "index": index, "content_block": start}));
        events.push(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    events.push(json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null}, "usage": usage}));
    events.push(json!({"type": "message_stop"}));
    let mut stream = String::new();
    for event in events {
        stream.push_str(&format!(
            "event: {}\ndata: {event}\n\n",
            event["type"].as_str().unwrap_or_default()
        ));
    }
    ([("content-type", "text/event-stream")], stream).into_response()
}

/// A prompt with a script for [`model`].
pub(crate) fn script(steps: Value) -> String {
    format!("do @@{steps}")
}
