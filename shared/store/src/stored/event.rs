//! Events as they are stored: a JSON array per batch.

use domain::{
    CommandId, Event, EventBody, FencingToken, Sequence, State, UnixMillis,
    event::{ChangeKind, FileChange, TokenUsage, TurnEnd},
};
use serde::{Deserialize, Serialize};

use super::stored_list;

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
    ToolDenied {
        tool_use_id: String,
        tool: String,
        reason: String,
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
    Notice {
        code: String,
        message: String,
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
    Completed,
    Failed,
    Cancelled,
    TimedOut,
    Lost,
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
