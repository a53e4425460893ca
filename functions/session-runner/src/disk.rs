//! The words for a full disk, wherever a session meets it.

use std::error::Error;
use std::io::{self, ErrorKind};

/// Whether the error, or what it came from, is a disk without room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    means_full(error) || comes_from_full(error)
}

fn means_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}

fn comes_from_full(error: &dyn Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.downcast_ref().is_some_and(means_full) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What to do when the disk has no room for `problem`.
pub(crate) fn full(problem: &str) -> String {
    format!(
        "the session's disk is full: {problem}. Use a smaller workspace or a larger SHANNON_RUNNER_DISK_GIB \
         (locally: make room on this machine's disk). fork_session goes on from the newest checkpoint"
    )
}

/// A problem with its cause; a full disk is named as that.
pub(crate) fn describe(problem: &str, cause: &io::Error) -> String {
    if is_full(cause) {
        return full(problem);
    }
    format!("{problem}: {cause}")
}

/// The same for an error that may have its cause within.
pub(crate) fn describe_error(error: &dyn Error) -> String {
    match error.source() {
        _ if comes_from_full(error) => full(&error.to_string()),
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::launch::SandboxError;
    use crate::workspace::WorkspaceError;

    fn file(kind: ErrorKind) -> SandboxError {
        SandboxError::File {
            attempted: "give away a".to_owned(),
            source: kind.into(),
        }
    }

    #[test]
    fn a_full_disk_is_told_from_other_trouble() {
        let full = "the session's disk is full: cannot give away a. Use";
        assert!(describe_error(&file(ErrorKind::StorageFull)).starts_with(full));
        let within = io::Error::other(file(ErrorKind::StorageFull));
        assert!(describe("cannot give away a", &within).starts_with(full));
        let other = describe_error(&file(ErrorKind::PermissionDenied));
        assert_eq!(other, "cannot give away a: permission denied");
    }

    #[test]
    fn a_tree_that_cannot_be_given_away_for_want_of_quota_is_a_full_disk() {
        let error = WorkspaceError::from(file(ErrorKind::QuotaExceeded));
        assert!(matches!(error, WorkspaceError::DiskFull(_)), "{error}");
        let error = WorkspaceError::from(file(ErrorKind::PermissionDenied));
        assert_eq!(error.to_string(), "cannot give away a: permission denied");
    }
}
