//! Looking at a session; whoever looks at one whose runner is gone says so in its log.

use thiserror::Error;

use crate::{
    Authorized, Head, SessionKey, Transition,
    authorization::ReadSessions,
    event::{EventBody, NewEvent},
    ports::{Clock, ControlChange, ControlError, Inbox, SessionDirectory, Unavailable},
    state::after,
};

use super::NoSuchSession;

/// How often a session that moves on while it is declared lost (a message came) is looked at
/// again. Own; the next observer goes on.
const OBSERVE_ATTEMPTS: usize = 5;

/// Why a session cannot be shown.
#[derive(Debug, Error)]
pub enum GetError {
    /// No such session of this owner.
    #[error(transparent)]
    NoSuchSession(#[from] NoSuchSession),
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The session as it is now. Reading twice changes nothing more than reading once.
///
/// # Errors
/// [`GetError`].
pub async fn get_session<P: SessionDirectory + Inbox + Clock>(
    ports: &P,
    _caller: &Authorized<ReadSessions>,
    key: &SessionKey,
) -> Result<Head, GetError> {
    Ok(observe(ports, key).await?.ok_or(NoSuchSession)?)
}

/// The head, after an expired lease was turned into `lost` and a start that never happened into
/// `failed`. Two observers at once: one makes the change, the other reads it.
pub(super) async fn observe<P: SessionDirectory + Inbox + Clock>(
    ports: &P,
    key: &SessionKey,
) -> Result<Option<Head>, Unavailable> {
    let Some(mut head) = ports.head(key).await? else {
        return Ok(None);
    };
    for _ in 0..OBSERVE_ATTEMPTS {
        let now = ports.now();
        let (transition, reason) = if head.lease_expired(now) {
            let seconds = now.since(head.lease_until) / 1000;
            (
                Transition::RunnerVanished,
                format!(
                    "its runner gave no sign of life for {seconds} s; what it had not finished is \
                     listed, and nothing acknowledged was lost from the log"
                ),
            )
        } else if head.never_started(now) {
            (
                Transition::BrokeDown,
                "no runner came for it within 300 s; see the compute service (is the runner image \
                 there, are tasks allowed to start?)"
                    .to_owned(),
            )
        } else {
            break;
        };
        head = end(ports, head, transition, reason).await?;
    }
    Ok(Some(head))
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
    let unfinished = unfinished(ports, &head).await?;
    let key = head.key.clone();
    let now = ports.now();
    let event = |body| NewEvent {
        turn: head.turn,
        time: now,
        cause: None,
        body,
    };
    let events = vec![
        event(EventBody::StateChanged {
            from: head.state,
            to: state,
        }),
        event(EventBody::SessionEnded {
            state,
            reason: reason.clone(),
            unfinished,
        }),
    ];
    let unchanged = head.clone();
    match ports
        .control(ControlChange {
            based_on: head,
            transition,
            reason,
            events,
            now,
        })
        .await
    {
        Ok(head) => Ok(head),
        Err(ControlError::Changed) => Ok(ports.head(&key).await?.unwrap_or(unchanged)),
        Err(ControlError::Unavailable(unavailable)) => Err(unavailable),
    }
}

/// Messages that were accepted and neither finished nor withdrawn.
async fn unfinished<P: Inbox>(
    ports: &P,
    head: &Head,
) -> Result<Vec<crate::CommandId>, Unavailable> {
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
                command.state,
                crate::CommandState::Queued | crate::CommandState::Taken(_)
            );
            let message = matches!(command.body, crate::CommandBody::Message { .. });
            (open && message).then_some(command.id)
        }));
    }
}
