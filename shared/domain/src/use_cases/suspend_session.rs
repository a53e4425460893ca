//! Asking a runner for a checkpoint, or to give its machine back.

use thiserror::Error;

use crate::{
    Authorized, Checkpoint, CommandBody, CommandId, CommandOutcome, CommandState, Head, SessionKey,
    State,
    authorization::WriteSessions,
    limits,
    ports::{
        Checkpoints, Clock, Compute, EnqueueError, IdSource, Inbox, NewCommand, SessionDirectory,
        Unavailable,
    },
};

use super::{
    FindCheckpointError, NoSuchSession, checkpoints, observe, shown, stopwatch::Stopwatch,
};
use crate::checkpoint::CheckpointName;

/// How long a caller waits for a checkpoint, in milliseconds; it is taken all the same.
const ANSWER_MILLISECONDS: u64 = 20_000;
const POLL_MILLISECONDS: u64 = 100;

/// Why a session was not suspended, or no checkpoint taken.
#[derive(Debug, Error)]
pub enum SuspendError {
    /// No such session of this owner.
    #[error(transparent)]
    NoSuchSession(#[from] NoSuchSession),
    /// The session has ended.
    #[error("the session has ended ({0})")]
    Ended(State),
    /// It was set back to an earlier checkpoint before it came to this one.
    #[error(
        "the session was set back before the checkpoint was taken; ask again for one of what it is now"
    )]
    SetBack,
    /// The message or a tag breaks its rule.
    #[error("{0}")]
    Invalid(&'static str),
    /// Choose a new id.
    #[error("message_id was used for another command of this session; choose a new one")]
    IdReused,
    /// The runner could not do it; the text says why.
    #[error("{0}")]
    Refused(String),
    /// There is none, although nothing runs.
    #[error(transparent)]
    Find(FindCheckpointError),
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// What a caller wants a checkpoint to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestCheckpoint {
    /// A name for the request, so that it can be repeated; ours when absent.
    pub message_id: Option<CommandId>,
    /// What to say about it.
    pub message: Option<String>,
    /// For finding it again.
    pub tags: Vec<String>,
    /// Keep it whatever the retention says.
    pub pinned: bool,
}

/// What came of asking for a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub enum Requested {
    /// It is recorded. Of a suspended session it is the one that it was suspended with.
    Taken(Box<Checkpoint>),
    /// The runner has not come to it yet: it finishes a tool call or a message first.
    Pending(CommandId),
}

/// Asks the runner to suspend the session as soon as its turn is over; gives the head as it is then.
///
/// A suspended session stays as it is. Asking twice suspends once. A message that comes meanwhile
/// keeps the session awake or wakes it.
///
/// # Errors
/// [`SuspendError`].
pub async fn suspend_session<P>(
    ports: &P,
    _caller: &Authorized<WriteSessions>,
    key: &SessionKey,
) -> Result<Head, SuspendError>
where
    P: SessionDirectory + Inbox + Compute + Clock + IdSource,
{
    let head = observe::observe(ports, key).await?.ok_or(NoSuchSession)?;
    if head.state.is_ended() {
        return Err(SuspendError::Ended(head.state));
    }
    if head.state != State::Suspended {
        let id = CommandId::from_random(ports.random());
        ask(ports, key, id, CommandBody::Suspend).await?;
    }
    Ok(ports.head(key).await?.ok_or(NoSuchSession)?)
}

