//! DeleteObject and DeleteObjects. With versioning, deleting hides an object behind a delete marker;
//! only deleting a named version removes bytes.

use rusqlite::Transaction;
use s3s::{
    S3Request, S3Response, S3Result,
    dto::{
        DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput,
        DeletedObject, ETagCondition, Error,
    },
    s3_error,
};

use super::{
    ObjectStore, conditions,
    metadata::{self, NewVersion, Versioning},
};

/// What deleting one key did.
struct Deleted {
    marker: bool,
    version_id: Option<String>,
}

fn delete(
    transaction: &Transaction<'_>,
    (bucket, key): (&str, &str),
    version_id: Option<&str>,
    if_match: Option<&ETagCondition>,
    bypass: bool,
    unneeded: &mut Vec<String>,
) -> S3Result<Deleted> {
    let versioning = metadata::bucket(transaction, bucket)?;
    if if_match.is_some() {
        conditions::before_write(
            metadata::current(transaction, bucket, key)?.as_ref(),
            if_match,
            None,
        )?;
    }
    match version_id {
        Some(id) => {
            let version = metadata::version(transaction, bucket, key, id)?;
            if let Some(lock) = version.and_then(|version| version.properties.lock) {
                lock.check_removal(bypass)?;
            }
            let removed = metadata::remove_version(transaction, bucket, key, id, unneeded)?;
            Ok(Deleted {
                marker: removed.is_some_and(|version| version.marker),
                version_id: versioning.shown(id),
            })
        }
        None if versioning == Versioning::Off => {
            metadata::remove_version(transaction, bucket, key, "null", unneeded)?;
            Ok(Deleted {
                marker: false,
                version_id: None,
            })
        }
        None => {
            let marker = NewVersion::delete_marker();
            let id =
                metadata::add_version(transaction, (bucket, key), versioning, &marker, unneeded)?;
            Ok(Deleted {
                marker: true,
                version_id: Some(id),
            })
        }
    }
}

impl ObjectStore {
    /// DeleteObject; deleting what is not there succeeds.
    pub(super) async fn delete(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = request.input;
        let deleted = self
            .metadata
            .write(None, move |transaction, unneeded| {
                delete(
                    transaction,
                    (&input.bucket, &input.key),
                    input.version_id.as_deref(),
                    input.if_match.as_ref(),
                    input.bypass_governance_retention.unwrap_or(false),
                    unneeded,
                )
            })
            .await?;
        Ok(S3Response::new(DeleteObjectOutput {
            delete_marker: deleted.marker.then_some(true),
            version_id: deleted.version_id,
            ..DeleteObjectOutput::default()
        }))
    }

    /// DeleteObjects: each key succeeds or fails for itself.
    pub(super) async fn delete_many(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let input = request.input;
        if input.delete.objects.len() > 1000 {
            return Err(s3_error!(
                MalformedXML,
                "The XML you provided was not well-formed or did not validate against our \
                 published schema"
            ));
        }
        let bypass = input.bypass_governance_retention.unwrap_or(false);
        let quiet = input.delete.quiet.unwrap_or(false);
        let mut deleted = Vec::new();
        let mut errors = Vec::new();
        for object in input.delete.objects {
            let bucket = input.bucket.clone();
            let (key, version_id) = (object.key.clone(), object.version_id.clone());
            let if_match = object.e_tag.map(ETagCondition::ETag);
            let result = self
                .metadata
                .write(None, move |transaction, unneeded| {
                    delete(
                        transaction,
                        (&bucket, &key),
                        version_id.as_deref(),
                        if_match.as_ref(),
                        bypass,
                        unneeded,
                    )
                })
                .await;
            match result {
                Ok(done) => deleted.push(DeletedObject {
                    delete_marker: done.marker.then_some(true),
                    delete_marker_version_id: done.version_id.filter(|_| done.marker),
                    key: Some(object.key),
                    version_id: object.version_id,
                }),
                // No bucket is a failure of the request, not of a key.
                Err(error) if *error.code() == s3s::S3ErrorCode::NoSuchBucket => return Err(error),
                Err(error) => errors.push(Error {
                    code: Some(error.code().as_str().to_owned()),
                    key: Some(object.key),
                    message: error.message().map(str::to_owned),
                    version_id: object.version_id,
                }),
            }
        }
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted: (!quiet).then_some(deleted),
            errors: (!errors.is_empty()).then_some(errors),
            ..DeleteObjectsOutput::default()
        }))
    }
}
