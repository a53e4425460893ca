//! The emulated services as `template.yaml` describes them, in this process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use emulator::aws::{AwsEndpoint, AwsOptions, RunningAws};
use emulator::credentials::{AccessKey, Credentials, Principal};
use emulator::invoker::{InvocationError, Invoker};
use emulator::process::Logs;
use emulator::template::{self, Stack};
use futures_util::future::BoxFuture;
use store::{Endpoint, SessionRole, Store, StoreSettings};

/// Functions are not called in this test.
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

/// Running services; dropping it ends them.
pub(crate) struct Cloud {
    running: RunningAws,
    key: AccessKey,
    stack: Stack,
}

impl Cloud {
    pub(crate) async fn start() -> Self {
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../template.yaml");
        let parameters = [
            ("AccessTokenSha256", "0".repeat(64)),
            ("SigningKey", "k".repeat(32)),
            ("AnthropicApiKey", "a".repeat(32)),
            ("RunnerImage", "none".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        let stack = template::load(&template, &BTreeMap::from(parameters), "killed")
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
                    PathBuf::from(env!("CARGO_BIN_EXE_session-runner")),
                )]),
                logs: Logs::new(None).expect("no log directory"),
                reader_token: "nobody reads".to_owned(),
                test_hooks: false,
            })
            .await
            .expect("the services start");
        Self {
            running,
            key,
            stack,
        }
    }

    /// Where the model gateway gets the credentials of sessions.
    pub(crate) async fn session_role(&self) -> SessionRole {
        let mut functions = self.stack.functions.iter();
        let gateway = functions.find(|function| function.name == "model-gateway");
        let arn = &gateway.expect("a gateway").environment["SHANNON_SESSION_ROLE"];
        SessionRole::connect_to(arn, self.endpoint()).await
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint {
            url: self.running.url().to_owned(),
            region: template::REGION.to_owned(),
            access_key_id: self.key.id.clone(),
            secret_access_key: self.key.secret.clone(),
        }
    }

    pub(crate) async fn store(&self) -> Store {
        let settings = StoreSettings {
            table: self.stack.tables[0].name.clone(),
            bucket: self.stack.buckets[0].name.clone(),
            retention_days: 90,
            keep_deltas_hours: 24,
            audit_retention_days: 30,
            compute: None,
        };
        Store::connect_to(settings, self.endpoint()).await
    }

    /// What the task definition tells a runner, and what AWS tells every task.
    pub(crate) fn environment(&self) -> BTreeMap<String, String> {
        let container = &self.stack.task_definitions[0]["containerDefinitions"][0];
        let text = |value: &serde_json::Value| match value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let mut environment: BTreeMap<String, String> = container["environment"]
            .as_array()
            .expect("an environment")
            .iter()
            .map(|pair| (text(&pair["name"]), text(&pair["value"])))
            .collect();
        let aws = [
            ("AWS_REGION", template::REGION),
            ("AWS_ENDPOINT_URL", self.running.url()),
            ("AWS_ACCESS_KEY_ID", &self.key.id),
            ("AWS_SECRET_ACCESS_KEY", &self.key.secret),
        ];
        environment.extend(aws.map(|(name, value)| (name.to_owned(), value.to_owned())));
        environment
    }
}
