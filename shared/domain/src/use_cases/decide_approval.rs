//! Deciding on a call that waits for a person, and finding what waits.

use thiserror::Error;

use crate::{
    Authorized, CallDigest, CommandBody, CommandOutcome, Decision, Deployment, Head, OwnerId,
    QuestionId, SessionKey, State, UnixMillis,
    approval::Way,
    authorization::{Approve, ReadSessions},
    checkpoint::PendingQuestion,
    limits,
    ports::{
        Clock, Compute, EnqueueError, Enqueued, Inbox, ListPosition, ListQuery, NewCommand,
        SessionDirectory, Unavailable,
    },
};

use super::{NoSuchSession, answer_question::answer_id, observe, open_question, wake};

/// What a person decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecideApproval {
    /// In which session.
    pub key: SessionKey,
    /// On which approval.
    pub approval: QuestionId,
    /// On which call: the digest that was shown.
    pub digest: CallDigest,
    /// What.
    pub decision: Decision,
    /// By which way.
    pub way: Way,
}

/// A decision that was given.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// On which call.
    pub digest: CallDigest,
    /// What.
    pub decision: Decision,
    /// What came of it; absent while the session has not gone on.
    pub outcome: Option<CommandOutcome>,
}

/// Why a decision was not accepted. Nothing was recorded.
#[derive(Debug, Error)]
pub enum DecideError {
    /// No such session of this owner.
    #[error(transparent)]
    NoSuchSession(#[from] NoSuchSession),
    /// The session has ended.
    #[error("the session has ended ({0})")]
    Ended(State),
    /// This approval does not wait: it was withdrawn with its turn, or decided long ago.
    #[error("this approval does not wait any more")]
    NotWaiting,
    /// Time was up, which is a denial.
    #[error("the approval has expired, which counts as a denial")]
    Expired(UnixMillis),
    /// What was shown is not what waits; look again.
    #[error("another call waits than the one that was shown")]
    OtherCall,
    /// Decided otherwise before.
    #[error("it was decided before, otherwise")]
    AlreadyDecided,
    /// Nothing permits calls like it as a whole.
    #[error("there is no pattern for this call")]
    NoPattern,
    /// The session has as many permissions as it can have.
    #[error(
        "this session has {} permissions already; allow it once",
        limits::GRANTS
    )]
    TooManyGrants,
    /// Nobody can allow what they cannot see; it can be denied.
    #[error("not all of this call can be shown, so it can only be denied")]
    NotVisible,
    /// The input cannot be edited as it was shown, because not all of it was.
    #[error("this input cannot be edited: parts of it are not shown")]
    NotEditable,
    /// The decision breaks its rule.
    #[error("{0}")]
    Invalid(&'static str),
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Accepts a decision on the approval that waits, and wakes a suspended session.
///
/// The first decision counts: run twice with the same one it gives the recorded command, and wakes
/// the session if that has not happened. Cut after it was accepted, the sweep wakes the session. The
/// runner looks again whether the decision is about the call that it holds.
///
/// # Errors
/// [`DecideError`].
pub async fn decide_approval<P>(
    ports: &P,
    deployment: &Deployment,
    caller: &Authorized<Approve>,
    decide: DecideApproval,
) -> Result<Enqueued, DecideError>
where
    P: SessionDirectory + Inbox + Compute + Clock,
{
    if *caller.owner() != decide.key.owner {
        return Err(NoSuchSession.into());
    }
    decide.decision.check().map_err(DecideError::Invalid)?;
    let head = observe::observe(ports, &decide.key)
        .await?
        .ok_or(NoSuchSession)?;
    let id = answer_id(&decide.approval).ok_or(DecideError::Invalid("the approval has no name"))?;
    let now = ports.now();
    match ports.command(&decide.key, &id).await? {
        Some(known) if !is_same(&known.body, &decide) => return Err(DecideError::AlreadyDecided),
        Some(_) => {}
        None => may_decide(&head, &decide, now)?,
    }
    let body = CommandBody::Decide {
        approval: decide.approval,
        digest: decide.digest,
        decision: decide.decision,
        way: decide.way,
    };
    let command = NewCommand {
        id,
        body,
        now,
        // However much waits: the turn that asks is before it.
        max_queued: u32::MAX,
    };
    let enqueued = match ports.enqueue(&decide.key, command).await {
        Ok(enqueued) => enqueued,
        Err(EnqueueError::IdReused) => return Err(DecideError::AlreadyDecided),
        Err(EnqueueError::Ended(state)) => return Err(DecideError::Ended(state)),
        Err(EnqueueError::NoSession | EnqueueError::Suspended | EnqueueError::Full) => {
            return Err(NoSuchSession.into());
        }
        Err(EnqueueError::Unavailable(unavailable)) => return Err(unavailable.into()),
    };
    if enqueued.suspended {
        wake::wake(ports, deployment.slots(), &decide.key).await?;
    }
    Ok(enqueued)
}

/// Ends an approval that nobody decided in time: the same command as a decision, so that the first one
/// counts. Nothing happens before its time, nor to one that is decided. Run twice, it gives the recorded
/// command. Gives whether a suspended session has to be woken for it.
///
/// # Errors
/// [`Unavailable`]: try again.
pub async fn expire_approval<P: Inbox + Clock>(
    ports: &P,
    key: &SessionKey,
    question: &PendingQuestion,
) -> Result<bool, Unavailable> {
    let now = ports.now();
    let expired = question.approval.as_ref().filter(|it| it.is_expired(now));
    let (Some(request), Some(id)) = (expired, answer_id(&question.id)) else {
        return Ok(false);
    };
    let command = NewCommand {
        id,
        body: CommandBody::Decide {
            approval: question.id.clone(),
            digest: request.digest.clone(),
            decision: Decision::Expire,
            way: Way::Clock,
        },
        now,
        max_queued: u32::MAX,
    };
    match ports.enqueue(key, command).await {
        Ok(enqueued) => Ok(enqueued.suspended),
        Err(EnqueueError::Unavailable(unavailable)) => Err(unavailable),
        // Decided, ended, or gone.
        Err(_) => Ok(false),
    }
}

/// The decision that an approval got, and what came of it once its session has gone on; `None` while
/// nobody decided. Reads only.
///
/// # Errors
/// [`Unavailable`]: ask again.
pub async fn given_decision<P: Inbox>(
    ports: &P,
    key: &SessionKey,
    approval: &QuestionId,
) -> Result<Option<Decided>, Unavailable> {
    let Some(id) = answer_id(approval) else {
        return Ok(None);
    };
    let given = ports.command(key, &id).await?;
    Ok(given.and_then(|command| match command.body {
        CommandBody::Decide {
            digest, decision, ..
        } => Some(Decided {
            digest,
            decision,
            outcome: command.outcome,
        }),
        _ => None,
    }))
}

fn is_same(known: &CommandBody, decide: &DecideApproval) -> bool {
    let CommandBody::Decide {
        digest, decision, ..
    } = known
    else {
        return false;
    };
    *digest == decide.digest && *decision == decide.decision
}

fn may_decide(head: &Head, decide: &DecideApproval, now: UnixMillis) -> Result<(), DecideError> {
    if head.state.is_ended() {
        return Err(DecideError::Ended(head.state));
    }
    let waiting = head
        .question
        .as_ref()
        .filter(|waits| waits.id == decide.approval);
    let Some(request) = waiting.and_then(|waits| waits.approval.as_ref()) else {
        return Err(DecideError::NotWaiting);
    };
    if request.is_expired(now) {
        return Err(DecideError::Expired(request.expires_at));
    }
    if request.digest != decide.digest {
        return Err(DecideError::OtherCall);
    }
    match &decide.decision {
        Decision::Deny { .. } => Ok(()),
        _ if !request.visible => Err(DecideError::NotVisible),
        Decision::AllowPattern if request.pattern.is_none() => Err(DecideError::NoPattern),
        Decision::AllowEdited { .. } if !request.editable => Err(DecideError::NotEditable),
        decision if decision.is_for_the_session() && head.grants.len() >= limits::GRANTS => {
            Err(DecideError::TooManyGrants)
        }
        _ => Ok(()),
    }
}

/// What waits, page by page.
#[derive(Clone, Debug, PartialEq)]
pub struct ApprovalPage {
    /// Sessions whose question is an approval, the newest first.
    pub waiting: Vec<Head>,
    /// Where to go on, when there is more.
    pub next: Option<ListPosition>,
}

/// Approvals that wait in the caller's sessions, one for each at the most. Reads only; may lag behind
/// by a moment. A page may be empty though there is more.
///
/// # Errors
/// [`Unavailable`]: ask again.
pub async fn list_approvals<P: SessionDirectory + Inbox + Clock>(
    ports: &P,
    caller: &Authorized<ReadSessions>,
    after: Option<ListPosition>,
) -> Result<ApprovalPage, Unavailable> {
    let owner: &OwnerId = caller.owner();
    let query = ListQuery {
        states: State::ALL
            .into_iter()
            .filter(|state| !state.is_ended())
            .collect(),
        after,
        limit: limits::LIST_PAGE,
        ..ListQuery::default()
    };
    let page = ports.list(owner, &query).await?;
    let now = ports.now();
    let mut waiting = Vec::new();
    for head in page.heads {
        let open = open_question(ports, &head).await?;
        let request = open.and_then(|question| question.approval.as_ref());
        if request.is_some_and(|request| !request.is_expired(now)) {
            waiting.push(head);
        }
    }
    Ok(ApprovalPage {
        waiting,
        next: page.next,
    })
}
