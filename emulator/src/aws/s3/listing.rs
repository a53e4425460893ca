//! ListObjectsV2, ListObjects and ListObjectVersions: keys in the order of their UTF-8 bytes, folded at
//! a delimiter, in pages.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rusqlite::{Connection, params};
use s3s::{
    S3Request, S3Response, S3Result,
    dto::{
        CommonPrefix, DeleteMarkerEntry, EncodingType, ListObjectVersionsInput,
        ListObjectVersionsOutput, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input,
        ListObjectsV2Output, Object, ObjectStorageClass, ObjectVersion, ObjectVersionStorageClass,
    },
    s3_error,
};

use super::{
    ObjectStore,
    conditions::etag,
    metadata::{self, VERSION_COLUMNS, Version, database_error},
};

/// Most entries of one page, as on AWS.
const PAGE: i32 = 1000;

/// Where a page stops: the last key or folded prefix it shows.
struct Page<T> {
    entries: Vec<T>,
    prefixes: Vec<String>,
    last: Option<String>,
    truncated: bool,
}

struct Query<'a> {
    bucket: &'a str,
    prefix: &'a str,
    delimiter: &'a str,
    /// Only what sorts behind this, folded prefixes included.
    after: &'a str,
    limit: usize,
}

impl Query<'_> {
    /// The folded form of a key, if the delimiter occurs behind the prefix.
    fn fold<'k>(&self, key: &'k str) -> Option<&'k str> {
        if self.delimiter.is_empty() {
            return None;
        }
        let rest = &key[self.prefix.len()..];
        rest.find(self.delimiter)
            .map(|at| &key[..self.prefix.len() + at + self.delimiter.len()])
    }

    fn current(&self, connection: &Connection) -> S3Result<Page<Version>> {
        let mut page = Page {
            entries: Vec::new(),
            prefixes: Vec::new(),
            last: None,
            truncated: false,
        };
        let mut statement = connection
            .prepare_cached(&format!(
                "SELECT {VERSION_COLUMNS} FROM version \
                 WHERE bucket = ?1 AND latest = 1 AND key >= ?2 AND key >= ?3 ORDER BY key"
            ))
            .map_err(database_error)?;
        let mut rows = statement
            .query(params![self.bucket, self.prefix, self.after])
            .map_err(database_error)?;
        while let Some(row) = rows.next().map_err(database_error)? {
            let key: String = row.get(1).map_err(database_error)?;
            if !key.starts_with(self.prefix) {
                break;
            }
            let marker: bool = row.get(4).map_err(database_error)?;
            let folded = self.fold(&key);
            let place = folded.unwrap_or(&key);
            if marker
                || place <= self.after
                || (folded.is_some() && page.prefixes.last().is_some_and(|last| last == place))
            {
                continue;
            }
            if page.entries.len() + page.prefixes.len() >= self.limit {
                page.truncated = true;
                break;
            }
            page.last = Some(place.to_owned());
            match folded {
                Some(prefix) => page.prefixes.push(prefix.to_owned()),
                None => page
                    .entries
                    .push(Version::read(row).map_err(database_error)?),
            }
        }
        Ok(page)
    }
}

fn limit(max: Option<i32>) -> S3Result<(i32, usize)> {
    let max = max.unwrap_or(PAGE);
    if max < 0 {
        return Err(s3_error!(
            InvalidArgument,
            "Argument maxKeys must be an integer between 0 and 2147483647"
        ));
    }
    let max = max.min(PAGE);
    Ok((max, usize::try_from(max).unwrap_or(0)))
}

/// Percent-encodes when the client asked for `encoding-type=url`: keys may hold what XML cannot.
struct Encoder(bool);

impl Encoder {
    fn of(encoding: Option<&EncodingType>) -> Self {
        Self(encoding.is_some_and(|name| name.as_str() == EncodingType::URL))
    }

