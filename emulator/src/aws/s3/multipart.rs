//! Multipart uploads. Each part is a file; completing joins them into one, streamed, so that reading an
//! object never depends on how it was written.

use futures_util::{StreamExt, TryStreamExt, stream};
use md5::{Digest, Md5};
use rusqlite::{OptionalExtension, params};
use s3s::{
    S3Request, S3Response, S3Result,
    checksum::ChecksumHasher,
    dto::{
        AbortMultipartUploadInput, AbortMultipartUploadOutput, ChecksumAlgorithm, ChecksumType,
        CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CompletedPart,
        CreateMultipartUploadInput, CreateMultipartUploadOutput, StreamingBlob, UploadPartInput,
        UploadPartOutput,
    },
    s3_error,
};

use super::{
    ObjectStore,
    checksums::{self, Claims},
    conditions::{self, etag},
    metadata::{self, NewVersion, database_error, now, to_json},
    object_file::ObjectBytes,
    objects::without_aws_chunked,
    properties::{
        Checksums, Properties, check_encryption_context, metadata_from, tags_from_header,
    },
    uploads::{StoredPart, Upload, parts, remove_upload, upload},
};

/// Smallest part but the last: AWS, "Amazon S3 multipart upload limits".
const SMALLEST_PART: u64 = 5 * 1024 * 1024;
/// Most parts of an upload.
const MOST_PARTS: i32 = 10_000;

