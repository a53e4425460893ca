//! The emulated services as `template.yaml` describes them, in this process.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use domain::session_token::SigningKey;
use emulator::{
    aws::{AwsEndpoint, AwsOptions, RunningAws},
    credentials::{AccessKey, Credentials, Principal},
    invoker::Invoker,
    process::Logs,
    template,
};
use futures_util::future::BoxFuture;
use store::{ComputeSettings, Endpoint, Store, StoreSettings};

/// Functions are not called in these tests.
struct Nobody;

impl Invoker for Nobody {
    fn invoke_event(&self, _: &str, _: serde_json::Value) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

/// Running services; dropping it ends them.
pub(crate) struct Services {
    running: RunningAws,
    key: AccessKey,
    table: String,
    bucket: String,
    cluster: String,
    task_definition: String,
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
            ("AnthropicApiKey", "none".to_owned()),
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
                credentials,
                stack: &stack,
                invoker: Arc::new(Nobody),
                lambda: None,
                task_programs: BTreeMap::from([(
                    "session-runner".to_owned(),
                    PathBuf::from("/bin/true"),
                )]),
                logs: Logs::new(None).expect("no log directory"),
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
            cluster: stack.clusters[0].clone(),
            task_definition,
        }
    }

    pub(crate) fn settings(&self) -> StoreSettings {
        StoreSettings {
            table: self.table.clone(),
            bucket: self.bucket.clone(),
            retention_days: 90,
            keep_deltas_hours: 24,
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

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint {
            url: self.running.url().to_owned(),
            region: template::REGION.to_owned(),
            access_key_id: self.key.id.clone(),
            secret_access_key: self.key.secret.clone(),
        }
    }

    pub(crate) async fn store(&self) -> Store {
        Store::connect_to(self.settings(), self.endpoint()).await
    }

    /// The next `count` calls of this operation fail with this error.
    pub(crate) async fn plan_fault(&self, operation: &str, error: &str, count: u32) {
        let fault = serde_json::json!({
            "service": "dynamodb", "operation": operation, "error": error, "count": count,
        });
        let answer = reqwest::Client::new()
            .post(format!("{}/_emulator/faults", self.running.url()))
            .json(&fault)
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 200);
    }
}
