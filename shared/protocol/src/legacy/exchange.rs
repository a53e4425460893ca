//! One request of a client as a transport of rmcp's: the request comes in, messages go out, and
//! replies to questions come in from the store.

use std::convert::Infallible;
use std::sync::Arc;

use domain::client_session::ClientKey;
use domain::ports::{Clock, IdSource, ReplyMailbox};
use rmcp::RoleServer;
use rmcp::model::{ErrorCode, ErrorData, JsonRpcMessage};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use serde_json::Value;
use tokio::sync::mpsc;
use tracing::Instrument as _;

use super::asked::Question;

/// Messages that may wait for the client to read them; more of them make the work wait.
const MESSAGES_AHEAD: usize = 64;

/// The transport. It ends with the answer to its one request.
pub(super) struct Exchange<P> {
    ports: P,
    /// Whose client it is; without one nothing can be asked.
    key: Option<Arc<ClientKey>>,
    incoming: mpsc::Receiver<Option<RxJsonRpcMessage<RoleServer>>>,
    /// `None` ends the exchange.
    into_incoming: mpsc::Sender<Option<RxJsonRpcMessage<RoleServer>>>,
    outgoing: mpsc::Sender<Value>,
}

impl<P> Exchange<P> {
    /// Brings one request; the messages to the client come out of the receiver, the answer last.
    pub(super) fn new(
        ports: P,
        key: Option<ClientKey>,
        request: RxJsonRpcMessage<RoleServer>,
    ) -> (Self, mpsc::Receiver<Value>) {
        let (into_incoming, incoming) = mpsc::channel(MESSAGES_AHEAD);
        let (outgoing, messages) = mpsc::channel(MESSAGES_AHEAD);
        // There is room for it: nothing else is in there.
        if into_incoming.try_send(Some(request)).is_err() {
            tracing::error!("a new channel has no room");
        }
        let exchange = Self {
            ports,
            key: key.map(Arc::new),
            incoming,
            into_incoming,
            outgoing,
        };
        (exchange, messages)
    }
}

/// Whether a message is the answer to the client's request.
pub(super) fn is_answer(message: &Value) -> bool {
    message.get("method").is_none()
}

impl<P> Transport<RoleServer> for Exchange<P>
where
    P: ReplyMailbox + Clock + IdSource + Clone + 'static,
{
    type Error = Infallible;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Infallible>> + Send + 'static {
        let outgoing = self.outgoing.clone();
        let replies = self.into_incoming.clone();
        let question = match (&item, &self.key) {
            (JsonRpcMessage::Request(request), key) => Some((request.id.clone(), key.clone())),
            _ => None,
        };
        let ports = self.ports.clone();
        // These are rmcp's own types: they always serialise.
        let mut message = serde_json::to_value(&item).unwrap_or_default();
        async move {
            let Some((asked_as, key)) = question else {
                let last = is_answer(&message);
                // Nobody reads any more: the work goes on, as its messages are kept elsewhere or
                // nobody wants them.
                let heard = outgoing.send(message).await.is_ok();
                if last && replies.send(None).await.is_err() {
                    tracing::trace!(heard, "the exchange had ended");
                }
                return Ok(());
            };
            let refusal = |message| {
                let error = ErrorData::new(ErrorCode::INTERNAL_ERROR, message, None);
                Some(JsonRpcMessage::error(error, Some(asked_as.clone())))
            };
            let refused = match key {
                None => refusal("this client cannot be asked"),
                Some(key) => {
                    let question = Question::new(ports, key, asked_as.clone());
                    match question.expect().await {
                        Ok(()) => {
                            message["id"] = question.id.as_str().into();
                            tracing::info!(question = question.id, "the client is asked");
                            if outgoing.send(message).await.is_ok() {
                                let waiting = question.wait(replies, outgoing);
                                tokio::spawn(waiting.in_current_span());
                                return Ok(());
                            }
                            refusal("the client is gone")
                        }
                        Err(error) => {
                            tracing::warn!(
                                error = &error as &dyn std::error::Error,
                                "the client was not asked"
                            );
                            refusal("the question could not be noted")
                        }
                    }
                }
            };
            if replies.send(refused).await.is_err() {
                tracing::debug!("a question was refused after the request was over");
            }
            Ok(())
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        // Safe to drop and call again: the channel keeps what was not taken.
        self.incoming.recv().await.flatten()
    }

    async fn close(&mut self) -> Result<(), Infallible> {
        self.incoming.close();
        Ok(())
    }
}
