//! Every number of the configuration for nginx, in front of a server of the test.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use e2e::checkout;
use e2e::nginx::{Nginx, SHIPPED};
use futures_util::StreamExt as _;
use tokio::sync::{Notify, Semaphore};

/// What the server of the test does.
#[derive(Clone, Default)]
struct Upstream {
    asked: Arc<AtomicUsize>,
    go_on: Arc<Notify>,
}

/// `/hold` sends a piece and then another one when the test says so; everything else is answered at
/// once with the length of what came.
async fn answer(State(upstream): State<Upstream>, request: Request) -> Response {
    upstream.asked.fetch_add(1, Ordering::SeqCst);
    if request.uri().path() == "/hold" {
        let go_on = upstream.go_on.clone();
        let first =
            futures_util::stream::once(async { Ok::<_, std::io::Error>(Bytes::from("one")) });
        let second = futures_util::stream::once(async move {
            go_on.notified().await;
            Ok(Bytes::from("two"))
        });
        let mut response = Response::new(Body::from_stream(first.chain(second)));
        let kind = "text/event-stream".parse().expect("a header");
        response.headers_mut().insert("content-type", kind);
        return response;
    }
    let forwarded = request.headers().get("x-forwarded-for").cloned();
    let body = axum::body::to_bytes(request.into_body(), usize::MAX).await;
    let mut response = Response::new(Body::from(body.expect("a body").len().to_string()));
    let headers = response.headers_mut();
    headers.insert(
        "strict-transport-security",
        "max-age=1".parse().expect("a header"),
    );
    if let Some(forwarded) = forwarded {
        headers.insert("x-saw", forwarded);
    }
    response
}

