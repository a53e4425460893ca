//! The canary: asks the deployment over its public address, as a client does, whether it is ready. Two
//! alarms are made of the line that it writes.

use std::time::Duration;

use boot::outbound::{self, ClientError};
use boot::{Settings, SettingsError};
use reqwest::StatusCode;
use serde_json::Value;

use crate::Event;

/// The longest that an answer takes; the sweep needs the rest of the function's time.
const ANSWER: Duration = Duration::from_secs(10);

/// Why there is no canary; the function cannot start.
#[derive(Debug, thiserror::Error)]
pub enum CanaryError {
    /// A setting is wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// See [`ClientError`].
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// What one look saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Everything answers.
    Ready,
    /// It answers, and says that a dependency does not.
    NotReady,
    /// Nothing answers, or something that is not the deployment.
    Down,
}

/// Looks now and then.
#[derive(Debug)]
pub struct Canary {
    /// Where, and with what; `None` where it never looks.
    asks: Option<(String, reqwest::Client)>,
    interval_seconds: u64,
}

impl Canary {
    /// Reads the settings.
    ///
    /// # Errors
    /// [`CanaryError`].
    pub fn from_settings(settings: &Settings) -> Result<Self, CanaryError> {
        let interval_seconds = settings.integer("SHANNON_CANARY_INTERVAL_SECONDS")?;
        let connect = Duration::from_secs(settings.integer("SHANNON_CONNECT_TIMEOUT_SECONDS")?);
        let asks = match settings.optional("SHANNON_PUBLIC_URL")? {
            Some(url) if interval_seconds > 0 => {
                Some((format!("{url}/ready"), outbound::client(url, connect)?))
            }
            _ => None,
        };
        Ok(Self {
            asks,
            interval_seconds,
        })
    }

    /// Looks, with the first sweep of each interval, and says what it saw. Looking twice is harmless.
    pub async fn look_if_due(&self, event: &Event) -> Option<Seen> {
        let (address, client) = self.asks.as_ref()?;
        if !self.is_due(event) {
            return None;
        }
        let seen = look(address, client).await;
        let (up, ready) = match seen {
            Seen::Ready => (1, Some(1)),
            Seen::NotReady => (1, Some(0)),
            Seen::Down => (0, None),
        };
        tracing::info!(shannon_up = up, shannon_ready = ready, "canary");
        Some(seen)
    }
}

impl Canary {
    /// With the first sweep of each interval, where there is one.
    pub(crate) fn is_due(&self, event: &Event) -> bool {
        let Event::Sweep {
            minute: Some(minute),
        } = event
        else {
            return false;
        };
        self.interval_seconds > 0 && minute * 60 % self.interval_seconds < 60
    }
}

async fn look(address: &str, client: &reqwest::Client) -> Seen {
    let answer = match client.get(address).timeout(ANSWER).send().await {
        Ok(answer) => answer,
        Err(error) => {
            let error = error.without_url();
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the canary got no answer"
            );
            return Seen::Down;
        }
    };
    let status = answer.status();
    // Anything in between may answer 503, too; only the deployment names its checks.
    let body: Value = answer.json().await.unwrap_or_default();
    match status {
        StatusCode::OK if body["checks"].is_object() => Seen::Ready,
        StatusCode::SERVICE_UNAVAILABLE if body["checks"].is_object() => {
            tracing::warn!(checks = %body["checks"], "the deployment is not ready");
            Seen::NotReady
        }
        _ => {
            let status = status.as_u16();
            tracing::warn!(status, "the canary got an answer that is none of ours");
            Seen::Down
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn canary(url: &str, interval: &str) -> Canary {
        let variables = [
            ("SHANNON_PUBLIC_URL", url),
            ("SHANNON_CANARY_INTERVAL_SECONDS", interval),
        ];
        let variables =
            variables.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Canary::from_settings(&Settings::read(variables).expect("good settings")).expect("a canary")
    }

    /// A server that answers everything with this.
    async fn server(status: u16, body: &'static str) -> String {
        use axum::http::StatusCode;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let status = StatusCode::from_u16(status).expect("a status");
        let router = axum::Router::new().route(
            "/ready",
            axum::routing::get(move || async move { (status, body) }),
        );
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn sweep(minute: u64) -> Event {
        Event::Sweep {
            minute: Some(minute),
        }
    }

    #[tokio::test]
    async fn it_tells_ready_from_not_ready_and_from_down() {
        let checks = r#"{"status": "x", "checks": {"table": {}}}"#;
        for (status, body, expected) in [
            (200, checks, Seen::Ready),
            (503, checks, Seen::NotReady),
            (503, r#"{"message": "Service Unavailable"}"#, Seen::Down),
            (200, "<html>", Seen::Down),
            (
                403,
                r#"{"message": "Missing Authentication Token"}"#,
                Seen::Down,
            ),
        ] {
            let canary = canary(&server(status, body).await, "300");
            assert_eq!(
                canary.look_if_due(&sweep(5)).await,
                Some(expected),
                "{status} {body}"
            );
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let closed = format!("http://{}", listener.local_addr().expect("an address"));
        drop(listener);
        let canary = canary(&closed, "300");
        assert_eq!(canary.look_if_due(&sweep(0)).await, Some(Seen::Down));
    }

    #[tokio::test]
    async fn it_looks_once_in_an_interval() {
        let url = server(200, r#"{"checks": {}}"#).await;
        for (interval, expected) in [("300", 288), ("60", 1440), ("3600", 24), ("0", 0)] {
            let canary = canary(&url, interval);
            let mut looks = 0;
            for minute in 0..24 * 60 {
                looks += usize::from(canary.look_if_due(&sweep(minute)).await.is_some());
            }
            assert_eq!(looks, expected, "{interval}");
        }
        let canary = canary(&url, "60");
        assert_eq!(
            canary.look_if_due(&Event::Sweep { minute: None }).await,
            None
        );
        assert_eq!(canary.look_if_due(&Event::DryRun).await, None);
    }
}
