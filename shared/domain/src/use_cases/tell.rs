//! Tells one notice to the topic and to its owner's webhook.

use crate::ports::{NoticeMessage, Notifier, Unavailable, WebhookDirectory, WebhookSender};

/// Tells everybody who is to hear it; one that cannot be reached keeps nobody else from hearing it.
///
/// Twice, or after it was cut, everybody may hear it again, under the same id.
///
/// # Errors
/// The first receiver that could not be reached: tell all again.
pub async fn tell<T, W>(topic: &T, webhooks: &W, message: &NoticeMessage) -> Result<(), Unavailable>
where
    T: Notifier,
    W: WebhookDirectory + WebhookSender,
{
    let published = topic.publish(message).await;
    let posted = match webhooks.webhook_of(&message.notice.key.owner).await {
        Ok(Some(webhook)) => webhooks.post(&webhook, message).await,
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    published.and(posted)
}
