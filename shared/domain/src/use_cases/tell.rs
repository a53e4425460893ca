//! Tells one notice to its owner's webhook.

use crate::ports::{NoticeMessage, Unavailable, WebhookDirectory, WebhookSender};

/// Posts it to the webhook of the session's owner, where there is one. Twice, or after it was cut, the
/// receiver may hear it again, under the same id.
///
/// # Errors
/// It could not be reached: post it again.
pub async fn post_to_owner<W>(webhooks: &W, message: &NoticeMessage) -> Result<(), Unavailable>
where
    W: WebhookDirectory + WebhookSender,
{
    match webhooks.webhook_of(&message.notice.key.owner).await? {
        Some(webhook) => webhooks.post(&webhook, message).await,
        None => Ok(()),
    }
}
