//! One object: PutObject, GetObject, HeadObject, CopyObject.

use std::io::Seek;

use s3s::{
    S3Request, S3Response, S3Result,
    dto::{
        CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, GetObjectInput,
        GetObjectOutput, HeadObjectInput, HeadObjectOutput, MetadataDirective, PutObjectInput,
        PutObjectOutput, Range, StorageClass, StreamingBlob, TaggingDirective,
    },
    s3_error,
};

use super::{
    ObjectStore,
    body::FileBody,
    checksums::Claims,
    conditions::{self, ReadConditions, etag},
    files::file_error,
    metadata::{self, NewVersion, Version},
    properties::{Checksums, Properties, metadata_from, tags_from_header},
};

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
                encryption: input
                    .server_side_encryption
                    .map(|it| it.as_str().to_owned()),
                encryption_key: input.ssekms_key_id,
                storage_class: input.storage_class.map(|it| it.as_str().to_owned()),
                parts: None,
                checksums,
                checksum_algorithm: None,
            },
            tags,
        };
        output.server_side_encryption = new.properties.encryption();
        output.ssekms_key_id = new.properties.encryption_key.clone();
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

    /// GetObject: whole, or one range, of the newest or a named version.
    pub(super) async fn get(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        let conditions = ReadConditions {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since,
            if_unmodified_since: input.if_unmodified_since,
        };
        let whole_checksum = input.checksum_mode.is_some() && input.range.is_none();
        let (bucket, key, version_id) = (input.bucket, input.key, input.version_id);
        let wanted = input.range;
        let files = self.files.clone();
        // The file is opened under the lock that deleting takes: a row that names a file has one.
        let (found, shown, range, mut file) = self
            .metadata
            .read(move |connection| {
                let (found, shown) = find(connection, &bucket, &key, version_id.as_deref())?;
                conditions.check(&found)?;
                let range = range_of(wanted, found.size)?;
                let file = files.read(&found.file).map_err(file_error)?;
                Ok((found, shown, range, file))
            })
            .await?;
        let (start, end) = range.unwrap_or((0, found.size));
        if start > 0 {
            file.seek(std::io::SeekFrom::Start(start))
                .map_err(file_error)?;
        }
        let body = FileBody::new(tokio::fs::File::from_std(file), end - start);
        let properties = &found.properties;
        let checksums = shown_checksums(whole_checksum, properties);
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            body: Some(StreamingBlob::new(body)),
            cache_control: properties.cache_control.clone(),
            checksum_type: checksums.kind(),
            checksum_crc32: checksums.crc32,
            checksum_crc32c: checksums.crc32c,
            checksum_crc64nvme: checksums.crc64nvme,
            checksum_sha1: checksums.sha1,
            checksum_sha256: checksums.sha256,
            content_disposition: properties.content_disposition.clone(),
            content_encoding: properties.content_encoding.clone(),
            content_language: properties.content_language.clone(),
            content_length: i64::try_from(end - start).ok(),
            content_range: range.map(|(start, end)| {
                format!("bytes {start}-{}/{}", end.saturating_sub(1), found.size)
            }),
            content_type: content_type(properties),
            e_tag: etag(&found.etag),
            expires: properties.expires.clone(),
            last_modified: Some(found.modified_time().into()),
            metadata: properties.metadata(),
            server_side_encryption: properties.encryption(),
            ssekms_key_id: properties.encryption_key.clone(),
            storage_class: storage_class(properties),
            tag_count: tag_count(&found),
            version_id: shown,
            ..GetObjectOutput::default()
        }))
    }

    /// HeadObject: everything of GetObject but the bytes.
    pub(super) async fn head(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = request.input;
        let conditions = ReadConditions {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since,
            if_unmodified_since: input.if_unmodified_since,
        };
        let whole_checksum = input.checksum_mode.is_some() && input.range.is_none();
        let (bucket, key, version_id) = (input.bucket, input.key, input.version_id);
        let wanted = input.range;
        let (found, shown, range) = self
            .metadata
            .read(move |connection| {
                let (found, shown) = find(connection, &bucket, &key, version_id.as_deref())?;
                conditions.check(&found)?;
                let range = range_of(wanted, found.size)?;
                Ok((found, shown, range))
            })
            .await?;
        let (start, end) = range.unwrap_or((0, found.size));
        let properties = &found.properties;
        let checksums = shown_checksums(whole_checksum, properties);
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            cache_control: properties.cache_control.clone(),
            checksum_type: checksums.kind(),
            checksum_crc32: checksums.crc32,
            checksum_crc32c: checksums.crc32c,
            checksum_crc64nvme: checksums.crc64nvme,
            checksum_sha1: checksums.sha1,
            checksum_sha256: checksums.sha256,
            content_disposition: properties.content_disposition.clone(),
            content_encoding: properties.content_encoding.clone(),
            content_language: properties.content_language.clone(),
            content_length: i64::try_from(end - start).ok(),
            content_range: range.map(|(start, end)| {
                format!("bytes {start}-{}/{}", end.saturating_sub(1), found.size)
            }),
            content_type: content_type(properties),
            e_tag: etag(&found.etag),
            expires: properties.expires.clone(),
            last_modified: Some(found.modified_time().into()),
            metadata: properties.metadata(),
            parts_count: None,
            server_side_encryption: properties.encryption(),
            ssekms_key_id: properties.encryption_key.clone(),
            storage_class: storage_class(properties),
            version_id: shown,
            ..HeadObjectOutput::default()
        }))
    }

    /// CopyObject: shares the bytes with its source, so it costs no disk.
    pub(super) async fn copy(
        &self,
        request: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        // The dto has no place for the conditions on the target, the headers do.
        let target = WriteConditions::of(&request.headers)?;
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
                properties.encryption = encryption;
                properties.encryption_key = encryption_key;
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

/// The version a read asks for and its id if the bucket has versions. 404 when there is none, 405 for
/// a delete marker that is named.
pub(super) fn find(
    connection: &rusqlite::Connection,
    bucket: &str,
    key: &str,
    version_id: Option<&str>,
) -> S3Result<(Version, Option<String>)> {
    let versioning = metadata::bucket(connection, bucket)?;
    let missing = || s3_error!(NoSuchKey, "The specified key does not exist.");
    let found = match version_id {
        None => metadata::latest(connection, bucket, key)?.ok_or_else(missing)?,
        Some(id) => metadata::version(connection, bucket, key, id)?
            .ok_or_else(|| s3_error!(NoSuchVersion, "The specified version does not exist."))?,
    };
    let shown = versioning.shown(&found.version_id);
    if !found.marker {
        return Ok((found, shown));
    }
    let mut error = if version_id.is_some() {
        s3_error!(
            MethodNotAllowed,
            "The specified method is not allowed against this resource."
        )
    } else {
        missing()
    };
    let mut headers = http::HeaderMap::new();
    headers.insert(
        "x-amz-delete-marker",
        http::HeaderValue::from_static("true"),
    );
    if let Some(id) = shown.and_then(|id| http::HeaderValue::try_from(id).ok()) {
        headers.insert("x-amz-version-id", id);
    }
    error.set_headers(headers);
    Err(error)
}

/// Start and end (exclusive) of a range, or 416.
fn range_of(range: Option<Range>, size: u64) -> S3Result<Option<(u64, u64)>> {
    let Some(range) = range else { return Ok(None) };
    match range.check(size) {
        Ok(found) if found.start < found.end => Ok(Some((found.start, found.end))),
        _ => Err(s3_error!(
            InvalidRange,
            "The requested range is not satisfiable"
        )),
    }
}

fn content_type(properties: &Properties) -> Option<String> {
    Some(
        properties
            .content_type
            .clone()
            .unwrap_or_else(|| "binary/octet-stream".to_owned()),
    )
}

// S3 names the storage class only when it is not the usual one.
fn storage_class(properties: &Properties) -> Option<StorageClass> {
    properties
        .storage_class
        .clone()
        .filter(|class| class != StorageClass::STANDARD)
        .map(StorageClass::from)
}

fn tag_count(version: &Version) -> Option<i32> {
    i32::try_from(version.tags.len())
        .ok()
        .filter(|count| *count > 0)
}

fn shown_checksums(wanted: bool, properties: &Properties) -> Checksums {
    if wanted {
        properties.checksums.clone()
    } else {
        Checksums::default()
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
