//! `cancel_session`: ends a session.

use domain::Principal;
use domain::use_cases::{self, CancelError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::find_claude_binary::ClaudeFinder;
use super::{Definition, Done, Effect, Refused, key, refused, session_id_schema, state_schema};
use crate::show;
use crate::work::{Ports, Sessions};

pub(super) const DEFINITION: Definition = Definition {
    name: "cancel_session",
    title: "End a session",
    description: "Ends a Claude Code session: stops what it is doing and gives back the machine it runs on. Its \
        events can still be read with wait_session, its files no more. Ending an ended session changes nothing. \
        Call it when you need nothing further from a session; to stop only the running turn, call interrupt_session.",
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
            "reason": {"type": "string", "maxLength": 500, "description": "Why, for the session's log."}
        }
    })
}

fn output() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id", "state", "total_cost_usd"],
        "properties": {
            "session_id": session_id_schema(),
            "state": state_schema(),
            "end_reason": {"type": "string"},
            "total_cost_usd": {"type": "number"}
        }
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    session_id: String,
    reason: Option<String>,
}

pub(super) async fn run<P: Ports, F: ClaudeFinder>(
    work: &Sessions<P, F>,
    principal: &Principal,
    input: Input,
) -> Result<Done, Refused> {
    let writer = principal.authorize().map_err(Refused::because)?;
    let key = key(principal, &input.session_id)?;
    let reason = input.reason.filter(|reason| !reason.trim().is_empty());
    let reason = reason.as_deref().unwrap_or("cancelled by its owner");
    let head = use_cases::cancel_session(&work.ports, &writer, &key, reason)
        .await
        .map_err(|error| refused!(error, CancelError::Unavailable, "Call it again."))?;
    let mut structured = json!({
        "session_id": head.key.session.as_str(),
        "state": head.state.as_str(),
        "total_cost_usd": head.total_cost_usd,
    });
    if let Some(reason) = &head.end_reason {
        structured["end_reason"] = reason.as_str().into();
    }
    let mut text = show::session_line(&head);
    if !head.state.is_ended() {
        text.push_str("; it is being ended");
    }
    Ok(Done::new(structured, text))
}
