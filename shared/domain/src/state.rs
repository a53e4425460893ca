//! The session's life as one pure function: [`after`]. Everything not listed is refused by name.
//!
//! ```text
//! requested → provisioning → running ⇄ idle → completed | failed | cancelled | timed_out
//!                    └────────────┴───────┴──→ lost (its lease expired)
//! ```
//! Waiting, suspended and resuming come with approvals and durable sessions.

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
    /// Ended: idle for its whole time, nothing left to do.
    Completed,
    /// Ended: it could not go on; the reason says why.
    Failed,
    /// Ended: someone cancelled it.
    Cancelled,
    /// Ended: it ran for longer than the deployment allows.
    TimedOut,
    /// Ended: its runner vanished.
    Lost,
}

impl State {
    /// All states, in the order of a life.
    pub const ALL: [Self; 9] = [
        Self::Requested,
        Self::Provisioning,
        Self::Running,
        Self::Idle,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::TimedOut,
        Self::Lost,
    ];

    /// Nothing will happen in it any more.
    #[must_use]
    pub const fn is_ended(self) -> bool {
        matches!(
            self,
            Self::Completed | Self::Failed | Self::Cancelled | Self::TimedOut | Self::Lost
        )
    }

    /// A runner holds its lease.
    #[must_use]
    pub const fn has_runner(self) -> bool {
        matches!(self, Self::Provisioning | Self::Running | Self::Idle)
    }

    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Provisioning => "provisioning",
            Self::Running => "running",
            Self::Idle => "idle",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
            Self::Lost => "lost",
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
    /// It was idle for its whole time.
    IdleTimeElapsed,
    /// It cannot go on.
    BrokeDown,
    /// Someone cancelled it.
    WasCancelled,
    /// It ran for too long.
    RanOutOfTime,
    /// Its lease expired or its task stopped.
    RunnerVanished,
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
        Cancelled, Completed, Failed, Idle, Lost, Provisioning, Requested, Running, TimedOut,
    };
    use Transition as On;
    match (state, transition) {
        (Requested, On::RunnerTookOver) => Ok(Provisioning),
        (Provisioning, On::BecameReady) | (Running, On::TurnsFinished) => Ok(Idle),
        (Idle, On::TurnStarted) => Ok(Running),
        (Idle, On::IdleTimeElapsed) => Ok(Completed),
        (Requested | Provisioning | Running | Idle, On::BrokeDown) => Ok(Failed),
        (Requested | Provisioning | Running | Idle, On::WasCancelled) => Ok(Cancelled),
        (Provisioning | Running | Idle, On::RanOutOfTime) => Ok(TimedOut),
        (Provisioning | Running | Idle, On::RunnerVanished) => Ok(Lost),
        _ => Err(IllegalTransition { state, transition }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSITIONS: [Transition; 9] = [
        Transition::RunnerTookOver,
        Transition::BecameReady,
        Transition::TurnStarted,
        Transition::TurnsFinished,
        Transition::IdleTimeElapsed,
        Transition::BrokeDown,
        Transition::WasCancelled,
        Transition::RanOutOfTime,
        Transition::RunnerVanished,
    ];

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
            for transition in TRANSITIONS {
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
            for transition in TRANSITIONS {
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
                "provisioning BrokeDown failed",
                "provisioning WasCancelled cancelled",
                "provisioning RanOutOfTime timed_out",
                "provisioning RunnerVanished lost",
                "running TurnsFinished idle",
                "running BrokeDown failed",
                "running WasCancelled cancelled",
                "running RanOutOfTime timed_out",
                "running RunnerVanished lost",
                "idle TurnStarted running",
                "idle IdleTimeElapsed completed",
                "idle BrokeDown failed",
                "idle WasCancelled cancelled",
                "idle RanOutOfTime timed_out",
                "idle RunnerVanished lost",
            ]
        );
    }

    #[test]
    fn only_a_runner_can_be_lost() {
        for state in State::ALL {
            assert_eq!(
                after(state, Transition::RunnerVanished).is_ok(),
                state.has_runner()
            );
        }
    }
}
