//! API keys: one row for each, all in one partition.

use domain::{
    KeyId, KeyName, KeyRecord, OwnerId, UnixMillis,
    api_key::KeyDigest,
    audit::AuditChain,
    ports::{ApiKeys, KeyRing, NewKey, RevokedKey, Unavailable},
    roles,
};

use crate::{
    Store, failure,
    item::{Row, UnreadableRow, bytes, expiry, number, text},
    keys::{self, EXPIRES_AT, PARTITION, Record, SORT},
    table::NotWritten,
    write::Write,
};

const OWNER: &str = "owner";
const NAME: &str = "name";
const SCOPES: &str = "scopes";
const DIGEST: &str = "digest";
const CREATED_AT: &str = "created_at";
/// Not the time at which the row goes.
const VALID_UNTIL: &str = "valid_until";
const REVOKED_AT: &str = "revoked_at";
const USED_AT: &str = "used_at";

/// Rows asked for at once.
const PAGE: usize = 500;

impl ApiKeys for Store {
    async fn api_key(&self, id: &KeyId) -> Result<Option<KeyRecord>, Unavailable> {
        const ATTEMPTED: &str = "read the API key";
        let row = self.table.get(ATTEMPTED, &Record::ApiKey(id).key()).await?;
        let read = || match row {
            Some(row) if !row.expired(domain::ports::Clock::now(self))? => read(&row).map(Some),
            _ => Ok(None),
        };
        read().map_err(|error: UnreadableRow| failure::own(ATTEMPTED, error))
    }

    async fn note_key_use(&self, id: &KeyId, now: UnixMillis) -> Result<(), Unavailable> {
        let noted = Write::update(Record::ApiKey(id).key())
            .set(USED_AT, number(now.0))
            .when_present(PARTITION);
        match self.table.write("note the use of an API key", noted).await {
            Ok(()) | Err(NotWritten::Refused(_)) => Ok(()),
            Err(NotWritten::Unavailable(unavailable)) => Err(unavailable),
        }
    }
}

impl KeyRing for Store {
    async fn api_keys(&self) -> Result<Vec<KeyRecord>, Unavailable> {
        const ATTEMPTED: &str = "read the API keys";
        let now = domain::ports::Clock::now(self);
        let (mut found, mut from) = (Vec::new(), "key_".to_owned());
        loop {
            let page = self
                .table
                .range(ATTEMPTED, keys::API_KEYS, &from, "key_~", PAGE);
            let (rows, more) = page.await?;
            let mut take = || {
                for row in &rows {
                    if !row.expired(now)? {
                        found.push(read(row)?);
                    }
                    from = keys::after(row.text(SORT)?);
                }
                Ok(())
            };
            take().map_err(|error: UnreadableRow| failure::own(ATTEMPTED, error))?;
            if !more || rows.is_empty() {
                return Ok(found);
            }
        }
    }

    async fn add_key(&self, new: &NewKey) -> Result<(), Unavailable> {
        let write = || Write::put_new(self.key_row(&new.record));
        let audited = (AuditChain::Deployment, new.audited());
        let added = self.change_audited("add an API key", write, audited, new.record.created_at);
        // Ids are random: where there is one, it is this one.
        added.await.map(drop)
    }

    async fn revoke_key(&self, revoked: &RevokedKey) -> Result<bool, Unavailable> {
        let write = || {
            Write::update(Record::ApiKey(&revoked.record.id).key())
                .set(REVOKED_AT, number(revoked.now.0))
                .when_present(PARTITION)
                .when_absent(REVOKED_AT)
        };
        let audited = (AuditChain::Deployment, revoked.audited());
        let done = self.change_audited("revoke an API key", write, audited, revoked.now);
        done.await
    }
}

impl Store {
    fn key_row(&self, record: &KeyRecord) -> Row {
        Row::at(&Record::ApiKey(&record.id).key())
            .with(OWNER, text(record.owner.as_str()))
            .with(NAME, text(record.name.as_str()))
            .with(SCOPES, text(record.scopes.join(" ")))
            .with(DIGEST, bytes(record.digest.0))
            .with(CREATED_AT, number(record.created_at.0))
            .with(VALID_UNTIL, number(record.expires_at.0))
            .with(
                EXPIRES_AT,
                expiry(record.expires_at.plus(self.retention_milliseconds)),
            )
    }
}

fn read(row: &Row) -> Result<KeyRecord, UnreadableRow> {
    let scopes = roles::scopes(row.text(SCOPES)?.split(' '));
    let digest = row.bytes(DIGEST)?.try_into();
    Ok(KeyRecord {
        id: KeyId::parse(row.text(SORT)?).map_err(|_| UnreadableRow::Rule(SORT))?,
        owner: OwnerId::parse(row.text(OWNER)?).map_err(|_| UnreadableRow::Rule(OWNER))?,
        name: KeyName::parse(row.text(NAME)?).map_err(|_| UnreadableRow::Rule(NAME))?,
        scopes: scopes.map_err(|_| UnreadableRow::Rule(SCOPES))?,
        digest: KeyDigest(digest.map_err(|_| UnreadableRow::Rule(DIGEST))?),
        created_at: UnixMillis(row.number(CREATED_AT)?),
        expires_at: UnixMillis(row.number(VALID_UNTIL)?),
        revoked_at: row.number_if(REVOKED_AT)?.map(UnixMillis),
        used_at: row.number_if(USED_AT)?.map(UnixMillis),
    })
}
