//! `fork_session`: a new session that goes on from a checkpoint of another one.

use domain::checkpoint::CheckpointName;
use domain::use_cases::{self, ForkSession, ForkSessionError};
use domain::{CommandId, Principal, TaskId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::find_claude_binary::ClaudeFinder;
use super::restore_checkpoint::{scope, what_schema};
use super::{
    Definition, Done, Effect, Refused, key, message_id_schema, refused, session_id_schema,
    state_schema, turn_schema,
};
use crate::history::{self, checkpoint_name_schema};
use crate::show;
use crate::work::{Ports, Sessions};

pub(super) const DEFINITION: Definition = Definition {
    name: "fork_session",
    title: "Fork a session",
    description: "Makes a new Claude Code session that goes on from a checkpoint of another one, with its files and its \
        conversation; the other one, which may have ended, stays as it is. With a prompt the fork starts to work on it; \
        without one it waits for send_message and holds no machine. Returns at once. Repeating the call with the same \
        client_token gives the same fork.",
    effect: Effect::AddsOnce,
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
            "checkpoint": checkpoint_name_schema("Where the fork begins; the latest when left out"),
            "what": what_schema("conversation takes the conversation of the checkpoint and the files of the latest one."),
            "prompt": {"type": "string", "minLength": 1, "description": "What to tell the fork first."},
            "message_id": message_id_schema("Your name for the prompt as a message; first when left out."),
            "client_token": {"type": "string", "minLength": 1, "maxLength": 64, "description": "Makes repeating the call harmless: the same token gives the same fork."}
        }
    })
}

fn output() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id"],
        "properties": {
            "session_id": {"type": "string", "description": "The fork (ses_…)."},
            "state": state_schema(),
            "message_id": {"type": "string", "description": "The prompt as a message, if there was one."},
            "parent_session_id": {"type": "string"},
            "parent_checkpoint_id": {"type": "string", "description": "The checkpoint of the parent at which it begins."},
            "repeated": {"type": "boolean", "description": "The fork was there already, by its client_token."},
            "turn": turn_schema()
        }
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    session_id: String,
    checkpoint: Option<String>,
    what: Option<String>,
    prompt: Option<String>,
    message_id: Option<String>,
    client_token: Option<String>,
}

pub(super) async fn run<P: Ports, F: ClaudeFinder>(
    work: &Sessions<P, F>,
    principal: &Principal,
    input: Input,
) -> Result<Done, Refused> {
    let writer = principal.authorize().map_err(Refused::because)?;
    let name = input.checkpoint.as_deref().unwrap_or("latest");
    let message_id = match (&input.prompt, &input.message_id) {
        (None, None) => None,
        (_, Some(id)) => Some(CommandId::parse(id).map_err(Refused::because)?),
        // The same when the call is repeated; a fork has no messages before it.
        (Some(_), None) => Some(CommandId::parse("first").map_err(Refused::because)?),
    };
    let prompted = message_id.clone().filter(|_| input.prompt.is_some());
    let request = ForkSession {
        key: key(principal, &input.session_id)?,
        checkpoint: CheckpointName::parse(name).map_err(Refused::because)?,
        what: scope(input.what.as_deref()),
        prompt: input.prompt,
        message_id,
        client_token: input.client_token,
    };
    let repeat = "Call again with the same client_token; without one, look at get_timeline first.";
    let forked = use_cases::fork_session(&work.ports, &work.deployment, &writer, request)
        .await
        .map_err(|error| match error {
            ForkSessionError::Find(error) => history::not_found(error, repeat),
            other => refused!(other, ForkSessionError::Unavailable, repeat),
        })?;
    let head = forked.head;
    let mut structured = json!({
        "session_id": head.key.session.as_str(),
        "state": head.state.as_str(),
        "repeated": forked.repeated,
    });
    let mut text = show::session_line(&head);
    if let Some(parent) = &head.parent {
        structured["parent_session_id"] = parent.session.as_str().into();
        structured["parent_checkpoint_id"] = parent.checkpoint.as_str().into();
        text.push_str(&format!(
            "; forked from {} at {}",
            parent.session, parent.checkpoint
        ));
    }
    if let Some(message) = &prompted {
        structured["message_id"] = message.as_str().into();
    }
    let mut done = Done::new(structured, text);
    done.turn = prompted.map(|command| {
        let session = head.key.session.clone();
        (TaskId { session, command }, head.created_at)
    });
    Ok(done)
}
