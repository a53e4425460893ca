//! API keys.

use domain::{
    ApiKey, KeyId, KeyName, KeyRecord, UnixMillis,
    audit::{AuditChain, KeyChange, Subject},
    ports::{ApiKeys, AuditTrail, Clock, IdSource, KeyRing, NewKey, RevokedKey},
};

use super::new_owner;
use crate::{join_all, owner};

const DAY_MILLISECONDS: u64 = 24 * 60 * 60 * 1000;

/// All of [`ApiKeys`] and [`KeyRing`]. Counts what the deployment's audit says, so one contract at a time
/// on one store.
pub async fn api_keys_contract<P: ApiKeys + KeyRing + AuditTrail + Clock + IdSource>(ports: &P) {
    adding(ports).await;
    using(ports).await;
    revoking(ports).await;
}

fn new_key<P: Clock + IdSource>(ports: &P) -> NewKey {
    let key = ApiKey::from_random(ports.random(), [ports.random(), ports.random()]);
    NewKey {
        record: KeyRecord {
            id: key.id().clone(),
            owner: new_owner(ports),
            name: KeyName::parse("ci-1").expect("valid"),
            scopes: vec!["sessions:read".to_owned(), "approve".to_owned()],
            digest: key.digest(),
            created_at: ports.now(),
            expires_at: ports.now().plus(DAY_MILLISECONDS),
            revoked_at: None,
            used_at: None,
        },
        by: owner("administrator"),
    }
}

async fn found<P: ApiKeys>(ports: &P, id: &KeyId) -> KeyRecord {
    let found = ports.api_key(id).await.expect("an answer");
    found.expect("there is one")
}

fn assert_same(one: &KeyRecord, other: &KeyRecord) {
    // Digests are compared in constant time only.
    assert!(one.digest.is(&other.digest));
    assert_eq!(format!("{one:?}"), format!("{other:?}"));
}

/// What the audit says of a key.
async fn audited<P: AuditTrail>(ports: &P, id: &KeyId) -> Vec<KeyChange> {
    let (mut changes, mut after) = (Vec::new(), 0);
    loop {
        let entries = ports.entries(&AuditChain::Deployment, after, 100).await;
        let entries = entries.expect("an answer");
        let Some(last) = entries.last() else {
            return changes;
        };
        after = last.number();
        for entry in entries {
            match entry.subject {
                Subject::Key(change) if change.key == *id => changes.push(change),
                _ => {}
            }
        }
    }
}

async fn adding<P: ApiKeys + KeyRing + AuditTrail + Clock + IdSource>(ports: &P) {
    let new = new_key(ports);
    let id = &new.record.id;
    assert!(ports.api_key(id).await.expect("an answer").is_none());
    for _ in 0..2 {
        ports.add_key(&new).await.expect("added");
        assert_same(&found(ports, id).await, &new.record);
    }
    let changes = audited(ports, id).await;
    assert_eq!(changes.len(), 1, "{changes:?}");
    let change = &changes[0];
    assert_eq!((&change.owner, &change.by), (&new.record.owner, &new.by));
    let terms = change.made.as_ref().expect("made");
    assert_eq!(terms.scopes, new.record.scopes);
    assert_eq!(terms.expires_at, new.record.expires_at);
    // Of many, all are there.
    let more: Vec<NewKey> = (0..5).map(|_| new_key(ports)).collect();
    for added in join_all(more.iter().map(|new| ports.add_key(new))).await {
        added.expect("added");
    }
    let listed = ports.api_keys().await.expect("an answer");
    let ids: Vec<&KeyId> = listed.iter().map(|it| &it.id).collect();
    assert!(ids.is_sorted(), "{ids:?}");
    for new in more.iter().chain([&new]) {
        let found = listed.iter().find(|it| it.id == new.record.id);
        assert_same(found.expect("listed"), &new.record);
    }
}

async fn using<P: ApiKeys + KeyRing + Clock + IdSource>(ports: &P) {
    let new = new_key(ports);
    let id = &new.record.id;
    let at = UnixMillis(new.record.created_at.0 + 5);
    // Of one that is not there nothing comes to be.
    ports.note_key_use(id, at).await.expect("an answer");
    assert!(ports.api_key(id).await.expect("an answer").is_none());
    ports.add_key(&new).await.expect("added");
    ports.note_key_use(id, at).await.expect("noted");
    let mut used = new.record.clone();
    used.used_at = Some(at);
    assert_same(&found(ports, id).await, &used);
}

async fn revoking<P: ApiKeys + KeyRing + AuditTrail + Clock + IdSource>(ports: &P) {
    let new = new_key(ports);
    let revoked = RevokedKey {
        record: new.record.clone(),
        by: owner("another"),
        now: new.record.created_at.plus(7),
    };
    let gone = ports.revoke_key(&revoked).await.expect("an answer");
    assert!(!gone, "there is none");
    ports.add_key(&new).await.expect("added");
    let id = &new.record.id;
    // Of many at once one does it, and the audit says it once.
    let done = join_all((0..4).map(|_| ports.revoke_key(&revoked))).await;
    let did = done.iter().filter(|it| matches!(it, Ok(true))).count();
    assert_eq!(did, 1, "{done:?}");
    let mut expected = new.record.clone();
    expected.revoked_at = Some(revoked.now);
    assert_same(&found(ports, id).await, &expected);
    let changes = audited(ports, id).await;
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert_eq!((&changes[1].made, &changes[1].by), (&None, &revoked.by));
    // It does not come back.
    ports.add_key(&new).await.expect("an answer");
    assert_same(&found(ports, id).await, &expected);
}
