//! `get_session`: where a session stands.

use domain::Principal;
use domain::use_cases::{self, GetError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::find_claude_binary::ClaudeFinder;
use super::{
    ASK_AGAIN, Definition, Done, Effect, Refused, key, refused, session_id_schema, state_schema,
};
use crate::approval;
use crate::show;
use crate::work::{Ports, Sessions};

pub(super) const DEFINITION: Definition = Definition {
    name: "get_session",
    title: "Look at a session",
    description: "Shows where a Claude Code session stands: state, cost so far, number of turns, messages that \
        wait, and what was asked for when it was created. Answers at once and shows no events; to follow what \
        the session does, call wait_session.",
    effect: Effect::Reads,
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
    session_schema()
}

/// A session, as `get_session` and `list_sessions` show it.
pub(super) fn session_schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id", "title", "state", "created_at_unix_ms", "updated_at_unix_ms", "turn", "last_sequence", "pending_messages", "total_cost_usd", "workspace", "permission_mode", "max_turns", "max_budget_usd", "tags"],
        "properties": {
            "session_id": session_id_schema(),
            "title": {"type": "string", "description": "First line of the prompt."},
            "state": state_schema(),
            "end_reason": {"type": "string", "description": "Why it ended, and what to do about it."},
            "created_at_unix_ms": {"type": "integer"},
            "updated_at_unix_ms": {"type": "integer"},
            "turn": {"type": "integer", "description": "Turns started."},
            "last_sequence": {"type": "integer", "description": "Number of the newest event."},
            "pending_messages": {"type": "integer", "description": "Messages that the session has not taken yet."},
            "total_cost_usd": {"type": "number", "description": "Cost so far as Claude Code computes it."},
            "workspace": {
                "type": "object",
                "additionalProperties": false,
                "required": ["source"],
                "properties": {
                    "source": {"type": "string", "enum": ["empty", "git", "directory", "upload"]},
                    "git_url": {"type": "string"},
                    "git_ref": {"type": "string"},
                    "directory": {"type": "string"},
                    "upload_id": {"type": "string"},
                    "subdirectory": {"type": "string"}
                }
            },
            "model": {"type": "string"},
            "permission_mode": {"type": "string"},
            "tier": {"type": "string"},
            "max_turns": {"type": "integer"},
            "max_budget_usd": {"type": "number"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "checkpoint_strategy": {"type": "string", "description": "Absent: the deployment's."},
            "checkpoint_ignore": {"type": "array", "items": {"type": "string"}, "description": "What checkpoints leave out; absent: target/ and node_modules/."},
            "claude_session_id": {"type": "string", "description": "The id that Claude Code itself uses."},
            "question": {
                "type": "object",
                "additionalProperties": false,
                "required": ["question_id", "input", "asked_at_unix_ms"],
                "description": "What it asks a person; answer_question answers it.",
                "properties": {
                    "question_id": {"type": "string"},
                    "input": {"description": "The questions and what can be chosen."},
                    "asked_at_unix_ms": {"type": "integer"}
                }
            },
            "approval": approval::schema("The call that waits for a person's approval, and where they decide."),
            "latest_checkpoint": {"type": "string", "description": "The checkpoint that it would go on from."},
            "parent_session_id": {"type": "string", "description": "The session that it was forked from."}
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
    let reader = principal.authorize().map_err(Refused::because)?;
    let key = key(principal, &input.session_id)?;
    let head = use_cases::get_session(&work.ports, &reader, &key)
        .await
        .map_err(|error| refused!(error, GetError::Unavailable, ASK_AGAIN))?;
    let mut structured = show::session(&head);
    let mut text = show::session_line(&head);
    if let Some(open) = &head.question
        && let Some(request) = &open.approval
        && !head.state.is_ended()
    {
        let address = work.pages.address(&head.key, open, request);
        structured["approval"] = approval::shown(open, request, Some(&address));
        text.push('\n');
        text.push_str(&approval::words(open, request, &address));
    }
    Ok(Done::new(structured, text))
}
