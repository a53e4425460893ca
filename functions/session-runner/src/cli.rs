//! The CLI as a process: its launch in the sandbox, its streams, and its end.
//!
//! Both outputs are drained for as long as they are open ([`hearing`]); what is written to its input
//! never blocks the caller.

mod hearing;

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use claude::launch::Launch;
use claude::lines::{LineReader, Piece};
use tokio::io::AsyncWriteExt;
use tokio::process::ChildStdin;
use tokio::sync::mpsc;

pub use hearing::Hearing;
pub(crate) use hearing::LINE_BYTES;

use crate::sandbox::launch::{Place, Sandbox, SandboxError};
use crate::sandbox::session::Session;

/// What the CLI says.
#[derive(Debug)]
pub enum Heard {
    /// A line of its output, or one that was too long.
    Output(Piece),
    /// What it wrote to its standard error since the last time.
    Warning {
        /// The first lines of it.
        text: String,
        /// How many more there were.
        more: u64,
    },
    /// Its output has ended: it is ending, or has ended.
    Closed,
}

/// A running CLI. Dropping it kills the first stage of its sandbox, and with it everything.
pub struct Cli {
    session: Session,
    input: Option<mpsc::UnboundedSender<Vec<u8>>>,
    /// What it says.
    pub heard: Hearing,
}

/// Sizes for reading its output.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// Bytes asked for at once.
    pub chunk_bytes: usize,
    /// Longest line.
    pub line_bytes: usize,
    /// Bytes of lines that wait for the supervisor, unless one line alone has more.
    pub buffer_bytes: usize,
}

/// Where the session sees the program.
///
/// # Errors
/// [`SandboxError::File`] when there is no such file.
pub fn program(sandbox: &Sandbox, claude: &Path) -> Result<Place, SandboxError> {
    let outside = claude.canonicalize().map_err(|source| SandboxError::File {
        attempted: format!("find {}", claude.display()),
        source,
    })?;
    let inside = match sandbox.isolation() {
        crate::sandbox::plan::Isolation::Namespaces => PathBuf::from("/run/claude-code/claude"),
        _ => outside.clone(),
    };
    Ok(Place { outside, inside })
}

impl Cli {
    /// Starts the CLI in the sandbox.
    ///
    /// # Errors
    /// [`SandboxError`]. A CLI that cannot run shows as the end of its output.
    pub fn start(
        sandbox: &Sandbox,
        program: &Place,
        launch: &Launch,
        working_directory: &Path,
        reading: Reading,
    ) -> Result<Self, SandboxError> {
        let mut command = vec![program.inside.display().to_string()];
        command.extend(launch.arguments());
        let programs = std::slice::from_ref(program);
        let mut session =
            sandbox.start(command, launch.environment(), working_directory, programs)?;
        let (input, lines) = mpsc::unbounded_channel();
        let streams = (
            session.child.stdin.take(),
            session.child.stdout.take(),
            session.child.stderr.take(),
        );
        let (Some(stdin), Some(stdout), Some(stderr)) = streams else {
            return Err(SandboxError::Unsupported(
                "the CLI was started without pipes".to_owned(),
            ));
        };
        tokio::spawn(feed(stdin, lines));
        let reader = LineReader::new(stdout, reading.chunk_bytes, reading.line_bytes);
        let heard = Hearing::start(reader, stderr, reading.chunk_bytes, reading.buffer_bytes);
        Ok(Cli {
            session,
            input: Some(input),
            heard,
        })
    }

    /// Writes one line to the CLI. One that has ended reads nothing, which its output tells.
    pub fn tell(&self, line: Vec<u8>) {
        if let Some(input) = &self.input {
            let _ = input.send(line);
        }
    }

    /// Closes its input: it finishes and ends.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Asks it to end at once (SIGTERM).
    pub fn terminate(&self) {
        self.session.terminate();
    }

    /// Waits up to `grace` for it to end by itself.
    pub async fn ended_within(&mut self, grace: Duration) -> Option<ExitStatus> {
        tokio::time::timeout(grace, self.session.child.wait())
            .await
            .ok()?
            .ok()
    }

    /// Kills it and everything it started; returns when all of that is gone.
    ///
    /// # Errors
    /// The system's, if something survives.
    pub async fn kill_all(&mut self) -> std::io::Result<ExitStatus> {
        self.session.kill_all().await
    }
}

async fn feed(mut stdin: ChildStdin, mut lines: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(line) = lines.recv().await {
        let written = stdin.write_all(&line).await;
        if let Err(error) = written.and(stdin.flush().await) {
            // It has closed its input; that it ended is heard on its output.
            tracing::debug!(%error, "the CLI reads no more");
            return;
        }
    }
}
