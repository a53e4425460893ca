//! What clients ask of a running session: rows that a runner takes in order.
//!
//! ```text
//! queued → taken (by one fence) → done
//!    └──→ withdrawn    └─────────────┴──→ taken again (by a later fence)
//! ```
//! A later runner begins with the first command that is not finished within its checkpoint
//! ([`crate::Head::commands_settled`]): what an earlier one took or did after that is taken again
//! where [`Command::to_take`] says so.
//!
//! A command whose session has ended without finishing it reads as `not_done`; nothing needs to be
//! written for that.

use crate::{
    CallDigest, CheckpointId, CommandId, Decision, FencingToken, Head, QuestionId, Sequence,
    UnixMillis,
    approval::Way,
    event::{RunEnd, TurnEnd},
    limits,
    session::Attachment,
    workspace::RelativePath,
};

/// One command of a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// The client's name for it; repeating it does nothing.
    pub id: CommandId,
    /// Its place among the session's commands, from 1.
    pub ordinal: u64,
    /// When it was accepted.
    pub accepted_at: UnixMillis,
    /// What is asked.
    pub body: CommandBody,
    /// How far it is.
    pub state: CommandState,
    /// What came of it, once done.
    pub outcome: Option<CommandOutcome>,
}

impl Command {
    /// The state a client is told: what an ended session left is not done, nor is what was under
    /// way when the session was set back.
    #[must_use]
    pub fn state_for(&self, head: &Head) -> CommandState {
        match self.state {
            CommandState::Queued | CommandState::Taken(_) if head.state.is_ended() => {
                CommandState::NotDone
            }
            CommandState::Taken(_) if self.ordinal <= head.commands_settled => {
                CommandState::NotDone
            }
            state => state,
        }
    }

    /// Whether a runner of this fence has to take it; what it has not to take it passes over,
    /// listed in its append as it was read. Messages and answers that an earlier runner took or did
    /// after the cut are handed over again (the CLI drops what its transcript knows); of other
    /// commands only those that nobody finished.
    #[must_use]
    pub const fn to_take(&self, fence: FencingToken) -> bool {
        match self.state {
            CommandState::Queued => true,
            CommandState::Taken(by) => by.0 < fence.0,
            CommandState::Done => self.body.is_redone(),
            CommandState::Withdrawn | CommandState::NotDone => false,
        }
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum CommandBody {
    /// A message of the user.
    Message {
        /// Its text.
        text: String,
        /// Files that come with it.
        attachments: Vec<Attachment>,
    },
    /// Run one command of the caller in the workspace, once no turn runs. The CLI does not hear of it.
    Run {
        /// For the shell.
        command: String,
        /// After so many seconds everything that it started is ended.
        timeout_seconds: u32,
    },
    /// Stop that command of the caller, or do not begin it.
    StopRun {
        /// Which one.
        run: CommandId,
    },
    /// Stop the running turn, and the command of the caller that runs or waits for a person.
    Interrupt,
    /// End the session.
    Cancel {
        /// Why, for the log.
        reason: String,
    },
    /// The answer to a question of the CLI.
    Answer {
        /// To which one.
        question: QuestionId,
        /// The answers as JSON text.
        answers: String,
    },
    /// A person's decision on a call that waits for it.
    Decide {
        /// On which approval.
        approval: QuestionId,
        /// On which call: the one that the person saw.
        digest: CallDigest,
        /// What they decided.
        decision: Decision,
        /// By which way.
        way: Way,
    },
    /// Take a checkpoint and give the machine back.
    Suspend,
    /// Take a checkpoint.
    Checkpoint {
        /// What to say about it.
        message: Option<String>,
        /// For finding it again.
        tags: Vec<String>,
        /// Keep it whatever the retention says.
        pinned: bool,
    },
    /// Read a file of the workspace.
    ReadFile {
        /// Which.
        path: RelativePath,
        /// First byte.
        offset: u64,
        /// At most this many bytes.
        length: u64,
    },
}

impl CommandBody {
    /// As stored and shown.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Message { .. } => "message",
            Self::Run { .. } => "run_command",
            Self::StopRun { .. } => "stop_command",
            Self::Interrupt => "interrupt",
            Self::Cancel { .. } => "cancel",
            Self::ReadFile { .. } => "read_file",
            Self::Answer { .. } => "answer",
            Self::Decide { .. } => "decide",
            Self::Suspend => "suspend",
            Self::Checkpoint { .. } => "checkpoint",
        }
    }

