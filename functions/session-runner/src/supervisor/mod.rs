//! Runs one session from the lease to its end.
//!
//! ```text
//! acquire ─ prepare the workspace ─ start the CLI ─ ready ─┬─ idle ⇄ running ─┬─ end
//!                       └──────────────── any failure, cancel, signal ────────┘
//! ```
//! A command is taken durably before the CLI sees it, and the CLI knows it by a UUID made from
//! session and command, so that handing it over twice runs it once. Without the lease nothing is
//! written and everything dies at once.

pub mod conversation;
mod ending;
mod inbox;
mod running;
mod starting;

use std::path::PathBuf;
use std::sync::Arc;

use domain::ports::{AcquireError, Clock, IdSource, Inbox, SessionLog};
use domain::{SessionKey, State, Transition};
use tokio::sync::{mpsc, watch};

use crate::journal::{Journal, LIVE_INTERVAL, Pace};
use crate::objects::SessionObjects;
use crate::redact::Redactor;
use crate::relay::{self, Relay, RelayOptions};
use crate::sandbox::launch::Sandbox;
use crate::sandbox::plan::Isolation;
use crate::settings::RunnerSettings;
use conversation::Conversation;

/// Everything a session needs of the store.
pub trait Ports: SessionLog + Inbox + Clock + IdSource + 'static {}
impl<P: SessionLog + Inbox + Clock + IdSource + 'static> Ports for P {}

/// Which session, and where it runs.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// The session.
    pub key: SessionKey,
    /// The task's name, which repeats the lease to the same runner.
    pub task: String,
    /// First token for the model gateway.
    pub session_token: String,
    /// Other secrets of this process, to be kept out of events.
    pub secrets: Vec<String>,
    /// How the CLI is kept apart.
    pub isolation: Isolation,
    /// Where the session's directories are made; it belongs to the runner.
    pub base: PathBuf,
    /// This program.
    pub runner_program: PathBuf,
    /// Told the CLI's version once it is ready.
    pub claude_version: watch::Sender<Option<String>>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The session is not (any more) for this runner. Nothing was written.
    NotOurs(String),
    /// The session ended, and the log says so.
    Ended(State),
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
    pub(crate) transcript: crate::transcript::Transcript<O>,
    pub(crate) commands: mpsc::Receiver<domain::Command>,
    /// Commands that were read and not taken.
    pub(crate) pending: std::collections::VecDeque<domain::Command>,
    /// Messages that an ending session took and did not do.
    pub(crate) unfinished: Vec<domain::CommandId>,
    /// The last command read.
    pub(crate) last_ordinal: u64,
    pub(crate) running: watch::Sender<bool>,
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
    };
    let fence = lease.fence;
    let journal = Journal::start(ports.clone(), lease, &head, lease_until, pace);
    let (running, is_running) = watch::channel(false);
    let commands = inbox::follow(
        ports.clone(),
        assignment.key.clone(),
        head.commands_taken,
        is_running,
    );
    let options = RelayOptions {
        gateway_url: settings.gateway_url.clone(),
        session_token: assignment.session_token.clone(),
        connect_timeout: settings.connect_timeout,
        model_timeout: settings.model_timeout,
    };
    let relay = relay::start(options, objects.clone()).await;
    let mut secrets = assignment.secrets.clone();
    secrets.push(assignment.session_token.clone());
    secrets.extend(relay.as_ref().ok().map(|relay| relay.secret().to_owned()));
    let supervision = Supervision {
        transcript: crate::transcript::Transcript::new(objects.clone(), fence),
        conversation: Conversation::new(head.turn, Redactor::new(secrets)),
        last_ordinal: head.commands_taken,
        spec: head.spec,
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
                Ok(mut started) => {
                    let stop = loop {
                        let stop = self.work(&mut started).await;
                        if !self.ends_cleanly(&stop) {
                            break stop;
                        }
                        // An idle session ends in the log first: a command that came meanwhile
                        // must still find a CLI.
                        match self.finish(&stop).await {
                            Ok(outcome) => {
                                started.shut_down(self.settings.kill_grace).await;
                                return outcome;
                            }
                            Err(ending::CommandCame) => started.stay_idle(),
                        }
                    };
                    self.stop_cli(&mut started, &stop).await;
                    stop
                }
            },
        };
        loop {
            if let Ok(outcome) = self.finish(&stop).await {
                return outcome;
            }
        }
    }

    fn ends_cleanly(&self, stop: &Stop) -> bool {
        matches!(
            stop,
            Stop::End(End {
                transition: Transition::IdleTimeElapsed,
                ..
            })
        )
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
