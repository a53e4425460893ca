//! MCP tasks: a task is one turn, seen through the message that started it.

use thiserror::Error;

use crate::{
    Authorized, Command, CommandBody, CommandOutcome, CommandState, Head, TaskId,
    authorization::{ReadSessions, WriteSessions},
    checkpoint::PendingQuestion,
    event::TurnEnd,
    ports::{Clock, Compute, IdSource, Inbox, SessionDirectory, Unavailable, Withdrawal},
};

use super::{InterruptError, NoSuchSession, interrupt_session, observe, open_question};

/// Where a turn is.
#[derive(Clone, Debug, PartialEq)]
pub enum TaskState {
    /// Waiting or running.
    Working,
    /// The turn asks a person something, and nobody has answered yet.
    InputRequired(PendingQuestion),
    /// The turn ended; it may have ended in an error.
    Completed(TurnEnd),
    /// The message was taken back, or the turn interrupted.
    Cancelled,
    /// The session ended before the turn did.
    Failed(String),
}

/// Why a task cannot be shown.
#[derive(Debug, Error)]
pub enum TaskError {
    /// No such task of this owner.
    #[error("no task with this id")]
    NoSuchTask,
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The turn behind a task, its session and its message. Reads only.
///
/// # Errors
/// [`TaskError`].
pub async fn get_task<P: SessionDirectory + Inbox + Compute + Clock>(
    ports: &P,
    caller: &Authorized<ReadSessions>,
    id: &TaskId,
) -> Result<(TaskState, Head, Command), TaskError> {
    let key = crate::SessionKey {
        owner: caller.owner().clone(),
        session: id.session.clone(),
    };
    let head = observe::observe(ports, &key)
        .await?
        .ok_or(TaskError::NoSuchTask)?;
    let command = ports
        .command(&key, &id.command)
        .await?
        .filter(|command| matches!(command.body, CommandBody::Message { .. }))
        .ok_or(TaskError::NoSuchTask)?;
    let state = match (command.state_for(&head), &command.outcome) {
        (CommandState::Withdrawn, _) => TaskState::Cancelled,
        (CommandState::NotDone, _) if !head.state.is_ended() => TaskState::Failed(
            "the session was set back to a checkpoint before the turn ended".to_owned(),
        ),
        (CommandState::NotDone, _) => TaskState::Failed(format!(
            "the session is {}: {}",
            head.state,
            head.end_reason.as_deref().unwrap_or("no reason recorded")
        )),
        (CommandState::Done, Some(CommandOutcome::Turn(end) | CommandOutcome::CutTurn(end, _))) => {
            if end
                .terminal_reason
                .as_deref()
                .is_some_and(|reason| reason.starts_with("aborted"))
            {
                TaskState::Cancelled
            } else {
                TaskState::Completed(end.clone())
            }
        }
        (CommandState::Done, Some(CommandOutcome::Refused(reason))) => {
            TaskState::Failed(reason.clone())
        }
        // Messages that were taken are part of the turn that runs.
        (CommandState::Taken(_), _) => match open_question(ports, &head).await? {
            Some(question) => TaskState::InputRequired(question.clone()),
            None => TaskState::Working,
        },
        (CommandState::Queued | CommandState::Done, _) => TaskState::Working,
    };
    Ok((state, head, command))
}

/// Takes the task's message back, or interrupts its turn. A task that has ended stays as it is.
/// Repeating it does nothing more, unless another turn began between: then the message is done and
/// nothing is interrupted.
///
/// # Errors
/// [`TaskError`].
pub async fn cancel_task<P>(
    ports: &P,
    reader: &Authorized<ReadSessions>,
    writer: &Authorized<WriteSessions>,
    id: &TaskId,
) -> Result<(), TaskError>
where
    P: SessionDirectory + Inbox + Compute + Clock + IdSource,
{
    let (state, head, command) = get_task(ports, reader, id).await?;
    if !matches!(state, TaskState::Working | TaskState::InputRequired(_)) {
        return Ok(());
    }
    if ports.withdraw(&head.key, &command.id, ports.now()).await? == Withdrawal::Withdrawn {
        return Ok(());
    }
    match interrupt_session(ports, writer, &head.key, None).await {
        Ok(_) | Err(InterruptError::Ended(_)) => Ok(()),
        Err(InterruptError::NoSuchSession(NoSuchSession) | InterruptError::NoSuchMessage) => {
            Err(TaskError::NoSuchTask)
        }
        Err(InterruptError::Unavailable(unavailable)) => Err(unavailable.into()),
    }
}
