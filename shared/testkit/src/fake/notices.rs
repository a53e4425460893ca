//! Notices, in memory.

use domain::{
    OwnerId,
    ports::{NoticeMessage, Notifier, Unavailable, Webhook, WebhookDirectory, WebhookSender},
};

use super::Fake;

impl Notifier for Fake {
    async fn publish(&self, message: &NoticeMessage) -> Result<(), Unavailable> {
        self.call("publish", |world| {
            world.published.push(message.clone());
            Ok(())
        })
        .await
    }
}

impl WebhookDirectory for Fake {
    async fn webhook_of(&self, owner: &OwnerId) -> Result<Option<Webhook>, Unavailable> {
        self.call("webhook_of", |world| Ok(world.webhooks.get(owner).cloned()))
            .await
    }
}

impl WebhookSender for Fake {
    async fn post(&self, webhook: &Webhook, message: &NoticeMessage) -> Result<(), Unavailable> {
        self.call("post", |world| {
            let url = webhook.url.clone();
            world.posted.push((url, message.clone()));
            Ok(())
        })
        .await
    }
}

impl Fake {
    /// Gives an owner a webhook.
    pub fn set_webhook(&self, owner: &OwnerId, webhook: Webhook) {
        self.lock().world.webhooks.insert(owner.clone(), webhook);
    }

    /// What was published so far.
    #[must_use]
    pub fn published(&self) -> Vec<NoticeMessage> {
        self.lock().world.published.clone()
    }

    /// What was posted so far, with its address.
    #[must_use]
    pub fn posted(&self) -> Vec<(String, NoticeMessage)> {
        self.lock().world.posted.clone()
    }
}
