//! The bridge of `emulator stdio`, between an input that a test writes and a server that a test plays.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::any,
};
use bytes::Bytes;
use emulator::stdio::{self, Ended, Endpoint};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream};

/// What the server saw of one request.
#[derive(Clone, Debug)]
struct Seen {
    http_method: String,
    headers: HeaderMap,
    body: Value,
}

#[derive(Clone, Default)]
struct Server {
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    async fn start() -> (Self, String) {
        let server = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let app = Router::new()
            .route("/mcp", any(answer))
            .with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (server, url)
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// Answers by the name of the method.
async fn answer(
    State(server): State<Server>,
    method: axum::http::Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let seen = Seen {
        http_method: method.to_string(),
        headers,
        body: body.clone(),
    };
    server.seen.lock().unwrap().push(seen);
    let id = &body["id"];
    let result = |result: Value| json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
    let stream = |events: String| ([("content-type", "text/event-stream")], events).into_response();
    let plain = |text: String| ([("content-type", "application/json")], text).into_response();
    match body["method"].as_str().unwrap_or_default() {
        "initialize" => (
            [
                ("content-type", "application/json"),
                ("mcp-session-id", "session-1"),
            ],
            result(json!({"protocolVersion": "2025-11-25"})),
        )
            .into_response(),
        "stream" => stream(format!(
            ": keep-alive\n\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}}\n\ndata: {}\n\n",
            result(json!("streamed"))
        )),
        "cut" => stream(": keep-alive\n\n".to_owned()),
        "hang" => {
            let pending = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
            (
                [("content-type", "text/event-stream")],
                Body::from_stream(pending),
            )
                .into_response()
        }
        "refused" => (
            StatusCode::BAD_REQUEST,
            plain(
                json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32600, "message": "no"}})
                    .to_string(),
            ),
        )
            .into_response(),
        "forbidden" => (StatusCode::UNAUTHORIZED, "who are you?").into_response(),
        "page" => (StatusCode::BAD_GATEWAY, "<html>\n</html>").into_response(),
        _ if id.is_null() || body.get("method").is_none() => StatusCode::ACCEPTED.into_response(),
        _ => plain(format!(" {}\n", result(body["params"].clone()))),
    }
}

/// A host with a bridge.
struct Host {
    input: DuplexStream,
    output: tokio::io::Lines<BufReader<DuplexStream>>,
    bridge: tokio::task::JoinHandle<Ended>,
}

impl Host {
    fn start(url: &str) -> Self {
        let endpoint = Endpoint::new(url, "the-token".to_owned()).unwrap();
        let (input, bridge_input) = tokio::io::duplex(1 << 20);
        let (bridge_output, output) = tokio::io::duplex(1 << 20);
        let bridge = tokio::spawn(stdio::run(
            endpoint,
            BufReader::new(bridge_input),
            bridge_output,
            std::future::pending(),
        ));
        Self {
            input,
            output: BufReader::new(output).lines(),
            bridge,
        }
    }

    async fn line(&mut self, line: &str) {
        self.input.write_all(line.as_bytes()).await.unwrap();
        self.input.write_all(b"\n").await.unwrap();
    }

    async fn send(&mut self, id: u64, method: &str) {
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {"n": id}});
        self.line(&message.to_string()).await;
    }

    /// The next line, which is JSON-RPC.
    async fn next(&mut self) -> Value {
        let line = tokio::time::timeout(Duration::from_secs(20), self.output.next_line());
        let line = line.await.unwrap().unwrap().expect("a line");
        let message: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(message["jsonrpc"], "2.0", "{line}");
        message
    }

    /// Closes the input and gives what still comes.
    async fn close(self) -> (Vec<Value>, Ended) {
        let Self {
            input,
            mut output,
            bridge,
        } = self;
        drop(input);
        let mut messages = Vec::new();
        while let Some(line) = output.next_line().await.unwrap() {
            messages.push(serde_json::from_str(&line).unwrap());
        }
        (messages, bridge.await.unwrap())
    }
}

#[tokio::test]
async fn requests_come_back_as_lines() {
    let (server, url) = Server::start().await;
    let mut host = Host::start(&url);
    host.send(1, "tools/list").await;
    assert_eq!(host.next().await["result"], json!({"n": 1}));
    host.send(2, "stream").await;
    assert_eq!(host.next().await["method"], "notifications/progress");
    assert_eq!(host.next().await["result"], "streamed");
    host.send(3, "refused").await;
    let refused = host.next().await;
    assert_eq!(
        (&refused["id"], &refused["error"]["message"]),
        (&json!(3), &json!("no"))
    );
    for (id, method, said) in [
        (4, "cut", "ended before its result"),
        (5, "forbidden", "refuses our token"),
        (6, "page", "no MCP answer (HTTP 502)"),
    ] {
        host.send(id, method).await;
        let failed = host.next().await;
        assert_eq!(
            (&failed["id"], &failed["error"]["code"]),
            (&json!(id), &json!(-32603))
        );
        let message = failed["error"]["message"].as_str().unwrap();
        assert!(message.contains(said), "{message}");
    }
    let headers = &server.seen()[0].headers;
    assert_eq!(headers["authorization"], "Bearer the-token");
    assert_eq!(headers["content-type"], "application/json");
    let (rest, ended) = host.close().await;
    assert_eq!((rest, ended), (vec![], Ended::Input));
}

