//! Writing one object: PutObject and CopyObject.

use s3s::{
    S3Request, S3Response, S3Result,
    dto::{
        CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, MetadataDirective,
        PutObjectInput, PutObjectOutput, StreamingBlob, TaggingDirective,
    },
    s3_error,
};

use super::{
    ObjectStore,
    checksums::Claims,
    conditions::{self, ReadConditions, etag},
    files::file_error,
    lock::Lock,
    metadata::{self, NewVersion},
    permitted::may_open,
    properties::{Properties, check_encryption_context, metadata_from, tags_from_header},
    reading::find,
};
use crate::aws::permissions::Opener;

impl ObjectStore {
    /// PutObject. Conditions are checked once before the body is read, to refuse early, and again in
    /// the transaction that makes the object visible, which is what counts.
    pub(super) async fn put(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let claims = Claims::of(&request);
        let input = request.input;
        let tags = tags_from_header(input.tagging.as_deref())?;
        let (bucket, key) = (input.bucket, input.key);
        let (if_match, if_none_match) = (input.if_match, input.if_none_match);
        let encryption = input
            .server_side_encryption
            .map(|it| it.as_str().to_owned());
        let encryption_context = input.ssekms_encryption_context;
        check_encryption_context(encryption.as_deref(), encryption_context.as_deref())?;
        let lock = Lock::of(
            input.object_lock_mode,
            input.object_lock_retain_until_date,
            self.locking.contains(&bucket),
            claims.any(),
        )?;
        {
            let (bucket, key) = (bucket.clone(), key.clone());
            let (if_match, if_none_match) = (if_match.clone(), if_none_match.clone());
            self.metadata
                .read(move |connection| {
                    metadata::bucket(connection, &bucket)?;
                    conditions::before_write(
                        metadata::current(connection, &bucket, &key)?.as_ref(),
                        if_match.as_ref(),
                        if_none_match.as_ref(),
                    )
                })
                .await?;
        }
        let body = input
            .body
            .unwrap_or_else(|| StreamingBlob::from(s3s::Body::empty()));
        let file = self.files.receive(body, claims.hasher()).await?;
        let checksums = claims.verify(&file)?;
        self.faults.hold("s3", "PutObject").await;
        let value = super::hexadecimal(&file.md5);
        let mut output = PutObjectOutput {
            e_tag: etag(&value),
            checksum_crc32: checksums.crc32.clone(),
            checksum_crc32c: checksums.crc32c.clone(),
            checksum_crc64nvme: checksums.crc64nvme.clone(),
            checksum_sha1: checksums.sha1.clone(),
            checksum_sha256: checksums.sha256.clone(),
            checksum_type: checksums.kind(),
            ..PutObjectOutput::default()
        };
        let new = NewVersion {
            marker: false,
            file: file.name.clone(),
            size: file.size,
            etag: value,
            properties: Properties {
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
                checksums,
                checksum_algorithm: None,
                lock,
            },
            tags,
        };
        output.server_side_encryption = new.properties.encryption();
        output.ssekms_key_id = new.properties.encryption_key.clone();
        output.ssekms_encryption_context = new.properties.encryption_context.clone();
        output.version_id = self
            .metadata
            .write(Some(file), move |transaction, unneeded| {
                let versioning = metadata::bucket(transaction, &bucket)?;
                conditions::before_write(
                    metadata::current(transaction, &bucket, &key)?.as_ref(),
                    if_match.as_ref(),
                    if_none_match.as_ref(),
                )?;
                let id = metadata::add_version(
                    transaction,
                    (&bucket, &key),
                    versioning,
                    &new,
                    unneeded,
                )?;
                Ok(versioning.shown(&id))
            })
            .await?;
        Ok(S3Response::new(output))
    }

