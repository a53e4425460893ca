//! The backups in a directory.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{BackupError, Manifest};

/// How the name of a backup begins; what else is in the directory is left alone.
pub(super) const PREFIX: &str = "backup-";

/// A backup in the list.
#[derive(Debug)]
pub struct Listed {
    /// Where it is.
    pub path: PathBuf,
    /// What it says of itself, or why it cannot be read.
    pub manifest: Result<Manifest, BackupError>,
}

/// The backups in a directory, the oldest first. Their manifests are checked, their files are not.
///
/// # Errors
/// The directory cannot be read. One that is not there holds none.
pub fn list(directory: &Path) -> Result<Vec<Listed>, BackupError> {
    let fail = || BackupError::system("read", directory);
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(fail())?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(fail())?.path();
        let named = path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with(PREFIX));
        if named && path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    let listed = paths.into_iter().map(|path| Listed {
        manifest: Manifest::read(&path),
        path,
    });
    Ok(listed.collect())
}

/// The newest backup whose manifest is whole.
///
/// # Errors
/// See [`list`].
pub fn newest(directory: &Path) -> Result<Option<(PathBuf, Manifest)>, BackupError> {
    let whole = list(directory)?
        .into_iter()
        .filter_map(|listed| Some((listed.path, listed.manifest.ok()?)));
    Ok(whole.max_by_key(|(_, manifest)| manifest.taken_at_ms))
}
