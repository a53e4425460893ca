//! Reading one object: GetObject and HeadObject, of the newest or a named version, whole or a range.

use s3s::{
    S3Request, S3Response, S3Result,
    dto::{
        GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, Range, StorageClass,
        StreamingBlob,
    },
    s3_error,
};

use super::{
    ObjectStore,
    body::FileBody,
    conditions::{ReadConditions, etag},
    files::file_error,
    lock::Lock,
    metadata::{self, Version},
    permitted::{MayList, may_open},
    properties::{Checksums, Properties},
};
use crate::aws::permissions::Opener;

impl ObjectStore {
    /// GetObject: whole, or one range, of the newest or a named version.
    pub(super) async fn get(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let may_list = MayList::of(&request.extensions);
        let opener = request.extensions.get::<Opener>().cloned();
        let input = request.input;
        whole_object(input.part_number)?;
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
                let context = found.properties.encryption_context.as_deref();
                may_open(opener.as_ref(), (&*bucket, &*key), context)?;
                let range = range_of(wanted, found.size)?;
                let file = files.read(&found.file).map_err(file_error)?;
                Ok((found, shown, range, file))
            })
            .await
            .map_err(|error| may_list.shown(error))?;
        let (start, end) = range.unwrap_or((0, found.size));
        if start > 0 {
            file.skip_to(start).map_err(file_error)?;
        }
        let body = FileBody::new(file, end - start);
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
            object_lock_mode: properties.lock.as_ref().map(Lock::mode),
            object_lock_retain_until_date: properties.lock.as_ref().map(|it| it.until().into()),
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
        let may_list = MayList::of(&request.extensions);
        let input = request.input;
        whole_object(input.part_number)?;
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
            .await
            .map_err(|error| may_list.shown(error))?;
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
            object_lock_mode: properties.lock.as_ref().map(Lock::mode),
            object_lock_retain_until_date: properties.lock.as_ref().map(|it| it.until().into()),
            storage_class: storage_class(properties),
            version_id: shown,
            ..HeadObjectOutput::default()
        }))
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

// Parts are joined when an upload is completed, so there are none to be read.
fn whole_object(part: Option<i32>) -> S3Result<()> {
    if part.is_some() {
        return Err(s3_error!(
            NotImplemented,
            "the emulator reads objects by range, not by part number"
        ));
    }
    Ok(())
}
