//! What a runner needs of the bucket: fetching uploads, keeping transcripts and large requests.

use std::path::Path;

use domain::UploadId;

/// Why an upload was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// There is no such object.
    #[error("there is no such upload")]
    Missing,
    /// Larger than allowed.
    #[error("the upload is too large")]
    TooLarge,
    /// The disk refused it.
    #[error("the upload could not be written to disk")]
    Disk(#[from] std::io::Error),
    /// Try again.
    #[error("the upload could not be fetched: {0}")]
    Unavailable(String),
}

/// An object that was not written; write it again.
#[derive(Debug, thiserror::Error)]
#[error("the object could not be written: {0}")]
pub struct PutError(pub String);

/// The session's part of the bucket. Writing a name again replaces it.
pub trait SessionObjects: Clone + Send + Sync + 'static {
    /// Fetches an upload of the session's owner into `file`.
    fn download(
        &self,
        upload: &UploadId,
        file: &Path,
        most_bytes: u64,
    ) -> impl Future<Output = Result<u64, DownloadError>> + Send;

    /// Writes an object of the session.
    fn put(&self, name: &str, bytes: Vec<u8>) -> impl Future<Output = Result<(), PutError>> + Send;
}
