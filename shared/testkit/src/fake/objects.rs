//! Objects of a tree, in memory, with versions.

use domain::{
    TreeKey, UnixMillis,
    ports::{ObjectPage, PutNew, StoredObject, TreeObjects, Unavailable},
};

use super::{Fake, world::World};

/// Versions on one page: few, so that tests meet the next one.
const PAGE: usize = 7;

/// One version of an object.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) number: u64,
    /// `None` for a deletion.
    pub(super) bytes: Option<Vec<u8>>,
    pub(super) modified_at: UnixMillis,
}

impl TreeObjects for Fake {
    async fn put_new(
        &self,
        tree: &TreeKey,
        name: &str,
        bytes: Vec<u8>,
    ) -> Result<PutNew, Unavailable> {
        if self.lock().storing_held {
            self.lock().storing_waited += 1;
            while self.lock().storing_held {
                self.clock.sleep(1).await;
            }
        }
        let now = self.clock.now();
        self.call("put_new", |world| {
            if world.object(tree, name).is_some() {
                return Ok(PutNew::Existed);
            }
            world.add_version(tree, name, Some(bytes), now);
            Ok(PutNew::Created)
        })
        .await
    }

    async fn get_object(&self, tree: &TreeKey, name: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        self.call("get_object", |world| Ok(world.object(tree, name).cloned()))
            .await
    }

    async fn get_range(
        &self,
        tree: &TreeKey,
        name: &str,
        offset: u64,
        length: u64,
    ) -> Result<Option<Vec<u8>>, Unavailable> {
        self.call("get_range", |world| {
            Ok(world.object(tree, name).map(|bytes| {
                let place = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
                let from = place(offset).min(bytes.len());
                let to = place(offset.saturating_add(length)).min(bytes.len());
                bytes[from..to].to_vec()
            }))
        })
        .await
    }

    async fn list_objects(
        &self,
        tree: &TreeKey,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<ObjectPage, Unavailable> {
        self.call("list_objects", |world| {
            let all: Vec<StoredObject> = world
                .objects
                .iter()
                .filter(|((of, name), _)| of == tree && name.starts_with(prefix))
                .flat_map(|((_, name), versions)| {
                    versions.iter().rev().map(|version| StoredObject {
                        name: name.clone(),
                        bytes: version.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
                        version: Some(version.number.to_string()),
                        modified_at: version.modified_at,
                        is_deletion: version.bytes.is_none(),
                    })
                })
                .collect();
            let from = match after {
                None => 0,
                Some(after) => all
                    .iter()
                    .position(|object| place(object) > place_of(after))
                    .unwrap_or(all.len()),
            };
            let page: Vec<StoredObject> = all[from..].iter().take(PAGE).cloned().collect();
            let more = from + page.len() < all.len();
            Ok(ObjectPage {
                next: page.last().filter(|_| more).map(next),
                objects: page,
            })
        })
        .await
    }

    async fn delete_object(
        &self,
        tree: &TreeKey,
        name: &str,
        version: Option<&str>,
    ) -> Result<(), Unavailable> {
        let now = self.clock.now();
        self.call("delete_object", |world| {
            world.deletions += 1;
            let key = (tree.clone(), name.to_owned());
            match version {
                None if world.object(tree, name).is_some() => {
                    world.add_version(tree, name, None, now);
                }
                None => {}
                Some(version) => {
                    if let Some(versions) = world.objects.get_mut(&key) {
                        versions.retain(|it| it.number.to_string() != version);
                        if versions.is_empty() {
                            world.objects.remove(&key);
                        }
                    }
                }
            }
            Ok(())
        })
        .await
    }
}

/// Newer versions of a name come first, so their numbers count downwards.
fn place(object: &StoredObject) -> (String, u64) {
    let number = object.version.as_ref().and_then(|it| it.parse().ok());
    (object.name.clone(), u64::MAX - number.unwrap_or(0_u64))
}

fn next(object: &StoredObject) -> String {
    let version = object.version.as_deref().unwrap_or_default();
    format!("{version}/{}", object.name)
}

fn place_of(next: &str) -> (String, u64) {
    let (version, name) = next.split_once('/').unwrap_or(("", next));
    (name.to_owned(), u64::MAX - version.parse().unwrap_or(0_u64))
}

impl World {
    pub(super) fn object(&self, tree: &TreeKey, name: &str) -> Option<&Vec<u8>> {
        let versions = self.objects.get(&(tree.clone(), name.to_owned()))?;
        versions.last()?.bytes.as_ref()
    }

    fn add_version(
        &mut self,
        tree: &TreeKey,
        name: &str,
        bytes: Option<Vec<u8>>,
        modified_at: UnixMillis,
    ) {
        self.versions += 1;
        let version = Version {
            number: self.versions,
            bytes,
            modified_at,
        };
        self.objects
            .entry((tree.clone(), name.to_owned()))
            .or_default()
            .push(version);
    }
}
