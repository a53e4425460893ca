//! A deterministic stand-in for the Anthropic Messages API, so that a stack without an API key runs
//! the real CLI, gateway and runner and only the model is not real.
//!
//! The prompt carries the script ([`script`]); which step is due follows from the conversation that
//! the client sends, so the model has no state to lose and a resumed or forked session continues at
//! the right step. The one exception are the `…N` steps, which fail a number of times: their
//! attempts are counted here, per session.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

mod answer;
mod attempts;
mod conversation;
pub mod script;
mod service;

/// Why no real model answers; the plain answer tells it to the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfflineReason {
    /// `ANTHROPIC_API_KEY` was not set.
    NoKey,
    /// `--offline` was given.
    Asked,
}

/// The running service on its own loopback port. Dropping it closes the port and cuts open answers.
pub struct OfflineModel {
    address: SocketAddr,
    key: String,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl OfflineModel {
    /// Listens on a free loopback port with a key of its own; requests without that key are refused,
    /// so only the gateway that was given it can use the service.
    ///
    /// # Errors
    /// When no loopback port can be opened or the operating system has no randomness.
    pub async fn start(reason: OfflineReason) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let mut random = [0_u8; 24];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let key = format!(
            "sk-offline-{}",
            base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, random)
        );
        let router = service::router(Arc::new(service::Service::new(key.clone(), reason)));
        let (stop, mut stopped) = watch::channel(false);
        let server = tokio::spawn(async move {
            let serving = axum::serve(listener, router).into_future();
            tokio::select! {
                ended = serving => if let Err(error) = ended {
                    tracing::error!(%error, "the offline model stopped serving");
                },
                _ = stopped.changed() => {}
            }
        });
        Ok(Self {
            address,
            key,
            stop,
            server,
        })
    }

    /// Base address, without a trailing slash: what `SHANNON_MODEL_URL` holds.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The key that requests carry as `x-api-key`.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Stops accepting and returns when the port is closed.
    pub async fn shutdown(mut self) {
        // a receiver that is gone means the server ended already
        self.stop.send_replace(true);
        if let Err(error) = (&mut self.server).await
            && !error.is_cancelled()
        {
            tracing::error!(%error, "the offline model panicked");
        }
    }
}

impl Drop for OfflineModel {
    fn drop(&mut self) {
        self.server.abort();
    }
}
