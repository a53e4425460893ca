//! The issuer's key and the tokens that it signs.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::IssuerError;

/// An Ed25519 key.
pub(super) struct Signer {
    key: Ed25519KeyPair,
    id: String,
}

impl Signer {
    /// The key of a seed.
    pub(super) fn new(seed: &[u8; 32]) -> Result<Self, IssuerError> {
        let key = Ed25519KeyPair::from_seed_unchecked(seed);
        let key = key.map_err(|error| IssuerError::Key(error.to_string()))?;
        let digest = BASE64.encode(Sha256::digest(key.public_key().as_ref()));
        Ok(Self {
            key,
            id: digest[..16].to_owned(),
        })
    }

    /// The public key, as a set (RFC 7517, RFC 8037).
    pub(super) fn public(&self) -> Value {
        let x = BASE64.encode(self.key.public_key().as_ref());
        json!({"keys": [{
            "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self.id, "x": x,
        }]})
    }

    /// The claims as a signed access token (RFC 9068).
    pub(super) fn sign(&self, claims: &Value) -> String {
        let header = json!({"alg": "EdDSA", "kid": self.id, "typ": "at+jwt"});
        let [header, claims] = [&header, claims].map(|part| BASE64.encode(part.to_string()));
        let signed = format!("{header}.{claims}");
        let signature = BASE64.encode(self.key.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}
