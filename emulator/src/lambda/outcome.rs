//! What came of an invocation.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::json;
use tokio::sync::mpsc;

/// What the function did with one invocation.
#[derive(Debug)]
pub enum Outcome {
    /// The whole response.
    Buffered(Bytes),
    /// The response as the function writes it. Dropping it lets the function write on into nothing.
    Streaming(ResponseStream),
    /// It failed before the first byte of a response.
    Failed(FunctionError),
}

/// A failed invocation, in the words of the Runtime API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionError {
    /// `Runtime.ExitError`, `Sandbox.Timedout`, or what the function said.
    pub error_type: String,
    /// JSON with `errorType` and `errorMessage`.
    pub body: Bytes,
}

impl FunctionError {
    pub(super) fn new(error_type: &str, message: &str) -> Self {
        let body = json!({ "errorType": error_type, "errorMessage": message });
        Self {
            error_type: error_type.to_owned(),
            body: Bytes::from(body.to_string()),
        }
    }
}

/// Why a response ended before its end.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StreamError {
    /// The function said so after it had begun.
    #[error("the function failed: {0}")]
    Function(String),
    /// The instance ended, or closed the connection.
    #[error("the response was cut off")]
    Cut,
    /// The function's timeout passed.
    #[error("the function timed out")]
    TimedOut,
}

/// A part of a streaming response on its way from the Runtime API to the caller.
#[derive(Debug)]
pub(super) enum Piece {
    Data(Bytes),
    /// The response is complete. A channel that closes without it means that it is not.
    End,
    Failed(StreamError),
}

/// The bytes of a streaming response.
#[derive(Debug)]
pub struct ResponseStream {
    pieces: mpsc::Receiver<Piece>,
    /// Why the instance was ended, if it was.
    reason: Arc<OnceLock<StreamError>>,
    ended: bool,
}

impl ResponseStream {
    pub(super) fn new(pieces: mpsc::Receiver<Piece>, reason: Arc<OnceLock<StreamError>>) -> Self {
        Self {
            pieces,
            reason,
            ended: false,
        }
    }

    /// The next bytes as soon as there are any; `None` after the last. Safe to cancel.
    ///
    /// # Errors
    /// Once, at the end, when the response is not complete.
    pub async fn next(&mut self) -> Option<Result<Bytes, StreamError>> {
        if self.ended {
            return None;
        }
        let end = match self.pieces.recv().await {
            Some(Piece::Data(bytes)) => return Some(Ok(bytes)),
            Some(Piece::End) => None,
            Some(Piece::Failed(error)) => Some(Err(error)),
            None => Some(Err(StreamError::Cut)),
        };
        self.ended = true;
        end.map(|failed| failed.map_err(|error| self.reason.get().cloned().unwrap_or(error)))
    }

    /// All of it.
    ///
    /// # Errors
    /// When the response is not complete.
    pub async fn collect(mut self) -> Result<Bytes, StreamError> {
        let mut whole = Vec::new();
        while let Some(chunk) = self.next().await {
            whole.extend_from_slice(&chunk?);
        }
        Ok(whole.into())
    }
}
