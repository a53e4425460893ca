//! What a [`crate::Store`] needs to know, and how its clients are built from it.

use std::time::Duration;

use aws_config::{
    BehaviorVersion, ConfigLoader, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_smithy_http_client::tls;
use domain::session_token::{ShortKey, SigningKey};
use thiserror::Error;

/// Where the rows and objects are and for how long they are kept. `boot` reads it from
/// `SHANNON_TABLE`, `SHANNON_BUCKET` and the others; this only carries checked values.
#[derive(Clone)]
pub struct StoreSettings {
    /// Name of the DynamoDB table.
    pub table: String,
    /// Name of the S3 bucket.
    pub bucket: String,
    /// Days after its end at which a session's rows expire.
    pub retention_days: u64,
    /// Days for which entries of the audit and their seals are kept.
    pub audit_retention_days: u64,
    /// Hours for which text that is being written is kept.
    pub keep_deltas_hours: u64,
    /// Where runners run; absent in programs that start none.
    pub compute: Option<ComputeSettings>,
}

/// Where runners run.
#[derive(Clone)]
pub struct ComputeSettings {
    /// Name or ARN of the ECS cluster.
    pub cluster: String,
    /// Family (with or without revision) or ARN of the task definition.
    pub task_definition: String,
    /// Subnets of a task.
    pub subnets: Vec<String>,
    /// Security group of a task.
    pub security_group: String,
    /// Label of the stage, as a tag on tasks.
    pub stage: String,
    /// Signs the token of each runner.
    pub signing_key: SigningKey,
    /// Lifetime of that token, in milliseconds.
    pub session_token_milliseconds: u64,
}

/// Why a [`StoreSettings`] could not be read; `E` is the error of whoever looks settings up.
#[derive(Debug, Error)]
pub enum StoreSettingsError<E: std::error::Error + 'static> {
    /// The lookup failed.
    #[error(transparent)]
    Lookup(#[from] E),
    /// A setting that is needed here is not set.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// A setting that should be a whole number is none.
    #[error("{0} is not a whole number")]
    Number(&'static str),
    /// The signing key cannot be used.
    #[error("SHANNON_SIGNING_KEY: {0}")]
    SigningKey(ShortKey),
}

impl StoreSettings {
    /// Reads the settings by their names, with `text` giving each one's value or default. What a
    /// program needs to start runners is read where `SHANNON_CLUSTER` is set.
    ///
    /// # Errors
    /// [`StoreSettingsError`]; the program does not start.
    pub fn read<E: std::error::Error + 'static>(
        text: impl Fn(&'static str) -> Result<Option<String>, E>,
    ) -> Result<Self, StoreSettingsError<E>> {
        let needed = |name| text(name)?.ok_or(StoreSettingsError::Missing(name));
        let number = |name| -> Result<u64, StoreSettingsError<E>> {
            needed(name)?
                .parse()
                .map_err(|_| StoreSettingsError::Number(name))
        };
        let compute = match text("SHANNON_CLUSTER")? {
            None => None,
            Some(cluster) => Some(ComputeSettings {
                cluster,
                task_definition: needed("SHANNON_TASK_DEFINITION")?,
                subnets: needed("SHANNON_SUBNETS")?
                    .split(',')
                    .map(|subnet| subnet.trim().to_owned())
                    .filter(|subnet| !subnet.is_empty())
                    .collect(),
                security_group: needed("SHANNON_SECURITY_GROUP")?,
                stage: needed("SHANNON_STAGE")?,
                signing_key: SigningKey::new(needed("SHANNON_SIGNING_KEY")?.as_bytes())
                    .map_err(StoreSettingsError::SigningKey)?,
                session_token_milliseconds: number("SHANNON_SESSION_TOKEN_SECONDS")? * 1000,
            }),
        };
        Ok(Self {
            table: needed("SHANNON_TABLE")?,
            bucket: needed("SHANNON_BUCKET")?,
            retention_days: number("SHANNON_RETENTION_DAYS")?,
            audit_retention_days: number("SHANNON_AUDIT_RETENTION_DAYS")?,
            keep_deltas_hours: number("SHANNON_KEEP_DELTAS_HOURS")?,
            compute,
        })
    }
}

/// An AWS endpoint that is not found through the environment: the emulator inside a test.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Base URL, as `http://127.0.0.1:4566`.
    pub url: String,
    /// AWS region.
    pub region: String,
    /// AWS access key id.
    pub access_key_id: String,
    /// AWS secret access key.
    pub secret_access_key: String,
}

/// Connecting takes a round trip in a region; own bound on it.
const CONNECT_SECONDS: u64 = 3;
/// One attempt until the answer's head. Own: far above any healthy answer, far below a lease.
const ATTEMPT_SECONDS: u64 = 4;
/// All attempts of one call.
const CALL_SECONDS: u64 = 12;
/// Attempts of one call, the first included.
const ATTEMPTS: u32 = 4;
/// S3 may take longer: one attempt sends a whole object.
pub(crate) const OBJECT_ATTEMPT_SECONDS: u64 = 60;
/// All attempts of one S3 call.
pub(crate) const OBJECT_CALL_SECONDS: u64 = 180;

/// The common part of all clients; one TLS stack (ring), or none for an `http` endpoint: reading
/// the machine's certificates would be most of a function's start.
pub(crate) async fn sdk_config(endpoint: Option<Endpoint>) -> SdkConfig {
    Box::pin(loader(endpoint).load()).await
}

/// The same before it is loaded.
pub(crate) fn loader(endpoint: Option<Endpoint>) -> ConfigLoader {
    let url = match &endpoint {
        Some(endpoint) => endpoint.url.clone(),
        None => std::env::var("AWS_ENDPOINT_URL").unwrap_or_default(),
    };
    let http = aws_smithy_http_client::Builder::new();
    let http = if url.starts_with("http://") {
        http.build_http()
    } else {
        http.tls_provider(tls::Provider::Rustls(
            tls::rustls_provider::CryptoMode::Ring,
        ))
        .build_https()
    };
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(ATTEMPTS)
                .with_initial_backoff(Duration::from_millis(50))
                .with_max_backoff(Duration::from_secs(1)),
        )
        .timeout_config(timeouts(ATTEMPT_SECONDS, CALL_SECONDS));
    if let Some(endpoint) = endpoint {
        loader = loader
            .endpoint_url(endpoint.url)
            .region(Region::new(endpoint.region))
            .credentials_provider(aws_sdk_dynamodb::config::Credentials::new(
                endpoint.access_key_id,
                endpoint.secret_access_key,
                None,
                None,
                "endpoint",
            ));
    }
    loader
}

/// Bounds on one call.
pub(crate) fn timeouts(attempt_seconds: u64, call_seconds: u64) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(CONNECT_SECONDS))
        .operation_attempt_timeout(Duration::from_secs(attempt_seconds))
        .operation_timeout(Duration::from_secs(call_seconds))
        .build()
}
