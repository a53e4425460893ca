//! Taking a backup.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    BackupError, Manifest, files, list,
    manifest::{Entry, FORMAT, relative},
    snapshot::{Snapshot, object_name},
};
use crate::{aws::time_text, encryption::StateKey, file_lock};

const LOCK: &str = "lock";
const PARTIAL: &str = ".partial-";

/// A backup that was taken.
#[derive(Debug)]
pub struct Taken {
    /// Where it is.
    pub path: PathBuf,
    /// What it says of itself.
    pub manifest: Manifest,
    /// Bytes that it shares with the backup before, which has the same objects.
    pub shared_bytes: u64,
    /// How long writers had to wait.
    pub locked: Duration,
    /// How long it took.
    pub took: Duration,
}

/// Copies a state directory, in use or not, into a new directory below `to`. It appears there by a
/// rename when all of it is on the disk; cut before, it does not, and the next one removes what is
/// left. Objects that the newest backup there has too, unchanged, are links to its files.
///
/// # Errors
/// See [`BackupError`]; the state is never changed.
pub fn take(state: &Path, to: &Path, key: Option<&StateKey>) -> Result<Taken, BackupError> {
    let start = Instant::now();
    files::make_directory(to)?;
    let path = to.join(LOCK);
    let lock = file_lock::lock(&path).map_err(BackupError::system("lock", &path))?;
    let _lock = lock.ok_or(BackupError::Busy(path))?;
    remove_partial(to)?;
    let snapshot = Snapshot::take(state, key)?;
    let name = format!("{PARTIAL}{}", uuid::Uuid::new_v4().simple());
    let partial = Partial(to.join(name));
    files::make_directory(&partial.0)?;
    let mut copy = Copy {
        to: &partial.0,
        entries: Vec::new(),
        shared: 0,
        before: Before::of(to)?,
    };
    for name in snapshot.copy_databases(&partial.0, key)? {
        let measured = files::measure(&partial.0.join(name))?;
        copy.add(name.to_owned(), measured);
    }
    for (name, bytes) in &snapshot.files {
        let path = partial.0.join(name);
        files::write(&path, bytes)?;
        copy.add((*name).to_owned(), files::measure(&path)?);
    }
    for name in &snapshot.objects {
        copy.object(&snapshot.object(name), object_name(name))?;
    }
    let (mut entries, shared_bytes) = (copy.entries, copy.shared);
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    let manifest = Manifest {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        taken_at_ms: snapshot.taken_at,
        taken_at: time_text(snapshot.taken_at),
        key_id: key.map(StateKey::id),
        files: entries,
    };
    manifest.write(&partial.0)?;
    sync_directories(&partial.0)?;
    let path = partial.complete(to, &manifest.taken_at)?;
    Ok(Taken {
        path,
        manifest,
        shared_bytes,
        locked: snapshot.locked,
        took: start.elapsed(),
    })
}

/// A backup that is not whole yet: removed when dropped.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        if let Err(error) = files::remove_directory(&self.0) {
            tracing::warn!(%error, "a part of a backup is left to the next one");
        }
    }
}

impl Partial {
    /// Gives it its name.
    fn complete(self, to: &Path, taken_at: &str) -> Result<PathBuf, BackupError> {
        let time = taken_at.replace([':', '.'], "-");
        let mut path = to.join(format!("{}{time}", list::PREFIX));
        while path.exists() {
            // Two in the same millisecond, or the clock was put back.
            path = to.join(format!(
                "{}{time}-{}",
                list::PREFIX,
                uuid::Uuid::new_v4().simple()
            ));
        }
        fs::rename(&self.0, &path).map_err(BackupError::system("name", &path))?;
        files::sync_directory(to)?;
        Ok(path)
    }
}

fn remove_partial(to: &Path) -> Result<(), BackupError> {
    let fail = || BackupError::system("read", to);
    for entry in fs::read_dir(to).map_err(fail())? {
        let entry = entry.map_err(fail())?;
        if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
            files::remove_directory(&entry.path())?;
        }
    }
    Ok(())
}

/// The backup before this one, whose objects are not copied again.
#[derive(Default)]
struct Before {
    path: PathBuf,
    files: HashMap<String, Entry>,
}

impl Before {
    fn of(to: &Path) -> Result<Self, BackupError> {
        let Some((path, manifest)) = list::newest(to)? else {
            return Ok(Self::default());
        };
        let files = manifest.files.into_iter();
        Ok(Self {
            path,
            files: files.map(|entry| (entry.path.clone(), entry)).collect(),
        })
    }

    /// The file of that name, if its bytes are still those that it was told to have.
    fn unchanged(&self, path: &str) -> Option<(PathBuf, &Entry)> {
        let entry = self.files.get(path)?;
        let file = self.path.join(relative(path)?);
        let (bytes, sha256) = files::measure(&file).ok()?;
        (bytes == entry.bytes && sha256 == entry.sha256).then_some((file, entry))
    }
}

struct Copy<'a> {
    to: &'a Path,
    entries: Vec<Entry>,
    shared: u64,
    before: Before,
}

impl Copy<'_> {
    fn add(&mut self, path: String, (bytes, sha256): (u64, String)) {
        self.entries.push(Entry {
            path,
            bytes,
            sha256,
        });
    }

    fn object(&mut self, from: &Path, path: String) -> Result<(), BackupError> {
        let target = self.to.join(&path);
        if let Some(parent) = target.parent() {
            files::make_directory(parent)?;
        }
        // Objects never change: one name, one content.
        if let Some((file, entry)) = self.before.unchanged(&path) {
            match fs::hard_link(&file, &target) {
                Ok(()) => {
                    self.shared += entry.bytes;
                    self.entries.push(entry.clone());
                    return Ok(());
                }
                // Some file systems have no links, all have a limit to them.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    return Err(BackupError::system("write", &target)(error));
                }
                Err(_) => {}
            }
        }
        let measured = files::copy(from, &target)?;
        self.add(path, measured);
        Ok(())
    }
}

/// Each directory below, and itself.
fn sync_directories(directory: &Path) -> Result<(), BackupError> {
    let fail = || BackupError::system("read", directory);
    for entry in fs::read_dir(directory).map_err(fail())? {
        let path = entry.map_err(fail())?.path();
        if path.is_dir() {
            sync_directories(&path)?;
        }
    }
    files::sync_directory(directory)
}
