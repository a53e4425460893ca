//! Requests and responses in the shape of CloudFront functions.
//! <https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/functions-event-structure.html>

use std::net::IpAddr;

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header, request::Parts};
use serde_json::{Map, Value, json};

/// The event of a viewer request.
pub(super) fn viewer_request(parts: &Parts, viewer: IpAddr) -> Value {
    let mut headers = Map::new();
    for name in parts.headers.keys() {
        // Cookies have a place of their own.
        if name != header::COOKIE {
            let values = parts.headers.get_all(name).iter();
            let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
            headers.insert(name.to_string(), multiple(values.collect()));
        }
    }
    let mut cookies: Vec<(String, Vec<String>)> = Vec::new();
    for line in parts.headers.get_all(header::COOKIE) {
        let line = String::from_utf8_lossy(line.as_bytes());
        for pair in line.split(';') {
            let (name, value) = pair.trim().split_once('=').unwrap_or((pair.trim(), ""));
            collect(&mut cookies, name, value);
        }
    }
    let mut query: Vec<(String, Vec<String>)> = Vec::new();
    for pair in parts.uri.query().unwrap_or("").split('&') {
        if !pair.is_empty() {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            collect(&mut query, name, value);
        }
    }
    json!({
        "version": "1.0",
        "context": {
            "distributionDomainName": "localhost",
            "distributionId": "LOCAL",
            "eventType": "viewer-request",
            "requestId": uuid::Uuid::new_v4().to_string(),
        },
        "viewer": {"ip": viewer.to_string()},
        "request": {
            "method": parts.method.as_str(),
            "uri": parts.uri.path(),
            "querystring": object(query),
            "headers": headers,
            "cookies": object(cookies),
        },
    })
}

fn collect(into: &mut Vec<(String, Vec<String>)>, name: &str, value: &str) {
    match into.iter_mut().find(|(known, _)| known == name) {
        Some((_, values)) => values.push(value.to_owned()),
        None => into.push((name.to_owned(), vec![value.to_owned()])),
    }
}

fn object(entries: Vec<(String, Vec<String>)>) -> Value {
    let entries = entries.into_iter();
    Value::Object(
        entries
            .map(|(name, values)| (name, multiple(values)))
            .collect(),
    )
}

fn multiple(values: Vec<String>) -> Value {
    let first = values.first().cloned().unwrap_or_default();
    if values.len() < 2 {
        return json!({ "value": first });
    }
    let all: Vec<Value> = values
        .into_iter()
        .map(|value| json!({ "value": value }))
        .collect();
    json!({ "value": first, "multiValue": all })
}

/// The values of one entry, however often it was given.
fn values(entry: &Value) -> Vec<&str> {
    match entry["multiValue"].as_array() {
        Some(all) => all.iter().filter_map(|one| one["value"].as_str()).collect(),
        None => entry["value"].as_str().into_iter().collect(),
    }
}

/// Applies what the function returned on this event. What it has not changed stays as the client
/// sent it, to the byte.
pub(super) fn apply(
    event: &Value,
    returned: &Value,
    parts: &mut Parts,
) -> Result<Option<Response<Body>>, String> {
    let unchanged = |part: &str| event["request"][part] == returned[part];
    if !returned["statusCode"].is_null() {
        return response(returned).map(Some);
    }
    let path = returned["uri"]
        .as_str()
        .filter(|path| path.starts_with('/'))
        .ok_or("it returned neither a request nor a response")?;
    let query = if unchanged("querystring") {
        let query = parts.uri.query();
        query.map_or_else(String::new, |query| format!("?{query}"))
    } else {
        querystring(&returned["querystring"])
    };
    let uri: Uri = format!("{path}{query}")
        .parse()
        .map_err(|error| format!("it returned an unusable uri: {error}"))?;
    if !unchanged("headers") || !unchanged("cookies") {
        let mut headers = headers(&returned["headers"])?;
        let cookies: Vec<String> = pairs(&returned["cookies"]).collect();
        if !cookies.is_empty() {
            let line = HeaderValue::try_from(cookies.join("; "));
            headers.insert(header::COOKIE, line.map_err(|error| error.to_string())?);
        }
        parts.headers = headers;
    }
    parts.uri = uri;
    Ok(None)
}

/// `name=value` for each value.
fn pairs(object: &Value) -> impl Iterator<Item = String> {
    entries(object).flat_map(|(name, entry)| {
        let values = values(entry).into_iter();
        values.map(move |value| format!("{name}={value}"))
    })
}

fn querystring(object: &Value) -> String {
    let query = pairs(object).collect::<Vec<_>>().join("&");
    if query.is_empty() {
        query
    } else {
        format!("?{query}")
    }
}

fn entries(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

fn headers(object: &Value) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, entry) in entries(object) {
        let bad = |error: http::Error| format!("it returned an unusable header {name}: {error}");
        let key = HeaderName::try_from(name).map_err(|error| bad(error.into()))?;
        for value in values(entry) {
            let value = HeaderValue::try_from(value).map_err(|error| bad(error.into()))?;
            headers.append(key.clone(), value);
        }
    }
    Ok(headers)
}

fn response(returned: &Value) -> Result<Response<Body>, String> {
    let status = returned["statusCode"].as_u64();
    let status = status.and_then(|status| u16::try_from(status).ok());
    let body = match &returned["body"] {
        Value::Object(body) => body.get("data").and_then(Value::as_str).unwrap_or_default(),
        body => body.as_str().unwrap_or_default(),
    };
    let mut response = Response::builder()
        .status(status.ok_or("its statusCode is no number")?)
        .body(Body::from(body.to_owned()))
        .map_err(|error| error.to_string())?;
    *response.headers_mut() = headers(&returned["headers"])?;
    Ok(response)
}
