//! Reads the lines that the CLI prints.
//!
//! Only what the system uses has a type; every other line is [`Message::Other`] with its kind, and
//! its bytes stay with the caller. A known kind whose shape changed is also `Other`, with the
//! problem named, so that a CLI release can never end a session by adding a field.
//! Transcript entries are kept byte for byte: re-serialised ones are not found on resume.

mod reading;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

pub use reading::parse;

/// One line, as far as we read it.
#[derive(Debug)]
pub enum Message {
    /// Start of a turn (printed for each turn, not once).
    Init(Init),
    /// The CLI's own state changed.
    StateChanged(StateChanged),
    /// The model API failed and will be asked again.
    ApiRetry(ApiRetry),
    /// A tool call was refused.
    PermissionDenied(PermissionDenied),
    /// One finished block of the model's answer.
    Assistant(Spoken),
    /// Tool results, or text that the CLI itself put into the conversation.
    User(Spoken),
    /// A piece of text or thinking of an unfinished block.
    Delta(Delta),
    /// End of a turn.
    Result(Box<TurnResult>),
    /// The CLI asks before a tool call.
    CanUseTool(CanUseTool),
    /// The CLI asks something else that must be answered.
    OtherRequest {
        /// To be repeated in the answer.
        request_id: String,
        /// What it asks.
        subtype: String,
    },
    /// The answer to a control request of ours.
    ControlResponse(Box<ControlResponse>),
    /// A request of the CLI is no longer open.
    RequestCancelled {
        /// Id of that request.
        request_id: String,
    },
    /// What became of a user message.
    CommandLifecycle(CommandLifecycle),
    /// New transcript entries.
    Transcript(TranscriptMirror),
    /// What runs beside the conversation, from now on.
    BackgroundTasks(BackgroundTasks),
    /// Anything else; a sign of life.
    Other {
        /// Type and subtype, joined with a slash.
        kind: String,
        /// Set when the kind is known and its shape is not.
        problem: Option<String>,
    },
}

/// `system/init`.
#[derive(Debug, Clone, Deserialize)]
pub struct Init {
    /// The CLI's session id.
    pub session_id: String,
    /// Model of this turn.
    #[serde(default)]
    pub model: Option<String>,
    /// Directory it works in.
    #[serde(default)]
    pub cwd: Option<String>,
    /// Version of the CLI.
    #[serde(default)]
    pub claude_code_version: Option<String>,
}

/// `system/session_state_changed`: `running`, `requires_action` or `idle`.
#[derive(Debug, Clone, Deserialize)]
pub struct StateChanged {
    /// The new state.
    pub state: String,
}

/// `system/api_retry`.
#[derive(Debug, Clone, Deserialize)]
pub struct ApiRetry {
    /// Counts from 1.
    pub attempt: u32,
    /// After this many the turn fails.
    #[serde(default)]
    pub max_retries: Option<u32>,
    /// Milliseconds until the next attempt.
    #[serde(default)]
    pub retry_delay_ms: Option<f64>,
    /// HTTP status, if there was an answer.
    #[serde(default)]
    pub error_status: Option<u16>,
    /// Kind of the error.
    #[serde(default)]
    pub error: Option<String>,
}

/// `system/permission_denied`.
#[derive(Debug, Clone, Deserialize)]
pub struct PermissionDenied {
    /// Name of the tool.
    pub tool_name: String,
    /// Id of the call.
    #[serde(default)]
    pub tool_use_id: Option<String>,
    /// Why.
    #[serde(default)]
    pub message: Option<String>,
}

/// `assistant` and `user`.
#[derive(Debug, Clone)]
pub struct Spoken {
    /// Id of the API message (several blocks share one).
    pub message_id: Option<String>,
    /// Model that spoke; `<synthetic>` when the CLI reports an API error.
    pub model: Option<String>,
    /// The blocks, in order.
    pub blocks: Vec<Block>,
    /// Tool call of the subagent that speaks.
    pub parent_tool_use_id: Option<String>,
    /// Set when this stands for an API error.
    pub error: Option<String>,
}

