//! `check_policy`: what would happen with a call of a session, and which policies decide it.

use domain::use_cases::{self, GetError};
use domain::{OwnerId, PermissionMode, PolicyBook, PolicyScope, Principal, Tier};
use serde::Deserialize;
use serde_json::{Value, json};

use super::find_claude_binary::ClaudeFinder;
use super::{ASK_AGAIN, Definition, Done, Effect, Refused, key, refused, session_id_schema};
use crate::work::{Ports, Sessions};

pub(super) const DEFINITION: Definition = Definition {
    name: "check_policy",
    title: "Check what the policy says",
    description: "Says what would happen if a session made a tool call, a shell command for example: allow (it runs), \
        ask (a person decides) or deny (it does not run), with the reason, the policies that decide, and how a command \
        was understood. Runs nothing. Policies that the deployment and you have stored count, too. With session_id the session's tier, mode and tags count; without one, those of a \
        new session. A command \
        that runs only because it reads must also be known as read-only to Claude Code itself, which is not asked here. Links in the workspace are not looked at: a path through one is asked about when it is used.",
    effect: Effect::Reads,
    input,
    output,
};

/// A call that somebody asks about, and the session that would make it.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyQuestion {
    /// Whose session.
    pub owner: OwnerId,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its tier.
    pub tier: Tier,
    /// Its mode.
    pub mode: PermissionMode,
    /// The deployment permits the mode `bypass`.
    pub bypass_permitted: bool,
    /// Where its workspace comes from.
    pub origin: &'static str,
    /// The directory of the workspace in which it works.
    pub subdirectory: Option<String>,
    /// What its deployment and its owner have stored.
    pub stored: Vec<PolicyBook>,
    /// The tool, as Claude Code names it.
    pub tool: String,
    /// What the tool is given.
    pub input: Value,
}

/// Asks the policies. Reads nothing but the question.
pub trait PolicyChecker: Send + Sync + 'static {
    /// An object with `outcome`, `reason`, `policies` (objects with `policy_id` and `text`), `parts` and,
    /// for a command, `parsed`.
    ///
    /// # Errors
    /// What is wrong, for the log: the policies of this program cannot be used.
    fn check_policy(&self, question: &PolicyQuestion) -> Result<Value, String>;
}

fn input() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "command": {"type": "string", "minLength": 1, "description": "A shell command, as the tool Bash would be given it. Either this or tool."},
            "tool": {"type": "string", "minLength": 1, "maxLength": 128, "description": "A tool of Claude Code: Write, WebFetch, Bash, …"},
            "tool_input": {"type": "object", "description": "What that tool is given."},
            "session_id": session_id_schema(),
            "tier": {"type": "string", "enum": Tier::ALL.map(Tier::as_str), "description": "Ask for this tier, where it is stricter than the one that counts anyway."},
            "permission_mode": {"type": "string", "enum": PermissionMode::ALL.map(PermissionMode::as_str), "description": "Ask for this mode; the session's, or review, when left out."}
        }
    })
}

fn output() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["outcome", "reason", "policies", "parts", "tier", "permission_mode"],
        "properties": {
            "outcome": {"type": "string", "enum": ["allow", "ask", "deny"], "description": "It runs, a person decides, or it does not run."},
            "reason": {"type": "string", "description": "Why, as the model in the session would read it; empty when it runs."},
            "policies": {
                "type": "array",
                "description": "The policies that decide; none when the call was not even understood.",
                "items": {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["policy_id", "text"],
                    "properties": {
                        "policy_id": {"type": "string", "description": "File and name of the policy."},
                        "text": {"type": "string", "description": "The policy, in Cedar."}
                    }
                }
            },
            "parts": {"type": "array", "items": {"type": "object"}, "description": "What the call consists of (programs, files, hosts, the tool), each with its own outcome."},
            "parsed": {"type": "object", "description": "The command as it was understood."},
            "tier": {"type": "string"},
            "permission_mode": {"type": "string"}
        }
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    command: Option<String>,
    tool: Option<String>,
    tool_input: Option<Value>,
    session_id: Option<String>,
    tier: Option<String>,
    permission_mode: Option<String>,
}

pub(super) async fn run<P: Ports, F: ClaudeFinder + PolicyChecker>(
    work: &Sessions<P, F>,
    principal: &Principal,
    input: Input,
) -> Result<Done, Refused> {
    let reader = principal.authorize().map_err(Refused::because)?;
    let (tool, tool_input) = match (input.command, input.tool, input.tool_input) {
        (Some(command), None, None) => ("Bash".to_owned(), json!({"command": command})),
        (None, Some(tool), given) => (tool, given.unwrap_or_else(|| json!({}))),
        _ => {
            return Err(Refused::because(
                "give either command or tool (with tool_input)",
            ));
        }
    };
    let spec = match &input.session_id {
        None => None,
        Some(id) => {
            let key = key(principal, id)?;
            let head = use_cases::get_session(&work.ports, &reader, &key)
                .await
                .map_err(|error| refused!(error, GetError::Unavailable, ASK_AGAIN))?;
            Some(head.spec)
        }
    };
    let deployment = &work.deployment;
    let spec = spec.as_ref();
    let wanted = input.tier.as_deref().and_then(Tier::parse);
    let tier = spec
        .map_or(deployment.tier, |spec| spec.tier)
        .raised_to(deployment.tier)
        .raised_to(wanted.unwrap_or(Tier::Auto));
    let mode = input
        .permission_mode
        .as_deref()
        .and_then(PermissionMode::parse)
        .or(spec.map(|spec| spec.permission_mode))
        .unwrap_or_default();
    let subdirectory = spec.and_then(|spec| spec.workspace.subdirectory.as_ref());
    let mut stored = Vec::new();
    for scope in [
        PolicyScope::Deployment,
        PolicyScope::Owner(principal.owner.clone()),
    ] {
        let book = work.ports.policy_book(&scope).await;
        stored.push(book.map_err(|error| Refused::unavailable(&error, ASK_AGAIN))?);
    }
    let question = PolicyQuestion {
        owner: principal.owner.clone(),
        tags: spec.map(|spec| spec.tags.clone()).unwrap_or_default(),
        tier,
        mode,
        bypass_permitted: deployment.allow_bypass_permissions,
        origin: spec.map_or("empty", |spec| spec.workspace.source.kind()),
        subdirectory: subdirectory.map(|path| path.as_str().to_owned()),
        stored,
        tool,
        input: tool_input,
    };
    let mut structured = work.finder.check_policy(&question).map_err(|problem| {
        tracing::error!(problem, "the policies cannot be asked");
        Refused::because("the policies of this deployment cannot be asked; its log says why")
    })?;
    structured["tier"] = tier.as_str().into();
    structured["permission_mode"] = mode.as_str().into();
    let text = said(&structured);
    Ok(Done::new(structured, text))
}

/// For a client that shows only text.
fn said(checked: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut said = match checked["outcome"].as_str() {
        Some("allow") => "allow: it runs.".to_owned(),
        Some("ask") => format!("ask: {}", text(&checked["reason"])),
        _ => format!("deny: {}", text(&checked["reason"])),
    };
    let policies = checked["policies"].as_array().into_iter().flatten();
    let names: Vec<String> = policies.map(|policy| text(&policy["policy_id"])).collect();
    if !names.is_empty() {
        said.push_str(&format!("\nDecided by {}.", names.join(", ")));
    }
    said
}
