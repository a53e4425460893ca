//! Running one command of the caller in a session's workspace, through the session's gate.

use thiserror::Error;

use crate::{
    Authorized, CommandBody, CommandId, Deployment, SessionKey, State,
    authorization::WriteSessions,
    limits,
    ports::{
        Clock, Compute, EnqueueError, Enqueued, IdSource, Inbox, NewCommand, SessionDirectory,
        Unavailable,
    },
};

use super::{NoSuchSession, observe, wake};

/// What a caller wants to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunCommand {
    /// In which session.
    pub key: SessionKey,
    /// For the shell.
    pub command: String,
    /// How long it may run; [`limits::RUN_DEFAULT_SECONDS`] when absent.
    pub timeout_seconds: Option<u32>,
    /// The client's name for it; ours when absent.
    pub message_id: Option<CommandId>,
}

/// Why a command was not accepted. Nothing was recorded.
#[derive(Debug, Error)]
pub enum RunCommandError {
    /// No such session of this owner.
    #[error(transparent)]
    NoSuchSession(#[from] NoSuchSession),
    /// The session has ended; start another one.
    #[error("the session has ended ({0}); create a new one")]
    Ended(State),
    /// The command breaks its rule.
    #[error("command: {0}")]
    Command(&'static str),
    /// The time is out of its range.
    #[error("timeout_seconds: use 1 to {}", limits::RUN_SECONDS)]
    Timeout,
    /// Wait until the session has caught up.
    #[error("{0} messages and commands wait already; wait until the session has taken some")]
    Full(u32),
    /// Choose a new message id.
    #[error("message_id was used for something else in this session; choose a new one")]
    IdReused,
    /// Try again, with the same message id.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Accepts a command for a session that has not ended, and wakes a suspended one; when no slot is free,
/// it waits in it until one is. The session's runner asks the policies about it, and a person where
/// they say so, and runs it at most once.
///
/// Run twice with the same message id it gives the recorded command, and wakes the session if that has
/// not happened. Cut after it was accepted, the sweep wakes the session.
///
/// # Errors
/// [`RunCommandError`].
pub async fn run_command<P>(
    ports: &P,
    deployment: &Deployment,
    _caller: &Authorized<WriteSessions>,
    run: RunCommand,
) -> Result<Enqueued, RunCommandError>
where
    P: Inbox + SessionDirectory + Compute + Clock + IdSource,
{
    check(&run.command).map_err(RunCommandError::Command)?;
    let timeout_seconds = run.timeout_seconds.unwrap_or(limits::RUN_DEFAULT_SECONDS);
    if !(1..=limits::RUN_SECONDS).contains(&timeout_seconds) {
        return Err(RunCommandError::Timeout);
    }
    let id = run
        .message_id
        .unwrap_or_else(|| CommandId::from_random(ports.random()));
    // A dead runner must not keep it waiting: whoever looks first has it replaced.
    observe::observe(ports, &run.key)
        .await?
        .ok_or(NoSuchSession)?;
    let command = NewCommand {
        id,
        body: CommandBody::Run {
            command: run.command,
            timeout_seconds,
        },
        now: ports.now(),
        max_queued: deployment.max_queued_messages,
    };
    let enqueued = ports
        .enqueue(&run.key, command)
        .await
        .map_err(|error| match error {
            EnqueueError::NoSession => NoSuchSession.into(),
            EnqueueError::Ended(state) => RunCommandError::Ended(state),
            EnqueueError::Full => RunCommandError::Full(deployment.max_queued_messages),
            EnqueueError::IdReused => RunCommandError::IdReused,
            // It is what wakes it.
            EnqueueError::Suspended => RunCommandError::Ended(State::Suspended),
            EnqueueError::Unavailable(unavailable) => RunCommandError::Unavailable(unavailable),
        })?;
    if enqueued.suspended {
        wake::wake(ports, deployment.slots(), &run.key).await?;
    }
    Ok(enqueued)
}

fn check(command: &str) -> Result<(), &'static str> {
    if command.trim().is_empty() {
        Err("it must not be empty")
    } else if command.len() > limits::SHELL_COMMAND_BYTES {
        Err("it has more than 65536 bytes; write a script into the workspace and run that")
    } else if command.contains('\0') {
        Err("it must not contain NUL")
    } else {
        Ok(())
    }
}
