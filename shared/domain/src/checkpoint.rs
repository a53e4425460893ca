//! Checkpoints: cuts of files and conversation that a session goes on from, can be set back to, and
//! can branch at.
//!
//! A checkpoint is a record; what it holds lies in manifests in the bucket. Usually one manifest
//! holds both. Where they were taken apart (the conversation set back, the files kept), `files` and
//! `conversation` name two.

use crate::{
    ApprovalRequest, CheckpointId, FencingToken, Sequence, UnixMillis, ids::InvalidName,
    ids::RefName,
};

/// A recorded checkpoint. It is visible, so all that it refers to is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Its name.
    pub id: CheckpointId,
    /// Its place among the checkpoints of its session, from 1. Old ones may be gone.
    pub ordinal: u64,
    /// When it was recorded, on the writer's clock.
    pub created_at: UnixMillis,
    /// Which runner took it; of a fork or a rewind, the one before.
    pub fence: FencingToken,
    /// What it was taken for.
    pub trigger: CheckpointTrigger,
    /// The checkpoint that the session went on from when it was taken.
    pub parent: Option<CheckpointId>,
    /// The manifest (`manifests/<id>`) whose `workspace` it holds.
    pub files: CheckpointId,
    /// The manifest whose `transcript` and `claude` it holds.
    pub conversation: CheckpointId,
    /// The last event of the session's log within the cut.
    pub sequence: Sequence,
    /// Every command up to this ordinal is finished within the cut.
    pub commands_settled: u64,
    /// Turns started within the cut.
    pub turn: u32,
    /// The CLI's session id of the transcript; absent before it had one.
    pub claude_session_id: Option<String>,
    /// The question that waits within the cut.
    pub question: Option<PendingQuestion>,
    /// What a person or a program said about it.
    pub message: Option<String>,
    /// For finding it again; sorted, without repeats.
    pub tags: Vec<String>,
    /// Kept whatever the retention says.
    pub pinned: bool,
    /// How large it is.
    pub size: CheckpointSize,
}

/// A checkpoint on its way into the record, in the append of its runner.
#[derive(Clone, Debug, PartialEq)]
pub struct NewCheckpoint {
    /// Its name, and usually that of its manifest.
    pub id: CheckpointId,
    /// One more than [`crate::Head::checkpoints`].
    pub ordinal: u64,
    /// What it was taken for.
    pub trigger: CheckpointTrigger,
    /// [`crate::Head::checkpoint`] as it is before.
    pub parent: Option<CheckpointId>,
    /// See [`Checkpoint::files`].
    pub files: CheckpointId,
    /// See [`Checkpoint::conversation`].
    pub conversation: CheckpointId,
    /// The last event within the cut, when it is not the last one of this very append.
    pub sequence: Option<Sequence>,
    /// See [`Checkpoint::commands_settled`].
    pub commands_settled: u64,
    /// See [`Checkpoint::turn`].
    pub turn: u32,
    /// See [`Checkpoint::claude_session_id`].
    pub claude_session_id: Option<String>,
    /// See [`Checkpoint::question`].
    pub question: Option<PendingQuestion>,
    /// See [`Checkpoint::message`].
    pub message: Option<String>,
    /// See [`Checkpoint::tags`].
    pub tags: Vec<String>,
    /// See [`Checkpoint::pinned`].
    pub pinned: bool,
    /// See [`Checkpoint::size`].
    pub size: CheckpointSize,
    /// The sweep generation of the tree, read before anything stored was reused. The append is
    /// refused when a sweep began since: what was reused has to be looked at again.
    pub generation: u64,
}

impl NewCheckpoint {
    /// The record that it becomes. `last` is the last event of its append.
    #[must_use]
    pub fn record(self, fence: FencingToken, last: Sequence, now: UnixMillis) -> Checkpoint {
        Checkpoint {
            id: self.id,
            ordinal: self.ordinal,
            created_at: now,
            fence,
            trigger: self.trigger,
            parent: self.parent,
            files: self.files,
            conversation: self.conversation,
            sequence: self.sequence.unwrap_or(last),
            commands_settled: self.commands_settled,
            turn: self.turn,
            claude_session_id: self.claude_session_id,
            question: self.question,
            message: self.message,
            tags: self.tags,
            pinned: self.pinned,
            size: self.size,
        }
    }
}

