//! What a backup says of itself, and the hash that tells whether it still says the same.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{BackupError, Damage, Problem, files};

/// The format that this program writes; it reads this one and all before it.
pub const FORMAT: u32 = 1;

pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const HASH: &str = "manifest.sha256";

/// One file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Relative to the backup, and to the state directory that it is a copy of.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Layout of the backup.
    pub format: u32,
    /// Version of the program that took it.
    pub version: String,
    /// The moment whose state it holds, milliseconds since 1970 by the clock of that machine.
    pub taken_at_ms: i64,
    /// The same for people.
    pub taken_at: String,
    /// Id of the key that everything in it is encrypted with, if it is.
    pub key_id: Option<String>,
    /// Every file, in the order of the paths.
    pub files: Vec<Entry>,
}

/// The part that all formats have.
#[derive(Deserialize)]
struct Origin {
    format: u32,
    version: String,
}

impl Manifest {
    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Writes it and its hash, and sees that both are on the disk.
    pub(super) fn write(&self, directory: &Path) -> Result<(), BackupError> {
        let path = directory.join(MANIFEST);
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| BackupError::system("write", &path)(error.into()))?;
        files::write(&path, &text)?;
        let hash = hash_line(&text);
        files::write(&directory.join(HASH), hash.as_bytes())
    }

    /// Reads it, if it is whole and from no newer program.
    pub(super) fn read(directory: &Path) -> Result<Self, BackupError> {
        let damaged = |problems: Vec<(&str, Problem)>| BackupError::Damaged {
            path: directory.to_owned(),
            damage: Damage::of(problems),
        };
        let read = |name: &str| match fs::read(directory.join(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BackupError::system("read", &directory.join(name))(error)),
        };
        let (text, hash) = match (read(MANIFEST)?, read(HASH)?) {
            (Some(text), Some(hash)) => (text, hash),
            (text, hash) => {
                let missing = [(MANIFEST, text.is_none()), (HASH, hash.is_none())];
                let missing = missing.into_iter().filter(|(_, missing)| *missing);
                return Err(damaged(
                    missing.map(|(name, _)| (name, Problem::Missing)).collect(),
                ));
            }
        };
        if hash_line(&text).as_bytes() != hash {
            let both = [MANIFEST, HASH].map(|name| (name, Problem::OneOfBoth));
            return Err(damaged(both.to_vec()));
        }
        let path = directory.join(MANIFEST);
        let unreadable = |problem: String| BackupError::Manifest {
            path: path.clone(),
            problem,
        };
        let origin: Origin =
            serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
        if origin.format > FORMAT || is_newer(&origin.version) {
            return Err(BackupError::Newer {
                path: directory.to_owned(),
                version: origin.version,
                format: origin.format,
            });
        }
        let manifest: Self =
            serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
        for file in &manifest.files {
            if relative(&file.path).is_none() {
                return Err(unreadable(format!(
                    "{:?} is no path in a backup",
                    file.path
                )));
            }
        }
        Ok(manifest)
    }
}

fn hash_line(text: &[u8]) -> String {
    format!("{}  {MANIFEST}\n", files::sha256(text))
}

/// The path below a directory, if it stays below it.
pub(super) fn relative(path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    let stays = path.components().next().is_some() && path.components().all(plain);
    stays.then(|| path.to_owned())
}

/// Whether a program of that version may write what this one does not know.
fn is_newer(version: &str) -> bool {
    let numbers = |version: &str| {
        let numbers = version.split('.').map(|number| {
            let digits = number.bytes().take_while(u8::is_ascii_digit).count();
            number[..digits].parse::<u64>().unwrap_or(u64::MAX)
        });
        numbers.take(3).collect::<Vec<_>>()
    };
    numbers(version) > numbers(env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            taken_at_ms: 0,
            taken_at: "1970-01-01T00:00:00Z".into(),
            key_id: None,
            files: vec![Entry {
                path: "token".into(),
                bytes: 1,
                sha256: files::sha256(b"x"),
            }],
        }
    }

    #[test]
    fn backward_is_refused_and_forward_is_read() {
        let read = |change: fn(&mut Manifest)| {
            let directory = tempfile::tempdir().unwrap();
            let mut written = manifest();
            change(&mut written);
            written.write(directory.path()).unwrap();
            Manifest::read(directory.path())
        };
        assert_eq!(read(|_| {}).unwrap(), manifest());
        assert!(read(|it| it.version = "0.0.9".into()).is_ok());
        for newer in [
            read(|it| it.format = FORMAT + 1),
            read(|it| it.version = "99.0.0".into()),
            read(|it| it.version = "unheard of".into()),
        ] {
            let message = newer.unwrap_err().to_string();
            assert!(
                message.contains("use that version or a newer one"),
                "{message}"
            );
        }
    }

    #[test]
    fn no_path_leads_out_of_a_backup() {
        for path in ["../token", "/etc/passwd", "a/../../b", "", "."] {
            let directory = tempfile::tempdir().unwrap();
            let mut written = manifest();
            written.files[0].path = path.into();
            written.write(directory.path()).unwrap();
            let refused = Manifest::read(directory.path());
            assert!(
                matches!(refused, Err(BackupError::Manifest { .. })),
                "{path}: {refused:?}"
            );
        }
    }
}
