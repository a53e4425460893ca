//! The sweep: overdue sessions, what is left of those whose time is up, and trees.

use checkpoint::StoredChunks;
use domain::{
    Retention, SessionId, SessionKey, UnixMillis, limits,
    ports::{
        AuditTrail, Checkpoints, Clock, Compute, Erasure, Inbox, LogChain, RefusalCounts, Seals,
        SessionDirectory, SessionLog, SlotLimits, Slots, Swept, TreeObjects, Unavailable,
    },
    session_token::SigningKey,
    use_cases::{AuditKept, Reconciled, erase_session, keep_audit, reconcile_session, sweep_tree},
};

use crate::Answer;

/// Sessions of one sweep; what is left is there in a minute. Own: about ten calls each fit the
/// time below.
const SESSIONS: usize = 200;
/// Trees of one sweep. Own: each lists what it has, and reads its manifests.
const TREES: usize = 20;
/// The function has 60 s.
const MILLISECONDS: u64 = 40_000;

/// Every port of a sweep; whatever has them is one.
pub trait SweepPorts:
    SessionDirectory
    + SessionLog
    + Inbox
    + Compute
    + Checkpoints
    + Erasure
    + TreeObjects
    + LogChain
    + AuditTrail
    + RefusalCounts
    + Seals
    + Slots
    + Clock
{
}
impl<P> SweepPorts for P where
    P: SessionDirectory
        + SessionLog
        + Inbox
        + Compute
        + Checkpoints
        + Erasure
        + TreeObjects
        + LogChain
        + AuditTrail
        + RefusalCounts
        + Seals
        + Slots
        + Clock
{
}

