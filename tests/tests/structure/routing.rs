//! Which request class serves a method: the edge function, the template and the Rust table agree.
//!
//! The edge function is run, not read: the same file that CloudFront gets, in a JavaScript engine.

use std::collections::{BTreeMap, BTreeSet};

use boa_engine::{Context, Source};
use e2e::checkout;
use protocol::{Class, METHODS};
use serde_json::{Value, json};

use super::names::{template, template_functions};

/// The classes of the map and the methods they serve; what is not here goes to `legacy`.
const CLASSES: [(&str, &[&str]); 6] = [
    ("discover", &["server/discover"]),
    (
        "catalog",
        &[
            "tools/list",
            "prompts/list",
            "resources/list",
            "resources/templates/list",
        ],
    ),
    (
        "read",
        &["resources/read", "prompts/get", "completion/complete"],
    ),
    ("call", &["tools/call"]),
    ("tasks", &["tasks/get", "tasks/update", "tasks/cancel"]),
    ("listen", &["subscriptions/listen"]),
];
const MODERN: &str = "2026-07-28";

struct Edge {
    context: Context,
}

impl Edge {
    fn load() -> Self {
        let mut context = Context::default();
        let source = checkout::read("infra/edge/viewer-request.js");
        context
            .eval(Source::from_bytes(&source))
            .unwrap_or_else(|error| panic!("viewer-request.js: {error}"));
        Self { context }
    }

    /// The path that a request is sent on to, or the whole answer when the edge answers itself.
    fn handle(&mut self, method: &str, uri: &str, headers: &[(&str, &str)]) -> Value {
        let headers: BTreeMap<&str, Value> = headers
            .iter()
            .map(|(name, value)| (*name, json!({ "value": value })))
            .collect();
        let event = json!({
            "version": "1.0",
            "context": {"distributionDomainName": "d1.example.net", "distributionId": "E1", "eventType": "viewer-request", "requestId": "r"},
            "viewer": {"ip": "192.0.2.1"},
            "request": {"method": method, "uri": uri, "querystring": {}, "headers": headers, "cookies": {}}
        });
        let call = format!("JSON.stringify(handler({event}))");
        let answer = self
            .context
            .eval(Source::from_bytes(&call))
            .unwrap_or_else(|error| panic!("handler({event}): {error}"));
        let answer = answer
            .as_string()
            .expect("handler returns an object")
            .to_std_string_escaped();
        serde_json::from_str(&answer).expect("JSON.stringify writes JSON")
    }

    fn modern(&mut self, method: &str) -> Value {
        let headers = [("mcp-method", method), ("mcp-protocol-version", MODERN)];
        self.handle("POST", "/mcp", &headers)["uri"].clone()
    }
}

#[test]
fn the_edge_sends_each_method_to_its_class() {
    let mut edge = Edge::load();
    for (class, methods) in CLASSES {
        for method in methods {
            assert_eq!(edge.modern(method), format!("/mcp/{class}"), "{method}");
        }
    }
}

/// The product's own table, less the classes that have no function yet: those stay on `/mcp`.
#[test]
fn the_table_of_the_functions_is_that_of_the_map() {
    let functions = checkout::directories("functions");
    let mut edge = Edge::load();
    let mut with_function: Vec<(&str, &[&str])> = Vec::new();
    for (class, methods) in METHODS {
        let deployed = functions.contains(class.as_str());
        for method in methods {
            assert_eq!(Class::of(method), class);
            let path = if deployed {
                format!("/mcp/{}", class.as_str())
            } else {
                "/mcp".to_owned()
            };
            assert_eq!(edge.modern(method), path, "{method}");
        }
        if deployed {
            with_function.push((class.as_str(), methods));
        }
    }
    assert_eq!(with_function, CLASSES);
}

#[test]
fn the_edge_leaves_everything_else_where_it_is() {
    let mut edge = Edge::load();
    for method in [
        "initialize",
        "ping",
        "tools/unknown",
        "",
        "__proto__",
        "constructor",
        "toString",
        "hasOwnProperty",
    ] {
        assert_eq!(edge.modern(method), "/mcp", "{method}");
    }
    let call = ("mcp-method", "tools/call");
    for headers in [
        vec![call],
        vec![call, ("mcp-protocol-version", "2025-11-25")],
        vec![("mcp-protocol-version", MODERN)],
        vec![],
    ] {
        assert_eq!(
            edge.handle("POST", "/mcp", &headers)["uri"],
            "/mcp",
            "{headers:?}"
        );
    }
    let modern = [call, ("mcp-protocol-version", MODERN)];
    for uri in [
        "/health",
        "/model/v1/messages",
        "/mcp/call",
        "/sse",
        "/messages",
        "/other",
    ] {
        assert_eq!(edge.handle("POST", uri, &modern)["uri"], uri);
    }
    assert_eq!(edge.handle("GET", "/mcp", &modern)["uri"], "/mcp");
}

#[test]
fn the_edge_keeps_the_request_as_it_came() {
    let mut edge = Edge::load();
    let headers = [
        ("mcp-method", "tools/call"),
        ("mcp-protocol-version", MODERN),
        ("authorization", "Bearer token"),
    ];
    let request = edge.handle("POST", "/mcp", &headers);
    assert_eq!(request["method"], "POST");
    for (name, value) in headers {
        assert_eq!(request["headers"][name]["value"], value);
    }
}

#[test]
fn the_template_has_a_streaming_route_for_each_class() {
    let functions = template_functions(&template());
    let mut routes: BTreeMap<String, String> = BTreeMap::new();
    for (function, resource) in &functions {
        for event in resource["Properties"]["Events"]
            .as_object()
            .into_iter()
            .flatten()
        {
            let properties = &event.1["Properties"];
            let Some(path) = properties["Path"].as_str() else {
                continue;
            };
            if path.starts_with("/mcp") || path == "/sse" {
                assert_eq!(
                    properties["ResponseTransferMode"], "RESPONSE_STREAM",
                    "{path}"
                );
            }
            routes.insert(path.to_owned(), function.clone());
        }
    }
    let expected: BTreeSet<(String, String)> = CLASSES
        .iter()
        .map(|(class, _)| (format!("/mcp/{class}"), (*class).to_owned()))
        .chain(["/mcp", "/sse", "/messages"].map(|path| (path.to_owned(), "legacy".to_owned())))
        .collect();
    let of_clients = |path: &str| path.starts_with("/mcp") || ["/sse", "/messages"].contains(&path);
    let deployed: BTreeSet<(String, String)> = routes
        .into_iter()
        .filter(|(path, _)| of_clients(path))
        .collect();
    assert_eq!(deployed, expected);
}
