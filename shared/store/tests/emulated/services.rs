//! The emulated services as `template.yaml` describes them, in this process.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use domain::{SessionKey, session_token::SigningKey};
use emulator::{
    aws::{AwsEndpoint, AwsOptions, RunningAws},
    credentials::{AccessKey, Credentials, Principal},
    invoker::{InvocationError, Invoker},
    process::Logs,
    template,
};
use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use store::{ComputeSettings, Endpoint, Store, StoreSettings};

/// Functions are not called in these tests.
struct Nobody;

impl Invoker for Nobody {
    fn invoke_event(&self, _: &str, _: serde_json::Value) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }

    fn invoke_for_answer(
        &self,
        _: &str,
        _: serde_json::Value,
    ) -> BoxFuture<'static, Result<bytes::Bytes, InvocationError>> {
        Box::pin(std::future::ready(Err(InvocationError::Stopping)))
    }
}

/// `SHANNON_RETENTION_DAYS` of the template, as the bucket's rules have it.
pub(crate) const RULE_DAYS: &str = "33";
pub(crate) const AUDIT_RULE_DAYS: &str = "34";

/// Path of the parameters with git credentials.
pub(crate) const GIT_PARAMETERS: &str = "/shannon/store/git";

/// Running services; dropping it ends them.
pub(crate) struct Services {
    running: RunningAws,
    key: AccessKey,
    table: String,
    bucket: String,
    lifecycle: Vec<serde_json::Value>,
    cluster: String,
    task_definition: String,
    topic: String,
}

/// The key that signs session tokens here.
pub(crate) fn signing_key() -> SigningKey {
    SigningKey::new(&[7; 32]).expect("long enough")
}

impl Services {
    pub(crate) async fn start() -> Self {
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../template.yaml");
        let parameters = [
            ("AccessTokenSha256", "0".repeat(64)),
            ("SigningKey", "k".repeat(32)),
            ("AnthropicApiKey", "a".repeat(32)),
            ("RunnerImage", "none".to_owned()),
            ("RetentionDays", RULE_DAYS.to_owned()),
            ("AuditRetentionDays", AUDIT_RULE_DAYS.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        let stack = template::load(&template, &BTreeMap::from(parameters), "store")
            .expect("the template resolves");
        let credentials = Credentials::default();
        let key = credentials.issue(Principal::Operator);
        let running = AwsEndpoint::bind(([127, 0, 0, 1], 0).into())
            .await
            .expect("a free port")
            .start(AwsOptions {
                state: None,
                key: None,
                credentials,
                stack: &stack,
                invoker: Arc::new(Nobody),
                lambda: None,
                task_programs: BTreeMap::from([(
                    "session-runner".to_owned(),
                    PathBuf::from("/bin/true"),
                )]),
                logs: Logs::new(None).expect("no log directory"),
                reader_token: "nobody reads".to_owned(),
                test_hooks: true,
            })
            .await
            .expect("the services start");
        let task_definition = stack.task_definitions[0]["family"]
            .as_str()
            .expect("a family")
            .to_owned();
        Self {
            running,
            key,
            table: stack.tables[0].name.clone(),
            bucket: stack.buckets[0].name.clone(),
            lifecycle: stack.buckets[0].lifecycle.clone(),
            cluster: stack.clusters[0].clone(),
            task_definition,
            topic: stack.topics[0].clone(),
        }
    }

    pub(crate) fn settings(&self) -> StoreSettings {
        StoreSettings {
            table: self.table.clone(),
            bucket: self.bucket.clone(),
            retention_days: 90,
            keep_deltas_hours: 24,
            audit_retention_days: 30,
            compute: Some(ComputeSettings {
                cluster: self.cluster.clone(),
                task_definition: self.task_definition.clone(),
                subnets: vec!["subnet-1".to_owned()],
                security_group: "sg-1".to_owned(),
                stage: "test".to_owned(),
                signing_key: signing_key(),
                session_token_milliseconds: 900_000,
            }),
        }
    }

    /// ARN of the topic for notices.
    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    /// Rules of the bucket, as the template has them.
    pub(crate) fn lifecycle(&self) -> &[serde_json::Value] {
        &self.lifecycle
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint {
            url: self.running.url().to_owned(),
            region: template::REGION.to_owned(),
            access_key_id: self.key.id.clone(),
            secret_access_key: self.key.secret.clone(),
        }
    }

    pub(crate) async fn store(&self) -> Store {
        let store = Store::connect_to(self.settings(), self.endpoint()).await;
        store.with_git_credentials(GIT_PARAMETERS)
    }

    pub(crate) fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        let endpoint = self.endpoint();
        aws_sdk_dynamodb::Client::from_conf(
            aws_sdk_dynamodb::Config::builder()
                .behavior_version(aws_sdk_dynamodb::config::BehaviorVersion::latest())
                .region(aws_sdk_dynamodb::config::Region::new(endpoint.region))
                .endpoint_url(endpoint.url)
                .credentials_provider(aws_sdk_dynamodb::config::Credentials::new(
                    endpoint.access_key_id,
                    endpoint.secret_access_key,
                    None,
                    None,
                    "test",
                ))
                .http_client(aws_smithy_http_client::Builder::new().build_http())
                .build(),
        )
    }

    pub(crate) fn s3(&self) -> aws_sdk_s3::Client {
        let endpoint = self.endpoint();
        aws_sdk_s3::Client::from_conf(
            aws_sdk_s3::Config::builder()
                .behavior_version(aws_sdk_s3::config::BehaviorVersion::latest())
                .region(aws_sdk_s3::config::Region::new(endpoint.region))
                .endpoint_url(endpoint.url)
                .force_path_style(true)
                .credentials_provider(aws_sdk_s3::config::Credentials::new(
                    endpoint.access_key_id,
                    endpoint.secret_access_key,
                    None,
                    None,
                    "test",
                ))
                .http_client(aws_smithy_http_client::Builder::new().build_http())
                .build(),
        )
    }

    /// Lets the time of an erased session's tombstone be up.
    pub(crate) async fn let_tombstone_be_due(&self, key: &SessionKey) {
        let partition = format!("{}#{}", key.owner, key.session);
        self.dynamodb()
            .update_item()
            .table_name(&self.table)
            .key("pk", AttributeValue::S(partition))
            .key("sk", AttributeValue::S("tombstone".to_owned()))
            .update_expression("SET live_until = :now")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":now", AttributeValue::N("1".to_owned()))
            .send()
            .await
            .expect("there is a tombstone");
    }

