//! API keys, in memory.

use domain::{
    KeyId, KeyRecord, UnixMillis,
    audit::AuditChain,
    ports::{ApiKeys, KeyRing, NewKey, RevokedKey, Unavailable},
};

use super::Fake;

impl ApiKeys for Fake {
    async fn api_key(&self, id: &KeyId) -> Result<Option<KeyRecord>, Unavailable> {
        self.call("api_key", |world| Ok(world.keys.get(id).cloned()))
            .await
    }

    async fn note_key_use(&self, id: &KeyId, now: UnixMillis) -> Result<(), Unavailable> {
        self.call("note_key_use", |world| {
            if let Some(record) = world.keys.get_mut(id) {
                record.used_at = Some(now);
            }
            Ok(())
        })
        .await
    }
}

impl KeyRing for Fake {
    async fn api_keys(&self) -> Result<Vec<KeyRecord>, Unavailable> {
        self.call("api_keys", |world| {
            Ok(world.keys.values().cloned().collect())
        })
        .await
    }

    async fn add_key(&self, new: &NewKey) -> Result<(), Unavailable> {
        self.call("add_key", |world| {
            let record = &new.record;
            if !world.keys.contains_key(&record.id) {
                world.keys.insert(record.id.clone(), record.clone());
                world.add_entry(&AuditChain::Deployment, new.audited(), record.created_at);
            }
            Ok(())
        })
        .await
    }

    async fn revoke_key(&self, revoked: &RevokedKey) -> Result<bool, Unavailable> {
        self.call("revoke_key", |world| {
            let record = world.keys.get_mut(&revoked.record.id);
            let Some(record) = record.filter(|it| it.revoked_at.is_none()) else {
                return Ok(false);
            };
            record.revoked_at = Some(revoked.now);
            world.add_entry(&AuditChain::Deployment, revoked.audited(), revoked.now);
            Ok(true)
        })
        .await
    }
}
