//! Files by whose lock a process has a directory for itself.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a lock is waited for: an emulator that is just ending still has it, and so has, for a
/// moment, a child that it is just starting.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(10);

/// Locks a file, which is made if need be, until the handle is dropped or the process ends, however
/// it ends. `None` when somebody else has it.
pub(crate) fn lock(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if start.elapsed() >= PATIENCE => return Ok(None),
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let first = lock(&path).unwrap().expect("free");
        assert!(lock(&path).unwrap().is_none());
        let late = std::thread::spawn({
            let path = path.clone();
            move || lock(&path).unwrap()
        });
        std::thread::sleep(PAUSE * 3);
        drop(first);
        assert!(late.join().unwrap().is_some(), "waited for");
    }
}
