//! Retention of checkpoints, and the garbage of a tree.

use std::collections::BTreeSet;

use crate::{
    Checkpoint, CheckpointId, Retention, SessionKey, TreeKey, UnixMillis, limits,
    ports::{
        Checkpoints, ChunkSweep, Chunks, Clock, RemoveError, SessionDirectory, SweepError, Swept,
        Unavailable,
    },
};

/// How often another sweep, or a fork, may come between. Own.
const ATTEMPTS: usize = 10;

/// What a sweep of a tree did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreeSwept {
    /// Records of checkpoints that the retention took.
    pub removed: Vec<CheckpointId>,
    /// Checkpoints that stay.
    pub kept: u64,
    /// What became of their chunks.
    pub chunks: Swept,
}

/// Sweeps a tree: takes the records of checkpoints that are too old or too many, and deletes the
/// chunks that no record needs.
///
/// Safe beside running sessions and beside itself: the generation is raised before anything is
/// read, so that whoever commits a checkpoint with what it saw before looks again; a record is
/// removed only while nothing goes on from it; and the sessions of the tree are read once more
/// after their records, so that a fork that came between is seen. Cut off anywhere, the next sweep
/// goes on.
///
/// # Errors
/// [`Unavailable`]: the next sweep tries again.
pub async fn sweep_tree<P, C>(
    ports: &P,
    chunks: &C,
    retention: Retention,
    tree: &TreeKey,
    dry_run: bool,
) -> Result<TreeSwept, Unavailable>
where
    P: SessionDirectory + Checkpoints + Clock,
    C: Chunks,
{
    let now = ports.now();
    if !dry_run {
        begin(ports, tree, now).await?;
    }
    let mut swept = TreeSwept::default();
    for member in ports.tree(tree).await?.members {
        let key = SessionKey {
            owner: tree.owner.clone(),
            session: member,
        };
        let removed = prune(ports, retention, &key, now, dry_run).await?;
        swept.removed.extend(removed);
    }
    let gone = if dry_run {
        swept.removed.iter().cloned().collect()
    } else {
        BTreeSet::new()
    };
    let (live, kept) = roots(ports, tree, &gone).await?;
    swept.kept = kept;
    swept.chunks = chunks
        .sweep(
            tree,
            &ChunkSweep {
                live,
                erased: BTreeSet::new(),
                grace_milliseconds: retention.grace_milliseconds,
                now,
                dry_run,
            },
        )
        .await?;
    Ok(swept)
}

pub(super) async fn begin<P: Checkpoints>(
    ports: &P,
    tree: &TreeKey,
    now: UnixMillis,
) -> Result<(), Unavailable> {
    let mut generation = ports.tree(tree).await?.generation;
    for _ in 0..ATTEMPTS {
        match ports.begin_sweep(tree, generation, now).await {
            Ok(_) => return Ok(()),
            Err(SweepError::Overtaken(newer)) => generation = newer,
            Err(SweepError::Unavailable(unavailable)) => return Err(unavailable),
        }
    }
    Err(Unavailable {
        attempted: "begin a sweep",
        outcome_unknown: false,
        source: "other sweeps of the tree begin all the time".into(),
    })
}

/// Every manifest that a record of the tree names, but for the records in `gone`; and how many
/// records there are.
pub(super) async fn roots<P: Checkpoints>(
    ports: &P,
    tree: &TreeKey,
    gone: &BTreeSet<CheckpointId>,
) -> Result<(BTreeSet<CheckpointId>, u64), Unavailable> {
    let mut members = ports.tree(tree).await?.members;
    for _ in 0..ATTEMPTS {
        let (mut live, mut kept) = (BTreeSet::new(), 0);
        for member in &members {
            let key = SessionKey {
                owner: tree.owner.clone(),
                session: member.clone(),
            };
            for checkpoint in all(ports, &key).await? {
                if !gone.contains(&checkpoint.id) {
                    kept += 1;
                    live.extend([checkpoint.files, checkpoint.conversation]);
                }
            }
        }
        let now = ports.tree(tree).await?.members;
        if now == members {
            return Ok((live, kept));
        }
        members = now;
    }
    Err(Unavailable {
        attempted: "read the checkpoints of the tree",
        outcome_unknown: false,
        source: "it is forked all the time".into(),
    })
}

/// Records of a session's checkpoints, the newest first.
pub(super) async fn all<P: Checkpoints>(
    ports: &P,
    key: &SessionKey,
) -> Result<Vec<Checkpoint>, Unavailable> {
    let mut found: Vec<Checkpoint> = Vec::new();
    loop {
        let before = found.last().map(|oldest| oldest.ordinal);
        let page = ports
            .checkpoints(key, before, limits::CHECKPOINT_PAGE)
            .await?;
        if page.is_empty() {
            return Ok(found);
        }
        found.extend(page);
    }
}

/// Removes the records that the retention does not keep: those beyond the newest so many, and those
/// that are too old. Pinned and named ones, and the one that the session goes on from, stay and do
/// not count. Names that rewinds left go with their time.
async fn prune<P>(
    ports: &P,
    retention: Retention,
    key: &SessionKey,
    now: UnixMillis,
    dry_run: bool,
) -> Result<Vec<CheckpointId>, Unavailable>
where
    P: SessionDirectory + Checkpoints,
{
    let Some(head) = ports.head(key).await? else {
        // It is erased as a whole.
        return Ok(Vec::new());
    };
    let mut named = BTreeSet::new();
    for name in ports.refs(key).await? {
        let old = now.since(name.set_at) > retention.checkpoint_milliseconds;
        if old && name.name.as_str().starts_with("before-") {
            if !dry_run {
                ports.delete_ref(key, &name.name).await?;
            }
        } else {
            named.insert(name.checkpoint);
        }
    }
    let mut counted = 0;
    let mut removed = Vec::new();
    for checkpoint in all(ports, key).await? {
        let in_use = checkpoint.pinned
            || named.contains(&checkpoint.id)
            || head.checkpoint.as_ref() == Some(&checkpoint.id);
        if in_use {
            continue;
        }
        counted += 1;
        let old = now.since(checkpoint.created_at) > retention.checkpoint_milliseconds;
        if !old && counted <= retention.max_checkpoints {
            continue;
        }
        if dry_run {
            removed.push(checkpoint.id);
            continue;
        }
        match ports.remove_checkpoint(key, &checkpoint.id).await {
            Ok(()) => removed.push(checkpoint.id),
            // Somebody pinned it, named it or went back to it meanwhile.
            Err(RemoveError::InUse) => {}
            Err(RemoveError::Unavailable(unavailable)) => return Err(unavailable),
        }
    }
    Ok(removed)
}