/// One content block.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// Plain text.
    Text(String),
    /// The model's reasoning, as far as it is shown.
    Thinking(String),
    /// A tool call.
    ToolUse {
        /// Id of the call.
        id: String,
        /// Name of the tool.
        name: String,
        /// Its input.
        input: Value,
    },
    /// The result of a tool call.
    ToolResult {
        /// Id of the call.
        tool_use_id: String,
        /// All text of it, images replaced by a short mark.
        text: String,
        /// The tool failed or was refused.
        is_error: bool,
    },
    /// A block of a kind we do not read.
    Other(String),
}

/// A piece of `stream_event` that a reader wants to see live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// Id of the API message.
    pub message_id: Option<String>,
    /// Index of the block within its message.
    pub block_index: u64,
    /// The new piece.
    pub text: String,
    /// It is reasoning, not answer.
    pub thinking: bool,
    /// Tool call of the subagent that speaks.
    pub parent_tool_use_id: Option<String>,
}

/// `result`.
#[derive(Debug, Clone, Deserialize)]
pub struct TurnResult {
    /// `success` or an `error_…`. A success with `is_error` is an API failure.
    pub subtype: String,
    /// The turn failed.
    #[serde(default)]
    pub is_error: bool,
    /// The last text (successes only).
    #[serde(default)]
    pub result: Option<String>,
    /// What went wrong.
    #[serde(default)]
    pub errors: Vec<Value>,
    /// Why the turn ended.
    #[serde(default)]
    pub terminal_reason: Option<String>,
    /// The call that the gate deferred.
    #[serde(default)]
    pub deferred_tool_use: Option<Value>,
    /// HTTP status of the model API's last error.
    #[serde(default)]
    pub api_error_status: Option<u16>,
    /// Dollars since the session began.
    #[serde(default)]
    pub total_cost_usd: f64,
    /// Tokens of this turn, main conversation only.
    #[serde(default)]
    pub usage: Usage,
    /// Tokens per model since the session began.
    #[serde(default, rename = "modelUsage")]
    pub model_usage: std::collections::BTreeMap<String, ModelUsage>,
    /// Model turns.
    #[serde(default)]
    pub num_turns: u32,
    /// Milliseconds.
    #[serde(default)]
    pub duration_ms: f64,
    /// UUIDs of the messages this turn answered.
    #[serde(default)]
    pub user_message_uuids: Vec<String>,
    /// Set when the CLI could not start.
    #[serde(default)]
    pub startup_failure_reason: Option<String>,
}

/// Tokens of one turn.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Read without cache.
    pub input_tokens: u64,
    /// Written by the model.
    pub output_tokens: u64,
    /// Read from the cache.
    pub cache_read_input_tokens: u64,
    /// Written to the cache.
    pub cache_creation_input_tokens: u64,
}

/// Tokens of one model since the session began.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ModelUsage {
    /// Read without cache.
    pub input_tokens: u64,
    /// Written by the model.
    pub output_tokens: u64,
    /// Read from the cache.
    pub cache_read_input_tokens: u64,
    /// Written to the cache.
    pub cache_creation_input_tokens: u64,
}

/// `control_request/can_use_tool`.
#[derive(Debug, Clone)]
pub struct CanUseTool {
    /// To be repeated in the answer.
    pub request_id: String,
    /// Name of the tool.
    pub tool_name: String,
    /// Its input.
    pub input: Value,
    /// Id of the call.
    pub tool_use_id: Option<String>,
    /// Set when a subagent makes the call.
    pub agent_id: Option<String>,
}

/// `control_response`.
#[derive(Debug, Clone, Deserialize)]
pub struct ControlResponse {
    /// Id of our request.
    pub request_id: String,
    /// `success` or `error`.
    pub subtype: String,
    /// Text of an error.
    #[serde(default)]
    pub error: Option<String>,
    /// The answer proper.
    #[serde(default)]
    pub response: Option<Value>,
}

impl TurnResult {
    /// The turn did not end: the gate deferred a call, with which a resumed process goes on.
    #[must_use]
    pub fn is_deferred(&self) -> bool {
        // Of a call that was deferred before, only the second says so.
        self.terminal_reason.as_deref() == Some("tool_deferred") || self.deferred_tool_use.is_some()
    }
}