    /// CopyObject: shares the bytes with its source, so it costs no disk.
    pub(super) async fn copy(
        &self,
        request: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        // The dto has no place for the conditions on the target, the headers do.
        let target = WriteConditions::of(&request.headers)?;
        let opener = request.extensions.get::<Opener>().cloned();
        let input = request.input;
        let CopySource::Bucket {
            bucket: source_bucket,
            key: source_key,
            version_id,
        } = input.copy_source
        else {
            return Err(s3_error!(
                NotImplemented,
                "a copy source has to be bucket/key here"
            ));
        };
        let conditions = ReadConditions {
            if_match: input.copy_source_if_match,
            if_none_match: input.copy_source_if_none_match,
            if_modified_since: input.copy_source_if_modified_since,
            if_unmodified_since: input.copy_source_if_unmodified_since,
        };
        let replace = directive(
            input
                .metadata_directive
                .as_ref()
                .map(MetadataDirective::as_str),
        )?;
        let new_tags = directive(
            input
                .tagging_directive
                .as_ref()
                .map(TaggingDirective::as_str),
        )?
        .then(|| tags_from_header(input.tagging.as_deref()))
        .transpose()?;
        let replacement = Properties {
            content_type: input.content_type,
            cache_control: input.cache_control,
            content_disposition: input.content_disposition,
            content_encoding: input.content_encoding,
            content_language: input.content_language,
            expires: input.expires,
            metadata: metadata_from(input.metadata),
            ..Properties::default()
        };
        let encryption = input
            .server_side_encryption
            .map(|it| it.as_str().to_owned());
        let encryption_key = input.ssekms_key_id;
        let encryption_context = input.ssekms_encryption_context;
        check_encryption_context(encryption.as_deref(), encryption_context.as_deref())?;
        let storage = input.storage_class.map(|it| it.as_str().to_owned());
        let (bucket, key) = (input.bucket, input.key);
        let files = self.files.clone();
        let (new, shown, source_shown) = self
            .metadata
            .write(None, move |transaction, unneeded| {
                let versioning = metadata::bucket(transaction, &bucket)?;
                let (source, source_shown) = find(
                    transaction,
                    &source_bucket,
                    &source_key,
                    version_id.as_deref(),
                )?;
                conditions.check_source(&source)?;
                let context = source.properties.encryption_context.as_deref();
                may_open(opener.as_ref(), (&*source_bucket, &*source_key), context)?;
                if *source_bucket == *bucket
                    && *source_key == *key
                    && version_id.is_none()
                    && !replace
                    && encryption.is_none()
                    && storage.is_none()
                {
                    return Err(s3_error!(
                        InvalidRequest,
                        "This copy request is illegal because it is trying to copy an object to \
                         itself without changing the object's metadata, storage class, website \
                         redirect location or encryption attributes."
                    ));
                }
                conditions::before_write(
                    metadata::current(transaction, &bucket, &key)?.as_ref(),
                    target.if_match.as_ref(),
                    target.if_none_match.as_ref(),
                )?;
                let mut properties = if replace {
                    Properties {
                        checksums: source.properties.checksums.clone(),
                        parts: source.properties.parts,
                        ..replacement
                    }
                } else {
                    source.properties.clone()
                };
                // A copy is locked only when it asks for it, which none does here.
                properties.lock = None;
                properties.encryption = encryption;
                properties.encryption_key = encryption_key;
                properties.encryption_context = encryption_context;
                properties.storage_class = storage;
                let new = NewVersion {
                    marker: false,
                    // If the transaction fails now, the next start sweeps the second name.
                    file: files.link(&source.file).map_err(file_error)?,
                    size: source.size,
                    etag: source.etag.clone(),
                    properties,
                    tags: new_tags.unwrap_or_else(|| source.tags.clone()),
                };
                let id = metadata::add_version(
                    transaction,
                    (&bucket, &key),
                    versioning,
                    &new,
                    unneeded,
                )?;
                Ok((new, versioning.shown(&id), source_shown))
            })
            .await?;
        let checksums = &new.properties.checksums;
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(CopyObjectResult {
                e_tag: etag(&new.etag),
                last_modified: Some(std::time::SystemTime::now().into()),
                checksum_crc32: checksums.crc32.clone(),
                checksum_crc32c: checksums.crc32c.clone(),
                checksum_crc64nvme: checksums.crc64nvme.clone(),
                checksum_sha1: checksums.sha1.clone(),
                checksum_sha256: checksums.sha256.clone(),
                checksum_type: checksums.kind(),
            }),
            copy_source_version_id: source_shown,
            server_side_encryption: new.properties.encryption(),
            ssekms_key_id: new.properties.encryption_key.clone(),
            ssekms_encryption_context: new.properties.encryption_context.clone(),
            version_id: shown,
            ..CopyObjectOutput::default()
        }))
    }
}

/// `If-Match` and `If-None-Match` of a write whose dto lacks them.
struct WriteConditions {
    if_match: Option<s3s::dto::ETagCondition>,
    if_none_match: Option<s3s::dto::ETagCondition>,
}

impl WriteConditions {
    fn of(headers: &http::HeaderMap) -> S3Result<Self> {
        let read = |name: http::HeaderName| {
            headers
                .get(&name)
                .map(|value| s3s::dto::ETagCondition::parse_http_header(value.as_bytes()))
                .transpose()
                .map_err(|error| s3_error!(error, InvalidArgument, "bad header {name}"))
        };
        Ok(Self {
            if_match: read(http::header::IF_MATCH)?,
            if_none_match: read(http::header::IF_NONE_MATCH)?,
        })
    }
}

/// Whether a COPY or REPLACE directive says REPLACE.
fn directive(value: Option<&str>) -> S3Result<bool> {
    match value {
        None | Some("COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(other) => Err(s3_error!(
            InvalidArgument,
            "Unknown metadata directive: {other}"
        )),
    }
}

// The SDKs name their own framing as an encoding; S3 removes it before it stores the header.
pub(super) fn without_aws_chunked(encoding: Option<String>) -> Option<String> {
    let rest = encoding?
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("aws-chunked"))
        .collect::<Vec<_>>()
        .join(",");
    (!rest.is_empty()).then_some(rest)
}
