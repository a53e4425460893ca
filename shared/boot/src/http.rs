//! A request as handlers get it, whichever way it came, and what surrounds every handler: the log
//! line, the warning for a slow request, the answer when the handler panics.

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use domain::{OwnerId, Principal, UnixMillis};
use futures_util::FutureExt;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use lambda_http::http::header::CONTENT_TYPE;
use lambda_http::http::{HeaderValue, Request, Response, StatusCode};
use serde_json::{Value, json};
use tracing::{Instrument, Span};

/// The body of an answer: it may stream, and it cannot fail. Errors inside a stream are the
/// stream's own events, because the Lambda runtime would print an error into the body.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Largest body that is read at all: what fits a Lambda event
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
pub(crate) const LARGEST_BODY_BYTES: usize = 6 * 1024 * 1024;

/// About as many bytes of an answer are one token for the model that reads it.
const BYTES_PER_TOKEN: u64 = 4;

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

/// Reads what our authorizer put into the request context: `owner`, the space-separated `scopes`, and
/// `expires_at`, the millisecond at which the caller's credential ends. Anything else is no principal; nor
/// is one whose time is over: API Gateway keeps the authorizer's answer for a while.
#[must_use]
pub fn principal_from_context<'context>(
    field: impl Fn(&str) -> Option<&'context str>,
    now: UnixMillis,
) -> Option<Principal> {
    let (owner, scopes) = (field("owner"), field("scopes"));
    if let Some(end) = field("expires_at")
        && end.parse().map_or(true, |end| UnixMillis(end) <= now)
    {
        return None;
    }
    Some(Principal {
        owner: OwnerId::parse(owner?).ok()?,
        scopes: scopes?.split_whitespace().map(str::to_owned).collect(),
    })
}

/// Runs a handler with everything around it. One line of the log tells of the request: when its
/// answer is there, or when a stream has ended or its client has gone.
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
    let started = Instant::now();
    // Made before the handler runs: a client that goes away meanwhile takes the handler with it.
    let mut line = Line {
        span: span.clone(),
        started,
        status: None,
        waited: Duration::ZERO,
        worked: None,
        bytes: 0,
        whole: false,
        written: false,
    };
    let handled = async {
        AssertUnwindSafe(handler).catch_unwind().await.unwrap_or_else(|panic| {
            tracing::error!(panic = panic_text(&*panic), "the handler panicked");
            json_response(
                StatusCode::INTERNAL_SERVER_ERROR,
                &json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32603, "message": "internal error; the log has more under this request id"}}),
            )
        })
    };
    let mut response = handled.instrument(span.clone()).await;
    let waited = response.extensions_mut().remove::<Duration>();
    line.waited = waited.unwrap_or_default();
    line.status = Some(response.status());
    let worked = started.elapsed().saturating_sub(line.waited);
    line.worked = Some(worked);
    if worked > slow {
        span.in_scope(|| {
            tracing::warn!(
                worked_ms = milliseconds(worked),
                slow_ms = milliseconds(slow),
                "slow request"
            );
        });
    }
    if let Some(bytes) = response.body().size_hint().exact() {
        line.bytes = bytes;
        line.whole = true;
        return response;
    }
    response.map(|body| Told { body, line }.boxed_unsync())
}

