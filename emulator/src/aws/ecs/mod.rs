//! ECS: RunTask, StopTask, DescribeTasks and what belongs to them, for the unmodified SDK. A task is a
//! local process. Its state changes become events, which reach their functions at least once: an event
//! is stored with the change it tells and forgotten when it was delivered.

mod arguments;
mod database;
mod definitions;
mod lifecycle;
mod metadata;
mod operations;
mod task;

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::database::DatabaseError;
pub(super) use self::metadata::Document as MetadataDocument;
use self::{
    database::{Database, Undelivered},
    operations::Refusal,
    task::{Status, Task},
};
use super::{
    calls::Calls,
    events::{EventBus, envelope},
};
use crate::{credentials::Credentials, encryption::StateKey, process::Logs};

/// Milliseconds since 1970, by the emulator's clock.
pub(super) fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}

/// What ECS needs to know of its surroundings.
pub(super) struct TaskOptions {
    /// Where the endpoint listens; tasks reach all services there.
    pub(super) url: String,
    /// Program of a container, by container name or image.
    pub(super) programs: BTreeMap<String, PathBuf>,
    /// Where tasks have their working directories.
    pub(super) directory: PathBuf,
    pub(super) logs: Logs,
    pub(super) credentials: Credentials,
    pub(super) calls: Calls,
    pub(super) bus: EventBus,
}

/// ECS could not be started.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The directory of the tasks.
    #[error("working directories of tasks in {directory}")]
    Directory {
        /// Where.
        directory: String,
        /// What the file system said.
        #[source]
        source: std::io::Error,
    },
    /// A task definition of the template is not one.
    #[error("task definition of the template: {0}")]
    Definition(String),
}

/// The emulated ECS. Cheap to clone.
#[derive(Clone)]
pub(super) struct TaskService(Arc<Inner>);

struct Inner {
    options: TaskOptions,
    database: Database,
    running: Mutex<HashMap<String, CancellationToken>>,
    /// Tasks are being stopped for good: none is to start.
    closing: CancellationToken,
    /// Events wait in the database for the next start.
    later: CancellationToken,
    /// No stop timeout any more.
    kill: CancellationToken,
    tasks: TaskTracker,
    deliveries: TaskTracker,
}

/// When functions hear of tasks that end because the emulator ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tell {
    /// Now, and what takes longer at the next start.
    Within(Duration),
    /// At the next start: whoever would start a task again is about to end, too.
    AtNextStart,
}

