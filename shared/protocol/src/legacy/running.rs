//! One request being worked on: its answer as JSON when it is there soon, as a stream otherwise.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::Principal;
use domain::client_session::ClientKey;
use futures_util::stream;
use http::{Request, Response, StatusCode};
use rmcp::RoleServer;
use rmcp::model::{ClientJsonRpcMessage, GetExtensions, InitializeRequestParams, JsonRpcMessage};
use rmcp::service::{RunningServiceCancellationToken, serve_directly};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::cancelled::{Withdrawal, ended, taken_back};
use super::exchange::{Exchange, is_answer};
use super::recorded::Recorded;
use super::{Askable, Bridge, BridgeSettings, ClientPorts, event_stream, lost};
use crate::answer::{Body, json_response};
use crate::back::JSON_WITHIN;
use crate::modern::Sharing;
use crate::server::Server;
use crate::work::Work;

/// What is answered within this time is not worth a row with which it could be taken back.
const SOON: Duration = Duration::from_secs(1);

/// What becomes of a request that is worked on.
pub(super) enum Next {
    /// A message to the client; the answer is the last.
    Message(Value),
    /// The client has taken the request back.
    TakenBack,
    /// Nothing more comes, and there was no answer.
    CutOff,
}

/// A request that is being worked on. Dropping it stops the work.
pub(super) struct Running<P> {
    pub(super) ports: P,
    pub(super) settings: BridgeSettings,
    /// The client's version knows events that only carry an id.
    pub(super) primes: bool,
    pub(super) messages: mpsc::Receiver<Value>,
    /// Whether the client takes the request back.
    pub(super) withdrawal: Option<Withdrawal<P>>,
    listens: bool,
    /// For when it is dropped.
    _work: Stopping,
    begun: Instant,
    pub(super) deadline: Instant,
}

/// Stops the work when it is dropped.
struct Stopping(Option<RunningServiceCancellationToken>);

impl Drop for Stopping {
    fn drop(&mut self) {
        if let Some(token) = self.0.take() {
            token.cancel();
        }
    }
}

impl<W, P> Bridge<W, P>
where
    W: Work,
    P: ClientPorts,
{
    /// Begins the work on a request, of a client that introduced itself unless this is how it
    /// does.
    ///
    /// # Errors
    /// The body is no request that rmcp can read.
    pub(super) fn run(
        &self,
        client: Option<(ClientKey, InitializeRequestParams)>,
        request: Request<Bytes>,
        principal: &Principal,
    ) -> Result<Running<P>, ()> {
        let (mut parts, body) = request.into_parts();
        let mut message: ClientJsonRpcMessage = serde_json::from_slice(&body).map_err(drop)?;
        let JsonRpcMessage::Request(call) = &mut message else {
            return Err(());
        };
        parts.extensions.insert(principal.clone());
        let (key, introduction) = client.unzip();
        if key.is_some() {
            parts.extensions.insert(Askable);
        }
        call.request.extensions_mut().insert(parts);
        let primes = introduction
            .as_ref()
            .is_some_and(|client| client.protocol_version.as_str() >= "2025-11-25");
        let (exchange, messages) = Exchange::new(self.ports.clone(), key.clone(), message);
        let service = serve_directly::<RoleServer, _, _, _, _>(
            Server::new(Sharing::clone(&self.shared)),
            exchange,
            introduction,
        );
        let work = Stopping(Some(service.cancellation_token()));
        let waiting = async move {
            if let Err(error) = service.waiting().await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a request broke off"
                );
            }
        };
        tokio::spawn(waiting.in_current_span());
        let longest = self.settings.longest_seconds.saturating_sub(1).max(1);
        let begun = Instant::now();
        Ok(Running {
            ports: self.ports.clone(),
            settings: self.settings.clone(),
            primes,
            messages,
            withdrawal: None,
            listens: false,
            _work: work,
            begun,
            // A second is left to say so before the platform ends the function.
            deadline: begun + Duration::from_secs(longest),
        })
    }
}

impl<P: ClientPorts> Running<P> {
    /// The answer alone; `None` when there is none in time.
    pub(super) async fn answer(mut self) -> Option<Value> {
        let answer = async {
            while let Some(message) = self.messages.recv().await {
                if is_answer(&message) {
                    return Some(message);
                }
            }
            None
        };
        let answer = tokio::time::timeout_at(self.deadline, answer).await;
        answer.unwrap_or_default()
    }

    /// From now on the client can take the request back, wherever its notification arrives.
    async fn listen(&mut self, key: &Arc<ClientKey>, id: &Value) {
        self.listens = true;
        let longest = self.deadline.duration_since(self.begun);
        self.withdrawal =
            Withdrawal::listen(self.ports.clone(), Arc::clone(key), id, longest).await;
    }

    /// What comes next. Called until a message is the answer, or there is none.
    pub(super) async fn next(&mut self, key: &Arc<ClientKey>, id: &Value) -> Next {
        let message = |message: Option<Value>| message.map_or(Next::CutOff, Next::Message);
        if !self.listens {
            let soon = (self.begun + SOON).min(self.deadline);
            if let Ok(first) = tokio::time::timeout_at(soon, self.messages.recv()).await {
                return message(first);
            }
            self.listen(key, id).await;
        }
        tokio::select! {
            biased;
            next = tokio::time::timeout_at(self.deadline, self.messages.recv()) => {
                message(next.unwrap_or_default())
            }
            () = taken_back(&mut self.withdrawal) => Next::TakenBack,
        }
    }

    /// The work is over: nothing is left to take back.
    pub(super) async fn end(self) {
        ended(self.withdrawal).await;
    }

    /// JSON, or a stream that can be taken up again; an empty stream once the client has taken the
    /// request back, which stops the work.
    pub(super) async fn response(mut self, key: ClientKey, id: Value) -> Response<Body> {
        let key = Arc::new(key);
        let soon = (self.begun + SOON).min(self.deadline);
        let first = tokio::time::timeout_at(soon, self.messages.recv()).await;
        if !matches!(&first, Ok(Some(answer)) if is_answer(answer)) && !matches!(first, Ok(None)) {
            self.listen(&key, &id).await;
        }
        let first = match first {
            Ok(first) => Ok(first),
            Err(_) => {
                let patience = (self.begun + JSON_WITHIN).min(self.deadline);
                let (messages, withdrawal) = (&mut self.messages, &mut self.withdrawal);
                tokio::select! {
                    biased;
                    first = tokio::time::timeout_at(patience, messages.recv()) => first,
                    // Nobody wants an answer.
                    () = taken_back(withdrawal) => {
                        ended(self.withdrawal.take()).await;
                        return event_stream(stream::empty());
                    }
                }
            }
        };
        match first {
            Ok(Some(answer)) if is_answer(&answer) => {
                ended(self.withdrawal.take()).await;
                json_response(StatusCode::OK, &answer)
            }
            Ok(Some(first)) => Recorded::begin(self, key, &id, Some(first)).await,
            Ok(None) => {
                ended(self.withdrawal.take()).await;
                lost(&id)
            }
            Err(_) => Recorded::begin(self, key, &id, None).await,
        }
    }
}
