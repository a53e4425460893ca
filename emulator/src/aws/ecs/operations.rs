//! The operations of ECS. Facts about shapes and refusals: the API reference, and what the SDKs send.

use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    Status, Task, TaskService,
    arguments::{RunArguments, cluster, text, texts},
    database::{DatabaseError, FormerRun, Rows},
    definitions, now, record_events, respond,
    task::{arn, short},
};

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// The caller has to change something.
    #[error("{code}: {message}")]
    Client {
        code: String,
        message: String,
        /// Further fields of the error.
        fields: Value,
    },
    /// The emulator's own state failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Told to fail by a test.
    #[error("{0}")]
    Failed(String),
}

impl Refusal {
    pub(super) fn client(code: &str, message: &str) -> Self {
        Self::Client {
            code: code.to_owned(),
            message: message.to_owned(),
            fields: json!({}),
        }
    }

    pub(super) fn respond(self) -> Response {
        match self {
            Self::Client {
                code,
                message,
                mut fields,
            } => {
                fields["__type"] = json!(code);
                fields["message"] = json!(message);
                respond(StatusCode::BAD_REQUEST, &fields)
            }
            Self::Database(error) => {
                tracing::error!(%error, "ECS request failed");
                let body = json!({ "__type": "ServerException", "message": error.to_string() });
                respond(StatusCode::INTERNAL_SERVER_ERROR, &body)
            }
            Self::Failed(message) => {
                let body = json!({ "__type": "ServerException", "message": message });
                respond(StatusCode::INTERNAL_SERVER_ERROR, &body)
            }
        }
    }
}

fn require_cluster(rows: &Rows<'_>, name: &str) -> Result<(), Refusal> {
    if rows.cluster_exists(name)? {
        Ok(())
    } else {
        Err(Refusal::client(
            "ClusterNotFoundException",
            "Cluster not found.",
        ))
    }
}

fn describe_cluster(name: &str, tasks: &[Task]) -> Value {
    let count = |statuses: &[Status]| {
        tasks
            .iter()
            .filter(|task| statuses.contains(&task.last_status))
            .count()
    };
    json!({
        "clusterArn": arn(&format!("cluster/{name}")),
        "clusterName": name,
        "status": "ACTIVE",
        "registeredContainerInstancesCount": 0,
        "runningTasksCount": count(&[Status::Running]),
        "pendingTasksCount": count(&[Status::Provisioning, Status::Pending]),
        "activeServicesCount": 0,
        "statistics": [],
        "tags": [],
        "settings": [],
        "capacityProviders": [],
        "defaultCapacityProviderStrategy": [],
    })
}

impl TaskService {
    pub(super) async fn operate(&self, operation: &str, request: Value) -> Result<Value, Refusal> {
        match operation {
            "RunTask" => self.run_task(request).await,
            "StopTask" => self.stop_task(request).await,
            "CreateCluster" => {
                let name = text(&request, "clusterName")?.unwrap_or_else(|| "default".to_owned());
                self.rows(move |rows| {
                    rows.add_cluster(&name)?;
                    Ok(json!({ "cluster": describe_cluster(&name, &rows.tasks(&name)?) }))
                })
                .await
            }
            "DescribeClusters" => {
                self.rows(move |rows| describe_clusters(rows, &request))
                    .await
            }
            "RegisterTaskDefinition" => {
                self.rows(move |rows| {
                    let tags = request["tags"].clone();
                    let definition = definitions::register(rows, &request)?;
                    Ok(json!({
                        "taskDefinition": definition,
                        "tags": if tags.is_null() { json!([]) } else { tags },
                    }))
                })
                .await
            }
            "DescribeTaskDefinition" => {
                let name = text(&request, "taskDefinition")?.unwrap_or_default();
                self.rows(move |rows| {
                    definitions::find(rows, &name)?
                        .map(|definition| json!({ "taskDefinition": definition, "tags": [] }))
                        .ok_or_else(|| {
                            Refusal::client(
                                "ClientException",
                                "Unable to describe task definition.",
                            )
                        })
                })
                .await
            }
            "DescribeTasks" => self.rows(move |rows| describe_tasks(rows, &request)).await,
            "ListTasks" => self.rows(move |rows| list_tasks(rows, &request)).await,
            other => Err(Refusal::client(
                "UnknownOperationException",
                &format!("the emulator does not know the ECS operation {other}"),
            )),
        }
    }

