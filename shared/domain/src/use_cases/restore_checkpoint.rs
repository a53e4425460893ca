//! Setting a session back to one of its checkpoints.

use thiserror::Error;

use crate::{
    Authorized, Checkpoint, CheckpointId, CommandId, CommandState, Deployment, Head, NewCheckpoint,
    QuestionId, RefName, Sequence, SessionKey, State, Transition,
    authorization::WriteSessions,
    checkpoint::{CheckpointName, CheckpointTrigger, PendingQuestion, RestoreScope},
    event::EventBody,
    history::AbandonedRange,
    ports::{
        Checkpoints, Clock, Compute, ControlChange, ControlError, IdSource, Inbox, Rewind,
        SessionDirectory, SlotLimits, Unavailable,
    },
    state::after,
};

use super::{FindCheckpointError, NoSuchSession, checkpoints, observe, wake};

/// How often a session that moves on under us is looked at again. Own.
const ATTEMPTS: usize = 8;

/// What a caller asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreCheckpoint {
    /// Which session.
    pub key: SessionKey,
    /// To which of its checkpoints.
    pub checkpoint: CheckpointName,
    /// What of it.
    pub what: RestoreScope,
}

/// Why a session was not set back.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// There is no such session or checkpoint.
    #[error(transparent)]
    Find(#[from] FindCheckpointError),
    /// It has ended; a fork goes on from the checkpoint.
    #[error("the session has ended ({0}); fork_session goes on from the checkpoint")]
    Ended(State),
    /// It moves on all the time; interrupt it, and try again.
    #[error("the session moved on each time; interrupt it and try again")]
    Busy,
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Sets the session back: its fence rises, so that a runner can write nothing more; what is there
/// stays reachable under a new ref; messages that were under way are named as not done; what waits
/// stays. The session is then suspended, or woken for what waits.
///
/// A session that is at that checkpoint already, with nothing done since, stays as it is: so running
/// it twice is running it once. Cut after the change, the sweep wakes it, and a runner that is left
/// loses its lease.
///
/// # Errors
/// [`RestoreError`].
pub async fn restore_checkpoint<P>(
    ports: &P,
    deployment: &Deployment,
    _caller: &Authorized<WriteSessions>,
    request: &RestoreCheckpoint,
) -> Result<Head, RestoreError>
where
    P: SessionDirectory + Inbox + Checkpoints + Compute + Clock + IdSource,
{
    for _ in 0..ATTEMPTS {
        let head = observe::observe(ports, &request.key)
            .await?
            .ok_or(FindCheckpointError::NoSuchSession(NoSuchSession))?;
        if head.state.is_ended() {
            return Err(RestoreError::Ended(head.state));
        }
        let target = checkpoints::find(ports, &head, &request.checkpoint).await?;
        let newest = checkpoints::find(ports, &head, &CheckpointName::Latest).await?;
        let head = if is_there(&head, &target, &newest, request.what) {
            head
        } else {
            let task = head.state.has_runner().then(|| head.task.clone()).flatten();
            let change = rewind(ports, head, &target, &newest, request.what).await?;
            let head = match ports.control(change).await {
                Ok(head) => head,
                Err(ControlError::Unavailable(unavailable)) => return Err(unavailable.into()),
                Err(_) => continue,
            };
            if let Some(task) = task {
                // Without it the runner notices by itself that its lease is gone.
                ports.stop_runner(&task, "the session was set back").await?;
            }
            head
        };
        if head.state == State::Suspended && head.has_queued() {
            let woken = wake::wake(ports, deployment.slots(), &request.key).await?;
            if let wake::Woken::Awake(head) | wake::Woken::NoSlot(head) = woken {
                return Ok(head);
            }
        }
        return Ok(head);
    }
    Err(RestoreError::Busy)
}

/// No runner has had the session since it was set back there (or suspended there).
fn is_there(head: &Head, target: &Checkpoint, newest: &Checkpoint, what: RestoreScope) -> bool {
    let untouched = matches!(head.state, State::Suspended | State::Resuming);
    let same = match what {
        RestoreScope::Both => newest.id == target.id,
        RestoreScope::Conversation => newest.conversation == target.conversation,
    };
    untouched && same
}

async fn rewind<P>(
    ports: &P,
    head: Head,
    target: &Checkpoint,
    newest: &Checkpoint,
    what: RestoreScope,
) -> Result<ControlChange, RestoreError>
where
    P: Inbox + Checkpoints + Clock + IdSource,
{
    let now = ports.now();
    let transition = Transition::WasRewound;
    let question = target.question.clone().map(|it| renamed(it, head.rewinds));
    let record = match what {
        RestoreScope::Both => None,
        RestoreScope::Conversation => Some(pair(
            CheckpointId::from_random(ports.random()),
            &head,
            target,
            newest,
            question.clone(),
        )),
    };
    let kept_as = free_name(ports, &head).await?;
    let abandoned = (head.last_sequence > target.sequence).then(|| AbandonedRange {
        from: target.sequence.next(),
        to: head.last_sequence,
    });
    let mut bodies = vec![EventBody::Rewound {
        checkpoint: target.id.clone(),
        what,
        kept_as: Some(kept_as.clone()),
        abandoned,
        not_done: not_done(ports, &head).await?,
    }];
    if let Ok(state) = after(head.state, transition)
        && state != head.state
    {
        bodies.push(EventBody::StateChanged {
            from: head.state,
            to: state,
        });
    }
    Ok(ControlChange {
        events: bodies
            .into_iter()
            .map(|body| observe::event(&head, now, body))
            .collect(),
        rewind: Some(Rewind {
            checkpoint: record
                .as_ref()
                .map_or_else(|| target.id.clone(), |record| record.id.clone()),
            target_ordinal: target.ordinal,
            cut_sequence: target.sequence.min(head.last_sequence),
            claude_session_id: target.claude_session_id.clone(),
            question,
            keep: head.checkpoint.clone().map(|kept| (kept_as, kept)),
            record,
        }),
        based_on: head,
        transition,
        reason: String::new(),
        slots: SlotLimits::NONE,
        now,
    })
}

/// The conversation of one checkpoint with the files of another one.
fn pair(
    id: CheckpointId,
    head: &Head,
    target: &Checkpoint,
    newest: &Checkpoint,
    question: Option<PendingQuestion>,
) -> NewCheckpoint {
    NewCheckpoint {
        id,
        ordinal: head.checkpoints + 1,
        trigger: CheckpointTrigger::Rewind,
        parent: Some(target.id.clone()),
        files: newest.files.clone(),
        conversation: target.conversation.clone(),
        sequence: Some(Sequence(target.sequence.0)),
        commands_settled: head.commands_taken,
        turn: target.turn,
        claude_session_id: target.claude_session_id.clone(),
        question,
        message: None,
        tags: Vec::new(),
        pinned: false,
        size: newest.size,
        generation: 0,
    }
}

/// A question of before gets a name of its own, so that it can be answered again.
fn renamed(question: PendingQuestion, rewinds: u32) -> PendingQuestion {
    let text = question.id.as_str();
    let base = text.rsplit_once("..").map_or(text, |(base, _)| base);
    let base = &base[..base.len().min(36)];
    match QuestionId::parse(&format!("{base}..{}", u64::from(rewinds) + 1)) {
        Ok(id) => PendingQuestion { id, ..question },
        // Made of a valid name and digits, it is one.
        Err(_) => question,
    }
}

/// `before-<n>`, or with a further number when a person has taken that.
async fn free_name<P: Checkpoints>(ports: &P, head: &Head) -> Result<RefName, RestoreError> {
    let refs = ports.refs(&head.key).await?;
    let number = u64::from(head.rewinds) + 1;
    let mut further = 0_u64;
    loop {
        let text = match further {
            0 => format!("before-{number}"),
            further => format!("before-{number}-{further}"),
        };
        let name = RefName::parse(&text).map_err(|_| RestoreError::Busy)?;
        if !refs.iter().any(|named| named.name == name) {
            return Ok(name);
        }
        further += 1;
    }
}

/// Messages, answers and commands of the caller that a runner has taken and not finished.
async fn not_done<P: Inbox>(ports: &P, head: &Head) -> Result<Vec<CommandId>, Unavailable> {
    let mut found = Vec::new();
    let mut ordinal = head.commands_settled;
    while ordinal < head.commands_taken {
        let page = ports.commands_after(&head.key, ordinal, 100).await?;
        let Some(last) = page.last() else { break };
        ordinal = last.ordinal;
        found.extend(
            page.into_iter()
                .filter(|command| command.ordinal <= head.commands_taken)
                .filter(|command| matches!(command.state, CommandState::Taken(_)))
                .filter(|command| command.body.is_awaited())
                .map(|command| command.id),
        );
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UnixMillis;

    #[test]
    fn a_question_is_renamed_again_and_again() {
        let mut question = PendingQuestion {
            id: QuestionId::parse(&"q".repeat(48)).expect("valid"),
            tool_use_id: "t".to_owned(),
            input: String::new(),
            asked_at: UnixMillis(0),
            approval: None,
        };
        let mut seen = std::collections::BTreeSet::new();
        for rewinds in [0, 1, 2, 77, u32::MAX] {
            assert!(seen.insert(question.id.to_string()));
            question = renamed(question, rewinds);
        }
        assert_eq!(
            question.id.as_str(),
            format!("{}..4294967296", "q".repeat(36))
        );
    }
}
