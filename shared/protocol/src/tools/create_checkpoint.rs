//! `create_checkpoint`: a cut of files and conversation on request.

use domain::use_cases::{self, RequestCheckpoint, Requested, SuspendError};
use domain::{CommandId, Principal, limits};
use serde::Deserialize;
use serde_json::{Value, json};

use super::find_claude_binary::ClaudeFinder;
use super::{
    Definition, Done, Effect, Refused, key, message_id_schema, refused, session_id_schema,
};
use crate::history;
use crate::work::{Ports, Sessions};

pub(super) const DEFINITION: Definition = Definition {
    name: "create_checkpoint",
    title: "Take a checkpoint",
    description: "Takes a checkpoint of a Claude Code session: one cut of its files and its conversation that it can be \
        set back to or forked at. Sessions take them by themselves; call it for one with a message of yours, or one that \
        is pinned. Of a suspended session it gives the one that it was suspended with. When taken is false it is still \
        to come: call again with the message_id of the answer.",
    effect: Effect::Adds,
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
            "message": {"type": "string", "maxLength": limits::CHECKPOINT_MESSAGE_BYTES, "description": "What to remember about it."},
            "tags": {"type": "array", "maxItems": limits::TAGS, "items": {"type": "string", "minLength": 1, "maxLength": limits::TAG_CHARACTERS}, "description": "For finding it again."},
            "pinned": {"type": "boolean", "default": false, "description": "Keep it whatever the retention says."},
            "message_id": message_id_schema("Your name for the request: repeating the call with it gives the same checkpoint. Chosen for you when left out.")
        }
    })
}

fn output() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id", "taken"],
        "properties": {
            "session_id": session_id_schema(),
            "taken": {"type": "boolean", "description": "false: the session finishes something first."},
            "checkpoint": history::checkpoint_schema(),
            "message_id": {"type": "string", "description": "With taken false: repeat the call with it."}
        }
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    session_id: String,
    message: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    pinned: bool,
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
    let request = RequestCheckpoint {
        message_id: message_id.transpose().map_err(Refused::because)?,
        message: input.message,
        tags: input.tags,
        pinned: input.pinned,
    };
    let requested = use_cases::request_checkpoint(&work.ports, &writer, &key, request)
        .await
        .map_err(|error| {
            let repeat =
                "Call again with the same message_id; without one, look at list_checkpoints first.";
            refused!(error, SuspendError::Unavailable, repeat)
        })?;
    let session = key.session.as_str();
    Ok(match requested {
        Requested::Taken(checkpoint) => Done::new(
            json!({
                "session_id": session,
                "taken": true,
                "checkpoint": history::checkpoint(&checkpoint, &[]),
            }),
            history::line(&checkpoint, &[]),
        ),
        Requested::Pending(id) => Done::new(
            json!({"session_id": session, "taken": false, "message_id": id.as_str()}),
            format!(
                "the session finishes something first; call again with the same arguments and message_id {id}"
            ),
        ),
    })
}
