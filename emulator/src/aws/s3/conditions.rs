//! The preconditions of S3 requests. Facts: AWS, "Add preconditions to S3 operations with conditional
//! requests".

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, header};
use s3s::{
    S3Error, S3Result,
    dto::{ETag, ETagCondition, Timestamp},
    s3_error,
};

use super::metadata::Version;

fn failed() -> S3Error {
    s3_error!(
        PreconditionFailed,
        "At least one of the pre-conditions you specified did not hold"
    )
}

fn matches(condition: &ETagCondition, etag: &str) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(wanted) => wanted.value() == etag,
    }
}

/// May this key be written? `current` is the newest version unless deleted. To be called inside the
/// transaction that writes.
pub(super) fn before_write(
    current: Option<&Version>,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<()> {
    match if_none_match {
        Some(ETagCondition::Any) if current.is_some() => return Err(failed()),
        Some(ETagCondition::ETag(_)) => {
            return Err(s3_error!(
                NotImplemented,
                "A header you provided implies functionality that is not implemented: \
                 If-None-Match takes only * here"
            ));
        }
        Some(ETagCondition::Any) | None => {}
    }
    match (if_match, current) {
        (Some(_), None) => Err(s3_error!(NoSuchKey, "The specified key does not exist.")),
        (Some(condition), Some(version)) if !matches(condition, &version.etag) => Err(failed()),
        _ => Ok(()),
    }
}

/// The conditions of a GET, a HEAD or a copy's source.
#[derive(Default)]
pub(super) struct ReadConditions {
    pub(super) if_match: Option<ETagCondition>,
    pub(super) if_none_match: Option<ETagCondition>,
    pub(super) if_modified_since: Option<Timestamp>,
    pub(super) if_unmodified_since: Option<Timestamp>,
}

impl ReadConditions {
    /// # Errors
    /// 412 `PreconditionFailed`, or 304 with the ETag when the caller has this version already.
    pub(super) fn check(&self, version: &Version) -> S3Result<()> {
        match (&self.if_match, &self.if_unmodified_since) {
            (Some(condition), _) if !matches(condition, &version.etag) => return Err(failed()),
            (None, Some(since)) if seconds(version) > seconds_of(since) => return Err(failed()),
            _ => {}
        }
        let unchanged = match (&self.if_none_match, &self.if_modified_since) {
            (Some(condition), _) => matches(condition, &version.etag),
            (None, Some(since)) => seconds(version) <= seconds_of(since),
            (None, None) => false,
        };
        if unchanged {
            Err(not_modified(version))
        } else {
            Ok(())
        }
    }

    /// For the source of a copy: S3 answers 412 where a read would answer 304.
    pub(super) fn check_source(&self, version: &Version) -> S3Result<()> {
        self.check(version).map_err(|_| failed())
    }
}

fn not_modified(version: &Version) -> S3Error {
    let mut error = s3_error!(NotModified);
    let mut headers = HeaderMap::new();
    if let Ok(etag) = HeaderValue::try_from(format!("\"{}\"", version.etag)) {
        headers.insert(header::ETAG, etag);
    }
    error.set_headers(headers);
    error
}

// HTTP dates have no fractions of a second, so neither may the comparison.
fn seconds(version: &Version) -> u64 {
    u64::try_from(version.modified / 1000).unwrap_or(0)
}

fn seconds_of(timestamp: &Timestamp) -> u64 {
    let mut text = Vec::new();
    if timestamp
        .format(s3s::dto::TimestampFormat::EpochSeconds, &mut text)
        .is_err()
    {
        return 0;
    }
    String::from_utf8_lossy(&text)
        .parse::<f64>()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .and_then(|since| (UNIX_EPOCH + since).duration_since(UNIX_EPOCH).ok())
        .map_or(0, |since| since.as_secs())
}

/// A quoted ETag for a response.
pub(super) fn etag(value: &str) -> Option<ETag> {
    Some(ETag::Strong(value.to_owned()))
}
