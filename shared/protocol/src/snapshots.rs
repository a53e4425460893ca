//! What lies inside checkpoints, as the tools need it. Implemented by the functions, over the store
//! and the snapshots in it.

use domain::command::FileContent;
use domain::ports::Unavailable;
use domain::workspace::RelativePath;
use domain::{CheckpointId, SessionKey, TreeKey, UnixMillis};
use redact::Redactor;
use thiserror::Error;

/// Why the content of a checkpoint was not read.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// What was asked for is not in it; the text says what there is.
    #[error("{0}")]
    Missing(String),
    /// Stored bytes are damaged or gone; the text names them, and the checkpoint to use instead.
    #[error("{0}")]
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
    /// Contents of binary files are in the patch too.
    pub binary: bool,
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

impl SnapshotDiff {
    /// With a star for each byte of a secret in the patch, which keeps its lines and offsets. What is
    /// exported is whole.
    #[must_use]
    pub fn without_secrets(mut self) -> Self {
        self.patch = Redactor::default().blank_text(&self.patch);
        self
    }
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

/// The files of a checkpoint, or a patch, on their way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotExport {
    /// Where to fetch it; whoever has it can, so it is a secret until it expires.
    pub url: String,
    /// What to call it.
    pub file_name: String,
    /// Until when the address is good.
    pub expires_at: UnixMillis,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// Files, directories and links in it; of a patch, nothing.
    pub entries: Option<u64>,
}

/// Content of checkpoints. A manifest is named by the id under which it was stored
/// (`Checkpoint::files`); `session` is whose checkpoints are offered when it is damaged.
pub trait Snapshots: Send + Sync + 'static {
    /// A piece of a file as it was.
    fn file_at(
        &self,
        tree: &TreeKey,
        session: &SessionKey,
        manifest: &CheckpointId,
        path: &RelativePath,
        offset: u64,
        length: u64,
    ) -> impl Future<Output = Result<FileContent, SnapshotError>> + Send;

    /// What changed in the files from one to the other.
    fn diff(
        &self,
        tree: &TreeKey,
        session: &SessionKey,
        old: &CheckpointId,
        new: &CheckpointId,
        limits: DiffLimits,
    ) -> impl Future<Output = Result<SnapshotDiff, SnapshotError>> + Send;

    /// Stores the files of a checkpoint as a `.tar.zst` among the objects of the session, or, with
    /// `since`, what changed from that one, as a patch that `git apply` takes. Memory does not grow
    /// with the files. Done twice it is stored once.
    fn export(
        &self,
        tree: &TreeKey,
        session: &SessionKey,
        manifest: &CheckpointId,
        since: Option<&CheckpointId>,
        valid_milliseconds: u64,
    ) -> impl Future<Output = Result<SnapshotExport, SnapshotError>> + Send;
}
