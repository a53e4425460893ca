//! The AWS services that functions and tasks call: DynamoDB, S3, ECS and Lambda at one loopback
//! address, EventBridge behind ECS, streams behind DynamoDB, SNS, STS, and
//! parameters of Systems Manager. The unmodified SDKs reach them through `AWS_ENDPOINT_URL`.
//!
//! Every request has to be signed with a key that this emulator issued, and is permitted only if the
//! role of the key's holder permits it. State is kept in a directory,
//! or, without one, in memory and a temporary directory that goes with the emulator.

mod calls;
mod control;
mod dispatch;
mod dynamodb;
mod ecs;
mod events;
mod faults;
mod messages;
mod parameters;
mod permissions;
mod public_objects;
mod query;
mod s3;
mod signature;
mod sns;
mod streams;
mod sts;

use std::{collections::BTreeMap, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::{Router, extract::Request, serve::ListenerExt};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub(crate) use self::s3::object_files;
pub use self::{
    calls::CallCount,
    dynamodb::OpenError as DynamoDbError,
    ecs::{DatabaseError as EcsDatabaseError, OpenError as EcsError},
    events::PatternError,
    faults::PlannedFault,
    messages::SentMessage,
    s3::OpenError as S3Error,
    streams::StreamError,
};
use self::{
    calls::Calls,
    control::Control,
    dispatch::Services,
    dynamodb::DocumentService,
    ecs::{TaskOptions, TaskService, Tell},
    events::EventBus,
    faults::Faults,
    messages::Messages,
    parameters::ParameterService,
    permissions::Permissions,
    s3::{ObjectService, Surroundings as ObjectSurroundings, WantedBucket},
};
use crate::{
    credentials::Credentials, encryption::StateKey, file_lock, invoker::Invoker, process::Logs,
    template::Stack, token,
};

/// How often expired items are looked for in DynamoDB; AWS promises only "within a few days".
const SWEEP: Duration = Duration::from_secs(60);
/// The same, where tests wait for it.
const SWEEP_IN_TESTS: Duration = Duration::from_secs(1);
/// How long requests in flight have at the end.
const DRAIN: Duration = Duration::from_secs(2);
/// How long events of stopped tasks have to be delivered at the end.
const DELIVERY: Duration = Duration::from_secs(5);

/// A time as AWS writes it in events and messages; of milliseconds since 1970.
pub(crate) fn time_text(milliseconds: i64) -> String {
    events::time_text(milliseconds, true)
}

/// What the services are to be.
pub struct AwsOptions<'a> {
    /// Directory that keeps tables, objects and tasks; `None` for an emulator that forgets.
    pub state: Option<PathBuf>,
    /// What everything there is encrypted with.
    pub key: Option<StateKey>,
    /// Keys that may call; also issues one for each task.
    pub credentials: Credentials,
    /// Tables, buckets, clusters, task definitions, rules and schedules.
    pub stack: &'a Stack,
    /// Runs the functions that events and schedules go to.
    pub invoker: Arc<dyn Invoker>,
    /// Answers Lambda's Invoke and InvokeWithResponseStream, under their full paths. The caller's
    /// [`crate::credentials::Principal`] is among the request's extensions.
    pub lambda: Option<Router>,
    /// Program of a task's container, by container name or image.
    pub task_programs: BTreeMap<String, PathBuf>,
    /// Where tasks print.
    pub logs: Logs,
    /// Whoever shows it as a bearer token may read the counted calls and what was published: what a
    /// session does is not for other sessions to know.
    pub reader_token: String,
    /// For tests: `/_emulator/faults` and `/_emulator/schedules/<function>` exist, and expired items
    /// go within a second instead of a minute.
    pub test_hooks: bool,
}

