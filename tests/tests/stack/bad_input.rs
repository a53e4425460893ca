//! Bad input gets a precise error and loses nothing.

use e2e::mcp::{Answer, Client};
use e2e::stack;
use serde_json::{Value, json};

fn without(headers: &[(String, String)], name: &str) -> Vec<(String, String)> {
    headers
        .iter()
        .filter(|(header, _)| header != name)
        .cloned()
        .collect()
}

fn replaced(headers: &[(String, String)], name: &str, value: &str) -> Vec<(String, String)> {
    let mut headers = without(headers, name);
    headers.push((name.to_owned(), value.to_owned()));
    headers
}

fn list_call(client: &Client) -> (Vec<(String, String)>, Value) {
    client.prepare(
        "tools/call",
        json!({"name": "list_sessions", "arguments": {}}),
    )
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: i64) {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(answer.error().0, code, "{}", answer.body);
}

#[tokio::test]
async fn headers_must_agree_with_the_body() {
    let stack = stack::shared();
    let client = stack.client();
    let (headers, body) = list_call(&client);
    client
        .post(headers.clone(), body.to_string())
        .await
        .result();
    let spoilt = [
        without(&headers, "mcp-method"),
        replaced(&headers, "mcp-method", "tools/list"),
        replaced(&headers, "mcp-method", "server/discover"),
        replaced(&headers, "mcp-method", "nonsense"),
        without(&headers, "mcp-name"),
        replaced(&headers, "mcp-name", "create_session"),
        without(&headers, "mcp-protocol-version"),
    ];
    for headers in spoilt {
        let answer = client.post(headers.clone(), body.to_string()).await;
        assert_eq!(answer.status, 400, "{headers:?} {}", answer.body);
        assert_eq!(answer.error().0, -32020, "{headers:?} {}", answer.body);
    }
    let unknown = replaced(&headers, "mcp-protocol-version", "2031-01-01");
    let mut told = body.clone();
    told["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2031-01-01");
    let answer = client.post(unknown, told.to_string()).await;
    refused(&answer, 400, -32022);
}

#[tokio::test]
async fn a_modern_request_says_who_sends_it() {
    let stack = stack::shared();
    let client = stack.client();
    let (headers, mut body) = list_call(&client);
    let meta = body["params"]["_meta"].as_object_mut().expect("an object");
    meta.remove("io.modelcontextprotocol/clientCapabilities");
    refused(&client.post(headers, body.to_string()).await, 400, -32602);
}

