//! S3: `s3s` speaks the protocol (signatures, presigned URLs, chunked uploads, XML), this store keeps
//! the objects: rows in SQLite, bytes in files, conditional writes atomic.

mod body;
mod buckets;
mod checksums;
mod conditions;
mod deletion;
mod files;
mod listing;
mod lock;
mod metadata;
mod multipart;
mod object_file;
mod objects;
mod operations;
mod permitted;
mod properties;
mod reading;
mod upload;
mod uploads;

use std::{collections::BTreeSet, path::Path, sync::Arc};

use axum::{body::Body, response::Response};
use http::Request;
use s3s::{
    S3Error, S3ErrorCode, S3Result,
    auth::{S3Auth, SecretKey},
    s3_error,
    service::{S3Service, S3ServiceBuilder},
};

pub(crate) use self::metadata::object_files;
pub(super) use self::permitted::Surroundings;
use self::{
    files::Files,
    metadata::{Metadata, now},
    permitted::Observer,
    upload::Upload,
};
use super::faults::Faults;
use crate::{credentials::Credentials, encryption::StateKey};

/// A bucket as the template asks for it.
#[derive(Clone, Debug)]
pub(super) struct WantedBucket {
    pub(super) name: String,
    pub(super) versioning: bool,
    pub(super) object_lock: bool,
}

/// The object store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory for objects cannot be made or read.
    #[error("files of the object store in {directory}")]
    Files {
        /// Where the store is.
        directory: String,
        /// What the file system said.
        #[source]
        source: std::io::Error,
    },
    /// The rows about the objects cannot be opened.
    #[error("metadata of the object store")]
    Metadata(#[from] rusqlite::Error),
}

/// Objects and what is known about them.
#[derive(Clone)]
struct ObjectStore {
    metadata: Metadata,
    files: Files,
    faults: Faults,
    /// The buckets in which objects can be locked.
    locking: Arc<BTreeSet<String>>,
}

/// The emulated S3 service. Cheap to clone.
#[derive(Clone)]
pub(super) struct ObjectService(S3Service);

impl ObjectService {
    /// Opens the store in `directory`, finishes or removes what a crash left, and makes the wanted
    /// buckets. Buckets that exist keep their objects.
    pub(super) fn open(
        directory: &Path,
        durable: bool,
        key: Option<&StateKey>,
        wanted: &[WantedBucket],
        surroundings: Surroundings,
    ) -> Result<Self, OpenError> {
        let at = |source| OpenError::Files {
            directory: directory.display().to_string(),
            source,
        };
        let files = Files::open(directory, durable, key.cloned()).map_err(at)?;
        let metadata = Metadata::open(
            &directory.join("metadata.sqlite"),
            key,
            files.clone(),
            durable,
        )?;
        files.sweep(&metadata.referenced_files()?).map_err(at)?;
        metadata.make_buckets(wanted)?;
        let store = ObjectStore {
            metadata,
            files,
            faults: surroundings.faults.clone(),
            locking: wanted
                .iter()
                .filter(|bucket| bucket.object_lock)
                .map(|bucket| bucket.name.clone())
                .collect::<BTreeSet<_>>()
                .into(),
        };
        let mut builder = S3ServiceBuilder::new(store);
        builder.set_auth(Keys(surroundings.credentials.clone()));
        builder.set_access(Observer(surroundings));
        Ok(Self(builder.build()))
    }

    /// Answers one request. A failure of the protocol layer itself is a 500.
    pub(super) async fn answer(&self, request: Request<Body>) -> Response {
        // Who waits for "100 Continue" sends nothing before it, so there is nothing to drain.
        let waits = request.headers().contains_key(http::header::EXPECT);
        let (parts, body) = request.into_parts();
        let upload = Upload::new(body);
        let body = s3s::Body::http_body_unsync(upload.clone());
        let mut response = match self.0.call(Request::from_parts(parts, body)).await {
            Ok(response) => response.map(Body::new),
            Err(error) => {
                tracing::error!(?error, "S3 request failed");
                let mut response = Response::new(Body::empty());
                *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
                response
            }
        };
        if !response.status().is_success() && !waits {
            upload.drain().await;
        }
        let id = uuid::Uuid::new_v4().simple().to_string();
        if let Ok(id) = http::HeaderValue::try_from(id) {
            response.headers_mut().insert("x-amz-request-id", id);
        }
        response
    }
}

impl Metadata {
    fn make_buckets(&self, wanted: &[WantedBucket]) -> rusqlite::Result<()> {
        self.with(|connection| {
            for bucket in wanted {
                let versioning = if bucket.versioning { "Enabled" } else { "" };
                connection.execute(
                    "INSERT INTO bucket (name, created, versioning) VALUES (?1, ?2, ?3) \
                     ON CONFLICT (name) DO UPDATE SET versioning = CASE \
                     WHEN ?3 = 'Enabled' THEN ?3 WHEN versioning = 'Enabled' THEN 'Suspended' \
                     ELSE versioning END",
                    rusqlite::params![bucket.name, now(), versioning],
                )?;
            }
            Ok(())
        })
    }
}

/// Signatures are checked with the secrets that this emulator issued.
struct Keys(Credentials);

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        match self.0.lookup(access_key) {
            Some((_, secret)) => Ok(SecretKey::from(secret)),
            None => Err(s3_error!(
                InvalidAccessKeyId,
                "The AWS Access Key Id you provided does not exist in our records."
            )),
        }
    }
}

/// What a client sees when the emulator's disk is full: not an S3 error (S3 has no such), and not one
/// that an SDK repeats.
fn disk_full() -> S3Error {
    let mut error = S3Error::with_message(
        S3ErrorCode::Custom("InsufficientStorage".into()),
        "no space left on the device that holds the emulator's state",
    );
    error.set_status_code(http::StatusCode::INSUFFICIENT_STORAGE);
    error
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
