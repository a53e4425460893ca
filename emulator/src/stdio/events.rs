//! The messages of an event stream, as its pieces arrive.

use serde_json::Value;

/// An event stream that has been read so far.
#[derive(Default)]
pub(super) struct Events {
    /// The line that is not whole yet.
    line: Vec<u8>,
    /// Data of the event that is not whole yet.
    data: Vec<u8>,
    has_data: bool,
    /// The last byte was a carriage return: a line feed after it belongs to it.
    after_return: bool,
}

impl Events {
    /// Takes a piece; gives the messages that it completes. What is no JSON is left out.
    pub(super) fn take(&mut self, piece: &[u8]) -> Vec<Value> {
        let mut messages = Vec::new();
        for byte in piece {
            let feed = *byte == b'\n' && std::mem::take(&mut self.after_return);
            self.after_return = *byte == b'\r';
            if feed {
                continue;
            }
            if matches!(byte, b'\n' | b'\r') {
                let line = std::mem::take(&mut self.line);
                messages.extend(self.line(&line));
            } else {
                self.line.push(*byte);
            }
        }
        messages
    }

    /// Bytes that wait for the rest of their event.
    pub(super) fn waiting(&self) -> usize {
        self.line.len() + self.data.len()
    }

    fn line(&mut self, line: &[u8]) -> Option<Value> {
        if !line.is_empty() {
            if let Some(data) = line.strip_prefix(b"data:") {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data
                    .extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
            }
            return None;
        }
        let data = std::mem::take(&mut self.data);
        if !std::mem::take(&mut self.has_data) || data.is_empty() {
            return None;
        }
        let message = serde_json::from_slice(&data);
        if let Err(error) = &message {
            tracing::warn!(%error, "an event of the server is no JSON");
        }
        message.ok().filter(Value::is_object)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const STREAM: &str = ": comment\n\nid: 1\ndata:\n\nevent: message\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\ndata: nonsense\n\ndata:{\"é\":2}\n\ndata: {\"cut\":";

    #[test]
    fn any_cut_gives_the_same_messages() {
        let expected = [json!({"a": 1}), json!({"é": 2})];
        assert_eq!(Events::default().take(STREAM.as_bytes()), expected);
        for size in 1..8 {
            let mut events = Events::default();
            let messages: Vec<Value> = STREAM
                .as_bytes()
                .chunks(size)
                .flat_map(|piece| events.take(piece))
                .collect();
            assert_eq!(messages, expected, "{size}");
        }
    }
}
