//! What lies inside checkpoints, read from the store with the snapshots of the session's tree.

use std::time::Duration;

use checkpoint::{
    Change, ChangeKind, Diff, DiffOptions, ReadError, ReadFileError, RelativePath, RootName, Side,
};
use domain::command::FileContent;
use domain::ports::{Checkpoints, Clock, TreeObjects};
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
/// How long a whole checkpoint is looked for when one is damaged. Own: clients give up on a call after
/// a minute, and have waited for the read that failed before.
const LOOKING: Duration = Duration::from_secs(15);
/// As git writes it.
const DIRECTORY: u32 = 0o40_000;

impl Snapshots for Finder {
    async fn file_at(
        &self,
        tree: &TreeKey,
        session: &SessionKey,
        manifest: &CheckpointId,
        path: &workspace::RelativePath,
        offset: u64,
        length: u64,
    ) -> Result<FileContent, SnapshotError> {
        let snapshots = of(&self.store, tree);
        let read = file_at(&snapshots, manifest, path, offset, length).await;
        or_offer(&snapshots, session, read).await
    }

    async fn diff(
        &self,
        tree: &TreeKey,
        session: &SessionKey,
        old: &CheckpointId,
        new: &CheckpointId,
        limits: DiffLimits,
    ) -> Result<SnapshotDiff, SnapshotError> {
        let snapshots = of(&self.store, tree);
        let diff = diff(&snapshots, old, new, limits).await;
        or_offer(&snapshots, session, diff).await
    }

    async fn export(
        &self,
        tree: &TreeKey,
        session: &SessionKey,
        manifest: &CheckpointId,
        since: Option<&CheckpointId>,
        valid_milliseconds: u64,
    ) -> Result<SnapshotExport, SnapshotError> {
        let export = self.stored_export(tree, session, manifest, since, valid_milliseconds);
        let export = export.await;
        or_offer(&of(&self.store, tree), session, export).await
    }
}

