//! Reads one file into chunks, and notices when it changes meanwhile.

use std::os::fd::{AsFd, BorrowedFd};

use fastcdc::v2020::FastCDC;
use rustix::{
    fs::{Mode, OFlags, SeekFrom, fstat, openat, seek},
    io::{Errno, pread},
};

use crate::{
    entry::Extent,
    limits::{COARSE, FINE, LARGE_FILE_BYTES, READ_ATTEMPTS},
    manifest::SkipReason,
    output::{Output, Slot},
    scan::ScanError,
    stamp::Stamp,
};

/// What reading a file gave.
#[derive(Debug)]
pub(crate) enum Content {
    /// What it holds. `stable`: it was the same before and after.
    Read {
        extents: Vec<Extent<Slot>>,
        stamp: Stamp,
        stable: bool,
    },
    /// Nothing, and why.
    Skipped(SkipReason),
    /// It vanished.
    Gone,
}

/// The buffer that all files go through.
#[derive(Debug)]
pub(crate) struct ContentReader {
    buffer: Vec<u8>,
}

/// Why reading stopped.
enum Stop {
    Scan(ScanError),
    File(Errno),
}

impl From<Errno> for Stop {
    fn from(error: Errno) -> Self {
        Self::File(error)
    }
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Self {
        Self::Scan(error)
    }
}

impl ContentReader {
    pub(crate) fn new() -> Self {
        Self {
            buffer: vec![0; 2 * COARSE.2],
        }
    }

    /// Reads a file, again when it changed meanwhile; after some attempts it is taken as it is.
    pub(crate) fn read(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        out: &mut Output,
    ) -> Result<Content, ScanError> {
        let mut last = Content::Gone;
        for _ in 0..READ_ATTEMPTS {
            last = match self.read_once(directory, name, out) {
                Ok(content) => content,
                Err(Stop::Scan(error)) => return Err(error),
                Err(Stop::File(Errno::NOENT | Errno::LOOP)) => return Ok(Content::Gone),
                Err(Stop::File(Errno::ACCESS | Errno::PERM)) => {
                    return Ok(Content::Skipped(SkipReason::Unreadable));
                }
                Err(Stop::File(_)) => return Ok(Content::Skipped(SkipReason::Failing)),
            };
            if !matches!(last, Content::Read { stable: false, .. }) {
                break;
            }
        }
        Ok(last)
    }

    fn read_once(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        out: &mut Output,
    ) -> Result<Content, Stop> {
        // Should it have become a FIFO meanwhile, opening it must not wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(directory, name, flags, Mode::empty())?;
        let before = Stamp::of(&fstat(&file)?);
        if !before.kind.is_file() {
            return Ok(Content::Skipped(SkipReason::Special));
        }
        let mut extents = Vec::new();
        let mut whole = true;
        let mut at = 0;
        while at < before.size {
            let (data, end) = if before.sparse {
                next_data(file.as_fd(), at, before.size)?
            } else {
                (at, before.size)
            };
            if data > at {
                extents.push(Extent::Hole(data - at));
            }
            let reached = self.chunks(file.as_fd(), data..end, before.size, out, &mut extents)?;
            at = end;
            if reached < end {
                whole = false;
                break;
            }
        }
        let after = Stamp::of(&fstat(&file)?);
        let size = extents.iter().map(|extent| match extent {
            Extent::Hole(length) => *length,
            Extent::Chunk(chunk) => chunk.length.into(),
        });
        Ok(Content::Read {
            stable: whole && before.same_content(&after),
            stamp: Stamp {
                size: size.sum(),
                ..after
            },
            extents,
        })
    }

    /// Cuts a range of a file into chunks. Says how far it came: less than asked where the file has
    /// become shorter.
    fn chunks(
        &mut self,
        file: BorrowedFd<'_>,
        range: std::ops::Range<u64>,
        size: u64,
        out: &mut Output,
        extents: &mut Vec<Extent<Slot>>,
    ) -> Result<u64, Stop> {
        let (least, average, most) = if size < LARGE_FILE_BYTES {
            FINE
        } else {
            COARSE
        };
        let mut read_to = range.start;
        let mut chunked_to = range.start;
        let mut ended = range.is_empty();
        // What was read and not yet cut is at the front of the buffer.
        let mut filled = 0;
        loop {
            while !ended && filled < self.buffer.len() {
                let wanted = usize::try_from(range.end - read_to)
                    .unwrap_or(usize::MAX)
                    .min(self.buffer.len() - filled);
                let count = pread(file, &mut self.buffer[filled..filled + wanted], read_to)?;
                read_to += count as u64;
                filled += count;
                ended = count == 0 || read_to == range.end;
            }
            let mut from = 0;
            // A cut needs to see as much as a chunk may have, except at the end.
            while from < filled && (ended || filled - from >= most) {
                let rest = &self.buffer[from..filled];
                let length = if rest.len() <= least {
                    rest.len()
                } else {
                    FastCDC::new(rest, least, average, most)
                        .cut(0, rest.len())
                        .1
                };
                extents.push(Extent::Chunk(out.chunk(&rest[..length])?));
                from += length;
                chunked_to += length as u64;
            }
            self.buffer.copy_within(from..filled, 0);
            filled -= from;
            if ended && filled == 0 {
                return Ok(chunked_to);
            }
        }
    }
}

/// The next range that is not a hole, from `at` on; empty at `size` when only a hole follows.
fn next_data(file: BorrowedFd<'_>, at: u64, size: u64) -> Result<(u64, u64), Errno> {
    let data = match seek(file, SeekFrom::Data(at)) {
        Ok(data) => data.min(size),
        Err(Errno::NXIO) => return Ok((size, size)),
        // A file system that knows no holes; the last two are macOS's words for it.
        Err(Errno::INVAL | Errno::NOTTY | Errno::NOTSUP) => return Ok((at, size)),
        Err(error) => return Err(error),
    };
    let end = match seek(file, SeekFrom::Hole(data)) {
        Ok(end) => end.min(size),
        Err(Errno::NXIO) => size,
        Err(error) => return Err(error),
    };
    Ok((data, end.max(data)))
}
