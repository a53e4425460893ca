//! The thread that compresses frames, fills packs, and writes the parts of the manifest once it is
//! known where everything is.

use std::{
    collections::VecDeque,
    sync::{Arc, mpsc::Receiver},
};

use domain::CheckpointId;
use tokio::sync::mpsc::Sender;

use crate::{
    base::BasePart,
    codec::Hash,
    entry::{Entry, Frame, PackId},
    limits::{PACK_BYTES, WAITING_ENTRIES},
    manifest::Part,
    output::{PendingPart, Slot, Work},
    part::{SAME_PACK, encode},
    path::RelativePath,
    stamp::Known,
};

/// First bytes of a pack. The id of the checkpoint follows: no two checkpoints make the same pack,
/// so one that a sweep is about to delete is never taken for a new one.
const MAGIC: &[u8] = b"SHNPACK1";

/// Default level; level 3 is the knee of the curve between time and size; it is also what tar and zstd use.
pub(crate) const LEVEL: i32 = 3;

/// A pack that is complete.
#[derive(Debug)]
pub(crate) struct SealedPack {
    pub(crate) id: PackId,
    pub(crate) bytes: Vec<u8>,
}

/// The checkpoint is packed.
#[derive(Debug)]
pub(crate) struct Packed {
    /// Parts of each root, in order.
    pub(crate) roots: Vec<Vec<BasePart>>,
    pub(crate) packs: u64,
    pub(crate) bytes: u64,
}

/// The scan or the upload ended early.
#[derive(Debug)]
pub(crate) struct Stopped;

/// Where a new frame is.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Number of its pack.
    pack: usize,
    offset: u64,
    stored: u32,
    raw: u32,
}

/// A part whose pack is not sealed yet.
#[derive(Debug)]
struct Written {
    root: usize,
    place: usize,
    part: Part,
    bytes: Arc<[u8]>,
    known: Arc<[Known]>,
}

/// A pack that is being filled.
#[derive(Debug)]
struct Filling {
    bytes: Vec<u8>,
    empty: usize,
}

impl Filling {
    fn new(id: &CheckpointId) -> Self {
        let bytes = [MAGIC, id.as_str().as_bytes()].concat();
        Self {
            empty: bytes.len(),
            bytes,
        }
    }

    const fn is_empty(&self) -> bool {
        self.bytes.len() == self.empty
    }

    fn append(&mut self, bytes: &[u8]) -> u64 {
        let offset = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        offset as u64
    }
}

pub(crate) struct Packer {
    id: CheckpointId,
    sealed: Sender<SealedPack>,
    compressor: zstd::bulk::Compressor<'static>,
    frames: Vec<Place>,
    /// Packs of chunks that are sealed; the next number is the one that is being filled.
    packs: Vec<PackId>,
    chunks: Filling,
    parts: Filling,
    /// Parts in `parts`.
    written: Vec<Written>,
    pending: VecDeque<(usize, usize, PendingPart)>,
    /// Entries of them.
    waiting: usize,
    roots: Vec<Vec<Option<BasePart>>>,
    sealed_packs: u64,
    sealed_bytes: u64,
}

impl Packer {
    pub(crate) fn new(
        id: CheckpointId,
        roots: usize,
        sealed: Sender<SealedPack>,
        level: i32,
    ) -> std::io::Result<Self> {
        Ok(Self {
            chunks: Filling::new(&id),
            parts: Filling::new(&id),
            id,
            sealed,
            compressor: zstd::bulk::Compressor::new(level)?,
            frames: Vec::new(),
            packs: Vec::new(),
            written: Vec::new(),
            pending: VecDeque::new(),
            waiting: 0,
            roots: vec![Vec::new(); roots],
            sealed_packs: 0,
            sealed_bytes: 0,
        })
    }

    /// Works until the scan ends.
    pub(crate) fn run(mut self, work: &Receiver<Work>) -> Result<Packed, Stopped> {
        loop {
            match work.recv().map_err(|_| Stopped)? {
                Work::Frame(bytes) => self.frame(&bytes)?,
                Work::Same(root, part) => self.roots[root].push(Some(part)),
                Work::Part(root, part) => {
                    let place = self.roots[root].len();
                    self.roots[root].push(None);
                    self.waiting += part.entries.len();
                    self.pending.push_back((root, place, part));
                    if self.waiting > WAITING_ENTRIES {
                        self.seal_chunks()?;
                    }
                    self.write_parts(false)?;
                }
                Work::End => return self.end(),
            }
        }
    }

    fn compress(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let packed = self.compressor.compress(bytes).ok()?;
        // Equal sizes mean that it was not compressed.
        (packed.len() < bytes.len()).then_some(packed)
    }

    fn frame(&mut self, bytes: &[u8]) -> Result<(), Stopped> {
        let packed = self.compress(bytes);
        let stored = packed.as_deref().unwrap_or(bytes);
        let offset = self.chunks.append(stored);
        self.frames.push(Place {
            pack: self.packs.len(),
            offset,
            stored: stored.len() as u32,
            raw: bytes.len() as u32,
        });
        if self.chunks.bytes.len() >= PACK_BYTES {
            self.seal_chunks()?;
            self.write_parts(false)?;
        }
        Ok(())
    }

    fn seal(&mut self, pack: Filling) -> Result<PackId, Stopped> {
        let id = Hash::of(&pack.bytes);
        self.sealed_packs += 1;
        self.sealed_bytes += pack.bytes.len() as u64;
        let pack = SealedPack {
            id,
            bytes: pack.bytes,
        };
        self.sealed.blocking_send(pack).map_err(|_| Stopped)?;
        Ok(id)
    }

