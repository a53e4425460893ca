//! The file that says that a state directory is encrypted, and with which key: nothing is ever written
//! to one without the key, or with another.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::StateKey;

/// Its name, in the state directory.
pub(crate) const NAME: &str = "encryption.json";
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Mark {
    format: u32,
    key_id: String,
}

/// Why a state directory cannot be used with this key, or without one. Nothing was changed.
#[derive(Debug, Error)]
pub enum MarkError {
    /// It is encrypted.
    #[error(
        "{} is encrypted with the key {key_id}; name its file in SHANNON_STATE_KEY_FILE",
        state.display()
    )]
    NeedsKey {
        /// The directory.
        state: PathBuf,
        /// Id of its key.
        key_id: String,
    },
    /// With another key.
    #[error(
        "{} is encrypted with the key {key_id}; SHANNON_STATE_KEY_FILE names the key {given}",
        state.display()
    )]
    OtherKey {
        /// The directory.
        state: PathBuf,
        /// Id of its key.
        key_id: String,
        /// Id of the given one.
        given: String,
    },
    /// It is not encrypted, and is not mixed.
    #[error(
        "{} is in use without encryption and is not converted; unset SHANNON_STATE_KEY_FILE, or choose a \
         new state directory: a backup that is taken without the key and restored with it is encrypted",
        .0.display()
    )]
    NotEncrypted(PathBuf),
    /// The file is from a newer version, or damaged.
    #[error("{} cannot be understood: {problem}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The file system refused.
    #[error("{}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Sees that the directory can be used with this key, or without one. `used` says whether there is
/// state in it. Changes nothing.
///
/// # Errors
/// See [`MarkError`].
pub(crate) fn check(state: &Path, key: Option<&StateKey>, used: bool) -> Result<(), MarkError> {
    let path = state.join(NAME);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match key {
                Some(_) if used => Err(MarkError::NotEncrypted(state.to_owned())),
                _ => Ok(()),
            };
        }
        Err(source) => return Err(MarkError::File { path, source }),
    };
    let unreadable = |problem: String| MarkError::Unreadable {
        path: path.clone(),
        problem,
    };
    let mark: Mark =
        serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
    if mark.format > FORMAT {
        return Err(unreadable("it is from a newer version".to_owned()));
    }
    let state = state.to_owned();
    match key.map(StateKey::id) {
        None => Err(MarkError::NeedsKey {
            state,
            key_id: mark.key_id,
        }),
        Some(given) if given != mark.key_id => Err(MarkError::OtherKey {
            state,
            key_id: mark.key_id,
            given,
        }),
        Some(_) => Ok(()),
    }
}

/// Says that the directory is encrypted with this key, in one step; before anything is written to it.
/// Doing it again changes nothing.
///
/// # Errors
/// [`MarkError::File`].
pub(crate) fn make(state: &Path, key: &StateKey) -> Result<(), MarkError> {
    let path = state.join(NAME);
    let fail = |source| MarkError::File {
        path: path.clone(),
        source,
    };
    let mark = Mark {
        format: FORMAT,
        key_id: key.id(),
    };
    let text = serde_json::to_vec(&mark).map_err(|error| fail(error.into()))?;
    super::write_private(&path, &text).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_and_its_key_belong_together() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path();
        let key = StateKey::make(&state.join("key")).unwrap();
        let other = StateKey::make(&state.join("other")).unwrap();
        check(state, None, true).unwrap();
        check(state, Some(&key), false).unwrap();
        let refused = check(state, Some(&key), true);
        assert!(matches!(refused, Err(MarkError::NotEncrypted(_))));
        make(state, &key).unwrap();
        make(state, &key).unwrap();
        check(state, Some(&key), true).unwrap();
        let missing = check(state, None, true).unwrap_err().to_string();
        assert!(missing.contains("SHANNON_STATE_KEY_FILE"), "{missing}");
        let message = check(state, Some(&other), true).unwrap_err().to_string();
        assert!(
            message.contains(&key.id()) && message.contains(&other.id()),
            "{message}"
        );
        for broken in ["", "{", r#"{"format":2,"key_id":"x"}"#] {
            fs::write(state.join(NAME), broken).unwrap();
            let refused = check(state, Some(&key), true);
            assert!(
                matches!(refused, Err(MarkError::Unreadable { .. })),
                "{broken}"
            );
        }
    }
}