impl Finder {
    async fn stored_export(
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

async fn file_at<O: TreeObjects>(
    snapshots: &checkpoint::Snapshots<'_, O>,
    manifest: &CheckpointId,
    path: &workspace::RelativePath,
    offset: u64,
    length: u64,
) -> Result<FileContent, SnapshotError> {
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

async fn diff<O: TreeObjects>(
    snapshots: &checkpoint::Snapshots<'_, O>,
    old: &CheckpointId,
    new: &CheckpointId,
    limits: DiffLimits,
) -> Result<SnapshotDiff, SnapshotError> {
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

/// What was read, or what is wrong with it and which checkpoint can be used instead.
async fn or_offer<O: TreeObjects + Checkpoints, T: Send>(
    snapshots: &checkpoint::Snapshots<'_, O>,
    session: &SessionKey,
    read: Result<T, SnapshotError>,
) -> Result<T, SnapshotError> {
    let Err(SnapshotError::Damaged(damage)) = read else {
        return read;
    };
    let looking = snapshots.newest_whole_of(session);
    let offer = match tokio::time::timeout(LOOKING, looking).await {
        Ok(Ok(Some(whole))) => {
            let arguments = format!(
                r#"{{"session_id":"{}","checkpoint":"{whole}"}}"#,
                session.session
            );
            format!(
                "the newest checkpoint that is whole is {whole}: fork_session {arguments} goes on from it, and \
                 restore_checkpoint with the same arguments while the session has not ended"
            )
        }
        Ok(Ok(None)) => "none of the newest checkpoints is whole".to_owned(),
        // The damage is what was asked about; it is told in any case.
        Ok(Err(_)) | Err(_) => {
            "another checkpoint may be whole: list_checkpoints names them".to_owned()
        }
    };
    Err(SnapshotError::Damaged(format!("{damage}; {offer}")))
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
        // Its record was found, so it was there.
        ReadError::Unknown(id) => {
            SnapshotError::Damaged(format!("the stored object manifests/{id} is gone"))
        }
    }
}

#[cfg(test)]
mod tests {
    use checkpoint::{About, Base, IgnoreRules, NewSnapshot, SourceRoot};
    use domain::ports::{IdSource, SessionDirectory, SessionLog};
    use domain::{Sequence, UnixMillis};
    use testkit::Fake;

    use super::*;

    /// Makes a checkpoint of `directory` and records it.
    async fn checkpoint(
        fake: &Fake,
        lease: &domain::ports::Lease,
        directory: &std::path::Path,
        base: Option<Base>,
    ) -> (CheckpointId, Base) {
        let head = fake.peek_head(&lease.key).expect("a session");
        let mut new = testkit::checkpoint(fake, head.checkpoints + 1, Some(&head));
        new.id = CheckpointId::from_random(fake.random());
        (new.files, new.conversation) = (new.id.clone(), new.id.clone());
        let id = new.id.clone();
        let snapshot = NewSnapshot {
            id: id.clone(),
            about: About {
                session: lease.key.session.clone(),
                parent: None,
                created_at: UnixMillis(0),
                author: "test".to_owned(),
                message: None,
                tags: vec![],
                claude_session: None,
                cut_sequence: Sequence(0),
                commands_settled: 0,
            },
            roots: vec![SourceRoot {
                name: RootName::Workspace,
                directory: directory.to_owned(),
                ignore: IgnoreRules::default(),
            }],
            base,
            unless_unchanged: false,
        };
        let snapshots = checkpoint::Snapshots::new(fake, lease.tree_key());
        let created = snapshots.create(snapshot).await.expect("stored");
        let mut append = testkit::append(fake, head.last_sequence.next(), vec![]);
        append.checkpoint = Some(new);
        fake.append(lease, &append).await.expect("recorded");
        (id, created.base)
    }

    #[tokio::test]
    async fn damage_names_the_file_and_the_checkpoint_that_is_whole() {
        let (fake, owner) = (Fake::new(3), testkit::owner("owner"));
        let new = testkit::new_session(&fake, &owner);
        let key = fake.create(new).await.expect("a session").head.key;
        let now = fake.now();
        let acquired = fake.acquire(&key, "task", "none", now.plus(10_000), now);
        let (lease, _) = acquired.await.expect("the lease");
        let directory = tempfile::tempdir().expect("a directory");
        let tree = lease.tree_key();
        std::fs::write(directory.path().join("first"), "one").expect("written");
        let (old, base) = checkpoint(&fake, &lease, directory.path(), None).await;
        let packs = fake.peek_objects(&tree);
        std::fs::write(directory.path().join("second"), "two").expect("written");
        let (new, _) = checkpoint(&fake, &lease, directory.path(), Some(base)).await;
        let added = fake.peek_objects(&tree);
        let mut added = added.iter().filter(|name| name.starts_with("packs/"));
        let added = added.find(|name| !packs.contains(name)).expect("a pack");
        let spoil = |bytes: &mut Vec<u8>| bytes[38..40].fill(0xee);
        assert!(fake.damage_object(&tree, added, spoil));

        let snapshots = checkpoint::Snapshots::new(&fake, tree.clone());
        let path = workspace::RelativePath::parse("second").expect("a path");
        let read = file_at(&snapshots, &new, &path, 0, 10).await;
        let read = or_offer(&snapshots, &key, read).await.expect_err("damage");
        let limits = DiffLimits {
            context_lines: 3,
            patch_bytes: 1000,
            changes: 10,
            binary: false,
        };
        let compared = diff(&snapshots, &old, &new, limits).await;
        let compared = or_offer(&snapshots, &key, compared).await;
        for error in [read, compared.expect_err("damage")] {
            let words = error.to_string();
            assert!(matches!(error, SnapshotError::Damaged(_)), "{words}");
            let whole = format!("the newest checkpoint that is whole is {old}:");
            assert!(words.contains(added) && words.contains(&whole), "{words}");
        }
        // A file of it that is whole can be read.
        let path = workspace::RelativePath::parse("first").expect("a path");
        let read = file_at(&snapshots, &new, &path, 0, 10).await;
        assert_eq!(read.expect("read").bytes, b"one");

        // A manifest that is gone is damage too, and with the last one there is nothing to offer.
        for id in [&old, &new] {
            let name = format!("manifests/{id}");
            assert!(fake.damage_object(&tree, &name, Vec::clear));
        }
        let read = file_at(&snapshots, &new, &path, 0, 10).await;
        let read = or_offer(&snapshots, &key, read).await.expect_err("damage");
        let words = read.to_string();
        assert!(
            words.contains("none of the newest checkpoints is whole"),
            "{words}"
        );
    }
}
