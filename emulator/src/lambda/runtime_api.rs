//! The Runtime API, as `lambda_runtime` speaks it. Each instance has a path prefix of its own, its
//! id, which nobody else knows.
//!
//! A poll for work is answered with work or not at all: runtimes take any other answer for a fault.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    Function, Lambda, MAX_PAYLOAD_BYTES,
    outcome::{FunctionError, Outcome, Piece, ResponseStream, StreamError},
};

/// Pieces of a stream that may wait for a slow reader before the function has to wait too.
const STREAM_PIECES: usize = 16;

pub(super) fn router(lambda: Lambda) -> Router {
    let at = |path: &str| format!("/{{instance}}/2018-06-01/runtime/{path}");
    Router::new()
        .route(&at("invocation/next"), get(next))
        .route(&at("invocation/{request}/response"), post(response))
        .route(&at("invocation/{request}/error"), post(error))
        .route(&at("init/error"), post(init_error))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(lambda)
}

fn accepted() -> Response {
    (StatusCode::ACCEPTED, Json(json!({"status": "OK"}))).into_response()
}

fn refused(status: StatusCode, error_type: &str, message: &str) -> Response {
    let body = json!({"errorType": error_type, "errorMessage": message});
    (status, Json(body)).into_response()
}

fn unknown_instance() -> Response {
    refused(StatusCode::FORBIDDEN, "Forbidden", "unknown instance")
}

fn unknown_request() -> Response {
    refused(
        StatusCode::BAD_REQUEST,
        "InvalidRequestID",
        "Invalid request ID",
    )
}

impl Lambda {
    fn of_instance(&self, id: &str) -> Option<Arc<Function>> {
        self.lock_instances().get(id).cloned()
    }
}

async fn next(State(lambda): State<Lambda>, Path(id): Path<String>) -> Response {
    let Some(function) = lambda.of_instance(&id) else {
        return unknown_instance();
    };
    let waiting = function.pool().next(&id);
    let Some((work, over)) = waiting else {
        // It is being killed. Any answer would make it complain first.
        return std::future::pending().await;
    };
    lambda.watch_idle(&function, &id, over);
    lambda.dispatch(&function);
    let Ok(invocation) = work.await else {
        return std::future::pending().await;
    };
    let deadline = SystemTime::now() + function.timeout();
    let deadline = deadline
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis();
    let trace = trace_id();
    Response::builder()
        .header("content-type", "application/json")
        .header("lambda-runtime-aws-request-id", invocation.request_id)
        .header("lambda-runtime-deadline-ms", deadline.to_string())
        .header(
            "lambda-runtime-invoked-function-arn",
            function.resource.called_arn(),
        )
        .header("lambda-runtime-trace-id", trace)
        .body(Body::from(invocation.payload))
        .unwrap_or_else(|error| {
            tracing::error!(%error, "an invocation cannot be handed out");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        })
}

/// An X-Ray root: eight hex digits of seconds and 96 random bits, not sampled.
pub(crate) fn trace_id() -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("Root=1-{:08x}-{};Sampled=0", seconds, &random[..24])
}

async fn response(
    State(lambda): State<Lambda>,
    Path((id, request_id)): Path<(String, String)>,
    request: Request,
) -> Response {
    let Some(function) = lambda.of_instance(&id) else {
        return unknown_instance();
    };
    let mode = request
        .headers()
        .get("lambda-runtime-function-response-mode");
    match mode.map(|mode| mode.as_bytes()) {
        Some(b"streaming") => stream(&function, &id, &request_id, request.into_body()).await,
        None | Some(b"buffered") => buffer(&function, &id, &request_id, request.into_body()).await,
        Some(_) => refused(
            StatusCode::BAD_REQUEST,
            "InvalidFunctionResponseMode",
            "Invalid function response mode",
        ),
    }
}

