//! The instances of one function and the invocations that wait for one. Everything here happens
//! under the function's one lock and nothing waits, so that "is an instance missing" and "one is
//! being started" cannot race.
//!
//! ```text
//! Starting --next--> Idle --invocation--> Busy --answer, next--> Idle
//!     |                |                    |
//!     +--- exit, init error, idle too long, timeout, replaced ---> Ending --> (gone)
//! ```

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    outcome::{FunctionError, Outcome, StreamError},
    phase::{Active, Instance, Invocation, Job, Phase, Plan, Timer},
};
use crate::process::{LogSink, ProcessHandle};

/// How long an instance that has answered is trusted to ask for more before another is started.
const SOON_IDLE: Duration = Duration::from_millis(20);

pub(super) struct Pool {
    binary: Option<PathBuf>,
    generation: u64,
    queue: VecDeque<Job>,
    instances: HashMap<String, Instance>,
    idle_counter: u64,
    closed: bool,
}

impl Pool {
    pub(super) fn new(binary: Option<PathBuf>) -> Self {
        Self {
            binary,
            generation: 0,
            queue: VecDeque::new(),
            instances: HashMap::new(),
            idle_counter: 0,
            closed: false,
        }
    }

    pub(super) fn binary(&self) -> Option<PathBuf> {
        self.binary.clone()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn push(&mut self, job: Job) {
        self.queue.push_back(job);
    }

    /// Instances that are not ending.
    pub(super) fn live(&self) -> usize {
        self.count(|instance| !matches!(instance.phase, Phase::Ending))
    }

    /// Instances that work on an invocation.
    pub(super) fn busy(&self) -> usize {
        self.count(
            |instance| matches!(&instance.phase, Phase::Busy(active) if active.done.is_none()),
        )
    }

    fn count(&self, which: impl Fn(&Instance) -> bool) -> usize {
        self.instances.values().filter(|one| which(one)).count()
    }

    /// Hands out what waits and says what else has to happen.
    pub(super) fn dispatch(&mut self, most: usize) -> Plan {
        let mut plan = Plan::default();
        if self.closed {
            return plan;
        }
        while !self.queue.is_empty() {
            let Some((id, poll)) = self.take_idle() else {
                break;
            };
            let Some(job) = self.queue.pop_front() else {
                break;
            };
            let Some(instance) = self.instances.get_mut(&id) else {
                continue;
            };
            let invocation = Invocation {
                request_id: job.request_id.clone(),
                payload: job.payload,
            };
            if let Err(invocation) = poll.send(invocation) {
                // It hung up on its poll: it is dying, or useless.
                instance.end();
                self.queue.push_front(Job {
                    request_id: job.request_id,
                    payload: invocation.payload,
                    answer: job.answer,
                });
                continue;
            }
            let over = CancellationToken::new();
            plan.timers.push(Timer {
                instance: id,
                request_id: job.request_id.clone(),
                over: over.clone(),
            });
            instance.phase = Phase::Busy(Active {
                request_id: job.request_id,
                answer: Some(job.answer),
                reason: Arc::default(),
                began: Instant::now(),
                done: None,
                _timer: over.drop_guard(),
            });
        }
        let current = self.generation;
        let starting = self.count(|one| matches!(one.phase, Phase::Starting { .. }));
        let soon = self.count(|one| {
            one.generation == current
                && matches!(&one.phase, Phase::Busy(Active { done: Some(done), .. })
                    if done.elapsed() < SOON_IDLE)
        });
        let missing = self.queue.len().saturating_sub(starting + soon);
        for _ in 0..missing.min(most.saturating_sub(self.live())) {
            let over = CancellationToken::new();
            let id = Uuid::new_v4().simple().to_string();
            plan.start.push((id.clone(), over.clone()));
            self.instances.insert(
                id,
                Instance {
                    phase: Phase::Starting {
                        _timer: over.drop_guard(),
                    },
                    generation: self.generation,
                    process: None,
                    log: None,
                    init_error: None,
                },
            );
        }
        if soon > 0 && !self.queue.is_empty() {
            plan.look_again = Some(SOON_IDLE);
        }
        plan
    }

    /// The instance that became idle last. One whose process is gone takes nothing any more, although
    /// its end was not reported yet.
    fn take_idle(&mut self) -> Option<(String, oneshot::Sender<Invocation>)> {
        let gone = |one: &Instance| one.process.as_ref().is_some_and(ProcessHandle::has_ended);
        for one in self.instances.values_mut() {
            if matches!(one.phase, Phase::Idle { .. }) && gone(one) {
                one.end();
            }
        }
        let idle = self
            .instances
            .iter()
            .filter_map(|(id, one)| match one.phase {
                Phase::Idle { since, .. } => Some((since, id)),
                _ => None,
            });
        let id = idle.max().map(|(_, id)| id.clone())?;
        let instance = self.instances.get_mut(&id)?;
        match std::mem::replace(&mut instance.phase, Phase::Ending) {
            Phase::Idle { poll, .. } => Some((id, poll)),
            other => {
                instance.phase = other;
                None
            }
        }
    }

    /// The process of an instance runs.
    pub(super) fn started(&mut self, id: &str, process: ProcessHandle, log: LogSink) {
        match self.instances.get_mut(id) {
            Some(instance) if !matches!(instance.phase, Phase::Ending) => {
                instance.process = Some(process);
                instance.log = Some(log);
            }
            _ => process.kill(),
        }
    }

    /// The instance asks for work. Gives what it waits on and what ends its idle timer, or `None`
    /// when there is no more work for it.
    pub(super) fn next(
        &mut self,
        id: &str,
    ) -> Option<(oneshot::Receiver<Invocation>, CancellationToken)> {
        let outdated = self.closed;
        let current = self.generation;
        self.idle_counter += 1;
        let instance = self.instances.get_mut(id)?;
        match &mut instance.phase {
            Phase::Ending => return None,
            Phase::Busy(active) => {
                if let Some(answer) = active.answer.take() {
                    // The caller may be gone, which is its own business.
                    drop(answer.send(Outcome::Failed(FunctionError::new(
                        "Runtime.NoResponse",
                        "the runtime asked for the next invocation without answering this one",
                    ))));
                }
            }
            Phase::Starting { .. } | Phase::Idle { .. } => {}
        }
        if outdated || instance.generation != current {
            instance.end();
            return None;
        }
        let (poll, work) = oneshot::channel();
        let over = CancellationToken::new();
        instance.phase = Phase::Idle {
            poll,
            since: self.idle_counter,
            _timer: over.clone().drop_guard(),
        };
        Some((work, over))
    }

    /// Whether the instance works on this invocation and nobody has answered it.
    pub(super) fn is_unanswered(&self, id: &str, request_id: &str) -> bool {
        self.instances.get(id).is_some_and(|instance| {
            matches!(&instance.phase, Phase::Busy(active)
                if active.request_id == request_id && active.answer.is_some())
        })
    }

    /// The right to answer the invocation, once.
    pub(super) fn take_answer(
        &mut self,
        id: &str,
        request_id: &str,
    ) -> Option<(oneshot::Sender<Outcome>, Arc<OnceLock<StreamError>>)> {
        match &mut self.instances.get_mut(id)?.phase {
            Phase::Busy(active) if active.request_id == request_id => {
                Some((active.answer.take()?, active.reason.clone()))
            }
            _ => None,
        }
    }

    /// The whole response was read.
    pub(super) fn finished(&mut self, id: &str, request_id: &str) {
        let Some(instance) = self.instances.get_mut(id) else {
            return;
        };
        let mut report = None;
        if let Phase::Busy(active) = &mut instance.phase
            && active.request_id == request_id
        {
            active.done = Some(Instant::now());
            let milliseconds = active.began.elapsed().as_secs_f64() * 1000.0;
            report = Some(format!(
                "REPORT RequestId: {request_id} Duration: {milliseconds:.2} ms"
            ));
        }
        if let Some(report) = report {
            instance.note(report);
        }
    }

    /// The instance said why it cannot start; its exit follows.
    pub(super) fn init_failed(&mut self, id: &str, error: FunctionError) {
        if let Some(instance) = self.instances.get_mut(id) {
            instance.init_error = Some(error);
        }
    }

    /// The process is gone. Fails the invocation it had; one that never got that far fails the
    /// invocation that waited longest, so that a binary that cannot start is not tried for ever.
    pub(super) fn ended(&mut self, id: &str, error: FunctionError) {
        let Some(instance) = self.instances.remove(id) else {
            return;
        };
        let (answer, error) = match instance.phase {
            Phase::Busy(active) => (active.answer, error),
            Phase::Starting { .. } => (
                self.queue.pop_front().map(|job| job.answer),
                instance.init_error.unwrap_or(error),
            ),
            Phase::Idle { .. } | Phase::Ending => (None, error),
        };
        if let Some(answer) = answer {
            drop(answer.send(Outcome::Failed(error)));
        }
    }

    /// The time of an invocation is up: answers it and ends its instance. Nothing when it is over.
    pub(super) fn timed_out(&mut self, id: &str, request_id: &str, limit: Duration) {
        let Some(instance) = self.instances.get_mut(id) else {
            return;
        };
        let Phase::Busy(active) = &mut instance.phase else {
            return;
        };
        if active.request_id != request_id {
            return;
        }
        let message = format!(
            "RequestId: {request_id} Error: Task timed out after {:.2} seconds",
            limit.as_secs_f64()
        );
        // Set already: it ended for another reason first.
        drop(active.reason.set(StreamError::TimedOut));
        if let Some(answer) = active.answer.take() {
            let error = FunctionError::new("Sandbox.Timedout", &message);
            drop(answer.send(Outcome::Failed(error)));
        }
        instance.note(message);
        instance.end();
    }

    /// Initialisation took too long.
    pub(super) fn init_timed_out(&mut self, id: &str, limit: Duration) {
        let message = format!(
            "Error: initialisation took longer than {:.2} seconds",
            limit.as_secs_f64()
        );
        let Some(instance) = self.instances.get_mut(id) else {
            return;
        };
        if !matches!(instance.phase, Phase::Starting { .. }) {
            return;
        }
        instance.note(message.clone());
        instance.end();
        if let Some(job) = self.queue.pop_front() {
            let error = FunctionError::new("Sandbox.Timedout", &message);
            drop(job.answer.send(Outcome::Failed(error)));
        }
    }

    /// Ends the instance if it is still idle.
    pub(super) fn reap(&mut self, id: &str) {
        if let Some(instance) = self.instances.get_mut(id)
            && matches!(instance.phase, Phase::Idle { .. })
        {
            instance.note("idle for too long".to_owned());
            instance.end();
        }
    }

    /// Instances of another binary from now on.
    pub(super) fn replace(&mut self, binary: PathBuf) {
        self.binary = Some(binary);
        self.generation += 1;
        for instance in self.instances.values_mut() {
            if matches!(instance.phase, Phase::Idle { .. } | Phase::Starting { .. }) {
                instance.end();
            }
        }
    }

    /// No more invocations; everything that runs ends.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.queue.clear();
        for instance in self.instances.values_mut() {
            if let Phase::Busy(active) = &mut instance.phase
                && let Some(answer) = active.answer.take()
            {
                let error = FunctionError::new("Runtime.ExitError", "the emulator is stopping");
                drop(answer.send(Outcome::Failed(error)));
            }
            instance.end();
        }
    }
}
