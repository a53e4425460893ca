//! Parts of a manifest: runs of entries that know where their chunks are, whatever refers to them.
//!
//! A part ends behind a path that a hash chooses, so an edit changes one part and leaves the others
//! as they were, to be referred to again.

use std::collections::HashMap;

use domain::limits::PATH_BYTES;

use crate::{
    codec::{Hash, Malformed, Reader, Writer},
    entry::{Chunk, Entry, Extent, Frame, Node, PackId},
    limits::{CHUNK_BYTES, FRAME_BYTES_MOST, PACK_BYTES_MOST, PART_ENTRIES, STAGING},
    path::{RelativePath, split},
};

/// Stands for the pack that holds the part: its hash is not known while the part is written.
pub(crate) const SAME_PACK: PackId = Hash([0; 32]);

/// Whether a part ends behind this path.
pub(crate) fn ends_part(path: &[u8]) -> bool {
    Hash::of(path).prefix().is_multiple_of(PART_ENTRIES)
}

/// The bytes of a part.
pub(crate) fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut packs: Vec<PackId> = Vec::new();
    let mut frames: HashMap<Frame, usize> = HashMap::new();
    let mut frame_list = Writer::default();
    for chunk in entries.iter().flat_map(|entry| entry.node.chunks()) {
        let next = frames.len();
        frames.entry(chunk.frame).or_insert_with(|| {
            let pack = packs.iter().position(|pack| *pack == chunk.frame.pack);
            frame_list.length(pack.unwrap_or_else(|| {
                packs.push(chunk.frame.pack);
                packs.len() - 1
            }));
            frame_list.number(chunk.frame.offset);
            frame_list.number(chunk.frame.stored.into());
            frame_list.number(chunk.frame.raw.into());
            next
        });
    }
    let mut out = Writer::default();
    out.length(packs.len());
    for pack in &packs {
        out.plain(&pack.0);
    }
    out.length(frames.len());
    out.plain(&frame_list.0);
    out.length(entries.len());
    let mut before: &[u8] = &[];
    let mut seconds_before = 0;
    let mut end_before = 0;
    for entry in entries {
        let path = entry.path.as_bytes();
        let shared = before.iter().zip(path).take_while(|(l, r)| l == r).count();
        out.length(shared);
        out.bytes(&path[shared..]);
        before = path;
        let seconds = entry.mtime.div_euclid(1_000_000_000);
        out.signed(seconds - seconds_before);
        seconds_before = seconds;
        out.number(entry.mtime.rem_euclid(1_000_000_000) as u64);
        match &entry.node {
            Node::Directory { mode } => {
                out.byte(0);
                out.number((*mode).into());
            }
            Node::Symlink { target } => {
                out.byte(2);
                out.bytes(target);
            }
            Node::File {
                mode,
                size,
                extents,
            } => {
                out.byte(1);
                out.number((*mode).into());
                out.number(*size);
                out.length(extents.len());
                for extent in extents {
                    match extent {
                        Extent::Hole(length) => {
                            out.byte(0);
                            out.number(*length);
                        }
                        Extent::Chunk(chunk) => {
                            out.length(frames[&chunk.frame] + 1);
                            // Most chunks follow the one before them.
                            out.signed(i64::from(chunk.offset) - end_before);
                            end_before = i64::from(chunk.offset) + i64::from(chunk.length);
                            out.number(chunk.length.into());
                            out.plain(&chunk.hash.0);
                        }
                    }
                }
            }
        }
    }
    out.0
}

/// Reads a part that `holder` holds. Everything in it is checked but what is outside of it: that its
/// directories are there, see [`Order`].
pub(crate) fn decode(bytes: &[u8], holder: PackId) -> Result<Vec<Entry>, Malformed> {
    let mut reader = Reader(bytes);
    let packs = (0..reader.count(32)?)
        .map(|_| reader.hash())
        .map(|hash| hash.map(|hash| if hash == SAME_PACK { holder } else { hash }))
        .collect::<Result<Vec<_>, _>>()?;
    let frames = (0..reader.count(4)?)
        .map(|_| frame(&mut reader, &packs))
        .collect::<Result<Vec<_>, _>>()?;
    let count = reader.count(6)?;
    let mut entries: Vec<Entry> = Vec::with_capacity(count);
    let mut seconds = 0_i64;
    let mut end = 0_i64;
    for _ in 0..count {
        let before = entries
            .last()
            .map_or(&[][..], |entry| entry.path.as_bytes());
        let shared = usize::try_from(reader.number()?).unwrap_or(usize::MAX);
        let mut path = before
            .get(..shared)
            .ok_or(Malformed("a path continues nothing"))?
            .to_vec();
        path.extend_from_slice(reader.bytes(PATH_BYTES)?);
        let path = RelativePath::from_manifest(&path)?;
        seconds = seconds
            .checked_add(reader.signed()?)
            .ok_or(Malformed("a time is out of range"))?;
        let nanoseconds = reader.small()?;
        let mtime = seconds
            .checked_mul(1_000_000_000)
            .and_then(|time| time.checked_add(nanoseconds.into()))
            .filter(|_| nanoseconds < 1_000_000_000)
            .ok_or(Malformed("a time is out of range"))?;
        let node = match reader.byte()? {
            0 => Node::Directory {
                mode: mode(&mut reader)?,
            },
            1 => file(&mut reader, &frames, &mut end)?,
            2 => Node::Symlink {
                target: target(&mut reader)?,
            },
            _ => return Err(Malformed("neither file, directory nor link")),
        };
        entries.push(Entry { path, mtime, node });
    }
    reader.end()?;
    Ok(entries)
}

