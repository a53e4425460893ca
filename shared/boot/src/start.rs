//! The start of a program: settings, logging, then the work; and how it ends.

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::time::Duration;

use domain::Deployment;
use lambda_http::http::Response;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::events::EventError;
use crate::http::{Body, Incoming};
use crate::{AccessToken, Settings, SettingsError, events, logging, on_lambda, on_port};

/// Set by Lambda for every function.
const RUNTIME_API: &str = "AWS_LAMBDA_RUNTIME_API";
/// Functions that know their callers without the deployment's token: the model gateway's are sessions,
/// each with a token of its own.
const OTHER_CALLERS: [&str; 1] = ["model-gateway"];
/// Port outside Lambda when `PORT` names none.
const DEFAULT_PORT: u16 = 8080;

/// Why a program did not start or could not go on. Written to standard error before it exits.
#[derive(Debug, Error)]
pub enum StartError {
    /// A setting is wrong; the message says which and what is right.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// `PORT` is no port.
    #[error("PORT: {0:?} is not a port; allowed: 0 to 65535, 0 takes any free one")]
    Port(String),
    /// The port cannot be listened on, or signals cannot be received.
    #[error("cannot serve HTTP")]
    Serve(#[source] std::io::Error),
    /// A function would serve a port without a way to tell who calls.
    #[error(
        "SHANNON_ACCESS_TOKEN_SHA256 is not set: on a port no authorizer stands in front of {0}, so it \
         needs the SHA-256, in hex, of the token that its callers have"
    )]
    NoCallers(&'static str),
    /// A function of events was started outside Lambda.
    #[error("this program serves events of Lambda; AWS_LAMBDA_RUNTIME_API is not set")]
    NeedsLambda,
    /// The Lambda runtime gave up.
    #[error("the Lambda runtime ended")]
    Runtime(#[source] lambda_runtime::Error),
    /// A part of the program could not be made ready.
    #[error("cannot start")]
    Part(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What every program has after its start.
#[derive(Clone, Debug)]
pub struct Boot {
    /// Its name: directory, binary and log field.
    pub function: &'static str,
    /// The checked settings.
    pub settings: Settings,
    /// What the use cases need of them.
    pub deployment: Deployment,
}

/// Reads and checks the settings and starts logging.
///
/// # Errors
/// [`StartError::Settings`] for the first setting that is wrong.
pub fn init(function: &'static str) -> Result<Boot, StartError> {
    let settings = Settings::from_environment()?;
    logging::start(function, &settings)?;
    let deployment = settings.deployment()?;
    Ok(Boot {
        function,
        settings,
        deployment,
    })
}

/// A whole program: [`init`], then `work`, on one thread. The exit code tells whether it failed;
/// what failed stands on standard error, with its causes, because nobody could turn debugging on.
pub fn run(
    function: &'static str,
    work: impl AsyncFnOnce(Boot) -> Result<(), StartError>,
) -> ExitCode {
    let ended = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| StartError::Part(error.into()))
        .and_then(|runtime| {
            let boot = init(function)?;
            runtime.block_on(work(boot))
        });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let words = logging::without_secrets("", &logging::describe(&error, true));
            eprintln!("{function}: {words}");
            ExitCode::FAILURE
        }
    }
}

impl Boot {
    /// Serves requests: on Lambda with response streaming, elsewhere on a port, where the deployment's
    /// token is the only one that opens anything: API keys and identity providers are known to the
    /// authorizer of a deployment.
    ///
    /// # Errors
    /// [`StartError::NoCallers`] on a port without that token; [`StartError`] when it cannot serve, or can no longer.
    pub async fn serve_http<H, F>(&self, handler: H) -> Result<(), StartError>
    where
        H: Fn(Incoming) -> F + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let slow = self.slow()?;
        if std::env::var_os(RUNTIME_API).is_some() {
            return on_lambda::serve(handler, slow)
                .await
                .map_err(StartError::Runtime);
        }
        let port = match std::env::var("PORT") {
            Ok(text) => text.parse().map_err(|_| StartError::Port(text))?,
            Err(_) => DEFAULT_PORT,
        };
        let address = self.settings.optional("SHANNON_BIND")?;
        let token = self.settings.optional("SHANNON_ACCESS_TOKEN_SHA256")?;
        if token.is_none() && !OTHER_CALLERS.contains(&self.function) {
            return Err(StartError::NoCallers(self.function));
        }
        let port = on_port::Port {
            address: address
                .and_then(|text| text.parse().ok())
                .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            port,
            token: token.map(AccessToken::from_sha256_hex).transpose()?,
            slow,
            health: serde_json::json!({
                "status": "ok",
                "version": env!("CARGO_PKG_VERSION"),
                "stage": self.settings.text("SHANNON_STAGE")?,
            }),
        };
        on_port::serve(handler, port)
            .await
            .map_err(StartError::Serve)
    }

    /// Serves events of Lambda.
    ///
    /// # Errors
    /// [`StartError::NeedsLambda`] elsewhere; [`StartError::Runtime`] when the runtime gives up.
    pub async fn serve_events<H, F, E, A>(&self, handler: H) -> Result<(), StartError>
    where
        H: Fn(E) -> F + Send + Sync + 'static,
        F: Future<Output = Result<A, EventError>> + Send + 'static,
        E: DeserializeOwned + Send + 'static,
        A: Serialize + Send + 'static,
    {
        if std::env::var_os(RUNTIME_API).is_none() {
            return Err(StartError::NeedsLambda);
        }
        events::serve(handler, self.slow()?)
            .await
            .map_err(StartError::Runtime)
    }

    fn slow(&self) -> Result<Duration, SettingsError> {
        let milliseconds = self.settings.integer("SHANNON_SLOW_REQUEST_MILLISECONDS")?;
        Ok(Duration::from_millis(milliseconds))
    }
}
