//! Where notices go.

use std::fmt;

use crate::{OwnerId, notice::Notice};

use super::Unavailable;

/// A notice with the text that all its receivers get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeMessage {
    /// What is told.
    pub notice: Notice,
    /// The same as its receivers read it.
    pub body: String,
}

/// Where everybody who subscribed is told.
pub trait Notifier: Send + Sync {
    /// Publishes a message. Repeating it publishes it again; receivers know it by the notice's id.
    fn publish(
        &self,
        message: &NoticeMessage,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;
}

/// An address that an owner gave.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where messages are posted.
    pub url: String,
    /// What they are signed with, as bytes.
    pub secret: Vec<u8>,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Webhook")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Who wants messages posted where.
pub trait WebhookDirectory: Send + Sync {
    /// The owner's webhook, if there is one.
    fn webhook_of(
        &self,
        owner: &OwnerId,
    ) -> impl Future<Output = Result<Option<Webhook>, Unavailable>> + Send;
}

/// Posts to webhooks.
pub trait WebhookSender: Send + Sync {
    /// Posts a signed message, more than once where that is needed, and returns when the receiver has
    /// taken it. An error means that it was given up; a receiver may have it all the same.
    fn post(
        &self,
        webhook: &Webhook,
        message: &NoticeMessage,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;
}
