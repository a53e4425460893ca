//! The language in which a prompt tells the offline model what to answer.
//!
//! `@@step;;step;;step` anywhere in the prompt; everything after the marker belongs to the script.
//! Step N answers the N-th request after that prompt; after the last step the answer is `done`.
//!
//! | step | answer |
//! | --- | --- |
//! | `TEXT:hello` | text |
//! | `TOOL:Bash:{"command":"ls"}` | one tool call |
//! | `TOOLS:[{"name":"Bash","input":{}}]` | several tool calls in one message |
//! | `THINK:why\|answer` | a thinking block, then text |
//! | `BIG:1000000` | text of that many bytes |
//! | `SLOW:20:250` | 20 words, 250 ms apart |
//! | `SLEEP:5:TEXT:late` | wait 5 s before the headers, then the step that follows |
//! | `ERR:529` | that HTTP error, each time |
//! | `ERRN:529:2:TEXT:ok` | that error twice, then the step that follows |
//! | `ERRH:429:retry-after=1:2:TEXT:ok` | the same with a response header |
//! | `DROP` | half a stream, then the connection is cut |
//! | `DROPN:1:TEXT:ok` | the same once, then the step that follows |
//! | `SSEERR:overloaded_error` | half a stream, then an error event |
//! | `MAXTOK:text` | text that ends with `max_tokens` |
//! | `REFUSE` | ends with `refusal` |
//! | `STALL:20` | starts, is silent for 20 s with the connection open, then cuts it |
//!
//! A `;;` separates steps only where the name of a step follows, and never inside the JSON of a
//! tool call, so shell commands may contain it.

use std::time::Duration;

use serde_json::{Map, Value};
use thiserror::Error;

mod reading;

pub use reading::{find, parse};

/// Most bytes that `BIG` makes.
pub const MAX_BIG_BYTES: u64 = 256 * 1024 * 1024;
/// Longest wait of `SLEEP` and `STALL`, and of all words of `SLOW` together.
pub const MAX_WAIT: Duration = Duration::from_secs(3600);
/// Most nested steps (`SLEEP:1:SLEEP:1:...`).
const MAX_DEPTH: usize = 16;

const NAMES: [&str; 16] = [
    "TEXT", "TOOL", "TOOLS", "THINK", "BIG", "SLOW", "SLEEP", "ERR", "ERRN", "ERRH", "DROP",
    "DROPN", "SSEERR", "MAXTOK", "REFUSE", "STALL",
];

/// One tool call of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    /// Name of the tool, not checked: a script may call one that does not exist.
    pub name: String,
    /// Input, always a JSON object.
    pub input: Map<String, Value>,
}

/// What one request is answered with.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A message of the model.
    Reply(Reply),
    /// Silence before the response headers, then the rest.
    Sleep {
        /// How long.
        pause: Duration,
        /// The step after it.
        then: Box<Step>,
    },
    /// An HTTP error each time.
    Error {
        /// HTTP status, 400 to 599.
        status: u16,
    },
    /// An HTTP error for the first attempts.
    ErrorTimes {
        /// HTTP status, 400 to 599.
        status: u16,
        /// A response header of the error.
        header: Option<(String, String)>,
        /// How many attempts fail.
        times: u32,
        /// The step after them.
        then: Box<Step>,
    },
    /// For the first attempts half a stream, then the connection is cut.
    DropTimes {
        /// How many attempts are cut.
        times: u32,
        /// The step after them.
        then: Box<Step>,
    },
}

/// A message of the model. What is said of streams has no effect on an answer that is not streamed:
/// that one is whole.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Text that ends the turn.
    Text(String),
    /// Tool calls; `announce` puts a sentence of text before them.
    Tools {
        /// Whether a text block comes first.
        announce: bool,
        /// At least one.
        calls: Vec<ToolCall>,
    },
    /// A thinking block, then text.
    Think {
        /// What the thinking block says.
        thinking: String,
        /// The text after it.
        text: String,
    },
    /// Text of that many bytes.
    Big {
        /// At most [`MAX_BIG_BYTES`].
        bytes: u64,
    },
    /// Words that come one by one.
    Slow {
        /// How many words.
        words: u32,
        /// Pause before each.
        pause: Duration,
    },
    /// Half a stream, then the connection is cut.
    Drop,
    /// Half a stream, then an error event of this type.
    StreamError {
        /// For example `overloaded_error`.
        kind: String,
    },
    /// Text that ends with `max_tokens`.
    MaxTokens(String),
    /// Ends with `refusal`.
    Refuse,
    /// Starts, then is silent for that long, then the connection is cut.
    Stall {
        /// How long.
        silence: Duration,
    },
}

/// A script that cannot be read. The message is for the person who wrote it.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ScriptError {
    /// The word is not the name of a step.
    #[error("`{0}` is not a step; steps are {list}", list = NAMES.join(", "))]
    UnknownStep(String),
    /// A step lacks an argument or has a wrong one.
    #[error("step {step}: {problem}; right is for example `{example}`")]
    Argument {
        /// Name of the step.
        step: &'static str,
        /// What is wrong.
        problem: String,
        /// A right one.
        example: &'static str,
    },
    /// Steps within steps without end.
    #[error("more than {MAX_DEPTH} steps nested in one another")]
    TooDeep,
}
