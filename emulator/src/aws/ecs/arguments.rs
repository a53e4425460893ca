//! Reading the arguments of ECS requests, with ECS's own refusals.

use serde_json::Value;

use super::operations::Refusal;

/// Checked arguments of RunTask.
pub(super) struct RunArguments {
    pub(super) count: usize,
    pub(super) client_token: Option<String>,
    pub(super) started_by: Option<String>,
    pub(super) group: Option<String>,
    pub(super) launch_type: String,
    pub(super) overrides: Value,
    pub(super) tags: Value,
    pub(super) network: bool,
}

fn invalid(message: &str) -> Refusal {
    Refusal::client("InvalidParameterException", message)
}

/// An optional text.
pub(super) fn text(request: &Value, name: &str) -> Result<Option<String>, Refusal> {
    match &request[name] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        _ => Err(Refusal::client(
            "SerializationException",
            &format!("{name} has to be a text"),
        )),
    }
}

/// The cluster that a request means, by its short name.
pub(super) fn cluster(request: &Value) -> Result<String, Refusal> {
    Ok(text(request, "cluster")?
        .as_deref()
        .map_or("default", super::task::short)
        .to_owned())
}

/// A list of texts; `None` when it is not given.
pub(super) fn texts(request: &Value, name: &str) -> Result<Option<Vec<String>>, Refusal> {
    let bad = || {
        Refusal::client(
            "SerializationException",
            &format!("{name} has to be a list of texts"),
        )
    };
    match &request[name] {
        Value::Null => Ok(None),
        Value::Array(values) => values
            .iter()
            .map(|value| value.as_str().map(str::to_owned).ok_or_else(bad))
            .collect::<Result<_, _>>()
            .map(Some),
        _ => Err(bad()),
    }
}

impl RunArguments {
    pub(super) fn read(request: &Value) -> Result<Self, Refusal> {
        let count = match &request["count"] {
            Value::Null => 1,
            value => value
                .as_u64()
                .and_then(|count| usize::try_from(count).ok())
                .filter(|count| (1..=10).contains(count))
                .ok_or_else(|| invalid("Count must be between 1 and 10."))?,
        };
        let started_by = text(request, "startedBy")?;
        if let Some(started_by) = &started_by {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_/".contains(&byte);
            if started_by.len() > 128 || !started_by.bytes().all(allowed) {
                return Err(invalid(
                    "startedBy can have up to 128 letters, numbers, hyphens, forward slashes and \
                     underscores.",
                ));
            }
        }
        let client_token = text(request, "clientToken")?;
        if client_token.as_ref().is_some_and(|token| {
            token.len() > 64 || !token.bytes().all(|byte| (33..=126).contains(&byte))
        }) {
            return Err(invalid(
                "clientToken can have up to 64 characters between 33 and 126 of ASCII.",
            ));
        }
        let overrides = match &request["overrides"] {
            Value::Null => serde_json::json!({}),
            value @ Value::Object(_) => value.clone(),
            _ => return Err(invalid("overrides has to be an object.")),
        };
        let tags = match &request["tags"] {
            Value::Null => serde_json::json!([]),
            Value::Array(tags) if tags.len() <= 50 => Value::Array(tags.clone()),
            _ => return Err(invalid("tags has to be a list of at most 50 tags.")),
        };
        let vpc = &request["networkConfiguration"]["awsvpcConfiguration"];
        let network = vpc["subnets"]
            .as_array()
            .is_some_and(|subnets| !subnets.is_empty());
        if vpc.is_object() && !network {
            return Err(invalid("subnets can not be empty."));
        }
        Ok(Self {
            count,
            client_token,
            started_by,
            group: text(request, "group")?,
            launch_type: text(request, "launchType")?.unwrap_or_else(|| "FARGATE".to_owned()),
            overrides,
            tags,
            network,
        })
    }
}
