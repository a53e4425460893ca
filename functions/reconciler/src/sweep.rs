//! The sweep: overdue sessions, what is left of those whose time is up, and trees.

use domain::{
    Retention, SessionKey,
    ports::{
        Checkpoints, Clock, Compute, Erasure, Inbox, SessionDirectory, SlotLimits, TreeObjects,
        Unavailable,
    },
    use_cases::{Reconciled, erase_session, reconcile_session, sweep_tree},
};

use crate::{Answer, chunks::StoredChunks};

/// Sessions of one sweep; what is left is there in a minute. Own: about ten calls each fit the
/// time below.
const SESSIONS: usize = 200;
/// Trees of one sweep. Own: each lists what it has, and reads its manifests.
const TREES: usize = 20;
/// The function has 60 s.
const MILLISECONDS: u64 = 40_000;

/// What the owner of a deployment has set for sweeps.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sessions that may hold compute.
    pub slots: SlotLimits,
    /// For how long checkpoints are kept.
    pub retention: Retention,
}

/// Looks at overdue sessions and trees, the oldest first, until none is left or the time is up. One
/// that cannot be looked at does not keep the others waiting.
///
/// # Errors
/// [`Unavailable`] when not even the lists can be read.
pub(crate) async fn sweep<P>(ports: &P, limits: Limits) -> Result<Answer, Unavailable>
where
    P: SessionDirectory + Inbox + Compute + Checkpoints + Erasure + TreeObjects + Clock,
{
    let started = ports.now();
    let out_of_time = || ports.now().since(started) > MILLISECONDS;
    let mut answer = Answer::default();
    for key in ports.overdue(started, SESSIONS).await? {
        if out_of_time() {
            tracing::warn!(?answer, "the sweep ran out of time; the next one goes on");
            return Ok(answer);
        }
        match session(ports, limits, &key).await {
            Ok(reconciled) => {
                tracing::info!(session = %key.session, ?reconciled, "looked at a session");
                answer.count(reconciled);
            }
            Err(error) => {
                tracing::warn!(
                    session = %key.session,
                    error = &error as &dyn std::error::Error,
                    "could not look at a session; the next sweep does"
                );
                answer.failed += 1;
            }
        }
    }
    for tree in ports.overdue_trees(started, TREES).await? {
        if out_of_time() {
            tracing::warn!(?answer, "the sweep ran out of time; the next one goes on");
            break;
        }
        let chunks = StoredChunks(ports);
        match sweep_tree(ports, &chunks, limits.retention, &tree, false).await {
            Ok(swept) => {
                tracing::info!(
                    tree = %tree.tree,
                    checkpoints_removed = swept.removed.len(),
                    checkpoints_kept = swept.kept,
                    objects_deleted = swept.chunks.objects_deleted,
                    bytes_reclaimed = swept.chunks.bytes_reclaimed,
                    "swept a tree"
                );
                answer.swept += 1;
                answer.bytes_reclaimed += swept.chunks.bytes_reclaimed;
            }
            Err(error) => {
                tracing::warn!(
                    tree = %tree.tree,
                    error = &error as &dyn std::error::Error,
                    "could not sweep a tree; a later sweep does"
                );
                answer.failed += 1;
            }
        }
    }
    Ok(answer)
}

async fn session<P>(ports: &P, limits: Limits, key: &SessionKey) -> Result<Reconciled, Unavailable>
where
    P: SessionDirectory + Inbox + Compute + Checkpoints + Erasure + TreeObjects + Clock,
{
    let reconciled = reconcile_session(ports, limits.slots, key).await?;
    if !matches!(reconciled, Reconciled::Expired | Reconciled::Gone) {
        return Ok(reconciled);
    }
    // Readers do not see it any more; what is left of it goes now.
    let erased = erase_session(ports, &StoredChunks(ports), key).await?;
    Ok(match erased {
        Some(erased) => {
            tracing::info!(session = %key.session, ?erased, "erased a session");
            Reconciled::Expired
        }
        None => Reconciled::Gone,
    })
}
