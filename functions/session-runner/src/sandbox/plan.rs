//! What a sandbox stage has to do, as a file that the runner writes and the stage reads.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How the CLI is kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// User, mount, process, IPC and host name namespaces.
    Namespaces,
    /// A uid of its own.
    Uid,
    /// Nothing. For machines that have nothing better.
    None,
}

impl Isolation {
    /// As in settings and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Isolation::Namespaces => "namespaces",
            Isolation::Uid => "uid",
            Isolation::None => "none",
        }
    }

    /// Reads what [`Isolation::as_str`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Namespaces, Self::Uid, Self::None]
            .into_iter()
            .find(|isolation| isolation.as_str() == text)
    }
}

/// A directory or file of the machine that the session sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Where it is.
    pub from: PathBuf,
    /// Where the session sees it.
    pub to: PathBuf,
    /// The session cannot change it.
    pub read_only: bool,
}

/// One program in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// How.
    pub isolation: Isolation,
    /// Process id of the runner. A stage that has another parent ends at once.
    pub runner: u32,
    /// The program and its arguments, in the session's own paths.
    pub command: Vec<String>,
    /// Its whole environment.
    pub environment: Vec<(String, String)>,
    /// Where it starts.
    pub working_directory: PathBuf,
    /// Other programs of the session run at the same time: this one's end is only the end of what it
    /// started itself.
    #[serde(default)]
    pub beside: bool,
    /// The uid and gid it runs as, on the machine; the runner's own when absent.
    pub user: Option<u32>,
    /// An empty directory that becomes the root (`namespaces`).
    pub new_root: PathBuf,
    /// What else the session sees (`namespaces`), in this order.
    pub binds: Vec<Bind>,
}

/// Exit code of a stage that could not do its part. The reason is the last line of its stderr,
/// behind [`STAGE_FAILED`].
pub const STAGE_FAILED_CODE: i32 = 125;
/// Starts the line that says why a stage failed.
pub const STAGE_FAILED: &str = "shannon sandbox: ";