#[tokio::test]
async fn each_era_gets_its_headers() {
    let (server, url) = Server::start().await;
    let mut host = Host::start(&url);
    host.send(1, "initialize").await;
    host.next().await;
    host.line(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)
        .await;
    host.send(2, "tools/list").await;
    host.next().await;
    let modern = json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {
        "name": "é", "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
    }});
    host.line(&modern.to_string()).await;
    host.next().await;
    host.line(r#"{"jsonrpc":"2.0","id":"from-server","result":{}}"#)
        .await;
    let (rest, _) = host.close().await;
    assert_eq!(rest, Vec::<Value>::new());
    let seen = server.seen();
    let header = |at: usize, name: &str| {
        let value: &Seen = &seen[at];
        value
            .headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(header(0, "mcp-session-id"), None);
    for at in [1, 2, 4, 5] {
        assert_eq!(
            header(at, "mcp-session-id").as_deref(),
            Some("session-1"),
            "{at}"
        );
        assert_eq!(
            header(at, "mcp-protocol-version").as_deref(),
            Some("2025-11-25")
        );
    }
    assert_eq!(header(3, "mcp-session-id"), None);
    assert_eq!(
        header(3, "mcp-protocol-version").as_deref(),
        Some("2026-07-28")
    );
    assert_eq!(header(3, "mcp-method").as_deref(), Some("tools/call"));
    assert_eq!(header(3, "mcp-name").as_deref(), Some("=?base64?w6k=?="));
    assert_eq!(seen[4].body["id"], "from-server");
    assert_eq!(seen[5].http_method, "DELETE", "the session is ended");
}

#[tokio::test]
async fn what_is_no_message_is_answered_and_the_rest_goes_on() {
    let (server, url) = Server::start().await;
    let mut host = Host::start(&url);
    for (line, code) in [
        ("nonsense", -32700),
        ("[]", -32600),
        ("{}", -32600),
        (r#"{"jsonrpc":"2.0","id":{},"method":"x"}"#, -32600),
        ("\u{0}", -32700),
    ] {
        host.line("").await;
        host.line(line).await;
        assert_eq!(host.next().await["error"]["code"], code, "{line}");
    }
    host.input.write_all(b"\xff\xfe\n").await.unwrap();
    assert_eq!(host.next().await["error"]["code"], -32700);
    let long = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#,
        "x".repeat(17 << 20)
    );
    host.line(&long).await;
    assert_eq!(host.next().await["error"]["code"], -32600);
    host.send(7, "tools/list").await;
    assert_eq!(host.next().await["id"], 7);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn many_are_on_their_way_and_the_last_are_answered_after_the_end() {
    let (_server, url) = Server::start().await;
    let mut host = Host::start(&url);
    for id in 0..200 {
        host.send(id, "tools/list").await;
    }
    let (messages, ended) = host.close().await;
    let mut ids: Vec<u64> = messages
        .iter()
        .map(|it| it["id"].as_u64().unwrap())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..200).collect::<Vec<u64>>());
    assert_eq!(ended, Ended::Input);
}

#[tokio::test]
async fn a_request_that_is_taken_back_is_not_answered() {
    let (server, url) = Server::start().await;
    let mut host = Host::start(&url);
    host.send(1, "hang").await;
    while server.seen().is_empty() {
        tokio::task::yield_now().await;
    }
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    host.line(cancel).await;
    host.line(cancel).await;
    let (messages, ended) = host.close().await;
    assert_eq!((messages, ended), (vec![], Ended::Input));
}

#[tokio::test]
async fn a_host_that_is_gone_ends_the_bridge() {
    let (_server, url) = Server::start().await;
    let Host {
        mut input,
        output,
        bridge,
    } = Host::start(&url);
    drop(output);
    let message = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}\n";
    input.write_all(message).await.unwrap();
    assert_eq!(bridge.await.unwrap(), Ended::Output);
}

#[tokio::test]
async fn nobody_there_is_an_answer_too() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    drop(listener);
    let mut host = Host::start(&url);
    host.send(1, "tools/list").await;
    let failed = host.next().await;
    let message = failed["error"]["message"].as_str().unwrap();
    assert!(message.contains("does not answer"), "{message}");
}

#[test]
fn a_token_travels_encrypted_or_not_at_all() {
    for (url, said) in [
        ("http://example.com/mcp", "unencrypted"),
        ("http://127.0.0.1.example.com/mcp", "unencrypted"),
        ("ftp://127.0.0.1/mcp", "no http"),
        ("nonsense", "no http"),
        ("file:///etc/passwd", "no http"),
    ] {
        let refused = Endpoint::new(url, "t".to_owned()).err().expect(url);
        assert!(refused.to_string().contains(said), "{url}: {refused}");
    }
    for url in [
        "https://example.com/mcp",
        "http://localhost:1/mcp",
        "http://[::1]:1/mcp",
    ] {
        assert!(Endpoint::new(url, "t".to_owned()).is_ok(), "{url}");
    }
}
