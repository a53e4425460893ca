//! Clients of the initialize era: every request on plain `/mcp`, nothing kept between them.

use e2e::mcp::LEGACY;
use e2e::script;
use e2e::stack;
use serde_json::json;

fn initialize(version: &str) -> serde_json::Value {
    json!({
        "protocolVersion": version,
        "capabilities": {},
        "clientInfo": {"name": "shannon-tests", "version": "1"},
    })
}

#[tokio::test]
async fn versions_are_negotiated() {
    let stack = stack::shared();
    let client = stack.client().legacy();
    for (asked, expected) in [
        (LEGACY, LEGACY),
        ("2025-06-18", "2025-06-18"),
        ("2025-03-26", "2025-03-26"),
        ("2024-11-05", "2024-11-05"),
        ("1999-01-01", LEGACY),
    ] {
        let answer = client.request("initialize", initialize(asked)).await;
        let result = answer.result();
        assert_eq!(result["protocolVersion"], expected, "{asked}");
        assert_eq!(result["serverInfo"]["name"], "shannon");
        assert!(result["capabilities"]["tools"].is_object(), "{result}");
        assert!(result.get("resultType").is_none(), "{result}");
    }
}

#[tokio::test]
async fn every_tool_works_without_a_session_of_the_transport() {
    let stack = stack::shared();
    let client = stack.client().legacy();
    client
        .request("initialize", initialize(LEGACY))
        .await
        .result();
    let (headers, mut body) = client.prepare("notifications/initialized", json!({}));
    body.as_object_mut().expect("an object").remove("id");
    let accepted = client.post(headers, body.to_string()).await;
    assert_eq!(accepted.status, 202, "{}", accepted.body);
    client.request("ping", json!({})).await.result();

    let modern = stack.client();
    let tools = client.request("tools/list", json!({})).await;
    let modern_tools = modern.request("tools/list", json!({})).await;
    assert_eq!(tools.result()["tools"], modern_tools.result()["tools"]);
    assert!(tools.result().get("ttlMs").is_none(), "{}", tools.body);

    let created = client
        .call(
            "create_session",
            json!({"prompt": script::prompt(&["TEXT:old and fine"])}),
        )
        .await;
    let mut session = e2e::session::Session::follow(
        &client,
        created["session_id"].as_str().expect("a session id"),
    );
    session.until_turns_ended(1).await;
    assert!(session.said().contains("old and fine"));
    session.cancel().await;
}

#[tokio::test]
async fn there_is_no_stream_and_no_session_to_end() {
    let stack = stack::shared();
    let client = stack.client();
    for method in [reqwest::Method::GET, reqwest::Method::DELETE] {
        let answer = client
            .http()
            .request(method.clone(), client.url())
            .bearer_auth(&stack.token)
            .header("accept", "text/event-stream")
            .header("mcp-session-id", "gone")
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 405, "{method}");
    }
    // A session id of an older deployment is ignored: nobody has to initialize again.
    let client = client.legacy();
    let (mut headers, body) = client.prepare("tools/list", json!({}));
    headers.push((
        "mcp-session-id".to_owned(),
        "from-before-the-deploy".to_owned(),
    ));
    client.post(headers, body.to_string()).await.result();
}
