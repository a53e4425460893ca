//! Looking at the checkpoints of a session, and naming and pinning them.

use thiserror::Error;

use crate::{
    Authorized, Checkpoint, Head, RefName, SessionKey,
    authorization::{ReadSessions, WriteSessions},
    checkpoint::{CheckpointName, CheckpointRef},
    limits,
    ports::{CheckpointError, Checkpoints, Clock, RefError, SessionDirectory, Unavailable},
};

use super::NoSuchSession;

/// Why there is no such checkpoint.
#[derive(Debug, Error)]
pub enum FindCheckpointError {
    /// No such session of this owner.
    #[error(transparent)]
    NoSuchSession(#[from] NoSuchSession),
    /// The session has none of that name.
    #[error("checkpoint: the session has no such checkpoint; list_checkpoints shows what it has")]
    NoSuchCheckpoint,
    /// It has none at all.
    #[error("checkpoint: the session has no checkpoint yet")]
    None,
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a checkpoint was not named.
#[derive(Debug, Error)]
pub enum NameCheckpointError {
    /// There is none.
    #[error(transparent)]
    Find(#[from] FindCheckpointError),
    /// The name stands for another checkpoint; choose another one, or say that it is to be moved.
    #[error("ref: the name stands for another checkpoint; say replace to move it")]
    Taken,
    /// Take another name away first.
    #[error("ref: a session has at most {} names", limits::REFS)]
    TooMany,
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A page of a session's checkpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckpointPage {
    /// The session.
    pub head: Head,
    /// The newest first.
    pub checkpoints: Vec<Checkpoint>,
    /// All names of the session's checkpoints.
    pub refs: Vec<CheckpointRef>,
    /// Go on before this ordinal, when there is more.
    pub next: Option<u64>,
}

/// The checkpoint of a session by its id, a name, or `latest`. Reads only.
///
/// # Errors
/// [`FindCheckpointError`].
pub async fn find_checkpoint<P: SessionDirectory + Checkpoints>(
    ports: &P,
    _caller: &Authorized<ReadSessions>,
    key: &SessionKey,
    name: &CheckpointName,
) -> Result<(Head, Checkpoint), FindCheckpointError> {
    let head = ports.head(key).await?.ok_or(NoSuchSession)?;
    let checkpoint = find(ports, &head, name).await?;
    Ok((head, checkpoint))
}

pub(super) async fn find<P: Checkpoints>(
    ports: &P,
    head: &Head,
    name: &CheckpointName,
) -> Result<Checkpoint, FindCheckpointError> {
    let id = match name {
        CheckpointName::Latest => head.checkpoint.clone().ok_or(FindCheckpointError::None)?,
        CheckpointName::Id(id) => id.clone(),
        CheckpointName::Ref(name) => ports
            .refs(&head.key)
            .await?
            .into_iter()
            .find(|named| named.name == *name)
            .map(|named| named.checkpoint)
            .ok_or(FindCheckpointError::NoSuchCheckpoint)?,
    };
    ports
        .checkpoint(&head.key, &id)
        .await?
        .ok_or(FindCheckpointError::NoSuchCheckpoint)
}

/// A page of a session's checkpoints, the newest first. Reads only.
///
/// # Errors
/// [`FindCheckpointError`].
pub async fn list_checkpoints<P: SessionDirectory + Checkpoints>(
    ports: &P,
    _caller: &Authorized<ReadSessions>,
    key: &SessionKey,
    before: Option<u64>,
    limit: usize,
) -> Result<CheckpointPage, FindCheckpointError> {
    let head = ports.head(key).await?.ok_or(NoSuchSession)?;
    let limit = limit.clamp(1, limits::CHECKPOINT_PAGE);
    let mut checkpoints = ports.checkpoints(key, before, limit + 1).await?;
    let more = checkpoints.len() > limit;
    checkpoints.truncate(limit);
    Ok(CheckpointPage {
        next: checkpoints
            .last()
            .filter(|_| more)
            .map(|oldest| oldest.ordinal),
        refs: ports.refs(key).await?,
        head,
        checkpoints,
    })
}

/// Pins a checkpoint, so that no retention takes it, or takes that back. Doing it twice is doing it
/// once.
///
/// # Errors
/// [`FindCheckpointError`].
pub async fn pin_checkpoint<P: SessionDirectory + Checkpoints>(
    ports: &P,
    _caller: &Authorized<WriteSessions>,
    key: &SessionKey,
    name: &CheckpointName,
    pinned: bool,
) -> Result<Checkpoint, FindCheckpointError> {
    let head = ports.head(key).await?.ok_or(NoSuchSession)?;
    let mut checkpoint = find(ports, &head, name).await?;
    match ports.pin(key, &checkpoint.id, pinned).await {
        Ok(()) => {
            checkpoint.pinned = pinned;
            Ok(checkpoint)
        }
        Err(CheckpointError::NoSuchCheckpoint) => Err(FindCheckpointError::NoSuchCheckpoint),
        Err(CheckpointError::Unavailable(unavailable)) => Err(unavailable.into()),
    }
}

/// Gives a checkpoint a name, by which it is found and kept; with `replace` the name may be moved
/// there from another one. Doing it twice is doing it once.
///
/// # Errors
/// [`NameCheckpointError`].
pub async fn name_checkpoint<P: SessionDirectory + Checkpoints + Clock>(
    ports: &P,
    _caller: &Authorized<WriteSessions>,
    key: &SessionKey,
    checkpoint: &CheckpointName,
    name: &RefName,
    replace: bool,
) -> Result<Checkpoint, NameCheckpointError> {
    let head = ports
        .head(key)
        .await?
        .ok_or(FindCheckpointError::NoSuchSession(NoSuchSession))?;
    let checkpoint = find(ports, &head, checkpoint).await?;
    let refs = ports.refs(key).await?;
    if refs.len() >= limits::REFS && !refs.iter().any(|named| named.name == *name) {
        return Err(NameCheckpointError::TooMany);
    }
    let named = CheckpointRef {
        name: name.clone(),
        checkpoint: checkpoint.id.clone(),
        set_at: ports.now(),
    };
    match ports.set_ref(key, &named, replace).await {
        Ok(()) => Ok(checkpoint),
        Err(RefError::Taken) => Err(NameCheckpointError::Taken),
        Err(RefError::NoSuchCheckpoint) => Err(FindCheckpointError::NoSuchCheckpoint.into()),
        Err(RefError::Unavailable(unavailable)) => Err(unavailable.into()),
    }
}

/// Takes a name away; the checkpoint then lives as long as any other. One that is not there is no
/// error.
///
/// # Errors
/// [`FindCheckpointError`].
pub async fn unname_checkpoint<P: SessionDirectory + Checkpoints>(
    ports: &P,
    _caller: &Authorized<WriteSessions>,
    key: &SessionKey,
    name: &RefName,
) -> Result<(), FindCheckpointError> {
    ports.head(key).await?.ok_or(NoSuchSession)?;
    Ok(ports.delete_ref(key, name).await?)
}
