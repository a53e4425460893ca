//! What the instances share: one small file per task and per count, each written whole and renamed
//! into its place.

use std::io;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use rmcp::ErrorData;
use serde_json::Value;

/// A directory.
#[derive(Clone, Debug)]
pub(crate) struct Shelf(PathBuf);

impl Shelf {
    /// Makes the directory when it is not there.
    pub(crate) fn open(directory: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&directory)?;
        Ok(Self(directory))
    }

    /// The document of this name; `None` when there is none, or its name is no name of ours.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Value>, ErrorData> {
        if !name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        {
            return Ok(None);
        }
        match std::fs::read(self.0.join(name)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(broken),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(broken(error)),
        }
    }

    /// Replaces the document.
    pub(crate) fn write(&self, name: &str, document: &Value) -> Result<(), ErrorData> {
        let beside = self.0.join(format!("{name}.{}", unique()));
        std::fs::write(&beside, document.to_string())
            .and_then(|()| std::fs::rename(&beside, self.0.join(name)))
            .map_err(broken)
    }

    /// How often a list changed.
    pub(crate) fn changes(&self, list: &str) -> u64 {
        let count = self.read(list).ok().flatten();
        count.and_then(|count| count.as_u64()).unwrap_or_default()
    }

    /// Counts one more change of a list.
    pub(crate) fn change(&self, list: &str) -> Result<(), ErrorData> {
        self.write(list, &(self.changes(list) + 1).into())
    }
}

fn broken(error: impl ToString) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}

/// A name that no other instance gives.
pub(crate) fn unique() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Unix milliseconds.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
