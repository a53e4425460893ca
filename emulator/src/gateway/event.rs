//! A request as the event of a Lambda proxy integration, payload of REST APIs (version 1).
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html>

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_smithy_types::date_time::{DateTime, Format};
use http::{HeaderMap, header, request::Parts};
use serde_json::{Map, Value, json};

use super::Exchange;
use crate::template::{ACCOUNT, Route};

/// `apiId`; nothing outside of an event shows it here.
pub(super) const API_ID: &str = "local";

/// Headers of the connection, not of the request.
const OF_CONNECTION: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The event, without body and without authorizer.
pub(super) fn of_request(
    stage: &str,
    exchange: &Exchange,
    route: &Route,
    path_parameters: &BTreeMap<String, String>,
    parts: &Parts,
) -> Value {
    let path = parts.uri.path();
    let method = parts.method.as_str();
    let host = text(&parts.headers, header::HOST.as_str());
    let domain = host.split(':').next().unwrap_or_default();
    let (headers, multiple_headers) = headers(exchange, &parts.headers, &host);
    let (query, multiple_query) = query(parts.uri.query().unwrap_or_default());
    let now = SystemTime::now();
    let milliseconds = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let milliseconds = u64::try_from(milliseconds.as_millis()).unwrap_or(u64::MAX);
    let path_parameters = if path_parameters.is_empty() {
        Value::Null
    } else {
        json!(path_parameters)
    };
    json!({
        "resource": route.path,
        "path": path,
        "httpMethod": method,
        "headers": headers,
        "multiValueHeaders": multiple_headers,
        "queryStringParameters": query,
        "multiValueQueryStringParameters": multiple_query,
        "pathParameters": path_parameters,
        "stageVariables": null,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": API_ID,
            "domainName": domain,
            "domainPrefix": domain.split('.').next().unwrap_or_default(),
            "extendedRequestId": exchange.request_id,
            "httpMethod": method,
            "identity": {
                "accessKey": null,
                "accountId": null,
                "caller": null,
                "cognitoAuthenticationProvider": null,
                "cognitoAuthenticationType": null,
                "cognitoIdentityId": null,
                "cognitoIdentityPoolId": null,
                "principalOrgId": null,
                "sourceIp": exchange.client.to_string(),
                "user": null,
                "userAgent": text(&parts.headers, header::USER_AGENT.as_str()),
                "userArn": null,
            },
            "path": path,
            "protocol": "HTTP/1.1",
            "requestId": exchange.request_id,
            "requestTime": request_time(now),
            "requestTimeEpoch": milliseconds,
            "resourceId": "local",
            "resourcePath": route.path,
            "stage": stage,
        },
        "body": null,
        "isBase64Encoded": false,
    })
}

/// Adds the body. The API has no binary media types, so it is taken for text, and what is not
/// UTF-8 is damaged, as on AWS.
pub(super) fn set_body(event: &mut Value, body: &[u8]) {
    if !body.is_empty() {
        event["body"] = json!(String::from_utf8_lossy(body));
    }
}

fn text(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).map(http::HeaderValue::as_bytes);
    String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
}

fn headers(exchange: &Exchange, headers: &HeaderMap, host: &str) -> (Value, Value) {
    let (mut single, mut multiple) = (Map::new(), Map::new());
    let mut add = |name: &str, values: Vec<String>| {
        // The last one wins.
        single.insert(name.to_owned(), json!(values.last()));
        multiple.insert(name.to_owned(), json!(values));
    };
    for name in headers.keys() {
        if !OF_CONNECTION.contains(&name.as_str()) {
            let values = headers.get_all(name).iter();
            let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
            add(name.as_str(), values.collect());
        }
    }
    let client = exchange.client.to_string();
    let forwarded = match text(headers, "x-forwarded-for") {
        before if before.is_empty() => client,
        before => format!("{before}, {client}"),
    };
    add("x-forwarded-for", vec![forwarded]);
    // This front has no TLS, and says so.
    add("x-forwarded-proto", vec!["http".into()]);
    let port = host.rsplit_once(':').map_or("80", |(_, port)| port);
    add("x-forwarded-port", vec![port.into()]);
    if !headers.contains_key("x-amzn-trace-id") {
        add("x-amzn-trace-id", vec![crate::lambda::trace_id()]);
    }
    (Value::Object(single), Value::Object(multiple))
}

fn query(query: &str) -> (Value, Value) {
    if query.is_empty() {
        return (Value::Null, Value::Null);
    }
    let (mut single, mut multiple) = (Map::new(), BTreeMap::<String, Vec<String>>::new());
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        single.insert(name.to_string(), json!(value));
        multiple.entry(name.into()).or_default().push(value.into());
    }
    (Value::Object(single), json!(multiple))
}

/// `20/Nov/2026:12:31:01 +0000`, from the clock of this machine.
fn request_time(now: SystemTime) -> Value {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let Ok(text) = DateTime::from(now).fmt(Format::DateTime) else {
        return Value::Null;
    };
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    let month = part(5..7).parse::<usize>().unwrap_or(1);
    let month = MONTHS.get(month - 1).copied().unwrap_or_default();
    json!(format!(
        "{}/{month}/{}:{} +0000",
        part(8..10),
        part(0..4),
        part(11..19)
    ))
}
