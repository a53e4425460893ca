//! A streamed answer of the Messages API put together as the one message that a non-streaming
//! request expects (<https://docs.claude.com/en/docs/build-with-claude/streaming>).

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::StatusCode;
use serde_json::{Map, Value, json};

/// What came of it.
pub(super) enum Assembled {
    Message(Value),
    Error { status: StatusCode, body: Value },
}

/// Reads the stream to its end.
pub(super) async fn assemble<E>(stream: impl Stream<Item = Result<Bytes, E>>) -> Assembled {
    let mut stream = std::pin::pin!(stream);
    let mut pending: Vec<u8> = Vec::new();
    let mut message = Message::default();
    while let Some(Ok(piece)) = stream.next().await {
        pending.extend_from_slice(&piece);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let Some(data) = line.strip_prefix(b"data:") else {
                continue;
            };
            // A line that is no JSON is none of the API's; it has nothing to add.
            if let Ok(event) = serde_json::from_slice::<Value>(data)
                && let Some(done) = message.take(event)
            {
                return done;
            }
        }
    }
    broken_off()
}

fn broken_off() -> Assembled {
    Assembled::Error {
        status: StatusCode::BAD_GATEWAY,
        body: json!({"type": "error", "error": {"type": "api_error", "message": "the model's answer broke off"}}),
    }
}

#[derive(Default)]
struct Message {
    message: Map<String, Value>,
    blocks: Vec<Value>,
    /// JSON text of a tool's input, per block, until the block is whole.
    inputs: Vec<String>,
}

impl Message {
    fn take(&mut self, event: Value) -> Option<Assembled> {
        let index = event["index"]
            .as_u64()
            .and_then(|index| usize::try_from(index).ok());
        match event["type"].as_str()? {
            "message_start" => {
                self.message = event["message"].as_object().cloned().unwrap_or_default()
            }
            "content_block_start" => {
                self.blocks.push(event["content_block"].clone());
                self.inputs.push(String::new());
            }
            "content_block_delta" => self.delta(index?, &event["delta"]),
            "content_block_stop" => return self.finish_block(index?),
            "message_delta" => self.merge(&event),
            "message_stop" => {
                let mut message = std::mem::take(&mut self.message);
                message.insert(
                    "content".to_owned(),
                    Value::Array(std::mem::take(&mut self.blocks)),
                );
                return Some(Assembled::Message(Value::Object(message)));
            }
            "error" => {
                let status = match event["error"]["type"].as_str() {
                    Some("invalid_request_error") => 400,
                    Some("permission_error" | "authentication_error") => 403,
                    Some("not_found_error") => 404,
                    Some("request_too_large") => 413,
                    Some("rate_limit_error") => 429,
                    Some("overloaded_error") => 529,
                    _ => 500,
                };
                let status =
                    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                return Some(Assembled::Error {
                    status,
                    body: event,
                });
            }
            // `ping` and what is yet to be invented.
            _ => {}
        }
        None
    }

    fn delta(&mut self, index: usize, delta: &Value) {
        let (Some(block), Some(input)) = (self.blocks.get_mut(index), self.inputs.get_mut(index))
        else {
            return;
        };
        let mut append = |field: &str, text: &Value| {
            let so_far = block[field].as_str().unwrap_or_default();
            block[field] = Value::String(format!("{so_far}{}", text.as_str().unwrap_or_default()));
        };
        match delta["type"].as_str() {
            Some("text_delta") => append("text", &delta["text"]),
            Some("thinking_delta") => append("thinking", &delta["thinking"]),
            Some("signature_delta") => append("signature", &delta["signature"]),
            Some("input_json_delta") => {
                input.push_str(delta["partial_json"].as_str().unwrap_or_default())
            }
            Some("citations_delta") => match &mut block["citations"] {
                Value::Array(citations) => citations.push(delta["citation"].clone()),
                citations => *citations = json!([delta["citation"]]),
            },
            _ => {}
        }
    }

    /// A tool's input must be whole JSON: half an input must never be run.
    fn finish_block(&mut self, index: usize) -> Option<Assembled> {
        let input = std::mem::take(self.inputs.get_mut(index)?);
        if input.is_empty() {
            return None;
        }
        match serde_json::from_str(&input) {
            Ok(input) => {
                self.blocks.get_mut(index)?["input"] = input;
                None
            }
            Err(_) => Some(broken_off()),
        }
    }

    fn merge(&mut self, event: &Value) {
        for (name, value) in event["delta"].as_object().into_iter().flatten() {
            self.message.insert(name.clone(), value.clone());
        }
        let usage = self.message.entry("usage").or_insert_with(|| json!({}));
        for (name, value) in event["usage"].as_object().into_iter().flatten() {
            usage[name] = value.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn events(events: &[Value]) -> String {
        events
            .iter()
            .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"]))
            .collect()
    }

    async fn in_pieces(text: &str, size: usize) -> Assembled {
        let pieces: Vec<Result<Bytes, ()>> = text
            .as_bytes()
            .chunks(size)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        assemble(stream::iter(pieces)).await
    }

    #[tokio::test]
    async fn blocks_are_put_together_however_the_stream_is_cut() {
        let text = events(&[
            json!({"type": "message_start", "message": {"id": "m", "content": [], "usage": {"input_tokens": 3, "output_tokens": 1}}}),
            json!({"type": "ping"}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hé"}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "llo"}}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "t", "name": "Bash", "input": {}}}),
            json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{\"command\":"}}),
            json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "\"ls\"}"}}),
            json!({"type": "content_block_stop", "index": 1}),
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}}),
            json!({"type": "message_stop"}),
        ]);
        for size in [1, 7, 10_000] {
            let Assembled::Message(message) = in_pieces(&text, size).await else {
                panic!("no message")
            };
            assert_eq!(
                message,
                json!({
                    "id": "m",
                    "content": [
                        {"type": "text", "text": "Héllo"},
                        {"type": "tool_use", "id": "t", "name": "Bash", "input": {"command": "ls"}},
                    ],
                    "stop_reason": "tool_use",
                    "usage": {"input_tokens": 3, "output_tokens": 9},
                })
            );
        }
    }

    #[tokio::test]
    async fn half_an_answer_is_an_error() {
        let start = json!({"type": "message_start", "message": {"id": "m"}});
        let half_input = [
            start.clone(),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "input": {}}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{\"a"}}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "message_stop"}),
        ];
        for text in [
            String::new(),
            "data: nonsense\n\n".to_owned(),
            events(&[start]),
            events(&half_input),
        ] {
            let Assembled::Error { status, .. } = in_pieces(&text, 16).await else {
                panic!("{text}")
            };
            assert_eq!(status, StatusCode::BAD_GATEWAY);
        }
    }

    #[tokio::test]
    async fn an_error_event_keeps_its_kind() {
        let text = events(&[
            json!({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}),
        ]);
        let Assembled::Error { status, body } = in_pieces(&text, 64).await else {
            panic!("no error")
        };
        assert_eq!(status.as_u16(), 529);
        assert_eq!(body["error"]["message"], "busy");
    }
}
