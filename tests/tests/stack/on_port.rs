//! The same binaries without Lambda: each serves its class as plain HTTP on `$PORT`, with the same
//! table and bucket, and ends when it is asked to.

use e2e::mcp::Client;
use e2e::on_port::Server;
use e2e::script;
use e2e::stack;
use serde_json::{Value, json};

/// One of the served methods of each class, and its parameters.
fn classes(task: &str) -> Vec<(&'static str, &'static str, Value)> {
    let (session, _) = task.split_once('.').expect("it begins with the session");
    vec![
        ("discover", "server/discover", json!({})),
        ("catalog", "tools/list", json!({})),
        (
            "call",
            "tools/call",
            json!({"name": "get_session", "arguments": {"session_id": session}}),
        ),
        ("tasks", "tasks/get", json!({"taskId": task})),
        (
            "read",
            "resources/read",
            json!({"uri": format!("shannon://sessions/{session}")}),
        ),
    ]
}

#[tokio::test]
async fn every_class_is_served_on_a_port() {
    let stack = stack::shared();
    let client = stack.client().with_tasks();
    let arguments = json!({"prompt": script::prompt(&["TEXT:on a port"])});
    let call = json!({"name": "create_session", "arguments": arguments});
    let started = client.request("tools/call", call).await;
    let task = started.result()["taskId"]
        .as_str()
        .expect("a task")
        .to_owned();
    for (function, method, params) in classes(&task) {
        // Through the deployment first, so that there is an instance whose settings can be read.
        let expected = client.request(method, params.clone()).await;
        assert_eq!(expected.status, 200, "{function}: {}", expected.body);
        let server = Server::start(&stack, function);
        let direct = Client::new(&server.url, &stack.token).with_tasks();
        let answer = direct.request(method, params.clone()).await;
        assert_eq!(answer.status, 200, "{function}: {}", answer.body);
        let form = |result: &Value| -> Vec<String> {
            let fields = result.as_object().expect("an object");
            fields.keys().cloned().collect()
        };
        assert_eq!(form(answer.result()), form(expected.result()), "{function}");
        let elsewhere = if method == "tools/list" {
            "server/discover"
        } else {
            "tools/list"
        };
        let refused = direct.request(elsewhere, json!({})).await;
        assert_eq!(
            (refused.status, refused.error().0),
            (404, -32601),
            "{function}"
        );
        let stranger = Client::new(&server.url, "wrong").with_tasks();
        let refused = stranger.request(method, params).await;
        assert_eq!(refused.status, 401, "{function}: {}", refused.body);
        let status = server.end();
        assert!(status.success(), "{function}: {status}");
    }
    let session = task.split('.').next().expect("it begins with the session");
    client
        .call("cancel_session", json!({"session_id": session}))
        .await;
}

#[tokio::test]
async fn the_initialize_era_is_served_on_a_port() {
    let stack = stack::shared();
    let introduction = json!({"protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "shannon-tests", "version": "1"}});
    let client = stack.client().legacy();
    client
        .request("initialize", introduction.clone())
        .await
        .result();
    let server = Server::start(&stack, "legacy");
    let direct = Client::new(&server.url, &stack.token).legacy();
    let opened = direct.request("initialize", introduction).await;
    assert_eq!(
        opened.result()["serverInfo"]["name"],
        "shannon",
        "{}",
        opened.body
    );
    // Sessions belong to the deployment, not to who serves it.
    let id = opened.headers["mcp-session-id"]
        .to_str()
        .expect("text")
        .to_owned();
    let (mut headers, body) = client.prepare("tools/list", json!({}));
    headers.push(("mcp-session-id".to_owned(), id));
    let answer = client.post(headers, body.to_string()).await;
    assert!(answer.result()["tools"].is_array(), "{}", answer.body);
    let status = server.end();
    assert!(status.success(), "{status}");
}
