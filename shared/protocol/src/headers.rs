//! The headers in which modern requests repeat parts of their body (SEP-2243), so that what stands
//! in between can route by them. Each must be there once and say what the body says.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderName};
use rmcp::model::JsonObject;
use serde_json::Value;

/// Before and after a value that is written in Base64, because it has bytes that no header may have.
const BASE64: (&str, &str) = ("=?base64?", "?=");

/// Schemas of tools are ours, but fixtures may bring any.
const SCHEMA_DEPTH: usize = 16;

/// What is wrong with the headers, in words; the code is always -32020.
type Mismatch = String;

/// Which parameter of a method `Mcp-Name` repeats.
pub(crate) fn name_parameter(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    }
}

/// The only value of a header; `None` when there is none.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a [u8]>, Mismatch> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    // Whoever stands in between may have read the other one.
    if values.next().is_some() {
        return Err(format!("the header {name} comes more than once"));
    }
    Ok(first.map(http::HeaderValue::as_bytes))
}

/// What a header value stands for: itself, or what its Base64 holds. `None` when it is neither.
pub(crate) fn decode(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    let encoded = text
        .strip_prefix(BASE64.0)
        .and_then(|rest| rest.strip_suffix(BASE64.1));
    match encoded {
        Some(encoded) => String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok(),
        None => Some(text.to_owned()),
    }
}

/// Compares one header with what the body says; `body` is `None` when it says nothing.
fn agree(headers: &HeaderMap, name: &str, what: &str, body: Option<&str>) -> Result<(), Mismatch> {
    match (single(headers, name)?, body) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(format!("the header {name} is missing; it repeats {what}")),
        (Some(_), None) => Err(format!(
            "there is a header {name}, but the body has no {what}"
        )),
        (Some(value), Some(body)) => match decode(value) {
            Some(decoded) if decoded == body => Ok(()),
            Some(decoded) => Err(format!(
                "the header {name} ({}) is not {what} of the body ({})",
                shown(&decoded),
                shown(body)
            )),
            None => Err(format!("the header {name} is no text and no Base64 of any")),
        },
    }
}

fn shown(text: &str) -> String {
    text.chars().take(128).collect()
}

/// The protocol version that the headers claim.
pub(crate) fn version(headers: &HeaderMap) -> Result<Option<String>, Mismatch> {
    let value = single(headers, "MCP-Protocol-Version")?;
    Ok(value.map(|value| String::from_utf8_lossy(value).into_owned()))
}

/// Checks `Mcp-Method`. Never in Base64: routes compare it as it is.
pub(crate) fn check_method(headers: &HeaderMap, method: &str) -> Result<(), Mismatch> {
    match single(headers, "Mcp-Method")? {
        None => Err("the header Mcp-Method is missing; it repeats the method".to_owned()),
        Some(value) if value != method.as_bytes() => Err(format!(
            "the header Mcp-Method ({}) is not the method of the body ({})",
            shown(&String::from_utf8_lossy(value)),
            shown(method)
        )),
        Some(_) => Ok(()),
    }
}

/// Checks `Mcp-Method` and `Mcp-Name`.
pub(crate) fn check_names(
    headers: &HeaderMap,
    method: &str,
    params: &JsonObject,
) -> Result<(), Mismatch> {
    check_method(headers, method)?;
    match name_parameter(method) {
        Some(parameter) => match params.get(parameter).and_then(Value::as_str) {
            Some(body) => agree(
                headers,
                "Mcp-Name",
                &format!("params.{parameter}"),
                Some(body),
            ),
            // The parameter itself is missing, which is said where parameters are read.
            None => Ok(()),
        },
        None => Ok(()),
    }
}

/// Checks `Mcp-Param-*` against the arguments of a tool whose schema wants them.
pub(crate) fn check_parameters(
    headers: &HeaderMap,
    schema: &JsonObject,
    arguments: Option<&JsonObject>,
) -> Result<(), Mismatch> {
    let mut wanted = Vec::new();
    annotated(schema, &mut Vec::new(), &mut wanted);
    for (path, header) in wanted {
        let name = format!("Mcp-Param-{header}");
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            continue;
        }
        let mut value = None;
        let mut inside = arguments;
        for step in &path {
            value = inside.and_then(|object| object.get(*step));
            inside = value.and_then(Value::as_object);
        }
        let body = match value {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Bool(flag)) => Some(flag.to_string()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let what = format!("argument {}", path.join("."));
        agree(headers, &name, &what, body.as_deref())?;
    }
    Ok(())
}

/// Collects the properties that a schema wants in headers, reached through `properties` alone.
fn annotated<'a>(
    schema: &'a JsonObject,
    path: &mut Vec<&'a str>,
    wanted: &mut Vec<(Vec<&'a str>, &'a str)>,
) {
    if path.len() >= SCHEMA_DEPTH {
        return;
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        let Some(property) = property.as_object() else {
            continue;
        };
        path.push(name);
        if let Some(header) = property.get("x-mcp-header").and_then(Value::as_str) {
            wanted.push((path.clone(), header));
        }
        annotated(property, path, wanted);
        path.pop();
    }
}

#[cfg(test)]
mod tests;
