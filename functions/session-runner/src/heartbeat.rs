//! That the runner lives, for who looks from outside: a file that is touched each time the lease of
//! the session was written, and `session-runner health`, which looks how long ago that was. The
//! container's health check runs that. A runner that hangs, or whose log cannot be written, writes no
//! lease; one that lives does at the latest every `SHANNON_HEARTBEAT_SECONDS`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// In the runner's private directory.
const NAME: &str = "heartbeat";

/// Where it is in a container of its own, which is where somebody looks.
pub const IN_CONTAINER: &str = "/var/shannon/heartbeat";

/// The file; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat(Option<PathBuf>);

impl Heartbeat {
    /// In the private directory of a session.
    #[must_use]
    pub fn below(private: &Path) -> Self {
        Self(Some(private.join(NAME)))
    }

    /// Touches the file. What goes wrong is in the log, and looks from outside like a runner that
    /// hangs.
    pub fn beat(&self) {
        let Some(path) = &self.0 else { return };
        match touch(path) {
            Ok(()) => {}
            // The directories of the session are made after its lease was taken.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "the heartbeat was not shown");
            }
        }
    }
}

/// Needs no room on the disk once the file is there.
fn touch(path: &Path) -> std::io::Result<()> {
    let file = File::options().create(true).append(true).open(path)?;
    file.set_modified(SystemTime::now())
}

/// Whether the runner whose file this is was alive within the time of a lease.
///
/// # Errors
/// What is wrong, in words.
pub fn check(file: &Path, lease: Duration) -> Result<(), String> {
    let shown = file.display();
    let modified = file.metadata().and_then(|data| data.modified());
    let modified = modified.map_err(|error| format!("{shown}: {error}; no session runs yet"))?;
    // A time ahead of ours is none that has passed.
    let age = modified.elapsed().unwrap_or_default();
    if age > lease {
        let (age, lease) = (age.as_secs(), lease.as_secs());
        return Err(format!(
            "the runner wrote its lease {age} s ago, and it holds for {lease} s"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_that_writes_its_lease_is_healthy_and_no_other() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join(NAME);
        let lease = Duration::from_secs(10);
        let none = check(&file, lease).expect_err("no file");
        assert!(none.contains("no session runs yet"), "{none}");
        let heartbeat = Heartbeat::below(directory.path());
        heartbeat.beat();
        check(&file, lease).expect("just written");
        let old = SystemTime::now() - Duration::from_secs(12);
        let opened = File::options().append(true).open(&file).expect("there");
        opened.set_modified(old).expect("our own file");
        let stale = check(&file, lease).expect_err("too old");
        assert!(stale.contains("12 s ago"), "{stale}");
        check(&file, Duration::from_secs(60)).expect("a longer lease");
        heartbeat.beat();
        check(&file, lease).expect("written again");
        assert_eq!(file.metadata().expect("there").len(), 0);
    }
}
