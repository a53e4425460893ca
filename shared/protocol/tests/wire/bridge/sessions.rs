//! Sessions: who has one, for how long, on which instance.

use super::*;

#[tokio::test]
async fn a_session_is_served_by_any_instance_until_it_is_deleted() {
    let client = Client::introduced().await;
    let session = client.session.clone().expect("a session");
    assert_eq!(session.len(), 30);
    let answer = client.tool("x").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(said(&answer.json().await), "at once");
    let notice = client
        .post(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
        .await;
    assert_eq!(notice.status, StatusCode::ACCEPTED);
    let deleted = client
        .send(client.request(Method::DELETE, "/mcp", String::new()))
        .await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    for _ in 0..2 {
        let again = client
            .send(client.request(Method::DELETE, "/mcp", String::new()))
            .await;
        assert_eq!(again.status, StatusCode::NOT_FOUND);
    }
    let gone = client.tool("x").await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    let gone = gone.json().await;
    assert_eq!(
        (&gone["id"], &gone["error"]["code"]),
        (&json!(5), &json!(-32001))
    );
}

#[tokio::test]
async fn every_version_of_the_era_has_sessions() {
    for version in ["2025-11-25", "2025-06-18", "2025-03-26"] {
        let mut client = Client::new();
        client.version = version;
        let answer = client.introduce(json!({})).await;
        assert_eq!(answer["result"]["protocolVersion"], version);
        assert!(client.session.is_some());
        assert_eq!(client.tool("x").await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_session_lives_as_long_as_it_is_used_and_a_while_longer() {
    const DAY: u64 = 24 * 60 * 60 * 1000;
    let client = Client::introduced().await;
    for _ in 0..5 {
        client.clock().advance(29 * DAY);
        assert_eq!(client.tool("x").await.status, StatusCode::OK);
    }
    client.clock().advance(30 * DAY + 1);
    assert_eq!(client.tool("x").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_session_is_its_owners() {
    let client = Client::introduced().await;
    let stranger = client.other("you");
    for answer in [
        stranger.tool("x").await,
        stranger
            .send(stranger.request(Method::DELETE, "/mcp", String::new()))
            .await,
        stranger
            .post(json!({"jsonrpc": "2.0", "id": "ask_1", "result": {}}))
            .await,
    ] {
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(client.tool("x").await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_is_no_session_is_unknown() {
    let mut client = Client::introduced().await;
    for bad in [
        "x",
        "mcp_",
        "ses_aaaaaaaaaaaaaaaaaaaaaaaaaa",
        "mcp_aaaaaaaaaaaaaaaaaaaaaaaaaa",
    ] {
        client.session = Some(HeaderValue::from_str(bad).expect("a header"));
        assert_eq!(
            client.tool("x").await.status,
            StatusCode::NOT_FOUND,
            "{bad}"
        );
    }
    client.session = Some(HeaderValue::from_bytes(b"\xff").expect("a header"));
    assert_eq!(client.tool("x").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn without_a_session_each_request_stands_alone() {
    let client = Client::new();
    assert_eq!(said(&client.tool("x").await.json().await), "at once");
    assert_eq!(
        said(&client.tool("greet").await.json().await),
        "this client cannot ask you"
    );
    let nothing = client
        .send(client.request(Method::DELETE, "/mcp", String::new()))
        .await;
    assert_eq!(nothing.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(client.tools.fake.kept_for_clients(), [0; 6]);
}

#[tokio::test]
async fn a_failed_initialize_opens_nothing() {
    let client = Client::new();
    for params in [json!({}), json!({"protocolVersion": 7}), json!([])] {
        let answer = client.call("initialize", params).await;
        assert!(answer.headers.get(SESSION).is_none());
        assert!(answer.json().await.get("error").is_some());
    }
    assert_eq!(client.tools.fake.kept_for_clients(), [0; 6]);
    client.tools.fake.fail_call(1, testkit::FaultTime::Before);
    let introduction = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let answer = client.call("initialize", introduction).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers.get(SESSION).is_none());
}

#[tokio::test]
async fn bad_input_is_refused_or_changes_nothing() {
    let client = Client::introduced().await;
    for (body, status) in [
        ("", StatusCode::BAD_REQUEST),
        ("{", StatusCode::BAD_REQUEST),
        ("[]", StatusCode::BAD_REQUEST),
        (
            r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
            StatusCode::BAD_REQUEST,
        ),
        (
            r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
            StatusCode::BAD_REQUEST,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
            StatusCode::BAD_REQUEST,
        ),
        (
            r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
            StatusCode::BAD_REQUEST,
        ),
        (r#"{"jsonrpc":"2.0","id":1}"#, StatusCode::BAD_REQUEST),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[]}"#,
            StatusCode::BAD_REQUEST,
        ),
        // Replies that nobody asked for.
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            StatusCode::ACCEPTED,
        ),
        (
            r#"{"jsonrpc":"2.0","id":"ask_aaaaaaaaaaaaaaaaaaaaaaaaaa","result":{}}"#,
            StatusCode::ACCEPTED,
        ),
        (
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}"#,
            StatusCode::ACCEPTED,
        ),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}}"#,
            StatusCode::ACCEPTED,
        ),
        (
            r#"{"jsonrpc":"2.0","method":"no/such"}"#,
            StatusCode::ACCEPTED,
        ),
        (
            r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#,
            StatusCode::OK,
        ),
        (
            r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#,
            StatusCode::OK,
        ),
    ] {
        let answer = client
            .send(client.request(Method::POST, "/mcp", body.to_owned()))
            .await;
        assert_eq!(answer.status, status, "{body}");
    }
    let unknown = client.call("no/such", json!({})).await.json().await;
    assert_eq!(unknown["error"]["code"], -32601);
    let mut request = client.request(
        Method::POST,
        "/mcp",
        json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string(),
    );
    request
        .headers_mut()
        .insert(VERSION, HeaderValue::from_static("1999-01-01"));
    assert_eq!(client.send(request).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(client.tools.fake.kept_for_clients(), [1, 0, 0, 0, 0, 0]);
}

#[tokio::test]
async fn there_is_no_standing_stream() {
    let client = Client::introduced().await;
    let answer = client
        .send(client.request(Method::GET, "/mcp", String::new()))
        .await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.headers[ALLOW], "POST, DELETE");
}

/// A client of 2026-07-28 has no streams to take up and no sessions to end, whatever else it sends.
#[tokio::test]
async fn get_and_delete_are_not_for_the_modern_era() {
    let client = Client::introduced().await;
    for method in [Method::GET, Method::DELETE] {
        let mut request = client.request(method, "/mcp", String::new());
        let headers = request.headers_mut();
        headers.insert(VERSION, HeaderValue::from_static("2026-07-28"));
        headers.insert(LAST_EVENT, HeaderValue::from_static("x"));
        let answer = client.send(request).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.headers[ALLOW], "POST");
    }
    assert_eq!(client.tool("x").await.status, StatusCode::OK);
}

/// Each line of the log says who asked for what, also where the answer is a refusal, and where the
/// request is none of JSON-RPC.
#[test]
fn every_request_says_who_asks_for_what() {
    let owner = format!("principal={:?}", principal("me").owner.as_str());
    let counted = |log: &str| log.lines().filter(|line| *line == owner).count();
    let (requests, log) = logged(async {
        let client = Client::introduced().await;
        let delete = client.request(Method::DELETE, "/mcp", String::new());
        let get = client.request(Method::GET, "/mcp", String::new());
        let sse = client.request(Method::POST, "/sse", String::new());
        let post = client.request(Method::POST, "/messages", tool("messages-tool"));
        for request in [delete, get, sse, post] {
            client.send(request).await;
        }
        client
            .post(json!({"jsonrpc": "2.0", "id": "x", "result": {}}))
            .await;
        // Its session is gone.
        client.tool("refused-tool").await;
        client.call("no/such", json!({})).await;
        8
    });
    assert_eq!(counted(&log), requests, "{log}");
    for said in ["no/such", "tools/call", "initialize"] {
        assert!(
            log.contains(&format!("mcp_method={said:?}")),
            "{said}: {log}"
        );
    }
    assert!(log.contains("mcp_name=\"messages-tool\""), "{log}");
    assert!(log.contains("mcp_name=\"refused-tool\""), "{log}");
}

fn tool(name: &str) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name}}).to_string()
}

#[test]
fn no_session_id_is_ever_logged_whole() {
    let (session, log) = logged(async {
        let client = Client::introduced().await;
        client.tool("greet").await;
        client.other("you").tool("x").await;
        client
            .send(client.request(Method::DELETE, "/mcp", String::new()))
            .await;
        client
            .session
            .expect("a session")
            .to_str()
            .expect("ASCII")
            .to_owned()
    });
    assert!(log.contains(&session[..10]), "{log}");
    assert!(!log.contains(&session), "{log}");
}
