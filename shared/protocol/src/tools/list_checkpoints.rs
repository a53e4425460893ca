//! `list_checkpoints`: the cuts that a session can be set back to or forked at.

use domain::use_cases;
use domain::{Principal, limits};
use serde::Deserialize;
use serde_json::{Value, json};

use super::find_claude_binary::ClaudeFinder;
use super::{ASK_AGAIN, Definition, Done, Effect, Refused, key, session_id_schema};
use crate::history;
use crate::work::{Ports, Sessions};

const DEFAULT_LIMIT: usize = 20;

pub(super) const DEFINITION: Definition = Definition {
    name: "list_checkpoints",
    title: "List checkpoints",
    description: "Lists the checkpoints of a Claude Code session, newest first: each is one cut of its files and its \
        conversation that the session can be set back to (restore_checkpoint), forked at (fork_session), compared \
        (diff_checkpoints) and read at (read_file with checkpoint). When next_before is present there are older ones.",
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
            "before": {"type": "integer", "minimum": 1, "description": "next_before of the page before."},
            "limit": {"type": "integer", "minimum": 1, "maximum": limits::CHECKPOINT_PAGE, "default": DEFAULT_LIMIT, "description": "Checkpoints on one page."}
        }
    })
}

fn output() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id", "checkpoints"],
        "properties": {
            "session_id": session_id_schema(),
            "latest": {"type": "string", "description": "The checkpoint that the session would go on from."},
            "checkpoints": {"type": "array", "items": history::checkpoint_schema()},
            "next_before": {"type": "integer", "description": "Present when there are older ones."}
        }
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    session_id: String,
    before: Option<u64>,
    limit: Option<usize>,
}

pub(super) async fn run<P: Ports, F: ClaudeFinder>(
    work: &Sessions<P, F>,
    principal: &Principal,
    input: Input,
) -> Result<Done, Refused> {
    let reader = principal.authorize().map_err(Refused::because)?;
    let key = key(principal, &input.session_id)?;
    let limit = input.limit.unwrap_or(DEFAULT_LIMIT);
    let mut page = use_cases::list_checkpoints(&work.ports, &reader, &key, input.before, limit)
        .await
        .map_err(|error| history::not_found(error, ASK_AGAIN))?;
    let checkpoints = history::page(&mut page);
    let mut structured = json!({
        "session_id": key.session.as_str(),
        "checkpoints": checkpoints,
    });
    let mut text: Vec<String> = page
        .checkpoints
        .iter()
        .map(|checkpoint| history::line(checkpoint, &page.refs))
        .collect();
    if let Some(latest) = &page.head.checkpoint {
        structured["latest"] = latest.as_str().into();
    }
    if text.is_empty() {
        text.push("no checkpoints yet".to_owned());
    }
    if let Some(next) = page.next {
        structured["next_before"] = next.into();
        text.push(format!(
            "There are older ones: call again with before {next}"
        ));
    }
    Ok(Done::new(structured, text.join("\n")))
}
