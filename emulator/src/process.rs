//! Starting and ending the processes of the stack.
//!
//! Each function instance and each task is one operating system process in a process group of its
//! own. None may outlive the emulator, whatever ends it: see [`wrapper`]. What they print goes to
//! the [`logs`].

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use tokio::{
    process::{Child, ChildStdin, Command},
    runtime::Handle,
    sync::oneshot,
    task::JoinHandle,
};

pub mod logs;
mod wrapper;

pub use logs::{LogLimits, LogLine, LogSink, LogStream, Logs, OwnLog};
pub use wrapper::run_child;

/// How long a process that ended is given until what it printed has arrived; only one that left
/// its process group and holds the pipe open makes us wait.
const DRAIN: Duration = Duration::from_secs(1);

/// What to start.
#[derive(Clone, Debug)]
pub struct ProcessSpec {
    /// What the process is in log messages of the emulator (`call`, `session-runner`).
    pub name: String,
    /// The binary. It has to exist; the search path is not used.
    pub program: PathBuf,
    /// Arguments after the program's name.
    pub arguments: Vec<String>,
    /// The whole environment: nothing of the emulator's own is passed on.
    pub environment: Vec<(String, String)>,
    /// Working directory; the emulator's when `None`.
    pub directory: Option<PathBuf>,
    /// Where its lines go.
    pub log: LogSink,
}

/// Why a process could not be started. Nothing is left behind in any case.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// Build it, or correct the path.
    #[error("no executable file at {0}")]
    NotExecutable(PathBuf),
    /// The program that embeds this library did not call [`run_child`] or [`set_wrapper`].
    #[error("the emulator's own binary is not known, so no child could be tied to it")]
    NoWrapper,
    /// The operating system refused; retrying helps when it was short of processes or memory.
    #[error("cannot start {program}")]
    Start {
        /// The binary that was to run.
        program: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

/// A started process. Dropping it kills its whole process group.
#[derive(Debug)]
pub struct Process {
    child: Child,
    handle: ProcessHandle,
    pumps: Vec<JoinHandle<()>>,
    /// Held open on systems without a parent-death signal: its end tells the wrapper that we died.
    _lifeline: Option<ChildStdin>,
}

/// Sends signals to a process that someone else waits for. Does nothing once it was waited for.
#[derive(Clone, Debug)]
pub struct ProcessHandle {
    id: Pid,
    ended: Arc<AtomicBool>,
}

impl ProcessHandle {
    /// Asks the process to end (SIGTERM, to it alone).
    pub fn terminate(&self) {
        if !self.ended.load(Ordering::Acquire) {
            report(self.id, signal::kill(self.id, Signal::SIGTERM));
        }
    }

    /// Whether the process has ended. On Linux also before anybody has waited for it, so that nothing
    /// more is given to one that was killed just now.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        if self.ended.load(Ordering::Acquire) {
            return true;
        }
        #[cfg(target_os = "linux")]
        {
            // `wait` tells once the last thread is gone; this, from the first on.
            let status = std::fs::read_to_string(format!("/proc/{}/stat", self.id));
            let state = status.as_ref().map(|text| text.rsplit(") ").next());
            !matches!(state, Ok(Some(state)) if !state.starts_with(['Z', 'X']))
        }
        #[cfg(not(target_os = "linux"))]
        false
    }

    /// Ends the process and all of its process group at once (SIGKILL).
    pub fn kill(&self) {
        if !self.ended.load(Ordering::Acquire) {
            report(self.id, signal::killpg(self.id, Signal::SIGKILL));
        }
    }
}

fn report(id: Pid, outcome: nix::Result<()>) {
    match outcome {
        // Gone already is what we wanted; macOS says EPERM for a group of which only zombies remain.
        Ok(()) | Err(nix::Error::ESRCH | nix::Error::EPERM) => {}
        Err(error) => tracing::warn!(process = id.as_raw(), %error, "cannot signal a process"),
    }
}

