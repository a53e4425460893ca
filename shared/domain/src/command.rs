//! What clients ask of a running session: rows that a runner takes in order.
//!
//! ```text
//! queued → taken (by one fence) → done
//!    └──→ withdrawn
//! ```
//! A command whose session has ended without finishing it reads as `not_done`; nothing needs to be
//! written for that.

use crate::{
    CommandId, FencingToken, State, UnixMillis, event::TurnEnd, session::Attachment,
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
    /// The state a client is told: what an ended session left is not done.
    #[must_use]
    pub fn state_for(&self, session: State) -> CommandState {
        match self.state {
            CommandState::Queued | CommandState::Taken(_) if session.is_ended() => {
                CommandState::NotDone
            }
            state => state,
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
    /// Stop the running turn.
    Interrupt,
    /// End the session.
    Cancel {
        /// Why, for the log.
        reason: String,
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
            Self::Interrupt => "interrupt",
            Self::Cancel { .. } => "cancel",
            Self::ReadFile { .. } => "read_file",
        }
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
    /// Its session ended first. Never stored: see [`Command::state_for`].
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
    /// An interrupt reached the CLI (`true`) or found nothing running (`false`).
    Interrupted(bool),
    /// The session is being ended.
    Cancelled,
    /// What a file holds.
    File(FileContent),
    /// It could not be done; the text says why and what to do.
    Refused(String),
}

/// A piece of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileContent {
    /// The bytes from the asked offset.
    pub bytes: Vec<u8>,
    /// Size of the whole file in bytes.
    pub file_bytes: u64,
}
