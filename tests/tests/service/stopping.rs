//! SIGTERM: what runs ends, within the time.

use std::io::Write as _;
use std::time::{Duration, Instant};

use e2e::process;
use e2e::script;
use e2e::service::{Installation, Setup};
use e2e::session::Session;
use serde_json::json;

/// A session in a tool that takes that many seconds.
async fn busy<'client>(client: &'client e2e::mcp::Client, seconds: u32) -> Session<'client> {
    let steps = [
        // A `sleep` alone the CLI refuses.
        script::bash(&format!("for n in $(seq {seconds}); do sleep 1; done")),
        script::text("done"),
    ];
    let mut session = Session::scripted(client, &steps).await;
    session
        .until("the tool", |session| {
            session.of_kind("tool_call").len() == 1
        })
        .await;
    session
}

#[tokio::test]
async fn a_running_request_is_answered_whole_and_a_standing_stream_is_not_waited_for() {
    let installation = Installation::make();
    let setup = Setup::new()
        .with("SHANNON_STOP_TIMEOUT_SECONDS", "60")
        .with("SHANNON_SSE_PAIR", "true");
    let service = setup.start(&installation);
    let client = service.client();
    let session = busy(&client, 600).await;
    // A stream that carries no request, which would go on for a quarter of an hour.
    let standing = e2e::mcp::http_client()
        .get(format!("{}/sse", service.url))
        .bearer_auth(e2e::service::TOKEN)
        .header("accept", "text/event-stream")
        .send()
        .await
        .expect("a stream");
    assert_eq!(standing.status(), 200);

    let waiting = client.request(
        "tools/call",
        json!({"name": "wait_session", "arguments": {
            "session_id": session.id, "until": "event", "wait_seconds": 8, "cursor": session.cursor,
        }}),
    );
    let stop = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        service.ask_to_end();
        let began = Instant::now();
        // It takes nothing new.
        let closed = async {
            while service.get("/health").await != 0 {
                assert!(began.elapsed() < Duration::from_secs(20), "still open");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        closed.await;
        began
    };
    let (answer, began) = tokio::join!(waiting, stop);
    assert_eq!(answer.status, 200);
    assert!(
        answer.result()["structuredContent"]["state"].is_string(),
        "{}",
        answer.body
    );
    let ended = standing.text().await;
    assert!(ended.is_ok(), "the stream ends as one: {ended:?}");
    let ended = tokio::task::spawn_blocking(move || service.ended());
    let (status, said) = ended.await.expect("a status");
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(
        began.elapsed() < Duration::from_secs(45),
        "{:?}: {said}",
        began.elapsed()
    );
    assert!(
        process::running_with(&installation.path().display().to_string()).is_empty(),
        "nothing outlives it"
    );
}

#[tokio::test]
async fn what_takes_longer_than_the_time_is_cut_off_and_the_exit_code_says_so() {
    let installation = Installation::make();
    let setup = Setup::new().with("SHANNON_STOP_TIMEOUT_SECONDS", "10");
    let service = setup.start(&installation);
    let client = service.client();
    let session = busy(&client, 600).await;
    // A client that stopped in the middle of its request.
    let mut stuck = std::net::TcpStream::connect(("127.0.0.1", setup.port)).expect("it listens");
    let head = "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    let head = format!(
        "{head}authorization: Bearer {}\r\ncontent-length: 100\r\n\r\n{{",
        e2e::service::TOKEN
    );
    stuck.write_all(head.as_bytes()).expect("it reads");
    tokio::time::sleep(Duration::from_secs(2)).await;
    service.ask_to_end();
    let began = Instant::now();
    let ended = tokio::task::spawn_blocking(move || service.ended());
    let (status, said) = ended.await.expect("a status");
    let took = began.elapsed();
    drop(stuck);
    assert_eq!(status.code(), Some(4), "{said}");
    assert!(said.contains("cut off"), "{said}");
    assert!((9..25).contains(&took.as_secs()), "{took:?}: {said}");
    // Nothing is lost by that.
    let seen = session.events.clone();
    let service = setup.start(&installation);
    let client = service.client();
    let mut again = Session::follow(&client, &session.id);
    again
        .until("what was seen before", |session| {
            session.events.len() >= seen.len()
        })
        .await;
    assert_eq!(again.events[..seen.len()], seen);
    again.cancel().await;
}
