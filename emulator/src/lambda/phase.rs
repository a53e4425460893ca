//! What an instance is doing and what waits for one: the data of [`super::pool`].

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::outcome::{FunctionError, Outcome, StreamError};
use crate::process::{LogSink, ProcessHandle};

/// An accepted invocation.
pub(super) struct Job {
    pub(super) request_id: String,
    pub(super) payload: Bytes,
    pub(super) answer: oneshot::Sender<Outcome>,
}

impl Job {
    pub(super) fn new(payload: Bytes, answer: oneshot::Sender<Outcome>) -> Self {
        Self {
            request_id: Uuid::new_v4().to_string(),
            payload,
            answer,
        }
    }
}

/// What an instance is told about its invocation.
pub(super) struct Invocation {
    pub(super) request_id: String,
    pub(super) payload: Bytes,
}

/// The invocation that an instance works on.
pub(super) struct Active {
    pub(super) request_id: String,
    /// Taken by whoever answers.
    pub(super) answer: Option<oneshot::Sender<Outcome>>,
    pub(super) reason: Arc<OnceLock<StreamError>>,
    pub(super) began: Instant,
    /// When the whole response had been read.
    pub(super) done: Option<Instant>,
    pub(super) _timer: DropGuard,
}

pub(super) enum Phase {
    Starting {
        _timer: DropGuard,
    },
    Idle {
        poll: oneshot::Sender<Invocation>,
        /// Higher for the one that became idle last, which is used first.
        since: u64,
        _timer: DropGuard,
    },
    Busy(Active),
    Ending,
}

pub(super) struct Instance {
    pub(super) phase: Phase,
    pub(super) generation: u64,
    pub(super) process: Option<ProcessHandle>,
    pub(super) log: Option<LogSink>,
    pub(super) init_error: Option<FunctionError>,
}

impl Instance {
    pub(super) fn end(&mut self) {
        self.phase = Phase::Ending;
        // Without a handle yet: `Pool::started` ends it.
        if let Some(process) = &self.process {
            process.kill();
        }
    }

    pub(super) fn note(&self, line: String) {
        if let Some(log) = &self.log {
            log.note(line);
        }
    }
}

/// What is to be done after a dispatch, outside of the lock.
#[derive(Default)]
pub(super) struct Plan {
    /// Instances to start, each with what ends its initialisation timer.
    pub(super) start: Vec<(String, CancellationToken)>,
    /// Invocations that began.
    pub(super) timers: Vec<Timer>,
    /// Dispatch again after this pause: an instance was trusted to become idle.
    pub(super) look_again: Option<Duration>,
}

/// An invocation whose timeout has to be watched.
pub(super) struct Timer {
    pub(super) instance: String,
    pub(super) request_id: String,
    /// Cancelled when there is nothing to watch any more.
    pub(super) over: CancellationToken,
}
