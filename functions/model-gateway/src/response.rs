//! An answer of the Messages API on its way back: piece by piece as it comes, its usage recorded
//! before the end of it is passed on, so that the platform cannot stop us in between.

use std::convert::Infallible;

use boot::http::Body;
use bytes::Bytes;
use domain::SessionKey;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc;

use crate::records::Records;
use crate::refusal::Refusal;
use crate::upstream::Served;
use crate::usage::{Reader, Usage};

/// Pieces between the API and a slow reader.
const PIECES: usize = 16;

/// Turns an answer's head into ours and lets its body follow.
pub(crate) async fn answer<R: Records>(
    served: Served,
    records: R,
    key: SessionKey,
) -> Response<Body> {
    let (parts, body) = served.response.into_parts();
    if parts.status == StatusCode::UNAUTHORIZED {
        // A metric is made of it.
        tracing::error!(
            shannon_model_failures_total = 1,
            "the model API refused the key of this deployment"
        );
        return Refusal::KeyRefused.response();
    }
    let content_type = parts.headers.get(CONTENT_TYPE);
    let content_type = content_type
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let is_stream = content_type.starts_with("text/event-stream");
    let reader = if parts.status.is_success() {
        Reader::for_content_type(content_type)
    } else {
        Reader::Nothing
    };
    let request_id = parts.headers.get("request-id");
    let request_id = request_id
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);

    let (sender, receiver) = mpsc::channel(PIECES);
    tokio::spawn(follow(Following {
        body,
        deadline: served.deadline,
        is_stream,
        reader,
        request_id,
        records,
        key,
        sender,
    }));
    let frames = stream::unfold(receiver, |mut receiver| async {
        let bytes = receiver.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(bytes)), receiver))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    *response.status_mut() = parts.status;
    for (name, value) in &parts.headers {
        if is_returned(name) {
            response.headers_mut().append(name, value.clone());
        }
    }
    if is_stream {
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    }
    response.extensions_mut().insert(served.waited);
    response
}

/// What the CLI reads of the API's headers; lengths and encodings are those of another connection.
fn is_returned(name: &HeaderName) -> bool {
    [CONTENT_TYPE, RETRY_AFTER].contains(name)
        || name.as_str() == "request-id"
        || name.as_str() == "x-should-retry"
        || name.as_str().starts_with("anthropic-")
}

struct Following<R> {
    body: hyper::body::Incoming,
    deadline: tokio::time::Instant,
    is_stream: bool,
    reader: Reader,
    request_id: Option<String>,
    records: R,
    key: SessionKey,
    sender: mpsc::Sender<Bytes>,
}

/// Passes pieces on until the answer ends, breaks off, or nobody wants it any more; then records
/// what it used. The channel is closed last.
async fn follow<R: Records>(mut this: Following<R>) {
    let mut usage = Usage::default();
    loop {
        let next = tokio::select! {
            next = tokio::time::timeout_at(this.deadline, this.body.frame()) => next,
            // The runner went away: the API is told by closing the connection to it.
            () = this.sender.closed() => break,
        };
        let broken = match next {
            Ok(Some(Ok(frame))) => {
                let bytes = frame.into_data().unwrap_or_default();
                this.reader.read(&bytes, &mut usage);
                if bytes.is_empty() || this.sender.send(bytes).await.is_ok() {
                    continue;
                }
                break;
            }
            Ok(None) => break,
            Ok(Some(Err(error))) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the model API broke off"
                );
                Refusal::Unreachable
            }
            Err(_) => Refusal::TooSlow,
        };
        // A document that is cut is no JSON, which says enough; a stream could look complete.
        if this.is_stream {
            let _ = this.sender.send(Bytes::from(broken.event())).await;
        }
        break;
    }
    this.reader.end(&mut usage);
    let Some(id) = usage.message_id.as_ref().or(this.request_id.as_ref()) else {
        return;
    };
    if usage.tokens == domain::event::TokenUsage::default() {
        return;
    }
    let model = usage.model.as_deref().unwrap_or("unknown");
    let (hits, misses) = usage.prompt_cache();
    // Metrics are made of it.
    tracing::info!(
        session = %this.key.session,
        model,
        input_tokens = usage.tokens.input_tokens,
        output_tokens = usage.tokens.output_tokens,
        shannon_cache_hits_total = hits,
        shannon_cache_misses_total = misses,
        "the model answered"
    );
    let now = this.records.now();
    let recorded = this.records.record(&this.key, id, model, usage.tokens, now);
    if let Err(unavailable) = recorded.await {
        tracing::error!(
            error = &unavailable as &dyn std::error::Error,
            session = %this.key.session,
            input_tokens = usage.tokens.input_tokens,
            output_tokens = usage.tokens.output_tokens,
            "usage was not recorded"
        );
    }
}