fn frame(reader: &mut Reader<'_>, packs: &[PackId]) -> Result<Frame, Malformed> {
    let pack = usize::try_from(reader.number()?).unwrap_or(usize::MAX);
    let frame = Frame {
        pack: *packs.get(pack).ok_or(Malformed("a pack is not listed"))?,
        offset: reader.number()?,
        stored: reader.small()?,
        raw: reader.small()?,
    };
    let fits = frame.raw as usize <= FRAME_BYTES_MOST
        && frame.stored <= frame.raw
        && frame.stored > 0
        && frame.offset <= PACK_BYTES_MOST
        && frame.offset + u64::from(frame.stored) <= PACK_BYTES_MOST;
    if fits {
        Ok(frame)
    } else {
        Err(Malformed("a frame has an impossible size"))
    }
}

fn mode(reader: &mut Reader<'_>) -> Result<u16, Malformed> {
    u16::try_from(reader.number()?)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or(Malformed("a mode has more than permission bits"))
}

fn target(reader: &mut Reader<'_>) -> Result<Vec<u8>, Malformed> {
    let target = reader.bytes(PATH_BYTES)?;
    if target.is_empty() || target.contains(&0) {
        return Err(Malformed("a link has no possible target"));
    }
    Ok(target.to_vec())
}

fn file(
    reader: &mut Reader<'_>,
    frames: &[Frame],
    end: &mut i64,
) -> Result<Node<Frame>, Malformed> {
    let mode = mode(reader)?;
    let size = reader.number()?;
    let count = reader.count(2)?;
    let mut extents = Vec::with_capacity(count);
    let mut sum = 0_u64;
    for _ in 0..count {
        let number = usize::try_from(reader.number()?).unwrap_or(usize::MAX);
        let length = if number == 0 {
            let length = reader.number()?;
            extents.push(Extent::Hole(length));
            length
        } else {
            let frame = *frames
                .get(number - 1)
                .ok_or(Malformed("a frame is not listed"))?;
            let offset = end
                .checked_add(reader.signed()?)
                .and_then(|offset| u32::try_from(offset).ok())
                .ok_or(Malformed("a chunk is outside its frame"))?;
            let length = reader.small()?;
            let hash = reader.hash()?;
            let inside = offset
                .checked_add(length)
                .is_some_and(|end| end <= frame.raw);
            if !inside || length as usize > CHUNK_BYTES {
                return Err(Malformed("a chunk is outside its frame"));
            }
            *end = i64::from(offset) + i64::from(length);
            extents.push(Extent::Chunk(Chunk {
                hash,
                frame,
                offset,
                length,
            }));
            length.into()
        };
        if length == 0 {
            return Err(Malformed("an extent is empty"));
        }
        sum = sum
            .checked_add(length)
            .filter(|sum| i64::try_from(*sum).is_ok())
            .ok_or(Malformed("a file is too large"))?;
    }
    if sum != size {
        return Err(Malformed("a file's extents are not its size"));
    }
    Ok(Node::File {
        mode,
        size,
        extents,
    })
}

/// Checks what holds across the entries of a root: each comes after the one before (so none comes
/// twice), and below a directory of the same manifest (so never through a link or a file).
#[derive(Debug, Default)]
pub(crate) struct Order {
    before: Option<RelativePath>,
    directories: Vec<Vec<u8>>,
}

impl Order {
    pub(crate) fn accept<F>(&mut self, entry: &Entry<F>) -> Result<(), Malformed> {
        self.ascends(entry)?;
        let (parent, name) = split(entry.path.as_bytes());
        if parent.is_empty() && name.starts_with(STAGING) {
            return Err(Malformed("a name is reserved"));
        }
        while self.directories.last().is_some_and(|it| it != parent) {
            self.directories.pop();
        }
        if !parent.is_empty() && self.directories.is_empty() {
            return Err(Malformed("a path is not inside a directory"));
        }
        if matches!(entry.node, Node::Directory { .. }) {
            self.directories.push(entry.path.as_bytes().to_vec());
        }
        Ok(())
    }

    /// Only the order, where some parts are left out.
    pub(crate) fn ascends<F>(&mut self, entry: &Entry<F>) -> Result<(), Malformed> {
        if self
            .before
            .as_ref()
            .is_some_and(|before| *before >= entry.path)
        {
            return Err(Malformed("a path comes twice or out of order"));
        }
        self.before = Some(entry.path.clone());
        Ok(())
    }
}
