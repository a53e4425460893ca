//! A stream to a client whose messages are kept as they are sent. The work goes on when the client
//! goes away: it takes the stream up again, here or on another instance.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::client_session::{ClientKey, ClientSessionId};
use domain::ids::base32;
use domain::limits::STREAM_KEPT_MILLISECONDS;
use domain::ports::{ClientStream, Unavailable};
use futures_util::stream;
use http::Response;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::cancelled::{ended, taken_back};
use super::exchange::is_answer;
use super::running::Running;
use super::{ClientPorts, KEEP_ALIVE, event_stream};
use crate::answer::{Body, INTERNAL_ERROR, error_message};

/// Messages that a client may lag behind. One that lags more is let go, and takes the stream up
/// again from what is kept.
const MESSAGES_AHEAD: usize = 256;
/// A stream whose writer said nothing for so many keep-alives has none any more.
const KEEP_ALIVES_MISSED: u64 = 3;
/// What a client waits before it connects again.
const RETRY_MILLISECONDS: u64 = 1000;

/// Where in which stream an event is, as its id says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EventId {
    pub(super) session: ClientSessionId,
    pub(super) stream: String,
    pub(super) position: u64,
}

impl EventId {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let (session, stream, position) = (parts.next()?, parts.next()?, parts.next()?);
        let valid = parts.next().is_none()
            && (1..=32).contains(&stream.len())
            && stream.bytes().all(|byte| byte.is_ascii_alphanumeric());
        Some(Self {
            session: ClientSessionId::parse(session).ok()?,
            stream: valid.then(|| stream.to_owned())?,
            position: position.parse().ok()?,
        })
    }

    pub(super) fn text(&self) -> String {
        format!(
            "{}.{}.{}",
            self.session.as_str(),
            self.stream,
            self.position
        )
    }

    /// The event of a message.
    pub(super) fn event(&self, message: &str) -> Bytes {
        // JSON on one line: serde_json writes no line feeds.
        Bytes::from(format!("id: {}\ndata: {message}\n\n", self.text()))
    }

    /// An event that only carries the id, so that a stream can be taken up before its first
    /// message.
    fn prime(&self) -> Bytes {
        let id = self.text();
        Bytes::from(format!("id: {id}\nretry: {RETRY_MILLISECONDS}\ndata: \n\n"))
    }
}

/// An event that cannot be taken up again.
pub(super) fn event(message: &Value) -> Bytes {
    Bytes::from(format!("data: {message}\n\n"))
}

/// A stream as it is written.
pub(super) struct Recorded<P> {
    running: Running<P>,
    key: Arc<ClientKey>,
    at: EventId,
    request: Value,
    /// `None` once the client is gone.
    client: Option<mpsc::Sender<Bytes>>,
}

impl<P: ClientPorts> Recorded<P> {
    /// Begins the stream, with the first message when there is one already.
    pub(super) async fn begin(
        running: Running<P>,
        key: Arc<ClientKey>,
        request: &Value,
        first: Option<Value>,
    ) -> Response<Body> {
        let (client, frames) = mpsc::channel(MESSAGES_AHEAD);
        let at = EventId {
            session: key.session.clone(),
            stream: base32(&running.ports.random())[..16].to_owned(),
            position: 0,
        };
        let mut recorded = Self {
            running,
            key,
            at,
            request: request.clone(),
            client: Some(client),
        };
        // Before the client learns of it.
        let kept = recorded.note(false).await;
        let opening = match kept {
            Ok(()) if recorded.running.primes => recorded.at.prime(),
            _ => KEEP_ALIVE,
        };
        recorded.tell(opening);
        tokio::spawn(recorded.write(first).in_current_span());
        event_stream(stream::unfold(frames, |mut frames| async {
            frames.recv().await.map(|bytes| (bytes, frames))
        }))
    }

