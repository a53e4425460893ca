//! A record of a stream, as Lambda hands it to a function.

use serde_json::{Value, json};

use crate::template::REGION;

/// Where a mapping stands in its stream: the last record that it has behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Place {
    /// The record's sequence number; they sort as texts.
    pub(in super::super) sequence: String,
    /// The record's id.
    pub(in super::super) event_id: String,
}

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    pub(super) place: Place,
    /// Seconds since 1970 at which the item was written.
    pub(super) written_at: f64,
    /// As the function gets it.
    pub(super) event: Value,
}

impl Record {
    /// Reads what the engine gives, and puts in what only the mapping knows. `None` when it has no
    /// sequence number, which no record lacks.
    pub(super) fn read(mut event: Value, stream_arn: &str) -> Option<Self> {
        event["awsRegion"] = json!(REGION);
        event["eventSourceARN"] = json!(stream_arn);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Some(Self {
            place: Place {
                sequence: text(&event["dynamodb"]["SequenceNumber"])?,
                event_id: text(&event["eventID"])?,
            },
            written_at: event["dynamodb"]["ApproximateCreationDateTime"].as_f64()?,
            event,
        })
    }
}
