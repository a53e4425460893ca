//! `template.yaml`, resolved: what the stack consists of, for every part of the emulator.
//!
//! The same file is deployed to AWS; whatever the emulator understands of it is read here and
//! nowhere else. A resource type or a function that is not understood is an error, never ignored.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::iam::Role;

mod edge;
mod functions;
mod gateway_responses;
mod intrinsics;
mod load;
mod parameters;
mod resources;
mod roles;
mod stored;
mod streams;
mod tasks;
mod yaml;

pub use load::{Template, load, parse};
pub use resources::not_served;

/// Account of every ARN here.
pub const ACCOUNT: &str = "000000000000";
/// Region of every ARN here.
pub const REGION: &str = "us-east-1";

/// A resolved template.
#[derive(Clone, Debug)]
pub struct Stack {
    /// `AWS::StackName`.
    pub name: String,
    /// Stage name of the API.
    pub stage: String,
    /// Lambda functions, by position in the template.
    pub functions: Vec<FunctionResource>,
    /// Routes of the REST API.
    pub routes: Vec<Route>,
    /// Lambda authorizers that routes name.
    pub authorizers: Vec<Authorizer>,
    /// What the API answers instead of its own refusals, by their type (`UNAUTHORIZED`).
    pub gateway_responses: BTreeMap<String, GatewayResponse>,
    /// Throttles of the stage's methods.
    pub throttles: Vec<Throttle>,
    /// DynamoDB tables.
    pub tables: Vec<TableResource>,
    /// S3 buckets.
    pub buckets: Vec<BucketResource>,
    /// Names of ECS clusters.
    pub clusters: Vec<String>,
    /// RegisterTaskDefinition requests (camelCase, as on the wire).
    pub task_definitions: Vec<Value>,
    /// EventBridge rules.
    pub rules: Vec<EventRule>,
    /// EventBridge schedules.
    pub schedules: Vec<Schedule>,
    /// Event source mappings of streams.
    pub stream_mappings: Vec<StreamMapping>,
    /// Roles: those of functions, and those that the template declares.
    pub roles: Vec<Role>,
    /// ARNs of SNS topics.
    pub topics: Vec<String>,
    /// ARNs of SQS queues.
    pub queues: Vec<String>,
    /// What is in front of the API; `None` when nothing is.
    pub edge: Option<EdgeResource>,
    /// Resources that exist in a deployment only.
    pub not_served: Vec<NotServed>,
    /// Outputs, by name.
    pub outputs: BTreeMap<String, String>,
}

/// One `AWS::Serverless::Function`.
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionResource {
    /// Directory and binary, from `Metadata.BuildProperties.Binary` (`model-gateway`). Functions
    /// are called by this name inside the emulator.
    pub name: String,
    /// Name in the template (`ModelGatewayFunction`).
    pub logical_id: String,
    /// Name on AWS (`shannon-model-gateway`).
    pub function_name: String,
    /// An invocation that takes longer ends with the instance.
    pub timeout_seconds: f64,
    /// Told to the function; not enforced here.
    pub memory_mib: u32,
    /// The template's environment, `Globals` included.
    pub environment: BTreeMap<String, String>,
    /// ARN of the role it runs as.
    pub role: String,
    /// Most instances at a time.
    pub reserved_concurrency: Option<u32>,
    /// `AutoPublishAlias`: what everything that calls the function calls it by.
    pub alias: Option<String>,
    /// Its log group.
    pub log_group: String,
}

impl FunctionResource {
    /// The function's ARN.
    #[must_use]
    pub fn arn(&self) -> String {
        format!(
            "arn:aws:lambda:{REGION}:{ACCOUNT}:function:{}",
            self.function_name
        )
    }

    /// The ARN that callers use: of its alias, or of the function itself without one.
    #[must_use]
    pub fn called_arn(&self) -> String {
        match &self.alias {
            Some(alias) => format!("{}:{alias}", self.arn()),
            None => self.arn(),
        }
    }

    /// The version that runs. Here is always one only, which nothing of before outlives.
    #[must_use]
    pub fn version(&self) -> &'static str {
        if self.alias.is_some() { "1" } else { "$LATEST" }
    }
}

/// The CloudFront distribution in front of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeResource {
    /// Text of the function that sees each request first.
    pub code: Option<String>,
    /// What each answer gets.
    pub headers: Vec<ResponseHeader>,
}

/// A header of the distribution's ResponseHeadersPolicy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHeader {
    /// In lower case.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Takes the place of what the origin says; else only fills it in.
    pub overrides: bool,
}

/// A resource that the emulator does not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotServed {
    /// Name in the template.
    pub logical_id: String,
    /// Its type.
    pub resource_type: &'static str,
    /// Why not.
    pub reason: &'static str,
}

