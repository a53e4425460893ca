//! A notice as its receivers read it: type, time and data, as Standard Webhooks proposes
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).

use domain::{UnixMillis, notice::Notice};
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

#[derive(Serialize)]
struct Payload<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    id: &'a str,
    session_id: &'a str,
    title: &'a str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    question_id: Option<&'a str>,
}

/// The JSON of a notice.
pub(crate) fn of(notice: &Notice) -> String {
    let payload = Payload {
        kind: notice.kind.as_str(),
        timestamp: rfc3339(notice.time),
        data: Data {
            id: &notice.id,
            session_id: notice.key.session.as_str(),
            title: &notice.title,
            state: notice.state.as_str(),
            question_id: notice.question.as_ref().map(domain::QuestionId::as_str),
        },
    };
    // Texts only: it cannot fail.
    serde_json::to_string(&payload).unwrap_or_default()
}

/// `2026-11-20T12:00:00.123Z`; a time that no calendar has is written as milliseconds.
fn rfc3339(time: UnixMillis) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(time.0) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| time.0.to_string())
}
