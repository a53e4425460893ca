//! The runner's side of a sandbox: the session's directories, starting a program, and the end of
//! everything that it started.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use tokio::process::Command;

use super::plan::{Bind, Isolation, Plan};
use super::session::Session;

/// One directory of a session, on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// As the runner sees it.
    pub outside: PathBuf,
    /// As the session sees it.
    pub inside: PathBuf,
}

/// The directories of a session.
#[derive(Debug, Clone)]
pub struct Directories {
    /// Its files.
    pub workspace: Place,
    /// `CLAUDE_CONFIG_DIR`.
    pub claude: Place,
    /// Home.
    pub home: Place,
    /// Temporary files.
    pub temporary: Place,
    /// Gate socket and settings: the session reads, only the runner writes.
    pub run: Place,
    /// For the runner alone.
    pub private: PathBuf,
}

/// Why a sandbox could not be made or started.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A file operation failed; a full disk shows here.
    #[error("cannot {attempted}")]
    File {
        /// What was tried.
        attempted: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The isolation cannot be had here.
    #[error("{0}")]
    Unsupported(String),
}

fn file_error(attempted: String) -> impl FnOnce(std::io::Error) -> SandboxError {
    move |source| SandboxError::File { attempted, source }
}

/// What the session may not have of the runner's, and how it is kept apart.
#[derive(Debug, Clone)]
pub struct Sandbox {
    isolation: Isolation,
    runner_program: PathBuf,
    user: Option<u32>,
    directories: Directories,
}

/// First uid for sessions: far above those of people and services, and outside the ranges that
/// systems give to containers by default (100000 to 165535 for the first).
const FIRST_USER: u32 = 2_000_000;

/// A uid that no other living sandbox has: processes that live at the same time have different
/// process ids, and one process counts its own sandboxes.
fn unused_user() -> u32 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    /// Process ids are below this (`PID_MAX_LIMIT` of Linux).
    const PROCESS_IDS: u32 = 4_194_304;
    let count = COUNT.fetch_add(1, Ordering::Relaxed) % 900;
    FIRST_USER + std::process::id() + count * PROCESS_IDS
}

impl Sandbox {
    /// Makes the session's directories below `base`, which must exist and belong to the runner.
    /// `runner_program` is the program with the sandbox stages. Running it again on the same base
    /// keeps what is there.
    ///
    /// # Errors
    /// [`SandboxError`]; the session cannot run.
    pub fn prepare(
        isolation: Isolation,
        base: &Path,
        runner_program: &Path,
    ) -> Result<Self, SandboxError> {
        let base = base
            .canonicalize()
            .map_err(file_error(format!("find {}", base.display())))?;
        let root = nix::unistd::geteuid().is_root();
        if isolation != Isolation::None && !cfg!(target_os = "linux") {
            return Err(SandboxError::Unsupported(format!(
                "the isolation {:?} needs Linux; use \"none\" here",
                isolation.as_str()
            )));
        }
        if isolation == Isolation::Uid && !root {
            return Err(SandboxError::Unsupported(
                "the isolation \"uid\" needs a runner that is root; use \"namespaces\" on Linux"
                    .to_owned(),
            ));
        }
        let user = (root && isolation != Isolation::None).then(unused_user);
        let place = |name: &str, inside: &str| {
            let outside = base.join(name);
            let inside = match isolation {
                Isolation::Namespaces => PathBuf::from(inside),
                Isolation::Uid | Isolation::None => outside.clone(),
            };
            Place { outside, inside }
        };
        // With a uid of its own in a container, `base` is `/`: the same places as in namespaces.
        let directories = Directories {
            workspace: place("workspace", "/workspace"),
            claude: place("claude", "/claude"),
            home: place("home/session", "/home/session"),
            temporary: place("tmp/session", "/tmp"),
            run: place("run/shannon", "/run/shannon"),
            private: base.join("var/shannon"),
        };
        let sandbox = Sandbox {
            isolation,
            runner_program: runner_program.to_owned(),
            user,
            directories,
        };
        sandbox.make_directories(&base)?;
        Ok(sandbox)
    }

