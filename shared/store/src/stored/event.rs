//! Events as they are stored: a JSON array per batch.

use domain::{
    ApprovalRequest, CallDigest, CheckpointId, CommandId, Decision, Event, EventBody, FencingToken,
    QuestionId, RefName, Sequence, SessionId, State, UnixMillis,
    approval::Way,
    checkpoint::{CheckpointTrigger, RestoreScope},
    event::{ChangeKind, FileChange, RunEnd, RunHow, TokenUsage, TurnEnd},
    history::AbandonedRange,
};
use serde::{Deserialize, Serialize};

use super::{checkpoint::StoredTrigger, stored_list};

/// The version that this code writes. Readers accept it and older ones.
pub(crate) const ENVELOPE_VERSION: u32 = 1;

/// One event in its envelope.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoredEvent {
    #[serde(rename = "v")]
    version: u32,
    sequence: u64,
    fence: u64,
    turn: u32,
    time: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    /// The body, or a preview of it when `whole` says where the whole is.
    body: serde_json::Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) whole: Option<WholeBody>,
}

/// A body that is too long for the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WholeBody {
    /// Hash of its JSON, the last part of its object key.
    pub(crate) object: String,
    /// Size of its JSON.
    pub(crate) bytes: u64,
}

impl StoredEvent {
    pub(crate) const fn sequence(&self) -> Sequence {
        Sequence(self.sequence)
    }

    /// Puts a body that was serialised with [`body_json`] into its envelope.
    pub(crate) fn new(
        event: &domain::event::NewEvent,
        sequence: Sequence,
        fence: FencingToken,
        body: serde_json::Value,
        whole: Option<WholeBody>,
    ) -> Self {
        Self {
            version: ENVELOPE_VERSION,
            sequence: sequence.0,
            fence: fence.0,
            turn: event.turn,
            time: event.time.0,
            cause: event.cause.as_ref().map(ToString::to_string),
            body,
            whole,
        }
    }

    /// About how long the body is.
    pub(crate) fn body_bytes(&self) -> usize {
        self.body.to_string().len()
    }

    /// The event as readers see it.
    pub(crate) fn read(self) -> Result<Event, serde_json::Error> {
        use serde::de::Error;
        if self.version > ENVELOPE_VERSION {
            return Err(serde_json::Error::custom(format!(
                "an event of version {} is newer than this program, which knows {ENVELOPE_VERSION}",
                self.version
            )));
        }
        Ok(Event {
            sequence: Sequence(self.sequence),
            fence: FencingToken(self.fence),
            turn: self.turn,
            time: UnixMillis(self.time),
            cause: match self.cause {
                None => None,
                Some(text) => Some(CommandId::parse(&text).map_err(serde_json::Error::custom)?),
            },
            body: read_body(self.body)?,
            whole_body_bytes: self.whole.map(|whole| whole.bytes),
        })
    }
}

/// A body as JSON.
pub(crate) fn body_json(body: &EventBody) -> Result<serde_json::Value, serde_json::Error> {
    StoredBody::serialize(body, serde_json::value::Serializer)
}

