//! Whether a value is right for its setting, and whether the values fit each other.

use std::{collections::BTreeMap, net::IpAddr, path::Path};

use super::{Effective, Kind, Setting, SettingsError};

/// What values of documentation and examples begin with; the functions refuse them, too.
pub(crate) const SAMPLES: [&str; 4] = ["change", "example", "sample", "secret"];

/// What is wrong with `value`, if anything. The answer never holds a secret's value.
pub(super) fn problem(setting: &Setting, value: &str) -> Option<String> {
    if !setting.choices.is_empty() {
        return (!setting.choices.iter().any(|choice| choice == value))
            .then(|| format!("`{value}` is not one of its values"));
    }
    let wrong = |what: &str| Some(format!("`{value}` is not {what}"));
    match setting.kind {
        Kind::Integer => match value.parse::<u64>() {
            #[expect(clippy::cast_precision_loss, reason = "bounds are far below 2^53")]
            Ok(number) => {
                out_of_range(setting, number as f64).then(|| format!("{value} is out of range"))
            }
            Err(_) => wrong("a whole number"),
        },
        Kind::Decimal => match value.parse::<f64>() {
            Ok(number) if number.is_finite() => {
                out_of_range(setting, number).then(|| format!("{value} is out of range"))
            }
            _ => wrong("a number"),
        },
        Kind::Boolean if value != "true" && value != "false" => wrong("true or false"),
        Kind::Filter => filter_problem(value),
        Kind::Label => {
            let right = (1..=32).contains(&value.len())
                && value
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
            if right { None } else { wrong("such a name") }
        }
        Kind::Version => {
            let parts: Vec<&str> = value.split('.').collect();
            let right = parts.len() == 3
                && parts
                    .iter()
                    .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
            if right { None } else { wrong("a version") }
        }
        Kind::Address if value.parse::<IpAddr>().is_err() => wrong("an IP address"),
        Kind::Secret => secret_problem(setting, value),
        Kind::Boolean
        | Kind::Address
        | Kind::Choice
        | Kind::Text
        | Kind::Path
        | Kind::PathList
        | Kind::List
        | Kind::Wiring => None,
    }
}

fn out_of_range(setting: &Setting, number: f64) -> bool {
    setting.minimum.is_some_and(|minimum| number < minimum)
        || setting.maximum.is_some_and(|maximum| number > maximum)
}

fn filter_problem(value: &str) -> Option<String> {
    const LEVELS: [&str; 5] = ["trace", "debug", "info", "warn", "error"];
    value.split(',').map(str::trim).find_map(|part| {
        let (target, level) = part.split_once('=').unwrap_or(("all", part));
        let right =
            LEVELS.contains(&level) && !target.is_empty() && !target.contains(char::is_whitespace);
        (!right).then(|| format!("`{part}` is not a level"))
    })
}

fn secret_problem(setting: &Setting, value: &str) -> Option<String> {
    #[expect(clippy::cast_precision_loss, reason = "bounds are far below 2^53")]
    let bytes = value.len() as f64;
    if setting.minimum.is_some_and(|minimum| bytes < minimum) {
        return Some(format!("it has {} bytes, which is too short", value.len()));
    }
    if setting.maximum.is_some_and(|maximum| bytes > maximum) {
        return Some(format!("it has {} bytes, which is too long", value.len()));
    }
    if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some("it has characters that a header cannot carry".to_owned());
    }
    let lower = value.to_ascii_lowercase();
    if SAMPLES.iter().any(|sample| lower.starts_with(sample)) {
        return Some("it looks like a sample, by its first word".to_owned());
    }
    let mut kinds: Vec<u8> = value.bytes().collect();
    kinds.sort_unstable();
    kinds.dedup();
    (kinds.len() < 8).then(|| "it looks like a sample: hardly any different characters".to_owned())
}

