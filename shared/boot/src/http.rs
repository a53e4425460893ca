//! A request as handlers get it, whichever way it came, and what surrounds every handler: the log
//! line, the warning for a slow request, the answer when the handler panics.

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use bytes::Bytes;
use domain::{OwnerId, Principal};
use futures_util::FutureExt;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use lambda_http::http::header::CONTENT_TYPE;
use lambda_http::http::{HeaderValue, Request, Response, StatusCode};
use serde_json::{Value, json};
use tracing::Instrument;

/// The body of an answer: it may stream, and it cannot fail. Errors inside a stream are the
/// stream's own events, because the Lambda runtime would print an error into the body.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Largest body that is read at all: what fits a Lambda event
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
pub(crate) const LARGEST_BODY_BYTES: usize = 6 * 1024 * 1024;

/// One request.
#[derive(Debug)]
pub struct Incoming {
    /// Method, path without the stage, headers and the whole body.
    pub request: Request<Bytes>,
    /// Its name in logs.
    pub request_id: String,
    /// Who calls, when an authorizer (or the token, on a port) said so.
    pub principal: Option<Principal>,
}

/// A body that is there already.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

/// A JSON answer.
#[must_use]
pub fn json_response(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(full(value.to_string()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Reads the owner and scopes that our authorizer put into the request context: `owner` and the
/// space-separated `scopes`. Anything else is no principal.
#[must_use]
pub fn principal_from_context(owner: Option<&str>, scopes: Option<&str>) -> Option<Principal> {
    Some(Principal {
        owner: OwnerId::parse(owner?).ok()?,
        scopes: scopes?.split_whitespace().map(str::to_owned).collect(),
    })
}

/// Runs a handler with everything around it.
///
/// Time that the handler spent waiting for something to happen does not make a request slow: it
/// says so by putting a [`std::time::Duration`] among the extensions of its answer. `mcp_method`,
/// `mcp_name`, `principal`, `trace_id` and `parent_id` are fields of the span around the handler,
/// for it to record.
pub(crate) async fn surround<F>(
    slow: Duration,
    method: String,
    path: String,
    request_id: String,
    handler: F,
) -> Response<Body>
where
    F: Future<Output = Response<Body>>,
{
    let span = tracing::info_span!(
        "request",
        request_id,
        http_method = method,
        path,
        mcp_method = tracing::field::Empty,
        mcp_name = tracing::field::Empty,
        principal = tracing::field::Empty,
        trace_id = tracing::field::Empty,
        parent_id = tracing::field::Empty,
    );
    async {
        let started = Instant::now();
        let mut response = AssertUnwindSafe(handler).catch_unwind().await.unwrap_or_else(|panic| {
            tracing::error!(panic = panic_text(&*panic), "the handler panicked");
            json_response(
                StatusCode::INTERNAL_SERVER_ERROR,
                &json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32603, "message": "internal error; the log has more under this request id"}}),
            )
        });
        let elapsed = started.elapsed();
        let waited = response.extensions_mut().remove::<Duration>().unwrap_or_default();
        let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            status = u64::from(response.status().as_u16()),
            duration_ms = milliseconds(elapsed),
            waited_ms = milliseconds(waited),
            "request"
        );
        let worked = elapsed.saturating_sub(waited);
        if worked > slow {
            tracing::warn!(
                worked_ms = milliseconds(worked),
                slow_ms = milliseconds(slow),
                "slow request"
            );
        }
        response
    }
    .instrument(span)
    .await
}

pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_needs_owner_and_scopes() {
        let owner = OwnerId::of("i", "s");
        let principal = principal_from_context(Some(owner.as_str()), Some("a b")).expect("whole");
        assert_eq!(principal.scopes, ["a", "b"]);
        assert_eq!(
            principal_from_context(Some("sample-owner"), Some("a")),
            None
        );
        assert_eq!(principal_from_context(None, Some("a")), None);
        assert_eq!(principal_from_context(Some(owner.as_str()), None), None);
    }

    #[tokio::test]
    async fn a_panic_is_an_answer() {
        let response = surround(
            Duration::from_secs(1),
            "GET".to_owned(),
            "/".to_owned(),
            "r".to_owned(),
            async { panic!("on purpose") },
        )
        .await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = response
            .into_body()
            .collect()
            .await
            .expect("cannot fail")
            .to_bytes();
        let value: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(value["error"]["code"], -32603);
    }
}
