//! What runners found on their machine, for `find_claude_binary` of a cloud deployment.

use domain::{UnixMillis, ports::Unavailable};

use crate::{
    Store, failure,
    item::{Row, UnreadableRow, number, text},
    keys::Record,
    table::NotWritten,
    write::Write,
};

const CLAUDE_VERSION: &str = "claude_version";
const CLAUDE_PATH: &str = "claude_path";
const NOTED_AT: &str = "noted_at";

/// What a runner found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerFacts {
    /// Version of its `claude` binary.
    pub claude_version: String,
    /// Where that is, on the runner's machine.
    pub claude_path: String,
    /// When, on the runner's clock.
    pub noted_at: UnixMillis,
}

impl Store {
    /// Notes what a runner found; an older note than the stored one is dropped.
    ///
    /// # Errors
    /// [`Unavailable`]: losing the note loses nothing, the next runner writes it again.
    pub async fn note_runner(&self, facts: &RunnerFacts) -> Result<(), Unavailable> {
        let row = Row::at(&Record::Runner.key())
            .with(CLAUDE_VERSION, text(facts.claude_version.as_str()))
            .with(CLAUDE_PATH, text(facts.claude_path.as_str()))
            .with(NOTED_AT, number(facts.noted_at.0));
        let write = Write::put(row).when_absent_or(NOTED_AT, "<=", number(facts.noted_at.0));
        match self.table.write("note the runner", write).await {
            Ok(()) | Err(NotWritten::Refused(_)) => Ok(()),
            Err(NotWritten::Unavailable(unavailable)) => Err(unavailable),
        }
    }

    /// What the newest runner found; `None` before the first.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn runner(&self) -> Result<Option<RunnerFacts>, Unavailable> {
        const ATTEMPTED: &str = "read what runners found";
        let Some(row) = self.table.get(ATTEMPTED, &Record::Runner.key()).await? else {
            return Ok(None);
        };
        let read = || {
            Ok(Some(RunnerFacts {
                claude_version: row.text(CLAUDE_VERSION)?.to_owned(),
                claude_path: row.text(CLAUDE_PATH)?.to_owned(),
                noted_at: UnixMillis(row.number(NOTED_AT)?),
            }))
        };
        read().map_err(|error: UnreadableRow| failure::own(ATTEMPTED, error))
    }
}
