//! Object Lock: versions that nobody may delete before their time. What the emulated S3 has of it is
//! the lock that a write asks for; there is no legal hold, no default of a bucket, and no changing it.
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html>

use std::time::SystemTime;

use s3s::{
    S3Result,
    dto::{ObjectLockMode, ObjectLockRetainUntilDate, Timestamp, TimestampFormat},
    s3_error,
};
use serde::{Deserialize, Serialize};

use super::metadata::{now, time_of};

/// Until when a version stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lock {
    mode: String,
    /// Milliseconds since 1970.
    until: i64,
}

fn milliseconds(time: &Timestamp) -> S3Result<i64> {
    let mut text = Vec::new();
    let written = time.format(TimestampFormat::EpochSeconds, &mut text);
    let seconds = std::str::from_utf8(&text)
        .ok()
        .and_then(|it| it.parse::<f64>().ok());
    match (written, seconds) {
        (Ok(()), Some(seconds)) => Ok((seconds * 1000.0) as i64),
        _ => Err(s3_error!(
            InvalidArgument,
            "The retain until date is no time"
        )),
    }
}

impl Lock {
    /// What a write asks for. `in_a_bucket_with_locks`: the bucket was made for it; `with_checksum`:
    /// the write says what its bytes are.
    pub(super) fn of(
        mode: Option<ObjectLockMode>,
        until: Option<ObjectLockRetainUntilDate>,
        in_a_bucket_with_locks: bool,
        with_checksum: bool,
    ) -> S3Result<Option<Self>> {
        let (mode, until) = match (mode, until) {
            (None, None) => return Ok(None),
            (Some(mode), Some(until)) => (mode, until),
            _ => {
                return Err(s3_error!(
                    InvalidArgument,
                    "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be \
                     supplied"
                ));
            }
        };
        if !in_a_bucket_with_locks {
            return Err(s3_error!(
                InvalidRequest,
                "Bucket is missing Object Lock Configuration"
            ));
        }
        if !with_checksum {
            return Err(s3_error!(
                InvalidRequest,
                "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests \
                 with Object Lock parameters"
            ));
        }
        if !matches!(mode.as_str(), "GOVERNANCE" | "COMPLIANCE") {
            return Err(s3_error!(InvalidArgument, "Unknown wormMode directive."));
        }
        let until = milliseconds(&until)?;
        if until <= now() {
            return Err(s3_error!(
                InvalidArgument,
                "The retain until date must be in the future!"
            ));
        }
        let mode = mode.as_str().to_owned();
        Ok(Some(Self { mode, until }))
    }

    /// Whether the version may be deleted for good; `bypass`: the request asks to pass over a lock
    /// that permits it.
    pub(super) fn check_removal(&self, bypass: bool) -> S3Result<()> {
        if self.until <= now() || (bypass && self.mode == "GOVERNANCE") {
            Ok(())
        } else {
            Err(s3_error!(
                AccessDenied,
                "Access Denied because object protected by object lock."
            ))
        }
    }

    pub(super) fn mode(&self) -> ObjectLockMode {
        self.mode.clone().into()
    }

    pub(super) fn until(&self) -> SystemTime {
        time_of(self.until)
    }
}
