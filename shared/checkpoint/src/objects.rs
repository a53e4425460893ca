//! Reading what is stored: every byte is checked before it is used.

use domain::{
    CheckpointId,
    ports::{TreeObjects, Unavailable},
};
use thiserror::Error;

use crate::{
    Snapshots,
    base::decode_part,
    codec::Malformed,
    entry::{Entry, PackId},
    manifest::{Manifest, Part},
};

/// Stored bytes that are not what was stored, or are gone. Reading again does not help: go on from
/// another checkpoint, see [`Snapshots::newest_whole_of`].
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the stored object {object} is damaged: {what}{}", about(.file.as_ref()))]
pub struct Damage {
    /// Which object, below the tree.
    pub object: String,
    /// A file whose content is lost with it: the root's name, a slash, and the path.
    pub file: Option<String>,
    /// What is wrong.
    pub what: &'static str,
}

fn about(file: Option<&String>) -> String {
    file.map_or_else(String::new, |file| format!("; it holds {file}"))
}

/// Why a checkpoint could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// No such checkpoint in this tree: it never was, or was deleted.
    #[error("there is no checkpoint {0} in this tree")]
    Unknown(CheckpointId),
    /// Go on from another one.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

pub(crate) fn manifest_name(id: &CheckpointId) -> String {
    format!("manifests/{id}")
}

pub(crate) fn pack_name(id: &PackId) -> String {
    format!("packs/{}", id.hex())
}

pub(crate) fn damaged(object: String, Malformed(what): Malformed) -> Damage {
    Damage {
        object,
        file: None,
        what,
    }
}

impl<O: TreeObjects> Snapshots<'_, O> {
    /// The manifest of a checkpoint of this tree.
    ///
    /// Reads one object. Stopping it or repeating it changes nothing.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn manifest(&self, id: &CheckpointId) -> Result<Manifest, ReadError> {
        let name = manifest_name(id);
        let bytes = self.objects.get_object(&self.tree, &name).await?;
        let bytes = bytes.ok_or_else(|| ReadError::Unknown(id.clone()))?;
        Ok(Manifest::decode(&bytes, id).map_err(|malformed| damaged(name, malformed))?)
    }

    /// A range of a pack, whole.
    pub(crate) async fn range(
        &self,
        pack: &PackId,
        offset: u64,
        length: u64,
    ) -> Result<Vec<u8>, ReadError> {
        let name = pack_name(pack);
        let bytes = self
            .objects
            .get_range(&self.tree, &name, offset, length)
            .await?
            .ok_or_else(|| damaged(name.clone(), Malformed("it is gone")))?;
        if bytes.len() as u64 != length {
            return Err(damaged(name, Malformed("it is shorter than it was")).into());
        }
        Ok(bytes)
    }

    /// The entries of some parts that follow each other, and their stored bytes. Parts that lie side
    /// by side are fetched together.
    pub(crate) async fn parts(
        &self,
        parts: &[Part],
    ) -> Result<Vec<(Vec<Entry>, Vec<u8>)>, ReadError> {
        let mut read = Vec::with_capacity(parts.len());
        let mut from = 0;
        while let Some(first) = parts.get(from) {
            let mut end = first.offset + u64::from(first.stored);
            let mut to = from + 1;
            while let Some(next) = parts.get(to)
                && next.pack == first.pack
                && next.offset == end
            {
                end += u64::from(next.stored);
                to += 1;
            }
            let bytes = self
                .range(&first.pack, first.offset, end - first.offset)
                .await?;
            let mut rest = bytes.as_slice();
            for part in &parts[from..to] {
                let (stored, after) = rest.split_at(part.stored as usize);
                rest = after;
                let entries = decode_part(part, stored)
                    .map_err(|malformed| damaged(pack_name(&part.pack), malformed))?;
                read.push((entries, stored.to_vec()));
            }
            from = to;
        }
        Ok(read)
    }
}
