//! The sweep over the chunks of the model, with the rules of the real one: manifests of an erased
//! session go at once, everything else that no live manifest needs when it is old.

use std::collections::BTreeSet;

use domain::{
    TreeKey,
    ports::{ChunkSweep, Chunks, StoredObject, Swept, TreeObjects, Unavailable},
};
use testkit::Fake;

use crate::disk::{Manifest, manifest_name};

/// Over the objects of a fake.
pub(crate) struct ModelChunks(pub(crate) Fake);

impl Chunks for ModelChunks {
    async fn sweep(&self, tree: &TreeKey, sweep: &ChunkSweep) -> Result<Swept, Unavailable> {
        let live: BTreeSet<String> = sweep.live.iter().map(manifest_name).collect();
        let erased: BTreeSet<String> = sweep.erased.iter().map(manifest_name).collect();
        let old =
            |object: &StoredObject| sweep.now.since(object.modified_at) >= sweep.grace_milliseconds;
        let manifests = self.all(tree, "manifests/").await?;
        let packs = self.all(tree, "packs/").await?;
        let mut needed = BTreeSet::new();
        let mut dead = Vec::new();
        for object in manifests {
            let gone = erased.contains(&object.name) || old(&object) || object.is_deletion;
            if !live.contains(&object.name) && gone {
                dead.push(object);
                continue;
            }
            // A young one may be about to be recorded.
            if let Some(manifest) = self.0.get_object(tree, &object.name).await? {
                needed.extend(Manifest::parse(&manifest).packs);
            }
        }
        dead.extend(
            packs
                .into_iter()
                .filter(|pack| !needed.contains(&pack.name) && old(pack)),
        );
        let mut swept = Swept::default();
        for object in dead {
            self.0
                .delete_object(tree, &object.name, object.version.as_deref())
                .await?;
            swept.objects_deleted += 1;
            swept.bytes_reclaimed += object.bytes;
        }
        Ok(swept)
    }
}

impl ModelChunks {
    async fn all(&self, tree: &TreeKey, prefix: &str) -> Result<Vec<StoredObject>, Unavailable> {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = self.0.list_objects(tree, prefix, after.as_deref()).await?;
            found.extend(page.objects);
            after = page.next;
            if after.is_none() {
                return Ok(found);
            }
        }
    }
}
