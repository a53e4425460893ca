//! A piece of a file of a session, from wherever it is: its runner, its newest checkpoint while it
//! has none, or a checkpoint that the caller names. Each byte of a secret is shown as a star: offsets
//! stay what they are. The whole is in the checkpoint, and in an export of it.

use domain::authorization::ReadSessions;
use domain::checkpoint::CheckpointName;
use domain::command::FileContent;
use domain::ports::{Checkpoints, Clock, Compute, IdSource, Inbox, SessionDirectory};
use domain::use_cases::{self, FindCheckpointError, ReadFile, ReadFileError};
use domain::{Authorized, CheckpointId};
use redact::Redactor;

use crate::snapshots::{SnapshotError, Snapshots};

/// Bytes around a piece that are looked at for secrets. Own: the longest are keys of 32 KiB.
const AROUND: u64 = 32 * 1024;

/// Why there is no piece.
pub(crate) enum NotRead {
    /// No session, no such file, no runner and no checkpoint either, ..
    Runner(ReadFileError),
    /// No such checkpoint.
    Find(FindCheckpointError),
    /// The checkpoint does not give it.
    Content(SnapshotError),
}

/// The piece, and the checkpoint that it was read at, if it was one.
pub(crate) type Piece = (FileContent, Option<CheckpointId>);

/// Reads it: at `checkpoint`, or as it is now. Reads only; repeating it reads again.
pub(crate) async fn read<P, S>(
    ports: &P,
    snapshots: &S,
    reader: &Authorized<ReadSessions>,
    request: ReadFile,
    checkpoint: Option<&CheckpointName>,
) -> Result<Piece, NotRead>
where
    P: SessionDirectory + Inbox + Checkpoints + Compute + Clock + IdSource,
    S: Snapshots,
{
    if let Some(name) = checkpoint {
        return at(ports, snapshots, reader, &request, name).await;
    }
    let no_runner = match use_cases::read_file(ports, reader, request.clone()).await {
        Ok(content) => return Ok((content, None)),
        Err(error @ ReadFileError::NoRunner(_)) => error,
        Err(error) => return Err(NotRead::Runner(error)),
    };
    // Nobody changes its files now: they are as they were kept last.
    match at(ports, snapshots, reader, &request, &CheckpointName::Latest).await {
        Err(NotRead::Find(FindCheckpointError::None)) => Err(NotRead::Runner(no_runner)),
        read => read,
    }
}

async fn at<P, S>(
    ports: &P,
    snapshots: &S,
    reader: &Authorized<ReadSessions>,
    request: &ReadFile,
    name: &CheckpointName,
) -> Result<Piece, NotRead>
where
    P: SessionDirectory + Checkpoints,
    S: Snapshots,
{
    let found = use_cases::find_checkpoint(ports, reader, &request.key, name);
    let (head, checkpoint) = found.await.map_err(NotRead::Find)?;
    let length = request
        .length
        .unwrap_or(domain::limits::READ_FILE_BYTES as u64);
    let (tree, offset) = (head.tree_key(), request.offset);
    let (manifest, path) = (&checkpoint.files, &request.path);
    // A secret may begin before the piece, or end after it.
    let before = offset.min(AROUND);
    let around = before.saturating_add(length).saturating_add(AROUND);
    let from = offset - before;
    let read = snapshots.file_at(&tree, &request.key, manifest, path, from, around);
    let mut content = read.await.map_err(NotRead::Content)?;
    let blank = Redactor::default().blank(&content.bytes);
    let piece = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(blank.len());
    content.bytes = blank[piece(before)..piece(before.saturating_add(length))].to_vec();
    Ok((content, Some(checkpoint.id)))
}
