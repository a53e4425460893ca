//! Proves that a checkpoint is whole, and finds one that is.

use std::collections::BTreeMap;

use domain::{
    CheckpointId,
    ports::{TreeObjects, Unavailable},
};

use crate::{
    Snapshots,
    codec::{Hash, Malformed, unpack},
    entry::{Chunk, Frame, PackId},
    manifest::{Manifest, Part, RootName},
    objects::{Damage, ReadError, damaged, pack_name},
    part::Order,
};

/// Damage that is named; more is counted.
const NAMED: usize = 100;

/// What verifying a checkpoint found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Files, directories and links that were looked at.
    pub entries: u64,
    /// Different chunks that were unpacked and compared with their hash.
    pub chunks: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// What is damaged: none when the checkpoint is whole.
    pub damage: Vec<Damage>,
    /// Damage beyond what is named.
    pub more_damage: u64,
}

impl Verification {
    /// Whether all of it can be restored.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.damage.is_empty()
    }

    fn add(&mut self, damage: Damage) {
        if self.damage.len() < NAMED {
            self.damage.push(damage);
        } else {
            self.more_damage += 1;
        }
    }
}

/// A chunk to be looked at, and one of its files.
type Needed = BTreeMap<Frame, (String, Vec<Chunk<Frame>>)>;

impl<O: TreeObjects> Snapshots<'_, O> {
    /// Reads everything that a checkpoint needs and compares it with its hashes. One pack at a time
    /// is in memory. Changes nothing.
    ///
    /// # Errors
    /// Only that the store did not answer: damage is a result.
    pub async fn verify(&self, manifest: &Manifest) -> Result<Verification, Unavailable> {
        let mut found = Verification::default();
        let mut needed = Needed::new();
        for (root, parts) in &manifest.roots {
            let mut order = Order::default();
            for part in parts {
                match self.verify_part(*root, part, &mut order, &mut needed).await {
                    Ok(entries) => found.entries += entries,
                    Err(ReadError::Damaged(damage)) => found.add(damage),
                    Err(ReadError::Unavailable(error)) => return Err(error),
                    // Only a manifest is ever unknown.
                    Err(ReadError::Unknown(_)) => {}
                }
            }
        }
        let mut packs: BTreeMap<PackId, Needed> = BTreeMap::new();
        for (frame, chunks) in needed {
            packs.entry(frame.pack).or_default().insert(frame, chunks);
        }
        for (pack, frames) in packs {
            let name = pack_name(&pack);
            let bytes = self.objects.get_object(&self.tree, &name).await?;
            verify_pack(&name, bytes.as_deref(), &frames, &mut found);
        }
        Ok(found)
    }

    async fn verify_part(
        &self,
        root: RootName,
        part: &Part,
        order: &mut Order,
        needed: &mut Needed,
    ) -> Result<u64, ReadError> {
        let read = self.parts(std::slice::from_ref(part)).await?;
        let mut count = 0;
        for entry in read.iter().flat_map(|(entries, _)| entries) {
            order
                .accept(entry)
                .map_err(|malformed| damaged(pack_name(&part.pack), malformed))?;
            for chunk in entry.node.chunks() {
                let of_frame = needed.entry(chunk.frame).or_insert_with(|| {
                    let file = format!("{}/{}", root.as_str(), entry.path);
                    (file, Vec::new())
                });
                of_frame.1.push(*chunk);
            }
            count += 1;
        }
        Ok(count)
    }

    /// The first of these checkpoints (so the newest, if they come newest first) that is whole; what
    /// a damaged one is replaced by.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn newest_whole(
        &self,
        candidates: &[CheckpointId],
    ) -> Result<Option<CheckpointId>, Unavailable> {
        for id in candidates {
            match self.manifest(id).await {
                Ok(manifest) => {
                    if self.verify(&manifest).await?.is_whole() {
                        return Ok(Some(id.clone()));
                    }
                }
                Err(ReadError::Unavailable(error)) => return Err(error),
                Err(ReadError::Unknown(_) | ReadError::Damaged(_)) => {}
            }
        }
        Ok(None)
    }
}

fn verify_pack(name: &str, bytes: Option<&[u8]>, frames: &Needed, found: &mut Verification) {
    for (frame, (file, chunks)) in frames {
        let mut chunks = chunks.clone();
        chunks.sort_by_key(|chunk| (chunk.offset, chunk.length));
        chunks.dedup_by_key(|chunk| (chunk.offset, chunk.length, chunk.hash));
        let from = usize::try_from(frame.offset).unwrap_or(usize::MAX);
        let result = bytes
            .ok_or(Malformed("it is gone"))
            .and_then(|bytes| {
                bytes
                    .get(from..from.saturating_add(frame.stored as usize))
                    .ok_or(Malformed("it is shorter than it was"))
            })
            .and_then(|stored| unpack(stored, frame.raw as usize))
            .and_then(|raw| {
                for chunk in &chunks {
                    let place = chunk.offset as usize;
                    let content = raw.get(place..place + chunk.length as usize);
                    if content.map(Hash::of) != Some(chunk.hash) {
                        return Err(Malformed("a chunk is not what was stored"));
                    }
                    found.chunks += 1;
                    found.bytes += u64::from(chunk.length);
                }
                Ok(())
            });
        if let Err(malformed) = result {
            found.add(Damage {
                file: Some(file.clone()),
                ..damaged(name.to_owned(), malformed)
            });
        }
    }
}