    fn make_directories(&self, base: &Path) -> Result<(), SandboxError> {
        let all = &self.directories;
        // Where a uid is all that separates, the session must be able to pass through the base.
        let mode = if self.isolation == Isolation::Uid {
            0o711
        } else {
            0o700
        };
        if base != Path::new("/") {
            set_mode(base, mode)?;
        }
        for parent in ["home", "tmp", "run", "var"].map(|name| base.join(name)) {
            if !parent.exists() {
                make(&parent, 0o755)?;
            }
        }
        make(&all.private, 0o700)?;
        make(&all.private.join("root"), 0o700)?;
        make(&all.run.outside, 0o755)?;
        for place in [&all.workspace, &all.home, &all.temporary] {
            make(&place.outside, 0o700)?;
            self.give_to_session(&place.outside)?;
        }
        make(&all.claude.outside, 0o700)?;
        // An empty settings file that the session cannot replace: user settings are read, and they
        // could switch the gate off. The directory is root's and sticky where uids separate.
        let settings = all.claude.outside.join("settings.json");
        write_file(&settings, b"{}\n", 0o644)?;
        write_file(&all.run.outside.join("empty.json"), b"{}\n", 0o644)?;
        match (self.isolation, self.user) {
            (Isolation::Uid, Some(user)) => {
                set_mode(&all.claude.outside, 0o1770)?;
                chown(&all.claude.outside, None, Some(user))
            }
            _ => self.give_to_session(&all.claude.outside),
        }
    }

    /// The uid of the session on this machine; the runner's own when absent.
    #[must_use]
    pub fn user(&self) -> Option<u32> {
        self.user
    }

    /// How sessions are kept apart here.
    #[must_use]
    pub fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// The session's directories.
    #[must_use]
    pub fn directories(&self) -> &Directories {
        &self.directories
    }

    /// The program with the sandbox stages, as the runner sees it.
    #[must_use]
    pub fn runner_program(&self) -> &Path {
        &self.runner_program
    }

    /// Where the session sees the program with the gate helper.
    #[must_use]
    pub fn runner_program_inside(&self) -> PathBuf {
        match self.isolation {
            Isolation::Namespaces => PathBuf::from("/run/shannon-sandbox"),
            Isolation::Uid | Isolation::None => self.runner_program.clone(),
        }
    }

    /// Makes the session's user the owner of one file or directory, never of a link's target.
    ///
    /// # Errors
    /// [`SandboxError::File`].
    pub fn give_to_session(&self, path: &Path) -> Result<(), SandboxError> {
        match self.user {
            Some(user) => chown(path, Some(user), Some(user)),
            None => Ok(()),
        }
    }

    /// The same for an open file or directory, wherever it may have been moved.
    ///
    /// # Errors
    /// The system's.
    pub fn give_open_file_to_session(&self, file: &impl std::os::fd::AsFd) -> std::io::Result<()> {
        match self.user {
            Some(user) => std::os::unix::fs::fchown(file, Some(user), Some(user)),
            None => Ok(()),
        }
    }

    /// The same for everything below `directory`, itself included.
    ///
    /// # Errors
    /// [`SandboxError::File`] at the first that cannot be changed.
    pub fn give_tree_to_session(&self, directory: &Path) -> Result<(), SandboxError> {
        if self.user.is_none() {
            return Ok(());
        }
        let mut open = vec![directory.to_owned()];
        while let Some(path) = open.pop() {
            self.give_to_session(&path)?;
            let reading = || format!("read {}", path.display());
            let data = path.symlink_metadata().map_err(file_error(reading()))?;
            if data.is_dir() {
                for entry in std::fs::read_dir(&path).map_err(file_error(reading()))? {
                    open.push(entry.map_err(file_error(reading()))?.path());
                }
            }
        }
        Ok(())
    }