    fn seal_chunks(&mut self) -> Result<(), Stopped> {
        if !self.chunks.is_empty() {
            let next = Filling::new(&self.id);
            let full = std::mem::replace(&mut self.chunks, next);
            let id = self.seal(full)?;
            self.packs.push(id);
        }
        Ok(())
    }

    fn seal_parts(&mut self) -> Result<(), Stopped> {
        if !self.parts.is_empty() {
            let next = Filling::new(&self.id);
            let full = std::mem::replace(&mut self.parts, next);
            let id = self.seal(full)?;
            self.settle(id);
        }
        Ok(())
    }

    /// The parts that were written are in this pack.
    fn settle(&mut self, id: PackId) {
        for written in std::mem::take(&mut self.written) {
            self.roots[written.root][written.place] = Some(BasePart {
                part: Part {
                    pack: id,
                    ..written.part
                },
                bytes: written.bytes,
                known: written.known,
            });
        }
    }

    /// Where a frame is; none while its pack is not sealed, unless the part will be in that pack.
    fn place(&self, slot: Slot, same_pack: bool) -> Option<Frame> {
        let number = match slot {
            Slot::Stored(frame) => return Some(frame),
            Slot::New(number) => usize::try_from(number).ok()?,
        };
        let place = self.frames.get(number)?;
        let pack = match self.packs.get(place.pack) {
            Some(pack) => *pack,
            None if same_pack => SAME_PACK,
            None => return None,
        };
        Some(Frame {
            pack,
            offset: place.offset,
            stored: place.stored,
            raw: place.raw,
        })
    }

    /// Writes the parts at the front whose frames all have their place.
    fn write_parts(&mut self, same_pack: bool) -> Result<(), Stopped> {
        while let Some((_, _, part)) = self.pending.front() {
            let ready = part
                .entries
                .iter()
                .flat_map(|entry| entry.node.chunks())
                .all(|chunk| self.place(chunk.frame, same_pack).is_some());
            if !ready {
                break;
            }
            let Some((root, place, part)) = self.pending.pop_front() else {
                break;
            };
            self.waiting -= part.entries.len();
            self.write_part(root, place, part, same_pack)?;
        }
        Ok(())
    }

    fn write_part(
        &mut self,
        root: usize,
        place: usize,
        part: PendingPart,
        same_pack: bool,
    ) -> Result<(), Stopped> {
        let entries = part
            .entries
            .into_iter()
            .map(|entry| {
                Ok(Entry {
                    path: entry.path,
                    mtime: entry.mtime,
                    node: entry
                        .node
                        .map(|slot| self.place(slot, same_pack).ok_or(Stopped))?,
                })
            })
            .collect::<Result<Vec<_>, Stopped>>()?;
        let raw = encode(&entries);
        let packed = self.compress(&raw);
        let stored: Arc<[u8]> = packed.as_deref().unwrap_or(&raw).into();
        let filling = if same_pack {
            &mut self.chunks
        } else {
            &mut self.parts
        };
        let offset = filling.append(&stored);
        let mut refers: Vec<PackId> = entries
            .iter()
            .flat_map(|entry| entry.node.chunks())
            .map(|chunk| chunk.frame.pack)
            .filter(|pack| *pack != SAME_PACK)
            .collect();
        refers.sort();
        refers.dedup();
        let first = entries.into_iter().next().map(|entry| entry.path);
        self.written.push(Written {
            root,
            place,
            part: Part {
                first: first.unwrap_or_else(|| RelativePath::from_walk(Vec::new())),
                entries: part.known.len() as u32,
                pack: SAME_PACK,
                offset,
                stored: stored.len() as u32,
                raw: raw.len() as u32,
                hash: Hash::of(&raw),
                refers,
            },
            bytes: stored,
            known: part.known.into(),
        });
        if !same_pack && self.parts.bytes.len() >= PACK_BYTES {
            self.seal_parts()?;
        }
        Ok(())
    }

    fn end(mut self) -> Result<Packed, Stopped> {
        // A small checkpoint is one pack: the parts of the manifest go behind the last chunks.
        let pending = self.pending.iter().flat_map(|(_, _, part)| &part.entries);
        let estimate: usize = pending
            .map(|entry| 64 + entry.path.as_bytes().len() + 48 * entry.node.chunks().count())
            .sum();
        let together = self.chunks.bytes.len() + self.parts.bytes.len() + estimate;
        if !self.chunks.is_empty() && together <= PACK_BYTES * 3 / 2 {
            let header = self.parts.empty;
            let parts = std::mem::replace(&mut self.parts, Filling::new(&self.id));
            let moved = self.chunks.append(&parts.bytes[header..]);
            for written in &mut self.written {
                written.part.offset = written.part.offset - header as u64 + moved;
            }
            self.write_parts(true)?;
            let full = std::mem::replace(&mut self.chunks, Filling::new(&self.id));
            let id = self.seal(full)?;
            self.settle(id);
        } else {
            self.seal_chunks()?;
            self.write_parts(false)?;
            self.seal_parts()?;
        }
        let roots = self
            .roots
            .into_iter()
            .map(|parts| parts.into_iter().collect::<Option<Vec<_>>>())
            .collect::<Option<Vec<_>>>()
            .ok_or(Stopped)?;
        Ok(Packed {
            roots,
            packs: self.sealed_packs,
            bytes: self.sealed_bytes,
        })
    }
}