/// What the owner of a deployment has set for sweeps.
#[derive(Clone)]
pub struct Limits {
    /// Signs the ends of audit chains.
    pub signing_key: SigningKey,
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
pub(crate) async fn sweep<P>(ports: &P, limits: &Limits) -> Result<Answer, Unavailable>
where
    P: SweepPorts,
{
    let started = ports.now();
    let out_of_time = || ports.now().since(started) > MILLISECONDS;
    let mut answer = Answer::default();
    // First: it is short, and many sessions may take all the time.
    audit(ports, &limits.signing_key, &mut answer).await;
    let mut queued = 0;
    for key in ports.overdue(started, SESSIONS).await? {
        if out_of_time() {
            say_queued(queued);
            tracing::warn!(?answer, "the sweep ran out of time; the next one goes on");
            return Ok(answer);
        }
        match session(ports, limits, &key).await {
            Ok(reconciled) => {
                tracing::info!(session = %key.session, ?reconciled, "looked at a session");
                answer.count(reconciled);
                queued += waiting_for_a_runner(ports, &key, reconciled).await;
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
    say_queued(queued);
    trees(ports, limits.retention, started, false, &mut answer).await?;
    count(ports).await;
    Ok(answer)
}

/// Commands of a session that has no runner to take them. (Those of the others are counted by their
/// runners.)
async fn waiting_for_a_runner<P: SessionDirectory>(
    ports: &P,
    key: &SessionKey,
    reconciled: Reconciled,
) -> u64 {
    if !matches!(reconciled, Reconciled::NoSlot | Reconciled::Started) {
        return 0;
    }
    match ports.head(key).await {
        Ok(head) => head.map_or(0, |head| head.queued()),
        Err(error) => {
            tracing::warn!(
                session = %key.session,
                error = &error as &dyn std::error::Error,
                "could not count what waits in a session; the next sweep does"
            );
            0
        }
    }
}

/// Says how many commands wait, while there are any.
fn say_queued(queued: u64) {
    if queued > 0 {
        // A metric is made of it.
        tracing::info!(
            shannon_command_queue_depth = queued,
            "commands wait for a runner"
        );
    }
}

/// Says how many sessions hold compute, while there are any: an alarm compares it with what may.
async fn count<P: Slots>(ports: &P) {
    match ports.slots_in_use().await {
        Ok(0) => {}
        Ok(sessions) => {
            tracing::info!(shannon_active_sessions = sessions, "sessions hold compute");
        }
        Err(error) => tracing::warn!(
            error = &error as &dyn std::error::Error,
            "could not count the sessions that hold compute; the next sweep does"
        ),
    }
}

/// Keeps the audit. When that is not possible, the rest is not kept waiting.
async fn audit<P: SweepPorts>(ports: &P, key: &SigningKey, answer: &mut Answer) {
    match keep_audit(ports, key).await {
        Ok(kept) => {
            answer.sealed += kept.sealed;
            if kept.most_refused > 0 {
                // A metric is made of it.
                let shannon_refusals_of_source = kept.most_refused;
                tracing::info!(shannon_refusals_of_source, "requests were refused");
            }
            if kept != AuditKept::default() {
                tracing::info!(?kept, "kept the audit");
            }
        }
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "could not keep the audit; the next sweep does"
            );
            answer.failed += 1;
        }
    }
}

/// What the next sweep would take from trees; changes nothing, and can be asked as often as one
/// likes. What it says of a tree may be more by the time of the sweep.
///
/// # Errors
/// [`Unavailable`] when not even the list can be read.
pub(crate) async fn dry_run<P>(ports: &P, limits: &Limits) -> Result<Answer, Unavailable>
where
    P: SessionDirectory + Checkpoints + TreeObjects + Clock,
{
    let mut answer = Answer::default();
    // Those too whose turn comes later.
    let until = ports.now().plus(limits::TREE_SWEEP_MILLISECONDS);
    trees(ports, limits.retention, until, true, &mut answer).await?;
    Ok(answer)
}

/// Sweeps the trees that are overdue at `until`.
async fn trees<P>(
    ports: &P,
    retention: Retention,
    until: UnixMillis,
    dry_run: bool,
    answer: &mut Answer,
) -> Result<(), Unavailable>
where
    P: SessionDirectory + Checkpoints + TreeObjects + Clock,
{
    let started = ports.now();
    let most = if dry_run { SESSIONS } else { TREES };
    for tree in ports.overdue_trees(until, most).await? {
        if ports.now().since(started) > MILLISECONDS {
            tracing::warn!(?answer, "the sweep ran out of time; the next one goes on");
            break;
        }
        match sweep_tree(ports, &StoredChunks(ports), retention, &tree, dry_run).await {
            Ok(swept) => {
                tracing::info!(
                    tree = %tree.tree,
                    dry_run,
                    checkpoints_removed = swept.removed.len(),
                    checkpoints_kept = swept.kept,
                    objects_deleted = swept.chunks.objects_deleted,
                    bytes_reclaimed = swept.chunks.bytes_reclaimed,
                    bytes_kept = swept.chunks.bytes_kept,
                    "swept a tree"
                );
                answer.damaged += usize::from(is_damaged(tree.tree.root(), &swept.chunks));
                answer.swept += 1;
                answer.bytes_reclaimed += swept.chunks.bytes_reclaimed;
            }
            Err(error) => {
                tracing::warn!(
                    tree = %tree.tree,
                    dry_run,
                    error = &error as &dyn std::error::Error,
                    "could not sweep a tree; a later sweep does"
                );
                answer.failed += 1;
            }
        }
    }
    Ok(())
}

/// Whether the tree of a session has checkpoints that cannot be read; says so.
fn is_damaged(session: &SessionId, swept: &Swept) -> bool {
    let damaged = !swept.unreadable.is_empty();
    if damaged {
        tracing::error!(
            %session,
            unreadable = ?swept.unreadable,
            "checkpoints cannot be read; until a person deletes their sessions or brings them \
             back, no chunk of the tree is taken"
        );
    }
    damaged
}

async fn session<P>(ports: &P, limits: &Limits, key: &SessionKey) -> Result<Reconciled, Unavailable>
where
    P: SweepPorts,
{
    let reconciled = reconcile_session(ports, limits.slots, key).await?;
    if !matches!(reconciled, Reconciled::Expired | Reconciled::Gone) {
        return Ok(reconciled);
    }
    // Readers do not see it any more; what is left of it goes now.
    let grace = limits.retention.grace_milliseconds;
    let erased = erase_session(ports, &StoredChunks(ports), key, grace).await?;
    Ok(match erased {
        Some(erased) => {
            tracing::info!(session = %key.session, ?erased, "erased a session");
            is_damaged(&key.session, &erased.chunks);
            if erased.forgotten {
                Reconciled::Gone
            } else {
                Reconciled::Expired
            }
        }
        None => Reconciled::Gone,
    })
}