/// To the millisecond: smaller numbers would be written with an exponent.
fn seconds(duration: Duration) -> f64 {
    Duration::from_millis(milliseconds(duration)).as_secs_f64()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The line of the log about one request, written at the latest when it is dropped: then the client
/// went away, or the function's time was over.
struct Line {
    span: Span,
    started: Instant,
    /// Of the answer, once there is one.
    status: Option<StatusCode>,
    waited: Duration,
    /// What it took until the answer began, without waiting; a metric is made of it.
    worked: Option<Duration>,
    /// Of the answer's body, as far as it was given.
    bytes: u64,
    /// All of the answer was given.
    whole: bool,
    written: bool,
}

impl Line {
    fn write(&mut self) {
        if std::mem::replace(&mut self.written, true) {
            return;
        }
        self.span.in_scope(|| {
            tracing::info!(
                status = self.status.map(|status| u64::from(status.as_u16())),
                duration_ms = milliseconds(self.started.elapsed()),
                waited_ms = milliseconds(self.waited),
                shannon_request_duration_seconds = self.worked.map(seconds),
                shannon_response_tokens = self.status.map(|_| self.bytes / BYTES_PER_TOKEN),
                whole = self.whole,
                "request"
            );
        });
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.write();
    }
}

/// A stream that is told of at its end. On Lambda nothing runs after the last frame, so the line is
/// written with it, not when the body is dropped.
struct Told {
    body: Body,
    line: Line,
}

impl http_body::Body for Told {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let span = self.line.span.clone();
        let frame = span.in_scope(|| Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Poll::Ready(None) => {
                self.line.whole = true;
                self.line.write();
            }
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.line.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
            }
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.line.whole |= self.body.is_end_stream();
    }
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
        let read = |fields: &[(&'static str, &str)]| {
            let found = |name: &str| fields.iter().find(|it| it.0 == name).map(|it| it.1);
            principal_from_context(found, UnixMillis(10))
        };
        let (owner, scopes) = (("owner", owner.as_str()), ("scopes", "a b"));
        let principal = read(&[owner, scopes]).expect("whole");
        assert_eq!(principal.scopes, ["a", "b"]);
        assert_eq!(read(&[("owner", "sample-owner"), scopes]), None);
        assert_eq!(read(&[scopes]), None);
        assert_eq!(read(&[owner]), None);
        let until = |end| read(&[owner, scopes, ("expires_at", end)]);
        assert_eq!(until("11"), Some(principal));
        for over in ["10", "9", "", "soon", "-1"] {
            assert_eq!(until(over), None, "{over}");
        }
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

    /// What is logged while something runs.
    fn logged<T>(run: impl Future<Output = T>) -> (T, String) {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(log.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let subscriber = subscriber.finish();
        // Another test may be the first that comes by these lines, without anybody who listens.
        drop(runtime.block_on(surrounded(full("x"))));
        let done = tracing::subscriber::with_default(subscriber, || {
            tracing::callsite::rebuild_interest_cache();
            runtime.block_on(run)
        });
        let bytes = log.0.lock().expect("unpoisoned").clone();
        (done, String::from_utf8(bytes).expect("UTF-8"))
    }

    #[derive(Clone, Default)]
    struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("unpoisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl tracing_subscriber::fmt::MakeWriter<'_> for Log {
        type Writer = Self;
        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    async fn surrounded(body: Body) -> Response<Body> {
        let handler = async {
            Span::current().record("principal", "ann");
            Response::new(body)
        };
        let text = str::to_owned;
        surround(
            Duration::from_secs(9),
            text("POST"),
            text("/mcp"),
            text("r"),
            handler,
        )
        .await
    }

    /// A stream of two pieces, the second of which takes a while.
    fn slow_stream() -> Body {
        let pieces = futures_util::stream::unfold(0, |piece| async move {
            if piece == 1 {
                std::thread::sleep(Duration::from_millis(30));
            }
            let frame = Frame::data(Bytes::from_static(b"x"));
            (piece < 2).then_some((Ok::<_, Infallible>(frame), piece + 1))
        });
        http_body_util::StreamBody::new(pieces).boxed_unsync()
    }

    #[test]
    fn four_bytes_of_an_answer_are_a_token() {
        let (_, log) = logged(surrounded(full("x".repeat(20_004))));
        assert!(log.contains("shannon_response_tokens=5001 "), "{log}");
        let piece = Bytes::from("x".repeat(10_000));
        let pieces = [piece.clone(), piece.clone(), piece];
        let frames = pieces.map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
        let body = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
        let ((), log) = logged(async {
            let response = surrounded(body.boxed_unsync()).await;
            drop(response.into_body().collect().await);
        });
        assert!(log.contains("shannon_response_tokens=7500 "), "{log}");
    }

    #[test]
    fn the_line_about_a_request_comes_when_it_is_over() {
        let lines = |log: &str| log.matches("duration_ms").count();
        let (_, log) = logged(surrounded(full("x")));
        assert_eq!(lines(&log), 1, "{log}");
        assert!(log.contains("principal=\"ann\""), "{log}");

        let (_response, log) = logged(surrounded(slow_stream()));
        assert_eq!(lines(&log), 0, "{log}");
        // Its client leaves in the middle.
        let ((), log) = logged(async { drop(surrounded(slow_stream()).await) });
        assert_eq!(lines(&log), 1, "{log}");
        assert!(log.contains("whole=false"), "{log}");

        // Or before there is an answer.
        let ((), log) = logged(async {
            let text = str::to_owned;
            let (method, path, id) = (text("POST"), text("/mcp"), text("r"));
            let handled = surround(
                Duration::from_secs(9),
                method,
                path,
                id,
                std::future::pending(),
            );
            let waited = tokio::time::timeout(Duration::from_millis(1), handled).await;
            assert!(waited.is_err());
        });
        assert_eq!(lines(&log), 1, "{log}");

        let ((), log) = logged(async {
            let response = surrounded(slow_stream()).await;
            let collected = response.into_body().collect().await;
            assert_eq!(collected.expect("cannot fail").to_bytes().as_ref(), b"xx");
        });
        assert_eq!(lines(&log), 1, "{log}");
        assert!(log.contains("whole=true"), "{log}");
        assert!(
            log.contains("shannon_request_duration_seconds=0.0"),
            "{log}"
        );
        assert!(log.contains("shannon_response_tokens=0 "), "{log}");
        let duration = log.split(" duration_ms=").nth(1).expect("a duration");
        let digits = duration.split(' ').next().expect("a number");
        assert!(digits.parse::<u64>().expect("a number") >= 30, "{log}");
    }
}
