//! Streams and large things pass nginx to the real service and back.

use std::time::{Duration, Instant};

use e2e::mcp::Client;
use e2e::nginx::Nginx;
use e2e::script;
use e2e::service::{Installation, Setup, TOKEN};
use e2e::session::Session;
use futures_util::StreamExt as _;
use serde_json::json;

#[tokio::test]
async fn events_and_uploads_pass_nginx() {
    let installation = Installation::make();
    let setup = Setup::new().with("SHANNON_KEEP_ALIVE_SECONDS", "5");
    let nginx = Nginx::start(setup.port);
    let setup = setup.with("SHANNON_PUBLIC_URL", &nginx.url());
    let _service = setup.start(&installation);
    let client = Client::new(&format!("{}/mcp", nginx.url()), TOKEN).over(nginx.client());

    // An upload goes to the address that clients know, and arrives.
    let content = vec![b'x'; 6 * 1024 * 1024];
    let place = client
        .call("create_upload", json!({"bytes": content.len()}))
        .await;
    let url = place["url"].as_str().expect("an address");
    assert!(
        url.starts_with(&format!("{}/objects/", nginx.url())),
        "{url}"
    );
    let http = nginx.client();
    let unsigned = url.split('?').next().expect("a path");
    let refused = http
        .put(unsigned)
        .body("x")
        .send()
        .await
        .expect("an answer");
    assert_eq!(refused.status(), 403, "only what was signed");
    let (before, signature) = url.split_once("X-Amz-Signature=").expect("it is signed");
    let other = if signature.starts_with('0') { '1' } else { '0' };
    let damaged = format!("{before}X-Amz-Signature={other}{}", &signature[1..]);
    let refused = http
        .put(&damaged)
        .body(content.clone())
        .send()
        .await
        .expect("an answer");
    assert_eq!(refused.status(), 403, "another signature");
    let sent = http.put(url).body(content).send().await.expect("an answer");
    assert_eq!(sent.status(), 200, "{:?}", sent.text().await);

    let count = script::bash("wc -c < $(find /workspace/.attachments -type f)");
    let mut session = Session::create(
        &client,
        json!({
            "prompt": script::prompt(&[count, script::bash("for n in $(seq 14); do sleep 1; done"), script::text("done")]),
            "permission_mode": "bypass",
            "attachments": [{"upload_id": place["upload_id"], "name": "large.bin"}],
        }),
    )
    .await;
    session
        .until("the tool that sleeps", |session| {
            session.of_kind("tool_call").len() == 2
        })
        .await;
    assert!(
        session.tool_results()[0].contains("6291456"),
        "{}",
        session.story()
    );

    // A keep-alive comes long before the answer, which nothing holds back.
    let (headers, body) = client.prepare(
        "tools/call",
        json!({"name": "wait_session", "arguments": {
            "session_id": session.id, "until": "idle", "wait_seconds": 30, "cursor": session.cursor,
        }}),
    );
    let mut request = http.post(client.url()).body(body.to_string());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let began = Instant::now();
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let mut stream = answer.bytes_stream();
    let (mut first, mut text) = (None, String::new());
    while let Some(piece) = stream.next().await {
        let piece = piece.expect("a whole stream");
        first.get_or_insert(began.elapsed());
        text.push_str(&String::from_utf8_lossy(&piece));
    }
    let (first, whole) = (first.expect("a piece"), began.elapsed());
    assert!(text.contains("\"result\""), "{text}");
    assert!(
        first + Duration::from_secs(2) < whole,
        "the first piece came after {first:?} of {whole:?}: {text}"
    );
    session.cancel().await;
}
