//! What clients must not be able to do to an instance on a port: make it hang, panic, or keep
//! memory or descriptors.

use std::time::{Duration, Instant};

use e2e::process::eventually;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::round_robin::{Instance, build};

/// Streams that are open at once.
const STREAMS: usize = 1000;
/// An answer that takes longer on a busy machine is one that never comes.
const PATIENCE: Duration = Duration::from_secs(30);
/// Allocators keep some of what they got; what is kept per request would be more than this after
/// all rounds.
const GROWTH_KIB: u64 = 1024;
/// Rounds after which nothing is allocated for the first time any more.
const WARM: usize = 3;
/// Rounds between which the size is compared.
const ROUNDS: usize = 8;
/// Growth in so many windows of rounds, one after the other, is a leak.
const WINDOWS: usize = 4;

fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
    })
}

fn head(method: &str, name: Option<&str>, length: &str) -> String {
    let name = name.map_or_else(String::new, |name| format!("mcp-name: {name}\r\n"));
    format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\nmcp-method: {method}\r\n{name}{length}\r\n"
    )
}

fn request(method: &str, name: Option<&str>, params: &Value) -> Vec<u8> {
    let mut params = params.clone();
    params["_meta"] = meta();
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).to_string();
    raw(method, name, body.as_bytes())
}

fn raw(method: &str, name: Option<&str>, body: &[u8]) -> Vec<u8> {
    let length = format!("content-length: {}\r\n", body.len());
    let mut request = head(method, name, &length).into_bytes();
    request.extend_from_slice(body);
    request
}

async fn open(port: u16, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("it accepts connections");
    // It may answer, and close, before it has read everything.
    let _ = stream.write_all(bytes).await;
    stream
}

/// Status and body of one answer.
async fn answer(mut stream: TcpStream) -> (u16, String) {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    let reset = read.expect("there is an answer in time").is_err();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(!reset || !text.is_empty(), "the connection was reset");
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (
        status.unwrap_or_else(|| panic!("no status in {text:?}")),
        body.to_owned(),
    )
}

async fn exchange(port: u16, bytes: &[u8]) -> (u16, String) {
    answer(open(port, bytes).await).await
}

/// A message of a client of the initialize era.
fn legacy(method: &str, session: Option<&str>, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let session = session.map_or_else(String::new, |id| format!("mcp-session-id: {id}\r\n"));
    format!(
        "{method} /mcp HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\n{session}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// What a session does not stand for, and what it takes without harm.
async fn sessions(port: u16) {
    let introduction = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}},
        "clientInfo": {"name": "hostile", "version": "1"}
    }});
    let mut opened = open(port, &legacy("POST", None, &introduction)).await;
    let mut head = String::new();
    let read = tokio::time::timeout(PATIENCE, opened.read_to_string(&mut head)).await;
    read.expect("there is an answer in time").expect("text");
    let own = head
        .lines()
        .find_map(|line| line.strip_prefix("mcp-session-id: "))
        .unwrap_or_else(|| panic!("no session in {head}"))
        .trim();
    let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"});
    let reply = json!({"jsonrpc": "2.0", "id": "ask_aaaaaaaaaaaaaaaaaaaaaaaaaa", "result": {}});
    let cancel =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9}});
    // Somebody else's, made up or malformed: as unknown as any.
    for foreign in [
        "mcp_aaaaaaaaaaaaaaaaaaaaaaaaaa",
        "../../etc/passwd",
        "x",
        &"x".repeat(4000),
    ] {
        for (method, message) in [
            ("POST", &list),
            ("POST", &reply),
            ("POST", &cancel),
            ("DELETE", &json!({})),
        ] {
            let (status, said) = exchange(port, &legacy(method, Some(foreign), message)).await;
            assert_eq!(status, 404, "{method} {foreign:.40} {message}: {said}");
        }
    }
    // A reply nobody asked for, and a request that does not run taken back, twice.
    for message in [&reply, &reply, &cancel, &cancel] {
        let (status, said) = exchange(port, &legacy("POST", Some(own), message)).await;
        assert_eq!((status, said.as_str()), (202, ""), "{message}");
    }
    // The same id twice at once.
    let both = legacy("POST", Some(own), &list);
    let answers = tokio::join!(exchange(port, &both), exchange(port, &both));
    assert_eq!((answers.0.0, answers.1.0), (200, 200));
    for status in [204, 404] {
        let (got, _) = exchange(port, &legacy("DELETE", Some(own), &json!({}))).await;
        assert_eq!(got, status);
    }
    assert_eq!(exchange(port, &both).await.0, 404);
}

