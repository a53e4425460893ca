//! Whether a value is one that its setting allows.

use std::net::IpAddr;

use super::table::{Kind, Row};
use super::{MINIMUM_SECRET_BYTES, SettingsError};

const LEVELS: [&str; 5] = ["trace", "debug", "info", "warn", "error"];

/// Values that stand in documentation and examples and so protect nothing.
const SAMPLE_SECRETS: [&str; 4] = ["change", "example", "sample", "secret"];

/// Refuses a value outside what the row allows. The message repeats no secret.
pub(super) fn check(row: &Row, value: &str) -> Result<(), SettingsError> {
    let refuse = |problem: String| {
        Err(SettingsError::Invalid {
            name: row.name.clone(),
            problem,
            allowed: allowed(row),
        })
    };
    let shown: String = value.chars().take(64).collect();
    if row.is_secret() {
        return match secret_problem(row, value) {
            Some(problem) => refuse(problem),
            None => Ok(()),
        };
    }
    match row.kind {
        Kind::Integer => match value.parse::<u64>() {
            Err(_) => refuse(format!("{shown:?} is not a whole number")),
            Ok(_) if !in_choices(row, value) => refuse(format!("{shown} is not one of them")),
            #[expect(clippy::cast_precision_loss, reason = "ranges end far below 2^53")]
            Ok(number) if !in_range(row, number as f64) => {
                refuse(format!("{number} is outside the range"))
            }
            Ok(_) => Ok(()),
        },
        Kind::Decimal => match value.parse::<f64>() {
            Ok(number) if number.is_finite() && in_range(row, number) => Ok(()),
            Ok(number) => refuse(format!("{number} is outside the range")),
            Err(_) => refuse(format!("{shown:?} is not a number")),
        },
        Kind::Boolean if !["true", "false"].contains(&value) => {
            refuse(format!("{shown:?} is neither true nor false"))
        }
        Kind::Choice if !in_choices(row, value) => refuse(format!("{shown:?} is not one of them")),
        Kind::Filter if !value.split(',').all(is_filter) => {
            refuse(format!("{shown:?} is no level and no list of target=level"))
        }
        Kind::Label if !is_label(value) => refuse(format!("{shown:?} is not a label")),
        Kind::Version if !is_version(value) => refuse(format!("{shown:?} is not a version")),
        Kind::Address if value.parse::<IpAddr>().is_err() => {
            refuse(format!("{shown:?} is not an IP address"))
        }
        _ if value.contains(['\0', '\n']) => refuse("it contains a line feed or a NUL".to_owned()),
        _ => Ok(()),
    }
}

fn secret_problem(row: &Row, value: &str) -> Option<String> {
    // The template passes what a deployment does not use as empty text.
    if value.is_empty() && (row.kind == Kind::Wiring || row.parameter.is_some()) {
        return None;
    }
    let lower = value.to_ascii_lowercase();
    if value.len() < MINIMUM_SECRET_BYTES {
        Some(format!("it has {} bytes", value.len()))
    } else if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        Some("it contains white space or characters outside ASCII".to_owned())
    } else if SAMPLE_SECRETS
        .iter()
        .any(|sample| lower.starts_with(sample))
        || value.bytes().all(|byte| Some(byte) == value.bytes().next())
    {
        Some("it looks like a sample, not like a random secret".to_owned())
    } else {
        None
    }
}

fn in_choices(row: &Row, value: &str) -> bool {
    row.choices.is_empty() || row.choices.iter().any(|choice| choice == value)
}

fn in_range(row: &Row, number: f64) -> bool {
    row.minimum.is_none_or(|minimum| number >= minimum)
        && row.maximum.is_none_or(|maximum| number <= maximum)
}

fn is_filter(part: &str) -> bool {
    let level = part.split_once('=').map_or(part, |(_, level)| level);
    LEVELS.contains(&level) && !part.starts_with('=')
}

fn is_label(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn is_version(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() == 3
        && parts
            .iter()
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What the row allows, in words.
fn allowed(row: &Row) -> String {
    if row.is_secret() {
        return format!(
            "at least {MINIMUM_SECRET_BYTES} random bytes of printable ASCII, or {}_FILE with the path of a file that holds them",
            row.name
        );
    }
    if !row.choices.is_empty() {
        return row.choices.join(", ");
    }
    let unit = row.unit.as_deref().map(|unit| format!(" {unit}"));
    let unit = unit.unwrap_or_default();
    match (row.kind, row.minimum, row.maximum) {
        (_, Some(minimum), Some(maximum)) => format!("{minimum} to {maximum}{unit}"),
        (Kind::Boolean, ..) => "true, false".to_owned(),
        (Kind::Filter, ..) => {
            format!(
                "{}, or a comma-separated list of target=level",
                LEVELS.join(", ")
            )
        }
        (Kind::Label, ..) => "1 to 32 of a-z, 0-9 and -".to_owned(),
        (Kind::Version, ..) => "an exact version such as 1.2.3".to_owned(),
        (Kind::Address, ..) => "an IP address".to_owned(),
        (Kind::List, ..) => "comma-separated text".to_owned(),
        (Kind::PathList, ..) => "colon-separated paths".to_owned(),
        _ => "one line of text".to_owned(),
    }
}
