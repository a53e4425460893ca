//! `create_session`: records a session, starts its runner, answers at once.

use domain::checkpoint::CheckpointStrategy;
use domain::session::Attachment;
use domain::use_cases::{self, CreateSessionError};
use domain::workspace::{GitReference, GitUrl, RelativePath, Workspace, WorkspaceSource};
use domain::{CommandId, Deployment, PermissionMode, Principal, TaskId, Tier, UploadId};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::find_claude_binary::ClaudeFinder;
use super::{
    Definition, Done, Effect, Refused, attachments_schema, message_id_schema, refused,
    session_id_schema, state_schema, turn_schema,
};
use crate::show;
use crate::work::{Ports, Sessions};

pub(super) const DEFINITION: Definition = Definition {
    name: "create_session",
    title: "Start a Claude Code session",
    description: "Starts a Claude Code session in a workspace of its own and gives it a first prompt. \
        Returns at once, before anything ran: call wait_session with the returned session_id to watch it work. \
        When the prompt is done the session stays idle for some minutes and takes more with send_message. \
        Give a client_token when you may have to repeat the call, so that it starts only one session.",
    effect: Effect::AddsOnce,
    input,
    output,
};

fn input() -> Value {
    let modes: Vec<&str> = PermissionMode::ALL
        .iter()
        .map(|mode| mode.as_str())
        .collect();
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["prompt"],
        "properties": {
            "prompt": {"type": "string", "minLength": 1, "description": "What the session shall do, as you would tell a colleague who has only the workspace."},
            "workspace": {
                "type": "object",
                "additionalProperties": false,
                "description": "Where the files come from: one of git_url, directory and upload_id; an empty workspace when none is given.",
                "properties": {
                    "git_url": {"type": "string", "description": "Repository to clone: https:// or ssh://, without credentials in it."},
                    "git_ref": {"type": "string", "description": "Branch, tag or commit of git_url; its default branch when left out."},
                    "directory": {"type": "string", "description": "Absolute path of a directory to copy; only where the server runs on your own machine and allows it."},
                    "upload_id": {"type": "string", "description": "Uploaded tar.gz archive of the files, as create_upload returned it."},
                    "subdirectory": {"type": "string", "description": "Directory inside the workspace in which the session works, relative."}
                }
            },
            "attachments": attachments_schema(),
            "model": {"type": "string", "description": "Model alias (sonnet, opus, haiku) or name; the default of Claude Code when left out."},
            "permission_mode": {"type": "string", "enum": modes, "default": "review", "description": "What the session may do without asking: review reads only, accept_edits also edits files of the workspace, bypass does everything (only where the deployment permits it)."},
            "tier": {"type": "string", "enum": Tier::ALL.map(Tier::as_str), "description": "How much of what the session does is decided without a person, by the policies of this name: auto works by itself in its workspace, review reads by itself, strict also lets no mode or added policy widen that. The deployment's when left out; it can be raised, never lowered."},
            "max_turns": {"type": "integer", "minimum": 1, "maximum": 500, "description": "Most model requests for one message; the deployment's limit when left out."},
            "max_budget_usd": {"type": "number", "exclusiveMinimum": 0, "description": "Most US dollars that the whole session may cost; the deployment's limit when left out."},
            "system_prompt_addition": {"type": "string", "description": "Text that is added to the system prompt of Claude Code."},
            "tags": {"type": "array", "maxItems": domain::limits::TAGS, "items": {"type": "string", "minLength": 1, "maxLength": domain::limits::TAG_CHARACTERS}, "description": "Labels by which list_sessions finds the session again."},
            "checkpoint_strategy": {"type": "string", "enum": CheckpointStrategy::ALL.map(CheckpointStrategy::as_str), "description": "When checkpoints are taken: smart at the end of each turn and within a turn as files change, turn at the end of each turn, interval by time, manual only when create_checkpoint asks; always when the session is suspended or its machine stops. The deployment's when left out."},
            "checkpoint_ignore": {"type": "array", "maxItems": domain::limits::IGNORE_RULES, "items": {"type": "string", "minLength": 1, "maxLength": domain::limits::IGNORE_RULE_BYTES}, "description": "What checkpoints leave out, as lines of a .gitignore, in place of target/ and node_modules/. Files that are left out are lost when the session moves to another machine."},
            "message_id": message_id_schema("Your name for the first message, by which interrupt_session can take it back; chosen for you when left out."),
            "client_token": {"type": "string", "minLength": 1, "maxLength": domain::limits::CLIENT_TOKEN_CHARACTERS, "description": "Any unique text: repeating the call with the same token and arguments returns the same session instead of starting another."}
        }
    })
}

fn output() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id", "message_id"],
        "properties": {
            "session_id": session_id_schema(),
            "state": state_schema(),
            "message_id": {"type": "string", "description": "The first message."},
            "title": {"type": "string", "description": "First line of the prompt."},
            "created_at_unix_ms": {"type": "integer"},
            "repeated": {"type": "boolean", "description": "The client_token was used before: this is the session of that time."},
            "turn": turn_schema()
        }
    })
}

