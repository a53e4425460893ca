//! What nobody watches is put right here: a session whose task stopped gets another one, and once a
//! minute the sweep looks at sessions that are overdue.
//!
//! Every event may come late, twice, or side by side with another: the sessions' own conditions
//! decide who makes a change.

mod backups;
mod canary;
mod event;
mod sweep;
mod updates;
mod watch;

use boot::events::EventError;
use domain::{
    ports::{Clock, Compute, Inbox, SessionDirectory, Unavailable},
    use_cases::{Reconciled, task_stopped},
};
use serde::Serialize;

pub use canary::{Canary, CanaryError, Seen};
pub use event::{Event, StoppedTask};
pub use sweep::{Limits, SweepPorts};
pub use updates::Updates;
pub use watch::Watch;

/// What came of an event; the function's answer, which only logs and tests read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Sessions that were looked at.
    pub looked_at: usize,
    /// For which a runner was asked.
    pub started: usize,
    /// In which something waits for a slot.
    pub waiting: usize,
    /// That were erased.
    pub erased: usize,
    /// Trees that were swept, or looked at in a dry run.
    pub swept: usize,
    /// Of these, trees with a checkpoint that cannot be read.
    pub damaged: usize,
    /// Bytes of chunks that their sweeps took, or would take.
    pub bytes_reclaimed: u64,
    /// Chains of the audit that were sealed.
    pub sealed: usize,
    /// That are ended now.
    pub ended: usize,
    /// That could not be looked at; the next sweep does.
    pub failed: usize,
}

impl Answer {
    fn count(&mut self, reconciled: Reconciled) {
        self.looked_at += 1;
        match reconciled {
            Reconciled::Started => self.started += 1,
            Reconciled::NoSlot => self.waiting += 1,
            Reconciled::Ended(_) => self.ended += 1,
            Reconciled::Expired => self.erased += 1,
            Reconciled::Healthy | Reconciled::Gone => {}
        }
    }
}

/// Does what an event asks for.
///
/// # Errors
/// [`EventError`] when the event is none of ours (it stays in the log), or when the store is not
/// reachable: then Lambda delivers it again.
pub async fn handle<P>(ports: &P, limits: &Limits, event: Event) -> Result<Answer, EventError>
where
    P: SweepPorts,
{
    match event {
        Event::Sweep { .. } => sweep::sweep(ports, limits).await.map_err(again),
        Event::DryRun => sweep::dry_run(ports, limits).await.map_err(again),
        Event::TaskStopped(task) => stopped(ports, &task).await,
        Event::Unknown(kind) => Err(EventError {
            kind: "UnknownEvent",
            message: format!("reconciler knows no event of the kind {kind:?}"),
        }),
    }
}

async fn stopped<P>(ports: &P, task: &StoppedTask) -> Result<Answer, EventError>
where
    P: SessionDirectory + Inbox + Compute + Clock,
{
    let mut answer = Answer::default();
    let Some(key) = &task.session else {
        tracing::info!(task = task.name, "a task stopped that runs no session");
        return Ok(answer);
    };
    let reconciled = task_stopped(ports, key, &task.name, task.fence, &task.reason)
        .await
        .map_err(again)?;
    tracing::info!(
        task = task.name,
        session = %key.session,
        reason = task.reason,
        ?reconciled,
        "a task stopped"
    );
    answer.count(reconciled);
    Ok(answer)
}

fn again(error: Unavailable) -> EventError {
    tracing::error!(
        error = &error as &dyn std::error::Error,
        "the event has to come again"
    );
    EventError {
        kind: "Unavailable",
        message: error.to_string(),
    }
}
