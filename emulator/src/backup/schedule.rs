//! Backups that a running service takes by itself, and what becomes of old ones.
//!
//! Which of them were brought elsewhere is known after a restart, too: `.brought-NAME` lies beside each
//! that was, so that one that was cut anywhere counts as one that was not.

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{BackupError, Listed, Taken, files, list, newest, take};
use crate::{encryption::StateKey, settings::Settings};

/// After a backup that failed, the next is tried before its time.
const AGAIN: Duration = Duration::from_secs(10 * 60);
/// How the name of the mark of a backup that was brought elsewhere begins.
const BROUGHT: &str = ".brought-";
const DAY_MILLISECONDS: i64 = 24 * 60 * 60 * 1000;

/// When a service takes backups, where, and for how long they are kept.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Of which state directory.
    pub state: PathBuf,
    /// To which directory.
    pub to: PathBuf,
    /// How long after the one before.
    pub interval: Duration,
    /// Days after which one is removed.
    pub keep_days: u64,
    /// A program that is run with the path of each backup, to bring it elsewhere; until it ends well, and
    /// perhaps once more then.
    pub command: Option<PathBuf>,
    /// The key of the state.
    pub key: Option<StateKey>,
}

impl Schedule {
    /// As the settings have it, whether or not `SHANNON_BACKUPS` is on.
    #[must_use]
    pub fn of(settings: &Settings, state: &Path, key: Option<StateKey>) -> Self {
        let number = |name: &str, default| settings.integer(name).unwrap_or(default);
        Self {
            state: state.to_owned(),
            to: directory(settings, state),
            interval: Duration::from_secs(number("SHANNON_BACKUP_INTERVAL_HOURS", 6) * 60 * 60),
            keep_days: number("SHANNON_BACKUP_RETENTION_DAYS", 30),
            command: settings.path("SHANNON_BACKUP_COMMAND").map(Path::to_owned),
            key,
        }
    }

