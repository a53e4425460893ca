//! `cancel_session`: ends a session.

use domain::use_cases::{self, CancelError};
use domain::{Command, CommandBody, CommandState, Principal, SessionKey};
use serde::Deserialize;
use serde_json::{Value, json};

use super::find_claude_binary::ClaudeFinder;
use super::{Definition, Done, Effect, Refused, key, refused, session_id_schema, state_schema};
use crate::ask::{Asking, NotAnswered, question};
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
    asking: &Asking,
    input: Input,
) -> Result<Done, Refused> {
    let writer = principal.authorize().map_err(Refused::because)?;
    let key = key(principal, &input.session_id)?;
    confirm(work, asking, &key).await?;
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

/// As many messages as may wait in any deployment.
const MOST_COUNTED: usize = 1000;

/// Messages that nobody has worked on yet are lost with the session: where the person can be asked,
/// they decide.
async fn confirm<P: Ports, F: ClaudeFinder>(
    work: &Sessions<P, F>,
    asking: &Asking,
    key: &SessionKey,
) -> Result<(), Refused> {
    let unavailable = |error| Refused::unavailable(&error, "Call it again.");
    let head = work.ports.head(key).await.map_err(unavailable)?;
    // What is wrong with the others, the use case says.
    let Some(head) = head.filter(|head| !head.state.is_ended()) else {
        return Ok(());
    };
    let queued = work
        .ports
        .commands_after(key, head.commands_taken, MOST_COUNTED)
        .await
        .map_err(unavailable)?;
    let is_ending = |command: &Command| matches!(command.body, CommandBody::Cancel { .. });
    let waits = |command: &&Command| {
        command.state == CommandState::Queued && matches!(command.body, CommandBody::Message { .. })
    };
    let waiting = queued.iter().filter(waits).count();
    if waiting == 0 || queued.iter().any(is_ending) {
        return Ok(());
    }
    let messages = if waiting == 1 { "message" } else { "messages" };
    let question = format!(
        "Session {} still has {waiting} {messages} to work on. End it all the same?",
        key.session
    );
    let Some(question) = question::confirmation(&question, "End the session") else {
        return Ok(());
    };
    match asking.ask("confirm", question).await {
        Ok(answer) if question::is_yes(&answer) => Ok(()),
        Ok(_) => Err(Refused::because(
            "you did not confirm it: the session goes on, and works on what waits",
        )),
        // Nobody to ask: the call itself is the decision.
        Err(NotAnswered::CannotAsk) => Ok(()),
        Err(reason) => Err(Refused::because(format!(
            "{reason}; the session goes on. Call it again to be asked again."
        ))),
    }
}
