//! Brings a checkpoint back into directories.

mod plan;
mod remove;
mod stage;
mod writer;

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use domain::{
    CheckpointId,
    ports::{TreeObjects, Unavailable},
};
use futures_util::{StreamExt, stream};
use thiserror::Error;
use tokio::sync::mpsc::{Sender, channel};

use crate::{
    Snapshots,
    base::{Base, BasePart},
    entry::Entry,
    limits::{DOWNLOADS, RESTORE_WINDOW},
    manifest::{Manifest, Part, RootName},
    objects::{Damage, ReadError, damaged, pack_name},
    part::Order,
    stamp::{Known, Stamp, now},
};

use plan::{Fetch, Plan};
use writer::{Task, Writer};

/// Where a root of a checkpoint goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetRoot {
    /// Which root.
    pub name: RootName,
    /// A directory that is there, and not inside the one of another root. Afterwards it holds what the
    /// root held and nothing else.
    pub directory: PathBuf,
}

/// How a checkpoint is brought back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreOptions {
    /// User and group of everything that is written; who writes it when absent.
    pub owner: Option<(u32, u32)>,
}

/// A checkpoint that was brought back.
#[derive(Clone, Debug)]
pub struct Restored {
    /// For the next checkpoint of these directories.
    pub base: Base,
    /// Regular files that were written.
    pub files: u64,
    /// Bytes that were written into them; holes are not written.
    pub bytes: u64,
}

/// Why a checkpoint was not brought back. The directories are as they were, unless
/// [`RestoreError::Directory`] says otherwise; what was prepared is removed again.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// No such checkpoint in this tree.
    #[error("there is no checkpoint {0} in this tree")]
    Unknown(CheckpointId),
    /// The checkpoint has no such root; restore another one for it.
    #[error("the checkpoint holds no {}", .0.as_str())]
    NoRoot(RootName),
    /// Go on from another checkpoint, see [`Snapshots::newest_whole_of`].
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// Two names of the checkpoint are one on this file system, as with another case.
    #[error("two files of the checkpoint have the same name here: {0}")]
    Collision(String),
    /// The directory cannot be written: it is full or closed. Make room and do it again.
    /// `replacing`: some of its old content may be gone already.
    #[error("could not write {path}")]
    Directory {
        /// Root and path.
        path: String,
        /// It happened while the old content was being replaced by the new.
        replacing: bool,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The machine has no thread left; try again later.
    #[error("could not start a thread")]
    Thread(#[source] io::Error),
    /// The writing thread ended without a result; try again.
    #[error("the restore ended unexpectedly")]
    Interrupted,
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<ReadError> for RestoreError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unknown(id) => Self::Unknown(id),
            ReadError::Damaged(damage) => Self::Damaged(damage),
            ReadError::Unavailable(unavailable) => Self::Unavailable(unavailable),
        }
    }
}

/// Parts of a root with their stored bytes.
type StoredParts = Vec<(Part, Arc<[u8]>)>;

/// What the writing thread gives back.
struct Written {
    files: u64,
    bytes: u64,
    /// For each root: a stamp for each of its entries that is a file.
    stamps: Vec<Vec<Option<Stamp>>>,
}

/// The writing thread. Dropping it stops it and waits until it has removed what it had prepared.
struct Thread {
    tasks: Option<Sender<Task>>,
    stop: Arc<AtomicBool>,
    handle: Option<JoinHandle<Result<Written, RestoreError>>>,
}

impl Thread {
    fn start(roots: &[TargetRoot], options: RestoreOptions) -> Result<Self, RestoreError> {
        let (tasks, receiver) = channel(1);
        let stop = Arc::new(AtomicBool::new(false));
        let writer = Writer::new(roots.to_vec(), options, Arc::clone(&stop));
        let handle = std::thread::Builder::new()
            .name("checkpoint-restore".to_owned())
            .spawn(move || writer.run(receiver))
            .map_err(RestoreError::Thread)?;
        Ok(Self {
            tasks: Some(tasks),
            stop,
            handle: Some(handle),
        })
    }

    async fn send(&mut self, task: Task) -> Result<(), RestoreError> {
        let sent = match &self.tasks {
            Some(tasks) => tasks.send(task).await.is_ok(),
            None => false,
        };
        if sent {
            return Ok(());
        }
        // It takes no more tasks because it has failed: its result says why.
        match self.join() {
            Err(error) => Err(error),
            Ok(_) => Err(RestoreError::Interrupted),
        }
    }

    fn join(&mut self) -> Result<Written, RestoreError> {
        self.tasks = None;
        let handle = self.handle.take().ok_or(RestoreError::Interrupted)?;
        handle.join().map_err(|_| RestoreError::Interrupted)?
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks = None;
        // Its result is of no interest any more.
        drop(self.handle.take().map(JoinHandle::join));
    }
}