/// One method of one path of the REST API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// [`FunctionResource::name`].
    pub function: String,
    /// Path template (`/model/{proxy+}`).
    pub path: String,
    /// Upper case; `ANY` for all.
    pub method: String,
    /// `ResponseTransferMode: RESPONSE_STREAM`.
    pub streaming: bool,
    /// Integration timeout.
    pub timeout_milliseconds: u32,
    /// [`Authorizer::name`]; `None` for a public route.
    pub authorizer: Option<String>,
}

/// How many requests of a method the stage takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Throttle {
    /// Upper case; `*` for every method that has no throttle of its own.
    pub method: String,
    /// Path template; `/*` with the method `*`.
    pub path: String,
    /// Requests that come back each second.
    pub rate: f64,
    /// Requests at once.
    pub burst: f64,
}

/// A Lambda REQUEST authorizer of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorizer {
    /// Name in the API's `Auth` section.
    pub name: String,
    /// [`FunctionResource::name`].
    pub function: String,
    /// Header names whose values identify the caller; a request without one of them is refused
    /// without asking the function.
    pub identity_headers: Vec<String>,
    /// How long a result is used again for the same identity; 0 for not at all.
    pub ttl_seconds: u32,
}

/// What the API answers instead of a refusal of its own. The body stays API Gateway's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayResponse {
    /// Another status.
    pub status: Option<u16>,
    /// Headers with fixed values, by name in lower case.
    pub headers: BTreeMap<String, String>,
}

/// One `AWS::DynamoDB::Table`.
#[derive(Clone, Debug, PartialEq)]
pub struct TableResource {
    /// Physical name.
    pub name: String,
    /// The CreateTable request.
    pub create_table: Value,
    /// Attribute of the time to live, if it is enabled.
    pub ttl_attribute: Option<String>,
    /// Whether AWS could restore it to any moment.
    pub point_in_time_recovery: bool,
}

/// One `AWS::S3::Bucket`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketResource {
    /// Physical name.
    pub name: String,
    /// Whether it keeps versions.
    pub versioning: bool,
    /// Whether its objects can be locked.
    pub object_lock: bool,
    /// ARN of the KMS key that S3 asks for each of its objects; none where a bucket key stands between
    /// them, or the key is the account's own.
    pub object_key: Option<String>,
    /// What its lifecycle rules say. The emulator applies none: nothing local lives that long.
    pub lifecycle: Vec<serde_json::Value>,
}

/// An EventBridge rule with a function as target.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRule {
    /// [`FunctionResource::name`].
    pub function: String,
    /// The event pattern.
    pub pattern: Value,
}

/// An EventBridge schedule with a function as target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// `<function>-<event name>`.
    pub name: String,
    /// [`FunctionResource::name`].
    pub function: String,
    /// Period.
    pub seconds: u64,
}

/// What hands the records of a table's stream to a function.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamMapping {
    /// `<function>-<event name>`; its place in the stream is kept under this name.
    pub name: String,
    /// [`FunctionResource::name`].
    pub function: String,
    /// [`FunctionResource::called_arn`], or with `$LATEST`.
    pub function_arn: String,
    /// [`FunctionResource::version`].
    pub function_version: &'static str,
    /// [`TableResource::name`].
    pub table: String,
    /// ARN of the stream.
    pub stream_arn: String,
    /// Most records of an invocation.
    pub batch_size: usize,
    /// How long records are gathered once there is one.
    pub window_seconds: u64,
    /// How often a batch is tried again; `None` until its records are too old.
    pub retries: Option<u32>,
    /// Records that are older are given up; `None` for never before the stream forgets them.
    pub record_age_seconds: Option<u64>,
    /// A failed batch is cut in two before it is tried again.
    pub bisect: bool,
    /// The function says which records failed.
    pub reports_failures: bool,
    /// Patterns of which a record has to match one; none when all are delivered.
    pub filters: Vec<Value>,
    /// ARN of the queue or topic that hears of records that were given up.
    pub on_failure: Option<String>,
}

/// Why a template cannot be used. Every variant names the place.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The template.
        path: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// It is not YAML.
    #[error("not valid YAML: {0}")]
    Yaml(String),
    /// A parameter was given that the template does not have.
    #[error("the template has no parameter {0}")]
    UnknownParameter(String),
    /// A parameter without default was not given.
    #[error("parameter {0} has no default and was not given")]
    MissingParameter(String),
    /// A parameter's value is outside of what the template allows. The value is not shown: it may
    /// be a secret.
    #[error("parameter {name}: {reason}")]
    BadParameter {
        /// Its name.
        name: String,
        /// What is allowed.
        reason: String,
    },
    /// Something in the template is wrong or not understood by the emulator.
    #[error("{place}: {reason}")]
    Invalid {
        /// Dotted path (`Resources.Api.Properties.StageName`).
        place: String,
        /// What is wrong.
        reason: String,
    },
}
