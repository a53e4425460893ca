//! The issuer's keys over HTTP: from the address that the settings name, or from the one that the issuer's
//! own metadata names (OpenID Connect Discovery 1.0, section 4).

use std::time::Duration;

use boot::outbound::{Reach, client_within};
use boot::{Settings, StartError};
use serde_json::Value;
use thiserror::Error;

use crate::jwks::{FetchError, KeySource};

/// Longest document that is read. Own: issuers publish a few KiB.
const MOST_BYTES: usize = 256 * 1024;
/// How long one request may take. Own: whoever calls us waits for it.
const WITHIN: Duration = Duration::from_secs(10);
const METADATA: &str = "/.well-known/openid-configuration";

/// What is wrong with a document.
#[derive(Debug, Error)]
enum Unusable {
    #[error("{0} answers with HTTP {1}")]
    Status(String, u16),
    #[error("{0} gives more than {MOST_BYTES} bytes")]
    Long(String),
    #[error("{0} gives no JSON")]
    Json(String, #[source] serde_json::Error),
    #[error("{0} cannot be called")]
    Address(String, #[source] boot::outbound::ForbiddenAddress),
    #[error("{0} cannot be reached")]
    Unreachable(String, #[source] reqwest::Error),
    #[error("{0} is the metadata of another issuer")]
    OtherIssuer(String),
    #[error("{0} names no jwks_uri")]
    NoKeys(String),
}

/// Asks one issuer.
pub(crate) struct Discovery {
    issuer: String,
    /// Where the keys are; the issuer is asked when it is not said.
    keys: Option<String>,
    client: reqwest::Client,
    reach: Reach,
}

impl Discovery {
    /// Reads the settings; calls nothing yet.
    ///
    /// # Errors
    /// An address that may not be called, or no HTTP client.
    pub(crate) fn from_settings(issuer: &str, settings: &Settings) -> Result<Self, StartError> {
        let reach = match settings.text("SHANNON_OIDC_ADDRESSES")? {
            "local" => Reach::Local,
            _ => Reach::Public,
        };
        let keys = settings.optional("SHANNON_OIDC_JWKS_URL")?;
        for address in [Some(issuer), keys].into_iter().flatten() {
            let forbidden = |error| Unusable::Address(address.to_owned(), error);
            reach
                .check(address)
                .map_err(forbidden)
                .map_err(|error| StartError::Part(error.into()))?;
        }
        let connect = settings.integer("SHANNON_CONNECT_TIMEOUT_SECONDS")?;
        let client = client_within(
            keys.unwrap_or(issuer),
            reach,
            Duration::from_secs(connect),
            WITHIN,
        )
        .map_err(|error| StartError::Part(error.into()))?;
        Ok(Self {
            issuer: issuer.to_owned(),
            keys: keys.map(str::to_owned),
            client,
            reach,
        })
    }

    async fn document(&self, address: &str) -> Result<Value, Unusable> {
        let named = || address.to_owned();
        self.reach
            .check(address)
            .map_err(|error| Unusable::Address(named(), error))?;
        let unreachable = |error: reqwest::Error| Unusable::Unreachable(named(), error);
        let request = self.client.get(address);
        let request = request.header("accept", "application/json");
        let mut answer = request.send().await.map_err(unreachable)?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(Unusable::Status(named(), answer.status().as_u16()));
        }
        let mut bytes = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(unreachable)? {
            if bytes.len() + piece.len() > MOST_BYTES {
                return Err(Unusable::Long(named()));
            }
            bytes.extend_from_slice(&piece);
        }
        serde_json::from_slice(&bytes).map_err(|error| Unusable::Json(named(), error))
    }

    async fn keys(&self) -> Result<Value, Unusable> {
        if let Some(address) = &self.keys {
            return self.document(address).await;
        }
        let address = format!("{}{METADATA}", self.issuer.trim_end_matches('/'));
        let metadata = self.document(&address).await?;
        if metadata["issuer"] != self.issuer.as_str() {
            return Err(Unusable::OtherIssuer(address));
        }
        let keys = metadata["jwks_uri"].as_str();
        let keys = keys.ok_or_else(|| Unusable::NoKeys(address.clone()))?;
        self.document(keys).await
    }
}

impl KeySource for Discovery {
    async fn fetch(&self) -> Result<Value, FetchError> {
        self.keys().await.map_err(FetchError::because)
    }
}

#[cfg(test)]
#[path = "discovery_tests.rs"]
mod tests;
