//! Clients of the initialize era, with and without a session of the transport.

use e2e::loopback::Server;
use e2e::mcp::LEGACY;
use e2e::script;
use e2e::session::Session;
use e2e::stack;
use e2e::stream::{LegacySession, tool_call};
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
    let mut session = Session::follow(
        &client,
        created["session_id"].as_str().expect("a session id"),
    );
    session.until_turns_ended(1).await;
    assert!(session.said().contains("old and fine"));
    session.cancel().await;
}

#[tokio::test]
async fn there_is_no_standing_stream_and_an_unknown_session_is_not_found() {
    let stack = stack::shared();
    let client = stack.client();
    for (method, status) in [(reqwest::Method::GET, 405), (reqwest::Method::DELETE, 404)] {
        let answer = client
            .http()
            .request(method.clone(), client.url())
            .bearer_auth(&stack.token)
            .header("accept", "text/event-stream")
            .header("mcp-session-id", "gone")
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), status, "{method}");
    }
    // Clients of this era initialize again when they read 404.
    let client = client.legacy();
    let (mut headers, body) = client.prepare("tools/list", json!({}));
    headers.push(("mcp-session-id".to_owned(), "gone".to_owned()));
    let answer = client.post(headers, body.to_string()).await;
    assert_eq!(answer.status, 404, "{}", answer.body);
}

/// The stream holds one instance of the function, so the reply is bound to reach another.
#[tokio::test]
async fn a_person_is_asked_on_the_stream_and_answers_elsewhere() {
    let stack = stack::shared();
    let client = stack.client().legacy();
    // While its clone hangs, the runner takes no message: one waits.
    let silence = Server::of_silence();
    let mut session = Session::create(
        &client,
        json!({
            "prompt": "never read",
            "workspace": {"git_url": format!("{}/repository.git", silence.url())},
        }),
    )
    .await;
    let transport = LegacySession::open(&stack, json!({"elicitation": {}})).await;
    let call = tool_call(2, "cancel_session", &json!({"session_id": session.id}));
    let mut stream = transport.post(&call).await;
    let question = stream
        .until(|message| message["method"] == "elicitation/create")
        .await;
    let reply = json!({"jsonrpc": "2.0", "id": question["id"],
        "result": {"action": "accept", "content": {"confirm": true}}});
    assert_eq!(transport.post(&reply).await.status(), 202);
    let result = stream.until(|message| message["id"] == 2).await;
    assert_eq!(result["result"]["isError"], false, "{result}");
    session.until_ended().await;
    assert_eq!(session.state, "cancelled");
}
