//! The template's parameters: the values that were given, or the defaults, checked against what the
//! template allows, as CloudFormation does before it creates anything.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

use super::TemplateError;

/// Every parameter's value, as text.
pub(super) fn check(
    template: &Value,
    given: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, TemplateError> {
    let none = Map::new();
    let declared = template["Parameters"].as_object().unwrap_or(&none);
    if let Some(unknown) = given.keys().find(|name| !declared.contains_key(*name)) {
        return Err(TemplateError::UnknownParameter(unknown.clone()));
    }
    let mut values = BTreeMap::new();
    for (name, declaration) in declared {
        let value = match (given.get(name), &declaration["Default"]) {
            (Some(value), _) => value.clone(),
            (None, Value::Null) => return Err(TemplateError::MissingParameter(name.clone())),
            (None, default) => text(default).ok_or_else(|| bad(name, "its default is not text"))?,
        };
        allowed(name, declaration, &value)?;
        values.insert(name.clone(), value);
    }
    Ok(values)
}

/// A scalar as CloudFormation passes it on.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

fn bad(name: &str, reason: impl Into<String>) -> TemplateError {
    TemplateError::BadParameter {
        name: name.into(),
        reason: reason.into(),
    }
}

fn allowed(name: &str, declaration: &Value, value: &str) -> Result<(), TemplateError> {
    let number = match declaration["Type"].as_str() {
        Some("String" | "CommaDelimitedList") => None,
        Some("Number") => Some(
            value
                .parse::<f64>()
                .ok()
                .filter(|number| number.is_finite())
                .ok_or_else(|| bad(name, "has to be a number"))?,
        ),
        kind => {
            let kind = kind.unwrap_or("(none)");
            return Err(bad(
                name,
                format!("the emulator does not know the type {kind}"),
            ));
        }
    };
    if let Some(values) = declaration["AllowedValues"].as_array() {
        let same = |allowed: &Value| match (number, text(allowed)) {
            (Some(number), Some(allowed)) => allowed.parse() == Ok(number),
            (None, Some(allowed)) => allowed == value,
            (_, None) => false,
        };
        if !values.iter().any(same) {
            let list: Vec<String> = values.iter().filter_map(text).collect();
            return Err(bad(name, format!("has to be one of {}", list.join(", "))));
        }
    }
    if let Some(pattern) = declaration["AllowedPattern"].as_str() {
        // CloudFormation matches the whole value.
        let whole = Regex::new(&format!("^(?s:{pattern})$"))
            .map_err(|error| bad(name, format!("its AllowedPattern is not usable: {error}")))?;
        if !whole.is_match(value) {
            return Err(bad(name, format!("has to match {pattern}")));
        }
    }
    let length = value.chars().count();
    for (limit, actual, too) in [
        ("MinLength", length as f64, std::cmp::Ordering::Less),
        ("MaxLength", length as f64, std::cmp::Ordering::Greater),
        (
            "MinValue",
            number.unwrap_or_default(),
            std::cmp::Ordering::Less,
        ),
        (
            "MaxValue",
            number.unwrap_or_default(),
            std::cmp::Ordering::Greater,
        ),
    ] {
        let Some(bound) = text(&declaration[limit]) else {
            continue;
        };
        let bound: f64 = bound
            .parse()
            .map_err(|_| bad(name, format!("its {limit} is not a number")))?;
        if actual.partial_cmp(&bound) == Some(too) {
            let what = if limit.ends_with("Length") {
                "has to have"
            } else {
                "has to be"
            };
            let side = if limit.starts_with("Min") {
                "at least"
            } else {
                "at most"
            };
            let unit = if limit.ends_with("Length") {
                " characters"
            } else {
                ""
            };
            return Err(bad(name, format!("{what} {side} {bound}{unit}")));
        }
    }
    Ok(())
}
