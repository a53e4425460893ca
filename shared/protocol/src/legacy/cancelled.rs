//! Taking back a request that is being worked on (`notifications/cancelled`): the notification may
//! reach any instance, and the one that works on the request hears of it through the store.

use std::sync::Arc;
use std::time::Duration;

use domain::client_session::ClientKey;
use domain::ids::base32;
use domain::ports::{Clock, IdSource, Unavailable, Withdrawals};
use http::Response;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::{Bridge, ClientPorts, accepted, unavailable};
use crate::answer::Body;
use crate::work::Work;

/// Between two looks. Own: each is a read of one row, and nobody waits for what they took back.
const LOOK: Duration = Duration::from_secs(1);
/// How long the store keeps the row after the request has ended: clocks differ.
const GRACE_MILLISECONDS: u64 = 60_000;

/// Under which name a request is taken back. Ids are the client's own, of any length; no question
/// has this name.
fn name(id: &Value) -> String {
    format!("off_{}", &base32(&Sha256::digest(id.to_string()))[..26])
}

impl<W, P> Bridge<W, P>
where
    W: Work,
    P: ClientPorts,
{
    /// A client takes a request back. One that has ended, was never sent or was taken back before
    /// is nothing to it.
    pub(super) async fn cancelled(&self, key: &ClientKey, notice: &Value) -> Response<Body> {
        let Some(id) = notice.pointer("/params/requestId") else {
            return accepted();
        };
        match self.withdraw(key, id).await {
            Ok(_) => accepted(),
            Err(error) => unavailable(&error, &Value::Null),
        }
    }

    /// Takes a request back from whoever works on it; says whether somebody does.
    pub(super) async fn withdraw(&self, key: &ClientKey, id: &Value) -> Result<bool, Unavailable> {
        let wanted = self.ports.withdraw(key, &name(id)).await?;
        tracing::info!(wanted, "a request was taken back");
        Ok(wanted)
    }
}

/// Listens whether one request is taken back.
pub(super) struct Withdrawal<P> {
    ports: P,
    key: Arc<ClientKey>,
    name: String,
    /// This piece of work, and none before it under the same id.
    worker: String,
    next_look: Instant,
}

impl<P: Withdrawals + Clock + IdSource> Withdrawal<P> {
    /// Begins to listen, for at most that long. `None` when the store does not let us: then the
    /// request goes on to its end. Of two requests under one id, the newer is the one that can be
    /// taken back.
    pub(super) async fn listen(
        ports: P,
        key: Arc<ClientKey>,
        id: &Value,
        longest: Duration,
    ) -> Option<Self> {
        let milliseconds = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX / 2);
        let until = ports.now().plus(milliseconds + GRACE_MILLISECONDS);
        let listening = Self {
            worker: base32(&ports.random())[..26].to_owned(),
            ports,
            key,
            name: name(id),
            next_look: Instant::now(),
        };
        let Self {
            ports,
            key,
            name,
            worker,
            ..
        } = &listening;
        if let Err(error) = ports.allow_withdrawal(key, name, worker, until).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a request cannot be taken back"
            );
            return None;
        }
        Some(listening)
    }

    async fn heard(&mut self) {
        loop {
            tokio::time::sleep_until(self.next_look).await;
            // First: whoever drops this between two looks loses no more than one.
            self.next_look = Instant::now() + LOOK;
            let withdrawn = self
                .ports
                .is_withdrawn(&self.key, &self.name, &self.worker)
                .await;
            match withdrawn {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "whether a request was taken back was not looked up"
                ),
            }
        }
    }

    /// The work is over. What is not removed here is in nobody's way, and expires.
    async fn end(self) {
        let ended = self
            .ports
            .end_withdrawal(&self.key, &self.name, &self.worker)
            .await;
        if let Err(error) = ended {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "that a request ended was not noted"
            );
        }
    }
}

/// Nothing is left to take back.
pub(super) async fn ended<P: Withdrawals + Clock + IdSource>(listening: Option<Withdrawal<P>>) {
    if let Some(listening) = listening {
        listening.end().await;
    }
}

/// Waits until the request is taken back; for ever when nobody listens. Dropping it and waiting
/// again loses nothing.
pub(super) async fn taken_back<P: Withdrawals + Clock + IdSource>(
    listening: &mut Option<Withdrawal<P>>,
) {
    match listening {
        Some(listening) => listening.heard().await,
        None => std::future::pending().await,
    }
}
