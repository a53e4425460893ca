//! The deployment's own bearer token, as `authorizer` checks it and as a function on a port checks it
//! itself. Only its SHA-256 is known here.

use domain::authorization::{Administer, Approve, ReadSessions, Scope, WriteSessions};
use domain::{OwnerId, Principal};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::SettingsError;

/// Why a request is refused. Both read the same to the caller (401).
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Refused {
    /// There is no `Authorization: Bearer …`.
    #[error("the request carries no bearer token")]
    NoToken,
    /// It is another token.
    #[error("the bearer token is not the one of this deployment")]
    WrongToken,
}

/// Checks tokens against one hash, in constant time.
#[derive(Clone)]
pub struct AccessToken {
    sha256: [u8; 32],
    /// Whom the token stands for.
    principal: Principal,
}

impl AccessToken {
    /// From `SHANNON_ACCESS_TOKEN_SHA256`: 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`SettingsError::Invalid`] when it is something else.
    pub fn from_sha256_hex(hex: &str) -> Result<Self, SettingsError> {
        let digits: Option<Vec<u8>> = hex
            .bytes()
            .map(|byte| {
                char::from(byte)
                    .to_digit(16)
                    .and_then(|digit| u8::try_from(digit).ok())
            })
            .collect();
        let sha256 = digits
            .filter(|digits| digits.len() == 64)
            .map(|digits| {
                let mut bytes = [0; 32];
                for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
                    *byte = pair[0] << 4 | pair[1];
                }
                bytes
            })
            .ok_or_else(|| SettingsError::Invalid {
                name: "SHANNON_ACCESS_TOKEN_SHA256".to_owned(),
                problem: "it is not a SHA-256 in hex".to_owned(),
                allowed: "64 hexadecimal digits".to_owned(),
            })?;
        let principal = Principal {
            owner: OwnerId::of("shannon", "access-token"),
            scopes: vec![
                ReadSessions::NAME.to_owned(),
                WriteSessions::NAME.to_owned(),
                Approve::NAME.to_owned(),
                // It is the token of whoever set the deployment up.
                Administer::NAME.to_owned(),
            ],
        };
        Ok(Self { sha256, principal })
    }

    /// Who calls, from the value of the `Authorization` header. The scheme's case does not matter.
    ///
    /// The token stands for one owner, also after it was replaced by another: sessions outlive it.
    ///
    /// # Errors
    /// [`Refused`]; the caller answers 401 and does not say which.
    pub fn check(&self, authorization: Option<&str>) -> Result<Principal, Refused> {
        let token = bearer(authorization).ok_or(Refused::NoToken)?;
        self.is(token).ok_or(Refused::WrongToken)
    }

    /// Whom this stands for, if it is the token.
    #[must_use]
    pub fn is(&self, token: &str) -> Option<Principal> {
        let hash = Sha256::digest(token.as_bytes());
        bool::from(hash.as_slice().ct_eq(&self.sha256)).then(|| self.principal.clone())
    }
}

/// The token in the value of an `Authorization` header, if it is a bearer's.
#[must_use]
pub fn bearer(authorization: Option<&str>) -> Option<&str> {
    let (scheme, token) = authorization?.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(token: &str) -> String {
        Sha256::digest(token)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    #[test]
    fn only_the_token_opens() {
        let token = AccessToken::from_sha256_hex(&hex("right")).expect("a hash");
        let principal = token.check(Some("Bearer right")).expect("the token");
        assert!(principal.authorize::<WriteSessions>().is_ok());
        assert_eq!(token.check(Some("bearer  right")), Ok(principal));
        for wrong in ["Bearer wrong", "Bearer right2", "Bearer Right"] {
            assert_eq!(
                token.check(Some(wrong)),
                Err(Refused::WrongToken),
                "{wrong}"
            );
        }
        for none in [
            None,
            Some(""),
            Some("right"),
            Some("Basic right"),
            Some("Bearer "),
        ] {
            assert_eq!(token.check(none), Err(Refused::NoToken), "{none:?}");
        }
    }

    #[test]
    fn a_hash_is_64_hexadecimal_digits() {
        for bad in ["", "abc", &"g".repeat(64), &"a".repeat(63), &"é".repeat(32)] {
            assert!(AccessToken::from_sha256_hex(bad).is_err(), "{bad}");
        }
    }
}
