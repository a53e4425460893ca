//! The real edge function file, and how functions that misbehave are contained.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Instant,
};

use emulator::edge::{EdgeError, EdgeFunction};
use http::{Request, request::Parts};

const VIEWER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn real() -> EdgeFunction {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../infra/edge/viewer-request.js");
    EdgeFunction::load(&path).unwrap()
}

fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

const MODERN: (&str, &str) = ("MCP-Protocol-Version", "2026-07-28");

#[tokio::test]
async fn a_modern_request_goes_to_the_function_of_its_class() {
    let edge = real();
    for (method, path) in [
        ("server/discover", "/mcp/discover"),
        ("tools/list", "/mcp/catalog"),
        ("prompts/list", "/mcp/catalog"),
        ("resources/list", "/mcp/catalog"),
        ("resources/templates/list", "/mcp/catalog"),
        ("tools/call", "/mcp/call"),
        ("tasks/get", "/mcp/tasks"),
        ("tasks/update", "/mcp/tasks"),
        ("tasks/cancel", "/mcp/tasks"),
        ("resources/read", "/mcp/read"),
        ("prompts/get", "/mcp/read"),
        ("completion/complete", "/mcp/read"),
        ("subscriptions/listen", "/mcp/listen"),
        ("initialize", "/mcp"),
        ("constructor", "/mcp"),
        ("__proto__", "/mcp"),
        ("", "/mcp"),
    ] {
        let mut parts = request("POST", "/mcp?a=1&a=2", &[MODERN, ("Mcp-Method", method)]);
        assert!(edge.apply(&mut parts, VIEWER).await.unwrap().is_none());
        assert_eq!(parts.uri, format!("{path}?a=1&a=2").as_str(), "{method}");
    }
}

#[tokio::test]
async fn every_path_that_the_edge_gives_is_a_route_of_the_template() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../template.yaml");
    let given = [
        ("AccessTokenSha256", "0".repeat(64)),
        ("SigningKey", "k".repeat(32)),
        ("AnthropicApiKey", "a".repeat(32)),
        ("RunnerImage", "none".into()),
    ];
    let given = given.map(|(name, value)| (name.to_owned(), value)).into();
    let stack = emulator::template::load(&path, &given, "test").unwrap();
    let edge = real();
    for method in [
        "server/discover",
        "tools/list",
        "tools/call",
        "tasks/get",
        "none",
    ] {
        let mut parts = request("POST", "/mcp", &[MODERN, ("Mcp-Method", method)]);
        edge.apply(&mut parts, VIEWER).await.unwrap();
        let route = stack
            .routes
            .iter()
            .find(|route| route.path == parts.uri.path());
        let route = route.unwrap_or_else(|| panic!("no route for {}", parts.uri));
        assert!(["POST", "ANY"].contains(&route.method.as_str()));
        assert!(route.streaming && route.authorizer.is_some());
    }
}

#[tokio::test]
async fn everything_else_is_left_alone() {
    let edge = real();
    let call = ("Mcp-Method", "tools/call");
    for (method, uri, headers) in [
        ("POST", "/mcp", vec![call]),
        (
            "POST",
            "/mcp",
            vec![("MCP-Protocol-Version", "2025-11-25"), call],
        ),
        ("POST", "/mcp", vec![MODERN]),
        (
            "POST",
            "/mcp",
            vec![MODERN, call, ("Mcp-Method", "tools/list")],
        ),
        ("POST", "/mcp", vec![MODERN, MODERN, call]),
        ("GET", "/mcp", vec![MODERN, call]),
        ("DELETE", "/mcp", vec![MODERN, call]),
        ("POST", "/mcp/", vec![MODERN, call]),
        ("POST", "/model/v1/messages", vec![MODERN, call]),
        (
            "GET",
            "/health?x=%20y&flag&empty=&x=",
            vec![("Cookie", "a=1; b=2"), ("X-Any", "1"), ("X-Any", "2")],
        ),
    ] {
        let before = request(method, uri, &headers);
        let mut after = before.clone();
        assert!(edge.apply(&mut after, VIEWER).await.unwrap().is_none());
        assert_eq!(after.uri, before.uri);
        assert_eq!(after.headers, before.headers, "{uri}");
    }
}

/// The authorizer and its cache look at Authorization only.
#[tokio::test]
async fn a_key_becomes_the_one_identity() {
    let edge = real();
    let key = ("X-API-Key", "key");
    let bearer = ("Authorization", "Bearer token");
    for (headers, authorization) in [
        (vec![key], Some("Bearer key")),
        (
            vec![key, MODERN, ("Mcp-Method", "tools/call")],
            Some("Bearer key"),
        ),
        (vec![key, bearer], Some("Bearer token")),
        (vec![bearer], Some("Bearer token")),
        (vec![key, ("X-API-Key", "other")], None),
        (vec![("X-API-Key", "")], None),
        (vec![], None),
    ] {
        let mut parts = request("POST", "/mcp", &headers);
        assert!(edge.apply(&mut parts, VIEWER).await.unwrap().is_none());
        let found = parts.headers.get("authorization");
        let found = found.map(|value| value.to_str().unwrap());
        assert_eq!(found, authorization, "{headers:?}");
        assert!(!parts.headers.contains_key("x-api-key"), "{headers:?}");
    }
}

