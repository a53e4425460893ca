//! The key of a state directory: 32 random bytes in a file that only its owner may read, as 64
//! hexadecimal digits.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use ring::{hkdf, hmac};
use thiserror::Error;

/// Length of the key.
const KEY_BYTES: usize = 32;
/// More than a key file has, so that a wrong file is not read whole.
const MOST_FILE_BYTES: u64 = 4096;
/// What the id of a key is computed over.
const ID_CONTEXT: &[u8] = b"shannon state key: id";

/// Why there is no key.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("the key file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A key file is never written over: what is encrypted with the key in it would be lost.
    #[error("{} exists; a key file is not written over, choose another name", .0.display())]
    Exists(PathBuf),
    /// Others may read the file.
    #[error("{} can be read by others (mode {mode:03o}); run: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds something else.
    #[error("{} is no key file: 64 hexadecimal digits are needed, as `emulator state-key new FILE` writes them", .0.display())]
    NoKey(PathBuf),
    /// All bytes are the same: a sample, not a key.
    #[error("{} holds a sample and no random key; make one with `emulator state-key new FILE`", .0.display())]
    Sample(PathBuf),
    /// No randomness.
    #[error("the operating system gives no random bytes: {0}")]
    Random(String),
}

/// The key that encrypts a state directory. Cheap to clone; shown nowhere.
#[derive(Clone)]
pub struct StateKey(Arc<[u8; KEY_BYTES]>);

impl fmt::Debug for StateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "StateKey({})", self.id())
    }
}

impl StateKey {
    /// Reads a key file.
    ///
    /// # Errors
    /// See [`KeyError`]; a file that others may read is refused, not repaired.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let fail = |source| KeyError::File {
            path: path.to_owned(),
            source,
        };
        let file = fs::File::open(path).map_err(fail)?;
        let mode = file.metadata().map_err(fail)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed {
                path: path.to_owned(),
                mode,
            });
        }
        let mut text = Vec::new();
        file.take(MOST_FILE_BYTES)
            .read_to_end(&mut text)
            .map_err(fail)?;
        let bytes =
            from_hexadecimal(text.trim_ascii()).ok_or_else(|| KeyError::NoKey(path.to_owned()))?;
        if bytes.iter().all(|byte| *byte == bytes[0]) {
            return Err(KeyError::Sample(path.to_owned()));
        }
        Ok(Self(Arc::new(bytes)))
    }

    /// Makes a key and writes it to a new file (mode 0600). Cut at any moment, the file may be short,
    /// and is then refused when it is read.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn make(path: &Path) -> Result<Self, KeyError> {
        let mut bytes = [0_u8; KEY_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| KeyError::Random(error.to_string()))?;
        let key = Self(Arc::new(bytes));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .and_then(|mut file| {
                writeln!(file, "{}", key.hexadecimal())?;
                file.sync_all()
            });
        match written {
            Ok(()) => Ok(key),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(KeyError::Exists(path.to_owned()))
            }
            Err(source) => Err(KeyError::File {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// What tells this key from another without saying anything about it.
    #[must_use]
    pub fn id(&self) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*self.0);
        let tag = hmac::sign(&key, ID_CONTEXT);
        hexadecimal(&tag.as_ref()[..16])
    }

    /// As SQLCipher takes it.
    pub(crate) fn hexadecimal(&self) -> String {
        hexadecimal(&*self.0)
    }

    /// A key for one file, which has the salt in it.
    pub(super) fn of_file(&self, salt: &[u8]) -> Option<ring::aead::LessSafeKey> {
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(&*self.0);
        let info: [&[u8]; 1] = [b"shannon state file"];
        let okm = secret.expand(&info, &ring::aead::CHACHA20_POLY1305).ok()?;
        Some(ring::aead::LessSafeKey::new(okm.into()))
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hexadecimal(text: &[u8]) -> Option<[u8; KEY_BYTES]> {
    if text.len() != KEY_BYTES * 2 {
        return None;
    }
    let mut bytes = [0; KEY_BYTES];
    for (byte, digits) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_by_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let made = StateKey::make(&path).unwrap();
        let read = StateKey::read(&path).unwrap();
        assert_eq!(made.hexadecimal(), read.hexadecimal());
        assert_eq!(made.id(), read.id());
        assert!(!format!("{made:?}").contains(&made.hexadecimal()));
        assert!(matches!(StateKey::make(&path), Err(KeyError::Exists(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let message = StateKey::read(&path).unwrap_err().to_string();
        assert!(message.contains("chmod 600"), "{message}");
        let other = StateKey::make(&directory.path().join("other")).unwrap();
        assert_ne!(other.id(), made.id());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            StateKey::read(&path).map(|_| ())
        };
        for text in ["", "abc", &"g".repeat(64), &"a1".repeat(33)] {
            assert!(matches!(read(text), Err(KeyError::NoKey(_))), "{text}");
        }
        let sample = "00".repeat(32);
        assert!(matches!(read(&sample), Err(KeyError::Sample(_))));
        read(&format!("{}\n", "0123456789abcdef".repeat(4))).unwrap();
    }
}
