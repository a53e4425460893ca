//! `name_checkpoint`: a name by which a checkpoint is found, and which keeps it.

use domain::checkpoint::CheckpointName;
use domain::use_cases::{self, NameCheckpointError};
use domain::{Principal, RefName};
use serde::Deserialize;
use serde_json::{Value, json};

use super::find_claude_binary::ClaudeFinder;
use super::{Definition, Done, Effect, Refused, key, refused, session_id_schema};
use crate::history::{self, checkpoint_name_schema};
use crate::work::{Ports, Sessions};

pub(super) const DEFINITION: Definition = Definition {
    name: "name_checkpoint",
    title: "Name a checkpoint",
    description: "Gives a checkpoint of a Claude Code session a name that every argument called checkpoint takes, and \
        that keeps it whatever the retention says; with remove it takes the name away again. A name that stands for \
        another checkpoint is moved only with replace. Repeating the call does nothing more.",
    effect: Effect::Keeps,
    input,
    output,
};

fn input() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id", "name"],
        "properties": {
            "session_id": session_id_schema(),
            "name": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[A-Za-z0-9._-]+$", "description": "The name; not latest, and not beginning with chk_."},
            "checkpoint": checkpoint_name_schema("What to name; the latest when left out"),
            "replace": {"type": "boolean", "default": false, "description": "Move the name here if it stands for another checkpoint."},
            "remove": {"type": "boolean", "default": false, "description": "Take the name away; checkpoint and replace are not looked at."}
        }
    })
}

fn output() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id", "name"],
        "properties": {
            "session_id": session_id_schema(),
            "name": {"type": "string"},
            "checkpoint_id": {"type": "string", "description": "What it stands for now; absent once it is taken away."}
        }
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    session_id: String,
    name: String,
    checkpoint: Option<String>,
    #[serde(default)]
    replace: bool,
    #[serde(default)]
    remove: bool,
}

pub(super) async fn run<P: Ports, F: ClaudeFinder>(
    work: &Sessions<P, F>,
    principal: &Principal,
    input: Input,
) -> Result<Done, Refused> {
    const REPEAT: &str = "Call it again.";
    let writer = principal.authorize().map_err(Refused::because)?;
    let key = key(principal, &input.session_id)?;
    let name =
        RefName::parse(&input.name).map_err(|error| Refused(format!("name: {}", error.rule)))?;
    if name.as_str() == super::diff_checkpoints::NOW {
        return Err(Refused::because(
            "name: now stands for the files as they are; choose another one",
        ));
    }
    let mut structured = json!({
        "session_id": key.session.as_str(),
        "name": name.as_str(),
    });
    if input.remove {
        use_cases::unname_checkpoint(&work.ports, &writer, &key, &name)
            .await
            .map_err(|error| history::not_found(error, REPEAT))?;
        return Ok(Done::new(structured, format!("{name} names nothing now")));
    }
    let checkpoint = input.checkpoint.as_deref().unwrap_or("latest");
    let checkpoint = CheckpointName::parse(checkpoint).map_err(Refused::because)?;
    let named = use_cases::name_checkpoint(
        &work.ports,
        &writer,
        &key,
        &checkpoint,
        &name,
        input.replace,
    )
    .await
    .map_err(|error| match error {
        NameCheckpointError::Find(error) => history::not_found(error, REPEAT),
        other => refused!(other, NameCheckpointError::Unavailable, REPEAT),
    })?;
    structured["checkpoint_id"] = named.id.as_str().into();
    Ok(Done::new(
        structured,
        format!("{name} stands for {}", named.id),
    ))
}
