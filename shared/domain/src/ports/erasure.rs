//! Taking away what nobody keeps any more: whole sessions, and chunks of a tree.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::{CheckpointId, Head, SessionId, SessionKey, TreeKey, UnixMillis};

use super::Unavailable;

/// Why a session was not given up.
#[derive(Debug, Error)]
pub enum ExpireError {
    /// It goes on (or there is none): cancel it first.
    #[error("the session has not ended")]
    NotEnded,
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Rows of sessions that are over.
pub trait Erasure: Send + Sync {
    /// Gives an ended session up before its time: from now on nobody can read it, and the sweep
    /// erases it.
    fn expire(
        &self,
        key: &SessionKey,
        now: UnixMillis,
    ) -> impl Future<Output = Result<(), ExpireError>> + Send;

    /// The head of an ended session whose time is up, which nobody else can read any more.
    fn condemned(
        &self,
        key: &SessionKey,
        now: UnixMillis,
    ) -> impl Future<Output = Result<Option<Head>, Unavailable>> + Send;

    /// Removes up to `limit` rows of the session, except its head and what belongs to its tree;
    /// gives how many. 0: nothing is left.
    fn erase_rows(
        &self,
        key: &SessionKey,
        limit: usize,
    ) -> impl Future<Output = Result<usize, Unavailable>> + Send;

    /// Takes a session out of its tree, and gives those that stay, sorted. Of a tree without
    /// sessions nothing stays recorded.
    fn leave_tree(
        &self,
        tree: &TreeKey,
        session: &SessionId,
    ) -> impl Future<Output = Result<Vec<SessionId>, Unavailable>> + Send;

    /// Removes the head of an ended session whose time is up: the last of it. One that is gone is
    /// no error.
    fn erase_head(
        &self,
        key: &SessionKey,
        now: UnixMillis,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;
}

/// What a sweep of a tree's chunks did, or would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Objects deleted.
    pub objects_deleted: u64,
    /// Their bytes.
    pub bytes_reclaimed: u64,
    /// Bytes of all that stays.
    pub bytes_kept: u64,
}

/// Which chunks of a tree are to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkSweep {
    /// Manifests that records name: what they need stays.
    pub live: BTreeSet<CheckpointId>,
    /// Manifests of an erased session that no record names any more: they, and what only they need,
    /// go however young they are.
    pub erased: BTreeSet<CheckpointId>,
    /// Whatever else nobody names goes when it is older than this.
    pub grace_milliseconds: u64,
    /// Now.
    pub now: UnixMillis,
    /// Only say what would go.
    pub dry_run: bool,
}

/// Mark and sweep over the chunks of a tree.
pub trait Chunks: Send + Sync {
    /// Deletes what nothing live needs. Cut off anywhere, no manifest is left whose chunks are gone.
    fn sweep(
        &self,
        tree: &TreeKey,
        sweep: &ChunkSweep,
    ) -> impl Future<Output = Result<Swept, Unavailable>> + Send;
}
