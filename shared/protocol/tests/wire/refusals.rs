//! Bad input: each gets a precise error, nothing panics, nothing is recorded.

use bytes::Bytes;
use domain::{Principal, State};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use proptest::prelude::*;
use protocol::Class;
use serde_json::{Value, json};
use testkit::FaultTime;

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

#[tokio::test]
async fn a_caller_must_be_known_and_may_do_what_the_token_allows() {
    let mut client = Client::new(Class::Call);
    client.principal = None;
    let answer = client.request("tools/call", list()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.headers["www-authenticate"], "Bearer");

    let reader = crate::client::principal("me").owner;
    client.principal = Some(Principal {
        owner: reader,
        scopes: vec!["sessions:read".to_owned()],
    });
    client.call("list_sessions", json!({})).await;
    let said = client
        .refusal("create_session", json!({"prompt": "x"}))
        .await;
    assert!(said.contains("sessions:write"), "{said}");
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

#[tokio::test]
async fn tools_and_arguments_are_named() {
    let client = Client::new(Class::Call);
    let unknown = client.tool("no_such_tool", json!({})).await;
    assert_eq!(unknown.code(), -32602);
    assert!(unknown.text.contains("no_such_tool"));
    let id = "ses_aaaaaaaaaaaaaaaaaaaaaaaaaa";
    let mut seen = Vec::new();
    for (tool, arguments, named) in [
        ("create_session", json!({}), "prompt"),
        ("create_session", json!({"prompt": 3}), "prompt"),
        ("create_session", json!({"prompt": null}), "prompt"),
        ("create_session", json!({"prompt": ""}), "prompt"),
        ("create_session", json!({"prompt": " \n"}), "prompt"),
        ("create_session", json!({"prompt": "a\0b"}), "prompt"),
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
            json!({"prompt": "x", "permission_mode": "bypass"}),
            "SHANNON_ALLOW_BYPASS_PERMISSIONS",
        ),
        (
            "create_session",
            json!({"prompt": "x", "max_turns": 0}),
            "max_turns",
        ),
        (
            "create_session",
            json!({"prompt": "x", "max_turns": 101}),
            "SHANNON_MAX_TURNS",
        ),
        (
            "create_session",
            json!({"prompt": "x", "max_turns": 1.5}),
            "max_turns",
        ),
        (
            "create_session",
            json!({"prompt": "x", "max_turns": 99_999_999_999_u64}),
            "max_turns",
        ),
        (
            "create_session",
            json!({"prompt": "x", "max_budget_usd": -1}),
            "max_budget_usd",
        ),
        (
            "create_session",
            json!({"prompt": "x", "max_budget_usd": 11}),
            "SHANNON_MAX_BUDGET_USD",
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
            "create_session",
            json!({"prompt": "x", "message_id": "a b"}),
            "message_id",
        ),
        (
            "create_session",
            json!({"prompt": "x", "attachments": [{"upload_id": "u", "name": "n"}]}),
            "upload_id",
        ),
        (
            "create_session",
            json!({"prompt": "x", "attachments": [{"upload_id": "upl_aaaaaaaaaaaaaaaaaaaaaaaaaa", "name": "n"}]}),
            "create_upload",
        ),
        (
            "create_session",
            json!({"prompt": "x", "workspace": {"git_url": "https://e.com/a", "directory": "/a"}}),
            "one of",
        ),
        (
            "create_session",
            json!({"prompt": "x", "workspace": {"git_ref": "main"}}),
            "git_url",
        ),
        (
            "create_session",
            json!({"prompt": "x", "workspace": {"upload_id": "upl_x"}}),
            "upload_id",
        ),
        (
            "create_session",
            json!({"prompt": "x", "workspace": {"subdirectory": "a"}}),
            "subdirectory",
        ),
        (
            "create_session",
            json!({"prompt": "x", "workspace": {"directory": "/etc"}}),
            "directories",
        ),
        (
            "wait_session",
            json!({"session_id": id, "wait_seconds": 51}),
            "wait_seconds",
        ),
        (
            "wait_session",
            json!({"session_id": id, "wait_seconds": -1}),
            "wait_seconds",
        ),
        (
            "wait_session",
            json!({"session_id": id, "response_budget_characters": 1}),
            "response_budget_characters",
        ),
        (
            "wait_session",
            json!({"session_id": id, "cursor": "mine"}),
            "cursor",
        ),
        (
            "wait_session",
            json!({"session_id": id, "until": "later"}),
            "until",
        ),
        ("send_message", json!({"session_id": id}), "message"),
        (
            "send_message",
            json!({"session_id": id, "message": "x", "message_id": "a b"}),
            "message_id",
        ),
        (
            "read_file",
            json!({"session_id": id, "path": "../x"}),
            "path",
        ),
        (
            "read_file",
            json!({"session_id": id, "path": "/etc/passwd"}),
            "path",
        ),
        ("read_file", json!({"session_id": id, "path": ""}), "path"),
        (
            "read_file",
            json!({"session_id": id, "path": "a", "length": 0}),
            "length",
        ),
        (
            "get_session",
            json!({"session_id": "../../etc"}),
            "session_id",
        ),
        ("get_session", json!({"session_id": 7}), "session_id"),
        ("list_sessions", json!({"limit": 0}), "limit"),
        ("list_sessions", json!({"limit": 51}), "limit"),
        ("list_sessions", json!({"cursor": "made-up"}), "cursor"),
        ("list_sessions", json!({"states": ["sleeping"]}), "states"),
        (
            "list_sessions",
            json!({"created_from": "yesterday"}),
            "created_from",
        ),
        ("create_upload", json!({"bytes": 0}), "bytes"),
        ("create_upload", json!({"bytes": "many"}), "bytes"),
        (
            "create_upload",
            json!({"bytes": 104_857_601}),
            "SHANNON_MAX_UPLOAD_BYTES",
        ),
    ] {
        let said = client.refusal(tool, arguments.clone()).await;
        assert!(
            said.contains(named),
            "{tool} {arguments} must name {named}: {said}"
        );
        seen.push(format!("{tool} {arguments}\n  {said}"));
    }
    insta::assert_snapshot!("arguments", seen.join("\n"));
    assert_eq!(client.fake.session_keys(), []);
}