/// What is right for a setting, for messages.
pub(super) fn right(setting: &Setting) -> String {
    if !setting.choices.is_empty() {
        return format!("one of {}", setting.choices.join(", "));
    }
    let unit = setting
        .unit
        .as_ref()
        .map_or(String::new(), |unit| format!(" ({unit})"));
    let range = match (setting.minimum, setting.maximum) {
        (Some(minimum), Some(maximum)) => format!(" from {minimum} to {maximum}"),
        _ => String::new(),
    };
    match setting.kind {
        Kind::Integer => format!("a whole number{range}{unit}"),
        Kind::Decimal => format!("a number{range}{unit}"),
        Kind::Boolean => "true or false".to_owned(),
        Kind::Filter => {
            "trace, debug, info, warn, error, or a list such as info,hyper=warn".to_owned()
        }
        Kind::Label => "1 to 32 of a-z, 0-9 and -".to_owned(),
        Kind::Version => "a version such as 2.1.328".to_owned(),
        Kind::Address => "an IP address such as 127.0.0.1".to_owned(),
        Kind::Secret => {
            format!("a random text{range} bytes, for example from `openssl rand -base64 32`")
        }
        Kind::PathList => "existing directories with colons between them".to_owned(),
        Kind::Choice | Kind::Text | Kind::Path | Kind::List | Kind::Wiring => "any text".to_owned(),
    }
}

/// Makes the roots of workspaces absolute, so that it does not matter where a function runs.
pub(super) fn absolute_roots(value: &str, current: &Path) -> Result<String, String> {
    let mut roots = Vec::new();
    for part in value.split(':').filter(|part| !part.is_empty()) {
        let path = current.join(part);
        let path = path
            .canonicalize()
            .map_err(|error| format!("`{part}` cannot be opened: {error}"))?;
        if !path.is_dir() {
            return Err(format!("`{part}` is not a directory"));
        }
        let text = path
            .to_str()
            .filter(|text| !text.contains(':'))
            .ok_or_else(|| format!("`{}` has a colon or is not UTF-8", path.display()))?;
        roots.push(text.to_owned());
    }
    Ok(roots.join(":"))
}

/// Rules about more than one setting.
pub(super) fn across(values: &BTreeMap<String, Effective>) -> Result<(), SettingsError> {
    let number = |name: &str| -> f64 {
        let value = values
            .get(name)
            .and_then(|effective| effective.value.as_deref());
        value
            .and_then(|value| value.parse().ok())
            .unwrap_or_default()
    };
    let bad = |name: &str, problem: String, right: String| {
        Err(SettingsError::Bad {
            name: name.to_owned(),
            place: values
                .get(name)
                .map_or(String::new(), |effective| effective.source.to_string()),
            problem,
            right,
        })
    };
    let (lease, heartbeat) = (
        number("SHANNON_LEASE_SECONDS"),
        number("SHANNON_HEARTBEAT_SECONDS"),
    );
    if lease < 3.0 * heartbeat {
        return bad(
            "SHANNON_LEASE_SECONDS",
            format!("{lease} is less than three times SHANNON_HEARTBEAT_SECONDS ({heartbeat})"),
            format!("at least {}", 3.0 * heartbeat),
        );
    }
    let (wait, longest) = (
        number("SHANNON_WAIT_DEFAULT_SECONDS"),
        number("SHANNON_WAIT_MAX_SECONDS"),
    );
    if wait > longest {
        return bad(
            "SHANNON_WAIT_DEFAULT_SECONDS",
            format!("{wait} is more than SHANNON_WAIT_MAX_SECONDS ({longest})"),
            format!("at most {longest}"),
        );
    }
    let (cpu, memory) = (
        number("SHANNON_RUNNER_CPU_UNITS"),
        number("SHANNON_RUNNER_MEMORY_MIB"),
    );
    let (least, most, step) = memory_for(cpu);
    let exact = memory == 512.0 && cpu == 256.0;
    if !exact && (memory < least || memory > most || memory % step != 0.0) {
        return bad(
            "SHANNON_RUNNER_MEMORY_MIB",
            format!("ECS has no task with {cpu} CPU units and {memory} MiB"),
            format!("{least} to {most} in steps of {step}"),
        );
    }
    Ok(())
}

/// Least, greatest and step of the memory (MiB) of a Fargate task; from the ECS developer guide,
/// "Task CPU and memory".
fn memory_for(cpu_units: f64) -> (f64, f64, f64) {
    match cpu_units as u32 {
        256 => (1024.0, 2048.0, 1024.0),
        512 => (1024.0, 4096.0, 1024.0),
        1024 => (2048.0, 8192.0, 1024.0),
        2048 => (4096.0, 16384.0, 1024.0),
        4096 => (8192.0, 30720.0, 1024.0),
        8192 => (16384.0, 61440.0, 4096.0),
        _ => (32768.0, 122_880.0, 8192.0),
    }
}
