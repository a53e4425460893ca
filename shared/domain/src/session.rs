//! A session: what was asked for (the spec) and where it stands (the head).

use std::fmt;

use crate::{
    CheckpointId, FencingToken, Grant, Sequence, SessionId, SessionKey, State, Transition, TreeId,
    TreeKey, UnixMillis, UploadId,
    checkpoint::{CheckpointStrategy, PendingQuestion},
    limits,
    ports::Lease,
    state::after,
    workspace::Workspace,
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

/// How much a session may do by itself. Ordered: what comes later lets less run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// It works by itself in its workspace.
    Auto,
    /// It reads by itself.
    #[default]
    Review,
    /// It reads by itself, whatever other policies permit, and does nothing that is not understood.
    Strict,
}

impl Tier {
    /// All tiers, the most lenient first.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Review, Self::Strict];

    /// Its name in settings, arguments and policies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Review => "review",
            Self::Strict => "strict",
        }
    }

    /// The tier that has this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.as_str() == name)
    }

    /// What a session of this tier has after somebody asks for another: a tier is raised and never
    /// lowered.
    #[must_use]
    pub fn raised_to(self, wanted: Self) -> Self {
        self.max(wanted)
    }
}

impl fmt::Display for Tier {
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
    /// How much it may do by itself, at least as strict as the deployment was.
    pub tier: Tier,
    /// Model requests per message.
    pub max_turns: u32,
    /// US dollars for the whole session.
    pub max_budget_usd: f64,
    /// Appended to the CLI's system prompt.
    pub system_prompt_addition: Option<String>,
    /// For finding it again; sorted, without repeats.
    pub tags: Vec<String>,
    /// When checkpoints are taken; as the deployment does when absent.
    pub checkpoint_strategy: Option<CheckpointStrategy>,
    /// What checkpoints leave out, as lines of a `.gitignore`; when absent, what can be built again.
    pub checkpoint_ignore: Option<Vec<String>>,
}

/// Where a fork began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// In which session of the tree.
    pub session: SessionId,
    /// At which of its checkpoints.
    pub checkpoint: CheckpointId,
}

/// Where a session stands: the one item that every append updates.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Which session.
    pub key: SessionKey,
    /// The tree of forks that it belongs to; its own when it is no fork.
    pub tree: TreeId,
    /// Where it began, when it is a fork.
    pub parent: Option<Parent>,
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
    /// The checkpoint that the next runner goes on from.
    pub checkpoint: Option<CheckpointId>,
    /// The last event within its cut; 0 without a checkpoint.
    pub cut_sequence: Sequence,
    /// Checkpoints recorded so far: the newest has this ordinal.
    pub checkpoints: u64,
    /// Times it was set back.
    pub rewinds: u32,
    /// The question that waits for a person.
    pub question: Option<PendingQuestion>,
    /// What a person allowed for the rest of the session, the oldest first.
    pub grants: Vec<Grant>,
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
    /// Commands that the next runner does not take again: all with an ordinal up to this one.
    pub commands_settled: u64,
    /// When a runner was last asked for: at the creation, by a wake, or by a message that waits.
    pub runner_asked_at: UnixMillis,
    /// Lost runners since the last checkpoint or end of a turn.
    pub recoveries: u32,
    /// Until when it is kept as it is: then a suspended session is completed, and an ended one
    /// erased. Absent in all other states.
    pub kept_until: Option<UnixMillis>,
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
    /// repeated, its runner is gone, a message waits for a slot, or its time is up.
    /// [`crate::ports::SessionDirectory::overdue`] finds sessions by this.
    #[must_use]
    pub fn look_at(&self) -> Option<UnixMillis> {
        match self.state {
            State::Provisioning | State::Running | State::Idle | State::Waiting => {
                Some(self.lease_until)
            }
            State::Requested | State::Resuming if self.task.is_some() => {
                Some(self.runner_asked_at.plus(limits::PROVISIONING_MILLISECONDS))
            }
            State::Requested | State::Resuming => {
                Some(self.runner_asked_at.plus(limits::START_MILLISECONDS))
            }
            State::Suspended if self.has_queued() => {
                Some(self.runner_asked_at.plus(limits::START_MILLISECONDS))
            }
            State::Lost => Some(self.updated_at),
            State::Suspended => {
                let asked = self.question.as_ref().and_then(|it| it.approval.as_ref());
                let expiry = asked.map(|request| request.expires_at);
                // After it was looked at there is a command, or the answer that came before.
                expiry.into_iter().chain(self.kept_until).min()
            }
            State::Completed | State::Failed | State::Cancelled | State::TimedOut => {
                self.kept_until
            }
        }
    }

    /// Commands wait that no runner has taken.
    #[must_use]
    pub const fn has_queued(&self) -> bool {
        self.queued() > 0
    }

    /// How many commands wait that no runner has taken.
    #[must_use]
    pub const fn queued(&self) -> u64 {
        self.commands_accepted.saturating_sub(self.commands_taken)
    }

    /// No runner has come for it within [`limits::PROVISIONING_MILLISECONDS`].
    #[must_use]
    pub fn never_started(&self, now: UnixMillis) -> bool {
        matches!(self.state, State::Requested | State::Resuming)
            && now.since(self.runner_asked_at) > limits::PROVISIONING_MILLISECONDS
    }

    /// Its time is up: an ended session is to be erased, a suspended one completed.
    #[must_use]
    pub fn kept_long_enough(&self, now: UnixMillis) -> bool {
        self.kept_until.is_some_and(|until| now > until)
    }

    /// The head once a runner has it; `None` when it awaits none.
    #[must_use]
    pub fn taken_over(&self, task: &str, lease_until: UnixMillis, now: UnixMillis) -> Option<Self> {
        let mut taken = self.clone();
        taken.state = after(self.state, Transition::RunnerTookOver).ok()?;
        taken.fence = self.fence.next();
        taken.task = Some(task.to_owned());
        taken.lease_until = lease_until;
        taken.updated_at = now;
        taken.commands_taken = self.commands_settled;
        Some(taken)
    }

    /// The right to write as the runner that has it now.
    #[must_use]
    pub fn lease(&self) -> Lease {
        Lease {
            key: self.key.clone(),
            fence: self.fence,
            tree: self.tree.clone(),
        }
    }

    /// It ended, and its time is up: nobody can read it any more.
    #[must_use]
    pub fn is_over(&self, now: UnixMillis) -> bool {
        self.state.is_ended() && self.kept_long_enough(now)
    }

    /// Where the objects of its tree live.
    #[must_use]
    pub fn tree_key(&self) -> TreeKey {
        TreeKey {
            owner: self.key.owner.clone(),
            tree: self.tree.clone(),
        }
    }
}
