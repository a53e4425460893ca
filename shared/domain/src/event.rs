//! The session's log: an ordered list of events, the truth of which everything else is a view.
//! Events are our own reading of what the CLI printed; its verbatim lines belong to the transcript.

use crate::{
    ApprovalRequest, CallDigest, CheckpointId, CommandId, Decision, FencingToken, QuestionId,
    RefName, Sequence, SessionId, State, UnixMillis,
    approval::Way,
    checkpoint::{CheckpointTrigger, RestoreScope},
    history::AbandonedRange,
};

/// One entry of the log, as readers see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its position; without gaps.
    pub sequence: Sequence,
    /// Which runner wrote it; 0 for control events of a session that had none yet.
    pub fence: FencingToken,
    /// The turn it belongs to; 0 before the first.
    pub turn: u32,
    /// When, on the writer's clock.
    pub time: UnixMillis,
    /// The command that caused it, if one did.
    pub cause: Option<CommandId>,
    /// What happened.
    pub body: EventBody,
    /// Set when `body` is only a preview: the size in bytes of the whole, which is in the bucket.
    pub whole_body_bytes: Option<u64>,
}

/// An event on its way into the log: the append gives it sequence and fence.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// The turn it belongs to; 0 before the first.
    pub turn: u32,
    /// When, on the writer's clock.
    pub time: UnixMillis,
    /// The command that caused it, if one did.
    pub cause: Option<CommandId>,
    /// What happened.
    pub body: EventBody,
}

