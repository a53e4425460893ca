//! The life of a task: PROVISIONING, PENDING, RUNNING, then on its own end DEPROVISIONING and STOPPED,
//! or, when someone stops it, DEACTIVATING, STOPPING (SIGTERM, the stop timeout, SIGKILL),
//! DEPROVISIONING, STOPPED.

use std::{os::unix::process::ExitStatusExt, path::PathBuf, process::ExitStatus, time::Duration};

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Status, Task, TaskService, database::DatabaseError, now};
use crate::{
    credentials::{AccessKey, Principal},
    process::{self, Process, ProcessSpec},
    template::REGION,
};

/// Stop timeout of a container that names none. AWS: 30 seconds.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Of the emulator's own environment, what a program needs to find its tools.
const INHERITED: &[&str] = &["PATH", "HOME", "TMPDIR", "LANG"];

/// How a container ended.
struct Ended {
    exit_code: Option<i32>,
    failure: Option<String>,
}

/// What a start of the emulator makes of a task that a former process left unfinished.
pub(super) fn lost_by_restart(task: &mut Task) -> bool {
    let reason = "The emulator was restarted; the task ended with its former process.";
    if task.started.is_some() {
        // The children of the former process were killed with it.
        task.exit_code.get_or_insert(137);
        task.stop_code
            .get_or_insert_with(|| "EssentialContainerExited".to_owned());
    } else {
        task.stop_code
            .get_or_insert_with(|| "TaskFailedToStart".to_owned());
    }
    task.stopped_reason.get_or_insert_with(|| reason.to_owned());
    stopped(task);
    true
}

fn stopped(task: &mut Task) {
    let at = now();
    task.stop_wanted = true;
    task.last_status = Status::Stopped;
    task.stopping.get_or_insert(at);
    task.execution_stopped.get_or_insert(at);
    task.stopped = Some(at);
}

impl TaskService {
    /// Starts the task's life in the background.
    pub(super) fn start(&self, task: Task, definition: Value) {
        let stop = CancellationToken::new();
        self.running().insert(task.id.clone(), stop.clone());
        if self.0.closing.is_cancelled() {
            stop.cancel();
        }
        let service = self.clone();
        self.0.tasks.spawn(async move {
            let id = task.id.clone();
            if let Err(error) = service.live(task, &definition, stop).await {
                // The process is gone all the same; the next start reports the task as stopped.
                tracing::error!(%error, task = id, "the state of a task could not be stored");
            }
            service.running().remove(&id);
        });
    }

    /// Marks a task as to be stopped and tells its supervisor. `None` if it had stopped already or was
    /// being stopped.
    pub(super) async fn stop(&self, id: &str, reason: &str) -> Result<Option<Task>, DatabaseError> {
        let reason = reason.to_owned();
        let changed = self
            .change(id, move |task| {
                if task.stop_wanted {
                    return false;
                }
                task.stop_wanted = true;
                task.stop_code = Some("UserInitiated".to_owned());
                task.stopped_reason = Some(reason);
                task.stopping = Some(now());
                if task.last_status == Status::Running {
                    task.last_status = Status::Deactivating;
                }
                true
            })
            .await?;
        if let Some(token) = self.running().get(id) {
            token.cancel();
        }
        Ok(changed)
    }

    async fn live(
        &self,
        task: Task,
        definition: &Value,
        stop: CancellationToken,
    ) -> Result<(), DatabaseError> {
        let id = task.id.clone();
        self.advance(&id, Status::Pending, |_| {}).await?;
        let ended = if stop.is_cancelled() {
            Ended {
                exit_code: None,
                failure: None,
            }
        } else {
            self.run(&task, definition, &stop).await?
        };
        let at = now();
        self.advance(&id, Status::Deprovisioning, move |task| {
            task.stop_wanted = true;
            task.exit_code = ended.exit_code;
            task.stopping.get_or_insert(at);
            task.execution_stopped = Some(at);
            let (code, reason) = match &ended.failure {
                Some(failure) => ("TaskFailedToStart", failure.as_str()),
                None => (
                    "EssentialContainerExited",
                    "Essential container in task exited",
                ),
            };
            task.stop_code.get_or_insert_with(|| code.to_owned());
            task.stopped_reason.get_or_insert_with(|| reason.to_owned());
            task.container_reason = ended.failure;
        })
        .await?;
        self.change(&id, |task| {
            stopped(task);
            true
        })
        .await?;
        Ok(())
    }

    async fn advance(
        &self,
        id: &str,
        status: Status,
        change: impl FnOnce(&mut Task) + Send + 'static,
    ) -> Result<(), DatabaseError> {
        self.change(id, move |task| {
            // A task that is being stopped does not go back.
            task.last_status = task.last_status.max(status);
            change(task);
            true
        })
        .await
        .map(drop)
    }

