//! Giving a session up for good, and erasing what is left of those that are.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::{
    Authorized, CheckpointId, Head, SessionKey, State,
    authorization::WriteSessions,
    limits,
    ports::{
        AuditTrail, Checkpoints, ChunkSweep, Chunks, Clock, Compute, Condemned, Erasure,
        ExpireError, IdSource, Inbox, LogChain, SessionDirectory, SessionLog, Swept, TreeObjects,
        Unavailable,
    },
};

use super::{
    CancelError, NoSuchSession, audit_erasure, cancel_session, stopwatch::Stopwatch, sweep_tree,
};

/// How long a caller waits for a runner to end its session, in milliseconds.
const END_MILLISECONDS: u64 = 20_000;
const POLL_MILLISECONDS: u64 = 200;
/// Rows removed at once.
const ROWS: usize = 100;

/// What becomes of a session that is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// It ends, and stays readable until its retention takes it.
    Archive,
    /// It ends, nobody can read it any more, and the next sweep erases it: log, commands,
    /// transcript, and the chunks that no other session of its tree needs.
    Erase,
}

/// Why a session was not deleted.
#[derive(Debug, Error)]
pub enum DeleteError {
    /// No such session of this owner (any more).
    #[error(transparent)]
    NoSuchSession(#[from] NoSuchSession),
    /// Its runner takes its time to end it; repeat the call.
    #[error("the session is {0} and has been asked to end; repeat the call in a moment")]
    StillEnding(State),
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Ends a session and keeps or gives up what is left of it; gives its last head.
///
/// Run twice it finds the session ended, or gone. Cut off, it has ended or is about to, and the
/// repeat goes on.
///
/// # Errors
/// [`DeleteError`].
pub async fn delete_session<P>(
    ports: &P,
    caller: &Authorized<WriteSessions>,
    key: &SessionKey,
    deletion: Deletion,
) -> Result<Head, DeleteError>
where
    P: SessionDirectory + Inbox + Erasure + Compute + Clock + IdSource,
{
    let mut waited = Stopwatch::start(ports.now());
    let head = loop {
        let head = match cancel_session(ports, caller, key, "deleted").await {
            Ok(head) => head,
            Err(CancelError::NoSuchSession(missing)) => return Err(missing.into()),
            Err(CancelError::Unavailable(unavailable)) => return Err(unavailable.into()),
        };
        if head.state.is_ended() {
            break head;
        }
        if waited.read(ports.now()) > END_MILLISECONDS {
            return Err(DeleteError::StillEnding(head.state));
        }
        ports.sleep(POLL_MILLISECONDS).await;
    };
    if deletion == Deletion::Erase {
        match ports.expire(key).await {
            Ok(()) => {}
            // It is gone already.
            Err(ExpireError::NotEnded) => return Err(NoSuchSession.into()),
            Err(ExpireError::Unavailable(unavailable)) => return Err(unavailable.into()),
        }
    }
    Ok(head)
}

/// What erasing a session took away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Rows.
    pub rows: u64,
    /// Objects of its own.
    pub objects: u64,
    /// Chunks and manifests that only it needed.
    pub chunks: Swept,
    /// It was the last look: nothing is left.
    pub forgotten: bool,
}

/// Erases an ended session whose time is up: its objects, the chunks that no other session of its
/// tree needs, its rows, and last its head, by which the sweep finds it again until all is done.
/// `None` when there is no such session.
///
/// Not everybody who writes for it is fenced: an export may be under way, and a runner that was
/// frozen may wake and store what it had begun. So a tombstone takes the place of the head, and when
/// all such writers have long ended (the credentials of each do) all of it is done again, and the
/// tombstone goes. Pieces of an upload that nobody finishes go by the bucket's rule for them, after a
/// day.
///
/// Every step may be repeated, and two of us change nothing for each other.
///
/// # Errors
/// [`Unavailable`]: the next sweep goes on.
pub async fn erase_session<P, C>(
    ports: &P,
    chunks: &C,
    key: &SessionKey,
    grace_milliseconds: u64,
) -> Result<Option<Erased>, Unavailable>
where
    P: Erasure + Checkpoints + TreeObjects + SessionLog + LogChain + AuditTrail + Clock,
    C: Chunks,
{
    let now = ports.now();
    let Some(Condemned { tree, buried }) = ports.condemned(key, now).await? else {
        return Ok(None);
    };
    if !buried {
        // For those too whose clocks are behind ours: nobody may see half of it.
        match ports.expire(key).await {
            Ok(()) => {}
            Err(ExpireError::NotEnded) => return Ok(None),
            Err(ExpireError::Unavailable(unavailable)) => return Err(unavailable),
        }
        // What it did stays in the audit, and that it is gone.
        audit_erasure(ports, key).await?;
    }
    let mut erased = Erased::default();
    let own = format!("sessions/{}/", key.session);
    erased.objects = delete_all(ports, &tree, &own).await?;
    // Its records go before it leaves the tree: a fork that still needs one is a member by then.
    // Cut between, what only it needed is garbage like any other, and goes after the grace time.
    let mut manifests: BTreeSet<CheckpointId> = BTreeSet::new();
    for checkpoint in sweep_tree::all(ports, key).await? {
        manifests.extend([checkpoint.files, checkpoint.conversation]);
    }
    loop {
        let rows = ports.erase_rows(key, ROWS).await?;
        if rows == 0 {
            break;
        }
        erased.rows += rows as u64;
    }
    let remaining = ports.leave_tree(&tree, &key.session).await?;
    if remaining.is_empty() {
        erased.objects += delete_all(ports, &tree, "").await?;
    } else if !buried {
        sweep_tree::begin(ports, &tree, now).await?;
        let (live, _) = sweep_tree::roots(ports, &tree, &BTreeSet::new()).await?;
        manifests.retain(|id| !live.contains(id));
        let sweep = ChunkSweep {
            live,
            erased: manifests,
            // Of the others nothing is taken here.
            grace_milliseconds: u64::MAX,
            now,
            dry_run: false,
        };
        erased.chunks = chunks.sweep(&tree, &sweep).await?;
    }
    if buried {
        ports.forget(key, now).await?;
    } else {
        let late = grace_milliseconds.max(limits::LATE_WRITES_MILLISECONDS);
        ports.bury(key, now, now.plus(late)).await?;
    }
    erased.forgotten = buried;
    Ok(Some(erased))
}

/// Every version of everything that begins so.
async fn delete_all<P: TreeObjects>(
    ports: &P,
    tree: &crate::TreeKey,
    prefix: &str,
) -> Result<u64, Unavailable> {
    let mut deleted = 0;
    let mut after = None;
    loop {
        let page = ports.list_objects(tree, prefix, after.as_deref()).await?;
        for object in page.objects {
            ports
                .delete_object(tree, &object.name, object.version.as_deref())
                .await?;
            deleted += 1;
        }
        after = page.next;
        if after.is_none() {
            return Ok(deleted);
        }
    }
}
