//! Runs one session from the lease to its end.
//!
//! ```text
//! acquire ─┬─ prepare the workspace ─┬─ start the CLI ─ ready ─ idle ⇄ running ⇄ waiting ─┬─ suspend
//!          └─ restore a checkpoint ──┘                  └── failure, cancel ── end        └─ leave
//! ```
//! A runner that must stop leaves the session to the next one: suspended when nothing runs, else with
//! a checkpoint of what runs.
//! A command is taken durably before the CLI sees it, and the CLI knows it by a UUID made from
//! session and command, so that handing it over twice runs it once. Without the lease nothing is
//! written and everything dies at once.

mod approvals;
mod calls;
pub mod conversation;
pub mod costs;
mod cuts;
mod cutting;
mod ending;
mod gate;
mod hearing;
mod inbox;
mod left_out;
mod obeying;
mod policies;
mod questions;
mod readiness;
mod resuming;
mod running;
mod runs;
mod starting;
mod suspending;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use domain::checkpoint::PendingQuestion;
use domain::ports::{
    AcquireError, Checkpoints, Clock, IdSource, Inbox, PolicyBooks, SessionLog, TreeObjects,
};
use domain::{Command, CommandId, Head, SessionKey, State, Subagent, Transition};
use redact::Redactor;
use tokio::sync::{mpsc, watch};

use crate::heartbeat::Heartbeat;
use crate::journal::{Journal, LIVE_INTERVAL, Pace};
use crate::load::Queue;
use crate::objects::SessionObjects;
use crate::relay::{self, Relay, RelayOptions, SessionToken};
use crate::sandbox::launch::Sandbox;
use crate::sandbox::plan::Isolation;
use crate::settings::RunnerSettings;
use conversation::Conversation;
use starting::Started;
use suspending::Suspension;

/// Everything a session needs of the store.
pub trait Ports:
    SessionLog + Inbox + Checkpoints + TreeObjects + PolicyBooks + Clock + IdSource + 'static
{
}
impl<P> Ports for P where
    P: SessionLog + Inbox + Checkpoints + TreeObjects + PolicyBooks + Clock + IdSource + 'static
{
}

/// Which session, and where it runs.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// The session.
    pub key: SessionKey,
    /// The task's name, which repeats the lease to the same runner.
    pub task: String,
    /// Token for the model gateway.
    pub session_token: SessionToken,
    /// Other secrets of this process, to be kept out of events.
    pub secrets: Vec<String>,
    /// How the CLI is kept apart.
    pub isolation: Isolation,
    /// Where the session's directories are made; it belongs to the runner.
    pub base: PathBuf,
    /// This program.
    pub runner_program: PathBuf,
    /// Told about the CLI once it is ready.
    pub claude: watch::Sender<Option<Claude>>,
    /// Told how many commands wait.
    pub queue: Queue,
}

/// What the CLI says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claude {
    /// Its version.
    pub version: String,
    /// The kinds of subagents that it has.
    pub agents: Vec<Subagent>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The session is not (any more) for this runner. Nothing was written.
    NotOurs(String),
    /// The session ended, and the log says so.
    Ended(State),
    /// The session is suspended; a message or an answer wakes it.
    Suspended,
    /// The runner stopped; the next one goes on from the newest checkpoint.
    Left,
    /// The lease was lost; everything was killed and nothing more written.
    LeaseLost,
}

/// Why the session is to end.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub(crate) transition: Transition,
    pub(crate) reason: String,
}

impl End {
    pub(crate) fn broke_down(reason: impl Into<String>) -> Stop {
        Stop::End(End {
            transition: Transition::BrokeDown,
            reason: reason.into(),
        })
    }
}

/// Why work stops.
#[derive(Debug, Clone)]
pub(crate) enum Stop {
    /// For a reason that goes into the log.
    End(End),
    /// Nothing is to do, or it is asked for: the machine is given back.
    Suspend(suspending::Suspend),
    /// The task must stop while something runs.
    Leave,
    /// The lease is gone.
    LeaseLost,
}

