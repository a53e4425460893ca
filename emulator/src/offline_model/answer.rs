//! A message of the model: as one JSON document, or as the events of a stream.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::script::ToolCall;

/// A block of the answer.
pub(super) enum Block {
    Text(Pieces),
    Thinking(String),
    Tool { id: String, call: ToolCall },
}

/// How a text is cut into deltas.
pub(super) enum Pieces {
    /// Deltas of 64 bytes or less.
    Text(String),
    /// That many `x`, in deltas of 8 KiB, made while they are sent.
    Fill(u64),
    /// `word0 word1 ...`, one delta each, with a pause before it.
    Words { count: u32, pause: Duration },
}

/// How the stream ends after its first delta of text; without one it runs to its end.
#[derive(Clone)]
pub(super) enum Trouble {
    None,
    Cut,
    Silence(Duration),
    Error(String),
}

/// One answer.
pub(super) struct Answer {
    pub(super) model: String,
    pub(super) blocks: Vec<Block>,
    pub(super) stop_reason: &'static str,
    pub(super) trouble: Trouble,
    /// Estimated tokens of the request.
    pub(super) input_tokens: u64,
}

/// What the stream does next.
#[derive(Debug)]
pub(super) enum Frame {
    Event(&'static str, Value),
    Pause(Duration),
    Cut,
}

const SMALL_DELTA_BYTES: usize = 64;
const FILL_DELTA_BYTES: u64 = 8192;
const JSON_DELTA_BYTES: usize = 4096;
/// More than this would make the client compact its conversation by our estimate.
const MOST_OUTPUT_TOKENS: u64 = 8000;

impl Answer {
    /// The whole message; `Words` are there without their pauses.
    pub(super) fn document(&self) -> Value {
        let content: Vec<Value> = self
            .blocks
            .iter()
            .map(|block| match block {
                Block::Text(pieces) => json!({"type": "text", "text": pieces.whole()}),
                Block::Thinking(thinking) => {
                    json!({"type": "thinking", "thinking": thinking, "signature": SIGNATURE})
                }
                Block::Tool { id, call } => {
                    json!({"type": "tool_use", "id": id, "name": call.name, "input": call.input})
                }
            })
            .collect();
        json!({
            "id": new_id("msg"), "type": "message", "role": "assistant", "model": self.model,
            "content": content, "stop_reason": self.stop_reason, "stop_sequence": null,
            "usage": self.usage(self.output_tokens()),
        })
    }

    /// The events of the stream, made one by one while they are sent.
    pub(super) fn frames(self) -> impl Iterator<Item = Frame> + Send {
        let start = json!({"message": {
            "id": new_id("msg"), "type": "message", "role": "assistant", "model": self.model,
            "content": [], "stop_reason": null, "stop_sequence": null, "usage": self.usage(1),
        }});
        let end = [
            event(
                "message_delta",
                json!({
                    "delta": {"stop_reason": self.stop_reason, "stop_sequence": null},
                    "usage": self.usage(self.output_tokens()),
                }),
            ),
            event("message_stop", json!({})),
        ];
        let trouble = self.trouble;
        let blocks = self
            .blocks
            .into_iter()
            .enumerate()
            .flat_map(|(index, block)| block.frames(index));
        let whole = [event("message_start", start), event("ping", json!({}))]
            .into_iter()
            .chain(blocks)
            .chain(end);
        until_trouble(whole, trouble)
    }

    fn usage(&self, output_tokens: u64) -> Value {
        json!({
            "input_tokens": self.input_tokens, "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0, "output_tokens": output_tokens, "service_tier": "standard",
        })
    }

