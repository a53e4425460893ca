//! Reading a file of a session's workspace, through its runner.

use thiserror::Error;

use crate::{
    Authorized, CommandBody, CommandId, CommandOutcome, SessionKey, State,
    authorization::ReadSessions,
    command::FileContent,
    event::TurnEnd,
    limits,
    ports::{
        Clock, Compute, EnqueueError, IdSource, Inbox, NewCommand, SessionDirectory, Unavailable,
    },
    workspace::RelativePath,
};

use super::{NoSuchSession, observe, stopwatch::Stopwatch};

/// How long the runner may take, in milliseconds: a few of its polls and a slow disk.
const ANSWER_MILLISECONDS: u64 = 20_000;
const POLL_MILLISECONDS: u64 = 50;

/// What a caller wants to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadFile {
    /// Of which session.
    pub key: SessionKey,
    /// Which file.
    pub path: RelativePath,
    /// First byte.
    pub offset: u64,
    /// At most this many bytes; [`limits::READ_FILE_BYTES`] when absent.
    pub length: Option<u64>,
}

/// Why a file was not read.
#[derive(Debug, Error)]
pub enum ReadFileError {
    /// No such session of this owner.
    #[error(transparent)]
    NoSuchSession(#[from] NoSuchSession),
    /// The session has no runner that could read it.
    #[error("the session is {0}; files can be read while a runner has it")]
    NoRunner(State),
    /// Not a length.
    #[error("length: use 1 to {}", limits::READ_FILE_BYTES)]
    Length,
    /// Missing, a link, a directory, ..
    #[error("{0}")]
    Refused(String),
    /// The runner did not answer in time; try again.
    #[error("the session's runner did not answer within 20 s; try again")]
    NoAnswer,
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Asks the runner for a piece of a file and waits for its answer.
///
/// Reads only; run twice it reads twice. Cut while waiting, the runner's answer is read by nobody
/// and expires with the session.
///
/// # Errors
/// [`ReadFileError`].
pub async fn read_file<P>(
    ports: &P,
    _caller: &Authorized<ReadSessions>,
    request: ReadFile,
) -> Result<FileContent, ReadFileError>
where
    P: SessionDirectory + Inbox + Compute + Clock + IdSource,
{
    let length = request.length.unwrap_or(limits::READ_FILE_BYTES as u64);
    if !(1..=limits::READ_FILE_BYTES as u64).contains(&length) {
        return Err(ReadFileError::Length);
    }
    let head = observe::observe(ports, &request.key)
        .await?
        .ok_or(NoSuchSession)?;
    if !head.state.has_runner() {
        return Err(ReadFileError::NoRunner(head.state));
    }
    let started = ports.now();
    let mut waited = Stopwatch::start(started);
    let id = CommandId::from_random(ports.random());
    ports
        .enqueue(
            &request.key,
            NewCommand {
                id: id.clone(),
                body: CommandBody::ReadFile {
                    path: request.path,
                    offset: request.offset,
                    length,
                },
                now: started,
                max_queued: u32::MAX,
            },
        )
        .await
        .map_err(|error| match error {
            EnqueueError::NoSession | EnqueueError::Full | EnqueueError::IdReused => {
                ReadFileError::NoSuchSession(NoSuchSession)
            }
            EnqueueError::Ended(state) => ReadFileError::NoRunner(state),
            EnqueueError::Suspended => ReadFileError::NoRunner(State::Suspended),
            EnqueueError::Unavailable(unavailable) => ReadFileError::Unavailable(unavailable),
        })?;
    loop {
        ports.sleep(POLL_MILLISECONDS).await;
        if let Some(command) = ports.command(&request.key, &id).await? {
            match command.outcome {
                Some(CommandOutcome::File(content)) => return Ok(content),
                Some(CommandOutcome::Refused(reason)) => {
                    return Err(ReadFileError::Refused(reason));
                }
                // The outcomes of other commands are never written for this kind.
                Some(
                    CommandOutcome::Turn(TurnEnd { .. })
                    | CommandOutcome::CutTurn(..)
                    | CommandOutcome::Interrupted(_)
                    | CommandOutcome::Cancelled
                    | CommandOutcome::Ran(_)
                    | CommandOutcome::Answered
                    | CommandOutcome::Suspended
                    | CommandOutcome::Checkpointed(_),
                )
                | None => {}
            }
        }
        if waited.read(ports.now()) > ANSWER_MILLISECONDS {
            let head = observe::observe(ports, &request.key)
                .await?
                .ok_or(NoSuchSession)?;
            return Err(if head.state.has_runner() {
                ReadFileError::NoAnswer
            } else {
                ReadFileError::NoRunner(head.state)
            });
        }
    }
}
