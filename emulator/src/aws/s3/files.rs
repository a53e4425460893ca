//! The bytes of the emulated S3: one file per object version. Bytes stream into `incoming`, are
//! flushed to the disk and renamed into `objects`; only then may a row name them. What no row names is
//! deleted at the next start.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::{Stream, StreamExt};
use md5::{Digest, Md5};
use s3s::{S3Error, S3Result, checksum::ChecksumHasher, dto::Checksum, s3_error};
use tokio::io::AsyncWriteExt;

use super::object_file::ObjectFile;
use crate::encryption::{StateKey, sealed::Sealer};

/// Bytes gathered before they go to the disk, so that small network reads are not small writes.
const WRITE_BYTES: usize = 256 * 1024;

/// The directories. Cheap to clone.
#[derive(Clone)]
pub(super) struct Files(Arc<Directories>);

struct Directories {
    incoming: PathBuf,
    objects: PathBuf,
    durable: bool,
    key: Option<StateKey>,
}

/// Bytes in their final place that no row names yet: deleted when dropped, unless kept.
pub(super) struct StoredFile {
    files: Files,
    pub(super) name: String,
    pub(super) size: u64,
    /// MD5, the raw digest.
    pub(super) md5: [u8; 16],
    pub(super) checksum: Checksum,
    kept: bool,
}

impl StoredFile {
    /// A row names the file now.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for StoredFile {
    fn drop(&mut self) {
        if !self.kept {
            self.files.remove(&self.name);
        }
    }
}

/// A file in `incoming`, deleted when dropped: the upload was cut off or refused.
struct Incoming(PathBuf);

impl Drop for Incoming {
    fn drop(&mut self) {
        // After the rename there is nothing left to delete here.
        if let Err(error) = fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "unfinished upload not deleted");
        }
    }
}

impl Files {
    /// Makes the directories below `root`. With `durable`, bytes are on the disk before they count.
    /// With a key they are encrypted.
    pub(super) fn open(root: &Path, durable: bool, key: Option<StateKey>) -> io::Result<Self> {
        let directories = Directories {
            incoming: root.join("incoming"),
            objects: root.join("objects"),
            durable,
            key,
        };
        fs::create_dir_all(&directories.incoming)?;
        fs::create_dir_all(&directories.objects)?;
        Ok(Self(Arc::new(directories)))
    }

    /// Deletes what a former process left unfinished: all of `incoming`, and each object file that no
    /// row names.
    pub(super) fn sweep(&self, referenced: &HashSet<String>) -> io::Result<()> {
        for entry in fs::read_dir(&self.0.incoming)? {
            fs::remove_file(entry?.path())?;
        }
        for shard in fs::read_dir(&self.0.objects)? {
            for entry in fs::read_dir(shard?.path())? {
                let entry = entry?;
                if !entry
                    .file_name()
                    .to_str()
                    .is_some_and(|name| referenced.contains(name))
                {
                    fs::remove_file(entry.path())?;
                }
            }
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.objects.join(&name[..2]).join(name)
    }

    /// Opens the bytes of an object.
    pub(super) fn read(&self, name: &str) -> io::Result<ObjectFile> {
        ObjectFile::open(&self.path(name), self.0.key.as_ref())
    }

    /// Deletes bytes that no row names. If that fails they are swept at the next start.
    pub(super) fn remove(&self, name: &str) {
        if let Err(error) = fs::remove_file(self.path(name)) {
            tracing::warn!(%error, name, "object file not deleted");
        }
    }

    /// A second name for the same bytes, for a copy; they are shared until both are deleted.
    pub(super) fn link(&self, name: &str) -> io::Result<String> {
        let (copy, path) = self.new_name()?;
        fs::hard_link(self.path(name), path)?;
        Ok(copy)
    }

    fn new_name(&self) -> io::Result<(String, PathBuf)> {
        let name = uuid::Uuid::new_v4().simple().to_string();
        let path = self.path(&name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        Ok((name, path))
    }

    /// Streams `body` to the disk, hashing on the way; memory stays bounded whatever the size.
    ///
    /// # Errors
    /// `IncompleteBody` when the body ends early or its signature does not hold, 507 when the disk is
    /// full. Nothing stays behind then.
    pub(super) async fn receive<S, E>(
        &self,
        mut body: S,
        mut hasher: ChecksumHasher,
    ) -> S3Result<StoredFile>
    where
        S: Stream<Item = Result<bytes::Bytes, E>> + Unpin,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let incoming = Incoming(
            self.0
                .incoming
                .join(uuid::Uuid::new_v4().simple().to_string()),
        );
        let file = tokio::fs::File::create(&incoming.0)
            .await
            .map_err(file_error)?;
        let mut file = tokio::io::BufWriter::with_capacity(WRITE_BYTES, file);
        let mut md5 = Md5::new();
        let mut size = 0_u64;
        let mut sealer = self
            .0
            .key
            .as_ref()
            .map(Sealer::new)
            .transpose()
            .map_err(file_error)?;
        let mut sealed = sealer.as_ref().map(Sealer::header).unwrap_or_default();
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| {
                let mut refused = s3_error!(
                    IncompleteBody,
                    "the body ended early or its signature does not hold"
                );
                refused.set_source(error.into());
                refused
            })?;
            size += chunk.len() as u64;
            md5.update(&chunk);
            hasher.update(&chunk);
            if let Some(sealer) = &mut sealer {
                sealer.push(&chunk, &mut sealed).map_err(file_error)?;
                file.write_all(&sealed).await.map_err(file_error)?;
                sealed.clear();
            } else {
                file.write_all(&chunk).await.map_err(file_error)?;
            }
        }
        if let Some(sealer) = sealer {
            sealer.finish(&mut sealed).map_err(file_error)?;
            file.write_all(&sealed).await.map_err(file_error)?;
        }
        file.flush().await.map_err(file_error)?;
        if self.0.durable {
            file.get_ref().sync_all().await.map_err(file_error)?;
        }
        drop(file);
        let files = self.clone();
        // The rename and the guard that undoes it are made in one blocking step, which runs to its end
        // even if the request is dropped here.
        tokio::task::spawn_blocking(move || {
            let (name, path) = files.new_name()?;
            fs::rename(&incoming.0, &path)?;
            let stored = StoredFile {
                files: files.clone(),
                name,
                size,
                md5: md5.finalize().into(),
                checksum: hasher.finalize(),
                kept: false,
            };
            if files.0.durable
                && let Some(parent) = path.parent()
            {
                fs::File::open(parent)?.sync_all()?;
            }
            Ok(stored)
        })
        .await
        .map_err(S3Error::internal_error)?
        .map_err(file_error)
    }
}

/// A failure of the file system as S3 would tell it. A full disk is told apart: repeating does not help.
pub(super) fn file_error(error: io::Error) -> S3Error {
    if error.kind() == io::ErrorKind::StorageFull || error.kind() == io::ErrorKind::QuotaExceeded {
        return super::disk_full();
    }
    S3Error::internal_error(error)
}
