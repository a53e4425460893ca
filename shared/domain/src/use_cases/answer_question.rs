//! Answering a question that the CLI asked a person.

use thiserror::Error;

use crate::{
    Authorized, CommandBody, CommandId, Deployment, Head, QuestionId, SessionKey, State,
    authorization::WriteSessions,
    checkpoint::PendingQuestion,
    limits,
    ports::{
        Clock, Compute, EnqueueError, Enqueued, Inbox, NewCommand, SessionDirectory, Unavailable,
    },
};

use super::{NoSuchSession, observe, wake};

/// What a caller answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerQuestion {
    /// In which session.
    pub key: SessionKey,
    /// Which question.
    pub question: QuestionId,
    /// The answers as JSON text.
    pub answers: String,
}

/// Why an answer was not accepted. Nothing was recorded.
#[derive(Debug, Error)]
pub enum AnswerError {
    /// No such session of this owner.
    #[error(transparent)]
    NoSuchSession(#[from] NoSuchSession),
    /// The session has ended.
    #[error("the session has ended ({0})")]
    Ended(State),
    /// Nothing is asked.
    #[error("no question waits in this session")]
    NoQuestion,
    /// Another question waits; look at that one.
    #[error("question_id: the question that waits is {0}")]
    OtherQuestion(QuestionId),
    /// It is about whether a call may run, which a person decides on its page.
    #[error(
        "{0} is an approval: no tool decides it. A person does, at its page; list_approvals shows the address"
    )]
    IsApproval(QuestionId),
    /// It was answered otherwise before; send a message to say more.
    #[error("the question was answered before, otherwise; send_message says more")]
    AlreadyAnswered,
    /// The answers break their rule.
    #[error("answers: {0}")]
    Invalid(&'static str),
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The command that answers a question: one for each, so that the first answer counts. The question
/// has at most 48 characters, so this is a name.
pub(super) fn answer_id(question: &QuestionId) -> Option<CommandId> {
    CommandId::parse(&format!("answer.{question}")).ok()
}

/// The answers (JSON) that a question got, whether or not its session has gone on with them; `None`
/// while nobody answered. Reads only.
///
/// # Errors
/// [`Unavailable`]: ask again.
pub async fn given_answers<P: Inbox>(
    ports: &P,
    key: &SessionKey,
    question: &QuestionId,
) -> Result<Option<String>, Unavailable> {
    let Some(id) = answer_id(question) else {
        return Ok(None);
    };
    let given = ports.command(key, &id).await?;
    Ok(given.and_then(|command| match command.body {
        CommandBody::Answer { answers, .. } => Some(answers),
        _ => None,
    }))
}

/// The question of a session that nobody has answered yet. Reads only.
///
/// # Errors
/// [`Unavailable`]: ask again.
pub async fn open_question<'a, P: Inbox>(
    ports: &P,
    head: &'a Head,
) -> Result<Option<&'a PendingQuestion>, Unavailable> {
    let Some(question) = head.question.as_ref().filter(|_| !head.state.is_ended()) else {
        return Ok(None);
    };
    let given = match answer_id(&question.id) {
        Some(id) => ports.command(&head.key, &id).await?,
        None => None,
    };
    Ok(given.is_none().then_some(question))
}

/// Accepts the answer to the question that waits, and wakes a suspended session.
///
/// The first answer counts: run twice with the same one it gives the recorded command, and wakes
/// the session if that has not happened. Cut after it was accepted, the sweep wakes the session.
///
/// # Errors
/// [`AnswerError`].
pub async fn answer_question<P>(
    ports: &P,
    deployment: &Deployment,
    _caller: &Authorized<WriteSessions>,
    answer: AnswerQuestion,
) -> Result<Enqueued, AnswerError>
where
    P: SessionDirectory + Inbox + Compute + Clock,
{
    if answer.answers.is_empty() || answer.answers.len() > limits::ANSWER_BYTES {
        return Err(AnswerError::Invalid("use 1 to 65536 bytes"));
    }
    let head = observe::observe(ports, &answer.key)
        .await?
        .ok_or(NoSuchSession)?;
    let id = answer_id(&answer.question).ok_or(AnswerError::Invalid("the question has no name"))?;
    let body = CommandBody::Answer {
        question: answer.question.clone(),
        answers: answer.answers,
    };
    match ports.command(&answer.key, &id).await? {
        Some(known) if known.body != body => return Err(AnswerError::AlreadyAnswered),
        Some(_) => {}
        None => match &head.question {
            _ if head.state.is_ended() => return Err(AnswerError::Ended(head.state)),
            None => return Err(AnswerError::NoQuestion),
            Some(waits) if waits.id != answer.question => {
                return Err(AnswerError::OtherQuestion(waits.id.clone()));
            }
            Some(waits) if waits.approval.is_some() => {
                return Err(AnswerError::IsApproval(waits.id.clone()));
            }
            Some(_) => {}
        },
    }
    let command = NewCommand {
        id,
        body,
        now: ports.now(),
        // However much waits: the turn that asks is before it.
        max_queued: u32::MAX,
    };
    let enqueued = match ports.enqueue(&answer.key, command).await {
        Ok(enqueued) => enqueued,
        Err(EnqueueError::IdReused) => return Err(AnswerError::AlreadyAnswered),
        Err(EnqueueError::Ended(state)) => return Err(AnswerError::Ended(state)),
        Err(EnqueueError::NoSession | EnqueueError::Suspended | EnqueueError::Full) => {
            return Err(NoSuchSession.into());
        }
        Err(EnqueueError::Unavailable(unavailable)) => return Err(unavailable.into()),
    };
    if enqueued.suspended {
        wake::wake(ports, deployment.slots(), &answer.key).await?;
    }
    Ok(enqueued)
}
