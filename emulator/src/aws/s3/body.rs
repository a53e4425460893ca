//! Part of a file as a response body: read piece by piece, with its length known beforehand so that
//! the response has a Content-Length.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::Stream;
use s3s::stream::{ByteStream, RemainingLength};

use super::object_file::{ObjectBytes, ObjectFile};

/// The next `remaining` bytes of an open file.
pub(super) struct FileBody {
    stream: ObjectBytes,
    remaining: u64,
}

impl FileBody {
    pub(super) fn new(file: ObjectFile, remaining: u64) -> Self {
        Self {
            stream: file.bytes(remaining),
            remaining,
        }
    }
}

impl Stream for FileBody {
    type Item = Result<Bytes, Box<dyn std::error::Error + Send + Sync>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match Pin::new(&mut self.stream).poll_next(context) {
            Poll::Ready(Some(Ok(chunk))) => {
                self.remaining = self.remaining.saturating_sub(chunk.len() as u64);
                Poll::Ready(Some(Ok(chunk)))
            }
            // A file that ends early must not look like the end of the object.
            Poll::Ready(None) if self.remaining > 0 => {
                self.remaining = 0;
                Poll::Ready(Some(Err(Box::new(io::Error::from(
                    io::ErrorKind::UnexpectedEof,
                )))))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(Box::new(error)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl ByteStream for FileBody {
    fn remaining_length(&self) -> RemainingLength {
        usize::try_from(self.remaining)
            .map_or_else(|_| RemainingLength::unknown(), RemainingLength::new_exact)
    }
}
