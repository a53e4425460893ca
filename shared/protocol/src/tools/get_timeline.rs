//! `get_timeline`: a session and its forks, with the checkpoints at which they part.

use domain::use_cases;
use domain::{Principal, limits};
use serde::Deserialize;
use serde_json::{Value, json};

use super::find_claude_binary::ClaudeFinder;
use super::{ASK_AGAIN, Definition, Done, Effect, Refused, key, session_id_schema, state_schema};
use crate::history;
use crate::work::{Ports, Sessions};

const DEFAULT_CHECKPOINTS: usize = 10;

pub(super) const DEFINITION: Definition = Definition {
    name: "get_timeline",
    title: "Show the tree of a session",
    description: "Shows a Claude Code session together with the sessions it was forked from and those forked from it: \
        for each its state, its newest checkpoints and where it began. The text draws the tree for a person.",
    effect: Effect::Reads,
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
            "checkpoints": {"type": "integer", "minimum": 1, "maximum": limits::CHECKPOINT_PAGE, "default": DEFAULT_CHECKPOINTS, "description": "At most so many of the newest checkpoints of each session."}
        }
    })
}

fn output() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["tree_id", "sessions", "more_sessions"],
        "properties": {
            "tree_id": {"type": "string", "description": "The session at the root, which may be erased by now."},
            "sessions": {
                "type": "array",
                "description": "In the order of their creation.",
                "items": {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["session_id", "title", "state", "checkpoints", "has_older_checkpoints"],
                    "properties": {
                        "session_id": session_id_schema(),
                        "title": {"type": "string"},
                        "state": state_schema(),
                        "parent_session_id": {"type": "string"},
                        "parent_checkpoint_id": {"type": "string", "description": "The checkpoint of the parent at which it began."},
                        "latest": {"type": "string", "description": "The checkpoint that it would go on from."},
                        "checkpoints": {"type": "array", "description": "Oldest first.", "items": history::point_schema()},
                        "has_older_checkpoints": {"type": "boolean"}
                    }
                }
            },
            "more_sessions": {"type": "integer", "description": "Sessions of the tree that are not shown."}
        }
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    session_id: String,
    checkpoints: Option<usize>,
}

pub(super) async fn run<P: Ports, F: ClaudeFinder>(
    work: &Sessions<P, F>,
    principal: &Principal,
    input: Input,
) -> Result<Done, Refused> {
    let reader = principal.authorize().map_err(Refused::because)?;
    let key = key(principal, &input.session_id)?;
    let most = input.checkpoints.unwrap_or(DEFAULT_CHECKPOINTS);
    let mut timeline = use_cases::get_timeline(&work.ports, &reader, &key)
        .await
        .map_err(|error| history::not_found(error, ASK_AGAIN))?;
    let structured = history::timeline(&mut timeline, most);
    let more = structured["more_sessions"].as_u64().unwrap_or_default();
    let text = history::drawn(&timeline, more, &key.session);
    Ok(Done::new(structured, text))
}
