//! Whether a backup is what it was: every file, and the manifest, cut, changed or missing.

use std::{fmt, fs, io, path::Path};

use super::{
    BackupError, Manifest, files,
    manifest::{Entry, relative},
};

/// What is wrong with one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It is not there.
    Missing,
    /// It is shorter, or longer, than it was.
    Size {
        /// Bytes that it has.
        found: u64,
        /// Bytes that it had.
        wanted: u64,
    },
    /// It has its size and other bytes.
    Changed,
    /// Manifest and hash do not belong together: one of them was changed.
    OneOfBoth,
    /// It cannot be read.
    Unreadable(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => formatter.write_str("is missing"),
            Self::Size { found, wanted } if found < wanted => {
                write!(formatter, "was cut: {found} of {wanted} bytes are left")
            }
            Self::Size { found, wanted } => {
                write!(formatter, "has grown: {found} bytes, it had {wanted}")
            }
            Self::Changed => formatter.write_str("was changed: its SHA-256 is another"),
            Self::OneOfBoth => formatter
                .write_str("was changed, or the other of manifest.json and manifest.sha256"),
            Self::Unreadable(why) => write!(formatter, "cannot be read: {why}"),
        }
    }
}

/// The files that are not what they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage(pub Vec<(String, Problem)>);

impl Damage {
    pub(super) fn of(problems: Vec<(&str, Problem)>) -> Self {
        let owned = problems.into_iter();
        Self(
            owned
                .map(|(path, problem)| (path.to_owned(), problem))
                .collect(),
        )
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (path, problem)) in self.0.iter().enumerate() {
            let between = if number == 0 { "" } else { "; " };
            write!(formatter, "{between}{path} {problem}")?;
        }
        Ok(())
    }
}

/// Reads every file of a backup and compares. Changes nothing.
///
/// # Errors
/// [`BackupError::Damaged`] with every file that is not what it was, [`BackupError::Newer`].
pub fn verify(backup: &Path) -> Result<Manifest, BackupError> {
    if !backup.is_dir() {
        let error = io::Error::from(io::ErrorKind::NotFound);
        return Err(BackupError::system("find the backup", backup)(error));
    }
    let manifest = Manifest::read(backup)?;
    let problems: Vec<_> = manifest
        .files
        .iter()
        .filter_map(|entry| Some((entry.path.clone(), compare(backup, entry)?)))
        .collect();
    if problems.is_empty() {
        return Ok(manifest);
    }
    Err(BackupError::Damaged {
        path: backup.to_owned(),
        damage: Damage(problems),
    })
}

fn compare(backup: &Path, entry: &Entry) -> Option<Problem> {
    let path = backup.join(relative(&entry.path)?);
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(Problem::Missing),
        Ok(found) if found.is_file() && found.len() != entry.bytes => {
            return Some(Problem::Size {
                found: found.len(),
                wanted: entry.bytes,
            });
        }
        _ => {}
    }
    match files::measure(&path) {
        Ok(measured) => differs(entry, &measured),
        Err(BackupError::System { source, .. }) => Some(Problem::Unreadable(source.to_string())),
        Err(error) => Some(Problem::Unreadable(error.to_string())),
    }
}

/// What is wrong with a file of that size and hash.
pub(super) fn differs(entry: &Entry, (found, sha256): &(u64, String)) -> Option<Problem> {
    if *found != entry.bytes {
        Some(Problem::Size {
            found: *found,
            wanted: entry.bytes,
        })
    } else if *sha256 != entry.sha256 {
        Some(Problem::Changed)
    } else {
        None
    }
}
