//! Reading from an answer of the Messages API which tokens it used, while it passes by.

use domain::event::TokenUsage;
use serde_json::Value;

/// Longer lines carry no usage; they are passed over.
const LONGEST_LINE_BYTES: usize = 1024 * 1024;
/// Longest answer that is no stream and is still read for its usage.
const LONGEST_JSON_BYTES: usize = 8 * 1024 * 1024;

/// What an answer said about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) message_id: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) tokens: TokenUsage,
}

impl Usage {
    /// Hits and misses of the prompt cache, of which a request is one or none: what was read of it was
    /// found there, and where only something was written nothing was found. A request may ask for no
    /// cache, or be too short for one.
    pub(crate) fn prompt_cache(&self) -> (u64, u64) {
        let found = self.tokens.cache_read_input_tokens > 0;
        let missed = !found && self.tokens.cache_creation_input_tokens > 0;
        (found.into(), missed.into())
    }
}

/// Reads along.
pub(crate) enum Reader {
    /// Server-sent events.
    Stream { line: Vec<u8>, skipping: bool },
    /// One JSON document.
    Json(Vec<u8>),
    /// Neither, or an error: nothing to count.
    Nothing,
}

impl Reader {
    pub(crate) fn for_content_type(content_type: &str) -> Self {
        if content_type.starts_with("text/event-stream") {
            Self::Stream {
                line: Vec::new(),
                skipping: false,
            }
        } else if content_type.starts_with("application/json") {
            Self::Json(Vec::new())
        } else {
            Self::Nothing
        }
    }

    /// Takes the next bytes, however they are cut.
    pub(crate) fn read(&mut self, bytes: &[u8], usage: &mut Usage) {
        match self {
            Self::Nothing => {}
            Self::Json(document) => {
                if document.len() + bytes.len() <= LONGEST_JSON_BYTES {
                    document.extend_from_slice(bytes);
                } else {
                    *self = Self::Nothing;
                }
            }
            Self::Stream { line, skipping } => {
                for part in bytes.split_inclusive(|byte| *byte == b'\n') {
                    let ends = part.ends_with(b"\n");
                    if !*skipping && line.len() + part.len() <= LONGEST_LINE_BYTES {
                        line.extend_from_slice(part);
                    } else {
                        *skipping = true;
                    }
                    if ends {
                        if !*skipping {
                            take_line(line, usage);
                        }
                        line.clear();
                        *skipping = false;
                    }
                }
            }
        }
    }

    /// The answer is complete.
    pub(crate) fn end(&mut self, usage: &mut Usage) {
        match self {
            Self::Json(document) => {
                if let Ok(message) = serde_json::from_slice(document) {
                    take_message(&message, usage);
                }
            }
            Self::Stream { line, skipping } if !*skipping => take_line(line, usage),
            Self::Stream { .. } | Self::Nothing => {}
        }
    }
}

/// Only two kinds of events carry usage; the others are not even parsed.
fn take_line(line: &[u8], usage: &mut Usage) {
    let Some(data) = line.strip_prefix(b"data:") else {
        return;
    };
    let names = |name: &[u8]| data.windows(name.len()).any(|window| window == name);
    if !names(b"message_start") && !names(b"message_delta") {
        return;
    }
    let Ok(event) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    match event["type"].as_str() {
        Some("message_start") => take_message(&event["message"], usage),
        Some("message_delta") => take_tokens(&event["usage"], &mut usage.tokens),
        _ => {}
    }
}

fn take_message(message: &Value, usage: &mut Usage) {
    let text = |name: &str| message[name].as_str().map(str::to_owned);
    usage.message_id = text("id").or(usage.message_id.take());
    usage.model = text("model").or(usage.model.take());
    take_tokens(&message["usage"], &mut usage.tokens);
}

/// Counts are of the whole message so far: a later one replaces an earlier one.
fn take_tokens(counts: &Value, tokens: &mut TokenUsage) {
    for (name, count) in [
        ("input_tokens", &mut tokens.input_tokens),
        ("output_tokens", &mut tokens.output_tokens),
        (
            "cache_creation_input_tokens",
            &mut tokens.cache_creation_input_tokens,
        ),
        (
            "cache_read_input_tokens",
            &mut tokens.cache_read_input_tokens,
        ),
    ] {
        if let Some(newest) = counts[name].as_u64() {
            *count = newest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"m\",\"usage\":{\"input_tokens\":10,\"cache_read_input_tokens\":3,\"cache_creation_input_tokens\":null,\"output_tokens\":1}}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"message_delta usage\"}}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":25}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

    fn read(content_type: &str, pieces: &[&[u8]]) -> Usage {
        let (mut reader, mut usage) = (Reader::for_content_type(content_type), Usage::default());
        for piece in pieces {
            reader.read(piece, &mut usage);
        }
        reader.end(&mut usage);
        usage
    }

    fn expected(output_tokens: u64) -> Usage {
        Usage {
            message_id: Some("msg_1".to_owned()),
            model: Some("m".to_owned()),
            tokens: TokenUsage {
                input_tokens: 10,
                output_tokens,
                cache_creation_input_tokens: 0,
                cache_read_input_tokens: 3,
            },
        }
    }

    #[test]
    fn a_stream_is_read_however_it_is_cut() {
        let bytes = STREAM.as_bytes();
        let kind = "text/event-stream; charset=utf-8";
        assert_eq!(read(kind, &[bytes]), expected(25));
        for size in [1, 7, 64] {
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            assert_eq!(read(kind, &pieces), expected(25), "{size}");
        }
        // A stream that broke off counts what had been said.
        assert_eq!(read(kind, &[&bytes[..bytes.len() / 2]]), expected(1));
    }

    #[test]
    fn a_request_hits_the_prompt_cache_or_misses_it_or_uses_none() {
        let of = |cache_read_input_tokens, cache_creation_input_tokens| {
            let tokens = TokenUsage {
                cache_read_input_tokens,
                cache_creation_input_tokens,
                ..TokenUsage::default()
            };
            let usage = Usage {
                tokens,
                ..Usage::default()
            };
            usage.prompt_cache()
        };
        assert_eq!(of(1, 0), (1, 0));
        // Found as far as it went, and written on.
        assert_eq!(of(2000, 500), (1, 0));
        assert_eq!(of(0, 500), (0, 1));
        assert_eq!(of(0, 0), (0, 0));
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over() {
        let long = vec![b'x'; LONGEST_LINE_BYTES];
        let pieces: [&[u8]; 4] = [b"data: ", &long, b"message_start\n", STREAM.as_bytes()];
        assert_eq!(read("text/event-stream", &pieces), expected(25));
    }

    #[test]
    fn a_document_is_read_whole() {
        let message = br#"{"id":"msg_1","model":"m","usage":{"input_tokens":10,"output_tokens":7,"cache_read_input_tokens":3}}"#;
        let pieces: Vec<&[u8]> = message.chunks(5).collect();
        assert_eq!(read("application/json", &pieces), expected(7));
        for hostile in [&b"[1]"[..], b"null", b"{\"usage\":7}", b"\xff", b""] {
            assert_eq!(read("application/json", &[hostile]), Usage::default());
        }
        assert_eq!(read("text/html", &[message]), Usage::default());
    }
}