    /// Runs the process to its end. Its key and its directory exist only that long.
    async fn run(
        &self,
        task: &Task,
        definition: &Value,
        stop: &CancellationToken,
    ) -> Result<Ended, DatabaseError> {
        let container = &definition["containerDefinitions"][0];
        let failed = |failure: String| Ended {
            exit_code: None,
            failure: Some(failure),
        };
        let programs = &self.0.options.programs;
        let Some(program) = programs
            .get(&task.container)
            .or_else(|| programs.get(&task.image))
            .cloned()
        else {
            return Ok(failed(format!(
                "CannotPullContainerError: the emulator has no program for container {} ({})",
                task.container, task.image
            )));
        };
        let directory = WorkingDirectory(self.0.options.directory.join(&task.id));
        if let Err(error) = std::fs::create_dir_all(&directory.0) {
            return Ok(failed(format!("CannotCreateContainerError: {error}")));
        }
        let key = TaskKey {
            credentials: self.0.options.credentials.clone(),
            key: self.0.options.credentials.issue(Principal::Task {
                id: task.id.clone(),
                started_by: task.started_by.clone().unwrap_or_default(),
                role: task.overrides["taskRoleArn"]
                    .as_str()
                    .or(definition["taskRoleArn"].as_str())
                    .unwrap_or_default()
                    .to_owned(),
            }),
        };
        let overrides = &task.overrides["containerOverrides"][0];
        let command = if overrides["command"].is_array() {
            &overrides["command"]
        } else {
            &container["command"]
        };
        let spec = ProcessSpec {
            name: task.container.clone(),
            program,
            arguments: command
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|word| word.as_str().map(str::to_owned))
                .collect(),
            environment: self.environment(task, container, overrides, &key.key),
            directory: Some(directory.0.clone()),
            log: self
                .0
                .options
                .logs
                .sink(task.container.clone(), task.id.clone()),
        };
        let process = match process::spawn(spec).await {
            Ok(process) => process,
            Err(error) => {
                return Ok(failed(format!(
                    "CannotStartContainerError: {}",
                    chain(&error)
                )));
            }
        };
        let timeout = container["stopTimeout"]
            .as_u64()
            .map_or(STOP_TIMEOUT, Duration::from_secs);
        self.supervise(&task.id, process, stop, timeout).await
    }

    async fn supervise(
        &self,
        id: &str,
        mut process: Process,
        stop: &CancellationToken,
        timeout: Duration,
    ) -> Result<Ended, DatabaseError> {
        // If the state cannot be stored, leaving here drops the process, which kills it.
        self.advance(id, Status::Running, |task| {
            task.started = Some(now());
        })
        .await?;
        let status = tokio::select! {
            status = process.wait() => status,
            () = stop.cancelled() => {
                // Done already by whoever stopped it, unless that came before it was running.
                self.change(id, |task| {
                    let first = task.last_status < Status::Deactivating;
                    task.last_status = task.last_status.max(Status::Deactivating);
                    first
                })
                .await?;
                self.advance(id, Status::Stopping, |_| {}).await?;
                process.terminate();
                let early = tokio::select! {
                    status = process.wait() => Some(status),
                    () = tokio::time::sleep(timeout) => None,
                    () = self.0.kill.cancelled() => None,
                };
                match early {
                    Some(status) => status,
                    None => {
                        process.kill();
                        process.wait().await
                    }
                }
            }
        };
        let exit_code = match status {
            Ok(status) => Some(exit_code(status)),
            Err(error) => {
                tracing::warn!(%error, task = id, "how the task ended is unknown");
                None
            }
        };
        Ok(Ended {
            exit_code,
            failure: None,
        })
    }

    fn environment(
        &self,
        task: &Task,
        container: &Value,
        overrides: &Value,
        key: &AccessKey,
    ) -> Vec<(String, String)> {
        let mut environment: Vec<(String, String)> = INHERITED
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
            .collect();
        let mut set = |name: &str, value: &str| {
            environment.retain(|(known, _)| known != name);
            environment.push((name.to_owned(), value.to_owned()));
        };
        for source in [&container["environment"], &overrides["environment"]] {
            for entry in source.as_array().into_iter().flatten() {
                if let (Some(name), Some(value)) = (entry["name"].as_str(), entry["value"].as_str())
                {
                    set(name, value);
                }
            }
        }
        let url = &self.0.options.url;
        for (name, value) in [
            ("AWS_ENDPOINT_URL", url.as_str()),
            ("AWS_REGION", REGION),
            ("AWS_DEFAULT_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", &key.id),
            ("AWS_SECRET_ACCESS_KEY", &key.secret),
            ("AWS_EXECUTION_ENV", "AWS_ECS_FARGATE"),
            (
                "ECS_CONTAINER_METADATA_URI_V4",
                &format!("{url}/v4/{}", task.id),
            ),
        ] {
            set(name, value);
        }
        environment
    }
}

/// As a container runtime reports it: a signal is 128 and its number.
fn exit_code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// A directory that goes with its task.
struct WorkingDirectory(PathBuf);

impl Drop for WorkingDirectory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, directory = %self.0.display(), "task directory not removed");
        }
    }
}

/// A key that works only while its task runs.
struct TaskKey {
    credentials: crate::credentials::Credentials,
    key: AccessKey,
}

impl Drop for TaskKey {
    fn drop(&mut self) {
        self.credentials.revoke(&self.key.id);
    }
}