impl ObjectStore {
    /// CreateMultipartUpload. Repeating it begins another upload.
    pub(super) async fn create_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = request.input;
        let id = uuid::Uuid::new_v4().simple().to_string();
        let algorithm = input.checksum_algorithm.map(|it| it.as_str().to_owned());
        let kind = input
            .checksum_type
            .map(|it| it.as_str().to_owned())
            .or_else(|| {
                // S3's default: composite, except for the algorithm that it prefers.
                algorithm.as_ref().map(|name| {
                    if name == ChecksumAlgorithm::CRC64NVME {
                        "FULL_OBJECT"
                    } else {
                        "COMPOSITE"
                    }
                    .to_owned()
                })
            });
        let encryption = input
            .server_side_encryption
            .map(|it| it.as_str().to_owned());
        let encryption_context = input.ssekms_encryption_context;
        check_encryption_context(encryption.as_deref(), encryption_context.as_deref())?;
        let properties = Properties {
            content_type: input.content_type,
            cache_control: input.cache_control,
            content_disposition: input.content_disposition,
            content_encoding: without_aws_chunked(input.content_encoding),
            content_language: input.content_language,
            expires: input.expires,
            metadata: metadata_from(input.metadata),
            encryption,
            encryption_key: input.ssekms_key_id,
            encryption_context,
            storage_class: input.storage_class.map(|it| it.as_str().to_owned()),
            parts: None,
            checksums: Checksums {
                kind: kind.clone(),
                ..Checksums::default()
            },
            checksum_algorithm: algorithm.clone(),
            lock: None,
        };
        let tags = tags_from_header(input.tagging.as_deref())?;
        let output = CreateMultipartUploadOutput {
            bucket: Some(input.bucket.clone()),
            key: Some(input.key.clone()),
            upload_id: Some(id.clone()),
            server_side_encryption: properties.encryption(),
            ssekms_key_id: properties.encryption_key.clone(),
            ssekms_encryption_context: properties.encryption_context.clone(),
            checksum_algorithm: algorithm.map(ChecksumAlgorithm::from),
            checksum_type: kind.map(ChecksumType::from),
            ..CreateMultipartUploadOutput::default()
        };
        self.metadata
            .write(None, move |transaction, _| {
                metadata::bucket(transaction, &input.bucket)?;
                transaction
                    .execute(
                        "INSERT INTO upload (id, bucket, key, initiated, properties, tags) \
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                        params![
                            id,
                            input.bucket,
                            input.key,
                            now(),
                            to_json(&properties)?,
                            to_json(&tags)?
                        ],
                    )
                    .map_err(database_error)?;
                Ok(())
            })
            .await?;
        Ok(S3Response::new(output))
    }

    /// UploadPart. Repeating a number replaces the part.
    pub(super) async fn put_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let claims = Claims::of(&request);
        let input = request.input;
        let number = input.part_number;
        if !(1..=MOST_PARTS).contains(&number) {
            return Err(s3_error!(
                InvalidArgument,
                "Part number must be an integer between 1 and {MOST_PARTS}, inclusive"
            ));
        }
        let (bucket, key, id) = (input.bucket, input.key, input.upload_id);
        let algorithm = {
            let (bucket, key, id) = (bucket.clone(), key.clone(), id.clone());
            self.metadata
                .read(move |connection| Ok(upload(connection, &bucket, &key, &id)?.properties))
                .await?
                .checksum_algorithm
        };
        let mut hasher = claims.hasher();
        if let Some(algorithm) = algorithm {
            checksums::enable(&mut hasher, &algorithm);
        }
        let body = input
            .body
            .unwrap_or_else(|| StreamingBlob::from(s3s::Body::empty()));
        let file = self.files.receive(body, hasher).await?;
        let checksums = claims.verify(&file)?;
        let value = super::hexadecimal(&file.md5);
        let output = UploadPartOutput {
            e_tag: etag(&value),
            checksum_crc32: checksums.crc32.clone(),
            checksum_crc32c: checksums.crc32c.clone(),
            checksum_crc64nvme: checksums.crc64nvme.clone(),
            checksum_sha1: checksums.sha1.clone(),
            checksum_sha256: checksums.sha256.clone(),
            ..UploadPartOutput::default()
        };
        let (name, size) = (file.name.clone(), file.size);
        self.metadata
            .write(Some(file), move |transaction, unneeded| {
                upload(transaction, &bucket, &key, &id)?;
                let former = transaction
                    .query_row(
                        "SELECT file FROM part WHERE upload = ?1 AND number = ?2",
                        params![id, number],
                        |row| row.get::<_, String>(0),
                    )
                    .optional()
                    .map_err(database_error)?;
                unneeded.extend(former);
                transaction
                    .execute(
                        "INSERT OR REPLACE INTO part \
                         (upload, number, file, size, etag, modified, checksums) \
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                        params![id, number, name, size, value, now(), to_json(&checksums)?],
                    )
                    .map_err(database_error)?;
                Ok(())
            })
            .await?;
        Ok(S3Response::new(output))
    }

    /// CompleteMultipartUpload: conditions hold in the same transaction that makes the object visible
    /// and ends the upload.
    pub(super) async fn complete_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = request.input;
        let (bucket, key, id) = (input.bucket, input.key, input.upload_id);
        let wanted = input
            .multipart_upload
            .and_then(|it| it.parts)
            .unwrap_or_default();
        let (if_match, if_none_match) = (input.if_match, input.if_none_match);
        let (upload_row, chosen) = {
            let (bucket, key, id) = (bucket.clone(), key.clone(), id.clone());
            let (if_match, if_none_match) = (if_match.clone(), if_none_match.clone());
            self.metadata
                .read(move |connection| {
                    let row = upload(connection, &bucket, &key, &id)?;
                    let chosen = choose(parts(connection, &id)?, &wanted)?;
                    conditions::before_write(
                        metadata::current(connection, &bucket, &key)?.as_ref(),
                        if_match.as_ref(),
                        if_none_match.as_ref(),
                    )?;
                    Ok((row, chosen))
                })
                .await?
        };
        let file = self.join(&upload_row, &chosen).await?;
        let mut md5 = Md5::new();
        for part in &chosen {
            md5.update(from_hexadecimal(&part.etag));
        }
        let value = format!("{}-{}", super::hexadecimal(&md5.finalize()), chosen.len());
        let checksums = object_checksums(&upload_row.properties, &chosen, &file.checksum);
        let new = NewVersion {
            marker: false,
            file: file.name.clone(),
            size: file.size,
            etag: value.clone(),
            properties: Properties {
                parts: i32::try_from(chosen.len()).ok(),
                checksums: checksums.clone(),
                ..upload_row.properties
            },
            tags: upload_row.tags,
        };
        let mut output = CompleteMultipartUploadOutput {
            bucket: Some(bucket.clone()),
            key: Some(key.clone()),
            location: Some(format!("/{bucket}/{key}")),
            e_tag: etag(&value),
            server_side_encryption: new.properties.encryption(),
            checksum_type: checksums.kind(),
            checksum_crc32: checksums.crc32,
            checksum_crc32c: checksums.crc32c,
            checksum_crc64nvme: checksums.crc64nvme,
            checksum_sha1: checksums.sha1,
            checksum_sha256: checksums.sha256,
            ..CompleteMultipartUploadOutput::default()
        };
        self.faults.hold("s3", "CompleteMultipartUpload").await;
        output.version_id = self
            .metadata
            .write(Some(file), move |transaction, unneeded| {
                upload(transaction, &bucket, &key, &id)?;
                let versioning = metadata::bucket(transaction, &bucket)?;
                conditions::before_write(
                    metadata::current(transaction, &bucket, &key)?.as_ref(),
                    if_match.as_ref(),
                    if_none_match.as_ref(),
                )?;
                remove_upload(transaction, &id, unneeded)?;
                let version = metadata::add_version(
                    transaction,
                    (&bucket, &key),
                    versioning,
                    &new,
                    unneeded,
                )?;
                Ok(versioning.shown(&version))
            })
            .await?;
        Ok(S3Response::new(output))
    }

    async fn join(
        &self,
        upload: &Upload,
        parts: &[StoredPart],
    ) -> S3Result<super::files::StoredFile> {
        let mut hasher = ChecksumHasher::default();
        let algorithm = upload.properties.checksum_algorithm.as_deref();
        checksums::enable(
            &mut hasher,
            algorithm.unwrap_or(ChecksumAlgorithm::CRC64NVME),
        );
        let names: Vec<_> = parts.iter().map(|part| part.file.clone()).collect();
        let files = self.files.clone();
        let bytes: ObjectBytes = Box::pin(
            stream::iter(names)
                .then(move |name| {
                    let files = files.clone();
                    async move {
                        let file = tokio::task::spawn_blocking(move || files.read(&name))
                            .await
                            .map_err(std::io::Error::other)??;
                        Ok::<_, std::io::Error>(file.bytes(u64::MAX))
                    }
                })
                .try_flatten(),
        );
        self.files.receive(bytes, hasher).await
    }

    /// AbortMultipartUpload.
    pub(super) async fn abort_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let input = request.input;
        self.metadata
            .write(None, move |transaction, unneeded| {
                upload(transaction, &input.bucket, &input.key, &input.upload_id)?;
                remove_upload(transaction, &input.upload_id, unneeded)
            })
            .await?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }
}

