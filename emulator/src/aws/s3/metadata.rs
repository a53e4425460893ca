//! What the emulated S3 knows about its objects: one SQLite file. An object exists when its row does,
//! and a row is written only after the bytes are safely in place, so that a crash at any moment leaves
//! either the whole object or none. All changes go through one connection behind one lock: a
//! precondition and the write it guards are one transaction, which makes conditional writes atomic.
//! Times are milliseconds since 1970 by the emulator's clock.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use s3s::{S3Error, S3Result, s3_error};

use super::{
    files::{Files, StoredFile},
    properties::{Properties, Tags},
};
use crate::encryption::{StateKey, database};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS bucket (
    name TEXT PRIMARY KEY,
    created INTEGER NOT NULL,
    versioning TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS version (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    bucket TEXT NOT NULL,
    key TEXT NOT NULL,
    version_id TEXT NOT NULL,
    latest INTEGER NOT NULL,
    marker INTEGER NOT NULL,
    file TEXT NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    modified INTEGER NOT NULL,
    properties TEXT NOT NULL,
    tags TEXT NOT NULL,
    UNIQUE (bucket, key, version_id)
);
CREATE UNIQUE INDEX IF NOT EXISTS version_latest ON version (bucket, key) WHERE latest = 1;
CREATE TABLE IF NOT EXISTS upload (
    id TEXT PRIMARY KEY,
    bucket TEXT NOT NULL,
    key TEXT NOT NULL,
    initiated INTEGER NOT NULL,
    properties TEXT NOT NULL,
    tags TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS part (
    upload TEXT NOT NULL REFERENCES upload (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    file TEXT NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    modified INTEGER NOT NULL,
    checksums TEXT NOT NULL,
    PRIMARY KEY (upload, number)
) WITHOUT ROWID;
";

/// One version of an object, or a delete marker.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) sequence: i64,
    pub(super) key: String,
    pub(super) version_id: String,
    pub(super) latest: bool,
    pub(super) marker: bool,
    pub(super) file: String,
    pub(super) size: u64,
    pub(super) etag: String,
    pub(super) modified: i64,
    pub(super) properties: Properties,
    pub(super) tags: Tags,
}

/// Columns of `version` in the order that [`Version::read`] expects.
pub(super) const VERSION_COLUMNS: &str =
    "sequence, key, version_id, latest, marker, file, size, etag, modified, properties, tags";

impl Version {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            sequence: row.get(0)?,
            key: row.get(1)?,
            version_id: row.get(2)?,
            latest: row.get(3)?,
            marker: row.get(4)?,
            file: row.get(5)?,
            size: row.get(6)?,
            etag: row.get(7)?,
            modified: row.get(8)?,
            properties: from_json(row, 9)?,
            tags: from_json(row, 10)?,
        })
    }

    /// When it was written, for a response.
    pub(super) fn modified_time(&self) -> SystemTime {
        time_of(self.modified)
    }
}

/// Reads a JSON column; a broken one is reported like any unreadable row.
pub(super) fn from_json<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(
            column,
            rusqlite::types::Type::Text,
            Box::new(error),
        )
    })
}

/// Writes a JSON column.
pub(super) fn to_json<T: serde::Serialize>(value: &T) -> S3Result<String> {
    serde_json::to_string(value).map_err(S3Error::internal_error)
}

/// Milliseconds since 1970.
pub(super) fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}

/// The reverse of [`now`].
pub(super) fn time_of(milliseconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
}

/// How a bucket treats overwriting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Versioning {
    /// Never switched on: an object has one version, `null`.
    Off,
    /// Every write makes a version.
    Enabled,
    /// Was enabled: new writes replace the `null` version, old versions stay.
    Suspended,
}

impl Versioning {
    pub(super) fn parse(text: &str) -> Self {
        match text {
            "Enabled" => Self::Enabled,
            "Suspended" => Self::Suspended,
            _ => Self::Off,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Off => "",
            Self::Enabled => "Enabled",
            Self::Suspended => "Suspended",
        }
    }

    /// The version id that a response shows for a version made under this setting.
    pub(super) fn shown(self, version_id: &str) -> Option<String> {
        (self != Self::Off).then(|| version_id.to_owned())
    }
}

/// The rows of one emulated S3. Cheap to clone.
#[derive(Clone)]
pub(super) struct Metadata {
    connection: Arc<Mutex<Connection>>,
    files: Files,
}

impl Metadata {
    /// Opens or creates the rows. `durable` makes an acknowledged write survive a power cut.
    pub(super) fn open(
        path: &Path,
        key: Option<&StateKey>,
        files: Files,
        durable: bool,
    ) -> rusqlite::Result<Self> {
        let connection = database::open(path, key)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "synchronous", if durable { "FULL" } else { "OFF" })?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            files,
        })
    }

    /// At start, before there are requests.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        work(
            &self
                .connection
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Names of all files that a row refers to.
    pub(super) fn referenced_files(&self) -> rusqlite::Result<std::collections::HashSet<String>> {
        self.with(object_files)
    }

    /// Reads under the same lock as the writes, so that a file that a row names can be opened before
    /// anyone deletes it.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> S3Result<T> + Send + 'static,
    ) -> S3Result<T> {
        let connection = Arc::clone(&self.connection);
        tokio::task::spawn_blocking(move || {
            work(&connection.lock().unwrap_or_else(PoisonError::into_inner))
        })
        .await
        .map_err(S3Error::internal_error)?
    }

    /// One transaction. `file` is kept if it commits and deleted if not; files that `work` names as no
    /// longer needed are deleted after the commit. Once begun it runs to its end even if the request
    /// is dropped: nothing is half done.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        file: Option<StoredFile>,
        work: impl FnOnce(&Transaction<'_>, &mut Vec<String>) -> S3Result<T> + Send + 'static,
    ) -> S3Result<T> {
        let connection = Arc::clone(&self.connection);
        let files = self.files.clone();
        tokio::task::spawn_blocking(move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let mut unneeded = Vec::new();
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(database_error)?;
            let value = work(&transaction, &mut unneeded)?;
            transaction.commit().map_err(database_error)?;
            if let Some(file) = file {
                file.keep();
            }
            for name in unneeded {
                files.remove(&name);
            }
            Ok(value)
        })
        .await
        .map_err(S3Error::internal_error)?
    }
}

