//! A stack of the drill: a process of its own, so that it can be killed.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::AsyncReadExt as _,
    process::{Child, Command},
};

use super::DrillError;
use crate::{
    encryption::StateKey,
    stack::state::{self, Description},
    token,
    try_session::Client,
};

/// Longer than a start takes, a build included.
const START: Duration = Duration::from_secs(900);
/// Longer than the end takes.
const END: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// How the stacks of a drill are started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// This program.
    pub program: PathBuf,
    /// Its arguments, but for the state directory.
    pub arguments: Vec<OsString>,
    /// The key of the state, if it is to be encrypted.
    pub key: Option<StateKey>,
    /// The token, if it is not to be made.
    pub token: Option<String>,
}

/// A running stack; killed when dropped.
pub(super) struct Stack {
    child: Child,
    description: Description,
    token: String,
}

impl Stack {
    /// Starts one and waits until it is ready.
    pub(super) async fn start(launch: &Launch, state: &Path) -> Result<Self, DrillError> {
        let failed = |problem: String| DrillError::Start {
            state: state.to_owned(),
            problem,
        };
        let mut child = Command::new(&launch.program)
            .args(&launch.arguments)
            .arg("--state")
            .arg(state)
            .env("SHANNON_BACKUPS", "false")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let mut errors = child.stderr.take();
        // Read to its end, so that it never waits for us.
        let said = tokio::spawn(async move {
            let mut said = Vec::new();
            if let Some(errors) = &mut errors {
                // What was read before is worth as much.
                drop(errors.read_to_end(&mut said).await);
            }
            String::from_utf8_lossy(&said).into_owned()
        });
        let start = Instant::now();
        let description = loop {
            match state::running(state) {
                Ok(Some(description)) if Some(description.pid) == child.id() => break description,
                Ok(_) => {}
                Err(error) => return Err(failed(error.to_string())),
            }
            let ended = child
                .try_wait()
                .map_err(|error| failed(error.to_string()))?;
            if let Some(status) = ended {
                let said = said.await.unwrap_or_default();
                let last = said.lines().last().unwrap_or_default();
                return Err(failed(format!("{status}: {last}")));
            }
            if start.elapsed() > START {
                return Err(failed("it is not ready after 15 minutes".to_owned()));
            }
            tokio::time::sleep(PAUSE).await;
        };
        let token = match &launch.token {
            Some(token) => Ok(token.clone()),
            None => token::kept(&state.join(state::TOKEN), launch.key.as_ref()),
        };
        Ok(Self {
            child,
            description,
            token: token.map_err(|error| failed(error.to_string()))?,
        })
    }

    pub(super) fn client(&self) -> Arc<Client> {
        let url = self.description.mcp_url.clone();
        Arc::new(Client::new(url, self.token.clone()))
    }

    /// Ends it as a power cut would: what it started dies with it.
    pub(super) async fn kill(mut self) {
        if let Err(error) = self.child.kill().await {
            tracing::warn!(%error, "the stack is already gone");
        }
    }

    /// Asks it to end, and waits.
    pub(super) async fn stop(mut self) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(id) = id
            && let Err(error) = kill(Pid::from_raw(id), Signal::SIGTERM)
        {
            tracing::warn!(%error, "the stack is already gone");
        }
        if tokio::time::timeout(END, self.child.wait()).await.is_err() {
            self.kill().await;
        }
    }
}
