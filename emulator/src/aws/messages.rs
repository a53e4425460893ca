//! What was published to topics and sent to queues of the template, kept to be looked at: nobody
//! subscribes to them here. The newest of each, in the state directory.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rusqlite::{Connection, params};
use serde::Serialize;

use crate::encryption::{StateKey, database};

/// Messages that are kept of each topic and queue.
const KEPT: u32 = 1000;

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        message_id TEXT NOT NULL,
        destination TEXT NOT NULL,
        sent_at_ms INTEGER NOT NULL,
        body TEXT NOT NULL
    );
    CREATE INDEX IF NOT EXISTS by_destination ON messages (destination, id);
";

/// One message, as people and tests see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SentMessage {
    /// The id that its sender was given.
    pub message_id: String,
    /// ARN of the topic or queue.
    pub destination: String,
    /// Milliseconds since 1970.
    pub sent_at_ms: i64,
    /// What was sent.
    pub body: String,
}

/// The messages of one emulator. Cheap to clone.
#[derive(Clone)]
pub(super) struct Messages {
    connection: Arc<Mutex<Connection>>,
    destinations: Arc<Vec<String>>,
}

impl Messages {
    /// Opens the file, or memory without one.
    pub(super) fn open(
        file: Option<&Path>,
        key: Option<&StateKey>,
        destinations: Vec<String>,
    ) -> rusqlite::Result<Self> {
        let connection = match file {
            Some(file) => database::open(file, key)?,
            None => Connection::open_in_memory()?,
        };
        connection.execute_batch(SCHEMA)?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            destinations: Arc::new(destinations),
        })
    }

    /// Whether the template has this topic or queue.
    pub(super) fn knows(&self, arn: &str) -> bool {
        self.destinations.iter().any(|known| known == arn)
    }

    /// Keeps a message and gives its id; `None` when it could not be kept, which the log says.
    pub(super) fn add(&self, destination: &str, body: &str) -> Option<String> {
        let message_id = uuid::Uuid::new_v4().to_string();
        match self.insert(&message_id, destination, body) {
            Ok(()) => {
                tracing::info!(destination, message_id, "a message was sent");
                Some(message_id)
            }
            Err(error) => {
                tracing::error!(destination, %error, "a message could not be kept");
                None
            }
        }
    }

    fn insert(&self, message_id: &str, destination: &str, body: &str) -> rusqlite::Result<()> {
        let connection = self.lock();
        connection.execute(
            "INSERT INTO messages (message_id, destination, sent_at_ms, body)
             VALUES (?1, ?2, ?3, ?4)",
            params![message_id, destination, super::ecs::now(), body],
        )?;
        connection.execute(
            "DELETE FROM messages WHERE destination = ?1 AND id <=
                (SELECT MAX(id) FROM messages WHERE destination = ?1) - ?2",
            params![destination, KEPT],
        )?;
        Ok(())
    }

    /// All that are kept, the oldest first.
    pub(super) fn all(&self) -> rusqlite::Result<Vec<SentMessage>> {
        self.lock()
            .prepare("SELECT message_id, destination, sent_at_ms, body FROM messages ORDER BY id")?
            .query_map([], |row| {
                Ok(SentMessage {
                    message_id: row.get(0)?,
                    destination: row.get(1)?,
                    sent_at_ms: row.get(2)?,
                    body: row.get(3)?,
                })
            })?
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