/// Names of all files that a row refers to.
pub(crate) fn object_files(
    connection: &Connection,
) -> rusqlite::Result<std::collections::HashSet<String>> {
    connection
        .prepare("SELECT file FROM version WHERE file <> '' UNION ALL SELECT file FROM part")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// A failure of SQLite as S3 would tell it. A full disk is told apart: repeating does not help.
pub(super) fn database_error(error: rusqlite::Error) -> S3Error {
    if let rusqlite::Error::SqliteFailure(failure, _) = &error
        && failure.code == rusqlite::ErrorCode::DiskFull
    {
        return super::disk_full();
    }
    S3Error::internal_error(error)
}

/// The bucket's versioning, or 404 NoSuchBucket.
pub(super) fn bucket(connection: &Connection, name: &str) -> S3Result<Versioning> {
    connection
        .query_row(
            "SELECT versioning FROM bucket WHERE name = ?1",
            [name],
            |row| row.get::<_, String>(0),
        )
        .optional()
        .map_err(database_error)?
        .map(|text| Versioning::parse(&text))
        .ok_or_else(|| s3_error!(NoSuchBucket, "The specified bucket does not exist"))
}

/// The newest version of a key, which may be a delete marker.
pub(super) fn latest(
    connection: &Connection,
    bucket: &str,
    key: &str,
) -> S3Result<Option<Version>> {
    connection
        .query_row(
            &format!(
                "SELECT {VERSION_COLUMNS} FROM version WHERE bucket = ?1 AND key = ?2 AND latest = 1"
            ),
            [bucket, key],
            Version::read,
        )
        .optional()
        .map_err(database_error)
}

/// The newest version of a key unless it is deleted.
pub(super) fn current(
    connection: &Connection,
    bucket: &str,
    key: &str,
) -> S3Result<Option<Version>> {
    Ok(latest(connection, bucket, key)?.filter(|version| !version.marker))
}

/// One version by its id.
pub(super) fn version(
    connection: &Connection,
    bucket: &str,
    key: &str,
    version_id: &str,
) -> S3Result<Option<Version>> {
    connection
        .query_row(
            &format!(
                "SELECT {VERSION_COLUMNS} FROM version \
                 WHERE bucket = ?1 AND key = ?2 AND version_id = ?3"
            ),
            [bucket, key, version_id],
            Version::read,
        )
        .optional()
        .map_err(database_error)
}

/// What a new version consists of; its id and place in the order are made by [`add_version`].
pub(super) struct NewVersion {
    pub(super) marker: bool,
    pub(super) file: String,
    pub(super) size: u64,
    pub(super) etag: String,
    pub(super) properties: Properties,
    pub(super) tags: Tags,
}

impl NewVersion {
    /// "Deleted", as a version.
    pub(super) fn delete_marker() -> Self {
        Self {
            marker: true,
            file: String::new(),
            size: 0,
            etag: String::new(),
            properties: Properties::default(),
            tags: Tags::default(),
        }
    }
}

/// Makes `new` the newest version of the key and returns its id. Without versioning the former object
/// is replaced and its file given to `unneeded`.
pub(super) fn add_version(
    transaction: &Transaction<'_>,
    (bucket, key): (&str, &str),
    versioning: Versioning,
    new: &NewVersion,
    unneeded: &mut Vec<String>,
) -> S3Result<String> {
    let version_id = if versioning == Versioning::Enabled {
        uuid::Uuid::new_v4().simple().to_string()
    } else {
        remove_version(transaction, bucket, key, "null", unneeded)?;
        "null".to_owned()
    };
    transaction
        .execute(
            "UPDATE version SET latest = 0 WHERE bucket = ?1 AND key = ?2 AND latest = 1",
            [bucket, key],
        )
        .map_err(database_error)?;
    transaction
        .execute(
            "INSERT INTO version (bucket, key, version_id, latest, marker, file, size, etag, \
             modified, properties, tags) VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            params![
                bucket,
                key,
                version_id,
                new.marker,
                new.file,
                new.size,
                new.etag,
                now(),
                to_json(&new.properties)?,
                to_json(&new.tags)?,
            ],
        )
        .map_err(database_error)?;
    Ok(version_id)
}

/// Removes one version for good; what was written before it becomes the newest. Returns what was
/// removed, or `None` when there was no such version.
pub(super) fn remove_version(
    transaction: &Transaction<'_>,
    bucket: &str,
    key: &str,
    version_id: &str,
    unneeded: &mut Vec<String>,
) -> S3Result<Option<Version>> {
    let Some(removed) = version(transaction, bucket, key, version_id)? else {
        return Ok(None);
    };
    transaction
        .execute(
            "DELETE FROM version WHERE sequence = ?1",
            [removed.sequence],
        )
        .map_err(database_error)?;
    if removed.latest {
        transaction
            .execute(
                "UPDATE version SET latest = 1 WHERE sequence = \
                 (SELECT max(sequence) FROM version WHERE bucket = ?1 AND key = ?2)",
                [bucket, key],
            )
            .map_err(database_error)?;
    }
    if !removed.file.is_empty() {
        unneeded.push(removed.file.clone());
    }
    Ok(Some(removed))
}