    /// Takes one whenever the newest is as old as the interval, for ever. A restart of the service does
    /// not move the time; a clock that was put back does not keep it from coming. What fails is in the
    /// log, and tried again after ten minutes.
    pub async fn run(self) {
        loop {
            let brought = self.bring_one().await;
            if let Err(problem) = &brought {
                tracing::error!(problem, "a backup is only on this machine");
            }
            let wait = match self.due() {
                Ok(wait) if wait.is_zero() => match self.once().await {
                    Ok(()) => continue,
                    Err(problem) => {
                        tracing::error!(problem, "no backup was taken");
                        AGAIN
                    }
                },
                // There may be more of them.
                Ok(_) if brought == Ok(true) => continue,
                Ok(wait) if brought.is_err() => wait.min(AGAIN),
                Ok(wait) => wait,
                Err(error) => {
                    tracing::error!(%error, "the backups cannot be read");
                    AGAIN
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    fn due(&self) -> Result<Duration, BackupError> {
        let now = SystemTime::now();
        // One from the future, of a clock that was wrong, says nothing about how long ago it was, and keeps
        // those that come after it from counting no more than it counts itself.
        let age = |listed: Listed| {
            let taken = u64::try_from(listed.manifest.ok()?.taken_at_ms).ok()?;
            let taken = UNIX_EPOCH + Duration::from_millis(taken);
            now.duration_since(taken).ok()
        };
        let youngest = list(&self.to)?.into_iter().filter_map(age).min();
        Ok(youngest.map_or(Duration::ZERO, |age| self.interval.saturating_sub(age)))
    }

    /// Brings the newest elsewhere that was not yet; whether there was one.
    async fn bring_one(&self) -> Result<bool, String> {
        match self.to_bring() {
            Ok(None) => Ok(false),
            Ok(Some(backup)) => self.bring_elsewhere(&backup).await.map(|()| true),
            Err(error) => Err(crate::command_line::in_one_line(&error)),
        }
    }

    fn to_bring(&self) -> Result<Option<PathBuf>, BackupError> {
        if self.command.is_none() {
            return Ok(None);
        }
        let listed = list(&self.to)?.into_iter().rev();
        let mut whole = listed.filter(|listed| listed.manifest.is_ok());
        Ok(whole
            .find(|listed| !mark(&listed.path).exists())
            .map(|listed| listed.path))
    }

    async fn once(&self) -> Result<(), String> {
        let schedule = self.clone();
        let work = tokio::task::spawn_blocking(move || schedule.take());
        let taken = match work.await {
            Ok(taken) => taken.map_err(|error| crate::command_line::in_one_line(&error))?,
            Err(error) => return Err(error.to_string()),
        };
        tracing::info!(
            path = %taken.path.display(),
            bytes = taken.manifest.bytes(),
            took_ms = u64::try_from(taken.took.as_millis()).unwrap_or(u64::MAX),
            "a backup was taken"
        );
        Ok(())
    }

    /// Takes a backup and removes those that are too old.
    ///
    /// Where an old one cannot be removed, the log says so: the new one is there all the same.
    ///
    /// # Errors
    /// See [`BackupError`].
    pub fn take(&self) -> Result<Taken, BackupError> {
        let taken = take(&self.state, &self.to, self.key.as_ref())?;
        match prune(&self.to, self.keep_days, taken.manifest.taken_at_ms) {
            Ok(gone) => {
                for gone in gone {
                    tracing::info!(path = %gone.display(), "an old backup was removed");
                }
            }
            Err(error) => {
                let error = crate::command_line::in_one_line(&error);
                tracing::error!(error, "old backups are not removed");
            }
        }
        Ok(taken)
    }

    /// Runs the command, if there is one, and notes that it ended well.
    ///
    /// # Errors
    /// It cannot be run, does not end well, or not within the interval of the backups, or that cannot be
    /// noted. The backup is there all the same, and a service brings it later.
    pub async fn bring_elsewhere(&self, backup: &Path) -> Result<(), String> {
        let Some(command) = &self.command else {
            return Ok(());
        };
        let said = |what: String| format!("SHANNON_BACKUP_COMMAND {}: {what}", command.display());
        let running = tokio::process::Command::new(command)
            .arg(backup)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .output();
        // The next backup does not wait for ever for the one before it.
        let Ok(output) = tokio::time::timeout(self.interval, running).await else {
            return Err(said(format!(
                "it runs longer than {} s",
                self.interval.as_secs()
            )));
        };
        let output = output.map_err(|error: io::Error| said(error.to_string()))?;
        if output.status.success() {
            let mark = mark(backup);
            return std::fs::write(&mark, b"")
                .map_err(|error| said(format!("it did its work; {}: {error}", mark.display())));
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors.trim().lines().last().unwrap_or_default();
        Err(said(format!("{} {last}", output.status)))
    }
}

/// The mark of a backup that was brought elsewhere.
fn mark(backup: &Path) -> PathBuf {
    let name = backup.file_name().unwrap_or_default().to_string_lossy();
    backup.with_file_name(format!("{BROUGHT}{name}"))
}

/// Where backups of a state go.
pub fn directory(settings: &Settings, state: &Path) -> PathBuf {
    settings
        .path("SHANNON_BACKUP_DIRECTORY")
        .map_or_else(|| state.join("backups"), Path::to_owned)
}

/// Removes backups that are older than so many days; never the newest whole one, and none that cannot be
/// read, which a person has to look at. Gives those that are gone.
///
/// # Errors
/// The directory cannot be read, or one cannot be removed.
pub fn prune(directory: &Path, days: u64, now: i64) -> Result<Vec<PathBuf>, BackupError> {
    let newest = newest(directory)?.map(|(path, _)| path);
    let days = i64::try_from(days).unwrap_or(i64::MAX);
    let oldest = now.saturating_sub(days.saturating_mul(DAY_MILLISECONDS));
    let mut gone = Vec::new();
    for listed in list(directory)? {
        let old = listed
            .manifest
            .is_ok_and(|manifest| manifest.taken_at_ms < oldest);
        if old && Some(&listed.path) != newest.as_ref() {
            // Without its manifest it is no backup any more: cut here, the rest has no name that counts.
            let half = directory.join(format!(".partial-{}", uuid::Uuid::new_v4().simple()));
            std::fs::rename(&listed.path, &half)
                .map_err(BackupError::system("remove", &listed.path))?;
            files::remove_directory(&half)?;
            let mark = mark(&listed.path);
            match std::fs::remove_file(&mark) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(BackupError::system("remove", &mark)(error));
                }
                _ => gone.push(listed.path),
            }
        }
    }
    Ok(gone)
}
