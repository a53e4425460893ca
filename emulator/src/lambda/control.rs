//! The control API: Invoke and InvokeWithResponseStream, for boto3, the AWS CLI and
//! `cargo lambda invoke`. It authenticates nobody; who serves it does.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    InvokeError, Lambda, MAX_EVENT_BYTES, MAX_PAYLOAD_BYTES,
    outcome::{Outcome, ResponseStream, StreamError},
};

pub(super) fn router(lambda: Lambda) -> Router {
    Router::new()
        .route("/2015-03-31/functions/{function}/invocations", post(invoke))
        .route(
            "/2021-11-15/functions/{function}/response-streaming-invocations",
            post(invoke_with_response_stream),
        )
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(lambda)
}

/// What names a version or an alias beside the function.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Qualified {
    qualifier: Option<String>,
}

impl Qualified {
    fn of(self, name: String) -> String {
        match self.qualifier {
            Some(qualifier) => format!("{name}:{qualifier}"),
            None => name,
        }
    }
}

fn failure(status: StatusCode, error: &str, message: &str) -> Response {
    let headers = [("x-amzn-errortype", error.to_owned())];
    let body = json!({"Type": "User", "Message": message, "message": message});
    (status, headers, Json(body)).into_response()
}

impl IntoResponse for InvokeError {
    fn into_response(self) -> Response {
        let message = self.to_string();
        let (status, error) = match self {
            Self::UnknownFunction(_) => (StatusCode::NOT_FOUND, "ResourceNotFoundException"),
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLargeException"),
            Self::Throttled => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException"),
            Self::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "ServiceException"),
        };
        failure(status, error, &message)
    }
}

async fn payload(body: Body, limit: usize) -> Result<Bytes, Response> {
    let bytes = match Limited::new(body, limit).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            let error = error.to_string();
            let message = format!("Request must be smaller than {limit} bytes ({error})");
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            return Err(failure(status, "RequestTooLargeException", &message));
        }
    };
    if bytes.is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    match serde_json::from_slice::<&serde_json::value::RawValue>(&bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(failure(
            StatusCode::BAD_REQUEST,
            "InvalidRequestContentException",
            &format!("Could not parse request body into json: {error}"),
        )),
    }
}

async fn invoke(
    State(lambda): State<Lambda>,
    Path(name): Path<String>,
    Query(qualified): Query<Qualified>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let name = qualified.of(name);
    let kind = headers
        .get("x-amz-invocation-type")
        .map(|kind| kind.as_bytes());
    let limit = if kind == Some(b"Event") {
        MAX_EVENT_BYTES
    } else {
        MAX_PAYLOAD_BYTES
    };
    let version = match lambda.find(&name) {
        Ok(function) => function.resource.version(),
        Err(error) => return error.into_response(),
    };
    let payload = match payload(body, limit).await {
        Ok(payload) => payload,
        Err(response) => return response,
    };
    match kind {
        None | Some(b"RequestResponse") => match lambda.invoke(&name, payload).await {
            Ok(outcome) => invoked(outcome, version).await,
            Err(error) => error.into_response(),
        },
        Some(b"Event") => {
            tokio::spawn(async move {
                if let Err(error) = lambda.deliver_event(&name, payload).await {
                    tracing::error!(function = name, %error, "an event was not delivered");
                }
            });
            StatusCode::ACCEPTED.into_response()
        }
        Some(b"DryRun") => StatusCode::NO_CONTENT.into_response(),
        Some(_) => failure(
            StatusCode::BAD_REQUEST,
            "InvalidParameterValueException",
            "the invocation type has to be RequestResponse, Event or DryRun",
        ),
    }
}

