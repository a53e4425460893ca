//! Multipart uploads that are under way: their rows, and listing them and their parts.

use rusqlite::{Connection, OptionalExtension};
use s3s::{
    S3Request, S3Response, S3Result,
    dto::{
        ChecksumAlgorithm, ListMultipartUploadsInput, ListMultipartUploadsOutput, ListPartsInput,
        ListPartsOutput, MultipartUpload, Part,
    },
    s3_error,
};

use super::{
    ObjectStore,
    conditions::etag,
    metadata::{self, database_error, from_json, time_of},
    properties::{Checksums, Properties, Tags},
};

pub(super) struct Upload {
    pub(super) properties: Properties,
    pub(super) tags: Tags,
}

pub(super) struct StoredPart {
    pub(super) number: i32,
    pub(super) file: String,
    pub(super) size: u64,
    pub(super) etag: String,
    pub(super) modified: i64,
    pub(super) checksums: Checksums,
}

pub(super) fn upload(
    connection: &Connection,
    bucket: &str,
    key: &str,
    id: &str,
) -> S3Result<Upload> {
    metadata::bucket(connection, bucket)?;
    connection
        .query_row(
            "SELECT properties, tags FROM upload WHERE id = ?1 AND bucket = ?2 AND key = ?3",
            [id, bucket, key],
            |row| {
                Ok(Upload {
                    properties: from_json(row, 0)?,
                    tags: from_json(row, 1)?,
                })
            },
        )
        .optional()
        .map_err(database_error)?
        .ok_or_else(|| {
            s3_error!(
                NoSuchUpload,
                "The specified upload does not exist. The upload ID may be invalid, or the upload \
                 may have been aborted or completed."
            )
        })
}

pub(super) fn parts(connection: &Connection, id: &str) -> S3Result<Vec<StoredPart>> {
    let mut statement = connection
        .prepare_cached(
            "SELECT number, file, size, etag, modified, checksums FROM part \
             WHERE upload = ?1 ORDER BY number",
        )
        .map_err(database_error)?;
    let rows = statement
        .query_map([id], |row| {
            Ok(StoredPart {
                number: row.get(0)?,
                file: row.get(1)?,
                size: row.get(2)?,
                etag: row.get(3)?,
                modified: row.get(4)?,
                checksums: from_json(row, 5)?,
            })
        })
        .map_err(database_error)?;
    rows.collect::<Result<_, _>>().map_err(database_error)
}

pub(super) fn remove_upload(
    transaction: &rusqlite::Transaction<'_>,
    id: &str,
    unneeded: &mut Vec<String>,
) -> S3Result<()> {
    unneeded.extend(parts(transaction, id)?.into_iter().map(|part| part.file));
    transaction
        .execute("DELETE FROM upload WHERE id = ?1", [id])
        .map_err(database_error)?;
    Ok(())
}

impl ObjectStore {
    /// ListParts, in pages behind a part number.
    pub(super) async fn list_parts_of(
        &self,
        request: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        let input = request.input;
        let max = input.max_parts.unwrap_or(1000).clamp(0, 1000);
        let after = input.part_number_marker.unwrap_or_default();
        self.metadata
            .read(move |connection| {
                let row = upload(connection, &input.bucket, &input.key, &input.upload_id)?;
                let mut found = parts(connection, &input.upload_id)?;
                found.retain(|part| part.number > after);
                let shown = usize::try_from(max).unwrap_or(0);
                let truncated = found.len() > shown;
                found.truncate(shown);
                Ok(S3Response::new(ListPartsOutput {
                    bucket: Some(input.bucket),
                    key: Some(input.key),
                    upload_id: Some(input.upload_id),
                    is_truncated: Some(truncated),
                    max_parts: Some(max),
                    part_number_marker: Some(after),
                    next_part_number_marker: found.last().map(|part| part.number),
                    checksum_algorithm: row
                        .properties
                        .checksum_algorithm
                        .clone()
                        .map(ChecksumAlgorithm::from),
                    checksum_type: row.properties.checksums.kind(),
                    parts: Some(found.into_iter().map(shown_part).collect()),
                    ..ListPartsOutput::default()
                }))
            })
            .await
    }

    /// ListMultipartUploads of a bucket, by prefix, in pages behind a key and upload.
    pub(super) async fn list_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = request.input;
        if input
            .delimiter
            .as_ref()
            .is_some_and(|delimiter| !delimiter.is_empty())
        {
            return Err(s3_error!(
                NotImplemented,
                "the emulator lists uploads by prefix, without a delimiter"
            ));
        }
        let max = input.max_uploads.unwrap_or(1000).clamp(0, 1000);
        self.metadata
            .read(move |connection| {
                metadata::bucket(connection, &input.bucket)?;
                let prefix = input.prefix.clone().unwrap_or_default();
                let key_marker = input.key_marker.clone().unwrap_or_default();
                let id_marker = input.upload_id_marker.clone();
                let mut statement = connection
                    .prepare_cached(
                        "SELECT id, key, initiated FROM upload WHERE bucket = ?1 ORDER BY key, id",
                    )
                    .map_err(database_error)?;
                let rows = statement
                    .query_map([&input.bucket], |row| {
                        Ok((
                            row.get::<_, String>(0)?,
                            row.get::<_, String>(1)?,
                            row.get(2)?,
                        ))
                    })
                    .map_err(database_error)?;
                let mut uploads: Vec<(String, String, i64)> =
                    rows.collect::<Result<_, _>>().map_err(database_error)?;
                uploads.retain(|(id, key, _)| {
                    key.starts_with(&prefix)
                        && (*key > key_marker
                            || (*key == key_marker
                                && id_marker.as_ref().is_some_and(|marker| id > marker)))
                });
                let shown = usize::try_from(max).unwrap_or(0);
                let truncated = uploads.len() > shown;
                uploads.truncate(shown);
                let last = uploads.last().cloned().filter(|_| truncated);
                Ok(S3Response::new(ListMultipartUploadsOutput {
                    bucket: Some(input.bucket),
                    is_truncated: Some(truncated),
                    key_marker: Some(key_marker),
                    upload_id_marker: id_marker,
                    max_uploads: Some(max),
                    prefix: Some(prefix),
                    next_key_marker: last.as_ref().map(|(_, key, _)| key.clone()),
                    next_upload_id_marker: last.map(|(id, ..)| id),
                    uploads: Some(
                        uploads
                            .into_iter()
                            .map(|(id, key, initiated)| MultipartUpload {
                                upload_id: Some(id),
                                key: Some(key),
                                initiated: Some(time_of(initiated).into()),
                                ..MultipartUpload::default()
                            })
                            .collect(),
                    ),
                    ..ListMultipartUploadsOutput::default()
                }))
            })
            .await
    }
}

fn shown_part(part: StoredPart) -> Part {
    Part {
        part_number: Some(part.number),
        size: i64::try_from(part.size).ok(),
        e_tag: etag(&part.etag),
        last_modified: Some(time_of(part.modified).into()),
        checksum_crc32: part.checksums.crc32,
        checksum_crc32c: part.checksums.crc32c,
        checksum_crc64nvme: part.checksums.crc64nvme,
        checksum_sha1: part.checksums.sha1,
        checksum_sha256: part.checksums.sha256,
    }
}