/// CloudFormation takes the text of a function, and no file.
#[test]
fn the_template_deploys_this_file() {
    let ours = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let given = [
        ("AccessTokenSha256", "0".repeat(64)),
        ("SigningKey", "k".repeat(32)),
        ("AnthropicApiKey", "a".repeat(32)),
        ("RunnerImage", "none".into()),
    ];
    let given = given.map(|(name, value)| (name.to_owned(), value)).into();
    let stack = emulator::template::load(&ours.join("template.yaml"), &given, "test").unwrap();
    let file = std::fs::read_to_string(ours.join("infra/edge/viewer-request.js")).unwrap();
    assert_eq!(stack.edge.unwrap().code.as_deref(), Some(file.as_str()));
    // What CloudFront takes.
    assert!(file.len() < 10 * 1024, "{} bytes", file.len());
}

#[tokio::test]
async fn a_function_may_answer_or_change_headers() {
    let edge = EdgeFunction::from_source(
        "function handler(event) {
            var request = event.request;
            if (request.querystring.stop) {
                return {statusCode: 302, headers: {location: {value: event.viewer.ip}}, body: 'no'};
            }
            request.headers['x-added'] = {value: request.cookies.a.value};
            delete request.headers['x-gone'];
            return request;
        }"
        .into(),
    )
    .unwrap();
    let mut parts = request("GET", "/?stop=1", &[]);
    let response = edge.apply(&mut parts, VIEWER).await.unwrap().unwrap();
    assert_eq!(response.status(), 302);
    assert_eq!(response.headers()["location"], "127.0.0.1");
    let mut parts = request("GET", "/", &[("cookie", "a=b"), ("x-gone", "1")]);
    assert!(edge.apply(&mut parts, VIEWER).await.unwrap().is_none());
    assert_eq!(parts.headers["x-added"], "b");
    assert!(!parts.headers.contains_key("x-gone"));
}

#[tokio::test]
async fn a_function_that_misbehaves_fails_its_request_and_no_other() {
    let edge = EdgeFunction::from_source(
        "function handler(event) {
            if (event.request.uri === '/throw') { throw new Error('as told'); }
            if (event.request.uri === '/loop') { while (true) {} }
            if (event.request.uri === '/deep') { return handler(event); }
            if (event.request.uri === '/nothing') { return undefined; }
            if (event.request.uri === '/wrong') { return {uri: 'no slash'}; }
            return event.request;
        }"
        .into(),
    )
    .unwrap();
    for path in ["/throw", "/loop", "/deep", "/nothing", "/wrong"] {
        let mut parts = request("GET", path, &[]);
        let error = edge.apply(&mut parts, VIEWER).await.unwrap_err();
        assert!(matches!(error, EdgeError::Failed(_)), "{path}: {error}");
        assert_eq!(parts.uri.path(), path, "unchanged");
    }
    let mut parts = request("GET", "/fine", &[]);
    assert!(edge.apply(&mut parts, VIEWER).await.unwrap().is_none());
}

#[tokio::test]
async fn what_cannot_be_loaded_says_why() {
    let error = EdgeFunction::from_source("function handler(".into()).unwrap_err();
    assert!(error.to_string().contains("SyntaxError"), "{error}");
    let error = EdgeFunction::from_source("var handler = 1;".into()).unwrap_err();
    assert!(
        error.to_string().contains("no function named handler"),
        "{error}"
    );
    let error = EdgeFunction::load(&PathBuf::from("/nonexistent.js")).unwrap_err();
    assert!(error.to_string().contains("/nonexistent.js"), "{error}");
}

/// Prints the time of one call (`cargo test -p emulator --test edge -- --nocapture`).
#[tokio::test]
async fn many_calls_in_a_row_all_get_their_own_answer() {
    let edge = real();
    let began = Instant::now();
    for number in 0..2000 {
        let uri = format!("/mcp?n={number}");
        let mut parts = request("POST", &uri, &[MODERN, ("Mcp-Method", "tools/call")]);
        assert!(edge.apply(&mut parts, VIEWER).await.unwrap().is_none());
        assert_eq!(parts.uri, format!("/mcp/call?n={number}").as_str());
    }
    println!("{:?} per call of the edge function", began.elapsed() / 2000);
}
