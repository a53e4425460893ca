//! Requests that were right once, damaged at random: the same inputs in every run. Whatever comes
//! out, there is one answer, it is JSON-RPC, and it is not our fault.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt;
use protocol::{Class, ClientSessionSettings, Edge};
use serde_json::{Value, json};
use testkit::Fake;

use crate::client::{Client, principal, settings, work};

/// Inputs of one run.
const INPUTS: u32 = 3000;

/// Pieces of JSON and of the protocol that parsers trip over.
const PIECES: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "null",
    "true",
    "-0",
    "1e400",
    "18446744073709551616",
    "\"_meta\":",
    "\"params\":{}",
    "\"id\":",
    "\"id\":{}",
    "\"method\":",
    "\"io.modelcontextprotocol/protocolVersion\":",
    "\"2031-01-01\"",
    "\u{feff}",
    "\n",
    ",",
    ":",
];

/// A small generator, so that a failing input can be made again from its number.
struct Dice(u64);

impl Dice {
    fn new(seed: u32) -> Self {
        Self(u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Below `limit`, which is not 0.
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).expect("below a usize")
    }
}

fn seeds(client: &Client) -> Vec<Request<Bytes>> {
    [
        ("server/discover", json!({})),
        ("tools/list", json!({"cursor": "x"})),
        (
            "tools/call",
            json!({"name": "list_sessions", "arguments": {"limit": 2, "tags": ["a"]}}),
        ),
        (
            "tools/call",
            json!({"name": "get_session", "arguments": {"session_id": "ses_a"}, "inputResponses": {"a": {}}, "requestState": "s"}),
        ),
        ("tasks/get", json!({"taskId": "ses_a.b"})),
        (
            "tasks/update",
            json!({"taskId": "ses_a.b", "inputResponses": {"a": {"action": "accept"}}}),
        ),
        ("resources/read", json!({"uri": "shannon://sessions"})),
        ("prompts/get", json!({"name": "handoff", "arguments": {}})),
        (
            "completion/complete",
            json!({"ref": {"type": "ref/prompt", "name": "handoff"}, "argument": {"name": "a", "value": ""}}),
        ),
        ("subscriptions/listen", json!({"notifications": {"taskIds": ["a"]}})),
        (
            "initialize",
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}}),
        ),
    ]
    .into_iter()
    .map(|(method, params)| client.prepare(method, params))
    .collect()
}

fn damage(bytes: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..=dice.below(4) {
        let length = bytes.len();
        let place = dice.below(length + 1);
        match dice.below(6) {
            0 if place < length => bytes[place] ^= 1 << dice.below(8),
            1 => bytes.truncate(place),
            2 => {
                let piece = PIECES[dice.below(PIECES.len())];
                bytes.splice(place..place, piece.bytes());
            }
            3 => {
                let end = (place + dice.below(20)).min(length);
                bytes.drain(place..end);
            }
            4 => {
                let end = (place + dice.below(40)).min(length);
                let again = bytes[place..end].to_vec();
                bytes.splice(place..place, again);
            }
            _ => bytes.insert(place, u8::try_from(dice.below(256)).expect("a byte")),
        }
    }
}

fn damage_headers(request: &mut Request<Bytes>, dice: &mut Dice) {
    const NAMES: [&str; 6] = [
        "mcp-method",
        "mcp-name",
        "mcp-protocol-version",
        "content-type",
        "accept",
        "mcp-session-id",
    ];
    let name = HeaderName::from_static(NAMES[dice.below(NAMES.len())]);
    match dice.below(4) {
        0 => {
            request.headers_mut().remove(&name);
        }
        1 => {
            let value = HeaderValue::from_static("2025-11-25");
            request.headers_mut().append(name, value);
        }
        _ => {
            let mut value = request
                .headers()
                .get(&name)
                .map(|value| value.as_bytes().to_vec())
                .unwrap_or_default();
            damage(&mut value, dice);
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                request.headers_mut().insert(name, value);
            }
        }
    }
}

