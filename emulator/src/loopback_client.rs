//! HTTP to a stack on this machine: no TLS, no proxy, one answer read whole.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use thiserror::Error;

/// Far more than any answer of ours.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Why there is no whole answer. Whether the request was acted upon is unknown.
#[derive(Debug, Error)]
pub enum SendError {
    /// The request could not be sent.
    #[error("no answer")]
    Send(#[source] hyper_util::client::legacy::Error),
    /// The answer was cut, or too large.
    #[error("the answer was cut")]
    Cut(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It took too long.
    #[error("no whole answer within {} s", .0.as_secs())]
    Late(Duration),
}

/// Sends one request on a connection of its own; gives the status and the body.
///
/// # Errors
/// See [`SendError`].
pub(crate) async fn send(
    request: Request<Full<Bytes>>,
    deadline: Duration,
) -> Result<(u16, String), SendError> {
    let exchange = async {
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let response = client.request(request).await.map_err(SendError::Send)?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await
            .map_err(SendError::Cut)?;
        let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        Ok((status, text))
    };
    tokio::time::timeout(deadline, exchange)
        .await
        .map_err(|_| SendError::Late(deadline))?
}
