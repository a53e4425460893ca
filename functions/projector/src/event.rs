//! The records of a stream as Lambda hands them over, and what we read of them.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Records, in the order of the stream.
    Records(Vec<Record>),
    /// Something else.
    Unknown,
}

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its place in the stream.
    pub sequence: String,
    /// Keys and images.
    pub change: Value,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "Records", default)]
    records: Option<Vec<Wire>>,
}

#[derive(Deserialize)]
struct Wire {
    dynamodb: Value,
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let value = Value::deserialize(deserializer)?;
        let Ok(Envelope {
            records: Some(records),
        }) = Envelope::deserialize(value)
        else {
            return Ok(Self::Unknown);
        };
        let read = |Wire { dynamodb: change }: Wire| {
            let sequence = change["SequenceNumber"].as_str().map(ToOwned::to_owned);
            let sequence = sequence.ok_or_else(|| D::Error::missing_field("SequenceNumber"))?;
            Ok(Record { sequence, change })
        };
        records
            .into_iter()
            .map(read)
            .collect::<Result<_, _>>()
            .map(Self::Records)
    }
}
