//! How busy the runner and its machine are: one line a minute, of which metrics are made.
//!
//! The processors are those of the container, or without one of the whole machine; the disk is the one
//! that the session's directories lie on. Locally both are shared with everything else that runs there.

mod processors;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::SessionId;
use nix::sys::statvfs::statvfs;

pub use processors::Processors;

/// Metrics have a resolution of a minute, and each runner counts once in it.
const EVERY: Duration = Duration::from_secs(60);

/// The session's commands that no runner has taken, as far as this one has read them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Queue(Arc<Ordinals>);

#[derive(Debug, Default)]
struct Ordinals {
    read: AtomicU64,
    taken: AtomicU64,
}

impl Queue {
    /// Every command up to this ordinal has been read.
    pub fn read(&self, ordinal: u64) {
        self.0.read.fetch_max(ordinal, Ordering::Relaxed);
    }

    /// Every command up to this ordinal has been taken.
    pub fn taken(&self, ordinal: u64) {
        self.0.taken.fetch_max(ordinal, Ordering::Relaxed);
    }

    /// How many wait.
    #[must_use]
    pub fn depth(&self) -> u64 {
        let taken = self.0.taken.load(Ordering::Relaxed);
        self.0.read.load(Ordering::Relaxed).saturating_sub(taken)
    }
}

/// What is looked at, and how it was the last time.
#[derive(Debug)]
pub struct Load {
    session: SessionId,
    directory: PathBuf,
    processors: Processors,
    queue: Queue,
    /// The last line named a queue.
    queued: bool,
}

/// What there was to see; nothing of what this machine does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    /// Share of the processor time since the last look that was used.
    pub cpu: Option<f64>,
    /// Share of the disk that is used.
    pub disk: Option<f64>,
    /// Commands that wait; zero once after there were any.
    pub queued: Option<u64>,
}

impl Load {
    /// Begins. `directory` is on the disk that is looked at.
    #[must_use]
    pub fn new(
        session: SessionId,
        directory: PathBuf,
        processors: Processors,
        queue: Queue,
    ) -> Self {
        Self {
            session,
            directory,
            processors,
            queue,
            queued: false,
        }
    }

    /// Says how things are, every minute, for ever.
    pub async fn watch(mut self) {
        loop {
            tokio::time::sleep(EVERY).await;
            self.say();
        }
    }

    /// Looks, and writes the line.
    pub fn say(&mut self) -> Seen {
        let seen = self.look();
        // Metrics are made of it.
        tracing::info!(
            session = %self.session,
            shannon_runner_cpu_ratio = seen.cpu,
            shannon_runner_disk_ratio = seen.disk,
            shannon_command_queue_depth = seen.queued,
            "load"
        );
        seen
    }

    fn look(&mut self) -> Seen {
        let waiting = self.queue.depth();
        let said = std::mem::replace(&mut self.queued, waiting > 0);
        Seen {
            cpu: self.processors.used(),
            disk: self.disk(),
            queued: (waiting > 0 || said).then_some(waiting),
        }
    }

    /// As `df` computes it: of what is not kept for the system.
    #[expect(
        clippy::cast_precision_loss,
        reason = "no disk has 2^53 blocks, and a ratio needs three digits"
    )]
    fn disk(&self) -> Option<f64> {
        let volume = statvfs(&self.directory)
            .inspect_err(|error| {
                tracing::warn!(%error, directory = %self.directory.display(), "the disk cannot be looked at");
            })
            .ok()?;
        let used = volume.blocks().saturating_sub(volume.blocks_free());
        let room = used + volume.blocks_available();
        (room > 0).then(|| thousandths(used as f64 / room as f64))
    }
}

/// Rounded: more digits say nothing, and small numbers would be written with an exponent.
fn thousandths(ratio: f64) -> f64 {
    (ratio * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_told_while_it_is_there_and_once_when_it_is_gone() {
        let directory = tempfile::tempdir().expect("a directory");
        let queue = Queue::default();
        let mut load = Load::new(
            SessionId::from_random([1; 17]),
            directory.path().to_owned(),
            Processors::of_task(None),
            queue.clone(),
        );
        queue.read(7);
        queue.taken(7);
        assert_eq!(load.look().queued, None);
        queue.read(9);
        // Read again by a runner that began earlier.
        queue.read(8);
        assert_eq!(load.look().queued, Some(2));
        queue.taken(9);
        assert_eq!(load.look().queued, Some(0));
        assert_eq!(load.look().queued, None);
        queue.taken(11);
        assert_eq!(queue.depth(), 0, "not below zero");
    }

    #[test]
    fn a_disk_has_a_share_that_is_used() {
        let directory = tempfile::tempdir().expect("a directory");
        let load = |path: PathBuf| {
            let id = SessionId::from_random([1; 17]);
            Load::new(id, path, Processors::of_task(None), Queue::default())
        };
        let disk = load(directory.path().to_owned()).look().disk;
        let disk = disk.expect("the disk of this machine");
        assert!((0.0..=1.0).contains(&disk), "{disk}");
        assert_eq!(load(directory.path().join("gone")).look().disk, None);
    }
}
