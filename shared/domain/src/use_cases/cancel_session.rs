//! Ending a session because someone wants it to end.

use thiserror::Error;

use crate::{
    Authorized, CommandBody, CommandId, Head, SessionKey, Transition,
    authorization::WriteSessions,
    ports::{
        Clock, Compute, EnqueueError, IdSource, Inbox, NewCommand, SessionDirectory, Unavailable,
    },
};

use super::{NoSuchSession, observe, shown};

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
    P: SessionDirectory + Inbox + Compute + Clock + IdSource,
{
    let reason = shown(reason);
    // The id is fixed, so that a second cancel finds the first, whatever reason it gives.
    let fixed = CommandId::parse("cancel").ok();
    let mut id = fixed.unwrap_or_else(|| CommandId::from_random(ports.random()));
    loop {
        let head = observe::observe(ports, key).await?.ok_or(NoSuchSession)?;
        if head.state.is_ended() {
            return Ok(head);
        }
        if !head.state.has_runner() {
            // Nobody else would do it. A runner may come between; then that one is asked.
            let cancelled = Transition::WasCancelled;
            let head = observe::end(ports, head, cancelled, reason.clone()).await?;
            if head.state.is_ended() {
                // A task that is on its way finds the session ended and leaves by itself.
                return Ok(head);
            }
            continue;
        }
        let asked = ports
            .enqueue(
                key,
                NewCommand {
                    id: id.clone(),
                    body: CommandBody::Cancel {
                        reason: reason.clone(),
                    },
                    now: ports.now(),
                    // Whatever waits, a person can still end the session.
                    max_queued: u32::MAX,
                },
            )
            .await;
        match asked {
            Ok(_) | Err(EnqueueError::Full | EnqueueError::Ended(_)) => break,
            // It was suspended meanwhile: nobody has it any more.
            Err(EnqueueError::Suspended) => {}
            Err(EnqueueError::IdReused) => {
                let known = ports.command(key, &id).await?;
                let cancels = |body: &CommandBody| matches!(body, CommandBody::Cancel { .. });
                if known.is_some_and(|command| cancels(&command.body)) {
                    break;
                }
                // A message has that name: another one for the cancel, as random as it takes.
                id = CommandId::from_random(ports.random());
            }
            Err(EnqueueError::NoSession) => return Err(NoSuchSession.into()),
            Err(EnqueueError::Unavailable(unavailable)) => return Err(unavailable.into()),
        }
    }
    Ok(ports.head(key).await?.ok_or(NoSuchSession)?)
}
