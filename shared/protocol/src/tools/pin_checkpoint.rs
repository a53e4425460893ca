//! `pin_checkpoint`: keeps a checkpoint whatever the retention says.

use domain::Principal;
use domain::checkpoint::CheckpointName;
use domain::use_cases;
use serde::Deserialize;
use serde_json::{Value, json};

use super::find_claude_binary::ClaudeFinder;
use super::{Definition, Done, Effect, Refused, key, session_id_schema};
use crate::history::{self, checkpoint_name_schema};
use crate::work::{Ports, Sessions};

pub(super) const DEFINITION: Definition = Definition {
    name: "pin_checkpoint",
    title: "Pin a checkpoint",
    description: "Keeps a checkpoint of a Claude Code session whatever the retention says, or gives it free again \
        with pinned false. Repeating the call does nothing more.",
    effect: Effect::Keeps,
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
            "checkpoint": checkpoint_name_schema("The checkpoint"),
            "pinned": {"type": "boolean", "default": true, "description": "false lets the retention take it again."}
        }
    })
}

fn output() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id", "checkpoint"],
        "properties": {
            "session_id": session_id_schema(),
            "checkpoint": {
                "type": "object",
                "additionalProperties": false,
                "required": ["checkpoint_id", "pinned"],
                "properties": {
                    "checkpoint_id": {"type": "string"},
                    "pinned": {"type": "boolean"}
                }
            }
        }
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    session_id: String,
    checkpoint: String,
    pinned: Option<bool>,
}

pub(super) async fn run<P: Ports, F: ClaudeFinder>(
    work: &Sessions<P, F>,
    principal: &Principal,
    input: Input,
) -> Result<Done, Refused> {
    let writer = principal.authorize().map_err(Refused::because)?;
    let key = key(principal, &input.session_id)?;
    let name = CheckpointName::parse(&input.checkpoint).map_err(Refused::because)?;
    let pinned = input.pinned.unwrap_or(true);
    let checkpoint = use_cases::pin_checkpoint(&work.ports, &writer, &key, &name, pinned)
        .await
        .map_err(|error| history::not_found(error, "Call it again."))?;
    let structured = json!({
        "session_id": key.session.as_str(),
        "checkpoint": {"checkpoint_id": checkpoint.id.as_str(), "pinned": checkpoint.pinned},
    });
    let said = if pinned {
        "pinned"
    } else {
        "not pinned any more"
    };
    Ok(Done::new(
        structured,
        format!("{} is {said}", checkpoint.id),
    ))
}
