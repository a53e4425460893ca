//! Task definitions: families with revisions. The template's are registered at start; a changed one
//! becomes a new revision, as a deployment would make it.

use serde_json::{Value, json};

use super::{
    OpenError,
    database::{DatabaseError, Rows},
    now,
    operations::Refusal,
    task::{arn, short},
};

/// Fields that registering adds: not part of what a person wrote.
const ADDED: &[&str] = &[
    "taskDefinitionArn",
    "revision",
    "status",
    "compatibilities",
    "registeredAt",
];

/// Registers a definition and returns it as stored. Repeating makes another revision, as on AWS.
pub(super) fn register(rows: &Rows<'_>, request: &Value) -> Result<Value, Refusal> {
    let family = check(request)?;
    let revision = match rows.definition(&family, None)? {
        Some(newest) => revision_of(&newest) + 1,
        None => 1,
    };
    let mut definition = request.clone();
    let stored = definition
        .as_object_mut()
        .ok_or_else(|| Refusal::client("ClientException", "a task definition is an object"))?;
    stored.remove("tags");
    stored.insert(
        "taskDefinitionArn".into(),
        json!(arn(&format!("task-definition/{family}:{revision}"))),
    );
    stored.insert("revision".into(), json!(revision));
    stored.insert("status".into(), json!("ACTIVE"));
    stored.insert("compatibilities".into(), json!(["EC2", "FARGATE"]));
    stored.insert("registeredAt".into(), json!(now() / 1000));
    rows.put_definition(&family, revision, &definition)?;
    Ok(definition)
}

/// Registers a definition of the template unless its newest revision is the same.
pub(super) fn ensure(rows: &Rows<'_>, wanted: &Value) -> Result<(), OpenError> {
    let refused = |refusal: Refusal| match refusal {
        Refusal::Database(error) => OpenError::Database(error),
        other => OpenError::Definition(other.to_string()),
    };
    let family = check(wanted).map_err(refused)?;
    if let Some(mut newest) = rows.definition(&family, None)? {
        if let Some(fields) = newest.as_object_mut() {
            for name in ADDED {
                fields.remove(*name);
            }
        }
        let mut wanted = wanted.clone();
        if let Some(fields) = wanted.as_object_mut() {
            fields.remove("tags");
        }
        if newest == wanted {
            return Ok(());
        }
    }
    register(rows, wanted).map(drop).map_err(refused)
}

/// The definition that `family`, `family:revision` or an ARN names.
pub(super) fn find(rows: &Rows<'_>, name: &str) -> Result<Option<Value>, DatabaseError> {
    let name = short(name);
    match name.rsplit_once(':') {
        None => rows.definition(name, None),
        Some((family, revision)) => match revision.parse() {
            Ok(revision) => rows.definition(family, Some(revision)),
            Err(_) => Ok(None),
        },
    }
}

pub(super) fn revision_of(definition: &Value) -> u32 {
    definition["revision"]
        .as_u64()
        .and_then(|revision| u32::try_from(revision).ok())
        .unwrap_or(0)
}

fn check(request: &Value) -> Result<String, Refusal> {
    let client = |message: &str| Refusal::client("ClientException", message);
    let family = request["family"]
        .as_str()
        .filter(|family| {
            !family.is_empty()
                && family.len() <= 255
                && family
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        })
        .ok_or_else(|| {
            client("Family should contain 1 to 255 letters, numbers, hyphens and underscores.")
        })?;
    let containers = request["containerDefinitions"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let [container] = containers else {
        return Err(client(&format!(
            "the emulator runs tasks of exactly one container, {family} has {}",
            containers.len()
        )));
    };
    for name in ["name", "image"] {
        if container[name].as_str().is_none_or(str::is_empty) {
            return Err(client(&format!(
                "Container.{name} should not be null or empty."
            )));
        }
    }
    if container["stopTimeout"]
        .as_u64()
        .is_some_and(|seconds| seconds > 120)
    {
        return Err(client(
            "StopTimeout of a container can be at most 120 seconds on Fargate.",
        ));
    }
    Ok(family.to_owned())
}
