//! API keys: secrets with which people and programs call, made and taken back by an administrator.
//!
//! ```text
//! shn_<26 characters: which key>_<52 characters: the secret><7 characters: checksum>
//! ```
//! The prefix is what scanners for secrets look for; the checksum tells a mistyped key from a wrong one
//! without asking anybody. Of a key only the SHA-256 is kept. For a password that would be too fast;
//! nobody guesses one of 2^260 secrets, so nothing slower would protect them better.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    OwnerId, UnixMillis,
    ids::{KeyId, KeyName, base32},
};

/// How every key begins.
pub const PREFIX: &str = "shn_";
const ID_CHARACTERS: usize = 26;
const SECRET_CHARACTERS: usize = 52;
const CHECKSUM_CHARACTERS: usize = 7;

/// A key as its holder has it. Its `Debug` shows only which one it is.
#[derive(Clone)]
pub struct ApiKey {
    id: KeyId,
    text: String,
}

impl ApiKey {
    /// A new key from random bytes.
    #[must_use]
    pub fn from_random(id: [u8; 17], secret: [[u8; 17]; 2]) -> Self {
        let secret = &base32(&secret.concat())[..SECRET_CHARACTERS];
        let body = format!("{PREFIX}{}_{secret}", &base32(&id)[..ID_CHARACTERS]);
        let text = format!("{body}{}", checksum(&body));
        Self {
            id: KeyId::from_random(id),
            text,
        }
    }

    /// Reads what somebody sent; `None` when it is no key, or mistyped. Nothing in it is secret: whoever
    /// can compute a checksum passes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(PREFIX)?;
        let (id, secret) = rest.split_once('_')?;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if secret.len() != SECRET_CHARACTERS + CHECKSUM_CHARACTERS || !secret.bytes().all(plain) {
            return None;
        }
        let body = &text[..text.len() - CHECKSUM_CHARACTERS];
        if checksum(body) != text[body.len()..] {
            return None;
        }
        Some(Self {
            id: KeyId::parse(&format!("key_{id}")).ok()?,
            text: text.to_owned(),
        })
    }

    /// Which key it is; may be shown.
    #[must_use]
    pub const fn id(&self) -> &KeyId {
        &self.id
    }

    /// All of it: for its holder alone.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// What is kept of it.
    #[must_use]
    pub fn digest(&self) -> KeyDigest {
        KeyDigest(Sha256::digest(&self.text).into())
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ApiKey({})", self.id)
    }
}

fn checksum(body: &str) -> String {
    base32(&Sha256::digest(body))[..CHECKSUM_CHARACTERS].to_owned()
}

/// SHA-256 of a key. It has no `PartialEq`: digests are compared in constant time only.
#[derive(Clone, Copy, Debug)]
pub struct KeyDigest(pub [u8; 32]);

impl KeyDigest {
    /// Of no key: what an unknown one is compared with, so that it takes the same time.
    pub const OF_NONE: Self = Self([0; 32]);

    /// Whether they are the same; takes the same time either way.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        bool::from(self.0.ct_eq(&other.0))
    }

    /// In hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What is kept of a key.
#[derive(Clone, Debug)]
pub struct KeyRecord {
    /// Which one.
    pub id: KeyId,
    /// For whom its holder acts.
    pub owner: OwnerId,
    /// What the administrator calls it.
    pub name: KeyName,
    /// What it allows.
    pub scopes: Vec<String>,
    /// Of the whole key.
    pub digest: KeyDigest,
    /// When it was made.
    pub created_at: UnixMillis,
    /// The first moment at which it is not good any more.
    pub expires_at: UnixMillis,
    /// When somebody took it back.
    pub revoked_at: Option<UnixMillis>,
    /// When it was last used, to within [`crate::limits::KEY_USE_MILLISECONDS`].
    pub used_at: Option<UnixMillis>,
}

impl KeyRecord {
    /// Neither taken back nor too old.
    #[must_use]
    pub fn is_good(&self, now: UnixMillis) -> bool {
        self.revoked_at.is_none() && now < self.expires_at
    }

    /// Whether it is worth noting that it is used now.
    #[must_use]
    pub fn is_use_news(&self, now: UnixMillis) -> bool {
        self.used_at
            .is_none_or(|used| used.plus(crate::limits::KEY_USE_MILLISECONDS) <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ApiKey {
        ApiKey::from_random([1; 17], [[2; 17], [3; 17]])
    }

    #[test]
    fn a_key_is_read_as_it_was_made_and_shows_only_its_id() {
        let key = key();
        let text = key.expose();
        assert_eq!(
            text,
            "shn_aeaqcaibaeaqcaibaeaqcaibae_aibaeaqcaibaeaqcaibaeaqcaibagaydambqgaydambqgaydambqasba4up"
        );
        assert_eq!(ApiKey::parse(text).expect("a key").expose(), text);
        assert_eq!(key.id().as_str(), "key_aeaqcaibaeaqcaibaeaqcaibae");
        assert_eq!(format!("{key:?}"), "ApiKey(key_aeaqcaibaeaqcaibaeaqcaibae)");
        assert!(key.digest().is(&key.digest()));
        let other = ApiKey::from_random([1; 17], [[2; 17], [4; 17]]);
        assert_eq!(other.id(), key.id());
        assert!(!key.digest().is(&other.digest()));
        assert!(!key.digest().is(&KeyDigest::OF_NONE));
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let text = key().expose().to_owned();
        for at in 0..text.len() {
            for other in ["a", "7", "8", "_", "A", "\u{e9}"] {
                let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
                assert!(
                    changed == text || ApiKey::parse(&changed).is_none(),
                    "{changed}"
                );
            }
        }
        let cut = &text[..text.len() - 1];
        for bad in ["", "shn_", "shn__", cut, &format!("{text}a"), &text[4..]] {
            assert!(ApiKey::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_key_is_good_until_it_expires_or_is_revoked() {
        let key = key();
        let mut record = KeyRecord {
            id: key.id().clone(),
            owner: OwnerId::of("i", "s"),
            name: KeyName::parse("ci").expect("valid"),
            scopes: Vec::new(),
            digest: key.digest(),
            created_at: UnixMillis(0),
            expires_at: UnixMillis(10),
            revoked_at: None,
            used_at: None,
        };
        assert!(record.is_good(UnixMillis(9)) && !record.is_good(UnixMillis(10)));
        assert!(record.is_use_news(UnixMillis(5)));
        record.used_at = Some(UnixMillis(5));
        let later = UnixMillis(5 + crate::limits::KEY_USE_MILLISECONDS);
        assert!(!record.is_use_news(UnixMillis(later.0 - 1)) && record.is_use_news(later));
        record.revoked_at = Some(UnixMillis(1));
        assert!(!record.is_good(UnixMillis(5)));
    }
}
