//! Where audit chains ended, signed: objects that S3 lets nobody change or delete before their time.

use aws_sdk_s3::{
    primitives::{ByteStream, DateTime},
    types::{ChecksumAlgorithm, ObjectLockMode},
};
use domain::{
    UnixMillis,
    audit::{AuditChain, FoundSeal, Seal},
    ports::{Seals, Unavailable},
};

use crate::{
    Store,
    failure::{self, Kind},
    keys,
    stored::audit::{read_seal, write_seal},
};

/// Prefix of seals in the bucket.
const PREFIX: &str = "audit";

impl Seals for Store {
    async fn to_seal(&self, now: UnixMillis, limit: usize) -> Result<Vec<AuditChain>, Unavailable> {
        let shard = std::iter::once(keys::SEAL_SHARD.to_owned());
        let chain = |partition: &str, _: &str| keys::chain_of(partition);
        self.overdue_rows(shard, chain, now, limit).await
    }

    async fn keep_seal(&self, seal: &Seal) -> Result<(), Unavailable> {
        const ATTEMPTED: &str = "keep the audit's seal";
        let json = write_seal(seal).map_err(|error| failure::own(ATTEMPTED, error))?;
        let until = seal.time.plus(self.audit_retention_milliseconds).0 / 1000;
        Box::pin(
            self.s3
                .put_object()
                .bucket(&self.bucket)
                .key(object(&seal.chain, seal.end.number))
                .content_type("application/json")
                // S3 takes a locked object only with a checksum of it.
                .checksum_algorithm(ChecksumAlgorithm::Sha256)
                .object_lock_mode(ObjectLockMode::Governance)
                .object_lock_retain_until_date(DateTime::from_secs(until.cast_signed()))
                .body(ByteStream::from(json.into_bytes()))
                .send(),
        )
        .await
        .map_err(|error| failure::aws(ATTEMPTED, Kind::Write, error))?;
        self.note_seal(&seal.chain, seal.end.number, seal.time)
            .await
    }

    async fn seals(
        &self,
        chain: &AuditChain,
        after: u64,
        to: u64,
        limit: usize,
    ) -> Result<Vec<FoundSeal>, Unavailable> {
        const ATTEMPTED: &str = "read the audit's seals";
        // Versions: what hides a locked one takes nothing away.
        let answer = Box::pin(
            self.s3
                .list_object_versions()
                .bucket(&self.bucket)
                .prefix(format!("{PREFIX}/{}/", chain.name()))
                .key_marker(object(chain, after))
                .max_keys(i32::try_from(limit.max(1)).unwrap_or(i32::MAX))
                .send(),
        )
        .await
        .map_err(|error| failure::aws(ATTEMPTED, Kind::Read, error))?;
        let last = object(chain, to);
        let mut seals = Vec::new();
        for version in answer.versions() {
            let Some((name, id)) = version.key().zip(version.version_id()) else {
                continue;
            };
            if *name > *last {
                break;
            }
            let number = name
                .rsplit('/')
                .next()
                .and_then(|it| it.strip_suffix(".json"));
            let Some(number) = number.and_then(|digits| digits.parse().ok()) else {
                continue;
            };
            let json = self.get_version(name, id).await?;
            let seal = json.and_then(|json| read_seal(&json).ok());
            seals.push(FoundSeal { number, seal });
        }
        Ok(seals)
    }
}

/// 20 digits hold every number.
fn object(chain: &AuditChain, number: u64) -> String {
    format!("{PREFIX}/{}/{number:020}.json", chain.name())
}
