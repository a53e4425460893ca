//! The directory of a session on this machine: locked while its runner lives, removed with it, and
//! by the next runner when it was killed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use crate::sandbox::plan::Isolation;

/// Directories of sessions begin so.
const PREFIX: &str = "shannon-session-";
/// A runner that has not locked its directory for so long never will.
const BEGINNING: Duration = Duration::from_secs(3600);

/// Where a session's directories lie. Removed when it is dropped, except in a container of its own.
pub(crate) struct SessionPlace {
    pub(crate) path: PathBuf,
    /// Held while the runner lives: who can lock it knows that its runner is gone.
    #[expect(dead_code, reason = "dropping it unlocks the file")]
    lock: Option<Flock<std::fs::File>>,
    temporary: bool,
}

impl SessionPlace {
    pub(crate) fn make(isolation: Isolation) -> std::io::Result<Self> {
        if isolation == Isolation::Uid {
            return Ok(SessionPlace {
                path: PathBuf::from("/"),
                lock: None,
                temporary: false,
            });
        }
        let parent = std::env::temp_dir();
        let path = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(&parent)?
            .keep();
        let lock = Self::lock(&path)?;
        Ok(SessionPlace {
            path,
            lock,
            temporary: true,
        })
    }

    /// The lock file has its name only once it is locked: whoever sees it unlocked knows that its
    /// runner is gone, not that it is just beginning.
    fn lock(directory: &Path) -> std::io::Result<Option<Flock<std::fs::File>>> {
        let unlocked = directory.join("lock.new");
        let file = std::fs::File::create(&unlocked)?;
        // Where files cannot be locked, nobody can take it for abandoned either.
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok();
        std::fs::rename(unlocked, directory.join("lock"))?;
        Ok(lock)
    }
}

impl Drop for SessionPlace {
    fn drop(&mut self) {
        if self.temporary {
            remove(&self.path);
        }
    }
}

/// Removes what killed runners left. Others may do the same at the same time.
pub(crate) fn remove_abandoned(parent: &Path) {
    use std::os::unix::fs::MetadataExt;
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let ours = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(PREFIX))
            && entry
                .metadata()
                .is_ok_and(|data| data.is_dir() && data.uid() == nix::unistd::geteuid().as_raw());
        if !ours {
            continue;
        }
        let Ok(file) = std::fs::File::open(entry.path().join("lock")) else {
            // Its runner is just beginning, or was killed doing so.
            let age = entry.metadata().and_then(|data| data.modified());
            if age.is_ok_and(|begun| begun.elapsed().is_ok_and(|age| age > BEGINNING)) {
                remove(&entry.path());
            }
            continue;
        };
        if let Ok(_lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            remove(&entry.path());
        }
    }
}

fn remove(path: &Path) {
    if std::fs::remove_dir_all(path).is_err() {
        // Some tools write directories that nobody may change; their owner may allow it again.
        allow_removal(path);
        if let Err(error) = std::fs::remove_dir_all(path) {
            tracing::warn!(%error, path = %path.display(), "a session's directory was not removed");
        }
    }
}

fn allow_removal(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let Ok(data) = path.symlink_metadata() else {
        return;
    };
    if !data.is_dir() {
        return;
    }
    // What still cannot be changed shows when it is removed.
    let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700));
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        allow_removal(&entry.path());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_killed_runners_left_is_removed_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = parent.path().join(name);
            std::fs::create_dir_all(path.join("workspace/read-only")).unwrap();
            path
        };
        let (abandoned, living, beginning, never_begun, other) = (
            make("shannon-session-a"),
            make("shannon-session-b"),
            make("shannon-session-c"),
            make("shannon-session-d"),
            make("other"),
        );
        let long_ago = std::time::SystemTime::now() - 2 * BEGINNING;
        let directory = std::fs::File::open(&never_begun).unwrap();
        directory.set_modified(long_ago).unwrap();
        for path in [&abandoned, &living, &other] {
            std::fs::write(path.join("lock"), "").unwrap();
        }
        let _held = SessionPlace::lock(&living).unwrap().unwrap();
        use std::os::unix::fs::PermissionsExt;
        let read_only = std::fs::Permissions::from_mode(0o500);
        std::fs::set_permissions(abandoned.join("workspace/read-only"), read_only).unwrap();
        remove_abandoned(parent.path());
        let exist = [abandoned, living, beginning, never_begun, other].map(|path| path.exists());
        assert_eq!(exist, [false, true, true, false, true]);
    }

    /// Runners that begin at the same moment remove nothing of each other.
    #[test]
    fn what_is_being_begun_is_not_taken_for_abandoned() {
        let parent = tempfile::tempdir().unwrap();
        let begun = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !begun.load(std::sync::atomic::Ordering::Relaxed) {
                    remove_abandoned(parent.path());
                }
            });
            for _ in 0..500 {
                let place = tempfile::Builder::new()
                    .prefix(PREFIX)
                    .tempdir_in(parent.path())
                    .unwrap();
                let lock = SessionPlace::lock(place.path());
                let kept = place.path().exists();
                if !kept || !matches!(lock, Ok(Some(_))) {
                    begun.store(true, std::sync::atomic::Ordering::Relaxed);
                    panic!("removed at its beginning: {lock:?}");
                }
            }
            begun.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}
