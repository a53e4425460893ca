//! How long events take from a session to a client that waits for them.

use std::time::Duration;

use domain::{Event, EventBody, UnixMillis};

/// The events that come while somebody waits: from the CLI's line until they are here for the client.
/// (Who waits until the session rests has them later than that, as was asked for.) When it is dropped,
/// also because the client went away, one line tells of the slowest.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    slowest_milliseconds: Option<u64>,
}

impl Delivery {
    /// Counts an event that came while somebody waited. What is no line of the CLI does not count, nor
    /// what is kept back until a checkpoint has it.
    pub(super) fn count(&mut self, event: &Event, now: UnixMillis) {
        let is_line = matches!(
            event.body,
            EventBody::Text { .. }
                | EventBody::Thinking { .. }
                | EventBody::ToolCall { .. }
                | EventBody::ToolResult { .. }
        );
        if is_line {
            let took = now.since(event.time);
            self.slowest_milliseconds = self.slowest_milliseconds.max(Some(took));
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(slowest) = self.slowest_milliseconds {
            // A metric is made of it; milliseconds, so that no exponent is written.
            let slowest = Duration::from_millis(slowest).as_secs_f64();
            tracing::info!(shannon_event_delivery_seconds = slowest, "events came");
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::{FencingToken, Sequence};

    use super::*;

    fn event(time: u64, body: EventBody) -> Event {
        Event {
            sequence: Sequence(1),
            fence: FencingToken(1),
            turn: 1,
            time: UnixMillis(time),
            cause: None,
            body,
            whole_body_bytes: None,
        }
    }

    fn text() -> EventBody {
        EventBody::Text {
            text: "x".to_owned(),
            agent: None,
        }
    }

    #[test]
    fn the_slowest_line_counts() {
        let mut delivery = Delivery::default();
        let mut slowest = |event: Event, now| {
            delivery.count(&event, UnixMillis(now));
            delivery.slowest_milliseconds
        };
        // No line of the CLI.
        let ready = EventBody::WorkspaceReady {
            source: "empty".to_owned(),
            files: 0,
            bytes: 0,
            commit: None,
        };
        assert_eq!(slowest(event(1500, ready), 5000), None);
        // From a machine whose clock is ahead.
        assert_eq!(slowest(event(2000, text()), 1999), Some(0));
        assert_eq!(slowest(event(2000, text()), 2600), Some(600));
        let result = EventBody::ToolResult {
            tool_use_id: "t".to_owned(),
            is_error: false,
            text: String::new(),
        };
        assert_eq!(slowest(event(2500, result), 2700), Some(600));
    }
}