impl<O: TreeObjects> Snapshots<'_, O> {
    /// Replaces the content of directories by roots of a checkpoint, all or none of them.
    ///
    /// Everything is written beside the old content first (under a reserved name at the top of the
    /// directory), chunk by chunk verified, and takes its place only when it is complete; so a
    /// damaged checkpoint or a full disk leaves the old content as it was. Taking its place is not
    /// one step: whoever dies there does it again. Cut off before: what was prepared is removed.
    /// Nobody else may work in the directories meanwhile.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub async fn restore(
        &self,
        manifest: &Manifest,
        roots: &[TargetRoot],
        options: RestoreOptions,
    ) -> Result<Restored, RestoreError> {
        if let Some(missing) = roots
            .iter()
            .find(|it| !manifest.roots.contains_key(&it.name))
        {
            return Err(RestoreError::NoRoot(missing.name));
        }
        let mut thread = Thread::start(roots, options)?;
        let mut bases = Vec::new();
        for (number, root) in roots.iter().enumerate() {
            let parts = manifest
                .roots
                .get(&root.name)
                .map_or(&[][..], Vec::as_slice);
            let stored = self.stage(number, root.name, parts, &mut thread).await?;
            bases.push((root.name, stored));
        }
        thread.send(Task::Finish).await?;
        // Waits here for the last writes and the replacing, without stopping other work.
        if let Some(tasks) = &thread.tasks {
            tasks.closed().await;
        }
        let written = thread.join()?;
        Ok(Restored {
            base: base(bases, &written.stamps),
            files: written.files,
            bytes: written.bytes,
        })
    }

    /// Sends all of a root to the writing thread.
    async fn stage(
        &self,
        number: usize,
        name: RootName,
        parts: &[Part],
        thread: &mut Thread,
    ) -> Result<StoredParts, RestoreError> {
        let mut order = Order::default();
        let mut stored = Vec::with_capacity(parts.len());
        let mut rest = parts;
        while !rest.is_empty() {
            let count = window(rest);
            let (now, later) = rest.split_at(count);
            rest = later;
            let mut entries: Vec<Entry> = Vec::new();
            for (part, (read, bytes)) in now.iter().zip(self.parts(now).await?) {
                for entry in &read {
                    order
                        .accept(entry)
                        .map_err(|malformed| damaged(pack_name(&part.pack), malformed))?;
                }
                entries.extend(read);
                stored.push((part.clone(), bytes.into()));
            }
            let entries = Arc::new(entries);
            let plan = Plan::of(&entries);
            let window = Task::Window(number, Arc::clone(&entries));
            thread.send(window).await?;
            let mut fetched = stream::iter(plan.fetches)
                .map(|fetch| self.fetch(fetch, name, &entries))
                .buffered(DOWNLOADS);
            while let Some(bytes) = fetched.next().await {
                let (fetch, bytes) = bytes?;
                thread.send(Task::Bytes(fetch, bytes)).await?;
            }
        }
        Ok(stored)
    }

    async fn fetch(
        &self,
        fetch: Fetch,
        root: RootName,
        entries: &[Entry],
    ) -> Result<(Fetch, Vec<u8>), ReadError> {
        let read = self.range(&fetch.pack, fetch.offset, fetch.length).await;
        match read {
            Ok(bytes) => Ok((fetch, bytes)),
            Err(ReadError::Damaged(damage)) => {
                let entry = fetch.pieces.first().and_then(|it| entries.get(it.entry));
                Err(ReadError::Damaged(Damage {
                    file: entry.map(|entry| format!("{}/{}", root.as_str(), entry.path)),
                    ..damage
                }))
            }
            Err(error) => Err(error),
        }
    }
}

/// How many parts are planned together.
fn window(parts: &[Part]) -> usize {
    let mut entries = 0;
    let count = parts
        .iter()
        .take_while(|part| {
            entries += part.entries as usize;
            entries <= RESTORE_WINDOW
        })
        .count();
    count.max(1)
}

fn base(roots: Vec<(RootName, StoredParts)>, stamps: &[Vec<Option<Stamp>>]) -> Base {
    let since = now();
    let mut all = BTreeMap::new();
    for ((name, parts), stamps) in roots.into_iter().zip(stamps) {
        let mut rest = stamps.as_slice();
        let parts = parts
            .into_iter()
            .map(|(part, bytes)| {
                let (of, after) = rest.split_at(rest.len().min(part.entries as usize));
                rest = after;
                let known = of.iter().map(|stamp| match stamp {
                    Some(stamp) => Known::of(stamp, since),
                    None => Known::NOTHING,
                });
                BasePart {
                    part,
                    bytes,
                    known: known.collect(),
                }
            })
            .collect();
        all.insert(name, Arc::new(parts));
    }
    Base { roots: all }
}
