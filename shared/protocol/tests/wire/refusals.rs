//! Bad input: each gets a precise error, nothing panics, nothing is recorded.

use bytes::Bytes;
use domain::Principal;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use proptest::prelude::*;
use protocol::Class;
use serde_json::{Value, json};

use crate::client::{Answer, Client};

fn list() -> Value {
    json!({"name": "list_sessions", "arguments": {}})
}

async fn with_body(client: &Client, body: impl Into<Bytes>) -> Answer {
    let mut request = client.prepare("tools/call", list());
    *request.body_mut() = body.into();
    client.send(request).await
}

async fn with_header(client: &Client, name: &'static str, value: Option<&str>) -> Answer {
    let mut request = client.prepare("tools/call", list());
    request.headers_mut().remove(name);
    if let Some(value) = value {
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a header value");
        request
            .headers_mut()
            .insert(HeaderName::from_static(name), value);
    }
    client.send(request).await
}

#[tokio::test]
async fn a_body_must_be_one_request() {
    let client = Client::new(Class::Call);
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let mut seen = Vec::new();
    for (body, code) in [
        ("", -32700),
        ("not json", -32700),
        ("{\"jsonrpc\": ", -32700),
        ("\0", -32700),
        (deep.as_str(), -32700),
        ("[]", -32600),
        (
            "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\"}]",
            -32600,
        ),
        ("3", -32600),
        ("null", -32600),
        ("{}", -32600),
        ("{\"id\":1,\"method\":\"tools/call\"}", -32600),
        (
            "{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"tools/call\"}",
            -32600,
        ),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"tools/call\"}",
            -32600,
        ),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"tools/call\"}",
            -32600,
        ),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":7}", -32600),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}", -32600),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":[]}",
            -32602,
        ),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{}}",
            -32602,
        ),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"get_session\",\"arguments\":[]}}",
            -32602,
        ),
    ] {
        let answer = with_body(&client, Bytes::from(body.to_owned())).await;
        assert_eq!(
            answer.status,
            StatusCode::BAD_REQUEST,
            "{body}: {}",
            answer.text
        );
        assert_eq!(answer.code(), code, "{body}: {}", answer.text);
        assert_eq!(answer.headers["content-type"], "application/json");
        let shown: String = body.chars().take(80).collect();
        seen.push(format!("{shown:?} => {}", answer.response()));
    }
    let invalid = with_body(&client, &b"{\"jsonrpc\": \"\xff\xfe\"}"[..]).await;
    assert_eq!(
        (invalid.status, invalid.code()),
        (StatusCode::BAD_REQUEST, -32700)
    );
    insta::assert_snapshot!("bodies", seen.join("\n"));
}

#[tokio::test]
async fn a_body_may_not_be_too_large() {
    let client = Client::new(Class::Call);
    let mut request = client.prepare("tools/call", list());
    let mut body = request.body().to_vec();
    body.resize(100_000, b' ');
    *request.body_mut() = Bytes::from(body.clone());
    assert_eq!(client.send(request).await.status, StatusCode::OK);
    body.push(b' ');
    let answer = with_body(&client, body).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    insta::assert_json_snapshot!("too_large", answer.response());
}

