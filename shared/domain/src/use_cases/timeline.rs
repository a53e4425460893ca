//! A session, its forks, and their checkpoints, as one tree.

use crate::{
    Authorized, Checkpoint, Head, SessionKey, TreeId,
    authorization::ReadSessions,
    checkpoint::CheckpointRef,
    limits,
    ports::{Checkpoints, SessionDirectory, Unavailable},
};

use super::{FindCheckpointError, NoSuchSession};

/// The tree that a session belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline {
    /// Its name; the session at its root may be gone.
    pub tree: TreeId,
    /// Its sessions in the order of their creation; of the same time forks last, by id.
    pub sessions: Vec<TimelineSession>,
}

/// One session of a tree.
#[derive(Clone, Debug, PartialEq)]
pub struct TimelineSession {
    /// The session.
    pub head: Head,
    /// Its newest checkpoints, the oldest of them first.
    pub checkpoints: Vec<Checkpoint>,
    /// There are older ones, which `list_checkpoints` shows.
    pub older: bool,
    /// Names of its checkpoints, sorted.
    pub refs: Vec<CheckpointRef>,
}

/// The tree of a session: the same stored state gives the same answer. Reads only; sessions that are
/// erased meanwhile are left out.
///
/// # Errors
/// [`FindCheckpointError`].
pub async fn get_timeline<P: SessionDirectory + Checkpoints>(
    ports: &P,
    _caller: &Authorized<ReadSessions>,
    key: &SessionKey,
) -> Result<Timeline, FindCheckpointError> {
    let head = ports.head(key).await?.ok_or(NoSuchSession)?;
    let tree = ports.tree(&head.tree_key()).await?;
    let mut sessions = Vec::new();
    for member in tree.members {
        let member = SessionKey {
            owner: key.owner.clone(),
            session: member,
        };
        if let Some(session) = session(ports, &member).await? {
            sessions.push(session);
        }
    }
    let place = |session: &TimelineSession| {
        let head = &session.head;
        let is_fork = head.parent.is_some();
        (head.created_at, is_fork, head.key.session.clone())
    };
    sessions.sort_by_key(place);
    Ok(Timeline {
        tree: head.tree,
        sessions,
    })
}

async fn session<P: SessionDirectory + Checkpoints>(
    ports: &P,
    key: &SessionKey,
) -> Result<Option<TimelineSession>, Unavailable> {
    let Some(head) = ports.head(key).await? else {
        return Ok(None);
    };
    let limit = limits::CHECKPOINT_PAGE;
    let mut checkpoints = ports.checkpoints(key, None, limit + 1).await?;
    let older = checkpoints.len() > limit;
    checkpoints.truncate(limit);
    checkpoints.reverse();
    Ok(Some(TimelineSession {
        head,
        checkpoints,
        older,
        refs: ports.refs(key).await?,
    }))
}
