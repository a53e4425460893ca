//! What the last search selected, so that a start does not ask npm and every candidate again. Used
//! for `SHANNON_CLAUDE_CACHE_SECONDS`, while the same question is asked and the file is the same.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::{Claude, SETTINGS, VARIABLES};
use crate::{settings::Settings, token::sha256_hex};

/// What the search would be asked.
pub(super) struct Question {
    file: PathBuf,
    hash: String,
    lifetime: Duration,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    question: String,
    claude: Claude,
    identity: Identity,
}

/// What tells a file from the one that replaces it.
#[derive(Serialize, Deserialize, PartialEq, Eq)]
struct Identity {
    inode: u64,
    bytes: u64,
    modified_seconds: i64,
}

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        let file = fs::metadata(path)?;
        Ok(Self {
            inode: file.ino(),
            bytes: file.len(),
            modified_seconds: file.mtime(),
        })
    }
}

impl Question {
    pub(super) fn of(state: &Path, settings: &Settings) -> Self {
        let variables = VARIABLES
            .iter()
            .map(|name| format!("{:?}", std::env::var_os(name)));
        let set = SETTINGS
            .iter()
            .map(|name| format!("{:?}", settings.text(name)));
        let asked: Vec<String> = variables.chain(set).collect();
        Self {
            file: state.join("claude.json"),
            hash: sha256_hex(&asked.join("\n")),
            lifetime: Duration::from_secs(
                settings
                    .integer("SHANNON_CLAUDE_CACHE_SECONDS")
                    .unwrap_or_default(),
            ),
        }
    }

    /// The remembered answer, if it still holds.
    pub(super) fn answer(&self) -> Option<Claude> {
        let written = fs::metadata(&self.file).ok()?.modified().ok()?;
        // a clock that went back makes the answer old
        let age = SystemTime::now().duration_since(written).ok()?;
        let answer: Answer = serde_json::from_slice(&fs::read(&self.file).ok()?).ok()?;
        let same = answer.question == self.hash
            && Identity::of(&answer.claude.path).ok()? == answer.identity;
        (same && age < self.lifetime).then_some(answer.claude)
    }

    /// Remembers an answer; failing to is no more than a slower next start.
    pub(super) fn remember(&self, claude: &Claude) {
        let written = Identity::of(&claude.path).and_then(|identity| {
            let answer = Answer {
                question: self.hash.clone(),
                claude: claude.clone(),
                identity,
            };
            fs::write(&self.file, serde_json::to_vec(&answer)?)
        });
        if let Err(error) = written {
            tracing::debug!(%error, "the found claude is not remembered");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Inputs, resolve};

    #[test]
    fn an_answer_holds_while_question_and_file_are_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("claude");
        fs::write(&path, "one").unwrap();
        let claude = Claude {
            path: path.clone(),
            version: Some("1.2.3".into()),
            source: "path".into(),
            supported: true,
        };
        let question = |pairs: &[(&str, &str)]| {
            let settings = resolve(&Inputs {
                command_line: pairs
                    .iter()
                    .map(|(name, value)| ((*name).into(), (*value).into()))
                    .collect(),
                current_directory: std::env::current_dir().unwrap(),
                ..Inputs::default()
            });
            Question::of(directory.path(), &settings.unwrap())
        };
        assert_eq!(question(&[]).answer(), None);
        question(&[]).remember(&claude);
        assert_eq!(question(&[]).answer(), Some(claude));
        assert_eq!(question(&[("claude_cache_seconds", "0")]).answer(), None);
        assert_eq!(question(&[("claude_version", "9.9.9")]).answer(), None);
        fs::write(&path, "another").unwrap();
        assert_eq!(question(&[]).answer(), None);
    }
}