    fn text(&self, text: &str) -> String {
        if !self.0 {
            return text.to_owned();
        }
        let mut encoded = String::with_capacity(text.len());
        for byte in text.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.~/*".contains(&byte) {
                encoded.push(char::from(byte));
            } else {
                encoded.push_str(&format!("%{byte:02X}"));
            }
        }
        encoded
    }

    fn prefixes(&self, prefixes: &[String]) -> Option<Vec<CommonPrefix>> {
        (!prefixes.is_empty()).then(|| {
            prefixes
                .iter()
                .map(|prefix| CommonPrefix {
                    prefix: Some(self.text(prefix)),
                })
                .collect()
        })
    }

    fn object(&self, version: &Version) -> Object {
        Object {
            key: Some(self.text(&version.key)),
            size: i64::try_from(version.size).ok(),
            e_tag: etag(&version.etag),
            last_modified: Some(version.modified_time().into()),
            storage_class: Some(version.properties.storage_class.clone().map_or_else(
                || ObjectStorageClass::from_static(ObjectStorageClass::STANDARD),
                ObjectStorageClass::from,
            )),
            checksum_type: version.properties.checksums.kind(),
            ..Object::default()
        }
    }
}

impl ObjectStore {
    /// ListObjectsV2. The continuation token holds the last place shown, so a page stays right while
    /// keys come and go.
    pub(super) async fn list(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        let (max, limit) = limit(input.max_keys)?;
        let after = match &input.continuation_token {
            Some(token) => URL_SAFE_NO_PAD
                .decode(token)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or_else(|| {
                    s3_error!(
                        InvalidArgument,
                        "The continuation token provided is incorrect"
                    )
                })?,
            None => input.start_after.clone().unwrap_or_default(),
        };
        let encoder = Encoder::of(input.encoding_type.as_ref());
        self.metadata
            .read(move |connection| {
                metadata::bucket(connection, &input.bucket)?;
                let page = Query {
                    bucket: &input.bucket,
                    prefix: input.prefix.as_deref().unwrap_or_default(),
                    delimiter: input.delimiter.as_deref().unwrap_or_default(),
                    after: &after,
                    limit,
                }
                .current(connection)?;
                let count = page.entries.len() + page.prefixes.len();
                // With max-keys=0 there is nothing to continue.
                let truncated = page.truncated && limit > 0;
                Ok(S3Response::new(ListObjectsV2Output {
                    name: Some(input.bucket),
                    prefix: Some(encoder.text(input.prefix.as_deref().unwrap_or_default())),
                    max_keys: Some(max),
                    key_count: i32::try_from(count).ok(),
                    continuation_token: input.continuation_token,
                    is_truncated: Some(truncated),
                    next_continuation_token: page
                        .last
                        .filter(|_| truncated)
                        .map(|last| URL_SAFE_NO_PAD.encode(last)),
                    contents: (!page.entries.is_empty())
                        .then(|| page.entries.iter().map(|it| encoder.object(it)).collect()),
                    common_prefixes: encoder.prefixes(&page.prefixes),
                    delimiter: input.delimiter.map(|it| encoder.text(&it)),
                    encoding_type: input.encoding_type,
                    start_after: input.start_after.map(|it| encoder.text(&it)),
                    ..ListObjectsV2Output::default()
                }))
            })
            .await
    }

    /// ListObjects, the old form: continues at a key.
    pub(super) async fn list_old(
        &self,
        request: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let input = request.input;
        let (max, limit) = limit(input.max_keys)?;
        let encoder = Encoder::of(input.encoding_type.as_ref());
        self.metadata
            .read(move |connection| {
                metadata::bucket(connection, &input.bucket)?;
                let page = Query {
                    bucket: &input.bucket,
                    prefix: input.prefix.as_deref().unwrap_or_default(),
                    delimiter: input.delimiter.as_deref().unwrap_or_default(),
                    after: input.marker.as_deref().unwrap_or_default(),
                    limit,
                }
                .current(connection)?;
                let truncated = page.truncated && limit > 0;
                // S3 names the next marker only when it folds; else the last key is the marker.
                let next = page.last.filter(|_| truncated && input.delimiter.is_some());
                Ok(S3Response::new(ListObjectsOutput {
                    name: Some(input.bucket),
                    prefix: Some(encoder.text(input.prefix.as_deref().unwrap_or_default())),
                    marker: Some(encoder.text(input.marker.as_deref().unwrap_or_default())),
                    max_keys: Some(max),
                    is_truncated: Some(truncated),
                    next_marker: next.map(|it| encoder.text(&it)),
                    contents: (!page.entries.is_empty())
                        .then(|| page.entries.iter().map(|it| encoder.object(it)).collect()),
                    common_prefixes: encoder.prefixes(&page.prefixes),
                    delimiter: input.delimiter.map(|it| encoder.text(&it)),
                    encoding_type: input.encoding_type,
                    ..ListObjectsOutput::default()
                }))
            })
            .await
    }

    /// ListObjectVersions: newest version of a key first; continues behind a key and version.
    pub(super) async fn list_versions(
        &self,
        request: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        let input = request.input;
        let (max, limit) = limit(input.max_keys)?;
        if input.version_id_marker.is_some() && input.key_marker.is_none() {
            return Err(s3_error!(
                InvalidArgument,
                "A version-id marker cannot be specified without a key marker."
            ));
        }
        let encoder = Encoder::of(input.encoding_type.as_ref());
        self.metadata
            .read(move |connection| {
                metadata::bucket(connection, &input.bucket)?;
                let page = versions(connection, &input, limit)?;
                let truncated = page.truncated && limit > 0;
                let next_key = page.last.clone().filter(|_| truncated);
                // Continuing behind a folded prefix needs no version.
                let next_version = page
                    .entries
                    .last()
                    .filter(|last| page.last.as_ref() == Some(&last.key))
                    .map(|last| last.version_id.clone())
                    .filter(|_| truncated);
                let shown = |version: &Version| ObjectVersion {
                    is_latest: Some(version.latest),
                    key: Some(encoder.text(&version.key)),
                    version_id: Some(version.version_id.clone()),
                    size: i64::try_from(version.size).ok(),
                    e_tag: etag(&version.etag),
                    last_modified: Some(version.modified_time().into()),
                    storage_class: Some(ObjectVersionStorageClass::from_static(
                        ObjectVersionStorageClass::STANDARD,
                    )),
                    ..ObjectVersion::default()
                };
                let marker = |version: &Version| DeleteMarkerEntry {
                    is_latest: Some(version.latest),
                    key: Some(encoder.text(&version.key)),
                    version_id: Some(version.version_id.clone()),
                    last_modified: Some(version.modified_time().into()),
                    owner: None,
                };
                let (markers, objects): (Vec<_>, Vec<_>) =
                    page.entries.iter().partition(|version| version.marker);
                Ok(S3Response::new(ListObjectVersionsOutput {
                    name: Some(input.bucket),
                    prefix: Some(encoder.text(input.prefix.as_deref().unwrap_or_default())),
                    delimiter: input.delimiter.map(|it| encoder.text(&it)),
                    key_marker: Some(encoder.text(input.key_marker.as_deref().unwrap_or_default())),
                    version_id_marker: input.version_id_marker,
                    max_keys: Some(max),
                    is_truncated: Some(truncated),
                    next_key_marker: next_key.map(|it| encoder.text(&it)),
                    next_version_id_marker: next_version,
                    versions: (!objects.is_empty())
                        .then(|| objects.into_iter().map(shown).collect()),
                    delete_markers: (!markers.is_empty())
                        .then(|| markers.into_iter().map(marker).collect()),
                    common_prefixes: encoder.prefixes(&page.prefixes),
                    encoding_type: input.encoding_type,
                    ..ListObjectVersionsOutput::default()
                }))
            })
            .await
    }
}

fn versions(
    connection: &Connection,
    input: &ListObjectVersionsInput,
    limit: usize,
) -> S3Result<Page<Version>> {
    let key_marker = input.key_marker.as_deref().unwrap_or_default();
    let query = Query {
        bucket: &input.bucket,
        prefix: input.prefix.as_deref().unwrap_or_default(),
        delimiter: input.delimiter.as_deref().unwrap_or_default(),
        after: key_marker,
        limit,
    };
    // Versions of the marker's key that are older than the marker's version still belong to the page.
    let resume = match &input.version_id_marker {
        Some(id) => metadata::version(connection, &input.bucket, key_marker, id)?,
        None => None,
    };
    let mut page = Page {
        entries: Vec::new(),
        prefixes: Vec::new(),
        last: None,
        truncated: false,
    };
    let mut statement = connection
        .prepare_cached(&format!(
            "SELECT {VERSION_COLUMNS} FROM version \
             WHERE bucket = ?1 AND key >= ?2 AND key >= ?3 ORDER BY key, sequence DESC"
        ))
        .map_err(database_error)?;
    let mut rows = statement
        .query(params![query.bucket, query.prefix, query.after])
        .map_err(database_error)?;
    while let Some(row) = rows.next().map_err(database_error)? {
        let version = Version::read(row).map_err(database_error)?;
        if !version.key.starts_with(query.prefix) {
            break;
        }
        let folded = query.fold(&version.key);
        let place = folded.unwrap_or(&version.key);
        let older = resume
            .as_ref()
            .is_some_and(|marker| version.key == marker.key && version.sequence < marker.sequence);
        if (place <= query.after && !older)
            || (folded.is_some() && page.prefixes.last().is_some_and(|last| last == place))
        {
            continue;
        }
        if page.entries.len() + page.prefixes.len() >= query.limit {
            page.truncated = true;
            break;
        }
        page.last = Some(place.to_owned());
        match folded {
            Some(prefix) => page.prefixes.push(prefix.to_owned()),
            None => page.entries.push(version),
        }
    }
    Ok(page)
}
