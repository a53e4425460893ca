//! Ending a session because someone wants it to end.

use thiserror::Error;

use crate::{
    Authorized, CommandBody, CommandId, Head, SessionKey, State, Transition,
    authorization::WriteSessions,
    ports::{Clock, EnqueueError, IdSource, Inbox, NewCommand, SessionDirectory, Unavailable},
};

use super::{NoSuchSession, get_session};

/// Why a session was not cancelled.
#[derive(Debug, Error)]
pub enum CancelError {
    /// No such session of this owner.
    #[error(transparent)]
    NoSuchSession(#[from] NoSuchSession),
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Asks the session's runner to end it, or ends it here when no runner has it yet. Gives the head
/// as it is then: `cancelled`, or still running for the moment the runner needs.
///
/// Cancelling an ended session gives it as it is. Repeating it does nothing more.
///
/// # Errors
/// [`CancelError`].
pub async fn cancel_session<P>(
    ports: &P,
    _caller: &Authorized<WriteSessions>,
    key: &SessionKey,
    reason: &str,
) -> Result<Head, CancelError>
where
    P: SessionDirectory + Inbox + Clock + IdSource,
{
    let head = get_session::observe(ports, key)
        .await?
        .ok_or(NoSuchSession)?;
    let head = if head.state == State::Requested {
        let head =
            get_session::end(ports, head, Transition::WasCancelled, reason.to_owned()).await?;
        if head.state.is_ended() {
            return Ok(head);
        }
        // A runner took it between; ask that one.
        head
    } else {
        head
    };
    if head.state.is_ended() {
        return Ok(head);
    }
    let id = CommandId::parse("cancel").unwrap_or_else(|_| CommandId::from_random(ports.random()));
    let asked = ports
        .enqueue(
            key,
            NewCommand {
                id,
                body: CommandBody::Cancel {
                    reason: reason.to_owned(),
                },
                now: ports.now(),
                // Whatever waits, a person can still end the session.
                max_queued: u32::MAX,
            },
        )
        .await;
    match asked {
        // The id is fixed, so a second cancel with another reason finds the first: as good.
        Ok(_) | Err(EnqueueError::IdReused | EnqueueError::Full | EnqueueError::Ended(_)) => {
            Ok(ports.head(key).await?.ok_or(NoSuchSession)?)
        }
        Err(EnqueueError::NoSession) => Err(NoSuchSession.into()),
        Err(EnqueueError::Unavailable(unavailable)) => Err(unavailable.into()),
    }
}
