//! `delete_session`: gives a session up for good.

use domain::Principal;
use domain::use_cases::{self, DeleteError, Deletion};
use serde::Deserialize;
use serde_json::{Value, json};

use super::find_claude_binary::ClaudeFinder;
use super::{Definition, Done, Effect, Refused, key, refused, session_id_schema, state_schema};
use crate::show;
use crate::work::{Ports, Sessions};

pub(super) const DEFINITION: Definition = Definition {
    name: "delete_session",
    title: "Delete a session",
    description: "Gives a Claude Code session up: it ends, and stays readable until its retention takes it. With erase \
        true nobody can read it any more from now on, and its log, files and checkpoints are erased soon; that cannot be \
        taken back. Forks of it keep what they need. Ask your user before you erase.",
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
            "erase": {"type": "boolean", "default": false, "description": "Erase all that is stored of it."}
        }
    })
}

fn output() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id", "state", "erased"],
        "properties": {
            "session_id": session_id_schema(),
            "state": state_schema(),
            "erased": {"type": "boolean", "description": "Nobody can read it any more."}
        }
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    session_id: String,
    #[serde(default)]
    erase: bool,
}

pub(super) async fn run<P: Ports, F: ClaudeFinder>(
    work: &Sessions<P, F>,
    principal: &Principal,
    input: Input,
) -> Result<Done, Refused> {
    let writer = principal.authorize().map_err(Refused::because)?;
    let key = key(principal, &input.session_id)?;
    let deletion = if input.erase {
        Deletion::Erase
    } else {
        Deletion::Archive
    };
    let head = use_cases::delete_session(&work.ports, &writer, &key, deletion)
        .await
        .map_err(|error| {
            let repeat = "Call it again; when it says that there is no such session, it is gone.";
            refused!(error, DeleteError::Unavailable, repeat)
        })?;
    let structured = json!({
        "session_id": head.key.session.as_str(),
        "state": head.state.as_str(),
        "erased": input.erase,
    });
    let text = if input.erase {
        format!("{} is given up, and will be erased", head.key.session)
    } else {
        show::session_line(&head)
    };
    Ok(Done::new(structured, text))
}