#[tokio::test]
async fn git_sources_are_refused_without_repeating_secrets() {
    let client = Client::new(Class::Call);
    for url in [
        "file:///etc",
        "ext::sh -c id",
        "--upload-pack=id",
        "https://user:hunter2@example.com/a.git",
        "https://hunter2@example.com/a.git",
        "http://example.com/a.git",
        "",
    ] {
        let workspace = json!({"git_url": url});
        let said = client
            .refusal(
                "create_session",
                json!({"prompt": "x", "workspace": workspace}),
            )
            .await;
        assert!(said.contains("workspace.git_url"), "{url}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    for reference in ["--upload-pack=id", "a..b", "a b", ""] {
        let workspace = json!({"git_url": "https://example.com/a.git", "git_ref": reference});
        let said = client
            .refusal(
                "create_session",
                json!({"prompt": "x", "workspace": workspace}),
            )
            .await;
        assert!(said.contains("workspace.git_ref"), "{reference}: {said}");
    }
}

#[tokio::test]
async fn unknown_and_foreign_sessions_get_the_same_answer() {
    let client = Client::new(Class::Call);
    let created = client
        .call("create_session", json!({"prompt": "mine"}))
        .await;
    let mine = created["session_id"].as_str().expect("an id");
    let stranger = Client::of(Class::Call, client.fake.clone()).caller("stranger");
    let mut answers = Vec::new();
    for id in [mine, "ses_aaaaaaaaaaaaaaaaaaaaaaaaaa"] {
        for (tool, arguments) in [
            ("get_session", json!({"session_id": id})),
            ("wait_session", json!({"session_id": id, "wait_seconds": 0})),
            ("send_message", json!({"session_id": id, "message": "x"})),
            ("interrupt_session", json!({"session_id": id})),
            (
                "interrupt_session",
                json!({"session_id": id, "message_id": "m"}),
            ),
            ("cancel_session", json!({"session_id": id})),
            ("read_file", json!({"session_id": id, "path": "a"})),
        ] {
            answers.push(stranger.refusal(tool, arguments).await);
        }
    }
    answers.dedup();
    assert_eq!(
        answers,
        ["no session with this id; list_sessions shows yours"]
    );
    let head = client.fake.peek_head(&client.key(mine)).expect("untouched");
    assert_eq!(head.state, State::Requested);
}

#[tokio::test]
async fn an_ended_session_says_so() {
    let client = Client::new(Class::Call);
    let created = client.call("create_session", json!({"prompt": "x"})).await;
    let id = created["session_id"].as_str().expect("an id");
    let ended = client
        .call(
            "cancel_session",
            json!({"session_id": id, "reason": "enough"}),
        )
        .await;
    assert_eq!(
        (&ended["state"], &ended["end_reason"]),
        (&json!("cancelled"), &json!("enough"))
    );
    for (tool, arguments) in [
        ("send_message", json!({"session_id": id, "message": "x"})),
        ("interrupt_session", json!({"session_id": id})),
        ("read_file", json!({"session_id": id, "path": "a"})),
    ] {
        let said = client.refusal(tool, arguments).await;
        assert!(said.contains("cancelled"), "{tool}: {said}");
    }
    let foreign_cursor = client
        .refusal(
            "wait_session",
            json!({"session_id": id, "cursor": "c1-99", "wait_seconds": 0}),
        )
        .await;
    assert!(foreign_cursor.contains("cursor"), "{foreign_cursor}");
}

#[tokio::test]
async fn a_failing_service_is_no_protocol_error_and_repeating_is_safe() {
    let request = json!({"prompt": "x", "client_token": "t", "message_id": "first"});
    for time in [FaultTime::Before, FaultTime::After] {
        for call in 1..4 {
            let client = Client::new(Class::Call);
            client.fake.fail_call(call, time);
            let answer = client.tool("create_session", request.clone()).await;
            let result = answer.result();
            if result["isError"] == true {
                let said = result["content"][0]["text"].as_str().expect("text");
                assert!(said.contains("client_token"), "{said}");
                assert!(!said.contains("injected"), "causes are for the log: {said}");
            }
            client.fake.no_more_faults();
            client.call("create_session", request.clone()).await;
            assert_eq!(client.fake.session_keys().len(), 1, "{call} {time:?}");
        }
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

    #[test]
    fn hostile_arguments_are_answered(id in "\\PC{0,40}", text in "\\PC{0,40}", number in any::<i64>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let client = Client::new(Class::Call);
            for (tool, arguments) in [
                ("wait_session", json!({"session_id": id, "cursor": text, "wait_seconds": number})),
                ("send_message", json!({"session_id": id, "message": text, "message_id": text})),
                ("read_file", json!({"session_id": id, "path": text, "offset": number})),
                ("list_sessions", json!({"cursor": text, "tags": [text], "created_from": number})),
                ("create_session", json!({"prompt": "x", "workspace": {"git_url": text, "subdirectory": id}})),
            ] {
                let answer = client.tool(tool, arguments).await;
                assert_eq!(answer.status, StatusCode::OK);
                answer.result();
            }
        });
    }
}
