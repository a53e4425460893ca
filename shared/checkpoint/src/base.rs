//! What a process remembers of the last checkpoint it made or restored, so that the next one reads
//! only what changed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{
    codec::{Hash, Malformed, unpack},
    entry::{Chunk, Entry},
    manifest::{Part, RootName},
    part::decode,
    stamp::Known,
};

/// The last checkpoint, in memory: its parts, compressed, and what the file system said about its
/// files on this machine. About 70 bytes a file. Cheap to clone.
///
/// It belongs to the tree whose checkpoints it came from.
#[derive(Clone, Debug, Default)]
pub struct Base {
    pub(crate) roots: BTreeMap<RootName, Arc<Vec<BasePart>>>,
}

impl Base {
    /// This, with the roots of `other` in place of its own: after restoring the files of one
    /// checkpoint and the conversation of another.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.roots.extend(other.roots);
        self
    }
}

/// A part of a root, as stored, and what is known of its entries here.
#[derive(Clone, Debug)]
pub(crate) struct BasePart {
    pub(crate) part: Part,
    /// As stored.
    pub(crate) bytes: Arc<[u8]>,
    /// One for each entry.
    pub(crate) known: Arc<[Known]>,
}

impl BasePart {
    pub(crate) fn entries(&self) -> Result<Vec<Entry>, Malformed> {
        decode_part(&self.part, &self.bytes)
    }
}

/// Reads a part from its stored bytes, and checks that it is the one that the manifest means.
pub(crate) fn decode_part(part: &Part, stored: &[u8]) -> Result<Vec<Entry>, Malformed> {
    if stored.len() != part.stored as usize {
        return Err(Malformed("it is shorter than the manifest says"));
    }
    let raw = unpack(stored, part.raw as usize)?;
    if Hash::of(&raw) != part.hash {
        return Err(Malformed("its hash is not the manifest's"));
    }
    let entries = decode(&raw, part.pack)?;
    let first = entries.first().map(|entry| &entry.path);
    if first != Some(&part.first) || entries.len() != part.entries as usize {
        return Err(Malformed("its entries are not the manifest's"));
    }
    Ok(entries)
}

/// Walks the entries of a root of a base, in order.
#[derive(Debug)]
pub(crate) struct BaseCursor {
    parts: Arc<Vec<BasePart>>,
    /// The part that is next to be read.
    next_part: usize,
    entries: std::vec::IntoIter<Entry>,
    known: Arc<[Known]>,
    place: usize,
    peeked: Option<BaseEntry>,
}

/// An entry of a base and where it was.
#[derive(Clone, Debug)]
pub(crate) struct BaseEntry {
    pub(crate) entry: Entry,
    pub(crate) known: Known,
    pub(crate) part: usize,
    /// In its part.
    pub(crate) place: usize,
}

impl BaseCursor {
    pub(crate) fn new(parts: Arc<Vec<BasePart>>) -> Self {
        Self {
            parts,
            next_part: 0,
            entries: Vec::new().into_iter(),
            known: Arc::new([]),
            place: 0,
            peeked: None,
        }
    }

    pub(crate) fn peek(&mut self) -> Result<Option<&BaseEntry>, Malformed> {
        if self.peeked.is_none() {
            self.peeked = self.advance()?;
        }
        Ok(self.peeked.as_ref())
    }

    pub(crate) fn next(&mut self) -> Result<Option<BaseEntry>, Malformed> {
        match self.peeked.take() {
            Some(entry) => Ok(Some(entry)),
            None => self.advance(),
        }
    }

    fn advance(&mut self) -> Result<Option<BaseEntry>, Malformed> {
        loop {
            if let Some(entry) = self.entries.next() {
                let place = self.place;
                self.place += 1;
                return Ok(Some(BaseEntry {
                    entry,
                    known: self.known.get(place).copied().unwrap_or(Known::NOTHING),
                    part: self.next_part - 1,
                    place,
                }));
            }
            let Some(part) = self.parts.get(self.next_part) else {
                return Ok(None);
            };
            self.entries = part.entries()?.into_iter();
            self.known = Arc::clone(&part.known);
            self.place = 0;
            self.next_part += 1;
        }
    }
}

/// Finds chunks of a base by their content, wherever they were. Built when the first is looked for.
#[derive(Debug)]
pub(crate) struct BaseChunks {
    parts: Vec<BasePart>,
    /// By the first bytes of the hash: in which part it is.
    places: Option<HashMap<u64, u32>>,
    /// The part that was decoded last.
    decoded: Option<(u32, Vec<Entry>)>,
}

impl BaseChunks {
    pub(crate) fn new(base: &Base) -> Self {
        let parts = base.roots.values().flat_map(|parts| parts.iter().cloned());
        Self {
            parts: parts.collect(),
            places: None,
            decoded: None,
        }
    }

    pub(crate) fn find(
        &mut self,
        hash: &Hash,
    ) -> Result<Option<Chunk<crate::entry::Frame>>, Malformed> {
        if self.parts.is_empty() {
            return Ok(None);
        }
        if self.places.is_none() {
            let mut places = HashMap::new();
            for (number, part) in self.parts.iter().enumerate() {
                for entry in part.entries()? {
                    for chunk in entry.node.chunks() {
                        places.insert(chunk.hash.prefix(), number as u32);
                    }
                }
            }
            self.places = Some(places);
        }
        let place = self.places.as_ref().and_then(|it| it.get(&hash.prefix()));
        let Some(number) = place.copied() else {
            return Ok(None);
        };
        if self
            .decoded
            .as_ref()
            .is_none_or(|(part, _)| *part != number)
        {
            let entries = self.parts[number as usize].entries()?;
            self.decoded = Some((number, entries));
        }
        let entries = self
            .decoded
            .as_ref()
            .map_or(&[][..], |(_, it)| it.as_slice());
        Ok(entries
            .iter()
            .flat_map(|entry| entry.node.chunks())
            .find(|chunk| chunk.hash == *hash)
            .copied())
    }
}
