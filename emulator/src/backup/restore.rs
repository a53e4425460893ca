//! Restoring a backup into an empty state directory.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    BackupError, Damage, Manifest, encrypt, files,
    manifest::relative,
    verify::{differs, verify},
};
use crate::{
    encryption::{MarkError, StateKey},
    file_lock,
    stack::state,
};

/// What was restored.
#[derive(Debug)]
pub struct Restored {
    /// The state directory.
    pub state: PathBuf,
    /// What the backup said of itself.
    pub manifest: Manifest,
    /// Id of the key with which the state is encrypted now, the backup's or the given one.
    pub key_id: Option<String>,
}

/// Checks all of a backup, then copies it into a new or empty directory, on which a stack can be
/// started. Cut before its end, the directory holds a mark for which no stack starts on it; remove it
/// and restore again. The backup is not changed.
///
/// With a key, a backup that is not encrypted becomes a state that is; one that is encrypted stays as it is,
/// and the key has to be its own. Without one, nothing is asked of it.
///
/// # Errors
/// See [`BackupError`]. When a file of the backup is damaged, or the key is another, nothing is written.
pub fn restore(
    backup: &Path,
    state: &Path,
    key: Option<&StateKey>,
) -> Result<Restored, BackupError> {
    let manifest = verify(backup)?;
    if let (Some(key), Some(key_id)) = (key, &manifest.key_id)
        && key.id() != *key_id
    {
        return Err(BackupError::Key(MarkError::OtherKey {
            state: backup.to_owned(),
            key_id: key_id.clone(),
            given: key.id(),
        }));
    }
    files::make_directory(state)?;
    let fail = || BackupError::system("read", state);
    if fs::read_dir(state).map_err(fail())?.next().is_some() {
        return Err(BackupError::NotEmpty(state.to_owned()));
    }
    // Held until the end: a stack that is started meanwhile says that the directory is in use. Taken before
    // anything is written, so that nothing of ours lies in the directory of one that was quicker.
    let path = state.join(state::LOCK);
    let lock = file_lock::lock(&path).map_err(BackupError::system("lock", &path))?;
    let _lock = lock.ok_or(BackupError::Busy(path))?;
    let mark = state.join(state::RESTORING);
    files::write(&mark, b"")?;
    for entry in &manifest.files {
        let relative = relative(&entry.path).ok_or_else(|| BackupError::Manifest {
            path: backup.to_owned(),
            problem: format!("{:?} is no path in a backup", entry.path),
        })?;
        let target = state.join(&relative);
        if let Some(parent) = target.parent() {
            files::make_directory(parent)?;
        }
        let copied = files::copy(&backup.join(&relative), &target)?;
        // It may be damaged since it was checked.
        if let Some(problem) = differs(entry, &copied) {
            return Err(BackupError::Damaged {
                path: backup.to_owned(),
                damage: Damage(vec![(entry.path.clone(), problem)]),
            });
        }
    }
    let mut key_id = manifest.key_id.clone();
    if let (Some(key), None) = (key, &manifest.key_id) {
        encrypt::all(state, &manifest, key)?;
        key_id = Some(key.id());
    }
    files::sync_directory(state)?;
    fs::remove_file(&mark)
        .or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })
        .map_err(BackupError::system("remove", &mark))?;
    files::sync_directory(state)?;
    Ok(Restored {
        state: state.to_owned(),
        manifest,
        key_id,
    })
}