impl ControlResponse {
    /// The CLI did what was asked.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.subtype == "success"
    }

    /// Version named in the answer to `initialize`.
    #[must_use]
    pub fn claude_code_version(&self) -> Option<&str> {
        self.response.as_ref()?.get("claude_code_version")?.as_str()
    }

    /// Subagents named in the answer to `initialize`: name and description. What has another form
    /// is left out.
    pub fn agents(&self) -> impl Iterator<Item = (&str, &str)> {
        let agents = self.response.as_ref().and_then(|it| it.get("agents"));
        let agents = agents.and_then(Value::as_array).into_iter().flatten();
        agents.filter_map(|agent| {
            let description = agent.get("description").and_then(Value::as_str);
            Some((
                agent.get("name")?.as_str()?,
                description.unwrap_or_default(),
            ))
        })
    }

    /// Whether `cancel_async_message` still found its message.
    #[must_use]
    pub fn cancelled(&self) -> Option<bool> {
        self.response.as_ref()?.get("cancelled")?.as_bool()
    }
}

/// `command_lifecycle`: `queued`, `started`, `completed` or `cancelled`.
#[derive(Debug, Clone, Deserialize)]
pub struct CommandLifecycle {
    /// UUID of the user message.
    pub command_uuid: String,
    /// What became of it.
    pub state: String,
}

/// `transcript_mirror`.
#[derive(Debug, Clone, Deserialize)]
pub struct TranscriptMirror {
    /// File the CLI itself keeps them in.
    #[serde(rename = "filePath")]
    pub file_path: String,
    /// The entries, byte for byte as in that file.
    #[serde(deserialize_with = "as_in_the_file")]
    pub entries: Vec<Box<RawValue>>,
}

fn as_in_the_file<'de, D: Deserializer<'de>>(entries: D) -> Result<Vec<Box<RawValue>>, D::Error> {
    let entries = Vec::<Box<RawValue>>::deserialize(entries)?;
    entries
        .into_iter()
        .map(|entry| with_line_separators(entry).map_err(D::Error::custom))
        .collect()
}

/// The CLI writes U+2028 and U+2029 as they are into its file, and only escapes them where each of
/// its messages is a line (measured).
fn with_line_separators(entry: Box<RawValue>) -> serde_json::Result<Box<RawValue>> {
    const ESCAPED: [(&str, char); 2] = [(r"\u2028", '\u{2028}'), (r"\u2029", '\u{2029}')];
    let text = entry.get();
    if !ESCAPED.iter().any(|(escape, _)| text.contains(escape)) {
        return Ok(entry);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let escape = &rest[at..];
        let separator = ESCAPED
            .iter()
            .find_map(|(escaped, plain)| Some((escape.strip_prefix(escaped)?, *plain)));
        if let Some((after, separator)) = separator {
            plain.push(separator);
            rest = after;
        } else {
            // It is JSON: something in ASCII follows each backslash.
            let (kept, after) = escape.split_at(2);
            plain.push_str(kept);
            rest = after;
        }
    }
    plain.push_str(rest);
    RawValue::from_string(plain)
}

/// `system/background_tasks_changed`.
#[derive(Debug, Clone, Deserialize)]
pub struct BackgroundTasks {
    /// All that run.
    pub tasks: Vec<BackgroundTask>,
}

/// Something that runs beside the conversation.
#[derive(Debug, Clone, Deserialize)]
pub struct BackgroundTask {
    /// `local_agent`, `local_bash`, ..
    pub task_type: String,
}

impl BackgroundTask {
    /// It is a subagent, whose work a later process cannot take up.
    #[must_use]
    pub fn is_agent(&self) -> bool {
        self.task_type.ends_with("_agent")
    }
}

/// Why a line is not a message.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Not a JSON object with a `type`: some program wrote to the CLI's output.
    #[error("the line is not a JSON object with a type")]
    NotAMessage(#[source] serde_json::Error),
}
