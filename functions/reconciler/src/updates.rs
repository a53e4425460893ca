//! Once a day, whether there is a newer release of the CLI: kept for `/ready`, told to operators, never
//! installed.

use std::time::Duration;

use boot::outbound;
use boot::{Settings, SettingsError};
use domain::ports::{Clock, Operators, Releases, Unavailable};
use domain::release::{NoVersion, Version};
use domain::use_cases::note_release;
use reqwest::StatusCode;
use serde::Deserialize;

use crate::{Event, canary::CanaryError};

/// The longest that the registry takes; the sweep needs the rest of the function's time.
const ANSWER: Duration = Duration::from_secs(10);
/// The description of one version is some KiB.
const ANSWER_BYTES: usize = 1024 * 1024;
/// The package, as registries of npm want its name in an address.
const PACKAGE: &str = "@anthropic-ai%2fclaude-code";

/// Asks now and then.
#[derive(Debug)]
pub struct Updates {
    /// Where, and with what; `None` where it never asks.
    asks: Option<(String, reqwest::Client)>,
    interval_seconds: u64,
    supported: Version,
}

#[derive(Deserialize)]
struct Latest {
    version: String,
}

impl Updates {
    /// Reads the settings.
    ///
    /// # Errors
    /// [`CanaryError`].
    pub fn from_settings(settings: &Settings) -> Result<Self, CanaryError> {
        const SUPPORTED: &str = "SHANNON_CLAUDE_VERSION";
        let interval_seconds = settings.integer("SHANNON_CLAUDE_UPDATE_CHECK_SECONDS")?;
        let registry = settings.text("SHANNON_NPM_REGISTRY_URL")?;
        let connect = Duration::from_secs(settings.integer("SHANNON_CONNECT_TIMEOUT_SECONDS")?);
        let supported = settings.text(SUPPORTED)?;
        let supported = supported
            .parse()
            .map_err(|error: NoVersion| SettingsError::Invalid {
                name: SUPPORTED.to_owned(),
                problem: error.to_string(),
                allowed: "an exact version".to_owned(),
            })?;
        let asks = if interval_seconds > 0 {
            let address = format!("{}/{PACKAGE}/latest", registry.trim_end_matches('/'));
            let client = outbound::client(&address, connect)?;
            Some((address, client))
        } else {
            None
        };
        Ok(Self {
            asks,
            interval_seconds,
            supported,
        })
    }

    /// Asks with the first sweep of each interval. Where the registry cannot be reached, the log says so
    /// and the next interval asks again; asking twice tells nobody twice.
    pub async fn ask_if_due<P: Releases + Clock, O: Operators>(
        &self,
        ports: &P,
        operators: &O,
        event: &Event,
    ) {
        let Some((address, client)) = &self.asks else {
            return;
        };
        let Event::Sweep {
            minute: Some(minute),
        } = event
        else {
            return;
        };
        if minute * 60 % self.interval_seconds >= 60 {
            return;
        }
        let asked = async {
            let newest = newest(address, client).await?;
            note_release(ports, operators, self.supported, newest).await
        };
        match asked.await {
            Ok(release) => tracing::info!(
                newest = %release.newest,
                supported = %self.supported,
                "the newest release of Claude Code"
            ),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "whether there is a newer release of Claude Code is not known"
            ),
        }
    }
}

async fn newest(address: &str, client: &reqwest::Client) -> Result<Version, Unavailable> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Unavailable {
        attempted: "ask the registry for the newest release",
        outcome_unknown: false,
        source,
    };
    let asked = client.get(address).timeout(ANSWER).send().await;
    let mut answer = asked.map_err(|error| failed(error.into()))?;
    if answer.status() != StatusCode::OK {
        return Err(failed(format!("it answers {}", answer.status()).into()));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| failed(error.into()))? {
        if bytes.len() + chunk.len() > ANSWER_BYTES {
            return Err(failed("its answer is too long".into()));
        }
        bytes.extend_from_slice(&chunk);
    }
    let latest: Latest = serde_json::from_slice(&bytes).map_err(|error| failed(error.into()))?;
    latest
        .version
        .parse()
        .map_err(|error| failed(Box::new(error)))
}

#[cfg(test)]
mod tests;