/// Why the services could not be started. Nothing runs then.
#[derive(Debug, thiserror::Error)]
pub enum AwsError {
    /// Somebody else listens there, or the address is not ours: choose another port.
    #[error("cannot listen on {address}")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// These services are for this machine only.
    #[error("{0} is no loopback address")]
    NotLoopback(SocketAddr),
    /// The state directory cannot be made or used.
    #[error("state directory {directory}")]
    State {
        /// Which.
        directory: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Another emulator uses the state directory: stop it, or use another directory.
    #[error("another emulator uses the state directory {0}")]
    InUse(PathBuf),
    /// DynamoDB.
    #[error(transparent)]
    DynamoDb(#[from] DynamoDbError),
    /// S3.
    #[error(transparent)]
    S3(#[from] S3Error),
    /// ECS.
    #[error(transparent)]
    Ecs(#[from] EcsError),
    /// A rule of the template.
    #[error(transparent)]
    Rule(#[from] PatternError),
    /// Streams.
    #[error(transparent)]
    Streams(#[from] StreamError),
    /// What was published cannot be kept.
    #[error("messages of topics and queues")]
    Messages(#[from] rusqlite::Error),
    /// Parameters cannot be kept.
    #[error("parameters")]
    Parameters(#[source] rusqlite::Error),
}

/// A bound address whose services are not started yet: functions need to know it before it can serve
/// what calls functions.
#[derive(Debug)]
pub struct AwsEndpoint {
    listener: TcpListener,
    address: SocketAddr,
}

impl AwsEndpoint {
    /// Listens on a loopback address; port 0 takes a free one. Requests that come before
    /// [`AwsEndpoint::start`] wait.
    ///
    /// # Errors
    /// [`AwsError::NotLoopback`], [`AwsError::Listen`].
    pub async fn bind(address: SocketAddr) -> Result<Self, AwsError> {
        if !address.ip().is_loopback() {
            return Err(AwsError::NotLoopback(address));
        }
        let failed = |source| AwsError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// What goes into `AWS_ENDPOINT_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Opens the state and serves. What a former process left is finished: objects that were being
    /// written do not exist, tasks that were running are reported as stopped.
    ///
    /// # Errors
    /// See [`AwsError`].
    pub async fn start(self, options: AwsOptions<'_>) -> Result<RunningAws, AwsError> {
        let url = self.url();
        let state = State::open(options.state)?;
        let stack = options.stack;
        let key = options.key.as_ref();
        let (calls, faults) = (Calls::default(), Faults::new(options.test_hooks));
        let permissions = Permissions::new(stack, options.test_hooks);
        let invoker = options.invoker;
        let bus = EventBus::new(
            &stack.name,
            &stack.rules,
            &stack.schedules,
            Arc::clone(&invoker),
        )?;
        let destinations = stack.topics.iter().chain(&stack.queues).cloned().collect();
        let messages = Messages::open(state.file("messages.sqlite").as_deref(), key, destinations)?;
        let parameters = ParameterService::open(state.file("parameters.sqlite").as_deref(), key)
            .map_err(AwsError::Parameters)?;
        let documents =
            DocumentService::open(state.file("dynamodb.sqlite").as_deref(), key, &stack.tables)
                .await?;
        let buckets: Vec<_> = stack
            .buckets
            .iter()
            .map(|bucket| WantedBucket {
                name: bucket.name.clone(),
                versioning: bucket.versioning,
                object_lock: bucket.object_lock,
            })
            .collect();
        let objects = ObjectService::open(
            &state.directory.join("s3"),
            state.kept,
            key,
            &buckets,
            ObjectSurroundings {
                credentials: options.credentials.clone(),
                calls: calls.clone(),
                faults: faults.clone(),
                permissions: permissions.clone(),
            },
        )?;
        let tasks = TaskService::open(
            state.file("ecs.sqlite").as_deref(),
            key,
            TaskOptions {
                url: url.clone(),
                programs: options.task_programs,
                directory: state.directory.join("tasks"),
                logs: options.logs,
                credentials: options.credentials.clone(),
                calls: calls.clone(),
                bus: bus.clone(),
            },
            &stack.clusters,
            &stack.task_definitions,
        )
        .await?;
        let surroundings = streams::Surroundings {
            documents: documents.clone(),
            messages: messages.clone(),
            invoker,
            test_hooks: options.test_hooks,
        };
        let sources = streams::sources(&stack.stream_mappings, &surroundings).await?;
        let services = Services {
            credentials: options.credentials,
            calls: calls.clone(),
            faults: faults.clone(),
            permissions: permissions.clone(),
            documents: documents.clone(),
            objects,
            tasks: tasks.clone(),
            messages: messages.clone(),
            parameters,
            lambda: options.lambda,
            control: Control {
                calls: calls.clone(),
                faults,
                bus: bus.clone(),
                messages,
                permissions,
                reader: token::sha256_hex(&options.reader_token),
            },
        };
        let objects = public_objects::router(services.objects.clone(), self.address);
        let router =
            Router::new().fallback(move |request: Request| services.clone().answer(request));
        let stop = CancellationToken::new();
        let stopping = stop.clone().cancelled_owned();
        let mut server = JoinSet::new();
        // An answer is often two writes, head and body: the second must not wait 40 ms for the
        // acknowledgement of the first.
        let listener = self.listener.tap_io(|connection| {
            if let Err(error) = connection.set_nodelay(true) {
                tracing::debug!(%error, "a connection will be slow");
            }
        });
        server.spawn(async move {
            axum::serve(listener, router)
                .with_graceful_shutdown(stopping)
                .await
        });
        let mut background = JoinSet::new();
        background.spawn(documents.sweep_for_ever(if options.test_hooks {
            SWEEP_IN_TESTS
        } else {
            SWEEP
        }));
        for schedule in bus.schedules() {
            background.spawn(schedule);
        }
        for source in sources {
            background.spawn(source);
        }
        tasks.recover().await.map_err(EcsError::from)?;
        Ok(RunningAws {
            url,
            objects,
            calls,
            tasks,
            stop,
            server,
            background,
            _state: state,
        })
    }
}

/// The running services. Dropping it ends them at once; [`RunningAws::shutdown`] ends them well.
pub struct RunningAws {
    url: String,
    objects: Router,
    calls: Calls,
    tasks: TaskService,
    stop: CancellationToken,
    server: JoinSet<io::Result<()>>,
    background: JoinSet<()>,
    _state: State,
}

impl RunningAws {
    /// What goes into `AWS_ENDPOINT_URL`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What was signed of the buckets, below `/objects`, for whoever has such an address; for a server
    /// that clients reach.
    pub fn objects(&self) -> Router {
        self.objects.clone()
    }

    /// How often each principal called what, since the start.
    #[must_use]
    pub fn calls(&self) -> Vec<CallCount> {
        self.calls.all()
    }

    /// Stops the tasks (SIGTERM, each one's stop timeout, SIGKILL), then the services. Functions have to
    /// be running until this returns: they are told about the tasks.
    pub async fn shutdown(self) {
        self.end(None).await;
    }

    /// As [`RunningAws::shutdown`], but no task gets more than `limit` before SIGKILL.
    pub async fn shutdown_within(self, limit: Duration) {
        self.end(Some(limit)).await;
    }

    /// Stops the tasks as [`RunningAws::shutdown_within`] does, and leaves the services to whoever
    /// else works. That the tasks have stopped is told to functions at the next start. False when a
    /// task had to be killed.
    pub async fn stop_tasks(&mut self, limit: Duration) -> bool {
        self.background.shutdown().await;
        self.tasks.shut_down(Some(limit), Tell::AtNextStart).await
    }

    async fn end(mut self, limit: Option<Duration>) {
        self.background.shutdown().await;
        self.tasks.shut_down(limit, Tell::Within(DELIVERY)).await;
        self.stop.cancel();
        match tokio::time::timeout(DRAIN, self.server.join_next()).await {
            Ok(Some(Ok(Ok(())))) | Ok(None) => {}
            Ok(Some(Ok(Err(error)))) => tracing::warn!(%error, "the endpoint ended badly"),
            Ok(Some(Err(error))) => tracing::warn!(%error, "the endpoint ended badly"),
            Err(_) => tracing::debug!("requests in flight were cut off"),
        }
        self.server.shutdown().await;
    }
}

/// Where state is: a directory that stays, or one that goes.
struct State {
    directory: PathBuf,
    kept: bool,
    _temporary: Option<tempfile::TempDir>,
    _lock: Option<std::fs::File>,
}

impl State {
    fn open(kept: Option<PathBuf>) -> Result<Self, AwsError> {
        let Some(directory) = kept else {
            let temporary = tempfile::Builder::new()
                .prefix("emulator-")
                .tempdir()
                .map_err(|source| AwsError::State {
                    directory: std::env::temp_dir(),
                    source,
                })?;
            return Ok(Self {
                directory: temporary.path().to_owned(),
                kept: false,
                _temporary: Some(temporary),
                _lock: None,
            });
        };
        let failed = |source| AwsError::State {
            directory: directory.clone(),
            source,
        };
        std::fs::create_dir_all(&directory).map_err(failed)?;
        let lock = file_lock::lock(&directory.join("aws.lock")).map_err(failed)?;
        let Some(lock) = lock else {
            return Err(AwsError::InUse(directory));
        };
        Ok(Self {
            directory,
            kept: true,
            _temporary: None,
            _lock: Some(lock),
        })
    }

    /// Path of a database; `None` for memory.
    fn file(&self, name: &str) -> Option<PathBuf> {
        self.kept.then(|| self.directory.join(name))
    }
}