#[tokio::test]
async fn damaged_requests_are_answered() {
    let client = Client::new(Class::Legacy).with_tasks();
    let seeds = seeds(&client);
    let mut served = 0;
    for number in 0..INPUTS {
        let mut dice = Dice::new(number);
        let mut request = seeds[dice.below(seeds.len())].clone();
        if dice.below(3) > 0 {
            let mut body = request.body().to_vec();
            damage(&mut body, &mut dice);
            *request.body_mut() = Bytes::from(body);
        }
        if dice.below(3) == 0 {
            damage_headers(&mut request, &mut dice);
        }
        let answer = client.send(request).await;
        let said = &answer.text;
        assert!(
            !answer.status.is_server_error(),
            "input {number}: {} {said}",
            answer.status
        );
        if answer.status == StatusCode::ACCEPTED {
            continue;
        }
        let response: &Value = answer.response();
        assert_eq!(response["jsonrpc"], "2.0", "input {number}: {said}");
        assert_ne!(
            response.get("result").is_some(),
            response.get("error").is_some(),
            "input {number}: {said}"
        );
        if answer.status == StatusCode::OK && response.get("result").is_some() {
            served += 1;
        }
    }
    // Some damage is harmless; if all of it were refused this would not reach beyond the first check.
    assert!(served > 50, "only {served} of {INPUTS} were served");
    assert_eq!(client.fake.session_keys(), []);
}

/// The same for a client with a session: what it sends besides requests, to another instance each
/// time.
#[tokio::test]
async fn damaged_messages_of_a_session_are_answered() {
    const INTRODUCTION: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{}},"clientInfo":{"name":"a","version":"1"}}}"#;
    const MESSAGES: [&str; 7] = [
        r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#,
        r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"list_sessions","arguments":{}}}"#,
        r#"{"jsonrpc":"2.0","id":"ask_aaaaaaaaaaaaaaaaaaaaaaaaaa","result":{"action":"accept","content":{}}}"#,
        r#"{"jsonrpc":"2.0","id":3,"error":{"code":-1,"message":"no"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","id":4,"method":"logging/setLevel","params":{"level":"info"}}"#,
    ];
    let fake = Fake::new(5);
    let send = async |path: &str, session: Option<&str>, body: Vec<u8>, dice: Option<&mut Dice>| {
        let sessions = ClientSessionSettings {
            days: 30,
            pair: true,
            pair_stream_seconds: 100,
        };
        let edge = Edge::bridged(settings(), sessions, work(&fake), fake.clone());
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(Bytes::from(body))
            .expect("a request");
        if let Some(session) = session {
            let headers = request.headers_mut();
            headers.insert("mcp-session-id", session.parse().expect("a header"));
            headers.insert(
                "mcp-protocol-version",
                HeaderValue::from_static("2025-11-25"),
            );
        }
        if let Some(dice) = dice {
            damage_headers(&mut request, dice);
        }
        edge.handle(request, Some(principal("me"))).await
    };
    let opened = send("/mcp", None, INTRODUCTION.into(), None).await;
    let session = opened.headers()["mcp-session-id"].clone();
    let session = session.to_str().expect("ASCII");
    let messages = format!("/messages?session_id={session}");
    let mut served = 0;
    for number in 0..INPUTS {
        let mut dice = Dice::new(number);
        let mut body = MESSAGES[dice.below(MESSAGES.len())].as_bytes().to_vec();
        if dice.below(4) > 0 {
            damage(&mut body, &mut dice);
        }
        let (path, name) = match dice.below(3) {
            0 => (messages.as_str(), None),
            _ => ("/mcp", Some(session)),
        };
        let damages_headers = dice.below(4) == 0;
        let answer = send(path, name, body, damages_headers.then_some(&mut dice)).await;
        let status = answer.status();
        let bytes = answer
            .into_body()
            .collect()
            .await
            .expect("cannot fail")
            .to_bytes();
        let said = String::from_utf8_lossy(&bytes);
        assert!(!status.is_server_error(), "input {number}: {status} {said}");
        if said.is_empty() {
            assert_eq!(status, StatusCode::ACCEPTED, "input {number}");
            continue;
        }
        let response: Value = serde_json::from_slice(&bytes)
            .unwrap_or_else(|error| panic!("input {number}: {error}: {said}"));
        assert_eq!(response["jsonrpc"], "2.0", "input {number}: {said}");
        served += u32::from(response.get("result").is_some());
    }
    assert!(served > 50, "only {served} of {INPUTS} were served");
    assert_eq!(fake.session_keys(), []);
}
