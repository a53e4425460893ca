//! The state directory of a stack: who uses it, and how others find the running stack.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    encryption::{MarkError, StateKey, mark},
    file_lock,
    settings::Settings,
};

/// The token of the stack.
pub(crate) const TOKEN: &str = "token";
/// The lock of the process that uses the directory.
pub(crate) const LOCK: &str = "lock";
/// Lies in the directory while a backup is restored into it.
pub(crate) const RESTORING: &str = "restoring";
const DESCRIPTION: &str = "emulator.json";

/// Why a state directory cannot be used.
#[derive(Debug, Error)]
pub enum StateError {
    /// A running emulator uses it.
    #[error(
        "another emulator uses the state directory {}{}; stop it, or give this one another with --state or --ephemeral",
        directory.display(), holder(*process_id)
    )]
    InUse {
        /// The directory.
        directory: PathBuf,
        /// The process that uses it, as far as it said so.
        process_id: Option<u32>,
    },
    /// Something else is kept there: the emulator would change its permissions and add files.
    #[error("{} holds other things than the state of an emulator; choose an empty or new directory", .0.display())]
    NotOurs(PathBuf),
    /// Its key.
    #[error(transparent)]
    Key(#[from] MarkError),
    /// A restore into it was cut off.
    #[error("a restore into {} did not end; remove the directory and restore again", .0.display())]
    HalfRestored(PathBuf),
    /// The operating system refused.
    #[error("cannot use the state directory: {action} {}", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

fn holder(process_id: Option<u32>) -> String {
    process_id.map_or(String::new(), |id| format!(" (process {id})"))
}

/// What `emulator.json` says of a running stack. Holds no secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Description {
    /// Process of the emulator.
    pub pid: u32,
    /// Base address for clients.
    pub url: String,
    /// The MCP endpoint.
    pub mcp_url: String,
    /// Whether it is a service, whose token is nowhere in its state.
    #[serde(default)]
    pub service: bool,
    /// Address of the emulated AWS services.
    pub aws_url: String,
    /// Where state is; absent for a stack that keeps none.
    pub state: Option<PathBuf>,
    /// Where the logs are.
    pub logs: PathBuf,
    /// What answers model calls.
    pub model: String,
    /// The claude binary of the sessions.
    pub claude_path: PathBuf,
    /// Its version.
    pub claude_version: String,
    /// How sessions are kept apart: `namespaces` or `none`.
    pub isolation: String,
}

/// A directory that this process alone uses until it is dropped.
pub struct StateDirectory {
    path: PathBuf,
    _lock: Option<File>,
    _temporary: Option<tempfile::TempDir>,
}

impl StateDirectory {
    /// Makes the directory when it is missing (mode 0700) and takes its lock, which ends with the
    /// process however that ends.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn open(path: &Path, key: Option<&StateKey>) -> Result<Self, StateError> {
        let fail = |action, source| StateError::System {
            action,
            path: path.to_owned(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|source| fail("make", source))?;
        let path = path.canonicalize().map_err(|source| fail("find", source))?;
        if path.join(RESTORING).exists() {
            return Err(StateError::HalfRestored(path));
        }
        if !is_ours(&path).map_err(|source| fail("read", source))? {
            return Err(StateError::NotOurs(path));
        }
        let used = path.join(TOKEN).exists() || path.join("dynamodb.sqlite").exists();
        mark::check(&path, key, used)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))
            .map_err(|source| fail("make private", source))?;
        let lock = file_lock::lock(&path.join(LOCK)).map_err(|source| fail("lock", source))?;
        let Some(lock) = lock else {
            return Err(StateError::InUse {
                process_id: read(&path).map(|description| description.pid),
                directory: path,
            });
        };
        // A restore may have begun, and have been cut, while we waited for the lock.
        if path.join(RESTORING).exists() {
            return Err(StateError::HalfRestored(path));
        }
        let directory = Self {
            path,
            _lock: Some(lock),
            _temporary: None,
        };
        if let Some(key) = key {
            mark::make(&directory.path, key)?;
        }
        // left by an emulator that was killed
        directory.forget()?;
        Ok(directory)
    }

    /// A directory that is removed when this is dropped.
    ///
    /// # Errors
    /// [`StateError::System`].
    pub fn temporary() -> Result<Self, StateError> {
        let temporary = tempfile::Builder::new()
            .prefix("shannon-")
            .tempdir()
            .map_err(|source| StateError::System {
                action: "make a directory in",
                path: std::env::temp_dir(),
                source,
            })?;
        Ok(Self {
            path: temporary.path().to_owned(),
            _lock: None,
            _temporary: Some(temporary),
        })
    }

    /// Absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it stays when the process ends.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self._temporary.is_none()
    }

    /// Lets others find the stack, in one step: a reader sees all of it or nothing.
    ///
    /// # Errors
    /// [`StateError::System`].
    pub fn publish(&self, description: &Description) -> Result<(), StateError> {
        let path = self.path.join(DESCRIPTION);
        let beside = self.path.join("emulator.json.new");
        let written = (|| {
            let mut options = OpenOptions::new();
            let mut file = options
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&beside)?;
            file.write_all(&serde_json::to_vec_pretty(description)?)?;
            fs::rename(&beside, &path)
        })();
        written.map_err(|source| StateError::System {
            action: "write",
            path,
            source,
        })
    }

    /// Takes the description away. Doing it again does nothing.
    ///
    /// # Errors
    /// [`StateError::System`].
    pub fn forget(&self) -> Result<(), StateError> {
        let path = self.path.join(DESCRIPTION);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StateError::System {
                action: "remove",
                path,
                source,
            }),
            _ => Ok(()),
        }
    }
}

