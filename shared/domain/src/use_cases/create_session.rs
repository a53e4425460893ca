//! Creating a session: record it, then start its runner.

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::{
    Authorized, CommandBody, CommandId, Deployment, PermissionMode, SessionId, SessionKey,
    SessionSpec, Tier,
    authorization::WriteSessions,
    checkpoint::CheckpointStrategy,
    ids::base32,
    limits,
    ports::{
        ClientToken, Clock, Compute, CreateError, Creation, IdSource, NewSession, SessionDirectory,
        Unavailable, Uploads,
    },
    session::Attachment,
    workspace::{Workspace, WorkspaceSource, check_directory},
};

use super::{
    observe,
    send_message::{AttachmentError, check_attachments, check_text},
    shown,
};

/// What a caller asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateSession {
    /// The first message.
    pub prompt: String,
    /// The client's name for the first message; ours when absent.
    pub message_id: Option<CommandId>,
    /// Where the files come from.
    pub workspace: Workspace,
    /// Files that come with the prompt.
    pub attachments: Vec<Attachment>,
    /// Model alias or name.
    pub model: Option<String>,
    /// What tool calls are allowed.
    pub permission_mode: PermissionMode,
    /// How much it may do by itself; as the deployment has it when absent.
    pub tier: Option<Tier>,
    /// Model requests per message; the deployment's limit when absent.
    pub max_turns: Option<u32>,
    /// US dollars for the session; the deployment's limit when absent.
    pub max_budget_usd: Option<f64>,
    /// Appended to the CLI's system prompt.
    pub system_prompt_addition: Option<String>,
    /// For finding it again.
    pub tags: Vec<String>,
    /// When checkpoints are taken.
    pub checkpoint_strategy: Option<CheckpointStrategy>,
    /// What checkpoints leave out, as lines of a `.gitignore`.
    pub checkpoint_ignore: Option<Vec<String>>,
    /// Makes repeating the request harmless.
    pub client_token: Option<String>,
}