/// Reads what [`body_json`] wrote.
pub(crate) fn read_body(body: serde_json::Value) -> Result<EventBody, serde_json::Error> {
    StoredBody::deserialize(body)
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "EventBody", tag = "kind", rename_all = "snake_case")]
enum StoredBody {
    SessionCreated,
    RunnerStarted {
        task: String,
        isolation: String,
    },
    WorkspaceReady {
        source: String,
        files: u64,
        bytes: u64,
        commit: Option<String>,
    },
    SessionReady {
        claude_version: String,
        claude_session_id: String,
    },
    MessageTaken {
        text: String,
    },
    MessageWithdrawn,
    TurnStarted {
        model: Option<String>,
    },
    Text {
        text: String,
        agent: Option<String>,
    },
    Thinking {
        text: String,
    },
    ToolCall {
        tool_use_id: String,
        tool: String,
        input: String,
        agent: Option<String>,
    },
    ToolResult {
        tool_use_id: String,
        is_error: bool,
        text: String,
    },
    ToolAllowed {
        tool_use_id: String,
        tool: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        policies: Vec<String>,
    },
    ToolDenied {
        tool_use_id: String,
        tool: String,
        reason: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        policies: Vec<String>,
    },
    Retry {
        attempt: u32,
        attempts: u32,
        delay_milliseconds: u64,
        status: Option<u16>,
        message: String,
    },
    TurnEnded(#[serde(with = "StoredTurnEnd")] TurnEnd),
    FilesChanged {
        #[serde(with = "file_changes")]
        files: Vec<FileChange>,
        patch: String,
    },
    CommandStarted {
        command: String,
        timeout_seconds: u32,
    },
    CommandEnded {
        #[serde(with = "StoredRunEnd")]
        end: RunEnd,
        stdout: String,
        stderr: String,
        stdout_bytes: u64,
        stderr_bytes: u64,
    },
    Notice {
        code: String,
        message: String,
    },
    SessionForked {
        #[serde(with = "super::session_id")]
        parent: SessionId,
        #[serde(with = "super::checkpoint_id")]
        checkpoint: CheckpointId,
        #[serde(with = "StoredScope")]
        what: RestoreScope,
    },
    CheckpointCreated {
        #[serde(with = "super::checkpoint_id")]
        checkpoint: CheckpointId,
        ordinal: u64,
        #[serde(with = "StoredTrigger")]
        trigger: CheckpointTrigger,
        files: u64,
        bytes: u64,
        new_bytes: u64,
        message: Option<String>,
        #[serde(with = "optional_sequence")]
        cut_sequence: Option<Sequence>,
    },
    RunnerLost {
        reason: String,
    },
    SessionResumed {
        #[serde(with = "super::optional_checkpoint_id")]
        checkpoint: Option<CheckpointId>,
        #[serde(with = "sequence")]
        cut_sequence: Sequence,
        #[serde(with = "optional_range")]
        abandoned: Option<AbandonedRange>,
        #[serde(with = "super::command_ids")]
        redone: Vec<CommandId>,
    },
    Rewound {
        #[serde(with = "super::checkpoint_id")]
        checkpoint: CheckpointId,
        #[serde(with = "StoredScope")]
        what: RestoreScope,
        #[serde(with = "super::optional_ref_name")]
        kept_as: Option<RefName>,
        #[serde(with = "optional_range")]
        abandoned: Option<AbandonedRange>,
        #[serde(with = "super::command_ids")]
        not_done: Vec<CommandId>,
    },
    QuestionAsked {
        #[serde(with = "super::question_id")]
        question: QuestionId,
        tool_use_id: String,
        input: String,
    },
    QuestionAnswered {
        #[serde(with = "super::question_id")]
        question: QuestionId,
        answers: String,
    },
    ApprovalRequested {
        #[serde(with = "super::question_id")]
        approval: QuestionId,
        tool_use_id: String,
        input: String,
        #[serde(with = "super::approval::StoredRequest")]
        request: ApprovalRequest,
    },
    ApprovalDecided {
        #[serde(with = "super::question_id")]
        approval: QuestionId,
        #[serde(with = "super::approval::call_digest")]
        digest: CallDigest,
        #[serde(with = "super::approval::StoredDecision")]
        decision: Decision,
        #[serde(with = "super::approval::StoredWay")]
        way: Way,
    },
    StateChanged {
        #[serde(with = "StoredState")]
        from: State,
        #[serde(with = "StoredState")]
        to: State,
    },
    SessionEnded {
        #[serde(with = "StoredState")]
        state: State,
        reason: String,
        #[serde(with = "super::command_ids")]
        unfinished: Vec<CommandId>,
    },
}

/// How a turn ended.
#[derive(Serialize, Deserialize)]
#[serde(remote = "TurnEnd")]
pub(crate) struct StoredTurnEnd {
    subtype: String,
    is_error: bool,
    text: String,
    terminal_reason: Option<String>,
    total_cost_usd: f64,
    duration_milliseconds: u64,
    model_turns: u32,
    #[serde(with = "StoredTokenUsage")]
    usage: TokenUsage,
    #[serde(with = "super::command_ids")]
    messages: Vec<CommandId>,
}

/// How a command of the caller ended.
#[derive(Serialize, Deserialize)]
#[serde(remote = "RunEnd")]
pub(crate) struct StoredRunEnd {
    #[serde(with = "StoredRunHow")]
    how: RunHow,
    exit_code: Option<i32>,
    duration_milliseconds: u64,
    reason: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "RunHow", rename_all = "snake_case")]