    fn output_tokens(&self) -> u64 {
        let bytes: u64 = self
            .blocks
            .iter()
            .map(|block| match block {
                Block::Text(pieces) => pieces.bytes(),
                Block::Thinking(text) => text.len() as u64,
                Block::Tool { call, .. } => {
                    Value::Object(call.input.clone()).to_string().len() as u64
                }
            })
            .sum();
        (bytes / 4).clamp(1, MOST_OUTPUT_TOKENS)
    }
}

/// Cuts the sequence after its first delta when there is trouble.
fn until_trouble(
    frames: impl Iterator<Item = Frame> + Send,
    trouble: Trouble,
) -> impl Iterator<Item = Frame> + Send {
    let mut tail: std::vec::IntoIter<Frame> = Vec::new().into_iter();
    let mut frames = Some(frames);
    std::iter::from_fn(move || {
        let Some(whole) = frames.as_mut() else {
            return tail.next();
        };
        let frame = whole.next()?;
        if matches!(frame, Frame::Event("content_block_delta", _)) {
            let ending = match &trouble {
                Trouble::None => None,
                // the pause lets the delta reach the wire before the connection is cut
                Trouble::Cut => Some(vec![Frame::Pause(Duration::from_millis(50)), Frame::Cut]),
                Trouble::Silence(silence) => Some(vec![Frame::Pause(*silence), Frame::Cut]),
                Trouble::Error(kind) => Some(vec![event(
                    "error",
                    json!({"error": {"type": kind, "message": "the script of the offline model asked for this error"}}),
                )]),
            };
            if let Some(ending) = ending {
                frames = None;
                tail = ending.into_iter();
            }
        }
        Some(frame)
    })
}

/// Not empty, as the CLI wants one to keep the block; it signs nothing.
const SIGNATURE: &str = "b2ZmbGluZQ==";

impl Block {
    fn frames(self, index: usize) -> Box<dyn Iterator<Item = Frame> + Send> {
        let delta = move |delta: Value| {
            event(
                "content_block_delta",
                json!({"index": index, "delta": delta}),
            )
        };
        let (opening, deltas): (Value, Box<dyn Iterator<Item = Frame> + Send>) = match self {
            Self::Text(pieces) => (
                json!({"type": "text", "text": ""}),
                Box::new(pieces.deltas().flat_map(move |(pause, text)| {
                    let pause = (!pause.is_zero()).then_some(Frame::Pause(pause));
                    pause
                        .into_iter()
                        .chain([delta(json!({"type": "text_delta", "text": text}))])
                })),
            ),
            Self::Thinking(thinking) => (
                json!({"type": "thinking", "thinking": "", "signature": ""}),
                Box::new(
                    [
                        delta(json!({"type": "thinking_delta", "thinking": thinking})),
                        delta(json!({"type": "signature_delta", "signature": SIGNATURE})),
                    ]
                    .into_iter(),
                ),
            ),
            Self::Tool { id, call } => {
                let input = Value::Object(call.input).to_string();
                (
                    json!({"type": "tool_use", "id": id, "name": call.name, "input": Map::new()}),
                    Box::new(cut(&input, JSON_DELTA_BYTES).into_iter().map(move |part| {
                        delta(json!({"type": "input_json_delta", "partial_json": part}))
                    })),
                )
            }
        };
        Box::new(
            [event(
                "content_block_start",
                json!({"index": index, "content_block": opening}),
            )]
            .into_iter()
            .chain(deltas)
            .chain([event("content_block_stop", json!({"index": index}))]),
        )
    }
}

impl Pieces {
    fn whole(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Fill(bytes) => "x".repeat(usize::try_from(*bytes).unwrap_or(usize::MAX)),
            Self::Words { count, .. } => {
                (0..*count).map(|number| format!("word{number} ")).collect()
            }
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Fill(bytes) => *bytes,
            Self::Words { count, .. } => u64::from(*count) * 6,
        }
    }

    fn deltas(self) -> Box<dyn Iterator<Item = (Duration, String)> + Send> {
        match self {
            Self::Text(text) => Box::new(
                cut(&text, SMALL_DELTA_BYTES)
                    .into_iter()
                    .map(|part| (Duration::ZERO, part)),
            ),
            Self::Fill(bytes) => {
                let mut left = bytes;
                Box::new(std::iter::from_fn(move || {
                    let size = left.min(FILL_DELTA_BYTES);
                    left -= size;
                    (size > 0).then(|| {
                        (
                            Duration::ZERO,
                            "x".repeat(usize::try_from(size).unwrap_or(0)),
                        )
                    })
                }))
            }
            Self::Words { count, pause } => {
                Box::new((0..count).map(move |number| (pause, format!("word{number} "))))
            }
        }
    }
}

/// Parts of at most `bytes` bytes, never within a character.
fn cut(text: &str, bytes: usize) -> Vec<String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut end = bytes.min(rest.len());
        while !rest.is_char_boundary(end) {
            end += 1;
        }
        let (part, after) = rest.split_at(end);
        parts.push(part.to_owned());
        rest = after;
    }
    parts
}

/// A new id in the form the API uses; ours say that they are offline.
pub(super) fn new_id(prefix: &str) -> String {
    format!("{prefix}_offline_{}", uuid::Uuid::new_v4().simple())
}

fn event(name: &'static str, mut data: Value) -> Frame {
    if let Value::Object(fields) = &mut data {
        fields.insert("type".to_owned(), Value::String(name.to_owned()));
    }
    Frame::Event(name, data)
}
