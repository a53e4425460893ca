//! Stopping the running turn, or taking a queued message back.

use thiserror::Error;

use crate::{
    Authorized, CommandBody, CommandId, CommandState, SessionKey, State,
    authorization::WriteSessions,
    ports::{
        Clock, Compute, EnqueueError, IdSource, Inbox, NewCommand, SessionDirectory, Unavailable,
        Withdrawal,
    },
};

use super::{NoSuchSession, observe};

/// What interrupting did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupted {
    /// The running turn will stop.
    TurnStopping,
    /// Nothing was running.
    NothingRunning,
    /// The queued message was taken back.
    MessageWithdrawn,
    /// The message could not be taken back: it is in this state.
    TooLate(CommandState),
}

/// Why nothing was interrupted.
#[derive(Debug, Error)]
pub enum InterruptError {
    /// No such session of this owner.
    #[error(transparent)]
    NoSuchSession(#[from] NoSuchSession),
    /// The session has no message of that id.
    #[error("the session has no message with this message_id")]
    NoSuchMessage,
    /// The session has ended.
    #[error("the session has ended ({0})")]
    Ended(State),
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Without a message id: asks the runner to stop the running turn. With one: takes that message
/// back if the runner has not taken it.
///
/// Withdrawing twice gives the same answer. Interrupting twice stops whatever runs at that time;
/// a caller that repeats after an unknown outcome may stop a turn that began between.
///
/// # Errors
/// [`InterruptError`].
pub async fn interrupt_session<P>(
    ports: &P,
    _caller: &Authorized<WriteSessions>,
    key: &SessionKey,
    message: Option<&CommandId>,
) -> Result<Interrupted, InterruptError>
where
    P: SessionDirectory + Inbox + Compute + Clock + IdSource,
{
    let head = observe::observe(ports, key).await?.ok_or(NoSuchSession)?;
    if let Some(id) = message {
        let command = ports
            .command(key, id)
            .await?
            .ok_or(InterruptError::NoSuchMessage)?;
        if !matches!(command.body, CommandBody::Message { .. }) {
            return Err(InterruptError::NoSuchMessage);
        }
        if head.state.is_ended() {
            return Ok(Interrupted::TooLate(command.state_for(&head)));
        }
        return Ok(match ports.withdraw(key, id, ports.now()).await? {
            Withdrawal::Withdrawn => Interrupted::MessageWithdrawn,
            Withdrawal::TooLate(state) => Interrupted::TooLate(state),
            Withdrawal::Unknown => return Err(InterruptError::NoSuchMessage),
        });
    }
    if head.state.is_ended() {
        return Err(InterruptError::Ended(head.state));
    }
    let may_run = matches!(head.state, State::Running | State::Waiting);
    if head.state == State::Suspended || (!may_run && !head.has_queued()) {
        return Ok(Interrupted::NothingRunning);
    }
    let interrupt = NewCommand {
        id: CommandId::from_random(ports.random()),
        body: CommandBody::Interrupt,
        now: ports.now(),
        max_queued: u32::MAX,
    };
    match ports.enqueue(key, interrupt).await {
        Ok(_) => Ok(Interrupted::TurnStopping),
        Err(EnqueueError::Ended(state)) => Err(InterruptError::Ended(state)),
        Err(EnqueueError::Suspended) => Ok(Interrupted::NothingRunning),
        Err(EnqueueError::Unavailable(unavailable)) => Err(unavailable.into()),
        Err(EnqueueError::NoSession | EnqueueError::Full | EnqueueError::IdReused) => {
            Err(NoSuchSession.into())
        }
    }
}
