//! The public keys of an issuer, kept for a while.
//!
//! ```text
//! key id -> kept and fresh? -> yes: it
//!                           -> no, or unknown: ask the issuer again, at most every ten seconds
//! ```
//! An issuer that rotates its keys is followed as soon as somebody comes with a token of the new one. When
//! the issuer cannot be reached, what was kept counts until it is too old, then nobody is let in; the next
//! attempt that succeeds ends that.

use std::sync::Arc;

use domain::UnixMillis;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde_json::Value;
use thiserror::Error;
use tokio::sync::Mutex;

use crate::signature::family;

/// Between two attempts to ask the issuer, in milliseconds. Own: whoever makes up key ids costs the issuer
/// six requests a minute for each instance of this function.
pub(crate) const ATTEMPT_MILLISECONDS: u64 = 10_000;
/// Keys of an issuer that are looked at. Own: issuers have two or three.
const MOST_KEYS: usize = 100;

/// Where the keys of an issuer come from.
pub(crate) trait KeySource: Send + Sync {
    /// The set of keys as the issuer publishes it now.
    fn fetch(&self) -> impl Future<Output = Result<Value, FetchError>> + Send;
}

/// Why there is no set of keys. Another attempt may succeed.
#[derive(Clone, Debug, Error)]
#[error("the issuer's keys cannot be had")]
pub(crate) struct FetchError(#[source] pub(crate) Arc<dyn std::error::Error + Send + Sync>);

impl FetchError {
    pub(crate) fn because(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(Arc::from(reason.into()))
    }
}

/// Why there is no key.
#[derive(Debug, Error)]
pub(crate) enum NoKey {
    /// The issuer has none of that id and kind.
    #[error("the issuer has no such key")]
    Unknown,
    /// What the issuer has cannot be found out now.
    #[error(transparent)]
    Unavailable(FetchError),
}

/// A key that may check signatures.
#[derive(Clone)]
struct Usable {
    id: Option<String>,
    /// What the issuer says that it is for.
    algorithm: Option<Algorithm>,
    key: DecodingKey,
}

impl Usable {
    /// Of what an issuer publishes; `None` for a key of another kind or for another purpose. Secrets that
    /// both sides know are never among them.
    fn read(jwk: &Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(jwk.clone()).ok()?;
        let for_signatures = match &jwk.common.public_key_use {
            None | Some(PublicKeyUse::Signature) => true,
            Some(_) => false,
        };
        let known = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => true,
            AlgorithmParameters::EllipticCurve(it) => it.curve == EllipticCurve::P256,
            AlgorithmParameters::OctetKeyPair(it) => it.curve == EllipticCurve::Ed25519,
            _ => false,
        };
        if !for_signatures || !known {
            return None;
        }
        let algorithm = match jwk.common.key_algorithm {
            None => None,
            Some(KeyAlgorithm::RS256) => Some(Algorithm::RS256),
            Some(KeyAlgorithm::ES256) => Some(Algorithm::ES256),
            Some(KeyAlgorithm::EdDSA) => Some(Algorithm::EdDSA),
            Some(_) => return None,
        };
        Some(Self {
            id: jwk.common.key_id.clone(),
            algorithm,
            key: DecodingKey::from_jwk(&jwk).ok()?,
        })
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        let kind: Option<AlgorithmFamily> = family(algorithm);
        kind == Some(self.key.family()) && self.algorithm.is_none_or(|it| it == algorithm)
    }
}

#[derive(Default)]
struct Kept {
    keys: Vec<Usable>,
    fetched_at: Option<UnixMillis>,
    tried_at: Option<UnixMillis>,
    failure: Option<FetchError>,
}

/// The keys of one issuer.
pub(crate) struct Keys<S> {
    source: S,
    cache_milliseconds: u64,
    kept: Mutex<Kept>,
}

impl<S: KeySource> Keys<S> {
    pub(crate) fn new(source: S, cache_seconds: u64) -> Self {
        Self {
            source,
            cache_milliseconds: cache_seconds * 1000,
            kept: Mutex::default(),
        }
    }

    /// The key with which a token says that it is signed. Without an id it must be the only one.
    ///
    /// # Errors
    /// [`NoKey`].
    pub(crate) async fn find(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
        now: UnixMillis,
    ) -> Result<DecodingKey, NoKey> {
        let mut kept = self.kept.lock().await;
        let is_within = |at: Option<UnixMillis>, milliseconds: u64| {
            at.is_some_and(|at| now.since(at) < milliseconds)
        };
        if is_within(kept.fetched_at, self.cache_milliseconds)
            && let Some(key) = choose(&kept.keys, id, algorithm)
        {
            return Ok(key);
        }
        if !is_within(kept.tried_at, ATTEMPT_MILLISECONDS) {
            kept.tried_at = Some(now);
            match self.source.fetch().await.and_then(|set| usable(&set)) {
                Ok(keys) => {
                    kept.keys = keys;
                    kept.fetched_at = Some(now);
                    kept.failure = None;
                    tracing::info!(keys = kept.keys.len(), "the issuer's keys are read");
                }
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the issuer's keys cannot be read; tokens of it are refused once those kept are too old"
                    );
                    kept.failure = Some(error);
                }
            }
        }
        if is_within(kept.fetched_at, self.cache_milliseconds) {
            return choose(&kept.keys, id, algorithm).ok_or(NoKey::Unknown);
        }
        let failure = kept.failure.clone();
        Err(NoKey::Unavailable(failure.unwrap_or_else(|| {
            FetchError::because("they are asked for at most every ten seconds")
        })))
    }
}

/// An answer without any key that can be used is none: what was kept goes on.
fn usable(set: &Value) -> Result<Vec<Usable>, FetchError> {
    let keys = set["keys"].as_array().into_iter().flatten();
    let keys: Vec<Usable> = keys.take(MOST_KEYS).filter_map(Usable::read).collect();
    if keys.is_empty() {
        return Err(FetchError::because("no key in the answer can be used"));
    }
    Ok(keys)
}

fn choose(keys: &[Usable], id: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
    let mut fitting = keys.iter().filter(|key| key.fits(algorithm));
    match id {
        Some(id) => fitting.find(|key| key.id.as_deref() == Some(id)),
        None => {
            let only = fitting.next();
            only.filter(|_| fitting.next().is_none())
        }
    }
    .map(|key| key.key.clone())
}

#[cfg(test)]
#[path = "jwks_tests.rs"]
mod tests;
