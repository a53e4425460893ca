//! What the owner of a deployment has set, as the use cases need it. Names, defaults and ranges
//! stand in one table, which `boot` reads; this only carries checked values.

use crate::Tier;

/// Limits and permissions of one deployment.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    /// Sessions that hold compute, whole deployment.
    pub max_sessions: u32,
    /// The same for one owner.
    pub max_sessions_per_owner: u32,
    /// Messages that wait in one session.
    pub max_queued_messages: u32,
    /// Model requests per message: the default and the most one may ask for.
    pub max_turns: u32,
    /// US dollars per session: the default and the most one may ask for.
    pub max_budget_usd: f64,
    /// `bypass` may be asked for.
    pub allow_bypass_permissions: bool,
    /// MCP clients, by the name that they give themselves, whose forms decide on approvals, for tokens
    /// with the scope for it; `*` stands for all.
    pub elicitation_approves: Vec<String>,
    /// The least strict tier that a session can have.
    pub tier: Tier,
    /// Local directories that may be copied into a session; empty in a cloud.
    pub workspace_roots: Vec<String>,
    /// Largest upload.
    pub max_upload_bytes: u64,
    /// How long an upload may be sent after it was signed.
    pub upload_url_seconds: u64,
    /// `wait_session` without a time.
    pub wait_default_seconds: u64,
    /// The longest wait.
    pub wait_max_seconds: u64,
    /// Characters of events in one answer, without another wish.
    pub response_budget_characters: usize,
    /// A runner without a sign of life for this long has lost its session.
    pub lease_milliseconds: u64,
    /// Days after its end at which a session's records expire.
    pub retention_days: u64,
    /// Days for which entries of the audit are kept.
    pub audit_retention_days: u64,
    /// Lifetime of a session token.
    pub session_token_seconds: u64,
}

/// For how long checkpoints are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Checkpoints of one session, without pinned and named ones.
    pub max_checkpoints: u64,
    /// Their age; the newest of a session lives as long as the session.
    pub checkpoint_milliseconds: u64,
    /// Age at which a chunk that nothing needs may go: far more than a checkpoint takes.
    pub grace_milliseconds: u64,
}

impl Deployment {
    /// A local stack: loopback git hosts and local directories are allowed.
    #[must_use]
    pub fn is_local(&self) -> bool {
        !self.workspace_roots.is_empty()
    }

    /// Whether forms of the client with this name decide on approvals.
    #[must_use]
    pub fn forms_decide(&self, client: Option<&str>) -> bool {
        let names = &self.elicitation_approves;
        names
            .iter()
            .any(|name| name == "*" || Some(name.as_str()) == client)
    }
}

/// A kind of subagent to which Claude Code gives parts of its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subagent {
    /// What it is called there.
    pub name: String,
    /// What it is for, in the words of the CLI.
    pub description: String,
}