/// Bodies that are no request.
async fn malformed(port: u16) {
    let deep = "[".repeat(4 * 1024 * 1024);
    let objects = r#"{"a":"#.repeat(500_000);
    let long = "x".repeat(4_000_000);
    for (body, status) in [
        ("[]", 400),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]"#, 400),
        (r#"{"jsonrpc":"2.0","id":null,"method":"tools/list"}"#, 400),
        (r#"{"jsonrpc":"2.0","id":[1],"method":"tools/list"}"#, 400),
        (r#"{"jsonrpc":"2.0","id":1e99,"method":"tools/list"}"#, 400),
        // A reply that nobody asked for.
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, 400),
        (
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#,
            400,
        ),
        (deep.as_str(), 400),
        (objects.as_str(), 400),
        (long.as_str(), 400),
        ("\u{0}\u{0}", 400),
        ("{", 400),
    ] {
        let shown: String = body.chars().take(60).collect();
        let (got, said) = exchange(port, &raw("tools/list", None, body.as_bytes())).await;
        assert_eq!(got, status, "{shown}: {said}");
        let message: Value = serde_json::from_str(&said).expect("JSON");
        assert!(message["error"]["code"].is_i64(), "{shown}: {said}");
    }
}

/// Ten MiB, announced or not.
async fn huge(port: u16) {
    let announced = head("tools/list", None, "content-length: 10485760\r\n");
    assert_eq!(exchange(port, announced.as_bytes()).await.0, 413);
    let mut chunked = head("tools/list", None, "transfer-encoding: chunked\r\n").into_bytes();
    let piece = format!("{:x}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20));
    for _ in 0..10 {
        chunked.extend_from_slice(piece.as_bytes());
    }
    assert_eq!(exchange(port, &chunked).await.0, 413);
}

/// Two lengths, or a length and chunks: never two requests out of one.
async fn smuggled(port: u16) {
    let inner = raw("tools/list", None, b"{}");
    for lengths in [
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
    ] {
        let mut smuggled = head("tools/list", None, lengths).into_bytes();
        smuggled.extend_from_slice(b"0\r\n\r\n");
        smuggled.extend_from_slice(&inner);
        let (status, said) = exchange(port, &smuggled).await;
        assert!(status >= 400, "{lengths}: {status} {said}");
        assert!(!said.contains("HTTP/1.1"), "two answers: {said}");
    }
}

/// The same id twice at once: ids belong to their connection's client.
async fn twice(port: u16) {
    let call = request(
        "tools/call",
        Some("greet"),
        &json!({"name": "greet", "arguments": {"name": "you"}}),
    );
    let both = tokio::join!(exchange(port, &call), exchange(port, &call));
    for (status, said) in [both.0, both.1] {
        assert_eq!(status, 200, "{said}");
        assert!(said.contains("Hello, you!"), "{said}");
    }
}

/// A method in the wrong place, and a task cancelled twice.
async fn misplaced(port: u16) {
    let (status, _) = exchange(port, &request("initialize", None, &json!({}))).await;
    assert_eq!(status, 404);
    let arguments = json!({"name": "slow_compute", "arguments": {"seconds": 60}});
    let (_, started) = exchange(
        port,
        &request("tools/call", Some("slow_compute"), &arguments),
    )
    .await;
    let started: Value = serde_json::from_str(&started).expect("JSON");
    let id = started["result"]["taskId"].as_str().expect("a task");
    for _ in 0..2 {
        let cancel = request("tasks/cancel", Some(id), &json!({"taskId": id}));
        assert_eq!(exchange(port, &cancel).await.0, 200);
    }
}

/// Bodies that stop coming; the client gives up first.
async fn slow(port: u16) {
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut begun = head("tools/list", None, "content-length: 100000\r\n").into_bytes();
        begun.push(b'{');
        slow.push(open(port, &begun).await);
    }
    let list = request("tools/list", None, &json!({}));
    assert_eq!(exchange(port, &list).await.0, 200);
    drop(slow);
}

/// Many streams at once: each begins, others are served meanwhile, all end when the clients go.
async fn streams(port: u16, instance: &Instance) {
    let listen = request(
        "subscriptions/listen",
        None,
        &json!({"notifications": {"toolsListChanged": true}}),
    );
    let idle = instance.descriptors();
    let mut open_streams = Vec::new();
    for _ in 0..STREAMS {
        let mut stream = open(port, &listen).await;
        let mut seen = String::new();
        let mut buffer = [0; 1024];
        while !seen.contains("acknowledged") {
            let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await;
            let length = read.expect("the stream begins").expect("it is readable");
            assert!(length > 0, "the stream ended: {seen}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        open_streams.push(stream);
    }
    let list = request("tools/list", None, &json!({}));
    let asked = Instant::now();
    assert_eq!(exchange(port, &list).await.0, 200);
    eprintln!(
        "{STREAMS} streams open: {} KiB, a list in {:?}",
        instance.resident_kib(),
        asked.elapsed()
    );
    drop(open_streams);
    let dropped = Instant::now();
    let gone = eventually(Duration::from_secs(5), || {
        instance.descriptors() <= idle + 2
    });
    assert!(
        gone,
        "{} descriptors are still open",
        instance.descriptors()
    );
    eprintln!("all of them were dropped after {:?}", dropped.elapsed());
}

/// One line says all there is to say about a request, its trace included.
#[test]
fn each_request_is_one_line_of_log() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let directory = tempfile::tempdir().expect("a directory");
    let instance = Instance::start(&build(), directory.path(), "");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut traced = meta();
    traced["traceparent"] = format!("00-{TRACE}-b7ad6b7169203331-01").into();
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
        "name": "greet", "arguments": {"name": "you"}, "_meta": traced
    }});
    let call = raw("tools/call", Some("greet"), body.to_string().as_bytes());
    let (status, _) = runtime.block_on(exchange(instance.port(), &call));
    assert_eq!(status, 200);
    assert!(eventually(PATIENCE, || !instance
        .logged_requests()
        .is_empty()));
    let lines = instance.logged_requests();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = &lines[0];
    for (field, value) in [
        ("mcp_method", "tools/call"),
        ("mcp_name", "greet"),
        ("function", "conformance-fixtures"),
        ("trace_id", TRACE),
        ("parent_id", "b7ad6b7169203331"),
    ] {
        assert_eq!(line[field], value, "{line}");
    }
    assert_eq!(line["status"], 200, "{line}");
    for field in ["principal", "instance", "request_id"] {
        assert!(
            line[field].as_str().is_some_and(|it| !it.is_empty()),
            "{field}: {line}"
        );
    }
    assert!(line["duration_ms"].is_u64(), "{line}");
}

