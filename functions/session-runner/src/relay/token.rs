//! The session token and its renewal. It is renewed at half of its life, so that one failed try
//! costs nothing; a token that could not be renewed in time shows as refused model requests.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

/// The current token, shared by all requests.
#[derive(Clone)]
pub struct SessionToken(Arc<RwLock<String>>);

impl std::fmt::Debug for SessionToken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SessionToken")
    }
}

impl From<String> for SessionToken {
    fn from(token: String) -> Self {
        Self(Arc::new(RwLock::new(token)))
    }
}

#[derive(Deserialize)]
struct Renewed {
    token: String,
}

/// Between tries when the gateway does not answer.
const RETRY: Duration = Duration::from_secs(5);
/// Bound of one try.
const TRY_TIMEOUT: Duration = Duration::from_secs(20);

impl SessionToken {
    /// As it is now.
    #[must_use]
    pub fn current(&self) -> String {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Renews for as long as it runs. Ends when the token is not one of ours (a test, a broken
    /// start): then every request says so.
    pub(super) async fn keep_fresh(self, client: reqwest::Client, gateway_url: String) {
        while let Some(expires_at) = expiry(&self.current()) {
            let left = expires_at.saturating_sub(now_milliseconds());
            tokio::time::sleep(Duration::from_millis(left / 2)).await;
            while let Err(error) = self.renew(&client, &gateway_url).await {
                tracing::warn!(error, "the session token was not renewed");
                tokio::time::sleep(RETRY).await;
            }
        }
        tracing::error!("the session token has no expiry and is not renewed");
    }

    /// One try. Two at once give two tokens that are both good.
    pub(super) async fn renew(
        &self,
        client: &reqwest::Client,
        gateway_url: &str,
    ) -> Result<(), String> {
        let answer = client
            .post(format!("{gateway_url}/model/session-token"))
            .timeout(TRY_TIMEOUT)
            .bearer_auth(self.current())
            .send()
            .await
            .map_err(|error| error.without_url().to_string())?;
        if !answer.status().is_success() {
            return Err(format!("the gateway answered {}", answer.status()));
        }
        let renewed: Renewed = answer
            .json()
            .await
            .map_err(|error| error.without_url().to_string())?;
        if expiry(&renewed.token).is_none() {
            return Err("the gateway's answer has no session token".to_owned());
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = renewed.token;
        Ok(())
    }
}

/// Milliseconds since 1970 at which the token ends, from its fifth field (see
/// `domain::session_token`, which alone can say whether it is genuine).
fn expiry(token: &str) -> Option<u64> {
    let mut fields = token.split('.');
    (fields.next() == Some("v1")).then_some(())?;
    fields.nth(3)?.parse().ok()
}

fn now_milliseconds() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::expiry;

    #[test]
    fn only_our_tokens_have_an_expiry() {
        assert_eq!(expiry("v1.owner.ses_x.2.1700.signature"), Some(1700));
        for other in [
            "",
            "v1",
            "v2.owner.ses_x.2.1700.s",
            "v1.owner.ses_x.2.later.s",
        ] {
            assert_eq!(expiry(other), None, "{other}");
        }
    }
}
