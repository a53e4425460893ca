//! The index of what somebody has to look at in time.

use domain::{SessionId, TreeKey};

/// Sparse index of what somebody has to look at in time: `live_key` = [`live_shard`] of a session,
/// `live_until` = when (its lease ends, its start may have to be repeated, its time is up); of a
/// tree [`tree_shard`], and when it is to be swept; of a chain of the audit [`SEAL_SHARD`], and when
/// its end is to be sealed.
pub(crate) const LIVE: &str = "live";
pub(crate) const LIVE_KEY: &str = "live_key";
pub(crate) const LIVE_UNTIL: &str = "live_until";
/// The partition of the index for chains of the audit: one, which is looked at each minute. They move
/// once in a turn.
pub(crate) const SEAL_SHARD: &str = "seal";
/// Partitions of the index, so that every append's change of it does not meet one partition.
pub(crate) const LIVE_SHARDS: u8 = 8;

/// The partition of the live index in which a session is found.
pub(crate) fn live_shard(session: &SessionId) -> String {
    let last = session.as_str().bytes().last().unwrap_or_default();
    live_key(last % LIVE_SHARDS)
}

/// The partition of the live index in which a tree is found.
pub(crate) fn tree_shard(tree: &TreeKey) -> String {
    let last = tree.tree.as_str().bytes().last().unwrap_or_default();
    tree_key(last % LIVE_SHARDS)
}

/// A partition of the live index for trees.
pub(crate) fn tree_key(shard: u8) -> String {
    format!("tree#{shard}")
}

/// A partition of the live index.
pub(crate) fn live_key(shard: u8) -> String {
    format!("live#{shard}")
}