#[tokio::test]
async fn headers_are_read_as_clients_write_them() {
    let client = Client::new(Class::Call);
    for accept in [
        None,
        Some("*/*"),
        Some("application/json"),
        Some("text/event-stream"),
        Some("Text/Event-Stream;q=0.5, APPLICATION/JSON"),
        Some(""),
    ] {
        let answer = with_header(&client, "accept", accept).await;
        assert_eq!(answer.status, StatusCode::OK, "{accept:?}: {}", answer.text);
    }
    let answer = with_header(&client, "accept", Some("text/html")).await;
    assert_eq!(answer.status, StatusCode::NOT_ACCEPTABLE);
    for content_type in ["Application/JSON", "application/json; charset=utf-8"] {
        let answer = with_header(&client, "content-type", Some(content_type)).await;
        assert_eq!(answer.status, StatusCode::OK, "{content_type}");
    }
    for content_type in [None, Some("text/plain"), Some("application/jsonp")] {
        let answer = with_header(&client, "content-type", content_type).await;
        assert_eq!(
            answer.status,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "{content_type:?}"
        );
        assert!(answer.response()["error"]["code"].is_i64());
    }
    // API Gateway routes by the host before a function sees the request.
    let answer = with_header(&client, "host", Some("evil.example")).await;
    assert_eq!(answer.status, StatusCode::OK);
    // A session of a transport that is no more is ignored.
    let answer = with_header(&client, "mcp-session-id", Some("from-before")).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn headers_must_agree_with_the_body() {
    let client = Client::new(Class::Call);
    let legacy = Client::of(Class::Legacy, client.fake.clone());
    for client in [&client, &legacy] {
        for (name, value) in [
            ("mcp-method", None),
            ("mcp-method", Some("tools/list")),
            ("mcp-method", Some("\u{e9}")),
            ("mcp-name", None),
            ("mcp-name", Some("create_session")),
            ("mcp-protocol-version", None),
            ("mcp-protocol-version", Some("2025-11-25")),
        ] {
            let answer = with_header(client, name, value).await;
            assert_eq!(
                answer.status,
                StatusCode::BAD_REQUEST,
                "{name} {value:?}: {}",
                answer.text
            );
            assert_eq!(answer.code(), -32020, "{name} {value:?}: {}", answer.text);
        }
    }
    let mut twice = client.prepare("tools/call", list());
    twice
        .headers_mut()
        .append("mcp-method", HeaderValue::from_static("tools/list"));
    assert_eq!(client.send(twice).await.code(), -32020);

    // What comes twice in the body is read as once, by everyone alike.
    let body = format!(
        "{{\"method\":\"tools/list\",{}",
        &String::from_utf8_lossy(client.prepare("tools/call", list()).body())[1..]
    );
    assert_eq!(with_body(&client, body).await.status, StatusCode::OK);
}

#[tokio::test]
async fn versions_and_their_data_are_checked() {
    let client = Client::new(Class::Legacy);
    let mut unknown = client.prepare("tools/call", list());
    let body = String::from_utf8_lossy(unknown.body()).replace("2026-07-28", "2031-01-01");
    *unknown.body_mut() = Bytes::from(body);
    let version = HeaderValue::from_static("2031-01-01");
    unknown
        .headers_mut()
        .insert("mcp-protocol-version", version);
    let answer = client.send(unknown).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::BAD_REQUEST, -32022)
    );

    let mut without = client.prepare("tools/call", list());
    let mut body: Value = serde_json::from_slice(without.body()).expect("JSON");
    let meta = body["params"]["_meta"].as_object_mut().expect("an object");
    meta.remove("io.modelcontextprotocol/clientCapabilities");
    *without.body_mut() = Bytes::from(body.to_string());
    let answer = client.send(without).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::BAD_REQUEST, -32602)
    );
}

#[tokio::test]
async fn a_class_serves_its_own_methods() {
    let call = Client::new(Class::Call);
    let answer = call.request("tools/list", json!({})).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::NOT_FOUND, -32601)
    );
    insta::assert_json_snapshot!("other_class", answer.response());
    let legacy = Client::new(Class::Legacy);
    for method in [
        "no/such/method",
        "ping",
        "initialize-not",
        "subscriptions/listen",
        "",
    ] {
        let answer = legacy.request(method, json!({})).await;
        assert_eq!(
            answer.status,
            StatusCode::NOT_FOUND,
            "{method}: {}",
            answer.text
        );
        assert_eq!(answer.code(), -32601, "{method}");
    }
    let answer = legacy.request("no/such/method", json!({})).await;
    assert_eq!(
        answer.response()["error"]["message"],
        "there is no method no/such/method"
    );
}

#[tokio::test]
async fn only_post_is_served() {
    let client = Client::new(Class::Legacy);
    for method in [Method::GET, Method::DELETE, Method::PUT, Method::HEAD] {
        let mut request = client.prepare("tools/call", list());
        *request.method_mut() = method.clone();
        let answer = client.send(request).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(answer.headers["allow"], "POST");
    }
}

