//! The token with which a session's runner speaks to the model gateway: signed, short-lived, good
//! for one session and one fence. Whoever holds it can spend that session's budget and nothing else.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use thiserror::Error;

use crate::{FencingToken, OwnerId, SessionId, SessionKey, UnixMillis};

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionClaims {
    /// For which session.
    pub key: SessionKey,
    /// For which runner of it.
    pub fence: FencingToken,
    /// Until when, on the signer's clock.
    pub expires_at: UnixMillis,
}

/// A token that is not to be trusted; the holder needs another.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum InvalidToken {
    /// Not of our form.
    #[error("not a session token")]
    Malformed,
    /// Signed with another key, or changed.
    #[error("the session token's signature does not match")]
    Signature,
    /// Too old.
    #[error("the session token has expired")]
    Expired,
}

/// The signing key is too short to sign anything.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a signing key needs at least {MINIMUM_KEY_BYTES} bytes")]
pub struct ShortKey;

/// Shortest signing key: as long as the hash (RFC 2104, section 3).
pub const MINIMUM_KEY_BYTES: usize = 32;

/// Separates these signatures from others under the same key.
const PURPOSE: &str = "shannon-session-token-v1\n";

/// Signs and checks session tokens, and the states that clients carry for us.
#[derive(Clone)]
pub struct SigningKey(Vec<u8>);

impl SigningKey {
    /// # Errors
    /// [`ShortKey`] for a key under [`MINIMUM_KEY_BYTES`].
    pub fn new(secret: &[u8]) -> Result<Self, ShortKey> {
        if secret.len() < MINIMUM_KEY_BYTES {
            return Err(ShortKey);
        }
        Ok(Self(secret.to_vec()))
    }

    fn mac(&self, purpose: &str, payload: &str) -> Hmac<Sha256> {
        // HMAC takes keys of any length, so this cannot fail.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).unwrap_or_else(|_| unreachable!());
        mac.update(purpose.as_bytes());
        mac.update(payload.as_bytes());
        mac
    }

    /// A signature that counts for nothing but `purpose`, a line.
    pub(crate) fn sign_for(&self, purpose: &str, payload: &str) -> [u8; 32] {
        self.mac(purpose, payload).finalize().into_bytes().into()
    }

    /// Whether this is the signature of `payload` for `purpose`; takes the same time either way.
    pub(crate) fn is_signed_for(&self, purpose: &str, payload: &str, signature: &[u8]) -> bool {
        self.mac(purpose, payload).verify_slice(signature).is_ok()
    }

    /// The token for `claims`: the same claims give the same token.
    #[must_use]
    pub fn sign(&self, claims: &SessionClaims) -> String {
        let payload = format!(
            "v1.{}.{}.{}.{}",
            claims.key.owner, claims.key.session, claims.fence, claims.expires_at.0
        );
        let signature = URL_SAFE_NO_PAD.encode(self.sign_for(PURPOSE, &payload));
        format!("{payload}.{signature}")
    }

    /// Checks signature and expiry.
    ///
    /// # Errors
    /// [`InvalidToken`]; the caller is refused, without saying which part was wrong.
    pub fn verify(&self, token: &str, now: UnixMillis) -> Result<SessionClaims, InvalidToken> {
        let (payload, signature) = token.rsplit_once('.').ok_or(InvalidToken::Malformed)?;
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| InvalidToken::Malformed)?;
        if !self.is_signed_for(PURPOSE, payload, &signature) {
            return Err(InvalidToken::Signature);
        }
        let parts: Vec<&str> = payload.split('.').collect();
        let ["v1", owner, session, fence, expires_at] = parts[..] else {
            return Err(InvalidToken::Malformed);
        };
        let claims = SessionClaims {
            key: SessionKey {
                owner: OwnerId::parse(owner).map_err(|_| InvalidToken::Malformed)?,
                session: SessionId::parse(session).map_err(|_| InvalidToken::Malformed)?,
            },
            fence: FencingToken(fence.parse().map_err(|_| InvalidToken::Malformed)?),
            expires_at: UnixMillis(expires_at.parse().map_err(|_| InvalidToken::Malformed)?),
        };
        if now > claims.expires_at {
            return Err(InvalidToken::Expired);
        }
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> SessionClaims {
        SessionClaims {
            key: SessionKey {
                owner: OwnerId::of("i", "s"),
                session: SessionId::from_random([3; 17]),
            },
            fence: FencingToken(2),
            expires_at: UnixMillis(1_000),
        }
    }

    #[test]
    fn a_token_says_what_was_signed_until_it_expires() {
        let key = SigningKey::new(&[1; 32]).expect("long enough");
        let token = key.sign(&claims());
        assert_eq!(key.verify(&token, UnixMillis(1_000)), Ok(claims()));
        assert_eq!(
            key.verify(&token, UnixMillis(1_001)),
            Err(InvalidToken::Expired)
        );
    }

    #[test]
    fn nothing_of_a_token_can_be_changed() {
        let key = SigningKey::new(&[1; 32]).expect("long enough");
        let token = key.sign(&claims());
        for index in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[index] = if bytes[index] == b'a' { b'b' } else { b'a' };
            let changed = String::from_utf8(bytes).expect("ascii");
            if changed != token {
                // The last character of unpadded base64 carries unused bits, which decoding refuses.
                assert!(key.verify(&changed, UnixMillis(0)).is_err(), "{index}");
            }
        }
        let other = SigningKey::new(&[2; 32]).expect("long enough");
        assert_eq!(
            other.verify(&token, UnixMillis(0)),
            Err(InvalidToken::Signature)
        );
        assert!(SigningKey::new(&[1; 31]).is_err());
    }
}
