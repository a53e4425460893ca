//! A task, as ECS describes it: in answers with times in seconds since 1970, in events with times as
//! text.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::events::time_text;
use crate::template::{ACCOUNT, REGION};

/// States of a task. Facts: ECS Developer Guide, "Amazon ECS task lifecycle".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Status {
    Provisioning,
    Pending,
    Running,
    Deactivating,
    Stopping,
    Deprovisioning,
    Stopped,
}

impl Status {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "PROVISIONING",
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Deactivating => "DEACTIVATING",
            Self::Stopping => "STOPPING",
            Self::Deprovisioning => "DEPROVISIONING",
            Self::Stopped => "STOPPED",
        }
    }
}

/// A task and its one container, as stored. Times are milliseconds since 1970.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) id: String,
    pub(super) cluster: String,
    pub(super) family: String,
    pub(super) revision: u32,
    pub(super) container: String,
    pub(super) image: String,
    pub(super) last_status: Status,
    /// StopTask was called, or the task ended.
    pub(super) stop_wanted: bool,
    pub(super) started_by: Option<String>,
    pub(super) group: Option<String>,
    pub(super) launch_type: String,
    pub(super) cpu: Option<String>,
    pub(super) memory: Option<String>,
    pub(super) ephemeral_gib: u64,
    pub(super) overrides: Value,
    pub(super) tags: Value,
    pub(super) version: u64,
    pub(super) created: i64,
    pub(super) started: Option<i64>,
    pub(super) stopping: Option<i64>,
    pub(super) execution_stopped: Option<i64>,
    pub(super) stopped: Option<i64>,
    pub(super) updated: i64,
    pub(super) stop_code: Option<String>,
    pub(super) stopped_reason: Option<String>,
    pub(super) container_reason: Option<String>,
    pub(super) exit_code: Option<i32>,
    pub(super) attachment: String,
}

/// How times are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Times {
    Seconds,
    Text,
}

impl Times {
    fn write(self, milliseconds: i64) -> Value {
        match self {
            #[expect(
                clippy::cast_precision_loss,
                reason = "milliseconds since 1970 fit a double for the next 280000 years"
            )]
            Self::Seconds => json!(milliseconds as f64 / 1000.0),
            Self::Text => json!(time_text(milliseconds, true)),
        }
    }
}

/// ARN of something in ECS.
pub(super) fn arn(resource: &str) -> String {
    format!("arn:aws:ecs:{REGION}:{ACCOUNT}:{resource}")
}

/// What comes behind the last slash: callers may give names or ARNs.
pub(super) fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

impl Task {
    pub(super) fn arn(&self) -> String {
        arn(&format!("task/{}/{}", self.cluster, self.id))
    }

    pub(super) fn definition_arn(&self) -> String {
        arn(&format!(
            "task-definition/{}:{}",
            self.family, self.revision
        ))
    }

    /// As RunTask, StopTask and DescribeTasks answer.
    pub(super) fn answer(&self, with_tags: bool) -> Value {
        let mut description = self.describe(Times::Seconds);
        if with_tags {
            description.insert("tags".to_owned(), self.tags.clone());
        }
        Value::Object(description)
    }

    /// The `detail` of an "ECS Task State Change".
    pub(super) fn event_detail(&self) -> Value {
        let mut detail = self.describe(Times::Text);
        detail.insert("updatedAt".to_owned(), Times::Text.write(self.updated));
        detail.remove("tags");
        Value::Object(detail)
    }

    fn container_status(&self) -> &'static str {
        match self.last_status {
            Status::Provisioning | Status::Pending => "PENDING",
            Status::Running | Status::Deactivating | Status::Stopping => "RUNNING",
            Status::Deprovisioning | Status::Stopped => "STOPPED",
        }
    }

    fn describe(&self, times: Times) -> Map<String, Value> {
        let mut container = Map::new();
        let container_arn = format!("container/{}/{}/{}", self.cluster, self.id, self.attachment);
        container.insert("containerArn".into(), json!(arn(&container_arn)));
        container.insert("taskArn".into(), json!(self.arn()));
        container.insert("name".into(), json!(self.container));
        container.insert("image".into(), json!(self.image));
        container.insert("lastStatus".into(), json!(self.container_status()));
        if let Some(code) = self.exit_code {
            container.insert("exitCode".into(), json!(code));
        }
        if let Some(reason) = &self.container_reason {
            container.insert("reason".into(), json!(reason));
        }
        container.insert(
            "networkInterfaces".into(),
            json!([{ "attachmentId": self.attachment, "privateIpv4Address": "127.0.0.1" }]),
        );
        container.insert("healthStatus".into(), json!("UNKNOWN"));

        let mut task = Map::new();
        let mut put = |name: &str, value: Value| {
            if !value.is_null() {
                task.insert(name.to_owned(), value);
            }
        };
        put("taskArn", json!(self.arn()));
        put(
            "clusterArn",
            json!(arn(&format!("cluster/{}", self.cluster))),
        );
        put("taskDefinitionArn", json!(self.definition_arn()));
        put("lastStatus", json!(self.last_status));
        put(
            "desiredStatus",
            json!(if self.stop_wanted {
                "STOPPED"
            } else {
                "RUNNING"
            }),
        );
        put("startedBy", json!(self.started_by));
        put("group", json!(self.group));
        put("launchType", json!(self.launch_type));
        put("platformVersion", json!("1.4.0"));
        put("platformFamily", json!("Linux"));
        put("availabilityZone", json!(format!("{REGION}a")));
        put("cpu", json!(self.cpu));
        put("memory", json!(self.memory));
        put(
            "ephemeralStorage",
            json!({ "sizeInGiB": self.ephemeral_gib }),
        );
        put("enableExecuteCommand", json!(false));
        put("healthStatus", json!("UNKNOWN"));
        put("attributes", json!([]));
        put("overrides", self.overrides.clone());
        put("containers", json!([container]));
        put("version", json!(self.version));
        put("createdAt", times.write(self.created));
        let connected = self.last_status >= Status::Running;
        put(
            "connectivity",
            if connected {
                json!("CONNECTED")
            } else {
                Value::Null
            },
        );
        for (name, at) in [
            ("connectivityAt", self.started),
            ("pullStartedAt", self.started),
            ("pullStoppedAt", self.started),
            ("startedAt", self.started),
            ("stoppingAt", self.stopping),
            ("executionStoppedAt", self.execution_stopped),
            ("stoppedAt", self.stopped),
        ] {
            put(name, at.map_or(Value::Null, |at| times.write(at)));
        }
        put("stopCode", json!(self.stop_code));
        put("stoppedReason", json!(self.stopped_reason));
        let attached = if self.last_status == Status::Stopped {
            "DELETED"
        } else {
            "ATTACHED"
        };
        put(
            "attachments",
            json!([{
                "id": self.attachment,
                "type": if times == Times::Text { "eni" } else { "ElasticNetworkInterface" },
                "status": attached,
                "details": [{ "name": "privateIPv4Address", "value": "127.0.0.1" }],
            }]),
        );
        task
    }
}