#[tokio::test]
async fn an_origin_must_be_listed() {
    let client = Client::new(Class::Call);
    for origin in [
        "https://evil.example",
        "null",
        "https://app.example.evil.example",
        "http://app.example",
    ] {
        let answer = with_header(&client, "origin", Some(origin)).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{origin}");
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
    let answer = with_header(&client, "origin", Some("https://app.example")).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.headers["access-control-allow-origin"],
        "https://app.example"
    );
}

/// A browser asks whether a page may call, and has no token when it does.
#[tokio::test]
async fn a_listed_origin_may_ask_before_it_calls() {
    let mut client = Client::new(Class::Legacy);
    client.principal = None;
    let ask = async |origin: &'static str| {
        let mut request = client.prepare("tools/call", list());
        *request.method_mut() = Method::OPTIONS;
        *request.body_mut() = Bytes::new();
        let headers = request.headers_mut();
        headers.insert("origin", HeaderValue::from_static(origin));
        headers.insert(
            "access-control-request-method",
            HeaderValue::from_static("POST"),
        );
        client.send_raw(request).await
    };
    let answer = ask("https://app.example").await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    let header = |name: &str| answer.headers()[name].to_str().expect("ASCII").to_owned();
    assert_eq!(header("access-control-allow-origin"), "https://app.example");
    assert_eq!(header("vary"), "origin");
    for method in ["POST", "GET", "DELETE"] {
        assert!(header("access-control-allow-methods").contains(method));
    }
    for name in [
        "authorization",
        "content-type",
        "mcp-session-id",
        "mcp-method",
    ] {
        assert!(
            header("access-control-allow-headers").contains(name),
            "{name}"
        );
    }
    for name in ["mcp-session-id", "www-authenticate"] {
        assert!(
            header("access-control-expose-headers").contains(name),
            "{name}"
        );
    }
    let refused = ask("https://evil.example").await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert!(
        !refused
            .headers()
            .contains_key("access-control-allow-methods")
    );
    // Asking is all that needs no token, and an answer says to the page that it lacks one.
    let answer = with_header(&client, "origin", Some("https://app.example")).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        answer.headers["access-control-allow-origin"],
        "https://app.example"
    );
}

#[tokio::test]
async fn a_caller_must_be_known_and_may_do_what_the_token_allows() {
    let mut client = Client::new(Class::Call);
    client.principal = None;
    let answer = client.request("tools/call", list()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);

    let reader = crate::client::principal("me").owner;
    client.principal = Some(Principal {
        owner: reader,
        scopes: vec!["sessions:read".to_owned()],
    });
    client.call("list_sessions", json!({})).await;
    let refused = client.tool("create_session", json!({"prompt": "x"})).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.text.contains("sessions:write"), "{}", refused.text);
    assert_eq!(client.fake.session_keys(), []);
}

#[tokio::test]
async fn notifications_are_accepted() {
    let client = Client::new(Class::Legacy);
    for version in [crate::client::MODERN, crate::client::LEGACY] {
        let mut request = client.prepare("tools/call", list());
        let headers = request.headers_mut();
        headers.remove("mcp-method");
        headers.insert("mcp-protocol-version", HeaderValue::from_static(version));
        let body = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
        *request.body_mut() = Bytes::from(body.to_string());
        let answer = client.send(request).await;
        assert_eq!(
            (answer.status, answer.text.as_str()),
            (StatusCode::ACCEPTED, "")
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever arrives, there is an answer, and it is JSON-RPC.
    #[test]
    fn hostile_bodies_are_answered(body in prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        "\\{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":\\{\"name\":\"(wait|get|create)_session\",\"arguments\":\\{\"[a-z_]{1,12}\":\\PC{0,20}\\}\\}\\}".prop_map(String::into_bytes),
        "\\PC{0,200}".prop_map(String::into_bytes),
    ]) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let client = Client::new(Class::Legacy).legacy();
            let answer = with_body(&client, body).await;
            assert!(!answer.status.is_server_error(), "{}", answer.text);
            assert!(answer.status == StatusCode::ACCEPTED || answer.response()["jsonrpc"] == "2.0");
        });
    }
}
