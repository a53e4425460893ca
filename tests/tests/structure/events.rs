//! The sample events: one for every trigger of every function, named after it, in AWS's shape.

use std::collections::BTreeMap;

use e2e::checkout;
use serde_json::Value;

use super::names::{template, template_functions};

/// Sample events by function; a file's name is `<function>[-<case>].json`.
fn samples() -> BTreeMap<String, Vec<(String, Value)>> {
    let functions = checkout::directories("functions");
    let mut samples: BTreeMap<String, Vec<(String, Value)>> = BTreeMap::new();
    let directory = checkout::root().join("events");
    for entry in std::fs::read_dir(&directory).expect("there is an events directory") {
        let name = entry
            .expect("an entry is readable")
            .file_name()
            .into_string()
            .expect("our file names are UTF-8");
        let stem = name
            .strip_suffix(".json")
            .unwrap_or_else(|| panic!("events/{name} is no JSON file"));
        let function = functions
            .iter()
            .filter(|function| {
                stem.strip_prefix(function.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            })
            .max_by_key(|function| function.len())
            .unwrap_or_else(|| panic!("events/{name} is named after no function"));
        let event = serde_json::from_str(&checkout::read(format!("events/{name}")))
            .unwrap_or_else(|error| panic!("events/{name}: {error}"));
        samples
            .entry(function.clone())
            .or_default()
            .push((name, event));
    }
    samples
}

#[test]
fn every_function_has_a_sample() {
    let samples = samples();
    for function in checkout::directories("functions") {
        assert!(
            samples.contains_key(&function),
            "no events/{function}*.json"
        );
    }
}

#[test]
fn every_trigger_has_a_sample() {
    let samples = samples();
    for (function, resource) in template_functions(&template()) {
        for (name, trigger) in resource["Properties"]["Events"]
            .as_object()
            .into_iter()
            .flatten()
        {
            let has_sample = |part: &Value| {
                let mut samples = samples[&function].iter();
                samples.any(|(_, event)| is_sample_of(event, part))
            };
            assert!(
                parts(trigger).iter().all(has_sample),
                "no sample in events/ for the trigger {name} of {function}"
            );
        }
    }
}

/// A trigger with several filters is one for each of them.
fn parts(trigger: &Value) -> Vec<Value> {
    let filters = &trigger["Properties"]["FilterCriteria"]["Filters"];
    let Some(filters) = filters.as_array() else {
        return vec![trigger.clone()];
    };
    let part = |filter: &Value| {
        let mut part = trigger.clone();
        part["Properties"]["FilterCriteria"]["Filters"] = vec![filter.clone()].into();
        part
    };
    filters.iter().map(part).collect()
}

fn is_sample_of(event: &Value, trigger: &Value) -> bool {
    let properties = &trigger["Properties"];
    match trigger["Type"].as_str() {
        Some("Api") => {
            event["resource"] == properties["Path"]
                && (properties["Method"] == "ANY" || event["httpMethod"] == properties["Method"])
        }
        Some("EventBridgeRule") => {
            let pattern = &properties["Pattern"];
            pattern["source"]
                .as_array()
                .is_some_and(|sources| sources.contains(&event["source"]))
                && pattern["detail-type"]
                    .as_array()
                    .is_some_and(|kinds| kinds.contains(&event["detail-type"]))
                && pattern["detail"]["lastStatus"]
                    .as_array()
                    .is_none_or(|states| states.contains(&event["detail"]["lastStatus"]))
        }
        Some("DynamoDB") => is_sample_of_stream(event, properties),
        Some("Schedule") => event["detail-type"] == "Scheduled Event",
        other => panic!("this test does not know triggers of the type {other:?}"),
    }
}

/// An event of the table's stream with a record whose key and kind every filter names. Whether filters
/// let the samples through is a test of the emulator.
fn is_sample_of_stream(event: &Value, properties: &Value) -> bool {
    let filters = properties["FilterCriteria"]["Filters"].as_array();
    event["Records"].as_array().is_some_and(|records| {
        records.iter().any(|record| {
            let wanted = |filter: &Value| {
                let pattern = filter["Pattern"].as_str().expect("a pattern");
                let pattern: Value = serde_json::from_str(pattern).expect("a pattern is JSON");
                let kinds = pattern["eventName"].as_array().expect("names of events");
                let keys = &pattern["dynamodb"]["Keys"]["sk"]["S"];
                let keys = keys.as_array().expect("sort keys");
                let key = &record["dynamodb"]["Keys"]["sk"]["S"];
                let begins = |test: &Value| {
                    let prefix = test["prefix"].as_str().zip(key.as_str());
                    prefix.is_some_and(|(prefix, key)| key.starts_with(prefix))
                };
                kinds.contains(&record["eventName"])
                    && (keys.contains(key) || keys.iter().any(begins))
            };
            record["eventSource"] == "aws:dynamodb"
                && filters.is_none_or(|filters| filters.iter().all(wanted))
        })
    })
}

/// What API Gateway puts into every REST proxy event; a sample without it would prove nothing.
#[test]
fn api_samples_are_rest_proxy_events() {
    let mut seen = 0;
    for (name, event) in samples().into_values().flatten() {
        if event.get("httpMethod").is_none() || event["type"] == "REQUEST" {
            continue;
        }
        seen += 1;
        for field in [
            "resource",
            "path",
            "headers",
            "multiValueHeaders",
            "queryStringParameters",
            "pathParameters",
            "requestContext",
            "body",
            "isBase64Encoded",
        ] {
            assert!(event.get(field).is_some(), "events/{name} has no {field}");
        }
        for field in [
            "resourcePath",
            "httpMethod",
            "stage",
            "requestId",
            "accountId",
            "apiId",
            "identity",
            "requestTimeEpoch",
            "domainName",
            "protocol",
        ] {
            assert!(
                event["requestContext"].get(field).is_some(),
                "events/{name} has no requestContext.{field}"
            );
        }
        assert_eq!(
            event["resource"], event["requestContext"]["resourcePath"],
            "{name}"
        );
        // What the authorizer says today, where one is asked.
        if let Some(said) = event["requestContext"].get("authorizer") {
            for field in ["principalId", "owner", "scopes"] {
                assert!(said[field].is_string(), "events/{name}: no {field}");
            }
        }
        let is_form = event["headers"]["Content-Type"] == "application/x-www-form-urlencoded";
        if let Some(body) = event["body"].as_str().filter(|_| !is_form) {
            let parsed: Result<Value, _> = serde_json::from_str(body);
            assert!(parsed.is_ok(), "the body of events/{name} is no JSON");
        }
    }
    assert!(seen > 0, "no sample of a request");
}

/// A modern request's headers repeat its body; a sample that disagrees would be refused.
#[test]
fn samples_of_modern_requests_agree_with_their_headers() {
    let mut seen = 0;
    for (name, event) in samples().into_values().flatten() {
        let method = event["headers"]["Mcp-Method"].as_str();
        // The authorizer is asked before anybody reads the body.
        let Some(method) = method.filter(|_| event["type"] != "REQUEST") else {
            continue;
        };
        seen += 1;
        let body: Value =
            serde_json::from_str(event["body"].as_str().expect("a modern request has a body"))
                .unwrap_or_else(|error| panic!("events/{name}: {error}"));
        assert_eq!(body["method"], method, "{name}");
        let version = &body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"];
        assert_eq!(version, &event["headers"]["MCP-Protocol-Version"], "{name}");
        if let Some(target) = event["headers"]["Mcp-Name"].as_str() {
            let said = body["params"]["name"]
                .as_str()
                .or_else(|| body["params"]["taskId"].as_str())
                .or_else(|| body["params"]["uri"].as_str());
            assert_eq!(said, Some(target), "{name}");
        }
    }
    assert!(seen > 0, "no sample of a modern request");
}
