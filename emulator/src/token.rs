//! The secrets of a local stack: the development token that clients send and the key that signs
//! session tokens. Made at first start, kept in the state directory with mode 0600.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::encryption::{self, StateKey};

/// Least length of a kept secret.
const MINIMUM_BYTES: usize = 32;

/// Why a secret cannot be had.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The file cannot be read or written.
    #[error("cannot keep a secret in {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may read the file.
    #[error("{} can be read by others (mode {mode:03o}); run: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is empty or was cut.
    #[error("{} holds {length} bytes, at least 32 are needed; delete it to have a new one made", path.display())]
    Short {
        /// The file.
        path: PathBuf,
        /// What it holds.
        length: usize,
    },
    /// No randomness.
    #[error("the operating system gives no random bytes: {0}")]
    Random(String),
}

/// A new secret: 32 random bytes in base64url.
///
/// # Errors
/// [`TokenError::Random`].
pub fn random() -> Result<String, TokenError> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| TokenError::Random(error.to_string()))?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// The secret in `path`; made when the file does not exist. Cut at any moment, the file is either
/// absent or whole: it is written beside and linked into place, so of two that start at once both get
/// the same.
///
/// # Errors
/// See [`TokenError`]; a file that others may read is refused, not repaired.
pub fn kept(path: &Path, key: Option<&StateKey>) -> Result<String, TokenError> {
    let fail = |source| TokenError::File {
        path: path.to_owned(),
        source,
    };
    if !path.try_exists().map_err(fail)? {
        let secret = random()?;
        let beside = path.with_extension(format!("new-{}", std::process::id()));
        let written = write_private(&beside, &secret, key).and_then(|()| {
            match fs::hard_link(&beside, path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                linked => linked,
            }
        });
        let removed = fs::remove_file(&beside);
        written.map_err(fail)?;
        removed.map_err(fail)?;
    }
    let mode = fs::metadata(path).map_err(fail)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(TokenError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let secret = encryption::read(path, key).map_err(fail)?;
    let secret = String::from_utf8(secret).map_err(|error| fail(io::Error::other(error)))?;
    let secret = secret.trim().to_owned();
    if secret.len() < MINIMUM_BYTES {
        return Err(TokenError::Short {
            path: path.to_owned(),
            length: secret.len(),
        });
    }
    Ok(secret)
}

fn write_private(path: &Path, secret: &str, key: Option<&StateKey>) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(&encryption::sealed(secret.as_bytes(), key)?)?;
    file.sync_all()
}

/// SHA-256 in lower-case hex: what the authorizer compares with.
#[must_use]
pub fn sha256_hex(secret: &str) -> String {
    Sha256::digest(secret)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_and_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let first = kept(&path, None).unwrap();
        assert!(first.len() >= 43);
        assert_eq!(kept(&path, None).unwrap(), first);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            fs::read_dir(directory.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
        assert_ne!(random().unwrap(), first);
    }

    #[test]
    fn exposed_and_short_secrets_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        kept(&path, None).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let message = kept(&path, None).unwrap_err().to_string();
        assert!(message.contains("chmod 600"), "{message}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "short").unwrap();
        assert!(matches!(
            kept(&path, None),
            Err(TokenError::Short { length: 5, .. })
        ));
    }

    #[test]
    fn the_hash_is_the_known_one() {
        assert_eq!(
            sha256_hex("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
