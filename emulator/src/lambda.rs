//! Lambda: runs the function binaries as processes, one invocation at a time each.
//!
//! ```text
//! invoke -> queue of the function -> instance that polls `next`, else a new process
//!                                        | response, error, exit, timeout
//!                                        v
//!                                    Outcome
//! ```
//!
//! The Runtime API has a loopback listener of its own. The control API is only served where callers
//! are authenticated: whoever invokes a function says in the event who is calling. What an
//! invocation's caller does after asking has no influence on it: the function runs on, as on AWS.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::{net::TcpListener, sync::oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    credentials::Credentials,
    invoker::{InvocationError, Invoker},
    process::Logs,
    template::FunctionResource,
};

mod connection;
mod control;
mod environment;
mod instance;
mod outcome;
mod phase;
mod pool;
mod runtime_api;

pub(crate) use runtime_api::trace_id;

pub use outcome::{FunctionError, Outcome, ResponseStream, StreamError};

use phase::Job;
use pool::Pool;

/// Largest synchronous request and buffered response.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
pub const MAX_PAYLOAD_BYTES: usize = 6 * 1024 * 1024;
/// Largest asynchronous request.
pub const MAX_EVENT_BYTES: usize = 1024 * 1024;
/// Invocations of one function that may wait for an instance.
const MAX_QUEUED: usize = 1000;

/// What Lambda runs and how.
#[derive(Clone)]
pub struct LambdaOptions {
    /// The functions of the stack.
    pub functions: Vec<FunctionResource>,
    /// Binary of each function, by [`FunctionResource::name`]. A function without one fails when
    /// it is invoked.
    pub binaries: BTreeMap<String, PathBuf>,
    /// Where each instance gets a key of its own from.
    pub credentials: Credentials,
    /// Where the functions' output goes.
    pub logs: Logs,
    /// An instance without work for this long is ended.
    pub idle: Duration,
    /// Time for an instance to ask for its first invocation, on top of the function's timeout.
    pub init: Duration,
    /// Most instances of a function without reserved concurrency; more invocations wait.
    pub most_instances: usize,
    /// Pauses before an asynchronous invocation that failed is tried again.
    pub event_retries: Vec<Duration>,
}

impl LambdaOptions {
    /// AWS's values: idle 300 s, 10 s to initialise, retries after one and two minutes; and at most
    /// 50 instances of one function.
    #[must_use]
    pub fn new(
        functions: Vec<FunctionResource>,
        binaries: BTreeMap<String, PathBuf>,
        credentials: Credentials,
        logs: Logs,
    ) -> Self {
        Self {
            functions,
            binaries,
            credentials,
            logs,
            idle: Duration::from_secs(300),
            init: Duration::from_secs(10),
            most_instances: 50,
            event_retries: vec![Duration::from_secs(60), Duration::from_secs(120)],
        }
    }
}

/// Why an invocation was not accepted. The function has not seen it.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// Correct the name.
    #[error("function not found: {0}")]
    UnknownFunction(String),
    /// Send less.
    #[error("{bytes} bytes are more than the {limit} that an invocation may have")]
    TooLarge {
        /// Size of the payload.
        bytes: usize,
        /// Most that is allowed.
        limit: usize,
    },
    /// The function's reserved concurrency is in use, or too many invocations wait. Try later.
    #[error("rate exceeded")]
    Throttled,
    /// The emulator is stopping.
    #[error("the emulator is stopping")]
    Stopping,
}

/// The running service. Cheap to clone; all clones are the same service.
#[derive(Clone)]
pub struct Lambda(Arc<Inner>);

struct Inner {
    functions: HashMap<String, Arc<Function>>,
    options: LambdaOptions,
    address: SocketAddr,
    endpoint_url: RwLock<Option<String>>,
    instances: Mutex<HashMap<String, Arc<Function>>>,
    /// Supervisors of instances: done when no process is left.
    supervisors: TaskTracker,
    stop: CancellationToken,
}

