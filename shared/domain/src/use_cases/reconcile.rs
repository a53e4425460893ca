//! Putting right what nobody watches: sessions whose runner never came or is gone.

use crate::{
    Head, SessionKey, State, Transition,
    ports::{Clock, Compute, Inbox, SessionDirectory, Unavailable},
};

use super::{create_session, get_session};

/// How often a session that moves on under us is looked at again. Own.
const ATTEMPTS: usize = 5;

/// What was found and done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconciled {
    /// Nothing was wrong.
    Healthy,
    /// Its start was repeated.
    Started,
    /// It ended: lost, or failed for want of a runner.
    Ended(State),
    /// No such session (any more).
    Gone,
}

/// Looks at one session that may be overdue: marks it lost or failed, stops what is left of its
/// task, or repeats the start of its runner. Safe to run twice and side by side: the session's
/// own conditions decide who makes the change.
///
/// # Errors
/// [`Unavailable`]: the next sweep tries again.
pub async fn reconcile_session<P>(ports: &P, key: &SessionKey) -> Result<Reconciled, Unavailable>
where
    P: SessionDirectory + Inbox + Compute + Clock,
{
    let Some(before) = ports.head(key).await? else {
        return Ok(Reconciled::Gone);
    };
    let Some(head) = get_session::observe(ports, key).await? else {
        return Ok(Reconciled::Gone);
    };
    if head.state.is_ended() {
        if !before.state.is_ended() {
            stop(ports, &head, "the session was lost").await?;
        }
        return Ok(Reconciled::Ended(head.state));
    }
    if head.state == State::Requested && head.task.is_none() {
        return Ok(if create_session::start(ports, &head).await {
            Reconciled::Started
        } else {
            Reconciled::Healthy
        });
    }
    Ok(Reconciled::Healthy)
}

/// A task of the compute service stopped: if its session still counts on it, the session is lost
/// (or failed, when the task never took it). A late or repeated notice finds nothing to do.
///
/// # Errors
/// [`Unavailable`]: the notice should be delivered again.
pub async fn task_stopped<P>(
    ports: &P,
    key: &SessionKey,
    task: &str,
    reason: &str,
) -> Result<Reconciled, Unavailable>
where
    P: SessionDirectory + Inbox + Clock,
{
    let Some(mut head) = ports.head(key).await? else {
        return Ok(Reconciled::Gone);
    };
    // A message or a last append may come between reading the head and ending the session.
    for _ in 0..ATTEMPTS {
        if head.state.is_ended() {
            return Ok(Reconciled::Ended(head.state));
        }
        if head.task.as_deref().is_some_and(|current| current != task) {
            return Ok(Reconciled::Healthy);
        }
        let (transition, text) = if head.state == State::Requested {
            (
                Transition::BrokeDown,
                format!("its task stopped before it could begin: {reason}"),
            )
        } else {
            (
                Transition::RunnerVanished,
                format!("its task stopped: {reason}"),
            )
        };
        head = get_session::end(ports, head, transition, text).await?;
    }
    Ok(if head.state.is_ended() {
        Reconciled::Ended(head.state)
    } else {
        // Still written to after all: its lease tells.
        Reconciled::Healthy
    })
}

async fn stop<P: Compute>(ports: &P, head: &Head, reason: &str) -> Result<(), Unavailable> {
    match &head.task {
        Some(task) => ports.stop_runner(task, reason).await,
        None => Ok(()),
    }
}
