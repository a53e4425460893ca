//! What whoever looks at a session does for it: a runner that is gone is said to be gone, and
//! another one is asked for.

use crate::{
    CommandId, CommandState, Head, SessionKey, State, Transition,
    event::{EventBody, NewEvent},
    limits,
    ports::{
        Clock, Compute, ControlChange, ControlError, Inbox, SessionDirectory, SlotLimits,
        Unavailable,
    },
    state::after,
};

/// How often a session that moves on under us (a message came) is looked at again. Own; the next
/// observer goes on.
const ATTEMPTS: usize = 6;

/// The head, after what is overdue was done: an expired lease or a start that came to nothing makes
/// a session `lost`, a lost one is taken over by another runner, and a session that never had one
/// has failed. Two observers at once: one makes each change, the other reads it. Cut between two
/// changes, the next observer or the sweep goes on; so does it when the compute service does not
/// answer.
pub(super) async fn observe<P>(ports: &P, key: &SessionKey) -> Result<Option<Head>, Unavailable>
where
    P: SessionDirectory + Inbox + Compute + Clock,
{
    let Some(mut head) = ports.head(key).await? else {
        return Ok(None);
    };
    for _ in 0..ATTEMPTS {
        let now = ports.now();
        head = if head.lease_expired(now) {
            let seconds = now.since(head.lease_until) / 1000;
            let reason = format!("its runner gave no sign of life for {seconds} s");
            lose(ports, head, reason).await?
        } else if head.never_started(now) {
            let reason = "no runner came for it within 300 s; see the compute service (is the \
                          runner image there, are tasks allowed to start?)";
            if head.state == State::Requested {
                end(ports, head, Transition::BrokeDown, reason.to_owned()).await?
            } else {
                lose(ports, head, reason.to_owned()).await?
            }
        } else if head.state == State::Lost {
            match recover(ports, &head).await? {
                Some(head) => head,
                None => break,
            }
        } else {
            break;
        };
    }
    Ok(Some(head))
}

/// Marks a session whose runner is gone. When it changed meanwhile, the newer head is given back as
/// it is: the caller decides again on that.
pub(super) async fn lose<P>(ports: &P, head: Head, reason: String) -> Result<Head, Unavailable>
where
    P: SessionDirectory + Clock,
{
    let Ok(state) = after(head.state, Transition::RunnerVanished) else {
        return Ok(head);
    };
    let bodies = vec![
        EventBody::RunnerLost {
            reason: reason.clone(),
        },
        EventBody::StateChanged {
            from: head.state,
            to: state,
        },
    ];
    changed(ports, head, Transition::RunnerVanished, reason, bodies).await
}

/// Takes a lost session over: what is left of its task is stopped, and a new runner is asked for,
/// which goes on from the checkpoint; too often in a row and it has failed. `None` when the compute
/// service does not answer: the session stays lost, and the sweep comes back to it.
async fn recover<P>(ports: &P, head: &Head) -> Result<Option<Head>, Unavailable>
where
    P: SessionDirectory + Inbox + Compute + Clock,
{
    if let Some(task) = &head.task
        && ports
            .stop_runner(task, "the session was lost")
            .await
            .is_err()
    {
        return Ok(None);
    }
    if head.recoveries >= limits::RECOVERIES {
        let reason = format!(
            "its runner was lost {} times in a row before it got any further; create_session \
             starts anew, and where a checkpoint is left, fork_session goes on from it",
            limits::RECOVERIES + 1
        );
        return end(ports, head.clone(), Transition::BrokeDown, reason)
            .await
            .map(Some);
    }
    match ask_for_runner(ports, head, SlotLimits::NONE).await {
        Ok(head) => Ok(Some(head)),
        Err(ControlError::Unavailable(unavailable)) => Err(unavailable),
        // It keeps its slot, so none is missing.
        Err(ControlError::Changed | ControlError::DeploymentFull | ControlError::OwnerFull) => {
            Ok(ports.head(&head.key).await?)
        }
    }
}

