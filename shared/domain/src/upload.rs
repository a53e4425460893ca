//! Files on their way in: a function's request is at most 6 MB, so a client sends them straight to
//! the bucket with a signed request.

use crate::{OwnerId, UnixMillis, UploadId};

/// A place for one file, signed for its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Its name.
    pub id: UploadId,
    /// Whose it is.
    pub owner: OwnerId,
    /// The exact size that was signed, in bytes.
    pub bytes: u64,
    /// Until when it may be sent.
    pub expires_at: UnixMillis,
}

/// What the client does with it: one HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRequest {
    /// `PUT`.
    pub method: String,
    /// Where to; carries the signature, so it is a secret until it expires.
    pub url: String,
    /// Headers that must be sent exactly so.
    pub headers: Vec<(String, String)>,
}
