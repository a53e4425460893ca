//! The whole stack in one process: builds or finds the binaries, resolves the template with the
//! effective settings, and wires gateway, Lambda, the AWS services and the model.
//!
//! ```text
//! start:     port -> state -> binaries -> claude -> template -> Lambda -> AWS -> gateway -> emulator.json
//! shutdown:  emulator.json -> tasks -> AWS -> Lambda -> gateway -> model
//! ```
//!
//! Tasks end first because they still write through the AWS services and call the model through the
//! gateway.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use thiserror::Error;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    aws::{AwsEndpoint, AwsError, AwsOptions, RunningAws},
    backup::Schedule,
    build::{
        self, BuildError, Functions,
        watch::{Watch, WatchError},
    },
    claude_install::{self, Claude, ClaudeError},
    credentials::{Credentials, Principal},
    edge::{self, EdgeError, EdgeFunction},
    encryption::{self, KeyError, StateKey},
    gateway::{self, GatewayOptions, TrustedProxies},
    issuer::{self, Issuer, IssuerError, IssuerOptions},
    lambda::{Lambda, LambdaOptions},
    process::{LogLimits, Logs},
    settings::{Settings, SettingsError},
    template::{Template, TemplateError},
    token::{self, TokenError},
};

pub mod banner;
mod front;
pub mod isolation;
pub mod model;
mod running;
pub mod state;

use front::{Front, Listening};
use model::{Model, ModelError, ModelOptions};
use state::{Description, StateDirectory, StateError};

/// Name of the stack, as a deployment would have one; prefix of the names of its resources.
const NAME: &str = "shannon";
/// The template's own default for a parameter whose value is known only after the build.
const CLAUDE_PATH: &str = "ClaudePath";

/// What to start.
pub struct StackOptions {
    /// Effective settings.
    pub settings: Settings,
    /// The checkout (see [`build::workspace`]), or the directory of an installed program.
    pub workspace: PathBuf,
    /// The template.
    pub template: PathBuf,
    /// The file that the edge function of the template was copied from, where there is one.
    pub edge: Option<PathBuf>,
    /// What a service needs; `None` for a stack of a person at this machine.
    pub service: Option<ServiceOptions>,
    /// Where the binaries come from.
    pub functions: Functions,
    /// Keep no state: everything but an installed claude is gone at the end.
    pub ephemeral: bool,
    /// Build again and swap when sources change.
    pub watch: bool,
    /// The key and the wish for the offline model.
    pub model: ModelOptions,
    /// Whether the hooks for tests exist at the AWS endpoint.
    pub test_hooks: bool,
    /// This program, for the probes that need a process of their own.
    pub emulator: PathBuf,
    /// Told what goes on, one line each.
    pub say: Arc<dyn Fn(&str) + Send + Sync>,
}

/// What is different for a service that others use.
pub struct ServiceOptions {
    /// The token of the deployment. It is stored nowhere.
    pub token: String,
    /// Start although sessions cannot be kept apart from this machine.
    pub unisolated: bool,
}

