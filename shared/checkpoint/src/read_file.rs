//! Reads one file at a checkpoint without restoring it.

use domain::{
    CheckpointId,
    ports::{TreeObjects, Unavailable},
};
use thiserror::Error;

use crate::{
    Snapshots,
    codec::{Hash, Malformed, unpack},
    entry::{Chunk, Entry, Extent, Frame, Node},
    manifest::{Manifest, RootName},
    objects::{Damage, ReadError, damaged, pack_name},
    path::RelativePath,
};

/// A range of a file at a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRange {
    /// The bytes: fewer than asked for where the file ends before.
    pub bytes: Vec<u8>,
    /// Of the whole file.
    pub size: u64,
    /// Its permission bits.
    pub mode: u16,
}

/// Why a file at a checkpoint could not be read.
#[derive(Debug, Error)]
pub enum ReadFileError {
    /// Nothing of that name is in the checkpoint.
    #[error("the checkpoint holds no such file")]
    Missing,
    /// It is a directory.
    #[error("it is a directory")]
    Directory,
    /// It is a symbolic link to this; read that instead, if it is in the checkpoint.
    #[error("it is a symbolic link to {}", String::from_utf8_lossy(.0))]
    Symlink(Vec<u8>),
    /// No such checkpoint in this tree.
    #[error("there is no checkpoint {0} in this tree")]
    Unknown(CheckpointId),
    /// Read it at another checkpoint.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<ReadError> for ReadFileError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unknown(id) => Self::Unknown(id),
            ReadError::Damaged(damage) => Self::Damaged(damage),
            ReadError::Unavailable(unavailable) => Self::Unavailable(unavailable),
        }
    }
}

impl<O: TreeObjects> Snapshots<'_, O> {
    /// At most `length` bytes from `offset` of a file as it was.
    ///
    /// Fetches one part of the manifest and the frames that hold the range: for a small file one
    /// frame of up to 1 MiB. Changes nothing.
    ///
    /// # Errors
    /// [`ReadFileError`].
    pub async fn read_file(
        &self,
        manifest: &Manifest,
        root: RootName,
        path: &RelativePath,
        offset: u64,
        length: u64,
    ) -> Result<FileRange, ReadFileError> {
        let entry = self.entry(manifest, root, path).await?;
        let Some(Entry { node, .. }) = entry else {
            return Err(ReadFileError::Missing);
        };
        match node {
            Node::Directory { .. } => Err(ReadFileError::Directory),
            Node::Symlink { target } => Err(ReadFileError::Symlink(target)),
            Node::File {
                mode,
                size,
                extents,
            } => {
                let end = offset.saturating_add(length).min(size);
                let file = format!("{}/{path}", root.as_str());
                let mut frames = Vec::new();
                let bytes = self.extents_with(&extents, offset..end, &file, &mut frames, 1);
                Ok(FileRange {
                    bytes: bytes.await?,
                    size,
                    mode,
                })
            }
        }
    }

    async fn entry(
        &self,
        manifest: &Manifest,
        root: RootName,
        path: &RelativePath,
    ) -> Result<Option<Entry>, ReadError> {
        let parts = manifest.roots.get(&root).map_or(&[][..], Vec::as_slice);
        let place = parts.partition_point(|part| part.first <= *path);
        let Some(place) = place.checked_sub(1) else {
            return Ok(None);
        };
        let read = self.parts(&parts[place..=place]).await?;
        let entries = read.into_iter().flat_map(|(entries, _)| entries);
        Ok(entries.into_iter().find(|entry| entry.path == *path))
    }

    /// A range of a file's content, verified. `frames`: unpacked frames that are kept, the newest
    /// last, at most `keep`.
    pub(crate) async fn extents_with(
        &self,
        extents: &[Extent<Frame>],
        range: std::ops::Range<u64>,
        file: &str,
        frames: &mut Vec<(Frame, Vec<u8>)>,
        keep: usize,
    ) -> Result<Vec<u8>, ReadError> {
        let mut bytes = Vec::new();
        let mut at = 0_u64;
        for extent in extents {
            let length = match extent {
                Extent::Hole(length) => *length,
                Extent::Chunk(chunk) => chunk.length.into(),
            };
            let (from, to) = (at.max(range.start), (at + length).min(range.end));
            let start = at;
            at += length;
            if from >= to {
                continue;
            }
            let within = |place: u64| usize::try_from(place - start).unwrap_or(usize::MAX);
            match extent {
                Extent::Hole(_) => bytes.resize(bytes.len() + within(to) - within(from), 0),
                Extent::Chunk(chunk) => {
                    let content = self.chunk(chunk, file, frames, keep).await?;
                    bytes.extend_from_slice(&content[within(from)..within(to)]);
                }
            }
        }
        Ok(bytes)
    }

    /// One chunk, verified; `frames` as above.
    pub(crate) async fn chunk<'f>(
        &self,
        chunk: &Chunk<Frame>,
        file: &str,
        frames: &'f mut Vec<(Frame, Vec<u8>)>,
        keep: usize,
    ) -> Result<&'f [u8], ReadError> {
        let lost = |damage| Damage {
            file: Some(file.to_owned()),
            ..damage
        };
        if let Some(place) = frames.iter().position(|(of, _)| *of == chunk.frame) {
            let used = frames.remove(place);
            frames.push(used);
        } else {
            let raw = self
                .frame(&chunk.frame)
                .await
                .map_err(|error| match error {
                    ReadError::Damaged(damage) => ReadError::Damaged(lost(damage)),
                    error => error,
                })?;
            if frames.len() >= keep {
                frames.remove(0);
            }
            frames.push((chunk.frame, raw));
        }
        let place = chunk.offset as usize;
        let content = frames
            .last()
            .and_then(|(_, raw)| raw.get(place..place + chunk.length as usize))
            .filter(|content| Hash::of(content) == chunk.hash);
        content.ok_or_else(|| {
            let what = Malformed("a chunk is not what was stored");
            lost(damaged(pack_name(&chunk.frame.pack), what)).into()
        })
    }

    async fn frame(&self, frame: &Frame) -> Result<Vec<u8>, ReadError> {
        let stored = self
            .range(&frame.pack, frame.offset, frame.stored.into())
            .await?;
        Ok(unpack(&stored, frame.raw as usize)
            .map_err(|malformed| damaged(pack_name(&frame.pack), malformed))?)
    }
}
