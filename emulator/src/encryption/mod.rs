//! Encryption of a state directory at rest, with the key in the file that `SHANNON_STATE_KEY_FILE`
//! names: databases by SQLCipher, all other files in chunks, each with a key of its own.
//!
//! Not encrypted: logs (they hold no content), what tells others of the running stack, and the installed
//! claude binary. While a session runs its workspace is plain; it never is in the state directory.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

pub(crate) mod database;
mod key;
pub(crate) mod mark;
pub(crate) mod sealed;

pub use key::{KeyError, StateKey};
pub use mark::MarkError;

use crate::settings::Settings;

/// The key that the settings name; `None` when they name none.
///
/// # Errors
/// See [`KeyError`].
pub fn key(settings: &Settings) -> Result<Option<StateKey>, KeyError> {
    let file = settings.path("SHANNON_STATE_KEY_FILE");
    file.map(StateKey::read).transpose()
}

/// All of a small file, decrypted if there is a key.
///
/// # Errors
/// It cannot be read, or is not what was written with this key.
pub(crate) fn read(path: &Path, key: Option<&StateKey>) -> io::Result<Vec<u8>> {
    let Some(key) = key else {
        return fs::read(path);
    };
    let mut opener = sealed::Opener::new(File::open(path)?, key)?;
    let mut all = Vec::new();
    while let Some(chunk) = opener.next()? {
        all.extend(chunk);
    }
    Ok(all)
}

/// What [`read`] reads.
///
/// # Errors
/// There is no randomness.
pub(crate) fn sealed(bytes: &[u8], key: Option<&StateKey>) -> io::Result<Vec<u8>> {
    match key {
        Some(key) => sealed::seal(key, bytes),
        None => Ok(bytes.to_owned()),
    }
}

/// Writes a small private file: beside it, through to the disk, and then into its place.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}