impl TaskService {
    /// Opens the database (memory without a file) and makes clusters and definitions of the template
    /// known. Repeating it adds a revision of a definition only when it changed.
    pub(super) async fn open(
        file: Option<&Path>,
        key: Option<&StateKey>,
        options: TaskOptions,
        clusters: &[String],
        definitions: &[Value],
    ) -> Result<Self, OpenError> {
        let at = |source| OpenError::Directory {
            directory: options.directory.display().to_string(),
            source,
        };
        // Working directories of a former process: its tasks are gone.
        match std::fs::remove_dir_all(&options.directory) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(at(error)),
        }
        std::fs::create_dir_all(&options.directory).map_err(at)?;
        let database = Database::open(file, key)?;
        let (clusters, definitions) = (clusters.to_vec(), definitions.to_vec());
        database
            .transact(move |rows| {
                rows.forget(now())?;
                for name in &clusters {
                    rows.add_cluster(name)?;
                }
                for definition in &definitions {
                    definitions::ensure(rows, definition)?;
                }
                Ok::<_, OpenError>(())
            })
            .await?;
        Ok(Self(Arc::new(Inner {
            options,
            database,
            running: Mutex::default(),
            closing: CancellationToken::new(),
            later: CancellationToken::new(),
            kill: CancellationToken::new(),
            tasks: TaskTracker::new(),
            deliveries: TaskTracker::new(),
        })))
    }

    /// Reports what a former process of the emulator left: its tasks have stopped, its undelivered
    /// events are delivered. To be called once, when functions can be called.
    pub(super) async fn recover(&self) -> Result<(), DatabaseError> {
        let lost = self.0.database.transact(|rows| rows.unfinished()).await?;
        let former = self.0.database.transact(|rows| rows.undelivered()).await?;
        for task in lost {
            self.change(&task.id, lifecycle::lost_by_restart).await?;
        }
        for event in former {
            self.deliver(event);
        }
        Ok(())
    }

    /// The task definition that a RunTask request means.
    pub(super) async fn definition_of(&self, request: &Value) -> Option<Value> {
        let name = request["taskDefinition"].as_str()?.to_owned();
        let found = self
            .0
            .database
            .transact(move |rows| definitions::find(rows, &name));
        match found.await {
            Ok(definition) => definition,
            Err(error) => {
                tracing::error!(%error, "a task definition could not be read");
                None
            }
        }
    }

    /// Answers one request whose sender is known.
    pub(super) async fn answer(&self, operation: &str, body: &[u8]) -> Response {
        let result = match serde_json::from_slice::<Value>(body) {
            Ok(request @ Value::Object(_)) => {
                let (service, operation) = (self.clone(), operation.to_owned());
                // Not part of the request's own future: a caller that goes away must not leave a task
                // that is stored but never started.
                tokio::spawn(async move { service.operate(&operation, request).await })
                    .await
                    .unwrap_or_else(|error| Err(Refusal::Failed(error.to_string())))
            }
            _ => Err(Refusal::client(
                "SerializationException",
                "the request body is not a JSON object",
            )),
        };
        match result {
            Ok(answer) => respond(StatusCode::OK, &answer),
            Err(refusal) => refusal.respond(),
        }
    }

    /// What ECS answers when it is told to fail.
    pub(super) fn fault(code: &str, message: &str) -> Response {
        if code == "ServerException" {
            Refusal::Failed(message.to_owned()).respond()
        } else {
            Refusal::client(code, message).respond()
        }
    }

    /// Changes a task in one transaction with the events that this causes, and sends these. `None`
    /// when `change` left the task alone or there is no such task.
    async fn change(
        &self,
        id: &str,
        change: impl FnOnce(&mut Task) -> bool + Send + 'static,
    ) -> Result<Option<Task>, DatabaseError> {
        let id = id.to_owned();
        let bus = self.0.options.bus.clone();
        let changed = self
            .0
            .database
            .transact(move |rows| {
                let Some(mut task) = rows.task(&id)? else {
                    return Ok(None);
                };
                if !change(&mut task) {
                    return Ok(None);
                }
                task.version += 1;
                task.updated = now();
                rows.put_task(&task)?;
                let events = record_events(rows, &bus, &task)?;
                Ok::<_, DatabaseError>(Some((task, events)))
            })
            .await?;
        Ok(changed.map(|(task, events)| {
            for event in events {
                self.deliver(event);
            }
            task
        }))
    }

    fn deliver(&self, event: Undelivered) {
        if self.0.later.is_cancelled() {
            return;
        }
        let service = self.clone();
        self.0.deliveries.spawn(async move {
            let Undelivered {
                id,
                function,
                event,
            } = event;
            service.0.options.bus.deliver(&function, event).await;
            if let Err(error) = service
                .0
                .database
                .transact(move |rows| rows.delivered(&id))
                .await
            {
                tracing::warn!(%error, "a delivered event will be delivered again");
            }
        });
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops all tasks: SIGTERM, then after each one's stop timeout, or `limit` if that is shorter,
    /// SIGKILL. Events that are not delivered now are delivered at the next start, if there is a
    /// database file. False when a task was killed for its time. Doing it again does nothing more.
    pub(super) async fn shut_down(&self, limit: Option<Duration>, tell: Tell) -> bool {
        self.0.closing.cancel();
        if matches!(tell, Tell::AtNextStart) {
            self.0.later.cancel();
        }
        let ids: Vec<_> = self.running().keys().cloned().collect();
        for id in ids {
            if let Err(error) = self.stop(&id, "the emulator is shutting down").await {
                tracing::warn!(%error, task = id, "task not marked as stopping");
            }
        }
        self.0.tasks.close();
        if let Some(limit) = limit
            && tokio::time::timeout(limit, self.0.tasks.wait())
                .await
                .is_err()
        {
            self.0.kill.cancel();
        }
        self.0.tasks.wait().await;
        self.0.deliveries.close();
        if let Tell::Within(delivery) = tell
            && tokio::time::timeout(delivery, self.0.deliveries.wait())
                .await
                .is_err()
        {
            tracing::warn!("some task events were not delivered before the end");
        }
        !self.0.kill.is_cancelled()
    }
}

/// Stores the events that a state of a task causes, in the transaction that stores the state.
fn record_events(
    rows: &database::Rows<'_>,
    bus: &EventBus,
    task: &Task,
) -> Result<Vec<Undelivered>, DatabaseError> {
    let event = envelope(
        "aws.ecs",
        "ECS Task State Change",
        json!([task.arn()]),
        task.event_detail(),
    );
    let mut events = Vec::new();
    for function in bus.targets(&event) {
        let undelivered = Undelivered {
            id: uuid::Uuid::new_v4().to_string(),
            function,
            event: event.clone(),
        };
        rows.put_undelivered(&undelivered)?;
        events.push(undelivered);
    }
    Ok(events)
}

fn respond(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-amz-json-1.1"),
    );
    if let Ok(id) = HeaderValue::try_from(uuid::Uuid::new_v4().to_string()) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}
