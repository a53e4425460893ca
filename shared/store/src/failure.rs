//! Failures of AWS calls as the ports report them.

use std::error::Error;

use aws_sdk_dynamodb::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use domain::ports::Unavailable;

/// A call that changes nothing when it fails, or one whose outcome may then be unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Reads.
    Read,
    /// Writes.
    Write,
}

/// An AWS call failed after its retries.
pub(crate) fn aws<E>(
    attempted: &'static str,
    kind: Kind,
    error: SdkError<E, HttpResponse>,
) -> Unavailable
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let answered_that_nothing_happened = match &error {
        SdkError::ConstructionFailure(_) => true,
        SdkError::ServiceError(answer) => answer.raw().status().is_client_error(),
        _ => false,
    };
    Unavailable {
        attempted,
        outcome_unknown: kind == Kind::Write && !answered_that_nothing_happened,
        source: Box::new(error),
    }
}

/// Something other than AWS stands in the way; repeating it gives the same.
pub(crate) fn own(
    attempted: &'static str,
    source: impl Into<Box<dyn Error + Send + Sync>>,
) -> Unavailable {
    Unavailable {
        attempted,
        outcome_unknown: false,
        source: source.into(),
    }
}
