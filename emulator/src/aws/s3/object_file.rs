//! The bytes of an object, plain or encrypted on the disk, from any position.

use std::{
    fs::File,
    io::{self, Seek as _, SeekFrom},
    path::Path,
    pin::Pin,
};

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use crate::encryption::{StateKey, sealed::Opener};

/// Bytes read from the disk at once.
const READ_BYTES: usize = 64 * 1024;

/// What an object holds, piece by piece.
pub(super) type ObjectBytes = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send + Sync>>;

/// An open object.
pub(super) enum ObjectFile {
    Plain(File),
    Sealed(Box<Opener>),
}

impl ObjectFile {
    pub(super) fn open(path: &Path, key: Option<&StateKey>) -> io::Result<Self> {
        let file = File::open(path)?;
        Ok(match key {
            Some(key) => Self::Sealed(Box::new(Opener::new(file, key)?)),
            None => Self::Plain(file),
        })
    }

    /// Goes to a byte of the object.
    pub(super) fn skip_to(&mut self, position: u64) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.seek(SeekFrom::Start(position)).map(drop),
            Self::Sealed(opener) => opener.skip_to(position),
        }
    }

    /// The bytes from there on, at most so many. It ends early when the file does.
    pub(super) fn bytes(self, most: u64) -> ObjectBytes {
        match self {
            Self::Plain(file) => {
                let file = tokio::fs::File::from_std(file).take(most);
                Box::pin(ReaderStream::with_capacity(file, READ_BYTES))
            }
            Self::Sealed(opener) => Box::pin(stream::try_unfold(
                (opener, most),
                |(opener, left)| async move {
                    if left == 0 {
                        return Ok(None);
                    }
                    let read = tokio::task::spawn_blocking(move || {
                        let mut opener = opener;
                        let chunk = opener.next()?;
                        Ok::<_, io::Error>((opener, chunk))
                    });
                    let (opener, chunk) = read.await.map_err(io::Error::other)??;
                    Ok(chunk.map(|mut chunk| {
                        chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                        let left = left - chunk.len() as u64;
                        (Bytes::from(chunk), (opener, left))
                    }))
                },
            )),
        }
    }
}