    /// It becomes part of the conversation.
    #[must_use]
    pub const fn is_for_the_cli(&self) -> bool {
        matches!(
            self,
            Self::Message { .. } | Self::Answer { .. } | Self::Decide { .. }
        )
    }

    /// Somebody waits for what comes of it: it is worth a runner, and a session that ends without it
    /// names it. The others are about a runner that is there.
    #[must_use]
    pub const fn is_awaited(&self) -> bool {
        self.is_for_the_cli() || matches!(self, Self::Run { .. })
    }

    /// Nothing of it has happened before a runner begins it, so it can be taken back until then.
    #[must_use]
    pub const fn can_be_withdrawn(&self) -> bool {
        matches!(self, Self::Message { .. } | Self::Run { .. })
    }

    /// Done behind the cut, it is handed over once more. A decision is not: what it let run may have
    /// run, so the person is asked again. Nor is a command of the caller: it runs once at the most.
    const fn is_redone(&self) -> bool {
        self.is_for_the_cli() && !matches!(self, Self::Decide { .. })
    }
}

/// How far a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandState {
    /// Accepted.
    Queued,
    /// A runner has it.
    Taken(FencingToken),
    /// Finished; the outcome says how.
    Done,
    /// Taken back before a runner had it.
    Withdrawn,
    /// Its session ended or was set back first. Never stored: see [`Command::state_for`].
    NotDone,
}

impl CommandState {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Taken(_) => "taken",
            Self::Done => "done",
            Self::Withdrawn => "withdrawn",
            Self::NotDone => "not_done",
        }
    }
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum CommandOutcome {
    /// The turn that answered a message.
    Turn(TurnEnd),
    /// The same, with the beginning of a long text: the whole is in the log.
    CutTurn(TurnEnd, WholeText),
    /// An interrupt reached the CLI (`true`) or found nothing running (`false`).
    Interrupted(bool),
    /// The session is being ended.
    Cancelled,
    /// What a file holds.
    File(FileContent),
    /// How a command of the caller ended; what it printed is in the log.
    Ran(RunEnd),
    /// The answer reached the CLI.
    Answered,
    /// The session is suspended.
    Suspended,
    /// The checkpoint is recorded.
    Checkpointed(CheckpointId),
    /// It could not be done; the text says why and what to do.
    Refused(String),
}

impl CommandOutcome {
    /// The outcome as a command keeps it; the log has `whole` of it.
    #[must_use]
    pub fn kept(&self, whole: Option<Sequence>) -> Self {
        match self {
            Self::Turn(end) if end.text.len() > limits::OUTCOME_TEXT_BYTES => {
                let bytes = end.text.len() as u64;
                let mut end = end.clone();
                let at = end.text.floor_char_boundary(limits::OUTCOME_TEXT_BYTES);
                end.text.truncate(at);
                Self::CutTurn(
                    end,
                    WholeText {
                        bytes,
                        sequence: whole,
                    },
                )
            }
            other => other.clone(),
        }
    }
}

/// Where a text stands whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WholeText {
    /// Its length.
    pub bytes: u64,
    /// The event that has it, where the outcome was recorded with that event.
    pub sequence: Option<Sequence>,
}

/// A piece of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileContent {
    /// The bytes from the asked offset.
    pub bytes: Vec<u8>,
    /// Size of the whole file in bytes.
    pub file_bytes: u64,
}
