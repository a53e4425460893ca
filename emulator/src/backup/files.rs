//! Files and directories of backups: private, on the disk before they count, hashed as they are copied.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use ring::digest;

use super::BackupError;

const BUFFER_BYTES: usize = 256 * 1024;

/// SHA-256 in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&digest::digest(&digest::SHA256, bytes))
}

fn hexadecimal(digest: &digest::Digest) -> String {
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Makes a directory and those above it (mode 0700).
pub(super) fn make_directory(path: &Path) -> Result<(), BackupError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(BackupError::system("make", path))
}

/// A new private file.
pub(super) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Writes a new file through to the disk.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), BackupError> {
    create(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .map_err(BackupError::system("write", path))
}

/// Sees that the names in a directory are on the disk.
pub(super) fn sync_directory(path: &Path) -> Result<(), BackupError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(BackupError::system("write", path))
}

/// Size and SHA-256 of a file; of nothing but a plain one.
pub(super) fn measure(path: &Path) -> Result<(u64, String), BackupError> {
    let fail = || BackupError::system("read", path);
    let found = fs::symlink_metadata(path).map_err(fail())?;
    if !found.is_file() {
        return Err(fail()(io::Error::other("it is no plain file")));
    }
    let file = File::open(path).map_err(fail())?;
    pass(file, |_| Ok(())).map_err(fail())
}

/// Copies a file through to the disk; gives its size and SHA-256.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(u64, String), BackupError> {
    let source = File::open(from).map_err(BackupError::system("read", from))?;
    let mut target = create(to).map_err(BackupError::system("write", to))?;
    // Which of both sides failed is not known here; a full disk is what mostly happens.
    let copied = pass(source, |bytes| target.write_all(bytes))
        .and_then(|measured| target.sync_all().map(|()| measured));
    copied.map_err(BackupError::system("copy to", to))
}

fn pass(
    mut source: File,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(u64, String)> {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut size = 0;
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok((size, hexadecimal(&context.finish()))),
            Ok(length) => {
                context.update(&buffer[..length]);
                each(&buffer[..length])?;
                size += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Removes a directory and what is in it, if it is there.
pub(super) fn remove_directory(path: &Path) -> Result<(), BackupError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(BackupError::system("remove", path)(error))
        }
        _ => Ok(()),
    }
}
