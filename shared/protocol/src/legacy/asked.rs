//! Questions to a client on their way out, and the wait for their replies.

use std::sync::Arc;

use domain::client_session::ClientKey;
use domain::ids::base32;
use domain::limits::ANSWER_MILLISECONDS;
use domain::ports::{Clock, IdSource, ReplyMailbox, Unavailable};
use rmcp::RoleServer;
use rmcp::model::{ErrorCode, ErrorData, JsonRpcMessage, RequestId};
use rmcp::service::RxJsonRpcMessage;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::ask::NO_ANSWER;

/// Between two looks for a reply. Own: a person does not notice it.
const LOOK_MILLISECONDS: u64 = 200;
/// How long a reply is awaited in the store after the wait for it ended: clocks differ.
const GRACE_MILLISECONDS: u64 = 60_000;

const PREFIX: &str = "ask_";

/// Whether an id is of the form of [`Question::id`].
pub(super) fn is_question(id: &str) -> bool {
    id.len() == PREFIX.len() + 26
        && id.starts_with(PREFIX)
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// One question. Its id on the wire is unique for ever: the reply may reach an instance that has
/// never heard of it.
pub(super) struct Question<P> {
    pub(super) ports: P,
    pub(super) key: Arc<ClientKey>,
    /// On the wire.
    pub(super) id: String,
    /// What the handler knows it by.
    pub(super) asked_as: RequestId,
}

impl<P: ReplyMailbox + Clock + IdSource> Question<P> {
    pub(super) fn new(ports: P, key: Arc<ClientKey>, asked_as: RequestId) -> Self {
        let id = format!("{PREFIX}{}", &base32(&ports.random())[..26]);
        Self {
            ports,
            key,
            id,
            asked_as,
        }
    }

    /// Lets a reply be delivered; before the question is sent.
    pub(super) async fn expect(&self) -> Result<(), Unavailable> {
        let until = self
            .ports
            .now()
            .plus(ANSWER_MILLISECONDS + GRACE_MILLISECONDS);
        self.ports.await_reply(&self.key, &self.id, until).await
    }

    /// Waits for the reply and gives it to the handler; without one in time, an error. Ends with
    /// whoever would read it. When nobody answered, `withdraw` gets the message that tells the
    /// client so.
    pub(super) async fn wait(
        self,
        replies: mpsc::Sender<Option<RxJsonRpcMessage<RoleServer>>>,
        withdraw: mpsc::Sender<Value>,
    ) {
        let until = self.ports.now().plus(ANSWER_MILLISECONDS);
        let reply = loop {
            tokio::select! {
                () = replies.closed() => return,
                () = self.ports.sleep(LOOK_MILLISECONDS) => {}
            }
            match self.ports.reply(&self.key, &self.id).await {
                Ok(Some(reply)) => break self.read(&reply),
                Ok(None) if self.ports.now() < until => {}
                Ok(None) => {
                    let notice = json!({
                        "jsonrpc": "2.0",
                        "method": "notifications/cancelled",
                        "params": {"requestId": self.id, "reason": "nobody answered in time"},
                    });
                    // Whether the client hears it or not, the wait is over.
                    if withdraw.send(notice).await.is_err() {
                        return;
                    }
                    break self.no_answer();
                }
                // It may be over in a moment; the wait is bounded all the same.
                Err(error) if self.ports.now() < until => tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "a reply was not looked for"
                ),
                Err(_) => break self.no_answer(),
            }
        };
        if replies.send(Some(reply)).await.is_err() {
            tracing::debug!(
                question = self.id,
                "a reply came after the request was over"
            );
        }
    }

    fn no_answer(&self) -> RxJsonRpcMessage<RoleServer> {
        self.error(NO_ANSWER, "nobody answered in time")
    }

    fn error(&self, code: i32, message: &'static str) -> RxJsonRpcMessage<RoleServer> {
        let error = ErrorData::new(ErrorCode(code), message, None);
        JsonRpcMessage::error(error, Some(self.asked_as.clone()))
    }

    /// A reply as the client wrote it, under the handler's id.
    fn read(&self, reply: &str) -> RxJsonRpcMessage<RoleServer> {
        let read = || {
            let mut reply: Value = serde_json::from_str(reply).ok()?;
            reply["id"] = serde_json::to_value(&self.asked_as).ok()?;
            serde_json::from_value(reply).ok()
        };
        read().unwrap_or_else(|| {
            let invalid = ErrorCode::INVALID_REQUEST.0;
            self.error(invalid, "the client's reply cannot be read")
        })
    }
}
