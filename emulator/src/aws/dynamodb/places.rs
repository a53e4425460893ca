//! How far each event source mapping has delivered its table's stream, in the engine's own database
//! file. The engine keeps records of a stream for ever and looks through all of them at every write:
//! what every mapping has behind it is deleted here, but for the last record, after which the engine
//! numbers the next. The names of the engine's table and columns are those of the pinned version.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use rusqlite::{Connection, TransactionBehavior, params};

use crate::{
    aws::streams::Place,
    encryption::{StateKey, database},
};

/// How long a stream keeps what nobody has taken, as on AWS.
const KEPT_SECONDS: i64 = 24 * 60 * 60;

const SCHEMA: &str = "
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS _emulator_stream_places (
        mapping TEXT PRIMARY KEY,
        table_name TEXT NOT NULL,
        sequence TEXT NOT NULL,
        event_id TEXT NOT NULL
    );
    CREATE INDEX IF NOT EXISTS _emulator_stream_order
        ON _stream_records (table_name, CAST(sequence_number AS INTEGER));
    CREATE INDEX IF NOT EXISTS _emulator_stream_events ON _stream_records (event_id);
";

/// The places. Not to be used while the engine works on the same file.
pub(super) struct Places(Mutex<Connection>);

impl Places {
    /// Opens the file, which the engine has made.
    pub(super) fn open(path: &str, key: Option<&StateKey>) -> rusqlite::Result<Self> {
        let connection = database::open(Path::new(path), key)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self(Mutex::new(connection)))
    }

    fn connection(&mut self) -> &mut Connection {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where each of these mappings (name and table) goes on; `None` at the beginning. Others are
    /// forgotten, and so are records that are too old.
    pub(super) fn begin(
        &mut self,
        mappings: &[(String, String)],
    ) -> rusqlite::Result<Vec<Option<Place>>> {
        let transaction = self
            .connection()
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let known: Vec<String> = transaction
            .prepare("SELECT mapping FROM _emulator_stream_places")?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for gone in known
            .iter()
            .filter(|known| !mappings.iter().any(|(name, _)| name == *known))
        {
            transaction.execute(
                "DELETE FROM _emulator_stream_places WHERE mapping = ?1",
                [gone],
            )?;
        }
        transaction.execute(
            "DELETE FROM _stream_records AS old
             WHERE created_at < CAST(strftime('%s', 'now') AS INTEGER) - ?1
               AND id < (SELECT MAX(id) FROM _stream_records AS last
                         WHERE last.table_name = old.table_name)",
            [KEPT_SECONDS],
        )?;
        let mut places = Vec::new();
        for (name, table) in mappings {
            transaction.execute(
                "INSERT INTO _emulator_stream_places VALUES (?1, ?2, '', '')
                 ON CONFLICT DO NOTHING",
                params![name, table],
            )?;
            let place = transaction.query_row(
                "SELECT sequence, event_id FROM _emulator_stream_places WHERE mapping = ?1",
                [name],
                |row| {
                    Ok(Place {
                        sequence: row.get(0)?,
                        event_id: row.get(1)?,
                    })
                },
            )?;
            places.push(Some(place).filter(|place| !place.sequence.is_empty()));
        }
        transaction.commit()?;
        Ok(places)
    }

    /// The mapping has everything up to this record behind it. What all mappings of the table have
    /// behind them is deleted.
    pub(super) fn settle(
        &mut self,
        mapping: &str,
        table: &str,
        place: &Place,
    ) -> rusqlite::Result<()> {
        let transaction = self
            .connection()
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute(
            "UPDATE _emulator_stream_places SET sequence = ?2, event_id = ?3 WHERE mapping = ?1",
            params![mapping, place.sequence, place.event_id],
        )?;
        transaction.execute(
            "DELETE FROM _stream_records WHERE table_name = ?1
               AND NOT EXISTS (SELECT 1 FROM _emulator_stream_places
                               WHERE table_name = ?1 AND event_id = '')
               AND id < (SELECT MIN(record.id) FROM _emulator_stream_places AS place
                         JOIN _stream_records AS record ON record.event_id = place.event_id
                         WHERE place.table_name = ?1)",
            [table],
        )?;
        transaction.commit()
    }
}
