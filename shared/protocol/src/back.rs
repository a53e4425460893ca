//! Behind rmcp: an answer that is there within [`JSON_WITHIN`] is plain JSON; what takes longer, or
//! reports progress, is a stream of server-sent events that is never silent for long.
//!
//! Nothing of the work is tied to the stream: when it breaks, the client asks again.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, StreamBody};
use serde_json::Value;
use tokio::time::Instant;

use crate::answer::{
    Body, INTERNAL_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, error_message, full, json_response,
};

/// An edge or a client may give up on an answer that has not begun by then.
pub(crate) const JSON_WITHIN: Duration = Duration::from_secs(10);

/// A comment, which clients pass over.
const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// What rmcp gives.
pub(crate) type Served = Response<BoxBody<Bytes, Infallible>>;

/// What of the request the answer depends on.
pub(crate) struct Back {
    /// JSON-RPC id.
    pub(crate) id: Value,
    /// JSON-RPC method.
    pub(crate) method: String,
    /// The request is of 2026-07-28 or later: results name the server.
    pub(crate) server_info: Option<Value>,
    /// Silence after which a stream carries a comment.
    pub(crate) keep_alive: Duration,
    /// When the request has to be over.
    pub(crate) deadline: Instant,
}

impl Back {
    /// Turns what rmcp will give into the answer.
    pub(crate) async fn answer(self, mut serving: BoxFuture<'static, Served>) -> Response<Body> {
        let patience = (Instant::now() + JSON_WITHIN).min(self.deadline);
        match tokio::time::timeout_at(patience, &mut serving).await {
            Ok(served) if is_stream(&served) => {
                event_stream(self.follow(Source::Body(served.into_body())))
            }
            Ok(served) => {
                let status = served.status();
                let bytes = collected(served).await;
                if bytes.is_empty() && status.is_success() {
                    let mut response = Response::new(full(bytes));
                    *response.status_mut() = status;
                    return response;
                }
                json_response(status, &self.message(status, &bytes))
            }
            Err(_) => event_stream(self.follow(Source::Pending(serving))),
        }
    }

    /// The one message of an answer that is no stream: rmcp's own, with what it leaves out, or its
    /// plain text as a JSON-RPC error.
    fn message(&self, status: StatusCode, bytes: &[u8]) -> Value {
        let Ok(mut message) = serde_json::from_slice::<Value>(bytes) else {
            let code = if status.is_server_error() {
                INTERNAL_ERROR
            } else {
                INVALID_REQUEST
            };
            let text = String::from_utf8_lossy(bytes);
            return error_message(&self.id, code, text.trim());
        };
        if let (Some(server_info), Some(result)) = (
            &self.server_info,
            message.get_mut("result").and_then(Value::as_object_mut),
        ) {
            let meta = result
                .entry("_meta")
                .or_insert_with(|| Value::Object(serde_json::Map::new()));
            if let Some(meta) = meta.as_object_mut() {
                meta.entry("io.modelcontextprotocol/serverInfo")
                    .or_insert_with(|| server_info.clone());
            }
        }
        if let Some(error) = message.get_mut("error")
            && error["code"] == METHOD_NOT_FOUND
            && error["message"] == self.method
        {
            error["message"] = format!("there is no method {}", self.method).into();
        }
        message
    }

    fn follow(self, source: Source) -> Following {
        Following {
            // What stands in between may wait for the first bytes as for an answer.
            opening: matches!(source, Source::Pending(_)),
            back: self,
            source,
            between_events: true,
        }
    }
}

fn is_stream(response: &Served) -> bool {
    response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

async fn collected(response: Served) -> Bytes {
    match response.into_body().collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(never) => match never {},
    }
}

enum Source {
    /// rmcp has not answered yet.
    Pending(BoxFuture<'static, Served>),
    /// It streams.
    Body(BoxBody<Bytes, Infallible>),
    /// Nothing comes any more.
    Over,
}

struct Following {
    back: Back,
    source: Source,
    /// A comment goes first.
    opening: bool,
    /// What was sent so far ends with a whole event, so that a comment may follow.
    between_events: bool,
}

impl Following {
    /// The next bytes of the stream; `None` at its end.
    async fn next(&mut self) -> Option<Bytes> {
        if std::mem::take(&mut self.opening) {
            return Some(Bytes::from_static(KEEP_ALIVE));
        }
        loop {
            let deadline = self.back.deadline;
            let keep_alive = (Instant::now() + self.back.keep_alive).min(deadline);
            let step = match &mut self.source {
                Source::Over => return None,
                Source::Pending(serving) => {
                    match tokio::time::timeout_at(keep_alive, serving).await {
                        Ok(served) if is_stream(&served) => {
                            self.source = Source::Body(served.into_body());
                            continue;
                        }
                        Ok(served) => {
                            self.source = Source::Over;
                            let status = served.status();
                            let message = self.back.message(status, &collected(served).await);
                            return Some(event(&message));
                        }
                        Err(_) => None,
                    }
                }
                Source::Body(body) => {
                    match tokio::time::timeout_at(keep_alive, body.frame()).await {
                        Ok(Some(Ok(frame))) => Some(frame.into_data().unwrap_or_default()),
                        Ok(Some(Err(never))) => match never {},
                        Ok(None) => {
                            self.source = Source::Over;
                            return None;
                        }
                        Err(_) => None,
                    }
                }
            };
            match step {
                Some(bytes) if bytes.is_empty() => {}
                Some(bytes) => {
                    self.between_events = bytes.ends_with(b"\n\n");
                    return Some(bytes);
                }
                None if Instant::now() >= deadline => {
                    // Dropping the source cancels the call behind it.
                    self.source = Source::Over;
                    let message = error_message(
                        &self.back.id,
                        INTERNAL_ERROR,
                        "the request took longer than this deployment allows; ask again",
                    );
                    return Some(event(&message));
                }
                None if self.between_events => {
                    return Some(Bytes::from_static(KEEP_ALIVE));
                }
                None => {}
            }
        }
    }
}

fn event(message: &Value) -> Bytes {
    // JSON on one line: serde_json writes no line feeds.
    Bytes::from(format!("data: {message}\n\n"))
}

fn event_stream(following: Following) -> Response<Body> {
    let frames = stream::unfold(following, |mut following| async {
        let bytes = following.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(bytes)), following))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

#[cfg(test)]
mod tests;