/// A suspended or lost session begins to resume, and its runner is started; a start that fails is
/// repeated by the sweep.
pub(super) async fn ask_for_runner<P>(
    ports: &P,
    head: &Head,
    slots: SlotLimits,
) -> Result<Head, ControlError>
where
    P: SessionDirectory + Compute + Clock,
{
    let transition = Transition::WasWoken;
    let state = after(head.state, transition).map_err(|_| ControlError::Changed)?;
    let now = ports.now();
    let changed = EventBody::StateChanged {
        from: head.state,
        to: state,
    };
    let mut head = ports
        .control(ControlChange {
            events: vec![event(head, now, changed)],
            based_on: head.clone(),
            transition,
            reason: String::new(),
            rewind: None,
            slots,
            now,
        })
        .await?;
    if let Some(task) = start(ports, &head).await {
        head.task = Some(task);
    }
    Ok(head)
}

/// Starts the runner of a session that awaits one, and gives the task; what fails here the sweep
/// repeats.
pub(super) async fn start<P>(ports: &P, head: &Head) -> Option<String>
where
    P: SessionDirectory + Compute,
{
    if !head.state.awaits_runner() || head.task.is_some() {
        return head.task.clone();
    }
    let task = ports.start_runner(&head.key, head.fence).await.ok()?;
    // The note only makes the task visible; without it the start is repeated, which is harmless.
    ports.note_task(&head.key, head.fence, &task).await.ok()?;
    Some(task)
}

/// Ends a session from outside its runner, based on the head that was read. When it changed
/// meanwhile, the newer head is given back as it is: the caller decides again on that.
pub(super) async fn end<P: SessionDirectory + Inbox + Clock>(
    ports: &P,
    head: Head,
    transition: Transition,
    reason: String,
) -> Result<Head, Unavailable> {
    let Ok(state) = after(head.state, transition) else {
        return Ok(head);
    };
    let bodies = vec![
        EventBody::StateChanged {
            from: head.state,
            to: state,
        },
        EventBody::SessionEnded {
            state,
            reason: reason.clone(),
            unfinished: unfinished(ports, &head).await?,
        },
    ];
    changed(ports, head, transition, reason, bodies).await
}

async fn changed<P: SessionDirectory + Clock>(
    ports: &P,
    head: Head,
    transition: Transition,
    reason: String,
    bodies: Vec<EventBody>,
) -> Result<Head, Unavailable> {
    let now = ports.now();
    let events = bodies
        .into_iter()
        .map(|body| event(&head, now, body))
        .collect();
    let unchanged = head.clone();
    match ports
        .control(ControlChange {
            based_on: head,
            transition,
            reason,
            events,
            rewind: None,
            slots: SlotLimits::NONE,
            now,
        })
        .await
    {
        Ok(head) => Ok(head),
        Err(ControlError::Unavailable(unavailable)) => Err(unavailable),
        Err(ControlError::Changed | ControlError::DeploymentFull | ControlError::OwnerFull) => {
            Ok(ports.head(&unchanged.key).await?.unwrap_or(unchanged))
        }
    }
}

pub(super) fn event(head: &Head, now: crate::UnixMillis, body: EventBody) -> NewEvent {
    NewEvent {
        turn: head.turn,
        time: now,
        cause: None,
        body,
    }
}

/// Messages, answers and commands of the caller that were accepted and neither finished nor withdrawn.
pub(super) async fn unfinished<P: Inbox>(
    ports: &P,
    head: &Head,
) -> Result<Vec<CommandId>, Unavailable> {
    let mut unfinished = Vec::new();
    let mut ordinal = 0;
    loop {
        let page = ports.commands_after(&head.key, ordinal, 100).await?;
        let Some(last) = page.last() else {
            return Ok(unfinished);
        };
        ordinal = last.ordinal;
        unfinished.extend(page.into_iter().filter_map(|command| {
            let open = matches!(
                command.state_for(head),
                CommandState::Queued | CommandState::Taken(_)
            );
            (open && command.body.is_awaited()).then_some(command.id)
        }));
    }
}
