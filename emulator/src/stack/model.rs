//! What answers the model calls of the stack.

use std::io;

use thiserror::Error;

use crate::{
    offline_model::{OfflineModel, OfflineReason},
    settings::SAMPLES,
};

/// Shortest key that the model gateway takes; its own start refuses a shorter one, and every model
/// call would fail then.
const MINIMUM_KEY_BYTES: usize = 32;

/// Why no model can answer.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The gateway would refuse this key. The message does not repeat it.
    #[error(
        "ANTHROPIC_API_KEY {problem}; correct it, unset it, or start with --offline for the offline model"
    )]
    Key {
        /// What is wrong with it.
        problem: String,
    },
    /// The offline model cannot listen.
    #[error("cannot start the offline model")]
    Listen(#[source] io::Error),
}

/// What is wrong with a key of the API, if anything.
fn key_problem(key: &str) -> Option<String> {
    if key.len() < MINIMUM_KEY_BYTES {
        Some(format!(
            "has {} bytes, and a key has at least {MINIMUM_KEY_BYTES}",
            key.len()
        ))
    } else if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        Some("contains white space or characters that a header cannot carry".to_owned())
    } else if SAMPLES
        .iter()
        .any(|sample| key.to_ascii_lowercase().starts_with(sample))
        || key.bytes().all(|byte| key.as_bytes()[0] == byte)
    {
        Some("looks like a sample, not like a key".to_owned())
    } else {
        None
    }
}

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
    /// [`ModelError`].
    pub async fn start(options: &ModelOptions) -> Result<Self, ModelError> {
        let key = options.key.as_ref().filter(|key| !key.is_empty());
        let reason = match key {
            Some(key) if !options.offline => {
                if let Some(problem) = key_problem(key) {
                    return Err(ModelError::Key { problem });
                }
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
            service: OfflineModel::start(reason)
                .await
                .map_err(ModelError::Listen)?,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_that_the_gateway_would_refuse_is_refused_here() {
        let start = async |key: &str, offline| {
            Model::start(&ModelOptions {
                key: Some(key.to_owned()),
                url: None,
                offline,
            })
            .await
        };
        for (key, problem) in [
            ("sk-ant-short", "has 12 bytes"),
            ("sk-ant-with a space in it 0123456789", "white space"),
            ("sk-ant-012345678901234567890123456789é", "white space"),
            ("Example-key-0123456789-abcdefghijklmn", "a sample"),
            ("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "a sample"),
        ] {
            let said = match start(key, false).await {
                Err(error) => error.to_string(),
                Ok(model) => panic!("{key} was taken: {}", model.in_words()),
            };
            assert!(
                said.contains("ANTHROPIC_API_KEY") && said.contains(problem),
                "{said}"
            );
            assert!(said.contains("--offline") && !said.contains(key), "{said}");
            assert!(matches!(start(key, true).await, Ok(Model::Offline { .. })));
        }
        let right = start("sk-ant-api03-0123456789-abcdefghijklmn", false).await;
        assert!(matches!(right, Ok(Model::Real { .. })));
        assert!(matches!(start("", false).await, Ok(Model::Offline { .. })));
    }
}
