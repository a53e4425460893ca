//! Task definitions: CloudFormation's spelling into that of RegisterTaskDefinition.

use serde_json::{Map, Value, json};

use super::{
    TemplateError, functions::number, intrinsics::invalid, load::Resource, parameters::text,
};

/// Mappings whose keys are data, not property names.
const VERBATIM: &[&str] = &["DockerLabels", "DriverOpts", "Labels", "Options"];
/// Properties that are numbers on the wire.
const NUMBERS: &[&str] = &[
    "ContainerPort",
    "HardLimit",
    "HostPort",
    "Interval",
    "MemoryReservation",
    "Retries",
    "SharedMemorySize",
    "SizeInGiB",
    "SoftLimit",
    "StartPeriod",
    "StartTimeout",
    "StopTimeout",
    "Timeout",
];
/// Properties that are truths on the wire.
const TRUTHS: &[&str] = &[
    "DisableNetworking",
    "Essential",
    "InitProcessEnabled",
    "Interactive",
    "Privileged",
    "PseudoTerminal",
    "ReadOnly",
    "ReadonlyRootFilesystem",
];

pub(super) fn task_definition(resource: &Resource) -> Result<Value, TemplateError> {
    let mut request = Map::new();
    for (name, value) in &resource.properties {
        let place = resource.place(name);
        let value = match name.as_str() {
            // Texts for the task, numbers for a container.
            "Cpu" | "Memory" => json!(text(value).ok_or_else(|| invalid(&place, "is no text"))?),
            _ => wire(name, value, &place)?,
        };
        request.insert(wire_name(name), value);
    }
    request.insert("family".into(), json!(resource.name));
    Ok(Value::Object(request))
}

fn wire(name: &str, value: &Value, place: &str) -> Result<Value, TemplateError> {
    Ok(match value {
        Value::Object(entries) if VERBATIM.contains(&name) => {
            let mut texts = Map::new();
            for (key, value) in entries {
                let value = text(value).ok_or_else(|| invalid(place, "is no text"))?;
                texts.insert(key.clone(), json!(value));
            }
            Value::Object(texts)
        }
        Value::Object(entries) => {
            let mut object = Map::new();
            for (key, value) in entries {
                let place = format!("{place}.{key}");
                object.insert(wire_name(key), wire(key, value, &place)?);
            }
            Value::Object(object)
        }
        Value::Array(items) => {
            let items = items.iter().map(|item| wire(name, item, place));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        scalar if NUMBERS.contains(&name) || name == "Cpu" || name == "Memory" => {
            json!(number::<u64>(scalar, place)?)
        }
        scalar if TRUTHS.contains(&name) => match text(scalar).as_deref() {
            Some("true") => json!(true),
            Some("false") => json!(false),
            _ => return Err(invalid(place, "has to be true or false")),
        },
        scalar => json!(text(scalar).ok_or_else(|| invalid(place, "is no text"))?),
    })
}

fn wire_name(name: &str) -> String {
    let mut characters = name.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => String::new(),
    }
}
