//! How the emulated services call a function: EventBridge and schedules hand an event to whoever
//! runs the functions, without knowing how.

use futures_util::future::BoxFuture;

/// Runs functions on behalf of event sources.
pub trait Invoker: Send + Sync {
    /// Delivers `payload` to `function` (its directory name, `reconciler`) as an asynchronous
    /// invocation. The future ends when the function has answered or was given up; what it answered
    /// and whether it failed is in the function's log, as an event source is not told on AWS either.
    /// Delivering twice invokes twice.
    fn invoke_event(&self, function: &str, payload: serde_json::Value) -> BoxFuture<'static, ()>;
}
