//! `--watch`: builds the functions again when their source changes and swaps what came out different.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{EventKind, RecursiveMode, Watcher as _};
use thiserror::Error;
use tokio::sync::mpsc;

use super::Functions;
use crate::lambda::Lambda;

/// An editor writes more than one file at a time: quiet for this long is the end of a change.
const QUIET: Duration = Duration::from_millis(300);

/// The sources cannot be watched.
#[derive(Debug, Error)]
#[error("cannot watch the sources for changes")]
pub struct WatchError(#[from] notify::Error);

/// Watches the sources until it is dropped.
pub struct Watch {
    _watcher: notify::RecommendedWatcher,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// Starts watching `functions/` and `shared/` of the workspace. Running invocations are finished
    /// by the old binary; tasks that run keep theirs. A build that fails changes nothing.
    ///
    /// # Errors
    /// [`WatchError`].
    pub fn start(
        workspace: &Path,
        functions: Functions,
        binaries: BTreeMap<String, PathBuf>,
        lambda: Lambda,
    ) -> Result<Self, WatchError> {
        let (changed, changes) = mpsc::channel(1);
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                match event {
                    Ok(event) if matches!(event.kind, EventKind::Access(_)) => {}
                    // a full channel says already that something changed
                    Ok(_) => drop(changed.try_send(())),
                    Err(error) => tracing::warn!(%error, "watching the sources"),
                }
            })?;
        let sources: Vec<PathBuf> = match &functions {
            Functions::Build { .. } => ["functions", "shared"]
                .map(|part| workspace.join(part))
                .to_vec(),
            Functions::Directory(directory) => vec![directory.clone()],
        };
        for source in sources {
            watcher.watch(&source, RecursiveMode::Recursive)?;
        }
        let task = tokio::spawn(rebuild(
            workspace.to_owned(),
            functions,
            binaries,
            lambda,
            changes,
        ));
        Ok(Self {
            _watcher: watcher,
            task,
        })
    }
}

async fn rebuild(
    workspace: PathBuf,
    functions: Functions,
    binaries: BTreeMap<String, PathBuf>,
    lambda: Lambda,
    mut changes: mpsc::Receiver<()>,
) {
    let names: Vec<String> = binaries.keys().cloned().collect();
    let mut versions = versions(&binaries);
    while changes.recv().await.is_some() {
        while let Ok(Some(())) = tokio::time::timeout(QUIET, changes.recv()).await {}
        let built = match super::binaries(&functions, &workspace, &names).await {
            Ok(built) => built,
            Err(error) => {
                eprintln!("emulator: {error}; the functions stay as they are");
                continue;
            }
        };
        let now = self::versions(&built);
        for (name, path) in &built {
            if now.get(name) == versions.get(name) {
                continue;
            }
            match lambda.replace(name, path.clone()) {
                Ok(()) => eprintln!("emulator: {name} was swapped"),
                // a task's program: the next task starts the new one
                Err(_) => eprintln!("emulator: {name} is new for tasks that start from now on"),
            }
        }
        versions = now;
    }
}

/// What tells one build of a file from another.
fn versions(binaries: &BTreeMap<String, PathBuf>) -> BTreeMap<String, (u64, u64, i64, i64)> {
    binaries
        .iter()
        .filter_map(|(name, path)| {
            let file = fs::metadata(path).ok()?;
            Some((
                name.clone(),
                (file.ino(), file.len(), file.mtime(), file.mtime_nsec()),
            ))
        })
        .collect()
}
