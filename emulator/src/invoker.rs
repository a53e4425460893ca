//! How the emulated services call a function: EventBridge and schedules hand an event to whoever
//! runs the functions, without knowing how.

use bytes::Bytes;
use futures_util::future::BoxFuture;

/// Why a function gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvocationError {
    /// It failed, was throttled, or is not there: its log has more.
    #[error("{0}")]
    Failed(String),
    /// The emulator is stopping; whether the function saw the payload is not known.
    #[error("the emulator is stopping")]
    Stopping,
}

/// Runs functions on behalf of event sources.
pub trait Invoker: Send + Sync {
    /// Delivers `payload` to `function` (its directory name, `reconciler`) as an asynchronous
    /// invocation. The future ends when the function has answered or was given up; what it answered
    /// and whether it failed is in the function's log, as an event source is not told on AWS either.
    /// Delivering twice invokes twice.
    fn invoke_event(&self, function: &str, payload: serde_json::Value) -> BoxFuture<'static, ()>;

    /// Invokes `function` once and gives its whole answer, as for an event source that waits for it
    /// and decides itself about trying again.
    fn invoke_for_answer(
        &self,
        function: &str,
        payload: serde_json::Value,
    ) -> BoxFuture<'static, Result<Bytes, InvocationError>>;
}