    async fn rows<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Rows<'_>) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        self.0.database.transact(work).await
    }

    /// RunTask. With a client token, repeating it gives the tasks of the first time, also after they
    /// stopped; nothing starts twice.
    async fn run_task(&self, request: Value) -> Result<Value, Refusal> {
        if self.0.closing.is_cancelled() {
            return Err(Refusal::Failed("the emulator is shutting down".to_owned()));
        }
        let arguments = RunArguments::read(&request)?;
        let cluster = cluster(&request)?;
        let name = text(&request, "taskDefinition")?
            .ok_or_else(|| Refusal::client("ClientException", "TaskDefinition not found."))?;
        if let Some(started_by) = &arguments.started_by {
            self.0.options.calls.learn(started_by);
        }
        let bus = self.0.options.bus.clone();
        let (tasks, events, definition) = self
            .rows(move |rows| {
                require_cluster(rows, &cluster)?;
                if let Some(token) = &arguments.client_token
                    && let Some(former) = rows.former_run(&cluster, token)?
                {
                    return repeat(rows, &former, &request);
                }
                let definition = definitions::find(rows, &name)?.ok_or_else(|| {
                    Refusal::client("ClientException", "TaskDefinition not found.")
                })?;
                if definition["networkMode"] == "awsvpc" && !arguments.network {
                    return Err(Refusal::client(
                        "InvalidParameterException",
                        "Network Configuration must be provided when networkMode 'awsvpc' is \
                         specified.",
                    ));
                }
                check_overrides(&arguments.overrides, &definition)?;
                let tasks: Vec<_> = (0..arguments.count)
                    .map(|_| new_task(&cluster, &definition, &arguments))
                    .collect();
                let mut events = Vec::new();
                for task in &tasks {
                    rows.put_task(task)?;
                    events.extend(record_events(rows, &bus, task)?);
                }
                if let Some(token) = &arguments.client_token {
                    let run = FormerRun {
                        request,
                        tasks: tasks.iter().map(|task| task.id.clone()).collect(),
                    };
                    rows.put_run((&cluster, token), now(), &run)?;
                }
                rows.forget(now())?;
                Ok((tasks, events, Some(definition)))
            })
            .await?;
        for event in events {
            self.deliver(event);
        }
        if let Some(definition) = definition {
            for task in &tasks {
                self.start(task.clone(), definition.clone());
            }
        }
        let tasks: Vec<_> = tasks.iter().map(|task| task.answer(true)).collect();
        Ok(json!({ "tasks": tasks, "failures": [] }))
    }

    /// StopTask; of a task that has stopped, it answers its state.
    async fn stop_task(&self, request: Value) -> Result<Value, Refusal> {
        let cluster = cluster(&request)?;
        let id = short(&text(&request, "task")?.unwrap_or_default()).to_owned();
        let reason = text(&request, "reason")?.unwrap_or_else(|| "Task stopped by user".to_owned());
        let wanted = id.clone();
        let task = self
            .rows(move |rows| {
                require_cluster(rows, &cluster)?;
                rows.task(&wanted)?
                    .filter(|task| task.cluster == cluster)
                    .ok_or_else(|| {
                        Refusal::client(
                            "InvalidParameterException",
                            "The referenced task was not found.",
                        )
                    })
            })
            .await?;
        let task = self.stop(&id, &reason).await?.unwrap_or(task);
        Ok(json!({ "task": task.answer(false) }))
    }
}

type Run = (Vec<Task>, Vec<super::Undelivered>, Option<Value>);

fn repeat(rows: &Rows<'_>, former: &FormerRun, request: &Value) -> Result<Run, Refusal> {
    if former.request != *request {
        return Err(Refusal::Client {
            code: "ConflictException".to_owned(),
            message: "The clientToken was used before with other parameters.".to_owned(),
            fields: json!({ "resourceIds": former.tasks }),
        });
    }
    let mut tasks = Vec::new();
    for id in &former.tasks {
        tasks.extend(rows.task(id)?);
    }
    Ok((tasks, Vec::new(), None))
}

fn check_overrides(overrides: &Value, definition: &Value) -> Result<(), Refusal> {
    let known = &definition["containerDefinitions"][0]["name"];
    for container in overrides["containerOverrides"]
        .as_array()
        .into_iter()
        .flatten()
    {
        if container["name"] != *known {
            return Err(Refusal::client(
                "InvalidParameterException",
                &format!(
                    "Override for container named {} is not a container in the TaskDefinition.",
                    container["name"].as_str().unwrap_or("null")
                ),
            ));
        }
    }
    Ok(())
}