/// What can happen in a session. Secrets are redacted before a body is made.
#[derive(Clone, Debug, PartialEq)]
pub enum EventBody {
    /// The session was recorded.
    SessionCreated,
    /// A runner took the session over.
    RunnerStarted {
        /// The task that runs it (last part of the task ARN).
        task: String,
        /// How the CLI is kept apart: `namespaces`, `uid` or `none`.
        isolation: String,
    },
    /// Files are in place.
    WorkspaceReady {
        /// `empty`, `git`, `directory` or `upload`.
        source: String,
        /// Files in it.
        files: u64,
        /// Their bytes.
        bytes: u64,
        /// The commit that was checked out, for git.
        commit: Option<String>,
    },
    /// The CLI answered `initialize`.
    SessionReady {
        /// Its version.
        claude_version: String,
        /// Its own session id.
        claude_session_id: String,
    },
    /// A message was taken by the runner; from here on it is handed to the CLI, or the session ends
    /// and names it as unfinished.
    MessageTaken {
        /// Its text.
        text: String,
    },
    /// A queued message was withdrawn before the CLI saw it, or a command of the caller before it began.
    MessageWithdrawn,
    /// The CLI began a turn.
    TurnStarted {
        /// The model it named.
        model: Option<String>,
    },
    /// A finished text block of the assistant.
    Text {
        /// The text.
        text: String,
        /// The subagent that said it, by the tool call that started it.
        agent: Option<String>,
    },
    /// A finished thinking block.
    Thinking {
        /// The text.
        text: String,
    },
    /// The assistant asked for a tool.
    ToolCall {
        /// Id of the call.
        tool_use_id: String,
        /// The CLI's name of the tool.
        tool: String,
        /// The input as JSON text.
        input: String,
        /// The subagent that asked, by the tool call that started it.
        agent: Option<String>,
    },
    /// A tool answered.
    ToolResult {
        /// Id of the call.
        tool_use_id: String,
        /// It failed or was refused.
        is_error: bool,
        /// What the model reads.
        text: String,
    },
    /// The gate let a call go; its result follows.
    ToolAllowed {
        /// Id of the call.
        tool_use_id: String,
        /// The CLI's name of the tool.
        tool: String,
        /// The policies that decided; none when a person did.
        policies: Vec<String>,
    },
    /// The gate refused a call.
    ToolDenied {
        /// Id of the call.
        tool_use_id: String,
        /// The CLI's name of the tool.
        tool: String,
        /// What the model was told.
        reason: String,
        /// The policies that decided; none when the call was not even understood.
        policies: Vec<String>,
    },
    /// The CLI waits before it asks the model again.
    Retry {
        /// Which attempt failed, from 1.
        attempt: u32,
        /// How many there are.
        attempts: u32,
        /// Until the next, in milliseconds.
        delay_milliseconds: u64,
        /// HTTP status of the failure, if there was an answer.
        status: Option<u16>,
        /// What went wrong.
        message: String,
    },
    /// A turn ended.
    TurnEnded(TurnEnd),
    /// What the turn did to the workspace.
    FilesChanged {
        /// The files, sorted by path.
        files: Vec<FileChange>,
        /// Unified diff of the text files among them.
        patch: String,
    },
    /// A command of the caller begins: from here on it may have run.
    CommandStarted {
        /// As the shell reads it.
        command: String,
        /// After so many seconds it is ended.
        timeout_seconds: u32,
    },
    /// A command of the caller has ended, and all that it started.
    CommandEnded {
        /// How.
        end: RunEnd,
        /// What it wrote to its standard output; of much the beginning and the end.
        stdout: String,
        /// The same of its standard error.
        stderr: String,
        /// Bytes that it wrote to its standard output.
        stdout_bytes: u64,
        /// Bytes that it wrote to its standard error.
        stderr_bytes: u64,
    },
    /// Something a person should know: a warning of the CLI, a line nobody understood, no isolation.
    Notice {
        /// Short stable name (`unknown_line`, `cli_warning`, `not_isolated`).
        code: String,
        /// In words.
        message: String,
    },
    /// The session began as a fork.
    SessionForked {
        /// Of which session, of the same owner and tree.
        parent: SessionId,
        /// At which of its checkpoints.
        checkpoint: CheckpointId,
        /// What it took over.
        what: RestoreScope,
    },
    /// A checkpoint is whole and recorded.
    CheckpointCreated {
        /// Its name.
        checkpoint: CheckpointId,
        /// Its place among the session's.
        ordinal: u64,
        /// What it was taken for.
        trigger: CheckpointTrigger,
        /// Files of the workspace.
        files: u64,
        /// Their bytes.
        bytes: u64,
        /// Bytes that were stored for it.
        new_bytes: u64,
        /// What was said about it.
        message: Option<String>,
        /// The last event within the cut, when that is not this one.
        cut_sequence: Option<Sequence>,
    },
    /// The session's runner is gone; another one takes over.
    RunnerLost {
        /// How it was noticed.
        reason: String,
    },
    /// A runner restored a cut and goes on from there.
    SessionResumed {
        /// From which checkpoint; none when there was none yet, and all began anew.
        checkpoint: Option<CheckpointId>,
        /// The last event of the log within the cut.
        cut_sequence: Sequence,
        /// What came after the cut and is not part of the session's history any more.
        abandoned: Option<AbandonedRange>,
        /// Messages and answers that are handed over once more.
        redone: Vec<CommandId>,
    },
    /// The session was set back to a checkpoint.
    Rewound {
        /// To which one; for the conversation alone, whose conversation.
        checkpoint: CheckpointId,
        /// What was set back.
        what: RestoreScope,
        /// The ref that keeps the old head reachable; none when there was no checkpoint.
        kept_as: Option<RefName>,
        /// What is not part of the session's history any more.
        abandoned: Option<AbandonedRange>,
        /// Messages that were under way and are not done.
        not_done: Vec<CommandId>,
    },
    /// The CLI asks a person; its turn waits for the answer.
    QuestionAsked {
        /// Its name, to answer it by.
        question: QuestionId,
        /// Id of the held call.
        tool_use_id: String,
        /// The questions and choices as JSON text.
        input: String,
    },
    /// A person answered; the held call goes on.
    QuestionAnswered {
        /// Which question.
        question: QuestionId,
        /// The answers as JSON text.
        answers: String,
    },
    /// A call waits for a person's decision.
    ApprovalRequested {
        /// Its name.
        approval: QuestionId,
        /// Id of the held call.
        tool_use_id: String,
        /// The input of the call as JSON text.
        input: String,
        /// What a person must know.
        request: ApprovalRequest,
    },
    /// A person decided, or the time for it is over.
    ApprovalDecided {
        /// On which approval.
        approval: QuestionId,
        /// On which call.
        digest: CallDigest,
        /// What.
        decision: Decision,
        /// By which way.
        way: Way,
    },
    /// The state changed.
    StateChanged {
        /// From.
        from: State,
        /// To.
        to: State,
    },
    /// The session ended. Always the last event.
    SessionEnded {
        /// The end.
        state: State,
        /// Why, and what to do about it.
        reason: String,
        /// Messages that were accepted and not finished.
        unfinished: Vec<CommandId>,
    },
}

