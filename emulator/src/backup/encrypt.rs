//! A state that was restored from a backup without encryption becomes one with it, before anything runs
//! on it. The way to encrypt a state that is in use: a backup, and this.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::Path,
};

use rusqlite::Connection;

use super::{BackupError, Manifest, files, manifest::relative};
use crate::encryption::{StateKey, mark, sealed};

/// Encrypts each file that the manifest names, and says so in the directory. Cut before its end, the
/// directory is one that no stack starts on, as any that is half restored.
pub(super) fn all(state: &Path, manifest: &Manifest, key: &StateKey) -> Result<(), BackupError> {
    for entry in &manifest.files {
        let Some(relative) = relative(&entry.path) else {
            continue;
        };
        let path = state.join(relative);
        let beside = path.with_extension("encrypted");
        if path.extension().is_some_and(|it| it == "sqlite") {
            database(&path, &beside, key)?;
        } else {
            file(&path, &beside, key).map_err(BackupError::system("encrypt", &path))?;
        }
        fs::rename(&beside, &path).map_err(BackupError::system("replace", &path))?;
        if let Some(parent) = path.parent() {
            files::sync_directory(parent)?;
        }
    }
    Ok(mark::make(state, key)?)
}

fn file(from: &Path, to: &Path, key: &StateKey) -> io::Result<()> {
    let (mut from, mut to) = (File::open(from)?, files::create(to)?);
    let mut sealer = sealed::Sealer::new(key)?;
    let (mut out, mut buffer) = (sealer.header(), vec![0; sealed::CHUNK]);
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => sealer.push(&buffer[..length], &mut out)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        to.write_all(&out)?;
        out.clear();
    }
    sealer.finish(&mut out)?;
    to.write_all(&out)?;
    to.sync_all()
}

/// A copy that is encrypted, as SQLCipher makes it; it does not take the number with it that programs
/// keep in a database.
fn database(from: &Path, to: &Path, key: &StateKey) -> Result<(), BackupError> {
    // So that it is private from the beginning.
    files::write(to, b"")?;
    let copy = || {
        let connection = Connection::open(from)?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        connection.execute(
            "ATTACH DATABASE ?1 AS encrypted KEY ?2",
            (to.to_string_lossy(), format!("x'{}'", key.hexadecimal())),
        )?;
        connection.query_row("SELECT sqlcipher_export('encrypted')", [], |_| Ok(()))?;
        connection.execute_batch(&format!(
            "PRAGMA encrypted.user_version = {version}; DETACH DATABASE encrypted"
        ))
    };
    copy().map_err(BackupError::database(from))?;
    File::open(to)
        .and_then(|file| file.sync_all())
        .map_err(BackupError::system("write", to))
}
