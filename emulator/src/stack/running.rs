//! What can be asked of a running stack, and how it is stopped.

use std::time::Duration;

use super::{RunningStack, state::Description};
use crate::process::Logs;

/// What a task has from SIGTERM to SIGKILL when the emulator stops.
const TASK_STOP: Duration = Duration::from_secs(10);

impl RunningStack {
    /// What others may know.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The bearer token of the stack.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Lines of functions and tasks.
    #[must_use]
    pub fn logs(&self) -> &Logs {
        &self.logs
    }

    /// Stops everything and says what it does. Cut short, what is left dies with the process.
    pub async fn shutdown(self, say: &(dyn Fn(&str) + Send + Sync)) {
        self.forget();
        say("stopping sessions ...");
        self.aws.shutdown_within(TASK_STOP).await;
        say("stopping functions ...");
        self.lambda.shutdown().await;
        self.front.close().await;
        self.model.shutdown().await;
        say("stopped");
    }

    /// Stops as a service does: takes no more requests, waits for those that run and for the last
    /// checkpoints of the sessions, each for at most `limit`, then ends the rest. The next start on
    /// this state goes on with the sessions. False when something had to be cut off; of that, too,
    /// nothing is half done that the next start does not finish.
    pub async fn drain(mut self, limit: Duration, say: &(dyn Fn(&str) + Send + Sync)) -> bool {
        self.forget();
        say("taking no more requests; waiting for those that run, and for sessions");
        let (requests, sessions) =
            tokio::join!(self.front.drain(limit), self.aws.stop_tasks(limit));
        if !requests {
            say("requests that still run are cut off: the stop timeout passed");
        }
        if !sessions {
            say("sessions that did not end are killed: the stop timeout passed");
        }
        self.aws.shutdown_within(Duration::ZERO).await;
        self.lambda.shutdown().await;
        self.front.close().await;
        self.model.shutdown().await;
        say("stopped");
        requests && sessions
    }

    /// Comes back when nobody can reach the stack any more; it has to be stopped then.
    pub async fn failed(&mut self) {
        self.front.failed().await;
    }

    /// The address that clients are told.
    #[must_use]
    pub fn public_url(&self) -> &str {
        &self.public_url
    }

    /// Why sessions are not isolated, where they are not.
    #[must_use]
    pub fn isolation_problem(&self) -> Option<&str> {
        self.isolation_problem.as_deref()
    }

    fn forget(&self) {
        if let Err(error) = self.state.forget() {
            tracing::warn!(%error, "cannot remove emulator.json");
        }
    }
}
