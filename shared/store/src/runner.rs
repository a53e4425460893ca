//! What runners found on their machine, for `find_claude_binary` of a cloud deployment.

use domain::{Subagent, UnixMillis, ports::Unavailable};

use crate::{
    Store, failure,
    item::{Row, UnreadableRow, number, text},
    keys::Record,
    table::NotWritten,
    write::Write,
};

const CLAUDE_VERSION: &str = "claude_version";
const CLAUDE_PATH: &str = "claude_path";
const AGENTS: &str = "agents";
const NOTED_AT: &str = "noted_at";

/// What a runner found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerFacts {
    /// Version of its `claude` binary.
    pub claude_version: String,
    /// Where that is, on the runner's machine.
    pub claude_path: String,
    /// The kinds of subagents that it has.
    pub agents: Vec<Subagent>,
    /// When, on the runner's clock.
    pub noted_at: UnixMillis,
}

impl Store {
    /// Notes what a runner found; an older note than the stored one is dropped.
    ///
    /// # Errors
    /// [`Unavailable`]: losing the note loses nothing, the next runner writes it again.
    pub async fn note_runner(&self, facts: &RunnerFacts) -> Result<(), Unavailable> {
        const ATTEMPTED: &str = "note the runner";
        let pair = |agent: &Subagent| (agent.name.clone(), agent.description.clone());
        let agents: Vec<_> = facts.agents.iter().map(pair).collect();
        let agents =
            serde_json::to_string(&agents).map_err(|error| failure::own(ATTEMPTED, error))?;
        let row = Row::at(&Record::Runner.key())
            .with(CLAUDE_VERSION, text(facts.claude_version.as_str()))
            .with(CLAUDE_PATH, text(facts.claude_path.as_str()))
            .with(AGENTS, text(agents))
            .with(NOTED_AT, number(facts.noted_at.0));
        let write = Write::put(row).when_absent_or(NOTED_AT, "<=", number(facts.noted_at.0));
        match self.table.write(ATTEMPTED, write).await {
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
                agents: agents(&row)?,
                noted_at: UnixMillis(row.number(NOTED_AT)?),
            }))
        };
        read().map_err(|error: UnreadableRow| failure::own(ATTEMPTED, error))
    }
}

/// Runners of earlier versions noted none.
fn agents(row: &Row) -> Result<Vec<Subagent>, UnreadableRow> {
    let Some(json) = row.text_if(AGENTS)? else {
        return Ok(Vec::new());
    };
    let pairs: Vec<(String, String)> =
        serde_json::from_str(json).map_err(|source| UnreadableRow::Json {
            name: AGENTS,
            source,
        })?;
    let agent = |(name, description)| Subagent { name, description };
    Ok(pairs.into_iter().map(agent).collect())
}
