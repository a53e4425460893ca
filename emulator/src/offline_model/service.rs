//! The HTTP side of the offline model: `POST /v1/messages`, `POST /v1/messages/count_tokens`,
//! `GET /v1/models`. Errors have Anthropic's shape.

use std::{io, sync::Arc};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    OfflineReason,
    answer::{Answer, Block, Frame, Pieces, Trouble, new_id},
    attempts::{AttemptKey, Attempts},
    conversation::{self, Due, Request},
    script::{self, Reply, Step},
};

/// Largest request body, the limit of the real API.
const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;
/// Ceiling of the estimate, so that no client compacts its conversation by it.
const MOST_INPUT_TOKENS: u64 = 50_000;
const MODEL: &str = "claude-offline";

pub(super) struct Service {
    key_sha256: [u8; 32],
    reason: OfflineReason,
    attempts: Attempts,
}

impl Service {
    pub(super) fn new(key: String, reason: OfflineReason) -> Self {
        Self {
            key_sha256: Sha256::digest(key).into(),
            reason,
            attempts: Attempts::default(),
        }
    }
}

pub(super) fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/v1/messages", post(messages))
        .route("/v1/messages/count_tokens", post(count_tokens))
        .route("/v1/models", get(models))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(service.clone(), with_key))
        .with_state(service)
}

/// Refuses what does not carry the key. Hashes are compared, so the time tells nothing of the key.
async fn with_key(
    State(service): State<Arc<Service>>,
    request: axum::extract::Request,
    next: Next,
) -> Response {
    let given = request
        .headers()
        .get("x-api-key")
        .map(HeaderValue::as_bytes);
    match given {
        Some(key) if <[u8; 32]>::from(Sha256::digest(key)) == service.key_sha256 => {
            next.run(request).await
        }
        Some(_) => error(StatusCode::UNAUTHORIZED, "invalid x-api-key"),
        None => error(StatusCode::UNAUTHORIZED, "x-api-key header is required"),
    }
}

async fn unknown(method: Method, uri: Uri) -> Response {
    error(
        StatusCode::NOT_FOUND,
        &format!("the offline model has no {method} {}", uri.path()),
    )
}

async fn models() -> Response {
    json_response(
        StatusCode::OK,
        &json!({
            "data": [{
                "type": "model", "id": MODEL, "display_name": "Offline model of the emulator",
                "created_at": "2026-01-01T00:00:00Z",
            }],
            "has_more": false, "first_id": MODEL, "last_id": MODEL,
        }),
    )
}

async fn count_tokens(body: Result<Bytes, BytesRejection>) -> Response {
    match accepted(body, true) {
        Ok((_, input_tokens)) => {
            json_response(StatusCode::OK, &json!({"input_tokens": input_tokens}))
        }
        Err(refusal) => *refusal,
    }
}

async fn messages(
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let (request, input_tokens) = match accepted(body, false) {
        Ok(accepted) => accepted,
        Err(refusal) => return *refusal,
    };
    let (step, key) = match conversation::due(&request.messages) {
        Due::Plain { prompt } => (
            Step::Reply(Reply::Text(plain_answer(service.reason, &prompt))),
            None,
        ),
        Due::Step {
            script,
            step: number,
        } => {
            let steps = match script::parse(&script) {
                Ok(steps) => steps,
                Err(problem) => {
                    return error(
                        StatusCode::BAD_REQUEST,
                        &format!("the script in the prompt cannot be read: {problem}"),
                    );
                }
            };
            let step = steps
                .into_iter()
                .nth(number)
                .unwrap_or_else(|| Step::Reply(Reply::Text("done".to_owned())));
            let header = headers
                .get("x-claude-code-session-id")
                .and_then(|value| value.to_str().ok());
            let key = AttemptKey {
                session: format!("{} {}", header.unwrap_or_default(), request.user),
                script,
                step: number,
                depth: 0,
            };
            (step, Some(key))
        }
    };
    perform(&service, step, key, request, input_tokens).await
}

/// Does the waiting and failing steps until one answers.
async fn perform(
    service: &Service,
    mut step: Step,
    mut key: Option<AttemptKey>,
    request: Request,
    input_tokens: u64,
) -> Response {
    let mut attempt = || {
        key.as_mut().map_or(1, |key| {
            key.depth += 1;
            service.attempts.next(key)
        })
    };
    let answer = loop {
        match step {
            Step::Sleep { pause, then } => {
                tokio::time::sleep(pause).await;
                step = *then;
            }
            Step::Error { status } => return scripted_error(status, None),
            Step::ErrorTimes {
                status,
                header,
                times,
                then,
            } => {
                if attempt() <= times {
                    return scripted_error(status, header);
                }
                step = *then;
            }
            Step::DropTimes { times, then } => {
                step = if attempt() <= times {
                    Step::Reply(Reply::Drop)
                } else {
                    *then
                };
            }
            Step::Reply(reply) => break answer(reply, &request, input_tokens),
        }
    };
    if request.stream {
        stream(answer)
    } else {
        json_response(StatusCode::OK, &answer.document())
    }
}