/// Why no session was created. Nothing was started, except where it says otherwise.
#[derive(Debug, Error)]
pub enum CreateSessionError {
    /// A field breaks its rule; correct it.
    #[error("{field}: {problem}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What is wrong and what is right.
        problem: String,
    },
    /// An attachment or upload cannot be used.
    #[error(transparent)]
    Attachment(#[from] AttachmentError),
    /// No slot is free; wait for a session to end or cancel one.
    #[error("{0}; suspend or cancel one, or wait until one ends")]
    Full(&'static str),
    /// The client token stands for another request; choose a new one.
    #[error("client_token was used for a different create_session; choose a new one")]
    ClientTokenReused,
    /// Try again, with the same client token.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

fn invalid(field: &'static str, problem: impl Into<String>) -> CreateSessionError {
    CreateSessionError::Invalid {
        field,
        problem: problem.into(),
    }
}

/// Records a session and starts its runner; gives the session at once, in state `requested`.
///
/// Run twice with the same client token it gives the same session. Cut after recording, the
/// session stays `requested`, and `reconciler` starts its runner; so a failed start is no error
/// here.
///
/// # Errors
/// [`CreateSessionError`].
pub async fn create_session<P>(
    ports: &P,
    deployment: &Deployment,
    caller: &Authorized<WriteSessions>,
    request: CreateSession,
) -> Result<Creation, CreateSessionError>
where
    P: SessionDirectory + Uploads + Compute + Clock + IdSource,
{
    let spec = check(deployment, &request)?;
    let mut attachments = request.attachments.clone();
    if let WorkspaceSource::Upload(upload) = &spec.workspace.source {
        attachments.push(Attachment {
            upload: upload.clone(),
            name: "workspace".to_owned(),
        });
    }
    check_attachments(ports, caller.owner(), &attachments).await?;

    let client_token = request.client_token.clone().map(|token| ClientToken {
        token,
        request_digest: digest(&request),
    });
    let creation = ports
        .create(NewSession {
            key: SessionKey {
                owner: caller.owner().clone(),
                session: SessionId::from_random(ports.random()),
            },
            title: title(&request.prompt),
            spec,
            first_message: (
                request
                    .message_id
                    .clone()
                    .unwrap_or_else(|| CommandId::from_random(ports.random())),
                CommandBody::Message {
                    text: request.prompt,
                    attachments: request.attachments,
                },
            ),
            client_token,
            now: ports.now(),
            max_sessions: deployment.max_sessions,
            max_sessions_per_owner: deployment.max_sessions_per_owner,
        })
        .await
        .map_err(|error| match error {
            CreateError::DeploymentFull => {
                CreateSessionError::Full("this deployment already runs as many sessions as it may")
            }
            CreateError::OwnerFull => {
                CreateSessionError::Full("you already run as many sessions as you may")
            }
            CreateError::ClientTokenReused => CreateSessionError::ClientTokenReused,
            CreateError::Unavailable(unavailable) => CreateSessionError::Unavailable(unavailable),
        })?;

    // A start that fails is repeated by `reconciler`.
    observe::start(ports, &creation.head).await;
    Ok(creation)
}

fn check(
    deployment: &Deployment,
    request: &CreateSession,
) -> Result<SessionSpec, CreateSessionError> {
    check_text(&request.prompt).map_err(|problem| invalid("prompt", problem))?;
    match &request.workspace.source {
        WorkspaceSource::Directory { path } => {
            check_directory(path, &deployment.workspace_roots)
                .map_err(|error| invalid("workspace", error.to_string()))?;
        }
        WorkspaceSource::Empty if request.workspace.subdirectory.is_some() => {
            return Err(invalid(
                "workspace.subdirectory",
                "an empty workspace has no directories",
            ));
        }
        _ => {}
    }
    if let Some(model) = &request.model
        && (model.is_empty()
            || model.len() > 128
            || model.starts_with('-')
            || !model
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._:/[]@".contains(&byte)))
    {
        return Err(invalid(
            "model",
            "use an alias (sonnet, opus, haiku) or a model name of A-Z, a-z, 0-9 and -._:/[]@",
        ));
    }
    if request.permission_mode == PermissionMode::Bypass && !deployment.allow_bypass_permissions {
        return Err(invalid(
            "permission_mode",
            "this deployment does not permit bypass; use review or accept_edits, or ask its owner \
             to set SHANNON_ALLOW_BYPASS_PERMISSIONS",
        ));
    }
    let tier = request.tier.unwrap_or(deployment.tier);
    if tier < deployment.tier {
        return Err(invalid(
            "tier",
            format!(
                "this deployment's tier is {0} (SHANNON_SAFETY_TIER), and a session can only be \
                 stricter; leave it out or use {0}{1}",
                deployment.tier,
                Tier::ALL
                    .into_iter()
                    .filter(|stricter| *stricter > deployment.tier)
                    .map(|stricter| format!(" or {stricter}"))
                    .collect::<String>()
            ),
        ));
    }
    let max_turns = request.max_turns.unwrap_or(deployment.max_turns);
    if !(1..=deployment.max_turns).contains(&max_turns) {
        return Err(invalid(
            "max_turns",
            format!("use 1 to {} (SHANNON_MAX_TURNS)", deployment.max_turns),
        ));
    }
    let max_budget_usd = request.max_budget_usd.unwrap_or(deployment.max_budget_usd);
    if !(max_budget_usd > 0.0 && max_budget_usd <= deployment.max_budget_usd) {
        return Err(invalid(
            "max_budget_usd",
            format!(
                "use more than 0 and at most {} (SHANNON_MAX_BUDGET_USD)",
                deployment.max_budget_usd
            ),
        ));
    }
    if request
        .system_prompt_addition
        .as_ref()
        .is_some_and(|text| text.len() > limits::SYSTEM_PROMPT_ADDITION_BYTES)
    {
        return Err(invalid("system_prompt_addition", "use at most 32768 bytes"));
    }
    if let Some(token) = &request.client_token
        && !((1..=limits::CLIENT_TOKEN_CHARACTERS).contains(&token.len())
            && token.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        return Err(invalid(
            "client_token",
            "use 1 to 64 printable ASCII characters without spaces",
        ));
    }
    Ok(SessionSpec {
        workspace: request.workspace.clone(),
        model: request.model.clone(),
        permission_mode: request.permission_mode,
        tier,
        max_turns,
        max_budget_usd,
        system_prompt_addition: request.system_prompt_addition.clone(),
        tags: check_tags(&request.tags)?,
        checkpoint_strategy: request.checkpoint_strategy,
        checkpoint_ignore: check_ignored(request.checkpoint_ignore.as_deref())?,
    })
}

/// What a line means is for the checkpoint to say: one that means nothing matches nothing, as in
/// git.
fn check_ignored(lines: Option<&[String]>) -> Result<Option<Vec<String>>, CreateSessionError> {
    let good = |line: &String| {
        (1..=limits::IGNORE_RULE_BYTES).contains(&line.len()) && !line.chars().any(char::is_control)
    };
    let Some(lines) = lines else { return Ok(None) };
    if lines.len() > limits::IGNORE_RULES || !lines.iter().all(good) {
        return Err(invalid(
            "checkpoint_ignore",
            "use at most 100 lines of 1 to 256 bytes without control characters",
        ));
    }
    Ok(Some(lines.to_vec()))
}

fn check_tags(tags: &[String]) -> Result<Vec<String>, CreateSessionError> {
    let mut tags = tags.to_vec();
    tags.sort_unstable();
    tags.dedup();
    let good = |tag: &String| {
        !tag.is_empty()
            && tag.chars().count() <= limits::TAG_CHARACTERS
            && !tag.chars().any(char::is_control)
    };
    if tags.len() > limits::TAGS || !tags.iter().all(good) {
        return Err(invalid(
            "tags",
            "use at most 50 tags of 1 to 128 characters without control characters",
        ));
    }
    Ok(tags.iter().map(|tag| shown(tag)).collect())
}

/// The first line that says something, at most 80 characters and without secrets.
pub(super) fn title(prompt: &str) -> String {
    let prompt = shown(prompt);
    let line = prompt
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    if line.chars().count() <= 80 {
        line.to_owned()
    } else {
        line.chars().take(79).chain(['…']).collect()
    }
}

/// Everything that the request asks for, in one fixed order: `Debug` writes every field.
fn digest(request: &CreateSession) -> String {
    base32(&Sha256::digest(format!("{request:?}")))
}

#[cfg(test)]
mod tests {
    use super::title;

    #[test]
    fn titles_are_one_short_line() {
        assert_eq!(title("\n  fix it  \nplease"), "fix it");
        assert_eq!(title(&"é".repeat(200)).chars().count(), 80);
        assert_eq!(title(""), "");
        let key = format!("ghp{}", "_0a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R");
        assert_eq!(
            title(&format!("use {key} to\npush")),
            "use [redacted: github token] to"
        );
    }
}
