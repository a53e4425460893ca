//! Proves that a checkpoint is whole, and finds one that is.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    Checkpoint, CheckpointId, SessionKey,
    ports::{Checkpoints, TreeObjects, Unavailable},
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
/// Checkpoints of a session that are looked at for a whole one, and read at once. Own: each may cost
/// reading all that it holds.
const LOOKED_AT: usize = 50;

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
        self.look(manifest, None).await
    }

    /// As [`Snapshots::verify`]; with `doubted` it ends at the first damage, and looks first at what
    /// is named there, where other checkpoints had theirs.
    async fn look(
        &self,
        manifest: &Manifest,
        doubted: Option<&BTreeSet<String>>,
    ) -> Result<Verification, Unavailable> {
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
        if doubted.is_some() && !found.is_whole() {
            return Ok(found);
        }
        let mut packs: Vec<(String, Needed)> = packs
            .into_iter()
            .map(|(pack, frames)| (pack_name(&pack), frames))
            .collect();
        packs.sort_by_key(|(name, _)| !doubted.is_some_and(|doubted| doubted.contains(name)));
        for (name, frames) in packs {
            if doubted.is_some() && !found.is_whole() {
                break;
            }
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
    pub async fn newest_whole<'c>(
        &self,
        candidates: &'c [Checkpoint],
    ) -> Result<Option<&'c Checkpoint>, Unavailable> {
        let mut doubted = BTreeSet::new();
        for candidate in candidates {
            let mut manifests = vec![&candidate.files];
            if candidate.conversation != candidate.files {
                manifests.push(&candidate.conversation);
            }
            let mut whole = true;
            for id in manifests {
                whole = whole && self.is_whole(id, &mut doubted).await?;
            }
            if whole {
                return Ok(Some(candidate));
            }
        }
        Ok(None)
    }

    async fn is_whole(
        &self,
        id: &CheckpointId,
        doubted: &mut BTreeSet<String>,
    ) -> Result<bool, Unavailable> {
        match self.manifest(id).await {
            Ok(manifest) => {
                let found = self.look(&manifest, Some(doubted)).await?;
                doubted.extend(found.damage.iter().map(|damage| damage.object.clone()));
                Ok(found.is_whole())
            }
            Err(ReadError::Unavailable(error)) => Err(error),
            Err(ReadError::Unknown(_) | ReadError::Damaged(_)) => Ok(false),
        }
    }
}

impl<O: TreeObjects + Checkpoints> Snapshots<'_, O> {
    /// The newest whole one of the last 50 checkpoints of a session: what to offer when one of them
    /// is damaged. Reads all of what it finds, so it takes as long as restoring that; changes nothing.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn newest_whole_of(
        &self,
        session: &SessionKey,
    ) -> Result<Option<CheckpointId>, Unavailable> {
        let records = self.objects.checkpoints(session, None, LOOKED_AT).await?;
        let found = self.newest_whole(&records).await?;
        Ok(found.map(|record| record.id.clone()))
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
