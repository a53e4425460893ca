//! A session: what was asked for (the spec) and where it stands (the head).

use std::fmt;

use crate::{
    FencingToken, Sequence, SessionKey, State, UnixMillis, UploadId, workspace::Workspace,
};

/// What tool calls a session may make. Ours, not the CLI's: the CLI always runs in its default
/// mode and asks the gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PermissionMode {
    /// Reading is allowed; what would ask a person is denied.
    #[default]
    Review,
    /// Also edits of files inside the workspace.
    AcceptEdits,
    /// Everything; only where the deployment permits it.
    Bypass,
}

impl PermissionMode {
    /// All modes, from the strictest.
    pub const ALL: [Self; 3] = [Self::Review, Self::AcceptEdits, Self::Bypass];

    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Review => "review",
            Self::AcceptEdits => "accept_edits",
            Self::Bypass => "bypass",
        }
    }

    /// Reads what [`PermissionMode::as_str`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text)
    }
}

impl fmt::Display for PermissionMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// An uploaded file that comes with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The upload.
    pub upload: UploadId,
    /// The file name under which the session finds it; one path component.
    pub name: String,
}

/// What was asked for at creation; it does not change afterwards.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionSpec {
    /// Where the files come from.
    pub workspace: Workspace,
    /// Model alias or name for the CLI; its default when absent.
    pub model: Option<String>,
    /// What tool calls are allowed.
    pub permission_mode: PermissionMode,
    /// Model requests per message.
    pub max_turns: u32,
    /// US dollars for the whole session.
    pub max_budget_usd: f64,
    /// Appended to the CLI's system prompt.
    pub system_prompt_addition: Option<String>,
    /// For finding it again; sorted, without repeats.
    pub tags: Vec<String>,
}

/// Where a session stands: the one item that every append updates.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Which session.
    pub key: SessionKey,
    /// What was asked for.
    pub spec: SessionSpec,
    /// The first line of the prompt, shortened, for lists.
    pub title: String,
    /// Where it is.
    pub state: State,
    /// Why it ended, once it has.
    pub end_reason: Option<String>,
    /// When it was recorded.
    pub created_at: UnixMillis,
    /// When the head last changed.
    pub updated_at: UnixMillis,
    /// The last event of the log.
    pub last_sequence: Sequence,
    /// Who may append.
    pub fence: FencingToken,
    /// Until when the runner has it, on the runner's clock; meaningful while a runner has it.
    pub lease_until: UnixMillis,
    /// Turns started.
    pub turn: u32,
    /// Commands accepted; the newest has this ordinal.
    pub commands_accepted: u64,
    /// Commands the runner has taken: all with an ordinal up to this one.
    pub commands_taken: u64,
    /// The task that runs it (last part of its ARN), once started.
    pub task: Option<String>,
    /// The CLI's own session id, once it is ready.
    pub claude_session_id: Option<String>,
    /// Cost so far, in US dollars, as the CLI computes it.
    pub total_cost_usd: f64,
}

impl Head {
    /// Its runner has not renewed the lease in time. Whoever sees this marks the session lost.
    #[must_use]
    pub fn lease_expired(&self, now: UnixMillis) -> bool {
        self.state.has_runner() && now > self.lease_until
    }

    /// When someone should look at it, if nothing happens until then: its start may have to be
    /// repeated, or its runner is gone. `None` once it has ended. [`crate::ports::SessionDirectory::overdue`]
    /// finds sessions by this.
    #[must_use]
    pub fn look_at(&self) -> Option<UnixMillis> {
        if self.state.is_ended() {
            None
        } else if self.state.has_runner() {
            Some(self.lease_until)
        } else if self.task.is_none() {
            Some(self.created_at.plus(crate::limits::START_MILLISECONDS))
        } else {
            Some(
                self.created_at
                    .plus(crate::limits::PROVISIONING_MILLISECONDS),
            )
        }
    }

    /// No runner has come for it within [`crate::limits::PROVISIONING_MILLISECONDS`].
    #[must_use]
    pub fn never_started(&self, now: UnixMillis) -> bool {
        self.state == State::Requested
            && now.since(self.created_at) > crate::limits::PROVISIONING_MILLISECONDS
    }
}
