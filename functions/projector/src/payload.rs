//! A notice as its receivers read it: type, time and data, as Standard Webhooks proposes
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).

use domain::notice::Notice;
use serde::Serialize;

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
        timestamp: protocol::rfc3339(notice.time),
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
