//! What we write to the CLI's standard input: one JSON object per line.
//!
//! One malformed line is fatal to the CLI, so every line is made here by a serialiser and ends
//! with a line feed. A user message carries a UUID chosen by us: the CLI runs it once however
//! often it is sent, also after a resume.

use serde_json::{Value, json};

fn line(value: &Value) -> Vec<u8> {
    let mut bytes = value.to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}

fn request(request_id: &str, request: Value) -> Vec<u8> {
    line(&json!({"type": "control_request", "request_id": request_id, "request": request}))
}

/// Asks for readiness. Answered in about 0.4 s without any model call.
#[must_use]
pub fn initialize(request_id: &str) -> Vec<u8> {
    request(request_id, json!({"subtype": "initialize"}))
}

/// Stops the running turn; harmless when none runs. The children of a running command die.
#[must_use]
pub fn interrupt(request_id: &str) -> Vec<u8> {
    request(request_id, json!({"subtype": "interrupt"}))
}

/// Asks the CLI to end by itself.
#[must_use]
pub fn end_session(request_id: &str) -> Vec<u8> {
    request(request_id, json!({"subtype": "end_session"}))
}

/// Withdraws a message that the CLI has queued and not started. The answer says whether it was
/// still there ([`crate::message::ControlResponse::cancelled`]).
#[must_use]
pub fn cancel_async_message(request_id: &str, message_uuid: &str) -> Vec<u8> {
    request(
        request_id,
        json!({"subtype": "cancel_async_message", "message_uuid": message_uuid}),
    )
}

/// A user message. `client_composed` keeps the CLI from expanding slash commands and `@path` in
/// text that somebody else wrote.
#[must_use]
pub fn user_message(uuid: &str, text: &str) -> Vec<u8> {
    line(&json!({
        "type": "user",
        "message": {"role": "user", "content": text},
        "uuid": uuid,
        "parent_tool_use_id": null,
        "client_composed": true,
    }))
}

/// Lets the tool call run with the input it asked for.
#[must_use]
pub fn permit(request_id: &str, input: &Value) -> Vec<u8> {
    respond(
        request_id,
        json!({"behavior": "allow", "updatedInput": input}),
    )
}

/// Refuses the tool call; the model reads `reason`.
#[must_use]
pub fn refuse(request_id: &str, reason: &str) -> Vec<u8> {
    respond(
        request_id,
        json!({"behavior": "deny", "message": reason, "interrupt": false}),
    )
}

/// Answers a request we do not know. The CLI fails closed on it.
#[must_use]
pub fn unsupported(request_id: &str, what: &str) -> Vec<u8> {
    line(&json!({
        "type": "control_response",
        "response": {"subtype": "error", "request_id": request_id, "error": what},
    }))
}

fn respond(request_id: &str, response: Value) -> Vec<u8> {
    line(&json!({
        "type": "control_response",
        "response": {"subtype": "success", "request_id": request_id, "response": response},
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_have_the_shape_the_cli_reads() {
        let cases: [(Vec<u8>, Value); 4] = [
            (
                initialize("r1"),
                json!({"type":"control_request","request_id":"r1","request":{"subtype":"initialize"}}),
            ),
            (
                cancel_async_message("r2", "u"),
                json!({"type":"control_request","request_id":"r2",
                       "request":{"subtype":"cancel_async_message","message_uuid":"u"}}),
            ),
            (
                refuse("r3", "no"),
                json!({"type":"control_response","response":{"subtype":"success","request_id":"r3",
                       "response":{"behavior":"deny","message":"no","interrupt":false}}}),
            ),
            (
                unsupported("r4", "what"),
                json!({"type":"control_response","response":{"subtype":"error","request_id":"r4","error":"what"}}),
            ),
        ];
        for (bytes, expected) in cases {
            assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), expected);
        }
    }

    proptest! {
        #[test]
        fn a_message_is_always_exactly_one_line(text in any::<String>()) {
            let bytes = user_message("u", &text);
            prop_assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
            prop_assert_eq!(bytes.last(), Some(&b'\n'));
            let back: Value = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(&back["message"]["content"], &Value::String(text));
            prop_assert_eq!(&back["client_composed"], &Value::Bool(true));
        }
    }
}
