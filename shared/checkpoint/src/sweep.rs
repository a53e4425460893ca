//! Deletes what no live checkpoint of a tree needs any more.
//!
//! Why this is safe beside a running session. A checkpoint under way uses three kinds of packs:
//!
//! - its own new ones. They are named by its id, so they are never an old one that a sweep looks at,
//!   and they are younger than the grace time;
//! - those of its base, the head of its session, which is live as long as the session holds its
//!   fence;
//! - none besides.
//!
//! What remains is a checkpoint that takes longer than the grace time, or whose session lost its
//! fence. So the caller raises the tree's sweep generation *before* it reads which checkpoints are
//! live, and whoever commits a checkpoint does so on the condition that the generation is still the
//! one from before its first pack. If it is not: [`Snapshots::is_stored`] says whether all of it is
//! still there, for a checkpoint that is younger than half the grace time; an older one is made
//! again. Manifests that are not committed but younger than the grace time count as live.

use std::collections::BTreeSet;

use crate::{
    Snapshots,
    manifest::Manifest,
    objects::{ReadError, manifest_name, pack_name},
};
use domain::{
    CheckpointId, UnixMillis,
    ports::{StoredObject, TreeObjects, Unavailable},
};

/// How a sweep goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepOptions {
    /// Now, on a clock that does not differ from the store's by more than half the grace time.
    pub now: UnixMillis,
    /// Nothing younger is deleted. Far longer than a checkpoint takes.
    pub grace_milliseconds: u64,
    /// Only says what it would do.
    pub dry_run: bool,
}

/// What a sweep did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Manifests that are kept: live, or too young.
    pub manifests_kept: u64,
    /// Manifests deleted.
    pub manifests_deleted: u64,
    /// Packs that are kept.
    pub packs_kept: u64,
    /// Packs deleted.
    pub packs_deleted: u64,
    /// Bytes of all that was deleted.
    pub bytes_reclaimed: u64,
    /// Bytes of all that is kept.
    pub bytes_kept: u64,
    /// Live checkpoints that are damaged or gone, so that nobody knows what they need: no pack was
    /// deleted. A person gives those checkpoints up, or brings them back.
    pub unreadable: Vec<CheckpointId>,
}

impl<O: TreeObjects> Snapshots<'_, O> {
    /// Deletes manifests that are not `live`, and packs that no live manifest names: both only when
    /// they are older than the grace time, and each by its version, so that one that is stored
    /// meanwhile stays.
    ///
    /// `live` is read after the tree's sweep generation was raised, see the module. Manifests go
    /// first: cut off anywhere, no manifest is left whose packs are gone. Two at once, and one again:
    /// harmless.
    ///
    /// While a live manifest cannot be read, all packs stay: what that one needs is not known.
    ///
    /// # Errors
    /// The store did not answer. It may have deleted some of what nothing needs; do it again.
    pub async fn sweep(
        &self,
        live: &BTreeSet<CheckpointId>,
        options: SweepOptions,
    ) -> Result<Swept, Unavailable> {
        let manifests = self.list("manifests/").await?;
        let packs = self.list("packs/").await?;
        let old = |object: &StoredObject| {
            options.now.since(object.modified_at) >= options.grace_milliseconds
        };
        let mut swept = Swept::default();
        let mut needed = BTreeSet::new();
        for id in live {
            match self.manifest(id).await {
                Ok(manifest) => needed.extend(names(&manifest)),
                Err(ReadError::Damaged(_) | ReadError::Unknown(_)) => {
                    swept.unreadable.push(id.clone());
                }
                Err(ReadError::Unavailable(error)) => return Err(error),
            }
        }
        let live: BTreeSet<String> = live.iter().map(manifest_name).collect();
        let mut dead = Vec::new();
        for object in manifests {
            let young = !old(&object);
            if !object.is_deletion && live.contains(&object.name) || young {
                if young && !object.is_deletion && !live.contains(&object.name) {
                    needed.extend(self.needs_of_young(&object).await?);
                }
                swept.manifests_kept += u64::from(!object.is_deletion);
                swept.bytes_kept += object.bytes;
            } else {
                swept.manifests_deleted += u64::from(!object.is_deletion);
                dead.push(object);
            }
        }
        for object in packs {
            let unneeded = swept.unreadable.is_empty() && !needed.contains(&object.name);
            if old(&object) && (object.is_deletion || unneeded) {
                swept.packs_deleted += u64::from(!object.is_deletion);
                dead.push(object);
            } else {
                swept.packs_kept += u64::from(!object.is_deletion);
                swept.bytes_kept += object.bytes;
            }
        }
        for object in dead {
            swept.bytes_reclaimed += object.bytes;
            if !options.dry_run {
                let version = object.version.as_deref();
                self.objects
                    .delete_object(&self.tree, &object.name, version)
                    .await?;
            }
        }
        Ok(swept)
    }

    /// Whether everything that a checkpoint names is stored: asked before it is committed, when a
    /// sweep began since it was begun.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn is_stored(&self, manifest: &Manifest) -> Result<bool, Unavailable> {
        let stored: BTreeSet<String> = self
            .list("packs/")
            .await?
            .into_iter()
            .filter(|object| !object.is_deletion)
            .map(|object| object.name)
            .collect();
        Ok(names(manifest).all(|name| stored.contains(&name)))
    }

    /// What a manifest needs that may yet be committed. One that cannot be read cannot be committed
    /// either.
    async fn needs_of_young(&self, object: &StoredObject) -> Result<Vec<String>, Unavailable> {
        let id = object.name.strip_prefix("manifests/").unwrap_or_default();
        let Ok(id) = CheckpointId::parse(id) else {
            return Ok(Vec::new());
        };
        match self.manifest(&id).await {
            Ok(manifest) => Ok(names(&manifest).collect()),
            Err(ReadError::Unavailable(error)) => Err(error),
            Err(ReadError::Damaged(_) | ReadError::Unknown(_)) => Ok(Vec::new()),
        }
    }

    /// All versions under a prefix.
    async fn list(&self, prefix: &str) -> Result<Vec<StoredObject>, Unavailable> {
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self
                .objects
                .list_objects(&self.tree, prefix, after.as_deref())
                .await?;
            all.extend(page.objects);
            match page.next {
                None => return Ok(all),
                next => after = next,
            }
        }
    }
}

fn names(manifest: &Manifest) -> impl Iterator<Item = String> {
    manifest.packs().into_iter().map(|pack| pack_name(&pack))
}