/// Asks the runner for a checkpoint and waits a while for it. Of a suspended session nothing has to
/// be taken: its newest one is given, and pinned if that is asked.
///
/// Run twice with the same id it gives the same checkpoint, with another one it takes another one.
/// Cut while waiting, the checkpoint is taken all the same.
///
/// # Errors
/// [`SuspendError`].
pub async fn request_checkpoint<P>(
    ports: &P,
    _caller: &Authorized<WriteSessions>,
    key: &SessionKey,
    request: RequestCheckpoint,
) -> Result<Requested, SuspendError>
where
    P: SessionDirectory + Inbox + Checkpoints + Compute + Clock + IdSource,
{
    let (message, tags) = check(&request)?;
    let head = observe::observe(ports, key).await?.ok_or(NoSuchSession)?;
    if head.state.is_ended() {
        return Err(SuspendError::Ended(head.state));
    }
    let mut waited = Stopwatch::start(ports.now());
    let pinned = request.pinned;
    let id = request
        .message_id
        .unwrap_or_else(|| CommandId::from_random(ports.random()));
    let body = CommandBody::Checkpoint {
        message,
        tags,
        pinned,
    };
    if head.state == State::Suspended || !ask(ports, key, id.clone(), body).await? {
        return newest(ports, key, pinned).await;
    }
    loop {
        // The head before the command: a command that was read first may have been finished since,
        // and by the later head it would look like one that nobody will finish.
        let head = observe::observe(ports, key).await?.ok_or(NoSuchSession)?;
        if let Some(command) = ports.command(key, &id).await? {
            match command.outcome {
                Some(CommandOutcome::Checkpointed(id)) => {
                    let taken = ports.checkpoint(key, &id).await?;
                    return taken
                        .map(|found| Requested::Taken(Box::new(found)))
                        .ok_or(SuspendError::Find(FindCheckpointError::NoSuchCheckpoint));
                }
                Some(CommandOutcome::Refused(reason)) => return Err(SuspendError::Refused(reason)),
                _ => {}
            }
            if command.state_for(&head) == CommandState::NotDone {
                return Err(if head.state.is_ended() {
                    SuspendError::Ended(head.state)
                } else {
                    SuspendError::SetBack
                });
            }
        }
        if waited.read(ports.now()) > ANSWER_MILLISECONDS {
            return Ok(Requested::Pending(id));
        }
        ports.sleep(POLL_MILLISECONDS).await;
    }
}

async fn newest<P>(ports: &P, key: &SessionKey, pinned: bool) -> Result<Requested, SuspendError>
where
    P: SessionDirectory + Checkpoints,
{
    let head = ports.head(key).await?.ok_or(NoSuchSession)?;
    let newest = checkpoints::find(ports, &head, &CheckpointName::Latest).await;
    let mut newest = newest.map_err(|error| match error {
        FindCheckpointError::Unavailable(unavailable) => SuspendError::Unavailable(unavailable),
        other => SuspendError::Find(other),
    })?;
    if pinned && !newest.pinned {
        match ports.pin(key, &newest.id, true).await {
            Ok(()) => newest.pinned = true,
            Err(crate::ports::CheckpointError::NoSuchCheckpoint) => {
                return Err(SuspendError::Find(FindCheckpointError::NoSuchCheckpoint));
            }
            Err(crate::ports::CheckpointError::Unavailable(unavailable)) => {
                return Err(unavailable.into());
            }
        }
    }
    Ok(Requested::Taken(Box::new(newest)))
}

/// Gives the runner a command; false when the session is suspended and has none.
async fn ask<P>(
    ports: &P,
    key: &SessionKey,
    id: CommandId,
    body: CommandBody,
) -> Result<bool, SuspendError>
where
    P: Inbox + Clock,
{
    let command = NewCommand {
        id,
        body,
        now: ports.now(),
        max_queued: u32::MAX,
    };
    match ports.enqueue(key, command).await {
        Ok(_) | Err(EnqueueError::Full) => Ok(true),
        Err(EnqueueError::Suspended) => Ok(false),
        Err(EnqueueError::Ended(state)) => Err(SuspendError::Ended(state)),
        Err(EnqueueError::IdReused) => Err(SuspendError::IdReused),
        Err(EnqueueError::NoSession) => Err(NoSuchSession.into()),
        Err(EnqueueError::Unavailable(unavailable)) => Err(unavailable.into()),
    }
}

fn check(request: &RequestCheckpoint) -> Result<(Option<String>, Vec<String>), SuspendError> {
    let message = request.message.clone().filter(|it| !it.trim().is_empty());
    if message.as_ref().is_some_and(|message| {
        message.len() > limits::CHECKPOINT_MESSAGE_BYTES || message.contains('\0')
    }) {
        return Err(SuspendError::Invalid(
            "message: use at most 4096 bytes without NUL",
        ));
    }
    let mut tags = request.tags.clone();
    tags.sort_unstable();
    tags.dedup();
    let good = |tag: &String| {
        !tag.is_empty()
            && tag.chars().count() <= limits::TAG_CHARACTERS
            && !tag.chars().any(char::is_control)
    };
    if tags.len() > limits::TAGS || !tags.iter().all(good) {
        return Err(SuspendError::Invalid(
            "tags: use at most 50 tags of 1 to 128 characters without control characters",
        ));
    }
    // The limits are for what is sent: a replacement may be longer.
    let tags = tags.iter().map(|tag| shown(tag)).collect();
    Ok((message.as_deref().map(shown), tags))
}