async fn invoked(outcome: Outcome, version: &'static str) -> Response {
    let version = ("x-amz-executed-version", version);
    let failed = |body: Bytes| {
        let error = ("x-amz-function-error", "Unhandled");
        ([version, error], body).into_response()
    };
    match outcome {
        Outcome::Buffered(body) => ([version], body).into_response(),
        Outcome::Failed(error) => failed(error.body),
        Outcome::Streaming(stream) => match stream.collect().await {
            Ok(body) => ([version], body).into_response(),
            Err(error) => {
                let (code, details) = error_of(&error);
                let body = json!({"errorType": code, "errorMessage": details});
                failed(Bytes::from(body.to_string()))
            }
        },
    }
}

fn error_of(error: &StreamError) -> (String, String) {
    let code = match error {
        StreamError::Function(code) => code.clone(),
        StreamError::Cut => "Runtime.TruncatedResponse".into(),
        StreamError::TimedOut => "Sandbox.Timedout".into(),
    };
    (code, error.to_string())
}

async fn invoke_with_response_stream(
    State(lambda): State<Lambda>,
    Path(name): Path<String>,
    Query(qualified): Query<Qualified>,
    body: Body,
) -> Response {
    let name = qualified.of(name);
    let version = match lambda.find(&name) {
        Ok(function) => function.resource.version(),
        Err(error) => return error.into_response(),
    };
    let payload = match payload(body, MAX_PAYLOAD_BYTES).await {
        Ok(payload) => payload,
        Err(response) => return response,
    };
    let outcome = match lambda.invoke(&name, payload).await {
        Ok(outcome) => outcome,
        Err(error) => return error.into_response(),
    };
    let frames = stream::unfold(Frames::from(outcome), |mut frames| async move {
        Some((frames.next().await?, frames))
    });
    let headers = [
        ("content-type", "application/vnd.amazon.eventstream"),
        ("x-amz-executed-version", version),
    ];
    (headers, Body::from_stream(frames)).into_response()
}

/// What is left to be sent of an event stream.
enum Frames {
    Streaming(ResponseStream),
    Chunk(Bytes),
    Complete(Value),
    Over,
}

impl From<Outcome> for Frames {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Buffered(body) => Self::Chunk(body),
            Outcome::Streaming(stream) => Self::Streaming(stream),
            Outcome::Failed(error) => Self::Complete(json!({
                "ErrorCode": error.error_type,
                "ErrorDetails": String::from_utf8_lossy(&error.body),
            })),
        }
    }
}

impl Frames {
    async fn next(&mut self) -> Option<Result<Bytes, std::io::Error>> {
        let chunk = match self {
            Self::Streaming(stream) => match stream.next().await {
                Some(Ok(chunk)) => Some(chunk),
                Some(Err(error)) => {
                    let (code, details) = error_of(&error);
                    *self = Self::Complete(json!({"ErrorCode": code, "ErrorDetails": details}));
                    None
                }
                None => {
                    *self = Self::Complete(json!({}));
                    None
                }
            },
            Self::Chunk(chunk) => {
                let chunk = std::mem::take(chunk);
                *self = Self::Complete(json!({}));
                Some(chunk)
            }
            Self::Complete(_) | Self::Over => None,
        };
        match (chunk, &*self) {
            (Some(chunk), _) => Some(frame("PayloadChunk", "application/octet-stream", chunk)),
            (None, Self::Complete(end)) => {
                let end = Bytes::from(end.to_string());
                *self = Self::Over;
                Some(frame("InvokeComplete", "application/json", end))
            }
            (None, _) => None,
        }
    }
}

fn frame(
    event: &'static str,
    content_type: &'static str,
    payload: Bytes,
) -> Result<Bytes, std::io::Error> {
    let header = |name: &'static str, value: &'static str| {
        Header::new(name, HeaderValue::String(value.into()))
    };
    let message = Message::new(payload)
        .add_header(header(":message-type", "event"))
        .add_header(header(":event-type", event))
        .add_header(header(":content-type", content_type));
    let mut bytes = Vec::new();
    write_message_to(&message, &mut bytes).map_err(std::io::Error::other)?;
    Ok(bytes.into())
}
