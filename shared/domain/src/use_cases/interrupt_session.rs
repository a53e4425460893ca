//! Stopping the running turn, or taking a queued message back, or stopping a command of the caller.

use thiserror::Error;

use crate::{
    Authorized, CommandBody, CommandId, CommandOutcome, CommandState, SessionKey, State,
    authorization::WriteSessions,
    ports::{
        Clock, Compute, EnqueueError, IdSource, Inbox, NewCommand, SessionDirectory, Unavailable,
        Withdrawal,
    },
};

use super::{NoSuchSession, observe};

/// Pause between two looks at what a runner did. Own: a runner of a running session looks as often.
const POLL_MILLISECONDS: u64 = 100;
/// How long is waited for that. Own: far longer than a runner that lives needs.
const LOOK_MILLISECONDS: u64 = 5_000;

/// What interrupting did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupted {
    /// The running turn will stop.
    TurnStopping,
    /// Nothing was running.
    NothingRunning,
    /// The queued message (or command) was taken back.
    MessageWithdrawn,
    /// The command (or the message behind one) was taken by the runner: it will be stopped, or not begin.
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
/// back if the runner has not taken it; a command of the caller can be stopped then too, and a message
/// that waits behind one, unless the session is suspended because a person has to decide about it: they
/// can deny it.
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
            Withdrawal::TooLate(state @ CommandState::Taken(_)) => {
                let stop = CommandBody::StopRun { run: id.clone() };
                let Some(stop) = tell(ports, key, stop).await? else {
                    return Ok(Interrupted::TooLate(state));
                };
                if matches!(command.body, CommandBody::Run { .. }) {
                    return Ok(Interrupted::CommandStopping);
                }
                // Only the runner knows whether the CLI has it, or it waits behind a command.
                match was_stopped(ports, key, &stop).await? {
                    Some(true) => Interrupted::MessageWithdrawn,
                    Some(false) => Interrupted::TooLate(state),
                    None => Interrupted::CommandStopping,
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
    let told = tell(ports, key, CommandBody::Interrupt).await?;
    Ok(told.map_or(Interrupted::NothingRunning, |_| Interrupted::TurnStopping))
}

/// Whether the runner found what it was to stop; `None` when it has not said so in time.
async fn was_stopped<P>(
    ports: &P,
    key: &SessionKey,
    stop: &CommandId,
) -> Result<Option<bool>, InterruptError>
where
    P: Inbox + Clock,
{
    let mut waited = 0;
    loop {
        match ports.command(key, stop).await?.and_then(|it| it.outcome) {
            Some(CommandOutcome::Interrupted(found)) => return Ok(Some(found)),
            Some(_) => return Ok(Some(false)),
            None if waited >= LOOK_MILLISECONDS => return Ok(None),
            None => {}
        }
        ports.sleep(POLL_MILLISECONDS).await;
        waited += POLL_MILLISECONDS;
    }
}

/// Gives the runner a command, and says which; `None` when the session is suspended and has no runner.
async fn tell<P>(
    ports: &P,
    key: &SessionKey,
    body: CommandBody,
) -> Result<Option<CommandId>, InterruptError>
where
    P: Inbox + Clock + IdSource,
{
    let id = CommandId::from_random(ports.random());
    let command = NewCommand {
        id: id.clone(),
        body,
        now: ports.now(),
        max_queued: u32::MAX,
    };
    match ports.enqueue(key, command).await {
        Ok(_) => Ok(Some(id)),
        Err(EnqueueError::Suspended) => Ok(None),
        Err(EnqueueError::Ended(state)) => Err(InterruptError::Ended(state)),
        Err(EnqueueError::Unavailable(unavailable)) => Err(unavailable.into()),
        Err(EnqueueError::NoSession | EnqueueError::Full | EnqueueError::IdReused) => {
            Err(NoSuchSession.into())
        }
    }
}
