//! `run_command`: one command of the caller, in a session's workspace and through its gate.

use domain::use_cases::{self, RunCommandError};
use domain::{CommandId, Principal, limits};
use serde::Deserialize;
use serde_json::{Value, json};

use super::find_claude_binary::ClaudeFinder;
use super::{
    Definition, Done, Effect, Refused, key, message_id_schema, refused, session_id_schema,
};
use crate::work::{Ports, Sessions};

pub(super) const DEFINITION: Definition = Definition {
    name: "run_command",
    title: "Run a command in a session",
    description: "Runs one shell command (bash) in the workspace of a Claude Code session that has not ended, without \
        its model, which does not see it. It runs when no turn does, in order with messages, and in the same \
        isolation and under the same policies as the session's own commands: it may be denied, or wait until a \
        person has approved it (also one that would run only because it reads); check_policy says beforehand what \
        the policies decide. Returns at once: call wait_session and look for \
        the events command_started, command_ended (exit code, output) or tool_denied with this message_id. \
        It runs at most once, and whatever it leaves running is ended with it. interrupt_session with the \
        message_id stops it. Repeating the call with the same message_id does nothing more.",
    effect: Effect::Runs,
    input,
    output,
};

fn input() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id", "command"],
        "properties": {
            "session_id": session_id_schema(),
            "command": {"type": "string", "minLength": 1, "description": "The command, as for bash -c; it starts in the directory where the session works, and has nothing to read on its standard input. At most 65536 bytes."},
            "timeout_seconds": {"type": "integer", "minimum": 1, "maximum": limits::RUN_SECONDS, "default": limits::RUN_DEFAULT_SECONDS, "description": "After so long it is ended, with everything that it started. The time during which it waits is not counted."},
            "message_id": message_id_schema("Your name for the command: repeating the call with it does nothing, events name it, and interrupt_session can stop it by it. Chosen for you when left out."),
        }
    })
}

fn output() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id", "message_id", "message_state", "accepted_at_unix_ms", "repeated"],
        "properties": {
            "session_id": session_id_schema(),
            "message_id": {"type": "string", "description": "The command; its events name it."},
            "message_state": {"type": "string", "enum": ["queued", "taken", "done", "withdrawn", "not_done"], "description": "How far the command is."},
            "accepted_at_unix_ms": {"type": "integer"},
            "repeated": {"type": "boolean", "description": "The command was there already; nothing was done."},
        }
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    session_id: String,
    command: String,
    timeout_seconds: Option<u32>,
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
    let run = use_cases::RunCommand {
        key: key.clone(),
        command: input.command,
        timeout_seconds: input.timeout_seconds,
        message_id: message_id.transpose().map_err(Refused::because)?,
    };
    let sent = use_cases::run_command(&work.ports, &work.deployment, &writer, run)
        .await
        .map_err(|error| {
            refused!(
                error,
                RunCommandError::Unavailable,
                "Call again with the same message_id."
            )
        })?;
    let command = sent.command;
    let structured = json!({
        "session_id": key.session.as_str(),
        "message_id": command.id.as_str(),
        "message_state": command.state.as_str(),
        "accepted_at_unix_ms": command.accepted_at.0,
        "repeated": sent.repeated,
    });
    let text = format!(
        "command {} is {}; call wait_session with session_id {} to see what comes of it",
        command.id,
        command.state.as_str(),
        key.session
    );
    Ok(Done::new(structured, text))
}