/// What a checkpoint was taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CheckpointTrigger {
    /// A turn ended.
    Turn,
    /// A tool changed something.
    Tool,
    /// The time since the last one was up.
    Interval,
    /// The session was suspended.
    Suspend,
    /// The task was asked to stop.
    Stop,
    /// Somebody asked for it.
    Request,
    /// A fork begins with it.
    Fork,
    /// The session was set back to it.
    Rewind,
}

impl CheckpointTrigger {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Turn,
        Self::Tool,
        Self::Interval,
        Self::Suspend,
        Self::Stop,
        Self::Request,
        Self::Fork,
        Self::Rewind,
    ];

    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Turn => "turn",
            Self::Tool => "tool",
            Self::Interval => "interval",
            Self::Suspend => "suspend",
            Self::Stop => "stop",
            Self::Request => "request",
            Self::Fork => "fork",
            Self::Rewind => "rewind",
        }
    }
}

/// When checkpoints are taken besides those at a suspension, at a stop, and on request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CheckpointStrategy {
    /// At the end of each turn, and within a turn as files change.
    Smart,
    /// At the end of each turn.
    Turn,
    /// When the interval is over and files may have changed.
    Interval,
    /// Never.
    Manual,
}

impl CheckpointStrategy {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Smart, Self::Turn, Self::Interval, Self::Manual];

    /// As set, stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Smart => "smart",
            Self::Turn => "turn",
            Self::Interval => "interval",
            Self::Manual => "manual",
        }
    }

    /// Reads what [`CheckpointStrategy::as_str`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|strategy| strategy.as_str() == text)
    }

    /// A turn that has ended is kept.
    #[must_use]
    pub const fn keeps_turns(self) -> bool {
        matches!(self, Self::Smart | Self::Turn)
    }
}

/// How large a checkpoint is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckpointSize {
    /// Files of the workspace.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that were stored for it and are not shared with its parent, compressed.
    pub new_bytes: u64,
}

/// A question of the CLI to a person, which holds its turn up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingQuestion {
    /// Its name; an answer repeats it.
    pub id: crate::ids::QuestionId,
    /// The held tool call.
    pub tool_use_id: String,
    /// The input of the held call, as JSON text: the questions and what can be chosen. Of an approval
    /// at most [`crate::limits::APPROVAL_SHOWN_BYTES`] of it.
    pub input: String,
    /// When it was asked, on the runner's clock.
    pub asked_at: UnixMillis,
    /// Whether the call may run is what is asked: then a decision answers it, and nothing else.
    pub approval: Option<ApprovalRequest>,
}

/// A name that a person gave to a checkpoint, or that a rewind left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointRef {
    /// The name.
    pub name: RefName,
    /// What it names.
    pub checkpoint: CheckpointId,
    /// When it was set, on the writer's clock.
    pub set_at: UnixMillis,
}

/// How a caller names a checkpoint of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckpointName {
    /// The one that the session would go on from.
    Latest,
    /// By its id.
    Id(CheckpointId),
    /// By a name that was given to it.
    Ref(RefName),
}

impl CheckpointName {
    /// Reads `latest`, a checkpoint id, or the name of a ref.
    ///
    /// # Errors
    /// [`InvalidName`]; the caller corrects the value.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        if text.starts_with("chk_") {
            return CheckpointId::parse(text).map(Self::Id);
        }
        RefName::parse(text).map(Self::Ref)
    }

    /// As [`CheckpointName::parse`] reads it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Latest => "latest",
            Self::Id(id) => id.as_str(),
            Self::Ref(name) => name.as_str(),
        }
    }
}

/// What of a checkpoint a session goes on from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RestoreScope {
    /// Files and conversation.
    #[default]
    Both,
    /// The conversation; the files are those of the newest checkpoint.
    Conversation,
}

impl RestoreScope {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Both, Self::Conversation];

    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Conversation => "conversation",
        }
    }

    /// Reads what [`RestoreScope::as_str`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_named_in_three_ways() {
        let id = CheckpointId::from_random([3; 17]);
        assert_eq!(CheckpointName::parse("latest"), Ok(CheckpointName::Latest));
        assert_eq!(
            CheckpointName::parse(id.as_str()),
            Ok(CheckpointName::Id(id))
        );
        let name = RefName::parse("before-1").expect("valid");
        assert_eq!(
            CheckpointName::parse("before-1"),
            Ok(CheckpointName::Ref(name))
        );
        for bad in ["", "chk_1", "a b", "../x", "ses#x", "Latest?"] {
            assert!(CheckpointName::parse(bad).is_err(), "{bad}");
        }
    }
}
