//! Objects in the bucket: what is too large for a row.

use std::path::Path;

use aws_sdk_s3::{
    error::{ProvideErrorMetadata, SdkError},
    operation::get_object::GetObjectError,
    primitives::ByteStream,
    types::ServerSideEncryption,
};
use bytes::Bytes;
use domain::{OwnerId, SessionKey, TreeKey, UploadId, ports::Unavailable};
use thiserror::Error;
use tokio::io::AsyncWriteExt;

use crate::{
    Store,
    failure::{self, Kind},
    tree_objects::{encryption_context, object},
};

/// Why an object was not brought to disk.
#[derive(Debug, Error)]
pub enum ObjectError {
    /// There is none of that name (any more).
    #[error("there is no such object")]
    Missing,
    /// It is larger than the caller takes; what was written of it is to be removed.
    #[error("the object has more than {0} bytes")]
    TooLarge(u64),
    /// The machine's disk refused it: full, or not to be written.
    #[error("the object could not be written to disk")]
    Disk(#[from] std::io::Error),
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl Store {
    /// Writes an object of a session: `<owner>/<tree>/sessions/<session>/<name>`. `name` is ours,
    /// never a client's; writing it again replaces it.
    ///
    /// # Errors
    /// [`Unavailable`]: write it again.
    pub async fn put_session_object(
        &self,
        tree: &TreeKey,
        key: &SessionKey,
        name: &str,
        bytes: Vec<u8>,
    ) -> Result<(), Unavailable> {
        self.put(tree, &session_object(tree, key, name), bytes)
            .await
    }

    /// An object of a session, whole; `None` when there is none of that name.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn get_session_object(
        &self,
        tree: &TreeKey,
        key: &SessionKey,
        name: &str,
    ) -> Result<Option<Bytes>, Unavailable> {
        self.get(&session_object(tree, key, name)).await
    }

    /// Brings an uploaded file to `file`, which it creates or replaces, piece by piece, and gives
    /// its size in bytes. Cut or failed, it may leave a part of the file behind.
    ///
    /// # Errors
    /// [`ObjectError`]; the file is refused as soon as it exceeds `most_bytes`.
    pub async fn download_upload(
        &self,
        owner: &OwnerId,
        upload: &UploadId,
        file: &Path,
        most_bytes: u64,
    ) -> Result<u64, ObjectError> {
        const ATTEMPTED: &str = "download the upload";
        let answer = match Box::pin(
            self.s3
                .get_object()
                .bucket(&self.bucket)
                .key(upload_object(owner, upload))
                .send(),
        )
        .await
        {
            Ok(answer) => answer,
            Err(error) if self.is_missing(&upload_object(owner, upload), &error).await => {
                return Err(ObjectError::Missing);
            }
            Err(error) => return Err(failure::aws(ATTEMPTED, Kind::Read, error).into()),
        };
        let mut body = answer.body;
        let mut target = tokio::fs::File::create(file).await?;
        let mut written = 0_u64;
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| failure::own(ATTEMPTED, error))?;
            written += piece.len() as u64;
            if written > most_bytes {
                return Err(ObjectError::TooLarge(most_bytes));
            }
            target.write_all(&piece).await?;
        }
        target.flush().await?;
        Ok(written)
    }

    /// Writes an object of a tree, encrypted for it.
    pub(crate) async fn put(
        &self,
        tree: &TreeKey,
        object: &str,
        bytes: Vec<u8>,
    ) -> Result<(), Unavailable> {
        Box::pin(
            self.s3
                .put_object()
                .bucket(&self.bucket)
                .key(object)
                .server_side_encryption(ServerSideEncryption::AwsKms)
                .ssekms_encryption_context(encryption_context(tree))
                .body(ByteStream::from(bytes))
                .send(),
        )
        .await
        .map(drop)
        .map_err(|error| failure::aws("write an object", Kind::Write, error))
    }

    pub(crate) async fn get(&self, object: &str) -> Result<Option<Bytes>, Unavailable> {
        self.read_object(object, None).await
    }

    /// A version of an object, which may be hidden by a later one.
    pub(crate) async fn get_version(
        &self,
        object: &str,
        version: &str,
    ) -> Result<Option<Bytes>, Unavailable> {
        self.read_object(object, Some(version)).await
    }

    async fn read_object(
        &self,
        object: &str,
        version: Option<&str>,
    ) -> Result<Option<Bytes>, Unavailable> {
        const ATTEMPTED: &str = "read an object";
        let get = self.s3.get_object().bucket(&self.bucket).key(object);
        let get = get.set_version_id(version.map(str::to_owned));
        match Box::pin(get.send()).await {
            Ok(answer) => answer
                .body
                .collect()
                .await
                .map(|body| Some(body.into_bytes()))
                .map_err(|error| failure::own(ATTEMPTED, error)),
            Err(error) if self.is_missing(object, &error).await => Ok(None),
            Err(error) => Err(failure::aws(ATTEMPTED, Kind::Read, error)),
        }
    }

    /// Whether an object could not be read because there is none. Who may list some prefixes only is
    /// refused instead, and has to look: S3 tells about a missing object only who may list all.
    pub(crate) async fn is_missing<R>(
        &self,
        object: &str,
        error: &SdkError<GetObjectError, R>,
    ) -> bool {
        let Some(answer) = error.as_service_error() else {
            return false;
        };
        if answer.is_no_such_key() || answer.code() != Some("AccessDenied") {
            return answer.is_no_such_key();
        }
        let listed = Box::pin(
            self.s3
                .list_objects_v2()
                .bucket(&self.bucket)
                .prefix(object)
                .max_keys(1)
                .send(),
        )
        .await;
        listed.is_ok_and(|found| found.contents().iter().all(|it| it.key() != Some(object)))
    }
}

/// Where an object of a session lies.
pub(crate) fn session_object(tree: &TreeKey, key: &SessionKey, name: &str) -> String {
    object(tree, &format!("sessions/{}/{name}", key.session))
}

/// Where a client's upload lies: apart from what sessions store, because only uploads expire by
/// themselves.
pub(crate) fn upload_object(owner: &OwnerId, upload: &UploadId) -> String {
    format!("uploads/{owner}/{upload}")
}

#[cfg(test)]
mod tests {
    use domain::{SessionId, TreeId};

    use super::*;

    /// The bucket's rules expire what begins with `uploads/`, and nothing else.
    #[test]
    fn objects_lie_where_the_rules_of_the_bucket_expect_them() {
        let owner = OwnerId::of("issuer", "subject");
        let session = SessionId::from_random([0; 17]);
        let tree = TreeKey {
            owner: owner.clone(),
            tree: TreeId::of(session.clone()),
        };
        let key = SessionKey {
            owner: owner.clone(),
            session,
        };
        let spelled = [
            object(&tree, "packs/x"),
            session_object(&tree, &key, "transcript/1"),
            upload_object(&owner, &UploadId::from_random([0; 17])),
        ]
        .map(|name| name.replace(owner.as_str(), "OWNER"));
        assert_eq!(
            spelled,
            [
                "OWNER/ses_aaaaaaaaaaaaaaaaaaaaaaaaaa/packs/x",
                "OWNER/ses_aaaaaaaaaaaaaaaaaaaaaaaaaa/sessions/ses_aaaaaaaaaaaaaaaaaaaaaaaaaa/transcript/1",
                "uploads/OWNER/upl_aaaaaaaaaaaaaaaaaaaaaaaaaa",
            ]
        );
        // An owner is never called so.
        assert!(OwnerId::parse("uploads").is_err());
    }
}