impl Inner {
    fn endpoint_url(&self) -> Option<String> {
        self.endpoint_url
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// One function and its instances.
struct Function {
    resource: FunctionResource,
    most_instances: usize,
    pool: Mutex<Pool>,
}

impl Function {
    fn pool(&self) -> std::sync::MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs_f64(self.resource.timeout_seconds)
    }
}

impl Lambda {
    /// Starts serving the Runtime API on a loopback port. No function process is started before it
    /// is needed.
    ///
    /// # Errors
    /// When no loopback port can be had.
    pub async fn start(options: LambdaOptions) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let functions = options.functions.iter().map(|resource| {
            let reserved = resource
                .reserved_concurrency
                .and_then(|n| usize::try_from(n).ok());
            let function = Function {
                most_instances: reserved.unwrap_or(options.most_instances),
                pool: Mutex::new(Pool::new(options.binaries.get(&resource.name).cloned())),
                resource: resource.clone(),
            };
            (resource.name.clone(), Arc::new(function))
        });
        let lambda = Self(Arc::new(Inner {
            functions: functions.collect(),
            address: listener.local_addr()?,
            options,
            endpoint_url: RwLock::default(),
            instances: Mutex::default(),
            supervisors: TaskTracker::new(),
            stop: CancellationToken::new(),
        }));
        let router = runtime_api::router(lambda.clone());
        let listener = connection::Prompt(listener);
        let stop = lambda.0.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                served = async { axum::serve(listener, router).await } => {
                    if let Err(error) = served {
                        tracing::error!(%error, "the Runtime API ended");
                    }
                }
                () = stop.cancelled() => {}
            }
        });
        Ok(lambda)
    }

    /// Where instances reach the Runtime API, each below its own id.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.0.address)
    }

    /// The control API (`/2015-03-31/functions/..` and `/2021-11-15/functions/..`), for whoever
    /// authenticates its callers.
    pub fn control(&self) -> axum::Router {
        control::router(self.clone())
    }

    /// Tells instances that start from now on where the other AWS services are
    /// (`AWS_ENDPOINT_URL`). Until it is called they are sent here, where there are none.
    pub fn set_endpoint_url(&self, url: &str) {
        *self
            .0
            .endpoint_url
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(url.to_owned());
    }

    /// Uses another binary for the function from now on. Invocations that run are finished by the
    /// instances that have them.
    ///
    /// # Errors
    /// [`InvokeError::UnknownFunction`].
    pub fn replace(&self, function: &str, binary: PathBuf) -> Result<(), InvokeError> {
        let function = self.find(function)?;
        function.pool().replace(binary);
        self.dispatch(&function);
        Ok(())
    }

    /// Runs the function once and gives what it answered. Dropping the future does not stop the
    /// function.
    ///
    /// # Errors
    /// When the invocation was not accepted; that the function failed is [`Outcome::Failed`].
    pub async fn invoke(&self, function: &str, payload: Bytes) -> Result<Outcome, InvokeError> {
        let answer = self.enqueue(function, payload, MAX_PAYLOAD_BYTES)?;
        // The sender is only dropped without an answer when everything stops.
        answer.await.map_err(|_| InvokeError::Stopping)
    }

    /// How many processes of the function there are, for tests and for people who look.
    ///
    /// # Errors
    /// [`InvokeError::UnknownFunction`].
    pub fn instances(&self, function: &str) -> Result<usize, InvokeError> {
        Ok(self.find(function)?.pool().live())
    }

    /// Ends all instances and waits until none is left. Waiting invocations get
    /// [`InvokeError::Stopping`], running ones fail. Calling it again does nothing.
    pub async fn shutdown(&self) {
        for function in self.0.functions.values() {
            function.pool().close();
        }
        self.0.supervisors.close();
        self.0.supervisors.wait().await;
        self.0.stop.cancel();
    }

    fn enqueue(
        &self,
        name: &str,
        payload: Bytes,
        limit: usize,
    ) -> Result<oneshot::Receiver<Outcome>, InvokeError> {
        let function = self.find(name)?;
        if payload.len() > limit {
            return Err(InvokeError::TooLarge {
                bytes: payload.len(),
                limit,
            });
        }
        let (answer, answered) = oneshot::channel();
        let job = Job::new(payload, answer);
        {
            let mut pool = function.pool();
            if pool.is_closed() {
                return Err(InvokeError::Stopping);
            }
            let reserved = function.resource.reserved_concurrency.is_some();
            let full = reserved && pool.busy() + pool.queued() >= function.most_instances;
            if full || pool.queued() >= MAX_QUEUED {
                return Err(InvokeError::Throttled);
            }
            pool.push(job);
        }
        self.dispatch(&function);
        Ok(answered)
    }

    /// Finds a function by its name here, its name on AWS, or its ARN, with or without `$LATEST` or
    /// its alias.
    fn find(&self, name: &str) -> Result<Arc<Function>, InvokeError> {
        if let Some(function) = self.0.functions.get(name) {
            return Ok(function.clone());
        }
        let bare = name.strip_suffix(":$LATEST").unwrap_or(name);
        let is_called = |function: &FunctionResource| {
            let alias = function.alias.as_deref();
            let of_alias = alias.and_then(|alias| bare.strip_suffix(alias)?.strip_suffix(':'));
            let bare = of_alias.unwrap_or(bare);
            let bare = bare.rsplit(':').next().unwrap_or(bare);
            function.function_name == bare || function.name == bare
        };
        self.0
            .functions
            .values()
            .find(|function| is_called(&function.resource))
            .cloned()
            .ok_or_else(|| InvokeError::UnknownFunction(name.to_owned()))
    }

    /// Hands waiting invocations to instances and starts instances that are missing.
    fn dispatch(&self, function: &Arc<Function>) {
        let plan = function.pool().dispatch(function.most_instances);
        for started in plan.timers {
            self.watch_invocation(function, started);
        }
        for (id, over) in plan.start {
            self.launch(function, id, over);
        }
        if let Some(pause) = plan.look_again {
            let (lambda, function) = (self.clone(), function.clone());
            tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                lambda.dispatch(&function);
            });
        }
    }
}

