//! The rules of 2026-07-28, one by one.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, StatusCode};
use protocol::{Class, Edge, EdgeSettings, Listings};
use serde_json::{Value, json};

use crate::client::{Client, settings};

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// A request whose `_meta` is changed before it is sent.
fn with_meta(client: &Client, method: &str, change: impl FnOnce(&mut Value)) -> Request<Bytes> {
    let mut request = client.prepare(method, json!({}));
    let mut body: Value = serde_json::from_slice(request.body()).expect("JSON");
    change(&mut body["params"]["_meta"]);
    *request.body_mut() = Bytes::from(body.to_string());
    request
}

fn set(request: &mut Request<Bytes>, name: &'static str, value: &str) {
    let value = HeaderValue::from_bytes(value.as_bytes()).expect("a header value");
    request
        .headers_mut()
        .insert(HeaderName::from_static(name), value);
}

#[tokio::test]
async fn every_result_says_its_type_and_names_the_server() {
    let client = Client::new(Class::Legacy).with_tasks();
    let created = client
        .tool(
            "create_session",
            json!({"prompt": "x", "message_id": "first"}),
        )
        .await;
    let task = created.result()["taskId"].clone();
    for (method, params, kind) in [
        ("server/discover", json!({}), "complete"),
        ("tools/list", json!({}), "complete"),
        ("prompts/list", json!({}), "complete"),
        ("resources/list", json!({}), "complete"),
        ("resources/templates/list", json!({}), "complete"),
        (
            "tools/call",
            json!({"name": "list_sessions", "arguments": {}}),
            "complete",
        ),
        (
            "tools/call",
            json!({"name": "get_session", "arguments": {}}),
            "complete",
        ),
        (
            "tools/call",
            json!({"name": "create_session", "arguments": {"prompt": "y"}}),
            "task",
        ),
        ("tasks/get", json!({"taskId": task}), "complete"),
        (
            "tasks/update",
            json!({"taskId": task, "inputResponses": {}}),
            "complete",
        ),
        ("tasks/cancel", json!({"taskId": task}), "complete"),
    ] {
        let answer = client.request(method, params).await;
        assert_eq!(answer.status, StatusCode::OK, "{method}: {}", answer.text);
        let result = answer.result();
        assert_eq!(result["resultType"], kind, "{method}");
        let server = &result["_meta"]["io.modelcontextprotocol/serverInfo"];
        assert_eq!(server["name"], "shannon", "{method}: {result}");
        assert_eq!(answer.headers["content-type"], "application/json");
    }
}

#[tokio::test]
async fn meta_says_version_and_capabilities() {
    let client = Client::new(Class::Legacy);
    let remove = |key: &'static str| {
        move |meta: &mut Value| {
            meta.as_object_mut().expect("an object").remove(key);
        }
    };
    for (request, named) in [
        (
            with_meta(&client, "tools/list", remove(VERSION)),
            vec![VERSION],
        ),
        (
            with_meta(&client, "tools/list", remove(CAPABILITIES)),
            vec![CAPABILITIES],
        ),
        (
            with_meta(&client, "server/discover", |meta| *meta = Value::Null),
            vec![VERSION, CAPABILITIES],
        ),
        (
            with_meta(&client, "tools/list", |meta| {
                meta[CAPABILITIES] = "all".into();
            }),
            vec![CAPABILITIES],
        ),
        (
            with_meta(&client, "tools/list", |meta| {
                meta[CAPABILITIES] = json!([]);
            }),
            vec![CAPABILITIES],
        ),
        (
            with_meta(&client, "tools/list", |meta| meta[VERSION] = 7.into()),
            vec![VERSION],
        ),
    ] {
        let answer = client.send(request).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::BAD_REQUEST, -32602),
            "{}",
            answer.text
        );
        for key in named {
            assert!(answer.text.contains(key), "{key}: {}", answer.text);
        }
    }
    // Who the client is it may keep to itself.
    let anonymous = with_meta(
        &client,
        "tools/list",
        remove("io.modelcontextprotocol/clientInfo"),
    );
    assert_eq!(client.send(anonymous).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_version_that_is_not_served_is_told_which_are() {
    let client = Client::new(Class::Legacy);
    for (version, in_meta) in [
        ("2031-01-01", true),
        ("2031-01-01", false),
        ("v999.0.0", true),
    ] {
        let mut request = with_meta(&client, "tools/list", |meta| {
            if in_meta {
                meta[VERSION] = version.into();
            } else {
                meta.as_object_mut().expect("an object").remove(VERSION);
            }
        });
        set(&mut request, "mcp-protocol-version", version);
        let answer = client.send(request).await;
        let error = &answer.response()["error"];
        assert_eq!(
            (answer.status, &error["code"]),
            (StatusCode::BAD_REQUEST, &json!(-32022)),
            "{}",
            answer.text
        );
        assert_eq!(error["data"]["requested"], version);
        let supported = error["data"]["supported"].as_array().expect("a list");
        assert!(supported.contains(&json!("2026-07-28")), "{error}");
    }
    let mut disagreeing = with_meta(&client, "tools/list", |meta| {
        meta[VERSION] = "2031-01-01".into();
    });
    assert_eq!(client.send(disagreeing.clone()).await.code(), -32020);
    disagreeing.headers_mut().remove("mcp-protocol-version");
    assert_eq!(client.send(disagreeing).await.code(), -32020);
}

#[tokio::test]
async fn methods_that_this_era_has_not_are_404() {
    let client = Client::new(Class::Legacy);
    for method in [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "tasks/list",
        "tasks/result",
        "subscriptions/listen",
        "no/such/method",
    ] {
        let answer = client.request(method, json!({"notifications": {}})).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::NOT_FOUND, -32601),
            "{method}: {}",
            answer.text
        );
        assert_eq!(answer.response()["id"], 1);
    }
}