/// As clients write it.
#[derive(Debug, Deserialize)]
pub(super) struct Input {
    prompt: String,
    #[serde(default)]
    workspace: WorkspaceInput,
    #[serde(default)]
    attachments: Vec<AttachmentInput>,
    model: Option<String>,
    permission_mode: Option<String>,
    tier: Option<String>,
    max_turns: Option<u32>,
    max_budget_usd: Option<f64>,
    system_prompt_addition: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    checkpoint_strategy: Option<String>,
    checkpoint_ignore: Option<Vec<String>>,
    message_id: Option<String>,
    client_token: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct WorkspaceInput {
    git_url: Option<String>,
    git_ref: Option<String>,
    directory: Option<String>,
    upload_id: Option<String>,
    subdirectory: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct AttachmentInput {
    upload_id: String,
    name: String,
}

/// Attachments as the domain knows them.
pub(super) fn attachments(given: Vec<AttachmentInput>) -> Result<Vec<Attachment>, Refused> {
    given
        .into_iter()
        .map(|attachment| {
            Ok(Attachment {
                upload: UploadId::parse(&attachment.upload_id)
                    .map_err(|error| Refused(format!("attachments: {error}")))?,
                name: attachment.name,
            })
        })
        .collect()
}

pub(super) async fn run<P: Ports, F: ClaudeFinder>(
    work: &Sessions<P, F>,
    principal: &Principal,
    input: Input,
) -> Result<Done, Refused> {
    let writer = principal.authorize().map_err(Refused::because)?;
    let message_id = match &input.message_id {
        Some(id) => CommandId::parse(id).map_err(Refused::because)?,
        None => first_message_id(&work.ports, input.client_token.as_deref()),
    };
    let request = use_cases::CreateSession {
        prompt: input.prompt,
        message_id: Some(message_id.clone()),
        workspace: workspace(&work.deployment, input.workspace)?,
        attachments: attachments(input.attachments)?,
        model: input.model,
        permission_mode: input
            .permission_mode
            .as_deref()
            .and_then(PermissionMode::parse)
            .unwrap_or_default(),
        tier: input.tier.as_deref().and_then(Tier::parse),
        max_turns: input.max_turns,
        max_budget_usd: input.max_budget_usd,
        system_prompt_addition: input.system_prompt_addition,
        tags: input.tags,
        // The schema has let only these through.
        checkpoint_strategy: input
            .checkpoint_strategy
            .as_deref()
            .and_then(CheckpointStrategy::parse),
        checkpoint_ignore: input.checkpoint_ignore,
        client_token: input.client_token,
    };
    let created = use_cases::create_session(&work.ports, &work.deployment, &writer, request)
        .await
        .map_err(|error| {
            let repeat =
                "Call again with the same client_token; without one, look at list_sessions first.";
            refused!(error, CreateSessionError::Unavailable, repeat)
        })?;
    let head = created.head;
    let structured = json!({
        "session_id": head.key.session.as_str(),
        "state": head.state.as_str(),
        "message_id": message_id.as_str(),
        "title": head.title,
        "created_at_unix_ms": head.created_at.0,
        "repeated": created.repeated,
    });
    let text = format!(
        "{}\nCall wait_session with session_id {} to watch it.",
        show::session_line(&head),
        head.key.session
    );
    let mut done = Done::new(structured, text);
    let id = TaskId {
        session: head.key.session,
        command: message_id,
    };
    done.turn = Some((id, head.created_at));
    Ok(done)
}

/// The first message's name must be the same when the call is repeated: it follows from the client
/// token, if there is one.
fn first_message_id<P: Ports>(ports: &P, client_token: Option<&str>) -> CommandId {
    let mut bytes = ports.random();
    if let Some(token) = client_token {
        for (byte, of_digest) in bytes.iter_mut().zip(Sha256::digest(token)) {
            *byte = of_digest;
        }
    }
    CommandId::from_random(bytes)
}

fn workspace(deployment: &Deployment, input: WorkspaceInput) -> Result<Workspace, Refused> {
    let sources = [&input.git_url, &input.directory, &input.upload_id];
    if sources.into_iter().flatten().count() > 1 {
        return Err(Refused::because(
            "workspace: give one of git_url, directory and upload_id",
        ));
    }
    if input.git_ref.is_some() && input.git_url.is_none() {
        return Err(Refused::because("workspace.git_ref: it needs a git_url"));
    }
    let source = if let Some(url) = input.git_url {
        let reference = input
            .git_ref
            .as_deref()
            .map(GitReference::parse)
            .transpose();
        WorkspaceSource::Git {
            url: GitUrl::parse(&url, deployment.is_local())
                .map_err(|error| Refused(format!("workspace.git_url: {error}")))?,
            reference: reference.map_err(|error| Refused(format!("workspace.git_ref: {error}")))?,
        }
    } else if let Some(path) = input.directory {
        WorkspaceSource::Directory { path }
    } else if let Some(id) = input.upload_id {
        let id = UploadId::parse(&id);
        WorkspaceSource::Upload(id.map_err(|error| Refused(format!("workspace: {error}")))?)
    } else {
        WorkspaceSource::Empty
    };
    let subdirectory = input.subdirectory.as_deref().map(RelativePath::parse);
    let subdirectory = subdirectory
        .transpose()
        .map_err(|error| Refused(format!("workspace.subdirectory: {error}")))?;
    Ok(Workspace {
        source,
        subdirectory,
    })
}
