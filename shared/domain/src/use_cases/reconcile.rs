//! Putting right what nobody watches: sessions whose runner never came or is gone, and suspended
//! ones in which something waits.

use crate::{
    FencingToken, Head, SessionKey, State, Transition,
    ports::{Clock, Compute, Inbox, SessionDirectory, SlotLimits, Unavailable},
};

use super::{Woken, expire_approval, observe, wake};

/// How often a session that moves on under us is looked at again. Own.
const ATTEMPTS: usize = 5;

/// What was found and done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconciled {
    /// Nothing was wrong.
    Healthy,
    /// A runner was asked for: its start was repeated, its runner replaced, or it was woken.
    Started,
    /// It is suspended, something waits in it, and no slot is free.
    NoSlot,
    /// It ended: failed for want of a runner, or completed after its time.
    Ended(State),
    /// It ended, and its time is up: what is left of it is to be erased.
    Expired,
    /// No such session (any more).
    Gone,
}

/// Looks at one session that may be overdue: replaces its lost runner, repeats the start of one,
/// wakes it when something waits in it, or completes it after its time. Safe to run twice and side
/// by side: the session's own conditions decide who makes the change.
///
/// # Errors
/// [`Unavailable`]: the next sweep tries again.
pub async fn reconcile_session<P>(
    ports: &P,
    slots: SlotLimits,
    key: &SessionKey,
) -> Result<Reconciled, Unavailable>
where
    P: SessionDirectory + Inbox + Compute + Clock,
{
    let Some(before) = ports.head(key).await? else {
        return Ok(Reconciled::Gone);
    };
    if before.state.is_ended() {
        return Ok(if before.kept_long_enough(ports.now()) {
            Reconciled::Expired
        } else {
            Reconciled::Ended(before.state)
        });
    }
    if before.state == State::Suspended {
        return suspended(ports, slots, before).await;
    }
    let Some(head) = observe::observe(ports, key).await? else {
        return Ok(Reconciled::Gone);
    };
    if head.state.is_ended() {
        return Ok(Reconciled::Ended(head.state));
    }
    if head.state.awaits_runner() && head.task.is_none() {
        return Ok(match observe::start(ports, &head).await {
            Some(_) => Reconciled::Started,
            None => Reconciled::Healthy,
        });
    }
    Ok(
        if head.fence > before.fence && head.state == State::Resuming {
            Reconciled::Started
        } else {
            Reconciled::Healthy
        },
    )
}

async fn suspended<P>(ports: &P, slots: SlotLimits, head: Head) -> Result<Reconciled, Unavailable>
where
    P: SessionDirectory + Inbox + Compute + Clock,
{
    let mut woken = head.has_queued();
    if let Some(question) = head.question.as_ref().filter(|_| !woken) {
        woken = expire_approval(ports, &head.key, question).await?;
    }
    if woken {
        return Ok(match wake::wake(ports, slots, &head.key).await? {
            Woken::Awake(_) => Reconciled::Started,
            Woken::NoSlot(_) => Reconciled::NoSlot,
            Woken::Nothing(_) => Reconciled::Healthy,
            Woken::Gone => Reconciled::Gone,
        });
    }
    if !head.kept_long_enough(ports.now()) {
        return Ok(Reconciled::Healthy);
    }
    let reason = "nobody has sent it anything for the whole of SHANNON_RETENTION_DAYS".to_owned();
    let head = observe::end(ports, head, Transition::IdleTimeElapsed, reason).await?;
    Ok(if head.state.is_ended() {
        Reconciled::Ended(head.state)
    } else {
        Reconciled::Healthy
    })
}

/// A task of the compute service stopped, which was started for the runner with that fence: if its
/// session still counts on it, the runner is replaced (or the session has failed, when it never had
/// one). A late or repeated notice finds nothing to do.
///
/// # Errors
/// [`Unavailable`]: the notice should be delivered again.
pub async fn task_stopped<P>(
    ports: &P,
    key: &SessionKey,
    task: &str,
    fence: Option<FencingToken>,
    reason: &str,
) -> Result<Reconciled, Unavailable>
where
    P: SessionDirectory + Inbox + Compute + Clock,
{
    let Some(mut head) = ports.head(key).await? else {
        return Ok(Reconciled::Gone);
    };
    // A message or a last append may come between reading the head and changing the session.
    for _ in 0..ATTEMPTS {
        if head.state.is_ended() {
            return Ok(Reconciled::Ended(head.state));
        }
        let counts_on_it = (head.state.has_runner() || head.state.awaits_runner())
            && match &head.task {
                Some(current) => current == task,
                // Not noted (yet): it may be the one that this session waits for, or an earlier one.
                None => head.state == State::Requested || fence == Some(head.fence.next()),
            };
        if !counts_on_it {
            break;
        }
        head = if head.state == State::Requested {
            let reason = format!("its task stopped before it could begin: {reason}");
            observe::end(ports, head, Transition::BrokeDown, reason).await?
        } else {
            observe::lose(ports, head, format!("its task stopped: {reason}")).await?
        };
    }
    if head.state != State::Lost {
        // Still written to after all: its lease tells.
        return Ok(Reconciled::Healthy);
    }
    Ok(match observe::observe(ports, key).await? {
        None => Reconciled::Gone,
        Some(head) if head.state.is_ended() => Reconciled::Ended(head.state),
        Some(head) if head.state == State::Resuming => Reconciled::Started,
        Some(_) => Reconciled::Healthy,
    })
}
