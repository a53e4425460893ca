//! Where API keys are kept.

use crate::{
    KeyId, OwnerId, UnixMillis,
    api_key::KeyRecord,
    audit::{KeyChange, KeyTerms, Subject},
};

use super::Unavailable;

/// A new key.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The key. Its id is random, so no two are the same.
    pub record: KeyRecord,
    /// Who made it.
    pub by: OwnerId,
}

impl NewKey {
    /// What the audit says of it.
    #[must_use]
    pub fn audited(&self) -> Subject {
        let record = &self.record;
        Subject::Key(KeyChange {
            key: record.id.clone(),
            name: record.name.clone(),
            owner: record.owner.clone(),
            made: Some(KeyTerms {
                scopes: record.scopes.clone(),
                expires_at: record.expires_at,
            }),
            by: self.by.clone(),
        })
    }
}

/// A key that is taken back.
#[derive(Clone, Debug)]
pub struct RevokedKey {
    /// The key as it was looked at.
    pub record: KeyRecord,
    /// Who takes it back.
    pub by: OwnerId,
    /// Now.
    pub now: UnixMillis,
}

impl RevokedKey {
    /// What the audit says of it.
    #[must_use]
    pub fn audited(&self) -> Subject {
        Subject::Key(KeyChange {
            key: self.record.id.clone(),
            name: self.record.name.clone(),
            owner: self.record.owner.clone(),
            made: None,
            by: self.by.clone(),
        })
    }
}

/// Looking a key up.
pub trait ApiKeys: Send + Sync {
    /// The key of that id as it is now, also an expired or revoked one; `None` when there is none, or
    /// none any more.
    fn api_key(
        &self,
        id: &KeyId,
    ) -> impl Future<Output = Result<Option<KeyRecord>, Unavailable>> + Send;

    /// Notes that a key was used. Of one that is gone nothing is noted, and nothing else of it changes.
    fn note_key_use(
        &self,
        id: &KeyId,
        now: UnixMillis,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;
}

/// Making keys and taking them back. Each change and its entry of the deployment's audit are one: there
/// is never one without the other.
pub trait KeyRing: Send + Sync {
    /// All keys, also expired and revoked ones until they are gone, by id.
    fn api_keys(&self) -> impl Future<Output = Result<Vec<KeyRecord>, Unavailable>> + Send;

    /// Adds a key. Adding it again changes nothing.
    fn add_key(&self, new: &NewKey) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Takes a key back; says whether this did it. It did not when it was taken back before, or is gone.
    fn revoke_key(
        &self,
        revoked: &RevokedKey,
    ) -> impl Future<Output = Result<bool, Unavailable>> + Send;
}
