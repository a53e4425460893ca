//! The CLI's way to the model: a loopback server inside the runner. The CLI knows only a secret
//! that is good here and nowhere else; the session token never leaves the runner.
//!
//! ```text
//! claude ── x-api-key: secret ──▶ relay ── Bearer session token ──▶ model-gateway ──▶ model
//! ```

mod assemble;
mod forward;
mod token;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::response::Response;
use axum::routing::any;
use http::StatusCode;
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::objects::SessionObjects;
pub use token::SessionToken;

/// What the relay needs to reach the model.
#[derive(Clone)]
pub struct RelayOptions {
    /// Base URL of the deployment, without a slash at its end.
    pub gateway_url: String,
    /// The token that came with the task; it is kept fresh here.
    pub session_token: SessionToken,
    /// For one connection to the gateway.
    pub connect_timeout: Duration,
    /// Until the first byte of an answer.
    pub model_timeout: Duration,
}

/// Why there is no relay; the session cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// No loopback port could be had.
    #[error("cannot listen on the loopback interface")]
    Listen(#[source] std::io::Error),
    /// No HTTP client could be made.
    #[error(transparent)]
    Client(#[from] boot::outbound::ClientError),
    /// The operating system gave no randomness.
    #[error("cannot make a secret")]
    Randomness,
}

/// A running relay. Dropping it ends it, and with it every answer under way.
pub struct Relay {
    url: String,
    secret: String,
    token: SessionToken,
    stop: Option<oneshot::Sender<()>>,
    tasks: Vec<JoinHandle<()>>,
}

/// Largest request of the Messages API
/// (<https://docs.claude.com/en/api/overview#request-size-limits>).
const REQUEST_LIMIT_BYTES: usize = 32 * 1024 * 1024;

struct Shared<O> {
    secret_digest: [u8; 32],
    forward: forward::Forward<O>,
}

/// Listens on a free loopback port and keeps the session token fresh until it is stopped.
///
/// # Errors
/// [`RelayError`].
pub async fn start<O: SessionObjects>(
    options: RelayOptions,
    objects: O,
) -> Result<Relay, RelayError> {
    let listener = tokio::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .await
        .map_err(RelayError::Listen)?;
    let address = listener.local_addr().map_err(RelayError::Listen)?;
    let client = boot::outbound::client(&options.gateway_url, options.connect_timeout)?;
    let mut random = [0_u8; 20];
    getrandom::fill(&mut random).map_err(|_| RelayError::Randomness)?;
    let secret = format!("relay-{}", domain::ids::base32(&random));
    let token = options.session_token.clone();
    let renewal = tokio::spawn(
        token
            .clone()
            .keep_fresh(client.clone(), options.gateway_url.clone()),
    );
    let shared = Arc::new(Shared {
        secret_digest: Sha256::digest(&secret).into(),
        forward: forward::Forward::new(client, &options, token.clone(), objects),
    });
    let router = axum::Router::new()
        .route("/v1/messages", any(messages::<O>))
        .route("/v1/messages/count_tokens", any(messages::<O>))
        .fallback(async || {
            forward::refusal(
                StatusCode::NOT_FOUND,
                "not_found_error",
                "this session reaches the Messages API only",
            )
        })
        .layer(DefaultBodyLimit::disable())
        .with_state(shared);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(async move {
        tokio::select! {
            served = async { axum::serve(listener, router).await } => {
                if let Err(error) = served {
                    tracing::error!(%error, "the relay stopped serving");
                }
            }
            // Either the message or the end of the sender means stop.
            _ = stopped => {}
        }
    });
    Ok(Relay {
        url: format!("http://{address}"),
        secret,
        token,
        stop: Some(stop),
        tasks: vec![server, renewal],
    })
}

impl Relay {
    /// `ANTHROPIC_BASE_URL` for the CLI.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `ANTHROPIC_API_KEY` for the CLI.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The session token as it is now, for redaction. It changes when it is renewed, but every one
    /// begins the same way up to its fence.
    #[must_use]
    pub fn session_token(&self) -> String {
        self.token.current()
    }

    /// Ends the server and the renewal.
    pub fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The server may have ended by itself, which is what was wanted.
            let _ = stop.send(());
        }
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn messages<O: SessionObjects>(
    State(shared): State<Arc<Shared<O>>>,
    request: Request,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let given = parts
        .headers
        .get("x-api-key")
        .or_else(|| parts.headers.get(http::header::AUTHORIZATION))
        .map(|value| value.as_bytes())
        .map(|value| value.strip_prefix(b"Bearer ").unwrap_or(value))
        .unwrap_or_default();
    // Digests are compared, so that the time it takes says nothing about the secret.
    if <[u8; 32]>::from(Sha256::digest(given)) != shared.secret_digest {
        return forward::refusal(
            StatusCode::FORBIDDEN,
            "permission_error",
            "this relay serves one session only",
        );
    }
    if parts.method != http::Method::POST {
        return forward::refusal(
            StatusCode::METHOD_NOT_ALLOWED,
            "invalid_request_error",
            "use POST",
        );
    }
    match axum::body::to_bytes(body, REQUEST_LIMIT_BYTES).await {
        Ok(body) => shared.forward.send(&parts, body).await,
        Err(_) => forward::refusal(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request_too_large",
            "the request is over 32 MiB or broke off",
        ),
    }
}

#[cfg(test)]
mod tests;
