//! Functions that serve events instead of requests: `authorizer`, `reconciler`, `projector`.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::Instrument;

use crate::http::panic_text;

/// What the caller of a function is told when it fails: the words are the whole answer. API Gateway
/// reads `Unauthorized` of an authorizer as 401; a source of events delivers again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EventError {
    /// A stable name (`Unauthorized`).
    pub kind: &'static str,
    /// In words; no secrets, the caller's log keeps it.
    pub message: String,
}

impl From<EventError> for Diagnostic {
    fn from(error: EventError) -> Self {
        Self {
            error_type: error.kind.to_owned(),
            error_message: error.message,
        }
    }
}

/// Serves events until the runtime ends the process; one log line each.
pub(crate) async fn serve<H, F, E, A>(
    handler: H,
    slow: Duration,
) -> Result<(), lambda_runtime::Error>
where
    H: Fn(E) -> F + Send + Sync + 'static,
    F: Future<Output = Result<A, EventError>> + Send + 'static,
    E: DeserializeOwned + Send + 'static,
    A: Serialize + Send + 'static,
{
    let handler = Arc::new(handler);
    lambda_runtime::run(service_fn(move |event: LambdaEvent<E>| {
        let handler = Arc::clone(&handler);
        let span = tracing::info_span!("event", request_id = event.context.request_id);
        async move {
            let started = Instant::now();
            let handled = AssertUnwindSafe(async move { handler(event.payload).await });
            let answer = handled.catch_unwind().await.unwrap_or_else(|panic| {
                tracing::error!(panic = panic_text(&*panic), "the handler panicked");
                Err(EventError {
                    kind: "Panic",
                    message: "internal error; the log has more under this request id".to_owned(),
                })
            });
            let elapsed = started.elapsed();
            let duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
            match &answer {
                Ok(_) => tracing::info!(duration_ms, "event"),
                Err(error) => {
                    tracing::info!(
                        duration_ms,
                        error = error as &dyn std::error::Error,
                        "event"
                    );
                }
            }
            if elapsed > slow {
                tracing::warn!(worked_ms = duration_ms, "slow event");
            }
            answer
        }
        .instrument(span)
    }))
    .await
}
