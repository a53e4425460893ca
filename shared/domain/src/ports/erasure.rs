//! Taking away what nobody keeps any more: whole sessions, and chunks of a tree.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::{CheckpointId, SessionId, SessionKey, TreeKey, UnixMillis};

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

/// A session of which nobody can read anything any more, and which is to be erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condemned {
    /// Where its objects lie.
    pub tree: TreeKey,
    /// It was erased before: this is the last look for what came after that.
    pub buried: bool,
}

/// Rows of sessions that are over.
pub trait Erasure: Send + Sync {
    /// Gives an ended session up: from now on nobody can read it, whatever their clocks say, and
    /// the sweep erases it.
    fn expire(&self, key: &SessionKey) -> impl Future<Output = Result<(), ExpireError>> + Send;

    /// An ended session whose time is up, or one that was buried and is to be looked at again.
    fn condemned(
        &self,
        key: &SessionKey,
        now: UnixMillis,
    ) -> impl Future<Output = Result<Option<Condemned>, Unavailable>> + Send;

    /// Removes up to `limit` rows of the session, except its head or its tombstone, and what belongs
    /// to its tree;
    /// gives how many. 0: nothing is left.
    fn erase_rows(
        &self,
        key: &SessionKey,
        limit: usize,
    ) -> impl Future<Output = Result<usize, Unavailable>> + Send;

    /// Takes a session out of its tree, and gives those that stay, sorted. Of a tree without
    /// sessions nothing stays recorded; one of which nothing is recorded has none.
    fn leave_tree(
        &self,
        tree: &TreeKey,
        session: &SessionId,
    ) -> impl Future<Output = Result<Vec<SessionId>, Unavailable>> + Send;

    /// Puts a tombstone in the place of the head of an ended session whose time is up, and forgets
    /// the client token that it was created with: for everybody it is unknown then. The tombstone
    /// says only where its objects lay, and is overdue at `until`. Without such a head nothing
    /// happens.
    fn bury(
        &self,
        key: &SessionKey,
        now: UnixMillis,
        until: UnixMillis,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Removes a tombstone whose time is up: the last of a session. One that is gone is no error.
    fn forget(
        &self,
        key: &SessionKey,
        now: UnixMillis,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;
}

/// What a sweep of a tree's chunks did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Objects deleted.
    pub objects_deleted: u64,
    /// Their bytes.
    pub bytes_reclaimed: u64,
    /// Bytes of all that stays.
    pub bytes_kept: u64,
    /// Live manifests that are damaged or gone. Nobody knows what they need, so all packs stay until
    /// a person gives those checkpoints up or brings them back.
    pub unreadable: Vec<CheckpointId>,
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