    /// Changes an attribute of a row past the store, as a defect or another version would.
    pub(crate) async fn overwrite(&self, place: (&str, &str), name: &str, value: &str) {
        self.dynamodb()
            .update_item()
            .table_name(&self.table)
            .key("pk", AttributeValue::S(place.0.to_owned()))
            .key("sk", AttributeValue::S(place.1.to_owned()))
            .update_expression("SET #name = :value")
            .expression_attribute_names("#name", name)
            .expression_attribute_values(":value", AttributeValue::S(value.to_owned()))
            .send()
            .await
            .expect("an answer");
    }

    /// Everything that the table and the bucket hold, read past the store.
    pub(crate) async fn everything(&self) -> Everything {
        let (dynamodb, s3) = (self.dynamodb(), self.s3());
        let mut rows = Vec::new();
        let mut pages = dynamodb
            .scan()
            .table_name(&self.table)
            .into_paginator()
            .items()
            .send();
        while let Some(item) = pages.next().await {
            let attributes = item.expect("a row");
            let text = |name: &str| attributes[name].as_s().expect("a text").clone();
            rows.push(StoredRow {
                partition: text("pk"),
                sort: text("sk"),
                attributes,
            });
        }
        let mut objects = Vec::new();
        let listed = s3
            .list_object_versions()
            .bucket(&self.bucket)
            .send()
            .await
            .expect("listed");
        assert_ne!(listed.is_truncated(), Some(true), "more than a page");
        for version in listed.versions() {
            objects.push(version.key().unwrap_or_default().to_owned());
        }
        for marker in listed.delete_markers() {
            objects.push(format!("{} (deleted)", marker.key().unwrap_or_default()));
        }
        rows.sort_by(|one, other| {
            (&one.partition, &one.sort).cmp(&(&other.partition, &other.sort))
        });
        objects.sort();
        let unfinished = s3.list_multipart_uploads().bucket(&self.bucket);
        let unfinished = unfinished.send().await.expect("listed");
        assert_ne!(unfinished.is_truncated(), Some(true), "more than a page");
        let unfinished = unfinished.uploads().iter();
        let unfinished = unfinished.map(|upload| upload.key().unwrap_or_default().to_owned());
        Everything {
            rows,
            objects,
            unfinished: unfinished.collect(),
        }
    }

