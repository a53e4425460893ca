//! A broken stream taken up again: what the client has not seen yet, then what is still to come,
//! from the store alone.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::Principal;
use domain::client_session::ClientKey;
use domain::ports::{ClientStream, Unavailable};
use futures_util::stream;
use http::{HeaderMap, Response, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

use super::recorded::{EventId, event};
use super::{
    Bridge, ClientPorts, KEEP_ALIVE, LAST_EVENT, SESSION, event_stream, no_session, no_streams,
};
use crate::answer::{Body, INTERNAL_ERROR, INVALID_REQUEST, error_message, error_response};
use crate::work::Work;

/// Between two looks for messages.
const FIRST_LOOK_MILLISECONDS: u64 = 200;
/// The same on a quiet stream.
const SLOW_LOOK_MILLISECONDS: u64 = 1000;

impl<W, P> Bridge<W, P>
where
    W: Work,
    P: ClientPorts,
{
    /// GET: only with `Last-Event-ID`. A standing stream would hold a function day and night.
    pub(super) async fn resumed(
        &self,
        headers: &HeaderMap,
        principal: &Principal,
    ) -> Response<Body> {
        let none = Value::Null;
        let Some(last) = headers.get(LAST_EVENT) else {
            return no_streams();
        };
        let unknown = || {
            error_response(
                StatusCode::BAD_REQUEST,
                &none,
                INVALID_REQUEST,
                "Last-Event-ID names no event that is kept; send the request again",
            )
        };
        let Some(last) = last.to_str().ok().and_then(EventId::parse) else {
            return unknown();
        };
        let named = headers.get(SESSION).map(|name| name.as_bytes());
        if named.is_some_and(|name| name != last.session.as_str().as_bytes()) {
            return no_session(&none);
        }
        let session = Some(last.session.clone());
        let key = match self.session_named(session, principal, &none).await {
            Ok((key, _)) => key,
            Err(refused) => return *refused,
        };
        match self.ports.stream(&key, &last.stream).await {
            Ok(Some(state)) => {
                tracing::info!(
                    client_session = key.session.short(),
                    "a stream is taken up again"
                );
                let longest = self.settings.longest_seconds.saturating_sub(1).max(1);
                let keep_alive = Duration::from_secs(self.settings.keep_alive_seconds);
                event_stream(stream::unfold(
                    Reading {
                        ports: self.ports.clone(),
                        key: Arc::new(key),
                        at: last,
                        state,
                        pending: Vec::new(),
                        over: false,
                        last_words: None,
                        look_milliseconds: FIRST_LOOK_MILLISECONDS,
                        deadline: Instant::now() + Duration::from_secs(longest),
                        keep_alive,
                        quiet_until: Instant::now(),
                    },
                    |mut reading| async { reading.next().await.map(|bytes| (bytes, reading)) },
                ))
            }
            Ok(None) => unknown(),
            Err(error) => super::unavailable(&error, &none),
        }
    }
}

struct Reading<P> {
    ports: P,
    key: Arc<ClientKey>,
    at: EventId,
    state: ClientStream,
    /// Read already, the next one last.
    pending: Vec<(u64, String)>,
    over: bool,
    /// What is said when it is over too early.
    last_words: Option<Bytes>,
    look_milliseconds: u64,
    deadline: Instant,
    keep_alive: Duration,
    /// When a comment is due.
    quiet_until: Instant,
}

impl<P: ClientPorts> Reading<P> {
    /// The next bytes; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some((position, message)) = self.pending.pop() {
                self.at.position = position;
                return Some(self.told(self.at.event(&message)));
            }
            if self.over {
                return self.last_words.take();
            }
            if Instant::now() >= self.deadline {
                self.over = true;
                continue;
            }
            if Instant::now() >= self.quiet_until {
                return Some(self.told(KEEP_ALIVE));
            }
            match self.look().await {
                Ok(true) => {}
                Ok(false) => {
                    self.ports.sleep(self.look_milliseconds).await;
                    self.look_milliseconds =
                        (self.look_milliseconds * 2).min(SLOW_LOOK_MILLISECONDS);
                }
                // The client may come again; what is kept stays.
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "a stream was not read on"
                    );
                    self.over = true;
                }
            }
        }
    }

    fn told(&mut self, bytes: Bytes) -> Bytes {
        self.quiet_until = Instant::now() + self.keep_alive;
        bytes
    }

    /// Reads on; says whether there is something to do at once. The state is read first: once it
    /// says that the stream is complete, every message of it is there.
    async fn look(&mut self) -> Result<bool, Unavailable> {
        if !self.state.complete {
            let state = self.ports.stream(&self.key, &self.at.stream).await?;
            let Some(state) = state else {
                self.over = true;
                return Ok(true);
            };
            self.state = state;
        }
        let position = self.at.position;
        let messages = self
            .ports
            .messages_after(&self.key, &self.at.stream, position);
        self.pending = messages.await?;
        self.pending.reverse();
        if !self.pending.is_empty() {
            self.look_milliseconds = FIRST_LOOK_MILLISECONDS;
            return Ok(true);
        }
        if self.state.complete {
            self.over = true;
            return Ok(true);
        }
        if self.ports.now() > self.state.written_until {
            self.over = true;
            let id: Value = serde_json::from_str(&self.state.request).unwrap_or_default();
            let message = error_message(
                &id,
                INTERNAL_ERROR,
                "whoever worked on the request is gone; what was recorded stays: send it again",
            );
            // Not an event that is kept: it carries no id.
            self.last_words = Some(event(&message));
            return Ok(true);
        }
        Ok(false)
    }
}
