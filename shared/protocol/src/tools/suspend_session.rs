//! `suspend_session`: gives the machine back and keeps the session.

use domain::use_cases::{self, SuspendError};
use domain::{Principal, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::find_claude_binary::ClaudeFinder;
use super::{Definition, Done, Effect, Refused, key, refused, session_id_schema, state_schema};
use crate::show;
use crate::work::{Ports, Sessions};

pub(super) const DEFINITION: Definition = Definition {
    name: "suspend_session",
    title: "Suspend a session",
    description: "Gives back the machine that a Claude Code session runs on, as soon as its turn is over, and keeps its \
        files and its conversation as a checkpoint. send_message or answer_question wakes it where it was. A session \
        that is idle for a while is suspended by itself.",
    effect: Effect::Keeps,
    input,
    output,
};

fn input() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id"],
        "properties": {"session_id": session_id_schema()}
    })
}

fn output() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id", "state"],
        "properties": {
            "session_id": session_id_schema(),
            "state": state_schema(),
            "latest_checkpoint": {"type": "string", "description": "The checkpoint that it would go on from."}
        }
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    session_id: String,
}

pub(super) async fn run<P: Ports, F: ClaudeFinder>(
    work: &Sessions<P, F>,
    principal: &Principal,
    input: Input,
) -> Result<Done, Refused> {
    let writer = principal.authorize().map_err(Refused::because)?;
    let key = key(principal, &input.session_id)?;
    let head = use_cases::suspend_session(&work.ports, &writer, &key)
        .await
        .map_err(|error| refused!(error, SuspendError::Unavailable, "Call it again."))?;
    let mut structured = json!({
        "session_id": head.key.session.as_str(),
        "state": head.state.as_str(),
    });
    if let Some(latest) = &head.checkpoint {
        structured["latest_checkpoint"] = latest.as_str().into();
    }
    let mut text = show::session_line(&head);
    if head.state != State::Suspended {
        text.push_str("; it is suspended as soon as its turn is over");
    }
    Ok(Done::new(structured, text))
}
