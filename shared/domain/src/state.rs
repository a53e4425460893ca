//! The session's life as one pure function: [`after`]. Everything not listed is refused by name.
//!
//! ```text
//! requested ─→ provisioning ─→ idle ⇄ running ⇄ waiting (for a person)
//!                   ↑           └────────┬─────────┘
//!                resuming ←── suspended ←┘   (idle or waiting for its whole time)
//!                   ↑
//!                  lost ←── provisioning, idle, running, waiting, resuming
//! ```
//! Ends: `failed` and `cancelled` from everywhere, `timed_out` while a runner has it, `completed` by
//! an idle session or one that was suspended for its whole time. A session that is set back to a
//! checkpoint is suspended.

use std::fmt;

use thiserror::Error;

/// Where a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Recorded; no runner has taken it yet.
    Requested,
    /// A runner prepares the workspace and starts the CLI.
    Provisioning,
    /// A turn is running.
    Running,
    /// The CLI waits for a message.
    Idle,
    /// A turn waits for a person's answer.
    Waiting,
    /// Nothing runs; its checkpoint has everything. A message or an answer wakes it.
    Suspended,
    /// A runner was asked for and has not come yet; it will go on from the checkpoint.
    Resuming,
    /// Its runner vanished; the next one is about to be asked for.
    Lost,
    /// Ended: idle for its whole time, nothing left to do.
    Completed,
    /// Ended: it could not go on; the reason says why.
    Failed,
    /// Ended: someone cancelled it.
    Cancelled,
    /// Ended: it ran for longer than the deployment allows.
    TimedOut,
}

impl State {
    /// All states, in the order of a life.
    pub const ALL: [Self; 12] = [
        Self::Requested,
        Self::Provisioning,
        Self::Running,
        Self::Idle,
        Self::Waiting,
        Self::Suspended,
        Self::Resuming,
        Self::Lost,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::TimedOut,
    ];

    /// Nothing will happen in it any more.
    #[must_use]
    pub const fn is_ended(self) -> bool {
        matches!(
            self,
            Self::Completed | Self::Failed | Self::Cancelled | Self::TimedOut
        )
    }

    /// A runner holds its lease.
    #[must_use]
    pub const fn has_runner(self) -> bool {
        matches!(
            self,
            Self::Provisioning | Self::Running | Self::Idle | Self::Waiting
        )
    }

    /// It counts against the slots of its owner and its deployment.
    #[must_use]
    pub const fn holds_slot(self) -> bool {
        !self.is_ended() && !matches!(self, Self::Suspended)
    }

    /// A runner was asked for and has not come yet.
    #[must_use]
    pub const fn awaits_runner(self) -> bool {
        matches!(self, Self::Requested | Self::Resuming)
    }

    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Provisioning => "provisioning",
            Self::Running => "running",
            Self::Idle => "idle",
            Self::Waiting => "waiting",
            Self::Suspended => "suspended",
            Self::Resuming => "resuming",
            Self::Lost => "lost",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
        }
    }

    /// Reads what [`State::as_str`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What can happen to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// A runner took the lease.
    RunnerTookOver,
    /// Workspace and CLI are ready.
    BecameReady,
    /// The CLI began to work on a message.
    TurnStarted,
    /// The CLI has nothing left to do.
    TurnsFinished,
    /// The CLI asked a person.
    PersonAsked,
    /// The person answered.
    PersonAnswered,
    /// Its runner took a checkpoint and gave the machine back.
    WasSuspended,
    /// A runner is asked for: there is something to do.
    WasWoken,
    /// It was set back to a checkpoint.
    WasRewound,
    /// It was idle, or suspended, for its whole time.
    IdleTimeElapsed,
    /// It cannot go on.
    BrokeDown,
    /// Someone cancelled it.
    WasCancelled,
    /// It ran for too long.
    RanOutOfTime,
    /// Its lease expired, its task stopped, or none came.
    RunnerVanished,
}

impl Transition {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::RunnerTookOver,
        Self::BecameReady,
        Self::TurnStarted,
        Self::TurnsFinished,
        Self::PersonAsked,
        Self::PersonAnswered,
        Self::WasSuspended,
        Self::WasWoken,
        Self::WasRewound,
        Self::IdleTimeElapsed,
        Self::BrokeDown,
        Self::WasCancelled,
        Self::RanOutOfTime,
        Self::RunnerVanished,
    ];
}

/// A transition that the state does not know.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a session that is {state} does not know {transition:?}")]
pub struct IllegalTransition {
    /// Where the session was.
    pub state: State,
    /// What was asked of it.
    pub transition: Transition,
}

