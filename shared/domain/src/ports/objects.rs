//! Objects that the sessions of a tree share: packs of chunks and manifests, and what belongs to
//! one session.

use crate::{TreeKey, UnixMillis};

use super::Unavailable;

/// What creating an object gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutNew {
    /// It is there now, with these bytes.
    Created,
    /// One of that name was there and stays as it is; also when this very call had happened before
    /// and its answer was lost. Names say what is in them, so the caller goes on.
    Existed,
}

/// One stored version of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// Its name below the tree.
    pub name: String,
    /// Its size; 0 for a deletion.
    pub bytes: u64,
    /// Names this version; absent where the store keeps none.
    pub version: Option<String>,
    /// When it was stored, on the store's clock.
    pub modified_at: UnixMillis,
    /// It only says that the object was deleted. It takes part in nothing but may be deleted too.
    pub is_deletion: bool,
}

/// A page of objects, by name; of one name the newest version first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectPage {
    /// The versions.
    pub objects: Vec<StoredObject>,
    /// Where to go on, when there is more: opaque, for the next call.
    pub next: Option<String>,
}

/// The objects of a tree, under `<owner>/<tree>/`. A `name` is ours, never a client's.
pub trait TreeObjects: Send + Sync {
    /// Creates an object; one of that name that is already there stays as it is.
    fn put_new(
        &self,
        tree: &TreeKey,
        name: &str,
        bytes: Vec<u8>,
    ) -> impl Future<Output = Result<PutNew, Unavailable>> + Send;

    /// The whole object; `None` when there is none of that name.
    fn get_object(
        &self,
        tree: &TreeKey,
        name: &str,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, Unavailable>> + Send;

    /// At most `length` bytes from `offset` on: fewer where the object ends before, none behind its
    /// end. `None` when there is no such object.
    fn get_range(
        &self,
        tree: &TreeKey,
        name: &str,
        offset: u64,
        length: u64,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, Unavailable>> + Send;

    /// Stored versions whose names start with `prefix`; continue with [`ObjectPage::next`].
    fn list_objects(
        &self,
        tree: &TreeKey,
        prefix: &str,
        after: Option<&str>,
    ) -> impl Future<Output = Result<ObjectPage, Unavailable>> + Send;

    /// Deletes exactly this version for good; without a version, whatever is there now. One that is
    /// gone already is no error.
    fn delete_object(
        &self,
        tree: &TreeKey,
        name: &str,
        version: Option<&str>,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;
}