    /// Starts `command` (in the session's paths) with exactly `environment`. Programs of the
    /// machine that it needs besides the system's come as `programs`.
    ///
    /// # Errors
    /// [`SandboxError`]. A stage that fails later shows as the exit code
    /// [`super::plan::STAGE_FAILED_CODE`] and a line on stderr.
    pub fn start(
        &self,
        command: Vec<String>,
        environment: Vec<(String, String)>,
        working_directory: &Path,
        programs: &[Place],
    ) -> Result<Session, SandboxError> {
        self.spawn(command, environment, working_directory, programs, false)
    }

    /// Starts a program beside the one that [`Sandbox::start`] started: their ends are their own. What
    /// it starts ends with it; where only a uid separates, something that kills its own stage lives on
    /// until the end of the session.
    ///
    /// # Errors
    /// As there.
    pub fn start_beside(
        &self,
        command: Vec<String>,
        environment: Vec<(String, String)>,
        working_directory: &Path,
    ) -> Result<Session, SandboxError> {
        self.spawn(command, environment, working_directory, &[], true)
    }

    fn spawn(
        &self,
        command: Vec<String>,
        environment: Vec<(String, String)>,
        working_directory: &Path,
        programs: &[Place],
        beside: bool,
    ) -> Result<Session, SandboxError> {
        let stage_stays =
            self.isolation == Isolation::None || beside && self.isolation == Isolation::Uid;
        let plan = Plan {
            isolation: self.isolation,
            runner: std::process::id(),
            command,
            environment,
            working_directory: working_directory.to_owned(),
            beside,
            user: self.user,
            new_root: self.directories.private.join("root"),
            binds: self.binds(programs),
        };
        let bytes = serde_json::to_vec(&plan).map_err(|error| {
            SandboxError::Unsupported(format!("cannot write the plan: {error}"))
        })?;
        let mut plan_file = tempfile::Builder::new()
            .prefix("plan-")
            .tempfile_in(&self.directories.private)
            .map_err(file_error("make the plan".to_owned()))?;
        plan_file
            .write_all(&bytes)
            .map_err(file_error("write the plan".to_owned()))?;
        let child = Command::new(&self.runner_program)
            .args(["sandbox", "enter"])
            .arg(plan_file.path())
            .env_clear()
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A stage that stays must live to kill the others; see `Session`.
            .kill_on_drop(!stage_stays)
            .spawn()
            .map_err(file_error(format!(
                "start {}",
                self.runner_program.display()
            )))?;
        Ok(Session::new(child, self, stage_stays, plan_file))
    }

    fn binds(&self, programs: &[Place]) -> Vec<Bind> {
        let all = &self.directories;
        let shown = |place: &Place, read_only| Bind {
            from: place.outside.clone(),
            to: place.inside.clone(),
            read_only,
        };
        let mut binds = vec![
            shown(&all.workspace, false),
            shown(&all.claude, false),
            shown(&all.home, false),
            shown(&all.temporary, false),
            shown(&all.run, true),
            Bind {
                from: all.run.outside.join("empty.json"),
                to: all.claude.inside.join("settings.json"),
                read_only: true,
            },
        ];
        binds.extend(programs.iter().map(|program| shown(program, true)));
        binds
    }
}

fn make(path: &Path, mode: u32) -> Result<(), SandboxError> {
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path);
    made.map_err(file_error(format!("make {}", path.display())))?;
    set_mode(path, mode)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), SandboxError> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(file_error(format!("set the mode of {}", path.display())))
}

fn chown(path: &Path, user: Option<u32>, group: Option<u32>) -> Result<(), SandboxError> {
    std::os::unix::fs::lchown(path, user, group)
        .map_err(file_error(format!("give away {}", path.display())))
}

/// Writes a small file anew. The name must be in a directory that only the runner writes.
///
/// # Errors
/// [`SandboxError::File`].
pub fn write_file(path: &Path, contents: &[u8], mode: u32) -> Result<(), SandboxError> {
    let attempted = || format!("write {}", path.display());
    match nix::unistd::unlink(path) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(error) => return Err(file_error(attempted())(error.into())),
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(file_error(attempted()))?;
    file.write_all(contents).map_err(file_error(attempted()))?;
    set_mode(path, mode)
}
