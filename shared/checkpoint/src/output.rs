//! What a scan gives to the thread that packs: frames of new chunks, and parts of the manifest.

use std::{collections::HashMap, sync::mpsc::SyncSender};

use crate::{
    base::{BaseChunks, BasePart},
    codec::Hash,
    entry::{Chunk, Entry, Frame},
    limits::FRAME_BYTES,
    scan::ScanError,
    stamp::Known,
};

/// Where a frame is, while a checkpoint is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Stored by an earlier checkpoint.
    Stored(Frame),
    /// The n-th frame of this one.
    New(u64),
}

/// A part of the manifest whose frames may still be on their way.
#[derive(Debug)]
pub(crate) struct PendingPart {
    pub(crate) entries: Vec<Entry<Slot>>,
    pub(crate) known: Vec<Known>,
}

/// In the order of the scan.
#[derive(Debug)]
pub(crate) enum Work {
    /// The next frame, not yet compressed.
    Frame(Vec<u8>),
    /// The next part of a root.
    Part(usize, PendingPart),
    /// The next part of a root, as it was in the base.
    Same(usize, BasePart),
    /// The scan is complete. Without it, what was packed is of no use.
    End,
}

/// Collects chunks into frames, and finds the ones that are stored already.
#[derive(Debug)]
pub(crate) struct Output {
    sender: SyncSender<Work>,
    frame: Vec<u8>,
    /// 4 Gi frames are 4 PiB.
    frame_number: u32,
    /// Chunks of this checkpoint, by half their hash, for a million of them: frame and offset.
    made: HashMap<[u8; 16], (u32, u32)>,
    stored: BaseChunks,
    pub(crate) new_bytes: u64,
}

impl Output {
    pub(crate) fn new(sender: SyncSender<Work>, stored: BaseChunks) -> Self {
        Self {
            sender,
            frame: Vec::with_capacity(FRAME_BYTES * 3 / 2),
            frame_number: 0,
            made: HashMap::new(),
            stored,
            new_bytes: 0,
        }
    }

    /// Fails when nobody packs any more.
    pub(crate) fn send(&self, work: Work) -> Result<(), ScanError> {
        self.sender.send(work).map_err(|_| ScanError::Stopped)
    }

    /// Where this chunk is or will be.
    pub(crate) fn chunk(&mut self, bytes: &[u8]) -> Result<Chunk<Slot>, ScanError> {
        let hash = Hash::of(bytes);
        let length = bytes.len() as u32;
        if let Some((frame, offset)) = self.made.get(&hash.half()) {
            return Ok(Chunk {
                hash,
                frame: Slot::New((*frame).into()),
                offset: *offset,
                length,
            });
        }
        if let Some(chunk) = self.stored.find(&hash)? {
            return Ok(Chunk {
                hash,
                frame: Slot::Stored(chunk.frame),
                offset: chunk.offset,
                length,
            });
        }
        let offset = self.frame.len() as u32;
        let chunk = Chunk {
            hash,
            frame: Slot::New(self.frame_number.into()),
            offset,
            length,
        };
        self.frame.extend_from_slice(bytes);
        self.made.insert(hash.half(), (self.frame_number, offset));
        self.new_bytes += u64::from(length);
        if self.frame.len() >= FRAME_BYTES {
            self.close_frame()?;
        }
        Ok(chunk)
    }

    fn close_frame(&mut self) -> Result<(), ScanError> {
        let next = Vec::with_capacity(self.frame.capacity());
        let frame = std::mem::replace(&mut self.frame, next);
        self.frame_number += 1;
        self.send(Work::Frame(frame))
    }

    /// The scan is complete.
    pub(crate) fn end(mut self) -> Result<u64, ScanError> {
        if !self.frame.is_empty() {
            self.close_frame()?;
        }
        self.send(Work::End)?;
        Ok(self.new_bytes)
    }
}
