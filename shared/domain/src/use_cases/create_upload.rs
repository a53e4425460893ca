//! A place for a file that is too large for a request.

use thiserror::Error;

use crate::{
    Authorized, Deployment, UploadId,
    authorization::WriteSessions,
    ports::{Clock, IdSource, Unavailable, Uploads},
    upload::{SignedRequest, Upload},
};

/// Why there is no place for it.
#[derive(Debug, Error)]
pub enum CreateUploadError {
    /// Empty or larger than the deployment takes.
    #[error("bytes: use 1 to {limit} (SHANNON_MAX_UPLOAD_BYTES)")]
    Size {
        /// The largest, in bytes.
        limit: u64,
    },
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Signs one request that sends a file of exactly `bytes` bytes.
///
/// Run twice it gives two places; an unused one expires by itself.
///
/// # Errors
/// [`CreateUploadError`].
pub async fn create_upload<P: Uploads + Clock + IdSource>(
    ports: &P,
    deployment: &Deployment,
    caller: &Authorized<WriteSessions>,
    bytes: u64,
) -> Result<(Upload, SignedRequest), CreateUploadError> {
    if !(1..=deployment.max_upload_bytes).contains(&bytes) {
        return Err(CreateUploadError::Size {
            limit: deployment.max_upload_bytes,
        });
    }
    let upload = Upload {
        id: UploadId::from_random(ports.random()),
        owner: caller.owner().clone(),
        bytes,
        expires_at: ports.now().plus(deployment.upload_url_seconds * 1000),
    };
    let request = ports.sign(&upload).await?;
    Ok((upload, request))
}