#[tokio::test]
async fn a_body_must_be_one_json_rpc_request() {
    let stack = stack::shared();
    let client = stack.client();
    let (headers, body) = list_call(&client);
    let whole = body.to_string();
    for (text, code) in [
        (whole[..whole.len() - 2].to_owned(), -32700),
        ("not json".to_owned(), -32700),
        (String::new(), -32700),
        ("\u{0}".to_owned(), -32700),
        (
            format!("{}{}", "[".repeat(20_000), "]".repeat(20_000)),
            -32700,
        ),
        ("[]".to_owned(), -32600),
        ("3".to_owned(), -32600),
        (json!({"id": 1, "method": "tools/call"}).to_string(), -32600),
        (json!([body]).to_string(), -32600),
    ] {
        let answer = client.post(headers.clone(), text.clone()).await;
        let shown = &text[..text.len().min(80)];
        assert_eq!(answer.status, 400, "{shown}: {}", answer.body);
        assert_eq!(answer.error().0, code, "{shown}: {}", answer.body);
    }
    let not_utf8: Vec<u8> = [b"{\"jsonrpc\": \"".as_slice(), &[0xff, 0xfe], b"\"}"].concat();
    // API Gateway replaces what is no UTF-8, so that it may arrive as JSON that is no JSON-RPC.
    let answer = client.post(headers, not_utf8).await;
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(
        [-32700, -32600].contains(&answer.error().0),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn a_body_may_not_be_too_large() {
    let stack = stack::shared();
    let client = stack.client();
    let prompt = "x".repeat(4_300_000);
    let (headers, body) = client.prepare(
        "tools/call",
        json!({"name": "create_session", "arguments": {"prompt": prompt}}),
    );
    let answer = client.post(headers.clone(), body.to_string()).await;
    assert_eq!(answer.status, 413, "{}", answer.body);
    // Above the limit of the front itself.
    let answer = client.post(headers, "x".repeat(11_000_000)).await;
    assert_eq!(answer.status, 413, "{}", answer.body);
    list_call(&client);
    client.call("list_sessions", json!({})).await;
}

#[tokio::test]
async fn other_content_types_are_refused() {
    let stack = stack::shared();
    let client = stack.client();
    let (headers, body) = list_call(&client);
    let answer = client
        .post(
            replaced(&headers, "content-type", "text/plain"),
            body.to_string(),
        )
        .await;
    assert_eq!(answer.status, 415, "{}", answer.body);
    for accepted in [
        "*/*",
        "application/json",
        "text/event-stream, application/json",
    ] {
        let answer = client
            .post(replaced(&headers, "accept", accepted), body.to_string())
            .await;
        assert_eq!(answer.status, 200, "accept {accepted}: {}", answer.body);
    }
    let answer = client
        .post(
            replaced(&headers, "content-type", "Application/JSON; Charset=UTF-8"),
            body.to_string(),
        )
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = client
        .post(
            replaced(&headers, "origin", "https://evil.example"),
            body.to_string(),
        )
        .await;
    assert_eq!(answer.status, 403, "{}", answer.body);
}

#[tokio::test]
async fn the_token_is_checked() {
    let stack = stack::shared();
    let body = json!({"name": "list_sessions", "arguments": {}});
    let answer = stack
        .client()
        .with_token(None)
        .request("tools/call", body.clone())
        .await;
    assert_eq!(answer.status, 401, "{}", answer.body);
    let mut almost = stack.token.clone();
    let last = if almost.ends_with('A') { 'B' } else { 'A' };
    almost.pop();
    almost.push(last);
    for token in [almost.as_str(), "wrong", "", &"x".repeat(4000)] {
        let answer = stack
            .client()
            .with_token(Some(token))
            .request("tools/call", body.clone())
            .await;
        assert!(
            [401, 403].contains(&answer.status),
            "{}: {}",
            answer.status,
            answer.body
        );
        assert!(!answer.body.contains(&stack.token));
    }
    // Nor does a token buy anything at the gateway of the sessions.
    let answer = stack
        .client()
        .http()
        .post(format!("{}/model/v1/messages", stack.url()))
        .bearer_auth(&stack.token)
        .json(&json!({"model": "claude-opus-5-5", "max_tokens": 10, "messages": [{"role": "user", "content": "x"}]}))
        .send()
        .await
        .expect("an answer");
    assert!(
        [401, 403].contains(&answer.status().as_u16()),
        "{}",
        answer.status()
    );
}

#[tokio::test]
async fn unknown_methods_and_tools_are_named() {
    let stack = stack::shared();
    let client = stack.client();
    for method in ["no/such/method", "ping", "initialize-not"] {
        let answer = client.request(method, json!({})).await;
        refused(&answer, 404, -32601);
    }
    let answer = client
        .request(
            "tools/call",
            json!({"name": "no_such_tool", "arguments": {}}),
        )
        .await;
    assert_eq!(answer.error().0, -32602, "{}", answer.body);
    assert!(answer.error().1.contains("no_such_tool"), "{}", answer.body);
}

#[tokio::test]
async fn arguments_that_miss_the_schema_are_named() {
    let stack = stack::shared();
    let client = stack.client();
    let session = "ses_aaaaaaaaaaaaaaaaaaaaaaaaaa";
    for (tool, arguments, named) in [
        ("create_session", json!({}), "prompt"),
        ("create_session", json!({"prompt": 3}), "prompt"),
        ("create_session", json!({"prompt": ""}), "prompt"),
        (
            "create_session",
            json!({"prompt": "x", "surprise": 1}),
            "surprise",
        ),
        (
            "create_session",
            json!({"prompt": "x", "permission_mode": "yolo"}),
            "permission_mode",
        ),
        (
            "create_session",
            json!({"prompt": "x", "max_turns": 0}),
            "max_turns",
        ),
        (
            "create_session",
            json!({"prompt": "x", "max_turns": 1.5}),
            "max_turns",
        ),
        (
            "create_session",
            json!({"prompt": "x", "max_budget_usd": -1}),
            "max_budget_usd",
        ),
        (
            "create_session",
            json!({"prompt": "x", "model": "--help"}),
            "model",
        ),
        (
            "create_session",
            json!({"prompt": "x", "tags": ["a\nb"]}),
            "tags",
        ),
        (
            "create_session",
            json!({"prompt": "x", "client_token": "has space"}),
            "client_token",
        ),
        (
            "wait_session",
            json!({"session_id": session, "wait_seconds": 51}),
            "wait_seconds",
        ),
        (
            "wait_session",
            json!({"session_id": session, "wait_seconds": -1}),
            "wait_seconds",
        ),
        (
            "wait_session",
            json!({"session_id": session, "response_budget_characters": 1}),
            "response_budget_characters",
        ),
        (
            "wait_session",
            json!({"session_id": session, "cursor": "mine"}),
            "cursor",
        ),
        ("send_message", json!({"session_id": session}), "message"),
        (
            "send_message",
            json!({"session_id": session, "message": "x", "message_id": "a b"}),
            "message_id",
        ),
        (
            "read_file",
            json!({"session_id": session, "path": "../x"}),
            "path",
        ),
        (
            "get_session",
            json!({"session_id": "../../etc"}),
            "session_id",
        ),
        ("get_session", json!({"session_id": 7}), "session_id"),
        (
            "interrupt_session",
            json!({"session_id": session, "message_id": "a b"}),
            "message_id",
        ),
        ("create_upload", json!({}), "bytes"),
    ] {
        let answer = client
            .request("tools/call", json!({"name": tool, "arguments": arguments}))
            .await;
        let said = answer.body.clone();
        let is_tool_error = answer
            .messages
            .iter()
            .any(|(_, message)| message["result"]["isError"] == true);
        let is_parameter_error = answer
            .messages
            .iter()
            .any(|(_, message)| message["error"]["code"] == -32602);
        assert!(
            is_tool_error || is_parameter_error,
            "{tool} {arguments}: {said}"
        );
        assert!(
            said.contains(named),
            "{tool} {arguments} must name {named}: {said}"
        );
    }
}

/// That another owner's session is as unknown is tested with two owners, beside the clients.
#[tokio::test]
async fn every_tool_says_the_same_of_an_unknown_session() {
    let stack = stack::shared();
    let client = stack.client();
    let mut answers = Vec::new();
    for id in [
        "ses_aaaaaaaaaaaaaaaaaaaaaaaaaa",
        "ses_bbbbbbbbbbbbbbbbbbbbbbbbbb",
    ] {
        for (tool, arguments) in [
            ("get_session", json!({"session_id": id})),
            ("wait_session", json!({"session_id": id, "wait_seconds": 0})),
            ("send_message", json!({"session_id": id, "message": "x"})),
            ("interrupt_session", json!({"session_id": id})),
            ("cancel_session", json!({"session_id": id})),
            ("read_file", json!({"session_id": id, "path": "a"})),
        ] {
            let answer = client.try_call(tool, arguments).await;
            assert!(answer.is_error, "{tool}");
            answers.push(answer.text.replace(id, "<id>"));
        }
    }
    answers.sort();
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[tokio::test]
async fn hostile_workspaces_are_refused_before_anything_runs() {
    let stack = stack::shared();
    let client = stack.client();
    for url in [
        "file:///etc",
        "ext::sh -c id",
        "--upload-pack=id",
        "-oProxyCommand=id",
        "https://user:secret@example.com/a.git",
        "https://token@example.com/a.git",
        "ssh://-oProxyCommand=id/a",
        "http://example.com/a.git",
        "git://example.com/a.git",
        "/etc/passwd",
        "../x",
        "",
    ] {
        let answer = client
            .try_call(
                "create_session",
                json!({"prompt": "x", "workspace": {"git_url": url}}),
            )
            .await;
        assert!(answer.is_error, "{url}");
        assert!(
            answer.text.contains("git URL") || answer.text.contains("git_url"),
            "{url}: {}",
            answer.text
        );
        assert!(!answer.text.contains("secret"), "{}", answer.text);
    }
    for reference in ["--upload-pack=id", "a..b", "a b", "-x", "", "a:b"] {
        let answer = client
            .try_call(
                "create_session",
                json!({"prompt": "x", "workspace": {"git_url": "https://example.com/a.git", "git_ref": reference}}),
            )
            .await;
        assert!(answer.is_error, "{reference}");
        assert!(answer.text.contains("ref"), "{reference}: {}", answer.text);
    }
    for subdirectory in ["../x", "/etc", "a/../../b"] {
        let answer = client
            .try_call(
                "create_session",
                json!({"prompt": "x", "workspace": {"git_url": "https://example.com/a.git", "subdirectory": subdirectory}}),
            )
            .await;
        assert!(answer.is_error, "{subdirectory}: {}", answer.text);
    }
}