async fn start() -> (Upstream, Nginx) {
    let upstream = Upstream::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let app = axum::Router::new()
        .fallback(answer)
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(upstream.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (upstream, Nginx::start(port))
}

/// Asks again while the limit of requests refuses: what is tested is something else.
async fn patiently(request: impl Fn() -> reqwest::RequestBuilder) -> reqwest::Response {
    loop {
        let answer = request().send().await.expect("an answer");
        if answer.status() != 429 {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[test]
fn the_file_says_the_numbers_and_says_none_of_them_elsewhere() {
    let file = checkout::read(SHIPPED);
    for (line, times) in [
        ("rate=10r/s;", 1),
        ("burst=20 nodelay;", 1),
        ("limit_conn connections 10;", 1),
        ("proxy_read_timeout 600s;", 1),
        ("proxy_send_timeout 600s;", 1),
        ("send_timeout 600s;", 2),
        ("proxy_buffering off;", 1),
        ("client_max_body_size 100m;", 1),
        ("client_max_body_size", 2),
        ("ssl_protocols TLSv1.2 TLSv1.3;", 1),
        ("max-age=63072000", 3),
        ("limit_req zone", 1),
        ("proxy_buffering", 1),
    ] {
        assert_eq!(file.matches(line).count(), times, "{line}");
    }
}

#[tokio::test]
async fn answers_carry_the_header_once_and_the_plain_port_leads_to_the_other() {
    let (_upstream, nginx) = start().await;
    let http = nginx.client();
    for (path, status) in [("/mcp", 200), ("/model/v1/messages", 404)] {
        let url = format!("{}{path}", nginx.url());
        let answer = patiently(|| http.get(&url)).await;
        assert_eq!(answer.status(), status, "{path}");
        let hsts: Vec<_> = answer
            .headers()
            .get_all("strict-transport-security")
            .iter()
            .collect();
        assert_eq!(hsts, ["max-age=63072000; includeSubDomains"], "{path}");
        let server = answer.headers()["server"].to_str().expect("text");
        assert_eq!(server, "nginx", "its version is nobody's business");
    }
    let url = format!("{}/mcp", nginx.url());
    let answer = patiently(|| http.get(&url).header("x-forwarded-for", "10.1.2.3")).await;
    assert_eq!(
        answer.headers()["x-saw"],
        "127.0.0.1",
        "nobody chooses his own address"
    );
    let plain = format!("http://localhost:{}/mcp?x=1", nginx.plain_port);
    let answer = http.get(&plain).send().await.expect("an answer");
    assert_eq!(answer.status(), 301);
    assert_eq!(answer.headers()["location"], "https://localhost/mcp?x=1");
}

/// The first bytes that a server answers to a greeting in this version of TLS.
fn greeted(port: u16, version: [u8; 2]) -> Vec<u8> {
    let mut hello = Vec::from(version);
    hello.extend([7; 32]);
    hello.push(0);
    // Suites of the time, one of them in each version.
    hello.extend([0, 6, 0xc0, 0x2b, 0xc0, 0x09, 0x00, 0x2f]);
    hello.extend([1, 0]);
    // supported_groups: P-256; ec_point_formats; signature_algorithms: ECDSA with SHA-256 and SHA-1.
    hello.extend([0, 24]);
    hello.extend([0, 10, 0, 4, 0, 2, 0, 23]);
    hello.extend([0, 11, 0, 2, 1, 0]);
    hello.extend([0, 13, 0, 6, 0, 4, 4, 3, 2, 3]);
    let mut message = vec![1, 0, 0, u8::try_from(hello.len()).expect("short")];
    message.extend(hello);
    let mut record = vec![0x16, 3, 1, 0, u8::try_from(message.len()).expect("short")];
    record.extend(message);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("nginx");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout");
    stream.write_all(&record).expect("nginx reads");
    let mut first = [0; 7];
    stream.read_exact(&mut first).expect("nginx answers");
    first.to_vec()
}

#[tokio::test]
async fn only_tls_1_2_and_1_3_are_spoken() {
    let (_upstream, nginx) = start().await;
    let port = nginx.port;
    let ask = |version| tokio::task::spawn_blocking(move || greeted(port, version));
    let refused = ask([3, 2]).await.expect("an answer");
    // An alert: fatal, protocol_version.
    assert_eq!(
        (refused[0], &refused[5..]),
        (0x15, &[2, 70][..]),
        "TLS 1.1: {refused:?}"
    );
    let taken = ask([3, 3]).await.expect("an answer");
    assert_eq!((taken[0], taken[5]), (0x16, 2), "TLS 1.2: {taken:?}");
    // And 1.3, which our own client prefers.
    let answer = nginx
        .client()
        .get(format!("{}/x", nginx.url()))
        .send()
        .await;
    assert_eq!(answer.expect("an answer").status(), 200);
}

#[tokio::test]
async fn ten_requests_a_second_and_twenty_at_once() {
    let (upstream, nginx) = start().await;
    let http = nginx.client();
    let url = format!("{}/x", nginx.url());
    // Fewer at a time than connections are allowed.
    let places = Semaphore::new(8);
    let began = std::time::Instant::now();
    let answers = futures_util::future::join_all((0..60).map(|_| async {
        let _place = places.acquire().await.expect("open");
        http.get(&url).send().await.expect("an answer")
    }))
    .await;
    let seconds = began.elapsed().as_secs_f64();
    let passed = answers
        .iter()
        .filter(|answer| answer.status() == 200)
        .count();
    let refused: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status() == 429)
        .collect();
    assert_eq!(passed + refused.len(), 60);
    // One, twenty more at once, and ten for each second.
    let most = 22 + (seconds * 10.0) as usize;
    assert!((21..=most).contains(&passed), "{passed} in {seconds} s");
    assert_eq!(
        upstream.asked.load(Ordering::SeqCst),
        passed,
        "refused is refused"
    );
    assert!(!refused.is_empty(), "60 requests in {seconds} s passed");
    assert_eq!(refused[0].headers()["retry-after"], "1");
    assert_eq!(
        refused[0].headers()["strict-transport-security"],
        "max-age=63072000; includeSubDomains"
    );
}

#[tokio::test]
async fn pieces_pass_at_once_and_ten_connections_may_be_open() {
    let (upstream, nginx) = start().await;
    let http = nginx.client();
    let url = format!("{}/hold", nginx.url());
    let mut open = Vec::new();
    for number in 0..10 {
        let answer = patiently(|| http.get(&url)).await;
        assert_eq!(answer.status(), 200, "stream {number}");
        let mut pieces = answer.bytes_stream();
        // The second piece is not made before the first has arrived here: nothing is held back.
        let first = pieces.next().await.expect("a piece").expect("whole");
        assert_eq!(first, "one");
        open.push(pieces);
    }
    // The rate has recovered when this is over; what refuses is the number of connections.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let refused = http.get(&url).send().await.expect("an answer");
    assert_eq!(refused.status(), 429);
    assert_eq!(upstream.asked.load(Ordering::SeqCst), 10);
    upstream.go_on.notify_waiters();
    for pieces in &mut open {
        let second = pieces.next().await.expect("a piece").expect("whole");
        assert_eq!(second, "two");
    }
    drop(open);
    let url = format!("{}/x", nginx.url());
    assert_eq!(patiently(|| http.get(&url)).await.status(), 200);
}

/// The answer to a request whose body is announced with this length and not sent.
fn announced(nginx: &Nginx, path: &str, bytes: u64) -> impl Fn() -> reqwest::RequestBuilder {
    let http = nginx.client();
    let url = format!("{}{path}", nginx.url());
    move || {
        let never = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        http.put(&url)
            .header("content-length", bytes)
            .body(reqwest::Body::wrap_stream(never))
    }
}

#[tokio::test]
async fn a_hundred_megabytes_are_for_uploads_only() {
    const MIB: usize = 1024 * 1024;
    let (_upstream, nginx) = start().await;
    let http = nginx.client();
    for (path, bytes, status) in [
        ("/mcp", 5 * MIB, 200),
        ("/mcp", 5 * MIB + 1, 413),
        ("/objects/bucket/key", 100 * MIB, 200),
    ] {
        let url = format!("{}{path}", nginx.url());
        let body = Bytes::from(vec![b'x'; bytes]);
        let answer = patiently(|| http.put(&url).body(body.clone())).await;
        assert_eq!(answer.status(), status, "{path}, {bytes} bytes");
        if status == 200 {
            assert_eq!(answer.text().await.expect("a body"), bytes.to_string());
        }
    }
    let more = u64::try_from(100 * MIB + 1).expect("a number");
    let answer = patiently(announced(&nginx, "/objects/bucket/key", more)).await;
    assert_eq!(answer.status(), 413);
}

#[tokio::test]
async fn health_is_not_logged_and_queries_are_not_either() {
    let (_upstream, nginx) = start().await;
    let http = nginx.client();
    for path in ["/health", "/ready", "/objects/b/k?X-Amz-Signature=c0ffee"] {
        let url = format!("{}{path}", nginx.url());
        assert_eq!(patiently(|| http.get(&url)).await.status(), 200);
    }
    let logged = || nginx.access_log();
    assert!(e2e::process::eventually(
        Duration::from_secs(10),
        || logged().lines().count() >= 2
    ));
    let lines: Vec<serde_json::Value> = logged()
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    let paths: Vec<_> = lines.iter().map(|line| line["path"].as_str()).collect();
    assert_eq!(paths, [Some("/ready"), Some("/objects/b/k")]);
    assert!(!logged().contains("c0ffee"), "{}", logged());
}

#[tokio::test]
async fn where_nobody_is_the_client_is_told_when_to_come_back() {
    let nginx = Nginx::start(e2e::service::free_port());
    let http = nginx.client();
    let answer = http
        .post(format!("{}/mcp", nginx.url()))
        .body("{}")
        .send()
        .await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "5");
    assert_eq!(
        answer.headers()["strict-transport-security"],
        "max-age=63072000; includeSubDomains"
    );
    let body: serde_json::Value = answer.json().await.expect("JSON");
    assert_eq!(body["error"]["code"], -32603);
}
