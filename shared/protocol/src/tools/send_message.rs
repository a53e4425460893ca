//! `send_message`: reaches a running turn, or starts one on an idle session.

use domain::use_cases::{self, SendMessageError};
use domain::{CommandId, Principal, TaskId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::create_session::{AttachmentInput, attachments};
use super::find_claude_binary::ClaudeFinder;
use super::{
    Definition, Done, Effect, Refused, attachments_schema, key, message_id_schema, refused,
    session_id_schema, state_schema, turn_schema,
};
use crate::work::{Ports, Sessions};

pub(super) const DEFINITION: Definition = Definition {
    name: "send_message",
    title: "Send a message to a session",
    description: "Sends a message to a Claude Code session that has not ended. A running session reads it in \
        the middle of its turn; an idle one starts a turn with it. Returns at once: call wait_session to see \
        what comes of it. Repeating the call with the same message_id does nothing more.",
    effect: Effect::AddsOnce,
    input,
    output,
};

fn input() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id", "message"],
        "properties": {
            "session_id": session_id_schema(),
            "message": {"type": "string", "minLength": 1, "description": "What to tell the session."},
            "attachments": attachments_schema(),
            "message_id": message_id_schema("Your name for the message: repeating the call with it does nothing, and interrupt_session can take the message back by it. Chosen for you when left out."),
        }
    })
}

fn output() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id", "message_id"],
        "properties": {
            "session_id": session_id_schema(),
            "message_id": {"type": "string", "description": "The message."},
            "message_state": {"type": "string", "enum": ["queued", "taken", "done", "withdrawn", "not_done"], "description": "How far the message is."},
            "accepted_at_unix_ms": {"type": "integer"},
            "repeated": {"type": "boolean", "description": "The message was there already; nothing was done."},
            "state": state_schema(),
            "turn": turn_schema()
        }
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    session_id: String,
    message: String,
    #[serde(default)]
    attachments: Vec<AttachmentInput>,
    message_id: Option<String>,
}

pub(super) async fn run<P: Ports, F: ClaudeFinder>(
    work: &Sessions<P, F>,
    principal: &Principal,
    input: Input,
) -> Result<Done, Refused> {
    let writer = principal.authorize().map_err(Refused::because)?;
    let key = key(principal, &input.session_id)?;
    let message_id = input.message_id.as_deref().map(CommandId::parse);
    let message = use_cases::SendMessage {
        key: key.clone(),
        text: input.message,
        attachments: attachments(input.attachments)?,
        message_id: message_id.transpose().map_err(Refused::because)?,
    };
    let sent = use_cases::send_message(&work.ports, &work.deployment, &writer, message)
        .await
        .map_err(|error| {
            refused!(
                error,
                SendMessageError::Unavailable,
                "Call again with the same message_id."
            )
        })?;
    let command = sent.command;
    let structured = json!({
        "session_id": key.session.as_str(),
        "message_id": command.id.as_str(),
        "message_state": command.state.as_str(),
        "accepted_at_unix_ms": command.accepted_at.0,
        "repeated": sent.repeated,
    });
    let text = format!(
        "message {} is {}; call wait_session with session_id {} to see what comes of it",
        command.id,
        command.state.as_str(),
        key.session
    );
    let mut done = Done::new(structured, text);
    let id = TaskId {
        session: key.session,
        command: command.id,
    };
    done.turn = Some((id, command.accepted_at));
    Ok(done)
}
