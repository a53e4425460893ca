//! Webhooks: who has one, and posting to it, as Standard Webhooks says
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).
//!
//! | header | what it is |
//! | --- | --- |
//! | `webhook-id` | the notice's id: the same at each attempt |
//! | `webhook-timestamp` | seconds since 1970 at this attempt, on our clock |
//! | `webhook-signature` | `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body` |

mod secret;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use boot::outbound::{ClientError, ForbiddenAddress, Reach, client_within};
use boot::{Settings, SettingsError};
use domain::{
    OwnerId,
    ports::{NoticeMessage, Unavailable, Webhook, WebhookDirectory, WebhookSender},
};
use hmac::{Hmac, Mac};
use reqwest::{StatusCode, header::CONTENT_TYPE};
use sha2::Sha256;
use thiserror::Error;

pub use secret::InvalidSecret;

/// The pause before the second attempt; each next is four times as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause: ten attempts of thirty seconds with such pauses end within the function's time.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Why there can be no webhooks; the function does not start.
#[derive(Debug, Error)]
pub enum WebhooksError {
    /// A setting is missing.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The address may not be called.
    #[error("SHANNON_WEBHOOK_URL")]
    Address(#[from] ForbiddenAddress),
    /// The secret is none of Standard Webhooks.
    #[error("SHANNON_WEBHOOK_SECRET")]
    Secret(#[from] InvalidSecret),
    /// The machine has no certificate authorities.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Why an attempt failed.
#[derive(Debug, Error)]
enum AttemptError {
    #[error(transparent)]
    Address(#[from] ForbiddenAddress),
    #[error("the receiver cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    #[error("the receiver answered {0}")]
    Refused(StatusCode),
}

/// The one webhook of a deployment with one owner, and the client that posts to it.
#[derive(Debug)]
pub struct Webhooks {
    webhook: Option<Webhook>,
    client: reqwest::Client,
    reach: Reach,
    attempts: u32,
    first_pause: Duration,
}

impl Webhooks {
    /// Reads the settings.
    ///
    /// # Errors
    /// [`WebhooksError`].
    pub fn from_settings(settings: &Settings) -> Result<Self, WebhooksError> {
        let reach = match settings.text("SHANNON_WEBHOOK_ADDRESSES")? {
            "local" => Reach::Local,
            _ => Reach::Public,
        };
        let webhook = match settings.optional("SHANNON_WEBHOOK_URL")? {
            None => None,
            Some(url) => {
                reach.check(url)?;
                let secret = settings.secret("SHANNON_WEBHOOK_SECRET")?;
                Some(Webhook {
                    url: url.to_owned(),
                    secret: secret::read(secret.expose())?,
                })
            }
        };
        let seconds = |name| settings.integer(name).map(Duration::from_secs);
        // Nothing is called without a webhook: then no certificates are read either.
        let url = webhook.as_ref().map_or("http://", |it| it.url.as_str());
        let client = client_within(
            url,
            reach,
            seconds("SHANNON_CONNECT_TIMEOUT_SECONDS")?,
            seconds("SHANNON_WEBHOOK_TIMEOUT_SECONDS")?,
        )?;
        Ok(Self {
            webhook,
            client,
            reach,
            attempts: settings.count("SHANNON_WEBHOOK_ATTEMPTS")?,
            first_pause: FIRST_PAUSE,
        })
    }

    async fn attempt(
        &self,
        webhook: &Webhook,
        message: &NoticeMessage,
    ) -> Result<(), AttemptError> {
        self.reach.check(&webhook.url)?;
        let timestamp = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs()
            .to_string();
        let id = &message.notice.id;
        let signature = sign(&webhook.secret, id, &timestamp, &message.body);
        let answer = self
            .client
            .post(&webhook.url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(message.body.clone())
            .send()
            .await
            .map_err(|error| AttemptError::Unreachable(error.without_url()))?;
        // A redirect is no success, and is not followed: the next address could be any.
        if answer.status().is_success() {
            Ok(())
        } else {
            Err(AttemptError::Refused(answer.status()))
        }
    }
}

impl WebhookDirectory for Webhooks {
    async fn webhook_of(&self, _: &OwnerId) -> Result<Option<Webhook>, Unavailable> {
        Ok(self.webhook.clone())
    }
}

impl WebhookSender for Webhooks {
    async fn post(&self, webhook: &Webhook, message: &NoticeMessage) -> Result<(), Unavailable> {
        let mut attempt = 1;
        loop {
            let error = match self.attempt(webhook, message).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if attempt >= self.attempts {
                return Err(Unavailable {
                    attempted: "post to the webhook",
                    outcome_unknown: true,
                    source: Box::new(error),
                });
            }
            let pause = with_jitter(pause(self.first_pause, attempt), random());
            let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                id = message.notice.id,
                attempt,
                pause_ms,
                "a webhook is tried again"
            );
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }
}

/// What stands in `webhook-signature`.
fn sign(secret: &[u8], id: &str, timestamp: &str, body: &str) -> String {
    // A key of any length is one.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else {
        unreachable!("HMAC takes keys of every length")
    };
    for part in [id, ".", timestamp, ".", body] {
        mac.update(part.as_bytes());
    }
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// The longest pause after the attempt of this number, from 1.
fn pause(first: Duration, attempt: u32) -> Duration {
    let factor = 4_u32.saturating_pow(attempt - 1);
    first.saturating_mul(factor).min(LONGEST_PAUSE)
}

/// Between half of the pause and all of it, so that many do not come back together.
fn with_jitter(pause: Duration, random: u8) -> Duration {
    pause / 2 + (pause / 2) * u32::from(random) / u32::from(u8::MAX)
}

/// Without randomness the pause is the shortest.
fn random() -> u8 {
    let mut byte = [0];
    match getrandom::fill(&mut byte) {
        Ok(()) => byte[0],
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests;
