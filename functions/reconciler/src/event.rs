//! The events of EventBridge that come here, and what we read of them.

use std::collections::BTreeMap;

use domain::{FencingToken, OwnerId, SessionId, SessionKey};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The schedule fired.
    Sweep {
        /// In which minute of the day (UTC); one minute after the other, however late they come.
        minute: Option<u64>,
    },
    /// A person asks what the next sweep would take from trees.
    DryRun,
    /// A task of the cluster stopped.
    TaskStopped(StoppedTask),
    /// Something else; its `detail-type`.
    Unknown(String),
}

/// A task that stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoppedTask {
    /// Last part of its ARN.
    pub name: String,
    /// The session that it ran, as whoever started it said; `None` for a task of somebody else.
    pub session: Option<SessionKey>,
    /// The fence of the runner that it was started for, if it said so.
    pub fence: Option<FencingToken>,
    /// Why it stopped, in the words of ECS.
    pub reason: String,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "detail-type")]
    kind: String,
    #[serde(default)]
    time: String,
    #[serde(default)]
    detail: Value,
}

/// The minute of the day of a time like `2026-11-20T12:06:00Z`.
fn minute_of_day(time: &str) -> Option<u64> {
    let (_, clock) = time.split_once('T')?;
    let mut parts = clock.split(':');
    let mut part = |most| {
        parts
            .next()?
            .parse::<u64>()
            .ok()
            .filter(|part| *part < most)
    };
    Some(part(24)? * 60 + part(60)?)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Task {
    task_arn: String,
    #[serde(default)]
    stopped_reason: Option<String>,
    #[serde(default)]
    containers: Vec<Container>,
    #[serde(default)]
    overrides: Overrides,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    #[serde(default)]
    exit_code: Option<i64>,
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Overrides {
    container_overrides: Vec<ContainerOverride>,
}

#[derive(Deserialize)]
struct ContainerOverride {
    #[serde(default)]
    environment: Vec<Variable>,
}

#[derive(Deserialize)]
struct Variable {
    name: String,
    #[serde(default)]
    value: String,
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let envelope = Envelope::deserialize(deserializer)?;
        Ok(match envelope.kind.as_str() {
            "Scheduled Event" => Self::Sweep {
                minute: minute_of_day(&envelope.time),
            },
            "Shannon Dry Run" => Self::DryRun,
            "ECS Task State Change" => Self::TaskStopped(
                serde_json::from_value::<Task>(envelope.detail)
                    .map_err(D::Error::custom)?
                    .into(),
            ),
            _ => Self::Unknown(envelope.kind),
        })
    }
}

impl From<Task> for StoppedTask {
    fn from(task: Task) -> Self {
        let name = task.task_arn.rsplit('/').next().unwrap_or_default();
        Self {
            name: name.to_owned(),
            session: session(&task.overrides),
            fence: environment(&task.overrides)
                .get("SHANNON_FENCE")
                .and_then(|fence| fence.parse().ok())
                .map(FencingToken),
            reason: reason(&task),
        }
    }
}

/// Owner and session are in the environment that the task was started with. Both follow their
/// rules or the task is not ours.
fn session(overrides: &Overrides) -> Option<SessionKey> {
    let environment = environment(overrides);
    Some(SessionKey {
        owner: OwnerId::parse(environment.get("SHANNON_OWNER")?).ok()?,
        session: SessionId::parse(environment.get("SHANNON_SESSION")?).ok()?,
    })
}

/// What the task was told when it was started.
fn environment(overrides: &Overrides) -> BTreeMap<&str, &str> {
    overrides
        .container_overrides
        .iter()
        .flat_map(|container| &container.environment)
        .map(|variable| (variable.name.as_str(), variable.value.as_str()))
        .collect()
}

fn reason(task: &Task) -> String {
    let mut reason = task
        .stopped_reason
        .clone()
        .unwrap_or_else(|| "no reason given".to_owned());
    for container in &task.containers {
        if let Some(code) = container.exit_code {
            reason.push_str(&format!("; exit code {code}"));
        }
        if let Some(more) = &container.reason {
            reason.push_str(&format!("; {more}"));
        }
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::minute_of_day;

    #[test]
    fn the_minute_is_read_from_the_time_of_the_event() {
        for (time, expected) in [
            ("2026-11-20T12:06:00Z", Some(726)),
            ("2026-11-20T00:00:59Z", Some(0)),
            ("2026-11-20T23:59:00Z", Some(1439)),
            ("2026-11-20T24:00:00Z", None),
            ("2026-11-20", None),
            ("", None),
        ] {
            assert_eq!(minute_of_day(time), expected, "{time}");
        }
    }
}