/// The state directory that the settings name.
#[must_use]
pub fn directory(settings: &Settings) -> &Path {
    settings
        .path("SHANNON_STATE_DIRECTORY")
        .unwrap_or(Path::new(".shannon"))
}

/// Empty, used before, or holding only a claude that was installed for a stack without state.
fn is_ours(path: &Path) -> io::Result<bool> {
    if path.join(LOCK).exists() {
        return Ok(true);
    }
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        if name != "claude" && name != "claude.json" {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The stack that runs on a state directory, if one does. Only one whose process holds the lock
/// counts: a description alone may be left over.
///
/// # Errors
/// [`StateError::System`].
pub fn running(path: &Path) -> Result<Option<Description>, StateError> {
    Ok(if in_use(path)? { read(path) } else { None })
}

/// Whether a process holds the lock of a state directory: it runs, starts or stops.
///
/// # Errors
/// [`StateError::System`].
pub fn in_use(path: &Path) -> Result<bool, StateError> {
    let fail = |source| StateError::System {
        action: "look at the lock of",
        path: path.to_owned(),
        source,
    };
    let lock = match File::open(path.join(LOCK)) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(fail(error)),
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(source)) => Err(fail(source)),
    }
}

fn read(path: &Path) -> Option<Description> {
    let text = fs::read(path.join(DESCRIPTION)).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description() -> Description {
        Description {
            pid: 4711,
            url: "http://127.0.0.1:1".into(),
            mcp_url: "http://127.0.0.1:1/mcp".into(),
            service: false,
            aws_url: "http://127.0.0.1:2".into(),
            state: None,
            logs: "/logs".into(),
            model: "offline".into(),
            claude_path: "/claude".into(),
            claude_version: "1.2.3".into(),
            isolation: "none".into(),
        }
    }

    #[test]
    fn one_emulator_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state");
        assert!(running(&path).unwrap().is_none());
        let first = StateDirectory::open(&path, None).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o700
        );
        assert!(running(&path).unwrap().is_none(), "not ready yet");
        first.publish(&description()).unwrap();
        assert_eq!(running(&path).unwrap().unwrap().pid, 4711);
        let message = StateDirectory::open(&path, None)
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("process 4711") && message.contains("--ephemeral"),
            "{message}"
        );
        drop(first);
        // A process that another test is just starting has the lock's file until it runs its program.
        let started = std::time::Instant::now();
        while running(&path).unwrap().is_some() {
            assert!(
                started.elapsed().as_secs() < 10,
                "a left-over description is no running stack"
            );
            std::thread::yield_now();
        }
        let second = StateDirectory::open(&path, None).unwrap();
        assert!(!path.join(DESCRIPTION).exists());
        second.forget().unwrap();
    }

    #[test]
    fn a_directory_of_others_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(directory.path().join("thesis.tex"), "x").unwrap();
        let refused = StateDirectory::open(directory.path(), None).map(|_| ());
        assert!(matches!(refused, Err(StateError::NotOurs(_))));
        let permissions = fs::metadata(directory.path()).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o777, 0o755);
        fs::remove_file(directory.path().join("thesis.tex")).unwrap();
        fs::create_dir(directory.path().join("claude")).unwrap();
        StateDirectory::open(directory.path(), None).unwrap();
    }

    #[test]
    fn a_temporary_directory_goes() {
        let directory = StateDirectory::temporary().unwrap();
        let path = directory.path().to_owned();
        assert!(path.is_dir() && !directory.is_kept());
        drop(directory);
        assert!(!path.exists());
    }
}
