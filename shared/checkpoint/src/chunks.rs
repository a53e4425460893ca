//! The chunks of a tree, swept with what the checkpoints say they need.

use domain::{
    TreeKey,
    ports::{ChunkSweep, Chunks, Swept, TreeObjects, Unavailable},
};

use crate::{Snapshots, SweepOptions, objects::manifest_name};

/// Over the objects of a store.
#[derive(Clone, Copy, Debug)]
pub struct StoredChunks<'a, O>(pub &'a O);

impl<O: TreeObjects> Chunks for StoredChunks<'_, O> {
    /// Manifests of an erased session go at once. The packs that only they named go with the grace
    /// time, because a pack does not say whether a checkpoint under way has just written it.
    async fn sweep(&self, tree: &TreeKey, sweep: &ChunkSweep) -> Result<Swept, Unavailable> {
        let mut done = Swept::default();
        if !sweep.dry_run {
            for id in &sweep.erased {
                self.delete_manifest(tree, &manifest_name(id), &mut done)
                    .await?;
            }
        }
        let options = SweepOptions {
            now: sweep.now,
            grace_milliseconds: sweep.grace_milliseconds,
            dry_run: sweep.dry_run,
        };
        let swept = Snapshots::new(self.0, tree.clone())
            .sweep(&sweep.live, options)
            .await?;
        done.objects_deleted += swept.manifests_deleted + swept.packs_deleted;
        done.bytes_reclaimed += swept.bytes_reclaimed;
        done.bytes_kept = swept.bytes_kept;
        done.unreadable = swept.unreadable;
        Ok(done)
    }
}

impl<O: TreeObjects> StoredChunks<'_, O> {
    async fn delete_manifest(
        &self,
        tree: &TreeKey,
        name: &str,
        done: &mut Swept,
    ) -> Result<(), Unavailable> {
        let mut after = None;
        loop {
            let page = self.0.list_objects(tree, name, after.as_deref()).await?;
            for object in page.objects.iter().filter(|object| object.name == name) {
                self.0
                    .delete_object(tree, name, object.version.as_deref())
                    .await?;
                done.objects_deleted += 1;
                done.bytes_reclaimed += object.bytes;
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }
}
