//! DynamoDB. The engine stands behind [`DocumentDatabase`], so that it can be replaced; it runs on
//! threads of its own with a stack that a deeply nested expression cannot overflow (which would end
//! the whole emulator), and it is never reachable but through the endpoint that checks signatures.

mod backups;
mod engine;
mod places;
mod tables;
mod threads;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::Value;
use tokio::sync::watch;

use self::{backups::ContinuousBackups, threads::Threads};
use super::streams::Place;
use crate::{encryption::StateKey, template::TableResource};

/// Operations after which streams may have more records.
const WRITES: &[&str] = &[
    "BatchExecuteStatement",
    "BatchWriteItem",
    "DeleteItem",
    "ExecuteStatement",
    "ExecuteTransaction",
    "PutItem",
    "TransactWriteItems",
    "UpdateItem",
];

/// An engine that speaks DynamoDB's JSON. Calls block.
trait DocumentDatabase: Send + Sync + 'static {
    /// Does one operation, by its API name.
    fn execute(&self, operation: &str, body: &[u8]) -> Answer;
    /// Deletes items whose time to live is over; returns how many, or why not.
    fn sweep(&self) -> Result<usize, String>;
    /// Records of a table's stream behind a sequence number, or from the oldest, in their order.
    fn records(&self, table: &str, after: Option<&str>, most: usize) -> Result<Vec<Value>, String>;
    /// Where each mapping (name, table) goes on. Mappings that are not named are forgotten.
    fn begin(&self, mappings: &[(String, String)]) -> Result<Vec<Option<Place>>, String>;
    /// Remembers that a mapping has everything up to this record behind it.
    fn settle(&self, mapping: &str, table: &str, place: &Place) -> Result<(), String>;
}

/// What goes back to the client.
#[derive(Debug)]
struct Answer {
    status: u16,
    body: String,
}

impl Answer {
    fn error(status: u16, code: &str, message: &str) -> Self {
        let body = serde_json::json!({
            "__type": format!("com.amazonaws.dynamodb.v20120810#{code}"),
            "message": message,
        });
        Self {
            status,
            body: body.to_string(),
        }
    }

    fn succeeded(&self) -> bool {
        self.status == 200
    }
}

/// The database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be opened, or is none of ours.
    #[error("DynamoDB database: {0}")]
    Engine(String),
    /// No thread could be started.
    #[error("threads of the DynamoDB engine")]
    Threads(#[source] std::io::Error),
    /// The engine refuses a table of the template.
    #[error("table {table} of the template: {answer}")]
    Table {
        /// Its name.
        table: String,
        /// The engine's answer.
        answer: String,
    },
    /// The template's table differs from the one kept on disk in what cannot be changed.
    #[error(
        "table {table} is kept on disk with {what} {kept}, the template wants {wanted}: remove the \
         state directory, or go back to the former template"
    )]
    Changed {
        /// Its name.
        table: String,
        /// Which part differs.
        what: &'static str,
        /// As on disk.
        kept: String,
        /// As in the template.
        wanted: String,
    },
}

/// The emulated DynamoDB service. Cheap to clone.
#[derive(Clone)]
pub(super) struct DocumentService {
    threads: Threads,
    /// Told after every write.
    written: watch::Sender<()>,
    backups: Arc<ContinuousBackups>,
}

impl DocumentService {
    /// Opens the database file (memory without one) and makes the tables that it lacks.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub(super) async fn open(
        file: Option<&Path>,
        key: Option<&StateKey>,
        wanted: &[TableResource],
    ) -> Result<Self, OpenError> {
        let engine = engine::Dynoxide::open(file, key)?;
        let threads = Threads::start(Arc::new(engine)).map_err(OpenError::Threads)?;
        let service = Self {
            threads,
            written: watch::Sender::new(()),
            backups: Arc::new(ContinuousBackups::of(wanted)),
        };
        for table in wanted {
            tables::ensure(&service, table).await?;
        }
        Ok(service)
    }

    /// Answers one request whose sender is known.
    pub(super) async fn answer(&self, operation: &str, body: bytes::Bytes) -> Response {
        if operation == backups::OPERATION {
            return respond(self.backups.describe(&body, SystemTime::now()));
        }
        let answer = self.threads.execute(operation, body).await;
        if answer.succeeded() && WRITES.contains(&operation) {
            self.written.send_replace(());
        }
        respond(answer)
    }

    /// Changes after every write, whichever table it was to.
    pub(super) fn writes(&self) -> watch::Receiver<()> {
        self.written.subscribe()
    }

    /// See [`DocumentDatabase::records`].
    pub(super) async fn records(
        &self,
        table: &str,
        after: Option<&str>,
        most: usize,
    ) -> Result<Vec<Value>, String> {
        let (table, after) = (table.to_owned(), after.map(str::to_owned));
        let ask =
            move |engine: &dyn DocumentDatabase| engine.records(&table, after.as_deref(), most);
        self.threads.ask(ask).await?
    }

    /// See [`DocumentDatabase::begin`].
    pub(super) async fn begin(
        &self,
        mappings: Vec<(String, String)>,
    ) -> Result<Vec<Option<Place>>, String> {
        self.threads
            .ask(move |engine| engine.begin(&mappings))
            .await?
    }

    /// See [`DocumentDatabase::settle`].
    pub(super) async fn settle(
        &self,
        mapping: &str,
        table: &str,
        place: Place,
    ) -> Result<(), String> {
        let (mapping, table) = (mapping.to_owned(), table.to_owned());
        let ask = move |engine: &dyn DocumentDatabase| engine.settle(&mapping, &table, &place);
        self.threads.ask(ask).await?
    }

    /// What DynamoDB answers when it is told to fail.
    pub(super) fn fault(code: &str, message: &str) -> Response {
        let status = if code == "InternalServerError" {
            500
        } else {
            400
        };
        respond(Answer::error(status, code, message))
    }

    /// Deletes expired items, once per `period`, until dropped.
    pub(super) async fn sweep_for_ever(self, period: Duration) {
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.threads.ask(|engine| engine.sweep()).await.flatten() {
                Ok(0) => {}
                Ok(count) => {
                    self.written.send_replace(());
                    tracing::debug!(count, "expired items deleted");
                }
                Err(error) => tracing::warn!(error, "expired items not deleted"),
            }
        }
    }
}

fn respond(answer: Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-amz-json-1.0"),
    );
    let id = uuid::Uuid::new_v4()
        .simple()
        .to_string()
        .to_ascii_uppercase();
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}