/// What every phase of the supervision shares.
pub(crate) struct Supervision<P, O: SessionObjects> {
    pub(crate) ports: Arc<P>,
    pub(crate) objects: O,
    pub(crate) assignment: Assignment,
    pub(crate) fence: domain::FencingToken,
    pub(crate) settings: RunnerSettings,
    pub(crate) spec: domain::SessionSpec,
    pub(crate) journal: Journal,
    pub(crate) conversation: Conversation,
    pub(crate) commands: mpsc::Receiver<domain::Command>,
    /// Commands that were read and not taken.
    pub(crate) pending: std::collections::VecDeque<domain::Command>,
    /// Messages that an ending session took and did not do.
    pub(crate) unfinished: Vec<domain::CommandId>,
    /// The last command read.
    pub(crate) last_ordinal: u64,
    /// The head as it was taken over.
    pub(crate) head: Head,
    pub(crate) cuts: cuts::Cuts,
    /// Commands of callers.
    pub(crate) runs: runs::Runs,
    /// Commands up to this ordinal were taken.
    pub(crate) taken: u64,
    /// Messages and answers that are handed over once more.
    pub(crate) redone: Vec<CommandId>,
    /// Those of them that the log within the cut names already.
    pub(crate) within_the_cut: Vec<CommandId>,
    /// Questions that may be asked once more.
    pub(crate) known_questions: Vec<PendingQuestion>,
    /// Answers to them that came before the question.
    pub(crate) early_answers: Vec<Command>,
    /// What a person allowed for the rest of the session.
    pub(crate) grants: Vec<domain::Grant>,
    /// What deployment and owner have stored.
    pub(crate) stored: policies::StoredPolicies,
    /// The head names a question that waits.
    pub(crate) question_on_head: bool,
    /// The CLI's session of which this one is a fork.
    pub(crate) forked_from: Option<String>,
    pub(crate) running: watch::Sender<bool>,
    /// How long it has run on this machine, but for what runs now; waiting does not count.
    pub(crate) ran: Duration,
    pub(crate) stop: watch::Receiver<bool>,
}

/// Runs the session. `stop` turns true when the task must end (SIGTERM).
pub async fn run<P: Ports, O: SessionObjects>(
    ports: Arc<P>,
    objects: O,
    settings: RunnerSettings,
    assignment: Assignment,
    stop: watch::Receiver<bool>,
) -> Outcome {
    let lease_milliseconds = u64::try_from(settings.lease.as_millis()).unwrap_or(u64::MAX);
    let (lease, head, lease_until) = loop {
        let now = ports.now();
        let until = now.plus(lease_milliseconds);
        let isolation = assignment.isolation.as_str();
        match ports
            .acquire(&assignment.key, &assignment.task, isolation, until, now)
            .await
        {
            Ok((lease, head)) => break (lease, head, until),
            Err(AcquireError::NotAvailable(why)) => return Outcome::NotOurs(why),
            Err(AcquireError::Unavailable(error)) => {
                tracing::warn!(%error, "the session cannot be taken over now");
                if *stop.borrow() {
                    return Outcome::NotOurs("the runner was stopped".to_owned());
                }
                ports.sleep(500).await;
            }
        }
    };
    let pace = Pace {
        batch: settings.append_batch,
        batch_bytes: settings.append_batch_bytes,
        heartbeat: settings.heartbeat,
        lease: settings.lease,
        live: LIVE_INTERVAL,
        buffer_bytes: settings.buffer_bytes,
    };
    let fence = lease.fence;
    let tree = lease.tree_key();
    let options = RelayOptions {
        gateway_url: settings.gateway_url.clone(),
        session_token: assignment.session_token.clone(),
        connect_timeout: settings.connect_timeout,
        model_timeout: settings.model_timeout,
    };
    let relay = relay::start(options, objects.clone()).await;
    let mut secrets = assignment.secrets.clone();
    secrets.push(assignment.session_token.current());
    secrets.extend(relay.as_ref().ok().map(|relay| relay.secret().to_owned()));
    boot::logging::hide(secrets.iter().cloned());
    let redactor = Redactor::new(secrets);
    let journal = Journal::start(
        ports.clone(),
        lease,
        &head,
        lease_until,
        pace,
        redactor.clone(),
        Heartbeat::below(&assignment.base.join("var/shannon")),
    );
    let (running, is_running) = watch::channel(false);
    assignment.queue.taken(head.commands_taken);
    let commands = inbox::follow(
        ports.clone(),
        assignment.key.clone(),
        head.commands_taken,
        is_running,
        assignment.queue.clone(),
    );
    if head.recoveries > 0 {
        // A metric is made of it.
        tracing::warn!(
            session = %assignment.key.session,
            recoveries = head.recoveries,
            shannon_sessions_lost_total = 1,
            "a session whose runner was lost goes on"
        );
    }
    let supervision = Supervision {
        conversation: Conversation::new(head.turn, redactor).after_costs(head.total_cost_usd),
        last_ordinal: head.commands_taken,
        spec: head.spec.clone(),
        cuts: cuts::Cuts::new(tree, head.checkpoint.clone(), head.checkpoints),
        runs: runs::Runs::default(),
        taken: head.commands_taken,
        redone: Vec::new(),
        within_the_cut: Vec::new(),
        known_questions: Vec::new(),
        early_answers: Vec::new(),
        grants: head.grants.clone(),
        stored: policies::StoredPolicies::unread(),
        question_on_head: head.question.is_some(),
        forked_from: None,
        head,
        pending: std::collections::VecDeque::new(),
        unfinished: Vec::new(),
        ports,
        objects,
        assignment,
        fence,
        settings,
        journal,
        commands,
        running,
        ran: Duration::ZERO,
        stop,
    };
    supervision.run(relay).await
}

