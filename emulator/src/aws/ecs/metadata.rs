//! The task metadata endpoint, version 4: what a task can read about itself at
//! `ECS_CONTAINER_METADATA_URI_V4`. It shows no environment and no secret.

use serde_json::{Value, json};

use super::{
    TaskService,
    database::DatabaseError,
    task::{Task, arn},
};
use crate::template::REGION;

/// Which document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Document {
    /// `$ECS_CONTAINER_METADATA_URI_V4`
    Container,
    /// `$ECS_CONTAINER_METADATA_URI_V4/task`
    Task,
}

impl TaskService {
    /// `None` when there is no such task.
    pub(in super::super) async fn metadata(
        &self,
        id: &str,
        document: Document,
    ) -> Result<Option<Value>, DatabaseError> {
        let id = id.to_owned();
        let task = self.0.database.transact(move |rows| rows.task(&id)).await?;
        Ok(task.map(|task| match document {
            Document::Container => container(&task),
            Document::Task => whole(&task),
        }))
    }
}

fn container(task: &Task) -> Value {
    json!({
        "DockerId": format!("{}-{}", task.id, task.attachment),
        "Name": task.container,
        "DockerName": task.container,
        "Image": task.image,
        "DesiredStatus": if task.stop_wanted { "STOPPED" } else { "RUNNING" },
        "KnownStatus": task.last_status.as_str(),
        "Type": "NORMAL",
        "ContainerARN": arn(&format!(
            "container/{}/{}/{}", task.cluster, task.id, task.attachment
        )),
        "Labels": {
            "com.amazonaws.ecs.cluster": arn(&format!("cluster/{}", task.cluster)),
            "com.amazonaws.ecs.container-name": task.container,
            "com.amazonaws.ecs.task-arn": task.arn(),
            "com.amazonaws.ecs.task-definition-family": task.family,
            "com.amazonaws.ecs.task-definition-version": task.revision.to_string(),
        },
        "Networks": [{ "NetworkMode": "awsvpc", "IPv4Addresses": ["127.0.0.1"] }],
    })
}

fn whole(task: &Task) -> Value {
    json!({
        "Cluster": arn(&format!("cluster/{}", task.cluster)),
        "TaskARN": task.arn(),
        "Family": task.family,
        "Revision": task.revision.to_string(),
        "DesiredStatus": if task.stop_wanted { "STOPPED" } else { "RUNNING" },
        "KnownStatus": task.last_status.as_str(),
        "AvailabilityZone": format!("{REGION}a"),
        "LaunchType": task.launch_type,
        "Containers": [container(task)],
    })
}
