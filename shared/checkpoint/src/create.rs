//! Makes a checkpoint: packs first, the manifest last.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
};

use domain::{
    CheckpointId,
    ports::{PutNew, TreeObjects, Unavailable},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use thiserror::Error;

use crate::{
    Snapshots,
    base::{Base, BaseChunks, BasePart},
    ignoring::IgnoreRules,
    limits::UPLOADS,
    manifest::{About, Manifest, RootName, Statistics},
    objects::{manifest_name, pack_name},
    output::Output,
    pack::{Packed, Packer, SealedPack, Stopped},
    scan::{Scan, ScanError},
};

/// A directory that goes into a checkpoint.
#[derive(Clone, Debug)]
pub struct SourceRoot {
    /// As which of its roots.
    pub name: RootName,
    /// Where it is. Opened without following a link in its last name.
    pub directory: PathBuf,
    /// What is left out of it.
    pub ignore: IgnoreRules,
}

/// A checkpoint to be made.
#[derive(Clone, Debug)]
pub struct NewSnapshot {
    /// Its id, fresh for each checkpoint. One that failed may be tried again with the same id soon
    /// after: within half the grace time of the sweep.
    pub id: CheckpointId,
    /// What is said about it.
    pub about: About,
    /// What it holds.
    pub roots: Vec<SourceRoot>,
    /// The last checkpoint that this process made or restored of these directories. It must be one
    /// that no sweep deletes meanwhile: the head of the session, say.
    pub base: Option<Base>,
    /// Makes none when all roots are as they are in the base.
    pub unless_unchanged: bool,
}

/// What making a checkpoint gave.
#[derive(Clone, Debug)]
pub struct Created {
    /// The checkpoint, stored whole but not yet named by any head; none when nothing had changed
    /// and none was asked for.
    pub manifest: Option<Manifest>,
    /// What this cost and found.
    pub statistics: Statistics,
    /// For the next one. Use it only once a head names the checkpoint (or it is not made).
    pub base: Base,
}

/// Why no checkpoint was made. Nothing of it is visible; objects without a manifest may be left for
/// the sweep.
#[derive(Debug, Error)]
pub enum CreateError {
    /// A root is not there or may not be read; a person has to look.
    #[error("could not read the directory of {}", .0.as_str())]
    Root(RootName, #[source] io::Error),
    /// The id stands for another checkpoint; choose a fresh one.
    #[error("there is another checkpoint {0}")]
    IdTaken(CheckpointId),
    /// Too many tags, or a text that is too long; shorten it.
    #[error("what is said about the checkpoint is too long: {0}")]
    About(&'static str),
    /// What was remembered cannot be used; try again without a base.
    #[error("the base of the checkpoint is damaged: {0}")]
    Base(&'static str),
    /// The machine has no thread left; try again later.
    #[error("could not start a thread")]
    Thread(#[source] io::Error),
    /// A thread ended without a result; try again.
    #[error("the scan ended unexpectedly")]
    Interrupted,
    /// Try again with the same id, or a fresh one.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The two threads of a checkpoint. Dropping it stops them and waits until they have: one chunk at
/// most is read or compressed meanwhile.
struct Threads {
    stop: Arc<AtomicBool>,
    scan: Option<JoinHandle<Result<Statistics, ScanError>>>,
    pack: Option<JoinHandle<Result<Packed, Stopped>>>,
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // The scan ends once the packer does not take its work, and the packer once nobody takes
        // its packs. A panic of theirs has been seen, or nobody waits for the result.
        drop(self.pack.take().map(JoinHandle::join));
        drop(self.scan.take().map(JoinHandle::join));
    }
}

impl<O: TreeObjects> Snapshots<'_, O> {
    /// Stores what the roots hold, as far as it is not stored yet, and then the manifest.
    ///
    /// Cut off at any point, or failed: nothing is visible, and doing it again (same id or a fresh
    /// one) is all there is to do. Repeated with the same id after it had happened: the same
    /// checkpoint, if the files are the same. Two at once with different ids do not know of each
    /// other. The files should stand still meanwhile; one that does not is named in the statistics.
    ///
    /// # Errors
    /// [`CreateError`].
    pub async fn create(&self, new: NewSnapshot) -> Result<Created, CreateError> {
        crate::manifest::check(&new.about).map_err(|malformed| CreateError::About(malformed.0))?;
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        // Declared before the stream of packs, so dropped after it: the threads wait for it.
        let mut threads = start(&new, sender, self.compression)?;
        let mut receiver = receiver;
        stream::poll_fn(move |context| receiver.poll_recv(context))
            .map(|pack| self.upload(pack))
            .buffer_unordered(UPLOADS)
            .try_collect::<()>()
            .await?;
        let (statistics, packed) = finish(&mut threads)?;
        let statistics = Statistics {
            packs: packed.packs,
            stored_bytes: packed.bytes,
            ..statistics
        };
        let names = new.roots.iter().map(|root| root.name);
        let roots: BTreeMap<RootName, Vec<BasePart>> = names.zip(packed.roots).collect();
        let unchanged = new.base.as_ref().is_some_and(|base| is_same(base, &roots));
        let base = Base {
            roots: roots
                .into_iter()
                .map(|(name, parts)| (name, Arc::new(parts)))
                .collect(),
        };
        let mut manifest = None;
        if !(unchanged && new.unless_unchanged) {
            let parts =
                |parts: &Arc<Vec<BasePart>>| parts.iter().map(|part| part.part.clone()).collect();
            let whole = Manifest {
                id: new.id,
                about: new.about,
                statistics: statistics.clone(),
                roots: base
                    .roots
                    .iter()
                    .map(|(name, it)| (*name, parts(it)))
                    .collect(),
            };
            self.store_manifest(&whole).await?;
            manifest = Some(whole);
        }
        Ok(Created {
            manifest,
            statistics,
            base,
        })
    }

    async fn upload(&self, pack: SealedPack) -> Result<(), CreateError> {
        let name = pack_name(&pack.id);
        // One that existed holds these very bytes: an earlier try with this id stored it.
        self.objects.put_new(&self.tree, &name, pack.bytes).await?;
        Ok(())
    }

    async fn store_manifest(&self, manifest: &Manifest) -> Result<(), CreateError> {
        let name = manifest_name(&manifest.id);
        let bytes = manifest.encode();
        if self
            .objects
            .put_new(&self.tree, &name, bytes.clone())
            .await?
            == PutNew::Existed
        {
            let stored = self.objects.get_object(&self.tree, &name).await?;
            if stored.as_ref() != Some(&bytes) {
                return Err(CreateError::IdTaken(manifest.id.clone()));
            }
        }
        Ok(())
    }
}

fn start(
    new: &NewSnapshot,
    sealed: tokio::sync::mpsc::Sender<SealedPack>,
    level: i32,
) -> Result<Threads, CreateError> {
    let base = new.base.clone().unwrap_or_default();
    let (sender, work) = mpsc::sync_channel(4);
    let stop = Arc::new(AtomicBool::new(false));
    let mut threads = Threads {
        stop: Arc::clone(&stop),
        scan: None,
        pack: None,
    };
    let packer = Packer::new(new.id.clone(), new.roots.len(), sealed, level);
    let packer = packer.map_err(CreateError::Thread)?;
    let pack = thread("checkpoint-pack", move || packer.run(&work))?;
    threads.pack = Some(pack);
    let roots = new.roots.clone();
    let scan = thread("checkpoint-scan", move || {
        let parts: Vec<_> = roots
            .iter()
            .map(|root| base.roots.get(&root.name).cloned().unwrap_or_default())
            .collect();
        let output = Output::new(sender, BaseChunks::new(&base));
        Scan::new(output, stop).run(&roots, &parts)
    })?;
    threads.scan = Some(scan);
    Ok(threads)
}

fn thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, CreateError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(CreateError::Thread)
}

/// What the threads found. They have ended: nobody sends packs any more.
fn finish(threads: &mut Threads) -> Result<(Statistics, Packed), CreateError> {
    let scanned = threads.scan.take().and_then(|scan| scan.join().ok());
    let packed = threads.pack.take().and_then(|pack| pack.join().ok());
    let statistics = scanned
        .ok_or(CreateError::Interrupted)?
        .map_err(|error| match error {
            ScanError::Stopped => CreateError::Interrupted,
            ScanError::Root(root, source) => CreateError::Root(root, source),
            ScanError::Thread(source) => CreateError::Thread(source),
            ScanError::Base(malformed) => CreateError::Base(malformed.0),
        })?;
    match packed {
        Some(Ok(packed)) => Ok((statistics, packed)),
        Some(Err(Stopped)) | None => Err(CreateError::Interrupted),
    }
}

/// Whether nothing differs from the base, in the same roots.
fn is_same(base: &Base, roots: &BTreeMap<RootName, Vec<BasePart>>) -> bool {
    base.roots.len() == roots.len()
        && roots.iter().all(|(name, parts)| {
            base.roots.get(name).is_some_and(|before| {
                before.len() == parts.len()
                    && parts
                        .iter()
                        .zip(before.iter())
                        .all(|(part, before)| part.part == before.part)
            })
        })
}
