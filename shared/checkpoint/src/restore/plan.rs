//! Which ranges of which packs a restore reads, and what each is for.

use crate::{
    entry::{Entry, Extent, Frame, Node, PackId},
    limits::PACK_BYTES,
};

/// Bytes that are not needed are fetched too when they are fewer than this between two that are:
/// another request costs more.
const GAP_BYTES: u64 = 256 << 10;

/// A chunk of a file, and where it comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// The file, by its place among the entries of the window.
    pub(super) entry: usize,
    /// The chunk, by its place among the file's extents.
    pub(super) extent: usize,
    /// Where in the file.
    pub(super) at: u64,
    pub(super) frame: Frame,
}

/// One range of a pack.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) pack: PackId,
    pub(super) offset: u64,
    pub(super) length: u64,
    /// In the order of their frames, and of their files within a frame.
    pub(super) pieces: Vec<Piece>,
}

/// All ranges for some entries, in the order in which the entries need them first.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) fetches: Vec<Fetch>,
}

impl Plan {
    pub(super) fn of(entries: &[Entry]) -> Self {
        let mut pieces = Vec::new();
        for (entry, it) in entries.iter().enumerate() {
            let Node::File { extents, .. } = &it.node else {
                continue;
            };
            let mut at = 0;
            for (extent, it) in extents.iter().enumerate() {
                match it {
                    Extent::Hole(length) => at += length,
                    Extent::Chunk(chunk) => {
                        pieces.push(Piece {
                            entry,
                            extent,
                            at,
                            frame: chunk.frame,
                        });
                        at += u64::from(chunk.length);
                    }
                }
            }
        }
        pieces.sort_by_key(|piece| (piece.frame.pack, piece.frame.offset));
        let mut fetches: Vec<Fetch> = Vec::new();
        for piece in pieces {
            let frame = piece.frame;
            let end = frame.offset + u64::from(frame.stored);
            if let Some(last) = fetches.last_mut()
                && last.pack == frame.pack
                && frame.offset <= last.offset + last.length + GAP_BYTES
                && end - last.offset <= (PACK_BYTES + PACK_BYTES / 2) as u64
            {
                last.length = last.length.max(end - last.offset);
                last.pieces.push(piece);
            } else {
                fetches.push(Fetch {
                    pack: frame.pack,
                    offset: frame.offset,
                    length: frame.stored.into(),
                    pieces: vec![piece],
                });
            }
        }
        fetches.sort_by_key(|fetch| fetch.pieces.iter().map(|it| it.entry).min());
        Self { fetches }
    }
}
