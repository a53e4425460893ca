//! Behind the work: an answer that is there within [`JSON_WITHIN`] is plain JSON; what takes longer,
//! or reports progress, is a stream of server-sent events that is never silent for long.
//!
//! Nothing of the work is tied to the stream: when it breaks, the client asks again.

use std::convert::Infallible;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, StreamBody};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::answer::{
    Body, INTERNAL_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, error_message, full,
    json_bytes_response, json_response,
};
use crate::rendered::Rendered;

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
    /// Silence after which a stream carries a comment.
    pub(crate) keep_alive: Duration,
    /// When the request has to be over.
    pub(crate) deadline: Instant,
}

/// Where an answer comes from. Dropping it cancels the call behind it.
pub(crate) enum Source {
    /// A modern request: its notifications, and then its response.
    Modern {
        work: BoxFuture<'static, Rendered>,
        heard: mpsc::Receiver<Bytes>,
    },
    /// The response of a modern request whose last notifications go first.
    Ending {
        heard: mpsc::Receiver<Bytes>,
        last: Bytes,
    },
    /// rmcp, which has not answered yet.
    Legacy(BoxFuture<'static, Served>),
    /// rmcp streams.
    Body(BoxBody<Bytes, Infallible>),
    /// Nothing comes any more.
    Over,
}

/// The next thing that a modern request has to say.
enum Said {
    Notice(Bytes),
    Response(Rendered),
}

async fn modern_says(
    work: &mut BoxFuture<'static, Rendered>,
    heard: &mut mpsc::Receiver<Bytes>,
) -> Said {
    tokio::select! {
        biased;
        Some(notice) = heard.recv() => Said::Notice(notice),
        rendered = work => Said::Response(rendered),
    }
}

impl Back {
    /// Turns what the source will give into the answer.
    pub(crate) async fn answer(self, source: Source) -> Response<Body> {
        let patience = (Instant::now() + JSON_WITHIN).min(self.deadline);
        match source {
            Source::Modern {
                mut work,
                mut heard,
            } => {
                let said = modern_says(&mut work, &mut heard);
                match tokio::time::timeout_at(patience, said).await {
                    Ok(Said::Notice(notice)) => {
                        let mut following = self.follow(Source::Modern { work, heard });
                        following.first = Some(event(&notice));
                        event_stream(following)
                    }
                    Ok(Said::Response(rendered)) if heard.is_empty() => {
                        json_bytes_response(rendered.status, rendered.message)
                    }
                    Ok(Said::Response(rendered)) => event_stream(self.follow(Source::Ending {
                        heard,
                        last: rendered.message,
                    })),
                    Err(_) => self.opened(Source::Modern { work, heard }),
                }
            }
            Source::Legacy(mut serving) => {
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
                    Err(_) => self.opened(Source::Legacy(serving)),
                }
            }
            under_way => event_stream(self.follow(under_way)),
        }
    }

    /// A stream that begins before there is anything to say: what stands in between may wait for
    /// its first bytes as for an answer.
    fn opened(self, source: Source) -> Response<Body> {
        let mut following = self.follow(source);
        following.first = Some(Bytes::from_static(KEEP_ALIVE));
        event_stream(following)
    }

    /// The one message of an answer of rmcp that is no stream: its own, or its plain text as a
    /// JSON-RPC error.
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
            back: self,
            source,
            first: None,
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

struct Following {
    back: Back,
    source: Source,
    /// This goes first.
    first: Option<Bytes>,
    /// What was sent so far ends with a whole event, so that a comment may follow.
    between_events: bool,
}

impl Following {
    /// The next bytes of the stream; `None` at its end.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            let deadline = self.back.deadline;
            let keep_alive = (Instant::now() + self.back.keep_alive).min(deadline);
            match tokio::time::timeout_at(keep_alive, self.step()).await {
                Ok(Some(bytes)) if bytes.is_empty() => {}
                Ok(Some(bytes)) => {
                    self.between_events = bytes.ends_with(b"\n\n");
                    return Some(bytes);
                }
                Ok(None) => return None,
                Err(_) if Instant::now() >= deadline => {
                    // Dropping the source cancels the call behind it.
                    self.source = Source::Over;
                    let message = error_message(
                        &self.back.id,
                        INTERNAL_ERROR,
                        "the request took longer than this deployment allows; ask again",
                    );
                    return Some(event(message.to_string().as_bytes()));
                }
                Err(_) if self.between_events => {
                    return Some(Bytes::from_static(KEEP_ALIVE));
                }
                Err(_) => {}
            }
        }
    }

    /// What the source gives next, perhaps nothing; `None` when it is over. Stopping it loses
    /// nothing: what was taken out of a source is given at once.
    async fn step(&mut self) -> Option<Bytes> {
        match &mut self.source {
            Source::Over => None,
            Source::Modern { work, heard } => match modern_says(work, heard).await {
                Said::Notice(notice) => Some(event(&notice)),
                Said::Response(rendered) => {
                    let ended = std::mem::replace(&mut self.source, Source::Over);
                    if let Source::Modern { heard, .. } = ended {
                        let last = rendered.message;
                        self.source = Source::Ending { heard, last };
                    }
                    Some(Bytes::new())
                }
            },
            Source::Ending { heard, last } => {
                // The work is over: what it sent is there, and nothing follows.
                if let Ok(notice) = heard.try_recv() {
                    return Some(event(&notice));
                }
                let last = event(last);
                self.source = Source::Over;
                Some(last)
            }
            Source::Legacy(serving) => {
                let served = serving.await;
                if is_stream(&served) {
                    self.source = Source::Body(served.into_body());
                    return Some(Bytes::new());
                }
                self.source = Source::Over;
                let status = served.status();
                // rmcp's whole answers are there already: this does not wait.
                let message = self.back.message(status, &collected(served).await);
                Some(event(message.to_string().as_bytes()))
            }
            Source::Body(body) => match body.frame().await {
                Some(Ok(frame)) => Some(frame.into_data().unwrap_or_default()),
                Some(Err(never)) => match never {},
                None => {
                    self.source = Source::Over;
                    None
                }
            },
        }
    }
}

/// One event of a stream: JSON on one line, since serde_json writes no line feeds.
fn event(message: &[u8]) -> Bytes {
    let mut event = BytesMut::with_capacity(message.len() + 8);
    event.put_slice(b"data: ");
    event.put_slice(message);
    event.put_slice(b"\n\n");
    event.freeze()
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
