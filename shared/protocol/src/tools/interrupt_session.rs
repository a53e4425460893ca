//! `interrupt_session`: stops what runs, or takes a queued message or command back.

use domain::use_cases::{self, InterruptError, Interrupted};
use domain::{CommandId, Principal};
use serde::Deserialize;
use serde_json::{Value, json};

use super::find_claude_binary::ClaudeFinder;
use super::{
    Definition, Done, Effect, Refused, key, message_id_schema, refused, session_id_schema,
};
use crate::work::{Ports, Sessions};

pub(super) const DEFINITION: Definition = Definition {
    name: "interrupt_session",
    title: "Interrupt a session",
    description: "Stops what a Claude Code session is doing right now, tools included; the session then is idle and \
        takes further messages. With a message_id it instead takes back that message, if the session has not begun \
        to read it, or that command of run_command, which it stops if it runs. To end the session altogether, call cancel_session.",
    effect: Effect::Stops,
    input,
    output,
};

fn input() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id"],
        "properties": {
            "session_id": session_id_schema(),
            "message_id": message_id_schema("The message or command to take back; stops what runs when left out."),
        }
    })
}

fn output() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id", "outcome"],
        "properties": {
            "session_id": session_id_schema(),
            "outcome": {"type": "string", "enum": ["turn_stopping", "nothing_running", "message_withdrawn", "command_stopping", "too_late"], "description": "What it did; too_late: the session has read the message already, or the command has ended, or waits in a suspended session for a person, who can deny it."},
            "message_state": {"type": "string", "enum": ["queued", "taken", "done", "withdrawn", "not_done"], "description": "Where the message is, when it was too late."}
        }
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    session_id: String,
    message_id: Option<String>,
}

pub(super) async fn run<P: Ports, F: ClaudeFinder>(
    work: &Sessions<P, F>,
    principal: &Principal,
    input: Input,
) -> Result<Done, Refused> {
    let writer = principal.authorize().map_err(Refused::because)?;
    let key = key(principal, &input.session_id)?;
    let message = input.message_id.as_deref().map(CommandId::parse);
    let message = message.transpose().map_err(Refused::because)?;
    let interrupted = use_cases::interrupt_session(&work.ports, &writer, &key, message.as_ref())
        .await
        .map_err(|error| {
            refused!(
                error,
                InterruptError::Unavailable,
                "Look with get_session before you interrupt again."
            )
        })?;
    let (outcome, text) = match interrupted {
        Interrupted::TurnStopping => ("turn_stopping", "the turn is being stopped"),
        Interrupted::NothingRunning => ("nothing_running", "nothing was running"),
        Interrupted::MessageWithdrawn => ("message_withdrawn", "the message was taken back"),
        Interrupted::CommandStopping => ("command_stopping", "the command is being stopped"),
        Interrupted::TooLate(_) => ("too_late", "the message cannot be taken back any more"),
    };
    let mut structured = json!({"session_id": key.session.as_str(), "outcome": outcome});
    if let Interrupted::TooLate(state) = interrupted {
        structured["message_state"] = state.as_str().into();
    }
    Ok(Done::new(structured, format!("{}: {text}", key.session)))
}