#[test]
fn nothing_that_clients_send_stays_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let instance = Instance::start(&build(), directory.path(), "");
    let port = instance.port();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        flat("malformed bodies", &instance, async || {
            malformed(port).await
        })
        .await;
        flat("10 MiB", &instance, async || huge(port).await).await;
        flat("smuggled requests", &instance, async || {
            smuggled(port).await
        })
        .await;
        flat("ids used twice", &instance, async || twice(port).await).await;
        flat("misplaced methods", &instance, async || {
            misplaced(port).await
        })
        .await;
        flat("foreign sessions", &instance, async || sessions(port).await).await;
        flat("slow bodies", &instance, async || slow(port).await).await;
        let thousand = async || streams(port, &instance).await;
        flat_after("a thousand streams", 1, &instance, thousand).await;
    });
}

/// Sends something again and again: nothing of it may stay.
async fn flat(what: &str, instance: &Instance, send: impl AsyncFn()) {
    flat_after(what, ROUNDS, instance, send).await;
}

/// What stays behind stays in every window of `rounds`; what an allocator takes in one of them, because
/// the machine is busy and more comes together than before, it uses again in the next.
async fn flat_after(what: &str, rounds: usize, instance: &Instance, send: impl AsyncFn()) {
    // What is allocated once, and the allocator's habits, are not what is looked for.
    for _ in 0..WARM {
        send().await;
    }
    let open = instance.descriptors();
    let mut sizes = vec![instance.resident_kib()];
    let is_flat = loop {
        for _ in 0..rounds {
            send().await;
        }
        let (before, after) = (sizes[sizes.len() - 1], instance.resident_kib());
        sizes.push(after);
        if after < before + GROWTH_KIB {
            break true;
        }
        if sizes.len() > WINDOWS {
            break false;
        }
    };
    eprintln!("{what}: {sizes:?} KiB");
    assert!(
        is_flat,
        "{what}: it grew in each of {WINDOWS} windows: {sizes:?} KiB"
    );
    let closed = eventually(PATIENCE, || instance.descriptors() <= open + 2);
    assert!(
        closed,
        "{what}: {} are open, {open} were",
        instance.descriptors()
    );
}
