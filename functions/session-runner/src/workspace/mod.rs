//! The session's files: how they get into place before the CLI starts, and reading them later.

pub mod archive;
pub mod copy;
pub mod git;
pub mod git_trust;
pub mod prepare;
pub mod read;
pub mod tree;

use crate::disk;
use crate::sandbox::launch::SandboxError;

/// Files and bytes that were put in place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Regular files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Why a workspace could not be made. The text is for the person who asked for the session.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// What was asked for cannot be used; the person must change it.
    #[error("{0}")]
    Refused(String),
    /// The runner's disk is full.
    #[error("{}", disk::full(.0))]
    DiskFull(String),
    /// Something of the machine failed; trying again may help.
    #[error("cannot {attempted}: {source}")]
    System {
        /// What was tried.
        attempted: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

impl WorkspaceError {
    /// The error of a file operation; a full disk is told apart.
    pub(crate) fn system(attempted: impl Into<String>, source: std::io::Error) -> Self {
        let attempted = attempted.into();
        if disk::is_full(&source) {
            WorkspaceError::DiskFull(format!("cannot {attempted}"))
        } else {
            WorkspaceError::System { attempted, source }
        }
    }
}

impl From<tree::WalkError> for WorkspaceError {
    fn from(error: tree::WalkError) -> Self {
        match error {
            tree::WalkError::System {
                path,
                error: nix::errno::Errno::ENOSPC | nix::errno::Errno::EDQUOT,
            } => WorkspaceError::DiskFull(format!("cannot write {path}")),
            other => WorkspaceError::Refused(other.to_string()),
        }
    }
}

impl From<SandboxError> for WorkspaceError {
    fn from(error: SandboxError) -> Self {
        match error {
            SandboxError::File { attempted, source } => WorkspaceError::system(attempted, source),
            SandboxError::Unsupported(why) => WorkspaceError::Refused(why),
        }
    }
}
