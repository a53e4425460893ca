//! Records of checkpoints, the names given to them, and the tree that shares their objects.

use thiserror::Error;

use crate::{
    Checkpoint, CheckpointId, RefName, SessionId, SessionKey, TreeKey, UnixMillis,
    checkpoint::CheckpointRef,
};

use super::Unavailable;

/// Why a checkpoint was not changed.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// There is none of that id in the session.
    #[error("no such checkpoint")]
    NoSuchCheckpoint,
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a ref was not set.
#[derive(Debug, Error)]
pub enum RefError {
    /// There is no checkpoint of that id in the session.
    #[error("no such checkpoint")]
    NoSuchCheckpoint,
    /// The name stands for another checkpoint.
    #[error("the name stands for another checkpoint")]
    Taken,
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why the record of a checkpoint was not removed.
#[derive(Debug, Error)]
pub enum RemoveError {
    /// The session would go on from it, it is pinned, or a ref names it.
    #[error("the checkpoint is in use")]
    InUse,
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a sweep may not begin.
#[derive(Debug, Error)]
pub enum SweepError {
    /// Another one began; its generation.
    #[error("another sweep of the tree began")]
    Overtaken(u64),
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// What the sessions of a tree share, besides objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Sweeps that began.
    pub generation: u64,
    /// When the newest one began; 0 before the first.
    pub swept_at: UnixMillis,
    /// The sessions, sorted; of a tree that was never forked or swept nothing is recorded, and it
    /// is the root alone.
    pub members: Vec<SessionId>,
}

/// Checkpoints as records.
pub trait Checkpoints: Send + Sync {
    /// The checkpoint of that id, if it is one of this session.
    fn checkpoint(
        &self,
        key: &SessionKey,
        id: &CheckpointId,
    ) -> impl Future<Output = Result<Option<Checkpoint>, Unavailable>> + Send;

    /// Checkpoints of the session with an ordinal below `before`, the newest first.
    fn checkpoints(
        &self,
        key: &SessionKey,
        before: Option<u64>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Checkpoint>, Unavailable>> + Send;

    /// Pins a checkpoint, or takes that back. Doing it twice is doing it once.
    fn pin(
        &self,
        key: &SessionKey,
        id: &CheckpointId,
        pinned: bool,
    ) -> impl Future<Output = Result<(), CheckpointError>> + Send;

    /// Names of checkpoints of the session, sorted; at most [`crate::limits::REFS`].
    fn refs(
        &self,
        key: &SessionKey,
    ) -> impl Future<Output = Result<Vec<CheckpointRef>, Unavailable>> + Send;

    /// Gives a checkpoint a name. The same again is harmless; a name that stands for another
    /// checkpoint is moved only when `replace` says so.
    fn set_ref(
        &self,
        key: &SessionKey,
        named: &CheckpointRef,
        replace: bool,
    ) -> impl Future<Output = Result<(), RefError>> + Send;

    /// Takes a name away; one that is not there is no error.
    fn delete_ref(
        &self,
        key: &SessionKey,
        name: &RefName,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Removes the record of a checkpoint, for the retention. One that is gone already is no error.
    fn remove_checkpoint(
        &self,
        key: &SessionKey,
        id: &CheckpointId,
    ) -> impl Future<Output = Result<(), RemoveError>> + Send;

    /// The tree as it is recorded.
    fn tree(&self, tree: &TreeKey) -> impl Future<Output = Result<Tree, Unavailable>> + Send;

    /// Trees that were not swept for [`crate::limits::TREE_SWEEP_MILLISECONDS`], or not since their
    /// first checkpoint. The oldest first. May lag.
    fn overdue_trees(
        &self,
        now: UnixMillis,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<TreeKey>, Unavailable>> + Send;

    /// Begins a sweep: the generation moves on from `generation`, so that whoever read it before
    /// has to look again at what it reuses. Gives the new generation. A repeat after a lost answer
    /// finds itself overtaken, and begins again. A tree of which nothing is recorded (any more) is
    /// not swept: [`SweepError::Unavailable`].
    fn begin_sweep(
        &self,
        tree: &TreeKey,
        generation: u64,
        now: UnixMillis,
    ) -> impl Future<Output = Result<u64, SweepError>> + Send;
}