impl Process {
    /// The process id, which is also the id of its process group.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.handle.id.as_raw().unsigned_abs()
    }

    /// Waits until the process has ended and everything it printed is in its log; whatever it left
    /// running in its process group is killed. Safe to cancel and to call again: the answer stays.
    ///
    /// # Errors
    /// When the operating system cannot tell; treat the process as ended.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await;
        if !self.handle.ended.swap(true, Ordering::AcqRel) {
            report(
                self.handle.id,
                signal::killpg(self.handle.id, Signal::SIGKILL),
            );
        }
        while let Some(pump) = self.pumps.last_mut() {
            match tokio::time::timeout(DRAIN, pump).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "a log reader failed"),
                Err(_) => tracing::warn!(
                    process = self.handle.id.as_raw(),
                    "something outside the process group keeps the output open"
                ),
            }
            self.pumps.pop();
        }
        status
    }

    /// Asks the process to end (SIGTERM, to it alone).
    pub fn terminate(&self) {
        self.handle.terminate();
    }

    /// Ends the process and all of its process group at once (SIGKILL).
    pub fn kill(&self) {
        self.handle.kill();
    }

    /// Something to signal it with while another task waits for it.
    #[must_use]
    pub fn handle(&self) -> ProcessHandle {
        self.handle.clone()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.handle.kill();
    }
}

/// Starts a process that ends when the emulator ends, however that happens.
///
/// # Errors
/// See [`SpawnError`]. A binary that exists but cannot run (wrong architecture, no interpreter) is
/// no error here: the process then ends at once with a code that is not zero and its log says why.
pub async fn spawn(spec: ProcessSpec) -> Result<Process, SpawnError> {
    if !executable(&spec.program) {
        return Err(SpawnError::NotExecutable(spec.program));
    }
    let wrapper = wrapper_path().ok_or(SpawnError::NoWrapper)?;
    let mode = wrapper::Mode::of_this_system();
    let mut command = Command::new(wrapper);
    command
        .args(wrapper::arguments(mode, &spec.program, &spec.arguments))
        .env_clear()
        .envs(spec.environment.iter().map(|(name, value)| (name, value)))
        .stdin(match mode {
            wrapper::Mode::Exec => Stdio::null(),
            wrapper::Mode::Keep => Stdio::piped(),
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if let Some(directory) = &spec.directory {
        command.current_dir(directory);
    }
    let mut child = start(command).await.map_err(|source| SpawnError::Start {
        program: spec.program.clone(),
        source,
    })?;
    let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) else {
        return Err(SpawnError::Start {
            program: spec.program,
            source: io::Error::other("the process has no id"),
        });
    };
    let mut pumps = Vec::with_capacity(2);
    if let Some(output) = child.stdout.take() {
        pumps.push(tokio::spawn(
            spec.log.clone().pump(LogStream::Output, output),
        ));
    }
    if let Some(errors) = child.stderr.take() {
        pumps.push(tokio::spawn(spec.log.pump(LogStream::Error, errors)));
    }
    tracing::debug!(name = spec.name, process = id, "process started");
    Ok(Process {
        _lifeline: child.stdin.take(),
        child,
        handle: ProcessHandle {
            id: Pid::from_raw(id),
            ended: Arc::default(),
        },
        pumps,
    })
}

fn executable(program: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(program)
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

static WRAPPER: RwLock<Option<PathBuf>> = RwLock::new(None);

/// Says which binary ties children to this process, for programs that embed the emulator without
/// being it (tests): one whose `main` begins with [`run_child`]. The last call counts.
pub fn set_wrapper(binary: impl AsRef<OsStr>) {
    *WRAPPER.write().unwrap_or_else(PoisonError::into_inner) = Some(PathBuf::from(binary.as_ref()));
}

fn wrapper_path() -> Option<PathBuf> {
    WRAPPER
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

struct Order {
    command: Command,
    runtime: Handle,
    answer: oneshot::Sender<io::Result<Child>>,
}

/// Forks on one thread that lives as long as this process: the parent-death signal of Linux fires
/// when the *thread* that forked ends, and the runtime's threads come and go.
async fn start(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, queue) = mpsc::channel::<Order>();
        let started = std::thread::Builder::new()
            .name("process-spawner".into())
            .spawn(move || {
                for mut order in queue {
                    let _context = order.runtime.enter();
                    let child = order.command.kill_on_drop(true).spawn();
                    // Nobody waits any more: dropping the child kills it.
                    drop(order.answer.send(child));
                }
            });
        if let Err(error) = started {
            tracing::error!(%error, "cannot start the thread that starts processes");
        }
        orders
    });
    let (answer, started) = oneshot::channel();
    let gone = || io::Error::other("the thread that starts processes is not running");
    spawner
        .send(Order {
            command,
            runtime: Handle::current(),
            answer,
        })
        .map_err(|_| gone())?;
    started.await.map_err(|_| gone())?
}
