//! Stopping the running turn, or taking a queued message back, or stopping a command of the caller.

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
    /// The queued message (or command) was taken back.
    MessageWithdrawn,
    /// The command was taken by the runner: it will be stopped, or not begin.
    CommandStopping,
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
/// back if the runner has not taken it; a command of the caller can be stopped then too, unless the
/// session is suspended because a person has to decide about it: they can deny it.
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
        if !command.body.can_be_withdrawn() {
            return Err(InterruptError::NoSuchMessage);
        }
        if head.state.is_ended() {
            return Ok(Interrupted::TooLate(command.state_for(&head)));
        }
        return Ok(match ports.withdraw(key, id, ports.now()).await? {
            Withdrawal::Withdrawn => Interrupted::MessageWithdrawn,
            Withdrawal::TooLate(state @ CommandState::Taken(_))
                if matches!(command.body, CommandBody::Run { .. }) =>
            {
                let stop = CommandBody::StopRun { run: id.clone() };
                if tell(ports, key, stop).await? {
                    Interrupted::CommandStopping
                } else {
                    Interrupted::TooLate(state)
                }
            }
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
    Ok(if tell(ports, key, CommandBody::Interrupt).await? {
        Interrupted::TurnStopping
    } else {
        Interrupted::NothingRunning
    })
}

/// Gives the runner a command; false when the session is suspended and has none.
async fn tell<P>(ports: &P, key: &SessionKey, body: CommandBody) -> Result<bool, InterruptError>
where
    P: Inbox + Clock + IdSource,
{
    let command = NewCommand {
        id: CommandId::from_random(ports.random()),
        body,
        now: ports.now(),
        max_queued: u32::MAX,
    };
    match ports.enqueue(key, command).await {
        Ok(_) => Ok(true),
        Err(EnqueueError::Suspended) => Ok(false),
        Err(EnqueueError::Ended(state)) => Err(InterruptError::Ended(state)),
        Err(EnqueueError::Unavailable(unavailable)) => Err(unavailable.into()),
        Err(EnqueueError::NoSession | EnqueueError::Full | EnqueueError::IdReused) => {
            Err(NoSuchSession.into())
        }
    }
}