fn new_task(cluster: &str, definition: &Value, arguments: &RunArguments) -> Task {
    let word = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let overridden =
        |name: &str| word(&arguments.overrides[name]).or_else(|| word(&definition[name]));
    let container = &definition["containerDefinitions"][0];
    let family = word(&definition["family"]).unwrap_or_default();
    let created = now();
    Task {
        id: uuid::Uuid::new_v4().simple().to_string(),
        cluster: cluster.to_owned(),
        revision: definitions::revision_of(definition),
        container: word(&container["name"]).unwrap_or_default(),
        image: word(&container["image"]).unwrap_or_default(),
        last_status: Status::Provisioning,
        stop_wanted: false,
        started_by: arguments.started_by.clone(),
        group: Some(
            arguments
                .group
                .clone()
                .unwrap_or_else(|| format!("family:{family}")),
        ),
        family,
        launch_type: arguments.launch_type.clone(),
        cpu: overridden("cpu"),
        memory: overridden("memory"),
        ephemeral_gib: definition["ephemeralStorage"]["sizeInGiB"]
            .as_u64()
            .unwrap_or(20),
        overrides: arguments.overrides.clone(),
        tags: arguments.tags.clone(),
        version: 1,
        created,
        started: None,
        stopping: None,
        execution_stopped: None,
        stopped: None,
        updated: created,
        stop_code: None,
        stopped_reason: None,
        container_reason: None,
        exit_code: None,
        attachment: uuid::Uuid::new_v4().to_string(),
    }
}

fn describe_clusters(rows: &Rows<'_>, request: &Value) -> Result<Value, Refusal> {
    let names = texts(request, "clusters")?.unwrap_or_else(|| vec!["default".to_owned()]);
    let (mut clusters, mut failures) = (Vec::new(), Vec::new());
    for name in &names {
        let name = short(name);
        if rows.cluster_exists(name)? {
            clusters.push(describe_cluster(name, &rows.tasks(name)?));
        } else {
            failures.push(json!({
                "arn": arn(&format!("cluster/{name}")),
                "reason": "MISSING",
            }));
        }
    }
    Ok(json!({ "clusters": clusters, "failures": failures }))
}

fn describe_tasks(rows: &Rows<'_>, request: &Value) -> Result<Value, Refusal> {
    let cluster = cluster(request)?;
    require_cluster(rows, &cluster)?;
    let names = texts(request, "tasks")?.unwrap_or_default();
    if names.is_empty() || names.len() > 100 {
        return Err(Refusal::client(
            "InvalidParameterException",
            "tasks has to name 1 to 100 tasks.",
        ));
    }
    let with_tags =
        texts(request, "include")?.is_some_and(|include| include.iter().any(|it| it == "TAGS"));
    let (mut tasks, mut failures) = (Vec::new(), Vec::new());
    for name in &names {
        match rows
            .task(short(name))?
            .filter(|task| task.cluster == cluster)
        {
            Some(task) => tasks.push(task.answer(with_tags)),
            None => failures.push(json!({
                "arn": arn(&format!("task/{cluster}/{}", short(name))),
                "reason": "MISSING",
            })),
        }
    }
    Ok(json!({ "tasks": tasks, "failures": failures }))
}

fn list_tasks(rows: &Rows<'_>, request: &Value) -> Result<Value, Refusal> {
    let cluster = cluster(request)?;
    require_cluster(rows, &cluster)?;
    let started_by = text(request, "startedBy")?;
    let family = text(request, "family")?;
    let stopped = match text(request, "desiredStatus")?.as_deref() {
        None | Some("RUNNING" | "PENDING") => false,
        Some("STOPPED") => true,
        Some(_) => {
            return Err(Refusal::client(
                "InvalidParameterException",
                "desiredStatus has to be RUNNING, PENDING or STOPPED.",
            ));
        }
    };
    let limit = match &request["maxResults"] {
        Value::Null => 100,
        value => value
            .as_u64()
            .and_then(|limit| usize::try_from(limit).ok())
            .filter(|limit| (1..=100).contains(limit))
            .ok_or_else(|| {
                Refusal::client(
                    "InvalidParameterException",
                    "maxResults has to be between 1 and 100.",
                )
            })?,
    };
    let after = text(request, "nextToken")?.unwrap_or_default();
    let mut tasks = rows.tasks(&cluster)?;
    tasks.retain(|task| {
        task.stop_wanted == stopped
            && task.id > after
            && started_by.is_none_or_is(task.started_by.as_deref())
            && family.is_none_or_is(Some(&task.family))
    });
    let more = tasks.len() > limit;
    tasks.truncate(limit);
    let arns: Vec<_> = tasks.iter().map(Task::arn).collect();
    let mut answer = json!({ "taskArns": arns });
    if let Some(last) = tasks.last().filter(|_| more) {
        answer["nextToken"] = json!(last.id);
    }
    Ok(answer)
}

/// A filter that is not given lets everything through.
trait Filter {
    fn is_none_or_is(&self, value: Option<&str>) -> bool;
}

impl Filter for Option<String> {
    fn is_none_or_is(&self, value: Option<&str>) -> bool {
        self.as_deref().is_none_or(|wanted| value == Some(wanted))
    }
}
