//! Clients of the initialize era: nothing is kept between their requests.

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use insta::assert_json_snapshot;
use protocol::{Class, Edge, Listings};
use serde_json::{Value, json};

use crate::client::{Client, LEGACY};

fn initialize(version: &str) -> Value {
    json!({"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}})
}

/// The edge sends nobody there who does not name the modern version; by its own address anybody comes.
#[tokio::test]
async fn another_class_says_what_they_lack() {
    let client = Client::new(Class::Call).legacy();
    let request = json!({"name": "list_sessions", "arguments": {}});
    let answer = client
        .send(client.prepare("tools/call", request.clone()))
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let error = &answer.response()["error"];
    assert_eq!(error["code"], -32020, "{error}");
    // Neither does a program of their own class that was made without what serves them.
    let edge = Edge::new(Class::Legacy, crate::client::settings(), Listings);
    let request = client.prepare("tools/call", request);
    let response = edge.handle(request, client.principal.clone()).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let body = response.into_body().collect().await.expect("cannot fail");
    let said = String::from_utf8(body.to_bytes().to_vec()).expect("UTF-8");
    assert!(
        said.contains("only MCP 2026-07-28 is served here"),
        "{said}"
    );
}

#[tokio::test]
async fn versions_are_negotiated() {
    let client = Client::new(Class::Legacy).legacy();
    for (asked, expected) in [
        (LEGACY, LEGACY),
        ("2025-06-18", "2025-06-18"),
        ("2025-03-26", "2025-03-26"),
        ("2024-11-05", "2024-11-05"),
        ("1999-01-01", LEGACY),
        ("2026-07-28", LEGACY),
    ] {
        let mut request = client.prepare("initialize", initialize(asked));
        request.headers_mut().remove("mcp-protocol-version");
        let answer = client.send(request).await;
        assert_eq!(answer.result()["protocolVersion"], expected, "{asked}");
    }
    let mut request = client.prepare("initialize", initialize(LEGACY));
    request.headers_mut().remove("mcp-protocol-version");
    assert_json_snapshot!("initialize", client.send(request).await.response());
}

#[tokio::test]
async fn a_client_without_headers_is_served() {
    let client = Client::new(Class::Legacy).legacy();
    let mut request = client.prepare("tools/list", json!({}));
    request.headers_mut().remove("mcp-protocol-version");
    request.headers_mut().remove("accept");
    let answer = client.send(request).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.result()["tools"].as_array().expect("tools").len(),
        25
    );
    assert_eq!(client.request("ping", json!({})).await.result(), &json!({}));
}

#[tokio::test]
async fn results_have_the_old_form_and_the_same_content() {
    let legacy = Client::new(Class::Legacy).legacy();
    let modern = Client::of(Class::Legacy, legacy.fake.clone());
    let old = legacy.request("tools/list", json!({})).await;
    let new = modern.request("tools/list", json!({})).await;
    assert_eq!(old.result()["tools"], new.result()["tools"]);
    for field in ["ttlMs", "cacheScope", "resultType", "_meta"] {
        assert!(old.result().get(field).is_none(), "{field}");
        assert!(new.result().get(field).is_some(), "{field}");
    }
    let created = legacy
        .tool("create_session", json!({"prompt": "old and fine"}))
        .await;
    assert!(created.result().get("resultType").is_none());
    let id = created.result()["structuredContent"]["session_id"].clone();
    let seen = modern.call("get_session", json!({"session_id": id})).await;
    assert_eq!(seen["title"], "old and fine");
    // Errors of this era come with 200.
    let unknown = legacy.tool("no_such_tool", json!({})).await;
    assert_eq!((unknown.status, unknown.code()), (StatusCode::OK, -32602));
}

#[tokio::test]
async fn progress_streams_here_too() {
    let client = Client::new(Class::Legacy).legacy();
    let created = client.call("create_session", json!({"prompt": "x"})).await;
    client
        .call(
            "cancel_session",
            json!({"session_id": created["session_id"]}),
        )
        .await;
    let answer = client
        .request(
            "tools/call",
            json!({"name": "wait_session", "arguments": {"session_id": created["session_id"]}, "_meta": {"progressToken": 7}}),
        )
        .await;
    assert!(answer.is_stream());
    assert_eq!(answer.messages[0]["params"]["progressToken"], 7);
    assert_eq!(answer.result()["structuredContent"]["state"], "cancelled");
}

#[tokio::test]
async fn an_unknown_version_is_refused_in_json() {
    let client = Client::new(Class::Legacy).legacy();
    let mut request = client.prepare("tools/list", json!({}));
    let version = http::HeaderValue::from_static("1999-01-01");
    request
        .headers_mut()
        .insert("mcp-protocol-version", version);
    let answer = client.send(request).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.text.contains("1999-01-01"), "{}", answer.text);
    assert_eq!(answer.response()["id"], 1);

    let mut reply = client.prepare("tools/list", json!({}));
    *reply.body_mut() = Bytes::from(r#"{"jsonrpc":"2.0","id":4,"result":{}}"#);
    assert_eq!(client.send(reply).await.code(), -32600);
}