#[tokio::test]
async fn names_may_be_written_in_base64_and_are_compared_decoded() {
    let client = Client::new(Class::Legacy);
    let mut request = client.prepare(
        "tools/call",
        json!({"name": "list_sessions", "arguments": {}}),
    );
    for (name, status) in [
        ("=?base64?bGlzdF9zZXNzaW9ucw==?=", StatusCode::OK),
        ("  list_sessions  ", StatusCode::OK),
        ("=?base64?bGlzdF9zZXNzaW9ucw?=", StatusCode::BAD_REQUEST),
        ("=?base64?bGlz!!!?=", StatusCode::BAD_REQUEST),
        ("bGlzdF9zZXNzaW9ucw==", StatusCode::BAD_REQUEST),
        ("List_Sessions", StatusCode::BAD_REQUEST),
    ] {
        // Blanks around a value are taken off by whoever reads the request from the network.
        set(&mut request, "mcp-name", name.trim());
        let answer = client.send(request.clone()).await;
        assert_eq!(answer.status, status, "{name}: {}", answer.text);
        if status != StatusCode::OK {
            assert_eq!(answer.code(), -32020, "{name}");
        }
    }
    let mut task = client.prepare("tasks/get", json!({"taskId": "t"}));
    task.headers_mut().remove("mcp-name");
    assert_eq!(client.send(task).await.code(), -32020);
    let mut resource = client.prepare("resources/read", json!({"uri": "shannon://sessions"}));
    set(&mut resource, "mcp-name", "shannon://config");
    assert_eq!(client.send(resource).await.code(), -32020);
}

#[tokio::test]
async fn what_the_other_era_sends_along_is_ignored() {
    let client = Client::new(Class::Legacy);
    let mut request = client.prepare("tools/list", json!({}));
    set(&mut request, "mcp-session-id", "gone");
    set(&mut request, "last-event-id", "17");
    assert_eq!(client.send(request).await.status, StatusCode::OK);
    // A hint of the older tasks does not make a task, and does not fail.
    let answer = client
        .request(
            "tools/call",
            json!({"name": "list_sessions", "arguments": {}, "task": {"ttl": 1}}),
        )
        .await;
    assert_eq!(answer.result()["resultType"], "complete");
}

#[tokio::test]
async fn only_listed_hosts_are_served() {
    let client = Client::new(Class::Legacy);
    let edge = |hosts: &[&str]| {
        let settings = EdgeSettings {
            allowed_hosts: hosts.iter().map(ToString::to_string).collect(),
            ..settings()
        };
        Edge::new(Class::Catalog, settings, Listings)
    };
    for (hosts, host, served) in [
        (&[] as &[&str], Some("anything.example"), true),
        (&[], None, true),
        (&["localhost", "[::1]"], Some("localhost"), true),
        (&["localhost", "[::1]"], Some("LocalHost:8080"), true),
        (&["localhost", "[::1]"], Some("[::1]:8080"), true),
        (&["localhost:8080"], Some("localhost:8080"), true),
        (&["localhost:8080"], Some("localhost:9090"), false),
        (&["localhost"], Some("localhost.evil.example"), false),
        (&["localhost"], Some("evil.example:80"), false),
        (&["localhost"], Some("localhost:80@evil.example"), false),
        (&["localhost"], None, false),
    ] {
        let mut request = client.prepare("tools/list", json!({}));
        if let Some(host) = host {
            set(&mut request, "host", host);
        }
        let response = edge(hosts).handle(request, client.principal.clone()).await;
        let expected = if served {
            StatusCode::OK
        } else {
            StatusCode::FORBIDDEN
        };
        assert_eq!(response.status(), expected, "{hosts:?} {host:?}");
    }
    let mut twice = client.prepare("tools/list", json!({}));
    for host in ["localhost", "evil.example"] {
        let host = HeaderValue::from_static(host);
        twice.headers_mut().append("host", host);
    }
    let response = edge(&["localhost"])
        .handle(twice, client.principal.clone())
        .await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
}