impl EventBody {
    /// The name of the kind, as stored and shown.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::SessionCreated => "session_created",
            Self::RunnerStarted { .. } => "runner_started",
            Self::WorkspaceReady { .. } => "workspace_ready",
            Self::SessionReady { .. } => "session_ready",
            Self::MessageTaken { .. } => "message_taken",
            Self::MessageWithdrawn => "message_withdrawn",
            Self::TurnStarted { .. } => "turn_started",
            Self::Text { .. } => "text",
            Self::Thinking { .. } => "thinking",
            Self::ToolCall { .. } => "tool_call",
            Self::ToolResult { .. } => "tool_result",
            Self::ToolAllowed { .. } => "tool_allowed",
            Self::ToolDenied { .. } => "tool_denied",
            Self::Retry { .. } => "retry",
            Self::TurnEnded(_) => "turn_ended",
            Self::FilesChanged { .. } => "files_changed",
            Self::CommandStarted { .. } => "command_started",
            Self::CommandEnded { .. } => "command_ended",
            Self::Notice { .. } => "notice",
            Self::SessionForked { .. } => "session_forked",
            Self::CheckpointCreated { .. } => "checkpoint_created",
            Self::RunnerLost { .. } => "runner_lost",
            Self::SessionResumed { .. } => "session_resumed",
            Self::Rewound { .. } => "rewound",
            Self::QuestionAsked { .. } => "question_asked",
            Self::QuestionAnswered { .. } => "question_answered",
            Self::ApprovalRequested { .. } => "approval_requested",
            Self::ApprovalDecided { .. } => "approval_decided",
            Self::StateChanged { .. } => "state_changed",
            Self::SessionEnded { .. } => "session_ended",
        }
    }
}

/// How a turn ended, from the CLI's `result` line.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnEnd {
    /// The CLI's subtype (`success`, `error_during_execution`, `error_max_turns`, ..).
    pub subtype: String,
    /// It did not do what was asked; also for a `success` that carries an API failure.
    pub is_error: bool,
    /// The final text, or what went wrong.
    pub text: String,
    /// Why it stopped (`completed`, `aborted_tools`, `api_error`, ..).
    pub terminal_reason: Option<String>,
    /// Cost of the session so far, in US dollars, as the CLI computes it.
    pub total_cost_usd: f64,
    /// Length of this turn.
    pub duration_milliseconds: u64,
    /// Model requests of this turn.
    pub model_turns: u32,
    /// Tokens of this turn's main loop.
    pub usage: TokenUsage,
    /// The messages it answered.
    pub messages: Vec<CommandId>,
}

/// How a command of the caller ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEnd {
    /// By what.
    pub how: RunHow,
    /// What it left, when it ended by itself: 128 and the number of the signal that ended it, as
    /// shells count.
    pub exit_code: Option<i32>,
    /// From its start.
    pub duration_milliseconds: u64,
    /// Why it did not end by itself, and what to do about it.
    pub reason: Option<String>,
}

/// By what a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunHow {
    /// By itself, well or not.
    Exited,
    /// Its time was over.
    TimedOut,
    /// Somebody stopped it, or its session or runner ended before it.
    Interrupted,
    /// It could not be started.
    Failed,
}

impl RunHow {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::TimedOut => "timed_out",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
        }
    }
}

/// Tokens, as the Messages API counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenUsage {
    /// Read at full price.
    pub input_tokens: u64,
    /// Written.
    pub output_tokens: u64,
    /// Written into the prompt cache.
    pub cache_creation_input_tokens: u64,
    /// Read from the prompt cache.
    pub cache_read_input_tokens: u64,
}

/// One changed file of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChange {
    /// Relative to the workspace, `/`-separated.
    pub path: String,
    /// What happened to it.
    pub change: ChangeKind,
    /// Lines added, when it is text that the patch shows.
    pub added_lines: Option<u32>,
    /// Lines removed, likewise.
    pub removed_lines: Option<u32>,
}

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// New.
    Added,
    /// Other content or kind than before.
    Modified,
    /// Gone.
    Deleted,
}

impl ChangeKind {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Modified => "modified",
            Self::Deleted => "deleted",
        }
    }
}
