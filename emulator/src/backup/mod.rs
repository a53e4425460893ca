//! Copies of a state directory from which a stack goes on: taken while it runs or not, checked file by
//! file, restored into an empty directory.
//!
//! A backup is a directory:
//!
//! ```text
//! manifest.json       format, product version, time, every file with its size and SHA-256
//! manifest.sha256     SHA-256 of manifest.json, as sha256sum writes it
//! dynamodb.sqlite     and the other databases, token, signing-key, ...
//! s3/objects/..       the objects, each under the name that its row in s3/metadata.sqlite has
//! ```
//!
//! All of it is from one moment: [`snapshot`] says how. What runs in that moment is in no backup:
//! workspaces of running sessions come back as their newest checkpoint has them, as after a crash.
//! A backup of an encrypted state is encrypted with the same key.

use std::{
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

pub mod drill;
mod encrypt;
mod files;
mod list;
mod manifest;
mod restore;
mod schedule;
mod snapshot;
mod take;
mod verify;

pub use list::{Listed, list, newest};
pub use manifest::{FORMAT, Manifest};
pub use restore::{Restored, restore};
pub use schedule::{Schedule, directory, prune};
pub use take::{Taken, take};
pub use verify::{Damage, Problem, verify};

/// Why there is no backup, or no restored state. Nothing was changed by what failed, apart from a
/// restore, which leaves an unfinished directory that no stack starts on.
#[derive(Debug, Error)]
pub enum BackupError {
    /// There is nothing to copy.
    #[error("{} is no state directory of an emulator", .0.display())]
    NoState(PathBuf),
    /// Somebody else takes a backup of this state, or to this place.
    #[error("another backup is being taken ({} is locked); wait for it", .0.display())]
    Busy(PathBuf),
    /// The databases could not be had for a moment.
    #[error("the databases were busy for too long; nothing was copied, try again")]
    Locked,
    /// It is encrypted, or not, and the key does not fit.
    #[error(transparent)]
    Key(#[from] crate::encryption::MarkError),
    /// A database cannot be read.
    #[error("the database {}{}", path.display(), no_database(source))]
    Database {
        /// Which.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// A row names an object that is not there: the state is damaged.
    #[error("the object {0} is missing in the state: it is damaged, and this backup would be")]
    LostObject(String),
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The manifest cannot be understood although its hash is right.
    #[error("{}: {problem}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Made by a program that is newer than this one.
    #[error(
        "{} was made by version {version} (format {format}); this is version {} (format {FORMAT}) and \
         cannot read it: use that version or a newer one",
        path.display(), env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// The backup.
        path: PathBuf,
        /// The program's version.
        version: String,
        /// Its format.
        format: u32,
    },
    /// Some files are not what they were.
    #[error("{} is damaged: {damage}", path.display())]
    Damaged {
        /// The backup.
        path: PathBuf,
        /// Each file.
        damage: Damage,
    },
    /// A restore goes into a new or empty directory only.
    #[error("{} is not empty; restore into a new directory", .0.display())]
    NotEmpty(PathBuf),
}

fn no_database(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => {
            ": it is encrypted with another key, or not encrypted, or damaged"
        }
        _ => "",
    }
}

impl BackupError {
    fn system(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::System {
            action,
            path,
            source,
        }
    }

    fn database(path: &Path) -> impl FnOnce(rusqlite::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Database { path, source }
    }
}