impl<P: Ports, O: SessionObjects> Supervision<P, O> {
    async fn run(mut self, relay: Result<Relay, crate::relay::RelayError>) -> Outcome {
        if self.assignment.isolation == Isolation::None {
            let words = "sessions are not isolated on this machine: what the session runs can read and \
                         change what the runner's user can";
            tracing::warn!("{words}");
            let entry = self
                .conversation
                .notice("not_isolated", words, self.ports.now());
            self.journal.note(entry);
        }
        let stop = match relay {
            Err(error) => End::broke_down(error.to_string()),
            Ok(relay) => match self.start(&relay).await {
                Err(stop) => stop,
                Ok(started) => match self.live(started, &relay).await {
                    Ok(outcome) => return outcome,
                    Err(stop) => stop,
                },
            },
        };
        if matches!(stop, Stop::Leave | Stop::Suspend(_)) {
            return Outcome::Left;
        }
        loop {
            if let Ok(outcome) = self.finish(&stop).await {
                return outcome;
            }
        }
    }

    /// From a CLI that is ready to an outcome, or a reason to end the session.
    async fn live(&mut self, mut started: Started, relay: &Relay) -> Result<Outcome, Stop> {
        loop {
            let stop = self.work(&mut started).await;
            let done = match &stop {
                Stop::Suspend(why) => self.suspend(why, &mut started).await,
                Stop::Leave => self.leave(&mut started).await.map(Suspension::Done),
                Stop::End(end) if end.transition == Transition::RanOutOfTime => Err(self
                    .end_turn_in_time(&mut started)
                    .await
                    .err()
                    .unwrap_or(stop)),
                Stop::End(_) | Stop::LeaseLost => Err(stop),
            };
            match done {
                Ok(Suspension::Done(outcome)) => {
                    started.transcript.flush().await;
                    started.shut_down(self.settings.kill_grace).await;
                    return Ok(outcome);
                }
                Ok(Suspension::GoOn) => {}
                Ok(Suspension::Relaunch) => started = self.relaunch(started, relay).await?,
                Err(stop) => {
                    self.stop_cli(&mut started, &stop).await;
                    return Err(stop);
                }
            }
        }
    }

    pub(crate) fn sandbox(&self) -> Result<Sandbox, crate::sandbox::launch::SandboxError> {
        Sandbox::prepare(
            self.assignment.isolation,
            &self.assignment.base,
            &self.assignment.runner_program,
        )
    }

    /// Returns when the task is asked to stop.
    pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
        if stop.wait_for(|stop| *stop).await.is_err() {
            // Nobody can ask any more.
            std::future::pending::<()>().await;
        }
    }
}
