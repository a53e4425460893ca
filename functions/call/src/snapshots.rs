//! What lies inside checkpoints, read from the store with the snapshots of the session's tree.

use std::time::Duration;

use checkpoint::{
    Change, ChangeKind, Diff, DiffOptions, ReadError, ReadFileError, RelativePath, RootName, Side,
};
use domain::command::FileContent;
use domain::ports::Clock;
use domain::{CheckpointId, SessionKey, TreeKey, workspace};
use protocol::{
    DiffLimits, SnapshotChange, SnapshotDiff, SnapshotError, SnapshotExport, Snapshots,
};
use store::Store;

use super::{Finder, exporting};

/// Longest patch that is exported: it is put together in memory. Own.
const PATCH_BYTES: usize = 32 << 20;
/// A change of a larger file is not put into a patch. Own: its content is in memory a few times.
const PATCH_FILE_BYTES: u64 = 8 << 20;
/// As git writes it.
const DIRECTORY: u32 = 0o40_000;

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
            binary: limits.binary,
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

    async fn export(
        &self,
        tree: &TreeKey,
        session: &SessionKey,
        manifest: &CheckpointId,
        since: Option<&CheckpointId>,
        valid_milliseconds: u64,
    ) -> Result<SnapshotExport, SnapshotError> {
        let snapshots = of(&self.store, tree);
        let whole = snapshots.manifest(manifest).await.map_err(unread)?;
        let (name, file_name) = match since {
            None => (format!("exports/{manifest}.tar.zst"), "workspace.tar.zst"),
            Some(since) => (
                format!("exports/{since}-{manifest}.patch"),
                "workspace.patch",
            ),
        };
        let object = self.store.write_session_object(tree, session, &name);
        let mut entries = None;
        let written = match since {
            None => {
                let (written, exported) =
                    exporting::archive(&self.store, tree, whole, object).await?;
                entries = Some(exported.entries);
                written
            }
            Some(since) => {
                let old = snapshots.manifest(since).await.map_err(unread)?;
                let options = DiffOptions {
                    binary: true,
                    file_bytes: PATCH_FILE_BYTES,
                    patch_bytes: PATCH_BYTES,
                    ..DiffOptions::default()
                };
                let diff = snapshots.diff(&old, &whole, RootName::Workspace, &options);
                let diff = diff.await.map_err(unread)?;
                if let Some(reason) = unfit(&diff) {
                    return Err(SnapshotError::Missing(format!(
                        "since: {reason}; export the files instead, without since"
                    )));
                }
                object.finish(diff.patch).await?
            }
        };
        let expires_at = self.store.now().plus(valid_milliseconds);
        let valid = Duration::from_millis(valid_milliseconds);
        let url = self
            .store
            .sign_session_object(tree, session, &name, file_name, valid)
            .await?;
        Ok(SnapshotExport {
            url,
            file_name: file_name.to_owned(),
            expires_at,
            bytes: written.bytes,
            sha256: written.sha256,
            entries,
        })
    }
}

/// Why a patch does not hold everything.
fn unfit(diff: &Diff) -> Option<String> {
    let is_large = |side: &Option<Side>| {
        side.is_some_and(|side| side.git_mode != DIRECTORY && side.size > PATCH_FILE_BYTES)
    };
    let differs = |change: &&Change| change.lines != Some((0, 0));
    let mut changes = diff.changes.iter().filter(differs);
    if let Some(large) = changes.find(|it| is_large(&it.old) || is_large(&it.new)) {
        let path = large.path.to_text();
        return Some(format!("{path} is too large for a patch"));
    }
    let most = PATCH_BYTES >> 20;
    diff.truncated
        .then(|| format!("the patch has more than {most} MiB"))
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
