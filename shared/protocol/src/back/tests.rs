//! Slow answers, with time that only moves when nothing else can.

use super::*;
use http_body_util::{Empty, Full};
use serde_json::json;

fn back(deadline_seconds: u64) -> Back {
    Back {
        id: json!(1),
        method: "tools/call".to_owned(),
        keep_alive: Duration::from_secs(15),
        deadline: Instant::now() + Duration::from_secs(deadline_seconds),
    }
}

fn served(status: u16, content_type: &str, body: &str) -> Served {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, content_type)
        .body(Full::new(Bytes::from(body.to_owned())).boxed())
        .expect("an answer")
}

fn after(seconds: u64, served: Served) -> Source {
    Source::Legacy(Box::pin(async move {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        served
    }))
}

/// Modern work that sends notices, each after some seconds, and ends as long after the last.
fn modern(seconds: u64, notices: Vec<&'static str>) -> Source {
    let (sender, heard) = mpsc::channel(1);
    let work = Box::pin(async move {
        for notice in notices {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            let sent = sender.send(Bytes::from_static(notice.as_bytes())).await;
            sent.expect("somebody listens");
        }
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        Rendered {
            status: StatusCode::NOT_FOUND,
            message: Bytes::from_static(RESULT.as_bytes()),
        }
    });
    Source::Modern { work, heard }
}

#[tokio::test(start_paused = true)]
async fn modern_work_is_json_or_a_stream() {
    let quick = back(600).answer(modern(0, vec![])).await;
    assert_eq!(quick.status(), StatusCode::NOT_FOUND);
    assert_eq!(quick.headers()[CONTENT_TYPE], "application/json");
    assert_eq!(text(quick).await, RESULT);

    // All at once: more notices than may wait, and the response behind them.
    let told = back(600).answer(modern(0, vec!["1", "2", "3"])).await;
    assert_eq!(told.status(), StatusCode::OK);
    assert_eq!(
        text(told).await,
        format!("data: 1\n\ndata: 2\n\ndata: 3\n\ndata: {RESULT}\n\n")
    );

    let slow = back(600).answer(modern(20, vec!["1"])).await;
    assert_eq!(
        text(slow).await,
        format!("{0}data: 1\n\n{0}data: {RESULT}\n\n", ": keep-alive\n\n")
    );

    let endless = text(back(30).answer(modern(99, vec![])).await).await;
    assert!(endless.contains("-32603"), "{endless}");
}

async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.expect("cannot fail");
    String::from_utf8(bytes.to_bytes().to_vec()).expect("UTF-8")
}

const RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;

#[tokio::test(start_paused = true)]
async fn what_is_there_in_time_is_json() {
    let response = back(600)
        .answer(after(9, served(200, "application/json", RESULT)))
        .await;
    assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    assert_eq!(text(response).await, RESULT);
}

#[tokio::test(start_paused = true)]
async fn what_takes_longer_is_a_stream_that_is_never_silent() {
    let started = Instant::now();
    let response = back(600)
        .answer(after(50, served(200, "application/json", RESULT)))
        .await;
    assert_eq!(started.elapsed().as_secs(), 10);
    assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    // At 10, 25 and 40 s.
    assert_eq!(
        text(response).await,
        format!("{0}{0}{0}data: {RESULT}\n\n", ": keep-alive\n\n")
    );
    assert_eq!(started.elapsed().as_secs(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_passed_on_and_kept_alive_between_its_events() {
    let pieces = stream::unfold(0, |step| async move {
        let piece = ["data: 1\n\n", "data: ", "2\n\n"].get(step)?;
        tokio::time::sleep(Duration::from_secs(20)).await;
        Some((
            Ok::<_, Infallible>(Frame::data(Bytes::from(*piece))),
            step + 1,
        ))
    });
    // `BoxBody` must be `Sync`, which the unfolding future is.
    let body = StreamBody::new(pieces).boxed();
    let mut streaming = served(200, "text/event-stream", "").map(|_| body);
    streaming
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    let response = back(600).answer(after(0, streaming)).await;
    // No comment inside the second event, which comes in two pieces.
    assert_eq!(
        text(response).await,
        ": keep-alive\n\ndata: 1\n\n: keep-alive\n\ndata: 2\n\n"
    );
}

#[tokio::test(start_paused = true)]
async fn what_takes_too_long_is_told_to_ask_again() {
    let response = back(20)
        .answer(after(99, served(200, "application/json", RESULT)))
        .await;
    let text = text(response).await;
    let (comments, event) = text.split_once("data: ").expect("an event");
    assert_eq!(comments, ": keep-alive\n\n");
    let message: Value = serde_json::from_str(event.trim()).expect("JSON");
    assert_eq!(
        (&message["id"], &message["error"]["code"]),
        (&json!(1), &json!(-32603))
    );
}

#[tokio::test(start_paused = true)]
async fn plain_text_becomes_a_json_rpc_error() {
    for (seconds, kind) in [(0, "application/json"), (30, "text/event-stream")] {
        let plain = served(500, "text/plain", "Encounter an error ");
        let response = back(600).answer(after(seconds, plain)).await;
        assert_eq!(response.headers()[CONTENT_TYPE], kind);
        let text = text(response).await;
        assert!(
            text.contains(r#""error":{"code":-32603,"message":"Encounter an error"}"#),
            "{text}"
        );
    }
    let empty = Response::builder().status(202).body(Empty::new().boxed());
    let response = back(600).answer(after(0, empty.expect("an answer"))).await;
    assert_eq!(
        (response.status().as_u16(), text(response).await.as_str()),
        (202, "")
    );
}
