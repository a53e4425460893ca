//! What lies inside checkpoints, as the tools need it. Implemented by the functions, over the store
//! and the snapshots in it.

use domain::command::FileContent;
use domain::ports::Unavailable;
use domain::workspace::RelativePath;
use domain::{CheckpointId, TreeKey};
use thiserror::Error;

/// Why the content of a checkpoint was not read.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// What was asked for is not in it; the text says what there is.
    #[error("{0}")]
    Missing(String),
    /// Stored bytes are damaged or gone; the text names them. Another checkpoint may be whole.
    #[error("{0}; use an earlier checkpoint, or a later one")]
    Damaged(String),
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// How much of a comparison is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiffLimits {
    /// Unchanged lines around each change.
    pub context_lines: usize,
    /// The patch ends with the file that makes it longer than this.
    pub patch_bytes: usize,
    /// More changes than this are counted, not listed.
    pub changes: usize,
}

/// What differs between the files of two checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotDiff {
    /// The paths, in order.
    pub changes: Vec<SnapshotChange>,
    /// Changes that are not listed.
    pub more_changes: u64,
    /// Unified, as `git apply` takes it.
    pub patch: String,
    /// The patch does not hold all changes.
    pub truncated: bool,
    /// The list as a person reads it.
    pub stat: String,
}

/// One path that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotChange {
    /// Where it is now, or was.
    pub path: String,
    /// Where it was, if it was moved.
    pub old_path: Option<String>,
    /// `added`, `deleted`, `modified`, `renamed` ..
    pub change: &'static str,
    /// Lines that came and went, for text.
    pub lines: Option<(u64, u64)>,
    /// It is binary or very large.
    pub binary: bool,
}

/// Content of checkpoints. A manifest is named by the id under which it was stored
/// (`Checkpoint::files`).
pub trait Snapshots: Send + Sync + 'static {
    /// A piece of a file as it was.
    fn file_at(
        &self,
        tree: &TreeKey,
        manifest: &CheckpointId,
        path: &RelativePath,
        offset: u64,
        length: u64,
    ) -> impl Future<Output = Result<FileContent, SnapshotError>> + Send;

    /// What changed in the files from one to the other.
    fn diff(
        &self,
        tree: &TreeKey,
        old: &CheckpointId,
        new: &CheckpointId,
        limits: DiffLimits,
    ) -> impl Future<Output = Result<SnapshotDiff, SnapshotError>> + Send;
}
