//! The drill: a stack with sessions at work is lost, a backup restored, and everybody goes on.
//!
//! ```text
//! start, sessions write -> backup -> more is written -> the stack is killed, its state given up
//!   -> restore into an empty directory, hashes compared -> start -> every session goes on
//! ```
//!
//! Recovery time is from the loss until the last session has gone on. Recovery point is how old the
//! newest of what came back is at the loss: of the logs, the moment of the backup; of the files of a
//! session at work, its newest checkpoint in it. How old a scheduled backup is comes on top.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use thiserror::Error;
use tokio::task::JoinSet;

use super::{BackupError, Problem, Taken, files, manifest::relative, restore, take, verify};
use crate::{
    encryption::StateKey,
    try_session::{Client, ClientError},
};

mod process;
mod session;

pub use process::Launch;
use process::Stack;
use session::Worker;

/// Longest recovery time that counts as one.
const RECOVERY_TIME: Duration = Duration::from_secs(15 * 60);
/// Oldest recovery point that counts as one.
const RECOVERY_POINT: Duration = Duration::from_secs(5 * 60);
/// Starting is what costs a machine most; before the loss nothing is measured.
const STARTED_AT_ONCE: usize = 5;

/// Why the drill did not come to its end. What was lost then is the drill's own.
#[derive(Debug, Error)]
pub enum DrillError {
    /// A directory for it.
    #[error("a directory for the drill")]
    Directory(#[source] io::Error),
    /// A stack did not start.
    #[error("the stack on {} did not start: {problem}", state.display())]
    Start {
        /// On which state directory.
        state: PathBuf,
        /// What it said.
        problem: String,
    },
    /// Backup or restore.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A stack does not answer as it should.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A tool refused.
    #[error("{tool}: {text}")]
    Refused {
        /// The tool.
        tool: &'static str,
        /// What it said.
        text: String,
    },
    /// Something took far too long.
    #[error("session {session}: waited in vain for {what}")]
    InVain {
        /// Which.
        session: String,
        /// For what.
        what: String,
    },
    /// What came back is not what was there.
    #[error("session {session}: {what}")]
    Lost {
        /// Which.
        session: String,
        /// What is missing or different.
        what: String,
    },
    /// A restored file is not that of the backup.
    #[error("the restored file {path} {problem}")]
    File {
        /// Which.
        path: String,
        /// What is wrong.
        problem: Problem,
    },
    /// A part of it panicked.
    #[error("a part of the drill was cut short")]
    Cut(#[from] tokio::task::JoinError),
}

impl DrillError {
    /// Whether no stack could be started.
    #[must_use]
    pub const fn is_start(&self) -> bool {
        matches!(self, Self::Start { .. })
    }
}

/// What a drill found.
#[derive(Debug)]
pub struct Report {
    /// Sessions that went on, which is all of them.
    pub sessions: usize,
    /// How many of them wrote before the backup and, in the same turn, after it; all of them, or the drill
    /// shows nothing of a backup of sessions at work.
    pub at_work: usize,
    /// Files that were restored, each with the hash that it had.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Events that clients had seen before the backup; all of them came back.
    pub events: usize,
    /// How long writers waited for the backup.
    pub locked: Duration,
    /// How long the backup took.
    pub backup: Duration,
    /// From the loss until the last session had gone on.
    pub recovery_time: Duration,
    /// How old the newest that came back was at the loss: of logs.
    pub log_point: Duration,
    /// The same of files of sessions at work.
    pub file_point: Duration,
}

impl Report {
    /// Whether all sessions were at work, and it was fast enough and lost little enough.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        self.at_work == self.sessions && self.is_within_limits()
    }

    /// Whether it was fast enough and lost little enough.
    #[must_use]
    pub fn is_within_limits(&self) -> bool {
        self.recovery_time <= RECOVERY_TIME && self.recovery_point() <= RECOVERY_POINT
    }

    fn recovery_point(&self) -> Duration {
        self.log_point.max(self.file_point)
    }

    /// For programs; times in seconds.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "sessions": self.sessions, "at_work": self.at_work, "files": self.files, "bytes": self.bytes, "events": self.events,
            "writers_waited_seconds": self.locked.as_secs_f64(),
            "backup_seconds": self.backup.as_secs_f64(),
            "recovery_time_seconds": self.recovery_time.as_secs_f64(),
            "recovery_point_seconds": self.recovery_point().as_secs_f64(),
            "log_point_seconds": self.log_point.as_secs_f64(),
            "file_point_seconds": self.file_point.as_secs_f64(),
            "within_limits": self.is_within_limits(), "passed": self.has_passed(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |duration: Duration| duration.as_secs_f64();
        writeln!(
            to,
            "{} sessions went on, {} of them wrote before and after the moment of the backup; \
             {} events and {} files ({} bytes) came back with their hashes",
            self.sessions, self.at_work, self.events, self.files, self.bytes
        )?;
        writeln!(
            to,
            "backup          {:.1} s, writers waited {:.3} s",
            seconds(self.backup),
            seconds(self.locked)
        )?;
        writeln!(
            to,
            "recovery time   {:.1} s (limit {} s)",
            seconds(self.recovery_time),
            RECOVERY_TIME.as_secs()
        )?;
        writeln!(
            to,
            "recovery point  {:.1} s (limit {} s): logs {:.1} s, files of sessions at work {:.1} s",
            seconds(self.recovery_point()),
            RECOVERY_POINT.as_secs(),
            seconds(self.log_point),
            seconds(self.file_point)
        )
    }
}

/// Runs it, in a directory that is removed at the end. Cut short, nothing is left but that directory.
///
/// # Errors
/// See [`DrillError`].
pub async fn run(
    sessions: usize,
    launch: &Launch,
    say: &(dyn Fn(&str) + Send + Sync),
) -> Result<Report, DrillError> {
    let directory = tempfile::Builder::new()
        .prefix("shannon-drill-")
        .tempdir()
        .map_err(DrillError::Directory)?;
    let [before, copies, after] =
        ["before", "backups", "after"].map(|it| directory.path().join(it));
    say("starting a stack ...");
    let stack = Stack::start(launch, &before).await?;
    let client = stack.client();
    say(&format!("{sessions} sessions are put to work ..."));
    let workers = put_to_work(&client, sessions).await?;
    let taken = backup(&before, &copies, launch.key.clone()).await?;
    let waited = taken.locked.as_millis();
    say(&format!("backup taken; writers waited {waited} ms"));
    let (workers, at_work) = writing_on(workers, &client, taken.manifest.taken_at_ms).await?;
    // The loss: nothing is told to stop, and nothing of the state is used again.
    stack.kill().await;
    let lost = Instant::now();
    let lost_at = now();
    say("the stack is lost; restoring ...");
    let (files, bytes) = bring_back(&taken, &after, launch.key.clone()).await?;
    let stack = Stack::start(launch, &after).await?;
    say("the restored stack runs; its sessions go on ...");
    let mut file_point = Duration::ZERO;
    let mut events = 0;
    for went_on in go_on(workers, &stack.client(), taken.manifest.taken_at_ms).await? {
        events += went_on.events;
        let checkpoint = i64::try_from(went_on.checkpoint_ms).unwrap_or(0);
        file_point = file_point.max(between(checkpoint, lost_at));
    }
    let report = Report {
        sessions,
        at_work,
        files,
        bytes,
        events,
        locked: taken.locked,
        backup: taken.took,
        recovery_time: lost.elapsed(),
        log_point: between(taken.manifest.taken_at_ms, lost_at),
        file_point,
    };
    stack.stop().await;
    Ok(report)
}

async fn put_to_work(client: &Arc<Client>, sessions: usize) -> Result<Vec<Worker>, DrillError> {
    let mut starting = JoinSet::new();
    let mut workers = Vec::new();
    for number in 0..sessions {
        if starting.len() == STARTED_AT_ONCE
            && let Some(worker) = starting.join_next().await
        {
            workers.push(worker??);
        }
        let client = Arc::clone(client);
        starting.spawn(async move { Worker::create(&client, number).await });
    }
    while let Some(worker) = starting.join_next().await {
        workers.push(worker??);
    }
    // All have a checkpoint; now all write at the same time.
    let mut working = JoinSet::new();
    for worker in workers {
        let client = Arc::clone(client);
        working.spawn(async move { worker.work(&client).await });
    }
    let mut workers = Vec::new();
    while let Some(worker) = working.join_next().await {
        workers.push(worker??);
    }
    Ok(workers)
}

/// How many of them write on after the backup, as they did before it.
async fn writing_on(
    workers: Vec<Worker>,
    client: &Arc<Client>,
    backup_ms: i64,
) -> Result<(Vec<Worker>, usize), DrillError> {
    let mut writing = JoinSet::new();
    for worker in workers {
        let client = Arc::clone(client);
        writing.spawn(async move { worker.writes_on(&client, backup_ms).await });
    }
    let (mut workers, mut at_work) = (Vec::new(), 0);
    while let Some(worker) = writing.join_next().await {
        let (worker, wrote) = worker??;
        workers.push(worker);
        at_work += usize::from(wrote);
    }
    Ok((workers, at_work))
}

async fn backup(state: &Path, to: &Path, key: Option<StateKey>) -> Result<Taken, DrillError> {
    let (state, to) = (state.to_owned(), to.to_owned());
    Ok(tokio::task::spawn_blocking(move || take(&state, &to, key.as_ref())).await??)
}

/// Restores and compares every file with the backup once more.
async fn bring_back(
    taken: &Taken,
    state: &Path,
    key: Option<StateKey>,
) -> Result<(usize, u64), DrillError> {
    let (backup, state): (PathBuf, PathBuf) = (taken.path.clone(), state.to_owned());
    let restoring = tokio::task::spawn_blocking(move || {
        let restored = restore(&backup, &state, key.as_ref())?;
        for entry in &restored.manifest.files {
            let path = relative(&entry.path).unwrap_or_default();
            let measured = files::measure(&state.join(path))?;
            if let Some(problem) = verify::differs(entry, &measured) {
                let path = entry.path.clone();
                return Err(DrillError::File { path, problem });
            }
        }
        let manifest = &restored.manifest;
        Ok((manifest.files.len(), manifest.bytes()))
    });
    restoring.await?
}

async fn go_on(
    workers: Vec<Worker>,
    client: &Arc<Client>,
    backup_ms: i64,
) -> Result<Vec<session::WentOn>, DrillError> {
    let mut going = JoinSet::new();
    for worker in workers {
        let client = Arc::clone(client);
        going.spawn(async move { worker.goes_on(&client, backup_ms).await });
    }
    let mut all = Vec::new();
    while let Some(went_on) = going.join_next().await {
        all.push(went_on??);
    }
    Ok(all)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

fn between(earlier: i64, later: i64) -> Duration {
    Duration::from_millis(u64::try_from(later.saturating_sub(earlier)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_or_old_or_at_rest_has_not_passed() {
        let report = |time: u64, log: u64, files: u64| Report {
            sessions: 1,
            at_work: 1,
            files: 1,
            bytes: 1,
            events: 1,
            locked: Duration::ZERO,
            backup: Duration::ZERO,
            recovery_time: Duration::from_secs(time),
            log_point: Duration::from_secs(log),
            file_point: Duration::from_secs(files),
        };
        assert!(report(900, 300, 300).has_passed());
        for bad in [report(901, 0, 0), report(0, 301, 0), report(0, 0, 301)] {
            assert!(!bad.is_within_limits() && !bad.has_passed());
            assert_eq!(bad.json()["within_limits"], false);
        }
        let rested = Report {
            at_work: 0,
            ..report(900, 300, 300)
        };
        assert!(rested.is_within_limits() && !rested.has_passed());
        assert_eq!(rested.json()["passed"], false);
        assert_eq!(between(5, 3), Duration::ZERO);
    }
}
