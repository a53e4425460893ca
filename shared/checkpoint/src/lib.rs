//! Workspace snapshots: directories become checkpoints in the object store of a session's tree, and
//! come back from them, on any machine.
//!
//! A checkpoint is a *manifest* (`manifests/<id>`) that names *packs* (`packs/<hash>`). Files are
//! cut into chunks where their content says so; chunks that are not stored yet are compressed
//! together in *frames* of about 1 MiB, so that many small files cost what a compressed archive of
//! them costs, and a read of one of them fetches one frame. The entries of a manifest are kept in
//! *parts* in the same packs, so that a checkpoint after a small change is one small pack and one
//! small manifest. Packs are never rewritten: one dies when no live manifest names it, so a pack
//! of which a little is still in use stays whole.
//!
//! What is kept: files with their permission bits and mtime, empty directories, symbolic links,
//! holes. What is not: owners, extended attributes, hard links as such, set-uid, set-gid and sticky
//! bits, devices, FIFOs and sockets (named in the statistics).

mod base;
mod chunks;
mod codec;
mod content;
mod create;
mod diff;
mod dirs;
mod entry;
mod export;
#[cfg(test)]
mod hostile;
mod ignoring;
mod limits;
mod manifest;
mod objects;
mod output;
mod pack;
mod part;
mod path;
mod read_file;
mod restore;
mod scan;
mod stamp;
mod sweep;
mod verify;
mod walk;

use domain::TreeKey;

pub use base::Base;
pub use chunks::StoredChunks;
pub use create::{CreateError, Created, NewSnapshot, SourceRoot};
pub use diff::{Change, ChangeKind, Diff, DiffOptions, Side};
pub use export::{ExportError, Exported};
pub use ignoring::{IGNORE_FILE, IgnoreRules};
pub use manifest::{About, Manifest, RootName, SkipReason, Skipped, Statistics};
pub use objects::{Damage, ReadError};
pub use path::RelativePath;
pub use read_file::{FileRange, ReadFileError};
pub use restore::{RestoreError, RestoreOptions, Restored, TargetRoot};
pub use sweep::{SweepOptions, Swept};
pub use verify::Verification;

/// The checkpoints of one tree. Holds nothing but where they are: make one whenever it is needed.
#[derive(Clone, Debug)]
pub struct Snapshots<'a, O> {
    objects: &'a O,
    tree: TreeKey,
    compression: i32,
}

impl<'a, O> Snapshots<'a, O> {
    /// The checkpoints that `objects` holds under `tree`.
    #[must_use]
    pub const fn new(objects: &'a O, tree: TreeKey) -> Self {
        Self {
            objects,
            tree,
            compression: pack::LEVEL,
        }
    }

    /// With another zstd level for what it stores from now on (1 to 19). All levels are read alike,
    /// and what is stored already is shared whatever its level was.
    #[must_use]
    pub const fn with_compression(mut self, level: i32) -> Self {
        self.compression = level;
        self
    }
}