impl Invoker for Lambda {
    fn invoke_event(&self, function: &str, payload: Value) -> BoxFuture<'static, ()> {
        let (lambda, function) = (self.clone(), function.to_owned());
        Box::pin(async move {
            let payload = Bytes::from(payload.to_string());
            if let Err(error) = lambda.deliver_event(&function, payload).await {
                tracing::error!(function, %error, "an event was not delivered");
            }
        })
    }

    fn invoke_for_answer(
        &self,
        function: &str,
        payload: Value,
    ) -> BoxFuture<'static, Result<Bytes, InvocationError>> {
        let (lambda, function) = (self.clone(), function.to_owned());
        Box::pin(async move {
            let payload = Bytes::from(payload.to_string());
            match lambda.invoke(&function, payload).await {
                Ok(Outcome::Buffered(answer)) => Ok(answer),
                Ok(Outcome::Streaming(stream)) => stream
                    .collect()
                    .await
                    .map_err(|error| InvocationError::Failed(error.to_string())),
                Ok(Outcome::Failed(error)) => Err(InvocationError::Failed(error.error_type)),
                Err(InvokeError::Stopping) => Err(InvocationError::Stopping),
                Err(error) => Err(InvocationError::Failed(error.to_string())),
            }
        })
    }
}

impl Lambda {
    /// An asynchronous invocation with its retries; ends when the function succeeded or was given
    /// up, which its log then says.
    async fn deliver_event(&self, name: &str, payload: Bytes) -> Result<(), InvokeError> {
        let mut pauses = self.0.options.event_retries.iter();
        loop {
            let failure = match self.enqueue(name, payload.clone(), MAX_EVENT_BYTES) {
                Ok(answer) => match answer.await {
                    Ok(Outcome::Buffered(_)) => return Ok(()),
                    Ok(Outcome::Streaming(stream)) => match stream.collect().await {
                        Ok(_) => return Ok(()),
                        Err(error) => error.to_string(),
                    },
                    Ok(Outcome::Failed(error)) => error.error_type,
                    Err(_) => return Err(InvokeError::Stopping),
                },
                Err(InvokeError::Throttled) => "throttled".to_owned(),
                Err(error) => return Err(error),
            };
            let Some(pause) = pauses.next() else {
                tracing::warn!(function = name, failure, "an event was given up");
                return Ok(());
            };
            tracing::warn!(function = name, failure, ?pause, "an event is tried again");
            tokio::select! {
                () = tokio::time::sleep(*pause) => {}
                () = self.0.stop.cancelled() => return Err(InvokeError::Stopping),
            }
        }
    }
}