    /// Says how the stream stands.
    async fn note(&self, complete: bool) -> Result<(), Unavailable> {
        let now = self.running.ports.now();
        let silence = self.running.settings.keep_alive_seconds * 1000;
        let state = ClientStream {
            request: self.request.to_string(),
            written_until: now.plus(silence * KEEP_ALIVES_MISSED),
            complete,
            expires_at: now.plus(STREAM_KEPT_MILLISECONDS),
        };
        let noted = self
            .running
            .ports
            .note_stream(&self.key, &self.at.stream, &state)
            .await;
        if let Err(error) = &noted {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "a stream cannot be taken up again"
            );
        }
        noted
    }

    /// Gives bytes to the client, if it is still there and keeps up.
    fn tell(&mut self, bytes: Bytes) {
        if let Some(client) = &self.client
            && client.try_send(bytes).is_err()
        {
            tracing::debug!("the client went away; its stream is kept");
            self.client = None;
        }
    }

    /// Keeps a message, then sends it.
    async fn send(&mut self, message: &Value) {
        let text = message.to_string();
        // Of a message whose fate is unknown the place is not used again: there the next one would
        // count as kept.
        self.at.position += 1;
        let until = self.running.ports.now().plus(STREAM_KEPT_MILLISECONDS);
        let kept = self
            .running
            .ports
            .keep_message(&self.key, &self.at.stream, self.at.position, &text, until)
            .await;
        let bytes = match kept {
            Ok(()) => self.at.event(&text),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a message was not kept"
                );
                event(message)
            }
        };
        self.tell(bytes);
    }

    async fn write(mut self, first: Option<Value>) {
        let silence = Duration::from_secs(self.running.settings.keep_alive_seconds);
        let mut next = first;
        loop {
            let message = match next.take() {
                Some(message) => Some(message),
                None => {
                    let quiet = (Instant::now() + silence).min(self.running.deadline);
                    let Running {
                        messages,
                        withdrawal,
                        ..
                    } = &mut self.running;
                    let heard = tokio::select! {
                        biased;
                        heard = tokio::time::timeout_at(quiet, messages.recv()) => heard,
                        () = taken_back(withdrawal) => {
                            // Complete, without an answer: nobody waits for one.
                            let _noted = self.note(true).await;
                            ended(self.running.withdrawal.take()).await;
                            return;
                        }
                    };
                    match heard {
                        Ok(Some(message)) => Some(message),
                        Ok(None) => Some(self.failure("the request was not answered; ask again")),
                        Err(_) if Instant::now() >= self.running.deadline => Some(self.failure(
                            "the request took longer than this deployment allows; ask again",
                        )),
                        Err(_) => None,
                    }
                }
            };
            let Some(message) = message else {
                self.tell(KEEP_ALIVE);
                // What could not be noted now is noted with the next keep-alive.
                let _noted = self.note(false).await;
                continue;
            };
            self.send(&message).await;
            if is_answer(&message) {
                // A reader that does not learn of it waits until the writer counts as lost.
                let _noted = self.note(true).await;
                ended(self.running.withdrawal.take()).await;
                return;
            }
        }
    }

    fn failure(&self, message: &str) -> Value {
        error_message(&self.request, INTERNAL_ERROR, message)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn event_ids_say_session_stream_and_position() {
        let id = EventId {
            session: ClientSessionId::from_random([5; 17]),
            stream: "abc2".to_owned(),
            position: 7,
        };
        assert_eq!(EventId::parse(&id.text()), Some(id.clone()));
        let session = id.session.as_str();
        for bad in [
            String::new(),
            session.to_owned(),
            format!("{session}.a"),
            format!("{session}..1"),
            format!("{session}.a#b.1"),
            format!("{session}.a.1.2"),
            format!("{session}.a.-1"),
            "x.a.1".to_owned(),
        ] {
            assert_eq!(EventId::parse(&bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn hostile_event_ids_never_panic(text in ".{0,80}") {
            prop_assert_eq!(EventId::parse(&text), None);
        }
    }
}
