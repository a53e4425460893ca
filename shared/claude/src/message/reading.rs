//! From a line's bytes to a [`Message`]: tolerant of everything except what is no JSON object.

use serde::Deserialize;
use serde_json::Value;

use super::{Block, CanUseTool, ControlResponse, Delta, LineError, Message, Spoken};

#[derive(Deserialize)]
struct Envelope {
    r#type: String,
    #[serde(default)]
    subtype: Option<String>,
}

/// Reads one line.
///
/// # Errors
/// [`LineError`] if it is not a message at all; report it and go on.
pub fn parse(line: &[u8]) -> Result<Message, LineError> {
    let envelope: Envelope = serde_json::from_slice(line).map_err(LineError::NotAMessage)?;
    let subtype = envelope.subtype.as_deref().unwrap_or_default();
    let read = match (envelope.r#type.as_str(), subtype) {
        ("system", "init") => typed(line).map(Message::Init),
        ("system", "session_state_changed") => typed(line).map(Message::StateChanged),
        ("system", "api_retry") => typed(line).map(Message::ApiRetry),
        ("system", "permission_denied") => typed(line).map(Message::PermissionDenied),
        ("assistant", _) => spoken(line).map(Message::Assistant),
        ("user", _) => spoken(line).map(Message::User),
        ("stream_event", _) => return Ok(stream_event(line)),
        ("result", _) => typed(line).map(|result| Message::Result(Box::new(result))),
        ("control_request", _) => control_request(line),
        ("control_response", _) => {
            typed::<Answered>(line).map(|outer| Message::ControlResponse(Box::new(outer.response)))
        }
        ("control_cancel_request", _) => {
            typed::<Cancelled>(line).map(|cancelled| Message::RequestCancelled {
                request_id: cancelled.request_id,
            })
        }
        ("command_lifecycle", _) => typed(line).map(Message::CommandLifecycle),
        ("system", "background_tasks_changed") => typed(line).map(Message::BackgroundTasks),
        ("transcript_mirror", _) => typed(line).map(Message::Transcript),
        _ => {
            return Ok(Message::Other {
                kind: kind(&envelope),
                problem: None,
            });
        }
    };
    Ok(read.unwrap_or_else(|problem| Message::Other {
        kind: kind(&envelope),
        problem: Some(problem.to_string()),
    }))
}

fn kind(envelope: &Envelope) -> String {
    match &envelope.subtype {
        Some(subtype) => format!("{}/{subtype}", envelope.r#type),
        None => envelope.r#type.clone(),
    }
}

fn typed<'a, T: Deserialize<'a>>(line: &'a [u8]) -> serde_json::Result<T> {
    serde_json::from_slice(line)
}

#[derive(Deserialize)]
struct Answered {
    response: ControlResponse,
}

#[derive(Deserialize)]
struct Cancelled {
    request_id: String,
}

fn control_request(line: &[u8]) -> serde_json::Result<Message> {
    #[derive(Deserialize)]
    struct Outer {
        request_id: String,
        request: Inner,
    }
    #[derive(Deserialize)]
    struct Inner {
        subtype: String,
        tool_name: Option<String>,
        #[serde(default)]
        input: Value,
        tool_use_id: Option<String>,
        agent_id: Option<String>,
    }
    let Outer {
        request_id,
        request,
    } = typed(line)?;
    Ok(match (request.subtype.as_str(), request.tool_name) {
        ("can_use_tool", Some(tool_name)) => Message::CanUseTool(CanUseTool {
            request_id,
            tool_name,
            input: request.input,
            tool_use_id: request.tool_use_id,
            agent_id: request.agent_id,
        }),
        _ => Message::OtherRequest {
            request_id,
            subtype: request.subtype,
        },
    })
}

fn stream_event(line: &[u8]) -> Message {
    #[derive(Deserialize)]
    struct Outer {
        event: Event,
        #[serde(default)]
        api_message_id: Option<String>,
        #[serde(default)]
        parent_tool_use_id: Option<String>,
    }
    #[derive(Deserialize)]
    struct Event {
        #[serde(rename = "type")]
        kind: String,
        #[serde(default)]
        index: u64,
        #[serde(default)]
        delta: Option<Piece>,
    }
    #[derive(Deserialize)]
    struct Piece {
        #[serde(default)]
        text: Option<String>,
        #[serde(default)]
        thinking: Option<String>,
    }
    let outer: Outer = match typed(line) {
        Ok(outer) => outer,
        Err(problem) => {
            return Message::Other {
                kind: "stream_event".to_owned(),
                problem: Some(problem.to_string()),
            };
        }
    };
    let kind = format!("stream_event/{}", outer.event.kind);
    let Some(piece) = outer.event.delta else {
        return Message::Other {
            kind,
            problem: None,
        };
    };
    let (text, thinking) = match (piece.text, piece.thinking) {
        (Some(text), _) => (text, false),
        (None, Some(text)) => (text, true),
        (None, None) => {
            return Message::Other {
                kind,
                problem: None,
            };
        }
    };
    Message::Delta(Delta {
        message_id: outer.api_message_id,
        block_index: outer.event.index,
        text,
        thinking,
        parent_tool_use_id: outer.parent_tool_use_id,
    })
}

fn spoken(line: &[u8]) -> serde_json::Result<Spoken> {
    // `tool_use_result` repeats whole files; it is not among these fields and so never copied.
    #[derive(Deserialize)]
    struct Outer {
        message: Inner,
        #[serde(default)]
        parent_tool_use_id: Option<String>,
        #[serde(default)]
        error: Option<String>,
    }
    #[derive(Deserialize)]
    struct Inner {
        #[serde(default)]
        id: Option<String>,
        #[serde(default)]
        model: Option<String>,
        content: Value,
    }
    let outer: Outer = typed(line)?;
    let blocks = match outer.message.content {
        Value::String(text) => vec![Block::Text(text)],
        Value::Array(blocks) => blocks.into_iter().map(block).collect(),
        other => vec![Block::Other(type_name(&other).to_owned())],
    };
    Ok(Spoken {
        message_id: outer.message.id,
        model: outer.message.model,
        blocks,
        parent_tool_use_id: outer.parent_tool_use_id,
        error: outer.error,
    })
}

fn block(mut value: Value) -> Block {
    let kind = value["type"].as_str().unwrap_or("untyped").to_owned();
    let mut text = |field: &str| match value.get_mut(field).map(Value::take) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let read = match kind.as_str() {
        "text" => text("text").map(Block::Text),
        "thinking" => text("thinking").map(Block::Thinking),
        "tool_use" => match (text("id"), text("name")) {
            (Some(id), Some(name)) => Some(Block::ToolUse {
                id,
                name,
                input: value["input"].take(),
            }),
            _ => None,
        },
        "tool_result" => text("tool_use_id").map(|tool_use_id| Block::ToolResult {
            tool_use_id,
            text: result_text(&value["content"]),
            is_error: value["is_error"].as_bool().unwrap_or(false),
        }),
        _ => None,
    };
    read.unwrap_or(Block::Other(kind))
}

fn result_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts: Vec<String> = parts
                .iter()
                .map(|part| match part["text"].as_str() {
                    Some(text) => text.to_owned(),
                    None => format!("[{}]", part["type"].as_str().unwrap_or("block")),
                })
                .collect();
            texts.join("\n")
        }
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