/// The state after `transition`.
///
/// # Errors
/// [`IllegalTransition`] for every pair that is not listed: the caller reloads and looks again.
pub const fn after(state: State, transition: Transition) -> Result<State, IllegalTransition> {
    use State::{
        Cancelled, Completed, Failed, Idle, Lost, Provisioning, Requested, Resuming, Running,
        Suspended, TimedOut, Waiting,
    };
    use Transition as On;
    match (state, transition) {
        (Requested | Resuming, On::RunnerTookOver) => Ok(Provisioning),
        (Provisioning, On::BecameReady) | (Running | Waiting, On::TurnsFinished) => Ok(Idle),
        (Provisioning | Idle, On::TurnStarted) | (Waiting, On::PersonAnswered) => Ok(Running),
        (Provisioning | Running, On::PersonAsked) => Ok(Waiting),
        (Idle | Waiting, On::WasSuspended) => Ok(Suspended),
        (Suspended | Lost, On::WasWoken) => Ok(Resuming),
        (Provisioning | Running | Idle | Waiting | Suspended | Resuming | Lost, On::WasRewound) => {
            Ok(Suspended)
        }
        (Idle | Suspended, On::IdleTimeElapsed) => Ok(Completed),
        (going_on, On::BrokeDown) if !going_on.is_ended() => Ok(Failed),
        (going_on, On::WasCancelled) if !going_on.is_ended() => Ok(Cancelled),
        (running, On::RanOutOfTime) if running.has_runner() => Ok(TimedOut),
        (Provisioning | Running | Idle | Waiting | Resuming, On::RunnerVanished) => Ok(Lost),
        _ => Err(IllegalTransition { state, transition }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
        assert_eq!(State::parse("Running"), None);
    }

    #[test]
    fn nothing_leaves_an_end() {
        for state in State::ALL.into_iter().filter(|state| state.is_ended()) {
            for transition in Transition::ALL {
                assert_eq!(
                    after(state, transition),
                    Err(IllegalTransition { state, transition })
                );
            }
        }
    }

    #[test]
    fn the_whole_table() {
        let mut table = Vec::new();
        for state in State::ALL {
            for transition in Transition::ALL {
                if let Ok(next) = after(state, transition) {
                    table.push(format!("{state} {transition:?} {next}"));
                }
            }
        }
        assert_eq!(
            table,
            [
                "requested RunnerTookOver provisioning",
                "requested BrokeDown failed",
                "requested WasCancelled cancelled",
                "provisioning BecameReady idle",
                "provisioning TurnStarted running",
                "provisioning PersonAsked waiting",
                "provisioning WasRewound suspended",
                "provisioning BrokeDown failed",
                "provisioning WasCancelled cancelled",
                "provisioning RanOutOfTime timed_out",
                "provisioning RunnerVanished lost",
                "running TurnsFinished idle",
                "running PersonAsked waiting",
                "running WasRewound suspended",
                "running BrokeDown failed",
                "running WasCancelled cancelled",
                "running RanOutOfTime timed_out",
                "running RunnerVanished lost",
                "idle TurnStarted running",
                "idle WasSuspended suspended",
                "idle WasRewound suspended",
                "idle IdleTimeElapsed completed",
                "idle BrokeDown failed",
                "idle WasCancelled cancelled",
                "idle RanOutOfTime timed_out",
                "idle RunnerVanished lost",
                "waiting TurnsFinished idle",
                "waiting PersonAnswered running",
                "waiting WasSuspended suspended",
                "waiting WasRewound suspended",
                "waiting BrokeDown failed",
                "waiting WasCancelled cancelled",
                "waiting RanOutOfTime timed_out",
                "waiting RunnerVanished lost",
                "suspended WasWoken resuming",
                "suspended WasRewound suspended",
                "suspended IdleTimeElapsed completed",
                "suspended BrokeDown failed",
                "suspended WasCancelled cancelled",
                "resuming RunnerTookOver provisioning",
                "resuming WasRewound suspended",
                "resuming BrokeDown failed",
                "resuming WasCancelled cancelled",
                "resuming RunnerVanished lost",
                "lost WasWoken resuming",
                "lost WasRewound suspended",
                "lost BrokeDown failed",
                "lost WasCancelled cancelled",
            ]
        );
    }

    #[test]
    fn only_a_runner_can_be_lost() {
        for state in State::ALL {
            assert_eq!(
                after(state, Transition::RunnerVanished).is_ok(),
                state.has_runner() || state == State::Resuming
            );
        }
    }

    #[test]
    fn whatever_goes_on_can_be_ended_by_somebody() {
        for state in State::ALL {
            assert_eq!(
                after(state, Transition::WasCancelled).is_ok(),
                !state.is_ended()
            );
        }
    }
}