    /// A task as ECS describes it.
    pub(crate) async fn describe_task(&self, name: &str) -> aws_sdk_ecs::types::Task {
        let endpoint = self.endpoint();
        let credentials = aws_sdk_ecs::config::Credentials::new(
            endpoint.access_key_id,
            endpoint.secret_access_key,
            None,
            None,
            "test",
        );
        let configuration = aws_sdk_ecs::Config::builder()
            .behavior_version(aws_sdk_ecs::config::BehaviorVersion::latest())
            .region(aws_sdk_ecs::config::Region::new(endpoint.region))
            .endpoint_url(endpoint.url)
            .credentials_provider(credentials)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        let answer = aws_sdk_ecs::Client::from_conf(configuration)
            .describe_tasks()
            .cluster(&self.cluster)
            .tasks(name)
            .send()
            .await
            .expect("described");
        answer.tasks.unwrap_or_default().remove(0)
    }

    /// The next `count` calls of this operation fail with this error.
    pub(crate) async fn plan_fault(&self, operation: &str, error: &str, count: u32) {
        self.fault_of("dynamodb", operation, error, count).await;
    }

    /// The same for another service.
    pub(crate) async fn fault_of(&self, service: &str, operation: &str, error: &str, count: u32) {
        let fault = serde_json::json!({
            "service": service, "operation": operation, "error": error, "count": count,
        });
        let url = format!("{}/_emulator/faults", self.running.url());
        let json = [("content-type".to_owned(), "application/json".to_owned())];
        let status = send("POST", &url, &json, fault.to_string().into_bytes()).await;
        assert_eq!(status, 200);
    }
}

/// All that both stores hold.
pub(crate) struct Everything {
    pub(crate) rows: Vec<StoredRow>,
    /// Keys of all versions, and of what only says that there was one.
    pub(crate) objects: Vec<String>,
    /// Keys of objects that are written in pieces and not finished.
    pub(crate) unfinished: Vec<String>,
}

pub(crate) struct StoredRow {
    pub(crate) partition: String,
    pub(crate) sort: String,
    pub(crate) attributes: HashMap<String, AttributeValue>,
}

impl Everything {
    /// Sort keys of a session's rows.
    pub(crate) fn sorts(&self, key: &SessionKey) -> Vec<&str> {
        let partition = format!("{}#{}", key.owner, key.session);
        let own = self.rows.iter().filter(|row| row.partition == partition);
        own.map(|row| row.sort.as_str()).collect()
    }

    pub(crate) fn row(&self, partition: &str, sort: &str) -> &StoredRow {
        let mut rows = self.rows.iter();
        rows.find(|row| row.partition == partition && row.sort == sort)
            .expect("such a row")
    }

    /// How many client tokens of the owner are remembered.
    pub(crate) fn created_by_tokens(&self, owner: &domain::OwnerId) -> usize {
        let own = |row: &&StoredRow| row.partition == owner.as_str();
        let rows = self.rows.iter().filter(own);
        rows.filter(|row| row.sort.starts_with("create#")).count()
    }

    pub(crate) fn objects_below(&self, prefix: &str) -> Vec<&str> {
        let below = self.objects.iter().filter(|key| key.starts_with(prefix));
        below.map(String::as_str).collect()
    }
}

/// One plain HTTP request, as a client without an SDK makes it; gives the status.
pub(crate) async fn send(
    method: &str,
    url: &str,
    headers: &[(String, String)],
    body: Vec<u8>,
) -> u16 {
    let mut request = http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request
        .body(Full::new(Bytes::from(body)))
        .expect("a valid request");
    Client::builder(TokioExecutor::new())
        .build_http()
        .request(request)
        .await
        .expect("an answer")
        .status()
        .as_u16()
}
