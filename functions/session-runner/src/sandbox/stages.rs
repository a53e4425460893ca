//! The stages of a sandbox, as subcommands of this program. Each runs with one thread.
//!
//! ```text
//! enter PLAN      waits for the session and passes signals on      (child of the runner)
//!   first PLAN    first process of the namespace: builds the root  (namespaces only)
//!     last ..     takes the last privileges away and becomes the program
//! ```
//! Should the runner die, the kernel kills `enter`, then `first`, and with `first` the namespace.
//! Without isolation `enter` stays too, sees within half a second that the runner is gone, and kills
//! what the program started. So it does for a program that runs beside others of the same uid, where
//! that uid is all that separates: as that user, and not as root.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;

use super::bare;
use super::plan::{Isolation, Plan, STAGE_FAILED};
#[cfg(target_os = "linux")]
use super::user;

/// Asks `enter` to kill everything at once; it ends when all of it is gone.
pub(crate) const KILL_NOW: Signal = Signal::SIGQUIT;

/// Why a stage gave up.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A system call was refused. Before the program was started nothing of the session has run;
    /// after it something may live on.
    #[error("cannot {attempted}: {source}")]
    System {
        /// What was tried.
        attempted: String,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// The plan cannot be read or makes no sense. Nothing of the session has run.
    #[error("{0}")]
    Plan(String),
    /// Whoever started the stage is gone. Nothing of the session has run.
    #[error("the process that started the sandbox is gone")]
    Orphaned,
    /// The session ran as another user too (sudo, where there is no isolation), and that lives on. End
    /// it by hand.
    #[error(
        "what the session started as another user cannot be ended and lives on: processes {0:?}"
    )]
    Survivors(Vec<u32>),
}

/// Names what was tried when a system call fails.
pub(crate) trait Attempted<T> {
    fn attempted(self, what: impl Into<String>) -> Result<T, StageError>;
}

impl<T, E: Into<std::io::Error>> Attempted<T> for Result<T, E> {
    fn attempted(self, what: impl Into<String>) -> Result<T, StageError> {
        self.map_err(|error| StageError::System {
            attempted: what.into(),
            source: error.into(),
        })
    }
}

/// Runs the stage that `arguments` name, and returns the code to exit with.
///
/// # Errors
/// [`StageError`]; print it behind [`STAGE_FAILED`] and exit with
/// [`super::plan::STAGE_FAILED_CODE`].
pub fn run(arguments: &[OsString]) -> Result<i32, StageError> {
    let mut arguments = arguments.iter();
    let stage = arguments
        .next()
        .and_then(|stage| stage.to_str())
        .unwrap_or_default();
    let rest: Vec<&OsString> = arguments.collect();
    match (stage, &rest[..]) {
        ("enter", [plan]) => enter(Path::new(plan)),
        #[cfg(target_os = "linux")]
        ("first", [plan, parent]) => super::namespaces::first(Path::new(plan), number(parent)?),
        #[cfg(target_os = "linux")]
        ("last", [program, arguments @ ..]) => Err(super::namespaces::last(program, arguments)),
        #[cfg(target_os = "linux")]
        ("kill-user", [user]) => user::kill_all(number(user)?).map(|()| 0),
        _ => Err(StageError::Plan("use: sandbox enter PLAN".to_owned())),
    }
}

/// The line a failed stage leaves on its standard error.
#[must_use]
pub fn failure_line(error: &StageError) -> String {
    format!("{STAGE_FAILED}{error}")
}

fn number(text: &OsString) -> Result<u32, StageError> {
    let number = text.to_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| StageError::Plan("a process or user id is not a number".to_owned()))
}

/// Reads the plan at `path`.
pub(crate) fn read_plan(path: &Path) -> Result<Plan, StageError> {
    let bytes = std::fs::read(path).attempted(format!("read the plan {}", path.display()))?;
    let plan: Plan = serde_json::from_slice(&bytes)
        .map_err(|error| StageError::Plan(format!("the plan is not one: {error}")))?;
    if plan.command.is_empty() {
        return Err(StageError::Plan("the plan has no command".to_owned()));
    }
    Ok(plan)
}

fn enter(path: &Path) -> Result<i32, StageError> {
    let plan = read_plan(path)?;
    // Some have to outlive their parent, for as long as it takes to kill the rest.
    let stays =
        plan.isolation == Isolation::None || plan.beside && plan.isolation == Isolation::Uid;
    if !stays {
        die_with_parent()?;
    }
    if nix::unistd::getppid().as_raw().cast_unsigned() != plan.runner {
        return Err(StageError::Orphaned);
    }
    match plan.isolation {
        #[cfg(target_os = "linux")]
        Isolation::Namespaces => super::namespaces::enter(path),
        #[cfg(target_os = "linux")]
        Isolation::Uid if plan.beside => user::become_and_keep(&plan),
        #[cfg(target_os = "linux")]
        Isolation::Uid => Err(user::become_and_run(&plan)),
        #[cfg(not(target_os = "linux"))]
        Isolation::Namespaces | Isolation::Uid => Err(StageError::Plan(format!(
            "the isolation {:?} needs Linux",
            plan.isolation.as_str()
        ))),
        Isolation::None => bare::enter(&plan),
    }
}

/// Asks the kernel to kill this process when its parent dies. Other systems than Linux cannot.
pub(crate) fn die_with_parent() -> Result<(), StageError> {
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
        .attempted("bind to the parent's life")?;
    Ok(())
}

/// Becomes the program of the plan, in this process. Returns only if that fails.
pub(crate) fn replace(plan: &Plan) -> StageError {
    let program = PathBuf::from(&plan.command[0]);
    let error = Command::new(&program)
        .args(&plan.command[1..])
        .env_clear()
        .envs(plan.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&plan.working_directory)
        .exec();
    StageError::System {
        attempted: format!("start {}", program.display()),
        source: error,
    }
}
