//! `restore_checkpoint`: sets a session back.

use domain::Principal;
use domain::checkpoint::{CheckpointName, RestoreScope};
use domain::use_cases::{self, RestoreCheckpoint, RestoreError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::find_claude_binary::ClaudeFinder;
use super::{Definition, Done, Effect, Refused, key, refused, session_id_schema, state_schema};
use crate::history::{self, checkpoint_name_schema};
use crate::show;
use crate::work::{Ports, Sessions};

pub(super) const DEFINITION: Definition = Definition {
    name: "restore_checkpoint",
    title: "Set a session back",
    description: "Sets a Claude Code session back to one of its checkpoints, whatever it is doing: it then is suspended \
        there and goes on with the next message. Nothing is lost: where it was stays reachable under a name \
        (before-1, before-2 ..), which list_checkpoints and the event rewound show. To try something else and keep this \
        session, call fork_session.",
    effect: Effect::Stops,
    input,
    output,
};

fn input() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id", "checkpoint"],
        "properties": {
            "session_id": session_id_schema(),
            "checkpoint": checkpoint_name_schema("Where to set it back to"),
            "what": what_schema("conversation sets only the conversation back, and keeps the files of the latest checkpoint.")
        }
    })
}

/// What of a checkpoint is taken over.
pub(super) fn what_schema(description: &str) -> Value {
    let all = RestoreScope::ALL.map(RestoreScope::as_str);
    json!({"type": "string", "enum": all, "default": RestoreScope::default().as_str(), "description": description})
}

fn output() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id", "state"],
        "properties": {
            "session_id": session_id_schema(),
            "state": state_schema(),
            "latest_checkpoint": {"type": "string", "description": "The checkpoint that it goes on from."}
        }
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    session_id: String,
    checkpoint: String,
    what: Option<String>,
}

pub(super) async fn run<P: Ports, F: ClaudeFinder>(
    work: &Sessions<P, F>,
    principal: &Principal,
    input: Input,
) -> Result<Done, Refused> {
    let writer = principal.authorize().map_err(Refused::because)?;
    let request = RestoreCheckpoint {
        key: key(principal, &input.session_id)?,
        checkpoint: CheckpointName::parse(&input.checkpoint).map_err(Refused::because)?,
        what: scope(input.what.as_deref()),
    };
    let repeat = "Look with get_session, and call it again.";
    let head = use_cases::restore_checkpoint(&work.ports, &work.deployment, &writer, &request)
        .await
        .map_err(|error| match error {
            RestoreError::Find(error) => history::not_found(error, repeat),
            other => refused!(other, RestoreError::Unavailable, repeat),
        })?;
    let mut structured = json!({
        "session_id": head.key.session.as_str(),
        "state": head.state.as_str(),
    });
    let mut text = show::session_line(&head);
    if let Some(latest) = &head.checkpoint {
        structured["latest_checkpoint"] = latest.as_str().into();
        text.push_str(&format!("; it goes on from {latest}"));
    }
    Ok(Done::new(structured, text))
}

/// The schema has let only these through.
pub(super) fn scope(what: Option<&str>) -> RestoreScope {
    what.and_then(RestoreScope::parse).unwrap_or_default()
}
