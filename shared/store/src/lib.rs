//! The ports kept in DynamoDB, S3, ECS and SNS; the only shared crate that names `aws-*`.
//!
//! One [`Store`] implements every port of `domain::ports`, so that a use case takes it as it is,
//! and a few more things that only some programs need: objects, token usage, what runners found on
//! their machine. Its methods are safe to call again after an error whose outcome is unknown.

mod api_keys;
mod append;
mod audit;
mod batch;
mod changes;
mod checkpoints;
mod clients;
mod compute;
mod control;
mod create;
mod credentials;
mod directory;
mod erasure;
mod exports;
mod failure;
mod fork;
mod git_credentials;
mod head;
mod inbox;
mod item;
mod keys;
mod log;
mod objects;
mod parameters;
mod policies;
mod probe;
mod rates;
mod releases;
pub mod retention;
mod runner;
mod seals;
mod settings;
mod stored;
mod system;
mod table;
mod topic;
mod tree_objects;
mod uploads;
mod usage;
mod write;

use domain::UnixMillis;

pub use changes::{HeadChange, UnreadableChange, head_change};
pub use credentials::{CredentialSource, SessionCredentials, SessionRole};
pub use exports::{LEAST_PIECE_BYTES, ObjectWriter, WrittenObject};
pub use objects::ObjectError;
pub use runner::RunnerFacts;
pub use settings::{ComputeSettings, Endpoint, StoreSettings, StoreSettingsError};
pub use system::System;
pub use topic::Topic;
pub use usage::UsageTotal;

use table::Table;

/// Sessions, their logs and commands, uploads, objects and runners of one deployment.
///
/// Cheap to clone; clones share connections. Build one per process, outside the handler.
#[derive(Clone)]
pub struct Store {
    table: Table,
    s3: aws_sdk_s3::Client,
    bucket: String,
    ecs: aws_sdk_ecs::Client,
    compute: Option<ComputeSettings>,
    sdk: aws_config::SdkConfig,
    /// Where git credentials are, in the programs that have to do with them.
    git_credentials: Option<parameters::Parameters>,
    /// In place of the bucket's own address in what is signed for clients.
    objects_url: Option<String>,
    /// Of the log that this process appends to.
    log_end: batch::LogEnd,
    retention_milliseconds: u64,
    audit_retention_milliseconds: u64,
    keep_deltas_milliseconds: u64,
}

const DAY_MILLISECONDS: u64 = 24 * 60 * 60 * 1000;
/// Rows of a session are written while it lives, at most a day before its end, and must outlive
/// its head: whoever still sees the head sees the log.
const ROWS_OUTLIVE_HEAD_MILLISECONDS: u64 = 2 * DAY_MILLISECONDS;

impl Store {
    /// Builds the clients from the process's environment, as AWS sets it (region, credentials,
    /// `AWS_ENDPOINT_URL`). Connects to nothing yet.
    pub async fn connect(settings: StoreSettings) -> Self {
        Self::build(settings, settings::sdk_config(None).await)
    }

    /// The same for an endpoint that the environment does not name: the emulator inside a test.
    pub async fn connect_to(settings: StoreSettings, endpoint: Endpoint) -> Self {
        Self::build(settings, settings::sdk_config(Some(endpoint)).await)
    }

    /// The same with credentials that end and are renewed from `source`, instead of the process's own.
    pub async fn connect_as(settings: StoreSettings, source: impl CredentialSource) -> Self {
        let loader = settings::loader(None);
        Self::build(settings, credentials::config(loader, source).await)
    }

    /// The same store, which also keeps credentials for git hosts, in parameters below this path
    /// (`SHANNON_GIT_PARAMETERS`).
    #[must_use]
    pub fn with_git_credentials(mut self, path: &str) -> Self {
        self.git_credentials = Some(parameters::Parameters::new(&self.sdk, path));
        self
    }

    /// The same, whose signed addresses begin with `url` in place of scheme, host and port of the bucket:
    /// for a bucket that clients reach only through something in front of it.
    #[must_use]
    pub fn reached_at(mut self, url: Option<&str>) -> Self {
        self.objects_url = url.map(|url| url.trim_end_matches('/').to_owned());
        self
    }

    /// A signed address as clients reach it.
    fn for_clients(&self, signed: &str) -> String {
        let path = signed
            .split_once("://")
            .and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
        match (&self.objects_url, path) {
            (Some(url), Some(path)) => format!("{url}{path}"),
            _ => signed.to_owned(),
        }
    }

    fn build(settings: StoreSettings, config: aws_config::SdkConfig) -> Self {
        let s3 = aws_sdk_s3::config::Builder::from(&config)
            // Elsewhere than at AWS a bucket has no host name of its own.
            .force_path_style(config.endpoint_url().is_some())
            .timeout_config(settings::timeouts(
                settings::OBJECT_ATTEMPT_SECONDS,
                settings::OBJECT_CALL_SECONDS,
            ))
            // A signed upload must not ask its client for a checksum of our choice.
            .request_checksum_calculation(
                aws_sdk_s3::config::RequestChecksumCalculation::WhenRequired,
            )
            .build();
        Self {
            table: Table {
                client: aws_sdk_dynamodb::Client::new(&config),
                name: settings.table,
            },
            s3: aws_sdk_s3::Client::from_conf(s3),
            bucket: settings.bucket,
            ecs: aws_sdk_ecs::Client::new(&config),
            objects_url: None,
            compute: settings.compute,
            sdk: config,
            git_credentials: None,
            log_end: batch::LogEnd::default(),
            retention_milliseconds: settings.retention_days * DAY_MILLISECONDS,
            audit_retention_milliseconds: settings.audit_retention_days * DAY_MILLISECONDS,
            keep_deltas_milliseconds: settings.keep_deltas_hours * 60 * 60 * 1000,
        }
    }

    /// When a row of a session that is written now is gone.
    fn row_expiry(&self, now: UnixMillis) -> UnixMillis {
        now.plus(self.retention_milliseconds + ROWS_OUTLIVE_HEAD_MILLISECONDS)
    }

    /// When the head of a session that ends now is gone.
    fn head_expiry(&self, now: UnixMillis) -> UnixMillis {
        now.plus(self.retention_milliseconds)
    }
}
