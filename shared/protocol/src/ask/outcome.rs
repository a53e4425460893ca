//! What can come of a request that may ask, and how it is kept for a repeat.

use rmcp::model::{
    CallToolResponse, CallToolResult, CreateTaskResult, GetPromptResponse, GetPromptResult,
    InputRequiredResult, ReadResourceResponse, ReadResourceResult,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The result of a method that may ask.
pub trait Outcome: Sized {
    /// The result that asks.
    fn input_required(result: InputRequiredResult) -> Self;
    /// As JSON to keep; `None` for what a repeat should try anew.
    fn record(&self) -> Option<String>;
    /// Reads what [`Outcome::record`] gave; `None` when it is something else.
    fn read(record: &str) -> Option<Self>;
}

const COMPLETE: &str = "complete";
const INPUT_REQUIRED: &str = "input_required";
const TASK: &str = "task";

fn record(kind: &str, result: &impl serde::Serialize) -> Option<String> {
    let result = serde_json::to_value(result).ok()?;
    Some(json!({kind: result}).to_string())
}

fn read<T: DeserializeOwned>(record: &Value, kind: &str) -> Option<T> {
    T::deserialize(record.get(kind)?).ok()
}

impl Outcome for CallToolResponse {
    fn input_required(result: InputRequiredResult) -> Self {
        Self::InputRequired(result)
    }

    fn record(&self) -> Option<String> {
        match self {
            // A refusal may have been the store's bad moment.
            Self::Complete(result) if result.is_error == Some(true) => None,
            Self::Complete(result) => record(COMPLETE, result),
            Self::InputRequired(result) => record(INPUT_REQUIRED, result),
            Self::Task(result) => record(TASK, result),
            _ => None,
        }
    }

    fn read(text: &str) -> Option<Self> {
        let record: Value = serde_json::from_str(text).ok()?;
        read::<CallToolResult>(&record, COMPLETE)
            .map(Self::Complete)
            .or_else(|| {
                read::<InputRequiredResult>(&record, INPUT_REQUIRED).map(Self::InputRequired)
            })
            .or_else(|| read::<CreateTaskResult>(&record, TASK).map(Self::Task))
    }
}

macro_rules! two_outcomes {
    ($response:ty, $result:ty) => {
        impl Outcome for $response {
            fn input_required(result: InputRequiredResult) -> Self {
                Self::InputRequired(result)
            }

            fn record(&self) -> Option<String> {
                match self {
                    Self::Complete(result) => record(COMPLETE, result),
                    Self::InputRequired(result) => record(INPUT_REQUIRED, result),
                    _ => None,
                }
            }

            fn read(text: &str) -> Option<Self> {
                let record: Value = serde_json::from_str(text).ok()?;
                read::<$result>(&record, COMPLETE)
                    .map(Self::Complete)
                    .or_else(|| {
                        read::<InputRequiredResult>(&record, INPUT_REQUIRED)
                            .map(Self::InputRequired)
                    })
            }
        }
    };
}

two_outcomes!(GetPromptResponse, GetPromptResult);
two_outcomes!(ReadResourceResponse, ReadResourceResult);
