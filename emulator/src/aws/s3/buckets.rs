//! Buckets, their versioning, and the tags of objects.

use rusqlite::params;
use s3s::{
    S3Request, S3Response, S3Result,
    dto::{
        Bucket, BucketVersioningStatus, CreateBucketInput, CreateBucketOutput, DeleteBucketInput,
        DeleteBucketOutput, DeleteObjectTaggingInput, DeleteObjectTaggingOutput,
        GetBucketLocationInput, GetBucketLocationOutput, GetBucketVersioningInput,
        GetBucketVersioningOutput, GetObjectTaggingInput, GetObjectTaggingOutput, HeadBucketInput,
        HeadBucketOutput, ListBucketsInput, ListBucketsOutput, PutBucketVersioningInput,
        PutBucketVersioningOutput, PutObjectTaggingInput, PutObjectTaggingOutput, Tag,
    },
    s3_error,
};

use super::{
    ObjectStore,
    metadata::{self, Versioning, database_error, now, time_of, to_json},
    properties::{Tags, check_tags},
    reading::find,
};

impl ObjectStore {
    pub(super) async fn make_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let name = request.input.bucket;
        let location = format!("/{name}");
        self.metadata
            .write(None, move |transaction, _| {
                let made = transaction
                    .execute(
                        "INSERT OR IGNORE INTO bucket (name, created, versioning) \
                         VALUES (?1, ?2, '')",
                        params![name, now()],
                    )
                    .map_err(database_error)?;
                if made == 0 {
                    return Err(s3_error!(
                        BucketAlreadyOwnedByYou,
                        "Your previous request to create the named bucket succeeded and you \
                         already own it."
                    ));
                }
                Ok(())
            })
            .await?;
        Ok(S3Response::new(CreateBucketOutput {
            location: Some(location),
        }))
    }

    pub(super) async fn remove_bucket(
        &self,
        request: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        let name = request.input.bucket;
        self.metadata
            .write(None, move |transaction, _| {
                metadata::bucket(transaction, &name)?;
                let used: bool = transaction
                    .query_row(
                        "SELECT EXISTS (SELECT 1 FROM version WHERE bucket = ?1) \
                         OR EXISTS (SELECT 1 FROM upload WHERE bucket = ?1)",
                        [&name],
                        |row| row.get(0),
                    )
                    .map_err(database_error)?;
                if used {
                    return Err(s3_error!(
                        BucketNotEmpty,
                        "The bucket you tried to delete is not empty"
                    ));
                }
                transaction
                    .execute("DELETE FROM bucket WHERE name = ?1", [&name])
                    .map_err(database_error)?;
                Ok(())
            })
            .await?;
        Ok(S3Response::new(DeleteBucketOutput::default()))
    }

    pub(super) async fn bucket_exists(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        let name = request.input.bucket;
        self.metadata
            .read(move |connection| metadata::bucket(connection, &name))
            .await?;
        Ok(S3Response::new(HeadBucketOutput {
            bucket_region: Some(crate::template::REGION.to_owned()),
            ..HeadBucketOutput::default()
        }))
    }

    pub(super) async fn buckets(
        &self,
        _request: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let buckets = self
            .metadata
            .read(|connection| {
                let mut statement = connection
                    .prepare("SELECT name, created FROM bucket ORDER BY name")
                    .map_err(database_error)?;
                let rows = statement
                    .query_map([], |row| {
                        Ok(Bucket {
                            name: Some(row.get(0)?),
                            creation_date: Some(time_of(row.get(1)?).into()),
                            ..Bucket::default()
                        })
                    })
                    .map_err(database_error)?;
                rows.collect::<Result<Vec<_>, _>>().map_err(database_error)
            })
            .await?;
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(buckets),
            ..ListBucketsOutput::default()
        }))
    }

    pub(super) async fn location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        let name = request.input.bucket;
        self.metadata
            .read(move |connection| metadata::bucket(connection, &name))
            .await?;
        // Nothing stands for us-east-1.
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    pub(super) async fn set_versioning(
        &self,
        request: S3Request<PutBucketVersioningInput>,
    ) -> S3Result<S3Response<PutBucketVersioningOutput>> {
        let name = request.input.bucket;
        let status = request.input.versioning_configuration.status;
        let versioning = match status.as_ref().map(BucketVersioningStatus::as_str) {
            Some("Enabled") => Versioning::Enabled,
            Some("Suspended") => Versioning::Suspended,
            _ => {
                return Err(s3_error!(
                    IllegalVersioningConfigurationException,
                    "The Versioning element must be specified"
                ));
            }
        };
        self.metadata
            .write(None, move |transaction, _| {
                metadata::bucket(transaction, &name)?;
                transaction
                    .execute(
                        "UPDATE bucket SET versioning = ?2 WHERE name = ?1",
                        [name.as_str(), versioning.as_str()],
                    )
                    .map_err(database_error)?;
                Ok(())
            })
            .await?;
        Ok(S3Response::new(PutBucketVersioningOutput::default()))
    }

    pub(super) async fn versioning(
        &self,
        request: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        let name = request.input.bucket;
        let versioning = self
            .metadata
            .read(move |connection| metadata::bucket(connection, &name))
            .await?;
        Ok(S3Response::new(GetBucketVersioningOutput {
            status: (versioning != Versioning::Off)
                .then(|| BucketVersioningStatus::from_static(versioning.as_str())),
            ..GetBucketVersioningOutput::default()
        }))
    }

    pub(super) async fn tags(
        &self,
        request: S3Request<GetObjectTaggingInput>,
    ) -> S3Result<S3Response<GetObjectTaggingOutput>> {
        let input = request.input;
        let (found, shown) = self
            .metadata
            .read(move |connection| {
                find(
                    connection,
                    &input.bucket,
                    &input.key,
                    input.version_id.as_deref(),
                )
            })
            .await?;
        Ok(S3Response::new(GetObjectTaggingOutput {
            tag_set: found
                .tags
                .into_iter()
                .map(|(key, value)| Tag {
                    key: Some(key),
                    value: Some(value),
                })
                .collect(),
            version_id: shown,
        }))
    }

    pub(super) async fn set_tags(
        &self,
        request: S3Request<PutObjectTaggingInput>,
    ) -> S3Result<S3Response<PutObjectTaggingOutput>> {
        let input = request.input;
        let tags = input
            .tagging
            .tag_set
            .into_iter()
            .map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default()))
            .collect();
        let version_id = self
            .replace_tags(input.bucket, input.key, input.version_id, check_tags(tags)?)
            .await?;
        Ok(S3Response::new(PutObjectTaggingOutput { version_id }))
    }

    pub(super) async fn remove_tags(
        &self,
        request: S3Request<DeleteObjectTaggingInput>,
    ) -> S3Result<S3Response<DeleteObjectTaggingOutput>> {
        let input = request.input;
        let version_id = self
            .replace_tags(input.bucket, input.key, input.version_id, Tags::new())
            .await?;
        Ok(S3Response::new(DeleteObjectTaggingOutput { version_id }))
    }

    async fn replace_tags(
        &self,
        bucket: String,
        key: String,
        version_id: Option<String>,
        tags: Tags,
    ) -> S3Result<Option<String>> {
        self.metadata
            .write(None, move |transaction, _| {
                let (found, shown) = find(transaction, &bucket, &key, version_id.as_deref())?;
                transaction
                    .execute(
                        "UPDATE version SET tags = ?2 WHERE sequence = ?1",
                        params![found.sequence, to_json(&tags)?],
                    )
                    .map_err(database_error)?;
                Ok(shown)
            })
            .await
    }
}