/// The stored parts that a completion names, in its order, or the error that S3 gives.
fn choose(stored: Vec<StoredPart>, wanted: &[CompletedPart]) -> S3Result<Vec<StoredPart>> {
    if wanted.is_empty() {
        return Err(s3_error!(
            MalformedXML,
            "The XML you provided was not well-formed or did not validate against our published \
             schema"
        ));
    }
    let mut stored: std::collections::BTreeMap<i32, StoredPart> =
        stored.into_iter().map(|part| (part.number, part)).collect();
    let mut chosen = Vec::with_capacity(wanted.len());
    let mut before = 0;
    for part in wanted {
        let number = part.part_number.unwrap_or_default();
        if number <= before {
            return Err(s3_error!(
                InvalidPartOrder,
                "The list of parts was not in ascending order. Parts must be ordered by part \
                 number."
            ));
        }
        before = number;
        let found = stored
            .remove(&number)
            .filter(|found| {
                part.e_tag
                    .as_ref()
                    .is_none_or(|tag| tag.value() == found.etag)
            })
            .ok_or_else(|| {
                s3_error!(
                    InvalidPart,
                    "One or more of the specified parts could not be found. The part may not \
                     have been uploaded, or the specified entity tag may not match the part's \
                     entity tag."
                )
            })?;
        chosen.push(found);
    }
    let last = chosen.len() - 1;
    if chosen[..last].iter().any(|part| part.size < SMALLEST_PART) {
        return Err(s3_error!(
            EntityTooSmall,
            "Your proposed upload is smaller than the minimum allowed size"
        ));
    }
    Ok(chosen)
}

fn object_checksums(
    properties: &Properties,
    parts: &[StoredPart],
    whole: &s3s::dto::Checksum,
) -> Checksums {
    let composite = properties.checksums.kind.as_deref() == Some("COMPOSITE");
    match &properties.checksum_algorithm {
        Some(algorithm) if composite => {
            let of_parts: Vec<_> = parts.iter().map(|part| part.checksums.clone()).collect();
            checksums::composite(algorithm, &of_parts).unwrap_or_default()
        }
        _ => Checksums::from_request(whole.clone()),
    }
}

fn from_hexadecimal(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .filter_map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok())
        .collect()
}
