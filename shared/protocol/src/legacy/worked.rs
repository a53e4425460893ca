//! One request of a client of 2024-11-05, worked on beside its others.

use std::sync::Arc;

use domain::client_session::ClientKey;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tracing::Instrument as _;

use super::ClientPorts;
use super::exchange::is_answer;
use super::running::{Next, Running};
use crate::answer::{INTERNAL_ERROR, error_message};

/// The work on a request.
pub(super) struct Working {
    /// Tells two with the same id apart.
    pub(super) number: u64,
    work: AbortHandle,
}

/// What the work on a request has to say.
pub(super) struct Said {
    /// The id of the request, as JSON.
    pub(super) id: String,
    pub(super) number: u64,
    /// To the client. `None` once it has taken the request back: then there is no answer.
    pub(super) message: Option<Value>,
}

impl Working {
    /// Begins the work. It ends with the answer, which there always is, unless the client takes the
    /// request back: also from another stream, by whose holder's word it is heard of here.
    pub(super) fn begin<P: ClientPorts>(
        mut run: Running<P>,
        key: Arc<ClientKey>,
        id: Value,
        number: u64,
        to: mpsc::Sender<Said>,
    ) -> Self {
        let work = async move {
            loop {
                let message = match run.next(&key, &id).await {
                    Next::Message(message) => Some(message),
                    Next::TakenBack => None,
                    Next::CutOff => {
                        let text = "the request was cut off; ask again";
                        Some(error_message(&id, INTERNAL_ERROR, text))
                    }
                };
                let last = message.as_ref().is_none_or(is_answer);
                let id = id.to_string();
                let said = Said {
                    id,
                    number,
                    message,
                };
                if to.send(said).await.is_err() || last {
                    return run.end().await;
                }
            }
        };
        Self {
            number,
            work: tokio::spawn(work.in_current_span()).abort_handle(),
        }
    }

    /// Stops the work, whose answer nobody wants.
    pub(super) fn stop(&self) {
        self.work.abort();
    }
}
