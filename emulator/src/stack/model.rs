//! What answers the model calls of the stack.

use std::io;

use crate::offline_model::{OfflineModel, OfflineReason};

/// Where the real API is unless `ANTHROPIC_BASE_URL` says otherwise.
const ANTHROPIC: &str = "https://api.anthropic.com";

/// What stands behind the model gateway.
pub enum Model {
    /// The Anthropic API, with a real key.
    Real {
        /// Base address.
        url: String,
        /// The key; never shown.
        key: String,
    },
    /// The scripted model of the emulator.
    Offline {
        /// It runs until this is dropped.
        service: OfflineModel,
        /// Why.
        reason: OfflineReason,
    },
}

/// What the person has given.
#[derive(Clone, Default)]
pub struct ModelOptions {
    /// `ANTHROPIC_API_KEY`; empty counts as none.
    pub key: Option<String>,
    /// `ANTHROPIC_BASE_URL`; used with a key only.
    pub url: Option<String>,
    /// `--offline`.
    pub offline: bool,
}

impl Model {
    /// The real API when there is a key and nobody asked for the offline model.
    ///
    /// # Errors
    /// When the offline model cannot listen.
    pub async fn start(options: &ModelOptions) -> io::Result<Self> {
        let key = options.key.as_ref().filter(|key| !key.is_empty());
        let reason = match key {
            Some(key) if !options.offline => {
                let url = options.url.as_deref().filter(|url| !url.is_empty());
                return Ok(Self::Real {
                    url: url.unwrap_or(ANTHROPIC).trim_end_matches('/').to_owned(),
                    key: key.clone(),
                });
            }
            Some(_) => OfflineReason::Asked,
            None => OfflineReason::NoKey,
        };
        Ok(Self::Offline {
            service: OfflineModel::start(reason).await?,
            reason,
        })
    }

    /// For the parameter `ModelUrl`.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Real { url, .. } => url.clone(),
            Self::Offline { service, .. } => service.url(),
        }
    }

    /// For the parameter `AnthropicApiKey`.
    pub(super) fn key(&self) -> String {
        match self {
            Self::Real { key, .. } => key.clone(),
            Self::Offline { service, .. } => service.key().to_owned(),
        }
    }

    /// For people.
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Real { url, .. } => {
                format!("the Anthropic API at {url}, with the key of ANTHROPIC_API_KEY")
            }
            Self::Offline {
                reason: OfflineReason::NoKey,
                ..
            } => "the offline model (scripted, no network): set ANTHROPIC_API_KEY for the real one"
                .to_owned(),
            Self::Offline {
                reason: OfflineReason::Asked,
                ..
            } => "the offline model (scripted, no network), as --offline asks".to_owned(),
        }
    }

    /// Ends what was started.
    pub(super) async fn shutdown(self) {
        if let Self::Offline { service, .. } = self {
            service.shutdown().await;
        }
    }
}