fn answer(reply: Reply, request: &Request, input_tokens: u64) -> Answer {
    let text = |text: String| Block::Text(Pieces::Text(text));
    let mut stop_reason = "end_turn";
    let mut trouble = Trouble::None;
    let blocks = match reply {
        Reply::Text(answer) => vec![text(answer)],
        Reply::Tools { announce, calls } => {
            stop_reason = "tool_use";
            let sentence = (announce && !calls.is_empty())
                .then(|| text(format!("I will use {}.", calls[0].name)));
            let calls = calls.into_iter().map(|call| Block::Tool {
                id: new_id("toolu"),
                call,
            });
            sentence.into_iter().chain(calls).collect()
        }
        Reply::Think {
            thinking,
            text: answer,
        } => vec![Block::Thinking(thinking), text(answer)],
        Reply::Big { bytes } => vec![Block::Text(Pieces::Fill(bytes))],
        Reply::Slow { words, pause } => vec![Block::Text(Pieces::Words {
            count: words,
            pause,
        })],
        Reply::MaxTokens(answer) => {
            stop_reason = "max_tokens";
            vec![text(answer)]
        }
        Reply::Refuse => {
            stop_reason = "refusal";
            vec![text("no".to_owned())]
        }
        Reply::Drop => {
            trouble = Trouble::Cut;
            vec![text("partial text that is cut".to_owned())]
        }
        Reply::Stall { silence } => {
            trouble = Trouble::Silence(silence);
            vec![text("started and then silent".to_owned())]
        }
        Reply::StreamError { kind } => {
            trouble = Trouble::Error(kind);
            vec![text("partial".to_owned())]
        }
    };
    Answer {
        model: request.model.clone(),
        blocks,
        stop_reason,
        trouble,
        input_tokens,
    }
}

fn plain_answer(reason: OfflineReason, prompt: &str) -> String {
    let why = match reason {
        OfflineReason::NoKey => "no ANTHROPIC_API_KEY was set when it started",
        OfflineReason::Asked => "it was started with --offline",
    };
    let prompt: String = prompt.chars().take(200).collect();
    format!(
        "This is the offline model of the Shannon emulator: {why}, so no real model reads this.\n\n\
         You said: {prompt}\n\n\
         Set ANTHROPIC_API_KEY and start the emulator again to get real answers, or put a script into \
         the prompt, for example: \
         @@TOOL:Write:{{\"file_path\":\"/workspace/hello.txt\",\"content\":\"hello\"}};;TEXT:done"
    )
}

/// The checked request and its estimated tokens (four bytes each), or the refusal.
fn accepted(
    body: Result<Bytes, BytesRejection>,
    counting_only: bool,
) -> Result<(Request, u64), Box<Response>> {
    let body = body.map_err(|rejection| {
        let status = rejection.status();
        Box::new(if status == StatusCode::PAYLOAD_TOO_LARGE {
            error(status, "Request exceeds the maximum size of 32 MiB")
        } else {
            error(StatusCode::BAD_REQUEST, &rejection.body_text())
        })
    })?;
    let request = conversation::read(&body, counting_only)
        .map_err(|problem| Box::new(error(StatusCode::BAD_REQUEST, &problem)))?;
    let input_tokens = (body.len() as u64 / 4).clamp(1, MOST_INPUT_TOKENS);
    Ok((request, input_tokens))
}

fn scripted_error(status: u16, header: Option<(String, String)>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = error(
        status,
        "the script of the offline model asked for this error",
    );
    if let Some((name, value)) = header
        && let (Ok(name), Ok(value)) = (name.parse::<header::HeaderName>(), value.parse())
    {
        response.headers_mut().insert(name, value);
    }
    response
}

fn error(status: StatusCode, message: &str) -> Response {
    let kind = match status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        400..500 => "invalid_request_error",
        _ => "api_error",
    };
    json_response(
        status,
        &json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": new_id("req")}),
    )
}

fn json_response(status: StatusCode, body: &Value) -> Response {
    let headers = [
        (header::CONTENT_TYPE.as_str(), "application/json".to_owned()),
        ("request-id", new_id("req")),
    ];
    (status, headers, body.to_string()).into_response()
}

fn stream(answer: Answer) -> Response {
    let frames = answer.frames().map(|frame| match frame {
        Frame::Event(name, data) => {
            Sent::Bytes(Bytes::from(format!("event: {name}\ndata: {data}\n\n")))
        }
        Frame::Pause(pause) => Sent::Pause(pause),
        Frame::Cut => Sent::Cut,
    });
    let headers = [
        (
            header::CONTENT_TYPE.as_str(),
            "text/event-stream; charset=utf-8".to_owned(),
        ),
        (header::CACHE_CONTROL.as_str(), "no-cache".to_owned()),
        ("request-id", new_id("req")),
    ];
    (headers, body_of(frames)).into_response()
}

enum Sent {
    Bytes(Bytes),
    Pause(std::time::Duration),
    Cut,
}

fn body_of(frames: impl Iterator<Item = Sent> + Send + 'static) -> Body {
    let parts = futures_util::stream::iter(frames).filter_map(|sent| async move {
        match sent {
            Sent::Bytes(bytes) => Some(Ok(bytes)),
            Sent::Pause(pause) => {
                tokio::time::sleep(pause).await;
                None
            }
            // an error of the body makes the server close the connection in the middle of it
            Sent::Cut => Some(Err(io::Error::other(
                "the script asked to cut the connection",
            ))),
        }
    });
    Body::from_stream(parts)
}