async fn buffer(function: &Function, id: &str, request_id: &str, body: Body) -> Response {
    if !function.pool().is_unanswered(id, request_id) {
        return unknown_request();
    }
    // The invocation stays unanswered while the body arrives: if the instance dies meanwhile, its
    // exit is the answer.
    let (outcome, reply) = match Limited::new(body, MAX_PAYLOAD_BYTES).collect().await {
        Ok(body) => (Outcome::Buffered(body.to_bytes()), accepted()),
        Err(error) if error.is::<LengthLimitError>() => {
            let message = format!(
                "Response payload size exceeded maximum allowed payload size ({MAX_PAYLOAD_BYTES} bytes)."
            );
            (
                Outcome::Failed(FunctionError::new(
                    "Function.ResponseSizeTooLarge",
                    &message,
                )),
                refused(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "RequestEntityTooLarge",
                    &message,
                ),
            )
        }
        Err(error) => {
            tracing::debug!(%error, "a response was cut off");
            return StatusCode::BAD_REQUEST.into_response();
        }
    };
    answer(function, id, request_id, outcome, reply)
}

/// Answers and marks the invocation as done, unless somebody (its timeout) was faster.
fn answer(
    function: &Function,
    id: &str,
    request_id: &str,
    outcome: Outcome,
    reply: Response,
) -> Response {
    let mut pool = function.pool();
    let Some((answer, _)) = pool.take_answer(id, request_id) else {
        return unknown_request();
    };
    pool.finished(id, request_id);
    drop(pool);
    // An error means that the caller has gone; the function does not care.
    drop(answer.send(outcome));
    reply
}

async fn stream(function: &Function, id: &str, request_id: &str, mut body: Body) -> Response {
    let Some((answer, reason)) = function.pool().take_answer(id, request_id) else {
        return unknown_request();
    };
    let (pieces, receiver) = mpsc::channel(STREAM_PIECES);
    drop(answer.send(Outcome::Streaming(ResponseStream::new(receiver, reason))));
    // Once the caller has gone the rest is read into nothing: the function is not to notice.
    let mut listening = true;
    let mut last = Piece::End;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => match frame.into_data() {
                Ok(data) if listening => listening = pieces.send(Piece::Data(data)).await.is_ok(),
                Ok(_) => {}
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    if let Some(error) = error_type(&trailers) {
                        last = Piece::Failed(StreamError::Function(error));
                    }
                }
            },
            Err(error) => {
                tracing::debug!(%error, "a stream was cut off");
                last = Piece::Failed(StreamError::Cut);
                break;
            }
        }
    }
    // Finished first: the caller may come back with the next request at once. And the function is
    // done whether or not a slow reader has taken everything.
    function.pool().finished(id, request_id);
    tokio::spawn(async move { drop(pieces.send(last).await) });
    accepted()
}

fn error_type(headers: &HeaderMap) -> Option<String> {
    headers
        .get("lambda-runtime-function-error-type")
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned)
}

async fn function_error(headers: &HeaderMap, body: Body) -> Result<FunctionError, Response> {
    let body = match Limited::new(body, MAX_PAYLOAD_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            let message = error.to_string();
            return Err(refused(
                StatusCode::BAD_REQUEST,
                "InvalidErrorShape",
                &message,
            ));
        }
    };
    let said = serde_json::from_slice::<Value>(&body).ok();
    let said = said.and_then(|body| body["errorType"].as_str().map(str::to_owned));
    Ok(FunctionError {
        error_type: error_type(headers).or(said).unwrap_or("Unhandled".into()),
        body: if body.is_empty() {
            Bytes::from_static(b"{}")
        } else {
            body
        },
    })
}

async fn error(
    State(lambda): State<Lambda>,
    Path((id, request_id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(function) = lambda.of_instance(&id) else {
        return unknown_instance();
    };
    match function_error(&headers, body).await {
        Ok(error) => answer(
            &function,
            &id,
            &request_id,
            Outcome::Failed(error),
            accepted(),
        ),
        Err(response) => response,
    }
}

async fn init_error(
    State(lambda): State<Lambda>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(function) = lambda.of_instance(&id) else {
        return unknown_instance();
    };
    match function_error(&headers, body).await {
        Ok(error) => {
            function.pool().init_failed(&id, error);
            accepted()
        }
        Err(response) => response,
    }
}