enum StoredRunHow {
    Exited,
    TimedOut,
    Interrupted,
    Failed,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "TokenUsage")]
struct StoredTokenUsage {
    input_tokens: u64,
    output_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "FileChange")]
struct StoredFileChange {
    path: String,
    #[serde(with = "StoredChangeKind")]
    change: ChangeKind,
    added_lines: Option<u32>,
    removed_lines: Option<u32>,
}

stored_list!(
    file_changes,
    domain::event::FileChange,
    "super::StoredFileChange"
);

#[derive(Serialize, Deserialize)]
#[serde(remote = "ChangeKind", rename_all = "snake_case")]
enum StoredChangeKind {
    Added,
    Modified,
    Deleted,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "State", rename_all = "snake_case")]
enum StoredState {
    Requested,
    Provisioning,
    Running,
    Idle,
    Waiting,
    Suspended,
    Resuming,
    Lost,
    Completed,
    Failed,
    Cancelled,
    TimedOut,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "RestoreScope", rename_all = "snake_case")]
enum StoredScope {
    Both,
    Conversation,
}

mod sequence {
    use domain::Sequence;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde's `with` calls it with a reference"
    )]
    pub(super) fn serialize<S: Serializer>(
        value: &Sequence,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(value.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Sequence, D::Error> {
        u64::deserialize(deserializer).map(Sequence)
    }
}

pub(crate) mod optional_sequence {
    use domain::Sequence;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        value: &Option<Sequence>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(|sequence| sequence.0).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Sequence>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Sequence))
    }
}

/// As an array of two numbers.
mod optional_range {
    use domain::{Sequence, history::AbandonedRange};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(
        clippy::ref_option,
        reason = "serde's `with` calls it with a reference"
    )]
    pub(super) fn serialize<S: Serializer>(
        value: &Option<AbandonedRange>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value
            .map(|range| (range.from.0, range.to.0))
            .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<AbandonedRange>, D::Error> {
        let range = Option::<(u64, u64)>::deserialize(deserializer)?;
        Ok(range.map(|(from, to)| AbandonedRange {
            from: Sequence(from),
            to: Sequence(to),
        }))
    }
}

#[cfg(test)]
mod tests {
    use domain::event::NewEvent;

    use super::*;

    #[test]
    fn every_kind_is_stored_under_its_name_and_read_back() {
        for body in testkit::contracts::every_body() {
            let json = body_json(&body).expect("serialises");
            assert_eq!(json["kind"], body.kind());
            assert_eq!(read_body(json).expect("reads"), body);
        }
    }

    #[test]
    fn the_stored_shape_stays_and_a_newer_one_is_refused() {
        let event = NewEvent {
            turn: 2,
            time: UnixMillis(1_700),
            cause: CommandId::parse("m-1").ok(),
            body: EventBody::StateChanged {
                from: State::Idle,
                to: State::TimedOut,
            },
        };
        let body = body_json(&event.body).expect("serialises");
        let stored = StoredEvent::new(&event, Sequence(7), FencingToken(3), body, None);
        let mut json = serde_json::to_value(&stored).expect("serialises");
        assert_eq!(
            json,
            serde_json::json!({
                "v": 1, "sequence": 7, "fence": 3, "turn": 2, "time": 1700, "cause": "m-1",
                "body": {"kind": "state_changed", "from": "idle", "to": "timed_out"},
            })
        );
        json["v"] = 2.into();
        let newer: StoredEvent = serde_json::from_value(json).expect("reads");
        assert!(newer.read().is_err());
    }
}