/// Which part did not start, and why. Nothing of the stack runs then.
#[derive(Debug, Error)]
pub enum StackError {
    /// The port cannot be had.
    #[error("cannot listen on {address}: {}", in_use(source))]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// The key of the state directory.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Token or signing key.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The development issuer.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// The template, or a parameter of it.
    #[error("template.yaml")]
    Template(#[from] TemplateError),
    /// The binaries.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The claude binary.
    #[error(transparent)]
    Claude(#[from] ClaudeError),
    /// The edge function.
    #[error(transparent)]
    Edge(#[from] EdgeError),
    /// What is deployed would not be what runs here.
    #[error(
        "template.yaml deploys another edge function than infra/edge/viewer-request.js; copy the \
         file into FunctionCode of EdgeFunction"
    )]
    OtherEdge,
    /// A server in front has no address.
    #[error("SHANNON_TRUSTED_PROXIES: `{0}` is no IP address")]
    TrustedProxies(String),
    /// The model, or the key for it.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The directory of the logs.
    #[error("cannot make the logs in {}", path.display())]
    Logs {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Lambda cannot listen.
    #[error("cannot start Lambda")]
    Lambda(#[source] io::Error),
    /// The AWS services.
    #[error("cannot start the AWS services")]
    Aws(#[from] AwsError),
    /// Watching the sources.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// Whoever uses a service could read what belongs to it and to others.
    #[error("sessions cannot be isolated here: {0}; permit that, or start with --unisolated")]
    NotIsolated(String),
    /// A part of the start panicked, or the process is ending.
    #[error("the start was cut short")]
    Cut(#[source] tokio::task::JoinError),
}

impl StackError {
    /// Whether trying again changes nothing until somebody corrects a setting or a secret.
    #[must_use]
    pub fn is_of_settings(&self) -> bool {
        matches!(
            self,
            Self::Settings(_)
                | Self::Model(ModelError::Key { .. })
                | Self::Template(_)
                | Self::NotIsolated(_)
        )
    }
}

fn in_use(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the port is already in use; choose another with --port (0 takes any free one)"
                .to_owned()
        }
        _ => error.to_string(),
    }
}

/// A running stack. [`RunningStack::shutdown`] ends it well; dropping it ends its processes at once.
pub struct RunningStack {
    description: Description,
    public_url: String,
    token: String,
    operator: crate::credentials::AccessKey,
    isolation_problem: Option<String>,
    loopback: bool,
    logs_in: bool,
    claude: Claude,
    logs: Logs,
    state: StateDirectory,
    model: Model,
    lambda: Lambda,
    aws: RunningAws,
    front: Front,
    _watch: Option<Watch>,
    _backups: Option<AbortOnDropHandle<()>>,
}

/// Starts everything. Dropping the future stops what was started until then.
///
/// # Errors
/// See [`StackError`].
pub async fn start(options: StackOptions) -> Result<RunningStack, StackError> {
    let settings = &options.settings;
    let say = &*options.say;
    // what needs nothing else goes on beside the rest
    let probe = {
        let emulator = options.emulator.clone();
        tokio::spawn(async move { isolation::problem(&emulator).await })
    };
    let edge = options
        .edge
        .clone()
        .map(|path| tokio::task::spawn_blocking(move || edge::load(&path)));
    let template = {
        let path = options.template.clone();
        tokio::task::spawn_blocking(move || Template::read(&path))
    };
    // first what is cheap to find out and would make the rest pointless
    let listening = Listening::open(settings).await?;
    let (url, loopback) = (listening.url.clone(), listening.loopback);
    let public_url = settings.text("SHANNON_PUBLIC_URL").unwrap_or(&url);
    let public_url = public_url.trim_end_matches('/').to_owned();
    let state_path = state::directory(settings);
    let key = encryption::key(settings)?;
    let state = if options.ephemeral {
        StateDirectory::temporary()?
    } else {
        StateDirectory::open(state_path, key.as_ref())?
    };
    let given = settings.text("SHANNON_DEV_TOKEN");
    let token = match (&options.service, given) {
        (Some(service), _) => service.token.clone(),
        (None, Some(token)) => token.to_owned(),
        (None, None) => token::kept(&state.path().join(state::TOKEN), key.as_ref())?,
    };
    let signing_key = token::kept(&state.path().join("signing-key"), key.as_ref())?;
    let model = Model::start(&options.model).await?;
    let issuer = development_issuer(settings, &state, key.clone(), &public_url, &token)?;
    let mut parameters = settings.parameters()?;
    if issuer.is_some() {
        parameters.insert("OidcIssuer".to_owned(), public_url.clone());
        parameters.insert("OidcOwners".to_owned(), issuer::OWNERS.to_owned());
    }
    // Whoever uses a service reaches one address of it.
    let objects_url = options.service.as_ref();
    let objects_url = objects_url.map_or(String::new(), |_| format!("{public_url}/objects"));
    for (name, value) in [
        ("AccessTokenSha256", token::sha256_hex(&token)),
        ("SigningKey", signing_key),
        ("AnthropicApiKey", model.key()),
        ("ModelUrl", model.url()),
        ("PublicUrl", public_url.clone()),
        ("GatewayUrl", listening.internal_url.clone()),
        ("ObjectsUrl", objects_url),
        // the task is a process of this machine: nothing pulls it
        ("RunnerImage", "session-runner".to_owned()),
    ] {
        parameters.insert(name.to_owned(), value);
    }
    let template = template.await.map_err(StackError::Cut)??;
    let draft = template.resolve(&parameters, NAME)?;
    let task_names = task_names(&draft.task_definitions);
    let function_names: Vec<String> = draft
        .functions
        .iter()
        .map(|function| function.name.clone())
        .collect();
    let names: Vec<String> = function_names.iter().chain(&task_names).cloned().collect();
    if matches!(options.functions, Functions::Build { .. }) {
        say("building the functions ...");
    }
    let binaries = build::binaries(&options.functions, &options.workspace, &names).await?;
    let claude_directory = if options.ephemeral {
        absolute(state_path)
    } else {
        state.path().to_owned()
    };
    let claude = match binaries.get("session-runner") {
        Some(runner) => claude_install::ensure(runner, &claude_directory, settings, say).await?,
        None => return Err(no_runner(&options.workspace)),
    };
    parameters.insert(CLAUDE_PATH.to_owned(), claude.path.display().to_string());
    let places = claude_install::places(&claude_directory, |name| std::env::var_os(name));
    parameters.insert("ClaudePlaces".to_owned(), places);
    let isolation_problem = probe.await.map_err(StackError::Cut)?;
    if let (Some(problem), Some(service)) = (&isolation_problem, &options.service)
        && !service.unisolated
    {
        return Err(StackError::NotIsolated(problem.clone()));
    }
    let isolation = if isolation_problem.is_none() {
        "namespaces"
    } else {
        "none"
    };
    parameters.insert("SessionIsolation".to_owned(), isolation.to_owned());
    let stack = template.resolve(&parameters, NAME)?;

    let log_directory = state.path().join("logs");
    let logs =
        Logs::with_limits(Some(log_directory.clone()), log_limits(settings)).map_err(|source| {
            StackError::Logs {
                path: log_directory.clone(),
                source,
            }
        })?;
    let credentials = Credentials::default();
    let of = |names: &[String]| -> BTreeMap<String, PathBuf> {
        let chosen = binaries.iter().filter(|(name, _)| names.contains(name));
        chosen
            .map(|(name, path)| (name.clone(), path.clone()))
            .collect()
    };
    let lambda = Lambda::start(LambdaOptions::new(
        stack.functions.clone(),
        of(&function_names),
        credentials.clone(),
        logs.clone(),
    ))
    .await
    .map_err(StackError::Lambda)?;
    let endpoint = AwsEndpoint::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    lambda.set_endpoint_url(&endpoint.url());
    let aws = endpoint
        .start(AwsOptions {
            state: state.is_kept().then(|| state.path().to_owned()),
            key: key.clone(),
            credentials: credentials.clone(),
            stack: &stack,
            invoker: Arc::new(lambda.clone()),
            lambda: Some(lambda.control()),
            task_programs: of(&task_names),
            logs: logs.clone(),
            reader_token: token.clone(),
            test_hooks: options.test_hooks,
        })
        .await?;
    let watch = if options.watch {
        let workspace = &options.workspace;
        Some(Watch::start(
            workspace,
            options.functions.clone(),
            binaries.clone(),
            lambda.clone(),
        )?)
    } else {
        None
    };
    let in_front = stack.edge.clone().ok_or(StackError::OtherEdge)?;
    let edge = match edge {
        None => of_the_template(in_front.code.clone().unwrap_or_default()).await?,
        Some(loading) => {
            let (edge, source) = loading.await.map_err(StackError::Cut)??;
            if in_front.code.as_deref() != Some(source.as_str()) {
                return Err(StackError::OtherEdge);
            }
            edge
        }
    };
    let trusted_proxies = settings.text("SHANNON_TRUSTED_PROXIES").unwrap_or_default();
    let trusted_proxies = TrustedProxies::parse(trusted_proxies);
    let edge = GatewayOptions {
        edge: Some(edge),
        headers: in_front.headers,
        trusted_proxies: trusted_proxies.map_err(StackError::TrustedProxies)?,
        ..GatewayOptions::default()
    };
    let router = gateway::router(&stack, lambda.clone(), edge);
    let mut public = issuer::before(issuer.as_ref(), router.clone());
    if options.service.is_some() {
        public = aws.objects().fallback_service(public);
    }
    let front = listening.serve(public, router);
    let backups = (settings.on("SHANNON_BACKUPS") && state.is_kept()).then(|| {
        let schedule = Schedule::of(settings, state.path(), key.clone());
        AbortOnDropHandle::new(tokio::spawn(schedule.run()))
    });
    let description = Description {
        pid: std::process::id(),
        mcp_url: format!("{url}/mcp"),
        url,
        service: options.service.is_some(),
        aws_url: aws.url().to_owned(),
        state: state.is_kept().then(|| state.path().to_owned()),
        logs: log_directory,
        model: model.in_words(),
        claude_path: claude.path.clone(),
        claude_version: claude.version.clone().unwrap_or_default(),
        isolation: isolation.to_owned(),
    };
    let running = RunningStack {
        description,
        public_url,
        token,
        operator: credentials.issue(Principal::Operator),
        isolation_problem,
        loopback,
        logs_in: issuer.is_some(),
        claude,
        logs,
        state,
        model,
        lambda,
        aws,
        front,
        _watch: watch,
        _backups: backups,
    };
    if running.state.is_kept() {
        running.state.publish(&running.description)?;
    }
    Ok(running)
}

/// The edge function of a template whose file is not there.
async fn of_the_template(code: String) -> Result<EdgeFunction, StackError> {
    let loading = tokio::task::spawn_blocking(|| EdgeFunction::from_source(code));
    Ok(loading.await.map_err(StackError::Cut)??)
}

/// The issuer of a stack that was told of no other one.
fn development_issuer(
    settings: &Settings,
    state: &StateDirectory,
    key: Option<StateKey>,
    public_url: &str,
    token: &str,
) -> Result<Option<Issuer>, IssuerError> {
    let registration = settings.text("SHANNON_DEV_ISSUER").unwrap_or_default();
    let other = settings.text("SHANNON_OIDC_ISSUER").unwrap_or_default();
    if registration == "off" || !other.is_empty() {
        return Ok(None);
    }
    let options = IssuerOptions {
        url: public_url.to_owned(),
        resource: format!("{public_url}/mcp"),
        token: token.to_owned(),
        file: state.path().join("issuer.json"),
        key,
        documents: registration == "documents",
    };
    Issuer::open(options).map(Some)
}

/// How much is kept of each log.
pub(crate) fn log_limits(settings: &Settings) -> LogLimits {
    let default = LogLimits::default();
    let number = |name: &str, default| settings.integer(name).unwrap_or(default);
    LogLimits {
        file_max_bytes: number("SHANNON_LOG_FILE_MAX_BYTES", default.file_max_bytes),
        file_count: number("SHANNON_LOG_FILE_COUNT", default.file_count),
        longest: settings
            .integer("SHANNON_LOG_RETENTION_DAYS")
            .map_or(default.longest, |days| {
                Duration::from_secs(days * 24 * 60 * 60)
            }),
    }
}

/// Container names: each is the name of the program that runs as the task.
fn task_names(definitions: &[serde_json::Value]) -> Vec<String> {
    definitions
        .iter()
        .filter_map(|definition| definition["containerDefinitions"].as_array())
        .flatten()
        .filter_map(|container| container["name"].as_str().map(str::to_owned))
        .collect()
}

fn no_runner(workspace: &Path) -> StackError {
    StackError::Build(BuildError::Missing {
        name: "session-runner".to_owned(),
        directory: workspace.to_owned(),
    })
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
