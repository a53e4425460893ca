//! What lies inside checkpoints, read from the store with the snapshots of the session's tree.

use checkpoint::{ChangeKind, DiffOptions, ReadError, ReadFileError, RelativePath, RootName};
use domain::command::FileContent;
use domain::{CheckpointId, TreeKey, workspace};
use protocol::{DiffLimits, SnapshotChange, SnapshotDiff, SnapshotError, Snapshots};
use store::Store;

use super::Finder;

impl Snapshots for Finder {
    async fn file_at(
        &self,
        tree: &TreeKey,
        manifest: &CheckpointId,
        path: &workspace::RelativePath,
        offset: u64,
        length: u64,
    ) -> Result<FileContent, SnapshotError> {
        let snapshots = of(&self.store, tree);
        let manifest = snapshots.manifest(manifest).await.map_err(unread)?;
        let path = RelativePath::parse(path.as_str().as_bytes())
            .map_err(|reason| SnapshotError::Missing(format!("path: {reason}")))?;
        let read = snapshots.read_file(&manifest, RootName::Workspace, &path, offset, length);
        let range = read.await.map_err(|error| match error {
            ReadFileError::Unavailable(unavailable) => SnapshotError::Unavailable(unavailable),
            ReadFileError::Damaged(damage) => SnapshotError::Damaged(damage.to_string()),
            other => SnapshotError::Missing(format!("path: {other}")),
        })?;
        Ok(FileContent {
            bytes: range.bytes,
            file_bytes: range.size,
        })
    }

    async fn diff(
        &self,
        tree: &TreeKey,
        old: &CheckpointId,
        new: &CheckpointId,
        limits: DiffLimits,
    ) -> Result<SnapshotDiff, SnapshotError> {
        let snapshots = of(&self.store, tree);
        let old = snapshots.manifest(old).await.map_err(unread)?;
        let new = snapshots.manifest(new).await.map_err(unread)?;
        let options = DiffOptions {
            context_lines: limits.context_lines,
            patch_bytes: limits.patch_bytes,
            changes: limits.changes,
            ..DiffOptions::default()
        };
        let diff = snapshots.diff(&old, &new, RootName::Workspace, &options);
        let diff = diff.await.map_err(unread)?;
        let changes = diff.changes.iter().map(|change| SnapshotChange {
            path: change.path.to_text().into_owned(),
            old_path: change
                .old_path
                .as_ref()
                .map(|path| path.to_text().into_owned()),
            change: match change.kind {
                ChangeKind::Added => "added",
                ChangeKind::Deleted => "deleted",
                ChangeKind::Modified => "modified",
                ChangeKind::Renamed => "renamed",
                ChangeKind::Retyped => "retyped",
            },
            lines: change.lines,
            binary: change.binary,
        });
        Ok(SnapshotDiff {
            changes: changes.collect(),
            more_changes: diff.more_changes,
            stat: diff.stat(),
            truncated: diff.truncated,
            patch: String::from_utf8_lossy(&diff.patch).into_owned(),
        })
    }
}

fn of<'store>(store: &'store Store, tree: &TreeKey) -> checkpoint::Snapshots<'store, Store> {
    checkpoint::Snapshots::new(store, tree.clone())
}

fn unread(error: ReadError) -> SnapshotError {
    match error {
        ReadError::Unavailable(unavailable) => SnapshotError::Unavailable(unavailable),
        ReadError::Damaged(damage) => SnapshotError::Damaged(damage.to_string()),
        ReadError::Unknown(_) => SnapshotError::Missing(error.to_string()),
    }
}
