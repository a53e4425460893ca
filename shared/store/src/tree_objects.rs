//! The objects of a tree in the bucket: created under a condition, read whole or in ranges, listed
//! with their versions, deleted by version.

use aws_sdk_s3::{
    error::{ProvideErrorMetadata, SdkError},
    primitives::{ByteStream, DateTime},
    types::ServerSideEncryption,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use domain::{
    TreeKey, UnixMillis,
    ports::{ObjectPage, PutNew, StoredObject, TreeObjects, Unavailable},
};

use crate::{
    Store,
    failure::{self, Kind},
    table::pause,
};

/// How often another writer of the same name may be in the way (409 `ConditionalRequestConflict`).
const ATTEMPTS: u32 = 5;

impl TreeObjects for Store {
    async fn put_new(
        &self,
        tree: &TreeKey,
        name: &str,
        bytes: Vec<u8>,
    ) -> Result<PutNew, Unavailable> {
        const ATTEMPTED: &str = "create an object";
        let bytes = bytes::Bytes::from(bytes);
        for attempt in 1.. {
            let sent = Box::pin(
                self.s3
                    .put_object()
                    .bucket(&self.bucket)
                    .key(object(tree, name))
                    .if_none_match("*")
                    .server_side_encryption(ServerSideEncryption::AwsKms)
                    .ssekms_encryption_context(encryption_context(tree))
                    .body(ByteStream::from(bytes.clone()))
                    .send(),
            )
            .await;
            let Err(error) = sent else {
                return Ok(PutNew::Created);
            };
            match error.code() {
                Some("PreconditionFailed") => return Ok(PutNew::Existed),
                Some("ConditionalRequestConflict") if attempt < ATTEMPTS => pause(attempt).await,
                _ => return Err(failure::aws(ATTEMPTED, Kind::Write, error)),
            }
        }
        unreachable!("the attempts end with an answer")
    }

    /// As a range. Of a whole object the SDK compares the checksum that S3 keeps, and says of a damaged
    /// one only that it cannot be read, for ever; who reads the objects of a tree checks every byte and
    /// says what is damaged.
    async fn get_object(&self, tree: &TreeKey, name: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        self.get_range(tree, name, 0, u64::MAX).await
    }

    async fn get_range(
        &self,
        tree: &TreeKey,
        name: &str,
        offset: u64,
        length: u64,
    ) -> Result<Option<Vec<u8>>, Unavailable> {
        const ATTEMPTED: &str = "read a part of an object";
        // A range has at least one byte; for none, the first byte says whether there is an object.
        // Servers read the places as signed numbers, which no object comes near.
        const LAST: u64 = i64::MAX.unsigned_abs();
        let (from, to) = match length {
            0 => (0, 0),
            length => (
                offset.min(LAST),
                offset.saturating_add(length - 1).min(LAST),
            ),
        };
        let answer = Box::pin(
            self.s3
                .get_object()
                .bucket(&self.bucket)
                .key(object(tree, name))
                .range(format!("bytes={from}-{to}"))
                .send(),
        )
        .await;
        match answer {
            Ok(answer) => {
                let body = answer.body.collect().await;
                let body = body.map_err(|error| failure::own(ATTEMPTED, error))?;
                Ok(Some(match length {
                    0 => Vec::new(),
                    _ => body.into_bytes().to_vec(),
                }))
            }
            Err(error) if self.is_missing(&object(tree, name), &error).await => Ok(None),
            Err(error) if error.code() == Some("InvalidRange") => Ok(Some(Vec::new())),
            Err(error) => Err(failure::aws(ATTEMPTED, Kind::Read, error)),
        }
    }

    async fn list_objects(
        &self,
        tree: &TreeKey,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<ObjectPage, Unavailable> {
        const ATTEMPTED: &str = "list the objects";
        let (version_marker, key_marker) = match after {
            None => (None, None),
            Some(after) => {
                let place = after.split_once('/');
                let (version, name) =
                    place.ok_or_else(|| failure::own(ATTEMPTED, "not a place of a listing"))?;
                let version = (!version.is_empty()).then(|| version.to_owned());
                (version, Some(object(tree, name)))
            }
        };
        let answer = Box::pin(
            self.s3
                .list_object_versions()
                .bucket(&self.bucket)
                .prefix(object(tree, prefix))
                .set_key_marker(key_marker)
                .set_version_id_marker(version_marker)
                .send(),
        )
        .await
        .map_err(|error| failure::aws(ATTEMPTED, Kind::Read, error))?;
        let root = object(tree, "");
        let below = |key: Option<&str>| {
            key.and_then(|key| key.strip_prefix(&root))
                .map(ToOwned::to_owned)
                .ok_or_else(|| failure::own(ATTEMPTED, "an object of another tree was listed"))
        };
        let mut objects = Vec::new();
        for version in answer.versions() {
            objects.push(StoredObject {
                name: below(version.key())?,
                bytes: version
                    .size()
                    .and_then(|size| u64::try_from(size).ok())
                    .unwrap_or(0),
                version: version.version_id().map(ToOwned::to_owned),
                modified_at: time(version.last_modified()),
                is_deletion: false,
            });
        }
        for marker in answer.delete_markers() {
            objects.push(StoredObject {
                name: below(marker.key())?,
                bytes: 0,
                version: marker.version_id().map(ToOwned::to_owned),
                modified_at: time(marker.last_modified()),
                is_deletion: true,
            });
        }
        // Both lists are in order; of one name the newest comes first, a deletion before what it
        // hides.
        objects.sort_by(|one, other| {
            (&one.name, other.modified_at, other.is_deletion).cmp(&(
                &other.name,
                one.modified_at,
                one.is_deletion,
            ))
        });
        let next = match answer.is_truncated() {
            Some(true) => Some(format!(
                "{}/{}",
                answer.next_version_id_marker().unwrap_or_default(),
                below(answer.next_key_marker())?
            )),
            _ => None,
        };
        Ok(ObjectPage { objects, next })
    }

    async fn delete_object(
        &self,
        tree: &TreeKey,
        name: &str,
        version: Option<&str>,
    ) -> Result<(), Unavailable> {
        let sent = Box::pin(
            self.s3
                .delete_object()
                .bucket(&self.bucket)
                .key(object(tree, name))
                .set_version_id(version.map(ToOwned::to_owned))
                .send(),
        )
        .await;
        match sent {
            Ok(_) => Ok(()),
            Err(error) if is_gone(&error) => Ok(()),
            Err(error) => Err(failure::aws("delete an object", Kind::Write, error)),
        }
    }
}

fn is_gone<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    matches!(error.code(), Some("NoSuchKey" | "NoSuchVersion"))
}

fn time(time: Option<&DateTime>) -> UnixMillis {
    let milliseconds = time.and_then(|time| time.to_millis().ok());
    UnixMillis(
        milliseconds
            .and_then(|time| u64::try_from(time).ok())
            .unwrap_or(0),
    )
}

/// What every object of a tree is encrypted with besides the key: KMS decrypts it for nobody who may
/// not decrypt for this tree, and its log names the tree. The key is the account's own for S3, which
/// costs nothing while nobody uses it; readers need not repeat the context, S3 keeps it.
/// Facts: S3 User Guide, "Using server-side encryption with AWS KMS keys", encryption context.
pub(crate) fn encryption_context(tree: &TreeKey) -> String {
    let context = serde_json::json!({ENCRYPTED_FOR: format!("{}/{}", tree.owner, tree.tree)});
    BASE64_STANDARD.encode(context.to_string())
}

/// Name of the pair in the encryption context.
const ENCRYPTED_FOR: &str = "shannon-tree";

/// Where an object of a tree lies.
pub(crate) fn object(tree: &TreeKey, name: &str) -> String {
    format!("{}/{}/{name}", tree.owner, tree.tree)
}
