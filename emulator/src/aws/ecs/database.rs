//! What ECS remembers: clusters, task definitions, tasks, the tokens that make RunTask repeatable, and
//! events that were not delivered yet. One SQLite file, so that a task that was running when the
//! emulator died is still known, and its end reported, at the next start.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use serde_json::Value;

use super::task::{Status, Task};
use crate::encryption::{StateKey, database};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS cluster (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS definition (
    family TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (family, revision)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS task (
    id TEXT PRIMARY KEY,
    cluster TEXT NOT NULL,
    stopped INTEGER,
    body TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS run_token (
    cluster TEXT NOT NULL,
    token TEXT NOT NULL,
    created INTEGER NOT NULL,
    request TEXT NOT NULL,
    tasks TEXT NOT NULL,
    PRIMARY KEY (cluster, token)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS undelivered (
    id TEXT PRIMARY KEY,
    function TEXT NOT NULL,
    event TEXT NOT NULL
);
";

/// How long a stopped task can be described. AWS: "at least one hour".
const KEEP_STOPPED: i64 = 24 * 3600 * 1000;

/// The rows could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// SQLite failed.
    #[error("ECS database")]
    Sqlite(#[from] rusqlite::Error),
    /// A stored row cannot be read: the state is from another version of the emulator, or damaged.
    #[error("stored ECS state is unreadable: remove the state directory")]
    Stored(#[from] serde_json::Error),
    /// The work was cut off by the end of the process.
    #[error("ECS database work did not finish")]
    Unfinished(#[from] tokio::task::JoinError),
}

/// An event for a function that is not known to be delivered.
#[derive(Clone, Debug)]
pub(super) struct Undelivered {
    pub(super) id: String,
    pub(super) function: String,
    pub(super) event: Value,
}

/// A RunTask that was done under a token.
pub(super) struct FormerRun {
    pub(super) request: Value,
    pub(super) tasks: Vec<String>,
}

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Database(Arc<Mutex<Connection>>);

impl Database {
    pub(super) fn open(file: Option<&Path>, key: Option<&StateKey>) -> Result<Self, DatabaseError> {
        let connection = match file {
            Some(path) => database::open(path, key)?,
            None => Connection::open_in_memory()?,
        };
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// One transaction; nothing of it happens when `work` fails. Begun, it runs to its end.
    pub(super) async fn transact<T: Send + 'static, E: From<DatabaseError> + Send + 'static>(
        &self,
        work: impl FnOnce(&Rows<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let connection = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(DatabaseError::from)?;
            let value = work(&Rows(&transaction))?;
            transaction.commit().map_err(DatabaseError::from)?;
            Ok(value)
        })
        .await
        .map_err(DatabaseError::from)?
    }
}

/// The rows inside a transaction.
pub(super) struct Rows<'a>(&'a Transaction<'a>);

impl Rows<'_> {
    pub(super) fn add_cluster(&self, name: &str) -> Result<(), DatabaseError> {
        self.0
            .execute("INSERT OR IGNORE INTO cluster (name) VALUES (?1)", [name])?;
        Ok(())
    }

    pub(super) fn cluster_exists(&self, name: &str) -> Result<bool, DatabaseError> {
        Ok(self.0.query_row(
            "SELECT EXISTS (SELECT 1 FROM cluster WHERE name = ?1)",
            [name],
            |row| row.get(0),
        )?)
    }

    /// The definition of a revision, the newest without one.
    pub(super) fn definition(
        &self,
        family: &str,
        revision: Option<u32>,
    ) -> Result<Option<Value>, DatabaseError> {
        let text = self
            .0
            .query_row(
                "SELECT body FROM definition WHERE family = ?1 AND (?2 IS NULL OR revision = ?2) \
                 ORDER BY revision DESC LIMIT 1",
                params![family, revision],
                |row| row.get::<_, String>(0),
            )
            .optional()?;
        text.map(|text| Ok(serde_json::from_str(&text)?))
            .transpose()
    }

    pub(super) fn put_definition(
        &self,
        family: &str,
        revision: u32,
        body: &Value,
    ) -> Result<(), DatabaseError> {
        self.0.execute(
            "INSERT INTO definition (family, revision, body) VALUES (?1, ?2, ?3)",
            params![family, revision, body.to_string()],
        )?;
        Ok(())
    }

    pub(super) fn task(&self, id: &str) -> Result<Option<Task>, DatabaseError> {
        let text = self
            .0
            .query_row("SELECT body FROM task WHERE id = ?1", [id], |row| {
                row.get::<_, String>(0)
            })
            .optional()?;
        text.map(|text| Ok(serde_json::from_str(&text)?))
            .transpose()
    }

    pub(super) fn put_task(&self, task: &Task) -> Result<(), DatabaseError> {
        self.0.execute(
            "INSERT INTO task (id, cluster, stopped, body) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (id) DO UPDATE SET stopped = ?3, body = ?4",
            params![
                task.id,
                task.cluster,
                task.stopped,
                serde_json::to_string(task)?
            ],
        )?;
        Ok(())
    }

    /// Tasks of a cluster, by id.
    pub(super) fn tasks(&self, cluster: &str) -> Result<Vec<Task>, DatabaseError> {
        self.read_tasks(
            "SELECT body FROM task WHERE cluster = ?1 ORDER BY id",
            params![cluster],
        )
    }

    /// Tasks that have not stopped, of all clusters.
    pub(super) fn unfinished(&self) -> Result<Vec<Task>, DatabaseError> {
        let tasks = self.read_tasks(
            "SELECT body FROM task WHERE stopped IS NULL ORDER BY id",
            params![],
        )?;
        Ok(tasks
            .into_iter()
            .filter(|task| task.last_status != Status::Stopped)
            .collect())
    }

    fn read_tasks(
        &self,
        query: &str,
        values: &[&dyn rusqlite::ToSql],
    ) -> Result<Vec<Task>, DatabaseError> {
        let mut statement = self.0.prepare_cached(query)?;
        let rows = statement.query_map(values, |row| row.get::<_, String>(0))?;
        rows.map(|text| Ok(serde_json::from_str(&text?)?)).collect()
    }

    /// Forgets tasks that stopped long ago, and the tokens of that time.
    pub(super) fn forget(&self, now: i64) -> Result<(), DatabaseError> {
        self.0
            .execute("DELETE FROM task WHERE stopped < ?1", [now - KEEP_STOPPED])?;
        self.0.execute(
            "DELETE FROM run_token WHERE created < ?1",
            [now - KEEP_STOPPED],
        )?;
        Ok(())
    }

    pub(super) fn former_run(
        &self,
        cluster: &str,
        token: &str,
    ) -> Result<Option<FormerRun>, DatabaseError> {
        let found = self
            .0
            .query_row(
                "SELECT request, tasks FROM run_token WHERE cluster = ?1 AND token = ?2",
                [cluster, token],
                |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)),
            )
            .optional()?;
        found
            .map(|(request, tasks)| {
                Ok(FormerRun {
                    request: serde_json::from_str(&request)?,
                    tasks: serde_json::from_str(&tasks)?,
                })
            })
            .transpose()
    }

    pub(super) fn put_run(
        &self,
        (cluster, token): (&str, &str),
        now: i64,
        run: &FormerRun,
    ) -> Result<(), DatabaseError> {
        self.0.execute(
            "INSERT INTO run_token (cluster, token, created, request, tasks) \
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                cluster,
                token,
                now,
                run.request.to_string(),
                serde_json::to_string(&run.tasks)?
            ],
        )?;
        Ok(())
    }

    pub(super) fn put_undelivered(&self, event: &Undelivered) -> Result<(), DatabaseError> {
        self.0.execute(
            "INSERT INTO undelivered (id, function, event) VALUES (?1, ?2, ?3)",
            params![event.id, event.function, event.event.to_string()],
        )?;
        Ok(())
    }

    pub(super) fn undelivered(&self) -> Result<Vec<Undelivered>, DatabaseError> {
        let mut statement = self
            .0
            .prepare("SELECT id, function, event FROM undelivered ORDER BY rowid")?;
        let rows = statement.query_map([], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?))
        })?;
        rows.map(|row| {
            let (id, function, event) = row?;
            Ok(Undelivered {
                id,
                function,
                event: serde_json::from_str(&event)?,
            })
        })
        .collect()
    }

    pub(super) fn delivered(&self, id: &str) -> Result<(), DatabaseError> {
        self.0
            .execute("DELETE FROM undelivered WHERE id = ?1", [id])?;
        Ok(())
    }
}
