//! SNS: Publish and GetTopicAttributes, over the query protocol. Facts: Amazon SNS API Reference.

use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;

use super::{
    messages::Messages,
    query::{self, field},
};
use crate::template::ACCOUNT;

/// Most bytes of a message.
const MESSAGE_BYTES: usize = 262_144;
const NAMESPACE: &str = "http://sns.amazonaws.com/doc/2010-03-31/";

/// The operation that a request of the query protocol names.
pub(super) fn operation(body: &[u8]) -> String {
    field(body, "Action").unwrap_or_default()
}

/// What a request is about, as IAM sees it.
pub(super) fn resource(body: &[u8]) -> String {
    field(body, "TopicArn").unwrap_or_else(|| "*".to_owned())
}

/// Answers one request whose sender is known.
pub(super) fn answer(messages: &Messages, operation: &str, body: &Bytes) -> Response {
    if !["Publish", "GetTopicAttributes"].contains(&operation) {
        let words = format!("the emulator does not know the action {operation:?} of SNS");
        return refuse(StatusCode::BAD_REQUEST, "InvalidAction", &words);
    }
    let Some(topic) = field(body, "TopicArn") else {
        let words = "Invalid parameter: TopicArn is missing; the emulator publishes to topics only";
        return refuse(StatusCode::BAD_REQUEST, "InvalidParameter", words);
    };
    if !messages.knows(&topic) || !topic.contains(":sns:") {
        return refuse(StatusCode::NOT_FOUND, "NotFound", "Topic does not exist");
    }
    if operation == "GetTopicAttributes" {
        return attributes(&topic);
    }
    let message = field(body, "Message").unwrap_or_default();
    if message.is_empty() {
        let words = "Invalid parameter: Empty message";
        return refuse(StatusCode::BAD_REQUEST, "InvalidParameter", words);
    }
    if message.len() > MESSAGE_BYTES {
        let words = "Invalid parameter: Message too long";
        return refuse(StatusCode::BAD_REQUEST, "InvalidParameter", words);
    }
    match messages.add(&topic, &message) {
        Some(id) => {
            let result = format!("<PublishResult><MessageId>{id}</MessageId></PublishResult>");
            query::respond(NAMESPACE, StatusCode::OK, "PublishResponse", &result)
        }
        None => refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            "the message could not be kept",
        ),
    }
}

/// Of a topic of the template, to which nobody has subscribed.
fn attributes(topic: &str) -> Response {
    let entries: String = [
        ("TopicArn", topic),
        ("Owner", ACCOUNT),
        ("SubscriptionsConfirmed", "0"),
        ("SubscriptionsPending", "0"),
        ("SubscriptionsDeleted", "0"),
    ]
    .iter()
    .map(|(key, value)| format!("<entry><key>{key}</key><value>{value}</value></entry>"))
    .collect();
    let result = format!(
        "<GetTopicAttributesResult><Attributes>{entries}</Attributes></GetTopicAttributesResult>"
    );
    query::respond(
        NAMESPACE,
        StatusCode::OK,
        "GetTopicAttributesResponse",
        &result,
    )
}

/// What SNS answers when it is told to fail.
pub(super) fn fault(code: &str, message: &str) -> Response {
    let status = match code {
        "InternalError" => StatusCode::INTERNAL_SERVER_ERROR,
        "Throttled" => StatusCode::TOO_MANY_REQUESTS,
        "NotFound" => StatusCode::NOT_FOUND,
        "AuthorizationError" => StatusCode::FORBIDDEN,
        _ => StatusCode::BAD_REQUEST,
    };
    refuse(status, code, message)
}

fn refuse(status: StatusCode, code: &str, message: &str) -> Response {
    query::refuse(NAMESPACE, status, code, message)
}
