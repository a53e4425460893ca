//! What comes after an invocation: which records are done, which are tried again and how, which are
//! given up. Decides only; waits for nothing and calls nothing.

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::Value;

use super::record::Record;
use crate::{invoker::InvocationError, template::StreamMapping};

/// Records that are handed over together.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Batch {
    pub(super) records: Vec<Record>,
    /// Invocations that failed on exactly these, splitting not counted.
    pub(super) failures: u32,
}

impl Batch {
    pub(super) fn new(records: Vec<Record>) -> Self {
        Self {
            records,
            failures: 0,
        }
    }
}

/// What the function said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// All records are done.
    Done,
    /// Those before this position are done.
    FailedFrom(usize),
    /// None is done.
    Failed(String),
}

/// What to do with a batch.
#[derive(Debug, PartialEq)]
pub(super) struct Next {
    /// So many of its records, from the first, need no more.
    pub(super) settled: usize,
    /// What is handed over now, in this order, before anything newer.
    pub(super) again: VecDeque<Batch>,
    /// Of the settled ones, those that were given up, and the condition in AWS's words.
    pub(super) given_up: Option<&'static str>,
}

/// Reads the answer of a function that reports failures, or does not.
///
/// Lambda takes an empty or missing list for success, and everything that it cannot read for a failure
/// of the whole batch.
pub(super) fn read_answer(
    batch: &Batch,
    answer: Result<Bytes, InvocationError>,
    reports_failures: bool,
) -> Answer {
    let bytes = match answer {
        Ok(bytes) => bytes,
        Err(error) => return Answer::Failed(error.to_string()),
    };
    if !reports_failures {
        return Answer::Done;
    }
    let value: Value = if bytes.is_empty() {
        Value::Null
    } else {
        match serde_json::from_slice(&bytes) {
            Ok(value) => value,
            Err(_) => return Answer::Failed("the answer is no JSON".to_owned()),
        }
    };
    let failures = match &value {
        Value::Null => return Answer::Done,
        Value::Object(fields) if fields.is_empty() => return Answer::Done,
        value => match &value["batchItemFailures"] {
            Value::Null if value.get("batchItemFailures").is_some() => return Answer::Done,
            Value::Array(failures) if failures.is_empty() => return Answer::Done,
            Value::Array(failures) => failures,
            _ => return Answer::Failed("the answer has no batchItemFailures".to_owned()),
        },
    };
    let mut first = batch.records.len();
    for failure in failures {
        let named = failure["itemIdentifier"].as_str();
        let position = batch
            .records
            .iter()
            .position(|record| Some(record.place.sequence.as_str()) == named);
        match position {
            Some(position) => first = first.min(position),
            None => {
                let words = format!("the answer names {named:?}, which is not in the batch");
                return Answer::Failed(words);
            }
        }
    }
    Answer::FailedFrom(first)
}

/// What follows from the answer. `now` is in seconds since 1970.
pub(super) fn next(batch: Batch, answer: &Answer, mapping: &StreamMapping, now: f64) -> Next {
    let from = match answer {
        Answer::Done => batch.records.len(),
        Answer::FailedFrom(from) => *from,
        Answer::Failed(_) => 0,
    };
    let Batch {
        mut records,
        failures,
    } = batch;
    let rest = records.split_off(from);
    if rest.is_empty() {
        return settled(from, None, VecDeque::new());
    }
    // Something was done: what is left is a new batch.
    if from > 0 {
        let again = Batch {
            records: rest,
            failures: 1,
        };
        return settled(from, None, VecDeque::from([again]));
    }
    #[expect(clippy::cast_precision_loss, reason = "a week in seconds")]
    let too_old = |record: &Record| {
        mapping
            .record_age_seconds
            .is_some_and(|age| now - record.written_at > age as f64)
    };
    let old = rest.iter().take_while(|record| too_old(record)).count();
    if old > 0 {
        let mut rest = rest;
        let young = rest.split_off(old);
        let again = if young.is_empty() {
            VecDeque::new()
        } else {
            VecDeque::from([Batch::new(young)])
        };
        return settled(old, Some("RecordAgeExceeded"), again);
    }
    if mapping.bisect && rest.len() > 1 {
        let mut first = rest;
        let second = first.split_off(first.len() / 2);
        let halves = [first, second].map(|records| Batch { records, failures });
        return settled(0, None, VecDeque::from(halves));
    }
    let failures = failures + 1;
    if mapping.retries.is_some_and(|most| failures > most) {
        return settled(rest.len(), Some("RetryAttemptsExhausted"), VecDeque::new());
    }
    let again = Batch {
        records: rest,
        failures,
    };
    settled(0, None, VecDeque::from([again]))
}

const fn settled(settled: usize, given_up: Option<&'static str>, again: VecDeque<Batch>) -> Next {
    Next {
        settled,
        again,
        given_up,
    }
}

#[cfg(test)]
mod tests;
