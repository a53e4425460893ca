//! API keys: who calls with one, and what administrators do with them.

use thiserror::Error;

use crate::{
    Authorized, KeyId, KeyName, OwnerId, Principal,
    api_key::{ApiKey, KeyDigest, KeyRecord},
    authorization::{Administer, MissingScope},
    limits,
    ports::{ApiKeys, Clock, IdSource, KeyRing, NewKey, RevokedKey, Unavailable},
    roles,
};

/// Where the owners come from who have nothing but keys. No identity provider has such an address.
const ISSUER: &str = "shannon-keys";
const DAY_MILLISECONDS: u64 = 24 * 60 * 60 * 1000;

/// Why a key opens nothing. All but the last look the same to the caller.
#[derive(Debug, Error)]
pub enum KeyRefused {
    /// It is no key, or mistyped.
    #[error("this is no API key")]
    Malformed,
    /// There is no such key.
    #[error("there is no such API key")]
    Unknown,
    /// It was taken back.
    #[error("the API key {0} was revoked")]
    Revoked(KeyId),
    /// It is too old.
    #[error("the API key {0} has expired")]
    Expired(KeyId),
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Whose key this is. Changes nothing.
///
/// An unknown id and a wrong secret take the same work: one look-up, one comparison in constant time.
/// Whether a key is revoked or expired is looked at only behind the right secret.
///
/// # Errors
/// [`KeyRefused`].
pub async fn check_key<P: ApiKeys + Clock>(ports: &P, text: &str) -> Result<KeyRecord, KeyRefused> {
    let key = ApiKey::parse(text).ok_or(KeyRefused::Malformed)?;
    let record = ports.api_key(key.id()).await?;
    let kept = record.as_ref().map_or(KeyDigest::OF_NONE, |it| it.digest);
    let same = key.digest().is(&kept);
    let record = record.filter(|_| same).ok_or(KeyRefused::Unknown)?;
    if record.revoked_at.is_some() {
        return Err(KeyRefused::Revoked(record.id));
    }
    if !record.is_good(ports.now()) {
        return Err(KeyRefused::Expired(record.id));
    }
    Ok(record)
}

impl KeyRecord {
    /// Who calls with it.
    #[must_use]
    pub fn principal(&self) -> Principal {
        Principal {
            owner: self.owner.clone(),
            scopes: self.scopes.clone(),
        }
    }
}

/// A key that an administrator wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateKey {
    /// What they call it.
    pub name: KeyName,
    /// What it allows.
    pub scopes: Vec<String>,
    /// For how many days it is good.
    pub days: u64,
    /// Whose sessions it is for: of a person who has no other way in, by their name; without it, the
    /// administrator's own.
    pub person: Option<String>,
}

/// Why no key was made.
#[derive(Debug, Error)]
pub enum CreateKeyError {
    /// Name scopes.
    #[error("a key needs at least one scope: sessions:read, sessions:write, approve, admin")]
    NoScopes,
    /// A scope that does not exist.
    #[error(transparent)]
    NoSuchScope(#[from] roles::NoSuchScope),
    /// Nobody gives away what they do not have.
    #[error("a key with this scope is made with one that has it: {0}")]
    MissingScope(#[from] MissingScope),
    /// Say another number.
    #[error("a key is good for 1 to {} days", limits::KEY_DAYS)]
    Days,
    /// Say another name.
    #[error(
        "the name of a person has 1 to {} characters",
        limits::KEY_PERSON_CHARACTERS
    )]
    Person,
    /// Take some back, and wait until they are gone.
    #[error(
        "there are {} good keys already; revoke those that nobody uses",
        limits::KEYS
    )]
    TooMany,
    /// Try again; a key that nobody has seen may have been made all the same.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Makes a key. What is returned is all there will ever be of its secret.
///
/// Run twice, it makes two keys: the secret of the first cannot be shown again. Cut, there may be a key
/// of which nobody has the secret: it opens nothing, is listed, and can be revoked. Of many at once some
/// may pass the limit together.
///
/// # Errors
/// [`CreateKeyError`].
pub async fn create_key<P: KeyRing + Clock + IdSource>(
    ports: &P,
    administrator: &Authorized<Administer>,
    principal: &Principal,
    wanted: CreateKey,
) -> Result<(ApiKey, KeyRecord), CreateKeyError> {
    let scopes = roles::scopes(wanted.scopes.iter().map(String::as_str))?;
    if scopes.is_empty() {
        return Err(CreateKeyError::NoScopes);
    }
    for scope in roles::SCOPES {
        let wanted = scopes.iter().any(|it| it == scope);
        if wanted && !principal.scopes.iter().any(|it| it == scope) {
            return Err(MissingScope { scope }.into());
        }
    }
    if !(1..=limits::KEY_DAYS).contains(&wanted.days) {
        return Err(CreateKeyError::Days);
    }
    let owner = match wanted.person.as_deref().map(str::trim) {
        None => administrator.owner().clone(),
        Some(name) if (1..=limits::KEY_PERSON_CHARACTERS).contains(&name.chars().count()) => {
            OwnerId::of(ISSUER, name)
        }
        Some(_) => return Err(CreateKeyError::Person),
    };
    let now = ports.now();
    let there = ports.api_keys().await?;
    if there.iter().filter(|key| key.is_good(now)).count() >= limits::KEYS {
        return Err(CreateKeyError::TooMany);
    }
    let key = ApiKey::from_random(ports.random(), [ports.random(), ports.random()]);
    let record = KeyRecord {
        id: key.id().clone(),
        owner,
        name: wanted.name,
        scopes,
        digest: key.digest(),
        created_at: now,
        expires_at: now.plus(wanted.days * DAY_MILLISECONDS),
        revoked_at: None,
        used_at: None,
    };
    let new = NewKey {
        record: record.clone(),
        by: administrator.owner().clone(),
    };
    ports.add_key(&new).await?;
    Ok((key, record))
}

/// All keys, the newest first.
///
/// # Errors
/// [`Unavailable`]: try again.
pub async fn list_keys<P: KeyRing>(
    ports: &P,
    _administrator: &Authorized<Administer>,
) -> Result<Vec<KeyRecord>, Unavailable> {
    let mut keys = ports.api_keys().await?;
    keys.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
    Ok(keys)
}

/// What came of taking a key back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRevoked {
    /// It opens nothing any more.
    Revoked,
    /// It had been taken back before.
    Before,
    /// There is none.
    NotThere,
}

/// Takes a key back.
///
/// Run twice, the second time finds it done. It happens whole or not at all, with its entry of the audit.
///
/// # Errors
/// [`Unavailable`]: try again.
pub async fn revoke_key<P: ApiKeys + KeyRing + Clock>(
    ports: &P,
    administrator: &Authorized<Administer>,
    id: &KeyId,
) -> Result<KeyRevoked, Unavailable> {
    let Some(record) = ports.api_key(id).await? else {
        return Ok(KeyRevoked::NotThere);
    };
    if record.revoked_at.is_some() {
        return Ok(KeyRevoked::Before);
    }
    let revoked = RevokedKey {
        record,
        by: administrator.owner().clone(),
        now: ports.now(),
    };
    Ok(if ports.revoke_key(&revoked).await? {
        KeyRevoked::Revoked
    } else {
        KeyRevoked::Before
    })
}
